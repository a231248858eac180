//! A body that may not pause for too long.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use chassis::BoxError;
use http_body::{Frame, SizeHint};
use thiserror::Error;
use tokio::time::{Instant, Sleep, sleep};

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
