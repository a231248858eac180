//! The least rate at which a peer must take, or send, and the time that it has for it.

use std::time::Duration;

use tokio::time::Instant;

/// The least rate. Kestrel's `MinDataRate`, with the wait as its grace period.
#[derive(Clone, Copy, Debug)]
pub(super) struct MinDataRate {
    /// The longest wait in which nothing moves.
    pub longest: Duration,
    /// A peer that keeps this rate is never given up.
    pub bytes_per_sec: u32,
}

/// A token bucket of time: waiting for the peer drains it, each byte that moves refills it, and it holds one longest wait.
///
/// So a peer that moves nothing is given up after the longest wait, and one below the least rate a little later, however
/// fast it was before. Only the peer's own time counts: while it waits for us, the bucket stands still.
#[derive(Clone, Copy, Debug)]
pub(super) struct TimeBudget {
    left: Duration,
    since: Option<Instant>,
}

impl TimeBudget {
    pub fn new(measure: &MinDataRate) -> Self {
        Self { left: measure.longest, since: None }
    }

    /// The peer is waited for, from now on or for longer already.
    pub fn wait(&mut self, now: Instant) {
        self.since.get_or_insert(now);
    }

    /// The peer is not waited for any more.
    pub fn rest(&mut self, now: Instant) {
        self.spend(now);
        self.since = None;
    }

    /// So many bytes have moved.
    pub fn moved(&mut self, bytes: usize, measure: &MinDataRate, now: Instant) {
        self.spend(now);
        let nanos = (bytes as u64).saturating_mul(1_000_000_000) / u64::from(measure.bytes_per_sec.max(1));
        self.left = self.left.saturating_add(Duration::from_nanos(nanos)).min(measure.longest);
    }

    /// When it is used up, if nothing moves before; never while the peer is not waited for.
    pub fn ends(&self) -> Option<Instant> {
        self.since.map(|since| since + self.left)
    }

    /// Whether the peer is waited for.
    pub fn waits(&self) -> bool {
        self.since.is_some()
    }

    fn spend(&mut self, now: Instant) {
        if let Some(since) = &mut self.since {
            self.left = self.left.saturating_sub(now.saturating_duration_since(*since));
            *since = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEASURE: MinDataRate = MinDataRate { longest: Duration::from_secs(60), bytes_per_sec: 240 };

    /// After how many seconds a peer is given up that moves `bytes` each `every` seconds; `None`: not within an hour.
    fn given_up(bytes: usize, every: u64) -> Option<u64> {
        let start = Instant::now();
        let mut budget = TimeBudget::new(&MEASURE);
        budget.wait(start);
        (1..=3600).find(|second| {
            let now = start + Duration::from_secs(*second);
            if budget.ends().unwrap() <= now {
                return true;
            }
            if second % every == 0 {
                budget.moved(bytes, &MEASURE, now);
            }
            false
        })
    }

    #[test]
    fn who_moves_nothing_is_given_up_after_the_longest_wait() {
        assert_eq!(given_up(0, 1), Some(60));
    }

    #[test]
    fn who_moves_a_byte_at_a_time_is_given_up_soon_after() {
        assert_eq!(given_up(1, 1), Some(61));
        assert_eq!(given_up(1, 59), Some(61));
        assert_eq!(given_up(239, 1), None, "within the hour; the bucket leaks slowly near the rate");
        // A sixth of the time is not earned back.
        assert!((350..=360).contains(&given_up(200, 1).unwrap()));
    }

    #[test]
    fn who_keeps_the_rate_is_waited_for_whatever_the_steps() {
        assert_eq!(given_up(240, 1), None);
        assert_eq!(given_up(240 * 59, 59), None);
    }

    #[test]
    fn a_fast_start_buys_no_more_than_the_longest_wait() {
        let start = Instant::now();
        let mut budget = TimeBudget::new(&MEASURE);
        budget.wait(start);
        budget.moved(1 << 40, &MEASURE, start);
        assert_eq!(budget.ends(), Some(start + MEASURE.longest));
    }

    #[test]
    fn the_time_that_we_take_is_not_the_peers() {
        let start = Instant::now();
        let after = |secs| start + Duration::from_secs(secs);
        let mut budget = TimeBudget::new(&MEASURE);
        budget.wait(start);
        budget.rest(after(20));
        assert_eq!(budget.ends(), None);
        budget.wait(after(1000));
        assert_eq!(budget.ends(), Some(after(1040)));
    }
}
