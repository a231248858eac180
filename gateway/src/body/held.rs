//! An answer of one chunk that holds a guard until the chunk is taken.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

/// One chunk, and a guard (a permit) that is dropped with the body: after the chunk, or instead of it.
pub(crate) struct HeldChunk<G> {
    chunk: Bytes,
    _guard: G,
}

impl<G> HeldChunk<G> {
    /// Holds `guard` until `chunk` is taken.
    pub(crate) fn new(chunk: Bytes, guard: G) -> Self {
        Self { chunk, _guard: guard }
    }
}

impl<G: Unpin> http_body::Body for HeldChunk<G> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let chunk = std::mem::take(&mut self.chunk);
        Poll::Ready((!chunk.is_empty()).then(|| Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.chunk.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.chunk.len() as u64)
    }
}
