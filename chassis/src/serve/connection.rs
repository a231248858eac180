//! One connection's record, its deadlines, and the watch that keeps them.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    task::{Poll, ready},
    time::Duration,
};

use metrics::Gauge;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{
    ServerSettings,
    exchange::{Exchange, Held},
    patience::{Measure, Patience},
};

/// How long a peer that was told to go may still send what it had begun: one long round trip.
const FAREWELL: Duration = Duration::from_secs(1);

/// Streams of one connection that may be reset for being slow; then the connection goes.
const SLOW_MAX: usize = 100;

/// How many times within a longest wait the exchanges in flight are looked at.
const LOOKS: u32 = 4;

/// No time at all, for [`Connection::idle_since`].
const BUSY: u64 = u64::MAX;

/// What is the same for all connections of a listener.
pub(super) struct Bounds {
    head: Duration,
    idle: Duration,
    pub measure: Measure,
    /// From when [`Connection::idle_since`] is counted.
    start: Instant,
    idle_gauge: Gauge,
    busy_gauge: Gauge,
}

impl Bounds {
    pub fn new(settings: &ServerSettings) -> Self {
        let gauge = |state: &'static str| metrics::gauge!("http_connections", "state" => state);
        Self {
            head: settings.head,
            idle: settings.idle,
            measure: Measure { longest: settings.write, bytes_per_sec: settings.bytes_per_sec_min },
            start: Instant::now(),
            idle_gauge: gauge("idle"),
            busy_gauge: gauge("busy"),
        }
    }
}

/// What is known of one connection.
pub(super) struct Connection {
    pub bounds: Arc<Bounds>,
    /// Cancelled when the peer is to be told to go: by a drain, or because it idles.
    leave: CancellationToken,
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
    /// How what goes out is taken, all streams together.
    write: Patience,
    in_flight: Vec<Weak<Exchange>>,
    /// Begun, and not yet given to the executor.
    begun: Option<Arc<Exchange>>,
    /// When the exchanges are looked at next.
    look: Instant,
    /// Streams that were reset.
    slow: usize,
    /// Since when the peer has been told to go.
    leaving: Option<Instant>,
    /// When it is closed whatever is in flight.
    end: Option<Instant>,
    /// Why it was told so, if not by a drain.
    cause: Option<Cause>,
    aborted: bool,
}

/// Why we close a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    Idle,
    Head,
    Slow,
    Evicted,
    Drained,
}

impl Cause {
    pub fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Head => "head",
            Self::Slow => "slow",
            Self::Evicted => "evicted",
            Self::Drained => "drained",
        }
    }
}

enum Judgement {
    /// All is well, until then at least.
    Stay(Instant),
    /// The peer is told to go.
    Leave(Cause),
    Close(Cause),
}

impl Connection {
    pub fn new(bounds: Arc<Bounds>, leave: CancellationToken) -> Self {
        let now = Instant::now();
        bounds.idle_gauge.increment(1.0);
        let state = State {
            http2: false,
            idle_since: now,
            // Whoever connects has something to say.
            head_since: Some(now),
            write: Patience::new(&bounds.measure),
            in_flight: Vec::new(),
            begun: None,
            look: now,
            slow: 0,
            leaving: None,
            end: None,
            cause: None,
            aborted: false,
        };
        let idle_since = AtomicU64::new(millis(now.duration_since(bounds.start)));
        Self { bounds, leave, idle_since, state: Mutex::new(state) }
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
        if state.in_flight.is_empty() {
            self.idle_since.store(BUSY, Ordering::Relaxed);
            state.look = now + self.bounds.measure.longest / LOOKS;
            self.bounds.idle_gauge.decrement(1.0);
            self.bounds.busy_gauge.increment(1.0);
        }
        state.in_flight.push(Arc::downgrade(&exchange));
        state.begun = http2.then(|| exchange.clone());
        exchange
    }

    /// The exchange whose stream the executor is being given.
    pub fn begun(&self) -> Option<Arc<Exchange>> {
        self.state().begun.take()
    }

    /// An exchange is over, and nothing of it is left.
    pub fn land(&self, exchange: *const Exchange) {
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

    /// Makes place for somebody else.
    pub fn evict(&self) {
        self.state().cause = Some(Cause::Evicted);
        self.leave.cancel();
    }

    /// Whether what the peer has not taken is not worth keeping.
    pub fn is_aborted(&self) -> bool {
        self.state().aborted
    }

    /// When something must be judged next.
    fn due(&self) -> Instant {
        self.state().due(&self.bounds)
    }

    fn judge(&self) -> Judgement {
        let now = Instant::now();
        let mut state = self.state();
        let judgement = match state.judge(&self.bounds, now) {
            Judgement::Stay(_) if state.looks(now) => {
                let exchanges: Vec<_> = state.in_flight.iter().filter_map(Weak::upgrade).collect();
                // The last holder of an exchange tells this record, and must find it unlocked.
                drop(state);
                let held: Vec<_> = exchanges.iter().map(|exchange| exchange.judge(now)).collect();
                drop(exchanges);
                state = self.state();
                state.look(&self.bounds, held, now)
            }
            judgement => judgement,
        };
        match judgement {
            Judgement::Leave(cause) => state.cause = Some(cause),
            Judgement::Close(Cause::Slow) => state.aborted = true,
            _ => {}
        }
        judgement
    }
}

impl State {
    /// When something must be judged next.
    fn due(&self, bounds: &Bounds) -> Instant {
        let next = match self.head_since {
            _ if !self.in_flight.is_empty() => Some(self.look),
            Some(since) if !self.is_evicted() => {
                let farewell = self.leaving.map(|leaving| leaving + FAREWELL);
                [Some(since + bounds.head), farewell].into_iter().flatten().min()
            }
            // Its last answer is still on the way.
            _ if self.write.waits() => {
                self.leaving.filter(|_| self.is_evicted()).map(|since| since + FAREWELL)
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
            Some(leaving) => leaving.max(self.idle_since) + FAREWELL,
        }
    }

    fn looks(&self, now: Instant) -> bool {
        !self.in_flight.is_empty() && self.look <= now
    }

    /// What the connection as a whole deserves.
    fn judge(&self, bounds: &Bounds, now: Instant) -> Judgement {
        if [self.end, self.write.ends()].into_iter().flatten().any(|end| end <= now) {
            return Judgement::Close(Cause::Slow);
        }
        if self.in_flight.is_empty() && self.due(bounds) <= now {
            return match self.leaving {
                _ if self.head_since.is_some() && !self.is_evicted() => Judgement::Close(Cause::Head),
                None => Judgement::Leave(Cause::Idle),
                Some(_) => Judgement::Close(self.cause.unwrap_or(Cause::Drained)),
            };
        }
        Judgement::Stay(self.due(bounds))
    }

    /// What it deserves by its exchanges.
    fn look(&mut self, bounds: &Bounds, held: Vec<Held>, now: Instant) -> Judgement {
        self.look = now + bounds.measure.longest / LOOKS;
        for held in held {
            match held {
                Held::Well(until) => self.look = until.map_or(self.look, |until| until.min(self.look)),
                Held::Cut => self.slow += 1,
                // The others' resets may go out yet.
                Held::Stuck => self.end = self.end.or(Some(now + FAREWELL)),
            }
        }
        if (self.end.is_some() || self.slow > SLOW_MAX) && self.leaving.is_none() {
            return Judgement::Leave(Cause::Slow);
        }
        Judgement::Stay(self.due(bounds))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Each exchange holds it, so that none is left.
        self.bounds.idle_gauge.decrement(1.0);
    }
}

/// A connection that can be told to finish what is in flight and go.
pub(super) trait Graceful: Future {
    fn graceful_shutdown(self: Pin<&mut Self>);
}

/// Drives `served` until it ends, or its record says that it must.
pub(super) async fn watch<C: Graceful>(served: C, connection: &Connection) -> Result<C::Output, Cause> {
    let mut served = pin!(served);
    let mut leave = pin!(connection.leave.cancelled());
    let mut alarm = pin!(sleep_until(connection.due()));
    let mut left = false;
    poll_fn(|cx| {
        loop {
            if let Poll::Ready(end) = served.as_mut().poll(cx) {
                return Poll::Ready(connection.state().cause.map_or(Ok(end), Err));
            }
            if !left && leave.as_mut().poll(cx).is_ready() {
                left = true;
                served.as_mut().graceful_shutdown();
                connection.state().leaving = Some(Instant::now());
                continue;
            }
            let due = connection.due();
            if due < alarm.deadline() {
                alarm.as_mut().reset(due);
            }
            ready!(alarm.as_mut().poll(cx));
            match connection.judge() {
                Judgement::Stay(until) => alarm.as_mut().reset(until),
                Judgement::Leave(_) => connection.leave.cancel(),
                Judgement::Close(cause) => return Poll::Ready(Err(cause)),
            }
        }
    })
    .await
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(BUSY - 1)
}
