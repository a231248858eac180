//! What the gateway says of each request, as a process: its access line, and the metrics of routes.

use std::{
    io::{self, BufRead, BufReader, PipeReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
};

use chassis::Body;
use http::Response;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::spawn_blocking,
    time::timeout,
};

use crate::world::{PATIENCE, Peer, config, echo, known};

/// A gateway whose log is read. It ends with this.
struct Process {
    child: Child,
    traffic: SocketAddr,
    ops: SocketAddr,
    /// Gone while it is read.
    log: Option<BufReader<PipeReader>>,
}

impl Process {
    async fn start(variables: &[(&str, &str)]) -> Self {
        let (reader, writer) = io::pipe().unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_gateway"))
            .env_clear()
            .envs([("GATEWAY_LISTEN", "127.0.0.1:0"), ("GATEWAY_OPS_LISTEN", "127.0.0.1:0")])
            .envs([("GATEWAY_LOG", "json"), ("GATEWAY_VERIFIER__TIMEOUT_MS", "20000")])
            .envs(variables.iter().copied())
            .current_dir(env!("CARGO_TARGET_TMPDIR"))
            .stdin(Stdio::null())
            .stdout(writer)
            .spawn()
            .unwrap();
        let nowhere = SocketAddr::from(([0; 4], 0));
        let mut this = Self { child, traffic: nowhere, ops: nowhere, log: Some(BufReader::new(reader)) };
        let listening = this.next(|line| line.get("traffic").is_some()).await;
        let address = |name: &str| listening[name].as_str().unwrap().parse().unwrap();
        (this.traffic, this.ops) = (address("traffic"), address("ops"));
        this
    }

    /// The next line of its log for which that holds.
    async fn next(&mut self, is_it: impl Fn(&Value) -> bool + Send + 'static) -> Value {
        let mut log = self.log.take().unwrap();
        let reading = spawn_blocking(move || {
            loop {
                let mut line = String::new();
                assert!(log.read_line(&mut line).unwrap() > 0, "the log ends");
                let line: Value = serde_json::from_str(&line).expect(&line);
                if is_it(&line) {
                    return (line, log);
                }
            }
        });
        let (line, log) = timeout(PATIENCE, reading).await.unwrap().unwrap();
        self.log = Some(log);
        line
    }

    async fn access_line(&mut self) -> Value {
        self.next(|line| line["target"] == "access").await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn exchange(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    answer
}

fn request(target: &str, fields: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{fields}\r\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_says_who_asked_for_what_and_what_became_of_it() {
    let verifier = Peer::new(|seen| match seen.one("authorization") {
        Some("Bearer good") => {
            let mut verdict = known("u1");
            verdict.headers_mut().insert("cache-control", "private, max-age=60".parse().unwrap());
            verdict
        }
        Some("Bearer unclear") => Response::builder().status(500).body(Body::empty()).unwrap(),
        _ => Response::builder().status(401).body(Body::empty()).unwrap(),
    })
    .await;
    let service = Peer::new(echo).await;
    let (_file, path) = config(
        "[[routes]]\npath = \"/open\"\nupstream = \"task-service\"\naccess = \"public\"\n\
         [[routes]]\npath = \"/health\"\nanswer = \"health\"\n\
         [[routes]]\npath = \"/scoped\"\nupstream = \"task-service\"\nscopes = [\"a\"]\n\
         [[routes]]\npath = \"/cookies\"\nupstream = \"task-service\"\ncredential = \"cookie\"\n\
         [[routes]]\npath = \"/api/**\"\nupstream = \"task-service\"\nclient_per_minute = 1\nclient_burst = 4",
    );
    let mut gateway = Process::start(&[
        ("GATEWAY_CONFIG", &path),
        ("GATEWAY_AUTH_VERIFIER_URL", &verifier.url()),
        ("GATEWAY_TASK_SERVICE_URL", &service.url()),
        ("GATEWAY_SERVER__TRUSTED_PROXIES", "127.0.0.1"),
    ])
    .await;
    let from = "X-Forwarded-For: 203.0.113.7\r\n";
    let good = format!("{from}Authorization: Bearer good\r\nX-Request-Id: r-1\r\n");

    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let body = format!(
        "POST /api/tasks?token=secret HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{good}\
         traceparent: 00-{trace}-00f067aa0ba902b7-01\r\nContent-Length: 5\r\n\r\nhello"
    );
    let answer = exchange(gateway.traffic, &body).await;
    let line = gateway.access_line().await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let mut said = line.clone();
    let fields = said.as_object_mut().unwrap();
    for name in ["timestamp", "message"] {
        fields.remove(name).unwrap();
    }
    for name in ["ms", "verdict_ms", "upstream_ms"] {
        let took = fields.remove(name).expect(name).as_f64().unwrap();
        assert!(took > 0.0 && took < 20_000.0, "{name}: {took}");
    }
    assert_eq!(
        said,
        json!({
            "level": "INFO", "service": "gateway", "target": "access", "method": "POST", "path": "/api/tasks",
            "status": 200, "bytes": 5, "bytes_in": 5, "complete": true, "client": "203.0.113.7",
            "route": "/api/**", "verdict": "asked", "upstream": service.address.to_string(), "attempts": 1,
            "span": {"request_id": "r-1", "trace_id": trace, "user": "u1", "name": "request"},
        })
    );
    assert!(!line.to_string().contains("secret") && !line.to_string().contains("good"), "{line}");

    exchange(gateway.traffic, &request("/api/tasks", &good)).await;
    let line = gateway.access_line().await;
    assert_eq!((&line["verdict"], line.get("verdict_ms")), (&json!("cached"), None));
    assert_eq!(line.get("bytes_in"), None);
    assert_eq!(line["span"]["trace_id"].as_str().unwrap().len(), 32);

    for (target, fields, status, route, verdict, problem) in [
        ("/api/x", "Authorization: Bearer bad\r\n", 401, "/api/**", "denied", "unauthenticated"),
        ("/api/x", "Authorization: Bearer unclear\r\n", 503, "/api/**", "failed", "verifier-unavailable"),
        ("/api/x", "Authorization: Bearer good\r\n", 429, "/api/**", "", "rate-limited"),
        ("/scoped", "Authorization: Bearer good\r\n", 403, "/scoped", "cached", "insufficient-scope"),
        ("/cookies", "Authorization: Bearer good\r\n", 403, "/cookies", "cached", "credential-not-taken"),
        ("/open", "", 200, "/open", "none", ""),
        ("/nowhere", "", 404, "", "", "not-found"),
        ("/health", "", 200, "", "", ""),
    ] {
        exchange(gateway.traffic, &request(target, &format!("{from}{fields}"))).await;
        let line = gateway.access_line().await;
        assert_eq!((&line["status"], &line["client"]), (&json!(status), &json!("203.0.113.7")), "{line}");
        for (name, want) in [("route", route), ("verdict", verdict), ("problem", problem)] {
            let said = line.get(name).map_or("", |said| said.as_str().unwrap());
            assert_eq!(said, want, "{name}: {line}");
        }
        assert_eq!(line.get("attempts").is_some(), target == "/open", "{line}");
    }

    let metrics = exchange(gateway.ops, &request("/metrics", "")).await;
    for (sample, value) in [
        ("route_requests_total{route=\"/api/**\",status=\"2xx\"}", 2),
        ("route_requests_total{route=\"/api/**\",status=\"4xx\"}", 2),
        ("route_requests_total{route=\"/api/**\",status=\"5xx\"}", 1),
        ("route_requests_total{route=\"/open\",status=\"2xx\"}", 1),
        ("route_request_duration_seconds_count{route=\"/api/**\"}", 5),
        ("route_upstream_wait_seconds_count{route=\"/api/**\"}", 2),
        ("requests_refused_total{reason=\"client_rate\"}", 1),
        ("permit_rejections_total{reason=\"scopes\"}", 1),
        ("permit_rejections_total{reason=\"credential\"}", 1),
        ("rate_limit_entries{of=\"client\"}", 1),
        ("cache_entries{cache=\"verdicts\"}", -1),
    ] {
        let line = metrics.lines().find_map(|line| line.strip_prefix(sample));
        let said: i64 = line.expect(&metrics).trim().parse().unwrap();
        assert!(value == -1 || said == value, "{sample}: {said}");
    }
    assert!(!metrics.contains("/nowhere"), "no label grows with what clients send");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_leaves_a_line_of_what_it_waited_for() {
    let verifier = Peer::new(|_| known("u1")).await;
    // It takes the request, and says nothing.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let service = silent.local_addr().unwrap();
    let mut gateway = Process::start(&[
        ("GATEWAY_AUTH_VERIFIER_URL", &verifier.url()),
        ("GATEWAY_TASK_SERVICE_URL", &format!("http://{service}")),
    ])
    .await;
    let mut client = TcpStream::connect(gateway.traffic).await.unwrap();
    let asking = "GET /api/tasks HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer good\r\n\r\n";
    client.write_all(asking.as_bytes()).await.unwrap();
    let (mut taken, _) = timeout(PATIENCE, silent.accept()).await.unwrap().unwrap();
    taken.read_exact(&mut [0; 1]).await.unwrap();
    drop(client);
    let line = gateway.access_line().await;
    assert_eq!((&line["status"], &line["attempts"]), (&json!(499), &json!(1)), "{line}");
    assert_eq!((&line["upstream"], line.get("upstream_ms")), (&json!(service.to_string()), None));
    assert_eq!(line["verdict"], "asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_of_a_link_that_sets_a_password_is_in_no_line() {
    let service = Peer::new(echo).await;
    let (_file, path) = config(
        "[[routes]]\npath = \"/api/auth/**\"\nupstream = \"task-service\"\naccess = \"public\"\n\
         forward_credentials = false",
    );
    let mut gateway = Process::start(&[
        ("GATEWAY_CONFIG", &path),
        ("GATEWAY_TASK_SERVICE_URL", &service.url()),
        ("RUST_LOG", "debug"),
    ])
    .await;
    let link = "/api/auth/reset-password/vX9-secret?callbackURL=%2Fnew";
    // One that is answered, one that is refused before it is routed, and one whose head is broken.
    for (target, host) in [(link, "Host: a"), (link, "Host: a\r\nHost: b"), (link, "Host : a")] {
        let asking = format!("GET {target} HTTP/1.1\r\n{host}\r\nConnection: close\r\n\r\n");
        exchange(gateway.traffic, &asking).await;
        let line = gateway
            .next(|line| {
                assert!(!line.to_string().contains("vX9"), "{line}");
                line["target"] == "access"
            })
            .await;
        assert_eq!(line["path"], "/api/auth/reset-password/…", "{line}");
    }
    assert_eq!(service.last().target, link, "the service gets it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_may_not_call_is_told_of_by_its_origin_where_it_was_refused() {
    let service = Peer::new(echo).await;
    let (_file, path) = config(
        "[[routes]]\npath = \"/closed\"\nupstream = \"task-service\"\naccess = \"public\"\ncors = false\n\
         [[routes]]\npath = \"/**\"\nupstream = \"task-service\"\naccess = \"public\"",
    );
    let mut gateway = Process::start(&[
        ("GATEWAY_CONFIG", &path),
        ("GATEWAY_TASK_SERVICE_URL", &service.url()),
        ("CORS_ALLOWED_ORIGINS", "https://app.example"),
        ("GATEWAY_PUBLIC_ORIGINS", "https://api.example"),
    ])
    .await;
    let long = format!("https://{}", "x".repeat(4000));
    let preflight = "Access-Control-Request-Method: GET\r\n";
    for (method, target, fields, want) in [
        (
            "OPTIONS",
            "/open",
            format!("Origin: https://other.example\r\n{preflight}"),
            "https://other.example",
        ),
        ("GET", "/open", "Origin: https://other.example\r\n".to_owned(), "https://other.example"),
        ("GET", "/open", "Origin: null\r\n".to_owned(), "null"),
        ("GET", "/open", format!("Origin: {long}\r\n"), &long[..272]),
        ("OPTIONS", "/closed", format!("Origin: https://app.example\r\n{preflight}"), "https://app.example"),
        ("GET", "/closed", "Origin: https://app.example\r\n".to_owned(), "https://app.example"),
        // Whom nothing was kept from.
        ("OPTIONS", "/open", format!("Origin: https://app.example\r\n{preflight}"), ""),
        ("GET", "/open", "Origin: https://app.example\r\n".to_owned(), ""),
        ("GET", "/open", "Origin: https://api.example\r\n".to_owned(), ""),
        ("GET", "/closed", "Origin: http://a\r\n".to_owned(), ""),
        ("GET", "/open", "Origin: https://other.example\r\nSec-Fetch-Mode: navigate\r\n".to_owned(), ""),
        ("GET", "/open", String::new(), ""),
    ] {
        let asking = format!("{method} {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{fields}\r\n");
        let answer = exchange(gateway.traffic, &asking).await;
        let line = gateway.access_line().await;
        let origin = line.get("refused_origin").map_or("", |origin| origin.as_str().unwrap());
        assert_eq!(origin, want, "{asking} {line}");
        assert!(origin.is_empty() || !answer.contains("access-control-allow-origin"), "{answer}");
    }
    let metrics = exchange(gateway.ops, &request("/metrics", "")).await;
    for sample in
        ["cors_refusals_total{reason=\"unknown_origin\"} 4\n", "cors_refusals_total{reason=\"route\"} 2\n"]
    {
        assert!(metrics.contains(sample), "{sample} {metrics}");
    }
    assert!(!metrics.contains("example"), "no label grows with what clients send");
}
