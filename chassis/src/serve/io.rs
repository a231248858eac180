//! The stream below a connection: it tells the connection's record what comes in, and whether what goes out is taken.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tracing::debug;

use super::connection::Connection;

/// How an HTTP/2 connection begins (RFC 9113 §3.4).
const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How much may wait in the kernel unsent. A socket takes more only when less than half of it is left, so that a write
/// moves when the peer has acknowledged some ten thousand bytes, not a third of a send buffer of megabytes.
#[cfg(any(target_os = "linux", target_os = "android"))]
const UNSENT_BYTES: u32 = 64 * 1024;

/// What the socket of a new connection is told.
pub(super) fn prepare(stream: &TcpStream) {
    let mut done = stream.set_nodelay(true);
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        done = done.and(socket2::SockRef::from(stream).set_tcp_notsent_lowat(UNSENT_BYTES));
    }
    if let Err(error) = done {
        debug!(%error, "set the options of a connection");
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Protocol {
    /// So many bytes have come, and all of them are the preface's.
    Unknown(usize),
    Http1,
    Http2,
}

/// A stream whose connection keeps a record of it.
pub(super) struct TrackedIo<T> {
    stream: T,
    connection: Arc<Connection>,
    protocol: Protocol,
    /// Whether the last write was taken.
    taken: bool,
    /// How the stream is closed so that nothing of it lingers.
    abort: fn(&T),
}

impl<T> TrackedIo<T> {
    pub fn new(stream: T, connection: Arc<Connection>, abort: fn(&T)) -> Self {
        Self { stream, connection, protocol: Protocol::Unknown(0), taken: true, abort }
    }

    fn came(&mut self, new: &[u8]) {
        if let Protocol::Unknown(seen) = self.protocol {
            let rest = &H2_PREFACE[seen..];
            let common = new.len().min(rest.len());
            self.protocol = if new[..common] != rest[..common] {
                Protocol::Http1
            } else if common == rest.len() {
                self.connection.speaks_http2();
                Protocol::Http2
            } else {
                Protocol::Unknown(seen + common)
            };
        } else if self.protocol == Protocol::Http1 {
            self.connection.head_comes();
        }
    }

    fn went(&mut self, polled: &Poll<io::Result<usize>>) {
        match polled {
            Poll::Pending => {
                self.taken = false;
                self.connection.write_waits();
            }
            Poll::Ready(Ok(bytes)) if !self.taken => {
                self.taken = true;
                self.connection.write_moved(*bytes);
            }
            Poll::Ready(_) => {}
        }
    }
}

impl<T> Drop for TrackedIo<T> {
    fn drop(&mut self) {
        if self.connection.is_aborted() {
            (self.abort)(&self.stream);
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for TrackedIo<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let new = &buffer.filled()[before..];
        if !new.is_empty() {
            self.came(new);
        }
        polled
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for TrackedIo<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, data);
        self.went(&polled);
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(cx);
        // A socket has nothing to flush; what encrypts has.
        if polled.is_pending() {
            self.went(&Poll::Pending);
        }
        polled
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_shutdown(cx);
        if polled.is_pending() {
            self.went(&Poll::Pending);
        }
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.went(&polled);
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
