//! How many look-ups of made-up sessions a client can cause. Where nobody here can check a signature, each cookie that is
//! not known yet has to be asked about, and anybody can make cookies up.
//!
//! A look-up that finds somebody, or fails, costs nothing in the end: only those are counted that were about nobody.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use moka::sync::Cache;
use tokio::time::Instant;

use super::pauses::Counted;

/// How many look-ups a client may cause at once that find nobody, or have not found anybody yet, and after how long it
/// may cause one more.
const BURST: u32 = 30;
const REFILL: Duration = Duration::from_secs(2);

/// How many clients are counted. One whose budget is full again need not be.
const CLIENTS_MAX: u64 = 10_000;

/// The budgets of all clients. Those without an address have one together.
pub(super) struct Budgets(Cache<Counted, Arc<Mutex<Instant>>>);

/// A look-up that counts, until it is found not to.
pub(super) struct Charge {
    full_at: Arc<Mutex<Instant>>,
    refunded: bool,
}

impl Budgets {
    pub(super) fn new() -> Self {
        Self(Cache::builder().max_capacity(CLIENTS_MAX).time_to_idle(REFILL * (BURST + 1)).build())
    }

    /// Counts one more look-up for `client`; an error says when there will be room for it.
    pub(super) fn charge(&self, client: Option<IpAddr>) -> Result<Charge, Duration> {
        let now = Instant::now();
        // Each look-up puts off the moment at which the whole budget is there again.
        let full_at = self.0.get_with(Counted::of(client), || Arc::new(Mutex::new(now)));
        {
            let mut full_at = full_at.lock().unwrap_or_else(PoisonError::into_inner);
            let then = (*full_at).max(now) + REFILL;
            if let Some(over) =
                then.duration_since(now).checked_sub(REFILL * BURST).filter(|over| !over.is_zero())
            {
                return Err(over);
            }
            *full_at = then;
        }
        Ok(Charge { full_at, refunded: true })
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
            let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
            *full_at = full_at.checked_sub(REFILL).unwrap_or(*full_at);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn charge(budgets: &Budgets, client: &str) -> Result<Charge, Duration> {
        budgets.charge(Some(client.parse().unwrap()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_may_ask_about_so_many_that_are_nobodys_and_then_one_by_one() {
        let budgets = Budgets::new();
        let ada = "192.0.2.1";
        for _ in 0..BURST {
            charge(&budgets, ada).ok().unwrap().spend();
        }
        assert_eq!(charge(&budgets, ada).err(), Some(REFILL));
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
        for _ in 0..BURST * 3 {
            drop(budgets.charge(None).ok().unwrap());
        }
        let held: Vec<_> = (0..BURST).map(|_| budgets.charge(None).ok().unwrap()).collect();
        assert!(budgets.charge(None).is_err(), "so many at once");
        drop(held);
        assert!(budgets.charge(None).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_network_of_ipv6_is_one_client() {
        let budgets = Budgets::new();
        for _ in 0..BURST {
            charge(&budgets, "2001:db8:0:1::1").ok().unwrap().spend();
        }
        assert!(charge(&budgets, "2001:db8:0:1:ffff::").is_err());
        assert!(charge(&budgets, "2001:db8:0:2::1").is_ok());
    }
}
