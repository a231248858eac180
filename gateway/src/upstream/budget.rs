//! How many requests of a service may go again: a share of all, so that retries never double a storm.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::time::Instant;

/// The share of requests that may go again, in percent of those of [`WINDOW`].
const SHARE_PERCENT: u64 = 20;

/// Where there are few requests, so many may go again in any case, per second of [`WINDOW`].
const FLOOR_PER_SEC: u64 = 10;

/// The time that is counted together.
const WINDOW: Duration = Duration::from_secs(10);

/// The budget of one service. A request costs one addition; only retries look at the clock.
pub(super) struct RetryBudget {
    requests: AtomicU64,
    spent: Mutex<Window>,
}

struct Window {
    began: Instant,
    /// How many requests there had been then, and how many of those in a time as long as a window.
    requests: u64,
    before: u64,
    retries: u64,
}

impl RetryBudget {
    pub(super) fn new() -> Self {
        let window = Window { began: Instant::now(), requests: 0, before: 0, retries: 0 };
        Self { requests: AtomicU64::new(0), spent: Mutex::new(window) }
    }

    /// Counts a request.
    pub(super) fn count(&self) {
        self.requests.fetch_add(1, Relaxed);
    }

    /// Whether a request may go again, which is counted then.
    pub(super) fn spend(&self) -> bool {
        let mut window = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        let (now, requests) = (Instant::now(), self.requests.load(Relaxed));
        let elapsed = now.duration_since(window.began);
        let since = requests.saturating_sub(window.requests);
        if elapsed >= WINDOW {
            // A window that nobody had a need to end may be long: what counts is a part of it.
            let before = u128::from(since) * WINDOW.as_millis() / elapsed.as_millis().max(1);
            let before = u64::try_from(before).unwrap_or(u64::MAX);
            *window = Window { began: now, requests, before, retries: 0 };
        }
        let since = requests.saturating_sub(window.requests);
        let allowed = since.max(window.before) * SHARE_PERCENT / 100 + FLOOR_PER_SEC * WINDOW.as_secs();
        let may = window.retries < allowed;
        window.retries += u64::from(may);
        may
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const FLOOR: u64 = FLOOR_PER_SEC * WINDOW.as_secs();

    fn spent(budget: &RetryBudget) -> u64 {
        (0..10_000).take_while(|_| budget.spend()).count() as u64
    }

    #[tokio::test(start_paused = true)]
    async fn a_fifth_of_the_requests_may_go_again_and_a_few_in_any_case() {
        let budget = RetryBudget::new();
        assert_eq!(spent(&budget), FLOOR, "nobody has asked for anything");
        (0..1000).for_each(|_| budget.count());
        assert_eq!(spent(&budget), 200);
        assert_eq!(spent(&budget), 0);
        advance(WINDOW).await;
        assert_eq!(spent(&budget), 200 + FLOOR, "as many as there were before");
        advance(WINDOW).await;
        assert_eq!(spent(&budget), FLOOR, "and those are over");
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_not_spent_is_not_saved_up() {
        let budget = RetryBudget::new();
        (0..100_000).for_each(|_| budget.count());
        advance(WINDOW * 100).await;
        assert_eq!(spent(&budget), 200 + FLOOR, "a hundredth of it, and the floor");
    }
}
