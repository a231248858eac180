//! The three services, as processes of their own, and a client.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use chassis::{Body, outbound::client};
use dev_postgres::test::TestDatabase;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};

/// Longer than anything that is waited for may take on a slow machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub use dev_better_auth::SECRET;

/// One service as a process, which ends with this.
pub struct Service {
    name: &'static str,
    child: Child,
    /// The leash: when it is closed, the service stops.
    stdin: Option<ChildStdin>,
    said: Arc<Mutex<String>>,
    /// Ends when the log does.
    reader: Option<JoinHandle<()>>,
    pub traffic: SocketAddr,
    pub ops: SocketAddr,
    /// Where it speaks gRPC, if it was told to.
    pub grpc: Option<SocketAddr>,
}

impl Service {
    /// Starts a service on ports of its own, or on those that `variables` set, and waits until it listens.
    pub fn start(name: &'static str, variables: &[(&str, &str)]) -> Self {
        Self::start_by(Command::new(env!("CARGO_BIN_EXE_usher")), name, variables)
    }

    /// The same, by a command that becomes `usher`.
    pub fn start_by(mut usher: Command, name: &'static str, variables: &[(&str, &str)]) -> Self {
        let prefix = name.replace('-', "_").to_uppercase();
        let mut child = usher
            .args([name, "--until-stdin-closes"])
            .env_clear()
            .env(format!("{prefix}_LISTEN"), "127.0.0.1:0")
            .env(format!("{prefix}_OPS_LISTEN"), "127.0.0.1:0")
            .env(format!("{prefix}_LOG"), "json")
            .envs(variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .current_dir(env!("CARGO_TARGET_TMPDIR"))
            .spawn()
            .unwrap();
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, receiver) = mpsc::channel();
        let said = Arc::<Mutex<String>>::default();
        let log = said.clone();
        // Goes on reading as long as the service lives, so that its log never blocks it.
        let reader = std::thread::spawn(move || {
            let mut grpc = None;
            for line in stdout.lines().map_while(Result::ok) {
                log.lock().unwrap().extend([&*line, "\n"]);
                let line: Value = serde_json::from_str(&line).unwrap_or_default();
                let address = |name: &str| line[name].as_str().and_then(|text| text.parse().ok());
                match line["message"].as_str() {
                    Some("one more address") => grpc = address("address"),
                    Some("listening") => drop(sender.send((address("traffic"), address("ops"), grpc))),
                    _ => {}
                }
            }
        });
        let listens = receiver.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{name} listens"));
        let (traffic, ops, grpc) = listens;
        let reader = Some(reader);
        Self { name, child, stdin, said, reader, traffic: traffic.unwrap(), ops: ops.unwrap(), grpc }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.traffic)
    }

    /// Tells it to stop, waits for it, and gives all that it said.
    pub fn end(mut self) -> String {
        self.stdin = None;
        self.child.wait().unwrap();
        self.reader.take().unwrap().join().unwrap();
        self.said.lock().unwrap().clone()
    }

    pub async fn ready(&self, client: &Client) {
        let url = format!("http://{}/readyz", self.ops);
        let deadline = Instant::now() + PATIENCE;
        while client.status(&url).await != Some(StatusCode::OK) {
            assert!(Instant::now() < deadline, "{} is ready", self.name);
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Ends it at once, as a crash would.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Halts it in the midst of whatever it does, as a machine that hangs would.
    pub fn halt(&self) {
        self.signal(rustix::process::Signal::STOP);
    }

    /// Lets it go on.
    pub fn go_on(&self) {
        self.signal(rustix::process::Signal::CONT);
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal).unwrap();
    }

    /// Tells it to stop, as Kubernetes would, and waits for it.
    pub fn terminate(self) -> ExitStatus {
        self.signal(rustix::process::Signal::TERM);
        self.wait()
    }

    /// Waits until it has ended by itself.
    pub fn wait(mut self) -> ExitStatus {
        self.ended()
    }

    /// The same, for one whose place will be taken.
    pub fn ended(&mut self) -> ExitStatus {
        let status = self.child.wait().unwrap();
        self.stdin = None;
        status
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// All of it.
pub struct World {
    pub gateway: Service,
    pub verifier: Service,
    pub tasks: Service,
    pub client: Client,
    _database: TestDatabase,
}

impl World {
    /// `None` where there is no PostgreSQL, which was said aloud.
    pub async fn start(verifier: &[(&str, &str)]) -> Option<Self> {
        let database = tokio::task::spawn_blocking(dev_postgres::test::database).await.unwrap()?;
        let client = Client::new();
        let verifier = [&[("BETTER_AUTH_SECRET", SECRET)], verifier].concat();
        let verifier = Service::start("auth-verifier", &verifier);
        let jwks = format!("{}/.well-known/jwks.json", verifier.url());
        let tasks = [("DATABASE_URL", &*database.url()), ("TASK_SERVICE_IDENTITY_JWKS_URL", &jwks)]
            .map(|(n, v)| (n, v.to_owned()));
        let tasks = Service::start("task-service", &tasks.each_ref().map(|(n, v)| (*n, v.as_str())));
        let gateway = Service::start(
            "gateway",
            &[
                ("GATEWAY_AUTH_VERIFIER_URL", &verifier.url()),
                ("GATEWAY_TASK_SERVICE_URL", &tasks.url()),
                // A slow machine is not what is tested here.
                ("GATEWAY_VERIFIER__CONNECT_MS", "20000"),
                ("GATEWAY_VERIFIER__TIMEOUT_MS", "20000"),
            ],
        );
        for service in [&verifier, &tasks, &gateway] {
            service.ready(&client).await;
        }
        Some(Self { gateway, verifier, tasks, client, _database: database })
    }

    /// Somebody who signs in with the shared secret.
    pub fn user<'a>(&'a self, id: &str) -> User<'a> {
        User {
            world: self,
            id: id.to_owned(),
            token: auth_verifier::diagnostics::dev_token::mint(SECRET, id, PATIENCE * 10),
        }
    }

    /// Somebody with that token.
    pub fn bearer<'a>(&'a self, token: &str) -> User<'a> {
        User { world: self, id: String::new(), token: token.to_owned() }
    }
}

/// Somebody who calls through the front door.
pub struct User<'a> {
    world: &'a World,
    pub id: String,
    pub token: String,
}

impl User<'_> {
    pub async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        self.call_with(method, path, body, &[]).await
    }

    pub async fn call_with(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
        headers: &[(&str, &str)],
    ) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.world.gateway.url()))
            .header("authorization", format!("Bearer {}", self.token));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.world.client.call(request, body).await
    }

    /// Makes a task, and gives its id.
    pub async fn make(&self, title: &str) -> String {
        let answer = self.call(Method::POST, "/api/tasks", Some(serde_json::json!({"title": title}))).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        answer.body["id"].as_str().unwrap().to_owned()
    }

    /// The titles of all tasks, newest first.
    pub async fn titles(&self) -> Vec<String> {
        let answer = self.call(Method::GET, "/api/tasks", None).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer
            .body
            .as_array()
            .unwrap()
            .iter()
            .map(|task| task["title"].as_str().unwrap().to_owned())
            .collect()
    }
}

/// A plain HTTP client.
#[derive(Clone)]
pub struct Client(client::Client);

#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Client {
    pub fn new() -> Self {
        Self(client::client(PATIENCE))
    }

    pub async fn call(&self, request: http::request::Builder, body: Option<Value>) -> Answer {
        self.answer(request, body).await.expect("an answer")
    }

    /// The answer; `None` where the connection is closed instead.
    pub async fn answer(&self, request: http::request::Builder, body: Option<Value>) -> Option<Answer> {
        let request = match body {
            Some(body) => {
                request.header("content-type", "application/json").body(Body::from(body.to_string())).unwrap()
            }
            None => request.body(Body::empty()).unwrap(),
        };
        let response = timeout(PATIENCE, self.0.request(request)).await.unwrap().ok()?;
        let (head, body) = response.into_parts();
        let body = timeout(PATIENCE, body.collect()).await.unwrap().ok()?.to_bytes();
        let body = serde_json::from_slice(&body)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&body).into_owned()));
        Some(Answer { status: head.status, headers: head.headers, body })
    }

    /// The status of an answer that has no body.
    pub async fn head(&self, request: http::request::Builder) -> StatusCode {
        let request = request.method(Method::HEAD).body(Body::empty()).unwrap();
        timeout(PATIENCE, self.0.request(request)).await.unwrap().unwrap().status()
    }

    pub async fn status(&self, url: &str) -> Option<StatusCode> {
        let request = Request::get(url).body(Body::empty()).unwrap();
        Some(timeout(PATIENCE, self.0.request(request)).await.ok()?.ok()?.status())
    }
}
