//! The listener, over real sockets.

use http::{Request, Response};
use http_body_util::BodyExt;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::Notify,
    task::JoinHandle,
};

use super::*;
use crate::{Body, serve::trusted_proxies::TrustedProxies, settings::Switch};

mod bounds;
mod event_streams;
mod h2;
mod heads;
mod idle;
mod linger;
mod permits;
mod slow;

/// What a loaded machine may need for anything.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn settings() -> ServerSettings {
    ServerSettings {
        connections_max: 100,
        connections_per_address_max: 100,
        head: Duration::from_secs(10),
        idle: Duration::from_secs(75),
        write: Duration::from_secs(60),
        bytes_per_sec_min: 240,
        trusted_proxies: TrustedProxies::default(),
        head_bytes: 32 * 1024,
        head_fields: 100,
        streams_max: 100,
        resets_max: 20,
        reuse_port: Switch::Off,
        drain_delay: Duration::ZERO,
        drain: Duration::from_secs(25),
    }
}

/// Serves `answer`; how to reach it, how to stop it, and its end.
async fn serving<F: Future<Output = Response<Body>> + Send + 'static>(
    settings: ServerSettings,
    answer: impl Fn(Request<Body>) -> F + Send + Sync + 'static,
) -> (SocketAddr, CancellationToken, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let token = stop.clone();
    let end = tokio::spawn(async move { serve(listener, answer, &settings, token).await });
    (address, stop, end)
}

/// Asks as anybody would, on a new connection; the body of the answer.
async fn bystander(address: SocketAddr) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
    let answer = closed(&mut stream).await;
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    let head = answer.windows(4).position(|end| end == b"\r\n\r\n").unwrap();
    answer[head + 4..].to_vec()
}

/// Where a request waits inside the server.
#[derive(Default)]
struct Gate {
    arrived: Notify,
    go: Notify,
}

/// A server whose requests wait at `gate`.
async fn waiting(
    settings: ServerSettings,
    gate: Arc<Gate>,
) -> (SocketAddr, CancellationToken, JoinHandle<()>) {
    serving(settings, move |_| {
        let gate = gate.clone();
        async move {
            gate.arrived.notify_one();
            gate.go.notified().await;
            Response::new(Body::from("done"))
        }
    })
    .await
}

async fn closed(stream: &mut TcpStream) -> Vec<u8> {
    let mut read = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut read)).await.expect("closed in time");
    read
}

#[tokio::test]
async fn a_request_in_flight_survives_the_drain() {
    let gate = Arc::new(Gate::default());
    let (address, stop, end) = waiting(settings(), gate.clone()).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    gate.arrived.notified().await;
    stop.cancel();
    gate.go.notify_one();
    let answer = String::from_utf8(closed(&mut stream).await).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("done"), "{answer}");
    end.await.unwrap();
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn a_request_that_comes_as_the_drain_begins_is_answered_as_the_last() {
    let (address, stop, end) = serving(settings(), |_| async { Response::new(Body::from("done")) }).await;
    let mut kept = TcpStream::connect(address).await.unwrap();
    let mut fresh = TcpStream::connect(address).await.unwrap();
    kept.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let mut first = Vec::new();
    while !first.ends_with(b"done") {
        assert!(timeout(PATIENCE, kept.read_buf(&mut first)).await.unwrap().unwrap() > 0);
    }
    assert!(!String::from_utf8_lossy(&first).contains("connection: close"));
    // Both are accepted by now.
    bystander(address).await;
    stop.cancel();
    while TcpStream::connect(address).await.is_ok() {
        sleep(Duration::from_millis(1)).await;
    }
    for stream in [&mut kept, &mut fresh] {
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        let answer = String::from_utf8(closed(stream).await).unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.contains("\r\nconnection: close\r\n"),
            "{answer}"
        );
    }
    timeout(PATIENCE, end).await.expect("the drain ends").unwrap();
}

#[tokio::test]
async fn what_waits_in_the_kernel_as_the_drain_begins_is_answered() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
    let mut waiting = Vec::new();
    for _ in 0..10 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        waiting.push(stream);
    }
    stop.cancel();
    let end = tokio::spawn(async move {
        let answer = async |_: Request<Body>| Response::new(Body::from("done"));
        serve(listener, answer, &settings(), stop).await;
    });
    for mut stream in waiting {
        let answer = String::from_utf8(closed(&mut stream).await).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("done"), "{answer}");
        assert!(answer.contains("connection: close"), "{answer}");
    }
    end.await.unwrap();
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn a_connection_that_stays_idle_does_not_hold_the_drain() {
    let (address, stop, end) = serving(settings(), |_| async { Response::new(Body::from("done")) }).await;
    let mut idle = TcpStream::connect(address).await.unwrap();
    bystander(address).await;
    stop.cancel();
    timeout(PATIENCE, end).await.expect("the drain ends").unwrap();
    assert!(closed(&mut idle).await.is_empty());
}

#[tokio::test]
async fn a_drain_does_not_wait_for_ever() {
    let settings = ServerSettings { drain: Duration::from_millis(50), ..settings() };
    let gate = Arc::new(Gate::default());
    let (address, stop, end) = waiting(settings, gate.clone()).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    gate.arrived.notified().await;
    stop.cancel();
    timeout(PATIENCE, end).await.expect("the drain ends").unwrap();
}

#[tokio::test]
async fn a_peer_that_does_not_finish_its_head_is_closed() {
    let settings = ServerSettings { head: Duration::from_millis(50), ..settings() };
    let (address, _stop, _end) = waiting(settings, Arc::new(Gate::default())).await;
    for start in ["", "P", "PRI * HTTP/2.0\r\n", "GET / HTTP/1.1\r\nhost: a\r\n"] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(start.as_bytes()).await.unwrap();
        closed(&mut stream).await;
    }
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let gate = Arc::new(Gate::default());
    let (address, _stop, _end) = waiting(settings(), gate).await;
    let many = "x: y\r\n".repeat(101);
    let long = format!("x: {}\r\n", "y".repeat(33 * 1024));
    for fields in [many, long] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(format!("GET / HTTP/1.1\r\nhost: a\r\n{fields}\r\n").as_bytes()).await.unwrap();
        let answer = String::from_utf8_lossy(&closed(&mut stream).await).into_owned();
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    }
}

#[tokio::test]
async fn connections_beyond_the_bound_wait_until_one_ends() {
    let gate = Arc::new(Gate::default());
    let (address, _stop, _end) =
        waiting(ServerSettings { connections_max: 1, ..settings() }, gate.clone()).await;
    let mut first = TcpStream::connect(address).await.unwrap();
    first.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut second = TcpStream::connect(address).await.unwrap();
    second.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut byte = [0];
    assert!(timeout(Duration::from_millis(50), second.read(&mut byte)).await.is_err(), "the second waits");
    gate.go.notify_one();
    assert!(closed(&mut first).await.ends_with(b"done"));
    gate.go.notify_one();
    assert!(closed(&mut second).await.ends_with(b"done"));
}

#[tokio::test]
async fn h2c_is_spoken_on_the_same_port() {
    let gate = Arc::new(Gate::default());
    gate.go.notify_one();
    let (address, _stop, _end) = waiting(settings(), gate).await;
    let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get(format!("http://{address}/")).body(Body::empty()).unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.version(), http::Version::HTTP_2);
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "done");
}
