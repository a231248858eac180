//! The table: each credential is good until it ends, for both, and each change of one is judged alike.

use dev_better_auth::{Person, Setup, Version};
use http::header;
use serde_json::{Value, json};

use crate::{
    cache::{cached, versions},
    mutations::{Depth, mutations},
    pair::{Pair, Sent, Tokens, Who, variables},
};

use After::{Ends, Lives};

/// What becomes of a credential when its session ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum After {
    Lives,
    Ends,
}

/// One credential.
struct Row {
    name: String,
    versions: &'static [Version],
    /// What the application sets.
    options: Value,
    /// What auth-verifier is set to.
    settings: Vec<(&'static str, &'static str)>,
    tokens: Tokens,
    /// The part that is changed.
    value: fn(&Person) -> String,
    /// How it is sent.
    sent: fn(&Person, &str) -> Sent,
    after: After,
    /// How much it is changed.
    depth: Depth,
}

impl Row {
    /// A row A.
    fn api_token(algorithm: &str, versions: &'static [Version]) -> Self {
        Self {
            name: format!("an API token, {algorithm}"),
            versions,
            options: json!({"plugins": {"jwt": {"jwks": {"keyPairConfig": {"alg": algorithm}}}}}),
            settings: vec![],
            tokens: Tokens::Keys,
            value: |person| person.jwt.clone(),
            sent: |_, token| Sent::bearer(token),
            after: Lives,
            depth: Depth::Few,
        }
    }

    /// A row B.
    fn session_cookie(name: &str, options: Value) -> Self {
        Self {
            name: name.to_owned(),
            versions: &Version::ALL,
            options,
            settings: vec![],
            tokens: Tokens::Keys,
            value: |person| value(&person.session_cookie()).to_owned(),
            sent: |person, changed| Sent::cookie(&with_value(&person.session_cookie(), changed)),
            after: Ends,
            depth: Depth::Many(6),
        }
    }

    /// A row C.
    fn session_token(name: &str, value: fn(&Person) -> String) -> Self {
        Self { value, sent: |_, token| Sent::bearer(token), ..Self::session_cookie(name, json!({})) }
    }

    /// A row D.
    fn cookie_cache(strategy: &'static str) -> Self {
        Self {
            versions: versions(strategy),
            settings: vec![(variables::COOKIE_CACHE, strategy)],
            value: |person| value(&person.cookie("session_data")).to_owned(),
            sent: |person, changed| {
                let cache = with_value(&person.cookie("session_data"), changed);
                Sent::cookie(&format!("{}; {cache}", person.session_cookie()))
            },
            after: Lives,
            ..Self::session_cookie(&format!("the cookie cache, {strategy}"), cached(strategy, json!({})))
        }
    }

    async fn holds(self) {
        let mut differences = Vec::new();
        for version in self.versions {
            let setup = Setup::new(*version, self.options.clone());
            let Some(pair) = Pair::start(setup, &self.settings).await else { return };
            differences.extend(self.differences(&pair.judging_by(self.tokens.clone())).await);
        }
        let (count, list) = (differences.len(), differences.join("\n  "));
        assert!(differences.is_empty(), "{}: {count} differences:\n  {list}", self.name);
    }

    async fn differences(&self, pair: &Pair) -> Vec<String> {
        let (name, version, better_auth) = (&self.name, pair.version(), &pair.better_auth);
        let (ada, bob) = (better_auth.sign_up("ada").await, better_auth.sign_up("bob").await);
        let sent = |person: &Person| (self.sent)(person, &(self.value)(person));
        for person in [&ada, &bob] {
            assert_eq!(pair.check(&sent(person)).await, Who::user(&person.id), "{name}, {version}");
        }
        better_auth.sign_out(&ada).await;
        let expected = if self.after == Lives { Who::user(&ada.id) } else { Who::Nobody };
        assert_eq!(pair.check(&sent(&ada)).await, expected, "{name}, {version}: signed out");
        assert_eq!(pair.check(&sent(&bob)).await, Who::user(&bob.id), "{name}, {version}: nobody else is");

        let carol = better_auth.sign_up("carol").await;
        if self.after == Lives {
            // So that nobody is known by the session itself.
            better_auth.sign_out(&bob).await;
        }
        let good = sent(&bob);
        let changed = mutations(&(self.value)(&bob), &(self.value)(&carol), self.depth);
        let changed: Vec<Sent> = changed.iter().map(|changed| (self.sent)(&bob, changed)).collect();
        let mut differences = pair.differences(&good, changed.clone()).await;
        if good.get(header::AUTHORIZATION).is_some() && self.depth != Depth::Few {
            let beside = changed.into_iter().map(|changed| changed.and_cookie(&carol.cookies));
            differences.extend(pair.differences(&good.and_cookie(&carol.cookies), beside).await);
        }
        differences
    }
}

fn value(cookie: &str) -> &str {
    cookie.split_once('=').unwrap().1
}

fn with_value(cookie: &str, value: &str) -> String {
    format!("{}={value}", cookie.split_once('=').unwrap().0)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_token_is_good_as_better_auth_signs_it_by_default() {
    Row { depth: Depth::Many(12), ..Row::api_token("EdDSA", &Version::ALL) }.holds().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_token_is_good_under_every_algorithm_of_a_curve() {
    for algorithm in ["ES256", "ES512"] {
        Row::api_token(algorithm, &Version::ALL).holds().await;
    }
    // These are not among the library's types, but an application in plain JavaScript can have them.
    for algorithm in ["Ed25519", "ES384"] {
        Row::api_token(algorithm, &[Version::V1_7]).holds().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_token_is_good_under_every_algorithm_of_rsa() {
    for algorithm in ["RS256", "PS256"] {
        Row::api_token(algorithm, &Version::ALL).holds().await;
    }
    for algorithm in ["RS384", "RS512", "PS384", "PS512"] {
        Row::api_token(algorithm, &[Version::V1_7]).holds().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_token_is_good_that_the_application_signs_with_the_secret() {
    // The library wants to be told of keys elsewhere, and never asks there.
    let keys = json!({"remoteUrl": "http://127.0.0.1:1/jwks", "keyPairConfig": {"alg": "ES256"}});
    let options = json!({"plugins": {"jwt": {"jwks": keys, "jwt": {"sign": "function sign HS256"}}}});
    let row = Row::api_token("HS256", &Version::ALL);
    Row { options, tokens: Tokens::Hs256, depth: Depth::Many(6), ..row }.holds().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_cookie_is_good_until_the_session_ends() {
    Row::session_cookie("a session cookie", json!({})).holds().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_cookie_is_good_under_whatever_prefix_it_has() {
    Row {
        settings: vec![(variables::COOKIE_PREFIX, "my-app")],
        depth: Depth::Few,
        ..Row::session_cookie("another prefix", json!({"advanced": {"cookiePrefix": "my-app"}}))
    }
    .holds()
    .await;
    let options = json!({"baseURL": "https://auth.example.com"});
    Row { depth: Depth::Few, ..Row::session_cookie("the secure prefix", options) }.holds().await;
    let options = json!({"advanced": {"useSecureCookies": true, "cookiePrefix": "my-app"}});
    Row {
        settings: vec![(variables::COOKIE_PREFIX, "my-app"), (variables::SECURE_COOKIES, "on")],
        depth: Depth::Few,
        ..Row::session_cookie("both prefixes", options)
    }
    .holds()
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cookies_are_found_under_names_of_their_own() {
    let names =
        json!({"session_token": {"name": "my_session_token"}, "session_data": {"name": "my_session_data"}});
    for base in [None, Some("https://auth.example.com")] {
        // Beside a name of its own a prefix says nothing.
        let advanced = json!({"advanced": {"cookies": names, "cookiePrefix": "my-app"}});
        let with_base = |mut options: Value| {
            options["advanced"] = advanced["advanced"].clone();
            base.inspect(|base| options["baseURL"] = json!(base));
            options
        };
        let prefix = if base.is_some() { "__Secure-" } else { "" };
        let settings = [
            (variables::SESSION_COOKIE, "my_session_token"),
            (variables::COOKIE_CACHE_COOKIE, "my_session_data"),
        ];
        let named = |row: Row| Row {
            name: format!("{}, {prefix}", row.name),
            options: with_base(row.options),
            settings: [row.settings, settings.into()].concat(),
            depth: Depth::Few,
            ..row
        };
        named(Row::session_cookie("another name", json!({}))).holds().await;
        named(Row::cookie_cache("compact")).holds().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_token_is_good_as_a_bearer_token_with_its_signature() {
    Row::session_token("a signed session token", |person| person.bearer.clone()).holds().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_token_is_good_as_a_bearer_token_by_itself() {
    Row::session_token("a bare session token", |person| person.token().to_owned()).holds().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_cache_spares_the_look_up_in_the_compact_form() {
    Row::cookie_cache("compact").holds().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_cache_spares_the_look_up_as_a_jwt() {
    Row::cookie_cache("jwt").holds().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_cache_spares_the_look_up_as_a_jwt_that_the_keys_sign() {
    Row::cookie_cache("jwt-jwks").holds().await;
    // Its issuer is the origin, whatever path the base URL has and whatever API tokens say.
    let mut options = cached("jwt-jwks", json!({}));
    options["baseURL"] = json!("https://auth.example.com/api/auth");
    options["plugins"]["jwt"]["jwt"] = json!({"issuer": "urn:issuer"});
    options["plugins"]["jwt"]["jwks"] = json!({"keyPairConfig": {"alg": "ES512"}});
    let mut row = Row { options, depth: Depth::Few, ..Row::cookie_cache("jwt-jwks") };
    row.settings.extend([(variables::ISSUERS, "urn:issuer"), (variables::JWKS_SOURCE, "table")]);
    row.holds().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_cache_spares_the_look_up_encrypted() {
    Row::cookie_cache("jwe").holds().await;
}
