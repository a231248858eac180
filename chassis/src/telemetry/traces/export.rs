//! Sends spans that have ended to whoever receives them: OTLP over HTTP, in protobuf.
//!
//! A batch goes when it is full, or has waited for `OTEL_BSP_SCHEDULE_DELAY`. It is tried again for `OTEL_BSP_EXPORT_TIMEOUT`, then
//! given up: meanwhile the queue takes what it has room for, and the rest is dropped and counted. An outage is told once, and its end.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use metrics::{Counter, Gauge};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse},
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span::SpanKind, status::StatusCode as SpanStatus},
};
use prost::Message;
use thiserror::Error;
use tokio::{
    select,
    sync::mpsc,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    TracePlan,
    span::{Ended, Kind, Value},
};
use crate::{
    Body,
    backoff::Backoff,
    header::single,
    outbound::client::{self, Client, chain},
};

/// How long a batch waits before it is tried again, from the first time to the longest.
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// The most of an answer that is read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Flags of a span, beside those of its trace: whether its parent is in another process is known (W3C, as OTLP has it).
const HAS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

/// Why spans were not taken.
#[derive(Debug, Error)]
enum ExportError {
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("{0}")]
    Transport(String),
    #[error("answered {0}")]
    Status(StatusCode, Duration),
}

impl ExportError {
    /// Whether another moment may help (OTLP, "Failures").
    fn passes(&self) -> bool {
        match self {
            Self::Timeout(_) | Self::Transport(_) => true,
            Self::Status(status, _) => matches!(status.as_u16(), 429 | 502..=504),
        }
    }

    /// How long the receiver wants to be left alone.
    fn retry_after(&self) -> Duration {
        match self {
            Self::Timeout(_) | Self::Transport(_) => Duration::ZERO,
            Self::Status(_, retry_after) => *retry_after,
        }
    }
}

/// How many spans came to such an end.
pub(super) fn count(outcome: &'static str) -> Counter {
    metrics::counter!(crate::metrics::TRACE_SPANS.name, "outcome" => outcome)
}

struct Exporter {
    plan: TracePlan,
    client: Client,
    stop: CancellationToken,
    resource: Resource,
    scope: InstrumentationScope,
    exported: Counter,
    failed: Counter,
    queued: Gauge,
    /// How many spans were lost since exports fail, if they do.
    outage: Option<usize>,
}

/// Exports what comes, until `stop`; then what is queued by then.
pub(super) async fn run(plan: TracePlan, mut ended: mpsc::Receiver<Ended>, stop: CancellationToken) {
    let text = |text: &str| AnyValue { value: Some(any_value::Value::StringValue(text.into())) };
    let attribute = |(key, value): &(String, String)| KeyValue {
        key: key.clone(),
        value: Some(text(value)),
        ..KeyValue::default()
    };
    let resource =
        Resource { attributes: plan.resource.iter().map(attribute).collect(), ..Resource::default() };
    let scope = InstrumentationScope {
        name: "usher".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        ..InstrumentationScope::default()
    };
    info!(endpoint = %plan.url, "traces are exported");
    let (batch_max, delay) = (plan.batch_max, plan.schedule_delay);
    let mut exporter = Exporter {
        client: client::trusting(&plan.trust, plan.timeout),
        plan,
        stop: stop.clone(),
        resource,
        scope,
        exported: count("exported"),
        failed: count("failed"),
        queued: metrics::gauge!(crate::metrics::TRACE_SPANS_QUEUED.name),
        outage: None,
    };
    // All three are there from the start.
    count("dropped").increment(0);
    exporter.exported.increment(0);
    exporter.failed.increment(0);
    let mut batch = Vec::with_capacity(batch_max);
    loop {
        let until = Instant::now() + delay;
        while batch.len() < batch_max {
            let room = batch_max - batch.len();
            select! {
                biased;
                came = ended.recv_many(&mut batch, room) => if came == 0 { break },
                () = stop.cancelled() => break,
                () = sleep_until(until) => break,
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "it is small")]
        exporter.queued.set(ended.len() as f64);
        if !batch.is_empty() {
            exporter.export(&mut batch).await;
        } else if stop.is_cancelled() {
            return;
        }
    }
}

impl Exporter {
    /// Exports a batch, or gives it up; it is empty afterwards.
    async fn export(&mut self, batch: &mut Vec<Ended>) {
        let count = batch.len();
        let spans = batch.drain(..).map(span).collect();
        let scope_spans =
            vec![ScopeSpans { scope: Some(self.scope.clone()), spans, ..ScopeSpans::default() }];
        let resource = Some(self.resource.clone());
        let resource_spans = vec![ResourceSpans { resource, scope_spans, ..ResourceSpans::default() }];
        let body: Bytes = ExportTraceServiceRequest { resource_spans }.encode_to_vec().into();
        let until = Instant::now() + self.plan.export_timeout;
        let mut backoff = Backoff::new(PAUSE_MIN, PAUSE_MAX);
        let error = loop {
            let left = until.saturating_duration_since(Instant::now()).min(self.plan.timeout);
            let sent = timeout(left, self.send(body.clone())).await;
            let error = match sent.unwrap_or(Err(ExportError::Timeout(left))) {
                Ok(rejected) => return self.taken(count, rejected),
                Err(error) => error,
            };
            backoff.fail(&error);
            let pause = backoff.jittered_wait().max(error.retry_after());
            if !error.passes() || Instant::now() + pause >= until || self.stop.is_cancelled() {
                break error;
            }
            select! {
                () = sleep(pause) => {}
                () = self.stop.cancelled() => {}
            }
        };
        self.failed.increment(count as u64);
        // Told once: what follows is the same outage.
        if self.outage.is_none() {
            warn!(endpoint = %self.plan.url, "traces can't be exported: {error}; spans are lost, requests are not");
        }
        *self.outage.get_or_insert(0) += count;
    }

    fn taken(&mut self, count: usize, rejected: u64) {
        let rejected = rejected.min(count as u64);
        self.exported.increment(count as u64 - rejected);
        self.failed.increment(rejected);
        if let Some(lost) = self.outage.take() {
            info!(lost, "traces are exported again");
        }
        if rejected > 0 {
            warn!(rejected, "spans were refused by whoever receives traces; its own log may say why");
        }
    }

    /// Sends a batch; how many of its spans were rejected.
    async fn send(&self, body: Bytes) -> Result<u64, ExportError> {
        let transport = |error: &(dyn std::error::Error + 'static)| ExportError::Transport(chain(error));
        let mut request = Request::post(self.plan.url.clone())
            .body(Body::from(body))
            .map_err(|error| ExportError::Transport(error.to_string()))?;
        let headers = request.headers_mut();
        headers.extend(self.plan.headers.clone());
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        let agent = concat!("usher/", env!("CARGO_PKG_VERSION"));
        headers.entry(header::USER_AGENT).or_insert(HeaderValue::from_static(agent));
        let response = self.client.request(request).await.map_err(|error| transport(&error))?;
        let status = response.status();
        let told = single(response.headers(), &header::RETRY_AFTER).ok();
        let retry_after = told.and_then(|secs| secs.to_str().ok()?.parse::<u32>().ok()).unwrap_or(0);
        let read = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        if !status.is_success() {
            return Err(ExportError::Status(status, Duration::from_secs(retry_after.into())));
        }
        let answer = read.map_err(|error| transport(&*error))?.to_bytes();
        // Some answer with anything; then all are taken.
        let answer = ExportTraceServiceResponse::decode(answer).unwrap_or_default();
        let rejected = answer.partial_success.map_or(0, |partial| partial.rejected_spans);
        Ok(u64::try_from(rejected).unwrap_or(0))
    }
}

/// A span as OTLP has it.
fn span(ended: Ended) -> Span {
    let Ended { context, parent, kind, name, began, took, attributes, is_error } = ended;
    let began = nanos(began);
    let attribute = |(key, value): (&str, Value)| {
        let value = match value {
            Value::Text(text) => any_value::Value::StringValue(text.into_owned()),
            Value::Number(number) => any_value::Value::IntValue(number),
        };
        KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
    };
    let (kind, remote) = match kind {
        Kind::Server => (SpanKind::Server, if parent.is_some() { IS_REMOTE } else { 0 }),
        Kind::Client => (SpanKind::Client, 0),
    };
    Span {
        trace_id: context.trace.bytes().into(),
        span_id: context.span_bytes().into(),
        parent_span_id: parent.map(|parent| parent.span_bytes().into()).unwrap_or_default(),
        flags: u32::from(context.flags()) | HAS_IS_REMOTE | remote,
        name: name.into_owned(),
        kind: kind.into(),
        start_time_unix_nano: began,
        end_time_unix_nano: began.saturating_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX)),
        attributes: attributes.into_iter().map(attribute).collect(),
        status: is_error.then(|| Status { code: SpanStatus::Error.into(), ..Status::default() }),
        ..Span::default()
    }
}

fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
