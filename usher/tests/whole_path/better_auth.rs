//! The real library signs somebody up; its token opens the door.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use dev_better_auth::{BetterAuth, Setup, Version};
use http::Method;
use serde_json::{Value, json};

use crate::world::World;

/// The newest version, set further by `options`. `None` where there is none, which was said aloud.
pub async fn start(options: Value) -> Option<BetterAuth> {
    BetterAuth::start(Setup::new(Version::V1_7, options)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_better_auth_signs_up_makes_and_lists_tasks() {
    for algorithm in ["EdDSA", "ES256", "RS256", "ES512", "PS256"] {
        let jwt = json!({"jwks": {"keyPairConfig": {"alg": algorithm}}});
        let Some(better_auth) = start(json!({"plugins": {"jwt": jwt}})).await else { return };
        let (ada, bob) = (better_auth.sign_up("ada").await, better_auth.sign_up("bob").await);
        assert_eq!(algorithm_of(&ada.jwt), algorithm);
        let Some(world) = World::start(&[("BETTER_AUTH_URL", &better_auth.url)]).await else { return };
        let (as_ada, as_bob) = (world.bearer(&ada.jwt), world.bearer(&bob.jwt));

        let made = as_ada.call(Method::POST, "/api/tasks", Some(json!({"title": "Ada's"}))).await;
        assert_eq!(made.status, 201, "{algorithm}: {}", made.body);
        assert_eq!(made.body["user_id"], *ada.id);
        let made = as_bob
            .call(Method::POST, &format!("/api/{}/tasks", bob.id), Some(json!({"title": "Bob's"})))
            .await;
        assert_eq!(made.status, 201, "{algorithm}: {}", made.body);
        assert_eq!(as_ada.titles().await, ["Ada's"]);
        assert_eq!(as_bob.titles().await, ["Bob's"]);

        // The claims of one under the signature of the other are nobody's.
        let (parts, other): (Vec<_>, Vec<_>) = (ada.jwt.split('.').collect(), bob.jwt.split('.').collect());
        let forged = format!("{}.{}.{}", parts[0], other[1], parts[2]);
        assert_eq!(world.bearer(&forged).call(Method::GET, "/api/tasks", None).await.status, 401);
    }
}

fn algorithm_of(token: &str) -> String {
    let header = BASE64_URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
    let header: Value = serde_json::from_slice(&header).unwrap();
    header["alg"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_another_better_auth_opens_nothing() {
    let Some(ours) = start(json!({})).await else { return };
    let Some(theirs) = start(json!({})).await else { return };
    let Some(world) = World::start(&[("BETTER_AUTH_URL", &ours.url)]).await else { return };
    let (good, foreign) = (ours.sign_up("ada").await, theirs.sign_up("ada").await);
    assert_eq!(world.bearer(&good.jwt).call(Method::GET, "/api/tasks", None).await.status, 200);
    assert_eq!(world.bearer(&foreign.jwt).call(Method::GET, "/api/tasks", None).await.status, 401);
}
