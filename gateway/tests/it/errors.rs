//! What errors are called that the gateway makes itself.

use chassis::Body;
use http::{Method, Request};

use crate::world::{World, as_u1};

const PROBLEM: &str = "application/problem+json";
const JSON: &str = "application/json";

#[tokio::test]
async fn errors_are_called_what_is_set_or_what_a_client_would_rather_read() {
    for (set, cases) in [
        (
            "problem+json",
            &[
                (None, PROBLEM),
                (Some("*/*"), PROBLEM),
                (Some("application/json, text/plain, */*"), PROBLEM),
                (Some(JSON), JSON),
            ][..],
        ),
        ("json", &[(None, JSON), (Some("*/*"), JSON), (Some(JSON), JSON), (Some(PROBLEM), PROBLEM)]),
    ] {
        let set = ("GATEWAY_ERRORS_AS", set);
        let world = World::with(&[
            set,
            ("GATEWAY_LIMITS__BODY_BYTES", "3"),
            ("GATEWAY_LIMITS__CLIENT_PER_MINUTE", "1000"),
        ])
        .await;
        let away = World::with(&[set, ("GATEWAY_AUTH_VERIFIER_URL", "http://127.0.0.1:1")]).await;
        let limited = World::with(&[
            set,
            ("GATEWAY_LIMITS__CLIENT_PER_MINUTE", "1"),
            ("GATEWAY_LIMITS__CLIENT_BURST", "1"),
        ])
        .await;
        limited.send(as_u1(Method::GET, "/api/tasks").body(Body::empty()).unwrap()).await;
        for (accept, want) in cases {
            let ask = async |world: &World, method: Method, path: &str, token: &str, body: &'static str| {
                let mut request = Request::builder().method(method).uri(path);
                if let Some(accept) = accept {
                    request = request.header("accept", *accept);
                }
                let request = request.header("authorization", format!("Bearer {token}"));
                world.send(request.body(Body::from(body)).unwrap()).await
            };
            for (status, answer) in [
                (401, ask(&world, Method::GET, "/api/tasks", "bad", "").await),
                (400, ask(&world, Method::GET, "/api/../x", "good", "").await),
                (404, ask(&world, Method::GET, "/nowhere", "good", "").await),
                (404, ask(&world, Method::POST, "/api/auth/register", "bad", "").await),
                (405, ask(&world, Method::POST, "/health", "good", "").await),
                (413, ask(&world, Method::POST, "/api/tasks", "good", "four").await),
                (429, ask(&limited, Method::GET, "/api/tasks", "good", "").await),
                (503, ask(&away, Method::GET, "/api/tasks", "good", "").await),
            ] {
                assert_eq!(answer.status, status);
                assert_eq!(answer.one("content-type"), Some(*want), "{set:?} {accept:?} {status}");
                let body: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
                assert!(body["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{body}");
            }
        }
        // Of a request that nobody could read, `Accept` isn't either.
        let refused =
            world.raw(b"GET /health HTTP/1.1\r\nhost: a\r\naccept: */*\r\nbad name: x\r\n\r\n").await;
        let (want, other) = if set.1 == "json" { (JSON, PROBLEM) } else { (PROBLEM, JSON) };
        assert!(
            refused.contains(&format!("content-type: {want}\r\n")) && !refused.contains(other),
            "{refused}"
        );
    }
}

/// What a service calls its errors is its own to say.
#[tokio::test]
async fn the_errors_of_a_service_are_passed_on_as_they_are() {
    let world = World::with(&[("GATEWAY_ERRORS_AS", "json")]).await;
    world.service.respond(|_| {
        http::Response::builder().status(422).header("content-type", PROBLEM).body(Body::from("{}")).unwrap()
    });
    let request = as_u1(Method::GET, "/api/tasks").header("accept", JSON);
    let answer = world.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!((answer.status.as_u16(), answer.one("content-type")), (422, Some(PROBLEM)));
    assert_eq!(world.service.last().one("accept"), Some(JSON), "so that it can choose");
}
