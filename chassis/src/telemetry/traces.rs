//! Traces, exported by OTLP where the standard variables of OpenTelemetry say so ([`TraceSettings`]).
//!
//! A request that is recorded has a span ([`RequestSpan`]), and so has whatever it asks of others ([`ClientSpan`]). What has ended
//! goes through a bounded queue to a task of its own ([`export`]): no request ever waits for whoever receives traces. Where nothing
//! is exported, that is one look at [`tracer`] for each request.
//!
//! OpenTelemetry's SDK would bring its own threads and queues, which drop uncounted, and a second HTTP client. Its crates have the
//! messages; what is between them and a request is here.

mod export;
mod sampler;
mod settings;
mod span;

use std::{sync::OnceLock, time::Duration};

use http::{HeaderMap, HeaderValue};
use metrics::Counter;
use tokio::{sync::mpsc, time::timeout};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use self::sampler::Sampler;
pub use self::{
    settings::TraceSettings,
    span::{ClientSpan, route},
};
pub(crate) use self::{
    settings::{BOUNDS, SECRETS, TracePlan, WELL_KNOWN},
    span::{Ended, RequestSpan, end},
};
use crate::layer::trace_context::{self, SpanContext, TRACEPARENT};

static TRACER: OnceLock<Tracer> = OnceLock::new();

/// Decides which requests are recorded, and takes what has ended.
pub(crate) struct Tracer {
    sampler: Sampler,
    queue: mpsc::Sender<Ended>,
    dropped: Counter,
    /// Cancelled when the queue is to be emptied for the last time, and when it is.
    stop: CancellationToken,
    stopped: CancellationToken,
}

/// The process's tracer, if traces are exported.
pub(crate) fn tracer() -> Option<&'static Tracer> {
    TRACER.get()
}

/// The span that runs here, if it is recorded: what is asked of others on its behalf is a part of it.
pub fn current() -> Option<SpanContext> {
    tracer()?;
    super::request::current(|request| request.span().map(RequestSpan::context)).flatten()
}

/// Exports traces from now on. Needs a Tokio runtime, and the recorder of metrics.
pub(crate) fn start(plan: TracePlan) {
    let (queue, ended) = mpsc::channel(plan.queue_max);
    let (stop, stopped) = (CancellationToken::new(), CancellationToken::new());
    let dropped = export::count("dropped");
    let tracer =
        Tracer { sampler: plan.sampler, queue, dropped, stop: stop.clone(), stopped: stopped.clone() };
    // A second start in one process keeps the first one's.
    if TRACER.set(tracer).is_ok() {
        tokio::spawn(async move {
            export::run(plan, ended, stop).await;
            stopped.cancel();
        });
    }
}

/// Exports what has ended by now, if that takes no longer than this.
pub(crate) async fn finish(within: Duration) {
    let Some(tracer) = tracer() else { return };
    tracer.stop.cancel();
    if timeout(within, tracer.stopped.cancelled()).await.is_err() {
        warn!("the last spans could not be exported in time");
    }
}

impl Tracer {
    /// The span of a request to a service inside, whose callers are known: they decide for a trace of theirs.
    pub fn inside(&self, asker: Option<SpanContext>, scheme: &'static str) -> Option<RequestSpan> {
        let own = asker.map_or_else(SpanContext::begin, SpanContext::child);
        let recorded = self.sampler.decide(&own.trace, asker.map(SpanContext::is_sampled));
        recorded.then(|| RequestSpan::new(own.sampled(true), asker, Some(scheme)))
    }

    /// The span of a request at the front door, whose `traceparent` we have written by now. `asker` said before who asks, and is
    /// `believed`, or is just anybody.
    ///
    /// Anybody's trace goes on, under ids of ours: a page's own spans and ours are one trace, and nobody knows another one's id
    /// whom we don't tell. But whether it is recorded they decide only against it. Their mark can't be more than our own
    /// decision, and that is made without their id, which they could choose to be always in.
    pub fn at_the_door(
        &self,
        headers: &mut HeaderMap,
        asker: Option<SpanContext>,
        believed: bool,
        scheme: &'static str,
    ) -> Option<RequestSpan> {
        let own = trace_context::context(headers)?;
        let recorded = match asker {
            Some(asker) if !believed => self.sampler.decide_for_anybody(asker.is_sampled()),
            asker => self.sampler.decide(&own.trace, asker.map(SpanContext::is_sampled)),
        };
        if recorded != own.is_sampled() {
            headers.insert(TRACEPARENT, own.sampled(recorded).header());
        }
        recorded.then(|| RequestSpan::new(own.sampled(true), asker, (!believed).then_some(scheme)))
    }

    /// Queues what has ended; what finds no room is counted.
    fn take(&self, ended: Ended) {
        if self.queue.try_send(ended).is_err() {
            self.dropped.increment(1);
        }
    }
}

/// As services are told of a span.
impl From<SpanContext> for HeaderValue {
    fn from(context: SpanContext) -> Self {
        context.header()
    }
}
