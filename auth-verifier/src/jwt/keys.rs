//! The public keys that Better Auth publishes: read one by one, each bound to one algorithm.

mod algorithm;
mod jwk;

use std::{collections::HashMap, sync::Arc, time::Duration};

use chassis::{
    json::{Raw, Shape},
    outbound::refreshed::{Policy, Refetched, Refreshed, Source},
};
use moka::sync::Cache;
use tracing::{debug, warn};

use self::jwk::Jwk;
pub(crate) use self::jwk::NO_ALGORITHM;
pub use self::{
    algorithm::Algorithm,
    jwk::{Fingerprint, Key},
};
use crate::{
    cache::count_evictions,
    credential::jws::Jws,
    rejection::{Rejection, Unavailable, Untrusted, Unverified},
};

/// The most keys that a set may have. Better Auth makes a new one at each rotation and lists the old ones for a
/// month (better-auth/better-auth#6215 tells of a server that made one per request).
pub(crate) const KEYS_MAX: usize = 64;

/// How long a key id that a fetch did not bring is taken for missing, at least, and how many of them are cached.
/// Longer than a cool-down, whatever that is set to, so that an old key's tokens leave every other fetch to a new one;
/// not much longer, because a cache before Better Auth may bring a new key late.
const MISSING_LIFE: Duration = Duration::from_mins(1);
const MISSING_MAX: u64 = 1024;

/// The longest key id that is cached as missing; Better Auth's have 32 characters.
const KID_BYTES_MAX: usize = 128;

/// A key set, by key id.
pub struct KeySet(HashMap<String, Arc<Key>>);

impl KeySet {
    /// Reads a JWK set (RFC 7517 §5), key by key: an odd one is left out and logged, and never costs the others.
    ///
    /// A set without any usable key is an error, so that it never takes the place of a good one. An RSA key that
    /// doesn't say which algorithm it is for is for `rsa`.
    pub fn parse(bytes: &[u8], rsa: Option<Algorithm>) -> Result<Self, String> {
        let (set, left_out) = Self::read(bytes, rsa)?;
        for LeftOut { kid, reason } in left_out {
            warn!(
                kid = kid.map(|kid| kid.to_string()),
                reason, "left out a key: tokens that it signs are refused"
            );
        }
        if set.0.is_empty() {
            return Err("has no usable key".to_owned());
        }
        debug!(keys = set.0.len(), "read a key set");
        Ok(set)
    }

    /// The same, even if no key is usable; says which keys are left out.
    pub(crate) fn read(bytes: &[u8], rsa: Option<Algorithm>) -> Result<(Self, Vec<LeftOut>), String> {
        let listed = || match Raw::parse(bytes).ok()?.only("keys")?.shape() {
            Shape::List(listed) => Some(listed),
            _ => None,
        };
        let listed: Vec<_> = listed().ok_or("is not a JWK set")?.collect();
        if listed.len() > KEYS_MAX {
            return Err(format!("has {} keys, more than {KEYS_MAX}", listed.len()));
        }
        let mut keys = HashMap::new();
        let mut left_out = Vec::new();
        let mut twice = Vec::new();
        for jwk in listed {
            let Some(jwk) = jwk.object::<Jwk>() else {
                left_out.push(LeftOut { kid: None, reason: "it is not a JWK" });
                continue;
            };
            let Some(kid) = jwk.kid.clone() else {
                left_out.push(LeftOut { kid: None, reason: "it has no `kid`" });
                continue;
            };
            match jwk.key(rsa) {
                Ok(key) => {
                    if keys.insert(kid.clone(), Arc::new(key)).is_some() {
                        twice.push(kid);
                    }
                }
                Err(reason) => left_out.push(LeftOut { kid: Some(Untrusted::new(&kid)), reason }),
            }
        }
        for kid in twice {
            if keys.remove(&kid).is_some() {
                let reason = "its id stands for more than one key";
                left_out.push(LeftOut { kid: Some(Untrusted::new(&kid)), reason });
            }
        }
        Ok((Self(keys), left_out))
    }

    /// All keys, with their ids.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Key)> {
        self.0.iter().map(|(kid, key)| (&**kid, &**key))
    }

    /// The key of that id.
    pub fn get(&self, kid: &str) -> Option<Arc<Key>> {
        self.0.get(kid).cloned()
    }
}

/// A key of a set that is not used.
pub(crate) struct LeftOut {
    /// Its id, if it has one.
    pub(crate) kid: Option<Untrusted>,
    /// Why it is left out.
    pub(crate) reason: &'static str,
}

/// How a key set is kept.
#[derive(Clone, Debug)]
pub(crate) struct KeysConfig {
    /// When it is fetched again.
    pub(crate) policy: Policy,
    /// The algorithm of RSA keys that don't name one.
    pub(crate) rsa: Option<Algorithm>,
}

/// An issuer's keys, kept fresh.
pub(crate) struct Keys {
    document: Arc<Refreshed<KeySet>>,
    /// Key ids that were looked for and not found, so that tokens of an old key don't use up the fetches that a new
    /// one needs.
    missing: Cache<String, ()>,
}

impl Keys {
    /// Keys that are fetched from `source`.
    pub(crate) fn new(source: Source, config: KeysConfig) -> Self {
        let KeysConfig { policy, rsa } = config;
        let parse = Box::new(move |bytes: &[u8]| KeySet::parse(bytes, rsa));
        let life = MISSING_LIFE.max(policy.cool_down * 2);
        let missing = Cache::builder().max_capacity(MISSING_MAX).time_to_live(life);
        let missing = missing.eviction_listener(count_evictions("missing_keys")).build();
        Self { document: Refreshed::new("jwks", source, policy, parse), missing }
    }

    /// Keeps them fresh, for as long as it is polled.
    pub(crate) async fn keep_fresh(&self) {
        self.document.clone().keep_fresh().await;
    }

    /// Verifies the signature of `jws` by the key that it names.
    pub(crate) async fn verify(&self, jws: &Jws<'_>) -> Result<Arc<Key>, Unverified> {
        Algorithm::of(jws)?;
        let key = self.find(jws.kid().ok_or(Rejection::NoKeyId)?).await?;
        key.verify(jws)?;
        Ok(key)
    }

    /// The key of that id, if it is known already.
    pub(crate) fn known(&self, kid: &str) -> Option<Arc<Key>> {
        self.document.current().and_then(|set| set.get(kid))
    }

    /// The key of that id. For an unknown one the set is fetched again, as often as the cool-down allows.
    async fn find(&self, kid: &str) -> Result<Arc<Key>, Unverified> {
        let known = || self.known(kid);
        let unknown = || Rejection::UnknownKey;
        if let Some(key) = known() {
            return Ok(key);
        }
        let count =
            |result| metrics::counter!(crate::metrics::UNKNOWN_KEYS.name, "result" => result).increment(1);
        if self.document.current().is_some() && self.missing.contains_key(kid) {
            count("cached");
            return Err(unknown().into());
        }
        let refetched = self.document.refetch(|set| set.get(kid).is_some()).await;
        count(match refetched {
            Ok(Refetched::Fetched) => "fetched",
            Ok(Refetched::CoolingDown(_)) => "held_back",
            Err(_) => "unreachable",
        });
        if let Some(key) = known() {
            return Ok(key);
        }
        match (refetched, self.document.current()) {
            (Ok(Refetched::Fetched), Some(_)) => {
                if kid.len() <= KID_BYTES_MAX {
                    self.missing.insert(kid.to_owned(), ());
                }
                Err(unknown().into())
            }
            // It may have been made since.
            (Ok(Refetched::CoolingDown(left)), Some(_)) => {
                let secs = left.as_millis().div_ceil(1000).try_into().unwrap_or(u32::MAX);
                Err(Unavailable::Key(secs).into())
            }
            _ => Err(Unavailable::Keys.into()),
        }
    }
}
