//! What can be set; each one explained in `defaults.toml`.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use chassis::{
    outbound::{database::DatabaseSettings, refreshed::Policy},
    process::{Common, Service},
    serve::ServerSettings,
    settings::{self, Bounds, Faults, Secret, ServiceUrl, SettingsError, Spec},
    telemetry::LogFormat,
};
use http::HeaderValue;
use serde::{Deserialize, Deserializer};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::secrets::{self, Secrets};

mod address;
mod database;
mod session;
mod tokens;

pub(crate) use address::CA_FILE;
pub use database::*;
pub use session::*;
pub use tokens::*;

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

/// All settings of auth-verifier.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "defaults.toml explains each one, for operators and for us")]
pub struct Settings {
    #[serde(deserialize_with = "settings::address")]
    pub listen: SocketAddr,
    #[serde(deserialize_with = "settings::optional_address")]
    pub grpc_listen: Option<SocketAddr>,
    #[serde(deserialize_with = "settings::address")]
    pub ops_listen: SocketAddr,
    pub log: LogFormat,
    #[serde(deserialize_with = "settings::list")]
    pub issuers: Vec<String>,
    #[serde(deserialize_with = "settings::list")]
    pub audiences: Vec<String>,
    #[serde(deserialize_with = "settings::optional")]
    pub jwks_url: Option<ServiceUrl>,
    #[serde(rename = "leeway_secs", deserialize_with = "settings::secs")]
    pub leeway: Duration,
    #[serde(rename = "verdict_max_age_secs", deserialize_with = "settings::secs")]
    pub verdict_max_age: Duration,
    pub token_bytes_max: usize,
    #[serde(rename = "revocation_lag_secs", deserialize_with = "settings::secs")]
    pub revocation_lag: Duration,
    pub lookups_cache_entries_max: u64,
    pub email: Emails,
    pub better_auth: BetterAuth,
    pub hs256: Hs256,
    pub jwks: Jwks,
    pub jwt: Jwt,
    #[serde(default)]
    pub trusted: Vec<Trusted>,
    pub oauth: OAuth,
    pub session: Session,
    pub cookie_cache: CookieCache,
    pub database: DatabaseSettings,
    pub tables: TableSettings,
    pub identity: Identity,
    pub server: ServerSettings,
}

/// Which e-mail addresses are passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "defaults.toml explains each one")]
pub enum Emails {
    Any,
    Verified,
    Off,
}

impl Emails {
    /// Whether one is, of which is known so much.
    pub fn pass(self, verified: Option<bool>) -> bool {
        match self {
            Self::Any => true,
            Self::Verified => verified == Some(true),
            Self::Off => false,
        }
    }
}

/// What Better Auth itself is set to.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "defaults.toml explains each one")]
pub struct BetterAuth {
    #[serde(deserialize_with = "settings::optional")]
    pub url: Option<ServiceUrl>,
    #[serde(deserialize_with = "settings::optional")]
    pub secret: Option<Secret>,
    #[serde(deserialize_with = "settings::optional")]
    pub secrets: Option<Secret>,
    #[serde(deserialize_with = "moment")]
    pub old_secrets_until: Option<OffsetDateTime>,
    #[serde(deserialize_with = "address::host")]
    pub host: Option<HeaderValue>,
    #[serde(deserialize_with = "settings::optional")]
    pub ca_file: Option<PathBuf>,
}

/// The identity that we sign for internal services.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "defaults.toml explains each one")]
pub struct Identity {
    pub audience: String,
    #[serde(deserialize_with = "settings::optional")]
    pub seed: Option<Secret>,
    #[serde(deserialize_with = "settings::optional")]
    pub previous_seed: Option<Secret>,
    #[serde(deserialize_with = "settings::optional")]
    pub next_seed: Option<Secret>,
    #[serde(rename = "life_secs", deserialize_with = "settings::secs")]
    pub life: Duration,
}

impl Settings {
    /// The issuers that a token may name.
    pub fn issuers(&self) -> Vec<String> {
        self.or_origin(&self.issuers)
    }

    /// The audiences of which a token must name one.
    pub fn audiences(&self) -> Vec<String> {
        self.or_origin(&self.audiences)
    }

    /// Whom a cookie cache that the keys sign may come from: the origin of the base URL, whatever issuer API tokens name
    /// (`plugins/jwt/cookie-cache.ts`), or one that is listed, for a Better Auth with several origins.
    pub fn cache_issuers(&self) -> Vec<String> {
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

    /// Better Auth's secrets; an error names the one that is none.
    pub fn secrets(&self) -> Result<Option<Secrets>, SettingsError> {
        Secrets::parse(self.better_auth.secrets.as_ref(), self.better_auth.secret.as_ref())
    }

    /// The secret that HS256 tokens are checked with, if they are accepted.
    pub fn hs256_secret(&self) -> Option<Secret> {
        self.current_secret().filter(|_| self.hs256.enabled)
    }

    fn current_secret(&self) -> Option<Secret> {
        Some(Secret::new(self.secrets().ok()??.current()))
    }

    /// Where the keys are fetched, if tokens signed with them are accepted.
    ///
    /// A base URL without a path stands for one with Better Auth's own, `/api/auth`
    /// (`packages/better-auth/src/utils/url.ts`, `withPath`).
    pub fn jwks_url(&self) -> Option<String> {
        if !self.jwks.enabled {
            return None;
        }
        let base = self.better_auth.url.as_ref().map(|base| base.join(&format!("{}/jwks", api_path(base))));
        self.jwks_url.as_ref().map(|url| url.url().to_string()).or(base)
    }

    /// How the keys are kept.
    pub fn jwks_policy(&self) -> Policy {
        Policy {
            fresh: self.jwks.fresh,
            stale_max: self.jwks.stale_max,
            cool_down: self.jwks.cool_down,
            wait: self.jwks.timeout,
            first_wait: self.jwks.first_timeout,
        }
    }

    /// What the key of the assertions is derived from.
    ///
    /// Of several secrets that is the oldest: it is known to replicas that have not heard of the newer ones yet, and to
    /// those who asked these for their key. So a new secret's key is published before it signs.
    pub fn identity_seed(&self) -> Option<Secret> {
        let oldest = || self.secrets().ok()??.all().last().map(Secret::new);
        self.identity.seed.clone().or_else(oldest)
    }

    /// What the keys are derived from that are published beside it, because other replicas may sign with them. Where
    /// identities have a seed of their own, whoever knows a secret of Better Auth's must not be able to sign them.
    pub fn identity_seeds_besides(&self) -> Vec<Secret> {
        let Identity { seed, previous_seed, next_seed, .. } = &self.identity;
        let secrets = self.secrets().ok().flatten().filter(|_| seed.is_none());
        let secrets = secrets.iter().flat_map(|secrets| secrets.all().map(Secret::new));
        let stated = previous_seed.iter().chain(next_seed).cloned();
        let signs = self.identity_seed();
        stated.chain(secrets).filter(|seed| Some(seed) != signs.as_ref()).collect()
    }
}

/// A moment of RFC 3339; `None` where it is left empty.
fn moment<'de, D: Deserializer<'de>>(from: D) -> Result<Option<OffsetDateTime>, D::Error> {
    let text = String::deserialize(from)?;
    let moment = (!text.is_empty()).then(|| OffsetDateTime::parse(&text, &Rfc3339)).transpose();
    moment.map_err(|_| serde::de::Error::custom("must be a moment such as 2030-01-31T00:00:00Z"))
}

/// What stands behind a base URL: nothing, if it has a path of its own.
fn api_path(base: &ServiceUrl) -> &'static str {
    match base.url().path() {
        "" | "/" => "/api/auth",
        _ => "",
    }
}

impl settings::Settings for Settings {
    const SPEC: Spec = Spec {
        service: "auth-verifier",
        defaults: include_str!("../defaults.toml"),
        well_known: &[
            ("BETTER_AUTH_URL", "better_auth.url"),
            ("BETTER_AUTH_SECRET", "better_auth.secret"),
            ("BETTER_AUTH_SECRETS", "better_auth.secrets"),
        ],
        secrets: &[
            "better_auth.secret",
            "better_auth.secrets",
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
            ("server", ServerSettings::BOUNDS),
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

    type Plan = Self;

    fn plan(self) -> Result<Self, SettingsError> {
        let mut faults = Faults::default();
        faults.hear(self.check_secrets());
        // A secret that is none was told, and is not missing beside.
        let said = faults.found();
        faults.hear(self.check_tokens());
        faults.hear(self.check_oauth());
        faults.hear(self.check_trusted());
        if !said {
            faults.hear(self.check_sessions());
        }
        faults.hear(self.check_address());
        faults.hear(self.check_database());
        faults.hear(self.check_identity(said));
        faults.result().map(|()| self)
    }

    fn remarks(&self) -> Vec<String> {
        self.waits_that_do_not_fit()
    }
}

impl Settings {
    fn check_secrets(&self) -> Result<(), SettingsError> {
        let wrong = |name: &str, reason: &str| Err(SettingsError::new(name, reason));
        self.secrets()?;
        let Identity { seed, previous_seed, next_seed, .. } = &self.identity;
        for (key, seed) in [("SEED", seed), ("PREVIOUS_SEED", previous_seed), ("NEXT_SEED", next_seed)] {
            if let Some(seed) = seed {
                secrets::checked(&format!("AUTH_VERIFIER_IDENTITY__{key}"), seed.expose())?;
            }
        }
        if self.better_auth.old_secrets_until.is_some()
            && self.secrets()?.is_none_or(|secrets| secrets.all().count() < 2)
        {
            return wrong(
                "AUTH_VERIFIER_BETTER_AUTH__OLD_SECRETS_UNTIL",
                "needs older secrets: set BETTER_AUTH_SECRETS to the versions",
            );
        }
        let nothing = self.hs256_secret().is_none()
            && self.key_source().is_none()
            && self.trusted.is_empty()
            && self.lookup() == Lookup::Off;
        if nothing {
            return wrong(
                "BETTER_AUTH_URL",
                "set it to where Better Auth runs, or BETTER_AUTH_SECRET to what it signs with; there is nothing to check tokens by",
            );
        }
        Ok(())
    }

    fn check_identity(&self, said: bool) -> Result<(), SettingsError> {
        let wrong = |name: &str, reason: &str| Err(SettingsError::new(name, reason));
        if self.identity_seed().is_none() && !said {
            return wrong(
                "AUTH_VERIFIER_IDENTITY__SEED",
                "set it (the same for all replicas) where there is no BETTER_AUTH_SECRET; `openssl rand -base64 32` makes a good one",
            );
        }
        if self.identity.audience.trim().is_empty() {
            return wrong("AUTH_VERIFIER_IDENTITY__AUDIENCE", "must not be empty");
        }
        if self.verdict_max_age >= self.identity.life {
            return wrong(
                "AUTH_VERIFIER_VERDICT_MAX_AGE_SECS",
                "must be less than AUTH_VERIFIER_IDENTITY__LIFE_SECS: a reused verdict carries the identity that was signed with it",
            );
        }
        Ok(())
    }
}

impl Service for Settings {
    const ABOUT: &'static str = "Checks what Better Auth hands out, for our gateway or any proxy";

    fn common(&self) -> Common {
        Common {
            listen: self.listen,
            ops_listen: self.ops_listen,
            log: self.log,
            server: self.server.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "k7Jx2mQ9vR4tY8wZ1aB5cD6eF3gH0iLn";

    fn load(variables: &[(&str, &str)]) -> Result<Settings, String> {
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
            let settings = load(&[("BETTER_AUTH_URL", base), ("BETTER_AUTH_SECRET", SECRET)]).unwrap();
            assert_eq!(settings.issuers(), [origin]);
            assert_eq!(settings.audiences(), [origin]);
            assert_eq!(settings.jwks_url().unwrap(), jwks);
        }
    }

    #[test]
    fn issuers_and_the_place_of_the_keys_can_be_set_apart() {
        let settings = load(&[
            ("BETTER_AUTH_URL", "https://a.test"),
            ("BETTER_AUTH_SECRET", SECRET),
            ("AUTH_VERIFIER_ISSUERS", "https://b.test, https://c.test"),
            ("AUTH_VERIFIER_AUDIENCES", "api"),
            ("AUTH_VERIFIER_JWKS_URL", "http://frontend:3000/api/auth/jwks"),
        ])
        .unwrap();
        assert_eq!(settings.issuers(), ["https://b.test", "https://c.test"]);
        assert_eq!(settings.audiences(), ["api"]);
        assert_eq!(settings.jwks_url().unwrap(), "http://frontend:3000/api/auth/jwks");
    }

    #[test]
    fn waits_that_do_not_fit_are_told_and_those_that_do_are_not() {
        let remarks = |variables: &[(&str, &str)]| {
            let base = [("BETTER_AUTH_SECRET", SECRET), ("BETTER_AUTH_URL", "http://a.test")];
            settings::Settings::remarks(&load(&[&base, variables].concat()).unwrap()).join(" ")
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
            let settings = load(variables).unwrap();
            let besides = settings.identity_seeds_besides();
            let all: Vec<_> = settings.identity_seed().into_iter().chain(besides).collect();
            all.iter().map(|seed| seed.expose().to_owned()).collect::<Vec<_>>()
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
        let settings = settings::load::<Settings>(&variables(&[url])).unwrap();
        assert_eq!(settings.lookup(), Lookup::Database);
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
        let path = std::env::temp_dir().join(format!("usher-verifier-{}-trusted", std::process::id()));
        let trusted = "[[trusted]]\nissuers = \"https://x.test\"\naudiences = \"a\"\nuser_prefix = \"x:\"\n";
        std::fs::write(&path, format!("{trusted}jwks_url = \"http://{{x}}/jwks\"")).unwrap();
        let path = path.to_str().unwrap();
        let error = load(&[("BETTER_AUTH_SECRET", SECRET), ("AUTH_VERIFIER_CONFIG", path)]).unwrap_err();
        assert!(error.starts_with("trusted[0].jwks_url: names a host"), "{error}");
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
