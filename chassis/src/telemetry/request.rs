//! For which request a line is logged. Known to all that runs inside of one, and to the formatters of lines.
//!
//! What a span of `tracing` would do, but for its price: a span is allocated in a registry, formatted, entered and left at
//! every poll, and looked up by every line. This is one reference in a task-local.

use std::sync::{Arc, OnceLock};

use tokio::task::futures::TaskLocalFuture;

use crate::layer::request_id::RequestId;

tokio::task_local! {
    static REQUEST: Arc<InFlight>;
}

/// A request that is being answered.
#[derive(Debug)]
pub(crate) struct InFlight {
    id: Option<RequestId>,
    user: OnceLock<Box<str>>,
}

impl InFlight {
    pub fn new(id: Option<RequestId>) -> Arc<Self> {
        Arc::new(Self { id, user: OnceLock::new() })
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

    /// Who is calling, where that is known.
    pub fn user(&self) -> Option<&str> {
        self.user.get().map(|user| &**user)
    }
}

/// Says who is calling; the first word counts.
pub(crate) fn user(id: &str) {
    let _ = REQUEST.try_with(|request| request.user.set(id.into()));
}

/// The request that this runs inside of, if it does.
pub(super) fn current<T>(read: impl FnOnce(&InFlight) -> T) -> Option<T> {
    REQUEST.try_with(|request| read(request)).ok()
}
