//! How long a peer is waited for that takes, or sends, too little.

use std::time::Duration;

use tokio::time::Instant;

/// What a peer is held to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measure {
    /// The longest wait in which nothing moves.
    pub longest: Duration,
    /// The rate that never tries our patience.
    pub bytes_per_sec: u32,
}

/// A bucket of time: waiting for the peer empties it, each byte that moves fills it, and it holds one longest wait.
///
/// So who moves nothing is given up after the longest wait, and who moves bytes below the least rate a little later,
/// however fast it was before. Only the peer's own time counts: while it waits for us the bucket stands still.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    left: Duration,
    since: Option<Instant>,
}

impl Patience {
    pub fn new(measure: &Measure) -> Self {
        Self { left: measure.longest, since: None }
    }

    /// It is the peer's turn, from now on or for longer already.
    pub fn wait(&mut self, now: Instant) {
        self.since.get_or_insert(now);
    }

    /// It is our turn.
    pub fn rest(&mut self, now: Instant) {
        self.spend(now);
        self.since = None;
    }

    /// So many bytes have moved.
    pub fn moved(&mut self, bytes: usize, measure: &Measure, now: Instant) {
        self.spend(now);
        let nanos = (bytes as u64).saturating_mul(1_000_000_000) / u64::from(measure.bytes_per_sec.max(1));
        self.left = self.left.saturating_add(Duration::from_nanos(nanos)).min(measure.longest);
    }

    /// When it ends, if nothing moves before; never while it is our turn.
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

    const MEASURE: Measure = Measure { longest: Duration::from_secs(60), bytes_per_sec: 240 };

    /// After how many seconds a peer is given up that moves `bytes` each `every` seconds; `None`: not within an hour.
    fn given_up(bytes: usize, every: u64) -> Option<u64> {
        let start = Instant::now();
        let mut patience = Patience::new(&MEASURE);
        patience.wait(start);
        (1..=3600).find(|second| {
            let now = start + Duration::from_secs(*second);
            if patience.ends().unwrap() <= now {
                return true;
            }
            if second % every == 0 {
                patience.moved(bytes, &MEASURE, now);
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
        let mut patience = Patience::new(&MEASURE);
        patience.wait(start);
        patience.moved(1 << 40, &MEASURE, start);
        assert_eq!(patience.ends(), Some(start + MEASURE.longest));
    }

    #[test]
    fn the_time_that_we_take_is_not_the_peers() {
        let start = Instant::now();
        let after = |secs| start + Duration::from_secs(secs);
        let mut patience = Patience::new(&MEASURE);
        patience.wait(start);
        patience.rest(after(20));
        assert_eq!(patience.ends(), None);
        patience.wait(after(1000));
        assert_eq!(patience.ends(), Some(after(1040)));
    }
}
