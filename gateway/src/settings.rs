//! What can be set; each one explained in `defaults.toml`.

mod routes;

use std::{collections::BTreeMap, net::SocketAddr, ops::RangeInclusive, time::Duration};

use chassis::{
    process::Service,
    serve::ServerSettings,
    settings::{self, Bounds, Faults, ServiceUrl, SettingsError, Spec},
    telemetry::LogFormat,
};
use http::HeaderValue;
use serde::{Deserialize, Deserializer};
use url::Url;

use crate::{body::bounded::BodyBounds, route::RouteSettings};

/// The bounds of what a body may be set to, here and on a route. What passes is streamed, so that its size is no bound of
/// our memory: 1 TiB.
const BODY_BYTES: RangeInclusive<u64> = 1..=1 << 40;
const BODY_SECS: RangeInclusive<u64> = 1..=86_400;
const RATE: RangeInclusive<u64> = 1..=1 << 30;

/// The name of the upstream that `GATEWAY_TASK_SERVICE_URL` sets.
pub const TASK_SERVICE: &str = "task-service";

/// A `Uri` holds no longer target.
const TARGET_BYTES_MAX: u64 = 65_534;

const CORS: Bounds = &[("max_age_secs", 0..=86_400)];
const VERIFIER: Bounds = &[("connect_ms", 1..=60_000), ("timeout_ms", 1..=300_000)];
const UPSTREAM: Bounds = &[
    ("connect_ms", 1..=60_000),
    ("timeout_secs", 1..=3600),
    ("idle_secs", 1..=3600),
    ("resolve_secs", 1..=3600),
    ("eject_secs", 0..=3600),
    ("pool_idle_secs", 1..=3600),
];
const LIMITS: Bounds = &[
    ("body_bytes", BODY_BYTES),
    ("body_secs", BODY_SECS),
    ("body_rate", RATE),
    ("body_grace_secs", 1..=600),
    ("body_idle_secs", 1..=3600),
    ("answer_rate", RATE),
    ("target_bytes", 256..=TARGET_BYTES_MAX),
    ("requests_max", 1..=1_000_000),
    ("requests_per_client_max", 1..=1_000_000),
    ("requests_per_user_max", 1..=1_000_000),
];

/// All settings of the gateway.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "defaults.toml explains each one, for operators and for us")]
pub struct Settings {
    #[serde(deserialize_with = "settings::address")]
    pub listen: SocketAddr,
    #[serde(deserialize_with = "settings::address")]
    pub ops_listen: SocketAddr,
    pub log: LogFormat,
    pub auth_verifier_url: ServiceUrl,
    pub task_service_url: Urls,
    pub cors: Cors,
    pub verifier: Verifier,
    pub upstream: Upstream,
    pub limits: Limits,
    pub sanitize: Sanitize,
    pub server: ServerSettings,
    #[serde(default)]
    pub upstreams: BTreeMap<String, Urls>,
    pub routes: Vec<RouteSettings>,
}

/// The places of one upstream.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub struct Urls(#[serde(deserialize_with = "settings::list")] pub Vec<ServiceUrl>);

/// Which pages may call.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "defaults.toml explains each one")]
pub struct Cors {
    #[serde(deserialize_with = "settings::list")]
    pub allowed_origins: Vec<Origin>,
    #[serde(rename = "max_age_secs", deserialize_with = "settings::secs")]
    pub max_age: Duration,
}

/// An origin as browsers send it (RFC 6454 §6.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(pub HeaderValue);

impl<'de> Deserialize<'de> for Origin {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        // Whoever puts a user and a password there doesn't want to read them in a log.
        let shown = if text.contains('@') { "a URL with a user" } else { &text };
        let wrong = |reason: &str| Err(serde::de::Error::custom(format!("`{shown}` {reason}")));
        if text.contains('*') {
            // With credentials a wildcard would let any page act as whoever is signed in (Fetch §3.2.5).
            return wrong(
                "is a wildcard, which can't be allowed together with credentials; list each origin",
            );
        }
        match Url::parse(&text).ok().as_ref().and_then(serialized) {
            Some(origin) if origin == text => Ok(Self(text.parse().map_err(serde::de::Error::custom)?)),
            Some(origin) => wrong(&format!("is not an origin as browsers send it; write {origin}")),
            None => wrong("is not an origin such as https://app.example.com"),
        }
    }
}

/// The call to auth-verifier.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "defaults.toml explains each one")]
pub struct Verifier {
    #[serde(rename = "connect_ms", deserialize_with = "settings::millis")]
    pub connect: Duration,
    #[serde(rename = "timeout_ms", deserialize_with = "settings::millis")]
    pub timeout: Duration,
}

/// The way to a service and back.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "defaults.toml explains each one")]
pub struct Upstream {
    #[serde(rename = "connect_ms", deserialize_with = "settings::millis")]
    pub connect: Duration,
    #[serde(rename = "timeout_secs", deserialize_with = "settings::secs")]
    pub timeout: Duration,
    #[serde(rename = "idle_secs", deserialize_with = "settings::secs")]
    pub idle: Duration,
    #[serde(rename = "pool_idle_secs", deserialize_with = "settings::secs")]
    pub pool_idle: Duration,
    #[serde(rename = "resolve_secs", deserialize_with = "settings::secs")]
    pub resolve: Duration,
    #[serde(rename = "eject_secs", deserialize_with = "settings::secs")]
    pub eject: Duration,
}

/// What a request may be.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "defaults.toml explains each one")]
pub struct Limits {
    pub body_bytes: u64,
    #[serde(rename = "body_secs", deserialize_with = "settings::secs")]
    pub body_total: Duration,
    pub body_rate: u32,
    #[serde(rename = "body_grace_secs", deserialize_with = "settings::secs")]
    pub body_grace: Duration,
    #[serde(rename = "body_idle_secs", deserialize_with = "settings::secs")]
    pub body_idle: Duration,
    pub answer_rate: u32,
    pub target_bytes: usize,
    pub requests_max: usize,
    pub requests_per_client_max: usize,
    pub requests_per_user_max: usize,
}

impl Limits {
    /// What a body may be, where its route says nothing else.
    pub fn body(&self) -> BodyBounds {
        BodyBounds { bytes: self.body_bytes, total: self.body_total, rate: self.body_rate }
    }
}

fn between(range: &RangeInclusive<u64>) -> String {
    format!("must be {} to {}", range.start(), range.end())
}

/// The key that is out of its bounds, and what would be right.
fn check_body(bounds: BodyBounds) -> Result<(), (&'static str, String)> {
    if !BODY_BYTES.contains(&bounds.bytes) {
        return Err(("body_bytes", between(&BODY_BYTES)));
    }
    if !BODY_SECS.contains(&bounds.total.as_secs()) {
        return Err(("body_secs", between(&BODY_SECS)));
    }
    if !RATE.contains(&bounds.rate.into()) {
        return Err(("body_rate", between(&RATE)));
    }
    Ok(())
}

/// What stops at the gateway.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "defaults.toml explains each one")]
pub struct Sanitize {
    #[serde(deserialize_with = "settings::list")]
    pub cookie_prefixes: Vec<String>,
}

/// What browsers send for pages of this URL, if that is an origin that can be told from others.
fn serialized(url: &Url) -> Option<String> {
    if let origin @ url::Origin::Tuple(_, host, _) = &url.origin() {
        return settings::is_host(host).then(|| origin.ascii_serialization());
    }
    // The shells of apps have schemes of their own: capacitor://localhost, tauri://localhost, chrome-extension://….
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let host =
        url.host_str().filter(|host| !host.is_empty() && host.bytes().all(plain))?.to_ascii_lowercase();
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    Some(format!("{}://{host}{port}", url.scheme()))
}

impl Settings {
    /// Every upstream, by name.
    pub fn upstreams(&self) -> impl Iterator<Item = (&str, &Urls)> {
        let further = self.upstreams.iter().map(|(name, urls)| (&**name, urls));
        std::iter::once((TASK_SERVICE, &self.task_service_url)).chain(further)
    }
}

impl settings::Settings for Settings {
    const SPEC: Spec = Spec {
        service: "gateway",
        defaults: include_str!("../defaults.toml"),
        well_known: &[("CORS_ALLOWED_ORIGINS", "cors.allowed_origins")],
        secrets: &[],
        bounds: &[("cors", CORS), ("verifier", VERIFIER), ("upstream", UPSTREAM), ("limits", LIMITS)],
        // Whoever leaves no origin wants no page, and least of all those of localhost.
        emptied: &["cors.allowed_origins"],
        forgiving: &[],
        renamed: &[],
    };

    type Plan = Self;

    fn plan(self) -> Result<Self, SettingsError> {
        let mut faults = Faults::default();
        if self.auth_verifier_url.url().path() != "/" {
            faults.add("GATEWAY_AUTH_VERIFIER_URL", "must have no path: the gateway asks /verify");
        }
        let plain = |url: &ServiceUrl| url.url().scheme() == "http" && url.url().path() == "/";
        for (name, Urls(urls)) in self.upstreams() {
            let setting = if name == TASK_SERVICE {
                "GATEWAY_TASK_SERVICE_URL".into()
            } else {
                format!("upstreams.{name}")
            };
            if urls.is_empty() || !urls.iter().all(plain) {
                faults.add(
                    setting,
                    "must be one or more of http://host:port; services inside are spoken to in plain HTTP",
                );
            }
        }
        if self.upstreams.contains_key(TASK_SERVICE) {
            faults.add("upstreams.task-service", "is set by GATEWAY_TASK_SERVICE_URL (task_service_url)");
        }
        self.check_routes(&mut faults);
        if self.limits.target_bytes > self.server.head_bytes {
            faults.add("GATEWAY_LIMITS__TARGET_BYTES", "must fit into GATEWAY_SERVER__HEAD_BYTES");
        }
        if self.sanitize.cookie_prefixes.iter().any(|prefix| !prefix.bytes().all(is_of_a_cookies_name)) {
            faults.add("GATEWAY_SANITIZE__COOKIE_PREFIXES", "must be beginnings of cookies' names");
        }
        faults.result().map(|()| self)
    }

    fn remarks(&self) -> Vec<String> {
        let Verifier { connect, timeout } = self.verifier;
        let early = || {
            format!(
                "a connection to auth-verifier may take {} ms (GATEWAY_VERIFIER__CONNECT_MS), but is given up after {} ms with \
                 the verdict (GATEWAY_VERIFIER__TIMEOUT_MS)",
                connect.as_millis(),
                timeout.as_millis(),
            )
        };
        (connect >= timeout).then(early).into_iter().collect()
    }
}

/// Whether a cookie's name may have it (RFC 6265 §4.1.1: a token).
fn is_of_a_cookies_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

impl Service for Settings {
    const ABOUT: &'static str =
        "The one origin that the browser sees: asks who is calling, and forwards inward";

    fn server(bounds: ServerSettings) -> ServerSettings {
        bounds.with_room_to_refuse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(variables: &[(&str, &str)]) -> Result<Settings, String> {
        settings::load::<Settings>(&variables.iter().copied().collect()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_defaults_are_good() {
        let settings = load(&[]).unwrap();
        assert_eq!(
            settings.cors.allowed_origins,
            [Origin(HeaderValue::from_static("http://localhost:3000"))]
        );
        assert_eq!(settings.routes.len(), 3);
    }

    #[test]
    fn whoever_allows_no_origin_has_no_page_that_may_call() {
        for nothing in ["", " ", ","] {
            assert_eq!(load(&[("CORS_ALLOWED_ORIGINS", nothing)]).unwrap().cors.allowed_origins, []);
        }
        // Elsewhere an empty variable counts as unset, and what is unset is closed.
        let settings = load(&[("GATEWAY_SANITIZE__COOKIE_PREFIXES", "")]).unwrap();
        assert_eq!(settings.sanitize.cookie_prefixes, ["better-auth"]);
    }

    #[test]
    fn every_number_has_bounds_from_both_sides() {
        settings::arbitrary::every_number_is_bounded::<Settings>(&[]);
    }

    #[test]
    fn all_that_does_not_go_together_is_told_at_once() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap();
        std::fs::write(path, "[[routes]]\npath = \"/a\"\n[[routes]]\npath = \"b\"\nanswer = \"health\"")
            .unwrap();
        let error = load(&[
            ("GATEWAY_CONFIG", path),
            ("GATEWAY_AUTH_VERIFIER_URL", "http://verifier:8001/verify"),
            ("GATEWAY_TASK_SERVICE_URL", "https://tasks"),
            ("GATEWAY_LIMITS__TARGET_BYTES", "40000"),
        ])
        .unwrap_err();
        for name in [
            &format!("GATEWAY_CONFIG {path}: routes[0]: "),
            &format!("GATEWAY_CONFIG {path}: routes[1].path: "),
            "GATEWAY_AUTH_VERIFIER_URL: ",
            "GATEWAY_TASK_SERVICE_URL: ",
            "GATEWAY_LIMITS__TARGET_BYTES: ",
        ] {
            assert!(error.lines().any(|line| line.starts_with(name)), "{name}: {error}");
        }
    }

    #[test]
    fn an_origin_is_exact() {
        let settings = load(&[("CORS_ALLOWED_ORIGINS", "https://a.test, http://b.test:8080")]).unwrap();
        assert_eq!(settings.cors.allowed_origins.len(), 2);
        let shells =
            "capacitor://localhost, tauri://localhost, ionic://localhost:8100, chrome-extension://abc";
        assert_eq!(load(&[("CORS_ALLOWED_ORIGINS", shells)]).unwrap().cors.allowed_origins.len(), 4);
        for (bad, want) in [
            ("*", "is a wildcard"),
            ("https://*.a.test", "is a wildcard"),
            ("https://a.test/", "write https://a.test"),
            ("https://A.test", "write https://a.test"),
            ("https://a.test:443", "write https://a.test"),
            ("https://a.test/path", "write https://a.test"),
            ("null", "is not an origin"),
            (
                "http://u:hunter2@a.test",
                "`a URL with a user` is not an origin as browsers send it; write http://a.test",
            ),
            ("a.test", "is not an origin"),
            ("file:///x", "is not an origin"),
            ("capacitor://localhost/", "write capacitor://localhost"),
            ("Capacitor://LocalHost", "write capacitor://localhost"),
            ("tauri://u@localhost", "write tauri://localhost"),
            ("capacitor://$host", "is not an origin"),
            ("capacitor://a,b", "is not an origin"),
            ("file://", "is not an origin"),
            ("data:text/html,x", "is not an origin"),
            ("javascript:alert(1)", "is not an origin"),
            ("about:blank", "is not an origin"),
        ] {
            let error = load(&[("CORS_ALLOWED_ORIGINS", bad)]).unwrap_err();
            assert!(error.starts_with("CORS_ALLOWED_ORIGINS") && error.contains(want), "{error}");
        }
    }

    #[test]
    fn a_setting_that_can_not_work_does_not_start() {
        for (name, value) in [
            ("GATEWAY_TASK_SERVICE_URL", "https://tasks:8002"),
            ("GATEWAY_TASK_SERVICE_URL", "http://tasks:8002/below"),
            ("GATEWAY_TASK_SERVICE_URL", ","),
            ("GATEWAY_AUTH_VERIFIER_URL", "http://verifier:8001/verify"),
            ("GATEWAY_UPSTREAM__IDLE_SECS", "0"),
            ("GATEWAY_AUTH_VERIFIER_URL", "http://${VERIFIER}:8001"),
            ("GATEWAY_AUTH_VERIFIER_URL", "http://{verifier}:8001"),
            ("GATEWAY_TASK_SERVICE_URL", "http://tasks:8002, http://$TASKS:8002"),
            ("GATEWAY_SANITIZE__COOKIE_PREFIXES", "better auth"),
            ("GATEWAY_LIMITS__BODY_BYTES", "off"),
            ("GATEWAY_LIMITS__BODY_BYTES", "yes"),
            ("CORS_ALLOWED_ORIGINS", "https://$app.test"),
            ("CORS_ALLOWED_ORIGINS", "\"https://app.test\""),
            ("GATEWAY_PORT", "8080"),
            ("GATEWAY_LIMITS__REQUESTS_MAX", "0"),
            ("GATEWAY_LIMITS__TARGET_BYTES", "40000"),
            ("GATEWAY_LIMITS__REQUESTS_MAX", "1000001"),
            ("GATEWAY_LIMITS__REQUESTS_PER_CLIENT_MAX", "0"),
            ("GATEWAY_LIMITS__REQUESTS_PER_CLIENT_MAX", "1000001"),
            ("GATEWAY_LIMITS__REQUESTS_PER_USER_MAX", "0"),
            ("GATEWAY_LIMITS__REQUESTS_PER_USER_MAX", "1000001"),
            ("GATEWAY_LIMITS__BODY_BYTES", "-1"),
            ("GATEWAY_LIMITS__BODY_BYTES", "0"),
            ("GATEWAY_LIMITS__BODY_BYTES", "1099511627777"),
            ("GATEWAY_LIMITS__BODY_SECS", "0"),
            ("GATEWAY_LIMITS__BODY_SECS", "86401"),
            ("GATEWAY_LIMITS__BODY_RATE", "0"),
            ("GATEWAY_LIMITS__BODY_RATE", "1073741825"),
            ("GATEWAY_LIMITS__BODY_GRACE_SECS", "0"),
            ("GATEWAY_LIMITS__BODY_GRACE_SECS", "601"),
            ("GATEWAY_LIMITS__BODY_IDLE_SECS", "0"),
            ("GATEWAY_LIMITS__BODY_IDLE_SECS", "3601"),
            ("GATEWAY_LIMITS__ANSWER_RATE", "0"),
            ("GATEWAY_LIMITS__ANSWER_RATE", "1073741825"),
            ("GATEWAY_UPSTREAM__POOL_IDLE_SECS", "0"),
            ("GATEWAY_UPSTREAM__POOL_IDLE_SECS", "3601"),
            ("GATEWAY_SERVER__HEAD_BYTES", "100"),
            ("GATEWAY_LOG", "loud"),
        ] {
            let error = load(&[(name, value)]).unwrap_err();
            assert!(error.starts_with(name), "{error}");
        }
    }
}
