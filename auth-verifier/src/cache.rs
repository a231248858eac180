//! Caches of what was found out about credentials: bounded, and looked up by a keyed hash ([`chassis::cache_key`]).

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use chassis::cache_key::{AsItIs, CacheKey, CacheKeyer};
use metrics::Counter;
use moka::{notification::RemovalCause, sync::Cache};

/// What a credential is taken for: the same text of another kind has another cache key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keyed {
    /// A token or cookie cache, verified by a published key.
    Verified,
    /// A session, by its token.
    SessionToken,
    /// A session, by a cookie whose signature can't be checked here.
    CarriedSession,
    /// A session, by its id.
    SessionId,
    /// A user, by their id.
    User,
    /// An opaque access token, by its hash.
    AccessToken,
}

impl Keyed {
    /// The cache key of `text`, taken for that.
    pub(crate) fn key(self, keyer: &CacheKeyer, text: &str) -> CacheKey {
        // Behind the text, so that the hasher need not copy it: one byte, always there, tells kinds apart as well.
        keyer.key([text.as_bytes(), &[self as u8]])
    }
}

/// Counts the entries that `cache` loses because it is full: where that number rises, its bound is too low.
pub(crate) fn count_evictions<K, V>(
    cache: &'static str,
) -> impl Fn(Arc<K>, V, RemovalCause) + Send + Sync + 'static {
    move |_, _, cause| {
        if cause == RemovalCause::Size {
            metrics::counter!(crate::metrics::CACHE_EVICTIONS.name, "cache" => cache).increment(1);
        }
    }
}

/// The bounds of a cache.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// How many entries it holds at most.
    pub(crate) entries_max: u64,
    /// How long an entry lives at most. Zero switches the cache off.
    pub(crate) life: Duration,
}

/// What was read of verified tokens. HMACs are not worth an entry: they are as cheap to check as to look up.
pub(crate) struct Verified<T> {
    name: &'static str,
    entries: Option<Cache<CacheKey, Arc<T>, AsItIs>>,
    keyer: CacheKeyer,
    hits: OnceLock<Counter>,
}

impl<T: Send + Sync + 'static> Verified<T> {
    /// An empty cache; `name` is its label in the metrics.
    pub(crate) fn new(name: &'static str, bounds: Bounds) -> Self {
        let on = !bounds.life.is_zero() && bounds.entries_max > 0;
        let entries = on.then(|| {
            Cache::builder()
                .max_capacity(bounds.entries_max)
                .time_to_live(bounds.life)
                .eviction_listener(count_evictions(name))
                .build_with_hasher(AsItIs::default())
        });
        Self { name, entries, keyer: CacheKeyer::new(), hits: OnceLock::new() }
    }

    /// The entry of `token`, if there is one that is still `good`.
    pub(crate) fn get(&self, token: &str, good: impl FnOnce(&T) -> bool) -> Option<Arc<T>> {
        let entry = self.entries.as_ref()?.get(&self.key(token))?;
        good(&entry).then(|| {
            // The counter is looked up once, as that costs as much as the rest of a hit.
            self.hits
                .get_or_init(|| metrics::counter!(crate::metrics::CACHE_HITS.name, "cache" => self.name))
                .increment(1);
            entry
        })
    }

    /// Keeps what was read of `token`.
    pub(crate) fn insert(&self, token: &str, read: T) {
        if let Some(entries) = &self.entries {
            metrics::counter!(crate::metrics::CACHE_INSERTS.name, "cache" => self.name).increment(1);
            entries.insert(self.key(token), Arc::new(read));
        }
    }

    fn key(&self, token: &str) -> CacheKey {
        Keyed::Verified.key(&self.keyer, token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_text_of_another_kind_has_another_key() {
        let keyer = CacheKeyer::new();
        assert!(Keyed::User.key(&keyer, "a") == Keyed::User.key(&keyer, "a"));
        assert!(Keyed::User.key(&keyer, "a") != Keyed::SessionId.key(&keyer, "a"));
        assert!(Keyed::User.key(&keyer, "a") != Keyed::User.key(&keyer, "b"));
    }
}
