//! Somebody who answers as Neon Auth does, and a verifier that is set to ask there.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use auth_verifier::{
    session::token::{SessionToken, SigningKey},
    settings::Settings,
};
use chassis::{
    Body,
    clock::{Clock, UnixSeconds},
    serve,
    settings::{self, Settings as _},
};
use http::{HeaderMap, Request, Response};
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    issuer::{Endpoint, Signing, server},
    world::{Answer, World, now},
};

pub const PATH: &str = "/neondb/auth";
pub const TOKEN: &str = "AN38LlXAsfWfnnZ19cDjYaajjbQp1dJV";
pub const ADA: &str = "e72eb6ec-36e4-4cae-9dd7-61b7e3b6e6e9";
pub const COOKIE: &str = "__Secure-neon-auth.session_token";
pub const DATA: &str = "__Secure-neon-auth.local.session_data";
pub const FAR: &str = "2099-01-01T00:00:00.000Z";

/// What only Neon knows, and what the app has made for the SDK.
const NEONS_SECRET: &str = "only-neon-knows-this-secret-of-32-bytes!";
pub const COOKIE_SECRET: &str = "k7Jx2mQ9vR4tY8wZ1aB5cD6eF3gH0iLn-of-the-app";

#[derive(Default)]
struct Told {
    sessions: HashMap<String, Value>,
    keys: Vec<Value>,
    /// What `/get-session` says instead, and when to come again.
    instead: Option<(u16, String)>,
    retry_after: Option<&'static str>,
    /// The headers and the query of each question about a session.
    asked: Vec<(HeaderMap, String)>,
}

pub struct Neon {
    pub base: String,
    pub key: Signing,
    told: Arc<Mutex<Told>>,
    held: watch::Sender<bool>,
    _stop: DropGuard,
}

impl Neon {
    pub async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}{PATH}", listener.local_addr().unwrap());
        let told: Arc<Mutex<Told>> = Arc::default();
        let (held, holding) = watch::channel(false);
        let service = {
            let told = told.clone();
            move |request: Request<Body>| {
                let (about_session, answer) = answer(&mut told.lock().unwrap(), &request);
                let mut holding = holding.clone();
                async move {
                    if about_session {
                        let _ = holding.wait_for(|held| !held).await;
                    }
                    answer.map(Body::from)
                }
            }
        };
        let stop = CancellationToken::new();
        let token = stop.clone();
        tokio::spawn(async move { serve::serve(listener, service, &server(), token).await });
        let neon = Self { base, key: Signing::new("n1", "EdDSA"), told, held, _stop: stop.drop_guard() };
        neon.publish(&[neon.key.jwk()]);
        neon.know(COOKIE, &signed(TOKEN), session(TOKEN, &ada()));
        neon
    }

    pub fn origin(&self) -> &str {
        self.base.strip_suffix(PATH).unwrap()
    }

    pub fn publish(&self, keys: &[Value]) {
        self.told.lock().unwrap().keys = keys.to_vec();
    }

    /// From now on it knows that cookie, byte for byte.
    pub fn know(&self, name: &str, value: &str, answer: Value) {
        self.told.lock().unwrap().sessions.insert(format!("{name}={value}"), answer);
    }

    pub fn forget(&self) {
        self.told.lock().unwrap().sessions.clear();
    }

    pub fn say(&self, status: u16, body: &str) {
        self.told.lock().unwrap().instead = Some((status, body.to_owned()));
    }

    /// From now on it says 429, and for how many seconds.
    pub fn limit(&self, secs: &'static str) {
        self.say(429, "");
        self.told.lock().unwrap().retry_after = Some(secs);
    }

    /// From now on it answers again.
    pub fn recover(&self) {
        let mut told = self.told.lock().unwrap();
        (told.instead, told.retry_after) = (None, None);
    }

    pub fn asked(&self) -> usize {
        self.told.lock().unwrap().asked.len()
    }

    /// The headers and the query of the last question about a session.
    pub fn last(&self) -> (HeaderMap, String) {
        self.told.lock().unwrap().asked.last().unwrap().clone()
    }

    pub fn hold(&self) {
        self.held.send_replace(true);
    }

    pub fn release(&self) {
        self.held.send_replace(false);
    }

    pub async fn wait_for(&self, asked: usize) {
        while self.asked() < asked {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }

    /// What Neon puts into a token for Ada, with `changes` laid over it; `null` takes one away.
    pub fn claims(&self, changes: Value) -> Value {
        let mut claims = json!({
            "iat": now(), "exp": now() + 900, "iss": self.origin(), "aud": self.origin(), "sub": ADA, "id": ADA, "name": "Ada",
            "email": "ada@example.com", "emailVerified": false, "role": "authenticated", "banned": false,
            "banReason": null, "banExpires": null,
        });
        for (name, value) in changes.as_object().unwrap() {
            match value {
                Value::Null => claims.as_object_mut().unwrap().remove(name),
                value => claims.as_object_mut().unwrap().insert(name.clone(), value.clone()),
            };
        }
        claims
    }

    pub fn jwt(&self, changes: Value) -> String {
        self.key.token(&self.claims(changes))
    }

    /// A verifier with Neon's variables and nothing else that says whom to ask.
    pub async fn alone(&self, variables: &[(&str, &str)]) -> World {
        self.alone_at(Clock::SYSTEM, variables).await
    }

    pub async fn alone_at(&self, clock: Clock, variables: &[(&str, &str)]) -> World {
        let all = [
            &[("NEON_AUTH_BASE_URL", &*self.base), ("NEON_AUTH_COOKIE_SECRET", COOKIE_SECRET)],
            &PATIENT[..],
            variables,
        ];
        let settings = settings::read::<Settings>(&all.concat().into_iter().collect()).unwrap();
        let (server, errors_as) = (settings.server.clone(), settings.errors_as);
        let verifier = settings.plan().unwrap().verifier_at(clock);
        World { verifier, server, errors_as, endpoint: Endpoint::new().await }
    }

    /// A verifier by whose clock it is `now`, and to which Neon has said long before that `cookie` is good.
    pub async fn proven(
        &self,
        now: impl Fn() -> u64 + Send + Sync + 'static,
        cookie: &str,
        variables: &[(&str, &str)],
    ) -> World {
        let back = Arc::new(AtomicU64::new(LONG_AGO));
        let clock = Clock::of({
            let back = back.clone();
            move || UnixSeconds(now() - back.load(Ordering::SeqCst))
        });
        let world = self.alone_at(clock, variables).await;
        assert_eq!(by(&world, cookie).await.user(), Some(ADA));
        assert_eq!(self.asked(), 1);
        back.store(0, Ordering::SeqCst);
        world
    }

    /// A verifier for it beside a Better Auth of one's own.
    pub async fn beside(&self, prefix: &str, variables: &[(&str, &str)]) -> World {
        let neon = [
            ("NEON_AUTH_BASE_URL", &*self.base),
            ("NEON_AUTH_COOKIE_SECRET", COOKIE_SECRET),
            ("AUTH_VERIFIER_NEON_AUTH__USER_PREFIX", prefix),
        ];
        World::new(&[&neon, &PATIENT[..], variables].concat()).await
    }
}

/// In seconds; longer than any lag that is set here.
const LONG_AGO: u64 = 1000;

/// A slow machine is not what is tested here.
const PATIENT: [(&str, &str); 2] =
    [("AUTH_VERIFIER_SESSION__TIMEOUT_MS", "20000"), ("AUTH_VERIFIER_JWKS__TIMEOUT_MS", "20000")];

fn answer(told: &mut Told, request: &Request<Body>) -> (bool, Response<String>) {
    let json = |status: u16, body: String| Response::builder().status(status).body(body).unwrap();
    match request.uri().path().strip_prefix(PATH) {
        Some("/get-session") => {
            let query = request.uri().query().unwrap_or_default().to_owned();
            told.asked.push((request.headers().clone(), query));
            if let Some((status, body)) = told.instead.clone() {
                let mut answer = json(status, body);
                if let Some(secs) = told.retry_after {
                    answer.headers_mut().insert("retry-after", secs.parse().unwrap());
                }
                return (true, answer);
            }
            let cookie = request.headers().get("cookie").map_or("", |cookie| cookie.to_str().unwrap());
            (true, json(200, told.sessions.get(cookie).unwrap_or(&Value::Null).to_string()))
        }
        Some("/.well-known/jwks.json") => (false, json(200, json!({"keys": told.keys}).to_string())),
        _ => (false, json(404, String::new())),
    }
}

/// A session token as Neon signs it in a cookie.
pub fn signed(token: &str) -> String {
    signed_by(NEONS_SECRET, token)
}

pub fn signed_by(secret: &str, token: &str) -> String {
    SigningKey::new(secret).sign(&SessionToken::bare(token).unwrap())
}

pub fn ada() -> Value {
    json!({"id": ADA, "name": "Ada", "email": "ada@example.com", "emailVerified": false, "role": "user", "banned": false})
}

pub fn session(token: &str, user: &Value) -> Value {
    json!({"session": {"token": token, "userId": user["id"], "expiresAt": FAR, "id": "s1"}, "user": user})
}

/// What the SDK makes of Ada's session, with `changes` laid over it.
pub fn data(secret: &str, changes: Value) -> String {
    let mut payload = session(TOKEN, &ada());
    let ours = json!({"sub": ADA, "iat": now(), "exp": now() + 300});
    for more in [ours, changes] {
        payload.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    }
    jsonwebtoken::encode(&Header::default(), &payload, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
}

pub fn cookie() -> String {
    format!("{COOKIE}={}", signed(TOKEN))
}

/// A cookie that Neon has not signed, of the right form.
pub fn made_up(number: usize) -> String {
    let token = format!("AStrangersTokenNumber{number:011}");
    format!("{COOKIE}={}", signed_by("somebody-elses-secret-of-32-bytes", &token))
}

pub async fn by(world: &World, cookies: &str) -> Answer {
    world.get(Request::get("/verify").header("cookie", cookies).body(Body::empty()).unwrap()).await
}

pub async fn by_client(world: &World, cookies: &str, client: &str) -> Answer {
    let request = Request::get("/verify").header("cookie", cookies).header("x-forwarded-for", client);
    world.get(request.body(Body::empty()).unwrap()).await
}
