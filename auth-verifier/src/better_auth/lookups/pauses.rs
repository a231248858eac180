//! Pauses for Better Auth's rate limit: after a 429 it is not asked about that client again until the limit ends.
//!
//! It counts by the client's address, where it is set to read one, and all clients without one together
//! (`api/rate-limiter/index.ts`). So does a pause: a client that has used up its share costs no other's.

use std::{net::IpAddr, sync::Mutex, time::Duration};

use http::{HeaderMap, HeaderName, header};
use moka::sync::Cache;
use tokio::time::Instant;

/// How long a pause is where the answer doesn't say, and how long it is at most.
const PAUSE: Duration = Duration::from_secs(10);
const PAUSE_MAX: Duration = Duration::from_mins(5);

/// How many clients' pauses are kept.
const PAUSES_MAX: u64 = 10_000;

/// How often the log repeats what the operator has to do.
const TELL_EVERY: Duration = Duration::from_mins(10);

/// What the operator has to do.
pub(crate) const CURE: &str = "Better Auth limits how often /get-session may be asked: exempt it, by \
    rateLimit: { customRules: { \"/get-session\": false } } in its options, or set AUTH_VERIFIER_DATABASE__URL to have \
    sessions looked up in its database; until then, have it count clients, by advanced.ipAddress.ipAddressHeaders naming \
    AUTH_VERIFIER_SESSION__CLIENT_ADDRESS_HEADER";

/// The same, where it is Neon Auth, at which nothing can be configured.
pub(crate) const NEONS_CURE: &str = "Neon Auth limits how often /get-session may be asked: set NEON_AUTH_COOKIE_SECRET to what the \
    app has, so that the SDK's cache spares look-ups, and raise AUTH_VERIFIER_REVOCATION_LAG_SECS, up to the 300 s that such a cache lives";

/// Better Auth says it in this one, proxies in the other.
const X_RETRY_AFTER: HeaderName = HeaderName::from_static("x-retry-after");

/// What Better Auth counts as one client: a network, or all that have no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Counted(Option<IpAddr>);

impl Counted {
    /// An IPv6 client has a whole network of addresses.
    pub(super) fn of(client: Option<IpAddr>) -> Self {
        Self(client.map(|address| match address {
            IpAddr::V4(_) => address,
            IpAddr::V6(long) => IpAddr::from((u128::from(long) & (u128::MAX << 64)).to_be_bytes()),
        }))
    }
}

/// The pauses under way.
pub(super) struct Pauses {
    until: Cache<Counted, Instant>,
    told: Mutex<Option<Instant>>,
}

impl Pauses {
    pub(super) fn new() -> Self {
        let until = Cache::builder().max_capacity(PAUSES_MAX).time_to_live(PAUSE_MAX).build();
        Self { until, told: Mutex::new(None) }
    }

    /// How much longer Better Auth may not be asked about `client`.
    pub(super) fn left(&self, client: Option<IpAddr>) -> Option<Duration> {
        let until = self.until.get(&Counted::of(client))?;
        Some(until.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero())
    }

    /// Begins one, for as long as `answer` says. The truth beside it: whether the log should repeat what to do.
    pub(super) fn begin(&self, client: Option<IpAddr>, answer: &HeaderMap) -> (Duration, bool) {
        let (now, pause) = (Instant::now(), stated(answer).unwrap_or(PAUSE));
        self.until.insert(Counted::of(client), now + pause);
        let mut told = self.told.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let tell = told.is_none_or(|at| now.duration_since(at) >= TELL_EVERY);
        if tell {
            *told = Some(now);
        }
        (pause, tell)
    }
}

/// In whole seconds (RFC 9110 §10.2.3); a date is not read. The longer one, of two.
fn stated(answer: &HeaderMap) -> Option<Duration> {
    let secs = |name: HeaderName| answer.get(name)?.to_str().ok()?.trim().parse::<u64>().ok();
    let stated = secs(header::RETRY_AFTER).max(secs(X_RETRY_AFTER))?;
    Some(Duration::from_secs(stated.max(1)).min(PAUSE_MAX))
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn answer(fields: &[(&str, &str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_is_kept_for_as_long_as_was_said_within_its_bounds() {
        for (fields, secs) in [
            (&[("retry-after", "7")][..], 7),
            (&[("x-retry-after", "8")], 8),
            (&[("x-retry-after", "8"), ("retry-after", "9")], 9),
            (&[("retry-after", "0")], 1),
            (&[("retry-after", "86400")], 300),
            (&[("retry-after", "99999999999999999999999")], 10),
            (&[("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT")], 10),
            (&[], 10),
        ] {
            let pauses = Pauses::new();
            assert_eq!(pauses.left(None), None);
            pauses.begin(None, &answer(fields));
            assert_eq!(pauses.left(None), Some(Duration::from_secs(secs)), "{fields:?}");
            advance(Duration::from_millis(secs * 1000 - 1)).await;
            assert!(pauses.left(None).is_some(), "{fields:?}");
            advance(Duration::from_millis(1)).await;
            assert_eq!(pauses.left(None), None, "{fields:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_clients_pause_is_no_others_but_its_whole_network_is_one_client() {
        let pauses = Pauses::new();
        let address = |text: &str| Some(text.parse().unwrap());
        for client in [address("192.0.2.1"), address("2001:db8:0:1::1")] {
            pauses.begin(client, &answer(&[]));
        }
        for (client, paused) in [
            (address("192.0.2.1"), true),
            (address("192.0.2.2"), false),
            (address("2001:db8:0:1:ffff::"), true),
            (address("2001:db8:0:2::1"), false),
            (None, false),
        ] {
            assert_eq!(pauses.left(client).is_some(), paused, "{client:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_log_says_what_to_do_once_in_a_while() {
        let pauses = Pauses::new();
        assert!(pauses.begin(None, &answer(&[])).1);
        assert!(!pauses.begin(None, &answer(&[])).1);
        advance(TELL_EVERY).await;
        assert!(pauses.begin(None, &answer(&[])).1);
    }
}
