//! What a page of another origin may do and see.

use chassis::Body;
use http::{HeaderName, HeaderValue, Method, Request, Response};

use crate::world::{Answer, World, as_u1};

const PAGE: &str = "http://localhost:3000";

fn preflight(origin: &str, method: &str) -> Request<Body> {
    Request::options("/api/tasks")
        .header("origin", origin)
        .header("access-control-request-method", method)
        .header("access-control-request-headers", "authorization, content-type, X-Own")
        .body(Body::empty())
        .unwrap()
}

fn cors_headers(answer: &Answer) -> Vec<&HeaderName> {
    answer.headers.keys().filter(|name| name.as_str().starts_with("access-control-")).collect()
}

#[tokio::test]
async fn a_preflight_is_answered_before_anybody_is_asked() {
    let world = World::new().await;
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
        let answer = world.send(preflight(PAGE, method)).await;
        assert!(answer.status.is_success());
        assert_eq!(answer.one("access-control-allow-origin"), Some(PAGE));
        assert_eq!(answer.one("access-control-allow-credentials"), Some("true"));
        assert_eq!(answer.one("access-control-max-age"), Some("600"));
        assert!(answer.one("access-control-allow-methods").unwrap().split(',').any(|one| one == method));
        assert_eq!(answer.one("access-control-allow-headers"), Some("authorization, content-type, X-Own"));
        assert!(answer.one("vary").unwrap().contains("Origin"));
        assert!(!format!("{:?}", answer.headers).contains('*'));
    }
    assert!(world.verifier.seen().is_empty() && world.service.seen().is_empty());
}

#[tokio::test]
async fn where_no_page_of_another_origin_may_call_answers_are_the_same_for_every_origin() {
    let world = World::with(&[("CORS_ALLOWED_ORIGINS", "")]).await;
    for origin in [None, Some(PAGE)] {
        let mut request = as_u1(Method::GET, "/api/tasks");
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        let answer = world.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(
            (answer.one("vary"), cors_headers(&answer)),
            (None, Vec::<&HeaderName>::new()),
            "{origin:?}"
        );
    }
    // With one, a cache must tell answers apart, also those that were asked for without an origin.
    let answer = World::new().await.send(as_u1(Method::GET, "/api/tasks").body(Body::empty()).unwrap()).await;
    assert_eq!(answer.one("vary"), Some("Origin"));
}

#[tokio::test]
async fn an_unknown_origin_learns_nothing() {
    let world = World::new().await;
    for origin in [
        "https://localhost:3000",
        "http://localhost:3001",
        "http://localhost:3000.evil.example",
        "http://LOCALHOST:3000",
        "http://localhost",
        "http://evil-localhost:3000",
        "null",
        "http://localhost:3000/",
        "http://u@localhost:3000",
    ] {
        let answer = world.send(preflight(origin, "POST")).await;
        assert_eq!(cors_headers(&answer), Vec::<&HeaderName>::new(), "{origin}");
        let simple = as_u1(Method::GET, "/api/tasks").header("origin", origin).body(Body::empty()).unwrap();
        let answer = world.send(simple).await;
        assert_eq!(cors_headers(&answer), Vec::<&HeaderName>::new(), "{origin}");
    }
}

#[tokio::test]
async fn every_answer_can_be_read_by_the_page_refusals_too() {
    let world = World::with(&[("GATEWAY_LIMITS__BODY_BYTES", "3")]).await;
    let ask = |method: Method, path: &str, token: &str, body: &'static str| {
        Request::builder()
            .method(method)
            .uri(path)
            .header("origin", PAGE)
            .header("authorization", format!("Bearer {token}"))
            .body(Body::from(body))
            .unwrap()
    };
    let away = World::with(&[("GATEWAY_AUTH_VERIFIER_URL", "http://127.0.0.1:1")]).await;
    for (want, answer) in [
        (200, world.send(ask(Method::GET, "/api/tasks", "good", "")).await),
        (200, world.send(ask(Method::GET, "/health", "good", "")).await),
        (401, world.send(ask(Method::GET, "/api/tasks", "bad", "")).await),
        (404, world.send(ask(Method::GET, "/nowhere", "good", "")).await),
        (400, world.send(ask(Method::GET, "/api/../x", "good", "")).await),
        (405, world.send(ask(Method::TRACE, "/api/tasks", "good", "")).await),
        (413, world.send(ask(Method::POST, "/api/tasks", "good", "four")).await),
        (503, away.send(ask(Method::GET, "/api/tasks", "good", "")).await),
    ] {
        assert_eq!(answer.status, want);
        assert_eq!(answer.one("access-control-allow-origin"), Some(PAGE), "{want}");
        assert_eq!(answer.one("access-control-allow-credentials"), Some("true"));
        let exposed = answer.one("access-control-expose-headers").unwrap();
        assert!(exposed.contains("www-authenticate") && exposed.contains("x-request-id"), "{exposed}");
        assert!(answer.one("vary").unwrap().contains("Origin"));
    }
}

#[tokio::test]
async fn only_what_we_say_of_cors_goes_out() {
    let world = World::new().await;
    world.service.respond(|_| {
        let mut response = Response::new(Body::empty());
        for name in
            ["access-control-allow-origin", "access-control-allow-methods", "access-control-expose-headers"]
        {
            response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static("*"));
        }
        response
    });
    let request = as_u1(Method::GET, "/api/tasks").header("origin", PAGE).body(Body::empty()).unwrap();
    let answer = world.send(request).await;
    assert_eq!(answer.one("access-control-allow-origin"), Some(PAGE));
    assert!(!format!("{:?}", answer.headers).contains('*'), "{:?}", answer.headers);
    let answer = world.send(as_u1(Method::GET, "/api/tasks").body(Body::empty()).unwrap()).await;
    assert_eq!(cors_headers(&answer), Vec::<&HeaderName>::new());
}

#[tokio::test]
async fn a_service_may_let_pages_read_more_of_its_own_headers() {
    let world = World::new().await;
    world.service.respond(|_| {
        Response::builder()
            .header("x-total-count", "7")
            .header("access-control-expose-headers", "X-Total-Count, etag, *, X_Odd")
            .header("access-control-expose-headers", "Content-Range")
            .body(Body::empty())
            .unwrap()
    });
    let request = as_u1(Method::GET, "/api/tasks").header("origin", PAGE).body(Body::empty()).unwrap();
    let answer = world.send(request).await;
    let exposed: Vec<_> = answer.one("access-control-expose-headers").unwrap().split(',').collect();
    for name in ["x-total-count", "content-range", "etag", "x-request-id"] {
        assert_eq!(exposed.iter().filter(|one| **one == name).count(), 1, "{name}: {exposed:?}");
    }
    assert!(!exposed.contains(&"*") && !exposed.contains(&"x_odd"), "{exposed:?}");
    let answer = world.send(as_u1(Method::GET, "/api/tasks").body(Body::empty()).unwrap()).await;
    assert_eq!(cors_headers(&answer), Vec::<&HeaderName>::new(), "a page that may not call learns nothing");
}

#[tokio::test]
async fn the_shell_of_an_app_may_be_a_page_of_ours() {
    let world = World::with(&[("CORS_ALLOWED_ORIGINS", "capacitor://localhost, tauri://localhost")]).await;
    world.verifier.respond(|_| {
        let mut verdict = crate::world::known("u1");
        verdict.headers_mut().insert("x-credential", HeaderValue::from_static("cookie"));
        verdict
    });
    for (origin, want) in
        [("capacitor://localhost", 200), ("tauri://localhost", 200), ("ionic://localhost", 403)]
    {
        let request = as_u1(Method::POST, "/api/tasks").header("origin", origin).body(Body::empty()).unwrap();
        let answer = world.send(request).await;
        assert_eq!(answer.status, want, "{origin}");
        assert_eq!(answer.one("access-control-allow-origin"), (want == 200).then_some(origin));
        let answer = world.send(preflight(origin, "POST")).await;
        assert_eq!(answer.one("access-control-allow-origin"), (want == 200).then_some(origin));
    }
}

#[tokio::test]
async fn options_that_is_no_preflight_is_a_request_like_all_others() {
    let world = World::new().await;
    for origin in [None, Some(PAGE)] {
        let request = |token: &str| {
            let request = Request::options("/api/tasks").header("authorization", format!("Bearer {token}"));
            match origin {
                Some(origin) => request.header("origin", origin),
                None => request,
            }
            .body(Body::empty())
            .unwrap()
        };
        assert_eq!(world.send(request("bad")).await.status, 401);
        let answer = world.send(request("good")).await;
        assert_eq!((answer.status.as_u16(), answer.one("access-control-allow-origin")), (200, origin));
        assert_eq!(world.service.last().method, Method::OPTIONS);
    }
    let no_origin = Request::options("/api/tasks").header("access-control-request-method", "GET");
    assert_eq!(world.send(no_origin.body(Body::empty()).unwrap()).await.status, 401);
}
