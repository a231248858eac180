//! One connection's record, its deadlines, and the watch that keeps them.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
    task::{Poll, ready},
    time::Duration,
};

use futures_util::task::AtomicWaker;
use metrics::Gauge;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::{
    ServerSettings,
    data_rate::{MinDataRate, TimeBudget},
    exchange::{Exchange, Finding},
    refused::Refused,
    tunnel::Opened,
};
use crate::http1::{HeadBounds, Violation};

/// How long a peer that was told to go may still send what it had begun: a long round trip.
const CLOSE_GRACE: Duration = Duration::from_secs(1);

/// Streams of one connection that may be reset for being slow; then the connection goes.
const SLOW_STREAMS_MAX: usize = 100;

/// How many times within a longest wait the exchanges in flight are checked.
const CHECKS_PER_WAIT: u32 = 4;

/// No time at all, for [`Connection::idle_since`].
const BUSY: u64 = u64::MAX;

/// Nothing is asked of a connection.
const STAY: u8 = 0;
/// It finishes what is in flight, and goes: for a drain, or because it idles.
const LEAVE: u8 = 1;
/// It goes at once: the drain is over.
const CUT: u8 = 2;

/// What is the same for all connections of a listener.
pub(super) struct Bounds {
    head: Duration,
    idle: Duration,
    pub measure: MinDataRate,
    /// How large a head over HTTP/1 may be.
    pub heads: HeadBounds,
    /// From when [`Connection::idle_since`] is counted.
    start: Instant,
    idle_gauge: Gauge,
    busy_gauge: Gauge,
}

impl Bounds {
    pub fn new(settings: &ServerSettings) -> Self {
        let gauge = |state: &'static str| metrics::gauge!(crate::metrics::CONNECTIONS.name, "state" => state);
        Self {
            head: settings.head,
            idle: settings.idle,
            measure: MinDataRate { longest: settings.write, bytes_per_sec: settings.bytes_per_sec_min },
            heads: HeadBounds { bytes: settings.head_bytes, fields: settings.head_fields },
            start: Instant::now(),
            idle_gauge: gauge("idle"),
            busy_gauge: gauge("busy"),
        }
    }
}

/// What is known of one connection.
pub(super) struct Connection {
    pub bounds: Arc<Bounds>,
    /// What its task was told: [`STAY`], [`LEAVE`] or [`CUT`]. It only ever rises.
    order: AtomicU8,
    /// The task that drives it.
    task: AtomicWaker,
    /// HTTP/1 requests that were answered; see [`Connection::answer_to`].
    answers: AtomicU64,
    /// Whether the last of them was that it speaks HTTP no longer.
    tunnel: AtomicBool,
    /// Whether somebody waits to hear that.
    awaits_answer: AtomicBool,
    /// Since when there is no request, in milliseconds of the listener's life; [`BUSY`] while there is one.
    idle_since: AtomicU64,
    state: Mutex<State>,
}

struct State {
    /// Whether the protocol is known to be HTTP/2, where heads are told from other frames by hyper alone.
    http2: bool,
    idle_since: Instant,
    /// When the first byte of a head came that is not whole yet.
    head_since: Option<Instant>,
    /// The peer's time to take what goes out, all streams together.
    write: TimeBudget,
    in_flight: Vec<Weak<Exchange>>,
    /// The exchange that began last, whose stream the executor has not been given yet.
    begun: Option<Arc<Exchange>>,
    /// When the exchanges are checked next.
    next_check: Instant,
    /// What of the input over HTTP/1 nobody will read.
    unread: Unread,
    /// The request that hyper was given a stand-in for.
    refused: Option<Box<Refused>>,
    /// Streams that were reset.
    slow_streams: usize,
    /// Since when the peer has been told to go.
    leaving: Option<Instant>,
    /// When it is closed whatever is in flight.
    end: Option<Instant>,
    /// Why it was told so, unless it was for a drain.
    cause: Option<Cause>,
    /// The tunnel that its last answer opens.
    tunnel: Option<Box<Opened>>,
    aborted: bool,
}

/// What of a connection's input over HTTP/1 nobody will read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unread {
    Nothing,
    /// What is left of a body: somebody answered without reading all of the request.
    Body,
    /// All that comes: it is broken.
    Rest,
}

/// Why we close a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    Idle,
    Head,
    Slow,
    Evicted,
    Drained,
    Cut,
    Flood,
}

impl Cause {
    pub fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Head => "head",
            Self::Slow => "slow",
            Self::Evicted => "evicted",
            Self::Drained => "drained",
            Self::Cut => "cut",
            Self::Flood => "flood",
        }
    }
}

enum Decision {
    /// All is well, until then at least.
    Stay(Instant),
    /// The peer is told to go.
    Leave(Cause),
    Close(Cause),
}

impl Connection {
    pub fn new(bounds: Arc<Bounds>) -> Self {
        let now = Instant::now();
        bounds.idle_gauge.increment(1.0);
        let state = State {
            http2: false,
            idle_since: now,
            // Who connects has something to say.
            head_since: Some(now),
            write: TimeBudget::new(&bounds.measure),
            in_flight: Vec::new(),
            begun: None,
            next_check: now,
            unread: Unread::Nothing,
            refused: None,
            slow_streams: 0,
            leaving: None,
            end: None,
            cause: None,
            tunnel: None,
            aborted: false,
        };
        let idle_since = AtomicU64::new(millis(now.duration_since(bounds.start)));
        let (order, task) = (AtomicU8::new(STAY), AtomicWaker::new());
        let (answers, tunnel) = (AtomicU64::new(0), AtomicBool::new(false));
        let awaits_answer = AtomicBool::new(false);
        Self { bounds, order, task, answers, tunnel, awaits_answer, idle_since, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request has come.
    pub fn begin(self: &Arc<Self>, http2: bool) -> Arc<Exchange> {
        let exchange = Arc::new(Exchange::new(self.clone(), http2));
        let now = Instant::now();
        let mut state = self.state();
        debug_assert!(state.begun.is_none(), "the executor takes each one");
        state.head_since = None;
        // hyper has read what was left of the body before, or there would be no further request.
        if state.unread == Unread::Body {
            state.unread = Unread::Nothing;
        }
        if state.in_flight.is_empty() {
            self.idle_since.store(BUSY, Ordering::Relaxed);
            state.next_check = now + self.bounds.measure.longest / CHECKS_PER_WAIT;
            self.bounds.idle_gauge.decrement(1.0);
            self.bounds.busy_gauge.increment(1.0);
        }
        state.in_flight.push(Arc::downgrade(&exchange));
        state.begun = http2.then(|| exchange.clone());
        exchange
    }

    /// The exchange whose stream the executor is being given.
    pub fn take_begun(&self) -> Option<Arc<Exchange>> {
        self.state().begun.take()
    }

    /// An exchange is over, and nothing of it is left.
    pub fn end(&self, exchange: *const Exchange) {
        let now = Instant::now();
        let mut state = self.state();
        state.in_flight.retain(|other| !std::ptr::eq(other.as_ptr(), exchange));
        if state.in_flight.is_empty() {
            state.idle_since = now;
            self.idle_since.store(millis(now.duration_since(self.bounds.start)), Ordering::Relaxed);
            self.bounds.busy_gauge.decrement(1.0);
            self.bounds.idle_gauge.increment(1.0);
        }
    }

    /// The preface is whole.
    pub fn speaks_http2(&self) {
        let mut state = self.state();
        state.http2 = true;
        state.head_since = None;
        state.idle_since = Instant::now();
    }

    /// Bytes came over HTTP/1: a head's, unless a request is in flight.
    pub fn head_comes(&self) {
        let mut state = self.state();
        if state.in_flight.is_empty() {
            state.head_since.get_or_insert_with(Instant::now);
        }
    }

    /// The next request over HTTP/1 is broken, and what follows it is not read.
    pub fn refuse(&self, refused: Refused) {
        let mut state = self.state();
        state.unread = Unread::Rest;
        state.refused = Some(Box::new(refused));
    }

    /// The request that hyper was given a stand-in for; it is that one's turn.
    pub fn take_refused(&self) -> Refused {
        let refused = self.state().refused.take();
        refused.map_or_else(|| Refused::of(b"", Violation::RequestLine), |refused| *refused)
    }

    /// A body over HTTP/1 is broken, and what follows is not read.
    pub fn breaks_off(&self) {
        self.state().unread = Unread::Rest;
    }

    /// Too many frames that carry nothing came over HTTP/2.
    pub fn floods(&self) {
        self.state().cause = Some(Cause::Flood);
    }

    /// A request over HTTP/1 is answered, and with what follows it the connection becomes a tunnel or not.
    pub fn answered(&self, tunnel: bool) {
        if tunnel {
            self.tunnel.store(true, Ordering::Relaxed);
        }
        self.answers.fetch_add(1, Ordering::Release);
        if self.awaits_answer.load(Ordering::Acquire) {
            self.awaits_answer.store(false, Ordering::Relaxed);
            self.task.wake();
        }
    }

    /// Whether the answer to a request, the first being 1, has made the connection a tunnel; `None` before there is one, which
    /// wakes the connection's task.
    pub fn answer_to(&self, request: u64) -> Option<bool> {
        self.awaits_answer.store(true, Ordering::Release);
        (self.answers.load(Ordering::Acquire) >= request).then(|| self.tunnel.load(Ordering::Relaxed))
    }

    /// The body of an HTTP/1 request was given up before its end.
    pub fn leaves_body_unread(&self) {
        let mut state = self.state();
        if state.unread == Unread::Nothing {
            state.unread = Unread::Body;
        }
    }

    /// Whether the body of the request that is being answered was given up before its end.
    pub fn has_unread_body(&self) -> bool {
        self.state().unread == Unread::Body
    }

    /// Whether the peer may be sending what nobody will read: the rest of a head that was refused, or of a body.
    pub fn has_unread_input(&self) -> bool {
        let state = self.state();
        state.unread != Unread::Nothing || (state.head_since.is_some() && !state.http2)
    }

    /// An answer of 101 is on its way, and opens this.
    pub fn becomes_tunnel(&self, tunnel: Opened) {
        self.state().tunnel = Some(Box::new(tunnel));
    }

    /// Whether what comes and goes is no HTTP any more.
    pub fn is_tunnel(&self) -> bool {
        self.tunnel.load(Ordering::Relaxed)
    }

    /// The tunnel that goes on in its place.
    pub fn take_tunnel(&self) -> Option<Box<Opened>> {
        self.state().tunnel.take()
    }

    /// The peer takes nothing just now.
    pub fn write_waits(&self) {
        self.state().write.wait(Instant::now());
    }

    /// It took so much.
    pub fn write_moved(&self, bytes: usize) {
        let now = Instant::now();
        let mut state = self.state();
        state.write.moved(bytes, &self.bounds.measure, now);
        state.write.rest(now);
    }

    /// Since when it has no request, in milliseconds of the listener's life.
    pub fn idle_since(&self) -> Option<u64> {
        Some(self.idle_since.load(Ordering::Relaxed)).filter(|since| *since != BUSY)
    }

    /// The listener's age, in the same measure.
    pub fn now(&self) -> u64 {
        millis(self.bounds.start.elapsed())
    }

    /// Tells it to make room for somebody else.
    pub fn evict(&self) {
        self.state().cause = Some(Cause::Evicted);
        self.leave();
    }

    /// Tells it to finish what is in flight, and go.
    pub fn leave(&self) {
        self.tell(LEAVE);
    }

    /// Tells it to go at once.
    pub fn cut(&self) {
        self.tell(CUT);
    }

    fn tell(&self, order: u8) {
        self.order.fetch_max(order, Ordering::Release);
        self.task.wake();
    }

    /// Whether it was told to go, so that each answer has to say that it is the last.
    pub fn is_leaving(&self) -> bool {
        self.is_told(LEAVE)
    }

    /// Notes when it was told to go; whether it begins to go now. An HTTP/1 connection that idles when a drain begins stays for
    /// [`CLOSE_GRACE`]: its client may be sending a request just now, and would take the end of the connection for a failure
    /// (RFC 9112 §9.5). Over HTTP/2, GOAWAY says which requests were taken.
    fn takes_leave(&self) -> bool {
        let mut state = self.state();
        state.leaving.get_or_insert_with(Instant::now);
        let takes_leave = state.http2 || state.cause.is_some() || !state.in_flight.is_empty();
        // Over HTTP/1 the answer is polled by this connection's own task.
        let streams = if state.http2 { &*state.in_flight } else { &[] };
        let streams: Vec<_> = streams.iter().filter_map(Weak::upgrade).collect();
        // The last holder of an exchange tells this record, and must find it unlocked.
        drop(state);
        for exchange in streams {
            exchange.told_to_leave();
        }
        takes_leave
    }

    fn is_told(&self, order: u8) -> bool {
        self.order.load(Ordering::Acquire) >= order
    }

    /// Whether what the peer has not taken goes with the connection.
    pub fn is_aborted(&self) -> bool {
        self.state().aborted
    }

    /// When something must be decided next.
    fn due(&self) -> Instant {
        self.state().due(&self.bounds)
    }

    fn decide(&self) -> Decision {
        let now = Instant::now();
        let mut state = self.state();
        let decision = match state.decide(&self.bounds, now) {
            Decision::Stay(_) if state.check_is_due(now) => {
                let exchanges: Vec<_> = state.in_flight.iter().filter_map(Weak::upgrade).collect();
                // The last holder of an exchange tells this record, and must find it unlocked.
                drop(state);
                let findings: Vec<_> = exchanges.iter().map(|exchange| exchange.check(now)).collect();
                drop(exchanges);
                state = self.state();
                state.check(&self.bounds, findings, now)
            }
            decision => decision,
        };
        match decision {
            Decision::Leave(cause) => state.cause = Some(cause),
            Decision::Close(Cause::Slow) => state.aborted = true,
            _ => {}
        }
        decision
    }
}

impl State {
    /// When something must be decided next.
    fn due(&self, bounds: &Bounds) -> Instant {
        let next = match self.head_since {
            _ if !self.in_flight.is_empty() => Some(self.next_check),
            Some(since) if !self.is_evicted() => {
                let farewell = self.leaving.map(|leaving| leaving + CLOSE_GRACE);
                [Some(since + bounds.head), farewell].into_iter().flatten().min()
            }
            // Its last answer is still on the way.
            _ if self.write.waits() => {
                self.leaving.filter(|_| self.is_evicted()).map(|since| since + CLOSE_GRACE)
            }
            _ => Some(self.rests_until(bounds)),
        };
        let ends = [next, self.end, self.write.ends()];
        ends.into_iter().flatten().min().unwrap_or(self.idle_since + bounds.idle)
    }

    fn is_evicted(&self) -> bool {
        self.cause == Some(Cause::Evicted)
    }

    /// Until when it may stay without a request.
    fn rests_until(&self, bounds: &Bounds) -> Instant {
        match self.leaving {
            None => self.idle_since + bounds.idle,
            Some(leaving) if self.is_evicted() => leaving,
            Some(leaving) => leaving.max(self.idle_since) + CLOSE_GRACE,
        }
    }

    fn check_is_due(&self, now: Instant) -> bool {
        !self.in_flight.is_empty() && self.next_check <= now
    }

    /// What to do about the connection as a whole.
    fn decide(&self, bounds: &Bounds, now: Instant) -> Decision {
        if [self.end, self.write.ends()].into_iter().flatten().any(|end| end <= now) {
            return Decision::Close(Cause::Slow);
        }
        if self.in_flight.is_empty() && self.due(bounds) <= now {
            return match self.leaving {
                _ if self.head_since.is_some() && !self.is_evicted() => Decision::Close(Cause::Head),
                None => Decision::Leave(Cause::Idle),
                Some(_) => Decision::Close(self.cause.unwrap_or(Cause::Drained)),
            };
        }
        Decision::Stay(self.due(bounds))
    }

    /// What to do about it by what a check of its exchanges found.
    fn check(&mut self, bounds: &Bounds, findings: Vec<Finding>, now: Instant) -> Decision {
        self.next_check = now + bounds.measure.longest / CHECKS_PER_WAIT;
        for finding in findings {
            match finding {
                Finding::InTime(until) => {
                    self.next_check = until.map_or(self.next_check, |until| until.min(self.next_check));
                }
                Finding::Reset => self.slow_streams += 1,
                // The others' resets may go out yet.
                Finding::Unresettable => self.end = self.end.or(Some(now + CLOSE_GRACE)),
            }
        }
        if (self.end.is_some() || self.slow_streams > SLOW_STREAMS_MAX) && self.leaving.is_none() {
            return Decision::Leave(Cause::Slow);
        }
        Decision::Stay(self.due(bounds))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Each exchange holds it, so that none is left.
        self.bounds.idle_gauge.decrement(1.0);
    }
}

impl Connection {
    /// Runs what comes after HTTP, and is woken when the connection is told something; `None` if that was to go at once.
    pub async fn until_cut<T>(&self, carried: impl Future<Output = T>) -> Option<T> {
        let mut carried = pin!(carried);
        poll_fn(|cx| {
            self.task.register(cx.waker());
            if self.is_told(CUT) {
                return Poll::Ready(None);
            }
            carried.as_mut().poll(cx).map(Some)
        })
        .await
    }

    /// Runs what comes before HTTP, for as long as a head may take, and while nobody tells the connection to go.
    pub async fn handshake<T>(&self, handshake: impl Future<Output = T>) -> Option<T> {
        let mut handshake = pin!(timeout_at(self.due(), handshake));
        poll_fn(|cx| {
            self.task.register(cx.waker());
            // First: one that was accepted as a drain began may have sent a request already.
            match handshake.as_mut().poll(cx) {
                Poll::Pending if self.is_told(LEAVE) => Poll::Ready(None),
                polled => polled.map(std::result::Result::ok),
            }
        })
        .await
    }
}

/// A connection that can be told to finish what is in flight and go.
pub(super) trait Graceful: Future {
    fn graceful_shutdown(self: Pin<&mut Self>);
}

/// Drives `served` until it ends, or its record says that it must.
pub(super) async fn watch<C: Graceful>(served: C, connection: &Connection) -> Result<C::Output, Cause> {
    let mut served = pin!(served);
    let mut alarm = pin!(sleep_until(connection.due()));
    let mut left = false;
    poll_fn(|cx| {
        connection.task.register(cx.waker());
        loop {
            if connection.is_told(CUT) {
                return Poll::Ready(Err(Cause::Cut));
            }
            if let Poll::Ready(end) = served.as_mut().poll(cx) {
                return Poll::Ready(connection.state().cause.map_or(Ok(end), Err));
            }
            if !left && connection.is_told(LEAVE) && connection.takes_leave() {
                left = true;
                served.as_mut().graceful_shutdown();
                continue;
            }
            let due = connection.due();
            if due < alarm.deadline() {
                alarm.as_mut().reset(due);
            }
            ready!(alarm.as_mut().poll(cx));
            match connection.decide() {
                Decision::Stay(until) => alarm.as_mut().reset(until),
                Decision::Leave(_) => connection.leave(),
                // In order, if that takes no wait: TLS has a word for it (RFC 8446 §6.1).
                Decision::Close(cause @ Cause::Drained) if !left => {
                    left = true;
                    connection.state().cause = Some(cause);
                    served.as_mut().graceful_shutdown();
                }
                Decision::Close(cause) => return Poll::Ready(Err(cause)),
            }
        }
    })
    .await
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(BUSY - 1)
}
