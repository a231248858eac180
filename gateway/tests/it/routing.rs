//! One reading of every request, or none.

use chassis::Body;
use http::{Method, Request};

use crate::world::{World, as_u1, config, get};

#[tokio::test]
async fn health_is_answered_here_without_a_credential() {
    let world = World::new().await;
    for path in ["/health", "/health/", "/api/health"] {
        let answer = world.send(Request::get(path).body(Body::empty()).unwrap()).await;
        assert_eq!((answer.status.as_u16(), &*answer.body), (200, "{\"status\":\"healthy\"}"), "{path}");
        assert_eq!(answer.one("content-type"), Some("application/json"));
    }
    let answer = world.send(Request::post("/health").body(Body::empty()).unwrap()).await;
    assert_eq!((answer.status.as_u16(), &*answer.problem()), (405, "method-not-allowed"));
    assert!(world.verifier.seen().is_empty() && world.service.seen().is_empty());
}

#[tokio::test]
async fn what_has_no_route_is_not_found() {
    let world = World::new().await;
    for path in ["/", "/apifoo", "/API/tasks", "/livez", "/metrics", "/verify", "/.well-known/jwks.json"] {
        let answer = world.send(get(path)).await;
        assert_eq!((answer.status.as_u16(), &*answer.problem()), (404, "not-found"), "{path}");
    }
    assert!(world.verifier.seen().is_empty() && world.service.seen().is_empty());
}

#[tokio::test]
async fn what_the_api_is_anybody_reads_and_no_credential_goes_along() {
    let world = World::new().await;
    for (target, want) in [
        ("/api/openapi.json", "/api/openapi.json"),
        ("/api/openapi.json/", "/api/openapi.json/"),
        ("/api/docs", "/api/docs"),
        ("/api/%64ocs?x=1", "/api/docs?x=1"),
    ] {
        for method in [Method::GET, Method::HEAD] {
            let request = as_u1(method, target)
                .header("cookie", "better-auth.session_token=t; theme=dark")
                .header("x-user-id", "u2")
                .header("x-identity-assertion", "a.b.c");
            assert_eq!(world.send(request.body(Body::empty()).unwrap()).await.status, 200, "{target}");
            let seen = world.service.last();
            assert_eq!(seen.target, want);
            for name in ["authorization", "cookie", "x-user-id", "x-identity-assertion", "x-user-email"] {
                assert_eq!(seen.one(name), None, "{target}: {name}");
            }
        }
        let answer = world.send(as_u1(Method::POST, target).body(Body::empty()).unwrap()).await;
        assert_eq!((answer.status.as_u16(), answer.one("allow")), (405, Some("GET, HEAD")), "{target}");
    }
    assert!(world.verifier.seen().is_empty(), "nobody asks who it is");
    // Beside these two paths, and below them, one must say who one is.
    let sent = world.service.seen().len();
    for target in ["/api/docs/x", "/api/docsx", "/api/openapi", "/api/openapi.json/x", "/api/DOCS"] {
        let answer = world.send(Request::get(target).body(Body::empty()).unwrap()).await;
        assert_eq!((answer.status.as_u16(), &*answer.problem()), (401, "unauthenticated"), "{target}");
    }
    assert_eq!(world.service.seen().len(), sent);
}

#[tokio::test]
async fn one_canonical_path_is_decided_on_and_forwarded() {
    let world = World::new().await;
    for (target, want) in [
        ("/api/tasks?status=all&x=/../", "/api/tasks?status=all&x=/../"),
        ("/%61pi/%74asks/", "/api/tasks/"),
        ("/api/a%c3%a9/tasks", "/api/a%C3%A9/tasks"),
        ("/api/a%20b/%40c%2cd", "/api/a%20b/@c,d"),
        ("/api/tasks?x=%2e%2e%2f;", "/api/tasks?x=%2e%2e%2f;"),
    ] {
        assert_eq!(world.send(get(target)).await.status, 200, "{target}");
        assert_eq!(world.service.last().target, want);
        assert_eq!(
            world.verifier.last().one("x-forwarded-uri"),
            Some(want),
            "the verifier is shown the same"
        );
    }
}

#[tokio::test]
async fn a_path_that_can_be_read_in_two_ways_is_refused() {
    let world = World::new().await;
    for target in [
        "/api/../admin",
        "/health/../api/tasks",
        "/health/%2e%2e/api/tasks",
        "/api//tasks",
        "//api/tasks",
        "/api/%2f",
        "/api/x%5cy",
        "/api/..;/x",
        "/api/%00",
        "/api/%0d%0a",
        "/api/%zz",
        "/api/%c0%ae",
    ] {
        let answer = world.send(get(target)).await;
        assert_eq!((answer.status.as_u16(), &*answer.problem()), (400, "ambiguous-request"), "{target}");
    }
    assert!(world.verifier.seen().is_empty() && world.service.seen().is_empty());
}

#[tokio::test]
async fn a_request_that_names_no_host_or_two_is_refused() {
    let world = World::new().await;
    for head in [
        "GET /api/tasks HTTP/1.1\r\n",
        "GET /api/tasks HTTP/1.1\r\nHost: a\r\nHost: b\r\n",
        "GET /api/tasks HTTP/1.1\r\nHost: a, b\r\n",
        "GET /api/tasks HTTP/1.1\r\nHost: u@a\r\n",
        "GET /api/tasks HTTP/1.1\r\nHost: a/x\r\n",
        "GET /api/tasks HTTP/1.1\r\nHost:\r\n",
        "GET http://b.test/api/tasks HTTP/1.1\r\nHost: a.test\r\n",
        "GET http://u@a.test/api/tasks HTTP/1.1\r\nHost: a.test\r\n",
    ] {
        let request = format!("{head}Authorization: Bearer good\r\nConnection: close\r\n\r\n");
        assert!(world.raw(request.as_bytes()).await.starts_with("HTTP/1.1 400"), "{head}");
    }
    let h2 = as_u1(Method::GET, "/api/tasks").header("host", "other.test").body(Body::empty()).unwrap();
    assert_eq!(world.send_h2(h2).await.status, 400);
    assert!(world.service.seen().is_empty());

    let absolute = "GET http://a.test/api/tasks HTTP/1.1\r\nHost: a.test\r\nAuthorization: Bearer good\r\nConnection: close\r\n\r\n";
    assert!(world.raw(absolute.as_bytes()).await.starts_with("HTTP/1.1 200"));
    assert_eq!(world.service.last().one("host"), Some(&*world.service.address.to_string()));
}

#[tokio::test]
async fn methods_are_those_that_we_know() {
    let world = World::new().await;
    for method in ["TRACE", "CONNECT", "get", "PROPFIND", "FOO"] {
        let target = if method == "CONNECT" { "a:1" } else { "/api/tasks" };
        let request = format!(
            "{method} {target} HTTP/1.1\r\nHost: a:1\r\nAuthorization: Bearer good\r\nConnection: close\r\n\r\n"
        );
        let answer = world.raw(request.as_bytes()).await;
        assert!(
            answer.starts_with("HTTP/1.1 405") && answer.contains("allow: GET, HEAD"),
            "{method}: {answer}"
        );
    }
    let star = world.raw(b"OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert!(star.starts_with("HTTP/1.1 204") && star.contains("allow: GET, HEAD"), "{star}");
    assert!(world.service.seen().is_empty());
    for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS] {
        let answer = world.send(as_u1(method.clone(), "/api/tasks").body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status, 200, "{method}");
        assert_eq!(world.service.last().method, method);
    }
}

#[tokio::test]
async fn a_request_keeps_its_plain_id_and_gets_one_otherwise() {
    let world = World::new().await;
    let request = as_u1(Method::GET, "/api/tasks").header("x-request-id", "from-the-page");
    assert_eq!(
        world.send(request.body(Body::empty()).unwrap()).await.one("x-request-id"),
        Some("from-the-page")
    );
    assert_eq!(world.service.last().one("x-request-id"), Some("from-the-page"));
    assert_eq!(world.verifier.last().one("x-request-id"), Some("from-the-page"));
    for bad in ["", "a b", &"x".repeat(10_000)] {
        let request = as_u1(Method::GET, "/api/tasks").header("x-request-id", bad);
        let answer = world.send(request.body(Body::empty()).unwrap()).await;
        let id = answer.one("x-request-id").unwrap().to_owned();
        assert_eq!(id.len(), 36);
        assert_eq!(world.service.last().one("x-request-id"), Some(&*id));
    }
}

#[tokio::test]
async fn the_check_of_a_load_balancer_need_not_name_a_host() {
    let world = World::new().await;
    for (request, want) in [
        ("GET /health HTTP/1.0\r\n\r\n", "200"),
        ("HEAD /health HTTP/1.0\r\n\r\n", "200"),
        ("GET /health HTTP/1.0\r\nHost: a b\r\n\r\n", "400"),
        ("GET /health HTTP/1.1\r\nConnection: close\r\n\r\n", "400"),
        ("GET /api/tasks HTTP/1.0\r\nAuthorization: Bearer good\r\n\r\n", "400"),
        ("GET /nowhere HTTP/1.0\r\n\r\n", "404"),
    ] {
        let answer = world.raw(request.as_bytes()).await;
        assert_eq!(answer.split(' ').nth(1), Some(want), "{request:?}: {answer}");
    }
    assert!(world.service.seen().is_empty());
}

#[tokio::test]
async fn no_spelling_of_a_path_gets_by_the_route_that_is_for_it() {
    let (_file, path) = config(
        "[[routes]]\npath = \"/@me/**\"\nupstream = \"task-service\"\n\
         [[routes]]\npath = \"/**\"\nupstream = \"task-service\"\naccess = \"public\"\n",
    );
    let world = World::with(&[("GATEWAY_CONFIG", &path)]).await;
    for target in ["/@me/x", "/%40me/x", "/%40m%65/x", "/%40me", "/@me/"] {
        let request = Request::get(target).body(Body::empty()).unwrap();
        assert_eq!(world.send(request).await.status, 401, "{target}");
    }
    assert_eq!(world.send(Request::get("/me/x").body(Body::empty()).unwrap()).await.status, 200);
}
