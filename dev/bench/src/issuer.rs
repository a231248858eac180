//! An issuer that signs as Better Auth does, and the raw check of its signatures: aws-lc-rs with nothing around it.

use aws_lc_rs::{
    hmac,
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        self, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, RsaEncoding, RsaKeyPair,
        UnparsedPublicKey, VerificationAlgorithm,
    },
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// The algorithms that a token may be signed with, one of each strength and family.
pub const ALGORITHMS: [&str; 7] = ["HS256", "EdDSA", "ES256", "ES384", "ES512", "RS256", "PS256"];

/// A private key, named after its algorithm.
pub struct Issuer {
    /// Its algorithm.
    pub alg: &'static str,
    key: Private,
}

enum Private {
    Shared(Box<hmac::Key>),
    Ed(Ed25519KeyPair),
    Ec(EcdsaKeyPair, &'static dyn VerificationAlgorithm),
    Rsa(RsaKeyPair, &'static dyn RsaEncoding, &'static dyn VerificationAlgorithm),
}

/// A signature, its message and its key.
pub struct Signed {
    by: Checker,
    message: Vec<u8>,
    signature: Vec<u8>,
}

enum Checker {
    Shared(Box<hmac::Key>),
    Public(UnparsedPublicKey<Vec<u8>>),
}

impl Issuer {
    /// A new key for `alg`; for HS256 it is `secret`.
    pub fn new(alg: &'static str, secret: &str) -> Self {
        let ec = |signing: &'static EcdsaSigningAlgorithm, verifying: &'static dyn VerificationAlgorithm| {
            Private::Ec(EcdsaKeyPair::generate(signing).expect("keys can be made"), verifying)
        };
        let rsa = |encoding: &'static dyn RsaEncoding, verifying: &'static dyn VerificationAlgorithm| {
            let key = RsaKeyPair::generate(KeySize::Rsa2048).expect("keys can be made");
            Private::Rsa(key, encoding, verifying)
        };
        let key = match alg {
            "HS256" => Private::Shared(hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()).into()),
            "EdDSA" => Private::Ed(Ed25519KeyPair::generate().expect("keys can be made")),
            "ES256" => ec(&signature::ECDSA_P256_SHA256_FIXED_SIGNING, &signature::ECDSA_P256_SHA256_FIXED),
            "ES384" => ec(&signature::ECDSA_P384_SHA384_FIXED_SIGNING, &signature::ECDSA_P384_SHA384_FIXED),
            "ES512" => ec(&signature::ECDSA_P521_SHA512_FIXED_SIGNING, &signature::ECDSA_P521_SHA512_FIXED),
            "RS256" => rsa(&signature::RSA_PKCS1_SHA256, &signature::RSA_PKCS1_2048_8192_SHA256),
            "PS256" => rsa(&signature::RSA_PSS_SHA256, &signature::RSA_PSS_2048_8192_SHA256),
            other => panic!("no key for {other}"),
        };
        Self { alg, key }
    }

    /// The public half, as Better Auth lists it; `None` for a secret.
    pub fn jwk(&self) -> Option<Value> {
        let b64 = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let (alg, public) = (self.alg, self.public());
        Some(match &self.key {
            Private::Shared(_) => return None,
            Private::Ed(_) => {
                json!({"alg": alg, "kid": alg, "kty": "OKP", "crv": "Ed25519", "x": b64(&public)})
            }
            Private::Ec(..) => {
                // An uncompressed point: a byte that says so, then two halves.
                let (x, y) = public[1..].split_at(public.len() / 2);
                let crv = if alg == "ES512" { "P-521".to_owned() } else { alg.replace("ES", "P-") };
                json!({"alg": alg, "kid": alg, "kty": "EC", "crv": crv, "x": b64(x), "y": b64(y)})
            }
            Private::Rsa(key, ..) => {
                let n = key.public_key().modulus().big_endian_without_leading_zero();
                let e = key.public_key().exponent().big_endian_without_leading_zero();
                json!({"alg": alg, "kid": alg, "kty": "RSA", "n": b64(n), "e": b64(e)})
            }
        })
    }

    /// A token of these claims, with Better Auth's own header, or with a type as well.
    pub fn token(&self, typ: Option<&str>, claims: &Value) -> String {
        let mut header = json!({"alg": self.alg});
        if !matches!(self.key, Private::Shared(_)) {
            header["kid"] = self.alg.into();
        }
        if let Some(typ) = typ {
            header["typ"] = typ.into();
        }
        let part = |json: &Value| BASE64_URL_SAFE_NO_PAD.encode(json.to_string());
        let signed = format!("{}.{}", part(&header), part(claims));
        let signature = BASE64_URL_SAFE_NO_PAD.encode(self.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }

    /// The signature over a message, ready to be checked.
    pub fn signed(&self, message: Vec<u8>) -> Signed {
        let by = match &self.key {
            Private::Shared(key) => Checker::Shared(key.clone()),
            Private::Ed(_) => Checker::Public(UnparsedPublicKey::new(&signature::ED25519, self.public())),
            Private::Ec(_, verifying) | Private::Rsa(_, _, verifying) => {
                Checker::Public(UnparsedPublicKey::new(*verifying, self.public()))
            }
        };
        Signed { by, signature: self.sign(&message), message }
    }

    fn public(&self) -> Vec<u8> {
        match &self.key {
            Private::Shared(_) => Vec::new(),
            Private::Ed(key) => key.public_key().as_ref().to_vec(),
            Private::Ec(key, _) => key.public_key().as_ref().to_vec(),
            Private::Rsa(key, ..) => key.public_key().as_ref().to_vec(),
        }
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.key {
            Private::Shared(key) => hmac::sign(key, message).as_ref().to_vec(),
            Private::Ed(key) => key.sign(message).as_ref().to_vec(),
            Private::Ec(key, _) => key.sign(&random, message).expect("a key signs").as_ref().to_vec(),
            Private::Rsa(key, encoding, _) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(*encoding, &random, message, &mut signature).expect("a key signs");
                signature
            }
        }
    }
}

impl Signed {
    /// An HMAC over `message` by any algorithm.
    pub fn by_hmac(algorithm: hmac::Algorithm, key: &[u8], message: Vec<u8>) -> Self {
        let key = hmac::Key::new(algorithm, key);
        let signature = hmac::sign(&key, &message).as_ref().to_vec();
        Self { by: Checker::Shared(key.into()), message, signature }
    }

    /// Whether the signature verifies.
    pub fn check(&self) -> bool {
        match &self.by {
            Checker::Shared(key) => hmac::verify(key, &self.message, &self.signature).is_ok(),
            Checker::Public(key) => key.verify(&self.message, &self.signature).is_ok(),
        }
    }
}
