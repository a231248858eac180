//! The cookie cache through the front door: signed with public keys, and, where that is asked for, by itself.

use chassis::Body;
use http::Request;
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};

use auth_verifier::session::token::{SessionToken, SigningKey};

use crate::{
    issuer::Signing,
    world::{Answer, ISSUER, SECRET, World, now, with_key},
};

const TOKEN: &str = "D9XCRDDrH9v3FZ10lmGAzfSKKCzXFnSv";

fn payload(changes: Value) -> Value {
    let mut payload = json!({
        "session": {"token": TOKEN, "userId": "u1", "expiresAt": "2099-01-01T00:00:00.000Z", "id": "s1"},
        "user": {"id": "u1", "email": "ada@example.com"}, "updatedAt": 1, "version": "1",
        "iat": now(), "exp": now() + 300,
    });
    payload.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    payload
}

fn asymmetric(key: &Signing, changes: Value) -> String {
    let mut claims =
        payload(json!({"sid": TOKEN, "iss": ISSUER, "aud": "better-auth:session-cache", "sub": "u1"}));
    claims.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    let typ = "better-auth.session-cache+jwt";
    key.token_with(&json!({"alg": key.alg, "kid": key.kid, "typ": typ}), &claims)
}

/// Nobody answers look-ups, so whoever gets in came by the cache.
async fn with_jwks() -> (World, Signing) {
    with_key(&[
        ("AUTH_VERIFIER_COOKIE_CACHE__STRATEGY", "jwt-jwks"),
        ("AUTH_VERIFIER_SESSION__URL", "http://127.0.0.1:1"),
    ])
    .await
}

async fn ask(world: &World, data: &str) -> Answer {
    let token = SigningKey::new(SECRET).sign(&SessionToken::bare(TOKEN).unwrap());
    let cookie = format!("better-auth.session_token={token}; better-auth.session_data={data}");
    world.get(Request::get("/verify").header("cookie", cookie).body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn a_cache_signed_with_published_keys_spares_the_look_up() {
    let (world, key) = with_jwks().await;
    for issuer in [ISSUER, "better-auth:session-cache"] {
        let answer = ask(&world, &asymmetric(&key, json!({"iss": issuer}))).await;
        assert_eq!((answer.status.as_u16(), answer.user()), (200, Some("u1")), "{issuer}");
    }
    world.rejects(&asymmetric(&key, json!({}))).await;
}

#[tokio::test]
async fn a_cache_that_is_not_quite_so_is_none() {
    let (world, key) = with_jwks().await;
    let other = Signing::new("k1", "EdDSA");
    let api = key.token(&payload(json!({"sid": TOKEN, "iss": ISSUER, "aud": ISSUER, "sub": "u1"})));
    let shared = jsonwebtoken::encode(
        &Header { typ: None, ..Header::default() },
        &payload(json!({})),
        &EncodingKey::from_secret(SECRET.as_bytes()),
    )
    .unwrap();
    let mut bad = vec![api, shared, asymmetric(&other, json!({}))];
    for changes in [
        json!({"sub": "u2"}),
        json!({"sid": "s1"}),
        json!({"aud": ISSUER}),
        json!({"iss": "https://evil.example"}),
        json!({"exp": now() - 16}),
        json!({"version": "2"}),
        json!({"user": {"id": "u2"}}),
        json!({"session": {"token": "x", "userId": "u1", "expiresAt": "2099-01-01T00:00:00.000Z"}}),
        json!({"session": {"token": TOKEN, "userId": "u1", "expiresAt": "2020-01-01T00:00:00.000Z"}}),
    ] {
        bad.push(asymmetric(&key, changes));
    }
    for data in bad {
        // It has to be looked up, and nobody answers.
        assert_eq!(ask(&world, &data).await.status, 503, "{data}");
    }
}

fn shared(secret: &str, changes: Value) -> String {
    let header = Header { typ: None, ..Header::default() };
    jsonwebtoken::encode(&header, &payload(changes), &EncodingKey::from_secret(secret.as_bytes())).unwrap()
}

#[tokio::test]
async fn a_cache_by_itself_is_a_bearer_token_only_where_it_is_asked_for() {
    let world = World::new(&[]).await;
    world.rejects(&shared(SECRET, json!({}))).await;

    for lookup in ["http", "off"] {
        let world = World::new(&[
            ("AUTH_VERIFIER_COOKIE_CACHE__BEARER", "on"),
            ("AUTH_VERIFIER_SESSION__LOOKUP", lookup),
        ])
        .await;
        let answer = world.bearer(&shared(SECRET, json!({}))).await;
        assert_eq!((answer.status.as_u16(), answer.user()), (200, Some("u1")));
        assert_eq!(answer.header("x-credential"), Some("bearer"));
        for changes in [
            json!({"exp": now() - 1}),
            json!({"version": "2"}),
            json!({"user": {"id": "u2"}}),
            json!({"session": {"token": TOKEN, "userId": "u1", "expiresAt": "2020-01-01T00:00:00.000Z"}}),
            json!({"session": null}),
        ] {
            world.rejects(&shared(SECRET, changes)).await;
        }
        world.rejects(&shared("another-secret-of-at-least-32-bytes!", json!({}))).await;
    }
}

#[tokio::test]
async fn an_older_secret_is_good_for_as_long_as_its_grace() {
    let current = "the-current-secret-of-at-least-32-bytes";
    let versions = format!("2:{current},1:{SECRET}");
    let old = auth_verifier::diagnostics::dev_token::mint(SECRET, "u1", std::time::Duration::from_secs(60));
    for (until, good) in [("", false), ("2020-01-01T00:00:00Z", false), ("2099-01-01T00:00:00Z", true)] {
        let world = World::new(&[
            ("BETTER_AUTH_SECRETS", &versions),
            ("AUTH_VERIFIER_BETTER_AUTH__OLD_SECRETS_UNTIL", until),
            ("AUTH_VERIFIER_COOKIE_CACHE__STRATEGY", "jwt"),
            ("AUTH_VERIFIER_SESSION__URL", "http://127.0.0.1:1"),
        ])
        .await;
        assert_eq!(world.bearer(&old).await.status == 200, good, "HS256, {until:?}");
        // Signed with the old secret, both.
        assert_eq!(ask(&world, &shared(SECRET, json!({}))).await.status == 200, good, "cookie, {until:?}");
    }
}

#[tokio::test]
async fn a_cached_cookie_cache_ends_with_its_key_and_is_still_for_one_session() {
    let world = World::impatient_with(&[
        ("AUTH_VERIFIER_COOKIE_CACHE__STRATEGY", "jwt-jwks"),
        ("AUTH_VERIFIER_SESSION__URL", "http://127.0.0.1:1"),
    ])
    .await;
    let key = Signing::new("k1", "EdDSA");
    world.endpoint.publish(&[key.jwk()]);
    let data = asymmetric(&key, json!({}));
    for _ in 0..2 {
        assert_eq!(ask(&world, &data).await.user(), Some("u1"));
    }
    let other = SessionToken::bare("E9XCRDDrH9v3FZ10lmGAzfSKKCzXFnSv").unwrap();
    let other = SigningKey::new(SECRET).sign(&other);
    let cookie = format!("better-auth.session_token={other}; better-auth.session_data={data}");
    let mixed = Request::get("/verify").header("cookie", cookie).body(Body::empty()).unwrap();
    assert_eq!(world.get(mixed).await.status, 503, "it has to be looked up, and nobody answers");

    world.endpoint.publish(&[Signing::new("k2", "EdDSA").jwk()]);
    world.rejects(&key.token_with(&json!({"alg": "EdDSA", "kid": "k3"}), &crate::world::claims())).await;
    assert_eq!(ask(&world, &data).await.status, 503);
}
