//! A request's body within its bounds, and what becomes of it.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU8, AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use chassis::{Body, BoxError};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::{
    runtime::Handle,
    time::{Instant, timeout},
};

use super::idle::{Pace, Paced, PacedError, Rate};
use crate::refusal::Refusal;

/// What a route lets a body be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyBounds {
    /// How large.
    pub bytes: u64,
    /// How long it may take as a whole.
    pub total: Duration,
    /// How much of it must come a second, in bytes.
    pub rate: u32,
}

/// How slow a body may be, whatever its route.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slack {
    /// How long it may pause.
    pub(crate) idle: Duration,
    /// How far it may fall behind its rate.
    pub(crate) grace: Duration,
}

/// What becomes of a request's body: what it may be, for as long as nobody has read of it, and afterwards how that went, for
/// whoever wonders why forwarding failed or takes so long.
#[derive(Clone)]
pub struct Fate(Arc<FateInner>);

struct FateInner {
    began: Instant,
    bounds: Mutex<BodyBounds>,
    end: AtomicU8,
    frames: AtomicUsize,
}

const TOO_LARGE: u8 = 1;
const TOO_SLOW: u8 = 2;
const BROKEN: u8 = 3;

impl Fate {
    /// The body's, within `bounds` until its route is known.
    pub(crate) fn new(bounds: BodyBounds) -> Self {
        Self(Arc::new(FateInner {
            began: Instant::now(),
            bounds: Mutex::new(bounds),
            end: AtomicU8::new(0),
            frames: AtomicUsize::new(0),
        }))
    }

    /// Sets what the body may be, before it is read.
    pub(crate) fn bound(&self, bounds: BodyBounds) {
        *self.0.bounds.lock().unwrap_or_else(PoisonError::into_inner) = bounds;
    }

    fn bounds(&self) -> BodyBounds {
        *self.0.bounds.lock().unwrap_or_else(PoisonError::into_inner)
    }

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
pub(crate) struct Bounded {
    inner: Reading,
    left: u64,
    slack: Slack,
    fate: Fate,
    expects: bool,
}

enum Reading {
    /// Nobody has asked for it.
    Unread(Body),
    Begun(Paced<Body>),
    /// It ended, or is no longer wanted.
    Over,
}

impl Bounded {
    /// `expects`: its client waits to be asked for it.
    pub(crate) fn new(inner: Body, slack: Slack, fate: Fate, expects: bool) -> Self {
        Self { inner: Reading::Unread(inner), left: 0, slack, fate, expects }
    }

    fn begin(&mut self) {
        match std::mem::replace(&mut self.inner, Reading::Over) {
            Reading::Unread(body) => {
                let bounds = self.fate.bounds();
                let Slack { idle, grace } = self.slack;
                let least = Some(Rate { bytes: bounds.rate, grace });
                let end = Some(self.fate.0.began + bounds.total);
                self.left = bounds.bytes;
                self.inner = Reading::Begun(Paced::at(body, Pace { idle, least, end }));
            }
            begun => self.inner = begun,
        }
    }

    fn fail<T>(&self, fate: u8, error: impl Into<BoxError>) -> Poll<Option<Result<T, BoxError>>> {
        self.fate.0.end.store(fate, Ordering::Release);
        Poll::Ready(Some(Err(error.into())))
    }
}

impl Drop for Bounded {
    fn drop(&mut self) {
        match std::mem::replace(&mut self.inner, Reading::Over) {
            // Whoever waits for `100 Continue` has sent nothing yet, and reading on would ask for it.
            Reading::Unread(body) if !self.expects => drain(Paced::new(body, self.slack.idle)),
            Reading::Begun(body) if !self.expects || self.fate.progress() > 0 => drain(body),
            _ => {}
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
        this.begin();
        let Reading::Begun(inner) = &mut this.inner else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(inner).poll_frame(cx));
        this.fate.0.frames.fetch_add(1, Ordering::Relaxed);
        match frame {
            None => {
                this.inner = Reading::Over;
                Poll::Ready(None)
            }
            Some(Err(error)) => {
                this.inner = Reading::Over;
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
        match &self.inner {
            Reading::Unread(body) => http_body::Body::is_end_stream(body),
            Reading::Begun(body) => body.is_end_stream(),
            Reading::Over => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Reading::Unread(body) => http_body::Body::size_hint(body),
            Reading::Begun(body) => body.size_hint(),
            Reading::Over => SizeHint::with_exact(0),
        }
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
fn drain(mut body: Paced<Body>) {
    let Ok(runtime) = Handle::try_current() else { return };
    runtime.spawn(timeout(DRAIN_WAIT, async move {
        let mut left = DRAIN_BYTES_MAX;
        while let Some(Ok(frame)) = body.frame().await {
            let Some(rest) = left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) else { return };
            left = rest;
        }
    }));
}
