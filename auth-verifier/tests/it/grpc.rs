//! What Envoy hears over gRPC, through a real socket.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    net::{SocketAddr, TcpListener},
    process::{Child, Command, ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use auth_verifier::{
    diagnostics::dev_token,
    transport::grpc::{
        self, CHECK_BYTES_MAX, CHECK_PATH,
        message::{
            AttributeContext, CheckRequest, CheckResponse, HeaderMap, HeaderValue, HeaderValueOption,
            HttpRequest, HttpResponse, OVERWRITE_IF_EXISTS_OR_ADD, Request,
        },
    },
};
use axum::{Router, routing::get};
use chassis::{
    Body,
    serve::{self, HttpService},
};
use futures_util::stream;
use http::{Method, Response, Uri, Version, uri::PathAndQuery};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::{Value, json};
use tokio::{sync::Notify, time::timeout};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};
use tonic_prost::ProstCodec;

use crate::{
    issuer::Signing,
    sessions::{FAR, TOKEN, ada, cookie, session},
    world::{SECRET, World, claims, claims_with, with_key},
};

/// Longer than anything that is waited for may take on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Envoy, as far as a verifier can tell.
#[derive(Clone)]
struct Envoy {
    verifier: Uri,
    client: Client<HttpConnector, tonic::body::Body>,
}

impl Envoy {
    /// One that asks this world's verifier.
    async fn before(world: &World) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let verifier = listener.local_addr().unwrap();
        let (stack, server) = (grpc::stack(world.verifier.clone(), world.errors_as), world.server.clone());
        tokio::spawn(async move { serve::serve(listener, stack, &server, CancellationToken::new()).await });
        Self::asking(verifier)
    }

    fn asking(verifier: SocketAddr) -> Self {
        let client = Client::builder(TokioExecutor::new()).http2_only(true).build_http();
        Self { verifier: format!("http://{verifier}").parse().unwrap(), client }
    }

    async fn call(&self, path: &'static str, check: CheckRequest) -> Result<CheckResponse, Status> {
        let mut grpc = tonic::client::Grpc::with_origin(self.client.clone(), self.verifier.clone());
        grpc.ready().await.unwrap();
        let call = grpc.unary(
            tonic::Request::new(check),
            PathAndQuery::from_static(path),
            ProstCodec::<CheckRequest, CheckResponse>::default(),
        );
        timeout(PATIENCE, call).await.unwrap().map(tonic::Response::into_inner)
    }

    async fn check(&self, check: CheckRequest) -> Told {
        self.call(CHECK_PATH, check).await.unwrap().into()
    }

    /// Asks about a request with these headers, as Envoy does by itself.
    async fn ask<V: AsRef<[u8]>>(&self, headers: &[(&str, V)]) -> Told {
        self.check(about(HttpRequest { headers: headers.iter().map(text).collect(), header_map: None })).await
    }

    /// The same, with `encode_raw_headers`.
    async fn ask_raw<V: AsRef<[u8]>>(&self, headers: &[(&str, V)]) -> Told {
        let raw = Some(HeaderMap { headers: headers.iter().map(raw).collect() });
        self.check(about(HttpRequest { headers: Vec::new(), header_map: raw })).await
    }

    async fn bearer(&self, token: &str) -> Told {
        self.ask(&[("authorization", format!("Bearer {token}"))]).await
    }
}

fn about(http: HttpRequest) -> CheckRequest {
    CheckRequest { attributes: Some(AttributeContext { request: Some(Request { http: Some(http) }) }) }
}

fn text<V: AsRef<[u8]>>((name, value): &(&str, V)) -> HeaderValue {
    HeaderValue { key: (*name).to_owned(), value: value.as_ref().to_vec(), raw_value: Vec::new() }
}

fn raw<V: AsRef<[u8]>>((name, value): &(&str, V)) -> HeaderValue {
    HeaderValue { key: (*name).to_owned(), value: Vec::new(), raw_value: value.as_ref().to_vec() }
}

/// What Envoy is told to do with a request.
#[derive(Debug)]
struct Told {
    code: Code,
    /// What the client hears; 0 where it doesn't, because the request passes.
    status: i32,
    headers: BTreeMap<String, String>,
    taken_off: Vec<String>,
    body: Value,
}

impl From<CheckResponse> for Told {
    fn from(response: CheckResponse) -> Self {
        let code = Code::from_i32(response.status.unwrap().code);
        let told = match response.http_response.unwrap() {
            HttpResponse::Ok(ok) => Self {
                code,
                status: 0,
                headers: plain(ok.headers),
                taken_off: ok.headers_to_remove,
                body: Value::Null,
            },
            HttpResponse::Denied(denied) => Self {
                code,
                status: denied.status.unwrap().code,
                headers: plain(denied.headers),
                taken_off: Vec::new(),
                body: serde_json::from_str(&denied.body).unwrap(),
            },
        };
        let passes = told.status == 0;
        assert_eq!(passes, told.code == Code::Ok, "{told:?}");
        assert_eq!(passes, told.headers.contains_key("x-user-id"), "{told:?}");
        told
    }
}

/// Each name once, and none that is merely added to what the client sent.
fn plain(headers: Vec<HeaderValueOption>) -> BTreeMap<String, String> {
    let mut plain = BTreeMap::new();
    for HeaderValueOption { header, append_action } in headers {
        assert_eq!(append_action, OVERWRITE_IF_EXISTS_OR_ADD);
        let header = header.unwrap();
        assert!(plain.insert(header.key, String::from_utf8(header.value).unwrap()).is_none());
    }
    plain
}

impl Told {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    fn user(&self) -> Option<&str> {
        self.header("x-user-id")
    }

    #[track_caller]
    fn refuses(&self, status: i32, code: Code) {
        assert_eq!((self.status, self.code), (status, code), "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        assert_eq!(self.body["status"], status);
    }
}

async fn with_session(user: Value) -> World {
    let world = World::new(&[
        ("AUTH_VERIFIER_SESSION__TIMEOUT_MS", "20000"),
        ("AUTH_VERIFIER_REVOCATION_LAG_SECS", "0"),
    ])
    .await;
    world.endpoint.answer(200, &session(TOKEN, FAR, user));
    world
}

/// What is told of nobody here.
const MEMBERSHIP: [&str; 4] =
    ["x-user-role", "x-user-organization-id", "x-user-organization-slug", "x-user-organization-role"];

#[tokio::test]
async fn a_good_token_lets_the_request_pass_with_who_it_is() {
    let (world, key) = with_key(&[]).await;
    let envoy = Envoy::before(&world).await;
    let token = format!("Bearer {}", key.token(&claims()));
    for told in
        [envoy.ask(&[("authorization", &token)]).await, envoy.ask_raw(&[("authorization", &token)]).await]
    {
        assert_eq!((told.user(), told.header("x-user-email")), (Some("u1"), Some("ada@example.com")));
        assert_eq!(told.header("x-credential"), Some("bearer"));
        assert_eq!(told.header("x-identity-assertion").unwrap().split('.').count(), 3);
        assert_eq!(told.headers.len(), 4, "{told:?}");
        let nobodys = [&["x-user-email-verified"][..], &MEMBERSHIP].concat();
        assert_eq!(told.taken_off, nobodys, "what isn't known is nobody's to say");
    }
}

#[tokio::test]
async fn a_good_session_cookie_does_so_too() {
    let world = with_session(ada()).await;
    let told = Envoy::before(&world).await.ask(&[("cookie", format!("a=b; {}", cookie(SECRET)))]).await;
    assert_eq!((told.user(), told.header("x-credential")), (Some("u1"), Some("cookie")));
    assert_eq!(told.header("x-user-email"), Some("ada@example.com"));
}

#[tokio::test]
async fn what_the_client_says_of_itself_is_overwritten_or_taken_off() {
    let (world, key) = with_key(&[]).await;
    let envoy = Envoy::before(&world).await;
    let token = format!("Bearer {}", key.token(&claims_with(json!({"email": null}))));
    let claims = [
        "x-user-id",
        "X-User-Id",
        "x-user-email",
        "x-user-email-verified",
        "x-credential",
        "x-identity-assertion",
        "x-user-role",
        "x-user-organization-id",
        "x-user-organization-slug",
        "x-user-organization-role",
    ];
    let mut headers = vec![("authorization", token.as_str())];
    headers.extend(claims.map(|name| (name, "eve")));
    for told in [envoy.ask(&headers).await, envoy.ask_raw(&headers).await] {
        assert_eq!(told.user(), Some("u1"));
        assert_eq!(told.taken_off, [&["x-user-email", "x-user-email-verified"][..], &MEMBERSHIP].concat());
        assert!(!format!("{told:?}").contains("eve"), "{told:?}");
    }
    headers.remove(0);
    let told = envoy.ask(&headers).await;
    told.refuses(401, Code::Unauthenticated);
    assert!(!format!("{told:?}").contains("eve"), "{told:?}");
}

#[tokio::test]
async fn a_refusal_is_the_one_that_is_heard_over_http() {
    let (with_keys, without_keys) = (World::new(&[]).await, World::new(&[]).await);
    without_keys.endpoint.stop().await;
    let stranger = format!("Bearer {}", Signing::new("k2", "EdDSA").token(&claims()));
    for world in [with_keys, without_keys] {
        let envoy = Envoy::before(&world).await;
        for authorization in [None, Some("Basic YTpi"), Some("Bearer a.b.c"), Some(&stranger)] {
            let headers = authorization.map(|value| ("authorization", value)).into_iter();
            let headers: Vec<_> = headers.chain([("x-request-id", "r-1")]).collect();
            let request = http::Request::get("/verify");
            let request =
                headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
            let heard = world.get(request.body(Body::empty()).unwrap()).await;
            let told = envoy.ask(&headers).await;
            assert_eq!(told.status, i32::from(heard.status.as_u16()));
            assert_eq!(told.body, serde_json::from_str::<Value>(&heard.body).unwrap());
            assert_eq!(told.body["request_id"], "r-1");
            for name in ["www-authenticate", "retry-after", "content-type", "cache-control"] {
                assert_eq!(told.header(name), heard.header(name), "{name}");
            }
        }
    }
}

#[tokio::test]
async fn a_refusal_is_called_what_is_set_or_what_its_client_would_rather_read() {
    const PROBLEM: &str = "application/problem+json";
    const JSON: &str = "application/json";
    for (set, cases) in [
        ("problem+json", [("*/*", PROBLEM), ("application/json, text/plain, */*", PROBLEM), (JSON, JSON)]),
        ("json", [("*/*", JSON), (JSON, JSON), (PROBLEM, PROBLEM)]),
    ] {
        let world = World::new(&[("AUTH_VERIFIER_ERRORS_AS", set)]).await;
        let envoy = Envoy::before(&world).await;
        for (accept, want) in cases {
            for told in [envoy.ask(&[("accept", accept)]).await, envoy.ask_raw(&[("accept", accept)]).await] {
                assert_eq!((told.status, told.header("content-type")), (401, Some(want)), "{set}: {accept}");
                assert!(told.body["detail"].is_string());
            }
            let over_http = http::Request::get("/verify").header("accept", accept);
            let answer = world.get(over_http.body(Body::empty()).unwrap()).await;
            assert_eq!((answer.status.as_u16(), answer.header("content-type")), (401, Some(want)));
        }
    }
}

#[tokio::test]
async fn each_kind_of_refusal_has_its_status() {
    let world = with_session(json!({"id": "u1", "banned": true})).await;
    let envoy = Envoy::before(&world).await;
    let nobody = envoy.ask::<&str>(&[]).await;
    nobody.refuses(401, Code::Unauthenticated);
    assert_eq!(nobody.header("www-authenticate"), Some("Bearer realm=\"api\""));
    let bad = envoy.bearer("a.b.c").await;
    bad.refuses(401, Code::Unauthenticated);
    assert!(bad.header("www-authenticate").unwrap().contains("error=\"invalid_token\""));

    envoy.ask(&[("cookie", cookie(SECRET))]).await.refuses(403, Code::PermissionDenied);
    world.endpoint.stop().await;
    let unknown = envoy.ask(&[("cookie", cookie(SECRET))]).await;
    unknown.refuses(503, Code::Unavailable);
    assert_eq!(unknown.header("retry-after"), Some("1"));
}

#[tokio::test]
async fn two_tokens_are_none_however_they_arrive() {
    let (world, key) = with_key(&[]).await;
    let envoy = Envoy::before(&world).await;
    let (ada, eve) = (key.token(&claims()), key.token(&claims_with(json!({"sub": "u2", "id": "u2"}))));
    let (ada, eve) = (format!("Bearer {ada}"), format!("Bearer {eve}"));
    let [one, other] = [("authorization", &ada), ("authorization", &eve)];
    for joined in [format!("{ada},{eve}"), format!("{ada}, {eve}"), format!("{ada}, {ada}")] {
        envoy.ask(&[("authorization", joined)]).await.refuses(401, Code::Unauthenticated);
    }
    envoy.ask_raw(&[one, other]).await.refuses(401, Code::Unauthenticated);
    envoy.ask(&[one, other]).await.refuses(401, Code::Unauthenticated);
    envoy.ask(&[one, ("Authorization", &eve)]).await.refuses(401, Code::Unauthenticated);
    let in_both_forms =
        HttpRequest { headers: vec![text(&one)], header_map: Some(HeaderMap { headers: vec![raw(&other)] }) };
    envoy.check(about(in_both_forms)).await.refuses(401, Code::Unauthenticated);
    let (key, value, raw_value) =
        ("authorization".to_owned(), ada.clone().into_bytes(), eve.clone().into_bytes());
    let headers = vec![HeaderValue { key, value, raw_value }];
    envoy.check(about(HttpRequest { headers, header_map: None })).await.refuses(401, Code::Unauthenticated);
}

#[tokio::test]
async fn bytes_that_are_no_text_say_nothing_and_hide_nothing() {
    let (world, key) = with_key(&[]).await;
    let envoy = Envoy::before(&world).await;
    let good = format!("Bearer {}", key.token(&claims())).into_bytes();
    let broken = [&good[..], b"\xff"].concat();
    for broken in [broken, b"Bearer \xc3\x28".to_vec(), b"\xff".to_vec(), b"".to_vec()] {
        envoy.ask(&[("authorization", &broken)]).await.refuses(401, Code::Unauthenticated);
        envoy.ask_raw(&[("authorization", &broken)]).await.refuses(401, Code::Unauthenticated);
    }
    let elsewhere = [("authorization", good), ("x-city", b"M\xfcnchen".to_vec()), (":path", b"/".to_vec())];
    assert_eq!(envoy.ask(&elsewhere).await.user(), Some("u1"));
    assert_eq!(envoy.ask_raw(&elsewhere).await.user(), Some("u1"));
}

#[tokio::test]
async fn what_can_not_have_come_in_a_header_opens_nothing() {
    let (world, key) = with_key(&[]).await;
    let envoy = Envoy::before(&world).await;
    let good = format!("Bearer {}", key.token(&claims()));
    for bad in ["\r\nx-user-id: eve", "\n", "\0", "\u{7f}"] {
        let bad = format!("{good}{bad}");
        envoy.ask(&[("authorization", &bad)]).await.refuses(400, Code::InvalidArgument);
        envoy.ask_raw(&[("authorization", &bad)]).await.refuses(400, Code::InvalidArgument);
        let cookie = [("authorization", &good), ("cookie", &bad)];
        envoy.ask(&cookie).await.refuses(400, Code::InvalidArgument);
    }
    for name in ["authorization\r\nx-user-id", "authorization ", "", "x-authorization"] {
        envoy.ask(&[(name, &good)]).await.refuses(401, Code::Unauthenticated);
    }
}

#[tokio::test]
async fn a_request_is_named_by_its_own_plain_id_or_a_new_one() {
    let envoy = Envoy::before(&World::new(&[]).await).await;
    assert_eq!(envoy.ask(&[("x-request-id", "r-1")]).await.body["request_id"], "r-1");
    for ids in [&["a\r\nx: y"][..], &["<script>"], &["a", "b"], &["a,b"], &[]] {
        let headers: Vec<_> = ids.iter().map(|id| ("x-request-id", *id)).collect();
        let told = envoy.ask(&headers).await;
        let id = told.body["request_id"].as_str().unwrap();
        assert!(id.len() == 36 && !ids.contains(&id), "{id}");
    }
}

#[tokio::test]
async fn a_check_of_nothing_lets_nothing_pass() {
    let envoy = Envoy::before(&World::new(&[]).await).await;
    for attributes in [
        None,
        Some(AttributeContext { request: None }),
        Some(AttributeContext { request: Some(Request { http: None }) }),
    ] {
        envoy.check(CheckRequest { attributes }).await.refuses(400, Code::InvalidArgument);
    }
}

#[tokio::test]
async fn a_check_that_is_too_large_is_not_read() {
    let (world, key) = with_key(&[]).await;
    let envoy = Envoy::before(&world).await;
    let token = format!("Bearer {}", key.token(&claims()));
    let padded = |bytes: usize| {
        about(HttpRequest {
            headers: vec![text(&("authorization", &token)), text(&("x-pad", "x".repeat(bytes)))],
            header_map: None,
        })
    };
    let fits = CHECK_BYTES_MAX - token.len() - 100;
    assert_eq!(envoy.check(padded(fits)).await.user(), Some("u1"));
    let error = envoy.call(CHECK_PATH, padded(CHECK_BYTES_MAX)).await.unwrap_err();
    assert_eq!(error.code(), Code::ResourceExhausted, "{error}");
}

#[tokio::test]
async fn a_check_that_never_ends_is_not_waited_for() {
    let world = World::new(&[]).await;
    let endless = Body::from_stream(stream::pending::<Result<Vec<u8>, std::io::Error>>());
    // From here on the clock goes as fast as somebody waits for it.
    tokio::time::pause();
    let response = asked_with(&world, endless).await;
    assert_eq!(response.headers()["grpc-status"], (Code::DeadlineExceeded as i32).to_string());
}

/// Asks with these bytes.
async fn asked_with(world: &World, body: Body) -> Response<Body> {
    let request = http::Request::post(CHECK_PATH).version(Version::HTTP_2);
    let request = request.header("content-type", "application/grpc").body(body).unwrap();
    grpc::stack(world.verifier.clone(), world.errors_as).call(request).await
}

#[tokio::test]
async fn what_is_no_message_gets_no_answer() {
    let world = World::new(&[]).await;
    for body in [
        &b""[..],
        b"\0\0\0",
        b"\0\0\0\0\x09\x0a",
        b"\0\0\0\0\x02\xff\xff",
        b"\0\0\0\0\x02\x08\x01",
        b"\x01\0\0\0\0",
    ] {
        let response = asked_with(&world, Body::from(body)).await;
        let status = response.headers().get("grpc-status").unwrap();
        assert_ne!(status, "0", "{body:?}");
    }
}

#[tokio::test]
async fn only_checks_are_answered() {
    let world = World::new(&[]).await;
    let envoy = Envoy::before(&world).await;
    for path in ["/envoy.service.auth.v2.Authorization/Check", "/verify", "/"] {
        let error = envoy.call(path, CheckRequest::default()).await.unwrap_err();
        assert_eq!(error.code(), Code::Unimplemented, "{path}");
    }
    // A proxy that was pointed here by mistake, and asks over HTTP, must not take gRPC's 200 for a verdict.
    for (version, method, content) in [
        (Version::HTTP_11, Method::GET, None),
        (Version::HTTP_11, Method::POST, Some("application/grpc")),
        (Version::HTTP_2, Method::GET, Some("application/grpc")),
        (Version::HTTP_2, Method::POST, Some("application/json")),
        (Version::HTTP_2, Method::POST, None),
    ] {
        for path in ["/verify", CHECK_PATH] {
            let mut request = http::Request::builder().version(version).method(&method).uri(path);
            if let Some(content) = content {
                request = request.header("content-type", content);
            }
            let request = request.body(Body::empty()).unwrap();
            let response = grpc::stack(world.verifier.clone(), world.errors_as).call(request).await;
            assert_eq!(response.status(), 415, "{version:?} {method} {path}");
        }
    }
}

/// The program, until its standard input closes.
struct Program {
    child: Child,
    traffic: SocketAddr,
    grpc: Option<SocketAddr>,
}

impl Program {
    fn command(variables: &[(&str, &str)]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_auth-verifier"));
        command
            .arg("--until-stdin-closes")
            .current_dir(env!("CARGO_TARGET_TMPDIR"))
            .env_clear()
            .env("BETTER_AUTH_SECRET", SECRET)
            .env("AUTH_VERIFIER_LISTEN", "127.0.0.1:0")
            .env("AUTH_VERIFIER_OPS_LISTEN", "127.0.0.1:0")
            .env("AUTH_VERIFIER_LOG", "json")
            .envs(variables.iter().copied())
            .stdin(Stdio::piped());
        command
    }

    fn start(variables: &[(&str, &str)]) -> Self {
        let mut child = Self::command(variables).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut grpc = None;
        let traffic = loop {
            let line: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
            let address = |name: &str| line[name].as_str().unwrap().parse().unwrap();
            match line["message"].as_str() {
                Some("one more address") => grpc = Some(address("address")),
                Some("listening") => break address("traffic"),
                _ => {}
            }
        };
        // Goes on reading, so that the log never blocks the program.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, traffic, grpc }
    }

    fn stop(&mut self) {
        drop(self.child.stdin.take());
    }

    async fn end(mut self) -> ExitStatus {
        let wait = tokio::task::spawn_blocking(move || self.child.wait().unwrap());
        timeout(PATIENCE, wait).await.unwrap().unwrap()
    }
}

#[tokio::test]
async fn it_is_off_unless_set() {
    let mut program = Program::start(&[]);
    assert_eq!(program.grpc, None);
    program.stop();
    assert!(program.end().await.success());

    let mut program = Program::start(&[("AUTH_VERIFIER_GRPC_LISTEN", "127.0.0.1:0")]);
    let token = dev_token::mint(SECRET, "ada", PATIENCE * 10);
    assert_eq!(Envoy::asking(program.grpc.unwrap()).bearer(&token).await.user(), Some("ada"));
    program.stop();
    assert!(program.end().await.success());
}

#[tokio::test]
async fn an_address_that_is_taken_stops_the_start_and_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut command = Program::command(&[("AUTH_VERIFIER_GRPC_LISTEN", &address)]);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let want = format!("auth-verifier: AUTH_VERIFIER_GRPC_LISTEN: listen on {address}: ");
    assert!(!output.status.success() && said.starts_with(&want), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_in_flight_survives_the_drain() {
    let (asked, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let better_auth = Router::new().route(
        "/api/auth/get-session",
        get({
            let (asked, go) = (asked.clone(), go.clone());
            async move || {
                asked.notify_one();
                go.notified().await;
                session(TOKEN, FAR, ada())
            }
        }),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(axum::serve(listener, better_auth).into_future());
    let mut program = Program::start(&[
        ("BETTER_AUTH_URL", &url),
        ("AUTH_VERIFIER_SESSION__TIMEOUT_MS", "20000"),
        ("AUTH_VERIFIER_GRPC_LISTEN", "127.0.0.1:0"),
    ]);
    let (envoy, traffic) = (Envoy::asking(program.grpc.unwrap()), program.traffic);
    let in_flight = tokio::spawn({
        let envoy = envoy.clone();
        async move { envoy.ask(&[("cookie", cookie(SECRET))]).await }
    });
    timeout(PATIENCE, asked.notified()).await.unwrap();
    program.stop();
    let closed = async {
        for address in [program.grpc.unwrap(), traffic] {
            while tokio::net::TcpStream::connect(address).await.is_ok() {
                tokio::task::yield_now().await;
            }
        }
    };
    timeout(PATIENCE, closed).await.expect("nobody listens any more");
    go.notify_one();
    assert_eq!(in_flight.await.unwrap().user(), Some("u1"));
    assert!(program.end().await.success());
}
