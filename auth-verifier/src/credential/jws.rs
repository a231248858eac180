//! A JWS in its compact form (RFC 7515 §7.1), with its header read strictly. Nothing is verified here.
//!
//! jsonwebtoken verifies signatures, but its header type ignores `crit`, and can't read the header of an ES512 or
//! `Ed25519` token.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use chassis::json;
use serde::{Deserialize, Deserializer, de::IgnoredAny};

use crate::rejection::{Rejection, Untrusted};

/// A JWS taken apart, not verified yet.
pub struct Jws<'a> {
    header: Header,
    signed: &'a str,
    payload: &'a str,
    signature: &'a str,
}

impl<'a> Jws<'a> {
    /// Takes a token apart and reads its header.
    pub fn parse(token: &'a str) -> Result<Self, Rejection> {
        let three = Rejection::Malformed("it does not have three parts");
        let (signed, signature) = token.rsplit_once('.').ok_or(three.clone())?;
        let (header, payload) = signed.split_once('.').ok_or(three.clone())?;
        if payload.contains('.') || [header, payload, signature].contains(&"") {
            return Err(three);
        }
        let header = json::object(&decode(header)?).ok_or(Rejection::Malformed("its header"))?;
        Ok(Self { header, signed, payload, signature })
    }

    /// The algorithm that its header names (`alg`).
    pub fn alg(&self) -> &str {
        &self.header.alg
    }

    /// The id of the key that its header names (`kid`).
    pub fn kid(&self) -> Option<&str> {
        self.header.kid.as_deref()
    }

    /// Its type (`typ`). An error where the header has a member that changes what the token means.
    pub fn typ(&self) -> Result<Option<&str>, Rejection> {
        let Header { crit, b64, zip, cty, .. } = &self.header;
        let odd = [("crit", crit), ("b64", b64), ("zip", zip), ("cty", cty)];
        match odd.into_iter().find(|(_, member)| member.is_some()) {
            Some((name, _)) => Err(Rejection::HeaderMember(name)),
            None => Ok(self.header.typ.as_deref()),
        }
    }

    /// The rejection of a token whose algorithm is not accepted.
    pub(crate) fn unaccepted(&self) -> Rejection {
        Rejection::Algorithm(Untrusted::new(self.alg()))
    }

    /// Its payload. To be believed only once the signature was verified.
    pub fn claims<T: for<'de> Deserialize<'de>>(&self) -> Result<T, Rejection> {
        json::object(&decode(self.payload)?).ok_or(Rejection::Malformed("its claims"))
    }

    /// The bytes that are signed (RFC 7515 §5.1).
    pub fn signing_input(&self) -> &'a [u8] {
        self.signed.as_bytes()
    }

    /// The signature, in base64url.
    pub fn signature(&self) -> &'a str {
        self.signature
    }
}

/// Strict base64url: no padding, no white space, no bits left over.
fn decode(part: &str) -> Result<Vec<u8>, Rejection> {
    BASE64_URL_SAFE_NO_PAD.decode(part).map_err(|_| Rejection::Malformed("a part is not base64url"))
}

/// The members of a header that say something to us; a member that stands twice is an error. Keys that a token
/// brings along (`jwk`, `jku`, `x5c`, `x5u`) prove nothing, and are not looked at.
#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default, deserialize_with = "stated")]
    kid: Option<String>,
    #[serde(default, deserialize_with = "stated")]
    typ: Option<String>,
    #[serde(default, deserialize_with = "stated")]
    cty: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "stated")]
    crit: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "stated")]
    b64: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "stated")]
    zip: Option<IgnoredAny>,
}

/// A member that is there must have its type; `null` is not the same as being absent.
pub(crate) fn stated<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}
