//! A server that answers as it is told, and remembers what it heard. Asked over gRPC, it says the same there.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use auth_verifier::transport::grpc::CHECK_PATH;
use axum::{Router, extract::Request};
use chassis::Body;
use http::{HeaderMap, Method, Response};
use http_body_util::BodyExt;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use super::grpc;

/// How long a server that switched waits for more.
const SWITCHED_WAIT: Duration = Duration::from_millis(500);

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Heard {
    pub method: Method,
    pub target: String,
    /// Over gRPC, those of the request that is asked about.
    pub headers: HeaderMap,
    /// Over gRPC, the whole message.
    pub body: String,
    pub trailers: HeaderMap,
}

impl Heard {
    /// The one value of a header, if it is there.
    pub fn one(&self, name: &str) -> Option<&str> {
        let values: Vec<_> = self.headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect();
        assert!(values.len() <= 1, "{name}: {values:?}");
        values.first().copied()
    }
}

/// The server. It lives as long as the test's runtime.
#[derive(Clone)]
pub struct Peer {
    pub address: SocketAddr,
    heard: Arc<Mutex<Vec<Heard>>>,
}

impl Peer {
    pub async fn start<F: Future<Output = Response<Body>> + Send>(
        answer: impl Fn() -> F + Clone + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = Self { address: listener.local_addr().unwrap(), heard: Arc::default() };
        let heard = peer.heard.clone();
        let router = Router::new().fallback(async move |request: Request| {
            let (head, body) = request.into_parts();
            let body = body.collect().await.unwrap();
            let trailers = body.trailers().cloned().unwrap_or_default();
            let body = body.to_bytes();
            let over_grpc = head.uri.path() == CHECK_PATH;
            heard.lock().unwrap().push(Heard {
                method: head.method,
                target: head.uri.to_string(),
                trailers,
                body: if over_grpc {
                    String::from_utf8_lossy(&body).into_owned()
                } else {
                    String::from_utf8(body.to_vec()).unwrap()
                },
                headers: if over_grpc { grpc::asked(&head.headers, &body) } else { head.headers },
            });
            if over_grpc { grpc::say(answer().await) } else { answer().await }
        });
        tokio::spawn(axum::serve(listener, router).into_future());
        peer
    }

    /// What was heard since this was last asked.
    pub fn heard(&self) -> Vec<Heard> {
        std::mem::take(&mut self.heard.lock().unwrap())
    }

    /// The one request that was heard since.
    pub fn only(&self) -> Heard {
        let mut heard = self.heard();
        assert_eq!(heard.len(), 1, "{heard:?}");
        heard.remove(0)
    }
}

/// A server that gives one answer to every head but that of `/health`, and takes all that follows for whatever it
/// switched to.
pub struct Switching {
    pub address: SocketAddr,
    heard: Arc<Mutex<Vec<u8>>>,
}

impl Switching {
    pub async fn start(answer: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let switching = Self { address: listener.local_addr().unwrap(), heard: Arc::default() };
        let heard = switching.heard.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(switch(stream, answer, heard.clone()));
            }
        });
        switching
    }

    /// What was heard since this was last asked, byte for byte.
    pub fn heard(&self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut *self.heard.lock().unwrap())).into_owned()
    }
}

async fn switch(mut stream: TcpStream, answer: &'static str, heard: Arc<Mutex<Vec<u8>>>) {
    let (mut head, mut some) = (Vec::new(), [0; 16 * 1024]);
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut some).await {
            Ok(read @ 1..) => head.extend(&some[..read]),
            _ => return,
        }
    }
    if head.starts_with(b"GET /health ") {
        let healthy = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        return drop(stream.write_all(healthy).await);
    }
    heard.lock().unwrap().extend(&head);
    if stream.write_all(answer.as_bytes()).await.is_err() {
        return;
    }
    while let Ok(Ok(read @ 1..)) = timeout(SWITCHED_WAIT, stream.read(&mut some)).await {
        heard.lock().unwrap().extend(&some[..read]);
    }
}
