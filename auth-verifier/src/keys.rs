//! The public keys that Better Auth publishes: read one by one, each bound to one algorithm.

mod algorithm;
mod jwk;
pub mod source;

use std::{collections::HashMap, sync::Arc, time::Duration};

use chassis::document::{Document, Policy, Refetched, Source};
use moka::sync::Cache;
use serde::Deserialize;
use serde_json::value::RawValue;
use tracing::{debug, warn};

use self::jwk::Jwk;
pub use self::{
    algorithm::Algorithm,
    jwk::{Fingerprint, Key},
};
use crate::{Rejection, Unavailable, Unverified, json, rejection::Claimed};

/// The most keys that a set may have. Better Auth makes a new one at each rotation and lists the old ones for a
/// month (better-auth/better-auth#6215 tells of a server that made one per request).
const KEYS_MAX: usize = 64;

/// A key set, by key id.
pub struct KeySet(HashMap<String, Arc<Key>>);

impl KeySet {
    /// Reads a JWK set (RFC 7517 §5), key by key: an odd one is left out and logged, and never costs the others.
    ///
    /// A set without any usable key is an error, so that it never takes the place of a good one. An RSA key that
    /// doesn't say which algorithm it is for is for `rsa`.
    pub fn parse(bytes: &[u8], rsa: Option<Algorithm>) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Set<'a> {
            #[serde(borrow)]
            keys: Vec<&'a RawValue>,
        }
        let set: Set<'_> = json::object(bytes).ok_or("is not a JWK set")?;
        if set.keys.len() > KEYS_MAX {
            return Err(format!("has {} keys, more than {KEYS_MAX}", set.keys.len()));
        }
        let mut keys = HashMap::new();
        let mut twice = Vec::new();
        for raw in set.keys {
            let Some(jwk) = json::object::<Jwk>(raw.get().as_bytes()) else {
                warn!("left out a key that is not a JWK");
                continue;
            };
            let Some(kid) = jwk.kid.clone() else {
                warn!("left out a key without `kid`");
                continue;
            };
            match jwk.key(rsa) {
                Ok(key) => {
                    if keys.insert(kid.clone(), Arc::new(key)).is_some() {
                        twice.push(kid);
                    }
                }
                Err(reason) => warn!(kid = %Claimed::new(&kid), reason, "left out a key"),
            }
        }
        for kid in twice {
            warn!(kid = %Claimed::new(&kid), "left out a key id that stands for more than one key");
            keys.remove(&kid);
        }
        if keys.is_empty() {
            return Err("has no usable key".to_owned());
        }
        debug!(keys = keys.len(), "read a key set");
        Ok(Self(keys))
    }

    /// The key of that id.
    pub fn get(&self, kid: &str) -> Option<Arc<Key>> {
        self.0.get(kid).cloned()
    }
}

/// How long a key id that a fetch did not bring is taken for missing, and how many of them are remembered. Longer than a
/// cool-down, so that an old key's tokens leave every other fetch to a new one; not much longer, because a cache
/// before Better Auth may bring a new key late.
const MISSING_LIFE: Duration = Duration::from_mins(1);
const MISSING_MAX: u64 = 1024;

/// Better Auth's keys, kept fresh.
pub struct Keys {
    document: Arc<Document<KeySet>>,
    /// Key ids that were looked for and not found, so that tokens of an old key don't use up the fetches that a new
    /// one needs.
    missing: Cache<String, ()>,
}

impl Keys {
    /// Keys that are fetched from there, as `policy` says.
    pub fn new(source: Source, policy: Policy, rsa: Option<Algorithm>) -> Self {
        let parse = Box::new(move |bytes: &[u8]| KeySet::parse(bytes, rsa));
        let document = Document::new("jwks", source, policy, parse);
        let missing = Cache::builder().max_capacity(MISSING_MAX).time_to_live(MISSING_LIFE).build();
        Self { document, missing }
    }

    /// Keeps them fresh, for as long as it is polled.
    pub async fn keep_fresh(&self) {
        self.document.clone().keep_fresh().await;
    }

    /// The key of that id, if it is known already.
    pub fn known(&self, kid: &str) -> Option<Arc<Key>> {
        self.document.current().and_then(|set| set.get(kid))
    }

    /// Fetches them now, if that is allowed yet; an error says that the last fetch failed.
    pub async fn refetch(&self) -> Result<(), Unavailable> {
        self.document.refetch().await.map(|_| ()).map_err(|_| Unavailable::Keys)
    }

    /// The key of that id; for an unknown one, the set is fetched again, as often as is allowed.
    pub async fn find(&self, kid: &str) -> Result<Arc<Key>, Unverified> {
        let known = || self.known(kid);
        let unknown = || Rejection::UnknownKey;
        if let Some(key) = known() {
            return Ok(key);
        }
        if self.document.current().is_some() && self.missing.contains_key(kid) {
            return Err(unknown().into());
        }
        let refetched = self.document.refetch().await;
        if let Some(key) = known() {
            return Ok(key);
        }
        match (refetched, self.document.current()) {
            (Ok(fetched), Some(_)) => {
                if fetched == Refetched::Now && kid.len() <= KID_BYTES_MAX {
                    self.missing.insert(kid.to_owned(), ());
                }
                Err(unknown().into())
            }
            _ => Err(Unavailable::Keys.into()),
        }
    }
}

/// The longest key id that is remembered as missing; Better Auth's have 32 characters.
const KID_BYTES_MAX: usize = 128;
