//! Pauses for Better Auth's rate limit: after a 429 it is not asked about that client again until the limit ends.
//!
//! It counts by the client's address, where it is set to read one, and all clients without one together
//! (`api/rate-limiter/index.ts`). So does a pause: a client that has used up its share costs no other's. Where it counts all
//! as one, because it is asked by cookies that anybody can make up, those pause first that nobody is known by: whoever is
//! known goes on, unless it says 429 again.

use std::{net::IpAddr, time::Duration};

use http::{HeaderMap, HeaderName, header};
use moka::sync::Cache;
use tokio::time::Instant;

use super::seldom::Seldom;
use crate::cache::count_evictions;

/// How long a pause is where the answer doesn't say, and how long it is at most.
const PAUSE: Duration = Duration::from_secs(10);
const PAUSE_MAX: Duration = Duration::from_mins(1);

/// When somebody may come again who has heard a 429 and is not paused.
const AT_ONCE: Duration = Duration::from_secs(1);

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
    app has, so that the SDK's cache spares look-ups, and AUTH_VERIFIER_REVOCATION_LAG_SECS to between 60 and the 300 that such a cache lives";

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

/// Whether a credential is known to be, or to have been, somebody's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Standing {
    /// It was signed here, or was found before.
    Proven,
    /// Anybody can have made it up.
    Unproven,
}

/// Which questions pause after a 429.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// All at once.
    Together,
    /// The unproven; the others if they hear another one meanwhile.
    UnprovenFirst,
}

/// The pauses under way.
pub(super) struct Pauses {
    order: Order,
    under_way: Cache<(Counted, Standing), Pause>,
    tell: Seldom,
}

#[derive(Clone, Copy)]
struct Pause {
    begun: Instant,
    until: Instant,
}

impl Pauses {
    pub(super) fn new(order: Order) -> Self {
        let under_way = Cache::builder().max_capacity(PAUSES_MAX).time_to_live(PAUSE_MAX);
        let under_way = under_way.eviction_listener(count_evictions("pauses")).build();
        Self { order, under_way, tell: Seldom::new(TELL_EVERY) }
    }

    /// How much longer Better Auth may not be asked about such a credential of `client`.
    pub(super) fn left(&self, client: Option<IpAddr>, standing: Standing) -> Option<Duration> {
        let pause = self.under_way.get(&(Counted::of(client), standing))?;
        Some(pause.until.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero())
    }

    /// Begins one, for as long as `answer` says, to a question that was `asked` then. The truth beside it: whether the log
    /// should repeat what to do.
    pub(super) fn begin(
        &self,
        client: Option<IpAddr>,
        standing: Standing,
        asked: Instant,
        answer: &HeaderMap,
    ) -> (Duration, bool) {
        let (now, pause) = (Instant::now(), stated(answer).unwrap_or(PAUSE));
        let client = Counted::of(client);
        let unproven = (client, Standing::Unproven);
        let earlier = self.under_way.get(&unproven).filter(|earlier| now < earlier.until);
        // The 429 to a question from before the pause says nothing of what came of that.
        let in_vain = standing == Standing::Proven && earlier.is_some_and(|earlier| earlier.begun <= asked);
        let all = in_vain || self.order == Order::Together;
        let begun = earlier.map_or(now, |earlier| earlier.begun);
        self.under_way.insert(unproven, Pause { begun, until: now + pause });
        if all {
            self.under_way.insert((client, Standing::Proven), Pause { begun: now, until: now + pause });
        }
        let of = if all { "all" } else { "unproven" };
        metrics::counter!(crate::metrics::LOOKUP_PAUSES.name, "of" => of).increment(1);
        let paused = all || standing == Standing::Unproven;
        (if paused { pause } else { AT_ONCE }, self.tell.due())
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

    use super::{
        Standing::{Proven, Unproven},
        *,
    };

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
            (&[("retry-after", "60")], 60),
            (&[("retry-after", "61")], 60),
            (&[("retry-after", "86400")], 60),
            (&[("retry-after", "99999999999999999999999")], 10),
            (&[("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT")], 10),
            (&[], 10),
        ] {
            let pauses = Pauses::new(Order::Together);
            assert_eq!(pauses.left(None, Proven), None);
            pauses.begin(None, Proven, Instant::now(), &answer(fields));
            assert_eq!(pauses.left(None, Proven), Some(Duration::from_secs(secs)), "{fields:?}");
            advance(Duration::from_millis(secs * 1000 - 1)).await;
            assert!(pauses.left(None, Proven).is_some(), "{fields:?}");
            advance(Duration::from_millis(1)).await;
            assert_eq!(pauses.left(None, Proven), None, "{fields:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_clients_pause_is_no_others_but_its_whole_network_is_one_client() {
        let pauses = Pauses::new(Order::Together);
        let address = |text: &str| Some(text.parse().unwrap());
        for client in [address("192.0.2.1"), address("2001:db8:0:1::1")] {
            pauses.begin(client, Proven, Instant::now(), &answer(&[]));
        }
        for (client, paused) in [
            (address("192.0.2.1"), true),
            (address("192.0.2.2"), false),
            (address("2001:db8:0:1:ffff::"), true),
            (address("2001:db8:0:2::1"), false),
            (None, false),
        ] {
            assert_eq!(pauses.left(client, Proven).is_some(), paused, "{client:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_log_says_what_to_do_once_in_a_while() {
        let pauses = Pauses::new(Order::Together);
        assert!(pauses.begin(None, Proven, Instant::now(), &answer(&[])).1);
        assert!(!pauses.begin(None, Proven, Instant::now(), &answer(&[])).1);
        advance(TELL_EVERY).await;
        assert!(pauses.begin(None, Proven, Instant::now(), &answer(&[])).1);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_is_known_goes_on_until_there_is_a_429_all_the_same() {
        let pauses = Pauses::new(Order::UnprovenFirst);
        let paused =
            || [Proven, Unproven].map(|standing| pauses.left(None, standing).map(|left| left.as_secs()));
        let second = Duration::from_secs(1);
        for (standing, heard) in [(Unproven, 7), (Proven, 1)] {
            let (asked, limit) = (Instant::now(), answer(&[("retry-after", "7")]));
            advance(second).await;
            assert_eq!(pauses.begin(None, standing, asked, &limit).0.as_secs(), heard);
            assert_eq!(paused(), [None, Some(7)], "{standing:?}");
            // What was asked before comes in after it.
            advance(second).await;
            assert_eq!(pauses.begin(None, Proven, asked, &limit).0.as_secs(), 1);
            assert_eq!(paused(), [None, Some(7)], "{standing:?}");
            advance(7 * second).await;
            assert_eq!(paused(), [None, None]);
        }
        for standing in [Unproven, Proven] {
            pauses.begin(None, standing, Instant::now(), &answer(&[("retry-after", "7")]));
        }
        assert_eq!(paused(), [Some(7), Some(7)]);
        advance(6 * second).await;
        assert_eq!(paused(), [Some(1), Some(1)]);
        advance(second).await;
        assert_eq!(paused(), [None, None], "then all are asked about again");
        pauses.begin(None, Proven, Instant::now(), &answer(&[]));
        assert_eq!(paused(), [None, Some(10)]);
    }

    #[tokio::test(start_paused = true)]
    async fn at_ones_own_better_auth_a_pause_is_everybodys_of_that_client() {
        for standing in [Proven, Unproven] {
            let pauses = Pauses::new(Order::Together);
            pauses.begin(None, standing, Instant::now(), &answer(&[]));
            assert!([Proven, Unproven].iter().all(|standing| pauses.left(None, *standing).is_some()));
        }
    }
}
