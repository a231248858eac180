//! Where keys come from.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::{
    issuer::Signing,
    world::{World, claims, claims_with, impatient_with_key, with_key},
};

#[tokio::test]
async fn better_auth_is_asked_by_its_own_name_wherever_it_is_asked() {
    let (world, key) = with_key(&[("BETTER_AUTH_URL", "https://app.example.com")]).await;
    let origin = "https://app.example.com";
    let token = key.token(&claims_with(json!({"iss": origin, "aud": origin})));
    assert_eq!(world.bearer(&token).await.user(), Some("u1"));
    let told = |name: &str| world.endpoint.heard(name);
    assert_eq!(told("host").as_deref(), Some("app.example.com"));
    assert_eq!(told("x-forwarded-proto").as_deref(), Some("https"), "as any proxy would say it");
}

#[tokio::test]
async fn a_new_key_is_accepted_at_once_and_a_flood_of_unknown_ones_costs_one_fetch() {
    let (world, old) = with_key(&[]).await;
    assert_eq!(world.bearer(&old.token(&claims())).await.status, 200);
    assert_eq!(world.endpoint.asked(), 1);

    let kids: Vec<String> = (0..200).map(|n| format!("random-{n}")).collect();
    // The first may be fetched for; then the keys are not fetched again for a while, and who knows.
    for kid in &kids {
        let answer = world.bearer(&old.token_with(&json!({"alg": "EdDSA", "kid": kid}), &claims())).await;
        assert_eq!((answer.status.as_u16(), answer.user()), (503, None));
        let secs: u32 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=30).contains(&secs), "{secs}");
    }
    assert_eq!(world.bearer(&old.token(&claims())).await.status, 200, "valid tokens keep passing");
    assert_eq!(world.endpoint.asked(), 1, "within the cool-down");

    let (world, old) = impatient_with_key().await;
    assert_eq!(world.bearer(&old.token(&claims())).await.status, 200);
    let new = Signing::new("k2", "ES256");
    world.endpoint.publish(&[old.jwk(), new.jwk()]);
    assert_eq!(world.bearer(&new.token(&claims())).await.status, 200);
    assert_eq!(world.bearer(&old.token(&claims())).await.status, 200);
    assert_eq!(world.endpoint.asked(), 2);
}

#[tokio::test]
async fn a_key_that_is_published_while_the_keys_are_being_fetched_is_found() {
    let (world, old) = with_key(&[]).await;
    let (world, new) = (Arc::new(world), Signing::new("k2", "ES256"));
    world.endpoint.hold();
    let ask = |token: String| {
        let world = world.clone();
        tokio::spawn(async move { world.bearer(&token).await.status.as_u16() })
    };
    let first = ask(old.token(&claims()));
    world.endpoint.wait_for(1).await;
    // What is under way was read before that.
    world.endpoint.publish(&[old.jwk(), new.jwk()]);
    let joiner = ask(new.token(&claims()));
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    world.endpoint.release();
    assert_eq!(first.await.unwrap(), 200);
    assert_eq!(joiner.await.unwrap(), 200);
    assert_eq!(world.endpoint.asked(), 2);
}

#[tokio::test]
async fn where_better_auth_is_started_last_its_tokens_are_good_a_second_later() {
    let place = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = place.local_addr().unwrap().to_string();
    drop(place);
    let url = format!("http://{address}/api/auth/jwks");
    let world = World::new(&[("AUTH_VERIFIER_JWKS_URL", &url)]).await;
    tokio::spawn(world.verifier.clone().keep_fresh());
    let key = Signing::new("k1", "EdDSA");
    // For long enough that failed fetches would come ever further apart.
    for _ in 0..35 {
        assert_eq!(world.bearer(&key.token(&claims())).await.status, 503);
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let endpoint = crate::issuer::Endpoint::at(&address).await;
    endpoint.publish(&[key.jwk()]);
    tokio::time::sleep(std::time::Duration::from_millis(1010)).await;
    assert_eq!(world.bearer(&key.token(&claims())).await.status, 200, "by a fetch of the request's own");
}

#[tokio::test]
async fn without_keys_we_can_not_know() {
    let (world, key) = with_key(&[]).await;
    for (status, body) in
        [(500, "{}"), (200, "<html>"), (200, "{\"keys\":[]}"), (200, "{\"keys\":{}}"), (302, "{\"keys\":[]}")]
    {
        let (world, key) = with_key(&[]).await;
        world.endpoint.answer(status, body);
        let answer = world.bearer(&key.token(&claims())).await;
        assert_eq!(
            (answer.status.as_u16(), answer.header("retry-after")),
            (503, Some("1")),
            "{status} {body}"
        );
        assert_eq!(answer.user(), None);
    }
    let too_large = json!({"keys": [key.jwk()], "pad": "x".repeat(256 * 1024)});
    world.endpoint.answer(200, &too_large.to_string());
    assert_eq!(world.bearer(&key.token(&claims())).await.status, 503);
}

#[tokio::test]
async fn the_last_good_keys_outlive_an_outage() {
    let (world, key) = impatient_with_key().await;
    assert_eq!(world.bearer(&key.token(&claims())).await.status, 200);
    world.endpoint.answer(200, "{\"keys\":[]}");
    let unknown = Signing::new("k2", "EdDSA");
    assert_eq!(world.bearer(&unknown.token(&claims())).await.status, 503, "a key we may have missed");
    assert_eq!(world.bearer(&key.token(&claims())).await.status, 200);
    world.endpoint.stop().await;
    assert_eq!(world.bearer(&key.token(&claims())).await.status, 200);
}

#[tokio::test]
async fn an_odd_key_is_left_out_and_never_costs_the_others() {
    let good = Signing::new("good", "EdDSA");
    let (ed, es, rs) =
        (Signing::new("k1", "EdDSA"), Signing::new("k1", "ES256"), Signing::new("k1", "RS256"));
    let with = |key: &Signing, changes: Value| {
        let mut jwk = key.jwk();
        jwk.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        jwk
    };
    for (key, odd) in [
        (&ed, with(&ed, json!({"use": "enc"}))),
        (&ed, with(&ed, json!({"key_ops": ["sign"]}))),
        (&ed, with(&ed, json!({"alg": "ES256"}))),
        (&ed, with(&ed, json!({"alg": "HS256"}))),
        (&ed, with(&ed, json!({"alg": "unknown"}))),
        (&ed, with(&ed, json!({"crv": "Ed448"}))),
        (&ed, with(&ed, json!({"kty": "oct", "alg": "HS256", "k": "c2VjcmV0"}))),
        (&ed, with(&ed, json!({"x": "AAAA"}))),
        (&ed, with(&ed, json!({"x": 7}))),
        (&ed, with(&ed, json!({"d": "AAAA"}))),
        (&ed, with(&ed, json!({"kid": 7}))),
        (&ed, json!("k1")),
        (&es, with(&es, json!({"crv": "P-384"}))),
        (&es, with(&es, json!({"x": "AAAA"}))),
        (&es, with(&es, json!({"x": es.jwk()["y"], "y": es.jwk()["x"]}))),
        (&es, with(&es, json!({"alg": "RS256"}))),
        (&rs, with(&rs, json!({"e": "AQ"}))),
        (&rs, with(&rs, json!({"e": "AAE"}))),
        (&rs, with(&rs, json!({"e": "Ag"}))),
        (&rs, with(&rs, json!({"e": ""}))),
        (&rs, with(&rs, json!({"n": "A".repeat(170)}))),
        (&rs, with(&rs, json!({"alg": "PS256"}))),
        (&rs, with(&rs, json!({"alg": null}))),
    ] {
        let world = World::impatient().await;
        world.endpoint.publish(&[odd, good.jwk()]);
        world.rejects(&key.token(&claims())).await;
        assert_eq!(world.bearer(&good.token(&claims())).await.status, 200);
    }
}

#[tokio::test]
async fn a_key_id_that_stands_for_two_keys_stands_for_none() {
    let world = World::new(&[]).await;
    let (one, two) = (Signing::new("k1", "EdDSA"), Signing::new("k1", "EdDSA"));
    let other = Signing::new("k2", "EdDSA");
    world.endpoint.publish(&[one.jwk(), two.jwk(), other.jwk()]);
    for key in [&one, &two] {
        world.rejects(&key.token(&claims())).await;
    }
    assert_eq!(world.bearer(&other.token(&claims())).await.status, 200);
}

#[tokio::test]
async fn a_set_has_a_bound() {
    let key = Signing::new("k1", "EdDSA");
    let set = |count: usize| -> Vec<Value> {
        let named = |n: usize| {
            let mut jwk = key.jwk();
            jwk["kid"] = format!("k{n}").into();
            jwk
        };
        (1..=count).map(named).collect()
    };
    let world = World::new(&[]).await;
    world.endpoint.publish(&set(64));
    assert_eq!(world.bearer(&key.token(&claims())).await.status, 200);
    let world = World::new(&[]).await;
    world.endpoint.publish(&set(65));
    assert_eq!(world.bearer(&key.token(&claims())).await.status, 503);
}

#[tokio::test]
async fn a_key_without_alg_is_for_what_its_curve_is_for() {
    let world = World::new(&[]).await;
    let keys = [Signing::new("a", "EdDSA"), Signing::new("b", "ES256"), Signing::new("c", "ES512")];
    let bare: Vec<Value> = keys
        .iter()
        .map(|key| {
            let mut jwk = key.jwk();
            jwk.as_object_mut().unwrap().remove("alg");
            jwk
        })
        .collect();
    world.endpoint.publish(&bare);
    for key in &keys {
        assert_eq!(world.bearer(&key.token(&claims())).await.status, 200, "{}", key.alg);
    }
}

#[tokio::test]
async fn published_keys_can_be_switched_off() {
    let (world, key) = with_key(&[("AUTH_VERIFIER_JWKS__ENABLED", "false")]).await;
    world.rejects(&key.token(&claims())).await;
    assert_eq!(world.endpoint.asked(), 0);
}

#[tokio::test]
async fn tokens_of_a_key_that_is_gone_leave_the_next_fetch_to_a_new_one() {
    let (world, old) = impatient_with_key().await;
    let gone = Signing::new("gone", "EdDSA");
    for _ in 0..20 {
        world.rejects(&gone.token(&claims())).await;
    }
    assert_eq!(world.endpoint.asked(), 1, "it is remembered as missing");
    let new = Signing::new("k2", "ES256");
    world.endpoint.publish(&[old.jwk(), new.jwk()]);
    assert_eq!(world.bearer(&new.token(&claims())).await.status, 200);
}

#[tokio::test]
async fn a_key_that_was_taken_back_is_refused_once_the_keys_were_fetched_again() {
    let (world, old) = impatient_with_key().await;
    assert_eq!(world.bearer(&old.token(&claims())).await.status, 200);
    let new = Signing::new("k2", "EdDSA");
    world.endpoint.publish(&[new.jwk()]);
    assert_eq!(world.bearer(&new.token(&claims())).await.status, 200);
    world.rejects(&old.token(&claims())).await;
}
