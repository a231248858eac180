//! Answers' heads, looked at before hyper reads them.
//!
//! hyper drops a `Content-Length` that stands beside `Transfer-Encoding`, and takes lines without a carriage return: whoever is
//! between a service and us may see an answer end elsewhere. What [`ResponseHead`] finds broken is an error of the connection,
//! which therefore serves no further request.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
};

use chassis::http1::{HeadBounds, response::ResponseHead};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How large the head of an answer may be. hyper has the same bound for fields.
const HEAD_BOUNDS: HeadBounds = HeadBounds { bytes: 128 * 1024, fields: 100 };

/// Tells a connection's stream that the next bytes are an answer's head: a request is being sent.
#[derive(Clone, Default)]
pub(super) struct Expects(Arc<AtomicBool>);

impl Expects {
    /// A request is being sent.
    pub(super) fn answer(&self) {
        self.0.store(true, Relaxed);
    }
}

/// A stream to a service.
pub(super) struct CheckedIo<T> {
    stream: T,
    expects: Expects,
    head: ResponseHead,
    /// What has come of a head that did not come whole.
    begun: Vec<u8>,
}

impl<T> CheckedIo<T> {
    pub(super) fn new(stream: T) -> (Self, Expects) {
        let expects = Expects::default();
        let this =
            Self { stream, expects: expects.clone(), head: ResponseHead::default(), begun: Vec::new() };
        (this, expects)
    }

    fn check(&mut self, new: &[u8]) -> io::Result<()> {
        let mut begun = std::mem::take(&mut self.begun);
        let mut rest = if begun.is_empty() {
            new
        } else {
            begun.extend_from_slice(new);
            &begun
        };
        loop {
            let read = self.head.read(rest, HEAD_BOUNDS);
            match read.map_err(|violation| io::Error::new(io::ErrorKind::InvalidData, violation))? {
                None => {
                    self.begun = rest.to_vec();
                    return Ok(());
                }
                Some(end) => {
                    self.head = ResponseHead::default();
                    rest = &rest[end.bytes..];
                    if !end.interim {
                        self.expects.0.store(false, Relaxed);
                        return Ok(());
                    }
                }
            }
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for CheckedIo<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        let new = &buffer.filled()[before..];
        if !new.is_empty() && self.expects.0.load(Relaxed) {
            self.check(new)?;
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for CheckedIo<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
