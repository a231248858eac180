//! One published key: read strictly, and bound to one algorithm.

use aws_lc_rs::{
    digest::{Context, SHA256},
    hmac,
    signature::{ECDSA_P521_SHA512_FIXED, UnparsedPublicKey},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use identity::is_of_small_order;
use jsonwebtoken::DecodingKey;
use serde::Deserialize;

use super::Algorithm;
use crate::{credential::jws::Jws, rejection::Rejection};

/// RSA moduli that we verify with, in bytes: 2048 to 8192 bits.
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;

/// Why an RSA key without `alg` is left out.
pub(crate) const NO_ALGORITHM: &str =
    "it does not say its algorithm; AUTH_VERIFIER_JWKS__RSA_ALGORITHM can say it";

/// A key, and the one algorithm that it is for.
pub struct Key {
    algorithm: Algorithm,
    material: Material,
    fingerprint: Fingerprint,
}

/// Tells keys apart: it is another one if anything about the key is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

enum Material {
    /// Its inner and outer pads are hashed once, when the key is made.
    Hmac(Box<hmac::Key>),
    Library(jsonwebtoken::Algorithm, DecodingKey),
    P521(UnparsedPublicKey<Vec<u8>>),
}

impl Key {
    /// The shared secret: raw UTF-8 bytes, never base64, as Better Auth uses it.
    pub fn hs256(secret: impl AsRef<[u8]>) -> Self {
        let secret = secret.as_ref();
        let material = Material::Hmac(Box::new(hmac::Key::new(hmac::HMAC_SHA256, secret)));
        Self { algorithm: Algorithm::Hs256, material, fingerprint: Fingerprint::of(&[b"HS256", secret]) }
    }

    /// The algorithm that it is for.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// What tells it apart from every other key.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Verifies the signature of `jws`. The key says which algorithm it is for, not the token.
    pub fn verify(&self, jws: &Jws<'_>) -> Result<(), Rejection> {
        if Algorithm::of(jws)? != self.algorithm {
            return Err(Rejection::KeyMismatch(self.algorithm.name()));
        }
        if self.verifies(jws.signing_input(), jws.signature()) { Ok(()) } else { Err(Rejection::Signature) }
    }

    /// Whether `signature` (base64url, unpadded) is this key's over `message`.
    pub fn verifies(&self, message: &[u8], signature: &str) -> bool {
        match &self.material {
            Material::Hmac(key) => {
                let mut mac = [0; 64];
                // One of another length than 32 bytes is not equal.
                BASE64_URL_SAFE_NO_PAD
                    .decode_slice(signature, &mut mac)
                    .is_ok_and(|length| hmac::verify(key, message, &mac[..length]).is_ok())
            }
            Material::Library(algorithm, key) => {
                jsonwebtoken::crypto::verify(signature, message, key, *algorithm).unwrap_or(false)
            }
            Material::P521(key) => BASE64_URL_SAFE_NO_PAD
                .decode(signature)
                .is_ok_and(|signature| key.verify(message, &signature).is_ok()),
        }
    }
}

impl Fingerprint {
    fn of(parts: &[&[u8]]) -> Self {
        let mut digest = Context::new(&SHA256);
        for part in parts {
            digest.update(&part.len().to_be_bytes());
            digest.update(part);
        }
        Self(digest.finish().as_ref().try_into().expect("SHA-256 makes 32 bytes"))
    }
}

/// A published key (RFC 7517 §4), with only the members that say something to us.
#[derive(Deserialize)]
pub(super) struct Jwk {
    kty: String,
    pub(super) kid: Option<String>,
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
    /// The key, if it is good for verifying and one algorithm alone: its own, that of its curve, or, for an RSA key
    /// that doesn't say, `rsa`.
    pub(super) fn key(&self, rsa: Option<Algorithm>) -> Result<Key, &'static str> {
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
            (None, None) if self.kty != "RSA" => return Err("its type or its curve is unknown"),
            (None, None) => {
                let stated = rsa.filter(|algorithm| self.fits(*algorithm));
                stated.ok_or(NO_ALGORITHM)?
            }
        };
        let material = match algorithm {
            Algorithm::Es512 => Material::P521(self.p521()?),
            _ => {
                let library = algorithm.in_library().ok_or("its algorithm is unknown")?;
                Material::Library(library, self.library_key()?)
            }
        };
        Ok(Key { algorithm, material, fingerprint: self.fingerprint(algorithm) })
    }

    fn fingerprint(&self, algorithm: Algorithm) -> Fingerprint {
        let numbers = [&self.x, &self.y, &self.n, &self.e];
        let numbers = numbers.map(|number| number.as_deref().unwrap_or_default().as_bytes());
        Fingerprint::of(&[&[algorithm.name().as_bytes(), self.kty.as_bytes()], &numbers[..]].concat())
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
                let x: [u8; 32] = part(self.x.as_ref())?.try_into().map_err(|_| "its `x` is not 32 bytes")?;
                if is_of_small_order(&x) {
                    return Err("its point is of small order");
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
                if factorable(&n) {
                    return Err("its modulus can be factored (CVE-2017-15361)");
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

/// Whether a modulus is of the kind that broken smart cards made (ROCA): modulo every small prime it is a power of
/// 65537. Of other moduli, one in a thousand million looks so.
fn factorable(modulus: &[u8]) -> bool {
    let prime = |n: &u32| !(2..*n).any(|divisor| n.is_multiple_of(divisor));
    (3..=167).filter(prime).all(|prime| {
        let rest = modulus.iter().fold(0, |rest, byte| (rest << 8 | u32::from(*byte)) % prime);
        let powers = std::iter::successors(Some(1), |power| Some(power * 65537 % prime));
        powers.take(prime as usize).any(|power| power == rest)
    })
}

fn part(text: Option<&String>) -> Result<Vec<u8>, &'static str> {
    let text = text.ok_or("a number is missing")?;
    BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| "a number is not base64url")
}
