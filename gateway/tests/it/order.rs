//! The order of the stations, where a request shows it: of two refusals that a request deserves, the earlier one is told.

use chassis::Body;
use http::{Method, Request, Response};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::world::{PATIENCE, World, as_u1, known};

/// The only request that may be in flight, until the rest of its body is sent.
async fn fill(world: &World) -> TcpStream {
    let mut stream = TcpStream::connect(world.gateway).await.unwrap();
    let start = "POST /api/tasks HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer good\r\nContent-Length: 2\r\nConnection: close\r\n\r\nh";
    stream.write_all(start.as_bytes()).await.unwrap();
    let asked = async {
        while world.verifier.seen().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, asked).await.expect("it is in flight");
    stream
}

async fn problem(world: &World, request: http::request::Builder) -> (u16, String) {
    let answer = world.send(request.body(Body::empty()).unwrap()).await;
    (answer.status.as_u16(), answer.problem())
}

fn cookie_caller(world: &World) {
    world.verifier.respond(|seen| match seen.one("cookie") {
        Some("s=good") => {
            let mut verdict = known("u1");
            verdict.headers_mut().insert("x-credential", "cookie".parse().unwrap());
            verdict
        }
        _ => Response::builder().status(401).body(Body::empty()).unwrap(),
    });
}

fn forged(cookie: &str) -> http::request::Builder {
    Request::post("/api/tasks").header("cookie", cookie).header("origin", "https://evil.example")
}

#[tokio::test]
async fn a_head_is_bounded_before_it_is_routed() {
    let world = World::with(&[("GATEWAY_LIMITS__TARGET_BYTES", "256")]).await;
    let nowhere = |bytes: usize| Request::get(format!("/{}", "x".repeat(bytes)));
    assert_eq!(problem(&world, nowhere(255)).await, (404, "not-found".into()));
    assert_eq!(problem(&world, nowhere(256)).await, (414, "target-too-long".into()));
}

#[tokio::test]
async fn a_full_gateway_answers_what_it_answers_by_itself_and_refuses_all_else_before_it_reads_on() {
    let world = World::with(&[("GATEWAY_LIMITS__REQUESTS_MAX", "1")]).await;
    let mut first = fill(&world).await;
    let asked = world.verifier.seen().len();
    assert_eq!(world.send(Request::get("/health").body(Body::empty()).unwrap()).await.status, 200);
    let star = world.raw(b"OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert!(star.starts_with("HTTP/1.1 204"), "{star}");
    let preflight = Request::options("/api/tasks")
        .header("origin", "http://localhost:3000")
        .header("access-control-request-method", "POST");
    let preflight = world.send(preflight.body(Body::empty()).unwrap()).await;
    assert_eq!(preflight.one("access-control-allow-origin"), Some("http://localhost:3000"));
    assert_eq!(problem(&world, Request::get("/nowhere")).await, (404, "not-found".into()));
    let ambiguous = as_u1(Method::GET, "/api/tasks").header("authorization", "Bearer good");
    assert_eq!(problem(&world, ambiguous).await, (503, "busy".into()));
    assert_eq!(problem(&world, as_u1(Method::GET, "/api/tasks")).await, (503, "busy".into()));
    assert_eq!(world.verifier.seen().len(), asked, "nobody is asked who they are");
    first.write_all(b"i").await.unwrap();
    let mut read = String::new();
    timeout(PATIENCE, first.read_to_string(&mut read)).await.unwrap().unwrap();
    assert!(read.starts_with("HTTP/1.1 200"), "{read}");
}

#[tokio::test]
async fn who_is_calling_is_known_before_it_matters_from_where() {
    let world = World::new().await;
    cookie_caller(&world);
    assert_eq!(problem(&world, forged("s=bad")).await, (401, "unauthenticated".into()));
    assert_eq!(problem(&world, forged("s=good")).await, (403, "cross-site".into()));
    assert!(world.service.seen().is_empty());
}

#[tokio::test]
async fn a_forged_request_is_not_counted_to_the_user_whose_cookie_it_has() {
    let world = World::with(&[("GATEWAY_LIMITS__REQUESTS_PER_USER_MAX", "1")]).await;
    let mut first = fill(&world).await;
    cookie_caller(&world);
    assert_eq!(problem(&world, forged("s=good")).await, (403, "cross-site".into()));
    let own = Request::get("/api/tasks").header("cookie", "s=good");
    assert_eq!(problem(&world, own).await, (429, "too-many-requests".into()));
    assert!(world.service.seen().is_empty(), "nothing was forwarded");
    first.write_all(b"i").await.unwrap();
    let mut read = String::new();
    timeout(PATIENCE, first.read_to_string(&mut read)).await.unwrap().unwrap();
    assert!(read.starts_with("HTTP/1.1 200"), "{read}");
}
