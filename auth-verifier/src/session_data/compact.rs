//! `compact`: base64url of `{"session": S, "expiresAt": ms, "signature": HMAC}`.

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::Opened;
use crate::{json, session_token::SigningKeys};

/// As the library reads it: padded or not.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    #[serde(borrow)]
    session: &'a RawValue,
    expires_at: u64,
    signature: String,
}

/// Opens it, if its signature is one of `keys`.
///
/// What was signed is the text of `session` with `expiresAt` put in as its last member. That text is in the envelope
/// as it was, so it is taken from there and never written anew: another JSON writer would order and escape otherwise.
pub(super) fn open(value: &str, keys: &SigningKeys, now: u64) -> Option<Opened> {
    let envelope = LENIENT.decode(value).ok()?;
    let envelope: Envelope<'_> = json::object(&envelope)?;
    let session = envelope.session.get();
    let signed = format!("{},\"expiresAt\":{}}}", session.strip_suffix('}')?, envelope.expires_at);
    let mac = LENIENT.decode(&envelope.signature).ok()?;
    if !keys.verifies(signed.as_bytes(), &mac, now) {
        return None;
    }
    Some(Opened { payload: json::object(session.as_bytes())?, expires_ms: envelope.expires_at })
}
