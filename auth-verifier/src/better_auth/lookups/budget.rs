//! How many look-ups of made-up sessions a client can cause, and all of them together. Where nobody here can check a
//! signature, each cookie that is not known yet has to be asked about, and anybody can make cookies up.
//!
//! A look-up that finds somebody, or fails, costs nothing in the end: only those are counted that were about nobody.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use moka::sync::Cache;
use tokio::time::Instant;
use tracing::warn;

use super::{pauses::Counted, seldom::Seldom};
use crate::cache::count_evictions;

/// How many look-ups may be caused at once that find nobody, or have not found anybody yet, and after how long one more.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    burst: u32,
    refill: Duration,
}

/// Of one client.
const CLIENT: Bounds = Bounds { burst: 30, refill: Duration::from_secs(2) };

/// Of all clients together: eighty in any ten seconds at most, and forty when it goes on. A Better Auth that is not set
/// otherwise takes a hundred of us (`rateLimit`); the rest is for those who are known.
const ALL: Bounds = Bounds { burst: 40, refill: Duration::from_millis(250) };

/// How many clients are counted. One whose budget is full again need not be.
const CLIENTS_MAX: u64 = 10_000;

/// How often the log repeats what the operator has to do.
const TELL_EVERY: Duration = Duration::from_mins(10);

/// What the operator has to do where clients are not told apart.
pub(crate) const NO_ADDRESS_CURE: &str = "whoever asks auth-verifier has to name the client in x-forwarded-for, as the gateway does; it \
                                          takes it from a proxy in front of it that GATEWAY_SERVER__TRUSTED_PROXIES names";

/// The budgets of all clients. Those without an address have one together.
pub(super) struct Budgets {
    clients: Cache<Counted, Arc<Budget>>,
    all: Arc<Budget>,
    tell: Seldom,
}

struct Budget {
    bounds: Bounds,
    /// Each look-up puts off the moment at which the whole budget is there again.
    full_at: Mutex<Instant>,
}

/// A look-up that counts, until it is found not to.
pub(super) struct Charge {
    budget: Arc<Budget>,
    refunded: bool,
}

impl Budgets {
    pub(super) fn new() -> Self {
        let idle = CLIENT.refill * (CLIENT.burst + 1);
        Self {
            clients: Cache::builder()
                .max_capacity(CLIENTS_MAX)
                .time_to_idle(idle)
                .eviction_listener(count_evictions("client_budgets"))
                .build(),
            all: Budget::new(ALL),
            tell: Seldom::new(TELL_EVERY),
        }
    }

    /// Counts one more look-up for `client`; an error says when there will be room for it.
    pub(super) fn charge(&self, client: Option<IpAddr>) -> Result<Charge, Duration> {
        let budget = self.clients.get_with(Counted::of(client), || Budget::new(CLIENT));
        budget.charge().inspect_err(|_| {
            if client.is_none() && self.tell.due() {
                warn!(
                    "clients without an address have asked about too many sessions that are none; they have one budget together, and \
                     none of them can sign in meanwhile: {NO_ADDRESS_CURE}"
                );
            }
        })
    }

    /// Counts one more look-up of all clients together.
    pub(super) fn charge_all(&self) -> Result<Charge, Duration> {
        self.all.charge()
    }
}

impl Budget {
    fn new(bounds: Bounds) -> Arc<Self> {
        Arc::new(Self { bounds, full_at: Mutex::new(Instant::now()) })
    }

    fn charge(self: &Arc<Self>) -> Result<Charge, Duration> {
        let (now, Bounds { burst, refill }) = (Instant::now(), self.bounds);
        {
            let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
            let then = (*full_at).max(now) + refill;
            if let Some(over) =
                then.duration_since(now).checked_sub(refill * burst).filter(|over| !over.is_zero())
            {
                return Err(over);
            }
            *full_at = then;
        }
        Ok(Charge { budget: self.clone(), refunded: true })
    }
}

impl Charge {
    /// It was about nobody.
    pub(super) fn spend(mut self) {
        self.refunded = false;
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if self.refunded {
            let mut full_at = self.budget.full_at.lock().unwrap_or_else(PoisonError::into_inner);
            *full_at = full_at.checked_sub(self.budget.bounds.refill).unwrap_or(*full_at);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::time::advance;

    use super::*;

    fn charge(budgets: &Budgets, client: &str) -> Result<Charge, Duration> {
        budgets.charge(Some(client.parse().unwrap()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_may_ask_about_so_many_that_are_nobodys_and_then_one_by_one() {
        let budgets = Budgets::new();
        let ada = "192.0.2.1";
        for _ in 0..CLIENT.burst {
            charge(&budgets, ada).ok().unwrap().spend();
        }
        assert_eq!(charge(&budgets, ada).err(), Some(CLIENT.refill));
        assert!(charge(&budgets, "192.0.2.2").is_ok(), "another client has a budget of its own");
        advance(Duration::from_millis(1_999)).await;
        assert!(charge(&budgets, ada).is_err());
        advance(Duration::from_millis(1)).await;
        charge(&budgets, ada).ok().unwrap().spend();
        assert!(charge(&budgets, ada).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn what_finds_somebody_costs_nothing_but_counts_until_then() {
        let budgets = Budgets::new();
        for _ in 0..CLIENT.burst * 3 {
            drop(budgets.charge(None).ok().unwrap());
        }
        let held: Vec<_> = (0..CLIENT.burst).map(|_| budgets.charge(None).ok().unwrap()).collect();
        assert!(budgets.charge(None).is_err(), "so many at once");
        drop(held);
        assert!(budgets.charge(None).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn more_clients_than_are_counted_are_told_of() {
        let counted = chassis::telemetry::metrics();
        let evicted = || {
            let said = counted.render();
            let line = said
                .lines()
                .find_map(|line| line.strip_prefix("cache_evictions_total{cache=\"client_budgets\"} "));
            line.map_or(0, |count| count.parse::<u64>().unwrap())
        };
        let budgets = Budgets::new();
        for client in 1..=u32::try_from(CLIENTS_MAX).unwrap() {
            drop(budgets.charge(Some(Ipv4Addr::from(client).into())));
        }
        budgets.clients.run_pending_tasks();
        assert_eq!(evicted(), 0);
        drop(charge(&budgets, "203.0.113.7"));
        budgets.clients.run_pending_tasks();
        assert_eq!(evicted(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_network_of_ipv6_is_one_client() {
        let budgets = Budgets::new();
        for _ in 0..CLIENT.burst {
            charge(&budgets, "2001:db8:0:1::1").ok().unwrap().spend();
        }
        assert!(charge(&budgets, "2001:db8:0:1:ffff::").is_err());
        assert!(charge(&budgets, "2001:db8:0:2::1").is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn all_clients_together_stay_well_below_what_a_better_auth_takes_of_one() {
        const WINDOW: Duration = Duration::from_secs(10);
        const TAKEN: u32 = 100;
        let budgets = Budgets::new();
        let spend = || budgets.charge_all().map(Charge::spend);
        let mut asked: u32 = 0;
        let begun = Instant::now();
        while begun.elapsed() < WINDOW {
            asked += u32::from(spend().is_ok());
            advance(Duration::from_millis(5)).await;
        }
        assert!((ALL.burst..=TAKEN * 4 / 5).contains(&asked), "{asked}");
        advance(ALL.refill * ALL.burst).await;
        for _ in 0..ALL.burst {
            assert_eq!(spend(), Ok(()));
        }
        assert_eq!(spend(), Err(ALL.refill));
        // What finds somebody costs this one nothing, either.
        advance(ALL.refill).await;
        for _ in 0..TAKEN {
            drop(budgets.charge_all().ok().unwrap());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_few_ended_sessions_in_an_office_keep_no_colleague_from_signing_in() {
        let budgets = Budgets::new();
        let office = "203.0.113.7";
        let remembered = super::super::NOBODYS_LIFE.as_secs();
        for second in 0..1800 {
            // Eight cookies that have ended, each asked about anew when it is no longer remembered that it has.
            if second % remembered < 8 {
                charge(&budgets, office).ok().unwrap().spend();
            }
            if second % 7 == 3 {
                assert!(charge(&budgets, office).is_ok(), "a colleague at {second} s");
            }
            advance(Duration::from_secs(1)).await;
        }
    }
}
