//! Session cookies and tokens, looked up by asking somebody who answers as Better Auth does.

use auth_verifier::{
    better_auth::lookups::Question,
    session::token::{SessionToken, SigningKey},
    settings::Settings,
};
use chassis::{Body, clock::UnixSeconds};
use http::Request;
use serde_json::{Value, json};

use crate::{
    issuer::{Endpoint, Signing},
    world::{Answer, SECRET, World, claims},
};

pub const TOKEN: &str = "D9XCRDDrH9v3FZ10lmGAzfSKKCzXFnSv";
pub const FAR: &str = "2099-01-01T00:00:00.000Z";

pub fn session(token: &str, expires: &str, user: Value) -> String {
    json!({"session": {"token": token, "userId": user["id"], "expiresAt": expires}, "user": user}).to_string()
}

pub fn ada() -> Value {
    json!({"id": "u1", "email": "ada@example.com"})
}

pub fn cookie(secret: &str) -> String {
    let token = SessionToken::bare(TOKEN).unwrap();
    format!("better-auth.session_token={}", SigningKey::new(secret).sign(&token))
}

async fn by_cookie(world: &World, cookie: &str) -> Answer {
    world.get(Request::get("/verify").header("cookie", cookie).body(Body::empty()).unwrap()).await
}

async fn world(variables: &[(&str, &str)]) -> World {
    let world = World::new(&[&[("AUTH_VERIFIER_SESSION__TIMEOUT_MS", "20000")], variables].concat()).await;
    world.endpoint.answer(200, &session(TOKEN, FAR, ada()));
    world
}

#[tokio::test]
async fn a_session_that_is_alive_says_who_is_calling() {
    let world = world(&[]).await;
    let answer = by_cookie(&world, &cookie(SECRET)).await;
    assert_eq!((answer.status.as_u16(), answer.user()), (200, Some("u1")));
    assert_eq!(
        (answer.header("x-credential"), answer.header("x-user-email")),
        (Some("cookie"), Some("ada@example.com"))
    );
    assert!(answer.header("x-identity-assertion").is_some());
    let answer = world.bearer(cookie(SECRET).split_once('=').unwrap().1).await;
    assert_eq!((answer.status.as_u16(), answer.user()), (200, Some("u1")));
    assert_eq!(answer.header("x-credential"), Some("bearer"));
}

#[tokio::test]
async fn a_session_that_is_not_alive_says_nothing() {
    let world = world(&[("AUTH_VERIFIER_REVOCATION_LAG_SECS", "0")]).await;
    for body in [
        "null".to_owned(),
        session(TOKEN, "2020-01-01T00:00:00.000Z", ada()),
        session(TOKEN, FAR, json!({"id": "u1\r\nx-user-id: u2"})),
        session(TOKEN, FAR, json!({"id": ""})),
    ] {
        world.endpoint.answer(200, &body);
        let answer = by_cookie(&world, &cookie(SECRET)).await;
        assert_eq!((answer.status.as_u16(), answer.user()), (401, None), "{body}");
    }
    world.endpoint.answer(200, &session(TOKEN, FAR, ada()));
    assert_eq!(by_cookie(&world, &cookie(SECRET)).await.status, 200);
}

#[tokio::test]
async fn a_cookie_with_another_signature_is_not_even_looked_up() {
    let world = world(&[]).await;
    let unsigned = format!("better-auth.session_token={TOKEN}");
    let foreign = cookie("another-secret-of-at-least-32-bytes!");
    for bad in [&*unsigned, &foreign, "better-auth.session_token=", "better-auth.session_token=.", "other=1"]
    {
        assert_eq!(by_cookie(&world, bad).await.status, 401, "{bad}");
    }
    let secure = cookie(SECRET).replace("better-auth", "__Secure-better-auth");
    assert_eq!(by_cookie(&world, &secure).await.status, 401, "this Better Auth is not served over TLS");
    assert_eq!(world.endpoint.asked(), 0);
}

#[tokio::test]
async fn a_banned_account_is_known_but_not_allowed() {
    let world = world(&[]).await;
    world.endpoint.answer(200, &session(TOKEN, FAR, json!({"id": "u1", "banned": true})));
    let answer = by_cookie(&world, &cookie(SECRET)).await;
    assert_eq!((answer.status.as_u16(), answer.user()), (403, None));
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
}

#[tokio::test]
async fn where_nobody_can_be_asked_we_can_not_know() {
    let world = world(&[]).await;
    // What a cache that stands between might say.
    let anothers = session("another-token-of-somebody-else-xx", FAR, ada());
    for (status, body) in
        [(500, "null"), (404, "{}"), (200, "<html>"), (200, "{}"), (302, "null"), (200, &*anothers)]
    {
        world.endpoint.answer(status, body);
        let answer = by_cookie(&world, &cookie(SECRET)).await;
        assert_eq!(
            (answer.status.as_u16(), answer.header("retry-after")),
            (503, Some("1")),
            "{status} {body}"
        );
    }
    world.endpoint.answer(200, &session(TOKEN, FAR, ada()));
    assert_eq!(by_cookie(&world, &cookie(SECRET)).await.status, 200, "an error is not remembered");
}

#[tokio::test]
async fn a_look_up_is_reused_for_as_long_as_is_set() {
    let world = world(&[("AUTH_VERIFIER_REVOCATION_LAG_SECS", "300")]).await;
    for _ in 0..10 {
        assert_eq!(by_cookie(&world, &cookie(SECRET)).await.status, 200);
    }
    assert_eq!(world.endpoint.asked(), 1);
    let world = self::world(&[("AUTH_VERIFIER_REVOCATION_LAG_SECS", "0")]).await;
    for _ in 0..3 {
        assert_eq!(by_cookie(&world, &cookie(SECRET)).await.status, 200);
    }
    assert_eq!(world.endpoint.asked(), 3);
}

#[tokio::test]
async fn a_look_up_is_relied_on_from_when_it_was_asked_for_however_long_the_answer_took() {
    let endpoint = Endpoint::new().await;
    let variables = [
        ("BETTER_AUTH_SECRET", SECRET),
        ("BETTER_AUTH_URL", endpoint.url.strip_suffix("/jwks").unwrap()),
        ("AUTH_VERIFIER_SESSION__TIMEOUT_MS", "20000"),
        ("AUTH_VERIFIER_REVOCATION_LAG_SECS", "300"),
    ];
    let plan = chassis::settings::load::<Settings>(&variables.into_iter().collect()).unwrap();
    let lookups = plan.lookups();
    let token = SessionToken::bare(TOKEN).unwrap();
    for (answer, begin) in [(session(TOKEN, FAR, ada()), 1000), ("null".to_owned(), 2000)] {
        endpoint.answer(200, &answer);
        let before = endpoint.asked();
        for (now, asked) in [(begin, 1), (begin + 299, 1), (begin + 300, 2), (begin + 599, 2)] {
            let found = lookups.find(Question::Session(&token), UnixSeconds(now)).await.unwrap();
            assert_eq!(found.is_some(), answer != "null");
            assert_eq!(endpoint.asked() - before, asked, "at {now}");
        }
    }
}

#[tokio::test]
async fn which_session_tokens_are_bearer_tokens_is_a_setting() {
    let signed = cookie(SECRET).split_once('=').unwrap().1.to_owned();
    for (setting, bare_is_good, signed_is_good) in
        [(UNSIGNED, true, true), (SIGNED, false, true), (OFF, false, false)]
    {
        let world = world(&[setting]).await;
        assert_eq!(world.bearer(TOKEN).await.status == 200, bare_is_good, "{setting:?}");
        assert_eq!(world.endpoint.asked() == 1, bare_is_good, "{setting:?}: it is not even looked up");
        assert_eq!(world.bearer(&signed).await.status == 200, signed_is_good, "{setting:?}");
        assert_eq!(by_cookie(&world, &cookie(SECRET)).await.status, 200);
    }
    let world = world(&[]).await;
    assert_eq!(world.bearer(TOKEN).await.status, 401, "nobody has asked for it");
    assert_eq!(world.endpoint.asked(), 0);
}

const UNSIGNED: (&str, &str) = ("AUTH_VERIFIER_SESSION__DANGEROUS_UNSIGNED_BEARER", "on");
const SIGNED: (&str, &str) = ("AUTH_VERIFIER_SESSION__BEARER", "signed");
const OFF: (&str, &str) = ("AUTH_VERIFIER_SESSION__BEARER", "off");

#[test]
fn the_word_that_accepted_bare_session_tokens_is_refused_with_what_it_meant() {
    let load = |bearer: &[(&str, &str)]| {
        let base = [("BETTER_AUTH_SECRET", SECRET)];
        let loaded = chassis::settings::load::<Settings>(&base.iter().chain(bearer).copied().collect());
        loaded.map(|_| ()).map_err(|error| error.to_string())
    };
    let any = load(&[("AUTH_VERIFIER_SESSION__BEARER", "any")]).unwrap_err();
    assert!(any.contains("DANGEROUS_UNSIGNED_BEARER=on") && any.contains("sign in as anybody"), "{any}");
    let both = load(&[OFF, UNSIGNED]).unwrap_err();
    assert!(both.starts_with("AUTH_VERIFIER_SESSION__DANGEROUS_UNSIGNED_BEARER"), "{both}");
    load(&[SIGNED, UNSIGNED]).unwrap();
}

#[tokio::test]
async fn a_bearer_token_that_is_over_is_not_made_good_by_a_cookie_and_one_that_is_none_is_passed_over() {
    let value = |secret| cookie(secret).split_once('=').unwrap().1.to_owned();
    let foreign = value("another-secret-of-at-least-32-bytes!");
    let misspelt = value(SECRET).replace("%3D", "");
    let unknown = "x".repeat(32);
    // Where session tokens are no credential, or bare ones are none, one is not looked at.
    for (setting, bare, spelling) in [(UNSIGNED, 401, 401), (SIGNED, 200, 401), (OFF, 200, 200)] {
        let world = world(&[setting]).await;
        for (token, status) in
            [(&*unknown, bare), (&*misspelt, spelling), (&*foreign, 200), ("garbage", bare), ("a.b.c", 401)]
        {
            // Whoever is asked about a token that is over says so.
            let alive = session(TOKEN, FAR, ada());
            world.endpoint.answer(200, if status == 401 { "null" } else { &alive });
            let request = Request::get("/verify")
                .header("authorization", format!("Bearer {token}"))
                .header("cookie", cookie(SECRET));
            let answer = world.get(request.body(Body::empty()).unwrap()).await;
            assert_eq!(answer.status, status, "{setting:?}: {token}");
        }
    }
}

#[tokio::test]
async fn the_password_of_a_site_is_no_credential_of_ours() {
    let world = world(&[]).await;
    let basic = || Request::get("/verify").header("authorization", "Basic YTpi");
    let both = basic().header("cookie", cookie(SECRET)).body(Body::empty()).unwrap();
    assert_eq!(world.get(both).await.user(), Some("u1"));
    let alone = world.get(basic().body(Body::empty()).unwrap()).await;
    assert_eq!(
        (alone.status.as_u16(), alone.header("www-authenticate")),
        (401, Some("Bearer realm=\"api\""))
    );
}

#[tokio::test]
async fn a_program_without_a_token_is_known_by_its_cookie() {
    let world = world(&[]).await;
    for literal in ["Bearer null", "Bearer undefined", "Bearer ", "Bearer"] {
        let request = || Request::get("/verify").header("authorization", literal);
        let both = request().header("cookie", cookie(SECRET)).body(Body::empty()).unwrap();
        assert_eq!(world.get(both).await.header("x-credential"), Some("cookie"), "{literal}");
        let alone = world.get(request().body(Body::empty()).unwrap()).await;
        assert_eq!(
            (alone.status.as_u16(), alone.header("www-authenticate")),
            (401, Some("Bearer realm=\"api\"")),
            "{literal}"
        );
    }
}

#[tokio::test]
async fn a_verdict_is_not_reused_beyond_the_session_nor_the_lag() {
    let world = world(&[("AUTH_VERIFIER_REVOCATION_LAG_SECS", "2")]).await;
    let age = |answer: &Answer| -> u64 {
        answer.header("cache-control").unwrap().rsplit_once('=').unwrap().1.parse().unwrap()
    };
    let begun = std::time::Instant::now();
    let answer = by_cookie(&world, &cookie(SECRET)).await;
    // Whole seconds: the one that has begun when it was asked is none.
    assert!(begun.elapsed().as_secs() > 0 || age(&answer) <= 1, "{}", age(&answer));
}

#[tokio::test]
async fn sessions_can_be_switched_off() {
    let world = world(&[("AUTH_VERIFIER_SESSION__LOOKUP", "off")]).await;
    let answer = by_cookie(&world, &cookie(SECRET)).await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("www-authenticate")),
        (401, Some("Bearer realm=\"api\""))
    );
    world.rejects(TOKEN).await;
    assert_eq!(world.endpoint.asked(), 0);
}

#[tokio::test]
async fn only_the_current_one_of_several_secrets_signs_sessions() {
    let current = "the-current-secret-of-at-least-32-bytes";
    let versions = format!("2:{current},1:{SECRET}");
    let world = world(&[("BETTER_AUTH_SECRETS", &versions)]).await;
    assert_eq!(by_cookie(&world, &cookie(current)).await.status, 200);
    assert_eq!(by_cookie(&world, &cookie(SECRET)).await.status, 401);
}

#[tokio::test]
async fn an_address_is_passed_on_with_whether_it_was_verified_as_far_as_the_setting_lets_it() {
    let (known, off) = (Some("ada@example.com"), (None, None));
    for (setting, verified, want) in [
        ("any", json!(true), (known, Some("true"))),
        ("any", json!(false), (known, Some("false"))),
        ("any", Value::Null, (known, None)),
        ("any", json!("true"), (known, None)),
        ("any", json!(1), (known, None)),
        ("verified", json!(true), (known, Some("true"))),
        ("verified", json!(false), off),
        ("verified", Value::Null, off),
        ("verified", json!("true"), off),
        ("off", json!(true), off),
    ] {
        let user = json!({"id": "u1", "email": "ada@example.com", "emailVerified": verified});
        let world = world(&[("AUTH_VERIFIER_EMAIL", setting)]).await;
        world.endpoint.answer(200, &session(TOKEN, FAR, user));
        let by_cookie = by_cookie(&world, &cookie(SECRET)).await;
        let key = Signing::new("k1", "EdDSA");
        let with_keys = World::new(&[("AUTH_VERIFIER_EMAIL", setting)]).await;
        with_keys.endpoint.publish(&[key.jwk()]);
        let mut claims = claims();
        claims["emailVerified"] = verified.clone();
        let by_token = with_keys.bearer(&key.token(&claims)).await;
        for answer in [by_cookie, by_token] {
            assert_eq!(answer.user(), Some("u1"));
            let told = (answer.header("x-user-email"), answer.header("x-user-email-verified"));
            assert_eq!(told, want, "{setting}, {verified}");
        }
    }
}

#[tokio::test]
async fn an_address_that_can_not_stand_in_a_header_is_left_away() {
    let world = world(&[("AUTH_VERIFIER_REVOCATION_LAG_SECS", "0")]).await;
    for email in [
        "ada@example.com,admin@example.com",
        "ada @example.com",
        "ada@example.com\r\nx-user-id: u2",
        "adä@example.com",
        "",
    ] {
        world.endpoint.answer(200, &session(TOKEN, FAR, json!({"id": "u1", "email": email})));
        let answer = by_cookie(&world, &cookie(SECRET)).await;
        assert_eq!((answer.status.as_u16(), answer.user()), (200, Some("u1")), "{email:?}");
        assert_eq!(answer.header("x-user-email"), None, "{email:?}");
    }
}
