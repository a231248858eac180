//! What time it is: a type for it, and where it comes from, so that a test can hand in its own.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// A point in time, in whole seconds since 1970, as `exp` and `iat` of a JWT have it (RFC 7519 §2, `NumericDate`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixSeconds(pub u64);

impl UnixSeconds {
    /// Later than any other. Also what a system clock before 1970 reads, so that all that ends has ended.
    pub const MAX: Self = Self(u64::MAX);

    /// The time by the system's clock.
    pub fn now() -> Self {
        SystemTime::now().into()
    }

    /// How long ago `earlier` was; nothing, if it is yet to come.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_secs(self.0.saturating_sub(earlier.0))
    }

    /// So much later, in whole seconds.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration.as_secs()))
    }

    /// So much earlier, in whole seconds, but not before 1970.
    #[must_use]
    pub fn before(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(duration.as_secs()))
    }
}

impl From<SystemTime> for UnixSeconds {
    fn from(time: SystemTime) -> Self {
        time.duration_since(UNIX_EPOCH).map_or(Self::MAX, |since| Self(since.as_secs()))
    }
}

impl fmt::Display for UnixSeconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where the time comes from: the system, or a test.
#[derive(Clone, Default)]
pub struct Clock(Option<Arc<dyn Fn() -> UnixSeconds + Send + Sync>>);

impl Clock {
    /// The system's.
    pub const SYSTEM: Self = Self(None);

    /// One that reads what `now` says.
    pub fn of(now: impl Fn() -> UnixSeconds + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(now)))
    }

    /// What it reads.
    pub fn now(&self) -> UnixSeconds {
        self.0.as_ref().map_or_else(UnixSeconds::now, |now| now())
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Clock(handed in)" } else { "Clock(system)" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_before_1970_lets_everything_end() {
        assert_eq!(UnixSeconds::from(UNIX_EPOCH - Duration::from_secs(1)), UnixSeconds::MAX);
        assert_eq!(UnixSeconds::from(UNIX_EPOCH), UnixSeconds(0));
        assert!(Clock::SYSTEM.now() > UnixSeconds(1_700_000_000));
    }

    #[test]
    fn neither_end_is_passed() {
        let (early, late) = (UnixSeconds(5), UnixSeconds::MAX);
        assert_eq!(early.since(late), Duration::ZERO);
        assert_eq!(early.before(Duration::from_secs(6)), UnixSeconds(0));
        assert_eq!(late.after(Duration::from_secs(1)), UnixSeconds::MAX);
        let clock = Clock::of(|| UnixSeconds(7));
        assert_eq!(clock.now().since(early), Duration::from_secs(2));
    }
}
