//! Nothing reaches a service unverified.

use std::sync::Arc;

use chassis::Body;
use http::{Method, Request, Response, StatusCode};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::world::{World, as_u1, get, known};

#[tokio::test]
async fn without_a_good_credential_nothing_is_forwarded() {
    let world = World::new().await;
    for (credential, challenge) in [
        (None, "Bearer realm=\"api\""),
        (Some("Bearer bad"), "Bearer realm=\"api\", error=\"invalid_token\""),
        (Some("Basic YTpi"), "Bearer realm=\"api\", error=\"invalid_token\""),
    ] {
        for method in [Method::GET, Method::POST, Method::OPTIONS, Method::HEAD, Method::DELETE] {
            let mut request =
                Request::builder().method(&method).uri("/api/tasks").header("user-agent", "kube-probe/1");
            if let Some(credential) = credential {
                request = request.header("authorization", credential);
            }
            let answer = world.send(request.body(Body::empty()).unwrap()).await;
            assert_eq!((answer.status.as_u16(), answer.one("www-authenticate")), (401, Some(challenge)));
            if method != Method::HEAD {
                assert_eq!(answer.problem(), "unauthenticated");
            }
        }
    }
    assert!(world.service.seen().is_empty());
}

#[tokio::test]
async fn two_authorization_headers_are_refused_before_anybody_is_asked() {
    let world = World::new().await;
    let request = as_u1(Method::GET, "/api/tasks").header("authorization", "Bearer good");
    let answer = world.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!((answer.status.as_u16(), &*answer.problem()), (400, "ambiguous-request"));
    assert!(world.verifier.seen().is_empty() && world.service.seen().is_empty());
}

#[tokio::test]
async fn somebody_who_may_not_is_told_so() {
    let world = World::new().await;
    world.verifier.respond(|_| Response::builder().status(403).body(Body::empty()).unwrap());
    let answer = world.send(get("/api/tasks")).await;
    assert_eq!((answer.status.as_u16(), &*answer.problem()), (403, "forbidden"));
    assert!(world.service.seen().is_empty());
}

#[tokio::test]
async fn a_verdict_that_is_not_one_is_none() {
    let world = World::new().await;
    let answers: [fn() -> Response<Body>; 8] = [
        || Response::new(Body::empty()),
        || changed(|response| _ = response.headers_mut().remove("x-user-id")),
        || changed(|response| _ = response.headers_mut().remove("x-identity-assertion")),
        || changed(|response| _ = response.headers_mut().append("x-user-id", "u2".parse().unwrap())),
        || changed(|response| _ = response.headers_mut().insert("x-user-id", "".parse().unwrap())),
        || changed(|response| *response.status_mut() = StatusCode::NO_CONTENT),
        || changed(|response| *response.status_mut() = StatusCode::FOUND),
        || changed(|response| *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR),
    ];
    for respond in answers {
        world.verifier.respond(move |_| respond());
        let request = as_u1(Method::GET, "/api/tasks").header("x-user-id", "u2");
        let answer = world.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!((answer.status.as_u16(), answer.one("retry-after")), (503, Some("1")));
        assert_eq!(answer.problem(), "verifier-unavailable");
    }
    assert!(world.service.seen().is_empty());
}

fn changed(change: impl FnOnce(&mut Response<Body>)) -> Response<Body> {
    let mut response = known("u1");
    change(&mut response);
    response
}

#[tokio::test]
async fn a_verifier_that_is_away_or_silent_lets_nobody_in() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let away = format!("http://{}", nobody.local_addr().unwrap());
    drop(nobody);

    let silent = Arc::new(TcpListener::bind("127.0.0.1:0").await.unwrap());
    let mute = format!("http://{}", silent.local_addr().unwrap());

    let halting = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let halts = format!("http://{}", halting.local_addr().unwrap());
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut stream, _)) = halting.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            let _ =
                stream.write_all(b"HTTP/1.1 200 OK\r\nx-user-id: u1\r\nx-identity-assertion: a\r\n").await;
            held.push(stream);
        }
    });

    for url in [away, mute, halts] {
        let world =
            World::with(&[("GATEWAY_AUTH_VERIFIER_URL", &url), ("GATEWAY_VERIFIER__TIMEOUT_MS", "100")])
                .await;
        let answer = world.send(get("/api/tasks")).await;
        assert_eq!((answer.status.as_u16(), &*answer.problem()), (503, "verifier-unavailable"), "{url}");
        assert!(world.service.seen().is_empty());
        assert_eq!(world.send(get("/health")).await.status, 200);
    }
    drop(silent);
}

#[tokio::test]
async fn auth_verifier_hears_how_long_it_is_waited_for_and_says_when_to_try_again() {
    let world = World::with(&[("GATEWAY_VERIFIER__TIMEOUT_MS", "20000")]).await;
    world.verifier.respond(|_| {
        http::Response::builder().status(503).header("retry-after", "7").body(Body::empty()).unwrap()
    });
    let request = as_u1(Method::GET, "/api/tasks").header("x-verdict-wait-ms", "1").body(Body::empty());
    let answer = world.send(request.unwrap()).await;
    assert_eq!((answer.status.as_u16(), answer.one("retry-after")), (503, Some("7")));
    assert_eq!(&*answer.problem(), "verifier-unavailable");
    assert_eq!(world.verifier.last().one("x-verdict-wait-ms"), Some("18000"), "whatever the client says");
}

#[tokio::test]
async fn a_cookie_alone_changes_something_only_from_a_page_of_ours() {
    let world = World::new().await;
    world.verifier.respond(|_| {
        changed(|response| _ = response.headers_mut().insert("x-credential", "cookie".parse().unwrap()))
    });
    let ask = |method: Method, origin: Option<&str>| {
        let mut request = Request::builder()
            .method(method)
            .uri("/api/tasks")
            .header("cookie", "better-auth.session_token=s");
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        world.send(request.body(Body::empty()).unwrap())
    };
    assert_eq!(ask(Method::POST, Some("http://localhost:3000")).await.status, 200);
    assert_eq!(ask(Method::POST, Some("http://gateway.test")).await.status, 200);
    assert_eq!(ask(Method::GET, None).await.status, 200);
    let arrived = world.service.seen().len();
    for origin in [None, Some("https://evil.example"), Some("null")] {
        let answer = ask(Method::POST, origin).await;
        assert_eq!((answer.status.as_u16(), &*answer.problem()), (403, "cross-site"), "{origin:?}");
    }
    assert_eq!(world.service.seen().len(), arrived);
}

#[tokio::test]
async fn a_service_that_refuses_our_identity_signs_nobody_out() {
    let world = World::new().await;
    let refusing = |challenge: &'static str| {
        move |_: &crate::world::Seen| {
            let refusal = Response::builder().status(401).header("www-authenticate", challenge);
            refusal.body(Body::from("send it through the gateway")).unwrap()
        }
    };
    world.service.respond(refusing("Identity-Assertion"));
    let answer = world.send(get("/api/tasks")).await;
    assert_eq!((answer.status.as_u16(), answer.one("retry-after")), (503, Some("1")));
    assert_eq!(answer.problem(), "identity-refused");
    assert_eq!(answer.one("www-authenticate"), None);
    // A service's own 401 is its own business.
    world.service.respond(refusing("Basic realm=\"x\""));
    assert_eq!(world.send(get("/api/tasks")).await.status, 401);
}
