//! Access tokens of the OAuth provider, in both forms.

use auth_verifier::session::token::{SessionToken, SigningKey};
use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use chassis::Body;
use http::Request;
use serde_json::{Value, json};

use crate::{
    issuer::Signing,
    parted::Log,
    tables::{ADMIN_PLUGIN, BETTER_AUTH, OAUTH_PROVIDER, WithTables},
    world::{ISSUER, SECRET, World, claims, claims_with, now, with_key},
};

const RESOURCE: &str = "https://api.example.com";

/// What the provider puts into one.
fn access_token(key: &Signing, changes: &Value) -> String {
    let now = now();
    let mut claims = json!({
        "sub": "u1", "aud": [RESOURCE, format!("{ISSUER}/api/auth/oauth2/userinfo")], "client_id": "the-client",
        "azp": "the-client", "scope": "openid tasks", "sid": "s1", "iss": format!("{ISSUER}/api/auth"), "iat": now,
        "exp": now + 3600, "jti": "j1",
    });
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => claims.as_object_mut().unwrap().remove(name),
            value => claims.as_object_mut().unwrap().insert(name.clone(), value.clone()),
        };
    }
    key.token_with(&json!({"typ": "at+jwt", "alg": key.alg, "kid": key.kid}), &claims)
}

async fn accepting(variables: &[(&str, &str)]) -> (World, Signing) {
    let on = [("AUTH_VERIFIER_OAUTH__ACCESS_TOKENS", "jwt"), ("AUTH_VERIFIER_OAUTH__AUDIENCES", RESOURCE)];
    with_key(&[&on, variables].concat()).await
}

#[tokio::test]
async fn an_access_token_says_who_is_calling_where_it_is_accepted() {
    let (world, key) = accepting(&[]).await;
    for _ in 0..2 {
        let answer = world.bearer(&access_token(&key, &json!({}))).await;
        assert_eq!((answer.status.as_u16(), answer.user()), (200, Some("u1")));
    }
    assert_eq!(world.bearer(&access_token(&key, &json!({"aud": RESOURCE}))).await.status, 200);
    assert_eq!(world.bearer(&key.token(&claims())).await.status, 200, "API tokens are, too");
    let (world, key) = with_key(&[]).await;
    world.rejects(&access_token(&key, &json!({}))).await;
}

#[tokio::test]
async fn an_access_token_is_for_one_of_our_resources_and_for_a_user() {
    let (world, key) = accepting(&[]).await;
    for changes in [
        json!({"aud": "https://other.example.com"}),
        json!({"aud": format!("{ISSUER}/api/auth/oauth2/userinfo")}),
        json!({"aud": ISSUER}),
        json!({"aud": null}),
        json!({"iss": ISSUER}),
        json!({"iss": "https://evil.example/api/auth"}),
        json!({"iss": null}),
        json!({"exp": now() - 31}),
        json!({"exp": null}),
        json!({"sub": "the-client"}),
        json!({"sub": null}),
        json!({"client_id": null}),
        json!({"client_id": 7}),
        json!({"at_hash": "x"}),
        json!({"cnf": {"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}}),
    ] {
        world.rejects(&access_token(&key, &changes)).await;
    }
    // Nor is an access token an API token, or the other way round.
    let claims_of_api =
        |typ: &str| key.token_with(&json!({"typ": typ, "alg": "EdDSA", "kid": "k1"}), &claims());
    for typ in ["at+jwt", "application/at+jwt", "logout+jwt", "better-auth.session-cache+jwt", "dpop+jwt", ""]
    {
        world.rejects(&claims_of_api(typ)).await;
    }
}

#[tokio::test]
async fn a_field_of_a_user_that_is_called_as_a_claim_of_others_locks_nobody_out_and_opens_nothing() {
    let (world, key) = accepting(&[("AUTH_VERIFIER_JWT__CACHE_SECS", "0")]).await;
    for harmless in [
        json!({"cnf": null, "at_hash": null}),
        json!({"cnf": "confirmed", "at_hash": "of the user's own"}),
        json!({"cnf": true, "at_hash": 7}),
        json!({"cnf": ["a"], "at_hash": {}}),
    ] {
        // `null` takes a member away elsewhere; here it must stand there.
        let mut claims = claims();
        claims.as_object_mut().unwrap().extend(harmless.as_object().unwrap().clone());
        assert_eq!(world.bearer(&key.token(&claims)).await.user(), Some("u1"), "{harmless}");
    }
    for telling in [
        json!({"cnf": {"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}}),
        json!({"cnf": {}}),
        json!({"at_hash": "x", "id": null}),
        json!({"at_hash": "x", "nonce": "n"}),
    ] {
        world.rejects(&key.token(&claims_with(telling))).await;
    }
}

#[tokio::test]
async fn all_scopes_that_are_demanded_must_be_there() {
    for (demanded, accepted) in
        [("tasks", true), ("openid, tasks", true), ("tasks, admin", false), ("task", false)]
    {
        let (world, key) = accepting(&[("AUTH_VERIFIER_OAUTH__SCOPES", demanded)]).await;
        let answer = world.bearer(&access_token(&key, &json!({}))).await;
        assert_eq!(answer.status, if accepted { 200 } else { 403 }, "{demanded}");
        assert_eq!(world.bearer(&access_token(&key, &json!({"scope": null}))).await.status, 403);
        if !accepted {
            // RFC 6750 §3.1: another token of the same kind would not help.
            assert!(answer.header("www-authenticate").unwrap().contains("error=\"insufficient_scope\""));
            assert_eq!(answer.user(), None);
        }
    }
}

/// Over HTTP, as a verdict tells them.
fn scopes(answer: &crate::world::Answer) -> Option<&str> {
    answer.header("x-credential-scopes")
}

#[tokio::test]
async fn a_verdict_tells_what_an_access_token_was_granted() {
    let (world, key) = accepting(&[]).await;
    let (many, long) = (vec!["s"; 65].join(" "), "s".repeat(2049));
    for (scope, want) in [
        (json!("openid tasks"), Some("openid tasks")),
        (json!("tasks:read"), Some("tasks:read")),
        (json!(" tasks  openid "), Some("tasks openid")),
        (json!(many[2..]), Some(&many[2..])),
        (json!(long[1..]), Some(&long[1..])),
        // A list that can't be told whole is not told.
        (json!(many), None),
        (json!(long), None),
        (json!("tasks \"admin"), None),
        (json!("tasks\r\nx-user-id: u2"), None),
        (json!("tasks\tadmin"), None),
        (json!("caf\u{e9}"), None),
        (json!(""), None),
        (json!(" "), None),
        (json!(null), None),
        // RFC 9068 §2.2.3 has a text, and Better Auth's provider writes one.
        (json!(["tasks"]), None),
        (json!(7), None),
    ] {
        // The second time it comes from the cache.
        let token = access_token(&key, &json!({"scope": scope, "scp": "admin", "scopes": "admin"}));
        for _ in 0..2 {
            let answer = world.bearer(&token).await;
            assert_eq!((answer.user(), scopes(&answer)), (Some("u1"), want), "{scope}");
        }
    }
}

#[tokio::test]
async fn a_field_of_a_user_that_is_called_scope_grants_nothing_unless_it_is_said_to() {
    for (variables, want) in
        [(&[][..], None), (&[("AUTH_VERIFIER_JWT__SCOPES", "on")], Some("tasks:write admin"))]
    {
        let (world, key) = accepting(variables).await;
        let scope = json!({"scope": "tasks:write admin"});
        for token in
            [key.token(&claims_with(scope.clone())), crate::hs256::token(SECRET, &claims_with(scope))]
        {
            let answer = world.bearer(&token).await;
            assert_eq!((answer.user(), scopes(&answer)), (Some("u1"), want), "{variables:?}");
        }
        assert_eq!(scopes(&world.bearer(&key.token(&claims())).await), None);
        let granted = world.bearer(&access_token(&key, &json!({}))).await;
        assert_eq!(scopes(&granted), Some("openid tasks"));
    }
}

const OPAQUE: &str = "AnOpaqueAccessTokenOfThirtyTwoXX";

fn insert(token: &str) -> String {
    let hash = BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA256, token.as_bytes()));
    format!(
        r#"insert into "oauthAccessToken" (id, token, "clientId", "sessionId", "userId", "expiresAt", scopes)
           values ('t1', '{hash}', 'the-client', 's1', 'u1', '2100-01-01 00:00Z', '["openid","tasks"]')"#
    )
}

async fn with_opaque(variables: &[(&str, &str)]) -> Option<WithTables> {
    let on = [
        ("AUTH_VERIFIER_OAUTH__ACCESS_TOKENS", "opaque"),
        ("AUTH_VERIFIER_OAUTH__AUDIENCES", RESOURCE),
        ("AUTH_VERIFIER_REVOCATION_LAG_SECS", "0"),
    ];
    let tables = [BETTER_AUTH, ADMIN_PLUGIN, OAUTH_PROVIDER, &insert(OPAQUE)].join(";");
    WithTables::new(&tables, &[&on, variables].concat()).await
}

#[tokio::test]
async fn an_opaque_token_is_looked_up_by_its_hash() {
    let Some(tables) = with_opaque(&[]).await else { return };
    let answer = tables.world.bearer(OPAQUE).await;
    assert_eq!((answer.status.as_u16(), answer.user()), (200, Some("u1")));
    assert_eq!(answer.header("x-user-email"), Some("ada@example.com"));
    assert_eq!(scopes(&answer), Some("openid tasks"));
    tables.world.rejects("AnOpaqueAccessTokenOfThirtyTwoXY").await;
    // What is kept is no token.
    let hash = BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA256, OPAQUE.as_bytes()));
    tables.world.rejects(&hash).await;
    // A session's token is one still, and comes first, where bare ones are accepted.
    tables.world.rejects(crate::tables::TOKEN).await;
    let unsigned = ("AUTH_VERIFIER_SESSION__DANGEROUS_UNSIGNED_BEARER", "on");
    let Some(tables) = with_opaque(&[unsigned]).await else { return };
    assert_eq!(tables.world.bearer(crate::tables::TOKEN).await.user(), Some("u1"));
}

#[tokio::test]
async fn an_access_token_for_a_resource_that_is_not_listed_names_the_setting_that_lists_them() {
    let none = ("AUTH_VERIFIER_OAUTH__AUDIENCES", "");
    for (further, want) in [
        (&[none][..], "no resource is accepted: set AUTH_VERIFIER_OAUTH__AUDIENCES"),
        (&[], "expected https://api.example.com (AUTH_VERIFIER_OAUTH__AUDIENCES)"),
    ] {
        let Some(tables) = with_opaque(further).await else { return };
        tables.run(r#"update "oauthAccessToken" set resources = '["https://other.example.com"]'"#).await;
        let (log, _guard) = Log::listen();
        tables.world.rejects(OPAQUE).await;
        assert!(log.text().contains(want), "{}", log.text());
        assert!(!log.text().contains("set BETTER_AUTH_URL"), "{}", log.text());
    }
    let (world, key) = accepting(&[]).await;
    let (log, _guard) = Log::listen();
    world.rejects(&access_token(&key, &json!({"aud": "https://other.example.com"}))).await;
    assert!(log.text().contains("(AUTH_VERIFIER_OAUTH__AUDIENCES)"), "{}", log.text());
}

#[tokio::test]
async fn an_opaque_token_ends_with_everything_that_it_rests_on() {
    for (change, status) in [
        (r#"update "oauthAccessToken" set "expiresAt" = now()"#, 401),
        (r#"update "oauthAccessToken" set revoked = now()"#, 401),
        (r#"update "oauthAccessToken" set confirmation = '{"jkt":"x"}'"#, 401),
        (r#"update "oauthAccessToken" set confirmation = 'null'"#, 200),
        (r#"update "oauthAccessToken" set "userId" = null"#, 401),
        (r#"update "oauthAccessToken" set resources = '["https://other.example.com"]'"#, 401),
        (r#"update "oauthAccessToken" set resources = '["https://api.example.com"]'"#, 200),
        (r#"update "oauthAccessToken" set resources = '[]'"#, 200),
        // Whom it is for can't be known, which is not the same as nobody in particular.
        (r#"update "oauthAccessToken" set resources = '"https://other.example.com"'"#, 503),
        (r#"update "oauthAccessToken" set resources = '[{"uri":"https://other.example.com"}]'"#, 503),
        (r#"update "oauthClient" set disabled = true"#, 401),
        (r#"update "oauthClient" set disabled = false"#, 200),
        (r#"update session set "expiresAt" = now()"#, 401),
        // As in Better Auth: the token is then one without a session.
        ("delete from session", 200),
        (r#"update "user" set banned = true"#, 403),
        (r#"delete from "oauthAccessToken""#, 401),
    ] {
        let Some(tables) = with_opaque(&[]).await else { return };
        assert_eq!(tables.world.bearer(OPAQUE).await.status, 200);
        tables.run(change).await;
        assert_eq!(tables.world.bearer(OPAQUE).await.status, status, "{change}");
    }
}

const BEARER_SIGNED: (&str, &str) = ("AUTH_VERIFIER_SESSION__BEARER", "signed");
const BEARER_OFF: (&str, &str) = ("AUTH_VERIFIER_SESSION__BEARER", "off");

#[tokio::test]
async fn an_opaque_token_that_is_over_is_not_made_good_by_a_cookie() {
    let session = SessionToken::bare(crate::tables::TOKEN).unwrap();
    let cookie = format!("better-auth.session_token={}", SigningKey::new(SECRET).sign(&session));
    let unsigned = ("AUTH_VERIFIER_SESSION__DANGEROUS_UNSIGNED_BEARER", "on");
    for bearer in [unsigned, BEARER_SIGNED, BEARER_OFF] {
        let variables = [bearer, ("AUTH_VERIFIER_OAUTH__OPAQUE_PREFIX", "acme_")];
        let Some(tables) = with_opaque(&variables).await else { return };
        let asked = async |token: &str| {
            let request = Request::get("/verify").header("authorization", format!("Bearer {token}"));
            tables.world.get(request.header("cookie", &cookie).body(Body::empty()).unwrap()).await
        };
        let (ours, other) = (format!("acme_{OPAQUE}"), format!("other_{OPAQUE}"));
        assert_eq!(asked(&ours).await.header("x-credential"), Some("bearer"), "{bearer:?}");
        tables.run(r#"update "oauthAccessToken" set revoked = now()"#).await;
        assert_eq!(asked(&ours).await.status, 401, "{bearer:?}");
        // One that can be neither is none, as it is in Better Auth.
        let passed_over = bearer != unsigned;
        assert_eq!(asked(&other).await.status == 200, passed_over, "{bearer:?}");
    }
}

#[tokio::test]
async fn opaque_tokens_may_have_a_prefix_and_must_have_the_scopes() {
    let Some(tables) = with_opaque(&[("AUTH_VERIFIER_OAUTH__OPAQUE_PREFIX", "acme_")]).await else { return };
    assert_eq!(tables.world.bearer(&format!("acme_{OPAQUE}")).await.user(), Some("u1"));
    tables.world.rejects(OPAQUE).await;
    let Some(tables) = with_opaque(&[("AUTH_VERIFIER_OAUTH__SCOPES", "admin")]).await else { return };
    assert_eq!(tables.world.bearer(OPAQUE).await.status, 403);
}

#[tokio::test]
async fn opaque_tokens_are_not_accepted_unless_it_is_set() {
    let tables = [BETTER_AUTH, OAUTH_PROVIDER, &insert(OPAQUE)].join(";");
    let Some(tables) = WithTables::new(&tables, &[]).await else { return };
    tables.world.rejects(OPAQUE).await;
}
