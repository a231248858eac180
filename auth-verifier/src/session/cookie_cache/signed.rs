//! The two forms that an HMAC with the secret signs: `compact`, and `jwt`.

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
    prelude::BASE64_URL_SAFE_NO_PAD,
};
use chassis::{
    clock::UnixSeconds,
    json::{self, Raw},
};

use super::{Dated, Opened};
use crate::session::token::SigningKeys;

/// Base64url with or without padding, as Better Auth reads it.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Opens a `compact` cache: base64url of `{"session": S, "expiresAt": ms, "signature": HMAC}`.
///
/// The signed text is that of `session`, with `expiresAt` put in as its last member. It is taken from the envelope as
/// it stands there, because another JSON writer would order and escape it differently.
pub(super) fn compact(value: &str, keys: &SigningKeys, now: UnixSeconds) -> Option<Opened> {
    let envelope = LENIENT.decode(value).ok()?;
    let members = Raw::parse(&envelope).ok()?.each(["session", "expiresAt", "signature"]);
    let [session, expires_at, signature] = members?;
    let expires_at: u64 = expires_at.as_str().parse().ok()?;
    let signed = format!("{},\"expiresAt\":{expires_at}}}", session.as_str().strip_suffix('}')?);
    let mac = LENIENT.decode(&*signature.text()?).ok()?;
    if !keys.verifies(signed.as_bytes(), &mac, now) {
        return None;
    }
    Some(Opened { payload: session.object()?, expires_ms: expires_at })
}

/// Opens a `jwt` cache: a JWS, HS256 with the secret (`crypto/jwt.ts`, `verifyJWT`). Better Auth always writes the same
/// header, so no other one is read.
pub(super) fn jwt(value: &str, keys: &SigningKeys, now: UnixSeconds) -> Option<Opened> {
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
