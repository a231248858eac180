//! The identity that we sign for internal services.
//!
//! The key is derived from a seed, so that every replica signs alike and nobody without the seed can. Those who
//! check it need the public key alone, and so cannot forge.

use std::time::Duration;

use aws_lc_rs::{
    digest,
    hkdf::{HKDF_SHA256, KeyType, Salt},
    signature::{Ed25519KeyPair, KeyPair},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use chassis::identity::{Assertion, ISSUER, UserId};
use http::HeaderValue;
use serde_json::json;

/// Binds the derived key to this one use; a later form of it gets another number.
const SALT: &[u8] = b"usher";
const INFO: &[u8] = b"identity assertion, Ed25519, 1";

/// Signs identity assertions.
pub struct Signer {
    key: Ed25519KeyPair,
    header: String,
    audience: String,
    life: Duration,
}

struct SeedLength;

impl KeyType for SeedLength {
    fn len(&self) -> usize {
        32
    }
}

impl Signer {
    /// Derives the key by HKDF-SHA256 (RFC 5869) from a secret of at least 32 bytes.
    pub fn new(seed: &str, audience: String, life: Duration) -> Self {
        let mut derived = [0; 32];
        Salt::new(HKDF_SHA256, SALT)
            .extract(seed.as_bytes())
            .expand(&[INFO], SeedLength)
            .and_then(|derivation| derivation.fill(&mut derived))
            .expect("HKDF-SHA256 gives up to 8160 bytes");
        let key = Ed25519KeyPair::from_seed_unchecked(&derived).expect("any 32 bytes are an Ed25519 seed");
        let header = json!({"alg": "EdDSA", "kid": kid(&key), "typ": "JWT"}).to_string();
        Self { header: BASE64_URL_SAFE_NO_PAD.encode(header), key, audience, life }
    }

    /// Signs that `user` is calling, at the time `now`.
    pub fn sign(&self, user: &UserId, now: u64) -> HeaderValue {
        let claims = Assertion {
            iss: ISSUER.to_owned(),
            sub: user.as_str().to_owned(),
            aud: self.audience.clone(),
            iat: now,
            exp: now + self.life.as_secs(),
        };
        let claims = serde_json::to_vec(&claims).expect("text and numbers are JSON");
        let signed = format!("{}.{}", self.header, BASE64_URL_SAFE_NO_PAD.encode(claims));
        let signature = BASE64_URL_SAFE_NO_PAD.encode(self.key.sign(signed.as_bytes()));
        HeaderValue::try_from(format!("{signed}.{signature}")).expect("base64url may stand in a header")
    }

    /// The public key, as a JWK set.
    pub fn jwks(&self) -> serde_json::Value {
        let x = BASE64_URL_SAFE_NO_PAD.encode(self.key.public_key());
        json!({"keys": [{
            "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": kid(&self.key), "x": x,
        }]})
    }
}

/// The key's thumbprint (RFC 7638, RFC 8037 §2): another key has another name.
fn kid(key: &Ed25519KeyPair) -> String {
    let x = BASE64_URL_SAFE_NO_PAD.encode(key.public_key());
    let members = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
    BASE64_URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, members.as_bytes()))
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{Algorithm, DecodingKey, Validation};

    use super::*;

    const SEED: &str = "a-seed-of-at-least-thirty-two-bytes";

    fn signer(seed: &str) -> Signer {
        Signer::new(seed, "internal".into(), Duration::from_secs(60))
    }

    #[test]
    fn an_assertion_is_verified_with_the_published_key() {
        let signer = signer(SEED);
        let now = jsonwebtoken::get_current_timestamp();
        let assertion = signer.sign(&UserId::parse("u1").unwrap(), now);
        let jwks = signer.jwks();
        let key = DecodingKey::from_ed_components(jwks["keys"][0]["x"].as_str().unwrap()).unwrap();
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_audience(&["internal"]);
        validation.set_issuer(&[ISSUER]);
        let token =
            jsonwebtoken::decode::<Assertion>(assertion.to_str().unwrap(), &key, &validation).unwrap();
        assert_eq!(token.claims.sub, "u1");
        assert_eq!(token.claims.exp, now + 60);
        assert_eq!(token.header.kid.as_deref(), jwks["keys"][0]["kid"].as_str());
    }

    #[test]
    fn replicas_with_one_seed_sign_alike_and_others_do_not() {
        assert_eq!(signer(SEED).jwks(), signer(SEED).jwks());
        assert_ne!(signer(SEED).jwks(), signer("another-seed-of-thirty-two-bytes-or-more").jwks());
    }
}
