//! A request's body within its bounds, and what becomes of it.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use chassis::{Body, BoxError};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::{runtime::Handle, time::timeout};

use super::paced::{Paced, PacedError};
use crate::answer::Refusal;

/// What became of a request's body, for whoever wonders why forwarding failed or takes so long.
#[derive(Clone, Default)]
pub struct Fate(Arc<FateInner>);

#[derive(Default)]
struct FateInner {
    end: AtomicU8,
    frames: AtomicUsize,
}

const TOO_LARGE: u8 = 1;
const TOO_SLOW: u8 = 2;
const BROKEN: u8 = 3;

impl Fate {
    /// The refusal that it led to, if it went wrong.
    pub fn refusal(&self) -> Option<Refusal> {
        match self.0.end.load(Ordering::Acquire) {
            TOO_LARGE => Some(Refusal::BodyTooLarge),
            TOO_SLOW => Some(Refusal::BodyTooSlow),
            BROKEN => Some(Refusal::BodyBroken),
            _ => None,
        }
    }

    /// A number that changes while the body is still coming.
    pub fn progress(&self) -> usize {
        self.0.frames.load(Ordering::Relaxed)
    }
}

/// A request body within its bounds.
pub(super) struct Bounded {
    /// `None` once it ended, or is no longer wanted.
    inner: Option<Paced<Body>>,
    left: u64,
    fate: Fate,
    expects: bool,
}

impl Bounded {
    /// `expects`: its client waits to be asked for it.
    pub(super) fn new(inner: Paced<Body>, left: u64, fate: Fate, expects: bool) -> Self {
        Self { inner: Some(inner), left, fate, expects }
    }

    fn fail<T>(&self, fate: u8, error: impl Into<BoxError>) -> Poll<Option<Result<T, BoxError>>> {
        self.fate.0.end.store(fate, Ordering::Release);
        Poll::Ready(Some(Err(error.into())))
    }
}

impl Drop for Bounded {
    fn drop(&mut self) {
        if let Some(inner) = self.inner.take_if(|_| !self.expects || self.fate.progress() > 0) {
            drain(inner);
        }
    }
}

impl http_body::Body for Bounded {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let Some(inner) = &mut this.inner else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(inner).poll_frame(cx));
        this.fate.0.frames.fetch_add(1, Ordering::Relaxed);
        match frame {
            None => {
                this.inner = None;
                Poll::Ready(None)
            }
            Some(Err(error)) => {
                this.inner = None;
                this.fail(if matches!(error, PacedError::Slow) { TOO_SLOW } else { BROKEN }, error)
            }
            Some(Ok(frame)) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
                let Some(left) = this.left.checked_sub(bytes) else {
                    return this.fail(TOO_LARGE, "the request body is too large");
                };
                this.left = left;
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), http_body::Body::size_hint)
    }
}

/// The most that is read of a body that nobody wants.
const DRAIN_BYTES_MAX: usize = 8 * 1024 * 1024;

/// How long that may take.
const DRAIN_WAIT: Duration = Duration::from_secs(5);

/// Reads what is left of a body, within bounds, and throws it away.
///
/// A client that is still sending looks for the answer only afterwards; if the connection were closed under it, it would
/// find a reset instead (RFC 9112 §9.6).
pub(super) fn drain(mut body: Paced<Body>) {
    let Ok(runtime) = Handle::try_current() else { return };
    runtime.spawn(timeout(DRAIN_WAIT, async move {
        let mut left = DRAIN_BYTES_MAX;
        while let Some(Ok(frame)) = body.frame().await {
            let Some(rest) = left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) else { return };
            left = rest;
        }
    }));
}
