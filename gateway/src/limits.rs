//! What a request may be: how many at once, how long its target, how large and how slow its body.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use chassis::{Body, BoxError};
use http::{Request, Response, header};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use thiserror::Error;
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore},
    task::AbortHandle,
    time::{Instant, Sleep, sleep, sleep_until, timeout},
};

use crate::{answer::Refusal, settings::Settings};

/// The bounds, and the room that is left.
#[derive(Clone)]
pub struct Limits {
    room: Arc<Semaphore>,
    head_fields: usize,
    target_bytes: usize,
    body_bytes: u64,
    idle: Duration,
}

/// A place inside; given back when the answer's body has left.
pub struct Place {
    _permit: OwnedSemaphorePermit,
    idle: Duration,
}

impl Limits {
    /// Builds them from settings that were checked.
    pub fn new(settings: &Settings) -> Self {
        Self {
            room: Arc::new(Semaphore::new(settings.limits.requests_max)),
            head_fields: settings.server.head_fields,
            target_bytes: settings.limits.target_bytes,
            body_bytes: settings.limits.body_bytes,
            idle: settings.upstream.idle,
        }
    }

    /// Takes a place, without waiting: a queue here would only hide that there are too many.
    pub fn enter(&self) -> Result<Place, Refusal> {
        let permit = self.room.clone().try_acquire_owned().map_err(|_| Refusal::Full)?;
        Ok(Place { _permit: permit, idle: self.idle })
    }

    /// Checks what is known by the head, and bounds the body that is still to come.
    pub fn bound(&self, request: Request<Body>) -> Result<(Request<Body>, Fate), Refusal> {
        let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
        if target > self.target_bytes {
            return Err(Refusal::TargetTooLong);
        }
        // hyper counts them for HTTP/1.1 alone.
        if request.headers().len() > self.head_fields {
            return Err(Refusal::HeadTooLarge);
        }
        // hyper has seen to it that there is one number.
        let length = request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
        let fate = Fate::default();
        // Whoever waits for `100 Continue` has sent nothing yet, and reading on would ask for it.
        let expects = request.headers().contains_key(header::EXPECT);
        if length.and_then(|length| length.parse().ok()).is_some_and(|length: u64| length > self.body_bytes) {
            if !expects {
                drain(Paced::new(request.into_body(), self.idle));
            }
            return Err(Refusal::BodyTooLarge);
        }
        let bounded = request.map(|inner| {
            if http_body::Body::is_end_stream(&inner) {
                return inner;
            }
            let inner = Paced::new(inner, self.idle);
            Body::new(Bounded { inner: Some(inner), left: self.body_bytes, fate: fate.clone(), expects })
        });
        Ok((bounded, fate))
    }
}

impl Place {
    /// Keeps the place until the answer has left, or until its client has taken nothing of it for too long.
    pub fn hold(self, response: Response<Body>) -> Response<Body> {
        response.map(|inner| {
            if http_body::Body::is_end_stream(&inner) { inner } else { Body::new(Held::new(inner, self)) }
        })
    }
}

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

/// A body on its way, in either direction, that may not pause for too long. Its trailers stop here: nobody asks
/// for them, and they could carry what was taken off the head.
pub struct Paced<B> {
    inner: B,
    idle: Duration,
    waiting: Pin<Box<Sleep>>,
}

/// Why a body on its way ended before its end.
#[derive(Debug, Error)]
pub enum PacedError {
    /// Nothing came for as long as it may pause.
    #[error("the body paused for too long")]
    Slow,
    /// It broke.
    #[error("the body broke: {0}")]
    Broken(#[source] BoxError),
}

impl<B> Paced<B> {
    /// A body that may pause for `idle`.
    pub fn new(inner: B, idle: Duration) -> Self {
        Self { inner, idle, waiting: Box::pin(sleep(idle)) }
    }
}

impl<B> http_body::Body for Paced<B>
where
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    type Data = Bytes;
    type Error = PacedError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, PacedError>>> {
        let this = &mut *self;
        loop {
            let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(cx) else {
                ready!(this.waiting.as_mut().poll(cx));
                return Poll::Ready(Some(Err(PacedError::Slow)));
            };
            this.waiting.as_mut().reset(Instant::now() + this.idle);
            match frame.transpose().map_err(|error| PacedError::Broken(error.into()))? {
                None => return Poll::Ready(None),
                Some(frame) => {
                    if let Ok(data) = frame.into_data() {
                        return Poll::Ready(Some(Ok(Frame::data(data))));
                    }
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// A request body within its bounds.
struct Bounded {
    /// `None` once it ended, or is no longer wanted.
    inner: Option<Paced<Body>>,
    left: u64,
    fate: Fate,
    expects: bool,
}

impl Drop for Bounded {
    fn drop(&mut self) {
        if let Some(inner) = self.inner.take_if(|_| !self.expects || self.fate.progress() > 0) {
            drain(inner);
        }
    }
}

impl Bounded {
    fn fail<T>(&self, fate: u8, error: impl Into<BoxError>) -> Poll<Option<Result<T, BoxError>>> {
        self.fate.0.end.store(fate, Ordering::Release);
        Poll::Ready(Some(Err(error.into())))
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
