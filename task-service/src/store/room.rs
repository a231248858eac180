//! How many lists may be in memory at one time, from their rows to the last byte that the client takes.
//!
//! A client that reads nothing keeps its answer here for as long as it stays. So a list has a place before it is read, of
//! which there is a bounded number, and a long one has several. Of what the others leave, each user has half at most: who lets their
//! answers lie waits for themselves, and any two of them, or three, leave room for everybody else.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use chassis::outbound::database::{DatabaseError, Pool};
use metrics::Gauge;
use tokio::{sync::oneshot, time::timeout};

/// An answer up to so many bytes has its place only until it is written: it is no more than the listener's own buffers.
const SMALL: usize = 64 * 1024;

/// The places for lists.
#[derive(Clone)]
pub(super) struct Room(Arc<Places>);

struct Places {
    all: u32,
    held: Mutex<Held>,
    taken: Gauge,
}

/// Who holds how many, and who waits: no more than there are requests.
#[derive(Default)]
struct Held {
    by: HashMap<Box<str>, u32>,
    total: u32,
    waiting: VecDeque<Waiting>,
}

struct Waiting {
    user: Box<str>,
    places: u32,
    turn: oneshot::Sender<ListPlace>,
}

/// What one list holds, which is free again when this is dropped.
pub struct ListPlace {
    user: Box<str>,
    count: u32,
    places: Arc<Places>,
}

impl Room {
    pub(super) fn new(places: u32) -> Self {
        let taken = metrics::gauge!(crate::metrics::LIST_ANSWERS.name);
        Self(Arc::new(Places { all: places, held: Mutex::default(), taken }))
    }

    /// Waits for so many places, or for as many as a user may have if nobody else has any; no longer than for a connection of the
    /// pool.
    pub(super) async fn take(
        &self,
        user: &str,
        places: u32,
        pool: &Pool,
    ) -> Result<ListPlace, DatabaseError> {
        let wait = pool.patience();
        self.take_within(user, places, wait).await.ok_or_else(|| {
            metrics::counter!(crate::metrics::LIST_ANSWERS_REFUSED.name).increment(1);
            DatabaseError::before(pool.why_late(), format!("no place for another list within {wait:?}"))
        })
    }

    async fn take_within(&self, user: &str, places: u32, wait: Duration) -> Option<ListPlace> {
        let (turn, granted) = oneshot::channel();
        {
            let mut held = self.0.lock();
            let places = places.clamp(1, half(self.0.all));
            held.waiting.retain(|waiting| !waiting.turn.is_closed());
            held.waiting.push_back(Waiting { user: user.into(), places, turn });
        }
        self.0.grant();
        timeout(wait, granted).await.ok()?.ok()
    }
}

/// Half of so many, but at least one.
fn half(places: u32) -> u32 {
    places.div_ceil(2).max(1)
}

impl Places {
    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives what is free to those who may have it, first come, first served. Who may not yet keeps nobody else waiting.
    fn grant(self: &Arc<Self>) {
        // What nobody is there to take is given back without the lock, by its end.
        let mut nobodys = Vec::new();
        let mut held = self.lock();
        let mut at = 0;
        while let Some(Waiting { user, places, .. }) = held.waiting.get(at) {
            if !held.has_room(self.all, user, *places) {
                at += 1;
                continue;
            }
            let Some(Waiting { user, places: count, turn }) = held.waiting.remove(at) else { break };
            held.total += count;
            *held.by.entry(user.clone()).or_default() += count;
            self.taken.increment(f64::from(count));
            nobodys.extend(turn.send(ListPlace { user, count, places: self.clone() }).err());
        }
    }
}

impl Held {
    fn has_room(&self, all: u32, user: &str, places: u32) -> bool {
        let own = self.by.get(user).copied().unwrap_or_default();
        // What the others leave.
        let left = all - (self.total - own);
        own + places <= half(left).min(left)
    }
}

impl ListPlace {
    /// How many lists of the usual length it has room for.
    pub(super) fn count(&self) -> usize {
        self.count as usize
    }

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

impl Drop for ListPlace {
    fn drop(&mut self) {
        {
            let mut held = self.places.lock();
            held.total -= self.count;
            if let Some(own) = held.by.get_mut(&self.user) {
                *own -= self.count;
                if *own == 0 {
                    held.by.remove(&self.user);
                }
            }
        }
        self.places.taken.decrement(f64::from(self.count));
        self.places.grant();
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

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(20);

    async fn as_many_as_there_are(room: &Room, user: &str) -> Vec<ListPlace> {
        let mut held = Vec::new();
        while let Some(place) = room.take_within(user, 1, SOON).await {
            held.push(place);
        }
        held
    }

    #[tokio::test]
    async fn a_user_has_half_of_what_the_others_leave() {
        let room = Room::new(64);
        let mut held = Vec::new();
        for (user, places) in
            [("u1", 32), ("u2", 16), ("u3", 8), ("u4", 4), ("u5", 2), ("u6", 1), ("u7", 1), ("u8", 0)]
        {
            let theirs = as_many_as_there_are(&room, user).await;
            assert_eq!(theirs.len(), places, "{user}");
            held.push(theirs);
        }
        // Whose they were is forgotten, and what is given back can be had.
        held.remove(0);
        assert!(!room.0.lock().by.contains_key("u1"));
        assert_eq!(as_many_as_there_are(&room, "u9").await.len(), 16);
        held.clear();
        assert_eq!(room.0.lock().total, 0);
        assert!(room.0.lock().by.is_empty());
        for (all, most) in [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3)] {
            assert_eq!(as_many_as_there_are(&Room::new(all), "u1").await.len(), most, "of {all}");
        }
    }

    #[tokio::test]
    async fn a_long_list_has_several_places_or_none() {
        let room = Room::new(8);
        let long = room.take_within("u1", 3, SOON).await.unwrap();
        assert_eq!((long.count(), room.0.lock().total), (3, 3));
        assert!(room.take_within("u1", 2, SOON).await.is_none());
        assert!(room.take_within("u1", 1, SOON).await.is_some());
        assert!(room.take_within("u2", 4, SOON).await.is_none());
        assert_eq!(room.0.lock().total, 3);
        drop(long);
        // One that is longer than all that a user may have gets that.
        assert_eq!(room.take_within("u2", 100, SOON).await.unwrap().count(), 4);
        assert_eq!(room.0.lock().total, 0);
    }

    #[tokio::test]
    async fn who_waits_is_next_and_keeps_nobody_waiting_who_may_have_a_place() {
        let room = Room::new(4);
        let wait = |user: &'static str, places| {
            let room = room.clone();
            tokio::spawn(async move { room.take_within(user, places, Duration::from_secs(60)).await })
        };
        let mut first = as_many_as_there_are(&room, "u1").await;
        let (again, other) = (wait("u1", 1), wait("u2", 1));
        let other = other.await.unwrap().unwrap();
        assert!(!again.is_finished());
        first.pop();
        assert!(again.await.unwrap().is_some());
        // Who has given up is passed over.
        let gone = wait("u1", 2);
        tokio::task::yield_now().await;
        gone.abort();
        assert!(gone.await.is_err());
        drop((first, other));
        assert_eq!(room.0.lock().total, 0);
        assert_eq!(as_many_as_there_are(&room, "u1").await.len(), 2);
    }

    #[tokio::test]
    async fn a_large_answer_keeps_its_place_until_its_last_byte_is_gone() {
        let room = Room::new(1);
        let take = async || room.take_within("u1", 1, SOON).await;
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
