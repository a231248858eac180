//! Load shedding by service: how many requests may wait for one, found by how long its answers take to begin.
//!
//! A service that gets more than it can do answers everybody late, and whoever has left by then was served for nothing. So where the
//! operator says how soon answers should begin, there is a limit of those that wait, which adapts (AIMD, as in Netflix's
//! concurrency-limits): while most answers are late, it falls below those that wait by a fifth a turn; otherwise it rises.
//! Requests beyond it are answered 503 at once.
//!
//! Whether answers are late because of the load, or just take long, nobody can see from here; so nothing is shed while few wait, however
//! late their answers are, and nothing at all unless it is switched on. The limit is of the requests whose answer has not begun:
//! a stream that flows counts for nothing. Nor does a request with a body: whoever sends that may take all the time it likes, and would
//! hold the places of others.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use metrics::Gauge;
use thiserror::Error;

/// How long a turn takes at least. A longer target is a longer turn: what a change of the limit does shows only then.
const TURN_MIN: Duration = Duration::from_millis(100);

/// What is left of a limit, of five.
const FALLS_TO: (usize, usize) = (4, 5);

/// The part by which a limit rises, and one more.
const RISES_BY: usize = 20;

/// The limit of a service.
pub struct Shedder {
    target: Duration,
    /// What the limit never falls below, and what it never rises above.
    least: usize,
    most: usize,
    state: Mutex<State>,
    limit: Gauge,
}

struct State {
    limit: usize,
    waiting: usize,
    began: Instant,
    /// The most that waited in this turn.
    peak: usize,
    in_time: usize,
    late: usize,
    answered: Instant,
}

/// A request that waits for its answer to begin, until this is dropped.
pub(crate) struct Waiting {
    shedder: Arc<Shedder>,
    since: Instant,
    answered: bool,
}

/// As many wait for the service as may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("as many requests wait for the service as may")]
pub struct Overloaded;

impl Shedder {
    /// Answers of `service` should begin within `target`. Nobody is refused while fewer than `least` wait.
    pub(crate) fn new(service: &str, target: Duration, least: usize, most: usize) -> Arc<Self> {
        let limit =
            metrics::gauge!(crate::metrics::UPSTREAM_WAITING_LIMIT.name, "service" => service.to_owned());
        let (now, most) = (Instant::now(), most.max(least));
        let state =
            State { limit: most, waiting: 0, began: now, peak: 0, in_time: 0, late: 0, answered: now };
        let this = Self { target, least, most, state: Mutex::new(state), limit };
        this.tell(most);
        Arc::new(this)
    }

    /// Lets a request wait for the service. It must have no body: with one it may be its client who is waited for.
    pub(crate) fn enter(self: &Arc<Self>) -> Result<Waiting, Overloaded> {
        let now = Instant::now();
        self.enter_at(now)?;
        Ok(Waiting { shedder: self.clone(), since: now, answered: false })
    }

    fn enter_at(&self, now: Instant) -> Result<(), Overloaded> {
        let mut state = self.state();
        if now.saturating_duration_since(state.began) >= self.target.max(TURN_MIN) {
            self.turn(&mut state, now);
        }
        if state.waiting >= state.limit {
            return Err(Overloaded);
        }
        state.waiting += 1;
        state.peak = state.peak.max(state.waiting);
        Ok(())
    }

    fn leave_at(&self, now: Instant, since: Instant, answered: bool) {
        let mut state = self.state();
        state.waiting -= 1;
        if now.saturating_duration_since(since) > self.target {
            state.late += 1;
        } else if answered {
            state.in_time += 1;
        }
        if answered {
            state.answered = now;
        }
    }

    fn turn(&self, state: &mut State, now: Instant) {
        let silent = state.waiting > 0 && now.saturating_duration_since(state.answered) > self.target;
        let is_late = match (state.in_time, state.late) {
            (0, 0) => silent,
            (in_time, late) => late > in_time,
        };
        let limit = if is_late {
            // Below those that wait: a limit that nobody reaches would fall for a long time before anybody noticed.
            (state.limit.min(state.peak) * FALLS_TO.0 / FALLS_TO.1).max(self.least)
        } else {
            (state.limit + state.limit / RISES_BY + 1).min(self.most)
        };
        if limit != state.limit {
            self.tell(limit);
        }
        *state = State { limit, began: now, peak: state.waiting, in_time: 0, late: 0, ..*state };
    }

    fn tell(&self, limit: usize) {
        self.limit.set(f64::from(u32::try_from(limit).unwrap_or(u32::MAX)));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// The answer has begun.
    pub(crate) fn answered(mut self) {
        self.answered = true;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.shedder.leave_at(Instant::now(), self.since, self.answered);
    }
}

#[cfg(test)]
mod tests {
    use std::{cmp::Reverse, collections::BinaryHeap};

    use super::*;

    const MILLI: Duration = Duration::from_millis(1);
    const LEAST: usize = 16;
    const MOST: usize = 4096;

    /// A service that does so many requests at a time, each for so long, in their order; for as long as the test goes on, in
    /// simulated time.
    struct Service {
        workers: u32,
        takes_ms: u32,
    }

    /// What became of the requests of a while.
    #[derive(Default)]
    struct Outcome {
        refused: usize,
        took: Vec<Duration>,
    }

    impl Outcome {
        /// The time within which so many percent of the answers began.
        fn percentile(&mut self, percent: usize) -> Duration {
            self.took.sort();
            self.took[(self.took.len() - 1) * percent / 100]
        }
    }

    /// Simulates requests that come at `per_sec` from `start` for `lasts`, and tells of those of the second half, when the
    /// limit has settled.
    fn simulate(
        shedder: &Shedder,
        service: &Service,
        per_sec: u32,
        start: Instant,
        lasts: Duration,
    ) -> Outcome {
        let mut free: BinaryHeap<_> = (0..service.workers).map(|_| Reverse(start)).collect();
        // When answers begin, and since when they are waited for.
        let mut answers: BinaryHeap<Reverse<(Instant, Instant)>> = BinaryHeap::new();
        let mut outcome = Outcome::default();
        let counts_from = start + lasts / 2;
        let arrivals = (0..).map(|n| start + Duration::from_secs(1) * n / per_sec);
        for now in arrivals.take_while(|now| *now < start + lasts) {
            while let Some(Reverse((begins, since))) = answers.peek().copied()
                && begins <= now
            {
                answers.pop();
                shedder.leave_at(begins, since, true);
            }
            let counts = now >= counts_from;
            if shedder.enter_at(now).is_err() {
                outcome.refused += usize::from(counts);
                continue;
            }
            let Reverse(from) = free.pop().unwrap();
            let begins = from.max(now) + MILLI * service.takes_ms;
            free.push(Reverse(begins));
            answers.push(Reverse((begins, now)));
            if counts {
                outcome.took.push(begins - now);
            }
        }
        for Reverse((begins, since)) in answers.into_sorted_vec().into_iter().rev() {
            shedder.leave_at(begins, since, true);
        }
        outcome
    }

    fn shedder(target: Duration) -> Arc<Shedder> {
        Shedder::new("test", target, LEAST, MOST)
    }

    /// The same without a limit, to compare.
    fn unbounded() -> Arc<Shedder> {
        Shedder::new("test", Duration::MAX, usize::MAX, usize::MAX)
    }

    /// Services of different kinds, each with a target of some times what it takes.
    const SERVICES: [(Service, Duration); 4] = [
        (Service { workers: 4, takes_ms: 2 }, Duration::from_millis(30)),
        (Service { workers: 20, takes_ms: 20 }, Duration::from_millis(100)),
        (Service { workers: 100, takes_ms: 100 }, Duration::from_millis(300)),
        (Service { workers: 200, takes_ms: 1000 }, Duration::from_millis(2500)),
    ];

    fn capacity(service: &Service) -> u32 {
        service.workers * 1000 / service.takes_ms
    }

    #[test]
    fn an_overloaded_service_stays_busy_and_answers_in_time() {
        for (service, target) in &SERVICES {
            let lasts = (*target * 60).max(Duration::from_secs(10));
            for times in [2, 5] {
                let offered = capacity(service) * times;
                let mut kept = simulate(&shedder(*target), service, offered, Instant::now(), lasts);
                let done =
                    u32::try_from(kept.took.len()).unwrap() / u32::try_from((lasts / 2).as_secs()).unwrap();
                let (median, most) = (kept.percentile(50), kept.percentile(99));
                let of = capacity(service);
                assert!(done * 100 >= of * 95, "{target:?} ×{times}: {done} of {of} a second");
                assert!(median <= *target && most <= *target * 2, "{target:?} ×{times}: {median:?} {most:?}");
                let mut all = simulate(&unbounded(), service, offered, Instant::now(), lasts);
                assert!(all.percentile(50) > 10 * *target, "without a limit everybody waits");
            }
        }
    }

    #[test]
    fn a_service_that_can_do_what_it_gets_is_not_kept_from_it() {
        for (service, target) in &SERVICES {
            let offered = capacity(service) * 9 / 10;
            let outcome = simulate(&shedder(*target), service, offered, Instant::now(), *target * 60);
            assert_eq!(outcome.refused, 0, "{target:?}");
        }
    }

    #[test]
    fn a_service_that_is_slow_and_idle_is_not_kept_from_anything() {
        // Each answer takes ten times as long as it should; never more than the least wait.
        let service = Service { workers: 1000, takes_ms: 1000 };
        let outcome = simulate(&shedder(100 * MILLI), &service, 15, Instant::now(), Duration::from_secs(120));
        assert_eq!(outcome.refused, 0);
    }

    #[test]
    fn a_limit_rises_again_when_the_service_can_do_more() {
        let (shedder, start, minute) = (shedder(100 * MILLI), Instant::now(), Duration::from_secs(60));
        let slow = Service { workers: 2, takes_ms: 20 };
        assert!(simulate(&shedder, &slow, 1000, start, minute).refused > 0);
        let fast = Service { workers: 30, takes_ms: 20 };
        assert_eq!(simulate(&shedder, &fast, 1000, start + 2 * minute, minute).refused, 0);
    }

    #[test]
    fn a_service_that_says_nothing_holds_the_least_after_a_while() {
        let (shedder, start) = (shedder(100 * MILLI), Instant::now());
        let mut waiting = 0;
        for n in 0..2000 {
            waiting += usize::from(shedder.enter_at(start + n * MILLI).is_ok());
        }
        // Those of the first two turns, and nobody since.
        assert!((LEAST..=250).contains(&waiting), "{waiting}");
        assert_eq!(shedder.state().limit, LEAST);
    }

    #[test]
    fn a_limit_is_held_exactly_and_what_ends_makes_room() {
        let shedder = Shedder::new("test", MILLI * 1000, 2, 2);
        let first = shedder.enter().unwrap();
        let second = shedder.enter().unwrap();
        assert_eq!(shedder.enter().err(), Some(Overloaded));
        first.answered();
        let third = shedder.enter().unwrap();
        drop((second, third));
        assert_eq!(shedder.state().waiting, 0);
    }
}
