//! What becomes known of a request on its walk: for its access line, the metrics of its route, and `Server-Timing`.

use std::{
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use chassis::layer::access_log::{FactLine, Facts};
use http::{HeaderMap, HeaderName, HeaderValue};
use metrics::{Counter, Histogram};

use crate::route::Route;

const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// The record of one request.
pub struct Record {
    route: Arc<Route>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    verdict: Option<Verdict>,
    /// How long the verdict was waited for, if it was.
    verdict_took: Option<Duration>,
    /// The endpoint that was asked last, and the how-manieth try that was.
    endpoint: Option<HeaderValue>,
    attempts: u32,
    forwarded: Option<Instant>,
    /// How long it took from then until the head of the answer.
    upstream_took: Option<Duration>,
}

/// Where the verdict on a request came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nobody was asked: anybody may pass.
    None,
    /// It was still known.
    Cached,
    /// auth-verifier said who is calling, to this request or to another one.
    Asked,
    /// It said that the caller may not pass.
    Denied,
    /// It said nothing clear, or nothing.
    Failed,
}

impl Verdict {
    fn label(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Cached => "cached",
            Self::Asked => "asked",
            Self::Denied => "denied",
            Self::Failed => "failed",
        }
    }
}

impl Record {
    pub(crate) fn new(route: Arc<Route>) -> Arc<Self> {
        Arc::new(Self { route, known: Mutex::default() })
    }

    /// The route that the request is on.
    pub fn route(&self) -> &Arc<Route> {
        &self.route
    }

    /// Where the verdict came from.
    pub(crate) fn verdict(&self, verdict: Verdict) {
        self.known().verdict = Some(verdict);
    }

    /// Where the verdict came from that was waited for.
    pub(crate) fn verdict_after(&self, took: Duration, verdict: Verdict) {
        let mut known = self.known();
        known.verdict = Some(verdict);
        known.verdict_took = Some(took);
    }

    /// The request is sent to the endpoint at this address.
    pub(crate) fn attempt(&self, endpoint: &HeaderValue) {
        let mut known = self.known();
        known.attempts += 1;
        known.endpoint = Some(endpoint.clone());
    }

    /// The request is forwarded from now on.
    pub(crate) fn forwarded(&self) {
        self.known().forwarded = Some(Instant::now());
    }

    /// The head of the answer is there.
    pub(crate) fn answered(&self) {
        let mut known = self.known();
        known.upstream_took = known.forwarded.map(|forwarded| forwarded.elapsed());
        if let Some(took) = known.upstream_took {
            self.route.metrics.upstream().record(took);
        }
    }

    /// Tells a page where the time went (W3C Server Timing), in milliseconds, beside what its service tells.
    pub(crate) fn tell_timing(&self, headers: &mut HeaderMap) {
        let known = self.known();
        let entry = |(name, took): (&str, Option<Duration>)| {
            took.map(|took| format!("{name};dur={:.2}", took.as_secs_f64() * 1000.0))
        };
        let entries = [("verdict", known.verdict_took), ("upstream", known.upstream_took)];
        let entries: Vec<_> = entries.into_iter().filter_map(entry).collect();
        let timing = HeaderValue::try_from(entries.join(", ")).ok();
        headers.extend(timing.map(|timing| (SERVER_TIMING, timing)));
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Facts for Record {
    fn tell(&self, line: &mut FactLine<'_>) {
        let known = self.known();
        line.text("route", &self.route.label);
        if let Some(verdict) = known.verdict {
            line.text("verdict", verdict.label());
        }
        if let Some(took) = known.verdict_took {
            line.millis("verdict_ms", took);
        }
        if let Some(endpoint) = &known.endpoint {
            line.text("upstream", endpoint.to_str().unwrap_or_default());
            line.number("attempts", known.attempts.into());
        }
        if let Some(took) = known.upstream_took {
            line.millis("upstream_ms", took);
        }
    }

    fn over(&self, status: u16, took: Duration) {
        let metrics = &self.route.metrics;
        metrics.requests(status).increment(1);
        metrics.duration().record(took);
    }
}

/// The metrics of a route. Each handle is looked up once, when something is first counted by it.
pub struct RouteMetrics {
    route: Arc<str>,
    requests: [OnceLock<Counter>; CLASSES.len()],
    duration: OnceLock<Histogram>,
    upstream: OnceLock<Histogram>,
}

/// The classes of statuses, as labels.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

impl RouteMetrics {
    pub(crate) fn new(route: Arc<str>) -> Self {
        Self { route, requests: Default::default(), duration: OnceLock::new(), upstream: OnceLock::new() }
    }

    fn requests(&self, status: u16) -> &Counter {
        let class = usize::from(status / 100).clamp(1, CLASSES.len()) - 1;
        self.requests[class].get_or_init(|| {
            metrics::counter!(
                crate::metrics::ROUTE_REQUESTS.name,
                "route" => self.route.clone(), "status" => CLASSES[class]
            )
        })
    }

    fn duration(&self) -> &Histogram {
        self.duration.get_or_init(|| {
            metrics::histogram!(crate::metrics::ROUTE_REQUEST_DURATION.name, "route" => self.route.clone())
        })
    }

    fn upstream(&self) -> &Histogram {
        self.upstream.get_or_init(
            || metrics::histogram!(crate::metrics::ROUTE_UPSTREAM_WAIT.name, "route" => self.route.clone()),
        )
    }
}
