//! A front door between a verifier and an application: one of the proxies, or the gateway.

use std::{
    fs,
    future::{Ready, ready},
    net::SocketAddr,
    time::Duration,
};

use axum::body::Bytes;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use chassis::Body;
use http::{Method, Request, Response, StatusCode, request};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

use super::{
    peer::Peer,
    program::{Edit, Program, Running, installed},
};
use crate::world::{Client, PATIENCE, SECRET, Service};

/// The page of another origin that the files let in.
pub const PAGE: &str = "http://localhost:3000";

/// What the gateway has to be told to be as the proxies' files are: `/health` is for anybody, all else is asked about.
const ROUTES: &str = r#"
[[routes]]
path = "/health"
upstream = "task-service"
access = "public"

[[routes]]
path = "/**"
upstream = "task-service"
"#;

/// Behind what an application may stand.
#[derive(Clone, Copy)]
pub enum Door {
    Gateway,
    Proxy(&'static Program),
}

/// The gateway, and every proxy that is on this machine.
pub fn doors() -> impl Iterator<Item = Door> {
    [Door::Gateway].into_iter().chain(installed().map(Door::Proxy))
}

impl Door {
    pub fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Proxy(program) => program.name,
        }
    }

    /// Whether it speaks HTTP/2 where there is no TLS.
    pub fn http2(self) -> bool {
        match self {
            Self::Gateway => true,
            Self::Proxy(program) => program.http2,
        }
    }

    /// Where it can ask this verifier.
    pub fn place_of(self, verifier: &Service) -> SocketAddr {
        match self {
            Self::Gateway => verifier.traffic,
            Self::Proxy(program) => program.place_of(verifier),
        }
    }
}

/// What stands there, for as long as this is kept.
pub enum Front {
    Gateway { _service: Service, _folder: TempDir },
    Proxy { _running: Running },
}

/// A front door between a verifier and an application.
pub struct House {
    pub listen: SocketAddr,
    pub application: Peer,
    pub client: Client,
    _front: Front,
}

impl House {
    pub async fn behind(program: &Program, verifier: SocketAddr) -> Self {
        Self::edited(program, verifier, |_, file| file).await
    }

    /// With what somebody changed in the proxy's file.
    pub async fn edited(program: &Program, verifier: SocketAddr, edit: Edit) -> Self {
        let application = application().await;
        let (running, listen) = front(program, verifier, application.address, edit).await;
        application.heard();
        Self { listen, application, client: Client::new(), _front: Front::Proxy { _running: running } }
    }

    pub async fn of(door: Door, verifier: SocketAddr) -> Self {
        let application = application().await;
        let (front, listen) = open(door, verifier, application.address).await;
        application.heard();
        Self { listen, application, client: Client::new(), _front: front }
    }

    pub fn request(&self, method: Method, path: &str) -> request::Builder {
        Request::builder().method(method).uri(format!("http://{}{path}", self.listen))
    }

    pub fn get(&self, path: &str, token: &str) -> request::Builder {
        self.request(Method::GET, path).header("authorization", format!("Bearer {token}"))
    }

    /// Says this byte for byte, as no client library would, and gives the answer's status.
    pub async fn say(&self, lines: &[&str]) -> u16 {
        let (status, answer) = self.say_bytes(lines.join("\r\n").as_bytes()).await;
        status.unwrap_or_else(|| panic!("an answer: {answer}"))
    }

    /// The same, and gives the answer's text too. There is none where the door closed before all was said.
    pub async fn say_bytes(&self, bytes: &[u8]) -> (Option<u16>, String) {
        let mut stream = TcpStream::connect(self.listen).await.unwrap();
        // A door that has heard enough may close while there is more to hear.
        let _ = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap();
        let answer = String::from_utf8_lossy(&answer).into_owned();
        (answer.split(' ').nth(1).and_then(|status| status.parse().ok()), answer)
    }

    /// Says it over HTTP/2. `None` where the stream or the connection is refused.
    pub async fn say_http2(&self, request: Request<()>) -> Option<StatusCode> {
        let stream = TcpStream::connect(self.listen).await.unwrap();
        let (mut sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.ok()?;
        let running = tokio::spawn(connection);
        let request = request.map(|()| Empty::<Bytes>::new());
        let answer = timeout(PATIENCE, sender.send_request(request)).await.unwrap().ok();
        if let Some(answer) = answer {
            let (head, body) = answer.into_parts();
            let _ = timeout(PATIENCE, body.collect()).await.unwrap();
            running.abort();
            return Some(head.status);
        }
        running.abort();
        None
    }
}

async fn application() -> Peer {
    Peer::start(async || {
        Response::builder()
            .header("x-user-id", "inside")
            .header("x-identity-assertion", "inside")
            .body(Body::from("hello"))
            .unwrap()
    })
    .await
}

/// Starts a proxy, and waits until it serves.
async fn front(
    program: &Program,
    verifier: SocketAddr,
    application: SocketAddr,
    edit: Edit,
) -> (Running, SocketAddr) {
    // Shown where the test fails.
    eprintln!("behind {}", program.name);
    let client = Client::new();
    let deadline = Instant::now() + PATIENCE;
    let mut proxy = program.start(verifier, application, edit);
    while client.status(&format!("http://{}/health", proxy.listen)).await.is_none_or(|status| status != 200) {
        assert!(Instant::now() < deadline, "it serves: {}", proxy.log());
        // Somebody else may have taken its port.
        if proxy.ended() {
            eprintln!("started again: {}", proxy.log());
            proxy = program.start(verifier, application, edit);
        }
        sleep(Duration::from_millis(20)).await;
    }
    let listen = proxy.listen;
    (proxy, listen)
}

/// Starts a door between these two, for as long as what is given first is kept.
pub async fn open(door: Door, verifier: SocketAddr, application: SocketAddr) -> (Front, SocketAddr) {
    match door {
        Door::Gateway => gateway(verifier, application),
        Door::Proxy(program) => {
            let (running, listen) = front(program, verifier, application, |_, file| file).await;
            (Front::Proxy { _running: running }, listen)
        }
    }
}

fn gateway(verifier: SocketAddr, application: SocketAddr) -> (Front, SocketAddr) {
    eprintln!("behind gateway");
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("gateway.toml");
    fs::write(&config, ROUTES).unwrap();
    let service = Service::start(
        "gateway",
        &[
            ("GATEWAY_CONFIG", config.to_str().unwrap()),
            ("GATEWAY_AUTH_VERIFIER_URL", &format!("http://{verifier}")),
            ("GATEWAY_TASK_SERVICE_URL", &format!("http://{application}")),
            // A slow machine is not what is tested here.
            ("GATEWAY_VERIFIER__CONNECT_MS", "20000"),
            ("GATEWAY_VERIFIER__TIMEOUT_MS", "20000"),
        ],
    );
    let listen = service.traffic;
    (Front::Gateway { _service: service, _folder: folder }, listen)
}

pub fn verifier() -> Service {
    verifier_with(&[])
}

/// A verifier that can be asked in every way there is.
pub fn verifier_with(variables: &[(&str, &str)]) -> Service {
    let usual = [("BETTER_AUTH_SECRET", SECRET), ("AUTH_VERIFIER_GRPC_LISTEN", "127.0.0.1:0")];
    Service::start("auth-verifier", &[&usual, variables].concat())
}

pub fn token(user: &str) -> String {
    auth_verifier::diagnostics::dev_token::mint(SECRET, user, PATIENCE * 10)
}

/// A good verdict, as auth-verifier gives it.
pub fn knows_ada() -> Ready<Response<Body>> {
    ready(verdict(&[("x-user-id", b"ada"), ("x-credential", b"bearer"), ("x-identity-assertion", b"a.b.c")]))
}

pub fn verdict(headers: &[(&str, &[u8])]) -> Response<Body> {
    headers
        .iter()
        .fold(Response::builder(), |answer, (name, value)| answer.header(*name, *value))
        .body(Body::empty())
        .unwrap()
}

/// Of whom an assertion speaks.
pub fn subject(assertion: &str) -> Value {
    let claims = BASE64_URL_SAFE_NO_PAD.decode(assertion.split('.').nth(1).unwrap()).unwrap();
    serde_json::from_slice::<Value>(&claims).unwrap()["sub"].take()
}
