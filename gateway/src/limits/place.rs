//! A place inside, held for as long as its answer is on the way.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use chassis::{Body, BoxError};
use http::Response;
use http_body::{Frame, SizeHint};
use tokio::{
    sync::OwnedSemaphorePermit,
    task::AbortHandle,
    time::{Instant, sleep_until},
};

/// A place inside; given back when the answer's body has left.
pub struct Place {
    _permit: OwnedSemaphorePermit,
    idle: Duration,
}

impl Place {
    /// `idle` is how long its answer may go unread.
    pub(super) fn new(permit: OwnedSemaphorePermit, idle: Duration) -> Self {
        Self { _permit: permit, idle }
    }

    /// Keeps the place until the answer has left, or until its client has taken nothing of it for too long.
    pub fn hold(self, response: Response<Body>) -> Response<Body> {
        response.map(|inner| {
            if http_body::Body::is_end_stream(&inner) { inner } else { Body::new(Held::new(inner, self)) }
        })
    }
}

/// An answer's body that holds a place.
///
/// A client that doesn't read is not asked to: its body is just not polled. So it is watched from outside, and what it
/// holds (the place, the connection inside) is taken from it when it has taken nothing for too long.
struct Held {
    kept: Arc<Mutex<Kept>>,
    watch: AbortHandle,
}

struct Kept {
    /// `None` once it was taken away.
    inner: Option<(Body, Place)>,
    last_read: Instant,
}

impl Held {
    fn new(inner: Body, place: Place) -> Self {
        let idle = place.idle;
        let kept = Arc::new(Mutex::new(Kept { inner: Some((inner, place)), last_read: Instant::now() }));
        let watched = kept.clone();
        let watch = tokio::spawn(async move {
            loop {
                let due = lock(&watched).last_read + idle;
                sleep_until(due).await;
                let mut kept = lock(&watched);
                if kept.last_read + idle <= Instant::now() {
                    kept.inner = None;
                    metrics::counter!("answers_abandoned_total").increment(1);
                    return;
                }
            }
        });
        Self { kept, watch: watch.abort_handle() }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

fn lock(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

impl http_body::Body for Held {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut kept = lock(&self.kept);
        kept.last_read = Instant::now();
        match &mut kept.inner {
            Some((inner, _)) => Pin::new(inner).poll_frame(cx).map_err(Into::into),
            None => Poll::Ready(Some(Err("the client took nothing of the answer for too long".into()))),
        }
    }

    fn is_end_stream(&self) -> bool {
        lock(&self.kept).inner.as_ref().is_some_and(|(inner, _)| inner.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        lock(&self.kept).inner.as_ref().map_or_else(SizeHint::default, |(inner, _)| inner.size_hint())
    }
}
