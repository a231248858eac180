//! Rate limits: how many requests a minute a client or a user may make, and how many at once.
//!
//! Each has a bucket that holds a burst and refills evenly. It is kept as one time, that at which it will be full again (GCRA, as
//! in ATM's traffic management and governor): a bucket that is full is none, so that nothing has to be swept.
//!
//! There is room for a bounded number of buckets. Whoever finds none takes the place of the one that lacks least, and begins with
//! a full one: that others have used the room up is no reason to refuse anybody. So those that have used up much are remembered
//! longest, and a newcomer's bucket makes way for the next newcomer, not theirs. Whoever has more addresses than there are places
//! can be forgotten, and begin anew: to those a bound of each address is none, and it is the bounds of what is in flight
//! (`admit`), and the load that is shed (`shed`), that hold. Where a bucket lies depends on a random key, so that nobody can choose
//! whose place it is. Only a hash of its owner is kept.
//!
//! governor has no such bound: its table grows until somebody sweeps it.

use std::{
    hash::{BuildHasher, Hash, RandomState},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use http::{HeaderMap, HeaderName, HeaderValue};
use metrics::{Counter, Gauge};
use thiserror::Error;

/// The newest draft's names and form (draft-ietf-httpapi-ratelimit-headers-10).
pub(crate) const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
pub(crate) const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// How many buckets share a lock, and compete for room.
const WAYS: usize = 8;

const MINUTE: Duration = Duration::from_secs(60);

/// How many requests somebody may make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Quota {
    /// In the long run. Never 0.
    pub(crate) per_minute: u32,
    /// At once, after a while of none. Never 0.
    pub(crate) burst: u32,
}

/// Whose requests are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Of {
    /// A client's, by its address.
    Client,
    /// A user's.
    User,
}

impl Of {
    /// Its name in headers and metrics.
    fn label(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::User => "user",
        }
    }
}

/// A rate limit, with everybody's buckets.
pub struct RateLimit {
    /// In which one request comes back, in nanoseconds.
    interval: u64,
    /// What a bucket lacks that is empty, in the time until it is full.
    empty: u64,
    /// What the times count from.
    began: Instant,
    hasher: RandomState,
    sets: Box<[Mutex<[Bucket; WAYS]>]>,
    name: &'static str,
    policy: HeaderValue,
    entries: Gauge,
    displaced: Counter,
}

#[derive(Clone, Copy, Default)]
struct Bucket {
    /// A hash of its owner; 0 while it has none.
    owner: u64,
    /// When it will be full, in nanoseconds.
    full: u64,
}

/// What is left to somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Standing {
    left: u32,
    /// Seconds until the bucket is full.
    full_secs: u32,
}

/// What the limits of a request's route leave to its client and its user; said in its answer, whatever that is.
#[derive(Default)]
pub(crate) struct Standings {
    client: Option<(Arc<RateLimit>, Standing)>,
    user: Option<(Arc<RateLimit>, Standing)>,
}

/// The bucket is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("too many requests; the next may come in {retry_secs} s")]
pub struct RateExceeded {
    /// In how many seconds there will be room for a request. Never 0.
    pub retry_secs: u32,
}

impl RateLimit {
    /// As much for each, with room for so many that have used up something of it.
    pub(crate) fn new(of: Of, quota: Quota, entries_max: usize) -> Arc<Self> {
        let Quota { per_minute, burst } = quota;
        let interval = nanos(MINUTE) / u64::from(per_minute.max(1));
        let sets = entries_max.div_ceil(WAYS).next_power_of_two();
        let name = of.label();
        // Rounded up: in less time less comes back than a client may be told.
        let window = (u64::from(burst) * MINUTE.as_secs()).div_ceil(u64::from(per_minute.max(1)));
        let policy = format!("\"{name}\";q={burst};w={window}");
        Arc::new(Self {
            interval,
            empty: interval * u64::from(burst),
            began: Instant::now(),
            hasher: RandomState::new(),
            sets: (0..sets).map(|_| Mutex::default()).collect(),
            name,
            policy: HeaderValue::try_from(policy).expect("a name and numbers may stand in a header"),
            entries: metrics::gauge!(crate::metrics::RATE_LIMIT_ENTRIES.name, "of" => name),
            displaced: metrics::counter!(crate::metrics::RATE_LIMIT_DISPLACED.name, "of" => name),
        })
    }

    /// Takes one request out of the bucket of `owner`; or, if that is empty, nothing.
    fn take(&self, owner: impl Hash, now: u64) -> (Standing, Result<(), RateExceeded>) {
        let owner = self.hasher.hash_one(owner);
        let set = usize::try_from(owner).unwrap_or(usize::MAX) & (self.sets.len() - 1);
        let owner = owner.max(1);
        let mut buckets = self.sets[set].lock().unwrap_or_else(PoisonError::into_inner);
        let its = buckets.iter().position(|bucket| bucket.owner == owner);
        let bucket = match its {
            Some(its) => &mut buckets[its],
            None => buckets.iter_mut().min_by_key(|bucket| bucket.full).expect("there are some"),
        };
        let full = its.map_or(now, |_| bucket.full.max(now)) + self.interval;
        let lacks = full - now;
        if let Some(over) = lacks.checked_sub(self.empty).filter(|over| *over > 0) {
            let standing = Standing { left: 0, full_secs: secs(lacks - self.interval) };
            return (standing, Err(RateExceeded { retry_secs: secs(over) }));
        }
        if bucket.owner == 0 {
            self.entries.increment(1.0);
        } else if its.is_none() && bucket.full > now {
            self.displaced.increment(1);
        }
        *bucket = Bucket { owner, full };
        drop(buckets);
        let left = (self.empty - lacks) / self.interval;
        (Standing { left: u32::try_from(left).unwrap_or(u32::MAX), full_secs: secs(lacks) }, Ok(()))
    }

    fn count(
        self: &Arc<Self>,
        owner: impl Hash,
        told: &mut Option<(Arc<Self>, Standing)>,
    ) -> Result<(), RateExceeded> {
        let (standing, taken) = self.take(owner, nanos(self.began.elapsed()));
        *told = Some((self.clone(), standing));
        taken
    }
}

/// Other rates have other tables.
impl Drop for RateLimit {
    fn drop(&mut self) {
        let used = |set: &mut Mutex<[Bucket; WAYS]>| {
            let buckets = set.get_mut().unwrap_or_else(PoisonError::into_inner);
            buckets.iter().filter(|bucket| bucket.owner != 0).count()
        };
        let used: usize = self.sets.iter_mut().map(used).sum();
        self.entries.decrement(f64::from(u32::try_from(used).unwrap_or(u32::MAX)));
    }
}

impl Standings {
    /// Counts a request to its client.
    pub(crate) fn count_client(
        &mut self,
        limit: &Arc<RateLimit>,
        client: impl Hash,
    ) -> Result<(), RateExceeded> {
        limit.count(client, &mut self.client)
    }

    /// Counts a request to its user.
    pub(crate) fn count_user(&mut self, limit: &Arc<RateLimit>, user: impl Hash) -> Result<(), RateExceeded> {
        limit.count(user, &mut self.user)
    }

    /// Says them in an answer, beside what its service says of limits of its own.
    pub(crate) fn tell(&self, headers: &mut HeaderMap) {
        for (limit, Standing { left, full_secs }) in [&self.client, &self.user].into_iter().flatten() {
            headers.append(RATE_LIMIT_POLICY, limit.policy.clone());
            let standing = format!("\"{}\";r={left};t={full_secs}", limit.name);
            headers.extend(HeaderValue::try_from(standing).ok().map(|standing| (RATE_LIMIT, standing)));
        }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Whole seconds, not less.
fn secs(nanos: u64) -> u32 {
    u32::try_from(nanos.div_ceil(1_000_000_000)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    /// One a second, three at once.
    const QUOTA: Quota = Quota { per_minute: 60, burst: 3 };

    fn limit(entries_max: usize) -> Arc<RateLimit> {
        RateLimit::new(Of::User, QUOTA, entries_max)
    }

    fn passes(limit: &RateLimit, owner: u32, now: u64) -> bool {
        limit.take(owner, now).1.is_ok()
    }

    #[test]
    fn a_burst_passes_and_then_one_for_each_interval() {
        let limit = limit(1000);
        for (now, left, full_secs) in [(0, 2, 1), (0, 1, 2), (0, 0, 3)] {
            assert_eq!(limit.take("ada", now), (Standing { left, full_secs }, Ok(())));
        }
        let refused = |now| limit.take("ada", now).1.unwrap_err().retry_secs;
        assert_eq!((refused(0), refused(1), refused(SECOND - 1)), (1, 1, 1));
        assert_eq!(limit.take("ada", SECOND - 1).0, Standing { left: 0, full_secs: 3 });
        assert_eq!(limit.take("ada", SECOND), (Standing { left: 0, full_secs: 3 }, Ok(())));
        assert!(limit.take("ada", SECOND).1.is_err(), "a refused request costs nothing, and gives nothing");
        assert!(limit.take("bob", SECOND).1.is_ok(), "somebody else has a bucket of its own");
        assert_eq!(
            limit.take("ada", 100 * SECOND).0,
            Standing { left: 2, full_secs: 1 },
            "never more than a burst"
        );
    }

    #[test]
    fn a_slow_rate_says_how_long_to_wait() {
        let limit = RateLimit::new(Of::Client, Quota { per_minute: 2, burst: 1 }, 8);
        assert!(passes(&limit, 1, 0));
        assert_eq!(limit.take(1, 0).1.unwrap_err().retry_secs, 30);
        assert_eq!(limit.take(1, 29 * SECOND + 1).1.unwrap_err().retry_secs, 1);
        assert!(passes(&limit, 1, 30 * SECOND));
    }

    #[test]
    fn nobody_is_refused_because_others_have_used_the_room_up() {
        let limit = limit(WAYS);
        // One set, each of whose owners has emptied its bucket.
        for owner in 0..8 {
            while passes(&limit, owner, 0) {}
        }
        for newcomer in 100..200 {
            let burst = [(); 4].map(|()| passes(&limit, newcomer, 0));
            assert_eq!(burst, [true, true, true, false], "{newcomer}");
        }
    }

    #[test]
    fn whoever_asks_for_more_than_its_rate_gets_no_more_because_there_is_no_room() {
        // One set, and ten times as many others, who push one another out.
        let limit = limit(WAYS);
        let mut passed = Vec::new();
        for turn in 0..20_000_u64 {
            let now = turn * SECOND / 100;
            passes(&limit, fastrand(turn) % 80, now);
            if passes(&limit, 700, now) {
                passed.push(now);
            }
        }
        assert!(passed.len() >= 200, "nor less");
        for (first, from) in passed.iter().enumerate() {
            for (later, to) in passed.iter().enumerate().skip(first) {
                let most = u64::from(QUOTA.burst) + (to - from) / SECOND;
                assert!((later - first + 1) as u64 <= most, "{} in {}", later - first + 1, to - from);
            }
        }
    }

    /// Numbers without an order, always the same.
    fn fastrand(seed: u64) -> u32 {
        (seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as u32
    }

    #[test]
    fn whoever_has_emptied_its_bucket_is_not_forgotten_for_newcomers() {
        let limit = limit(WAYS);
        while passes(&limit, 0, 0) {}
        // Each of them lacks less.
        for other in 1..1000 {
            passes(&limit, other, 0);
            assert!(!passes(&limit, 0, 0), "after {other}");
        }
    }

    #[test]
    fn buckets_that_are_full_again_make_room() {
        let limit = limit(WAYS);
        for round in 0..100 {
            for owner in 0..8 {
                assert!(passes(&limit, round * 8 + owner, u64::from(round) * SECOND));
            }
        }
    }

    #[test]
    fn the_policy_promises_no_more_than_is_given() {
        for (per_minute, burst, want) in
            [(60, 3, "\"user\";q=3;w=3"), (600, 100, "\"user\";q=100;w=10"), (7, 5, "\"user\";q=5;w=43")]
        {
            assert_eq!(RateLimit::new(Of::User, Quota { per_minute, burst }, 8).policy, want);
        }
    }

    #[test]
    fn answers_say_what_is_left_of_each_limit() {
        let mut standings = Standings::default();
        let mut headers = HeaderMap::new();
        standings.tell(&mut headers);
        assert!(headers.is_empty());
        standings.count_user(&limit(8), 1).unwrap();
        standings.count_client(&RateLimit::new(Of::Client, QUOTA, 8), 1).unwrap();
        standings.tell(&mut headers);
        let said = |name| headers.get_all(name).iter().cloned().collect::<Vec<_>>();
        assert_eq!(said(RATE_LIMIT), ["\"client\";r=2;t=1", "\"user\";r=2;t=1"]);
        assert_eq!(said(RATE_LIMIT_POLICY), ["\"client\";q=3;w=3", "\"user\";q=3;w=3"]);
    }
}
