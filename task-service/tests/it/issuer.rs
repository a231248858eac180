//! Stands in for auth-verifier: publishes a key, and signs what it is told to.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::SystemTime,
};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use chassis::{
    Body,
    serve::{self, ServerSettings},
    settings::{self, ServiceUrl},
};
use http::{Request, Response};
use serde_json::{Value, json};
use task_service::settings::Settings;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

/// An Ed25519 key and its name.
pub struct Key {
    pair: Ed25519KeyPair,
    pub kid: &'static str,
}

impl Key {
    pub fn new(seed: u8, kid: &'static str) -> Self {
        Self { pair: Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap(), kid }
    }

    pub fn public(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }

    pub fn jwk(&self) -> Value {
        let x = encoded(self.public());
        json!({"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": self.kid, "x": x})
    }

    /// A JWS over `claims`.
    pub fn sign(&self, claims: &Value) -> String {
        let message = message(&json!({"alg": "EdDSA", "kid": self.kid, "typ": "JWT"}), claims);
        let signature = self.pair.sign(message.as_bytes());
        format!("{message}.{}", encoded(signature.as_ref()))
    }
}

/// What is signed of a JWS.
pub fn message(header: &Value, claims: &Value) -> String {
    format!("{}.{}", encoded(header.to_string().as_bytes()), encoded(claims.to_string().as_bytes()))
}

pub fn encoded(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

pub fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

/// The claims of a good assertion.
pub fn claims(user: &str) -> Value {
    json!({"iss": "auth-verifier", "sub": user, "aud": "internal", "iat": now(), "exp": now() + 60})
}

/// A server that publishes a key set.
pub struct Issuer {
    pub key: Key,
    pub url: ServiceUrl,
    up: Arc<AtomicBool>,
    fetches: Arc<AtomicUsize>,
    _running: DropGuard,
}

impl Issuer {
    pub async fn start() -> Self {
        let key = Key::new(1, "first");
        let set = json!({"keys": [key.jwk()]}).to_string();
        let (up, fetches) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
        let service = {
            let (up, fetches) = (up.clone(), fetches.clone());
            move |_: Request<Body>| {
                fetches.fetch_add(1, Ordering::SeqCst);
                let status = if up.load(Ordering::SeqCst) { 200 } else { 500 };
                let response = Response::builder().status(status).body(Body::from(set.clone())).unwrap();
                async { response }
            }
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/.well-known/jwks.json", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        let running = stop.clone().drop_guard();
        tokio::spawn(async move { serve::serve(listener, service, &bounds(), stop).await });
        Self { key, url: ServiceUrl::parse(&url).unwrap(), up, fetches, _running: running }
    }

    /// From now on fetches fail, or no longer.
    pub fn set_up(&self, up: bool) {
        self.up.store(up, Ordering::SeqCst);
    }

    /// How often the set was fetched.
    pub fn fetches(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }
}

/// The bounds of a listener, as they come.
fn bounds() -> ServerSettings {
    let url = [("DATABASE_URL", "postgresql://nobody@localhost/nothing")];
    settings::load::<Settings>(&url.into_iter().collect()).unwrap().server
}
