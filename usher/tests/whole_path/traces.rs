//! Traces, as whoever receives them by OTLP gets them from the three services.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use auth_verifier::diagnostics::dev_token;
use axum::{Router, body::Bytes, routing::post};
use dev_postgres::test::{self, TestDatabase};
use http::{HeaderMap, Method, Request, StatusCode};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value::Value},
    trace::v1::{Span, span::SpanKind, status::StatusCode as SpanStatus},
};
use prost::Message;
use rustix::process::Signal;
use serde_json::json;
use tokio::{
    io::AsyncReadExt,
    net::TcpListener,
    task::spawn_blocking,
    time::{Instant, sleep},
};

use crate::world::{Answer, Client, PATIENCE, SECRET, Service};

const KEY: &str = "PlantedKeyOfTheReceiver";
const QUERY: &str = "PlantedInAQuery";
const COOKIE: &str = "PlantedInACookie";
const BODY: &str = "PlantedInABody";
const SEARCH: &str = "PlantedInASearch";
const PATH: &str = "PlantedInAPath";

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const ASKER: &str = "00f067aa0ba902b7";

/// Who receives traces.
#[derive(Clone, Default)]
struct Receiver(Arc<Mutex<Received>>);

#[derive(Default)]
struct Received {
    spans: Vec<Seen>,
    bodies: Vec<Bytes>,
    headers: Vec<HeaderMap>,
}

/// A span, and whose it is.
#[derive(Clone, Debug)]
struct Seen {
    service: String,
    span: Span,
}

impl Receiver {
    /// Listens; the URL of all signals.
    async fn start(self) -> String {
        let app = Router::new().route(
            "/base/v1/traces",
            post(move |headers: HeaderMap, body: Bytes| {
                let received = self.0.clone();
                async move { received.lock().unwrap().take(headers, body) }
            }),
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await });
        format!("http://{address}/base")
    }

    fn spans(&self) -> Vec<Seen> {
        self.0.lock().unwrap().spans.clone()
    }

    /// The spans of one trace, as soon as there are so many.
    async fn trace(&self, id: &str, count: usize) -> Vec<Seen> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let spans = self.spans().into_iter().filter(|seen| hex(&seen.span.trace_id) == id);
            let spans: Vec<_> = spans.collect();
            if spans.len() >= count {
                return spans;
            }
            assert!(Instant::now() < deadline, "{count} spans of {id}: {spans:#?}");
            sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Received {
    fn take(&mut self, headers: HeaderMap, body: Bytes) {
        let request = ExportTraceServiceRequest::decode(body.clone()).unwrap();
        for of_resource in request.resource_spans {
            let resource = of_resource.resource.unwrap();
            let service = text(&resource.attributes, "service.name").unwrap();
            let spans = of_resource.scope_spans.into_iter().flat_map(|of_scope| of_scope.spans);
            self.spans.extend(spans.map(|span| Seen { service: service.clone(), span }));
        }
        self.bodies.push(body);
        self.headers.push(headers);
    }
}

impl Seen {
    fn text(&self, key: &str) -> Option<String> {
        text(&self.span.attributes, key)
    }

    fn is(&self, service: &str, kind: SpanKind) -> bool {
        self.service == service && self.span.kind() == kind
    }

    fn is_error(&self) -> bool {
        self.span.status.as_ref().is_some_and(|status| status.code() == SpanStatus::Error)
    }
}

/// An attribute, as text.
fn text(attributes: &[KeyValue], key: &str) -> Option<String> {
    match attributes.iter().find(|attribute| attribute.key == key)?.value.clone()?.value? {
        Value::StringValue(text) => Some(text),
        Value::IntValue(number) => Some(number.to_string()),
        other => panic!("{key}: {other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    let digits = |byte: &u8| [byte >> 4, byte & 15].map(|digit| char::from_digit(digit.into(), 16).unwrap());
    bytes.iter().flat_map(digits).collect()
}

/// The three services, all with the same variables of OpenTelemetry.
struct Traced {
    gateway: Service,
    verifier: Service,
    tasks: Service,
    client: Client,
    token: String,
    _database: TestDatabase,
}

impl Traced {
    /// `None` where there is no PostgreSQL, which was said aloud.
    async fn start(otel: &[(&str, &str)], gateway: &[(&str, &str)]) -> Option<Self> {
        let database = spawn_blocking(test::database).await.unwrap()?;
        let verifier = Service::start("auth-verifier", &[&[("BETTER_AUTH_SECRET", SECRET)], otel].concat());
        let jwks = format!("{}/.well-known/jwks.json", verifier.url());
        let tasks = [("DATABASE_URL", &*database.url()), ("TASK_SERVICE_IDENTITY_JWKS_URL", &jwks)]
            .map(|(name, value)| (name, value.to_owned()));
        let tasks = tasks.each_ref().map(|(name, value)| (*name, &**value));
        let tasks = Service::start("task-service", &[&tasks, otel].concat());
        let (verifier_url, tasks_url) = (verifier.url(), tasks.url());
        let mut of_gateway = vec![
            ("GATEWAY_AUTH_VERIFIER_URL", &*verifier_url),
            ("GATEWAY_TASK_SERVICE_URL", &*tasks_url),
            ("GATEWAY_VERIFIER__CACHE_ENTRIES_MAX", "0"),
            // A slow machine is not what is tested here.
            ("GATEWAY_VERIFIER__CONNECT_MS", "20000"),
            ("GATEWAY_VERIFIER__TIMEOUT_MS", "20000"),
        ];
        let more: Vec<_> =
            gateway.iter().map(|(name, value)| (*name, value.replace("{tasks}", &tasks_url))).collect();
        of_gateway.retain(|(name, _)| more.iter().all(|(other, _)| other != name));
        of_gateway.extend(more.iter().map(|(name, value)| (*name, &**value)));
        of_gateway.extend(otel);
        let gateway = Service::start("gateway", &of_gateway);
        let client = Client::new();
        for service in [&verifier, &tasks, &gateway] {
            service.ready(&client).await;
        }
        let token = dev_token::mint(SECRET, "u1", PATIENCE * 10);
        Some(Self { gateway, verifier, tasks, client, token, _database: database })
    }

    async fn call(&self, method: Method, path: &str, parent: Option<&str>) -> Answer {
        let mut request = Request::builder()
            .method(&method)
            .uri(format!("{}{path}", self.gateway.url()))
            .header("authorization", format!("Bearer {}", self.token))
            .header("cookie", format!("theme={COOKIE}"));
        if let Some(parent) = parent {
            request = request.header("traceparent", parent);
        }
        let body = (method == Method::POST).then(|| json!({"title": BODY}));
        self.client.call(request, body).await
    }

    async fn metrics(&self, service: &Service) -> String {
        let request = Request::get(format!("http://{}/metrics", service.ops));
        self.client.call(request, None).await.body.as_str().unwrap().to_owned()
    }

    /// Tells all of them to stop, and gives what they said.
    async fn end(self) -> String {
        let Self { gateway, verifier, tasks, .. } = self;
        let said = spawn_blocking(move || [gateway.end(), verifier.end(), tasks.end()].concat());
        said.await.unwrap()
    }
}

/// The variables by which a receiver at `url` soon has what there is.
fn exporting(url: &str) -> Vec<(&'static str, &str)> {
    vec![
        ("OTEL_EXPORTER_OTLP_ENDPOINT", url),
        ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=PlantedKeyOfTheReceiver"),
        ("OTEL_BSP_SCHEDULE_DELAY", "50"),
    ]
}

fn parent(flags: &str) -> String {
    format!("00-{TRACE}-{ASKER}-{flags}")
}

/// A counter of spans, zero where it isn't shown.
fn counted(metrics: &str, outcome: &str) -> u64 {
    let name = format!("trace_spans_total{{outcome=\"{outcome}\"}} ");
    metrics.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok()).unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_one_trace_through_all_services_and_no_secret_is_in_it() {
    let receiver = Receiver::default();
    let url = receiver.clone().start().await;
    let Some(traced) = Traced::start(&exporting(&url), &[]).await else { return };
    let path = format!("/api/tasks?q={QUERY}");
    let answer = traced.call(Method::POST, &path, Some(&parent("01"))).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    let id = answer.body["id"].as_str().unwrap().to_owned();
    let request_id = answer.headers["x-request-id"].to_str().unwrap().to_owned();

    let spans = receiver.trace(TRACE, 6).await;
    assert_eq!(spans.len(), 6, "{spans:#?}");
    let one = |service: &str, kind: SpanKind, name: &str| {
        let found: Vec<_> =
            spans.iter().filter(|seen| seen.is(service, kind) && seen.span.name == name).collect();
        assert_eq!(found.len(), 1, "{service} {kind:?} {name}: {spans:#?}");
        found[0].clone()
    };
    let front = one("gateway", SpanKind::Server, "POST /api/**");
    let asks = one("gateway", SpanKind::Client, "GET /verify");
    let sends = one("gateway", SpanKind::Client, "POST");
    let verdict = one("auth-verifier", SpanKind::Server, "GET /verify");
    let task = one("task-service", SpanKind::Server, "POST /api/tasks");
    let statement = one("task-service", SpanKind::Client, "task.create");
    assert_eq!(hex(&front.span.parent_span_id), ASKER);
    for (child, parent) in
        [(&asks, &front), (&sends, &front), (&verdict, &asks), (&task, &sends), (&statement, &task)]
    {
        assert_eq!(child.span.parent_span_id, parent.span.span_id, "{child:?}");
        assert!(child.span.start_time_unix_nano >= parent.span.start_time_unix_nano);
    }
    for seen in &spans {
        assert!(seen.span.end_time_unix_nano >= seen.span.start_time_unix_nano);
        assert_eq!(seen.span.flags & 1, 1);
        assert!(!seen.is_error(), "{seen:?}");
    }
    let said = [
        (&front, "http.request.method", "POST"),
        (&front, "http.route", "/api/**"),
        (&front, "http.response.status_code", "201"),
        (&front, "url.path", "/api/tasks"),
        (&front, "url.scheme", "http"),
        (&front, "client.address", "127.0.0.1"),
        (&front, "request_id", &request_id),
        (&front, "usher.verdict", "asked"),
        (&asks, "http.response.status_code", "200"),
        (&asks, "server.address", "127.0.0.1"),
        (&sends, "http.response.status_code", "201"),
        (&sends, "server.port", &traced.tasks.traffic.port().to_string()),
        (&verdict, "http.route", "/verify"),
        (&verdict, "request_id", &request_id),
        (&task, "http.route", "/api/tasks"),
        (&task, "request_id", &request_id),
        (&statement, "db.system.name", "postgresql"),
        (&statement, "db.operation.name", "task.create"),
    ];
    for (seen, key, want) in said {
        assert_eq!(seen.text(key).as_deref(), Some(want), "{key} of {seen:?}");
    }

    // Who is refused has a trace, too; it begins here. And values of statements and paths are in none.
    let list = traced.call(Method::GET, &format!("/api/tasks?search={SEARCH}"), None).await;
    assert_eq!(list.status, 200);
    assert_eq!(traced.call(Method::GET, &format!("/api/tasks/{id}"), None).await.status, 200);
    let link = format!("/api/auth/reset-password/{PATH}?callbackURL=%2F");
    assert_eq!(traced.call(Method::GET, &link, None).await.status, 404);
    let request = Request::get(format!("{}/api/tasks", traced.gateway.url()));
    let request = request.header("authorization", "Bearer PlantedUnknownToken");
    assert_eq!(traced.client.call(request, None).await.status, 401);
    let deadline = Instant::now() + PATIENCE;
    let refused = loop {
        let refused = |seen: &Seen| {
            seen.is("gateway", SpanKind::Server)
                && seen.text("http.response.status_code").as_deref() == Some("401")
        };
        if let Some(refused) = receiver.spans().into_iter().find(refused) {
            break refused;
        }
        assert!(Instant::now() < deadline);
        sleep(Duration::from_millis(20)).await;
    };
    assert!(refused.span.parent_span_id.is_empty() && !refused.is_error(), "{refused:?}");
    assert_eq!(refused.text("usher.verdict").as_deref(), Some("denied"));
    // Of a link that sets a password, each service that hears it tells the path, and not the secret.
    let told = |service: &str| {
        let is_it = |seen: &Seen| {
            seen.is(service, SpanKind::Server)
                && seen.text("url.path").as_deref() == Some("/api/auth/reset-password/…")
        };
        receiver.spans().iter().any(is_it)
    };
    while !["gateway", "task-service"].into_iter().all(told) {
        assert!(Instant::now() < deadline);
        sleep(Duration::from_millis(20)).await;
    }
    assert!(counted(&traced.metrics(&traced.gateway).await, "exported") >= 3);

    let token = traced.token.clone();
    let log = traced.end().await;
    assert!(log.contains("traces are exported") && !log.contains(KEY), "{log}");
    let received = receiver.0.lock().unwrap();
    assert!(received.headers.iter().all(|headers| headers["api-key"] == KEY));
    assert!(received.headers.iter().all(|headers| headers["content-type"] == "application/x-protobuf"));
    for body in &received.bodies {
        let body = String::from_utf8_lossy(body);
        for planted in [KEY, QUERY, COOKIE, BODY, SEARCH, PATH, SECRET, &token, "PlantedUnknownToken"] {
            assert!(!body.contains(planted), "{planted}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_unless_a_variable_says_so() {
    let receiver = Receiver::default();
    let url = receiver.clone().start().await;
    let off = [exporting(&url), vec![("OTEL_TRACES_EXPORTER", "none")]].concat();
    for otel in [&off[..], &[]] {
        let Some(traced) = Traced::start(otel, &[]).await else { return };
        assert_eq!(traced.call(Method::POST, "/api/tasks", Some(&parent("01"))).await.status, 201);
        assert!(!traced.metrics(&traced.gateway).await.contains("trace_spans_total{"));
        traced.end().await;
    }
    assert!(receiver.spans().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn anybody_can_have_less_recorded_and_never_more_and_a_trusted_proxy_decides() {
    let trusted = ("GATEWAY_SERVER__TRUSTED_PROXIES", "127.0.0.1/32");
    let off = ("OTEL_TRACES_SAMPLER", "parentbased_always_off");
    for (sampler, gateway, flags, recorded) in [
        (Some(off), None, "01", false),
        (Some(off), Some(trusted), "01", true),
        (None, None, "00", false),
        (None, None, "01", true),
    ] {
        let receiver = Receiver::default();
        let url = receiver.clone().start().await;
        let otel = [exporting(&url), sampler.into_iter().collect()].concat();
        let gateway: Vec<_> = gateway.into_iter().collect();
        let Some(traced) = Traced::start(&otel, &gateway).await else { return };
        assert_eq!(traced.call(Method::POST, "/api/tasks", Some(&parent(flags))).await.status, 201);
        // What there is has been sent by then.
        traced.end().await;
        let recorded = if recorded { 6 } else { 0 };
        assert_eq!(receiver.trace(TRACE, recorded).await.len(), recorded, "{sampler:?} {flags}");
    }
}

/// Takes connections, reads what comes, and hangs up.
async fn breaks_off() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_went_twice_has_a_span_for_each_try() {
    let receiver = Receiver::default();
    let url = receiver.clone().start().await;
    let services = format!("http://{},{{tasks}}", breaks_off().await);
    let gateway = [("GATEWAY_TASK_SERVICE_URL", &*services)];
    let Some(traced) = Traced::start(&exporting(&url), &gateway).await else { return };
    // Whichever is asked first: one of a few meets the one that breaks off.
    for _ in 0..20 {
        assert_eq!(traced.call(Method::GET, "/api/tasks", None).await.status, 200);
    }
    traced.end().await;
    let spans = receiver.spans();
    let again = |seen: &&Seen| seen.text("http.request.resend_count").is_some();
    let second = spans.iter().find(again).expect("one went twice");
    assert_eq!(second.text("http.request.resend_count").as_deref(), Some("1"));
    assert_eq!(second.text("http.response.status_code").as_deref(), Some("200"));
    let is_first = |seen: &&Seen| {
        seen.span.parent_span_id == second.span.parent_span_id
            && seen.is("gateway", SpanKind::Client)
            && seen.span.name == "GET"
            && seen.span.span_id != second.span.span_id
    };
    let first: Vec<_> = spans.iter().filter(is_first).collect();
    assert_eq!(first.len(), 1, "{first:?}");
    assert_eq!(first[0].text("error.type").as_deref(), Some("lost"));
    assert!(first[0].is_error() && !second.is_error());
    // What the service did is a part of the second one.
    let served = spans.iter().find(|seen| seen.span.parent_span_id == second.span.span_id).unwrap();
    assert!(served.is("task-service", SpanKind::Server));
    let front = spans.iter().find(|seen| seen.span.span_id == second.span.parent_span_id).unwrap();
    assert_eq!(front.text("usher.attempts").as_deref(), Some("2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_receiver_is_away_requests_are_answered_and_spans_are_counted_and_told_once() {
    // Connections are made there, and nothing ever comes back: while a batch waits in vain, the queue runs over.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let otel = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &*url),
        ("OTEL_BSP_SCHEDULE_DELAY", "10"),
        ("OTEL_BSP_EXPORT_TIMEOUT", "100"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "4"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "2"),
    ];
    let Some(traced) = Traced::start(&otel, &[]).await else { return };
    let deadline = Instant::now() + PATIENCE;
    loop {
        for _ in 0..20 {
            assert_eq!(traced.call(Method::GET, "/api/tasks", None).await.status, 200);
        }
        let metrics = traced.metrics(&traced.gateway).await;
        // Several batches failed, and more came than there is room for.
        if counted(&metrics, "failed") > 4 && counted(&metrics, "dropped") > 0 {
            assert_eq!(counted(&metrics, "exported"), 0);
            break;
        }
        assert!(Instant::now() < deadline, "{metrics}");
    }
    let Traced { gateway, .. } = traced;
    let log = spawn_blocking(move || gateway.end()).await.unwrap();
    assert_eq!(log.matches("traces can't be exported").count(), 1, "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_hangs_keeps_nobody_from_ending() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    // Longer than anybody waits for an end.
    let otel = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &*url),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "600000"),
        ("OTEL_BSP_EXPORT_TIMEOUT", "600000"),
        ("OTEL_BSP_SCHEDULE_DELAY", "10"),
    ];
    let Some(traced) = Traced::start(&otel, &[]).await else { return };
    let (mut held, _) = loop {
        assert_eq!(traced.call(Method::GET, "/api/tasks", None).await.status, 200);
        if let Ok(accepted) = tokio::time::timeout(Duration::from_millis(50), listener.accept()).await {
            break accepted.unwrap();
        }
    };
    assert!(held.read(&mut [0; 1]).await.unwrap() > 0, "it is being sent to");
    let Traced { gateway, verifier, tasks, .. } = traced;
    let ended = spawn_blocking(move || {
        for service in [&gateway, &verifier, &tasks] {
            service.signal(Signal::TERM);
        }
        [gateway.end(), verifier.end(), tasks.end()].concat()
    });
    let log = tokio::time::timeout(PATIENCE, ended).await.unwrap().unwrap();
    assert!(log.contains("the last spans could not be exported in time"), "{log}");
    assert_eq!(log.matches("\"message\":\"stopped\"").count(), 3, "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_queued_is_sent_before_the_end() {
    let receiver = Receiver::default();
    let url = receiver.clone().start().await;
    // Nothing goes by itself before that.
    let otel = [("OTEL_EXPORTER_OTLP_ENDPOINT", &*url), ("OTEL_BSP_SCHEDULE_DELAY", "600000")];
    let Some(traced) = Traced::start(&otel, &[]).await else { return };
    let answer = traced.call(Method::POST, "/api/tasks", Some(&parent("01"))).await;
    assert_eq!(answer.status, StatusCode::CREATED);
    assert!(receiver.spans().is_empty());
    traced.end().await;
    assert_eq!(receiver.trace(TRACE, 6).await.len(), 6);
}
