//! What can be set; each one explained in `defaults.toml`.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use chassis::{
    layer::problem::MediaType,
    outbound::database::DatabaseSettings,
    process::Service,
    serve::ServerSettings,
    settings::{self, Bounds, Secret, ServiceUrl, SettingsError, Spec},
    telemetry::{LogFormat, traces::TraceSettings},
};
use http::{HeaderValue, uri::Authority};
use serde::{Deserialize, Deserializer};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

mod database;
mod neon;
mod plan;
mod session;
mod tokens;

pub(crate) use self::{
    database::DATABASE,
    neon::{HOSTS, Neon},
    plan::{CacheForm, Issuer},
    session::Lookup,
    tokens::{AccessTokenForms, JwksSource},
};
use self::{
    database::TableSettings,
    neon::NeonAuth,
    session::{CookieCache, Session},
    tokens::{Hs256, Jwt, OAuth, Trusted},
};
pub use self::{plan::Plan, tokens::Jwks};
use crate::verdict::Emails;

/// The file of certificates that vouch for Better Auth.
pub(crate) const CA_FILE: &str = "AUTH_VERIFIER_BETTER_AUTH__CA_FILE";

/// More than this fits into no sidecar's memory.
const CACHE_ENTRIES_MAX: u64 = 10_000_000;

const GENERAL: Bounds = &[
    ("leeway_secs", 0..=300),
    ("verdict_max_age_secs", 0..=119),
    ("token_bytes_max", 256..=1_048_576),
    ("revocation_lag_secs", 0..=300),
    ("lookups_cache_entries_max", 0..=CACHE_ENTRIES_MAX),
];
const JWKS: Bounds = &[
    // Ten years.
    ("grace_secs", 0..=315_360_000),
    ("fresh_secs", 1..=604_800),
    ("stale_max_secs", 1..=31_536_000),
    ("cool_down_secs", 1..=3600),
    ("timeout_ms", 1..=120_000),
    ("first_timeout_ms", 1..=300_000),
];
const JWT: Bounds = &[("cache_secs", 0..=300), ("cache_entries_max", 0..=CACHE_ENTRIES_MAX)];
const SESSION: Bounds = &[("timeout_ms", 1..=120_000), ("overtime_ms", 0..=300_000)];
const IDENTITY: Bounds = &[("life_secs", 1..=identity::ASSERTION_LIFE_MAX.as_secs())];

/// All settings of auth-verifier. `defaults.toml` explains each one, for operators and for us.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where requests come in.
    #[serde(deserialize_with = "settings::address")]
    pub listen: SocketAddr,
    #[serde(deserialize_with = "settings::optional_address")]
    pub(crate) grpc_listen: Option<SocketAddr>,
    /// Where the operator asks.
    #[serde(deserialize_with = "settings::address")]
    pub ops_listen: SocketAddr,
    /// How log lines look.
    pub log: LogFormat,
    /// What errors are called.
    pub errors_as: MediaType,
    #[serde(deserialize_with = "settings::list")]
    pub(crate) issuers: Vec<String>,
    #[serde(deserialize_with = "settings::list")]
    pub(crate) audiences: Vec<String>,
    #[serde(deserialize_with = "settings::optional")]
    pub(crate) jwks_url: Option<ServiceUrl>,
    #[serde(rename = "leeway_secs", deserialize_with = "settings::secs")]
    pub(crate) leeway: Duration,
    #[serde(rename = "verdict_max_age_secs", deserialize_with = "settings::secs")]
    pub(crate) verdict_max_age: Duration,
    pub(crate) token_bytes_max: usize,
    #[serde(rename = "revocation_lag_secs", deserialize_with = "settings::secs")]
    pub(crate) revocation_lag: Duration,
    pub(crate) lookups_cache_entries_max: u64,
    pub(crate) email: Emails,
    pub(crate) better_auth: BetterAuth,
    pub(crate) neon_auth: NeonAuth,
    pub(crate) hs256: Hs256,
    /// Keys of Better Auth.
    pub jwks: Jwks,
    pub(crate) jwt: Jwt,
    #[serde(default)]
    pub(crate) trusted: Vec<Trusted>,
    pub(crate) oauth: OAuth,
    pub(crate) session: Session,
    pub(crate) cookie_cache: CookieCache,
    pub(crate) database: DatabaseSettings,
    pub(crate) tables: TableSettings,
    pub(crate) identity: Identity,
    /// The bounds of each listener.
    pub server: ServerSettings,
    /// How traces are exported.
    pub otel: TraceSettings,
}

/// What Better Auth itself is set to.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BetterAuth {
    #[serde(deserialize_with = "settings::optional")]
    pub(crate) url: Option<ServiceUrl>,
    #[serde(deserialize_with = "settings::optional")]
    pub(crate) secret: Option<Secret>,
    #[serde(deserialize_with = "settings::optional")]
    pub(crate) secrets: Option<Secret>,
    #[serde(deserialize_with = "moment")]
    pub(crate) old_secrets_until: Option<OffsetDateTime>,
    #[serde(deserialize_with = "host")]
    pub(crate) host: Option<HeaderValue>,
    #[serde(deserialize_with = "settings::optional")]
    pub(crate) ca_file: Option<PathBuf>,
}

/// The identity that we sign for internal services.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Identity {
    pub(crate) audience: String,
    #[serde(deserialize_with = "settings::optional")]
    pub(crate) seed: Option<Secret>,
    #[serde(deserialize_with = "settings::optional")]
    pub(crate) previous_seed: Option<Secret>,
    #[serde(deserialize_with = "settings::optional")]
    pub(crate) next_seed: Option<Secret>,
    #[serde(rename = "life_secs", deserialize_with = "settings::secs")]
    pub(crate) life: Duration,
}

impl Settings {
    /// The issuers that an API token may name.
    fn issuers(&self) -> Vec<String> {
        self.or_origin(&self.issuers)
    }

    /// The audiences of which an API token must name one.
    fn audiences(&self) -> Vec<String> {
        self.or_origin(&self.audiences)
    }

    /// The issuers of cookie caches that the keys sign: the origin of the base URL, whatever issuer API tokens name
    /// (`plugins/jwt/cookie-cache.ts`), or one that is listed, for a Better Auth with several origins.
    fn cache_issuers(&self) -> Vec<String> {
        let origin = self.better_auth.url.as_ref().map(ServiceUrl::origin);
        origin.into_iter().chain(self.issuers.iter().cloned()).collect()
    }

    /// Better Auth's `iss` and `aud` are the origin of its base URL where nothing else is configured
    /// (`packages/better-auth/src/plugins/jwt/sign.ts`).
    fn or_origin(&self, listed: &[String]) -> Vec<String> {
        if listed.is_empty() {
            self.better_auth.url.iter().map(ServiceUrl::origin).collect()
        } else {
            listed.to_vec()
        }
    }
}

/// A moment of RFC 3339; `None` where it is left empty.
fn moment<'de, D: Deserializer<'de>>(from: D) -> Result<Option<OffsetDateTime>, D::Error> {
    let text = String::deserialize(from)?;
    let moment = (!text.is_empty()).then(|| OffsetDateTime::parse(&text, &Rfc3339)).transpose();
    moment.map_err(|_| serde::de::Error::custom("must be a moment such as 2030-01-31T00:00:00Z"))
}

/// `None` where it is left empty.
fn host<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<HeaderValue>, D::Error> {
    let text: String = serde::Deserialize::deserialize(from)?;
    if text.is_empty() {
        return Ok(None);
    }
    let plain = text.parse::<Authority>().ok().filter(|_| !text.contains('@'));
    let value = plain.and_then(|_| HeaderValue::from_str(&text).ok());
    value
        .map(Some)
        .ok_or_else(|| serde::de::Error::custom("must be a host, such as app.example.com or localhost:3000"))
}

impl settings::Settings for Settings {
    const SPEC: Spec = Spec {
        service: "auth-verifier",
        defaults: include_str!("../defaults.toml"),
        well_known: &[
            ("BETTER_AUTH_URL", "better_auth.url"),
            ("BETTER_AUTH_SECRET", "better_auth.secret"),
            ("BETTER_AUTH_SECRETS", "better_auth.secrets"),
            ("NEON_AUTH_BASE_URL", "neon_auth.base_url"),
            ("VITE_NEON_AUTH_URL", "neon_auth.vite_url"),
            ("NEON_AUTH_JWKS_URL", "neon_auth.jwks_url"),
            ("NEON_AUTH_COOKIE_SECRET", "neon_auth.cookie_secret"),
        ],
        secrets: &[
            "better_auth.secret",
            "better_auth.secrets",
            "neon_auth.cookie_secret",
            "database.url",
            "identity.seed",
            "identity.previous_seed",
            "identity.next_seed",
        ],
        bounds: &[
            ("", GENERAL),
            ("jwks", JWKS),
            ("jwt", JWT),
            ("session", SESSION),
            ("identity", IDENTITY),
            ("database", DatabaseSettings::BOUNDS),
        ],
        emptied: &[],
        // People copy it with quotes, and with `psql` in front.
        forgiving: &["database.url"],
        renamed: &[
            ("lookups_remembered_max", "lookups_cache_entries_max"),
            ("jwt.remembered_secs", "jwt.cache_secs"),
            ("jwt.remembered_max", "jwt.cache_entries_max"),
            ("database.wait_ms", "database.acquire_timeout_ms"),
            ("database.idle_secs", "database.idle_timeout_secs"),
            ("database.life_secs", "database.max_lifetime_secs"),
        ],
    };

    type Plan = Plan;

    fn plan(self) -> Result<Plan, SettingsError> {
        Plan::parse(self)
    }

    fn remarks(&self) -> Vec<String> {
        self.waits_that_do_not_fit().into_iter().chain(self.two_authorities()).collect()
    }
}

impl Service for Settings {
    const ABOUT: &'static str = "Checks what Better Auth hands out, for our gateway or any proxy";
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{better_auth::key_source::KeySource, verdict::assertion};

    fn jwks_url(plan: &Plan) -> &str {
        let Some(KeySource::Endpoint { url, .. }) = plan.own.as_ref().map(|own| &own.source) else {
            panic!("the keys are at an endpoint")
        };
        url
    }

    const SECRET: &str = "k7Jx2mQ9vR4tY8wZ1aB5cD6eF3gH0iLn";

    fn load(variables: &[(&str, &str)]) -> Result<Plan, String> {
        settings::load::<Settings>(&variables.iter().copied().collect()).map_err(|error| error.to_string())
    }

    #[test]
    fn issuer_audience_and_keys_follow_from_the_base_url() {
        for (base, origin, jwks) in [
            ("http://localhost:3000", "http://localhost:3000", "http://localhost:3000/api/auth/jwks"),
            (
                "https://Auth.Example.com:443/",
                "https://auth.example.com",
                "https://auth.example.com/api/auth/jwks",
            ),
            ("https://a.test/api/auth", "https://a.test", "https://a.test/api/auth/jwks"),
            ("https://a.test:8443/id/", "https://a.test:8443", "https://a.test:8443/id/jwks"),
        ] {
            let plan = load(&[("BETTER_AUTH_URL", base), ("BETTER_AUTH_SECRET", SECRET)]).unwrap();
            assert_eq!(plan.expected.issuers, [origin]);
            assert_eq!(plan.expected.audiences, [origin]);
            assert_eq!(jwks_url(&plan), jwks);
        }
    }

    #[test]
    fn issuers_and_the_place_of_the_keys_can_be_set_apart() {
        let plan = load(&[
            ("BETTER_AUTH_URL", "https://a.test"),
            ("BETTER_AUTH_SECRET", SECRET),
            ("AUTH_VERIFIER_ISSUERS", "https://b.test, https://c.test"),
            ("AUTH_VERIFIER_AUDIENCES", "api"),
            ("AUTH_VERIFIER_JWKS_URL", "http://frontend:3000/api/auth/jwks"),
        ])
        .unwrap();
        assert_eq!(plan.expected.issuers, ["https://b.test", "https://c.test"]);
        assert_eq!(plan.expected.audiences, ["api"]);
        assert_eq!(jwks_url(&plan), "http://frontend:3000/api/auth/jwks");
    }

    #[test]
    fn waits_that_do_not_fit_are_told_and_those_that_do_are_not() {
        let remarks = |variables: &[(&str, &str)]| {
            let base = [("BETTER_AUTH_SECRET", SECRET), ("BETTER_AUTH_URL", "http://a.test")];
            settings::Settings::remarks(&load(&[&base, variables].concat()).unwrap().settings).join(" ")
        };
        let database = ("AUTH_VERIFIER_DATABASE__URL", "postgresql://u:hunter2@localhost/auth");
        assert_eq!(remarks(&[]), "");
        assert_eq!(remarks(&[database]), "");
        let lag = ("AUTH_VERIFIER_REVOCATION_LAG_SECS", "0");
        assert!(remarks(&[lag]).contains("AUTH_VERIFIER_SESSION__TIMEOUT_MS (1500 ms)"));
        assert_eq!(remarks(&[lag, ("AUTH_VERIFIER_SESSION__LOOKUP", "off")]), "");
        let slow = ("AUTH_VERIFIER_DATABASE__ACQUIRE_TIMEOUT_MS", "60000");
        assert!(remarks(&[database, slow]).contains("has had its 62000 ms"));
        for (name, most) in [
            ("AUTH_VERIFIER_SESSION__TIMEOUT_MS", "120000"),
            ("AUTH_VERIFIER_SESSION__OVERTIME_MS", "300000"),
            ("AUTH_VERIFIER_JWKS__TIMEOUT_MS", "120000"),
            ("AUTH_VERIFIER_JWKS__FIRST_TIMEOUT_MS", "300000"),
        ] {
            remarks(&[(name, most)]);
            let above = most.parse::<u32>().unwrap() + 1;
            for beyond in [&above.to_string(), "0"] {
                let error = load(&[("BETTER_AUTH_SECRET", SECRET), (name, beyond)]).unwrap_err();
                assert!(error.contains("must be"), "{name}: {error}");
            }
        }
    }

    #[test]
    fn of_several_secrets_the_oldest_signs_identities_and_the_keys_of_all_are_published() {
        let (old, new) = (SECRET, "another-secret-of-at-least-32-bytes");
        let seeds = |variables: &[(&str, &str)]| {
            let assertion::Config { seed, published, .. } = load(variables).unwrap().identity;
            std::iter::once(seed).chain(published).map(|seed| seed.expose().to_owned()).collect::<Vec<_>>()
        };
        let versions = format!("2:{new},1:{old}");
        assert_eq!(seeds(&[("BETTER_AUTH_SECRET", old)]), [old]);
        assert_eq!(seeds(&[("BETTER_AUTH_SECRETS", &versions)]), [old, new]);
        assert_eq!(
            seeds(&[("BETTER_AUTH_SECRETS", &format!("1:{new}")), ("BETTER_AUTH_SECRET", old)]),
            [old, new]
        );
        let seed = "a-seed-of-its-own-of-thirty-two-bytes";
        let stated = ("AUTH_VERIFIER_IDENTITY__SEED", seed);
        assert_eq!(seeds(&[("BETTER_AUTH_SECRETS", &versions), stated]), [seed]);
        for name in ["AUTH_VERIFIER_IDENTITY__PREVIOUS_SEED", "AUTH_VERIFIER_IDENTITY__NEXT_SEED"] {
            assert_eq!(seeds(&[("BETTER_AUTH_SECRET", old), stated, (name, new)]), [seed, new]);
            let error = load(&[("BETTER_AUTH_SECRET", old), (name, "short")]).unwrap_err();
            assert!(error.starts_with(name) && !error.contains("short"), "{error}");
        }
    }

    #[test]
    fn a_database_of_sessions_that_cannot_work_is_named() {
        let url = ("URL", "postgresql://u:hunter2@localhost/auth");
        let variables = |further: &[(&str, &str)]| {
            let name =
                |(key, value): &(&str, &str)| (format!("{}{key}", DATABASE.prefix), (*value).to_owned());
            let secret = ("BETTER_AUTH_SECRET".to_owned(), SECRET.to_owned());
            further.iter().map(name).chain([secret]).collect()
        };
        let plan = settings::load::<Settings>(&variables(&[url])).unwrap();
        assert_eq!(plan.lookup, Lookup::Database);
        for (key, value) in [
            ("URL", "mysql://u:hunter2@localhost/auth"),
            ("URL", "postgresql://u:hunter2@db/auth?sslmode=disable"),
            ("CA_FILE", "/nowhere/ca.pem"),
            ("DANGEROUS_PLAINTEXT", "yes"),
            ("POOL_MAX", "0"),
            ("ACQUIRE_TIMEOUT_MS", "0"),
            ("MAX_LIFETIME_SECS", "0"),
            ("SESSION_TABLE", &"x".repeat(64)),
            ("COLUMNS", "kebab"),
        ] {
            let error = settings::load::<Settings>(&variables(&[url, (key, value)])).unwrap_err().to_string();
            let name = format!("AUTH_VERIFIER_DATABASE__{key}: ");
            assert!(error.starts_with(&name) && !error.contains("hunter2"), "{key}: {error}");
        }
        let error = load(&[("BETTER_AUTH_SECRET", SECRET), ("AUTH_VERIFIER_SESSION__LOOKUP", "database")])
            .unwrap_err();
        assert!(error.starts_with("AUTH_VERIFIER_DATABASE__URL: set it to where"), "{error}");
    }

    #[test]
    fn an_unsafe_or_useless_combination_does_not_start() {
        let short = &SECRET[1..];
        for (variables, want) in [
            (&[][..], "BETTER_AUTH_URL: set it to where Better Auth runs"),
            (&[("BETTER_AUTH_SECRET", short)], "BETTER_AUTH_SECRET: must be at least 32 bytes"),
            (&[("BETTER_AUTH_SECRETS", "one,two")], "BETTER_AUTH_SECRETS: must be versions"),
            (
                &[("BETTER_AUTH_SECRET", SECRET), ("AUTH_VERIFIER_HS256__ENABLED", "false")],
                "BETTER_AUTH_URL: ",
            ),
            (&[("BETTER_AUTH_URL", "http://a.test")], "AUTH_VERIFIER_IDENTITY__SEED: set it"),
            (
                &[("BETTER_AUTH_URL", "localhost:3000")],
                "BETTER_AUTH_URL: must begin with http:// or https://",
            ),
            (
                &[("BETTER_AUTH_SECRET", SECRET), ("AUTH_VERIFIER_JWKS_URL", "http://a.test/jwks")],
                "AUTH_VERIFIER_ISSUERS: name the issuers",
            ),
            (
                &[
                    ("BETTER_AUTH_SECRET", SECRET),
                    ("AUTH_VERIFIER_HS256__REQUIRE_ISSUER_AND_AUDIENCE", "true"),
                ],
                "AUTH_VERIFIER_HS256__REQUIRE_ISSUER_AND_AUDIENCE: needs",
            ),
            (
                &[
                    ("BETTER_AUTH_URL", "http://a.test"),
                    ("BETTER_AUTH_SECRET", SECRET),
                    ("AUTH_VERIFIER_HS256__ENABLED", "false"),
                    ("AUTH_VERIFIER_HS256__REQUIRE_ISSUER_AND_AUDIENCE", "true"),
                ],
                "AUTH_VERIFIER_HS256__REQUIRE_ISSUER_AND_AUDIENCE: demands nothing",
            ),
            (
                &[
                    ("BETTER_AUTH_URL", "http://a.test"),
                    ("BETTER_AUTH_SECRET", SECRET),
                    ("AUTH_VERIFIER_JWKS__SOURCE", "endpoint"),
                    ("AUTH_VERIFIER_JWKS__FILE", "/etc/keys.json"),
                ],
                "AUTH_VERIFIER_JWKS__FILE: is not read",
            ),
            (
                &[("BETTER_AUTH_SECRET", SECRET), ("AUTH_VERIFIER_OAUTH__SCOPES", "admin")],
                "AUTH_VERIFIER_OAUTH__ACCESS_TOKENS: is off",
            ),
            (
                &[
                    ("BETTER_AUTH_SECRET", SECRET),
                    ("AUTH_VERIFIER_TABLES__FIELDS", "user.banned=a, user.email=b, user.banned=c"),
                ],
                "AUTH_VERIFIER_TABLES__FIELDS: has user.banned twice",
            ),
            (
                &[("BETTER_AUTH_SECRET", SECRET), ("AUTH_VERIFIER_IDENTITY__LIFE_SECS", "121")],
                "must be 1 to 120",
            ),
            (
                &[("BETTER_AUTH_SECRET", SECRET), ("AUTH_VERIFIER_IDENTITY__LIFE_SECS", "0")],
                "must be 1 to 120",
            ),
            (
                &[("BETTER_AUTH_SECRET", SECRET), ("AUTH_VERIFIER_VERDICT_MAX_AGE_SECS", "60")],
                "must be less than",
            ),
            (&[("BETTER_AUTH_SECRET", SECRET), ("AUTH_VERIFIER_LEEWAY_SECS", "301")], "must be at most 300"),
            (
                &[("BETTER_AUTH_SECRET", SECRET), ("AUTH_VERIFIER_GRPC_LISTEN", "8003")],
                "AUTH_VERIFIER_GRPC_LISTEN: `8003` is not an address with a port, such as",
            ),
            (
                &[
                    ("BETTER_AUTH_SECRET", SECRET),
                    ("AUTH_VERIFIER_OAUTH__ACCESS_TOKENS", "opaque"),
                    ("AUTH_VERIFIER_OAUTH__OPAQUE_PREFIX", "com.acme."),
                ],
                "AUTH_VERIFIER_OAUTH__OPAQUE_PREFIX: must be of characters that a bearer token may have",
            ),
            (
                &[
                    ("BETTER_AUTH_SECRET", SECRET),
                    ("AUTH_VERIFIER_OAUTH__ACCESS_TOKENS", "opaque"),
                    ("AUTH_VERIFIER_OAUTH__OPAQUE_PREFIX", "acme:"),
                ],
                "AUTH_VERIFIER_OAUTH__OPAQUE_PREFIX: must be of characters that a bearer token may have",
            ),
            (
                &[("BETTER_AUTH_SECRET", SECRET), ("AUTH_VERIFIER_LISTN", "x")],
                "did you mean AUTH_VERIFIER_LISTEN?",
            ),
        ] {
            let error = load(variables).unwrap_err();
            assert!(error.contains(want), "{error}");
            assert!(!error.contains(short), "the secret is not shown");
        }
        load(&[("BETTER_AUTH_SECRET", SECRET)]).unwrap();
        load(&[("BETTER_AUTH_URL", "http://a.test"), ("AUTH_VERIFIER_IDENTITY__SEED", SECRET)]).unwrap();
    }

    #[test]
    fn all_faults_are_told_at_once() {
        let error = load(&[
            ("BETTER_AUTH_SECRET", &SECRET[1..]),
            ("AUTH_VERIFIER_BETTER_AUTH__CA_FILE", "/nowhere/ca.pem"),
            ("AUTH_VERIFIER_DATABASE__URL", "mysql://u@localhost/auth"),
            ("AUTH_VERIFIER_IDENTITY__AUDIENCE", " "),
            ("AUTH_VERIFIER_JWKS__STALE_MAX_SECS", "1"),
            ("AUTH_VERIFIER_OAUTH__SCOPES", "admin"),
            ("AUTH_VERIFIER_SESSION__COOKIE", "__Secure-sid"),
            ("AUTH_VERIFIER_SESSION__REFRESH", "on"),
            ("AUTH_VERIFIER_TABLES__SCHEMA", &"x".repeat(64)),
            ("AUTH_VERIFIER_TABLES__USER", &"x".repeat(64)),
        ])
        .unwrap_err();
        let mut names: Vec<_> = error.lines().map(|line| line.split(": ").next().unwrap()).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                "AUTH_VERIFIER_BETTER_AUTH__CA_FILE",
                "AUTH_VERIFIER_DATABASE__URL",
                "AUTH_VERIFIER_IDENTITY__AUDIENCE",
                "AUTH_VERIFIER_JWKS__STALE_MAX_SECS",
                "AUTH_VERIFIER_OAUTH__ACCESS_TOKENS",
                "AUTH_VERIFIER_SESSION__COOKIE",
                "AUTH_VERIFIER_SESSION__REFRESH",
                "AUTH_VERIFIER_TABLES__SCHEMA",
                "AUTH_VERIFIER_TABLES__USER",
                "BETTER_AUTH_SECRET",
            ],
            "{error}"
        );
    }

    #[test]
    fn every_number_has_bounds_from_both_sides() {
        settings::arbitrary::every_number_is_bounded::<Settings>(&[("BETTER_AUTH_SECRET", SECRET)]);
    }

    #[test]
    fn no_url_has_a_host_that_can_not_be_asked() {
        for name in ["BETTER_AUTH_URL", "AUTH_VERIFIER_JWKS_URL", "AUTH_VERIFIER_SESSION__URL"] {
            for bad in
                ["http://${HOST}:3000", "http://$HOST:3000", "http://a..test", "http://a:0", "http://a b"]
            {
                let error = load(&[("BETTER_AUTH_SECRET", SECRET), (name, bad)]).unwrap_err();
                assert!(error.starts_with(&format!("{name}: ")), "{bad}: {error}");
            }
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        let trusted = "[[trusted]]\nissuers = \"https://x.test\"\naudiences = \"a\"\nuser_prefix = \"x:\"\n";
        let path = file.path().to_str().unwrap();
        std::fs::write(path, format!("{trusted}jwks_url = \"http://{{x}}/jwks\"")).unwrap();
        let error = load(&[("BETTER_AUTH_SECRET", SECRET), ("AUTH_VERIFIER_CONFIG", path)]).unwrap_err();
        let place = format!("AUTH_VERIFIER_CONFIG {path}: trusted[0].jwks_url");
        assert!(error.starts_with(&format!("{place}: names a host")), "{error}");
    }

    #[test]
    fn a_secret_with_what_a_copy_brought_along_is_told() {
        for (name, text) in [
            ("BETTER_AUTH_SECRET", SECRET.to_owned()),
            ("BETTER_AUTH_SECRETS", format!("1:{SECRET}")),
            ("AUTH_VERIFIER_IDENTITY__SEED", SECRET.to_owned()),
        ] {
            for bad in
                [format!("\"{text}\""), format!("'{text}'"), format!("{text}\n"), format!("\u{feff}{text}")]
            {
                let error = load(&[(name, &bad)]).unwrap_err();
                assert!(error.starts_with(&format!("{name}: ")) && !error.contains(SECRET), "{error}");
            }
        }
        let quoted = format!("2:{SECRET}2,1:\"{SECRET}\"");
        let error = load(&[("BETTER_AUTH_SECRETS", &quoted)]).unwrap_err();
        assert!(error.starts_with("BETTER_AUTH_SECRETS: ") && error.contains("quotes"), "{error}");
    }
}
