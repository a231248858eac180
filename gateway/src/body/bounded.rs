//! A request's body within its bounds, and how reading it went.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use chassis::{Body, BoxError};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use thiserror::Error;
use tokio::{
    runtime::Handle,
    time::{Instant, timeout},
};

use super::{
    idle::{IdleTimeoutBody, IdleTimeoutError, Pace, Rate},
    replay::Replay,
};

/// The most that is read of a refused body, so that its client gets to the answer.
const DRAIN_BYTES_MAX: usize = 8 * 1024 * 1024;

/// How long that may take.
const DRAIN_WAIT: Duration = Duration::from_secs(5);

/// What a route allows a body to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyBounds {
    /// The largest size, in bytes.
    pub bytes: u64,
    /// How long all of it may take.
    pub total: Duration,
    /// The least rate, in bytes a second.
    pub rate: u32,
}

/// How slow a body may be, on any route.
#[derive(Clone, Copy, Debug)]
pub struct Slack {
    /// How long it may pause.
    pub idle: Duration,
    /// How long it may be behind its rate.
    pub grace: Duration,
}

/// Why a request's body could not be read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BodyError {
    /// It is larger than the bound.
    #[error("the request body is too large")]
    TooLarge,
    /// It paused for too long, or came too slowly.
    #[error("the request body came too slowly")]
    TooSlow,
    /// Its framing is broken, or the client left.
    #[error("the request body broke off")]
    Broken,
}

/// How reading a request's body went; shared with the station that forwards it, which sees here why that failed, and
/// whether the client is still sending.
#[derive(Clone, Default)]
pub struct BodyOutcome(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// 0, or a [`BodyError`] and 1.
    error: AtomicU8,
    ended: AtomicBool,
    frames: AtomicUsize,
    /// A copy of it, where one is kept.
    replay: Mutex<Option<Replay>>,
}

impl BodyOutcome {
    /// The error that ended the body, if one did.
    pub fn error(&self) -> Option<BodyError> {
        match self.0.error.load(Ordering::Acquire) {
            1 => Some(BodyError::TooLarge),
            2 => Some(BodyError::TooSlow),
            3 => Some(BodyError::Broken),
            _ => None,
        }
    }

    /// Whether nobody will read on: all of it was read, or it is no longer wanted.
    pub fn has_ended(&self) -> bool {
        self.0.ended.load(Ordering::Acquire)
    }

    /// A number that grows with every frame.
    pub fn progress(&self) -> usize {
        self.0.frames.load(Ordering::Relaxed)
    }

    /// The body once more, if a copy was kept and all of it has come.
    pub(crate) fn again(&self) -> Option<BoundedBody> {
        let replay = self.0.replay.lock().unwrap_or_else(PoisonError::into_inner).take();
        let whole = replay?.whole().filter(|_| self.error().is_none())?;
        Some(BoundedBody(Some(Box::new(Bounded {
            left: whole.len() as u64,
            // It is there already.
            inner: Some(IdleTimeoutBody::new(whole.into(), Duration::MAX)),
            outcome: Self::default(),
            expects_continue: false,
            keeps: false,
        }))))
    }

    /// Lets the copy go: the request won't go again.
    pub(crate) fn forget(&self) {
        self.0.replay.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    fn keep(&self, data: &[u8]) {
        if let Some(replay) = &mut *self.0.replay.lock().unwrap_or_else(PoisonError::into_inner) {
            replay.keep(data);
        }
    }

    fn fail(&self, error: BodyError) -> BodyError {
        self.0.error.store(error as u8 + 1, Ordering::Release);
        error
    }
}

/// A body whose bounds are not known yet. Dropped (its request was refused), it is drained.
pub struct PendingBody(Option<Box<Pending>>);

struct Pending {
    /// `None` once it was bounded.
    inner: Option<Body>,
    began: Instant,
    slack: Slack,
    expects_continue: bool,
}

impl PendingBody {
    /// `expects_continue`: the client waits for `100 Continue`, which hyper sends with the first read.
    pub fn new(inner: Body, slack: Slack, expects_continue: bool) -> Self {
        if http_body::Body::is_end_stream(&inner) {
            return Self(None);
        }
        Self(Some(Box::new(Pending { inner: Some(inner), began: Instant::now(), slack, expects_continue })))
    }

    /// Bounds the body. The time that it may take has run since the request came.
    pub fn bound(mut self, bounds: BodyBounds) -> BoundedBody {
        let bounded = self.0.take().and_then(|mut pending| {
            let Slack { idle, grace } = pending.slack;
            let least = Some(Rate { bytes: bounds.rate, grace });
            let pace = Pace { idle, least, end: Some(pending.began + bounds.total) };
            Some(Box::new(Bounded {
                inner: Some(IdleTimeoutBody::at(pending.inner.take()?, pace)),
                left: bounds.bytes,
                outcome: BodyOutcome::default(),
                expects_continue: pending.expects_continue,
                keeps: false,
            }))
        });
        BoundedBody(bounded)
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        // A client that waits for `100 Continue` has sent nothing yet, and reading would ask for it.
        if let Some(inner) = self.inner.take()
            && !self.expects_continue
        {
            drain(IdleTimeoutBody::new(inner, self.slack.idle));
        }
    }
}

/// A request body within its bounds. Dropped unfinished, the rest is drained.
#[derive(Default)]
pub struct BoundedBody(Option<Box<Bounded>>);

struct Bounded {
    /// `None` once it ended.
    inner: Option<IdleTimeoutBody<Body>>,
    left: u64,
    outcome: BodyOutcome,
    expects_continue: bool,
    /// Whether a copy is made of what comes.
    keeps: bool,
}

impl BoundedBody {
    /// Keeps a copy of what will come, if it is small, so that [`BodyOutcome::again`] has it. Whether it does, or there is nothing
    /// to keep.
    pub(crate) fn keep(&mut self) -> bool {
        let Some(this) = self.0.as_deref_mut() else { return true };
        let announced =
            this.inner.as_ref().map_or(Some(0), |inner| http_body::Body::size_hint(inner).exact());
        let replay = announced.and_then(Replay::of);
        this.keeps = replay.is_some();
        *this.outcome.0.replay.lock().unwrap_or_else(PoisonError::into_inner) = replay;
        this.keeps
    }

    /// How reading it goes; `None` for a request without a body.
    pub fn outcome(&self) -> Option<BodyOutcome> {
        self.0.as_ref().map(|bounded| bounded.outcome.clone())
    }
}

impl Drop for Bounded {
    fn drop(&mut self) {
        self.outcome.0.ended.store(true, Ordering::Release);
        if let Some(inner) = self.inner.take()
            && (!self.expects_continue || self.outcome.progress() > 0)
        {
            drain(inner);
        }
    }
}

impl http_body::Body for BoundedBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(this) = self.0.as_deref_mut() else { return Poll::Ready(None) };
        let Some(inner) = &mut this.inner else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(inner).poll_frame(cx));
        this.outcome.0.frames.fetch_add(1, Ordering::Relaxed);
        match frame {
            None => {
                this.inner = None;
                Poll::Ready(None)
            }
            Some(Err(error)) => {
                this.inner = None;
                let error = match error {
                    IdleTimeoutError::Slow => BodyError::TooSlow,
                    IdleTimeoutError::Broken(_) => BodyError::Broken,
                };
                Poll::Ready(Some(Err(this.outcome.fail(error))))
            }
            Some(Ok(frame)) => {
                if this.keeps
                    && let Some(data) = frame.data_ref()
                {
                    this.outcome.keep(data);
                }
                let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
                let Some(left) = this.left.checked_sub(bytes) else {
                    return Poll::Ready(Some(Err(this.outcome.fail(BodyError::TooLarge))));
                };
                this.left = left;
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let inner = self.0.as_ref().and_then(|bounded| bounded.inner.as_ref());
        inner.is_none_or(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let inner = self.0.as_ref().and_then(|bounded| bounded.inner.as_ref());
        inner.map_or_else(|| SizeHint::with_exact(0), http_body::Body::size_hint)
    }
}

/// Reads what is left of a body, within bounds, and throws it away.
///
/// A client that is still sending looks for the answer only afterwards; if the connection were closed under it, it would
/// find a reset instead (RFC 9112 §9.6).
fn drain<B>(mut body: IdleTimeoutBody<B>)
where
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Unpin + Send + 'static,
{
    let Ok(runtime) = Handle::try_current() else { return };
    runtime.spawn(timeout(DRAIN_WAIT, async move {
        let mut left = DRAIN_BYTES_MAX;
        while let Some(Ok(frame)) = body.frame().await {
            let Some(rest) = left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) else { return };
            left = rest;
        }
    }));
}
