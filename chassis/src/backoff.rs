//! Exponential back-off for whatever is tried again until it works, and which of its failures are worth a log line.

use std::time::Duration;

use tokio::time::Instant;

/// For how long after its start a service doesn't warn of somebody who isn't there yet: they may have been started together.
pub const START_GRACE: Duration = Duration::from_secs(30);

/// Waits that double with each failure in a row, from `min` to `max`.
#[derive(Clone, Debug)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    failures: u32,
    cause: String,
    /// Until when a failure is no reason to warn.
    quiet_until: Option<Instant>,
    /// Whether the failure that lasts was told only quietly.
    held_back: bool,
}

/// Whether a failure says anything that the one before it did not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// The first failure in a row, or one with another cause than the last.
    New,
    /// The same, but so soon after the start that it may be over in a moment.
    Early,
    /// The same again.
    Known,
}

impl Backoff {
    /// No failure yet. `max` is raised to `min` if it is less.
    pub fn new(min: Duration, max: Duration) -> Self {
        let cause = String::new();
        Self { min, max: max.max(min), failures: 0, cause, quiet_until: None, held_back: false }
    }

    /// The same for what may be started together with us: failures are [`News::Early`] from now until [`START_GRACE`] is
    /// over, or an attempt has worked. What lasts longer is news then.
    #[must_use]
    pub fn from_start(self) -> Self {
        Self { quiet_until: Some(Instant::now() + START_GRACE), ..self }
    }

    /// Counts a failed attempt.
    pub fn fail(&mut self, cause: impl ToString) -> News {
        let cause = cause.to_string();
        let known = self.failures > 0 && cause == self.cause;
        self.failures = self.failures.saturating_add(1);
        self.cause = cause;
        let early = self.quiet_until.is_some_and(|until| Instant::now() < until);
        match (known, early) {
            (true, true) => News::Known,
            (false, true) => {
                self.held_back = true;
                News::Early
            }
            (true, false) if !self.held_back => News::Known,
            (_, false) => {
                self.held_back = false;
                News::New
            }
        }
    }

    /// An attempt worked: the next failure is the first again.
    pub fn succeed(&mut self) {
        self.failures = 0;
        self.quiet_until = None;
        self.held_back = false;
    }

    /// How many attempts in a row have failed.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// How long to wait before the next attempt: `min` after the first failure; nothing before it.
    pub fn wait(&self) -> Duration {
        let Some(doublings) = self.failures.checked_sub(1) else { return Duration::ZERO };
        self.min.saturating_mul(2u32.saturating_pow(doublings)).min(self.max)
    }

    /// The same, less up to half of it at random: replicas that failed together don't try again together.
    pub fn jittered_wait(&self) -> Duration {
        self.jittered_wait_within(self.max)
    }

    /// The same for a failure of a kind that may be over sooner: no longer than `max`.
    pub fn jittered_wait_within(&self, max: Duration) -> Duration {
        self.wait().min(max).mul_f64(0.5 + 0.5 * fastrand::f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN: Duration = Duration::from_secs(1);

    #[test]
    fn waits_double_up_to_their_bound_and_begin_anew_after_a_success() {
        let mut backoff = Backoff::new(MIN, 10 * MIN);
        assert_eq!(backoff.wait(), Duration::ZERO);
        for secs in [1, 2, 4, 8, 10, 10] {
            backoff.fail("away");
            assert_eq!(backoff.wait(), secs * MIN);
            let jittered = backoff.jittered_wait();
            assert!(jittered >= backoff.wait() / 2 && jittered <= backoff.wait(), "{jittered:?}");
            let within = backoff.jittered_wait_within(MIN);
            assert!(within >= MIN / 2 && within <= MIN, "{within:?}");
        }
        backoff.succeed();
        backoff.fail("away");
        assert_eq!((backoff.wait(), backoff.failures()), (MIN, 1));
    }

    #[test]
    fn no_number_of_failures_is_too_many() {
        let mut backoff = Backoff::new(MIN, Duration::MAX);
        for _ in 0..100 {
            backoff.fail("away");
        }
        assert!(backoff.wait() >= Duration::from_secs(u32::MAX.into()));
        assert_eq!(Backoff::new(MIN, Duration::ZERO).max, MIN);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_there_at_the_start_is_news_when_that_lasts() {
        let mut backoff = Backoff::new(MIN, MIN).from_start();
        let told = ["away", "away", "refused", "away"].map(|cause| backoff.fail(cause));
        assert_eq!(told, [News::Early, News::Known, News::Early, News::Early]);
        tokio::time::advance(START_GRACE.saturating_sub(MIN)).await;
        assert_eq!(backoff.fail("away"), News::Known);
        tokio::time::advance(MIN).await;
        let told = ["away", "away", "refused"].map(|cause| backoff.fail(cause));
        assert_eq!(told, [News::New, News::Known, News::New]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_goes_after_it_was_there_is_news_at_once() {
        let mut backoff = Backoff::new(MIN, MIN).from_start();
        assert_eq!(backoff.fail("away"), News::Early);
        backoff.succeed();
        assert_eq!([(); 2].map(|()| backoff.fail("away")), [News::New, News::Known]);
    }

    #[test]
    fn a_failure_is_news_once_and_again_after_a_success_or_for_another_cause() {
        let mut backoff = Backoff::new(MIN, MIN);
        let told = ["away", "away", "refused", "refused", "away"].map(|cause| backoff.fail(cause));
        assert_eq!(told, [News::New, News::Known, News::New, News::Known, News::New]);
        backoff.succeed();
        assert_eq!(backoff.fail("away"), News::New);
    }
}
