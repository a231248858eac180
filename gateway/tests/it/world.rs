//! A gateway, and those behind it.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use chassis::{
    Body,
    serve::{self, HttpService, Replaceable},
    settings,
};
use gateway::{counts::Counts, settings::Settings, stack::stack};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// Longer than anything that is waited for may take on a slow machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A request as it arrived behind the gateway.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: Method,
    pub target: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub trailers: Option<HeaderMap>,
}

impl Seen {
    /// The one value of a header, if it is there.
    pub fn one(&self, name: &str) -> Option<&str> {
        let values: Vec<_> = self.headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect();
        assert!(values.len() <= 1, "{name}: {values:?}");
        values.first().copied()
    }
}

type Respond = Arc<dyn Fn(&Seen) -> Response<Body> + Send + Sync>;

/// A server that answers as it is told, and remembers what it was asked.
#[derive(Clone)]
pub struct Peer {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    respond: Arc<Mutex<Respond>>,
    stop: CancellationToken,
}

impl Peer {
    pub async fn new(respond: impl Fn(&Seen) -> Response<Body> + Send + Sync + 'static) -> Self {
        Self::at(([127, 0, 0, 1], 0).into(), respond).await
    }

    pub async fn at(
        address: SocketAddr,
        respond: impl Fn(&Seen) -> Response<Body> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let peer = Self {
            address: listener.local_addr().unwrap(),
            seen: Arc::default(),
            respond: Arc::new(Mutex::new(Arc::new(respond))),
            stop: CancellationToken::new(),
        };
        let this = peer.clone();
        let service = move |request: Request<Body>| {
            let this = this.clone();
            async move { this.take(request).await }
        };
        serve_on(listener, service, peer.stop.clone());
        peer
    }

    async fn take(&self, request: Request<Body>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let Ok(body) = body.collect().await else {
            return Response::builder().status(400).body(Body::from("the body broke")).unwrap();
        };
        let seen = Seen {
            method: head.method,
            target: head.uri.to_string(),
            headers: head.headers,
            trailers: body.trailers().cloned(),
            body: body.to_bytes(),
        };
        self.seen.lock().unwrap().push(seen.clone());
        let respond = self.respond.lock().unwrap().clone();
        respond(&seen)
    }

    pub fn respond(&self, respond: impl Fn(&Seen) -> Response<Body> + Send + Sync + 'static) {
        *self.respond.lock().unwrap() = Arc::new(respond);
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub fn last(&self) -> Seen {
        self.seen().pop().expect("a request arrived")
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// It is told to stop: it answers what it has begun, and takes nothing more.
    pub fn leave(&self) {
        self.stop.cancel();
    }
}

/// The verdict that `u1` is calling with the token `good`, and nobody with any other.
pub fn knows_u1(seen: &Seen) -> Response<Body> {
    match seen.one("authorization") {
        Some("Bearer good") => known("u1"),
        Some(_) => Response::builder()
            .status(401)
            .header("www-authenticate", "Bearer realm=\"api\", error=\"invalid_token\"")
            .body(Body::empty())
            .unwrap(),
        None => Response::builder().status(401).body(Body::empty()).unwrap(),
    }
}

pub fn known(user: &str) -> Response<Body> {
    Response::builder()
        .header("x-user-id", user)
        .header("x-user-email", format!("{user}@example.com"))
        .header("x-user-email-verified", "false")
        .header("x-credential", "bearer")
        .header("x-identity-assertion", "a.b.c")
        .header("x-credential-cookies", "better-auth., myapp., sid")
        .body(Body::empty())
        .unwrap()
}

/// The verdict that whoever calls is the user whose name is the token.
pub fn knows_by_name(seen: &Seen) -> Response<Body> {
    known(seen.one("authorization").unwrap().strip_prefix("Bearer ").unwrap())
}

pub fn echo(seen: &Seen) -> Response<Body> {
    Response::builder().header("content-type", "text/plain").body(Body::from(seen.body.clone())).unwrap()
}

/// A gateway on a socket.
pub struct World {
    pub gateway: SocketAddr,
    pub verifier: Peer,
    pub service: Peer,
    /// Begins its drain.
    pub stop: CancellationToken,
    reload: Box<dyn Fn() + Send + Sync>,
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
}

impl Answer {
    pub fn one(&self, name: &str) -> Option<&str> {
        let values: Vec<_> = self.headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect();
        assert!(values.len() <= 1, "{name}: {values:?}");
        values.first().copied()
    }

    /// The problem that it tells, whose id is the answer's.
    pub fn problem(&self) -> String {
        assert_eq!(self.one("content-type"), Some("application/problem+json"), "{}", self.body);
        let body: Value = serde_json::from_str(&self.body).unwrap();
        assert_eq!(body["status"], self.status.as_u16());
        assert_eq!(body["request_id"].as_str(), self.one("x-request-id"));
        assert!(body["detail"].as_str().is_some_and(|detail| !detail.is_empty()));
        body["type"].as_str().unwrap().strip_prefix("urn:usher:problem:").unwrap().to_owned()
    }
}

impl World {
    pub async fn new() -> Self {
        Self::with(&[]).await
    }

    /// A gateway with a file of its own.
    pub async fn with_file(text: &str, variables: &[(&str, &str)]) -> Self {
        let (_file, path) = config(text);
        let mut all = vec![("GATEWAY_CONFIG", &*path)];
        all.extend_from_slice(variables);
        Self::with(&all).await
    }

    pub async fn with(variables: &[(&str, &str)]) -> Self {
        let (verifier, service) = (Peer::new(knows_u1).await, Peer::new(echo).await);
        let (verifier_url, service_url) = (verifier.url(), service.url());
        let mut all = vec![
            ("GATEWAY_AUTH_VERIFIER_URL", &*verifier_url),
            ("GATEWAY_TASK_SERVICE_URL", &service_url),
            // A slow machine is not what is tested, but where a test says so.
            ("GATEWAY_VERIFIER__CONNECT_MS", "20000"),
            ("GATEWAY_VERIFIER__TIMEOUT_MS", "20000"),
        ];
        all.extend_from_slice(variables);
        let plan = settings::load::<Settings>(&all.into_iter().collect()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gateway = listener.local_addr().unwrap();
        let counts = Counts::default();
        let (server, first) = (plan.server.clone(), Replaceable::new(stack(&plan, &counts)));
        let serving = first.clone();
        let stop = CancellationToken::new();
        let told = stop.clone();
        tokio::spawn(async move { serve::serve(listener, serving, &server, told).await });
        let reload = Box::new(move || first.replace(stack(&plan, &counts)));
        Self { gateway, verifier, service, stop, reload }
    }

    /// Has the gateway begin anew, with the same settings, as it does when they are read again.
    pub fn reload(&self) {
        (self.reload)();
    }

    /// Sends one request over a connection of its own, HTTP/1.1.
    pub async fn send(&self, request: Request<Body>) -> Answer {
        let stream = TcpStream::connect(self.gateway).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(hyper_util::rt::TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let (mut head, body) = request.into_parts();
        head.headers.entry("host").or_insert("gateway.test".parse().unwrap());
        let request = Request::from_parts(head, body);
        answer(timeout(PATIENCE, sender.send_request(request)).await.unwrap().unwrap()).await
    }

    /// Sends one request by HTTP/2.
    pub async fn send_h2(&self, request: Request<Body>) -> Answer {
        self.connect_h2().await.send(request).await
    }

    /// A connection that speaks HTTP/2.
    pub async fn connect_h2(&self) -> H2 {
        let stream = TcpStream::connect(self.gateway).await.unwrap();
        let executor = hyper_util::rt::TokioExecutor::new();
        let (sender, connection) =
            hyper::client::conn::http2::handshake(executor, hyper_util::rt::TokioIo::new(stream))
                .await
                .unwrap();
        tokio::spawn(connection);
        H2(sender)
    }

    /// Sends bytes, and reads all that comes until the gateway closes.
    pub async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.gateway).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut read = Vec::new();
        let _ = timeout(PATIENCE, stream.read_to_end(&mut read)).await.expect("the gateway closes");
        String::from_utf8_lossy(&read).into_owned()
    }
}

/// A connection that speaks HTTP/2.
#[derive(Clone)]
pub struct H2(hyper::client::conn::http2::SendRequest<Body>);

impl H2 {
    pub async fn send(&mut self, request: Request<Body>) -> Answer {
        let (mut head, body) = request.into_parts();
        head.uri = format!("http://gateway.test{}", head.uri).parse().unwrap();
        let request = Request::from_parts(head, body);
        self.0.ready().await.unwrap();
        answer(timeout(PATIENCE, self.0.send_request(request)).await.unwrap().unwrap()).await
    }
}

/// A body whose pieces are sent by hand.
pub fn by_hand() -> (mpsc::Sender<Bytes>, Body) {
    let (sender, mut receiver) = mpsc::channel::<Bytes>(1);
    let pieces = futures_util::stream::poll_fn(move |cx| {
        receiver.poll_recv(cx).map(|piece| piece.map(|piece| Ok::<_, Infallible>(Frame::data(piece))))
    });
    (sender, Body::new(StreamBody::new(pieces)))
}

/// A TOML file of the gateway's, and where it is.
pub fn config(text: &str) -> (tempfile::NamedTempFile, String) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let path = file.path().to_str().unwrap().to_owned();
    (file, path)
}

async fn answer(response: Response<hyper::body::Incoming>) -> Answer {
    let (head, body) = response.into_parts();
    let body = timeout(PATIENCE, body.collect()).await.unwrap().unwrap().to_bytes();
    Answer { status: head.status, headers: head.headers, body: String::from_utf8(body.into()).unwrap() }
}

/// A request of `u1`.
pub fn as_u1(method: Method, target: &str) -> http::request::Builder {
    Request::builder().method(method).uri(target).header("authorization", "Bearer good")
}

pub fn get(target: &str) -> Request<Body> {
    as_u1(Method::GET, target).body(Body::empty()).unwrap()
}

pub fn serve_on(listener: TcpListener, service: impl HttpService, stop: CancellationToken) {
    let plan = settings::load::<Settings>(&settings::Environment::default()).unwrap();
    tokio::spawn(async move { serve::serve(listener, service, &plan.server, stop).await });
}
