//! Whether an identity assertion is good: values in, a user out.

use std::str::FromStr;

use crate::{ASSERTION_LIFE_MAX, Assertion, ISSUER, UserId};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use chassis::json;
use http::HeaderName;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::{Deserialize, de::IgnoredAny};
use thiserror::Error;

/// How far our clock and auth-verifier's may be apart, in seconds.
const LEEWAY_SECS: u64 = 30;

/// An assertion is no good. The text is for the log.
#[derive(Debug, Error)]
pub enum Rejection {
    /// A header is missing.
    #[error("there is no {0}")]
    Missing(HeaderName),
    /// Two answers to one question.
    #[error("there is more than one {0}")]
    Ambiguous(HeaderName),
    /// Not a JWS in its compact form.
    #[error("the assertion is malformed")]
    Malformed,
    /// `none`, or one that would take the public key for a secret.
    #[error("the assertion is signed with {0:?}, not EdDSA")]
    Algorithm(Algorithm),
    /// It demands something that we don't know (RFC 7515 §4.1.11).
    #[error("the assertion has critical header members")]
    Critical,
    /// It doesn't say which key it is signed with.
    #[error("the assertion names no key")]
    NoKeyId,
    /// Neither before nor after asking again.
    #[error("the assertion names a key that auth-verifier does not publish")]
    UnknownKey,
    /// Forged, tampered with, or with claims missing or not as they should be.
    #[error("the assertion's {0} is not good")]
    Invalid(&'static str),
    /// Over.
    #[error("the assertion expired {0} s ago")]
    Expired(u64),
    /// Signed tomorrow, to be good for longer than it may.
    #[error("the assertion is from {0} s in the future")]
    Future(u64),
    /// Longer than [`ASSERTION_LIFE_MAX`], or ended before it began.
    #[error("the assertion's life is not 0 to {} s", ASSERTION_LIFE_MAX.as_secs())]
    Life,
    /// A subject that can't be a user id.
    #[error("the assertion's subject is no user id")]
    Subject,
    /// It proves who somebody else is.
    #[error("the assertion is about another user")]
    OtherUser,
}

/// An assertion of our kind, taken apart; nothing of it is verified yet.
///
/// The signature is jsonwebtoken's work, header and claims are read here: its own header has members that follow whatever
/// is sent, before anything is verified.
pub struct Proof<'a> {
    /// The name of the key that it says it is signed with.
    pub kid: String,
    signed: &'a str,
    claims: &'a str,
    signature: &'a str,
}

/// The members of its header that say something to us (RFC 7515 §4.1).
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<IgnoredAny>,
}

impl<'a> Proof<'a> {
    /// Takes an assertion apart.
    pub fn parse(token: &'a str) -> Result<Self, Rejection> {
        let (signed, signature) = token.rsplit_once('.').ok_or(Rejection::Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(Rejection::Malformed)?;
        let header: Header = part(header).ok_or(Rejection::Malformed)?;
        let algorithm = Algorithm::from_str(&header.alg).map_err(|_| Rejection::Malformed)?;
        if algorithm != Algorithm::EdDSA {
            return Err(Rejection::Algorithm(algorithm));
        }
        if header.crit.is_some() {
            return Err(Rejection::Critical);
        }
        Ok(Self { kid: header.kid.ok_or(Rejection::NoKeyId)?, signed, claims, signature })
    }

    /// The user whom it is about, if it is signed with `key`, meant for `audience`, and good at the time `now`.
    pub fn verify(&self, key: &DecodingKey, audience: &str, now: u64) -> Result<UserId, Rejection> {
        let signed = self.signed.as_bytes();
        if !jsonwebtoken::crypto::verify(self.signature, signed, key, Algorithm::EdDSA).unwrap_or(false) {
            return Err(Rejection::Invalid("signature"));
        }
        let claims: Assertion = part(self.claims).ok_or(Rejection::Invalid("set of claims"))?;
        if claims.iss != ISSUER {
            return Err(Rejection::Invalid("issuer"));
        }
        if claims.aud != audience {
            return Err(Rejection::Invalid("audience"));
        }
        subject(&claims, now)
    }
}

/// An object in base64url.
fn part<T: for<'de> Deserialize<'de>>(part: &str) -> Option<T> {
    json::object(&BASE64_URL_SAFE_NO_PAD.decode(part).ok()?)
}

/// The user whom an assertion is about, if it is good at the time `now`.
fn subject(Assertion { sub, iat, exp, .. }: &Assertion, now: u64) -> Result<UserId, Rejection> {
    let (iat, exp) = (*iat, *exp);
    if now >= exp.saturating_add(LEEWAY_SECS) {
        return Err(Rejection::Expired(now - exp));
    }
    if iat > now.saturating_add(LEEWAY_SECS) {
        return Err(Rejection::Future(iat - now));
    }
    if exp.checked_sub(iat).is_none_or(|life| life > ASSERTION_LIFE_MAX.as_secs()) {
        return Err(Rejection::Life);
    }
    UserId::parse(sub).ok_or(Rejection::Subject)
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
    use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
    use serde_json::{Value, json};

    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn pair() -> Ed25519KeyPair {
        Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap()
    }

    fn key() -> DecodingKey {
        DecodingKey::from_ed_der(pair().public_key().as_ref())
    }

    fn claims() -> Value {
        json!({"iss": "auth-verifier", "sub": "u1", "aud": "internal", "iat": NOW, "exp": NOW + 60})
    }

    fn signed(header: &str, claims: &str) -> String {
        let encode = |text: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(text);
        let message = format!("{}.{}", encode(header.as_bytes()), encode(claims.as_bytes()));
        let signature = encode(pair().sign(message.as_bytes()).as_ref());
        format!("{message}.{signature}")
    }

    fn token(claims: &Value) -> String {
        signed(r#"{"alg":"EdDSA","kid":"k"}"#, &claims.to_string())
    }

    fn verified(token: &str) -> Result<UserId, Rejection> {
        Proof::parse(token)?.verify(&key(), "internal", NOW)
    }

    fn with(name: &str, value: impl Into<Value>) -> String {
        let mut claims = claims();
        claims[name] = value.into();
        token(&claims)
    }

    #[test]
    fn a_good_assertion_names_its_user() {
        let token = token(&claims());
        assert_eq!(Proof::parse(&token).unwrap().kid, "k");
        assert_eq!(verified(&token).unwrap().as_str(), "u1");
    }

    #[test]
    fn an_assertion_is_good_from_a_little_before_to_a_little_after_its_time() {
        let at = |iat: i64, exp: i64| {
            let mut claims = claims();
            claims["iat"] = (i64::try_from(NOW).unwrap() + iat).into();
            claims["exp"] = (i64::try_from(NOW).unwrap() + exp).into();
            verified(&token(&claims))
        };
        for (iat, exp) in [(0, 120), (0, 0), (30, 150), (-120, 0), (-149, -29)] {
            assert!(at(iat, exp).is_ok(), "{iat} {exp}");
        }
        assert!(matches!(at(-60, -30), Err(Rejection::Expired(30))));
        assert!(matches!(at(31, 60), Err(Rejection::Future(31))));
        assert!(matches!(at(0, 121), Err(Rejection::Life)));
        assert!(matches!(at(20, 10), Err(Rejection::Life)));
    }

    #[test]
    fn an_assertion_for_another_or_by_another_is_no_good() {
        for bad in [
            with("iss", "somebody"),
            with("iss", json!(["auth-verifier", "somebody"])),
            with("aud", "public"),
            with("aud", json!(["internal", "public"])),
            with("sub", 7),
            with("exp", "soon"),
            with("exp", -1),
            with("iat", Value::Null),
        ] {
            assert!(matches!(verified(&bad), Err(Rejection::Invalid(_))), "{bad}");
        }
        for bad in ["", "a b", "u1,u2", "ü"] {
            assert!(matches!(verified(&with("sub", bad)), Err(Rejection::Subject)), "{bad}");
        }
    }

    #[test]
    fn a_claim_that_is_missing_or_said_twice_is_no_good() {
        for name in ["iss", "sub", "aud", "iat", "exp"] {
            let mut claims = claims();
            claims.as_object_mut().unwrap().remove(name);
            assert!(matches!(verified(&token(&claims)), Err(Rejection::Invalid(_))), "{name}");
        }
        let header = r#"{"alg":"EdDSA","kid":"k"}"#;
        let twice = claims().to_string().replacen('{', r#"{"sub":"u2","#, 1);
        assert!(verified(&signed(header, &twice)).is_err());
    }

    #[test]
    fn what_was_tampered_with_is_no_good() {
        let good = token(&claims());
        let (message, signature) = good.rsplit_once('.').unwrap();
        let (header, _) = message.split_once('.').unwrap();
        let other = BASE64_URL_SAFE_NO_PAD.encode(claims().to_string().replace("u1", "u2"));
        for bad in [
            format!("{header}.{other}.{signature}"),
            format!("{message}."),
            format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode([0; 64])),
            format!("{good}.{signature}"),
        ] {
            assert!(verified(&bad).is_err(), "{bad}");
        }
        let another = Ed25519KeyPair::from_seed_unchecked(&[8; 32]).unwrap();
        let another = DecodingKey::from_ed_der(another.public_key().as_ref());
        assert!(Proof::parse(&good).unwrap().verify(&another, "internal", NOW).is_err());
    }

    #[test]
    fn a_header_of_another_kind_is_not_looked_at_further() {
        let kid = |header: &str| Proof::parse(&signed(header, &claims().to_string())).map(|proof| proof.kid);
        assert!(matches!(kid(r#"{"alg":"HS256","kid":"k"}"#), Err(Rejection::Algorithm(_))));
        assert!(matches!(kid(r#"{"alg":"ES256","kid":"k"}"#), Err(Rejection::Algorithm(_))));
        assert!(matches!(kid(r#"{"alg":"none","kid":"k"}"#), Err(Rejection::Malformed)));
        assert!(matches!(kid(r#"{"kid":"k"}"#), Err(Rejection::Malformed)));
        assert!(matches!(kid(r#"{"alg":"EdDSA"}"#), Err(Rejection::NoKeyId)));
        let critical = r#"{"alg":"EdDSA","kid":"k","crit":["b64"],"b64":false}"#;
        assert!(matches!(kid(critical), Err(Rejection::Critical)));
        for bad in ["", ".", "..", "a.b.c", "a.b", "a.b.c.d"] {
            assert!(matches!(Proof::parse(bad), Err(Rejection::Malformed)), "{bad}");
        }
    }
}
