//! What a request may be: how many at once, how long its target, how large and how slow its body.

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
use http::{Request, Response, header};
use http_body::{Frame, SizeHint};
use thiserror::Error;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, Sleep, sleep},
};

use crate::{answer::Refusal, settings};

/// The bounds, and the room that is left.
#[derive(Clone)]
pub struct Limits {
    room: Arc<Semaphore>,
    target_bytes: usize,
    body_bytes: u64,
    idle: Duration,
}

/// A place inside; given back when the answer's body has left.
pub struct Place {
    _permit: OwnedSemaphorePermit,
}

impl Limits {
    /// `idle` bounds how long a body may pause.
    pub fn new(settings: &settings::Limits, idle: Duration) -> Self {
        let room = Arc::new(Semaphore::new(settings.requests_max));
        Self { room, target_bytes: settings.target_bytes, body_bytes: settings.body_bytes, idle }
    }

    /// Takes a place, without waiting: a queue here would only hide that there are too many.
    pub fn enter(&self) -> Result<Place, Refusal> {
        let permit = self.room.clone().try_acquire_owned().map_err(|_| Refusal::Full)?;
        Ok(Place { _permit: permit })
    }

    /// Checks what is known by the head, and bounds the body that is still to come.
    pub fn bound(&self, request: Request<Body>) -> Result<(Request<Body>, Fate), Refusal> {
        let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
        if target > self.target_bytes {
            return Err(Refusal::TargetTooLong);
        }
        // hyper has seen to it that there is one number.
        let length = request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
        if length.and_then(|length| length.parse().ok()).is_some_and(|length: u64| length > self.body_bytes) {
            return Err(Refusal::BodyTooLarge);
        }
        let fate = Fate::default();
        let bounded = request.map(|inner| {
            if http_body::Body::is_end_stream(&inner) {
                return inner;
            }
            let inner = Paced::new(inner, self.idle);
            Body::new(Bounded { inner, left: self.body_bytes, fate: fate.clone() })
        });
        Ok((bounded, fate))
    }
}

impl Place {
    /// Keeps the place until the answer has left.
    pub fn hold(self, response: Response<Body>) -> Response<Body> {
        response.map(|inner| {
            if http_body::Body::is_end_stream(&inner) {
                inner
            } else {
                Body::new(Held { inner, _place: self })
            }
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
    inner: Paced<Body>,
    left: u64,
    fate: Fate,
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
        let frame = ready!(Pin::new(&mut this.inner).poll_frame(cx));
        this.fate.0.frames.fetch_add(1, Ordering::Relaxed);
        match frame {
            None => Poll::Ready(None),
            Some(Err(error @ PacedError::Slow)) => this.fail(TOO_SLOW, error),
            Some(Err(error @ PacedError::Broken(_))) => this.fail(BROKEN, error),
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
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// An answer's body that holds a place.
struct Held {
    inner: Body,
    _place: Place,
}

impl http_body::Body for Held {
    type Data = Bytes;
    type Error = chassis::BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
