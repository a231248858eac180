//! `compact`: base64url of `{"session": S, "expiresAt": ms, "signature": HMAC}`.

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use chassis::json::Raw;

use super::Opened;
use crate::session::token::SigningKeys;

/// As the library reads it: padded or not.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Opens it, if its signature is one of `keys`.
///
/// What was signed is the text of `session` with `expiresAt` put in as its last member. That text is in the envelope
/// as it was, so it is taken from there and never written anew: another JSON writer would order and escape otherwise.
pub(super) fn open(value: &str, keys: &SigningKeys, now: u64) -> Option<Opened> {
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
