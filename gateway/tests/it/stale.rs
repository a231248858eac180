//! A service closes a connection that the gateway keeps.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use chassis::Body;
use http::Method;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{Duration, sleep, timeout},
};

use crate::world::{Answer, PATIENCE, World, as_u1};

const BODY: &str = "a body";

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A service by hand: how many connections it took, and how many requests it read.
#[derive(Clone, Default)]
struct Service {
    connections: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
}

impl Service {
    /// A service that serves each connection by `serve`.
    async fn new<F: Future<Output = ()> + Send>(
        serve: impl Fn(Self, TcpStream, usize) -> F + Clone + Send + 'static,
    ) -> (Self, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let service = Self::default();
        let this = service.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let number = this.connections.fetch_add(1, Ordering::SeqCst);
                let (this, serve) = (this.clone(), serve.clone());
                tokio::spawn(async move { serve(this, stream, number).await });
            }
        });
        (service, url)
    }

    /// Reads a request, with its body if it says that it has one.
    async fn read(&self, stream: &mut TcpStream) {
        let mut read = Vec::new();
        while stream.read_buf(&mut read).await.is_ok_and(|bytes| bytes > 0) {
            let text = String::from_utf8_lossy(&read);
            let whole = if text.contains("content-length: 6") { BODY } else { "" };
            if text.contains("\r\n\r\n") && text.ends_with(whole) {
                self.requests.fetch_add(1, Ordering::SeqCst);
                return;
            }
        }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

async fn ask(world: &World, method: &Method, body: &'static str) -> Answer {
    let request = as_u1(method.clone(), "/api/tasks").body(Body::from(body)).unwrap();
    timeout(PATIENCE, world.send(request)).await.unwrap()
}

/// A service that reads a second request on its first connection and closes instead of answering.
async fn closing() -> (Service, World) {
    let (service, url) = closing_once().await;
    let world = World::with(&[("GATEWAY_TASK_SERVICE_URL", &url)]).await;
    assert_eq!(ask(&world, &Method::GET, "").await.status, 200);
    (service, world)
}

async fn closing_once() -> (Service, String) {
    Service::new(async |this: Service, mut stream: TcpStream, number| {
        loop {
            this.read(&mut stream).await;
            if stream.write_all(ANSWER).await.is_err() {
                return;
            }
            if number == 0 {
                this.read(&mut stream).await;
                return;
            }
        }
    })
    .await
}

#[tokio::test]
async fn what_only_reads_goes_again_when_its_connection_is_closed_under_it() {
    for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
        let (service, world) = closing().await;
        assert_eq!(ask(&world, &method, "").await.status, 200, "{method}");
        assert_eq!((service.requests(), service.connections()), (3, 2), "{method}: once more, anew");
    }
}

#[tokio::test]
async fn where_a_get_may_change_something_it_is_not_sent_again() {
    for (keys, requests) in [
        ("", 3),
        ("resend = true", 3),
        ("resend = false", 2),
        // A link in a mail that signs in counts once.
        ("forward_credentials = true", 2),
        ("forward_credentials = true\nresend = true", 3),
    ] {
        let (service, url) = closing_once().await;
        let file =
            format!("[upstreams]\nweb = \"{url}\"\n[[routes]]\npath = \"/**\"\nupstream = \"web\"\n{keys}");
        let world = World::with_file(&file, &[]).await;
        assert_eq!(ask(&world, &Method::GET, "").await.status, 200, "{keys}");
        let answer = ask(&world, &Method::GET, "").await;
        assert_eq!(answer.status, if requests == 3 { 200 } else { 502 }, "{keys}");
        assert_eq!(service.requests(), requests, "{keys}");
    }
}

#[tokio::test]
async fn what_may_have_changed_something_never_goes_again() {
    for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
        for body in ["", BODY] {
            let (service, world) = closing().await;
            let answer = ask(&world, &method, body).await;
            assert_eq!((answer.status.as_u16(), &*answer.problem()), (502, "service-broken"), "{method}");
            assert_eq!(service.requests(), 2, "{method}: nothing was repeated");
        }
    }
}

#[tokio::test]
async fn what_is_never_answered_is_repeated_once_and_no_more() {
    let (service, url) = Service::new(async |this: Service, mut stream: TcpStream, _| {
        this.read(&mut stream).await;
    })
    .await;
    let world = World::with(&[("GATEWAY_TASK_SERVICE_URL", &url)]).await;
    let answer = ask(&world, &Method::GET, "").await;
    assert_eq!((answer.status.as_u16(), &*answer.problem()), (502, "service-broken"));
    assert_eq!(service.requests(), 2);
}

#[tokio::test]
async fn a_connection_that_was_closed_while_it_idled_costs_no_request() {
    let (service, url) = Service::new(async |this: Service, mut stream: TcpStream, _| {
        this.read(&mut stream).await;
        let _ = stream.write_all(ANSWER).await;
    })
    .await;
    let world = World::with(&[("GATEWAY_TASK_SERVICE_URL", &url)]).await;
    for n in 0..20 {
        let answer = ask(&world, &Method::POST, BODY).await;
        assert_eq!((answer.status.as_u16(), &*answer.body), (200, "ok"), "{n}");
        // Long enough for the end of the connection to arrive, on any machine that isn't stuck.
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!((service.requests(), service.connections()), (20, 20));
}

#[tokio::test]
async fn a_connection_is_kept_for_as_long_as_is_set() {
    for (idle, connections) in [("1", 2), ("3600", 1)] {
        let (service, url) = Service::new(async |this: Service, mut stream: TcpStream, _| {
            loop {
                this.read(&mut stream).await;
                if stream.write_all(ANSWER).await.is_err() {
                    return;
                }
            }
        })
        .await;
        let world =
            World::with(&[("GATEWAY_TASK_SERVICE_URL", &url), ("GATEWAY_UPSTREAM__POOL_IDLE_SECS", idle)])
                .await;
        assert_eq!(ask(&world, &Method::GET, "").await.status, 200);
        sleep(Duration::from_millis(1500)).await;
        assert_eq!(ask(&world, &Method::GET, "").await.status, 200);
        assert_eq!(service.connections(), connections, "{idle}");
    }
}

#[tokio::test]
async fn a_connection_that_idled_for_too_long_is_closed_though_nobody_asks() {
    let (closed, mut told) = tokio::sync::mpsc::channel::<()>(1);
    let (_service, url) = Service::new(move |this: Service, mut stream: TcpStream, _| {
        let closed = closed.clone();
        async move {
            this.read(&mut stream).await;
            let _ = stream.write_all(ANSWER).await;
            let _ = stream.read(&mut [0; 1]).await;
            let _ = closed.send(()).await;
        }
    })
    .await;
    let world =
        World::with(&[("GATEWAY_TASK_SERVICE_URL", &url), ("GATEWAY_UPSTREAM__POOL_IDLE_SECS", "1")]).await;
    assert_eq!(ask(&world, &Method::GET, "").await.status, 200);
    timeout(PATIENCE, told.recv()).await.expect("it is closed");
}

#[tokio::test]
async fn connections_that_a_restart_has_closed_cost_no_request() {
    // Each connection answers once, and all are closed at once while they idle.
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let opened = gate.clone();
    let (service, url) = Service::new(move |this: Service, mut stream: TcpStream, _| {
        let gate = opened.clone();
        async move {
            this.read(&mut stream).await;
            let _ = stream.write_all(ANSWER).await;
            let _ = gate.acquire().await;
        }
    })
    .await;
    let world = Arc::new(World::with(&[("GATEWAY_TASK_SERVICE_URL", &url)]).await);
    for round in 1..=2 {
        let asking: Vec<_> = (0..8)
            .map(|_| {
                let world = world.clone();
                tokio::spawn(async move { ask(&world, &Method::POST, BODY).await.status })
            })
            .collect();
        for asked in asking {
            assert_eq!(asked.await.unwrap(), 200, "round {round}");
        }
        gate.add_permits(1000);
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(service.requests(), 16, "each arrived once");
}

#[tokio::test]
async fn an_answer_in_chunks_arrives_whole_and_its_connection_is_kept() {
    for answer in [
        &b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n"[..],
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Trailer: 1\r\n\r\n",
    ] {
        let (service, url) = Service::new(move |this: Service, mut stream: TcpStream, _| async move {
            loop {
                this.read(&mut stream).await;
                if stream.write_all(answer).await.is_err() {
                    return;
                }
            }
        })
        .await;
        let world = World::with(&[("GATEWAY_TASK_SERVICE_URL", &url)]).await;
        for _ in 0..3 {
            let answer = ask(&world, &Method::POST, BODY).await;
            assert_eq!((answer.status.as_u16(), &*answer.body), (200, "ok"));
            assert_eq!(answer.one("x-trailer"), None);
        }
        assert_eq!((service.requests(), service.connections()), (3, 1));
    }
}
