//! Any key set: what it holds was in it once, and was public.

#![no_main]

use auth_verifier::jwt::keys::{Algorithm, KeySet};
use fuzz::another;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Ok(set) = KeySet::parse(input, None) else { return };
    let Some(read) = another::read(input) else { return };
    let keys = read["keys"].as_array().expect("they are a list");
    assert!(keys.len() <= 64);
    let mut held = 0;
    for jwk in keys {
        let Some((kid, key)) = jwk["kid"].as_str().and_then(|kid| Some((kid, set.get(kid)?))) else {
            continue;
        };
        held += 1;
        assert_ne!(key.algorithm(), Algorithm::Hs256);
        let same: Vec<_> = keys.iter().filter(|other| other["kid"] == kid).collect();
        let usable = same.iter().filter(|jwk| jwk["kty"] != "oct" && jwk.get("d").is_none()).count();
        assert!(usable >= 1, "a secret, or a private key");
        assert!(!key.verifies(b"message", "") && !key.verifies(b"message", &"A".repeat(86)));
    }
    assert!(held >= 1, "an empty set is none");
});
