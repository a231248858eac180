//! What a published key verified, remembered for as long as that key is published.
//!
//! Only what such a key verified is: an HMAC is as quick to check as to look up.

use std::{sync::Arc, time::Duration};

use moka::sync::Cache;

use crate::{
    cache::{
        evicted,
        key::{Tag, Tagger},
    },
    jwt::{
        authority::Authority,
        keys::{Fingerprint, Key},
    },
};

/// How much is remembered.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// How many.
    pub max: u64,
    /// How long, at most. Zero: nothing is.
    pub life: Duration,
}

/// What was read of tokens whose signatures were good, each found by the keyed hash of its token.
pub struct Remembered<T> {
    name: &'static str,
    kept: Cache<Tag, Arc<Kept<T>>>,
    tagger: Tagger,
}

struct Kept<T> {
    read: T,
    authority: Arc<Authority>,
    kid: String,
    key: Fingerprint,
}

impl<T: Clone + Send + Sync + 'static> Remembered<T> {
    /// Remembers so much; `name` is for the metrics.
    pub fn new(name: &'static str, bounds: Bounds) -> Self {
        let max = if bounds.life.is_zero() { 0 } else { bounds.max };
        let kept = Cache::builder()
            .max_capacity(max)
            .time_to_live(bounds.life.max(Duration::from_millis(1)))
            .eviction_listener(evicted::count(name));
        Self { name, kept: kept.build(), tagger: Tagger::new() }
    }

    /// What was read of that token, if the key that it is signed with is still published. Whether it is over is for
    /// whoever asks to say.
    pub fn get(&self, token: &str) -> Option<T> {
        let kept = self.kept.get(&self.tagger.tag(0, token))?;
        let key = kept.authority.keys.known(&kept.kid)?;
        (key.fingerprint() == kept.key).then(|| {
            metrics::counter!("remembered_total", "cache" => self.name, "result" => "found").increment(1);
            kept.read.clone()
        })
    }

    /// Remembers what was read of a token that `key`, known as `kid` to `authority`, has signed.
    pub fn insert(&self, token: &str, read: T, authority: &Arc<Authority>, kid: &str, key: &Key) {
        metrics::counter!("remembered_total", "cache" => self.name, "result" => "made").increment(1);
        let (authority, kid, key) = (Arc::clone(authority), kid.to_owned(), key.fingerprint());
        self.kept.insert(self.tagger.tag(0, token), Arc::new(Kept { read, authority, kid, key }));
    }
}
