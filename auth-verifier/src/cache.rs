//! Caches of what was found out about credentials: bounded, and looked up by a keyed hash, never by the credential, so
//! that a core dump holds nothing that lets anybody in.
//!
//! The hash decides whose entry a caller gets, so it must be impossible to make two credentials with one key. That
//! takes a pseudorandom function: BLAKE3 with a random key (the specification's §2.3 and §6.1) is one, at a quarter of
//! the instructions of HMAC-SHA256. A hash for hash tables (SipHash-1-3, aHash) would be cheaper still, but an entry
//! found by one has to be compared with the credential itself, which would then have to be kept.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use aws_lc_rs::rand;
use metrics::Counter;
use moka::{notification::RemovalCause, sync::Cache};

/// Finds an entry: a keyed hash of a credential.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct CacheKey([u8; 32]);

#[cfg(test)]
impl CacheKey {
    /// One that is not a hash of anything.
    pub(crate) fn of(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

/// Makes cache keys, with a random key of its own.
pub(crate) struct CacheKeyer([u8; blake3::KEY_LEN]);

/// What a credential is taken for: the same text of another kind has another cache key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keyed {
    /// A token or cookie cache, verified by a published key.
    Verified,
    /// A session, by its token.
    SessionToken,
    /// A session, by its id.
    SessionId,
    /// A user, by their id.
    User,
    /// An opaque access token, by its hash.
    AccessToken,
}

impl CacheKeyer {
    /// With a new key.
    pub(crate) fn new() -> Self {
        let mut key = [0; blake3::KEY_LEN];
        rand::fill(&mut key).expect("the system has random numbers");
        Self(key)
    }

    /// The cache key of `text`, taken for that `kind`.
    pub(crate) fn key(&self, kind: Keyed, text: &str) -> CacheKey {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(text.as_bytes());
        // Behind the text, so that the hasher need not copy it: one byte, always there, tells kinds apart as well.
        hasher.update(&[kind as u8]);
        CacheKey(hasher.finalize().into())
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
    entries: Option<Cache<CacheKey, Arc<T>>>,
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
                .build()
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
        self.keyer.key(Keyed::Verified, token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_key_is_of_one_text_of_one_kind_in_one_process() {
        let (keyer, other) = (CacheKeyer::new(), CacheKeyer::new());
        let key = |keyer: &CacheKeyer, kind, text| keyer.key(kind, text).0;
        assert_eq!(key(&keyer, Keyed::User, "a"), key(&keyer, Keyed::User, "a"));
        assert_ne!(key(&keyer, Keyed::User, "a"), key(&keyer, Keyed::SessionId, "a"));
        assert_ne!(key(&keyer, Keyed::User, "a"), key(&keyer, Keyed::User, "b"));
        assert_ne!(key(&keyer, Keyed::User, "a"), key(&other, Keyed::User, "a"));
    }
}
