//! Tokens signed with the shared secret, as many frontends make them.

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use crate::world::{ISSUER, SECRET, World, claims_with, now};

pub fn token(secret: &str, claims: &Value) -> String {
    jsonwebtoken::encode(&Header::default(), claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
}

fn bare() -> Value {
    json!({"sub": "u1", "exp": now() + 900})
}

#[tokio::test]
async fn a_token_with_nothing_but_subject_and_expiry_is_enough() {
    let world = World::new(&[]).await;
    let answer = world.bearer(&token(SECRET, &bare())).await;
    assert_eq!((answer.status.as_u16(), answer.user()), (200, Some("u1")));
    assert_eq!(world.endpoint.asked(), 0, "no key is asked for");
}

#[tokio::test]
async fn what_is_named_must_match_and_what_must_be_there_must_be() {
    let world = World::new(&[]).await;
    assert_eq!(world.bearer(&token(SECRET, &claims_with(json!({})))).await.status, 200);
    for changes in [
        json!({"iss": "https://evil.example"}),
        json!({"iss": 42}),
        json!({"aud": "https://evil.example"}),
        json!({"aud": []}),
        json!({"exp": null}),
        json!({"exp": now() - 31}),
        json!({"sub": null}),
        json!({"sub": ""}),
        json!({"sub": 42}),
    ] {
        world.rejects(&token(SECRET, &claims_with(changes))).await;
    }
}

#[tokio::test]
async fn another_secret_another_algorithm_or_a_changed_claim_is_rejected() {
    let world = World::new(&[]).await;
    world.rejects(&token("another-secret-of-at-least-32-bytes!!", &bare())).await;
    world.rejects(&token("", &bare())).await;
    for algorithm in [Algorithm::HS384, Algorithm::HS512] {
        let key = EncodingKey::from_secret(SECRET.as_bytes());
        world.rejects(&jsonwebtoken::encode(&Header::new(algorithm), &bare(), &key).unwrap()).await;
    }
    let good = token(SECRET, &bare());
    let forged = token(SECRET, &json!({"sub": "u2", "exp": now() + 900}));
    let [header, _, signature] = good.split('.').collect::<Vec<_>>()[..] else { panic!("three parts") };
    world.rejects(&format!("{header}.{}.{signature}", forged.split('.').nth(1).unwrap())).await;
}

#[tokio::test]
async fn issuer_and_audience_can_be_demanded() {
    let world = World::new(&[("AUTH_VERIFIER_HS256__REQUIRE_ISSUER_AND_AUDIENCE", "true")]).await;
    world.rejects(&token(SECRET, &bare())).await;
    for missing in ["iss", "aud"] {
        world.rejects(&token(SECRET, &claims_with(json!({missing: null})))).await;
    }
    assert_eq!(world.bearer(&token(SECRET, &claims_with(json!({"aud": [ISSUER]})))).await.status, 200);
}

#[tokio::test]
async fn they_can_be_switched_off() {
    let world = World::new(&[("AUTH_VERIFIER_HS256__ENABLED", "false")]).await;
    world.rejects(&token(SECRET, &bare())).await;
}

#[tokio::test]
async fn a_development_token_is_accepted() {
    let world = World::new(&[]).await;
    let hour = std::time::Duration::from_secs(3600);
    let answer = world.bearer(&auth_verifier::diagnostics::dev_token::mint(SECRET, "demo-user", hour)).await;
    assert_eq!((answer.status.as_u16(), answer.user()), (200, Some("demo-user")));
}
