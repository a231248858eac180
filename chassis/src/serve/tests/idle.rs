//! Connections without a request, and heads that don't end.

use super::{
    h2::{Client, END_STREAM, GOAWAY, HEADERS},
    *,
};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";

async fn answering(settings: ServerSettings) -> (SocketAddr, CancellationToken, JoinHandle<()>) {
    serving(settings, |_| async { Response::new(Body::from("done")) }).await
}

/// Asks on a connection that is kept.
async fn ask(stream: &mut TcpStream) {
    stream.write_all(REQUEST).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"done") {
        let more = timeout(PATIENCE, stream.read_buf(&mut answer)).await.expect("in time").unwrap();
        assert_ne!(more, 0, "not closed");
    }
}

#[tokio::test]
async fn a_connection_that_idles_is_closed_when_its_time_is_over() {
    let settings = ServerSettings { idle: Duration::from_millis(200), ..settings() };
    let (address, _stop, _end) = answering(settings).await;
    let mut http1 = TcpStream::connect(address).await.unwrap();
    ask(&mut http1).await;
    assert_eq!(closed(&mut http1).await, b"");
    for requests in [0, 1] {
        for pongs in [true, false] {
            let mut http2 = Client::connect(address, 65_535).await;
            http2.pongs = pongs;
            for request in 0..requests {
                http2.get(request * 2 + 1).await;
                assert_eq!(http2.body(request * 2 + 1).await, Some(4));
            }
            assert!(http2.closed().await, "told to go first");
        }
    }
}

#[tokio::test]
async fn a_connection_may_idle_for_longer_than_a_head_may_take() {
    let settings = ServerSettings { head: Duration::from_secs(1), ..settings() };
    let (address, _stop, _end) = answering(settings).await;
    let mut http1 = TcpStream::connect(address).await.unwrap();
    let mut http2 = Client::connect(address, 65_535).await;
    for id in [1, 3] {
        ask(&mut http1).await;
        http2.get(id).await;
        assert_eq!(http2.body(id).await, Some(4));
        sleep(Duration::from_millis(1500)).await;
    }
    ask(&mut http1).await;
    http2.get(5).await;
    assert_eq!(http2.body(5).await, Some(4));
}

#[tokio::test]
async fn a_request_may_take_longer_than_a_connection_may_idle() {
    let settings = ServerSettings {
        head: Duration::from_millis(200),
        idle: Duration::from_millis(200),
        write: Duration::from_millis(200),
        ..settings()
    };
    let (address, _stop, _end) = serving(settings, |_| async {
        sleep(Duration::from_secs(1)).await;
        Response::new(Body::from("done"))
    })
    .await;
    let mut http2 = Client::connect(address, 65_535).await;
    http2.get(1).await;
    assert_eq!(bystander(address).await, b"done");
    assert_eq!(http2.body(1).await, Some(4));
}

#[tokio::test]
async fn a_peer_that_does_not_finish_its_head_is_closed() {
    let settings = ServerSettings { head: Duration::from_millis(200), ..settings() };
    let (address, _stop, _end) = answering(settings).await;
    for start in ["", "P", "PRI * HTTP/2.0\r\n", "GET / HTTP/1.1\r\nhost: a\r\n"] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(start.as_bytes()).await.unwrap();
        closed(&mut stream).await;
    }
    let mut second = TcpStream::connect(address).await.unwrap();
    ask(&mut second).await;
    second.write_all(b"GET / HTTP/1.1\r\nho").await.unwrap();
    closed(&mut second).await;
}

#[tokio::test]
async fn a_head_that_drips_has_the_time_of_a_head_all_the_same() {
    let settings = ServerSettings { head: Duration::from_millis(200), ..settings() };
    let (address, _stop, _end) = answering(settings).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    let drips = async {
        while stream.write_all(b"x: y\r\n").await.is_ok() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, drips).await.expect("closed in time");
}

#[tokio::test]
async fn neither_half_a_head_nor_a_deaf_peer_holds_a_drain() {
    let settings =
        ServerSettings { head: Duration::from_secs(300), drain: Duration::from_secs(600), ..settings() };
    let (address, stop, end) = answering(settings).await;
    let mut half = TcpStream::connect(address).await.unwrap();
    half.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    let mut second = TcpStream::connect(address).await.unwrap();
    ask(&mut second).await;
    second.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    let mut deaf = Client::connect(address, 65_535).await;
    deaf.pongs = false;
    deaf.get(1).await;
    assert_eq!(deaf.body(1).await, Some(4));
    let mut headless = Client::connect(address, 65_535).await;
    headless.send(HEADERS, END_STREAM, 1, &[0x82]).await;
    stop.cancel();
    timeout(PATIENCE, end).await.expect("the drain ends").unwrap();
}

#[tokio::test]
async fn a_stream_in_flight_survives_the_drain() {
    let gate = Arc::new(Gate::default());
    let (address, stop, end) = waiting(settings(), gate.clone()).await;
    let mut client = Client::connect(address, 65_535).await;
    client.get(1).await;
    gate.arrived.notified().await;
    stop.cancel();
    client.until(GOAWAY).await;
    gate.go.notify_one();
    assert_eq!(client.body(1).await, Some(4));
    timeout(PATIENCE, end).await.expect("the drain ends").unwrap();
}
