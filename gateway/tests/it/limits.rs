//! What a request may be, from both sides of each bound.

use chassis::Body;
use http::{Method, Response};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::world::{PATIENCE, World, as_u1, get};

const HEAD: &str =
    "POST /api/tasks HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer good\r\nOrigin: http://localhost:3000\r\n";

#[tokio::test]
async fn a_body_has_a_bound_whether_its_length_is_told_or_not() {
    let world = World::with(&[("GATEWAY_LIMITS__BODY_BYTES", "1000")]).await;
    for told in [true, false] {
        for (bytes, want) in [(1000, 200), (1001, 413)] {
            let body = "x".repeat(bytes);
            let request = if told {
                format!("{HEAD}Content-Length: {bytes}\r\nConnection: close\r\n\r\n{body}")
            } else {
                format!(
                    "{HEAD}Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n{bytes:x}\r\n{body}\r\n0\r\n\r\n"
                )
            };
            let before = world.service.seen().len();
            let answer = world.raw(request.as_bytes()).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {want}")), "{told} {bytes}: {answer}");
            assert!(answer.contains("access-control-allow-origin: http://localhost:3000"), "{answer}");
            assert_eq!(world.service.seen().len() - before, usize::from(want == 200));
        }
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_before_it_is_sent() {
    let world = World::new().await;
    let request = format!("{HEAD}Content-Length: 1048577\r\nExpect: 100-continue\r\n\r\n");
    let answer = world.raw(request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert!(world.verifier.seen().is_empty());
}

#[tokio::test]
async fn a_broken_body_is_the_clients_fault() {
    let world = World::new().await;
    for body in [
        "zz\r\nhi\r\n0\r\n\r\n",
        "-3\r\nabc\r\n0\r\n\r\n",
        "2\r\nhiX\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nhi",
    ] {
        let request = format!("{HEAD}Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n{body}");
        let answer = world.raw(request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("body-broken"), "{body:?}: {answer}");
    }
    assert!(world.service.seen().is_empty());
}

#[tokio::test]
async fn a_body_that_pauses_for_too_long_is_given_up() {
    let world = World::with(&[("GATEWAY_LIMITS__BODY_IDLE_SECS", "1")]).await;
    let request = format!("{HEAD}Content-Length: 10\r\n\r\nhalf");
    let answer = world.raw(request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("body-too-slow"), "{answer}");
}

#[tokio::test]
async fn a_target_has_a_bound() {
    let world = World::with(&[("GATEWAY_LIMITS__TARGET_BYTES", "256")]).await;
    let target = |bytes: usize| format!("/api/{}?{}", "x".repeat(100), "y".repeat(bytes - 106));
    assert_eq!(target(256).len(), 256);
    assert_eq!(world.send(get(&target(256))).await.status, 200);
    let answer = world.send(get(&target(257))).await;
    assert_eq!((answer.status.as_u16(), &*answer.problem()), (414, "target-too-long"));
}

#[tokio::test]
async fn as_many_requests_are_inside_as_may_be_and_no_more() {
    let world = World::with(&[("GATEWAY_LIMITS__REQUESTS_MAX", "1")]).await;
    let mut first = TcpStream::connect(world.gateway).await.unwrap();
    let start = format!("{HEAD}Content-Length: 2\r\nConnection: close\r\n\r\nh");
    first.write_all(start.as_bytes()).await.unwrap();
    while world.verifier.seen().is_empty() {
        tokio::task::yield_now().await;
    }
    let answer = world.send(get("/api/tasks")).await;
    assert_eq!((answer.status.as_u16(), &*answer.problem()), (503, "busy"));
    first.write_all(b"i").await.unwrap();
    let mut read = String::new();
    timeout(PATIENCE, first.read_to_string(&mut read)).await.unwrap().unwrap();
    assert!(read.starts_with("HTTP/1.1 200"), "{read}");
    assert_eq!(world.send(get("/api/tasks")).await.status, 200, "the permit was given back");
}

#[tokio::test]
async fn an_unknown_expectation_is_refused_and_the_known_one_is_met() {
    let world = World::new().await;
    let request = as_u1(Method::POST, "/api/tasks").header("expect", "200-ok").body(Body::from("x")).unwrap();
    assert_eq!(world.send(request).await.status, 417);
    let request = format!("{HEAD}Expect: 100-continue\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi");
    let answer = world.raw(request.as_bytes()).await;
    assert!(answer.contains("HTTP/1.1 200") && answer.ends_with("hi"), "{answer}");
    assert_eq!(world.service.last().one("expect"), None);
}

#[tokio::test]
async fn an_answer_that_does_not_begin_in_time_is_given_up() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let world =
        World::with(&[("GATEWAY_TASK_SERVICE_URL", &url), ("GATEWAY_UPSTREAM__TIMEOUT_SECS", "1")]).await;
    let answer = world.send(get("/api/tasks")).await;
    assert_eq!((answer.status.as_u16(), &*answer.problem()), (504, "service-timeout"));
}

#[tokio::test]
async fn a_client_that_sends_all_before_it_reads_hears_why_it_was_refused() {
    let world = World::with(&[("GATEWAY_LIMITS__BODY_BYTES", "1000")]).await;
    let body = "x".repeat(4 * 1024 * 1024);
    for head in [
        format!("{HEAD}Content-Length: {}\r\n\r\n{body}", body.len()),
        format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n", body.len()),
    ] {
        let answer = world.raw(head.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("body-too-large"), "{answer}");
    }
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_its_answer_does_not_keep_its_permit() {
    let world =
        World::with(&[("GATEWAY_LIMITS__REQUESTS_MAX", "1"), ("GATEWAY_LIMITS__BODY_IDLE_SECS", "1")]).await;
    world.service.respond(|_| Response::new(Body::from(vec![b'x'; 8 * 1024 * 1024])));
    let stream = hyper_util::rt::TokioIo::new(TcpStream::connect(world.gateway).await.unwrap());
    let (mut sender, connection) =
        hyper::client::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new())
            .initial_stream_window_size(0)
            .handshake(stream)
            .await
            .unwrap();
    tokio::spawn(connection);
    let mut request = get("/api/tasks");
    *request.uri_mut() = "http://gateway.test/api/tasks".parse().unwrap();
    let unread = sender.send_request(request).await.unwrap();
    assert_eq!(world.send(get("/api/tasks")).await.status, 503, "the permit is taken");
    assert_eq!(world.send(get("/health")).await.status, 200, "the gateway is healthy all the same");
    world.service.respond(|_| Response::new(Body::empty()));
    let free = async {
        while world.send(get("/api/tasks")).await.status != 200 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, free).await.expect("the permit is given back");
    drop(unread);
}

#[tokio::test]
async fn a_head_has_as_many_fields_as_may_be_by_http_2_too() {
    let world = World::new().await;
    for (fields, want) in [(90, 200), (101, 431)] {
        let mut request = as_u1(Method::GET, "/api/tasks");
        for n in 0..fields {
            request = request.header(format!("x-{n}"), "1");
        }
        assert_eq!(world.send_h2(request.body(Body::empty()).unwrap()).await.status, want, "{fields}");
    }
}

#[tokio::test]
async fn a_page_may_read_that_its_head_was_too_large() {
    let world = World::new().await;
    for (cookie_bytes, fields, want) in [(20 * 1024, 50, 200), (40 * 1024, 0, 431), (0, 150, 431)] {
        let request = || {
            let mut request = as_u1(Method::GET, "/api/tasks")
                .header("origin", "http://localhost:3000")
                .header("cookie", format!("theme={}", "a".repeat(cookie_bytes)));
            for n in 0..fields {
                request = request.header(format!("x-{n}"), "1");
            }
            request.body(Body::empty()).unwrap()
        };
        for answer in [world.send(request()).await, world.send_h2(request()).await] {
            assert_eq!(answer.status, want, "{cookie_bytes} {fields}");
            assert_eq!(answer.one("access-control-allow-origin"), Some("http://localhost:3000"));
            if want == 431 {
                assert_eq!(answer.problem(), "head-too-large");
            }
        }
    }
}

#[tokio::test]
async fn a_body_in_a_coding_that_we_do_not_know_is_refused() {
    let world = World::new().await;
    for coding in ["gzip, chunked", "chunked, chunked", ",chunked"] {
        let request =
            format!("{HEAD}Transfer-Encoding: {coding}\r\nConnection: close\r\n\r\n2\r\nhi\r\n0\r\n\r\n");
        let answer = world.raw(request.as_bytes()).await;
        assert!(
            answer.starts_with("HTTP/1.1 501") || answer.starts_with("HTTP/1.1 400"),
            "{coding}: {answer}"
        );
    }
    assert!(world.service.seen().is_empty());
}

#[tokio::test]
async fn a_small_answer_holds_its_permit_until_its_stream_has_room_for_it() {
    let world = World::with(&[("GATEWAY_LIMITS__REQUESTS_MAX", "1")]).await;
    world.service.respond(|_| Response::new(Body::from("small")));
    let stream = hyper_util::rt::TokioIo::new(TcpStream::connect(world.gateway).await.unwrap());
    let (mut sender, connection) =
        hyper::client::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new())
            .initial_stream_window_size(0)
            .handshake(stream)
            .await
            .unwrap();
    tokio::spawn(connection);
    let mut request = get("/api/tasks");
    *request.uri_mut() = "http://gateway.test/api/tasks".parse().unwrap();
    let unread = timeout(PATIENCE, sender.send_request(request)).await.unwrap().unwrap();
    // Else one client could hold answers in our memory without end, a stream each.
    assert_eq!(world.send(get("/api/tasks")).await.status, 503);
    drop(unread);
    let freed = async {
        while world.send(get("/api/tasks")).await.status != 200 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, freed).await.expect("the permit of a stream that was reset is free again");
}

#[tokio::test]
async fn a_small_answer_over_http1_frees_its_permit_though_its_client_reads_nothing() {
    let world = World::with(&[("GATEWAY_LIMITS__REQUESTS_MAX", "1")]).await;
    world.service.respond(|_| Response::new(Body::from("small")));
    let mut unread = TcpStream::connect(world.gateway).await.unwrap();
    unread
        .write_all(b"GET /api/tasks HTTP/1.1\r\nHost: gateway.test\r\nAuthorization: Bearer good\r\n\r\n")
        .await
        .unwrap();
    let freed = async {
        while world.send(get("/api/tasks")).await.status != 200 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, freed).await.expect("hyper has taken the answer");
    drop(unread);
}

#[tokio::test]
async fn a_service_that_answers_nobody_keeps_the_others_from_waiting_for_it_and_not_from_other_services() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (_file, path) = crate::world::config(&format!(
        "[upstreams]\nslow = \"http://{}\"\n\
         [[routes]]\npath = \"/slow\"\nupstream = \"slow\"\naccess = \"public\"\n\
         [[routes]]\npath = \"/api/**\"\nupstream = \"task-service\"\naccess = \"public\"",
        silent.local_addr().unwrap()
    ));
    let world = World::with(&[
        ("GATEWAY_CONFIG", &path),
        ("GATEWAY_UPSTREAM__ANSWER_TARGET_MS", "100"),
        ("GATEWAY_UPSTREAM__WAITING_MIN", "2"),
    ])
    .await;
    let mut waiting = Vec::new();
    let refused = async {
        loop {
            let mut stream = TcpStream::connect(world.gateway).await.unwrap();
            stream.write_all(b"GET /slow HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
            let mut answer = String::new();
            if timeout(std::time::Duration::from_millis(50), stream.read_to_string(&mut answer)).await.is_ok()
            {
                return answer;
            }
            waiting.push(stream);
        }
    };
    let answer = timeout(PATIENCE, refused).await.expect("not everybody waits");
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("problem:overloaded"), "{answer}");
    assert!(answer.contains("\r\nretry-after: 1\r\n"), "{answer}");
    assert!(waiting.len() >= 2, "some may wait in any case");
    assert_eq!(world.send(get("/api/tasks")).await.status, 200, "another service has a limit of its own");
}
