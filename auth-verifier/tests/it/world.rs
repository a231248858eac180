//! A verifier to ask, and its answers.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use auth_verifier::{settings::Settings, transport::http::stack, verdict::Verifier};
use chassis::{
    Body,
    clock::Clock,
    layer::problem::MediaType,
    serve::{HttpService, ServerSettings},
    settings::{self, Settings as _},
};
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::BodyExt;
use serde_json::{Value, json};

use crate::issuer::{Endpoint, Signing};

pub const SECRET: &str = "k7Jx2mQ9vR4tY8wZ1aB5cD6eF3gH0iLn+/Zq";
pub const ISSUER: &str = "http://localhost:3000";

pub struct World {
    pub verifier: Arc<Verifier>,
    pub server: ServerSettings,
    pub errors_as: MediaType,
    pub endpoint: Endpoint,
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).into_iter();
        let value = values.next().map(|value| value.to_str().unwrap());
        assert!(values.next().is_none(), "{name} stands once");
        value
    }

    pub fn user(&self) -> Option<&str> {
        self.header("x-user-id")
    }
}

impl World {
    /// A verifier with a shared secret and a key endpoint, set further by `variables`.
    pub async fn new(variables: &[(&str, &str)]) -> Self {
        Self::changed(variables, |_| {}).await
    }

    /// One that asks for unknown keys without any cool-down.
    pub async fn impatient() -> Self {
        Self::impatient_with(&[]).await
    }

    /// One that asks for unknown keys without any cool-down, set further by `variables`.
    pub async fn impatient_with(variables: &[(&str, &str)]) -> Self {
        Self::changed(variables, |settings| settings.jwks.cool_down = Duration::ZERO).await
    }

    /// One by whose `clock` tokens end.
    pub async fn at(clock: Clock, variables: &[(&str, &str)]) -> Self {
        Self::made(clock, variables, |_| {}).await
    }

    async fn changed(variables: &[(&str, &str)], change: impl FnOnce(&mut Settings)) -> Self {
        Self::made(Clock::SYSTEM, variables, change).await
    }

    async fn made(clock: Clock, variables: &[(&str, &str)], change: impl FnOnce(&mut Settings)) -> Self {
        let endpoint = Endpoint::new().await;
        let mut all = vec![
            ("BETTER_AUTH_SECRET", SECRET),
            ("BETTER_AUTH_URL", ISSUER),
            ("AUTH_VERIFIER_JWKS_URL", &endpoint.url),
            // A slow machine is not what is tested here.
            ("AUTH_VERIFIER_JWKS__TIMEOUT_MS", "20000"),
        ];
        all.extend_from_slice(variables);
        let mut settings = settings::read::<Settings>(&all.into_iter().collect()).unwrap();
        change(&mut settings);
        let (server, errors_as) = (settings.server.clone(), settings.errors_as);
        Self { verifier: settings.plan().unwrap().verifier_at(clock), server, errors_as, endpoint }
    }

    pub async fn get(&self, request: Request<Body>) -> Answer {
        let response = stack(self.verifier.clone(), self.errors_as).call(request).await;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer { status: parts.status, headers: parts.headers, body: String::from_utf8(body.into()).unwrap() }
    }

    pub async fn bearer(&self, token: &str) -> Answer {
        let request = Request::get("/verify").header(header::AUTHORIZATION, format!("Bearer {token}"));
        self.get(request.body(Body::empty()).unwrap()).await
    }

    /// Asserts that a token is no good, and that the client doesn't hear why.
    #[track_caller]
    pub fn rejects(&self, token: &str) -> impl Future<Output = ()> {
        let place = std::panic::Location::caller();
        async move {
            let answer = self.bearer(token).await;
            assert_eq!(answer.status, 401, "{place}: {token}");
            assert_eq!(answer.user(), None, "{place}");
            let challenge = answer.header("www-authenticate").unwrap();
            assert!(
                challenge.starts_with("Bearer realm=\"api\", error=\"invalid_token\""),
                "{place}: {challenge}"
            );
            assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{place}");
        }
    }
}

pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// What Better Auth puts into a token for user `u1`.
pub fn claims() -> Value {
    let now = now();
    json!({
        "iat": now, "name": "Ada", "email": "ada@example.com", "id": "u1", "sub": "u1",
        "exp": now + 900, "iss": ISSUER, "aud": ISSUER,
    })
}

/// Those claims, with `changes` laid over them; `null` takes one away.
pub fn claims_with(changes: Value) -> Value {
    let mut claims = claims();
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => claims.as_object_mut().unwrap().remove(name),
            value => claims.as_object_mut().unwrap().insert(name.clone(), value.clone()),
        };
    }
    claims
}

/// A world whose endpoint publishes one Ed25519 key, and that key.
pub async fn with_key(variables: &[(&str, &str)]) -> (World, Signing) {
    let world = World::new(variables).await;
    let key = Signing::new("k1", "EdDSA");
    world.endpoint.publish(&[key.jwk()]);
    (world, key)
}

/// The same, asking without any cool-down.
pub async fn impatient_with_key() -> (World, Signing) {
    let world = World::impatient().await;
    let key = Signing::new("k1", "EdDSA");
    world.endpoint.publish(&[key.jwk()]);
    (world, key)
}
