//! A Better Auth and verifiers beside it, asked about the same requests.

use std::{fmt, sync::Arc, time::Duration};

use auth_verifier::{settings::Settings, transport::http::stack, verdict::Verifier};
use chassis::{
    Body,
    layer::problem::MediaType,
    serve::HttpService,
    settings::{self, Settings as _},
};
use dev_better_auth::{BetterAuth, OAuthClient, SECRET, Setup, Version};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, header};
use serde_json::{Value, json};
use tokio_postgres::NoTls;

use crate::deviations::{self, Case, reason};

/// Who a request is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    User(String),
    /// Known, but banned, or by a token that does not allow enough.
    NotAllowed,
    Nobody,
}

impl Who {
    pub fn user(id: &str) -> Self {
        Self::User(id.to_owned())
    }
}

impl From<Option<String>> for Who {
    fn from(id: Option<String>) -> Self {
        id.map_or(Self::Nobody, Self::User)
    }
}

/// What a client sends to say who it is.
#[derive(Clone, PartialEq, Eq)]
pub struct Sent(pub HeaderMap);

impl Sent {
    pub fn nothing() -> Self {
        Self(HeaderMap::new())
    }

    pub fn cookie(text: &str) -> Self {
        Self::nothing().and(header::COOKIE, text)
    }

    pub fn bearer(token: &str) -> Self {
        Self::nothing().and(header::AUTHORIZATION, &format!("Bearer {token}"))
    }

    pub fn and_cookie(self, text: &str) -> Self {
        self.and(header::COOKIE, text)
    }

    /// Another header; one that no client could send is left out.
    pub fn and(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
            self.0.append(name, value);
        }
        self
    }

    /// What it is, told by what is not the same in `good`.
    fn beside(&self, good: &Self) -> String {
        let mut told = Vec::new();
        for (name, value) in &self.0 {
            let bytes = value.as_bytes();
            let other = good.0.get(name).map_or(&b""[..], HeaderValue::as_bytes);
            let same = bytes.iter().zip(other).take_while(|(own, other)| own == other).count();
            let rest = bytes.len().min(other.len()) - same;
            let end = bytes
                .iter()
                .rev()
                .zip(other.iter().rev())
                .take(rest)
                .take_while(|(own, other)| own == other)
                .count();
            let show = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let tail = |bytes: &[u8]| show(&bytes[bytes.len().saturating_sub(12)..]);
            told.push(format!(
                "{name}: {}…{}«{}», not «{}», …{}",
                show(&bytes[..same.min(28)]),
                tail(&bytes[..same]),
                show(&bytes[same..bytes.len() - end]),
                show(&other[same..other.len() - end]),
                tail(bytes),
            ));
        }
        told.join("; ")
    }

    pub fn get(&self, name: HeaderName) -> Option<&str> {
        self.0.get(name).and_then(|value| value.to_str().ok())
    }
}

impl fmt::Debug for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.iter()).finish()
    }
}

/// How auth-verifier's settings are called, in this one place.
pub mod variables {
    pub const DATABASE_URL: &str = "AUTH_VERIFIER_DATABASE__URL";
    pub const TABLES_SCHEMA: &str = "AUTH_VERIFIER_TABLES__SCHEMA";
    pub const TABLES_SESSION: &str = "AUTH_VERIFIER_TABLES__SESSION";
    pub const TABLES_USER: &str = "AUTH_VERIFIER_TABLES__USER";
    pub const TABLES_JWKS: &str = "AUTH_VERIFIER_TABLES__JWKS";
    pub const TABLES_FIELDS: &str = "AUTH_VERIFIER_TABLES__FIELDS";
    pub const TABLES_COLUMNS: &str = "AUTH_VERIFIER_TABLES__COLUMNS";
    pub const COOKIE_CACHE: &str = "AUTH_VERIFIER_COOKIE_CACHE__STRATEGY";
    pub const COOKIE_CACHE_COOKIE: &str = "AUTH_VERIFIER_COOKIE_CACHE__COOKIE";
    pub const COOKIE_CACHE_VERSION: &str = "AUTH_VERIFIER_COOKIE_CACHE__VERSION";
    pub const SESSION_COOKIE: &str = "AUTH_VERIFIER_SESSION__COOKIE";
    pub const COOKIE_PREFIX: &str = "AUTH_VERIFIER_SESSION__COOKIE_PREFIX";
    pub const SECURE_COOKIES: &str = "AUTH_VERIFIER_SESSION__SECURE_COOKIES";
    pub const LOOKUP: &str = "AUTH_VERIFIER_SESSION__LOOKUP";
    pub const LOOKUP_URL: &str = "AUTH_VERIFIER_SESSION__URL";
    pub const JWKS_URL: &str = "AUTH_VERIFIER_JWKS_URL";
    pub const JWKS_SOURCE: &str = "AUTH_VERIFIER_JWKS__SOURCE";
    pub const JWKS_GRACE: &str = "AUTH_VERIFIER_JWKS__GRACE_SECS";
    pub const RSA_ALGORITHM: &str = "AUTH_VERIFIER_JWKS__RSA_ALGORITHM";
    pub const JWT_REVOCATION: &str = "AUTH_VERIFIER_JWT__REVOCATION";
    pub const ACCESS_TOKENS: &str = "AUTH_VERIFIER_OAUTH__ACCESS_TOKENS";
    pub const OAUTH_AUDIENCES: &str = "AUTH_VERIFIER_OAUTH__AUDIENCES";
    pub const OAUTH_SCOPES: &str = "AUTH_VERIFIER_OAUTH__SCOPES";
    pub const OPAQUE_PREFIX: &str = "AUTH_VERIFIER_OAUTH__OPAQUE_PREFIX";
    pub const ISSUERS: &str = "AUTH_VERIFIER_ISSUERS";
    pub const LEEWAY: &str = "AUTH_VERIFIER_LEEWAY_SECS";
    pub const REUSE: &str = "AUTH_VERIFIER_REVOCATION_LAG_SECS";
    pub const UNSIGNED_BEARER: &str = "AUTH_VERIFIER_SESSION__DANGEROUS_UNSIGNED_BEARER";
    pub const SECRET: &str = "BETTER_AUTH_SECRET";
    pub const SECRETS: &str = "BETTER_AUTH_SECRETS";
    pub const URL: &str = "BETTER_AUTH_URL";

    /// The patience of a slow machine, which is not what is tested here.
    pub const PATIENT: [(&str, &str); 5] = [
        ("AUTH_VERIFIER_DATABASE__ACQUIRE_TIMEOUT_MS", "60000"),
        ("AUTH_VERIFIER_DATABASE__CONNECT_MS", "60000"),
        ("AUTH_VERIFIER_DATABASE__QUERY_MS", "60000"),
        ("AUTH_VERIFIER_SESSION__TIMEOUT_MS", "60000"),
        ("AUTH_VERIFIER_JWKS__TIMEOUT_MS", "60000"),
    ];
}

/// By what the library judges bearer tokens that are no session's.
#[derive(Clone, Debug)]
pub enum Tokens {
    /// `auth.api.verifyJWT`: by its keys.
    Keys,
    /// Its HS256 check with the secret: what an application does that signs by itself.
    Hs256,
    /// The OAuth provider's introspection, which that client asks for.
    Introspection(OAuthClient),
}

/// Better Auth, and a verifier for each way to look sessions up.
pub struct Pair {
    pub better_auth: BetterAuth,
    tokens: Tokens,
    verifiers: Vec<(&'static str, Arc<Verifier>)>,
}

impl Pair {
    /// Both, the verifiers set further by `variables`. `None` where there is no Better Auth, which was said aloud.
    pub async fn start(setup: Setup, variables: &[(&str, &str)]) -> Option<Self> {
        let base = setup.options["baseURL"].as_str().map(str::to_owned);
        let better_auth = BetterAuth::start(setup).await?;
        Some(Self::beside(better_auth, base.as_deref(), variables))
    }

    /// Verifiers beside a Better Auth that runs.
    pub fn beside(better_auth: BetterAuth, base: Option<&str>, variables: &[(&str, &str)]) -> Self {
        let verifiers = ["database", "http"].map(|lookup| {
            (lookup, verifier(&better_auth, base, &[variables, &[(variables::LOOKUP, lookup)]].concat()))
        });
        Self { better_auth, tokens: Tokens::Keys, verifiers: verifiers.into() }
    }

    /// The same, with JWTs judged otherwise.
    pub fn judging_by(self, tokens: Tokens) -> Self {
        Self { tokens, ..self }
    }

    /// Changes Better Auth's tables by hand.
    pub async fn run(&self, sql: &str) {
        let (client, connection) =
            tokio_postgres::connect(&self.better_auth.database_url(), NoTls).await.unwrap();
        tokio::spawn(connection);
        client.batch_execute(sql).await.unwrap();
    }

    pub fn version(&self) -> Version {
        self.better_auth.version
    }

    /// Better Auth's own verdict: its keys' on a bearer token, if it has one, else its session's.
    pub async fn theirs(&self, sent: &Sent) -> Who {
        let question = match &self.tokens {
            Tokens::Keys => "jwt",
            Tokens::Hs256 => "hs256",
            Tokens::Introspection(client) => {
                let token = deviations::bearer(sent).unwrap_or_default();
                return self.better_auth.introspect(client, token).await.into();
            }
        };
        if let Some(token) = deviations::jwt(sent) {
            let payload = self.better_auth.ask(question, json!({"token": token})).await;
            match &payload["sub"] {
                Value::String(id) => return Who::user(id),
                Value::Null => {}
                other => return Who::User(other.to_string()),
            }
        }
        self.better_auth.session_of(&sent.0).await.into()
    }

    /// Our verdict, by the first verifier.
    pub async fn ours(&self, sent: &Sent) -> Who {
        ours(&self.verifiers[0].1, sent).await
    }

    /// What whoever sent this was granted, as we tell it.
    pub async fn scopes(&self, sent: &Sent) -> Option<String> {
        let answer = verdict(&self.verifiers[0].1, sent).await;
        assert_eq!(answer.status(), 200, "{sent:?}");
        answer.headers().get("x-credential-scopes").map(|scopes| scopes.to_str().unwrap().to_owned())
    }

    /// Who sent this, by common consent of Better Auth and all verifiers; where there is a reason not to consent, by
    /// the first verifier, so that whoever says what it should be says it of us in any case.
    #[track_caller]
    pub fn check(&self, sent: &Sent) -> impl Future<Output = Who> {
        let place = std::panic::Location::caller();
        async move {
            // We are asked first: Better Auth tidies up when it sees a session that is over.
            let mut all = Vec::new();
            for (lookup, verifier) in &self.verifiers {
                all.push((lookup, ours(verifier, sent).await));
            }
            let theirs = self.theirs(sent).await;
            for (lookup, ours) in &all {
                if !self.explained(sent, sent, &theirs, ours) {
                    assert_eq!(*ours, theirs, "{place}: {}, by {lookup}: {sent:?}", self.version());
                }
            }
            all.swap_remove(0).1
        }
    }

    fn explained(&self, sent: &Sent, good: &Sent, theirs: &Who, ours: &Who) -> bool {
        reason(&Case { version: self.version(), sent, good, theirs, ours }).is_some()
    }

    /// Asks about each of these, which are like `good` but for a change, and gives the differences.
    pub async fn differences(&self, good: &Sent, each: impl IntoIterator<Item = Sent>) -> Vec<String> {
        let mut differences = Vec::new();
        for sent in each {
            let (theirs, ours) = (self.theirs(&sent).await, self.ours(&sent).await);
            if ours != theirs && !self.explained(&sent, good, &theirs, &ours) {
                let version = self.version();
                let changed = sent.beside(good);
                differences
                    .push(format!("Better Auth {version} says {theirs:?}, we say {ours:?}: {changed}"));
            }
        }
        differences
    }
}

/// A verifier beside that Better Auth, whose base URL is `base` if it isn't where it listens.
pub fn verifier(better_auth: &BetterAuth, base: Option<&str>, further: &[(&str, &str)]) -> Arc<Verifier> {
    let (database, api) = (better_auth.database_url(), format!("{}/api/auth", better_auth.url));
    let keys = format!("{api}/jwks");
    let own = [
        (variables::URL, base.unwrap_or(&better_auth.url)),
        (variables::SECRET, SECRET),
        (variables::DATABASE_URL, &database),
        (variables::LOOKUP_URL, &api),
        (variables::JWKS_URL, &keys),
        (variables::REUSE, "0"),
        // As its bearer plugin has it, unless told otherwise (`requireSignature`).
        (variables::UNSIGNED_BEARER, "on"),
        // Better Auth allows none.
        (variables::LEEWAY, "0"),
    ];
    let all = own.iter().chain(&variables::PATIENT).chain(further).copied();
    let mut settings =
        settings::read::<Settings>(&all.filter(|(_, value)| !value.is_empty()).collect()).unwrap();
    settings.jwks.cool_down = Duration::ZERO;
    settings.plan().unwrap().verifier()
}

async fn verdict(verifier: &Arc<Verifier>, sent: &Sent) -> Response<Body> {
    let mut request = Request::get("/verify").body(Body::empty()).unwrap();
    request.headers_mut().extend(sent.0.clone());
    stack(verifier.clone(), MediaType::Problem).call(request).await
}

/// What a verifier answers.
pub async fn ours(verifier: &Arc<Verifier>, sent: &Sent) -> Who {
    let answer = verdict(verifier, sent).await;
    match answer.status().as_u16() {
        200 => Who::user(answer.headers()["x-user-id"].to_str().unwrap()),
        401 => Who::Nobody,
        403 => Who::NotAllowed,
        other => panic!("{other}: {sent:?}"),
    }
}
