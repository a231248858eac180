//! The public keys that auth-verifier publishes: read one by one, Ed25519 and nothing else.
//!
//! By the rules of auth-verifier's own reader of key sets: an odd key costs no other, and an id that stands twice is
//! nobody's.

use std::collections::{HashMap, HashSet};

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use chassis::{
    clock::UnixSeconds,
    json::{Raw, Shape},
};
use serde::{Deserialize, de::IgnoredAny};
use tracing::warn;

use super::{proof::Proof, rejection::Rejection};
use crate::{UserId, is_of_small_order};

/// The most keys that a set may have. auth-verifier has one, or two while its secret is being changed.
const KEYS_MAX: usize = 64;

/// The length of a public Ed25519 key (RFC 8032 §5.1.5).
const KEY_BYTES: usize = 32;

/// A key set, by key id.
pub struct KeySet(HashMap<String, Key>);

/// A public Ed25519 key.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Key([u8; KEY_BYTES]);

impl KeySet {
    /// Reads a JWK set (RFC 7517 §5). A key that can't be used is left out and logged.
    ///
    /// # Errors
    ///
    /// If it is no JWK set, or has no usable key: then it must not replace one that has.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let listed = Raw::parse(bytes).ok().and_then(|set| set.only("keys")).map(Raw::shape);
        let Some(Shape::List(listed)) = listed else { return Err("is not a JWK set".to_owned()) };
        let listed: Vec<_> = listed.take(KEYS_MAX + 1).collect();
        if listed.len() > KEYS_MAX {
            return Err(format!("has more than {KEYS_MAX} keys"));
        }
        let (mut keys, mut twice) = (HashMap::new(), HashSet::new());
        for (at, jwk) in listed.into_iter().enumerate() {
            match key(jwk) {
                Ok((kid, key)) => {
                    if keys.insert(kid.clone(), key).is_some() {
                        twice.insert(kid);
                    }
                }
                Err(reason) => {
                    warn!(at, reason, "a published key is left out: identities that it signs are refused");
                }
            }
        }
        for kid in twice {
            warn!(
                kid,
                reason = "its id stands for more than one key",
                "a published key is left out: identities that it signs are refused"
            );
            keys.remove(&kid);
        }
        if keys.is_empty() { Err("has no Ed25519 key with a kid".into()) } else { Ok(Self(keys)) }
    }

    /// The user whom an assertion is about, if one of these keys has signed it for `audience`, and it is good at the
    /// time `now`. It counts for a request only if that has the same user in [`USER_ID`](crate::USER_ID).
    ///
    /// # Errors
    ///
    /// A [`Rejection`] if it is not so. [`Rejection::UnknownKey`] may only mean that the set is too old.
    pub fn verify(&self, assertion: &str, audience: &str, now: UnixSeconds) -> Result<UserId, Rejection> {
        let proof = Proof::parse(assertion)?;
        let key = self.get(&proof.kid).ok_or(Rejection::UnknownKey)?;
        proof.verify(key, audience, now).map(|(user, ..)| user)
    }

    /// The key of this id.
    pub(super) fn get(&self, kid: &str) -> Option<&Key> {
        self.0.get(kid)
    }
}

impl Key {
    #[cfg(test)]
    pub(super) fn of(bytes: [u8; KEY_BYTES]) -> Self {
        Self(bytes)
    }

    /// Whether `signature` is this key's over `message`.
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.0).verify(message, signature).is_ok()
    }
}

fn key(jwk: Raw<'_>) -> Result<(String, Key), &'static str> {
    #[derive(Deserialize)]
    struct Jwk {
        kty: String,
        crv: Option<String>,
        kid: Option<String>,
        x: Option<String>,
        r#use: Option<String>,
        key_ops: Option<Vec<String>>,
        alg: Option<String>,
        d: Option<IgnoredAny>,
    }
    let jwk: Jwk = jwk.object().ok_or("it is not a JWK")?;
    if jwk.d.is_some() {
        return Err("its private part is published");
    }
    if (&*jwk.kty, jwk.crv.as_deref()) != ("OKP", Some("Ed25519")) {
        return Err("it is not an Ed25519 key");
    }
    if jwk.r#use.is_some_and(|usage| usage != "sig") {
        return Err("it is not for signatures");
    }
    if jwk.key_ops.is_some_and(|ops| !ops.iter().any(|op| op == "verify")) {
        return Err("it is not for verifying");
    }
    // The old and the new name of the same algorithm (RFC 8037, RFC 9864).
    if jwk.alg.is_some_and(|alg| alg != "EdDSA" && alg != "Ed25519") {
        return Err("it is for another algorithm");
    }
    let kid = jwk.kid.filter(|kid| !kid.is_empty()).ok_or("it has no `kid`")?;
    let x = jwk.x.and_then(|x| BASE64_URL_SAFE_NO_PAD.decode(x).ok()).ok_or("its `x` is not base64url")?;
    let key = Key(x.try_into().map_err(|_| "its `x` is not 32 bytes")?);
    if is_of_small_order(&key.0) { Err("its point is of small order") } else { Ok((kid, key)) }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn good(kid: &str) -> Value {
        // RFC 8037, appendix A.2.
        json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"})
    }

    fn without(member: &str) -> Value {
        let mut key = good("a");
        key.as_object_mut().unwrap().remove(member);
        key
    }

    fn with(member: &str, value: impl Into<Value>) -> Value {
        let mut key = good("a");
        key[member] = value.into();
        key
    }

    fn parse(keys: &[Value]) -> Result<KeySet, String> {
        KeySet::parse(json!({"keys": keys}).to_string().as_bytes())
    }

    #[test]
    fn a_key_is_found_by_its_name() {
        let mut said = good("c");
        said["alg"] = "EdDSA".into();
        let keys = parse(&[good("a"), said, good("b")]).unwrap();
        assert!(["a", "b", "c"].iter().all(|kid| keys.get(kid).is_some()) && keys.get("d").is_none());
    }

    #[test]
    fn an_id_that_stands_twice_is_nobodys() {
        let another = |kid: &str| {
            let mut key = good(kid);
            key["x"] = "Hq8jBuE3q3vMeSiGOZF7k7f0dxVtnxmXn1NmLzyAY6Q".into();
            key
        };
        for (set, there) in [
            (vec![good("a"), another("a"), good("b")], false),
            (vec![good("a"), good("b"), another("a"), good("a")], false),
            (vec![good("a"), good("a"), good("b")], false),
            (vec![good("a"), with("use", "enc"), good("b")], true),
        ] {
            let keys = parse(&set).unwrap();
            assert_eq!(keys.get("a").is_some(), there, "{set:?}");
            assert!(keys.get("b").is_some());
        }
        assert!(parse(&[good("a"), another("a")]).is_err(), "then there is none left");
    }

    #[test]
    fn a_key_that_anybody_can_sign_for_is_left_out() {
        for (first, others) in [(0, 0), (1, 0), (0xec, 0xff), (0xed, 0xff), (0xee, 0xff)] {
            let mut x = [others; KEY_BYTES];
            x[0] = first;
            for last in [others & 0x7f, others | 0x80] {
                x[KEY_BYTES - 1] = last;
                assert!(parse(&[with("x", BASE64_URL_SAFE_NO_PAD.encode(x))]).is_err(), "{x:x?}");
            }
        }
        for order8 in
            ["JuiVj8KyJ7BFw_SJ8u-Y8NXfrAXTxjM5sTgCiG1T_AU", "xxdqcD1N2E-6PAt2DRBnDyogU_osOczGTsf9d5KsA3o"]
        {
            let mut x = BASE64_URL_SAFE_NO_PAD.decode(order8).unwrap();
            for sign in [0, 0x80] {
                x[KEY_BYTES - 1] |= sign;
                assert!(parse(&[with("x", BASE64_URL_SAFE_NO_PAD.encode(&x))]).is_err(), "{x:x?}");
            }
        }
    }

    #[test]
    fn a_set_has_64_keys_at_most() {
        let keys = |count| -> Vec<_> { (0..count).map(|n| good(&format!("k{n}"))).collect() };
        assert!(parse(&keys(64)).unwrap().get("k63").is_some());
        assert!(parse(&keys(65)).is_err());
    }

    #[test]
    fn a_key_that_is_no_good_is_left_out_and_costs_no_other() {
        for bad in [
            without("kid"),
            with("kid", ""),
            without("x"),
            with("x", "AAAA"),
            with("x", "not base64url!"),
            with("kty", "EC"),
            with("crv", "Ed448"),
            with("crv", "X25519"),
            with("use", "enc"),
            with("alg", "HS256"),
            with("d", "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"),
            with("key_ops", json!(["sign"])),
            json!({"kty": "oct", "kid": "a", "k": "AAAA"}),
            json!("key"),
            json!(null),
        ] {
            assert!(parse(std::slice::from_ref(&bad)).is_err(), "{bad}");
            let keys = parse(&[bad, good("b")]).unwrap();
            assert!(keys.get("a").is_none() && keys.get("b").is_some());
        }
    }

    #[test]
    fn a_set_without_a_good_key_is_no_set() {
        for bad in ["", "{}", "[]", r#"{"keys":[]}"#, r#"{"keys":{}}"#, "<html>"] {
            assert!(KeySet::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
