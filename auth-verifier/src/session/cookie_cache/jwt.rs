//! `jwt`: a JWS, HS256 with the secret (`crypto/jwt.ts`, `verifyJWT`).

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use chassis::json;

use super::{Dated, Opened};
use crate::session::token::SigningKeys;

/// Opens it, if its signature is one of `keys`. Its header is always the same one: anything else was not made by the
/// library.
pub(super) fn open(value: &str, keys: &SigningKeys, now: u64) -> Option<Opened> {
    let (signed, signature) = value.rsplit_once('.')?;
    let (header, claims) = signed.split_once('.')?;
    if BASE64_URL_SAFE_NO_PAD.decode(header).ok()? != br#"{"alg":"HS256"}"# {
        return None;
    }
    if !keys.verifies(signed.as_bytes(), &BASE64_URL_SAFE_NO_PAD.decode(signature).ok()?, now) {
        return None;
    }
    json::object::<Dated>(&BASE64_URL_SAFE_NO_PAD.decode(claims).ok()?)?.opened()
}
