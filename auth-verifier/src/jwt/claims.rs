//! The claims of a JWT, and their checks (RFC 7519 §4.1).
//!
//! jsonwebtoken's own checks are not used: unless told otherwise they take a missing or wrong-typed `iss`, `aud` or
//! `sub` for a match.

use std::time::Duration;

use chassis::clock::UnixSeconds;
use serde::{Deserialize, Deserializer};

use crate::{
    credential::jws::stated,
    loose::Loose,
    rejection::{Rejection, Untrusted},
};

/// The claims that are looked at. One that stands twice is an error. Those that are the application's own may be of any
/// type.
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
    // Better Auth's user object is spread into the claims; what is in there is the application's business. So these two
    // mean what the standards say only where they have the type that those say.
    /// The key that a token is bound to (RFC 7800 §3.1): to carry the token doesn't prove to have the key.
    #[serde(default)]
    cnf: Loose,
    /// What only an ID token has (OIDC Core §3.1.3.6): it tells a client who signed in, and opens nothing.
    #[serde(default)]
    at_hash: Loose,
    #[serde(default)]
    nonce: Loose,
    #[serde(default)]
    pub(crate) id: Loose,
    #[serde(default)]
    pub(crate) email: Loose,
    #[serde(default, rename = "emailVerified")]
    pub(crate) email_verified: Loose,
    #[serde(default)]
    pub(crate) sid: Loose,
    #[serde(default)]
    pub(crate) client_id: Loose,
    #[serde(default)]
    pub(crate) scope: Loose,
}

/// The issuers and audiences that are expected of a token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// Exact issuers, one of which it must name.
    pub issuers: Vec<String>,
    /// Exact audiences, one of which must be among those that it names.
    pub audiences: Vec<String>,
}

/// Whether a token must name its issuer and audience. Those that it names must match in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// It must name both.
    Required,
    /// It may leave either out.
    IfPresent,
}

/// Claims that passed the checks.
pub(crate) struct Checked {
    /// The subject, never empty.
    pub(crate) sub: String,
    /// When the token ends.
    pub(crate) expires: UnixSeconds,
}

impl Claims {
    /// Checks them at `now`, with a tolerance of `leeway` for clocks that differ.
    pub(crate) fn check(
        &self,
        expected: &Expected,
        naming: Naming,
        leeway: Duration,
        now: UnixSeconds,
    ) -> Result<Checked, Rejection> {
        let NumericDate(expires) = self.exp.ok_or(Rejection::MissingClaim("exp"))?;
        // RFC 7519 §4.1.4: it must not be accepted on or after that second.
        if now >= expires.after(leeway) {
            return Err(Rejection::Expired(now.since(expires).as_secs()));
        }
        if let Some(NumericDate(from)) = self.nbf
            && from > now.after(leeway)
        {
            return Err(Rejection::NotYet(from.since(now).as_secs()));
        }
        match &self.iss {
            None if naming == Naming::Required => return Err(Rejection::MissingClaim("iss")),
            Some(found) if !expected.issuers.contains(found) => {
                return Err(Rejection::Issuer {
                    found: Untrusted::new(found),
                    expected: expected.issuers.clone(),
                });
            }
            _ => {}
        }
        match &self.aud {
            None if naming == Naming::Required => return Err(Rejection::MissingClaim("aud")),
            Some(found) if !found.names().iter().any(|name| expected.audiences.contains(name)) => {
                return Err(Rejection::Audience {
                    found: Untrusted::new(&found.names().join(", ")),
                    expected: expected.audiences.clone(),
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

    /// An API token has its user's `id`, and perhaps a field of that name; an ID token has no `id`, and a `nonce` if
    /// its client sent one (`oauth-provider`, `createIdToken`).
    fn is_id_token(&self) -> bool {
        let stated = |claim: &Loose| claim.text().is_some_and(|text| !text.is_empty());
        stated(&self.at_hash) && (!stated(&self.id) || stated(&self.nonce))
    }
}

/// One name, or several.
struct Audience(Loose);

impl Audience {
    fn names(&self) -> &[String] {
        self.0.names().unwrap_or_default()
    }
}

impl<'de> Deserialize<'de> for Audience {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let said = Loose::deserialize(from)?;
        said.names().ok_or_else(|| serde::de::Error::custom("not a name, nor a list of names"))?;
        Ok(Self(said))
    }
}

/// A date up to the year 9999; a fraction of a second is cut off.
#[derive(Clone, Copy)]
struct NumericDate(UnixSeconds);

impl<'de> Deserialize<'de> for NumericDate {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let seconds = f64::deserialize(from)?;
        if !(0.0..=253_402_300_799.0).contains(&seconds) {
            return Err(serde::de::Error::custom("not a date"));
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range was checked")]
        Ok(Self(UnixSeconds(seconds as u64)))
    }
}
