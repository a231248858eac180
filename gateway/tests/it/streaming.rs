//! Answers that come piece by piece, for as long as they live.

use std::time::Duration;

use bytes::Bytes;
use chassis::Body;
use http::Response;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

use crate::world::{PATIENCE, World, by_hand, get};

/// Routes with an idle time of their own, and without.
const FILE: &str = "
    [[routes]]
    path = \"/api/events/**\"
    upstream = \"task-service\"
    idle_secs = 60

    [[routes]]
    path = \"/api/slow\"
    upstream = \"task-service\"
    timeout_secs = 1

    [[routes]]
    path = \"/api/**\"
    upstream = \"task-service\"
";

async fn ask(world: &World, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(world.gateway).await.unwrap();
    let head = format!(
        "GET {path} HTTP/1.1\r\nHost: a.test\r\nAuthorization: Bearer good\r\nAccept: text/event-stream\r\n\
         Last-Event-ID: 41\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

/// Reads until `end` has come; all that has.
async fn read_to(stream: &mut TcpStream, end: &str) -> String {
    let mut read = String::new();
    while !read.contains(end) {
        let mut piece = [0; 4096];
        let bytes = timeout(PATIENCE, stream.read(&mut piece)).await.expect("it comes at once").unwrap();
        assert!(bytes > 0, "it was cut off after {read:?}");
        read.push_str(std::str::from_utf8(&piece[..bytes]).unwrap());
    }
    read
}

#[tokio::test]
async fn events_arrive_one_by_one_and_a_pause_ends_only_what_may_not_pause() {
    let world = World::with_file(
        FILE,
        &[
            ("GATEWAY_UPSTREAM__IDLE_SECS", "1"),
            // A client that has nothing to take is not slow.
            ("GATEWAY_LIMITS__ANSWER_RATE", "1000000"),
            ("GATEWAY_LIMITS__BODY_IDLE_SECS", "1"),
        ],
    )
    .await;
    for (path, survives) in [("/api/events/all", true), ("/api/other", false)] {
        let (events, body) = by_hand();
        let body = std::sync::Mutex::new(Some(body));
        world.service.respond(move |_| {
            let body = body.lock().unwrap().take().unwrap_or_else(Body::empty);
            Response::builder().header("content-type", "text/event-stream").body(body).unwrap()
        });
        let mut stream = ask(&world, path).await;
        let began = Instant::now();
        events.send(Bytes::from("id: 42\ndata: one\n\n")).await.unwrap();
        let head = read_to(&mut stream, "data: one\n\n").await;
        assert!(head.contains("text/event-stream"), "{head}");
        assert_eq!(world.service.last().one("last-event-id"), Some("41"));
        for number in 2..5 {
            events.send(Bytes::from(format!("data: {number}\n\n"))).await.unwrap();
            read_to(&mut stream, &format!("data: {number}\n\n")).await;
        }
        if survives {
            sleep(Duration::from_secs(3)).await;
            events.send(Bytes::from("data: late\n\n")).await.unwrap();
            read_to(&mut stream, "data: late\n\n").await;
            assert!(began.elapsed() >= Duration::from_secs(3));
        } else {
            let mut rest = Vec::new();
            let _ = timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("it is cut off");
            assert!(!rest.ends_with(b"0\r\n\r\n"), "and not as if it were whole");
        }
    }
}

#[tokio::test]
async fn an_answer_has_its_routes_time_to_begin() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = [0; 4096];
                while stream.read(&mut head).await.is_ok_and(|bytes| bytes > 0) {
                    sleep(Duration::from_secs(3)).await;
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
                }
            });
        }
    });
    let world = World::with_file(FILE, &[("GATEWAY_TASK_SERVICE_URL", &url)]).await;
    let answer = world.send(get("/api/slow")).await;
    assert_eq!((answer.status.as_u16(), &*answer.problem()), (504, "service-timeout"));
    assert_eq!(world.send(get("/api/other")).await.status, 200);
}
