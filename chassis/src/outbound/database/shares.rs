//! One owner holds no more than a share of what there is: of the connections, their abandoned statements included. An owner
//! whose share is in use waits for it, and not in the queue in front of others.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};

/// How many places each owner may hold, and which owners hold some. An owner is known only while one of their
/// requests waits or is in flight, so that there are no more owners than requests.
#[derive(Debug)]
pub struct Shares {
    each: usize,
    owners: Mutex<HashMap<Box<str>, Arc<Semaphore>>>,
}

/// One place of an owner's share, which is free again when this is dropped.
#[derive(Debug)]
pub struct Share {
    permit: Option<OwnedSemaphorePermit>,
    places: Option<Arc<Semaphore>>,
    owner: Box<str>,
    shares: Arc<Shares>,
}

impl Shares {
    /// Each owner may hold `percent` of so many places, but at least one.
    pub fn new(places: u32, percent: u8) -> Arc<Self> {
        let each = (u64::from(places) * u64::from(percent)).div_ceil(100).max(1);
        let each = usize::try_from(each).unwrap_or(Semaphore::MAX_PERMITS);
        Arc::new(Self { each, owners: Mutex::default() })
    }

    /// Shares of these: each owner may hold `percent` of what an owner may hold here, but at least one.
    pub(super) fn of_each(&self, percent: u8) -> Arc<Self> {
        Self::new(u32::try_from(self.each).unwrap_or(u32::MAX), percent)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, Arc<Semaphore>>> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits, first come, first served, for the owner's share; `None` if it is not free in time.
    pub async fn take(self: &Arc<Self>, owner: &str, deadline: Instant) -> Option<Share> {
        let places = {
            let mut owners = self.lock();
            let places = owners.entry(owner.into()).or_insert_with(|| Arc::new(Semaphore::new(self.each)));
            places.clone()
        };
        // From here on an owner who gives up is forgotten, too.
        let mut share =
            Share { permit: None, places: Some(places.clone()), owner: owner.into(), shares: self.clone() };
        share.permit = Some(timeout_at(deadline, places.acquire_owned()).await.ok()?.ok()?);
        Some(share)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.permit = None;
        let mut owners = self.shares.lock();
        self.places = None;
        // Any other holder has cloned it under the lock.
        if owners.get(&self.owner).is_some_and(|places| Arc::strong_count(places) == 1) {
            owners.remove(&self.owner);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(1)
    }

    #[tokio::test(start_paused = true)]
    async fn each_owner_has_a_share_and_no_more() {
        for (connections, percent, each) in
            [(8, 50, 4), (8, 51, 5), (8, 1, 1), (8, 100, 8), (1, 50, 1), (2, 50, 1), (3, 50, 2)]
        {
            let shares = Shares::new(connections, percent);
            let mut held = Vec::new();
            while let Some(share) = shares.take("u1", soon()).await {
                held.push(share);
            }
            assert_eq!(held.len(), each, "{percent} % of {connections}");
            assert!(shares.take("u2", soon()).await.is_some(), "another has a share of their own");
            held.pop();
            assert!(shares.take("u1", soon()).await.is_some(), "what was given back can be taken again");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_holds_nothing_is_forgotten() {
        let shares = Shares::new(1, 100);
        let held = shares.take("u1", soon()).await;
        assert!(shares.take("u1", soon()).await.is_none());
        assert_eq!(shares.lock().len(), 1);
        drop(held);
        assert_eq!(shares.lock().len(), 0);
        drop(shares.take("u1", soon()).await);
        assert_eq!(shares.lock().len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_their_own_is_next() {
        let shares = Shares::new(1, 100);
        let held = shares.take("u1", soon()).await;
        let waiting = tokio::spawn({
            let shares = shares.clone();
            async move { shares.take("u1", Instant::now() + Duration::from_secs(60)).await.is_some() }
        });
        tokio::task::yield_now().await;
        drop(held);
        assert!(waiting.await.unwrap());
        assert_eq!(shares.lock().len(), 0);
    }
}
