//! How many lists may be in memory at one time, from their rows to the last byte that the client takes.
//!
//! A client that reads nothing keeps its answer here for as long as it stays. So a list has a place before it is read, of
//! which there is a bounded number, and a long one has several. Of what the others leave, each user has half at most: who lets their
//! answers lie waits for themselves, and any two of them, or three, leave room for everybody else.

use std::{
    collections::{HashMap, VecDeque},
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use chassis::outbound::database::{DatabaseError, Pool};
use metrics::Gauge;
use tokio::{sync::oneshot, time::timeout};

/// An answer up to so many bytes has its place only until it is written: it is no more than the listener's own buffers.
const SMALL: usize = 64 * 1024;

/// From so many waiting on, those who have given up are taken out of the queue, each time that it has doubled.
const SWEEP_AT: usize = 64;

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
    /// How many may wait before those who have given up are looked for.
    sweep_at: usize,
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
        let mut granted = self.0.ask(user, places.clamp(1, half(self.0.all)));
        if let Ok(place) = granted.try_recv() {
            return Some(place);
        }
        let _waited = Waited(Instant::now());
        timeout(wait, granted).await.ok()?.ok()
    }
}

/// A list that has to wait: it is counted when it has its place, or gives up.
struct Waited(Instant);

impl Drop for Waited {
    fn drop(&mut self) {
        metrics::histogram!(crate::metrics::LIST_ANSWERS_WAIT.name).record(self.0.elapsed());
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

    /// Puts one more in the queue, or gives it what is free: those who wait already could not have had that.
    fn ask(self: &Arc<Self>, user: &str, places: u32) -> oneshot::Receiver<ListPlace> {
        let (turn, granted) = oneshot::channel();
        let mut held = self.lock();
        if held.waiting.len() >= held.sweep_at {
            held.waiting.retain(|waiting| !waiting.turn.is_closed());
            held.sweep_when_doubled();
        }
        let newcomer = Waiting { user: user.into(), places, turn };
        if held.has_room(self.all, user, places) {
            self.give(&mut held, newcomer);
        } else {
            held.waiting.push_back(newcomer);
        }
        granted
    }

    /// Gives what is free to those who may have it, first come, first served. Who may not yet keeps nobody else waiting.
    fn grant(self: &Arc<Self>) {
        let mut held = self.lock();
        for waiting in mem::take(&mut held.waiting) {
            if waiting.turn.is_closed() {
                continue;
            }
            if held.has_room(self.all, &waiting.user, waiting.places) {
                self.give(&mut held, waiting);
            } else {
                held.waiting.push_back(waiting);
            }
        }
        held.sweep_when_doubled();
    }

    /// What has just been left by who waited for it is free again at once: its end would only ask for the lock, and for the next
    /// of those who wait, from within itself.
    fn give(self: &Arc<Self>, held: &mut Held, Waiting { user, places, turn }: Waiting) {
        held.take(&user, places);
        let place = ListPlace { user, count: places, places: self.clone() };
        match turn.send(place) {
            Ok(()) => self.taken.increment(f64::from(places)),
            Err(mut nobodys) => {
                held.give_back(&nobodys.user, places);
                nobodys.count = 0;
            }
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

    fn sweep_when_doubled(&mut self) {
        self.sweep_at = SWEEP_AT.max(2 * self.waiting.len());
    }

    fn take(&mut self, user: &str, places: u32) {
        self.total += places;
        *self.by.entry(user.into()).or_default() += places;
    }

    fn give_back(&mut self, user: &str, places: u32) {
        self.total -= places;
        if let Some(own) = self.by.get_mut(user) {
            *own -= places;
            if *own == 0 {
                self.by.remove(user);
            }
        }
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
        if self.count == 0 {
            return;
        }
        self.places.lock().give_back(&self.user, self.count);
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
    use metrics_exporter_prometheus::PrometheusBuilder;

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
    async fn who_has_to_wait_is_counted_and_nobody_else() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let _counted = metrics::set_default_local_recorder(&recorder);
        let waited = || {
            let said = recorder.handle().render();
            let line = said.lines().find_map(|line| line.strip_prefix("list_answers_wait_seconds_count "));
            line.map_or(0, |count| count.parse::<u32>().unwrap())
        };
        let room = Room::new(2);
        let held = room.take_within("u1", 1, SOON).await.unwrap();
        assert_eq!(waited(), 0);
        assert!(room.take_within("u1", 1, SOON).await.is_none());
        assert_eq!(waited(), 1);
        let waiting = tokio::spawn({
            let room = room.clone();
            async move { room.take_within("u1", 1, Duration::from_secs(60)).await.is_some() }
        });
        tokio::task::yield_now().await;
        drop(held);
        assert!(waiting.await.unwrap());
        assert_eq!(waited(), 2);
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

    /// Many requests of one peer end at once. Each of them gives nothing to the next from within its own end: that would be as deep as
    /// there are many.
    #[tokio::test]
    async fn however_many_give_up_at_once_the_next_has_its_turn() {
        const MANY: usize = 20_000;
        let room = Room::new(2);
        let held = room.take_within("u1", 1, SOON).await.unwrap();
        let gone: Vec<_> = (0..MANY).map(|_| room.0.ask("u1", 1)).collect();
        let next = room.0.ask("u1", 1);
        assert_eq!(room.0.lock().waiting.len(), MANY + 1);
        drop(gone);
        drop(held);
        let next = next.await.unwrap();
        assert!(room.0.lock().waiting.is_empty());
        assert_eq!(room.0.lock().total, 1);
        // Nor do they fill the queue while nothing is given back.
        for _ in 0..MANY {
            drop(room.0.ask("u1", 1));
        }
        assert!(room.0.lock().waiting.len() <= SWEEP_AT);
        drop(next);
        assert_eq!(room.0.lock().total, 0);
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
