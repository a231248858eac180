//! A cache of verified assertions, so that a signature is checked once and not for each request that carries it:
//! auth-verifier hands the same assertion out for a quarter of a minute, and proxies reuse its verdicts.
//!
//! An entry is found by the whole text of its assertion, compared byte by byte. If two assertions could share a key of
//! the cache, one user would be another; text that is compared as a whole can't collide. The hash beneath it
//! (`SipHash`, keyed per process) only says where to look. Nothing gets in that auth-verifier has not signed, so nobody
//! else can fill the cache.

use std::{
    collections::HashMap,
    mem,
    sync::{Arc, Mutex, PoisonError},
};

use metrics::Counter;

use super::{keys::Key, proof::Life};
use crate::{Membership, UserId};

/// The most assertions that are cached, about 5 MB of them. At least half as many are kept, those used last.
pub(super) const ENTRIES_MAX: usize = 8192;

/// Its name among the caches of a process, in metrics.
const NAME: &str = "verified_assertions";

/// What was read of a verified assertion.
pub(super) struct Entry {
    pub(super) user: UserId,
    pub(super) membership: Option<Membership>,
    pub(super) life: Life,
    /// The key that has signed it, and its id.
    pub(super) kid: Box<str>,
    pub(super) key: Key,
}

/// Two generations. A used entry moves to the young one. When that is full it becomes the old one, and the old one is
/// dropped. So each step costs the same, and nothing has to be swept.
pub(super) struct Cache {
    generations: Mutex<Generations>,
    entries_max: usize,
    hits: Counter,
    inserts: Counter,
    evictions: Counter,
}

type Entries = HashMap<Box<str>, Arc<Entry>>;

#[derive(Default)]
struct Generations {
    young: Entries,
    old: Entries,
}

impl Cache {
    /// An empty one. Its metrics go to the recorder that is installed by now.
    pub(super) fn new(entries_max: usize) -> Self {
        Self {
            generations: Mutex::default(),
            entries_max,
            hits: metrics::counter!(crate::metrics::CACHE_HITS.name, "cache" => NAME),
            inserts: metrics::counter!(crate::metrics::CACHE_INSERTS.name, "cache" => NAME),
            evictions: metrics::counter!(crate::metrics::CACHE_EVICTIONS.name, "cache" => NAME),
        }
    }

    /// The entry of this assertion. Whether it still counts is for the caller to check.
    pub(super) fn get(&self, assertion: &str) -> Option<Arc<Entry>> {
        self.with(|generations| {
            if let Some(entry) = generations.young.get(assertion) {
                return Some(entry.clone());
            }
            let (text, entry) = generations.old.remove_entry(assertion)?;
            self.put(generations, text, entry.clone());
            Some(entry)
        })
    }

    /// Counts an entry that still counted.
    pub(super) fn hit(&self) {
        self.hits.increment(1);
    }

    /// Adds an assertion that was verified.
    pub(super) fn insert(&self, assertion: &str, entry: Arc<Entry>) {
        self.with(|generations| self.put(generations, assertion.into(), entry));
        self.inserts.increment(1);
    }

    fn put(&self, generations: &mut Generations, assertion: Box<str>, entry: Arc<Entry>) {
        if generations.young.len() >= self.entries_max / 2 {
            let young = mem::take(&mut generations.young);
            let gone = mem::replace(&mut generations.old, young);
            self.evictions.increment(gone.len() as u64);
        }
        generations.young.insert(assertion, entry);
    }

    fn with<T>(&self, act: impl FnOnce(&mut Generations) -> T) -> T {
        act(&mut self.generations.lock().unwrap_or_else(PoisonError::into_inner))
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.with(|generations| generations.young.len() + generations.old.len())
    }
}

#[cfg(test)]
mod tests {
    use chassis::clock::UnixSeconds;

    use super::*;

    fn entry(user: &str) -> Entry {
        let life = Life { iat: UnixSeconds(0), exp: UnixSeconds(60) };
        Entry {
            user: UserId::parse(user).unwrap(),
            membership: None,
            life,
            kid: "k".into(),
            key: Key::of([9; 32]),
        }
    }

    #[test]
    fn each_assertion_is_found_by_its_whole_text_and_no_other() {
        let cache = Cache::new(100);
        for user in ["u1", "u2"] {
            cache.insert(&format!("a.{user}.c"), Arc::new(entry(user)));
        }
        for user in ["u1", "u2"] {
            assert_eq!(cache.get(&format!("a.{user}.c")).unwrap().user.as_str(), user);
        }
        for other in ["", "a.u1.", "a.u1.c.", "a.U1.c", "a.u3.c"] {
            assert!(cache.get(other).is_none(), "{other}");
        }
    }

    #[test]
    fn the_cache_is_bounded_and_keeps_what_is_used() {
        let cache = Cache::new(100);
        cache.insert("busy", Arc::new(entry("u1")));
        for number in 0..1000 {
            cache.insert(&number.to_string(), Arc::new(entry("u2")));
            assert!(cache.get("busy").is_some(), "after {number}");
            assert!(cache.len() <= 100, "after {number}");
        }
        assert!(cache.get("0").is_none());
        assert!(cache.get("999").is_some());
    }
}
