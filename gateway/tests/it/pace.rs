//! How slow a body may be, in either direction, from both sides.

use std::time::Duration;

use bytes::Bytes;
use chassis::Body;
use http::{Method, Response};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

use crate::world::{PATIENCE, World, as_u1, by_hand, config, get};

/// Sends pieces of a body by HTTP/1.1, one every `every`, until there are no more or an answer comes: the answer.
async fn send_slowly(world: &World, head: &str, pieces: &[&str], every: Duration) -> String {
    let (mut read, mut write) = TcpStream::connect(world.gateway).await.unwrap().into_split();
    let head = format!("POST /api/tasks HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer good\r\n{head}\r\n\r\n");
    write.write_all(head.as_bytes()).await.unwrap();
    let pieces: Vec<String> = pieces.iter().map(|&piece| piece.to_owned()).collect();
    let sending = tokio::spawn(async move {
        for piece in pieces {
            if write.write_all(piece.as_bytes()).await.is_err() {
                break;
            }
            sleep(every).await;
        }
        write
    });
    let mut answer = Vec::new();
    let _ = timeout(PATIENCE, read.read_to_end(&mut answer)).await.expect("an answer");
    sending.abort();
    String::from_utf8_lossy(&answer).into_owned()
}

const TENTH: Duration = Duration::from_millis(100);

#[tokio::test]
async fn a_body_that_trickles_is_given_up_however_it_is_framed() {
    let world = World::with(&[
        ("GATEWAY_LIMITS__BODY_GRACE_SECS", "1"),
        ("GATEWAY_LIMITS__BODY_RATE", "1000"),
        ("GATEWAY_LIMITS__BODY_IDLE_SECS", "3600"),
        ("GATEWAY_LIMITS__BODY_SECS", "3600"),
    ])
    .await;
    for (head, piece) in [
        ("Content-Length: 1000", "x"),
        ("Transfer-Encoding: chunked", "1\r\nx\r\n"),
        ("Transfer-Encoding: chunked\r\nExpect: 100-continue", "1\r\nx\r\n"),
        ("Content-Length: 1000\r\nExpect: 100-continue", "x"),
        ("Content-Length: 1000\r\nExpect: 100-continue", ""),
    ] {
        let answer = send_slowly(&world, head, &[piece; 900], TENTH).await;
        assert!(answer.contains("HTTP/1.1 408") && answer.contains("body-too-slow"), "{head}: {answer}");
    }
    let (sender, body) = by_hand();
    tokio::spawn(async move {
        while sender.send(Bytes::from_static(b"x")).await.is_ok() {
            sleep(TENTH).await;
        }
    });
    let answer = world.send_h2(as_u1(Method::POST, "/api/tasks").body(body).unwrap()).await;
    assert_eq!((answer.status.as_u16(), &*answer.problem()), (408, "body-too-slow"));
    assert!(world.service.seen().is_empty());
}

#[tokio::test]
async fn a_body_that_comes_as_fast_as_it_must_may_take_longer_than_the_grace() {
    let world =
        World::with(&[("GATEWAY_LIMITS__BODY_GRACE_SECS", "2"), ("GATEWAY_LIMITS__BODY_RATE", "100")]).await;
    let piece = "x".repeat(200);
    let head = "Content-Length: 6000\r\nConnection: close";
    let answer = send_slowly(&world, head, &[&*piece; 30], TENTH).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(world.service.last().body.len(), 6000);
}

#[tokio::test]
async fn a_body_has_a_time_in_which_it_must_have_come() {
    let world = World::with(&[("GATEWAY_LIMITS__BODY_SECS", "1"), ("GATEWAY_LIMITS__BODY_RATE", "1")]).await;
    let piece = "x".repeat(1000);
    let answer = send_slowly(&world, "Content-Length: 900000", &[&*piece; 900], TENTH).await;
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("body-too-slow"), "{answer}");
    assert_eq!(
        world.send(as_u1(Method::POST, "/api/tasks").body(Body::from(piece)).unwrap()).await.status,
        200
    );
}

#[tokio::test]
async fn a_route_may_say_otherwise() {
    let (_file, path) = config(
        "[limits]\nbody_bytes = 1000\nbody_secs = 1\nbody_rate = 1000\nbody_grace_secs = 1\n\
         [[routes]]\npath = \"/api/files/**\"\nupstream = \"task-service\"\nbody_bytes = 2000\nbody_secs = 60\nbody_rate = 1\n\
         [[routes]]\npath = \"/api/**\"\nupstream = \"task-service\"",
    );
    let world = World::with(&[("GATEWAY_CONFIG", &path)]).await;
    for (path, bytes, want) in [
        ("/api/files/1", 2000, 200),
        ("/api/files/1", 2001, 413),
        ("/api/tasks", 1000, 200),
        ("/api/tasks", 1001, 413),
    ] {
        let known = as_u1(Method::POST, path).body(Body::from("x".repeat(bytes))).unwrap();
        assert_eq!(world.send(known).await.status, want, "{path} {bytes}");
        let (sender, body) = by_hand();
        tokio::spawn(async move { sender.send("x".repeat(bytes).into()).await });
        let unknown = as_u1(Method::POST, path).body(body).unwrap();
        assert_eq!(world.send_h2(unknown).await.status, want, "{path} {bytes}, chunked");
    }
    for (path, want) in [("/api/files/1", 200), ("/api/tasks", 408)] {
        let (sender, body) = by_hand();
        tokio::spawn(async move {
            for _ in 0..25 {
                let _ = sender.send(Bytes::from_static(b"x")).await;
                sleep(TENTH).await;
            }
        });
        assert_eq!(world.send(as_u1(Method::POST, path).body(body).unwrap()).await.status, want, "{path}");
    }
}

/// An answer larger than any buffer on the way.
const LARGE: usize = 16 * 1024 * 1024;

async fn large() -> World {
    let world = World::with(&[
        ("GATEWAY_LIMITS__REQUESTS_MAX", "1"),
        ("GATEWAY_LIMITS__BODY_IDLE_SECS", "1"),
        ("GATEWAY_LIMITS__ANSWER_RATE", "10000"),
    ])
    .await;
    world.service.respond(|_| Response::new(Body::from(vec![b'x'; LARGE])));
    world
}

async fn ask_h1(world: &World) -> TcpStream {
    let mut stream = TcpStream::connect(world.gateway).await.unwrap();
    let head =
        "GET /api/tasks HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer good\r\nConnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut first = [0; 1];
    timeout(PATIENCE, stream.read_exact(&mut first)).await.unwrap().unwrap();
    stream
}

#[tokio::test]
async fn a_client_that_takes_its_answer_a_byte_at_a_time_does_not_keep_its_permit() {
    let world = large().await;
    for pause in [TENTH, 2 * PATIENCE] {
        let mut stream = ask_h1(&world).await;
        assert_eq!(world.send(get("/api/tasks")).await.status, 503, "the permit is taken");
        let taking = tokio::spawn(async move {
            let mut byte = [0; 1];
            while stream.read_exact(&mut byte).await.is_ok() {
                sleep(pause).await;
            }
        });
        let free = async {
            while world.send(get("/api/tasks")).await.status == 503 {
                sleep(TENTH).await;
            }
        };
        timeout(PATIENCE, free).await.expect("the permit is given back");
        taking.abort();
    }
}

#[tokio::test]
async fn a_client_that_reads_slowly_but_steadily_gets_its_answer_whole() {
    let world = large().await;
    let mut stream = ask_h1(&world).await;
    let started = Instant::now();
    let (mut read, mut piece) = (1, vec![0; 64 * 1024]);
    loop {
        let bytes = timeout(PATIENCE, stream.read(&mut piece)).await.unwrap().expect("the answer goes on");
        if bytes == 0 {
            break;
        }
        read += bytes;
        // 1 MB a second: a step of the kernel's buffers takes longer than what may pass without any.
        let due = started + Duration::from_micros(u64::try_from(read).unwrap());
        tokio::time::sleep_until(due).await;
    }
    assert!(read > LARGE, "{read}");
}
