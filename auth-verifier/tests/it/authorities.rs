//! Several issuers at once, each with keys of its own.

use std::io::Write;

use serde_json::{Value, json};
use tempfile::NamedTempFile;

use crate::{
    issuer::{Endpoint, Signing},
    world::{ISSUER, World, claims, claims_with},
};

const PARTNER: &str = "https://id.partner.example";

fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn trusted(keys: &str, prefix: &str) -> NamedTempFile {
    file(&format!(
        "[[trusted]]\nissuers = [\"{PARTNER}\"]\naudiences = [\"api\"]\n{keys}\nuser_prefix = \"{prefix}\"\n"
    ))
}

fn partners(changes: Value) -> Value {
    let mut claims = claims_with(json!({"iss": PARTNER, "aud": "api"}));
    claims.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    claims
}

#[tokio::test]
async fn each_issuer_is_believed_by_its_own_keys_alone_and_speaks_of_its_own_users() {
    let endpoint = Endpoint::new().await;
    let config = trusted(&format!("jwks_url = \"{}\"", endpoint.url), "partner:");
    let world = World::new(&[("AUTH_VERIFIER_CONFIG", config.path().to_str().unwrap())]).await;
    // Even under one key id.
    let (ours, theirs) = (Signing::new("k1", "EdDSA"), Signing::new("k1", "ES256"));
    world.endpoint.publish(&[ours.jwk()]);
    endpoint.publish(&[theirs.jwk()]);

    assert_eq!(world.bearer(&ours.token(&claims())).await.user(), Some("u1"));
    let partner = world.bearer(&theirs.token(&partners(json!({})))).await;
    assert_eq!(partner.user(), Some("partner:u1"));
    assert_eq!(partner.header("x-user-email"), None, "theirs might be the address of one of ours");

    world.rejects(&theirs.token(&claims())).await;
    world.rejects(&ours.token(&partners(json!({})))).await;
    for changes in [json!({"aud": ISSUER}), json!({"iss": "https://id.partner.example/"}), json!({"sub": ""})]
    {
        world.rejects(&theirs.token(&partners(changes))).await;
    }
    world.rejects(&theirs.token(&partners(json!({"sub": "x".repeat(255)})))).await;
}

#[tokio::test]
async fn nobody_of_ours_is_called_as_a_trusted_issuers_users_are() {
    let session = |user: &str| {
        crate::sessions::session(crate::sessions::TOKEN, crate::sessions::FAR, json!({"id": user}))
    };
    let config = trusted("jwks_url = \"http://127.0.0.1:1/jwks\"", "partner:");
    let world = World::new(&[
        ("AUTH_VERIFIER_CONFIG", config.path().to_str().unwrap()),
        ("AUTH_VERIFIER_REVOCATION_LAG_SECS", "0"),
        ("AUTH_VERIFIER_SESSION__TIMEOUT_MS", "20000"),
    ])
    .await;
    let ours = Signing::new("k1", "EdDSA");
    world.endpoint.publish(&[ours.jwk()]);
    for (user, status) in [("partner:u1", 401), ("partner:", 401), ("partner", 200), ("a-partner:u1", 200)] {
        world.endpoint.publish(&[ours.jwk()]);
        let by_key = world.bearer(&ours.token(&claims_with(json!({"sub": user})))).await;
        assert_eq!(by_key.status, status, "{user}");
        let life = std::time::Duration::from_secs(60);
        let by_secret = world
            .bearer(&auth_verifier::diagnostics::dev_token::mint(crate::world::SECRET, user, life))
            .await;
        assert_eq!(by_secret.status, status, "{user}");
        world.endpoint.answer(200, &session(user));
        let cookie = crate::sessions::cookie(crate::world::SECRET);
        let request = http::Request::get("/verify").header("cookie", cookie);
        let by_cookie = world.get(request.body(chassis::Body::empty()).unwrap()).await;
        assert_eq!(by_cookie.status, status, "{user}");
    }
}

#[tokio::test]
async fn a_stranger_causes_no_fetch() {
    let world = World::impatient().await;
    let stranger = Signing::new("k9", "EdDSA");
    for issuer in [json!("https://evil.example"), json!(7), json!(null)] {
        world.rejects(&stranger.token(&claims_with(json!({"iss": issuer})))).await;
    }
    assert_eq!(world.endpoint.asked(), 0);
}

#[tokio::test]
async fn one_issuer_out_of_reach_is_no_trouble_for_the_others() {
    let config = trusted("jwks_url = \"http://127.0.0.1:1/jwks\"", "partner:");
    let world = World::new(&[("AUTH_VERIFIER_CONFIG", config.path().to_str().unwrap())]).await;
    let (ours, theirs) = (Signing::new("k1", "EdDSA"), Signing::new("k1", "ES256"));
    world.endpoint.publish(&[ours.jwk()]);
    assert_eq!(world.bearer(&theirs.token(&partners(json!({})))).await.status, 503);
    assert_eq!(world.bearer(&ours.token(&claims())).await.status, 200);
}

#[test]
fn an_unsafe_list_of_issuers_does_not_start() {
    let load = |text: &str| {
        let config = file(text);
        let variables = [
            ("BETTER_AUTH_URL", ISSUER),
            ("BETTER_AUTH_SECRET", crate::world::SECRET),
            ("AUTH_VERIFIER_CONFIG", config.path().to_str().unwrap()),
        ];
        let loaded =
            chassis::settings::load::<auth_verifier::settings::Settings>(&variables.into_iter().collect());
        loaded.map(|_| ()).map_err(|error| error.to_string())
    };
    let with = |issuers: &str, audiences: &str, keys: &str, prefix: &str| {
        format!("[[trusted]]\nissuers = {issuers}\naudiences = {audiences}\n{keys}\n{prefix}\n")
    };
    let (url, prefix) = ("jwks_url = \"https://a.test/jwks\"", "user_prefix = \"a:\"");
    let good = with("[\"https://a.test\"]", "[\"api\"]", url, prefix);
    load(&good).unwrap();
    let both = |first: &str, second: &str| {
        let one = |issuer: &str, prefix: &str| {
            with(
                &format!("[\"https://{issuer}.test\"]"),
                "[\"api\"]",
                url,
                &format!("user_prefix = \"{prefix}\""),
            )
        };
        [one("a", first), one("b", second)].concat()
    };
    for (first, second) in [("a:", "b:"), ("a:", ""), ("", ""), ("a:", "a:"), ("ab:", "a:")] {
        load(&both(first, second)).unwrap();
    }
    for (bad, want) in [
        (with("[]", "[\"api\"]", url, prefix), "trusted[0].issuers: name the issuers"),
        (with("[\"https://a.test\"]", "[]", url, prefix), "trusted[0].audiences: name the audiences"),
        (with("[\"https://a.test\"]", "[\"api\"]", "", prefix), "trusted[0].jwks_url: set either"),
        (
            with("[\"https://a.test\"]", "[\"api\"]", &format!("{url}\njwks_file = \"/a\""), prefix),
            "trusted[0].jwks_url: set either",
        ),
        (with("[\"https://a.test\"]", "[\"api\"]", url, ""), "user_prefix"),
        (
            with("[\"https://a.test\"]", "[\"api\"]", url, "user_prefix = \"a,b\""),
            "trusted[0].user_prefix: must be",
        ),
        (
            with(&format!("[\"{ISSUER}\"]"), "[\"api\"]", url, prefix),
            "trusted[0].issuers: http://localhost:3000 is accepted already",
        ),
        // `p` would make `p` and 31 characters of its own choice one of ours.
        (both("a:", "p"), "trusted[1].user_prefix: must end in"),
        (both("p-", "a:"), "trusted[0].user_prefix: must end in"),
        (both("p_", "a:"), "trusted[0].user_prefix: must end in"),
        // The user `b:1` of the one would be the user `1` of the other.
        (both("a:", "a:b:"), "trusted[1].user_prefix: must not be told from a: by its end alone"),
        (both("a:b:", "a:"), "trusted[1].user_prefix: must not be told from a:b: by its end alone"),
        (good.repeat(2), "trusted[1].issuers: https://a.test is accepted already"),
    ] {
        let error = load(&bad).unwrap_err();
        assert!(error.contains(want), "{error}");
    }
}
