//! The stream below a connection: it tells the connection's record what comes in, and whether what goes out is taken.
//!
//! It hands hyper what the [`RequestReader`] lets through. Of HTTP/1 that is whole heads and sound bodies: a head that is broken
//! hyper never sees, but a stand-in for it, and nothing after that. What comes in pieces is held until it is whole; a head that
//! comes in one read is looked at where hyper has it, and not copied.

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

use super::{
    connection::Connection,
    frames::{Flood, Frames},
    refused::{Refused, STAND_IN},
};
use crate::http1::requests::RequestReader;

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

/// Room that is made at once for what must be held.
const HELD_READ_BYTES: usize = 4096;

/// A stream whose connection keeps a record of it.
pub(super) struct TrackedIo<T> {
    stream: T,
    connection: Arc<Connection>,
    protocol: Protocol,
    /// What has been read and hyper has not been given yet.
    held: Vec<u8>,
    /// How much of that it may be given.
    sound: usize,
    /// Whether the last write was taken.
    taken: bool,
    /// How the stream is closed so that nothing of it lingers.
    abort: fn(&T),
    /// Set once it is closed for writing, while the peer still sends.
    linger: Option<Linger>,
}

enum Protocol {
    /// All bytes so far are the preface's; they are held.
    Unknown,
    Http1(RequestReader),
    Http2(Frames),
    /// What comes is not read any more: hyper is answering the stand-in.
    Refused,
    /// What comes is not read any more: a body broke off.
    Broken,
}

/// What is still read of a peer that is heard no more.
struct Linger {
    end: Pin<Box<Sleep>>,
    bytes: usize,
}

impl<T> TrackedIo<T> {
    pub fn new(stream: T, connection: Arc<Connection>, abort: fn(&T)) -> Self {
        Self {
            stream,
            connection,
            protocol: Protocol::Unknown,
            held: Vec::new(),
            sound: 0,
            taken: true,
            abort,
            linger: None,
        }
    }

    /// How many of these bytes hyper may be given, which are all that it has not been given yet.
    fn examine(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Protocol::Unknown = self.protocol {
            let common = bytes.len().min(H2_PREFACE.len());
            if bytes[..common] != H2_PREFACE[..common] {
                self.protocol = Protocol::Http1(RequestReader::new(self.connection.bounds.heads));
            } else if common < H2_PREFACE.len() {
                return Ok(0);
            } else {
                self.connection.speaks_http2();
                let mut frames = Frames::new();
                let read = frames.read(&bytes[common..]);
                self.protocol = Protocol::Http2(frames);
                return self.unless_flooded(read).map(|()| bytes.len());
            }
        }
        let Protocol::Http1(reader) = &mut self.protocol else { return Ok(bytes.len()) };
        let violation = match reader.read(bytes) {
            Ok(sound) => return Ok(sound),
            Err(violation) => violation,
        };
        metrics::counter!(crate::metrics::REQUESTS_MALFORMED.name, "reason" => violation.label())
            .increment(1);
        debug!("refused what came over HTTP/1: {violation}");
        if reader.reads_head() {
            self.connection.refuse(Refused::of(bytes, violation));
            self.protocol = Protocol::Refused;
            return Ok(0);
        }
        self.connection.breaks_off();
        self.protocol = Protocol::Broken;
        Err(io::ErrorKind::InvalidData.into())
    }

    fn unless_flooded(&self, read: Result<(), Flood>) -> io::Result<()> {
        read.map_err(|Flood| {
            self.connection.floods();
            io::ErrorKind::ConnectionAborted.into()
        })
    }

    /// Hands over what may be, as much as there is room for; whether that was anything.
    fn hand_over(&mut self, buffer: &mut ReadBuf<'_>) -> bool {
        let bytes = self.sound.min(buffer.remaining());
        if bytes == 0 {
            return false;
        }
        buffer.put_slice(&self.held[..bytes]);
        self.sound -= bytes;
        if bytes == self.held.len() {
            // An idle connection holds no memory for it.
            self.held = Vec::new();
        } else {
            self.held.drain(..bytes);
        }
        true
    }

    /// Goes on once what comes behind a request that asks for an upgrade is known to be a tunnel, or another request.
    fn settle_upgrade(&mut self) {
        if let Protocol::Http1(reader) = &mut self.protocol
            && let Some(request) = reader.awaits_answer()
            && let Some(tunnel) = self.connection.answer_to(request)
        {
            reader.answered(tunnel);
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

impl<T: AsyncRead + Unpin> TrackedIo<T> {
    /// Reads into hyper's own buffer. What hyper may not have yet is taken back, and held.
    fn poll_read_through(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<Came>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        let new = &buffer.filled()[before..];
        if new.is_empty() {
            return Poll::Ready(Ok(Came::Nothing));
        }
        if let Protocol::Http2(frames) = &mut self.protocol {
            let read = frames.read(new);
            return Poll::Ready(self.unless_flooded(read).map(|()| Came::Sound));
        }
        if let Protocol::Http1(_) = self.protocol {
            self.connection.head_comes();
        }
        let examined = self.examine(new);
        let sound = *examined.as_ref().unwrap_or(&0);
        if let Protocol::Refused = self.protocol {
            self.stand_in();
        } else {
            self.held.extend_from_slice(&new[sound..]);
        }
        buffer.set_filled(before + sound);
        Poll::Ready(examined.map(|sound| if sound > 0 { Came::Sound } else { Came::Held }))
    }

    /// Reads on behind what is held.
    fn poll_read_held(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Came>> {
        // A head that is longer is refused; what waits for an answer to an upgrade waits in the socket, too.
        if self.held.len() > self.connection.bounds.heads.bytes {
            return Poll::Pending;
        }
        let before = self.held.len();
        self.held.resize(before + HELD_READ_BYTES, 0);
        let mut room = ReadBuf::new(&mut self.held[before..]);
        let polled = Pin::new(&mut self.stream).poll_read(cx, &mut room);
        let new = room.filled().len();
        self.held.truncate(before + new);
        ready!(polled)?;
        if new == 0 {
            // Half a head is nobody's.
            self.held = Vec::new();
            return Poll::Ready(Ok(Came::Nothing));
        }
        if let Protocol::Http1(_) = self.protocol {
            self.connection.head_comes();
        }
        Poll::Ready(Ok(Came::Held))
    }

    /// Looks at what is held again.
    fn examine_held(&mut self) -> io::Result<()> {
        let held = std::mem::take(&mut self.held);
        let examined = self.examine(&held);
        self.held = held;
        self.sound = examined?;
        if let Protocol::Refused = self.protocol {
            self.stand_in();
        }
        Ok(())
    }

    /// hyper is given the stand-in, and then nothing more.
    fn stand_in(&mut self) {
        self.held = STAND_IN.to_vec();
        self.sound = STAND_IN.len();
    }
}

/// What a read has brought.
enum Came {
    /// The end.
    Nothing,
    /// Something that hyper has got.
    Sound,
    /// Something that is held.
    Held,
}

impl<T: AsyncRead + Unpin> AsyncRead for TrackedIo<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if this.hand_over(buffer) || buffer.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            match this.protocol {
                // The answer closes the connection; to hyper its end would mean that the client has left.
                Protocol::Refused => return Poll::Pending,
                Protocol::Broken => return Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
                _ => this.settle_upgrade(),
            }
            if this.held.is_empty() {
                match ready!(this.poll_read_through(cx, buffer))? {
                    Came::Nothing | Came::Sound => return Poll::Ready(Ok(())),
                    Came::Held => {}
                }
            } else {
                this.examine_held()?;
                if this.sound == 0
                    && let Came::Nothing = ready!(this.poll_read_held(cx))?
                {
                    return Poll::Ready(Ok(()));
                }
            }
        }
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
        // A tunnel's peer is read on by whoever carries it.
        if self.connection.is_tunnel() {
            return Pin::new(&mut self.stream).poll_shutdown(cx);
        }
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
