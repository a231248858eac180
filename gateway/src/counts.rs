//! What is counted, and outlives the settings: rates, and what is in flight. Whoever has used up a share has used it up, also
//! when a file was saved meanwhile.
//!
//! A rate goes on where it is the same as before, for the same route. Shares go on whatever they are now. How many there may be in
//! all begins anew when it is set otherwise: what is in flight then is counted to the bound that it came under.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use identity::UserId;
use tokio::sync::Semaphore;

use crate::{
    admit::share::Shares,
    rate_limit::{Of, Quota, RateLimit},
};

/// All that is counted. Each stack of a process is built with the same.
#[derive(Default)]
pub struct Counts {
    rates: Mutex<HashMap<Rate, Weak<RateLimit>>>,
    pub(crate) requests: Places,
    pub(crate) websockets: Places,
    pub(crate) clients: Shares<IpAddr>,
    pub(crate) users: Shares<UserId>,
    pub(crate) clients_websockets: Shares<IpAddr>,
    pub(crate) at_neon: Places,
    pub(crate) clients_at_neon: Shares<IpAddr>,
}

/// What makes a rate the same.
#[derive(PartialEq, Eq, Hash)]
struct Rate {
    of: Of,
    /// Its path; `None` for that of all routes.
    route: Option<Arc<str>>,
    quota: Quota,
    entries_max: usize,
}

/// A bounded number of places, for all together.
#[derive(Default)]
pub(crate) struct Places(Mutex<Option<(usize, Arc<Semaphore>)>>);

impl Counts {
    /// The rate of a route, or of all.
    pub(crate) fn rate(
        &self,
        of: Of,
        route: Option<Arc<str>>,
        quota: Quota,
        entries_max: usize,
    ) -> Arc<RateLimit> {
        let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that only older settings had.
        rates.retain(|_, limit| limit.strong_count() > 0);
        let rate = Rate { of, route, quota, entries_max };
        if let Some(limit) = rates.get(&rate).and_then(Weak::upgrade) {
            return limit;
        }
        let limit = RateLimit::new(of, quota, entries_max);
        rates.insert(rate, Arc::downgrade(&limit));
        limit
    }
}

impl Places {
    /// So many of them.
    pub(crate) fn of(&self, max: usize) -> Arc<Semaphore> {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*places {
            Some((same, places)) if *same == max => places.clone(),
            _ => places.insert((max, Arc::new(Semaphore::new(max)))).1.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUOTA: Quota = Quota { per_minute: 60, burst: 3 };

    #[test]
    fn a_rate_goes_on_while_it_is_the_same() {
        let counts = Counts::default();
        let route = |path: &str| Some(Arc::from(path));
        let first = counts.rate(Of::User, route("/a"), QUOTA, 1000);
        assert!(Arc::ptr_eq(&first, &counts.rate(Of::User, route("/a"), QUOTA, 1000)));
        for other in [
            counts.rate(Of::Client, route("/a"), QUOTA, 1000),
            counts.rate(Of::User, route("/b"), QUOTA, 1000),
            counts.rate(Of::User, None, QUOTA, 1000),
            counts.rate(Of::User, route("/a"), Quota { burst: 4, ..QUOTA }, 1000),
            counts.rate(Of::User, route("/a"), QUOTA, 2000),
        ] {
            assert!(!Arc::ptr_eq(&first, &other));
        }
        drop(first);
        counts.rate(Of::User, None, QUOTA, 1000);
        assert_eq!(counts.rates.lock().unwrap().len(), 1, "those that nobody uses are forgotten");
    }

    #[test]
    fn places_are_the_same_while_they_are_as_many() {
        let places = Places::default();
        let taken = places.of(2).try_acquire_owned().unwrap();
        assert_eq!(places.of(2).available_permits(), 1);
        assert_eq!(places.of(3).available_permits(), 3);
        drop(taken);
    }
}
