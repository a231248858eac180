//! Carries the bytes of an open WebSocket both ways, until both sides have closed.
//!
//! An idle one holds no buffer. What a side does not take is not read from the other (backpressure), and for no longer than
//! [`STALL_WAIT`]. When the gateway drains, or nothing has come for too long, the client is sent a close frame (1001) between two
//! frames of its service; its own answer still goes to the service. So it is with one that is too old: who has signed out or was banned
//! since must not stay for ever.

use std::{
    future::poll_fn,
    io,
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use chassis::serve::{ClientStream, Leave};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

use super::{
    Waits,
    frames::{Frames, GOING_AWAY},
};
use crate::upstream::ServiceStream;

/// How much is read at once; the most that a direction holds while the other side doesn't take it.
const PIECE_BYTES: usize = 16 * 1024;

/// How long a side may take nothing of what there is for it.
const STALL_WAIT: Duration = Duration::from_secs(30);

/// How long a side may pause after the other one has closed, and how long a client has to answer a close frame.
const CLOSE_WAIT: Duration = Duration::from_secs(5);

/// Carries what comes until both have closed; the error says what ended it before.
pub(super) async fn carry(
    mut client: ClientStream,
    service: ServiceStream,
    leave: Leave,
    Waits { idle, age }: Waits,
) -> io::Result<()> {
    let now = Instant::now();
    let mut tunnel = Tunnel {
        service,
        up: Way::default(),
        down: Way::default(),
        frames: Frames::default(),
        farewell: None,
        moved: now,
        idle,
        end: now + age,
        alarm: Box::pin(sleep_until(now + idle.min(age))),
    };
    let (reason, ended) = poll_fn(|cx| tunnel.poll(cx, &mut client, &leave)).await;
    metrics::counter!(crate::metrics::WEBSOCKETS_CLOSED.name, "reason" => reason).increment(1);
    if ended.is_ok() {
        client.complete();
    }
    ended
}

struct Tunnel {
    service: ServiceStream,
    /// From the client to the service, and back.
    up: Way,
    down: Way,
    /// The service's frames, as far as they have come.
    frames: Frames,
    /// Why the client is sent away, and until when it may answer that.
    farewell: Option<Farewell>,
    /// When something came or went last.
    moved: Instant,
    idle: Duration,
    /// When it is too old.
    end: Instant,
    alarm: Pin<Box<Sleep>>,
}

struct Farewell {
    reason: &'static str,
    until: Instant,
    /// Whether the close frame is on its way. Until then the service's frame is let finish.
    said: bool,
}

/// One direction.
#[derive(Default)]
struct Way {
    /// What was read and not taken yet, and how much of that was.
    pending: Vec<u8>,
    taken: usize,
    /// Since when the other side takes nothing.
    stalled: Option<Instant>,
    unflushed: bool,
    ended: bool,
    closed: bool,
}

impl Tunnel {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut ClientStream,
        leave: &Leave,
    ) -> Poll<(&'static str, io::Result<()>)> {
        loop {
            if self.farewell.is_none() && leave.is_told() {
                self.bid_farewell("leaving");
            }
            if self.farewell.is_none() && Instant::now() >= self.end {
                self.bid_farewell("old");
            }
            let mut moved = false;
            let broken = |error| Poll::Ready(("broken", Err(error)));
            let up = self.up.poll(cx, client, &mut self.service, &mut moved, |_| Piece::All);
            if let Poll::Ready(Err(error)) = up {
                return broken(error);
            }
            let (frames, farewell) = (&mut self.frames, &mut self.farewell);
            let down = self.down.poll(cx, &mut self.service, client, &mut moved, |piece| match farewell {
                None => {
                    frames.follow(piece);
                    Piece::All
                }
                Some(Farewell { said: true, .. }) => Piece::Instead(0, &[]),
                Some(farewell) => {
                    let whole = frames.follow_to_end(piece);
                    if !frames.is_between() {
                        return Piece::All;
                    }
                    farewell.said = true;
                    Piece::Instead(whole, if frames.is_closed() { &[] } else { &GOING_AWAY })
                }
            });
            if let Poll::Ready(Err(error)) = down {
                return broken(error);
            }
            if up.is_ready() && down.is_ready() {
                let reason = self.farewell.as_ref().map_or("ended", |farewell| farewell.reason);
                return Poll::Ready((reason, Ok(())));
            }
            let now = Instant::now();
            if moved {
                self.moved = now;
            }
            let due = self.due();
            // Set anew only when it must ring earlier, or has rung: not with every piece.
            if due < self.alarm.deadline() {
                self.alarm.as_mut().reset(due);
            }
            ready!(self.alarm.as_mut().poll(cx));
            if due > now {
                self.alarm.as_mut().reset(due);
                continue;
            }
            let late = |reason: &'static str| {
                Poll::Ready((reason, Err(io::Error::new(io::ErrorKind::TimedOut, reason))))
            };
            match &self.farewell {
                // The client has been told, and has had its time.
                Some(farewell) if farewell.said => return Poll::Ready((farewell.reason, Ok(()))),
                Some(farewell) => return late(farewell.reason),
                None if self.up.is_stalled(now) || self.down.is_stalled(now) => return late("stalled"),
                None if self.up.closed || self.down.closed => return late("half_closed"),
                None => self.bid_farewell("idle"),
            }
        }
    }

    /// When it is closed, or the client sent away, unless something moves before.
    fn due(&self) -> Instant {
        let ending = self.up.closed || self.down.closed || self.farewell.is_some();
        let pause = if ending { self.idle.min(CLOSE_WAIT) } else { self.idle };
        let stalled = [&self.up, &self.down].into_iter().filter_map(|way| Some(way.stalled? + STALL_WAIT));
        let farewell = self.farewell.as_ref().filter(|farewell| farewell.said).map(|farewell| farewell.until);
        let pause = farewell.unwrap_or(self.moved + pause);
        let old = Some(self.end).filter(|_| self.farewell.is_none());
        stalled.chain(old).fold(pause, Instant::min)
    }

    /// Sends the client away at the end of the service's frame.
    fn bid_farewell(&mut self, reason: &'static str) {
        self.moved = Instant::now();
        let between = self.frames.is_between();
        if between && !self.frames.is_closed() && !self.down.ended {
            self.down.pending.extend_from_slice(&GOING_AWAY);
        }
        self.farewell = Some(Farewell { reason, until: self.moved + CLOSE_WAIT, said: between });
    }
}

/// What goes on of a piece that was read.
enum Piece {
    All,
    /// So many bytes of it, and that behind them.
    Instead(usize, &'static [u8]),
}

impl Way {
    fn is_stalled(&self, now: Instant) -> bool {
        self.stalled.is_some_and(|since| since + STALL_WAIT <= now)
    }

    /// Moves what can be moved. Ready when the one side has closed and the other one was told.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        moved: &mut bool,
        mut choose: impl FnMut(&[u8]) -> Piece,
    ) -> Poll<io::Result<()>> {
        if self.closed {
            return Poll::Ready(Ok(()));
        }
        loop {
            ready!(self.poll_pending(cx, to, moved))?;
            if self.ended {
                ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                self.closed = true;
                return Poll::Ready(Ok(()));
            }
            let mut piece = [MaybeUninit::uninit(); PIECE_BYTES];
            let mut piece = ReadBuf::uninit(&mut piece);
            if Pin::new(&mut *from).poll_read(cx, &mut piece)?.is_pending() {
                if self.unflushed {
                    self.unflushed = Pin::new(&mut *to).poll_flush(cx)?.is_pending();
                }
                return Poll::Pending;
            }
            *moved = true;
            let piece = piece.filled();
            self.ended = piece.is_empty();
            let (kept, further) = match choose(piece) {
                Piece::All => (piece, &[][..]),
                Piece::Instead(bytes, further) => (&piece[..bytes], further),
            };
            // Mostly all of it is taken at once, and nothing is copied.
            let mut taken = 0;
            while taken < kept.len()
                && let Poll::Ready(bytes) = Pin::new(&mut *to).poll_write(cx, &kept[taken..])?
            {
                taken += some(bytes)?;
                self.unflushed = true;
            }
            self.pending.extend_from_slice(&kept[taken..]);
            self.pending.extend_from_slice(further);
        }
    }

    fn poll_pending(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut (impl AsyncWrite + Unpin),
        moved: &mut bool,
    ) -> Poll<io::Result<()>> {
        while self.taken < self.pending.len() {
            let Poll::Ready(bytes) = Pin::new(&mut *to).poll_write(cx, &self.pending[self.taken..])? else {
                self.stalled.get_or_insert_with(Instant::now);
                return Poll::Pending;
            };
            self.taken += some(bytes)?;
            (self.stalled, self.unflushed, *moved) = (None, true, true);
        }
        // An idle tunnel holds no buffer.
        (self.pending, self.taken) = (Vec::new(), 0);
        Poll::Ready(Ok(()))
    }
}

fn some(bytes: usize) -> io::Result<usize> {
    if bytes == 0 { Err(io::ErrorKind::WriteZero.into()) } else { Ok(bytes) }
}
