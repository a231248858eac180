//! One access line per request, written when its answer has left or was given up; and the request's metrics.
//!
//! What is logged on the way, at whatever depth, says for which request it is: see [`telemetry::request`].
//!
//! Paths are logged, queries are not: people put tokens there. Of a path whose link signs somebody in, the secret isn't.

use std::{
    borrow::Cow,
    net::IpAddr,
    sync::{
        Arc, LazyLock, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use http::{Method, Request, Response, StatusCode};
use metrics::{Counter, Gauge, Histogram};
use tracing::info;

use crate::{
    Body,
    layer::{method, request_id::RequestId, trace_context},
    serve::{HttpService, Peer, trusted_proxies::TrustedProxies},
    telemetry::{self, request::InFlight, traces},
};

/// The longest part of a path and of a method that a log line shows, in bytes.
const PATH_BYTES_MAX: usize = 256;
const METHOD_BYTES_MAX: usize = 32;

/// What stands before a secret in a path: by the link `/reset-password/TOKEN?callbackURL=…` that Better Auth mails, whoever has it sets a
/// password. It is the only secret in a path of Better Auth 1.6; all others come by query or body.
const BEFORE_SECRET: &[u8] = b"/reset-password/";

/// What is written for a secret.
const SECRET: &str = "…";

/// What nginx logs for a client that left before its answer.
const CLIENT_LEFT: u16 = 499;

/// Whether the process has given up on what is still in flight, and how many requests that has cut short.
static CUTTING: AtomicBool = AtomicBool::new(false);
static CUT: AtomicU64 = AtomicU64::new(0);

/// Counts each request, writes its access line, and names it to every line that is logged inside.
pub struct AccessLogged<S> {
    inner: S,
    /// Who is believed about clients, at the front door.
    door: Option<Arc<TrustedProxies>>,
}

/// What a service knows of a request besides, and says in its access line.
pub trait Facts: Send + Sync {
    /// Says them, when the request is over.
    fn tell(&self, line: &mut FactLine<'_>);

    /// The request was answered so, and is over after so long.
    fn over(&self, status: u16, took: Duration);
}

/// Where facts are said: fields of an access line.
pub struct FactLine<'a>(pub(crate) &'a mut dyn TakesFacts);

/// A line of whatever form.
pub(crate) trait TakesFacts {
    fn text(&mut self, name: &'static str, value: &str);
    fn number(&mut self, name: &'static str, value: u64);
    /// In hundredths of a millisecond.
    fn millis(&mut self, name: &'static str, hundredths: u64);
}

impl FactLine<'_> {
    /// Words.
    pub fn text(&mut self, name: &'static str, value: &str) {
        self.0.text(name, value);
    }

    /// A number.
    pub fn number(&mut self, name: &'static str, value: u64) {
        self.0.number(name, value);
    }

    /// How long something took; the name ends in `_ms`.
    pub fn millis(&mut self, name: &'static str, took: Duration) {
        self.0.millis(name, hundredths(took));
    }
}

/// In hundredths of a millisecond.
fn hundredths(took: Duration) -> u64 {
    // Below 2^64 for as long as anything lasts, and so without a division of 128 bits.
    took.as_secs().saturating_mul(100_000).saturating_add((u64::from(took.subsec_nanos()) + 5_000) / 10_000)
}

impl<S> AccessLogged<S> {
    /// Of a service inside: its clients are whoever connects, and their traces are what they say.
    pub fn new(inner: S) -> Self {
        Self { inner, door: None }
    }

    /// At the front door, where traces begin, and where `trusted` proxies are believed about their clients.
    pub fn at_the_door(inner: S, trusted: Arc<TrustedProxies>) -> Self {
        Self { inner, door: Some(trusted) }
    }

    fn in_flight(&self, request: &mut Request<Body>) -> Arc<InFlight> {
        let id = request.extensions().get::<RequestId>().cloned();
        let peer = request.extensions().get::<Peer>().map(|peer| peer.address.ip().to_canonical());
        let tracer = traces::tracer();
        // Read before we write into it who asks inside.
        let asker = tracer.and_then(|_| trace_context::context(request.headers()));
        let (client, trace) = match &self.door {
            None => (peer, trace_context::of(request.headers())),
            Some(trusted) => {
                let behind = |peer: IpAddr| {
                    if trusted.trusts(peer) { trusted.client(peer, request.headers()) } else { peer }
                };
                (peer.map(behind), Some(trace_context::enter(request.headers_mut())))
            }
        };
        let Some(tracer) = tracer else { return InFlight::new(id, client, trace, None) };
        let scheme = request.extensions().get::<Peer>().is_some_and(|peer| peer.is_tls);
        let scheme = if scheme { "https" } else { "http" };
        let span = match &self.door {
            None => tracer.inside(asker, scheme),
            Some(trusted) => {
                let believed = peer.is_some_and(|peer| trusted.trusts(peer));
                tracer.at_the_door(request.headers_mut(), asker, believed, scheme)
            }
        };
        let trace = trace.or_else(|| span.as_ref().map(|span| span.context().trace));
        InFlight::new(id, client, trace, span)
    }
}

impl<S: HttpService> HttpService for AccessLogged<S> {
    const ANSWERS_REFUSED: bool = S::ANSWERS_REFUSED;

    async fn call(&self, mut request: Request<Body>) -> Response<Body> {
        let in_flight = self.in_flight(&mut request);
        // Made before the wait: a client that goes away drops this future, and that request has its line too.
        let mut unfinished = Unfinished::new(&request, in_flight.clone());
        if !http_body::Body::is_end_stream(request.body()) {
            request = request.map(|body| body.of_request(in_flight.clone()));
        }
        let response = in_flight.within(self.inner.call(request)).await;
        unfinished.0.status = Some(response.status());
        unfinished.0.complete = http_body::Body::is_end_stream(response.body());
        response.map(|body| body.answering(unfinished))
    }
}

/// Says who is calling, for the access line and every other line of this request.
pub fn user(id: &str) {
    telemetry::request::user(id);
}

/// What the service knows of this request, for its access line.
pub fn facts(facts: Arc<dyn Facts>) {
    telemetry::request::facts(facts);
}

/// What a layer outside of the service has to say of this request, for its access line alone: a field of its own. The first word counts.
pub fn remark(name: &'static str, words: String) {
    telemetry::request::remark(name, words);
}

/// From now on what ends unfinished was cut short by us, not by its client.
pub(crate) fn cut() {
    CUTTING.store(true, Ordering::Relaxed);
}

/// How many requests were cut short.
pub(crate) fn cut_requests() -> u64 {
    CUT.load(Ordering::Relaxed)
}

fn shortened(text: &str, bytes_max: usize) -> &str {
    // A path that hyper let through is ASCII or UTF-8; cut it where a character begins.
    &text[..text.floor_char_boundary(bytes_max)]
}

/// A path as it is told, by log lines and spans: its start, and nothing of a secret.
fn told_path(path: &str) -> Box<str> {
    let path = shortened(path, PATH_BYTES_MAX);
    let before = path.as_bytes().windows(BEFORE_SECRET.len()).position(|bytes| bytes == BEFORE_SECRET);
    match before.map(|at| path.split_at(at + BEFORE_SECRET.len())) {
        Some((before, secret)) if !secret.is_empty() => [before, SECRET].concat().into(),
        _ => path.into(),
    }
}

/// A method may be as long as a head; one of the usual length is not copied.
fn shortened_method(method: &Method) -> Method {
    if method.as_str().len() <= METHOD_BYTES_MAX {
        return method.clone();
    }
    let start = shortened(method.as_str(), METHOD_BYTES_MAX);
    Method::from_bytes(start.as_bytes()).expect("the start of a method is one")
}

/// What stands in a line as it is.
const PLAIN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = b' ';
    while byte <= b'~' {
        table[byte as usize] = !matches!(byte, b'"' | b'\'' | b'\\');
        byte += 1;
    }
    table
};

/// What is to be said of a request when it is over: when this is dropped.
pub(crate) struct Unfinished(Box<AccessLog>);

/// What an access line says.
pub(crate) struct AccessLog {
    pub in_flight: Arc<InFlight>,
    pub method: Method,
    /// As it is told: without a secret.
    pub path: Box<str>,
    pub started: Instant,
    pub status: Option<StatusCode>,
    /// How long it took, from its head to the end of its answer.
    pub took: Duration,
    /// Bytes of the answer's body.
    pub bytes: u64,
    /// Whether the answer has left to its end.
    pub complete: bool,
    /// Whether it was we who left, not the client.
    pub cut: bool,
}

impl AccessLog {
    /// The status of the answer, or what stands for none.
    pub fn status(&self) -> u16 {
        self.status.map_or(CLIENT_LEFT, |status| status.as_u16())
    }

    /// The path as it is shown: what a terminal would act on is escaped. One that is borrowed has nothing that JSON escapes, either.
    pub fn shown_path(&self) -> Cow<'_, str> {
        match &*self.path {
            path if path.bytes().all(|byte| PLAIN[usize::from(byte)]) => Cow::Borrowed(path),
            path => Cow::Owned(path.escape_debug().to_string()),
        }
    }

    /// How long it took, in hundredths of a millisecond.
    pub fn hundredths(&self) -> u64 {
        hundredths(self.took)
    }

    /// Says it as an event, for whichever subscriber there is.
    pub fn event(&self) {
        let Self { method, bytes, complete, .. } = self;
        let (path, status) = (self.shown_path(), self.status());
        #[expect(clippy::cast_precision_loss, reason = "two digits of it are shown")]
        let ms = self.hundredths() as f64 / 100.0;
        let cut = self.cut.then_some(true);
        let (client, problem) =
            (self.in_flight.client().map(tracing::field::display), self.in_flight.problem());
        let bytes_in = Some(self.in_flight.received()).filter(|bytes| *bytes > 0);
        info!(
            target: "access",
            %method, %path, status, bytes, bytes_in, ms, complete, cut, client, problem,
            "{method} {path} {status} in {ms:.2} ms"
        );
    }
}

impl Unfinished {
    fn new(request: &Request<Body>, in_flight: Arc<InFlight>) -> Self {
        METRICS.in_flight.increment(1.0);
        Self(Box::new(AccessLog {
            in_flight,
            method: shortened_method(request.method()),
            path: told_path(request.uri().path()),
            started: Instant::now(),
            status: None,
            took: Duration::ZERO,
            bytes: 0,
            complete: false,
            cut: false,
        }))
    }

    /// The request, for lines that are logged for it after its answer.
    pub(crate) fn in_flight(&self) -> Arc<InFlight> {
        self.0.in_flight.clone()
    }

    /// So many bytes have come behind the request.
    pub(crate) fn received(&self, bytes: usize) {
        self.0.in_flight.receive(bytes);
    }

    /// So many bytes of the answer have left; `ends` if they are the last.
    pub(crate) fn left(&mut self, bytes: usize, ends: bool) {
        self.0.bytes += bytes as u64;
        self.0.complete = ends;
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let log = &mut *self.0;
        log.took = log.started.elapsed();
        log.cut = !log.complete && CUTTING.load(Ordering::Relaxed);
        telemetry::access_line(log);
        traces::end(log);
        METRICS.in_flight.decrement(1.0);
        let finished = METRICS.finished(&log.method, log.status());
        finished.count.increment(1);
        finished.seconds.record(log.took);
        if let Some(facts) = log.in_flight.facts() {
            facts.over(log.status(), log.took);
        }
        if log.cut {
            CUT.fetch_add(1, Ordering::Relaxed);
            metrics::counter!(crate::metrics::REQUESTS_CUT.name).increment(1);
        }
    }
}

/// The classes of statuses, as labels.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// The metrics of requests. Each handle is looked up once, when something is first counted by it.
struct Metrics {
    in_flight: Gauge,
    finished: [[OnceLock<Finished>; CLASSES.len()]; method::LABELS],
}

struct Finished {
    count: Counter,
    seconds: Histogram,
}

static METRICS: LazyLock<Metrics> = LazyLock::new(|| {
    // A handle that is made before there is a recorder would count for nobody, for ever.
    telemetry::metrics();
    Metrics {
        in_flight: metrics::gauge!(crate::metrics::REQUESTS_IN_FLIGHT.name),
        finished: Default::default(),
    }
});

impl Metrics {
    fn finished(&self, method: &Method, status: u16) -> &Finished {
        let method = method::index(method);
        let class = usize::from(status / 100).clamp(1, CLASSES.len()) - 1;
        self.finished[method][class].get_or_init(|| {
            let labels = [("method", method::label(method)), ("status", CLASSES[class])];
            Finished {
                count: metrics::counter!(crate::metrics::REQUESTS.name, &labels),
                seconds: metrics::histogram!(crate::metrics::REQUEST_DURATION.name, &labels),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_chooses_is_shown_up_to_its_bound() {
        for (bytes, shown) in [(1, 1), (METHOD_BYTES_MAX, METHOD_BYTES_MAX), (30_000, METHOD_BYTES_MAX)] {
            let method = Method::from_bytes("M".repeat(bytes).as_bytes()).unwrap();
            assert_eq!(shortened_method(&method).as_str(), "M".repeat(shown));
        }
        for (path, shown) in [
            ("/".repeat(PATH_BYTES_MAX), "/".repeat(PATH_BYTES_MAX)),
            ("/".repeat(PATH_BYTES_MAX + 1), "/".repeat(PATH_BYTES_MAX)),
            // No character is torn apart.
            ("ä".repeat(PATH_BYTES_MAX), "ä".repeat(PATH_BYTES_MAX / 2)),
            (format!("/{}", "ä".repeat(PATH_BYTES_MAX)), format!("/{}", "ä".repeat(PATH_BYTES_MAX / 2 - 1))),
        ] {
            assert_eq!(&*told_path(&path), shown);
        }
    }

    #[test]
    fn no_secret_in_a_path_is_told() {
        for (path, told) in [
            ("/api/auth/reset-password/vX9-secret", "/api/auth/reset-password/…"),
            ("/reset-password/vX9-secret", "/reset-password/…"),
            ("/verify/api/auth/reset-password/vX9-secret/more", "/verify/api/auth/reset-password/…"),
            ("/reset-password/reset-password/vX9-secret", "/reset-password/…"),
            ("/api/auth/reset-password", "/api/auth/reset-password"),
            ("/api/auth/reset-password/", "/api/auth/reset-password/"),
            ("/api/auth/request-password-reset", "/api/auth/request-password-reset"),
            ("/api/tasks/reset-password-page/1", "/api/tasks/reset-password-page/1"),
        ] {
            assert_eq!(&*told_path(path), told);
        }
        // Where a path is cut, nothing of the secret is left, either.
        for bytes in 200..=PATH_BYTES_MAX {
            let path = format!("/{}/reset-password/SECRET", "x".repeat(bytes));
            assert!(!told_path(&path).contains('S'), "{bytes}");
        }
    }
}
