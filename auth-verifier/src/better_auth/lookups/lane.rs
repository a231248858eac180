//! A lane of look-ups: a bound on how many run at one time, and how many wait for their turn. Unsigned credentials have
//! one of their own, so that a flood of them leaves the others' free.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};

/// The bounds of a lane.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Look-ups at one time.
    pub(super) permits: usize,
    /// Look-ups that wait for one of these permits.
    pub(super) waiting: usize,
    /// How long each waits.
    pub(super) wait: Duration,
}

/// The permits, first come, first served.
#[derive(Clone)]
pub(super) struct Lane {
    name: &'static str,
    permits: Arc<Semaphore>,
    /// Those who have a place, and those who wait for one.
    inside: Arc<Semaphore>,
    wait: Duration,
}

/// Room to wait in.
pub(super) struct Ticket {
    lane: Lane,
    _inside: OwnedSemaphorePermit,
}

/// There is no room, or there was none in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Lane {
    /// `name` is for the metrics.
    pub(super) fn new(name: &'static str, bounds: Bounds) -> Self {
        Self {
            name,
            permits: Arc::new(Semaphore::new(bounds.permits)),
            inside: Arc::new(Semaphore::new(bounds.permits + bounds.waiting)),
            wait: bounds.wait,
        }
    }

    /// Room to wait in, if there is some.
    pub(super) fn enter(&self) -> Result<Ticket, Full> {
        let inside = self.inside.clone().try_acquire_owned().map_err(|_| Full)?;
        Ok(Ticket { lane: self.clone(), _inside: inside })
    }
}

impl Ticket {
    /// Waits for a permit; it is held for as long as what is returned.
    pub(super) async fn acquire(self) -> Result<(Self, OwnedSemaphorePermit), Full> {
        let begun = Instant::now();
        let permit = timeout(self.lane.wait, self.lane.permits.clone().acquire_owned()).await;
        metrics::histogram!(crate::metrics::LOOKUP_WAIT.name, "lane" => self.lane.name)
            .record(begun.elapsed());
        match permit {
            Ok(Ok(permit)) => Ok((self, permit)),
            _ => Err(Full),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { permits: 2, waiting: 1, wait: Duration::from_secs(1) };

    #[tokio::test(start_paused = true)]
    async fn so_many_have_a_permit_so_many_wait_and_the_next_is_turned_away_at_once() {
        let lane = Lane::new("test", BOUNDS);
        let (first, second) = (lane.enter().unwrap(), lane.enter().unwrap());
        let (first, _second) = (first.acquire().await.ok().unwrap(), second.acquire().await.ok().unwrap());
        let third = lane.enter().unwrap();
        assert!(lane.enter().is_err(), "two inside, one waits");
        drop(first);
        assert!(third.acquire().await.is_ok());
        assert!(lane.enter().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_longer_than_the_bound() {
        let lane = Lane::new("test", BOUNDS);
        let mut held = Vec::new();
        for _ in 0..2 {
            held.push(lane.enter().unwrap().acquire().await.ok().unwrap());
        }
        let begun = Instant::now();
        assert!(lane.enter().unwrap().acquire().await.is_err());
        assert_eq!(begun.elapsed(), BOUNDS.wait);
        assert!(lane.enter().is_ok(), "whoever gave up leaves their room to others");
    }
}
