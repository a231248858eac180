//! Tokens that were verified are cached, and never for too long.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use chassis::clock::{Clock, UnixSeconds};
use serde_json::json;

use crate::{
    issuer::Signing,
    world::{World, claims, claims_with, impatient_with_key, now},
};

/// Has the keys fetched again, by a token that names an unknown one.
async fn refetch(world: &World, any: &Signing) {
    let asked = world.endpoint.asked();
    let kid = format!("refetch-{asked}");
    world.rejects(&any.token_with(&json!({"alg": any.alg, "kid": kid}), &claims())).await;
    assert_eq!(world.endpoint.asked(), asked + 1);
}

#[tokio::test]
async fn a_cached_token_ends_with_its_key() {
    let (world, key) = impatient_with_key().await;
    let token = key.token(&claims());
    assert_eq!(world.bearer(&token).await.status, 200);
    let other = Signing::new("k2", "EdDSA");
    world.endpoint.publish(&[other.jwk()]);
    refetch(&world, &key).await;
    world.rejects(&token).await;
    world.endpoint.publish(&[key.jwk()]);
    refetch(&world, &key).await;
    assert_eq!(world.bearer(&token).await.status, 200);
    // Another key under the same id is another key.
    world.endpoint.publish(&[Signing::new("k1", "EdDSA").jwk()]);
    refetch(&world, &key).await;
    world.rejects(&token).await;
}

#[tokio::test]
async fn a_cached_token_outlives_a_fetch_that_brings_the_same_key() {
    let (world, key) = impatient_with_key().await;
    let token = key.token(&claims());
    assert_eq!(world.bearer(&token).await.status, 200);
    refetch(&world, &key).await;
    assert_eq!(world.bearer(&token).await.user(), Some("u1"));
}

#[tokio::test]
async fn a_cached_token_ends_when_it_ends() {
    let time = Arc::new(AtomicU64::new(now()));
    let clock = Clock::of({
        let time = time.clone();
        move || UnixSeconds(time.load(Ordering::SeqCst))
    });
    let world = World::at(clock, &[("AUTH_VERIFIER_LEEWAY_SECS", "0")]).await;
    let key = Signing::new("k1", "EdDSA");
    world.endpoint.publish(&[key.jwk()]);
    let end = now() + 20;
    let token = key.token(&claims_with(json!({"exp": end})));
    for (at, status) in [(end - 20, 200), (end - 1, 200), (end, 401), (end + 1, 401)] {
        time.store(at, Ordering::SeqCst);
        let answer = world.bearer(&token).await;
        assert_eq!((answer.status.as_u16(), answer.user().is_some()), (status, status == 200), "at {at}");
    }
}

#[tokio::test]
async fn what_is_cached_of_one_token_says_nothing_of_another() {
    let (world, key) = impatient_with_key().await;
    let (ada, bob) = (key.token(&claims()), key.token(&claims_with(json!({"sub": "u2"}))));
    for _ in 0..2 {
        assert_eq!(world.bearer(&ada).await.user(), Some("u1"));
        assert_eq!(world.bearer(&bob).await.user(), Some("u2"));
        let (start, signature) = ada.rsplit_once('.').unwrap();
        let other = bob.rsplit_once('.').unwrap().1;
        world.rejects(&format!("{start}.{other}")).await;
        world.rejects(&format!("{start}.{}", &signature[..signature.len() - 1])).await;
        world.rejects(&format!("{ada}=")).await;
    }
}
