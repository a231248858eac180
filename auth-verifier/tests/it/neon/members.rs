//! A user's role and organization, as Neon Auth's tokens tell them.

use chassis::{clock::UnixSeconds, settings::ServiceUrl};
use http::HeaderMap;
use serde_json::{Value, json};

use super::stand_in::{ADA, Neon, by, cookie};
use crate::{
    issuer::{Endpoint, Signing},
    world::{Answer, World, claims_with},
};

const ON: (&str, &str) = ("AUTH_VERIFIER_NEON_AUTH__MEMBERSHIP", "on");
const NAMES: [&str; 4] =
    ["x-user-role", "x-user-organization-id", "x-user-organization-slug", "x-user-organization-role"];

fn told(answer: &Answer) -> [Option<&str>; 4] {
    assert_eq!(answer.status, 200);
    NAMES.map(|name| answer.header(name))
}

fn acme(changes: Value) -> Value {
    let mut o = json!({"id": "o1", "slug": "acme", "role": "owner"});
    o.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    json!({"o": o})
}

/// What a service behind the gateway is told, by the signature alone.
async fn proved(world: &World, answer: &Answer) -> Option<identity::Membership> {
    let keys = Endpoint::new().await;
    keys.answer(200, &world.verifier.published().to_string());
    let verifier = identity::Verifier::new(&ServiceUrl::parse(&keys.url).unwrap(), "internal");
    let headers = ["x-user-id", "x-identity-assertion"]
        .map(|name| (name.parse().unwrap(), answer.headers[name].clone()))
        .into_iter()
        .collect::<HeaderMap>();
    let (user, membership) = verifier.verify_member(&headers, UnixSeconds::now()).await.unwrap();
    assert_eq!(user.as_str(), ADA);
    membership
}

#[tokio::test]
async fn they_go_on_where_that_is_set_and_are_signed() {
    let neon = Neon::new().await;
    let token = neon.jwt(acme(json!({})));
    let silent = neon.alone(&[]).await;
    let answer = silent.bearer(&token).await;
    assert_eq!(told(&answer), [None; 4]);
    assert_eq!(proved(&silent, &answer).await, None);

    let world = neon.alone(&[ON]).await;
    for time in ["at first", "again"] {
        let answer = world.bearer(&token).await;
        assert_eq!(told(&answer), [Some("authenticated"), Some("o1"), Some("acme"), Some("owner")], "{time}");
        let membership = proved(&world, &answer).await.unwrap();
        let o = membership.organization().unwrap();
        assert_eq!(
            (membership.role(), o.id(), o.slug(), o.role()),
            (Some("authenticated"), "o1", Some("acme"), Some("owner"))
        );
    }
    // Without an organization that is active, and of another one: what was signed before is not handed out again.
    let answer = world.bearer(&neon.jwt(json!({}))).await;
    assert_eq!(told(&answer), [Some("authenticated"), None, None, None]);
    assert_eq!(proved(&world, &answer).await.unwrap().organization(), None);
    let answer = world.bearer(&neon.jwt(acme(json!({"role": "member"})))).await;
    assert_eq!(told(&answer)[3], Some("member"));
    assert_eq!(proved(&world, &answer).await.unwrap().organization().unwrap().role(), Some("member"));
    // A session tells neither.
    assert_eq!(told(&by(&world, &cookie()).await), [None; 4]);
}

#[tokio::test]
async fn what_can_not_stand_in_a_header_is_left_away_and_refuses_nobody() {
    let neon = Neon::new().await;
    let world = neon.alone(&[ON]).await;
    let long = "x".repeat(256);
    for (changes, want) in [
        (acme(json!({"slug": "a b", "role": "owner\r\nx-user-id: eve"})), [Some("o1"), None, None]),
        (acme(json!({"slug": null, "role": 7})), [Some("o1"), None, None]),
        (acme(json!({"role": "admin,member"})), [Some("o1"), Some("acme"), Some("admin,member")]),
        (acme(json!({"id": "o 1"})), [None; 3]),
        (acme(json!({"id": long})), [None; 3]),
        (acme(json!({"id": null})), [None; 3]),
    ] {
        let answer = world.bearer(&neon.jwt(changes.clone())).await;
        assert_eq!(answer.user(), Some(ADA));
        assert_eq!(told(&answer), [Some("authenticated"), want[0], want[1], want[2]], "{changes}");
    }
    for odd in [json!("acme"), json!([]), json!({"id": {}}), json!(7)] {
        let answer = world.bearer(&neon.jwt(json!({"o": odd}))).await;
        assert_eq!((answer.status.as_u16(), answer.header("x-user-organization-id")), (200, None), "{odd}");
    }
}

#[tokio::test]
async fn only_neons_tokens_tell_them() {
    let neon = Neon::new().await;
    let world = neon.beside("none", &[ON]).await;
    let ours = Signing::new("k1", "EdDSA");
    world.endpoint.publish(&[ours.jwk()]);
    let claims =
        claims_with(json!({"role": "authenticated", "o": {"id": "o1", "slug": "acme", "role": "owner"}}));
    assert_eq!(
        told(&world.bearer(&ours.token(&claims)).await),
        [None; 4],
        "what a user's own field says is their own word"
    );
}
