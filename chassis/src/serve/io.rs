//! The stream below a connection: it tells the connection's record what comes in, and whether what goes out is taken.

use std::{
    io,
    mem::MaybeUninit,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Sleep, sleep},
};
use tracing::debug;

use super::connection::Connection;

/// How an HTTP/2 connection begins (RFC 9113 §3.4).
const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How much may wait in the kernel unsent. A socket takes more only when less than half of it is left, so that a write
/// moves when the peer has acknowledged some ten thousand bytes, not a third of a send buffer of megabytes.
#[cfg(any(target_os = "linux", target_os = "android"))]
const UNSENT_BYTES: u32 = 64 * 1024;

/// How long, and for how many bytes, a connection is read after its last answer, while its peer still sends. A socket that
/// is closed with bytes unread is reset, and a reset takes the answer with it: the peer would learn that its request failed,
/// but not that its head was too large (RFC 9112 §9.6).
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How much of that is read at once.
const LINGER_READ_BYTES: usize = 8 * 1024;

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
    /// Set once it is closed for writing, while the peer still sends.
    linger: Option<Linger>,
}

/// What is still read of a peer that is heard no more.
struct Linger {
    end: Pin<Box<Sleep>>,
    bytes: usize,
}

impl<T> TrackedIo<T> {
    pub fn new(stream: T, connection: Arc<Connection>, abort: fn(&T)) -> Self {
        Self { stream, connection, protocol: Protocol::Unknown(0), taken: true, abort, linger: None }
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

impl<T: AsyncRead + Unpin> TrackedIo<T> {
    /// Reads, and forgets, what the peer still sends, until it closes, or for as long as [`LINGER`] allows. Who has nothing
    /// left to send is not waited for.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let mut unread = [MaybeUninit::uninit(); LINGER_READ_BYTES];
            let mut unread = ReadBuf::uninit(&mut unread);
            let polled = Pin::new(&mut self.stream).poll_read(cx, &mut unread);
            let bytes = unread.filled().len();
            match polled {
                Poll::Ready(Ok(())) if bytes > 0 => {}
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending if self.linger.is_none() && !self.connection.has_unread_input() => {
                    return Poll::Ready(());
                }
                Poll::Pending => {}
            }
            let linger = self.linger.get_or_insert_with(|| {
                metrics::counter!(crate::metrics::CONNECTIONS_LINGERED.name).increment(1);
                Linger { end: Box::pin(sleep(LINGER)), bytes: 0 }
            });
            linger.bytes += bytes;
            if linger.bytes > LINGER_BYTES_MAX || linger.end.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            ready!(polled.map(drop));
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

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TrackedIo<T> {
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
        if self.linger.is_none() {
            let polled = Pin::new(&mut self.stream).poll_shutdown(cx);
            if polled.is_pending() {
                self.went(&Poll::Pending);
            }
            ready!(polled)?;
        }
        self.poll_linger(cx).map(Ok)
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
