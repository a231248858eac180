//! One look-up at a time for each question. It is finished even if its callers hang up, and shared by all that may rely
//! on it.
//!
//! A look-up is a task of its own. A request joins the one under way if that began late enough, which is for as long as
//! a revocation may go unnoticed; else the next one, which begins when that one ends, so that it has seen whatever
//! happened before the request. One that hangs holds up the next for [`HANGS`] at most: that begins beside it.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

use chassis::cache_key::CacheKey;

/// How long a look-up may take before it is no longer joined or waited for: its connection may be dead.
const HANGS: Duration = Duration::from_secs(5);

/// A look-up that did not begin yet.
pub(super) type LookUp<A> = Pin<Box<dyn Future<Output = A> + Send>>;

/// The look-ups under way, each with at most one that waits for its end.
pub(super) struct Flights<A> {
    lag: Duration,
    under_way: Mutex<HashMap<CacheKey, UnderWay<A>>>,
    /// How many have begun.
    begun: AtomicU64,
}

struct UnderWay<A> {
    /// Which one it is.
    number: u64,
    begun: Instant,
    answer: Pending<A>,
    next: Option<Next<A>>,
}

struct Next<A> {
    look_up: LookUp<A>,
    tell: watch::Sender<Option<A>>,
    answer: Pending<A>,
}

/// An answer that is on its way.
pub(super) struct Pending<A>(watch::Receiver<Option<A>>);

impl<A> Clone for Pending<A> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<A: Clone> Pending<A> {
    /// Waits for it; `None` if the look-up broke off.
    pub(super) async fn wait(mut self) -> Option<A> {
        self.0.wait_for(Option::is_some).await.ok()?.clone()
    }
}

impl<A: Clone + Send + Sync + 'static> Flights<A> {
    /// An answer serves requests that come less than `lag` after its look-up began.
    pub(super) fn new(lag: Duration) -> Arc<Self> {
        Arc::new(Self { lag, under_way: Mutex::default(), begun: AtomicU64::new(0) })
    }

    /// The answer to the question of that key, by a look-up that may be relied on from now on. `look_up` is called only
    /// where there is none yet; its error says that there is no room for one more.
    pub(super) fn ask<E>(
        self: &Arc<Self>,
        key: CacheKey,
        look_up: impl FnOnce() -> Result<LookUp<A>, E>,
    ) -> Result<Pending<A>, E> {
        let now = Instant::now();
        let mut all = self.lock();
        if let Some(under_way) = all.get_mut(&key)
            && now.duration_since(under_way.begun) < HANGS
        {
            if now.duration_since(under_way.begun) < self.lag {
                return Ok(under_way.answer.clone());
            }
            if let Some(next) = &under_way.next {
                return Ok(next.answer.clone());
            }
            let next = Next::new(look_up()?);
            let answer = next.answer.clone();
            under_way.next = Some(next);
            return Ok(answer);
        }
        let waiting = all.get_mut(&key).and_then(|hanging| hanging.next.take());
        let next = waiting.map_or_else(|| look_up().map(Next::new), Ok)?;
        let answer = next.answer.clone();
        let (number, look_up, tell) = self.begin(&mut all, key, next);
        drop(all);
        tokio::spawn(self.clone().fly(key, number, look_up, tell));
        Ok(answer)
    }

    /// Makes it the one under way.
    fn begin(
        &self,
        all: &mut HashMap<CacheKey, UnderWay<A>>,
        key: CacheKey,
        Next { look_up, tell, answer }: Next<A>,
    ) -> (u64, LookUp<A>, watch::Sender<Option<A>>) {
        let number = self.begun.fetch_add(1, Ordering::Relaxed);
        all.insert(key, UnderWay { number, begun: Instant::now(), answer, next: None });
        (number, look_up, tell)
    }

    /// Looks up, then makes the look-ups that came to wait meanwhile, until none waits.
    async fn fly(
        self: Arc<Self>,
        key: CacheKey,
        number: u64,
        mut look_up: LookUp<A>,
        mut tell: watch::Sender<Option<A>>,
    ) {
        let mut landing = Landing { flights: &self, key, number };
        loop {
            let answer = look_up.await;
            let next = self.advance(&landing);
            tell.send_replace(Some(answer));
            let Some(next) = next else { return };
            (landing.number, look_up, tell) = next;
        }
    }

    /// Makes the next one the one under way, if there is one; else nothing is. Whatever took the place of this one goes
    /// on.
    fn advance(&self, landing: &Landing<'_, A>) -> Option<(u64, LookUp<A>, watch::Sender<Option<A>>)> {
        let mut all = self.lock();
        let next = landing.leave(&mut all)?.next?;
        Some(self.begin(&mut all, landing.key, next))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<CacheKey, UnderWay<A>>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<A> Next<A> {
    fn new(look_up: LookUp<A>) -> Self {
        let (tell, answer) = watch::channel(None);
        Self { look_up, tell, answer: Pending(answer) }
    }
}

/// A look-up that panics, or whose runtime ends, leaves no request waiting for it.
struct Landing<'a, A> {
    flights: &'a Flights<A>,
    key: CacheKey,
    number: u64,
}

impl<A> Landing<'_, A> {
    /// Takes it from those under way, if it is one still.
    fn leave(&self, all: &mut HashMap<CacheKey, UnderWay<A>>) -> Option<UnderWay<A>> {
        all.get(&self.key).filter(|under_way| under_way.number == self.number)?;
        all.remove(&self.key)
    }
}

impl<A> Drop for Landing<'_, A> {
    fn drop(&mut self) {
        let mut all = self.flights.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        self.leave(&mut all);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use tokio::{task::JoinHandle, time::sleep};

    use super::*;

    const TAKES: Duration = Duration::from_secs(2);

    /// Look-ups that take two seconds, and answer with when they began.
    struct World {
        flights: Arc<Flights<Duration>>,
        begun: Instant,
        count: Arc<AtomicUsize>,
    }

    impl World {
        fn new(lag_secs: u64) -> Self {
            let flights = Flights::new(Duration::from_secs(lag_secs));
            Self { flights, begun: Instant::now(), count: Arc::default() }
        }

        fn ask(&self, key: u8) -> JoinHandle<Option<Duration>> {
            let (begun, count) = (self.begun, self.count.clone());
            let look_up = || -> Result<LookUp<Duration>, ()> {
                Ok(Box::pin(async move {
                    count.fetch_add(1, Ordering::SeqCst);
                    let at = begun.elapsed();
                    sleep(TAKES).await;
                    at
                }))
            };
            tokio::spawn(self.flights.ask(CacheKey::of([key; 32]), look_up).unwrap().wait())
        }

        async fn at(&self, millis: u64) {
            tokio::time::sleep_until(self.begun + Duration::from_millis(millis)).await;
        }

        fn count(&self) -> usize {
            self.count.load(Ordering::SeqCst)
        }
    }

    async fn millis(asked: JoinHandle<Option<Duration>>) -> u128 {
        asked.await.unwrap().unwrap().as_millis()
    }

    #[tokio::test(start_paused = true)]
    async fn many_who_ask_the_same_share_one_look_up_and_another_question_is_another() {
        let world = World::new(5);
        let asked: Vec<_> = (0..100).map(|_| world.ask(1)).collect();
        let other = world.ask(2);
        for asked in asked {
            assert_eq!(millis(asked).await, 0);
        }
        assert_eq!(millis(other).await, 0);
        assert_eq!(world.count(), 2);
        assert!(world.flights.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_finished_although_all_who_asked_have_hung_up() {
        let world = World::new(5);
        world.ask(1).abort();
        world.at(1000).await;
        assert_eq!(millis(world.ask(1)).await, 0, "the same one");
        assert_eq!(world.count(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_lag_nobody_is_answered_by_what_began_before_they_asked() {
        let world = World::new(0);
        let first = world.ask(1);
        world.at(500).await;
        let signed_out = [world.ask(1), world.ask(1)];
        world.at(1500).await;
        let later = world.ask(1);
        assert_eq!(millis(first).await, 0);
        for asked in signed_out {
            assert_eq!(millis(asked).await, 2000, "begun after both had asked, and shared");
        }
        assert_eq!(millis(later).await, 2000, "begun after this one had asked, too");
        world.at(4500).await;
        assert_eq!(millis(world.ask(1)).await, 4500);
        assert_eq!(world.count(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_up_serves_whoever_asks_within_the_lag_and_nobody_after() {
        let world = World::new(1);
        let first = world.ask(1);
        world.at(999).await;
        let within = world.ask(1);
        world.at(1000).await;
        let after = world.ask(1);
        assert_eq!((millis(first).await, millis(within).await, millis(after).await), (0, 0, 2000));
        assert_eq!(world.count(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_breaks_off_leaves_nobody_waiting_and_the_next_is_a_new_one() {
        let world = World::new(5);
        let broken: Result<_, ()> = world
            .flights
            .ask(CacheKey::of([1; 32]), || Ok(Box::pin(async { panic!("a look-up that breaks") })));
        assert_eq!(broken.unwrap().wait().await, None);
        assert_eq!(millis(world.ask(1)).await, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn where_there_is_no_room_nothing_stays_behind() {
        let world = World::new(0);
        assert!(world.flights.ask(CacheKey::of([1; 32]), || Err("busy")).is_err());
        assert!(world.flights.lock().is_empty());
        let _first = world.ask(1);
        assert!(world.flights.ask(CacheKey::of([1; 32]), || Err("busy")).is_err());
        assert_eq!(millis(world.ask(1)).await, 2000);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_hangs_is_neither_joined_nor_waited_for_and_its_end_disturbs_no_other() {
        for lag in [0, 300] {
            let world = World::new(lag);
            let hangs: Result<_, ()> = world.flights.ask(CacheKey::of([1; 32]), || {
                Ok(Box::pin(async {
                    sleep(Duration::from_secs(6)).await;
                    Duration::MAX
                }))
            });
            world.at(4_999).await;
            let before = world.ask(1);
            world.at(5_000).await;
            let after = world.ask(1);
            world.at(6_500).await;
            assert_eq!(hangs.unwrap().wait().await, Some(Duration::MAX));
            let beside = world.ask(1);
            assert_eq!(millis(after).await, 5_000, "{lag}");
            match lag {
                // The next one begins beside the one that hangs; after it the one that was asked for last.
                0 => assert_eq!((millis(before).await, millis(beside).await), (5_000, 7_000)),
                _ => {
                    assert_eq!(before.await.unwrap(), Some(Duration::MAX));
                    assert_eq!(millis(beside).await, 5_000);
                }
            }
            assert!(world.flights.lock().is_empty());
        }
    }
}
