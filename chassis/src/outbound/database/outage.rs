//! Whether the database is away, and how it is tried until it is back.
//!
//! One attempt at a time tries it for the whole replica, however many requests wait; its pauses are short, so that whoever asks
//! next is answered as soon as it is back. Only while somebody waits: a database that sleeps, and that nobody wants anything of,
//! is left asleep. Where attempts hang, because packets are dropped or somebody wakes only slowly, others are begun beside the
//! first: the network may be well again long before the system sends the first one's packet once more.

use std::{
    future::Future,
    pin::pin,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::{
    sync::Mutex as Turn,
    time::{Instant, sleep_until},
};
use tracing::{debug, info, warn};

use super::connection::ConnectError;
use crate::backoff::Backoff;

/// The pause after a first attempt that found nobody. It doubles with each; half of it or more is kept to, at random.
const AWAY_PAUSE_MIN: Duration = Duration::from_millis(50);

/// The longest pause between two attempts to reach a database that is away, so that it is found within half a second of its return.
pub const AWAY_PAUSE_MAX: Duration = Duration::from_millis(250);

/// The longest pause where a server answers and refuses us: by the password, or because it has no connection to give.
const REFUSED_PAUSE_MAX: Duration = Duration::from_secs(2);

/// How long the first attempt of all may hang before others are begun beside it, and how often one is then, as it is during an
/// outage.
const SLOW_AFTER: Duration = Duration::from_secs(1);
const BESIDE_EVERY: Duration = Duration::from_millis(400);

/// How long one of those may take, unless the first may take less; so there are no more of them at once than this has of their
/// intervals: five.
const BESIDE_WAIT: Duration = Duration::from_secs(2);

/// For how long a failed attempt says that an outage lasts, as a multiple of how long an attempt may take: by then
/// another one would have failed.
const CURRENT: u32 = 2;

/// What a pool knows of whether the database is there.
pub(super) struct Presence {
    application: String,
    /// How long an attempt to connect may take.
    wait: Duration,
    begun: Instant,
    /// When the database last answered, in milliseconds since `begun`.
    answered_ms: AtomicU64,
    /// Whether it is shown as away.
    away: AtomicBool,
    outage: Mutex<Option<Outage>>,
    /// Whose turn it is to try.
    turn: Turn<()>,
    /// How many requests wait for a connection.
    waiting: AtomicUsize,
}

/// No connection can be made.
struct Outage {
    since: Instant,
    /// When it was last seen.
    seen: Instant,
    /// When to try again.
    next: Instant,
    backoff: Backoff,
}

impl Outage {
    fn since(since: Instant, seen: Instant) -> Self {
        Self { since, seen, next: seen, backoff: Backoff::new(AWAY_PAUSE_MIN, REFUSED_PAUSE_MAX) }
    }
}

impl Presence {
    pub(super) fn new(application: String, wait: Duration) -> Self {
        show(&application, false);
        Self {
            application,
            wait,
            begun: Instant::now(),
            answered_ms: AtomicU64::new(0),
            away: AtomicBool::new(false),
            outage: Mutex::new(None),
            turn: Turn::default(),
            waiting: AtomicUsize::new(0),
        }
    }

    /// For how long there has been neither a new connection nor an answer on an old one; `None` if the last attempt to
    /// connect worked, or is too long ago to mean anything now.
    pub(super) fn outage(&self) -> Option<Duration> {
        let outage = self.lock();
        let outage = outage.as_ref().filter(|outage| self.is_current(outage))?;
        // Any answer ends an outage: a server that takes no more connections may still serve those it has.
        Some(outage.since.max(self.answered()).elapsed())
    }

    pub(super) fn note_answer(&self) {
        let now = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.answered_ms.fetch_max(now, Ordering::Relaxed);
        if self.away.load(Ordering::Relaxed) {
            self.show(false);
        }
    }

    /// Counts somebody who waits for a connection, until this is dropped.
    pub(super) fn wanted(&self) -> Wanted<'_> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Wanted(self)
    }

    fn is_wanted(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Opens a connection by `open`, which is told how long that may take. During an outage it is tried again and again, in turn
    /// with others, for as long as anybody waits; then, and if the first attempt fails, there is `None`.
    pub(super) async fn connect<T, F>(&self, open: impl Fn(Duration) -> F) -> Option<T>
    where
        F: Future<Output = Result<T, ConnectError>>,
    {
        loop {
            let mut turn = None;
            if self.outage().is_some() {
                let taken = self.turn.lock().await;
                // What may have ended it meanwhile is the attempt that we waited for.
                if let Some(next) = self.next() {
                    sleep_until(next).await;
                    if !self.is_wanted() {
                        return None;
                    }
                    turn = Some(taken);
                }
            }
            let begun = Instant::now();
            let slow_after = if turn.is_some() { BESIDE_EVERY } else { SLOW_AFTER };
            let may_begin_another = || {
                turn = turn.take().or_else(|| self.turn.try_lock().ok());
                let may = turn.is_some() && self.is_wanted();
                if may {
                    self.slow(begun);
                }
                may
            };
            match patiently(&open, self.wait, slow_after, may_begin_another).await {
                Ok(opened) => {
                    self.connected();
                    return Some(opened);
                }
                Err(error) => self.failed(&error, begun),
            }
            if !self.is_wanted() {
                return None;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Outage>> {
        self.outage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it was seen so lately that it may still last.
    fn is_current(&self, outage: &Outage) -> bool {
        outage.seen.elapsed() <= self.wait * CURRENT
    }

    fn answered(&self) -> Instant {
        self.begun + Duration::from_millis(self.answered_ms.load(Ordering::Relaxed))
    }

    /// When to try again; `None` if there is no outage.
    fn next(&self) -> Option<Instant> {
        self.lock().as_ref().filter(|outage| self.is_current(outage)).map(|outage| outage.next)
    }

    fn connected(&self) {
        if let Some(outage) = self.lock().take() {
            info!(secs = outage.since.elapsed().as_secs(), "the database takes connections again");
        }
        self.note_answer();
    }

    fn failed(&self, error: &ConnectError, begun: Instant) {
        let now = Instant::now();
        let mut outage = self.lock();
        if outage.as_ref().is_none_or(|known| !self.is_current(known)) {
            *outage = None;
        }
        let outage = outage.get_or_insert_with(|| Outage::since(begun, now));
        outage.seen = now;
        // Once for each outage: attempts come several times a second, and their causes may take turns.
        if outage.backoff.failures() == 0 {
            warn!(%error, "connect to the database; trying again");
        } else {
            debug!(%error, "connect to the database");
        }
        outage.backoff.fail("");
        let pause = if error.is_refusal() {
            outage.backoff.jittered_wait()
        } else {
            outage.backoff.jittered_wait_within(AWAY_PAUSE_MAX)
        };
        outage.next = now + pause;
        self.missed(begun);
    }

    /// An attempt that began then hangs.
    fn slow(&self, begun: Instant) {
        let now = Instant::now();
        let mut outage = self.lock();
        match &mut *outage {
            Some(known) if self.is_current(known) => known.seen = now,
            _ => {
                info!("the database takes its time to take a connection");
                *outage = Some(Outage::since(begun, now));
            }
        }
        self.missed(begun);
    }

    /// Nobody answered an attempt that began then. Whoever answers on another connection is not away.
    fn missed(&self, begun: Instant) {
        if self.answered() <= begun {
            self.show(true);
        }
    }

    fn show(&self, away: bool) {
        if self.away.swap(away, Ordering::Relaxed) != away {
            show(&self.application, away);
        }
    }
}

/// Shows whether the database is away.
pub(super) fn show(application: &str, away: bool) {
    metrics::gauge!(crate::metrics::DATABASE_AWAY.name, "application" => application.to_owned())
        .set(f64::from(u8::from(away)));
}

/// Somebody who waits for a connection.
pub(super) struct Wanted<'a>(&'a Presence);

impl Drop for Wanted<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Opens a connection within `wait`. If that hangs for longer than `slow_after`, others are begun beside it, for as long as they
/// may, and the first one that is there is taken.
pub(super) async fn patiently<T, F>(
    open: impl Fn(Duration) -> F,
    wait: Duration,
    slow_after: Duration,
    mut may_begin_another: impl FnMut() -> bool,
) -> Result<T, ConnectError>
where
    F: Future<Output = Result<T, ConnectError>>,
{
    let mut first = pin!(open(wait));
    let mut beside = FuturesUnordered::new();
    let mut another = Instant::now() + slow_after;
    loop {
        tokio::select! {
            biased;
            opened = &mut first => return opened,
            Some(opened) = beside.next() => {
                if let Ok(opened) = opened {
                    return Ok(opened);
                }
            }
            () = sleep_until(another) => {
                another = Instant::now() + BESIDE_EVERY;
                if may_begin_another() {
                    beside.push(open(BESIDE_WAIT.min(wait)));
                }
            }
        }
    }
}

/// The same for who has no pool, and waits itself.
pub(super) async fn alone<T, F>(open: impl Fn(Duration) -> F, wait: Duration) -> Result<T, ConnectError>
where
    F: Future<Output = Result<T, ConnectError>>,
{
    patiently(open, wait, SLOW_AFTER, || true).await
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, future::pending};

    use tokio::time::{sleep, timeout};

    use super::*;

    const WAIT: Duration = Duration::from_secs(10);

    /// Counts an attempt for as long as it is under way.
    struct Under<'a>(&'a Cell<u32>);

    impl Drop for Under<'_> {
        fn drop(&mut self) {
            self.0.set(self.0.get() - 1);
        }
    }

    fn presence() -> Presence {
        Presence::new("test".into(), WAIT)
    }

    fn refused() -> ConnectError {
        ConnectError::TimedOut(WAIT)
    }

    /// Whoever comes back is found within half a second: no pause is longer than half of that, and each attempt is one.
    #[tokio::test(start_paused = true)]
    async fn while_somebody_waits_it_is_tried_without_a_long_pause_and_never_twice_at_once() {
        let (presence, last) = (presence(), Cell::new(None::<Instant>));
        let (attempts, under_way) = (Cell::new(0), Cell::new(0));
        let open = |_| async {
            assert_eq!(under_way.replace(1), 0, "one at a time");
            let now = Instant::now();
            if let Some(last) = last.replace(Some(now)) {
                let pause = now - last;
                // The timer's own grain is a millisecond.
                assert!(pause <= AWAY_PAUSE_MAX + Duration::from_millis(2), "{pause:?}");
                assert!(pause >= AWAY_PAUSE_MIN / 2, "{pause:?}");
            }
            attempts.set(attempts.get() + 1);
            under_way.set(0);
            Err::<(), _>(refused())
        };
        let _wanted = presence.wanted();
        // The first of all are not in turn: nobody knew.
        assert!(timeout(Duration::from_millis(1), presence.connect(&open)).await.is_err());
        let all =
            async { tokio::join!(presence.connect(&open), presence.connect(&open), presence.connect(&open)) };
        assert!(timeout(Duration::from_secs(60), all).await.is_err());
        let attempts = attempts.get();
        assert!((240..=490).contains(&attempts), "{attempts} in a minute, however many wait");
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_waits_for_is_not_tried() {
        let (presence, attempts) = (presence(), Cell::new(0));
        let open = |_| async {
            attempts.set(attempts.get() + 1);
            Err::<(), _>(refused())
        };
        assert!(presence.connect(&open).await.is_none());
        assert_eq!(attempts.get(), 1, "the one that was asked for");
        for _ in 0..8 {
            assert!(presence.connect(&open).await.is_none());
        }
        assert_eq!(attempts.get(), 1, "whoever asked has gone");
        // The next who asks tries at once.
        let _wanted = presence.wanted();
        sleep(Duration::from_secs(5)).await;
        let begun = Instant::now();
        let opened = presence.connect(async |_| Ok(begun.elapsed())).await;
        assert_eq!(opened, Some(Duration::ZERO));
        assert_eq!(presence.outage(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn where_attempts_hang_others_are_begun_beside_the_first() {
        let (presence, begun) = (presence(), Cell::new(0));
        let well = Instant::now() + Duration::from_secs(7);
        let open = |wait| {
            begun.set(begun.get() + 1);
            // Its packet was dropped; what is sent later arrives.
            let arrives = Instant::now() >= well;
            async move {
                if !arrives {
                    return timeout(wait, pending()).await.map_err(|_| ConnectError::TimedOut(wait));
                }
                Ok(())
            }
        };
        let _wanted = presence.wanted();
        assert_eq!(presence.connect(&open).await, Some(()));
        let late = well.elapsed();
        assert!(late <= BESIDE_EVERY, "{late:?}");
        assert!(begun.get() <= 20, "{} attempts", begun.get());
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_answers_slowly_is_waited_for() {
        let presence = presence();
        let open = |_| async {
            sleep(WAIT.mul_f64(0.999)).await;
            Ok::<_, ConnectError>(())
        };
        let _wanted = presence.wanted();
        assert_eq!(presence.connect(&open).await, Some(()), "though those beside it gave up");
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_are_begun_at_once_than_the_bound_says() {
        let (most, now) = (Cell::new(0), Cell::new(0));
        let (most, now) = (&most, &now);
        let open = |wait| async move {
            now.set(now.get() + 1);
            let _under = Under(now);
            most.set(most.get().max(now.get()));
            timeout(wait, pending()).await.map_err(|_| ConnectError::TimedOut(wait))
        };
        let opened: Result<(), _> = alone(open, WAIT).await;
        assert!(opened.is_err());
        assert_eq!(most.get(), 1 + 5, "the first, and those beside it");
        assert_eq!(now.get(), 0, "none is left");
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_answers_is_not_away() {
        let presence = presence();
        assert!(presence.connect(async |_| Err::<(), _>(refused())).await.is_none());
        assert!(presence.away.load(Ordering::Relaxed));
        sleep(Duration::from_secs(3)).await;
        assert_eq!(presence.outage().map(|outage| outage.as_secs()), Some(3));
        presence.note_answer();
        assert!(!presence.away.load(Ordering::Relaxed));
        assert_eq!(
            presence.outage(),
            Some(Duration::ZERO),
            "it takes no connections, and serves those it has"
        );
        sleep(WAIT * CURRENT).await;
        assert_eq!(presence.outage(), None, "too long ago to mean anything");
    }
}
