//! Is this token good?
//!
//! The signature is jsonwebtoken's work. The header and the claims are ours: the library lets `crit` pass, takes
//! a missing or wrong-typed `iss`, `aud` or `sub` for a match unless told otherwise, and can't read the header of
//! an ES512 or `Ed25519` token at all.

use std::{sync::Arc, time::Duration};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use chassis::identity::{Email, UserId};
use serde::{Deserialize, Deserializer, de::IgnoredAny};

use crate::{
    Claimed, Rejection, Unverified, json,
    keys::{Algorithm, Key, Keys},
};

/// What a token is checked against.
pub struct Profile {
    /// The key of HS256 tokens, where they are accepted.
    pub hs256: Option<Key>,
    /// Whether HS256 tokens must name issuer and audience.
    pub hs256_needs_parties: bool,
    /// Better Auth's keys, where tokens signed with them are accepted.
    pub jwks: Option<Arc<Keys>>,
    /// Exact issuers.
    pub issuers: Vec<String>,
    /// Exact audiences.
    pub audiences: Vec<String>,
    /// How far clocks may lie apart.
    pub leeway: Duration,
    /// The longest token.
    pub bytes_max: usize,
}

/// What a good token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Whose it is.
    pub user: UserId,
    /// The user's e-mail address, where the token tells a plain one.
    pub email: Option<Email>,
    /// When it ends, in seconds since 1970.
    pub expires: u64,
}

/// Checks a token at the time `now`, in seconds since 1970.
pub async fn verify(token: &str, profile: &Profile, now: u64) -> Result<Verified, Unverified> {
    let jws = Jws::parse(token, profile.bytes_max)?;
    let Header { alg, kid, .. } = &jws.header;
    jws.header.check()?;
    let unaccepted = || Rejection::Algorithm(Claimed::new(alg));
    let algorithm = Algorithm::named(alg).ok_or_else(unaccepted)?;

    // The shared secret is for HS256 alone and no published key ever is, whatever a token says.
    if algorithm == Algorithm::Hs256 {
        jws.check_signature(profile.hs256.as_ref().ok_or_else(unaccepted)?)?;
        return Ok(jws.claims()?.check(profile, profile.hs256_needs_parties, now)?);
    }
    let jwks = profile.jwks.as_ref().ok_or_else(unaccepted)?;
    let kid = kid.as_deref().ok_or(Rejection::NoKeyId)?;
    let key = jwks.find(kid).await?;
    if key.algorithm() != algorithm {
        let (token, expected) = (algorithm.name(), key.algorithm().name());
        return Err(Rejection::KeyMismatch { token, key: Claimed::new(kid), expected }.into());
    }
    jws.check_signature(&key)?;
    Ok(jws.claims()?.check(profile, true, now)?)
}

/// The parts of a compact JWS (RFC 7515 §7.1), unverified.
struct Jws<'a> {
    header: Header,
    signed: &'a str,
    payload: &'a str,
    signature: &'a str,
}

impl<'a> Jws<'a> {
    fn parse(token: &'a str, bytes_max: usize) -> Result<Self, Rejection> {
        if token.len() > bytes_max {
            return Err(Rejection::TooLong(bytes_max));
        }
        let three = Rejection::Malformed("it does not have three parts");
        let (signed, signature) = token.rsplit_once('.').ok_or(three.clone())?;
        let (header, payload) = signed.split_once('.').ok_or(three.clone())?;
        if payload.contains('.') || [header, payload, signature].contains(&"") {
            return Err(three);
        }
        let header = json::object(&decode(header)?).ok_or(Rejection::Malformed("its header"))?;
        Ok(Self { header, signed, payload, signature })
    }

    fn check_signature(&self, key: &Key) -> Result<(), Rejection> {
        if key.verifies(self.signed.as_bytes(), self.signature) {
            return Ok(());
        }
        let named = self.header.kid.as_deref().map(Claimed::new);
        Err(Rejection::Signature { algorithm: key.algorithm().name(), key: named })
    }

    /// Read only after the signature was checked.
    fn claims(&self) -> Result<Claims, Rejection> {
        json::object(&decode(self.payload)?).ok_or(Rejection::Malformed("its claims"))
    }
}

/// Strict base64url: no padding, no white space, no bits left over.
fn decode(part: &str) -> Result<Vec<u8>, Rejection> {
    BASE64_URL_SAFE_NO_PAD.decode(part).map_err(|_| Rejection::Malformed("a part is not base64url"))
}

/// The members of a header that say something to us; a member that stands twice is an error. Keys that a token
/// brings along (`jwk`, `jku`, `x5c`, `x5u`) are nobody's keys, and are not looked at.
#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default, deserialize_with = "stated")]
    kid: Option<String>,
    #[serde(default, deserialize_with = "stated")]
    typ: Option<String>,
    #[serde(default, deserialize_with = "stated")]
    cty: Option<String>,
    #[serde(default, deserialize_with = "stated")]
    crit: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "stated")]
    b64: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "stated")]
    zip: Option<IgnoredAny>,
}

/// A member that is there must have its type; `null` is not the same as being absent.
fn stated<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

impl Header {
    fn check(&self) -> Result<(), Rejection> {
        let odd = [
            ("crit", self.crit.is_some()),
            ("b64", self.b64.is_some()),
            ("zip", self.zip.is_some()),
            ("cty", self.cty.is_some()),
        ];
        if let Some((name, _)) = odd.into_iter().find(|(_, there)| *there) {
            return Err(Rejection::HeaderMember(name));
        }
        // Better Auth's API tokens have none; other tokens that the same keys sign (`at+jwt`, `logout+jwt`, the
        // cookie cache's) say theirs.
        match self.typ.as_deref() {
            None => Ok(()),
            Some(typ) if typ.eq_ignore_ascii_case("JWT") => Ok(()),
            Some(typ) => Err(Rejection::Type(Claimed::new(typ))),
        }
    }
}

/// The claims that we check (RFC 7519 §4.1); one that stands twice is an error.
#[derive(Deserialize)]
struct Claims {
    #[serde(default, deserialize_with = "stated")]
    iss: Option<String>,
    #[serde(default, deserialize_with = "stated")]
    aud: Option<Audience>,
    #[serde(default, deserialize_with = "stated")]
    sub: Option<String>,
    #[serde(default, deserialize_with = "stated")]
    exp: Option<NumericDate>,
    #[serde(default, deserialize_with = "stated")]
    nbf: Option<NumericDate>,
    // Not judged, but a token with a broken one was not made by anybody we know.
    #[serde(default, deserialize_with = "stated", rename = "iat")]
    _iat: Option<NumericDate>,
    // Better Auth's user object is spread into the claims; what is in there is the application's business.
    #[serde(default)]
    email: serde_json::Value,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

impl Audience {
    fn names(&self) -> &[String] {
        match self {
            Self::One(name) => std::slice::from_ref(name),
            Self::Several(names) => names,
        }
    }
}

/// Seconds since 1970, up to the year 9999; a fraction is cut off.
#[derive(Clone, Copy)]
struct NumericDate(u64);

impl<'de> Deserialize<'de> for NumericDate {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let seconds = f64::deserialize(from)?;
        if !(0.0..=253_402_300_799.0).contains(&seconds) {
            return Err(serde::de::Error::custom("not a date"));
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range was checked")]
        Ok(Self(seconds as u64))
    }
}

impl Claims {
    /// `parties`: whether issuer and audience must be named. Where they are named they must match in any case.
    fn check(self, profile: &Profile, parties: bool, now: u64) -> Result<Verified, Rejection> {
        let leeway = profile.leeway.as_secs();
        let NumericDate(expires) = self.exp.ok_or(Rejection::MissingClaim("exp"))?;
        // RFC 7519 §4.1.4: it is over at that second, not after it.
        if now >= expires.saturating_add(leeway) {
            return Err(Rejection::Expired(now - expires));
        }
        if let Some(NumericDate(from)) = self.nbf
            && from > now.saturating_add(leeway)
        {
            return Err(Rejection::NotYet(from - now));
        }
        match &self.iss {
            None if parties => return Err(Rejection::MissingClaim("iss")),
            Some(found) if !profile.issuers.contains(found) => {
                return Err(Rejection::Issuer {
                    found: Claimed::new(found),
                    expected: profile.issuers.clone(),
                });
            }
            _ => {}
        }
        match &self.aud {
            None if parties => return Err(Rejection::MissingClaim("aud")),
            Some(found) if !found.names().iter().any(|name| profile.audiences.contains(name)) => {
                return Err(Rejection::Audience {
                    found: Claimed::new(&found.names().join(", ")),
                    expected: profile.audiences.clone(),
                });
            }
            _ => {}
        }
        let user = self.sub.ok_or(Rejection::MissingClaim("sub"))?;
        let user = UserId::parse(&user).ok_or(Rejection::Subject)?;
        let email = self.email.as_str().and_then(Email::parse);
        Ok(Verified { user, email, expires })
    }
}
