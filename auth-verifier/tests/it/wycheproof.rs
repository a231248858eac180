//! Project Wycheproof's vectors, the attacks that implementations fell for: signatures against the key that a
//! published JWK makes, and whole tokens against the verdict.
//!
//! What the project calls acceptable (PKCS #1 padding without its NULL) is rejected here.

use std::sync::Arc;

use auth_verifier::{
    credential::jws::Jws,
    jwt::keys::{Key, KeySet},
    rejection::Rejection,
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use wycheproof_ecdsa::TestName as Ecdsa;
use wycheproof_eddsa::TestName as Eddsa;
use wycheproof_jose::json_web::TestName as JsonWeb;
use wycheproof_mac::mac::TestName as Mac;
use wycheproof_rsa::{rsa_pkcs1_verify::TestName as Pkcs1, rsa_pss_verify::TestName as Pss};

/// What was tried, and what went otherwise than it should.
#[derive(Default)]
struct Tried {
    good: usize,
    bad: usize,
    wrong: Vec<String>,
}

impl Tried {
    fn one(&mut self, case: &str, test: &Value, accepted: bool, good: bool) {
        *if good { &mut self.good } else { &mut self.bad } += 1;
        if accepted != good {
            let accepted = if accepted { "accepted" } else { "rejected" };
            self.wrong.push(format!("{case} {} {}: {accepted}", test["tcId"], test["comment"]));
        }
    }

    /// The signatures of a set, against the key of their group. Where `ours` says that a group's algorithm is another
    /// than the key's, all that is good there must be rejected.
    fn signatures(&mut self, set: &str, key: impl Fn(&Value) -> Arc<Key>, ours: impl Fn(&Value) -> bool) {
        for group in groups(set) {
            let (key, ours) = (key(&group), ours(&group));
            for test in list(&group["tests"]) {
                // What is bad under their algorithm may be a good signature under ours, and is in some sets.
                if ours || valid(test) {
                    let signature = BASE64_URL_SAFE_NO_PAD.encode(hex(&test["sig"]));
                    let accepted = key.verifies(&hex(&test["msg"]), &signature);
                    self.one(key.algorithm().name(), test, accepted, ours && valid(test));
                }
            }
        }
    }

    /// The numbers are how many there are: a set that was not read would go unnoticed otherwise.
    #[track_caller]
    fn all(self, good: usize, bad: usize) {
        assert!(self.wrong.is_empty(), "{} wrong:\n{}", self.wrong.len(), self.wrong.join("\n"));
        assert_eq!((self.good, self.bad), (good, bad), "good and bad ones");
    }
}

fn groups(set: &str) -> Vec<Value> {
    let mut set: Value = set.parse().unwrap();
    let Value::Array(groups) = set["testGroups"].take() else { panic!("groups of tests") };
    groups
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn valid(test: &Value) -> bool {
    test["result"] == "valid"
}

fn hex(value: &Value) -> Vec<u8> {
    let digits = value.as_str().unwrap().as_bytes();
    let byte = |two: &[u8]| u8::from_str_radix(str::from_utf8(two).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

/// A number as a JWK has it, in `bytes` bytes at least.
fn number(value: &Value, bytes: usize) -> String {
    let value = hex(value);
    let value = &value[value.iter().take_while(|byte| **byte == 0).count()..];
    BASE64_URL_SAFE_NO_PAD.encode([&vec![0; bytes.saturating_sub(value.len())], value].concat())
}

/// The key that a published JWK makes.
fn published(mut jwk: Value) -> Arc<Key> {
    jwk["kid"] = "k1".into();
    KeySet::parse(json!({"keys": [jwk]}).to_string().as_bytes(), None).unwrap().get("k1").unwrap()
}

fn ec(crv: &str, bytes: usize) -> impl Fn(&Value) -> Arc<Key> {
    move |group| {
        let (x, y) = (number(&group["publicKey"]["wx"], bytes), number(&group["publicKey"]["wy"], bytes));
        published(json!({"kty": "EC", "crv": crv, "x": x, "y": y}))
    }
}

fn rsa(alg: &str) -> impl Fn(&Value) -> Arc<Key> {
    move |group| {
        let key = &group["publicKey"];
        let (n, e) = (number(&key["modulus"], 1), number(&key["publicExponent"], 1));
        published(json!({"kty": "RSA", "alg": alg, "n": n, "e": e}))
    }
}

#[test]
fn an_ecdsa_signature_of_zero_out_of_range_too_short_or_too_long_is_rejected() {
    for (set, crv, bytes, good, bad) in [
        (Ecdsa::EcdsaSecp256r1Sha256P1363, "P-256", 32, 173, 89),
        (Ecdsa::EcdsaSecp384r1Sha384P1363, "P-384", 48, 193, 87),
        (Ecdsa::EcdsaSecp521r1Sha512P1363, "P-521", 66, 231, 87),
    ] {
        let mut tried = Tried::default();
        tried.signatures(set.json_data(), ec(crv, bytes), |_| true);
        tried.all(good, bad);
    }
}

#[test]
fn an_ecdsa_signature_in_der_or_over_another_hash_is_rejected() {
    let mut tried = Tried::default();
    for (set, crv, bytes) in [
        (Ecdsa::EcdsaSecp256r1Sha256, "P-256", 32),
        (Ecdsa::EcdsaSecp256r1Sha512P1363, "P-256", 32),
        (Ecdsa::EcdsaSecp384r1Sha384, "P-384", 48),
        (Ecdsa::EcdsaSecp384r1Sha512P1363, "P-384", 48),
        (Ecdsa::EcdsaSecp521r1Sha512, "P-521", 66),
        (Ecdsa::EcdsaSecp521r1Shake256P1363, "P-521", 66),
    ] {
        tried.signatures(set.json_data(), ec(crv, bytes), |_| false);
    }
    tried.all(0, 1305);
}

#[test]
fn an_ed25519_signature_that_was_changed_into_another_is_rejected() {
    let mut tried = Tried::default();
    let key = |group: &Value| {
        published(json!({"kty": "OKP", "crv": "Ed25519", "x": number(&group["publicKey"]["pk"], 32)}))
    };
    tried.signatures(Eddsa::Ed25519.json_data(), key, |_| true);
    tried.all(88, 63);
}

#[test]
fn an_ed25519_key_of_small_order_is_no_key() {
    // One signature of theirs is good for about every eighth message, or for any.
    let small = |byte: u8, last: u8| [&[byte], &[last; 30][..], &[last & 0x7f]].concat();
    let order8 = "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05";
    let other8 = "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a";
    for mut x in [
        small(0, 0),
        small(1, 0),
        small(0xec, 0xff),
        small(0xed, 0xff),
        small(0xee, 0xff),
        hex(&order8.into()),
        hex(&other8.into()),
    ] {
        for sign in [0, 0x80] {
            x[31] |= sign;
            let jwk =
                json!({"kty": "OKP", "crv": "Ed25519", "kid": "k1", "x": BASE64_URL_SAFE_NO_PAD.encode(&x)});
            assert!(KeySet::parse(json!({"keys": [jwk]}).to_string().as_bytes(), None).is_err(), "{x:x?}");
        }
    }
}

#[test]
fn an_rsa_signature_with_forged_padding_or_over_another_hash_is_rejected() {
    for (alg, hash, good, bad) in
        [("RS256", "SHA-256", 31, 1145), ("RS384", "SHA-384", 28, 1152), ("RS512", "SHA-512", 30, 1150)]
    {
        let mut tried = Tried::default();
        for set in Pkcs1::all() {
            tried.signatures(set.json_data(), rsa(alg), |group| group["sha"] == hash);
        }
        tried.all(good, bad);
    }
}

#[test]
fn a_pss_signature_with_another_salt_length_hash_or_mask_is_rejected() {
    for (alg, hash, salt, good, bad) in [
        ("PS256", "SHA-256", 32, 317, 2316),
        ("PS384", "SHA-384", 48, 192, 2308),
        ("PS512", "SHA-512", 64, 266, 2236),
    ] {
        let mut tried = Tried::default();
        for set in Pss::all() {
            // RFC 7518 §3.5: one hash for the message and the mask, and a salt of its length.
            let ours =
                |group: &Value| [&group["sha"], &group["mgfSha"]] == [hash; 2] && group["sLen"] == salt;
            tried.signatures(set.json_data(), rsa(alg), ours);
        }
        tried.all(good, bad);
    }
}

#[test]
fn a_signature_of_one_rsa_scheme_is_none_of_the_other() {
    let mut tried = Tried::default();
    for (set, alg) in [
        (Pkcs1::Rsa2048Sha256.json_data(), "PS256"),
        (Pkcs1::Rsa2048Sha384.json_data(), "PS384"),
        (Pkcs1::Rsa2048Sha512.json_data(), "PS512"),
        (Pss::RsaPss2048Sha256Mgf1SaltLen32.json_data(), "RS256"),
        (Pss::RsaPss2048Sha384Mgf1SaltLen48.json_data(), "RS384"),
        (Pss::RsaPss4096Sha512Mgf1SaltLen64.json_data(), "RS512"),
    ] {
        tried.signatures(set, rsa(alg), |_| false);
    }
    tried.all(0, 314);
}

#[test]
fn a_tag_that_was_changed_or_cut_is_rejected() {
    let mut tried = Tried::default();
    for group in groups(Mac::HmacSha256.json_data()) {
        for test in list(&group["tests"]) {
            let tag = BASE64_URL_SAFE_NO_PAD.encode(hex(&test["tag"]));
            let accepted = Key::hs256(hex(&test["key"])).verifies(&hex(&test["msg"]), &tag);
            // A tag cut to half its length is good by itself, but no HS256 (RFC 7518 §3.2).
            tried.one("HS256", test, accepted, group["tagSize"] == 256 && valid(test));
        }
    }
    tried.all(33, 141);
}

/// Tokens that we judge otherwise, and why.
const OTHERWISE: [(&[u64], &str); 5] = [
    (&[259, 264, 268, 272, 320, 325], "a token without claims says nothing"),
    (&[346, 350], "the key is for PS256, the token says PS384"),
    (&[347, 351], "the key is for ES521, which nothing is"),
    (&[367, 370], "the text is that of 357, which is good"),
    (&[372, 373], "a question mark is not base64url"),
];

/// Whether a token is that key's, and can be read. What it claims is nothing in these vectors.
fn signed(token: &str, key: impl Fn(Option<&str>) -> Option<Arc<Key>>) -> bool {
    let Ok(jws) = Jws::parse(token) else { return false };
    let unreadable = Err(Rejection::Malformed("a part is not base64url"));
    let readable = jws.claims::<Value>() != unreadable;
    readable && jws.typ().is_ok() && key(jws.kid()).is_some_and(|key| key.verify(&jws).is_ok())
}

/// The same, to somebody who knows that secret.
fn by_secret(token: &str, secret: &Value) -> bool {
    let secret = BASE64_URL_SAFE_NO_PAD.decode(secret.as_str().unwrap()).unwrap();
    let key = Arc::new(Key::hs256(secret));
    signed(token, |_| Some(key.clone()))
}

/// The same, where those keys are published.
fn by_keys(token: &str, keys: &[Value]) -> bool {
    let set = KeySet::parse(json!({"keys": keys}).to_string().as_bytes(), None);
    set.is_ok_and(|set| signed(token, |kid| set.get(kid?)))
}

#[test]
fn a_token_that_was_changed_anywhere_is_rejected() {
    let mut tried = Tried::default();
    for group in groups(JsonWeb::JsonWebSignature.json_data()) {
        let secret = &group["private"]["k"];
        for test in list(&group["tests"]) {
            let token = test["jws"].as_str().unwrap();
            let accepted = match secret {
                Value::Null => by_keys(token, &[group["public"].clone()]),
                secret => by_secret(token, secret),
            };
            let otherwise = OTHERWISE.iter().any(|(ids, _)| ids.iter().any(|id| test["tcId"] == *id));
            tried.one("JWS", test, accepted, valid(test) != otherwise);
        }
    }
    tried.all(36, 365);
}

#[test]
fn a_key_that_is_weak_or_not_for_signatures_is_left_out() {
    let mut tried = Tried::default();
    for group in groups(JsonWeb::JsonWebKey.json_data()) {
        let keys = [&group["public"]["keys"], &group["private"]["keys"]];
        let keys = list(keys.into_iter().find(|keys| !keys.is_null()).unwrap());
        // A secret that is published is none.
        let secret = keys.iter().any(|key| key["kty"] == "oct");
        for test in list(&group["tests"]) {
            let accepted = by_keys(test["jws"].as_str().unwrap(), keys);
            tried.one("JWK", test, accepted, !secret && valid(test));
        }
    }
    tried.all(1, 25);
}
