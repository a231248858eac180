//! The way inside and back.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use chassis::Body;
use http::{Method, Response};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::world::{PATIENCE, Peer, World, as_u1, by_hand, echo, get};

/// An address where nobody listens.
async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

#[tokio::test]
async fn a_request_arrives_as_it_was_sent() {
    let world = World::new().await;
    let request = |body: Body| {
        as_u1(Method::PUT, "/api/tasks/1?a=b")
            .header("content-type", "application/json")
            .header("x-own", "1")
            .body(body)
    };
    for answer in [
        world.send(request(Body::from("{\"title\":\"é\"}")).unwrap()).await,
        world.send_h2(request(Body::from("{\"title\":\"é\"}")).unwrap()).await,
    ] {
        assert_eq!((answer.status.as_u16(), &*answer.body), (200, "{\"title\":\"é\"}"));
        let seen = world.service.last();
        assert_eq!((seen.method.as_str(), &*seen.target), ("PUT", "/api/tasks/1?a=b"));
        assert_eq!((seen.one("content-type"), seen.one("x-own")), (Some("application/json"), Some("1")));
        assert_eq!(seen.one("content-length"), Some("14"));
    }
}

#[tokio::test]
async fn status_headers_and_body_come_back_as_they_are() {
    let world = World::new().await;
    for status in [200, 201, 204, 304, 400, 404, 409, 418, 500] {
        world.service.respond(move |_| {
            let response =
                Response::builder().status(status).header("etag", "\"1\"").header("location", "/x");
            response.body(Body::empty()).unwrap()
        });
        let answer = world.send(get("/api/tasks")).await;
        assert_eq!(answer.status, status);
        assert_eq!((answer.one("etag"), answer.one("location")), (Some("\"1\""), Some("/x")));
    }
}

#[tokio::test]
async fn an_answer_streams() {
    let world = World::new().await;
    let (sender, body) = by_hand();
    let body = std::sync::Mutex::new(Some(body));
    world.service.respond(move |_| Response::new(body.lock().unwrap().take().unwrap()));
    let mut stream = TcpStream::connect(world.gateway).await.unwrap();
    let head =
        "GET /api/tasks HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer good\r\nConnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut read = Vec::new();
    for piece in ["first", "second"] {
        sender.send(Bytes::from_static(piece.as_bytes())).await.unwrap();
        while !String::from_utf8_lossy(&read).contains(piece) {
            timeout(PATIENCE, stream.read_buf(&mut read)).await.unwrap().unwrap();
        }
    }
    drop(sender);
    timeout(PATIENCE, stream.read_to_end(&mut read)).await.unwrap().unwrap();
    assert!(read.ends_with(b"0\r\n\r\n"));
}

#[tokio::test]
async fn a_request_body_streams() {
    // A service that says what it has read so far.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let world = World::with(&[("GATEWAY_TASK_SERVICE_URL", &url)]).await;
    let (sender, body) = by_hand();
    let request = as_u1(Method::POST, "/api/tasks").body(body).unwrap();
    let sending = tokio::spawn(async move { world.send(request).await.body });
    sender.send(Bytes::from_static(b"first")).await.unwrap();
    let (mut stream, _) = timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
    let mut read = Vec::new();
    for piece in ["first", "second"] {
        while !String::from_utf8_lossy(&read).contains(piece) {
            timeout(PATIENCE, stream.read_buf(&mut read)).await.unwrap().unwrap();
        }
        let _ = sender.send(Bytes::from_static(b"second")).await;
    }
    drop(sender);
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone").await.unwrap();
    assert_eq!(sending.await.unwrap(), "done");
}

#[tokio::test]
async fn a_request_is_cancelled_when_its_client_leaves() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let world = World::with(&[("GATEWAY_TASK_SERVICE_URL", &url)]).await;
    let mut client = TcpStream::connect(world.gateway).await.unwrap();
    client
        .write_all(b"GET /api/tasks HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer good\r\n\r\n")
        .await
        .unwrap();
    let (mut stream, _) = timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
    drop(client);
    let mut read = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut read)).await.expect("the connection inside is closed");
    assert!(read.starts_with(b"GET /api/tasks"));
}

#[tokio::test]
async fn a_service_that_is_away_is_503_and_one_that_breaks_is_502() {
    let url = format!("http://{}", nobody().await);
    let world = World::with(&[("GATEWAY_TASK_SERVICE_URL", &url)]).await;
    let answer = world.send(get("/api/tasks")).await;
    assert_eq!((answer.status.as_u16(), &*answer.problem()), (503, "service-unavailable"));
    assert_eq!(answer.one("retry-after"), Some("1"));

    for reply in [
        &b""[..],
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(reply).await;
            }
        });
        let world = World::with(&[("GATEWAY_TASK_SERVICE_URL", &url)]).await;
        let answer = world.send(as_u1(Method::POST, "/api/tasks").body(Body::from("x")).unwrap()).await;
        assert_eq!((answer.status.as_u16(), &*answer.problem()), (502, "service-broken"));
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_not_made_whole() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            let _ =
                stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n").await;
        }
    });
    let world = World::with(&[("GATEWAY_TASK_SERVICE_URL", &url)]).await;
    let head = "GET /api/tasks HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer good\r\n\r\n";
    let answer = world.raw(head.as_bytes()).await;
    assert!(answer.contains("half") && !answer.ends_with("0\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn replicas_share_the_requests_and_one_that_is_away_costs_none() {
    let (one, two) = (Peer::new(echo).await, Peer::new(echo).await);
    let urls = format!("http://{}, {}, {}", nobody().await, one.url(), two.url());
    let world = World::with(&[("GATEWAY_TASK_SERVICE_URL", &urls)]).await;
    for n in 0..30 {
        let body = format!("body {n}");
        let request = as_u1(Method::POST, "/api/tasks").body(Body::from(body.clone())).unwrap();
        let answer = world.send(request).await;
        assert_eq!((answer.status.as_u16(), answer.body), (200, body));
    }
    let (one, two) = (one.seen().len(), two.seen().len());
    assert_eq!(one + two, 30, "each arrived once");
    assert!(one.abs_diff(two) <= 4, "they have as much to do: {one} and {two}");
}

#[tokio::test]
async fn pipelined_requests_are_authenticated_one_by_one() {
    let world = World::new().await;
    let request = "GET /api/1 HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer good\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n\
        GET /api/2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let answer = world.raw(request.as_bytes()).await;
    let statuses: Vec<_> = answer.lines().filter(|line| line.starts_with("HTTP/1.1 ")).collect();
    assert_eq!(statuses, ["HTTP/1.1 200 OK", "HTTP/1.1 401 Unauthorized"]);
    let seen = world.service.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!((seen[0].one("upgrade"), seen[0].one("connection")), (None, None));
}

#[tokio::test]
async fn a_large_answer_is_not_held_in_memory() {
    const LARGE: usize = 64 * 1024 * 1024;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let world = World::with(&[("GATEWAY_TASK_SERVICE_URL", &url)]).await;
    let given = Arc::new(AtomicUsize::new(0));
    let giving = given.clone();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 4096]).await.unwrap();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let piece = vec![b'x'; 64 * 1024];
        for _ in 0..LARGE / piece.len() {
            stream.write_all(&piece).await.unwrap();
            giving.fetch_add(piece.len(), Ordering::Relaxed);
        }
    });
    let mut client = TcpStream::connect(world.gateway).await.unwrap();
    let head =
        "GET /api/tasks HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer good\r\nConnection: close\r\n\r\n";
    client.write_all(head.as_bytes()).await.unwrap();
    client.read_exact(&mut [0; 8]).await.unwrap();
    // Nobody reads on: until the service can write no more, all that it writes is held by somebody.
    let mut seen = (0, 0);
    while seen.1 < 10 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = given.load(Ordering::Relaxed);
        seen = if now == seen.0 { (now, seen.1 + 1) } else { (now, 0) };
    }
    assert!(seen.0 < LARGE / 2, "{} are held, in the buffers of two sockets and in between", seen.0);
    let mut read = Vec::new();
    timeout(PATIENCE, client.read_to_end(&mut read)).await.unwrap().unwrap();
    assert!(read.len() > LARGE, "and all of it arrives");
}

#[tokio::test]
async fn a_replica_that_is_stuck_gets_no_more() {
    let stuck = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let well = Peer::new(echo).await;
    let urls = format!("http://{}, {}", stuck.local_addr().unwrap(), well.url());
    let world = Arc::new(World::with(&[("GATEWAY_TASK_SERVICE_URL", &urls)]).await);
    let waiting: Vec<_> = (0..2)
        .map(|_| {
            let world = world.clone();
            tokio::spawn(async move { world.send(get("/api/tasks")).await.status })
        })
        .collect();
    let (_held, _) = timeout(PATIENCE, stuck.accept()).await.expect("one of two goes there").unwrap();
    for _ in 0..30 {
        assert_eq!(world.send(get("/api/tasks")).await.status, 200);
    }
    assert_eq!(well.seen().len(), 31);
    for one in waiting {
        one.abort();
    }
}

#[tokio::test]
async fn as_long_as_one_replica_lives_requests_are_served() {
    let alive = Peer::new(echo).await;
    let urls = format!("http://{}, http://{}, {}", nobody().await, nobody().await, alive.url());
    let world =
        World::with(&[("GATEWAY_TASK_SERVICE_URL", &urls), ("GATEWAY_UPSTREAM__EJECT_SECS", "0")]).await;
    for _ in 0..12 {
        assert_eq!(world.send(get("/api/tasks")).await.status, 200);
    }
}

#[tokio::test]
async fn an_answer_that_is_none_is_not_passed_on() {
    for reply in [
        &b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: foo\r\n\r\n"[..],
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(reply).await;
            }
        });
        let world = World::with(&[("GATEWAY_TASK_SERVICE_URL", &url)]).await;
        let answer = world.send(get("/api/tasks")).await;
        assert_eq!((answer.status.as_u16(), &*answer.problem()), (502, "service-broken"));
    }
}

#[tokio::test]
async fn cookies_that_http_2_cut_up_are_put_together_for_the_verifier() {
    let world = World::new().await;
    let mut request = as_u1(Method::GET, "/api/tasks");
    for n in 0..50 {
        request = request.header("cookie", format!("c{n}={n}"));
    }
    assert_eq!(world.send_h2(request.body(Body::empty()).unwrap()).await.status, 200);
    let asked = world.verifier.last();
    let cookies = asked.one("cookie").unwrap();
    assert!(cookies.starts_with("c0=0; c1=1; ") && cookies.ends_with("; c49=49"), "{cookies}");
}

#[tokio::test]
async fn an_upload_goes_on_though_its_service_has_answered() {
    const LARGE: usize = 16 * 1024 * 1024;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let world = World::with(&[
        ("GATEWAY_TASK_SERVICE_URL", &url),
        ("GATEWAY_LIMITS__BODY_BYTES", &LARGE.to_string()),
    ])
    .await;
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ] {
        let (mut client, mut writing) = TcpStream::connect(world.gateway).await.unwrap().into_split();
        let head = format!(
            "POST /api/tasks HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer good\r\nContent-Length: {LARGE}\r\n\r\n"
        );
        writing.write_all(head.as_bytes()).await.unwrap();
        writing.write_all(b"x").await.unwrap();
        let (mut service, _) = timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
        let mut start = [0; 4];
        timeout(PATIENCE, service.read_exact(&mut start)).await.unwrap().unwrap();
        service.write_all(answer.as_bytes()).await.unwrap();
        let mut start = [0; 10];
        timeout(PATIENCE, client.read_exact(&mut start)).await.unwrap().unwrap();
        assert_eq!(&start, b"HTTP/1.1 2");
        // Only now: the client knows that its request was taken.
        tokio::spawn(async move {
            let _ = writing.write_all(&vec![b'x'; LARGE - 1]).await;
            std::future::pending::<()>().await;
        });
        let all = async {
            let (mut read, mut piece) = (0, vec![0; 64 * 1024]);
            while read < LARGE {
                let more = service.read(&mut piece).await.unwrap();
                assert!(more > 0, "it was cut off after {read} bytes: {answer:?}");
                read += more;
            }
        };
        timeout(PATIENCE, all).await.expect("all of the body arrives");
    }
}

#[tokio::test]
async fn a_service_of_http_1_0_gets_whole_bodies_over_connections_of_their_own() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let world = World::with(&[("GATEWAY_TASK_SERVICE_URL", &url)]).await;
    tokio::spawn(async move {
        loop {
            let (mut service, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut seen = Vec::new();
                loop {
                    let mut piece = [0; 4096];
                    let more = service.read(&mut piece).await.unwrap_or(0);
                    if more == 0 {
                        return;
                    }
                    seen.extend_from_slice(&piece[..more]);
                    let text = String::from_utf8_lossy(&seen).into_owned();
                    if text.starts_with("GET") || text.contains("whole") {
                        let answer =
                            "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok";
                        service.write_all(answer.as_bytes()).await.unwrap();
                        seen.clear();
                    }
                }
            });
        }
    });
    assert_eq!(world.send(get("/api/tasks")).await.status, 200);
    let request = "POST /api/tasks HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer good\r\nConnection: close\r\n\
                   Transfer-Encoding: chunked\r\n\r\n5\r\nwhole\r\n0\r\n\r\n";
    let answer = timeout(PATIENCE, world.raw(request.as_bytes())).await.expect("the body arrives");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn an_upload_goes_on_though_its_client_does_not_read_the_answer_that_has_begun() {
    const LARGE: usize = 16 * 1024 * 1024;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let world = World::with(&[
        ("GATEWAY_TASK_SERVICE_URL", &url),
        ("GATEWAY_LIMITS__BODY_BYTES", &LARGE.to_string()),
    ])
    .await;
    let (mut client, mut writing) = TcpStream::connect(world.gateway).await.unwrap().into_split();
    let head = format!(
        "POST /api/tasks HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer good\r\nContent-Length: {LARGE}\r\n\r\n"
    );
    tokio::spawn(async move {
        writing.write_all(head.as_bytes()).await.unwrap();
        let _ = writing.write_all(&vec![b'x'; LARGE]).await;
        std::future::pending::<()>().await;
    });
    let (service, _) = timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
    let (mut reading, mut answering) = service.into_split();
    // The answer has begun, and more of it than the buffers on the way hold waits for the client.
    tokio::spawn(async move {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n");
        let _ = answering.write_all(head.as_bytes()).await;
        let _ = answering.write_all(&vec![b'y'; LARGE]).await;
        std::future::pending::<()>().await;
    });
    let mut start = [0; 12];
    timeout(PATIENCE, client.read_exact(&mut start)).await.unwrap().unwrap();
    assert_eq!(&start, b"HTTP/1.1 200");
    let all = async {
        let (mut read, mut piece) = (0, vec![0; 64 * 1024]);
        while read < LARGE {
            read += reading.read(&mut piece).await.unwrap();
        }
    };
    timeout(PATIENCE, all).await.expect("all of the body arrives");
}
