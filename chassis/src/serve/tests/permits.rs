//! Who may hold how many connections, and who makes room.

use http_body_util::Empty;
use tokio::net::TcpSocket;

use super::{h2::Client, *};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

async fn from(local: &str, address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{local}:0").parse().unwrap()).unwrap();
    socket.connect(address).await.unwrap()
}

/// Asks from an address; whether there was an answer.
async fn answered(local: &str, address: SocketAddr) -> bool {
    let mut stream = from(local, address).await;
    let _ = stream.write_all(REQUEST).await;
    closed(&mut stream).await.ends_with(b"done")
}

/// A server where everything but a `POST` is answered at once, and `POST`s wait.
async fn answering(settings: ServerSettings) -> SocketAddr {
    let (address, _, _) = serving(settings, |request| async move {
        if request.method() == http::Method::POST {
            std::future::pending::<()>().await;
        }
        Response::new(Body::from("done"))
    })
    .await;
    address
}

#[tokio::test]
async fn idle_connections_lock_nobody_out() {
    let settings = ServerSettings { connections_max: 20, ..settings() };
    let address = answering(settings).await;
    let (mut silent, mut http2) = (Vec::new(), Vec::new());
    for _ in 0..30 {
        silent.push(from("127.0.0.1", address).await);
        http2.push(Client::connect(address, 65_535).await);
    }
    for _ in 0..5 {
        assert!(answered("127.0.0.2", address).await);
        assert!(answered("127.0.0.1", address).await);
    }
}

#[tokio::test]
async fn the_connection_that_has_idled_longest_makes_room_and_none_at_work() {
    let settings = ServerSettings { connections_max: 10, ..settings() };
    let address = answering(settings).await;
    let mut at_work = Client::connect(address, 65_535).await;
    at_work.post(1).await;
    let mut oldest = from("127.0.0.1", address).await;
    sleep(Duration::from_millis(300)).await;
    let mut held = Vec::new();
    for _ in 0..7 {
        held.push(Client::connect(address, 65_535).await);
    }
    // Long enough for a newcomer to have said what it wants.
    sleep(Duration::from_millis(1500)).await;
    assert_eq!(oldest.try_read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "nine hold");
    let newcomer = from("127.0.0.1", address).await;
    assert!(closed(&mut oldest).await.is_empty());
    for client in &mut held {
        client.get(1).await;
        assert_eq!(client.body(1).await, Some(4), "the younger ones stay");
    }
    drop(newcomer);
    at_work.get(3).await;
    assert_eq!(at_work.body(3).await, Some(4), "who is at work stays");
}

#[tokio::test]
async fn connections_at_work_have_a_share_by_address() {
    let settings = ServerSettings { connections_per_address_max: 3, ..settings() };
    let address = answering(settings).await;
    let mut at_work = Vec::new();
    for _ in 0..3 {
        let mut client = Client::connect(address, 65_535).await;
        client.post(1).await;
        // Its request has come when the next is answered.
        client.get(3).await;
        assert_eq!(client.body(3).await, Some(4));
        at_work.push(client);
    }
    assert!(!answered("127.0.0.1", address).await, "the share is used up");
    assert!(answered("127.0.0.2", address).await, "another's is not");
    at_work.pop();
    let again = async { while !answered("127.0.0.1", address).await {} };
    timeout(PATIENCE, again).await.expect("a place that is given back serves again");
}

#[tokio::test]
async fn an_address_makes_room_for_itself_first() {
    let settings = ServerSettings { connections_per_address_max: 3, ..settings() };
    let address = answering(settings).await;
    let mut other = from("127.0.0.2", address).await;
    let mut idle = Vec::new();
    for _ in 0..3 {
        idle.push(Client::connect(address, 65_535).await);
        sleep(Duration::from_millis(20)).await;
    }
    assert!(answered("127.0.0.1", address).await);
    assert!(idle[0].closed().await, "the oldest of its own is told to go");
    other.write_all(REQUEST).await.unwrap();
    assert!(closed(&mut other).await.ends_with(b"done"));
}

#[tokio::test]
async fn a_trusted_proxy_has_no_share() {
    let trusted: serde_json::Value = "127.0.0.1".into();
    let trusted_proxies = serde::Deserialize::deserialize(trusted).unwrap();
    let settings = ServerSettings { connections_per_address_max: 2, trusted_proxies, ..settings() };
    let address = answering(settings).await;
    let mut at_work = Vec::new();
    for _ in 0..5 {
        let mut client = Client::connect(address, 65_535).await;
        client.post(1).await;
        client.get(3).await;
        assert_eq!(client.body(3).await, Some(4));
        at_work.push(client);
    }
    assert!(answered("127.0.0.1", address).await);
}

#[tokio::test]
async fn requests_that_run_at_the_end_of_a_drain_are_dropped() {
    struct Told(CancellationToken);
    impl Drop for Told {
        fn drop(&mut self) {
            self.0.cancel();
        }
    }
    let dropped = CancellationToken::new();
    let arrived = Arc::new(Notify::new());
    let told = (dropped.clone(), arrived.clone());
    let settings = ServerSettings { drain: Duration::from_millis(50), ..settings() };
    let (address, stop, end) = serving(settings, move |_| {
        let told = told.clone();
        async move {
            let _told = Told(told.0);
            told.1.notify_one();
            std::future::pending::<()>().await;
            Response::new(Body::new(Empty::new()))
        }
    })
    .await;
    let mut client = Client::connect(address, 65_535).await;
    client.get(1).await;
    arrived.notified().await;
    stop.cancel();
    timeout(PATIENCE, end).await.expect("the drain ends").unwrap();
    timeout(PATIENCE, dropped.cancelled()).await.expect("the request is dropped");
}

#[tokio::test]
async fn what_becomes_of_connections_is_counted() {
    let metrics = crate::telemetry::metrics();
    let counted = |what: &str| {
        let text = metrics.render();
        let value = text.lines().find_map(|line| line.strip_prefix(what)?.trim().parse::<f64>().ok());
        value.unwrap_or_default() > 0.0
    };
    let settings = ServerSettings {
        connections_max: 5,
        connections_per_address_max: 4,
        idle: Duration::from_secs(3),
        write: Duration::from_millis(500),
        ..settings()
    };
    let address = answering(settings).await;
    let mut slow = Client::connect(address, 0).await;
    slow.get(1).await;
    slow.until(super::h2::RST_STREAM).await;
    let mut at_work = Vec::new();
    for _ in 0..3 {
        let mut client = Client::connect(address, 65_535).await;
        client.post(1).await;
        at_work.push(client);
    }
    let (mut idle, mut other) = (from("127.0.0.2", address).await, Vec::new());
    while !counted("http_connections_closed_total{reason=\"evicted\"}") {
        other.push(from("127.0.0.3", address).await);
        sleep(Duration::from_millis(300)).await;
        assert!(other.len() < 100);
    }
    closed(&mut idle).await;
    while !counted("http_connections_refused_total{reason=\"share\"}") {
        let mut client = Client::connect(address, 65_535).await;
        client.post(1).await;
        sleep(Duration::from_millis(50)).await;
        at_work.push(client);
        assert!(at_work.len() < 100);
    }
    for what in [
        "http_streams_reset_total{reason=\"slow\"}",
        "http_connections{state=\"busy\"}",
        "http_connections{state=\"idle\"}",
    ] {
        assert!(metrics.render().contains(what), "{what}: {}", metrics.render());
    }
}
