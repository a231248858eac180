//! The public keys that auth-verifier publishes: read one by one, Ed25519 and nothing else.

use std::{collections::HashMap, sync::Arc};

use chassis::json::{Raw, Shape};
use jsonwebtoken::DecodingKey;
use serde::Deserialize;
use tracing::warn;

/// The most keys that a set may have. auth-verifier has one, or two while its secret is being changed.
const KEYS_MAX: usize = 64;

/// The length of a public Ed25519 key (RFC 8032 §5.1.5).
const KEY_BYTES: usize = 32;

/// A key set, by key id.
pub struct KeySet(HashMap<String, Arc<DecodingKey>>);

impl KeySet {
    /// Reads a JWK set (RFC 7517 §5). A key that is no good is left out and logged, and never costs the others; a set
    /// without any good one is an error, so that it never takes the place of one that has some.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let listed = Raw::parse(bytes).ok().and_then(|set| set.only("keys")).map(Raw::shape);
        let Some(Shape::List(listed)) = listed else { return Err("is not a JWK set".to_owned()) };
        let mut keys = HashMap::new();
        for (at, jwk) in listed.enumerate().take(KEYS_MAX) {
            match key(jwk) {
                Ok((kid, key)) => {
                    keys.entry(kid).or_insert(Arc::new(key));
                }
                Err(reason) => warn!(at, reason, "a published key is left out"),
            }
        }
        if keys.is_empty() { Err("has no Ed25519 key with a kid".into()) } else { Ok(Self(keys)) }
    }

    /// The key of this id.
    pub fn get(&self, kid: &str) -> Option<Arc<DecodingKey>> {
        self.0.get(kid).cloned()
    }
}

fn key(jwk: Raw<'_>) -> Result<(String, DecodingKey), &'static str> {
    #[derive(Deserialize)]
    struct Jwk {
        kty: String,
        crv: Option<String>,
        kid: Option<String>,
        x: Option<String>,
        r#use: Option<String>,
        alg: Option<String>,
    }
    let jwk: Jwk = jwk.object().ok_or("it is not a JWK")?;
    if (&*jwk.kty, jwk.crv.as_deref()) != ("OKP", Some("Ed25519")) {
        return Err("it is not an Ed25519 key");
    }
    if jwk.r#use.is_some_and(|usage| usage != "sig") {
        return Err("it is not for signatures");
    }
    // The old and the new name of the same algorithm (RFC 8037, RFC 9864).
    if jwk.alg.is_some_and(|alg| alg != "EdDSA" && alg != "Ed25519") {
        return Err("it is for another algorithm");
    }
    let kid = jwk.kid.filter(|kid| !kid.is_empty()).ok_or("it has no name")?;
    let key =
        jwk.x.and_then(|x| DecodingKey::from_ed_components(&x).ok()).ok_or("its `x` is not base64url")?;
    let bytes = key.try_get_as_bytes().map_or(0, <[u8]>::len);
    if bytes == KEY_BYTES { Ok((kid, key)) } else { Err("its `x` is not 32 bytes") }
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
        let keys = parse(&[good("a"), with("alg", "EdDSA"), good("b")]).unwrap();
        assert!(keys.get("a").is_some() && keys.get("b").is_some() && keys.get("c").is_none());
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
