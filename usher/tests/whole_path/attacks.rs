//! Nobody gets in as somebody else.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use http::{Method, Request};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::world::{PATIENCE, SECRET, Service, World};

#[tokio::test(flavor = "multi_thread")]
async fn a_clients_own_user_id_changes_nothing() {
    let Some(world) = World::start(&[]).await else { return };
    let (ada, eve) = (world.user("ada"), world.user("eve"));
    ada.make("Ada's").await;
    eve.make("Eve's").await;
    for name in [
        "x-user-id",
        "X-User-Id",
        "X_User_Id",
        "X-User_Id",
        "X.User.Id",
        "x-user-email",
        "x-identity-assertion",
        "x-credential",
        "x-credential-scopes",
    ] {
        let answer = eve.call_with(Method::GET, "/api/tasks", None, &[(name, "ada"), (name, "ada")]).await;
        assert_eq!((answer.status.as_u16(), &answer.body[0]["user_id"]), (200, &json!("eve")), "{name}");
        assert_eq!(answer.body.as_array().unwrap().len(), 1);
        let nobody = Request::get(format!("{}/api/tasks", world.gateway.url())).header(name, "ada");
        assert_eq!(world.client.call(nobody, None).await.status, 401, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn task_service_believes_no_user_id_without_an_assertion_for_it() {
    let Some(world) = World::start(&[]).await else { return };
    let (ada, eve) = (world.user("ada"), world.user("eve"));
    ada.make("Ada's").await;
    let ask = async |headers: &[(&str, &str)]| {
        let mut request = Request::get(format!("{}/api/tasks", world.tasks.url()));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        world.client.call(request, None).await
    };
    let verdict = Request::get(format!("{}/verify", world.verifier.url()))
        .header("authorization", format!("Bearer {}", eve.token));
    let verdict = world.client.call(verdict, None).await;
    let eves = verdict.headers["x-identity-assertion"].to_str().unwrap();

    assert_eq!(ask(&[]).await.status, 401);
    assert_eq!(ask(&[("x-user-id", "ada")]).await.status, 401);
    assert_eq!(
        ask(&[("x-user-id", "ada"), ("authorization", &format!("Bearer {}", ada.token))]).await.status,
        401
    );
    assert_eq!(ask(&[("x-user-id", "ada"), ("x-identity-assertion", &ada.token)]).await.status, 401);
    assert_eq!(ask(&[("x-user-id", "ada"), ("x-identity-assertion", eves)]).await.status, 401);
    assert_eq!(ask(&[("x-identity-assertion", eves)]).await.status, 401);
    let two = [("x-user-id", "eve"), ("x-user-id", "ada"), ("x-identity-assertion", eves)];
    assert_eq!(ask(&two).await.status, 401);
    let own = ask(&[("x-user-id", "eve"), ("x-identity-assertion", eves)]).await;
    assert_eq!((own.status.as_u16(), own.body), (200, json!([])), "the way the gateway comes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_no_good_opens_nothing() {
    let Some(world) = World::start(&[]).await else { return };
    let part = |value: serde_json::Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let sign = |secret: &str, claims: &serde_json::Value| {
        let key = jsonwebtoken::EncodingKey::from_secret(secret.as_bytes());
        jsonwebtoken::encode(&jsonwebtoken::Header::default(), claims, &key).unwrap()
    };
    let now = jsonwebtoken::get_current_timestamp();
    let good = sign(SECRET, &json!({"sub": "ada", "exp": now + 600}));
    let [header, _, signature] = good.split('.').collect::<Vec<_>>()[..] else { panic!("three parts") };
    let eves = part(json!({"sub": "eve", "exp": now + 600}));
    assert_eq!(world.bearer(&good).call(Method::GET, "/api/tasks", None).await.status, 200);
    for (what, token) in [
        ("expired", sign(SECRET, &json!({"sub": "ada", "exp": now - 60}))),
        ("tampered with", format!("{header}.{eves}.{signature}")),
        ("unsigned", format!("{}.{eves}.", part(json!({"alg": "none", "typ": "JWT"})))),
        ("unsigned, with a signature", format!("{}.{eves}.{signature}", part(json!({"alg": "none"})))),
        (
            "signed with another secret",
            sign("another-secret-of-at-least-32-bytes!", &json!({"sub": "ada", "exp": now + 600})),
        ),
        ("without an end", sign(SECRET, &json!({"sub": "ada"}))),
        ("without a subject", sign(SECRET, &json!({"exp": now + 600}))),
        ("a session token", "dt16KOoCsHItdDPepvhbKep8uQDtDR6T".to_owned()),
    ] {
        let answer = world.bearer(&token).call(Method::GET, "/api/tasks", None).await;
        assert_eq!(answer.status, 401, "{what}");
        let challenge = answer.headers["www-authenticate"].to_str().unwrap();
        assert!(challenge.contains("invalid_token"), "{what}: {challenge}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_verifier_nobody_gets_in_and_with_one_again_everybody() {
    let Some(mut world) = World::start(&[]).await else { return };
    world.user("ada").make("before").await;
    world.verifier.kill();
    let answer = world.user("eve").call(Method::GET, "/api/tasks", None).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.body["type"]),
        (503, &json!("urn:usher:problem:verifier-unavailable"))
    );
    assert_eq!(answer.headers["retry-after"], "1");
    // Whom it knew a moment ago the gateway knows for that moment, and no longer.
    let deadline = Instant::now() + PATIENCE;
    while world.user("ada").call(Method::GET, "/api/tasks", None).await.status != 503 {
        assert!(Instant::now() < deadline, "the verdict ends");
        sleep(Duration::from_millis(100)).await;
    }

    let listen = world.verifier.traffic.to_string();
    world.verifier =
        Service::start("auth-verifier", &[("BETTER_AUTH_SECRET", SECRET), ("AUTH_VERIFIER_LISTEN", &listen)]);
    let deadline = Instant::now() + PATIENCE;
    while world.user("ada").call(Method::GET, "/api/tasks", None).await.status != 200 {
        assert!(Instant::now() < deadline, "it recovers by itself");
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(world.user("ada").titles().await, ["before"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_service_stops_cleanly_when_it_is_told_to() {
    let Some(world) = World::start(&[]).await else { return };
    world.user("ada").make("kept").await;
    let World { gateway, verifier, tasks, .. } = world;
    for service in [gateway, tasks, verifier] {
        assert!(service.terminate().success());
    }
}
