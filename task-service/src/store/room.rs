//! How many lists may be in memory at one time, from their rows to the last byte that the client takes.
//!
//! A client that reads nothing keeps its answer here for as long as it stays. So a list has a place before it is read, of
//! which there is a bounded number, and one user has at most half of them: who lets their answers lie waits for themselves.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use chassis::outbound::database::{DatabaseError, Pool, Share, Shares};
use metrics::Gauge;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};

/// How many of the places one user may hold, in percent.
const USER_PERCENT: u8 = 50;

/// An answer up to so many bytes has its place only until it is written: it is no more than the listener's own buffers.
const SMALL: usize = 64 * 1024;

/// The places for lists.
#[derive(Clone)]
pub(super) struct Room {
    places: Arc<Semaphore>,
    shares: Arc<Shares>,
    taken: Gauge,
}

/// The place of one list, which is free again when this is dropped.
pub struct ListPlace {
    // In this order: who is next finds both free.
    _permit: OwnedSemaphorePermit,
    _share: Share,
    _taken: Taken,
}

struct Taken(Gauge);

impl Room {
    pub(super) fn new(places: u32) -> Self {
        Self {
            places: Arc::new(Semaphore::new(places as usize)),
            shares: Shares::new(places, USER_PERCENT),
            taken: metrics::gauge!(crate::metrics::LIST_ANSWERS.name),
        }
    }

    /// Waits for a place, first come, first served; no longer than for a connection of the pool.
    pub(super) async fn take(&self, user: &str, pool: &Pool) -> Result<ListPlace, DatabaseError> {
        let wait = pool.patience();
        self.take_within(user, wait).await.ok_or_else(|| {
            metrics::counter!(crate::metrics::LIST_ANSWERS_REFUSED.name).increment(1);
            DatabaseError::before(pool.why_late(), format!("no place for another list within {wait:?}"))
        })
    }

    async fn take_within(&self, user: &str, wait: Duration) -> Option<ListPlace> {
        let deadline = Instant::now() + wait;
        let share = self.shares.take(user, deadline).await?;
        let permit = timeout_at(deadline, self.places.clone().acquire_owned()).await.ok()?.ok()?;
        Some(ListPlace { _permit: permit, _share: share, _taken: Taken::counted(&self.taken) })
    }
}

impl ListPlace {
    /// The answer, which keeps its place until its last byte has left, if it is not small.
    pub fn keep(self, mut body: Vec<u8>) -> Bytes {
        if body.len() <= SMALL {
            return body.into();
        }
        // What it might have grown into is not kept with it.
        body.shrink_to_fit();
        Bytes::from_owner(Kept { body, _place: self })
    }
}

struct Kept {
    body: Vec<u8>,
    _place: ListPlace,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

impl Taken {
    fn counted(gauge: &Gauge) -> Self {
        gauge.increment(1.0);
        Self(gauge.clone())
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn a_user_has_half_of_the_places_and_others_have_theirs() {
        let room = Room::new(4);
        let take = async |user: &str| room.take_within(user, SOON).await;
        let mut held = vec![take("u1").await.unwrap(), take("u1").await.unwrap()];
        assert!(take("u1").await.is_none());
        held.extend([take("u2").await.unwrap(), take("u2").await.unwrap()]);
        assert!(take("u3").await.is_none(), "there are four");
        held.clear();
        assert!(take("u3").await.is_some());
    }

    #[tokio::test]
    async fn a_large_answer_keeps_its_place_until_its_last_byte_is_gone() {
        let room = Room::new(1);
        let take = async || room.take_within("u1", SOON).await;
        for (bytes, keeps) in [(0, false), (SMALL, false), (SMALL + 1, true)] {
            let mut answer = take().await.unwrap().keep(vec![b' '; bytes]);
            assert_eq!(answer.len(), bytes);
            assert_eq!(take().await.is_none(), keeps, "{bytes}");
            // A part of it is on its way.
            let rest = answer.split_off(bytes / 2);
            drop(answer);
            assert_eq!(take().await.is_none(), keeps, "{bytes}");
            drop(rest);
            assert!(take().await.is_some(), "{bytes}");
        }
    }
}
