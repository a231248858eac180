//! What a real Better Auth 1.7.25 handed out, recorded (`tests/vectors/better-auth.json`).

use serde_json::Value;

use crate::world::World;

fn recorded() -> Value {
    serde_json::from_str(include_str!("../vectors/better-auth.json")).unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// A verifier for one recorded server.
async fn for_server(vectors: &Value, server: &Value) -> World {
    let world = World::new(&[
        ("BETTER_AUTH_SECRET", text(&vectors["secret"])),
        ("AUTH_VERIFIER_ISSUERS", text(&server["issuer"])),
        ("AUTH_VERIFIER_AUDIENCES", text(&server["audience"])),
    ])
    .await;
    world.endpoint.answer(200, &server["jwks"].to_string());
    world
}

#[tokio::test]
async fn every_recorded_api_token_is_good_and_names_its_user() {
    let vectors = recorded();
    for (name, server) in vectors["api_jwt"].as_object().unwrap() {
        let world = for_server(&vectors, server).await;
        let answer = world.bearer(text(&server["token_long_lived"])).await;
        assert_eq!(answer.status, 200, "{name}");
        assert_eq!(answer.user(), server["user_row"]["id"].as_str(), "{name}");
    }
}

#[tokio::test]
async fn nothing_that_must_be_rejected_is_accepted() {
    let vectors = recorded();
    let servers = &vectors["api_jwt"];
    let mut keys = Vec::new();
    for name in ["EdDSA", "RS256", "ES256"] {
        keys.extend(servers[name]["jwks"]["keys"].as_array().unwrap().clone());
    }
    let world = for_server(&vectors, &servers["EdDSA"]).await;
    world.endpoint.publish(&keys);
    let cases = vectors["must_be_rejected"].as_object().unwrap();
    assert_eq!(world.bearer(text(&cases["_control_valid_far_future"])).await.status, 200);
    let mut count = 0;
    for (name, token) in cases.iter().filter(|(name, _)| !name.starts_with('_')) {
        let answer = world.bearer(text(token)).await;
        // Its key may be published any moment, and the keys were fetched only just now.
        let status = if name == "unknown_kid" { 503 } else { 401 };
        assert_eq!((answer.status.as_u16(), answer.user()), (status, None), "{name}");
        count += 1;
    }
    assert!(count >= 17, "{count} cases");
}
