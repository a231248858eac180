//! What a token says of itself, and whether it may (RFC 7519 §4.1).
//!
//! jsonwebtoken takes a missing or wrong-typed `iss`, `aud` or `sub` for a match unless told otherwise, so the claims
//! are ours to read.

mod said;

use std::time::Duration;

use serde::{Deserialize, Deserializer};

pub(crate) use self::said::Said;
use crate::{
    jwt::jws::stated,
    rejection::{Claimed, Rejection},
};

/// The claims that are looked at; one that stands twice is an error. What nobody but the application judges may be of
/// any type.
#[derive(Deserialize)]
pub(crate) struct Claims {
    #[serde(default, deserialize_with = "stated")]
    pub(crate) iss: Option<String>,
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
    // Better Auth's user object is spread into the claims; what is in there is the application's business. So these two mean
    // what the standards say only where they have the type that those say.
    /// The key that a token is bound to (RFC 7800 §3.1): whoever only carries it doesn't show that they have the key.
    #[serde(default)]
    cnf: Said,
    /// What only an ID token has (OIDC Core §3.1.3.6): it tells a client who signed in, and opens nothing.
    #[serde(default)]
    at_hash: Said,
    #[serde(default)]
    nonce: Said,
    #[serde(default)]
    pub(crate) id: Said,
    #[serde(default)]
    pub(crate) email: Said,
    #[serde(default, rename = "emailVerified")]
    pub(crate) email_verified: Said,
    #[serde(default)]
    pub(crate) sid: Said,
    #[serde(default)]
    pub(crate) client_id: Said,
    #[serde(default)]
    pub(crate) scope: Said,
}

/// Whom a token must come from and be meant for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parties {
    /// Exact issuers, one of which it must name.
    pub issuers: Vec<String>,
    /// Exact audiences, one of which must be among those that it names.
    pub audiences: Vec<String>,
}

/// Whether a token must name its parties. Those that it names must match in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// It must.
    Always,
    /// It may leave them out.
    Perhaps,
}

/// Claims that were checked.
pub(crate) struct Checked {
    /// Never empty.
    pub(crate) sub: String,
    /// In seconds since 1970.
    pub(crate) expires: u64,
}

impl Claims {
    /// Checks them at the time `now`, in seconds since 1970. Clocks may lie `leeway` apart.
    pub(crate) fn check(
        &self,
        parties: &Parties,
        named: Named,
        leeway: Duration,
        now: u64,
    ) -> Result<Checked, Rejection> {
        let leeway = leeway.as_secs();
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
            None if named == Named::Always => return Err(Rejection::MissingClaim("iss")),
            Some(found) if !parties.issuers.contains(found) => {
                return Err(Rejection::Issuer {
                    found: Claimed::new(found),
                    expected: parties.issuers.clone(),
                });
            }
            _ => {}
        }
        match &self.aud {
            None if named == Named::Always => return Err(Rejection::MissingClaim("aud")),
            Some(found) if !found.names().iter().any(|name| parties.audiences.contains(name)) => {
                return Err(Rejection::Audience {
                    found: Claimed::new(&found.names().join(", ")),
                    expected: parties.audiences.clone(),
                });
            }
            _ => {}
        }
        if self.cnf.is_object() {
            return Err(Rejection::Bound);
        }
        if self.is_id_token() {
            return Err(Rejection::IdToken);
        }
        let sub = self.sub.clone().ok_or(Rejection::MissingClaim("sub"))?;
        if sub.is_empty() {
            return Err(Rejection::Subject);
        }
        Ok(Checked { sub, expires })
    }

    /// An API token has its user's `id`, and perhaps a field of that name; an ID token has no `id`, and a `nonce` if its client
    /// sent one (`oauth-provider`, `createIdToken`).
    fn is_id_token(&self) -> bool {
        let stated = |claim: &Said| claim.text().is_some_and(|text| !text.is_empty());
        stated(&self.at_hash) && (!stated(&self.id) || stated(&self.nonce))
    }
}

/// One name, or several.
struct Audience(Said);

impl Audience {
    fn names(&self) -> &[String] {
        self.0.names().unwrap_or_default()
    }
}

impl<'de> Deserialize<'de> for Audience {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let said = Said::deserialize(from)?;
        said.names().ok_or_else(|| serde::de::Error::custom("not a name, nor a list of names"))?;
        Ok(Self(said))
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
