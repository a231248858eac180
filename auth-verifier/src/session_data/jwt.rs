//! `jwt`: a JWS, HS256 with the secret (`crypto/jwt.ts`, `verifyJWT`).

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::Deserialize;

use super::{Opened, Payload};
use crate::{json, session_token::SigningKeys};

#[derive(Deserialize)]
struct Claims {
    exp: u64,
    #[serde(flatten)]
    payload: Payload,
}

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
    let claims: Claims = json::object(&BASE64_URL_SAFE_NO_PAD.decode(claims).ok()?)?;
    Some(Opened { payload: claims.payload, expires_ms: claims.exp.checked_mul(1000)? })
}
