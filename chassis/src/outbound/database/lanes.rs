//! Connections that reads of many requests use at one time.
//!
//! The server wakes once for many statements that wait for it on one connection, and so do we for their answers: under load that
//! is half of what a short read costs. Only what is one message by itself can be sent so: between the messages of a
//! transaction another's would stand. And only what is short, because answers come in the order of the questions.
//!
//! A shared connection is one of the pool, held in turns. Whoever asks during a turn may join; then nobody does, the last answer
//! gives it back, and the next turn is waited for in the pool's queue, behind everybody who waits there. So a statement that
//! hangs keeps nobody waiting who came later than that, and all that a pool knows of a connection (its age, doubts about it, an
//! outage) is looked at between two turns.

use std::{
    future::Future,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Mutex, OwnedSemaphorePermit, Semaphore, SemaphorePermit},
    time::{Instant, timeout_at},
};

use super::{connection::Connection, pool::Lease};

/// How many connections are shared at one time, at most: no more than half of the pool's.
const LANES_MAX: usize = 4;

/// How many reads may be in flight for each of them.
const READS_MAX: usize = 16;

/// Where another has fewer reads than this, a read joins that one rather than a connection that is not shared yet.
const READS_FEW: usize = 4;

/// For how long others may join.
const TURN: Duration = Duration::from_millis(50);

/// The shared connections of a pool.
pub(super) struct Lanes {
    lanes: Box<[Lane]>,
    /// As many as there may be reads in flight.
    places: Arc<Semaphore>,
}

/// A place for one shared connection.
#[derive(Default)]
struct Lane {
    turn: Mutex<Weak<Turn>>,
    /// How many are on it, or wait for it.
    riders: Arc<AtomicUsize>,
}

/// A connection while it is shared.
pub(super) struct Turn {
    lease: Lease,
    ends: Instant,
    closed: AtomicBool,
    /// How many reads are in flight that somebody waits for.
    attended: AtomicUsize,
    /// How many answers have come.
    answers: AtomicUsize,
    /// Held by whoever cancels what nobody waits for.
    clearing: Semaphore,
}

/// A place on a shared connection. The connection goes back to the pool with the last one.
pub(super) struct Seat {
    turn: Arc<Turn>,
    _rider: Rider,
    _place: OwnedSemaphorePermit,
}

struct Rider(Arc<AtomicUsize>);

impl Rider {
    fn of(lane: &Lane) -> Self {
        lane.riders.fetch_add(1, Ordering::Relaxed);
        Self(lane.riders.clone())
    }
}

impl Drop for Rider {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// That somebody waits for the answer of a read.
pub(super) struct Attention(Arc<Turn>);

impl Attention {
    fn to(turn: Arc<Turn>) -> Self {
        turn.attended.fetch_add(1, Ordering::SeqCst);
        Self(turn)
    }

    /// Nobody waits for it any more.
    pub(super) fn end(self) -> Arc<Turn> {
        self.0.clone()
    }
}

impl Drop for Attention {
    fn drop(&mut self) {
        self.0.attended.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Lanes {
    /// For a pool of so many connections.
    pub(super) fn of(connections: u32) -> Self {
        let count = (connections as usize / 2).clamp(1, LANES_MAX);
        Self {
            lanes: (0..count).map(|_| Lane::default()).collect(),
            places: Arc::new(Semaphore::new(count * READS_MAX)),
        }
    }

    /// Waits for a place until `deadline`, first come, first served. Where no connection may be joined, `lease` waits for one.
    pub(super) async fn take<E>(
        &self,
        deadline: Instant,
        lease: impl Future<Output = Result<Lease, E>>,
        late: impl Fn() -> E,
    ) -> Result<(Seat, Attention), E> {
        // There is one at once, unless others wait for theirs.
        let place = match self.places.clone().try_acquire_owned() {
            Ok(place) => place,
            Err(_) => self.place(deadline).await.ok_or_else(&late)?,
        };
        // The first that has few, so that little load has one connection; or the one that has the fewest.
        let riders = |lane: &&Lane| lane.riders.load(Ordering::Relaxed);
        let first = self.lanes.iter().find(|lane| riders(lane) < READS_FEW);
        let Some(lane) = first.or_else(|| self.lanes.iter().min_by_key(riders)) else { return Err(late()) };
        let rider = Rider::of(lane);
        let Ok(mut current) = timeout_at(deadline, lane.turn.lock()).await else { return Err(late()) };
        // Attended first, and looked at then: who clears a turn does it the other way round.
        let joined = current.upgrade().map(Attention::to).filter(|attention| attention.0.may_be_joined());
        let attention = match joined {
            Some(attention) => attention,
            None => Attention::to(Arc::new(Turn::of(lease.await?))),
        };
        *current = Arc::downgrade(&attention.0);
        drop(current);
        Ok((Seat { turn: attention.0.clone(), _rider: rider, _place: place }, attention))
    }
}

impl Lanes {
    /// Waits for a place until `deadline`, and counts that it has to.
    async fn place(&self, deadline: Instant) -> Option<OwnedSemaphorePermit> {
        let _waiting = Waiting(Instant::now());
        timeout_at(deadline, self.places.clone().acquire_owned()).await.ok()?.ok()
    }
}

/// A read that waits for a place: it is counted when it has one, or gives up.
struct Waiting(Instant);

impl Drop for Waiting {
    fn drop(&mut self) {
        metrics::histogram!(crate::metrics::DATABASE_SHARED_WAIT.name).record(self.0.elapsed());
    }
}

impl Turn {
    fn of(lease: Lease) -> Self {
        Self {
            lease,
            ends: Instant::now() + TURN,
            closed: AtomicBool::new(false),
            attended: AtomicUsize::new(0),
            answers: AtomicUsize::new(0),
            clearing: Semaphore::new(1),
        }
    }

    fn may_be_joined(&self) -> bool {
        !self.closed.load(Ordering::SeqCst)
            && Instant::now() < self.ends
            && self.lease.connection().is_good_still()
    }

    /// Nobody joins from now on.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    /// Whether somebody waits for an answer on it.
    pub(super) fn is_attended(&self) -> bool {
        self.attended.load(Ordering::SeqCst) > 0
    }

    /// How many answers have come on it: while there are more and more, it isn't silent.
    pub(super) fn answers(&self) -> usize {
        self.answers.load(Ordering::SeqCst)
    }

    /// For one at a time.
    pub(super) fn clearing(&self) -> Option<SemaphorePermit<'_>> {
        self.clearing.try_acquire().ok()
    }
}

impl Seat {
    /// The connection, which others use, too.
    pub(super) fn connection(&self) -> &Connection {
        self.turn.lease.connection()
    }

    /// An answer has come.
    pub(super) fn answered(&self) {
        self.turn.answers.fetch_add(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};
    use tokio::time::advance;

    use super::*;

    /// Takes a place, and no connection: what happens to whoever has a place and finds none.
    async fn take(lanes: &Lanes, wait: Duration) -> &'static str {
        let lease = async { Err("no connection") };
        match lanes.take(Instant::now() + wait, lease, || "late").await {
            Ok(_) => "taken",
            Err(why) => why,
        }
    }

    /// How many reads have waited for a place, and for how long together.
    fn waited(recorder: &PrometheusRecorder) -> (u32, f64) {
        let said = recorder.handle().render();
        let sample = |end: &str| {
            let series = format!("database_shared_wait_seconds_{end} ");
            said.lines().find_map(|line| line.strip_prefix(&series)).unwrap_or("0").to_owned()
        };
        (sample("count").parse().unwrap(), sample("sum").parse().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_a_place_is_counted_and_nobody_else() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let _counted = metrics::set_default_local_recorder(&recorder);
        for (connections, lanes) in [(1, 1), (2, 1), (3, 1), (4, 2), (8, 4), (100, LANES_MAX)] {
            assert_eq!(Lanes::of(connections).places.available_permits(), lanes * READS_MAX);
        }
        let lanes = Lanes::of(2);
        let all_but_one = u32::try_from(READS_MAX).unwrap() - 1;
        let mut taken = lanes.places.clone().acquire_many_owned(all_but_one).await.unwrap();
        assert_eq!(take(&lanes, Duration::from_secs(1)).await, "no connection");
        assert_eq!(waited(&recorder), (0, 0.0), "the last place is one");

        taken.merge(lanes.places.clone().acquire_owned().await.unwrap());
        assert_eq!(take(&lanes, Duration::from_secs(1)).await, "late");
        assert_eq!(waited(&recorder), (1, 1.0));

        // Its client leaves.
        let mut waiting = Box::pin(take(&lanes, Duration::from_secs(60)));
        assert_eq!(waiting.as_mut().now_or_never(), None);
        advance(Duration::from_secs(2)).await;
        drop(waiting);
        assert_eq!(waited(&recorder), (2, 3.0));

        let mut waiting = Box::pin(take(&lanes, Duration::from_secs(60)));
        assert_eq!(waiting.as_mut().now_or_never(), None);
        advance(Duration::from_secs(4)).await;
        drop(taken);
        assert_eq!(waiting.await, "no connection");
        assert_eq!(waited(&recorder), (3, 7.0));
        assert_eq!(lanes.places.available_permits(), READS_MAX, "all have given theirs back");
    }
}
