//! Real Better Auth servers for tests, of three minor versions: they issue credentials, and judge them.
//!
//! The library comes from npm, pinned by `npm/package-lock.json`, installed once for each target folder. Loading it is
//! what takes time, so one Node.js process for each version runs all servers of a test process (`npm/servers.mjs`). Each
//! server has a PostgreSQL database of its own.

#![expect(clippy::disallowed_methods, reason = "for tests: what it reads is written on this machine")]

mod frontend;
mod next_env;
mod npm;
mod oauth;
mod process;

use std::{fmt, sync::Arc, time::Duration};

use chassis::{Body, outbound::client};
use dev_postgres::test::{TestDatabase, database, skip};
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::time::timeout;

use self::process::Process;
pub use self::{
    frontend::Frontend,
    next_env::read_by_next,
    oauth::{Granted, OAuthClient},
};

/// What the servers sign with, unless told otherwise.
pub const SECRET: &str = "k7Jx2mQ9vR4tY8wZ1aB5cD6eF3gH0iLn+/Zq";

/// The longest wait for a server, on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Which version of the library; the exact ones stand in `npm/package.json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Version {
    V1_4,
    V1_6,
    V1_7,
}

impl Version {
    /// All of them, the oldest first.
    pub const ALL: [Self; 3] = [Self::V1_4, Self::V1_6, Self::V1_7];

    /// What npm calls it here.
    fn package(self) -> &'static str {
        match self {
            Self::V1_4 => "better-auth-1.4",
            Self::V1_6 => "better-auth-1.6",
            Self::V1_7 => "better-auth",
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V1_4 => "1.4",
            Self::V1_6 => "1.6",
            Self::V1_7 => "1.7",
        })
    }
}

/// A server to be started.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The library's version.
    pub version: Version,
    /// The options of `betterAuth({…})`, over those that all servers share; see `npm/servers.mjs`.
    pub options: Value,
    /// The schema that its tables stand in, if not `public`.
    pub schema: Option<&'static str>,
    /// Whether it gets a process of its own: what a plugin's `schema` renames is renamed for all servers of a process.
    pub alone: bool,
}

impl Setup {
    /// A server of that version, with those options.
    pub fn new(version: Version, options: Value) -> Self {
        Self { version, options, schema: None, alone: false }
    }
}

/// A running Better Auth. It stops when this is dropped.
#[derive(Debug)]
pub struct BetterAuth {
    /// Its version.
    pub version: Version,
    /// Where it listens; also its base URL, unless the options have another one.
    pub url: String,
    client: client::Client,
    database: Arc<TestDatabase>,
    process: Arc<Process>,
}

/// Somebody who signed up.
#[derive(Clone, Debug)]
pub struct Person {
    /// The user's id.
    pub id: String,
    /// An API token of the JWT plugin.
    pub jwt: String,
    /// The cookies of the session, as a browser sends them.
    pub cookies: String,
    /// The session's token with its signature, as the bearer plugin hands it out.
    pub bearer: String,
}

impl Person {
    /// The cookies whose names contain this, as a browser sends them.
    pub fn cookie(&self, name: &str) -> String {
        let wanted = |cookie: &&str| cookie.split('=').next().is_some_and(|own| own.contains(name));
        self.cookies.split("; ").filter(wanted).collect::<Vec<_>>().join("; ")
    }

    /// The session cookie alone.
    pub fn session_cookie(&self) -> String {
        self.cookie("session_token")
    }

    /// The session's token, without its signature.
    pub fn token(&self) -> &str {
        self.bearer.split('.').next().expect("a text has a beginning")
    }
}

/// A server's answer.
#[derive(Debug)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Answer {
    /// The cookies that it sets, as a browser sends them afterwards: the last of each name, without deleted ones.
    ///
    /// # Panics
    ///
    /// On cookies that are not text.
    pub fn cookies(&self) -> String {
        let mut kept: Vec<(&str, &str)> = Vec::new();
        for cookie in self.headers.get_all(header::SET_COOKIE) {
            let cookie = cookie.to_str().expect("a cookie is text");
            let (pair, attributes) = cookie.split_once(';').unwrap_or((cookie, ""));
            let (name, value) = pair.split_once('=').expect("a cookie has a name");
            kept.retain(|(known, _)| *known != name);
            if !attributes.contains("Max-Age=0") {
                kept.push((name, value));
            }
        }
        kept.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
    }
}

impl BetterAuth {
    /// Starts one; `None`, with a message, where npm or PostgreSQL is missing.
    ///
    /// # Panics
    ///
    /// Where the library does not start.
    pub async fn start(setup: Setup) -> Option<Self> {
        let database =
            tokio::task::spawn_blocking(database).await.expect("a broken PostgreSQL was said aloud")?;
        Self::start_on(setup, Arc::new(database)).await
    }

    /// Starts another one on the same tables, like a deployment with other options.
    ///
    /// # Panics
    ///
    /// Where the library does not start.
    pub async fn again(&self, setup: Setup) -> Self {
        Self::start_on(setup, self.database.clone()).await.expect("it did start before")
    }

    async fn start_on(setup: Setup, database: Arc<TestDatabase>) -> Option<Self> {
        let start = tokio::task::spawn_blocking(move || Self::start_blocking(&setup, database));
        start.await.expect("the test goes on only if it starts")
    }

    fn start_blocking(setup: &Setup, database: Arc<TestDatabase>) -> Option<Self> {
        let Some(folder) = npm::installed() else {
            skip("npm is not installed; install Node.js 20 or newer");
            return None;
        };
        let Setup { version, options, schema, alone } = setup;
        let process = match alone {
            true => Arc::new(Process::start(*version, folder)),
            false => Process::shared(*version, folder),
        };
        let start =
            json!({"database": database.url(), "schema": schema, "secret": SECRET, "options": options});
        let answer = process.ask(&json!({"start": start})).expect("Node.js runs; what it said stands above");
        let url = answer["url"].as_str().unwrap_or_else(|| panic!("Better Auth {version} starts: {answer}"));
        let (version, url) = (*version, url.to_owned());
        Some(Self { version, url, client: client::client(PATIENCE), database, process })
    }

    /// Where its tables are.
    pub fn database_url(&self) -> String {
        self.database.url()
    }

    /// Calls a path of its API like a browser with these cookies.
    ///
    /// # Panics
    ///
    /// Where there is no answer.
    pub async fn call(&self, method: Method, path: &str, cookies: &str, body: Option<Value>) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}/api/auth{path}", self.url))
            .header(header::ORIGIN, &self.url)
            .header(header::COOKIE, cookies);
        self.send(request, body).await
    }

    /// The session's user by Better Auth's own word: `/get-session`, asked with exactly these headers.
    ///
    /// # Panics
    ///
    /// Where there is no answer.
    pub async fn session_of(&self, headers: &HeaderMap) -> Option<String> {
        let mut request = Request::get(format!("{}/api/auth/get-session", self.url));
        request.headers_mut().expect("the address is good").extend(headers.clone());
        let answer = self.send(request, None).await;
        // 1.4 breaks on some cookies that it did not make.
        assert!([200, 500].contains(&answer.status.as_u16()), "{headers:?}: {}", answer.body);
        answer.body["user"]["id"].as_str().map(str::to_owned)
    }

    /// Asks the server something that has no endpoint; see `oracle` in `npm/servers.mjs`.
    ///
    /// # Panics
    ///
    /// Where there is no answer, or not one with 200.
    pub async fn ask(&self, question: &str, body: Value) -> Value {
        let request = Request::post(format!("{}/oracle/{question}", self.url));
        let answer = self.send(request, Some(body)).await;
        assert_eq!(answer.status, 200, "{question}: {}", answer.body);
        answer.body
    }

    /// Signs somebody up, and asks for an API token.
    ///
    /// # Panics
    ///
    /// Where Better Auth refuses.
    pub async fn sign_up(&self, name: &str) -> Person {
        self.sign_up_with(name, json!({})).await
    }

    /// The same, with more fields of the user.
    ///
    /// # Panics
    ///
    /// Where Better Auth refuses.
    pub async fn sign_up_with(&self, name: &str, fields: Value) -> Person {
        let mut body =
            json!({"name": name, "email": format!("{name}@example.com"), "password": "correct horse"});
        let fields = fields.as_object().cloned().unwrap_or_default();
        body.as_object_mut().expect("it is an object").extend(fields);
        let answer = self.call(Method::POST, "/sign-up/email", "", Some(body)).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        self.person(&answer).await
    }

    /// The person whom an answer signed in.
    ///
    /// # Panics
    ///
    /// Where it didn't.
    pub async fn person(&self, answer: &Answer) -> Person {
        let cookies = answer.cookies();
        let text = |value: &Value| value.as_str().expect("it is a text").to_owned();
        let bearer = answer.headers["set-auth-token"].to_str().expect("it is plain text").to_owned();
        let id = text(&answer.body["user"]["id"]);
        let mut person = Person { id, jwt: String::new(), cookies, bearer };
        person.jwt = self.api_token(&person.session_cookie()).await;
        person
    }

    /// An API token of the JWT plugin.
    ///
    /// # Panics
    ///
    /// Where Better Auth refuses.
    pub async fn api_token(&self, cookies: &str) -> String {
        let token = self.call(Method::GET, "/token", cookies, None).await;
        assert_eq!(token.status, 200, "{}", token.body);
        token.body["token"].as_str().expect("it is a text").to_owned()
    }

    /// Signs somebody out.
    ///
    /// # Panics
    ///
    /// Where Better Auth refuses.
    pub async fn sign_out(&self, person: &Person) {
        let answer = self.call(Method::POST, "/sign-out", &person.cookies, Some(json!({}))).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    }

    async fn send(&self, request: http::request::Builder, body: Option<Value>) -> Answer {
        match body {
            Some(body) => {
                let request = request.header(header::CONTENT_TYPE, "application/json");
                self.exchange(request, body.to_string().into()).await
            }
            None => self.exchange(request, Body::empty()).await,
        }
    }

    async fn exchange(&self, request: http::request::Builder, body: Body) -> Answer {
        let exchange = async {
            let response = self.client.request(request.body(body).expect("the request is good")).await;
            let (head, body) = response.expect("Better Auth answers").into_parts();
            let body = body.collect().await.expect("Better Auth answers to the end").to_bytes();
            let body = serde_json::from_slice(&body)
                .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&body).into_owned()));
            Answer { status: head.status, headers: head.headers, body }
        };
        timeout(PATIENCE, exchange).await.expect("Better Auth answers in time")
    }
}

impl Drop for BetterAuth {
    fn drop(&mut self) {
        // Its connections would keep the database from going.
        let _ = self.process.ask(&json!({"stop": self.url}));
    }
}
