//! What can be set, each value by itself; explained in `defaults.toml`. `plan` parses what must hold between them.

use std::{collections::BTreeMap, fmt, net::SocketAddr, ops::RangeInclusive, path::PathBuf, time::Duration};

use chassis::{
    layer::problem::MediaType,
    process::Service,
    serve::{ServerSettings, TlsSettings},
    settings::{self, Bounds, ServiceUrl, SettingsError, Spec, Switch},
    telemetry::{LogFormat, traces::TraceSettings},
};
use http::HeaderValue;
use serde::{
    Deserialize, Deserializer,
    de::{
        self, MapAccess, SeqAccess, Visitor,
        value::{MapAccessDeserializer, SeqAccessDeserializer, StrDeserializer},
    },
};
use url::Url;

use crate::{
    body::bounded::BodyBounds, csrf::CsrfMode, local::Local, plan::Plan, route::Access, upstream::ReadyAt,
};

/// The bounds of what a body may be set to, for all routes and for one. Bodies are streamed, so that their size (up to 1 TiB) is
/// not a bound of our memory.
pub(crate) const BODY_BYTES: RangeInclusive<u64> = 1..=1 << 40;
pub(crate) const BODY_SECS: RangeInclusive<u64> = 1..=86_400;
pub(crate) const BODY_RATE: RangeInclusive<u64> = 1..=1 << 30;

/// The bounds of how long an answer may take to begin, and of how long one or a WebSocket may pause, for all routes and for one.
pub(crate) const TIMEOUT_SECS: RangeInclusive<u64> = 1..=3600;
pub(crate) const IDLE_SECS: RangeInclusive<u64> = 1..=86_400;

/// And of how many requests may be made.
pub(crate) const PER_MINUTE: RangeInclusive<u64> = 0..=6_000_000;
pub(crate) const BURST: RangeInclusive<u64> = 1..=1_000_000;

/// The variables that messages name.
pub mod variable {
    /// The TOML file.
    pub const CONFIG: &str = "GATEWAY_CONFIG";
    /// `auth_verifier_url`
    pub const AUTH_VERIFIER_URL: &str = "GATEWAY_AUTH_VERIFIER_URL";
    /// `task_service_url`
    pub const TASK_SERVICE_URL: &str = "GATEWAY_TASK_SERVICE_URL";
    /// `public_origins`
    pub const PUBLIC_ORIGINS: &str = "GATEWAY_PUBLIC_ORIGINS";
    /// `csrf.mode`
    pub const CSRF_MODE: &str = "GATEWAY_CSRF__MODE";
    /// `verifier.connect_ms`
    pub const VERIFIER_CONNECT_MS: &str = "GATEWAY_VERIFIER__CONNECT_MS";
    /// `verifier.timeout_ms`
    pub const VERIFIER_TIMEOUT_MS: &str = "GATEWAY_VERIFIER__TIMEOUT_MS";
    /// `verifier.ca_file`
    pub const VERIFIER_CA_FILE: &str = "GATEWAY_VERIFIER__CA_FILE";
    /// `limits.target_bytes`
    pub const TARGET_BYTES: &str = "GATEWAY_LIMITS__TARGET_BYTES";
    /// `limits.requests_max`
    pub const REQUESTS_MAX: &str = "GATEWAY_LIMITS__REQUESTS_MAX";
    /// `limits.requests_per_client_max`
    pub const REQUESTS_PER_CLIENT_MAX: &str = "GATEWAY_LIMITS__REQUESTS_PER_CLIENT_MAX";
    /// `limits.requests_per_user_max`
    pub const REQUESTS_PER_USER_MAX: &str = "GATEWAY_LIMITS__REQUESTS_PER_USER_MAX";
    /// `limits.websockets_max`
    pub const WEBSOCKETS_MAX: &str = "GATEWAY_LIMITS__WEBSOCKETS_MAX";
    /// `limits.websockets_per_client_max`
    pub const WEBSOCKETS_PER_CLIENT_MAX: &str = "GATEWAY_LIMITS__WEBSOCKETS_PER_CLIENT_MAX";
    /// `neon_auth.base_url`
    pub const NEON_AUTH_BASE_URL: &str = "NEON_AUTH_BASE_URL";
    /// `neon_auth.vite_url`
    pub const VITE_NEON_AUTH_URL: &str = "VITE_NEON_AUTH_URL";
    /// `neon_auth.ca_file`
    pub const NEON_AUTH_CA_FILE: &str = "GATEWAY_NEON_AUTH__CA_FILE";
    /// `neon_auth.requests_max`
    pub const NEON_AUTH_REQUESTS_MAX: &str = "GATEWAY_NEON_AUTH__REQUESTS_MAX";
    /// `neon_auth.requests_per_client_max`
    pub const NEON_AUTH_REQUESTS_PER_CLIENT_MAX: &str = "GATEWAY_NEON_AUTH__REQUESTS_PER_CLIENT_MAX";
    /// `sanitize.cookie_prefixes`
    pub const COOKIE_PREFIXES: &str = "GATEWAY_SANITIZE__COOKIE_PREFIXES";
    /// `server.head_bytes`
    pub const HEAD_BYTES: &str = "GATEWAY_SERVER__HEAD_BYTES";
    /// `server.trusted_proxies`
    pub const TRUSTED_PROXIES: &str = "GATEWAY_SERVER__TRUSTED_PROXIES";
    /// `tls.certificate_file`
    pub const CERTIFICATE_FILE: &str = "GATEWAY_TLS__CERTIFICATE_FILE";
    /// `tls.key_file`
    pub const KEY_FILE: &str = "GATEWAY_TLS__KEY_FILE";

    /// All of them.
    pub const ALL: [&str; 22] = [
        CONFIG,
        AUTH_VERIFIER_URL,
        TASK_SERVICE_URL,
        PUBLIC_ORIGINS,
        CSRF_MODE,
        VERIFIER_CONNECT_MS,
        VERIFIER_TIMEOUT_MS,
        VERIFIER_CA_FILE,
        TARGET_BYTES,
        REQUESTS_MAX,
        REQUESTS_PER_CLIENT_MAX,
        REQUESTS_PER_USER_MAX,
        WEBSOCKETS_MAX,
        WEBSOCKETS_PER_CLIENT_MAX,
        NEON_AUTH_BASE_URL,
        VITE_NEON_AUTH_URL,
        NEON_AUTH_CA_FILE,
        COOKIE_PREFIXES,
        HEAD_BYTES,
        TRUSTED_PROXIES,
        CERTIFICATE_FILE,
        KEY_FILE,
    ];
}

/// The name of the upstream that `GATEWAY_TASK_SERVICE_URL` sets.
pub const TASK_SERVICE: &str = "task-service";

/// The name of the upstream that `NEON_AUTH_BASE_URL` sets.
pub const NEON_AUTH: &str = "neon-auth";

/// A `Uri` holds no longer target.
const TARGET_BYTES_MAX: u64 = 65_534;

const CORS: Bounds = &[("max_age_secs", 0..=86_400)];
const VERIFIER: Bounds =
    &[("connect_ms", 1..=60_000), ("timeout_ms", 1..=300_000), ("cache_entries_max", 0..=10_000_000)];
const UPSTREAM: Bounds = &[
    ("connect_ms", 1..=60_000),
    ("timeout_secs", TIMEOUT_SECS),
    ("idle_secs", IDLE_SECS),
    ("resolve_secs", 1..=3600),
    ("eject_secs", 0..=3600),
    ("pool_idle_secs", 1..=3600),
    ("ready_secs", 1..=3600),
    ("ready_timeout_ms", 1..=60_000),
    ("answer_target_ms", 0..=600_000),
    ("waiting_min", 1..=100_000),
];
const LIMITS: Bounds = &[
    ("body_bytes", BODY_BYTES),
    ("body_secs", BODY_SECS),
    ("body_rate", BODY_RATE),
    ("body_grace_secs", 1..=600),
    ("body_idle_secs", 1..=3600),
    ("answer_rate", BODY_RATE),
    ("target_bytes", 256..=TARGET_BYTES_MAX),
    ("requests_max", 1..=1_000_000),
    ("requests_per_client_max", 1..=1_000_000),
    ("requests_per_user_max", 1..=1_000_000),
    ("websockets_max", 1..=1_000_000),
    ("websockets_per_client_max", 1..=1_000_000),
    ("websocket_idle_secs", IDLE_SECS),
    ("websocket_age_secs", IDLE_SECS),
    ("client_per_minute", PER_MINUTE),
    ("client_burst", BURST),
    ("user_per_minute", PER_MINUTE),
    ("user_burst", BURST),
    ("rate_entries_max", 1000..=1_000_000),
];

const NEON: Bounds = &[("requests_max", 1..=1_000_000), ("requests_per_client_max", 1..=1_000_000)];

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
    pub errors_as: MediaType,
    pub auth_verifier_url: Urls,
    #[serde(deserialize_with = "settings::optional")]
    pub auth_verifier_ready: Option<ReadyAt>,
    pub task_service_url: Urls,
    #[serde(deserialize_with = "settings::optional")]
    pub task_service_ready: Option<ReadyAt>,
    pub task_service_http2: Switch,
    pub server_timing: Switch,
    #[serde(deserialize_with = "settings::list")]
    pub public_origins: Vec<Origin>,
    pub cors: Cors,
    pub csrf: Csrf,
    pub verifier: Verifier,
    pub upstream: Upstream,
    pub limits: Limits,
    pub sanitize: Sanitize,
    pub neon_auth: NeonAuth,
    pub server: ServerSettings,
    pub otel: TraceSettings,
    pub tls: TlsSettings,
    pub compression: Switch,
    #[serde(default)]
    pub upstreams: BTreeMap<String, ServiceSettings>,
    pub routes: Vec<RouteSettings>,
}

/// The URLs of one upstream.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub struct Urls(#[serde(deserialize_with = "settings::list")] pub Vec<ServiceUrl>);

/// One upstream, as it is set: its URLs, or a table of them and more.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "defaults.toml explains each one")]
pub struct ServiceSettings {
    pub url: Urls,
    pub ready: Option<ReadyAt>,
    pub http2: bool,
    pub idempotency_key: bool,
}

impl<'de> Deserialize<'de> for ServiceSettings {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            url: Urls,
            #[serde(default)]
            ready: Option<ReadyAt>,
            #[serde(default)]
            http2: bool,
            #[serde(default)]
            idempotency_key: bool,
        }

        struct UrlsOrTable;

        impl<'de> Visitor<'de> for UrlsOrTable {
            type Value = ServiceSettings;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("one or more URLs, or a table with `url`")
            }

            fn visit_str<E: de::Error>(self, urls: &str) -> Result<ServiceSettings, E> {
                let url = Urls::deserialize(StrDeserializer::new(urls))?;
                Ok(ServiceSettings { url, ready: None, http2: false, idempotency_key: false })
            }

            fn visit_seq<A: SeqAccess<'de>>(self, urls: A) -> Result<ServiceSettings, A::Error> {
                let url = Urls::deserialize(SeqAccessDeserializer::new(urls))?;
                Ok(ServiceSettings { url, ready: None, http2: false, idempotency_key: false })
            }

            fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<ServiceSettings, A::Error> {
                let Table { url, ready, http2, idempotency_key } =
                    Table::deserialize(MapAccessDeserializer::new(table))?;
                Ok(ServiceSettings { url, ready, http2, idempotency_key })
            }
        }

        from.deserialize_any(UrlsOrTable)
    }
}

/// One route, as it is set.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "defaults.toml explains each one")]
pub struct RouteSettings {
    pub path: String,
    #[serde(default)]
    pub answer: Option<Local>,
    #[serde(default)]
    pub upstream: Option<String>,
    #[serde(default)]
    pub access: Option<Access>,
    #[serde(default)]
    pub credential: Option<CredentialSetting>,
    #[serde(default)]
    pub scopes: Option<Vec<String>>,
    #[serde(default)]
    pub body_bytes: Option<u64>,
    #[serde(default, rename = "body_secs")]
    pub body_total: Option<Secs>,
    #[serde(default)]
    pub body_rate: Option<u32>,
    #[serde(default)]
    pub client_per_minute: Option<u32>,
    #[serde(default)]
    pub client_burst: Option<u32>,
    #[serde(default)]
    pub user_per_minute: Option<u32>,
    #[serde(default)]
    pub user_burst: Option<u32>,
    #[serde(default, rename = "timeout_secs")]
    pub timeout: Option<Secs>,
    #[serde(default, rename = "idle_secs")]
    pub idle: Option<Secs>,
    #[serde(default)]
    pub websocket: bool,
    #[serde(default)]
    pub resend: Option<bool>,
    #[serde(default)]
    pub forward_credentials: bool,
    #[serde(default)]
    pub csrf: Option<CsrfMode>,
    #[serde(default)]
    pub host: Option<HostSetting>,
    #[serde(default)]
    pub methods: Option<Vec<String>>,
    #[serde(default = "yes")]
    pub cors: bool,
    #[serde(default)]
    pub expose_headers: Vec<String>,
}

fn yes() -> bool {
    true
}

/// The kind of credential that a route takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CredentialSetting {
    /// A token in `Authorization`.
    Bearer,
    /// A session cookie.
    Cookie,
}

/// By which host a service is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HostSetting {
    /// By that of its URL.
    Upstream,
    /// By the one that the client has named.
    Public,
}

/// A wait in whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secs(#[serde(deserialize_with = "settings::secs")] pub Duration);

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
        // A user and a password must not get into a log.
        let shown = if text.contains('@') { "a URL with a user" } else { &text };
        let wrong = |reason: &str| Err(de::Error::custom(format!("`{shown}` {reason}")));
        if text.contains('*') {
            // With credentials a wildcard would let any page act as whoever is signed in (Fetch §3.2.5).
            return wrong(
                "is a wildcard, which can't be allowed together with credentials; list each origin",
            );
        }
        match Url::parse(&text).ok().as_ref().and_then(serialized) {
            Some(origin) if origin == text => Ok(Self(text.parse().map_err(de::Error::custom)?)),
            Some(origin) => wrong(&format!("is not an origin as browsers send it; write {origin}")),
            None => wrong("is not an origin such as https://app.example.com"),
        }
    }
}

/// Which requests may come from a foreign page.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "defaults.toml explains each one")]
pub struct Csrf {
    pub mode: CsrfMode,
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
    pub cache_entries_max: u64,
    #[serde(deserialize_with = "settings::optional")]
    pub ca_file: Option<PathBuf>,
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
    #[serde(rename = "ready_secs", deserialize_with = "settings::secs")]
    pub ready: Duration,
    #[serde(rename = "ready_timeout_ms", deserialize_with = "settings::millis")]
    pub ready_timeout: Duration,
    pub answer_target_ms: u64,
    pub waiting_min: usize,
}

/// The bounds of a request.
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
    pub websockets_max: usize,
    pub websockets_per_client_max: usize,
    #[serde(rename = "websocket_idle_secs", deserialize_with = "settings::secs")]
    pub websocket_idle: Duration,
    #[serde(rename = "websocket_age_secs", deserialize_with = "settings::secs")]
    pub websocket_age: Duration,
    pub client_per_minute: u32,
    pub client_burst: u32,
    pub user_per_minute: u32,
    pub user_burst: u32,
    pub rate_entries_max: usize,
}

impl Limits {
    /// The bounds of a body on a route without bounds of its own.
    pub fn body(&self) -> BodyBounds {
        BodyBounds { bytes: self.body_bytes, total: self.body_total, rate: self.body_rate }
    }
}

/// What is not forwarded.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "defaults.toml explains each one")]
pub struct Sanitize {
    #[serde(deserialize_with = "settings::list")]
    pub cookie_prefixes: Vec<String>,
}

/// Neon's own Better Auth.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "defaults.toml explains each one")]
pub struct NeonAuth {
    #[serde(deserialize_with = "settings::optional")]
    pub base_url: Option<ServiceUrl>,
    #[serde(deserialize_with = "settings::optional")]
    pub vite_url: Option<ServiceUrl>,
    #[serde(deserialize_with = "settings::optional")]
    pub ca_file: Option<PathBuf>,
    pub requests_max: usize,
    pub requests_per_client_max: usize,
}

impl NeonAuth {
    /// Where it is, and the variable that says so.
    pub(crate) fn stated(&self) -> Option<(&ServiceUrl, &'static str)> {
        let base = self.base_url.as_ref().map(|url| (url, variable::NEON_AUTH_BASE_URL));
        base.or_else(|| Some((self.vite_url.as_ref()?, variable::VITE_NEON_AUTH_URL)))
    }
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

impl settings::Settings for Settings {
    const SPEC: Spec = Spec {
        service: "gateway",
        defaults: include_str!("../defaults.toml"),
        well_known: &[
            ("CORS_ALLOWED_ORIGINS", "cors.allowed_origins"),
            (variable::NEON_AUTH_BASE_URL, "neon_auth.base_url"),
            (variable::VITE_NEON_AUTH_URL, "neon_auth.vite_url"),
        ],
        secrets: &[],
        bounds: &[
            ("cors", CORS),
            ("verifier", VERIFIER),
            ("upstream", UPSTREAM),
            ("limits", LIMITS),
            ("neon_auth", NEON),
        ],
        // An empty list allows no page, least of all those of localhost.
        emptied: &["cors.allowed_origins"],
        forgiving: &[],
        renamed: &[],
    };

    type Plan = Plan;

    fn plan(self) -> Result<Plan, SettingsError> {
        Plan::parse(&self)
    }

    fn remarks(&self) -> Vec<String> {
        let Verifier { connect, timeout, .. } = self.verifier;
        let early = || {
            format!(
                "a connection to auth-verifier may take {} ms ({}), but is given up after {} ms with the verdict ({})",
                connect.as_millis(),
                variable::VERIFIER_CONNECT_MS,
                timeout.as_millis(),
                variable::VERIFIER_TIMEOUT_MS,
            )
        };
        (connect >= timeout).then(early).into_iter().collect()
    }
}

impl Service for Settings {
    const ABOUT: &'static str =
        "The one origin that the browser sees: asks who is calling, and forwards inward";

    const RELOADS: bool = true;

    fn files(&self) -> Vec<PathBuf> {
        let Self { tls, verifier, neon_auth, .. } = self;
        let files = [&tls.certificate_file, &tls.key_file, &verifier.ca_file, &neon_auth.ca_file];
        files.into_iter().flatten().cloned().collect()
    }

    fn server(bounds: ServerSettings) -> ServerSettings {
        bounds.with_room_to_refuse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The settings, and they have a plan.
    fn load(variables: &[(&str, &str)]) -> Result<Settings, String> {
        let read = settings::read::<Settings>(&variables.iter().copied().collect());
        let read = read.map_err(|error| error.to_string())?;
        Plan::parse(&read).map(|_| read).map_err(|error| error.to_string())
    }

    #[test]
    fn messages_name_variables_that_there_are() {
        let spec = <Settings as settings::Settings>::SPEC;
        let known: Vec<_> = spec.variables().into_iter().map(|known| known.name).collect();
        for name in variable::ALL {
            assert!(name == spec.file_variable() || known.iter().any(|known| known == name), "{name}");
        }
    }

    #[test]
    fn the_defaults_are_good() {
        let settings = load(&[]).unwrap();
        assert_eq!(
            settings.cors.allowed_origins,
            [Origin(HeaderValue::from_static("http://localhost:3000"))]
        );
        assert_eq!(settings.routes.len(), 5);
    }

    #[test]
    fn whoever_allows_no_origin_has_no_page_that_may_call() {
        for nothing in ["", " ", ","] {
            assert_eq!(load(&[("CORS_ALLOWED_ORIGINS", nothing)]).unwrap().cors.allowed_origins, []);
        }
        // Elsewhere an empty variable counts as unset, and what is unset is closed.
        let settings = load(&[("GATEWAY_SANITIZE__COOKIE_PREFIXES", "")]).unwrap();
        assert_eq!(settings.sanitize.cookie_prefixes, ["better-auth", "neon-auth", "neonauth"]);
    }

    #[test]
    fn every_number_has_bounds_from_both_sides() {
        settings::arbitrary::every_number_is_bounded::<Settings>(&[]);
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
    fn tls_needs_a_certificate_and_its_key() {
        let shared = |name| format!("{}/../chassis/tests/certificates/{name}", env!("CARGO_MANIFEST_DIR"));
        let (certificate, key) = ("GATEWAY_TLS__CERTIFICATE_FILE", "GATEWAY_TLS__KEY_FILE");
        let (good, its_key, other_key) =
            (shared("localhost.pem"), shared("localhost.key"), shared("renewed.key"));
        assert!(load(&[(certificate, &good), (key, &its_key)]).is_ok());
        for (set, want) in [
            (
                vec![(certificate, &*good)],
                "GATEWAY_TLS__KEY_FILE: is missing beside GATEWAY_TLS__CERTIFICATE_FILE",
            ),
            (
                vec![(key, &*its_key)],
                "GATEWAY_TLS__CERTIFICATE_FILE: is missing beside GATEWAY_TLS__KEY_FILE",
            ),
            (vec![(certificate, &good), (key, &other_key)], "GATEWAY_TLS__KEY_FILE: "),
            (vec![(certificate, &its_key), (key, &its_key)], "GATEWAY_TLS__CERTIFICATE_FILE: "),
            (vec![(certificate, &good), (key, &good)], "GATEWAY_TLS__KEY_FILE: "),
            (vec![(certificate, "/nowhere"), (key, &its_key)], "GATEWAY_TLS__CERTIFICATE_FILE: /nowhere: "),
        ] {
            let error = load(&set).unwrap_err();
            assert!(error.starts_with(want), "{error}");
            assert!(!error.contains("MIG"), "no key in {error}");
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
            ("GATEWAY_AUTH_VERIFIER_URL", "http://one:8001, http://two:8001/verify"),
            ("GATEWAY_AUTH_VERIFIER_URL", "http://one:8001, https://two:8001"),
            ("GATEWAY_AUTH_VERIFIER_URL", ","),
            ("GATEWAY_VERIFIER__CA_FILE", "/nowhere"),
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
            ("GATEWAY_LIMITS__WEBSOCKETS_PER_CLIENT_MAX", "0"),
            ("GATEWAY_LIMITS__WEBSOCKETS_PER_CLIENT_MAX", "1000001"),
            ("GATEWAY_LIMITS__CLIENT_PER_MINUTE", "6000001"),
            ("GATEWAY_LIMITS__CLIENT_BURST", "0"),
            ("GATEWAY_LIMITS__USER_PER_MINUTE", "-1"),
            ("GATEWAY_LIMITS__USER_BURST", "1000001"),
            ("GATEWAY_LIMITS__RATE_ENTRIES_MAX", "999"),
            ("GATEWAY_LIMITS__RATE_ENTRIES_MAX", "1000001"),
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
            ("GATEWAY_UPSTREAM__ANSWER_TARGET_MS", "600001"),
            ("GATEWAY_UPSTREAM__WAITING_MIN", "0"),
            ("GATEWAY_UPSTREAM__WAITING_MIN", "100001"),
            ("GATEWAY_UPSTREAM__POOL_IDLE_SECS", "0"),
            ("GATEWAY_UPSTREAM__POOL_IDLE_SECS", "3601"),
            ("GATEWAY_UPSTREAM__READY_SECS", "0"),
            ("GATEWAY_UPSTREAM__READY_TIMEOUT_MS", "0"),
            ("GATEWAY_TASK_SERVICE_READY", "readyz"),
            ("GATEWAY_TASK_SERVICE_READY", ":9002"),
            ("GATEWAY_AUTH_VERIFIER_READY", "http://verifier:9001/readyz"),
            ("GATEWAY_SERVER__HEAD_BYTES", "100"),
            ("GATEWAY_LOG", "loud"),
            ("GATEWAY_ERRORS_AS", "application/json"),
        ] {
            let error = load(&[(name, value)]).unwrap_err();
            assert!(error.starts_with(name), "{error}");
        }
    }
}
