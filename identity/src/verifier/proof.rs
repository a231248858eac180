//! Whether an identity assertion is good: values in, a user out.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use chassis::{clock::UnixSeconds, json};
use serde::{Deserialize, de::IgnoredAny};

use super::{keys::Key, rejection::Rejection};
use crate::{ASSERTION_LIFE_MAX, Assertion, ISSUER, Membership, UserId};

/// How far our clock and auth-verifier's may be apart, in seconds.
const LEEWAY_SECS: u64 = 30;

/// An assertion taken apart; nothing of it is verified yet.
pub(super) struct Proof<'a> {
    /// The id of the key that it claims to be signed with.
    pub(super) kid: String,
    signed: &'a str,
    claims: &'a str,
    signature: &'a str,
}

/// From when to when an assertion is good.
#[derive(Clone, Copy)]
pub(super) struct Life {
    pub(super) iat: UnixSeconds,
    pub(super) exp: UnixSeconds,
}

/// The members of a header that mean something to us (RFC 7515 §4.1).
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<IgnoredAny>,
}

impl<'a> Proof<'a> {
    /// Takes an assertion apart.
    pub(super) fn parse(token: &'a str) -> Result<Self, Rejection> {
        let (signed, signature) = token.rsplit_once('.').ok_or(Rejection::Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(Rejection::Malformed)?;
        let header: Header = part(header).ok_or(Rejection::Malformed)?;
        if header.alg != "EdDSA" {
            return Err(Rejection::Algorithm);
        }
        if header.crit.is_some() {
            return Err(Rejection::Critical);
        }
        Ok(Self { kid: header.kid.ok_or(Rejection::NoKeyId)?, signed, claims, signature })
    }

    /// The user whom it is about, and what it says of their role and organization, if `key` has signed it for `audience`, and it is good at the time `now`.
    pub(super) fn verify(
        &self,
        key: &Key,
        audience: &str,
        now: UnixSeconds,
    ) -> Result<(UserId, Option<Membership>, Life), Rejection> {
        let signature = BASE64_URL_SAFE_NO_PAD.decode(self.signature).map_err(|_| Rejection::Signature)?;
        if !key.verifies(self.signed.as_bytes(), &signature) {
            return Err(Rejection::Signature);
        }
        let Assertion { iss, sub, aud, iat, exp, membership } = part(self.claims).ok_or(Rejection::Claims)?;
        if iss != ISSUER {
            return Err(Rejection::Issuer);
        }
        if aud != audience {
            return Err(Rejection::Audience);
        }
        let life = Life { iat: UnixSeconds(iat), exp: UnixSeconds(exp) };
        life.check(now)?;
        Ok((UserId::parse(&sub).ok_or(Rejection::Subject)?, membership, life))
    }
}

impl Life {
    /// Whether `now` is in it, give or take the leeway, and it is no longer than it may be.
    pub(super) fn check(self, UnixSeconds(now): UnixSeconds) -> Result<(), Rejection> {
        let (UnixSeconds(iat), UnixSeconds(exp)) = (self.iat, self.exp);
        if now >= exp.saturating_add(LEEWAY_SECS) {
            return Err(Rejection::Expired(now - exp));
        }
        if iat > now.saturating_add(LEEWAY_SECS) {
            return Err(Rejection::Future(iat - now));
        }
        if exp.checked_sub(iat).is_none_or(|life| life > ASSERTION_LIFE_MAX.as_secs()) {
            return Err(Rejection::Life);
        }
        Ok(())
    }
}

/// An object in base64url.
fn part<T: for<'de> Deserialize<'de>>(part: &str) -> Option<T> {
    json::object(&BASE64_URL_SAFE_NO_PAD.decode(part).ok()?)
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

    fn key_of(pair: &Ed25519KeyPair) -> Key {
        Key::of(pair.public_key().as_ref().try_into().unwrap())
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
        let (user, _, _) = Proof::parse(token)?.verify(&key_of(&pair()), "internal", UnixSeconds(NOW))?;
        Ok(user)
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
        for (bad, why) in [
            (with("iss", "somebody"), Rejection::Issuer),
            (with("iss", json!(["auth-verifier", "somebody"])), Rejection::Claims),
            (with("aud", "public"), Rejection::Audience),
            (with("aud", json!(["internal", "public"])), Rejection::Claims),
            (with("sub", 7), Rejection::Claims),
            (with("exp", "soon"), Rejection::Claims),
            (with("exp", -1), Rejection::Claims),
            (with("iat", Value::Null), Rejection::Claims),
        ] {
            assert_eq!(verified(&bad), Err(why), "{bad}");
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
            assert_eq!(verified(&token(&claims)), Err(Rejection::Claims), "{name}");
        }
        let header = r#"{"alg":"EdDSA","kid":"k"}"#;
        let twice = claims().to_string().replacen('{', r#"{"sub":"u2","#, 1);
        assert_eq!(verified(&signed(header, &twice)), Err(Rejection::Claims));
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
            assert!(matches!(verified(&bad), Err(Rejection::Signature | Rejection::Malformed)), "{bad}");
        }
        let another = Ed25519KeyPair::from_seed_unchecked(&[8; 32]).unwrap();
        let checked = Proof::parse(&good).unwrap().verify(&key_of(&another), "internal", UnixSeconds(NOW));
        assert_eq!(checked.err(), Some(Rejection::Signature));
    }

    #[test]
    fn a_header_of_another_kind_is_not_looked_at_further() {
        let kid = |header: &str| Proof::parse(&signed(header, &claims().to_string())).map(|proof| proof.kid);
        assert!(matches!(kid(r#"{"alg":"HS256","kid":"k"}"#), Err(Rejection::Algorithm)));
        assert!(matches!(kid(r#"{"alg":"ES256","kid":"k"}"#), Err(Rejection::Algorithm)));
        assert!(matches!(kid(r#"{"alg":"none","kid":"k"}"#), Err(Rejection::Algorithm)));
        assert!(matches!(kid(r#"{"kid":"k"}"#), Err(Rejection::Malformed)));
        assert!(matches!(kid(r#"{"alg":"EdDSA"}"#), Err(Rejection::NoKeyId)));
        let critical = r#"{"alg":"EdDSA","kid":"k","crit":["b64"],"b64":false}"#;
        assert!(matches!(kid(critical), Err(Rejection::Critical)));
        for bad in ["", ".", "..", "a.b.c", "a.b", "a.b.c.d"] {
            assert!(matches!(Proof::parse(bad), Err(Rejection::Malformed)), "{bad}");
        }
    }
}
