//! Whoever is still sending when its answer comes gets to read it.

use super::*;

/// More than the sockets of both sides hold, so that it can't all be sent before the answer is there.
const MUCH: usize = 8 * 1024 * 1024;

/// A server that answers before it reads a body.
async fn hasty() -> (SocketAddr, CancellationToken, JoinHandle<()>) {
    serving(settings(), |_| async { Response::new(Body::from("hasty")) }).await
}

/// Sends `request`, all of it, and only then reads.
async fn says(address: SocketAddr, request: Vec<u8>) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    timeout(PATIENCE, stream.write_all(&request)).await.expect("taken in time").expect("taken");
    let mut answer = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("closed in time").expect("not reset");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_head_far_beyond_the_bound_is_refused_and_its_sender_hears_it() {
    let (address, _stop, _end) = hasty().await;
    let head = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "y".repeat(MUCH));
    let answer = says(address, head.into_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[tokio::test]
async fn who_sends_what_is_no_http_hears_it() {
    let (address, _stop, _end) = hasty().await;
    let answer = says(address, b"\x16\x03\x01".repeat(MUCH / 3)).await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
}

#[tokio::test]
async fn an_answer_that_comes_before_the_body_is_read_is_heard() {
    let (address, _stop, _end) = hasty().await;
    for framing in [format!("content-length: {MUCH}"), "transfer-encoding: chunked".to_owned()] {
        let mut request = format!("POST / HTTP/1.1\r\nhost: a\r\n{framing}\r\n\r\n").into_bytes();
        if framing.starts_with("transfer") {
            request.extend(format!("{MUCH:x}\r\n").bytes());
        }
        request.resize(request.len() + MUCH, b'x');
        let answer = says(address, request).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("hasty"), "{answer}");
    }
}

/// Or else a proxy would put the next request into a connection that is being closed.
#[tokio::test]
async fn what_nobody_reads_ends_the_connection_and_the_answer_says_so() {
    let (address, _stop, _end) = serving(settings(), |request: Request<Body>| async move {
        if request.uri().path() == "/read" {
            request.into_body().collect().await.unwrap();
        }
        Response::new(Body::from("done"))
    })
    .await;
    for (request, ends) in [
        ("POST /read HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\nx", false),
        ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n", false),
        ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\n", true),
        ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n", true),
        ("POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 1\r\n\r\n", true),
    ] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let (mut answer, mut buffer) = (String::new(), [0; 1024]);
        while !answer.ends_with("done") {
            let bytes = timeout(PATIENCE, stream.read(&mut buffer)).await.expect("answered").unwrap();
            assert!(bytes > 0, "{request:?}: {answer:?}");
            answer.push_str(&String::from_utf8_lossy(&buffer[..bytes]));
        }
        assert_eq!(answer.contains("\r\nconnection: close\r\n"), ends, "{request:?}: {answer}");
    }
}

#[tokio::test]
async fn who_never_stops_sending_is_not_read_for_ever() {
    let (address, stop, end) = hasty().await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000000000\r\n\r\n").await.unwrap();
    let much = vec![b'x'; MUCH];
    let sends = async { while stream.write_all(&much).await.is_ok() {} };
    timeout(PATIENCE, sends).await.expect("the connection is closed");
    stop.cancel();
    timeout(PATIENCE, end).await.expect("nothing is left of it").unwrap();
}

#[tokio::test]
async fn who_falls_silent_is_not_waited_for() {
    let (address, stop, end) = hasty().await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\n").await.unwrap();
    assert!(String::from_utf8_lossy(&closed(&mut stream).await).ends_with("hasty"));
    stop.cancel();
    timeout(PATIENCE, end).await.expect("nothing is left of it").unwrap();
}
