//! Somebody who issues tokens: keys of every kind, and an endpoint that publishes them.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use aws_lc_rs::{
    encoding::{AsDer, PublicKeyX509Der},
    rand::SystemRandom,
    rsa::KeySize,
    signature::{self as sig, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use chassis::{
    Body,
    serve::{self, ServerSettings},
    settings::{self, Environment},
};
use http::{HeaderMap, Request, Response};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;

/// A private key under a name.
pub struct Signing {
    pub kid: &'static str,
    pub alg: &'static str,
    key: Private,
}

enum Private {
    Ed(Ed25519KeyPair),
    Ec(EcdsaKeyPair, &'static str, usize),
    Rsa(RsaKeyPair, &'static dyn sig::RsaEncoding),
}

impl Signing {
    /// A new key for `alg`.
    pub fn new(kid: &'static str, alg: &'static str) -> Self {
        let ec = |spec: &'static sig::EcdsaSigningAlgorithm, crv, bytes| {
            Private::Ec(EcdsaKeyPair::generate(spec).unwrap(), crv, bytes)
        };
        let rsa = |encoding| Private::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap(), encoding);
        let key = match alg {
            "EdDSA" | "Ed25519" => Private::Ed(Ed25519KeyPair::generate().unwrap()),
            "ES256" => ec(&sig::ECDSA_P256_SHA256_FIXED_SIGNING, "P-256", 32),
            "ES384" => ec(&sig::ECDSA_P384_SHA384_FIXED_SIGNING, "P-384", 48),
            "ES512" => ec(&sig::ECDSA_P521_SHA512_FIXED_SIGNING, "P-521", 66),
            "RS256" => rsa(&sig::RSA_PKCS1_SHA256 as &dyn sig::RsaEncoding),
            "RS384" => rsa(&sig::RSA_PKCS1_SHA384),
            "RS512" => rsa(&sig::RSA_PKCS1_SHA512),
            "PS256" => rsa(&sig::RSA_PSS_SHA256),
            "PS384" => rsa(&sig::RSA_PSS_SHA384),
            "PS512" => rsa(&sig::RSA_PSS_SHA512),
            other => panic!("no key for {other}"),
        };
        Self { kid, alg, key }
    }

    /// The public half, as Better Auth lists it.
    pub fn jwk(&self) -> Value {
        let b64 = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let (kid, alg) = (self.kid, self.alg);
        match &self.key {
            Private::Ed(key) => {
                json!({"alg": alg, "crv": "Ed25519", "x": b64(key.public_key().as_ref()), "kty": "OKP", "kid": kid})
            }
            Private::Ec(key, crv, bytes) => {
                let (x, y) = key.public_key().as_ref()[1..].split_at(*bytes);
                json!({"alg": alg, "crv": crv, "x": b64(x), "y": b64(y), "kty": "EC", "kid": kid})
            }
            Private::Rsa(key, _) => {
                let public = key.public_key();
                let n = public.modulus().big_endian_without_leading_zero().to_vec();
                let e = public.exponent().big_endian_without_leading_zero().to_vec();
                json!({"alg": alg, "kty": "RSA", "n": b64(&n), "e": b64(&e), "kid": kid})
            }
        }
    }

    /// The same as X.509 has it (`SubjectPublicKeyInfo`).
    pub fn der(&self) -> Vec<u8> {
        let der: PublicKeyX509Der<'_> = match &self.key {
            Private::Ed(key) => key.public_key().as_der().unwrap(),
            Private::Ec(key, ..) => key.public_key().as_der().unwrap(),
            Private::Rsa(key, _) => key.public_key().as_der().unwrap(),
        };
        der.as_ref().to_vec()
    }

    /// A token with Better Auth's own header.
    pub fn token(&self, claims: &Value) -> String {
        self.token_with(&json!({"alg": self.alg, "kid": self.kid}), claims)
    }

    /// A token with any header.
    pub fn token_with(&self, header: &Value, claims: &Value) -> String {
        self.sign(header.to_string(), claims.to_string())
    }

    /// A token of any two texts.
    pub fn sign(&self, header: impl AsRef<[u8]>, claims: impl AsRef<[u8]>) -> String {
        let base64 = |text: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(text);
        self.seal(&format!("{}.{}", base64(header.as_ref()), base64(claims.as_ref())))
    }

    /// Those first two parts, as they are, and a good signature over them.
    pub fn seal(&self, signed: &str) -> String {
        let random = SystemRandom::new();
        let signature = match &self.key {
            Private::Ed(key) => key.sign(signed.as_bytes()).as_ref().to_vec(),
            Private::Ec(key, ..) => key.sign(&random, signed.as_bytes()).unwrap().as_ref().to_vec(),
            Private::Rsa(key, encoding) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(*encoding, &random, signed.as_bytes(), &mut signature).unwrap();
                signature
            }
        };
        format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
    }
}

/// A header's name and value.
type Field = (&'static str, &'static str);

/// An endpoint that answers with whatever is published, and counts how often it is asked.
pub struct Endpoint {
    pub url: String,
    answer: Arc<Mutex<(u16, String)>>,
    asked: Arc<AtomicUsize>,
    /// The header of that name that answers carry, and the headers of the last question.
    header: Arc<Mutex<Option<Field>>>,
    last: Arc<Mutex<HeaderMap>>,
    held: watch::Sender<bool>,
    stop: CancellationToken,
    ended: CancellationToken,
}

impl Endpoint {
    pub async fn new() -> Self {
        Self::at("127.0.0.1:0").await
    }

    pub async fn at(address: &str) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let url = format!("http://{}/api/auth/jwks", listener.local_addr().unwrap());
        let answer = Arc::new(Mutex::new((200, json!({"keys": []}).to_string())));
        let asked = Arc::new(AtomicUsize::new(0));
        let (header, last): (Arc<Mutex<Option<Field>>>, _) =
            (Arc::default(), Arc::new(Mutex::new(HeaderMap::new())));
        let (held, holding) = watch::channel(false);
        let stop = CancellationToken::new();
        let service = {
            let (answer, asked) = (answer.clone(), asked.clone());
            let (header, last) = (header.clone(), last.clone());
            move |request: Request<Body>| {
                *last.lock().unwrap() = request.headers().clone();
                let (status, body) = answer.lock().unwrap().clone();
                let header = *header.lock().unwrap();
                let mut holding = holding.clone();
                asked.fetch_add(1, Ordering::SeqCst);
                async move {
                    let _ = holding.wait_for(|held| !held).await;
                    let mut response = Response::builder().status(status);
                    if let Some((name, value)) = header {
                        response = response.header(name, value);
                    }
                    response.body(body.into()).unwrap()
                }
            }
        };
        let ended = CancellationToken::new();
        let (token, end) = (stop.clone(), ended.clone());
        tokio::spawn(async move {
            serve::serve(listener, service, &server(), token).await;
            end.cancel();
        });
        Self { url, answer, asked, header, last, held, stop, ended }
    }

    pub fn publish(&self, keys: &[Value]) {
        self.answer(200, &json!({"keys": keys}).to_string());
    }

    pub fn answer(&self, status: u16, body: &str) {
        *self.answer.lock().unwrap() = (status, body.to_owned());
    }

    /// From now on answers carry this header.
    pub fn put(&self, name: &'static str, value: &'static str) {
        *self.header.lock().unwrap() = Some((name, value));
    }

    /// What the last question said in that header.
    pub fn heard(&self, name: &str) -> Option<String> {
        self.last.lock().unwrap().get(name).map(|value| value.to_str().unwrap().to_owned())
    }

    /// Answers are made as they are asked for, and held back from now on.
    pub fn hold(&self) {
        self.held.send_replace(true);
    }

    pub fn release(&self) {
        self.held.send_replace(false);
    }

    /// Waits until it was asked so often.
    pub async fn wait_for(&self, asked: usize) {
        while self.asked() < asked {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }

    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// Goes away, and returns when it is gone.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.ended.cancelled().await;
    }
}

pub fn server() -> ServerSettings {
    let secret = [("BETTER_AUTH_SECRET", super::world::SECRET)];
    let settings =
        settings::read::<auth_verifier::settings::Settings>(&secret.into_iter().collect::<Environment>());
    settings.unwrap().server
}
