//! One request and its answer: whose turn it is, byte by byte.
//!
//! What hyper has been handed of an answer, and has not written yet, waits for the peer alone: for its window, or for
//! its socket. Each piece of an answer tells when it is written, so this is known exactly, and so is when the service
//! is slow instead. The other way round, a body that is asked for and does not come waits for the peer, too.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker, ready},
};

use bytes::{Buf, Bytes};
use futures_util::task::AtomicWaker;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use thiserror::Error;
use tokio::time::Instant;

use super::{connection::Connection, patience::Patience};
use crate::{Body, BodyError};

/// A body that came too slowly, or not at all.
#[derive(Clone, Copy, Debug, Error)]
#[error("the body comes too slowly")]
pub struct TooSlow;

/// A request in flight. It is over when nobody holds it: neither the service, nor a body, nor a piece that waits.
pub(super) struct Exchange {
    connection: Arc<Connection>,
    http2: bool,
    flow: Mutex<Flow>,
    /// Who drives the answer of an HTTP/2 stream.
    stream: AtomicWaker,
    /// Who reads the request's body.
    reader: AtomicWaker,
}

struct Flow {
    /// Bytes of the answer that hyper has, and the peer has no room for yet.
    due: usize,
    /// How the peer takes the answer.
    take: Patience,
    /// How it sends its body.
    give: Patience,
    /// Whether the body's reader was asked to look once more.
    overdue: bool,
    /// Whether the answer's end is held back until nothing is due.
    ending: bool,
    /// Whether hyper is done with the stream.
    done: bool,
    /// When the stream was given up.
    cut: Option<Instant>,
}

/// What a look at an exchange finds.
pub(super) enum Held {
    /// Nothing to complain of, until then at least.
    Well(Option<Instant>),
    /// It has been given up just now.
    Cut,
    /// It can't be given up alone.
    Stuck,
}

impl Exchange {
    pub fn new(connection: Arc<Connection>, http2: bool) -> Self {
        let measure = &connection.bounds.measure;
        let (take, give) = (Patience::new(measure), Patience::new(measure));
        let flow = Flow { due: 0, take, give, overdue: false, ending: false, done: false, cut: None };
        Self {
            connection,
            http2,
            flow: Mutex::new(flow),
            stream: AtomicWaker::new(),
            reader: AtomicWaker::new(),
        }
    }

    fn flow(&self) -> MutexGuard<'_, Flow> {
        self.flow.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a look at it finds; streams that are out of patience are given up.
    pub fn judge(&self, now: Instant) -> Held {
        let mut flow = self.flow();
        let past = |patience: &Patience| patience.ends().is_some_and(|end| end <= now);
        if let Some(cut) = flow.cut {
            // Somebody keeps it, or it still stands in hyper's queue.
            let end = cut + self.connection.bounds.measure.longest;
            return if end <= now { Held::Stuck } else { Held::Well(Some(end)) };
        }
        if past(&flow.take) {
            if !self.http2 || flow.done {
                return Held::Stuck;
            }
            flow.cut = Some(now);
            drop(flow);
            self.stream.wake();
            self.reader.wake();
            return Held::Cut;
        }
        let mut ends = flow.take.ends();
        if past(&flow.give) {
            if !flow.overdue {
                // Perhaps it has come, and the reader is busy: then it is not the peer that is slow.
                flow.overdue = true;
                drop(flow);
                self.reader.wake();
            }
        } else {
            ends = [ends, flow.give.ends()].into_iter().flatten().min();
        }
        Held::Well(ends)
    }

    /// Whether the stream has been given up; if not, `waker` hears of it.
    pub fn is_cut(&self, waker: &Waker) -> bool {
        self.stream.register(waker);
        self.flow().cut.is_some()
    }

    /// hyper is done with the stream; what it has queued can't be taken back.
    pub fn done(&self) {
        self.flow().done = true;
    }

    fn handed_out(&self, bytes: usize) {
        let mut flow = self.flow();
        flow.due += bytes;
        flow.take.wait(Instant::now());
    }

    /// The peer has room for so many bytes of the answer, or they are dropped.
    fn off(&self, bytes: usize, taken: bool) {
        let now = Instant::now();
        let mut flow = self.flow();
        flow.due = flow.due.saturating_sub(bytes);
        if taken {
            flow.take.moved(bytes, &self.connection.bounds.measure, now);
        }
        if flow.due == 0 {
            flow.take.rest(now);
            if flow.ending {
                drop(flow);
                self.stream.wake();
            }
        }
    }

    /// Whether the answer may end: over HTTP/2 only when all before its end is written. hyper lets go of a stream with
    /// its end, and then nobody could reset it any more.
    fn may_end(&self) -> bool {
        let mut flow = self.flow();
        flow.ending = self.http2 && flow.due > 0;
        !flow.ending
    }

    /// The body's reader waits; an error if it has waited for too long.
    fn asked(&self, waker: &Waker) -> Result<(), TooSlow> {
        self.reader.register(waker);
        let mut flow = self.flow();
        if flow.overdue || flow.cut.is_some() {
            return Err(TooSlow);
        }
        flow.give.wait(Instant::now());
        Ok(())
    }

    fn given(&self, bytes: usize) {
        let now = Instant::now();
        let mut flow = self.flow();
        if flow.give.waits() {
            flow.overdue = false;
            flow.give.moved(bytes, &self.connection.bounds.measure, now);
            flow.give.rest(now);
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.connection.land(self);
    }
}

/// Bytes of an answer, until they are written.
pub(super) struct Piece {
    bytes: Bytes,
    exchange: Arc<Exchange>,
}

impl Piece {
    fn new(bytes: Bytes, exchange: &Arc<Exchange>) -> Self {
        if !bytes.is_empty() {
            exchange.handed_out(bytes.len());
        }
        Self { bytes, exchange: exchange.clone() }
    }
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
        if count > 0 {
            self.exchange.off(count, true);
        }
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        if self.bytes.has_remaining() {
            self.exchange.off(self.bytes.remaining(), false);
        }
    }
}

/// What comes last in an answer whose end was not known before.
enum End {
    Trailers(Frame<Piece>),
    Nothing,
}

/// The body of an answer, on its way out.
pub(super) struct Departing {
    body: Body,
    exchange: Arc<Exchange>,
    /// The last byte of an HTTP/2 answer, whose end is known with it. hyper asks for room beyond all that is queued before
    /// it sends a piece, and so keeps the stream, which can be reset, until everything has room.
    last: Option<Bytes>,
    end: Option<End>,
}

impl Departing {
    pub fn new(body: Body, exchange: Arc<Exchange>) -> Self {
        Self { body, exchange, last: None, end: None }
    }

    fn piece(&self, bytes: Bytes) -> Frame<Piece> {
        Frame::data(Piece::new(bytes, &self.exchange))
    }
}

impl http_body::Body for Departing {
    type Data = Piece;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Piece>, BodyError>>> {
        if let Some(last) = self.last.take() {
            return Poll::Ready(Some(Ok(self.piece(last))));
        }
        if self.end.is_none() {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(mut bytes) => {
                        if self.exchange.http2 && bytes.len() > 1 && self.body.is_end_stream() {
                            self.last = Some(bytes.split_off(bytes.len() - 1));
                        }
                        return Poll::Ready(Some(Ok(self.piece(bytes))));
                    }
                    Err(frame) => {
                        let nothing = || Piece::new(Bytes::new(), &self.exchange);
                        self.end = Some(End::Trailers(frame.map_data(|_| nothing())));
                    }
                },
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => self.end = Some(End::Nothing),
            }
        }
        if !self.exchange.may_end() {
            return Poll::Pending;
        }
        match self.end.take() {
            Some(End::Trailers(frame)) => Poll::Ready(Some(Ok(frame))),
            _ => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.last.is_none() && self.end.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let last = self.last.as_ref().map_or(0, Bytes::len) as u64;
        let hint = self.body.size_hint();
        let mut with_last = SizeHint::new();
        with_last.set_lower(hint.lower() + last);
        if let Some(upper) = hint.upper() {
            with_last.set_upper(upper + last);
        }
        with_last
    }
}

/// The body of a request, on its way in.
pub(super) struct Arriving {
    body: Option<Incoming>,
    exchange: Arc<Exchange>,
}

impl Arriving {
    /// The body of a request; one that is empty holds nothing.
    pub fn body(body: Incoming, exchange: &Arc<Exchange>) -> Body {
        if body.is_end_stream() {
            return Body::empty();
        }
        Body::new(Self { body: Some(body), exchange: exchange.clone() })
    }
}

impl http_body::Body for Arriving {
    type Data = Bytes;
    type Error = crate::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, crate::BoxError>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let polled = Pin::new(body).poll_frame(cx);
        match &polled {
            Poll::Pending => {
                if let Err(error) = self.exchange.asked(cx.waker()) {
                    metrics::counter!("http_bodies_cut_total").increment(1);
                    self.body = None;
                    self.exchange.given(0);
                    return Poll::Ready(Some(Err(error.into())));
                }
            }
            Poll::Ready(Some(Ok(frame))) => {
                self.exchange.given(frame.data_ref().map_or(0, Bytes::len));
            }
            Poll::Ready(_) => self.exchange.given(0),
        }
        polled.map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(SizeHint::default, http_body::Body::size_hint)
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        self.exchange.given(0);
    }
}
