//! The public keys that Better Auth publishes: read one by one, each bound to one algorithm.

use std::{collections::HashMap, sync::Arc, time::Duration};

use aws_lc_rs::signature::{ECDSA_P521_SHA512_FIXED, UnparsedPublicKey};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use chassis::document::{Document, Refetched};
use jsonwebtoken::DecodingKey;
use moka::sync::Cache;
use serde::Deserialize;
use serde_json::value::RawValue;
use tracing::{debug, warn};

use crate::{Rejection, Unavailable, Unverified, json, rejection::Claimed};

/// The most keys that a set may have. Better Auth makes a new one at each rotation and lists the old ones for a
/// month (better-auth/better-auth#6215 tells of a server that made one per request).
const KEYS_MAX: usize = 64;

/// RSA moduli that we verify with, in bytes: 2048 to 8192 bits.
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;

/// A signature algorithm (RFC 7518 §3.1, RFC 8037, RFC 9864).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the registry's")]
pub enum Algorithm {
    EdDsa,
    Es256,
    Es384,
    Es512,
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Hs256,
}

impl Algorithm {
    /// By its name in a header or a key.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            // The same algorithm, under its old and its new name.
            "EdDSA" | "Ed25519" => Self::EdDsa,
            "ES256" => Self::Es256,
            "ES384" => Self::Es384,
            "ES512" => Self::Es512,
            "RS256" => Self::Rs256,
            "RS384" => Self::Rs384,
            "RS512" => Self::Rs512,
            "PS256" => Self::Ps256,
            "PS384" => Self::Ps384,
            "PS512" => Self::Ps512,
            "HS256" => Self::Hs256,
            _ => return None,
        })
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::EdDsa => "EdDSA",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Es512 => "ES512",
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Hs256 => "HS256",
        }
    }

    /// As jsonwebtoken knows it; ES512 it doesn't.
    fn in_library(self) -> Option<jsonwebtoken::Algorithm> {
        use jsonwebtoken::Algorithm as Library;
        Some(match self {
            Self::EdDsa => Library::EdDSA,
            Self::Es256 => Library::ES256,
            Self::Es384 => Library::ES384,
            Self::Es512 => return None,
            Self::Rs256 => Library::RS256,
            Self::Rs384 => Library::RS384,
            Self::Rs512 => Library::RS512,
            Self::Ps256 => Library::PS256,
            Self::Ps384 => Library::PS384,
            Self::Ps512 => Library::PS512,
            Self::Hs256 => Library::HS256,
        })
    }
}

/// A key, and the one algorithm that it is for.
pub struct Key {
    algorithm: Algorithm,
    material: Material,
}

enum Material {
    Library(jsonwebtoken::Algorithm, DecodingKey),
    P521(UnparsedPublicKey<Vec<u8>>),
}

impl Key {
    /// The shared secret: raw UTF-8 bytes, never base64, as Better Auth uses it.
    pub fn hs256(secret: &str) -> Self {
        let key = DecodingKey::from_secret(secret.as_bytes());
        Self { algorithm: Algorithm::Hs256, material: Material::Library(jsonwebtoken::Algorithm::HS256, key) }
    }

    /// The algorithm that it is for.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Whether `signature` (base64url, unpadded) is this key's over `message`.
    pub fn verifies(&self, message: &[u8], signature: &str) -> bool {
        match &self.material {
            Material::Library(algorithm, key) => {
                jsonwebtoken::crypto::verify(signature, message, key, *algorithm).unwrap_or(false)
            }
            Material::P521(key) => BASE64_URL_SAFE_NO_PAD
                .decode(signature)
                .is_ok_and(|signature| key.verify(message, &signature).is_ok()),
        }
    }
}

/// A published key (RFC 7517 §4), with only the members that say something to us.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    r#use: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
    d: Option<serde::de::IgnoredAny>,
}

impl Jwk {
    fn key(&self) -> Result<Key, &'static str> {
        if self.d.is_some() {
            return Err("its private part is published");
        }
        if self.r#use.as_deref().is_some_and(|usage| usage != "sig") {
            return Err("it is not for signatures");
        }
        if self.key_ops.as_ref().is_some_and(|ops| !ops.iter().any(|op| op == "verify")) {
            return Err("it is not for verifying");
        }
        let algorithm = match (&self.alg, self.by_shape()) {
            (Some(name), shape) => {
                let algorithm = Algorithm::named(name).ok_or("its algorithm is unknown")?;
                if !self.fits(algorithm) || shape.is_some_and(|shape| shape != algorithm) {
                    return Err("its algorithm and its type don't go together");
                }
                algorithm
            }
            (None, Some(shape)) => shape,
            (None, None) => return Err("it does not say its algorithm"),
        };
        let material = match algorithm {
            Algorithm::Es512 => Material::P521(self.p521()?),
            _ => {
                let library = algorithm.in_library().ok_or("its algorithm is unknown")?;
                Material::Library(library, self.library_key()?)
            }
        };
        Ok(Key { algorithm, material })
    }

    /// An RSA key may be for several algorithms; a curve is for one.
    fn by_shape(&self) -> Option<Algorithm> {
        match (&*self.kty, self.crv.as_deref()) {
            ("OKP", Some("Ed25519")) => Some(Algorithm::EdDsa),
            ("EC", Some("P-256")) => Some(Algorithm::Es256),
            ("EC", Some("P-384")) => Some(Algorithm::Es384),
            ("EC", Some("P-521")) => Some(Algorithm::Es512),
            _ => None,
        }
    }

    fn fits(&self, algorithm: Algorithm) -> bool {
        use Algorithm::{EdDsa, Es256, Es384, Es512, Hs256, Ps256, Ps384, Ps512, Rs256, Rs384, Rs512};
        match algorithm {
            EdDsa | Es256 | Es384 | Es512 => self.by_shape() == Some(algorithm),
            Rs256 | Rs384 | Rs512 | Ps256 | Ps384 | Ps512 => self.kty == "RSA",
            // A secret in a public set is no secret.
            Hs256 => false,
        }
    }

    fn library_key(&self) -> Result<DecodingKey, &'static str> {
        let made = match &*self.kty {
            "OKP" => {
                let x = part(self.x.as_ref())?;
                if x.len() != 32 {
                    return Err("its `x` is not 32 bytes");
                }
                return Ok(DecodingKey::from_ed_der(&x));
            }
            "EC" => {
                let (x, y) = (self.x.as_deref().unwrap_or_default(), self.y.as_deref().unwrap_or_default());
                let bytes = if self.crv.as_deref() == Some("P-256") { 32 } else { 48 };
                if part(self.x.as_ref())?.len() != bytes || part(self.y.as_ref())?.len() != bytes {
                    return Err("its coordinates don't have the curve's length");
                }
                DecodingKey::from_ec_components(x, y)
            }
            _ => {
                let (n, e) = (part(self.n.as_ref())?, part(self.e.as_ref())?);
                let leading = n.iter().take_while(|byte| **byte == 0).count();
                if !RSA_BYTES.contains(&(n.len() - leading)) {
                    return Err("its modulus is not 2048 to 8192 bits");
                }
                if !exponent(&e).is_some_and(|e| e >= 3 && e % 2 == 1) {
                    return Err("its exponent is not an odd number from 3 on");
                }
                DecodingKey::from_rsa_components(
                    self.n.as_deref().unwrap_or_default(),
                    self.e.as_deref().unwrap_or_default(),
                )
            }
        };
        made.map_err(|_| "its numbers can't be read")
    }

    fn p521(&self) -> Result<UnparsedPublicKey<Vec<u8>>, &'static str> {
        let (x, y) = (part(self.x.as_ref())?, part(self.y.as_ref())?);
        if x.len() != 66 || y.len() != 66 {
            return Err("its coordinates don't have the curve's length");
        }
        // SEC 1 §2.3.3: uncompressed.
        let point = [&[4], &*x, &*y].concat();
        Ok(UnparsedPublicKey::new(&ECDSA_P521_SHA512_FIXED, point))
    }
}

/// An exponent as a number; everybody uses 65537, and 1 would sign anything.
fn exponent(bytes: &[u8]) -> Option<u64> {
    (bytes.len() <= 8).then(|| bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

fn part(text: Option<&String>) -> Result<Vec<u8>, &'static str> {
    let text = text.ok_or("a number is missing")?;
    BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| "a number is not base64url")
}

/// A key set, by key id.
pub struct KeySet(HashMap<String, Arc<Key>>);

impl KeySet {
    /// Reads a JWK set (RFC 7517 §5), key by key: an odd one is left out and logged, and never costs the others.
    ///
    /// A set without any usable key is an error, so that it never takes the place of a good one.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
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
            match jwk.key() {
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
    /// Keys of that document.
    pub fn new(document: Arc<Document<KeySet>>) -> Self {
        let missing = Cache::builder().max_capacity(MISSING_MAX).time_to_live(MISSING_LIFE).build();
        Self { document, missing }
    }

    /// Keeps them fresh, for as long as it is polled.
    pub async fn keep_fresh(&self) {
        self.document.clone().keep_fresh().await;
    }

    /// The key of that id; for an unknown one, the set is fetched again, as often as is allowed.
    pub async fn find(&self, kid: &str) -> Result<Arc<Key>, Unverified> {
        let known = || self.document.current().and_then(|set| set.get(kid));
        let unknown = || Rejection::UnknownKey(Claimed::new(kid));
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
