//! Both ends of the identity contract: what we sign is what a service behind the gateway believes.

use chassis::{clock::UnixSeconds, serve, settings::ServiceUrl};
use http::HeaderMap;
use identity::{ASSERTION, Rejection, USER_ID, Verifier, VerifyError};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use auth_verifier::transport::http::stack;

use crate::world::{World, claims, claims_with, with_key};

/// A service's verifier, with the keys that this auth-verifier publishes on a real socket.
async fn behind(world: &World, audience: &str) -> std::sync::Arc<Verifier> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let jwks = format!("http://{}{}", listener.local_addr().unwrap(), identity::JWKS_PATH);
    let (stack, server) = (stack(world.verifier.clone(), world.errors_as), world.server.clone());
    tokio::spawn(async move { serve::serve(listener, stack, &server, CancellationToken::new()).await });
    Verifier::new(&ServiceUrl::parse(&jwks).unwrap(), audience)
}

/// The identity headers of a verdict, as the gateway puts them on a request.
async fn told(world: &World, token: &str) -> HeaderMap {
    let answer = world.bearer(token).await;
    assert_eq!(answer.status, 200);
    let ours = |name: &http::HeaderName| (name.clone(), answer.headers[name].clone());
    HeaderMap::from_iter([ours(&USER_ID), ours(&ASSERTION)])
}

#[tokio::test]
async fn what_a_verdict_tells_is_believed_again_and_again_and_of_nobody_else() {
    let (world, key) = with_key(&[]).await;
    let verifier = behind(&world, "internal").await;
    let ada = told(&world, &key.token(&claims())).await;
    let ben = told(&world, &key.token(&claims_with(serde_json::json!({"sub": "u2", "id": "u2"})))).await;
    for (headers, user) in [(&ada, "u1"), (&ben, "u2"), (&ada, "u1"), (&ben, "u2")] {
        assert_eq!(verifier.verify(headers, UnixSeconds::now()).await.unwrap().as_str(), user);
    }
    let mut mixed = ada.clone();
    mixed.insert(USER_ID, ben[USER_ID].clone());
    let refused = verifier.verify(&mixed, UnixSeconds::now()).await;
    assert!(matches!(refused, Err(VerifyError::Rejected(Rejection::OtherUser))), "{refused:?}");
}

#[tokio::test]
async fn what_is_signed_for_others_or_is_over_is_not_believed() {
    let (world, key) = with_key(&[("AUTH_VERIFIER_IDENTITY__LIFE_SECS", "60")]).await;
    let headers = told(&world, &key.token(&claims())).await;
    let elsewhere = behind(&world, "another").await;
    let refused = elsewhere.verify(&headers, UnixSeconds::now()).await;
    assert!(matches!(refused, Err(VerifyError::Rejected(Rejection::Audience))), "{refused:?}");
    let verifier = behind(&world, "internal").await;
    for (later, good) in [(0, true), (85, true), (91, false)] {
        let now = UnixSeconds(UnixSeconds::now().0 + later);
        assert_eq!(verifier.verify(&headers, now).await.is_ok(), good, "{later} s later");
    }
}
