//! Server-sent events at a drain.

use futures_util::stream;
use http::{Method, header};
use tokio::time::Instant;

use super::*;

/// Serves what says one thing and then nothing more for as long as it lives, as `kind`.
async fn endless(drain: Duration, kind: &'static str) -> (SocketAddr, CancellationToken, JoinHandle<()>) {
    serving(ServerSettings { drain, ..settings() }, move |_| async move {
        let once = stream::once(async { Ok::<_, std::io::Error>("id: 1\ndata: 1\n\n") });
        let body = Body::from_stream(stream::StreamExt::chain(once, stream::pending()));
        Response::builder().header(header::CONTENT_TYPE, kind).body(body).unwrap()
    })
    .await
}

/// What is answered over HTTP/1, where the drain begins after the first event.
async fn over_http1(drain: Duration, kind: &'static str, method: &str) -> (String, Duration) {
    let (address, stop, end) = endless(drain, kind).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("{method} / HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"data: 1\n\n\r\n") {
        assert!(timeout(PATIENCE, stream.read_buf(&mut answer)).await.unwrap().unwrap() > 0);
    }
    let begun = Instant::now();
    stop.cancel();
    answer.extend(closed(&mut stream).await);
    timeout(PATIENCE, end).await.expect("the drain ends").unwrap();
    (String::from_utf8(answer).unwrap(), begun.elapsed())
}

/// Longer than anybody waits here.
const LONG: Duration = Duration::from_secs(600);

#[tokio::test]
async fn events_that_are_asked_for_again_do_not_hold_a_drain() {
    for kind in ["text/event-stream", "text/event-stream; charset=utf-8", "Text/Event-Stream"] {
        let (answer, _) = over_http1(LONG, kind, "GET").await;
        assert!(answer.ends_with("\r\n0\r\n\r\n"), "it ends as it should: {answer}");
    }
}

#[tokio::test]
async fn what_nobody_asks_for_again_has_the_whole_drain() {
    let drain = Duration::from_millis(200);
    for (kind, method) in [("text/event-stream", "POST"), ("text/plain", "GET"), ("text/event", "GET")] {
        let (answer, took) = over_http1(drain, kind, method).await;
        assert!(took >= drain, "{method} {kind}: {took:?}");
        assert!(!answer.ends_with("\r\n0\r\n\r\n"), "it is cut, and its client can tell: {answer}");
    }
}

#[tokio::test]
async fn events_over_http2_do_not_hold_a_drain_either() {
    let (address, stop, end) = endless(LONG, "text/event-stream").await;
    let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    tokio::spawn(connection);
    let request = Request::builder().method(Method::GET).uri(format!("http://{address}/"));
    let response = sender.send_request(request.body(Body::empty()).unwrap()).await.unwrap();
    let mut body = response.into_body();
    let first = timeout(PATIENCE, body.frame()).await.unwrap().unwrap().unwrap();
    assert_eq!(first.into_data().unwrap(), "id: 1\ndata: 1\n\n");
    stop.cancel();
    let rest = timeout(PATIENCE, body.collect()).await.unwrap().expect("it ends as it should");
    assert!(rest.to_bytes().is_empty());
    timeout(PATIENCE, end).await.expect("the drain ends").unwrap();
}
