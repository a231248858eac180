//! For which request a line is logged. Known to all that runs inside of one, and to the formatters of lines.
//!
//! What a span of `tracing` would do, but for its price: a span is allocated in a registry, formatted, entered and left at
//! every poll, and looked up by every line. This is one reference in a task-local.

use std::{
    net::IpAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::task::futures::TaskLocalFuture;

use super::traces::RequestSpan;
use crate::layer::{access_log::Facts, request_id::RequestId, trace_context::TraceId};

tokio::task_local! {
    static REQUEST: Arc<InFlight>;
}

/// A request that is being answered.
#[derive(Default)]
pub(crate) struct InFlight {
    id: Option<RequestId>,
    client: Option<IpAddr>,
    trace: Option<TraceId>,
    /// Its span, if it is recorded.
    span: Option<Box<RequestSpan>>,
    user: OnceLock<Box<str>>,
    /// The code of the problem that it was answered with.
    problem: OnceLock<&'static str>,
    facts: OnceLock<Arc<dyn Facts>>,
    /// What few requests have to say besides: a name, and words.
    remark: OnceLock<Box<(&'static str, String)>>,
    /// Bytes of its body that were read.
    received: AtomicU64,
}

impl InFlight {
    pub fn new(
        id: Option<RequestId>,
        client: Option<IpAddr>,
        trace: Option<TraceId>,
        span: Option<RequestSpan>,
    ) -> Arc<Self> {
        Arc::new(Self { id, client, trace, span: span.map(Box::new), ..Self::default() })
    }

    /// Runs `future` inside of this request.
    pub fn within<F: Future>(self: &Arc<Self>, future: F) -> TaskLocalFuture<Arc<Self>, F> {
        REQUEST.scope(self.clone(), future)
    }

    /// Does something inside of this request.
    pub fn sync_within<T>(self: &Arc<Self>, job: impl FnOnce() -> T) -> T {
        REQUEST.sync_scope(self.clone(), job)
    }

    /// Its id, or nothing where no layer gave it one.
    pub fn id(&self) -> &str {
        self.id.as_ref().map_or("", RequestId::as_str)
    }

    /// Who sent it, where that is known.
    pub fn client(&self) -> Option<IpAddr> {
        self.client
    }

    /// The trace that it belongs to.
    pub fn trace(&self) -> Option<&TraceId> {
        self.trace.as_ref()
    }

    /// Its span, if it is recorded.
    pub fn span(&self) -> Option<&RequestSpan> {
        self.span.as_deref()
    }

    /// So many more bytes of its body have come.
    pub fn receive(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// How many bytes of its body were read.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// What its service knows of it besides.
    pub fn facts(&self) -> Option<&dyn Facts> {
        self.facts.get().map(|facts| &**facts)
    }

    /// What few have to say besides.
    pub fn remark(&self) -> Option<(&'static str, &str)> {
        self.remark.get().map(|remark| (remark.0, &*remark.1))
    }

    /// The code of the problem that it was answered with.
    pub fn problem(&self) -> Option<&'static str> {
        self.problem.get().copied()
    }

    /// Who is calling, where that is known.
    pub fn user(&self) -> Option<&str> {
        self.user.get().map(|user| &**user)
    }
}

/// Says who is calling; the first word counts.
pub(crate) fn user(id: &str) {
    let _ = REQUEST.try_with(|request| request.user.set(id.into()));
}

/// Says what the service knows of the request; the first word counts.
pub(crate) fn facts(facts: Arc<dyn Facts>) {
    let _ = REQUEST.try_with(|request| request.facts.set(facts));
}

/// Says something that few requests have to say; the first word counts.
pub(crate) fn remark(name: &'static str, words: String) {
    let _ = REQUEST.try_with(|request| request.remark.set(Box::new((name, words))));
}

/// Says which problem the request is answered with.
pub(crate) fn problem(code: &'static str) {
    let _ = REQUEST.try_with(|request| request.problem.set(code));
}

/// The request that this runs inside of, if it does.
pub(super) fn current<T>(read: impl FnOnce(&InFlight) -> T) -> Option<T> {
    REQUEST.try_with(|request| read(request)).ok()
}
