//! One request and its answer: who is waited for, byte by byte.
//!
//! What hyper has been handed of an answer and has not written yet waits for the peer alone: for its window, or for its
//! socket. Each chunk of an answer reports when it is written, so the peer's time is told exactly from the service's. The
//! other way round, a body that is polled and does not come waits for the peer, too.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use bytes::{Buf, Bytes};
use futures_util::task::AtomicWaker;
use http::StatusCode;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use thiserror::Error;
use tokio::time::Instant;

use super::{connection::Connection, data_rate::TimeBudget, tunnel::Opened};
use crate::{Body, BodyError};

/// The client sent its body below the least rate, or not at all.
#[derive(Clone, Copy, Debug, Error)]
#[error("the body comes too slowly")]
pub struct TooSlow;

/// The client gave its stream up before the body's end.
#[derive(Clone, Copy, Debug, Error)]
#[error("the body was given up before its end")]
struct Unfinished;

/// A request in flight. It is over when nobody holds it: neither the service, nor a body, nor a chunk in hyper's queue.
pub(super) struct Exchange {
    connection: Arc<Connection>,
    http2: bool,
    flow: Mutex<Flow>,
    /// The task of an HTTP/2 stream.
    stream: AtomicWaker,
    /// The task that reads the request's body.
    reader: AtomicWaker,
}

struct Flow {
    /// Bytes of the answer that hyper has and has not written yet.
    unwritten: usize,
    /// The peer's time to take the answer.
    writing: TimeBudget,
    /// The peer's time to send its body.
    reading: TimeBudget,
    /// Whether the body's reader was woken to look once more.
    reader_woken: bool,
    /// Whether the answer's end is held back until all before it is written.
    end_held_back: bool,
    /// Whether hyper is done with the stream.
    done: bool,
    /// When the stream was given up.
    reset_at: Option<Instant>,
}

/// What a check of an exchange finds.
pub(super) enum Finding {
    /// The peer is in time, until then at least.
    InTime(Option<Instant>),
    /// The peer is too slow: the stream has been reset.
    Reset,
    /// The peer is too slow, and the stream can't be reset by itself: the connection must be closed.
    Unresettable,
}

impl Exchange {
    pub fn new(connection: Arc<Connection>, http2: bool) -> Self {
        let measure = &connection.bounds.measure;
        let (writing, reading) = (TimeBudget::new(measure), TimeBudget::new(measure));
        let flow = Flow {
            unwritten: 0,
            writing,
            reading,
            reader_woken: false,
            end_held_back: false,
            done: false,
            reset_at: None,
        };
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

    /// Checks whether the peer is in time; a stream whose peer is not is reset.
    pub fn check(&self, now: Instant) -> Finding {
        let mut flow = self.flow();
        let past = |budget: &TimeBudget| budget.ends().is_some_and(|end| end <= now);
        if let Some(reset_at) = flow.reset_at {
            // Somebody keeps it, or it still stands in hyper's queue.
            let end = reset_at + self.connection.bounds.measure.longest;
            return if end <= now { Finding::Unresettable } else { Finding::InTime(Some(end)) };
        }
        if past(&flow.writing) {
            if !self.http2 || flow.done {
                return Finding::Unresettable;
            }
            flow.reset_at = Some(now);
            drop(flow);
            self.stream.wake();
            self.reader.wake();
            return Finding::Reset;
        }
        let mut ends = flow.writing.ends();
        if past(&flow.reading) {
            if !flow.reader_woken {
                // It may have come while the reader is busy: then it is not the peer that is slow.
                flow.reader_woken = true;
                drop(flow);
                self.reader.wake();
            }
        } else {
            ends = [ends, flow.reading.ends()].into_iter().flatten().min();
        }
        Finding::InTime(ends)
    }

    /// Whether the stream has been reset; if not, `waker` is woken when it is.
    pub fn is_reset(&self, waker: &Waker) -> bool {
        self.stream.register(waker);
        self.flow().reset_at.is_some()
    }

    /// The connection has been told to go: an answer that ends with that is looked at once more.
    pub fn told_to_leave(&self) {
        self.stream.wake();
    }

    /// Whether nothing may follow it on its connection: that has been told to go, or the rest of the request's body, which nobody
    /// reads, stands in the way. A proxy that is not told so (RFC 9112 §9.6) may send the next request into a connection that is
    /// being closed.
    pub fn is_last(&self) -> bool {
        !self.http2 && (self.connection.is_leaving() || self.connection.has_unread_body())
    }

    /// It is answered: over HTTP/1 what comes next is another request, or after an upgrade what is none.
    pub fn answered(&self, status: StatusCode) {
        if !self.http2 {
            self.connection.answered(status == StatusCode::SWITCHING_PROTOCOLS);
        }
    }

    /// Its answer is 101.
    pub fn becomes_tunnel(&self, tunnel: Opened) {
        self.connection.becomes_tunnel(tunnel);
    }

    /// hyper is done with the stream; what it has queued can't be taken back.
    pub fn done(&self) {
        self.flow().done = true;
    }

    /// hyper was handed so many bytes of the answer.
    fn queued(&self, bytes: usize) {
        let mut flow = self.flow();
        flow.unwritten += bytes;
        flow.writing.wait(Instant::now());
    }

    /// So many bytes of the answer are written, or dropped unwritten.
    fn dequeued(&self, bytes: usize, written: bool) {
        let now = Instant::now();
        let mut flow = self.flow();
        flow.unwritten = flow.unwritten.saturating_sub(bytes);
        if written {
            flow.writing.moved(bytes, &self.connection.bounds.measure, now);
        }
        if flow.unwritten == 0 {
            flow.writing.rest(now);
            if flow.end_held_back {
                drop(flow);
                self.stream.wake();
            }
        }
    }

    /// Whether the answer may end: over HTTP/2 only when all before its end is written. hyper lets go of a stream with
    /// its end, and then nobody could reset it any more.
    fn may_end(&self) -> bool {
        let mut flow = self.flow();
        flow.end_held_back = self.http2 && flow.unwritten > 0;
        !flow.end_held_back
    }

    /// The body's reader waits for the peer; an error if it has waited for too long.
    fn awaits_body(&self, waker: &Waker) -> Result<(), TooSlow> {
        self.reader.register(waker);
        let mut flow = self.flow();
        if flow.reader_woken || flow.reset_at.is_some() {
            return Err(TooSlow);
        }
        flow.reading.wait(Instant::now());
        Ok(())
    }

    /// So many bytes of the body came, or nobody waits for them any more.
    fn body_came(&self, bytes: usize) {
        let now = Instant::now();
        let mut flow = self.flow();
        if flow.reading.waits() {
            flow.reader_woken = false;
            flow.reading.moved(bytes, &self.connection.bounds.measure, now);
            flow.reading.rest(now);
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.connection.end(self);
    }
}

/// Bytes of an answer, which report when they are written.
pub(super) struct ResponseChunk {
    bytes: Bytes,
    exchange: Arc<Exchange>,
}

impl ResponseChunk {
    fn new(bytes: Bytes, exchange: &Arc<Exchange>) -> Self {
        if !bytes.is_empty() {
            exchange.queued(bytes.len());
        }
        Self { bytes, exchange: exchange.clone() }
    }
}

impl Buf for ResponseChunk {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
        if count > 0 {
            self.exchange.dequeued(count, true);
        }
    }
}

impl Drop for ResponseChunk {
    fn drop(&mut self) {
        if self.bytes.has_remaining() {
            self.exchange.dequeued(self.bytes.remaining(), false);
        }
    }
}

/// How an answer ends whose end was not known before.
enum End {
    Trailers(Frame<ResponseChunk>),
    Nothing,
}

/// An answer's body, as hyper takes it.
pub(super) struct ResponseBody {
    body: Body,
    exchange: Arc<Exchange>,
    /// The last byte of an HTTP/2 answer, whose end is known with it. hyper asks for room beyond all that is queued before
    /// it sends a chunk, and so keeps the stream, which can be reset, until everything has room.
    last: Option<Bytes>,
    end: Option<End>,
    /// Whether it ends when the connection is told to go, and nothing more of it has come.
    ends_with_drain: bool,
}

impl ResponseBody {
    pub fn new(body: Body, exchange: Arc<Exchange>, ends_with_drain: bool) -> Self {
        Self { body, exchange, last: None, end: None, ends_with_drain }
    }

    fn chunk(&self, bytes: Bytes) -> Frame<ResponseChunk> {
        Frame::data(ResponseChunk::new(bytes, &self.exchange))
    }
}

impl http_body::Body for ResponseBody {
    type Data = ResponseChunk;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<ResponseChunk>, BodyError>>> {
        if let Some(last) = self.last.take() {
            return Poll::Ready(Some(Ok(self.chunk(last))));
        }
        if self.end.is_none() {
            let frame = match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(frame) => frame,
                Poll::Pending if self.ends_with_drain && self.exchange.connection.is_leaving() => {
                    self.body.end_here();
                    None
                }
                Poll::Pending => return Poll::Pending,
            };
            match frame {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(mut bytes) => {
                        if self.exchange.http2 && bytes.len() > 1 && self.body.is_end_stream() {
                            self.last = Some(bytes.split_off(bytes.len() - 1));
                        }
                        return Poll::Ready(Some(Ok(self.chunk(bytes))));
                    }
                    Err(frame) => {
                        let nothing = || ResponseChunk::new(Bytes::new(), &self.exchange);
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

/// A request's body, as hyper gives it.
pub(crate) struct RequestBody {
    body: Option<Incoming>,
    /// Whether it was read to its end.
    ended: bool,
    exchange: Arc<Exchange>,
}

impl RequestBody {
    /// The body of a request; one that is empty holds nothing.
    pub(super) fn body(body: Incoming, exchange: &Arc<Exchange>) -> Body {
        if body.is_end_stream() {
            return Body::empty();
        }
        Body::arriving(Self { body: Some(body), ended: false, exchange: exchange.clone() })
    }

    /// Reads no further. What is left of an HTTP/1 body stands between its connection and the next request.
    fn give_up(&mut self) {
        let unread =
            !self.ended && self.body.take().is_some_and(|body| !http_body::Body::is_end_stream(&body));
        if unread && !self.exchange.http2 {
            self.exchange.connection.leaves_body_unread();
        }
    }
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = crate::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, crate::BoxError>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let polled = Pin::new(&mut *body).poll_frame(cx);
        let is_whole = http_body::Body::is_end_stream(body);
        match &polled {
            // hyper takes a reset with NO_ERROR for the end, which only END_STREAM is (RFC 9113 §8.1).
            Poll::Ready(None) if self.exchange.http2 && !is_whole => {
                self.ended = true;
                self.exchange.body_came(0);
                return Poll::Ready(Some(Err(Unfinished.into())));
            }
            Poll::Pending => {
                if let Err(error) = self.exchange.awaits_body(cx.waker()) {
                    metrics::counter!(crate::metrics::BODIES_CUT.name).increment(1);
                    self.give_up();
                    self.exchange.body_came(0);
                    return Poll::Ready(Some(Err(error.into())));
                }
            }
            Poll::Ready(Some(Ok(frame))) => {
                self.exchange.body_came(frame.data_ref().map_or(0, Bytes::len));
            }
            Poll::Ready(end) => {
                self.ended = end.is_none();
                self.exchange.body_came(0);
            }
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

impl Drop for RequestBody {
    fn drop(&mut self) {
        self.give_up();
        self.exchange.body_came(0);
    }
}
