//! What can be set, each explained in `defaults.toml`, and the [`Plan`] that the service is built from.

use std::{net::SocketAddr, time::Duration};

use chassis::{
    layer::problem::MediaType,
    outbound::database::{DatabaseSettings, Dsn, Names},
    process::Service,
    serve::ServerSettings,
    settings::{self, Bounds, Faults, Secret, ServiceUrl, SettingsError, Spec, Switch},
    telemetry::{LogFormat, traces::TraceSettings},
};
use serde::Deserialize;

pub use crate::api::shape::{DeletedShape, ListShape, Shape};

/// What the settings of the database are called.
const DATABASE: Names = Names {
    application: "task-service",
    url: "DATABASE_URL",
    prefix: "TASK_SERVICE_DATABASE__",
    noun: "task",
};

/// The same, as the role that migrates reaches it.
const MIGRATE_DATABASE: Names = Names { url: "TASK_SERVICE_MIGRATE_URL", ..DATABASE };

const AUDIENCE: &str = "TASK_SERVICE_IDENTITY__AUDIENCE";

/// The most that `limits.body_bytes` may be set to: a larger body is no task.
const BODY_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// What `limits.page_bytes` may be set to. Any task fits into the least.
const PAGE_BYTES: std::ops::RangeInclusive<u64> = 65_536..=16 * 1024 * 1024;

const LIMITS: Bounds = &[
    ("body_bytes", 1..=BODY_BYTES_MAX),
    ("body_ms", 1..=600_000),
    ("user_connections_percent", 1..=100),
    ("page_bytes", PAGE_BYTES),
    ("lists_max", 1..=100_000),
];

/// All settings of task-service.
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
    pub identity_jwks_url: ServiceUrl,
    pub migrate: Switch,
    #[serde(deserialize_with = "settings::optional")]
    pub migrate_url: Option<Secret>,
    pub require_row_level_security: Switch,
    pub identity: Identity,
    pub database: DatabaseSettings,
    pub limits: Limits,
    pub shape: Shape,
    pub server: ServerSettings,
    pub otel: TraceSettings,
}

/// Which assertions are believed.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "defaults.toml explains each one")]
pub struct Identity {
    pub audience: String,
}

/// The bounds of a request, and of one user's share.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "defaults.toml explains each one")]
pub struct Limits {
    pub body_bytes: usize,
    #[serde(rename = "body_ms", deserialize_with = "settings::millis")]
    pub body_wait: Duration,
    pub user_connections_percent: u8,
    pub page_bytes: usize,
    pub lists_max: u32,
}

/// What the service is built from: settings that were parsed, so that nothing is left to fail.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where auth-verifier publishes the keys of its assertions.
    pub jwks_url: ServiceUrl,
    /// Which `aud` an assertion must have.
    pub audience: String,
    /// Where tasks are kept.
    pub store: StorePlan,
    /// Whether to bring the tables up to date at the start.
    pub migrate: Switch,
    /// The bounds of a request's body.
    pub body: BodyLimits,
    /// What answers look like.
    pub answers: Answers,
    /// The bounds of the listener.
    pub server: ServerSettings,
}

/// What answers look like, where frontends differ in what they read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// The shape of what is given.
    pub shape: Shape,
    /// What errors are called.
    pub errors_as: MediaType,
}

/// Where tasks are kept, and by how many connections they are reached.
#[derive(Clone, Debug)]
pub struct StorePlan {
    /// Where the database is.
    pub dsn: Dsn,
    /// Where it is for the role that migrates, if that is not the one that serves.
    pub migrate_dsn: Option<Dsn>,
    /// The bounds of its pool.
    pub database: DatabaseSettings,
    /// How much of the pool one user's statements may hold, in percent.
    pub user_connections_percent: u8,
    /// How many bytes of tasks a page of a list holds.
    pub page_bytes: usize,
    /// How many lists may be in memory.
    pub lists_max: u32,
    /// Whether a role that row-level security doesn't bind may not serve.
    pub require_row_level_security: Switch,
}

/// The bounds of a request's body.
#[derive(Clone, Copy, Debug)]
pub struct BodyLimits {
    /// How large it may be, in bytes.
    pub bytes_max: usize,
    /// How long it may take to arrive.
    pub wait: Duration,
}

impl settings::Settings for Settings {
    const SPEC: Spec = Spec {
        service: "task-service",
        defaults: include_str!("../defaults.toml"),
        well_known: &[("DATABASE_URL", "database.url")],
        secrets: &["database.url", "migrate_url"],
        bounds: &[("limits", LIMITS), ("database", DatabaseSettings::BOUNDS)],
        emptied: &[],
        // People copy it with quotes, and with `psql` in front.
        forgiving: &["database.url", "migrate_url"],
        renamed: DatabaseSettings::RENAMED,
    };

    type Plan = Plan;

    fn plan(self) -> Result<Plan, SettingsError> {
        let Self { identity_jwks_url: jwks_url, migrate, identity, database, limits, server, .. } = self;
        let answers = Answers { shape: self.shape, errors_as: self.errors_as };
        let require_row_level_security = self.require_row_level_security;
        let mut faults = Faults::default();
        if identity.audience.trim().is_empty() {
            faults.add(AUDIENCE, "must not be empty");
        }
        let migrate_dsn = self.migrate_url.and_then(|url| {
            let database = DatabaseSettings { url: Some(url), ..database.clone() };
            faults.hear(Dsn::parse(&database, &MIGRATE_DATABASE))
        });
        let Some(dsn) = faults.hear(Dsn::parse(&database, &DATABASE)) else { return Err(faults.into()) };
        faults.result()?;
        let Limits { body_bytes, body_wait, user_connections_percent, page_bytes, lists_max } = limits;
        Ok(Plan {
            jwks_url,
            audience: identity.audience,
            store: StorePlan {
                dsn,
                migrate_dsn,
                database,
                user_connections_percent,
                page_bytes,
                lists_max,
                require_row_level_security,
            },
            migrate,
            body: BodyLimits { bytes_max: body_bytes, wait: body_wait },
            answers,
            server,
        })
    }
}

impl Service for Settings {
    const ABOUT: &'static str = "Tasks, each seen only by its owner";
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: (&str, &str) = ("DATABASE_URL", "postgresql://u:p@localhost/tasks");

    fn load(variables: &[(&str, &str)]) -> Result<Plan, String> {
        settings::load::<Settings>(&variables.iter().copied().collect()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_database_url_is_all_that_must_be_set() {
        let plan = load(&[URL]).unwrap();
        assert_eq!(plan.migrate, Switch::On);
        assert_eq!(plan.body.bytes_max, 65_536);
        assert_eq!(plan.audience, "internal");
        let answers = Answers {
            shape: Shape { list: ListShape::Array, deleted: DeletedShape::Nothing },
            errors_as: MediaType::Problem,
        };
        assert_eq!(plan.answers, answers);
        let settings = settings::read::<Settings>(&[URL].into_iter().collect()).unwrap();
        assert_eq!(settings.listen, "127.0.0.1:8002".parse().unwrap());
    }

    #[test]
    fn a_setting_that_cannot_work_is_named() {
        for (name, value) in [
            ("DATABASE_URL", ""),
            ("DATABASE_URL", "mysql://u:p@h/d"),
            ("TASK_SERVICE_MIGRATE_URL", "mysql://u:p@h/d"),
            ("TASK_SERVICE_REQUIRE_ROW_LEVEL_SECURITY", "maybe"),
            ("TASK_SERVICE_IDENTITY_JWKS_URL", "localhost:8001"),
            ("TASK_SERVICE_IDENTITY_JWKS_URL", "http://${VERIFIER}:8001/jwks"),
            ("TASK_SERVICE_IDENTITY_JWKS_URL", "http://$VERIFIER:8001/jwks"),
            ("TASK_SERVICE_PORTS", "8002"),
            ("TASK_SERVICE_HOST", "0.0.0.0"),
            ("TASK_SERVICE_IDENTITY__AUDIENCE", " "),
            ("TASK_SERVICE_MIGRATE", "maybe"),
            ("TASK_SERVICE_DATABASE__DANGEROUS_PLAINTEXT", "true"),
            ("TASK_SERVICE_DATABASE__CA_FILE", "/nowhere/ca.pem"),
            ("TASK_SERVICE_DATABASE__POOL_MAX", "0"),
            ("TASK_SERVICE_DATABASE__POOL_MAX", "1001"),
            ("TASK_SERVICE_DATABASE__ACQUIRE_TIMEOUT_MS", "0"),
            ("TASK_SERVICE_DATABASE__CONNECT_MS", "0"),
            ("TASK_SERVICE_DATABASE__QUERY_MS", "0"),
            ("TASK_SERVICE_DATABASE__IDLE_TIMEOUT_SECS", "0"),
            ("TASK_SERVICE_DATABASE__MAX_LIFETIME_SECS", "0"),
            ("TASK_SERVICE_LIMITS__BODY_BYTES", "0"),
            ("TASK_SERVICE_LIMITS__BODY_MS", "0"),
            ("TASK_SERVICE_LIMITS__USER_CONNECTIONS_PERCENT", "0"),
            ("TASK_SERVICE_LIMITS__USER_CONNECTIONS_PERCENT", "101"),
            ("TASK_SERVICE_LIMITS__USER_CONNECTIONS_PERCENT", "-1"),
            ("TASK_SERVICE_LIMITS__PAGE_BYTES", "65535"),
            ("TASK_SERVICE_LIMITS__LISTS_MAX", "0"),
            ("TASK_SERVICE_DATABASE__NAMED_STATEMENTS", "maybe"),
            ("TASK_SERVICE_SHAPE__LIST", "object"),
            ("TASK_SERVICE_SHAPE__DELETED", "200"),
            ("TASK_SERVICE_ERRORS_AS", "application/json"),
            ("TASK_SERVICE_SERVER__STREAMS_MAX", "0"),
        ] {
            let error = load(&[URL, (name, value)]).unwrap_err();
            assert!(error.starts_with(&format!("{name}: ")), "{name}: {error}");
        }
    }

    #[test]
    fn all_that_is_wrong_is_named_at_once() {
        let error = load(&[("TASK_SERVICE_IDENTITY__AUDIENCE", " ")]).unwrap_err();
        assert!(error.contains("TASK_SERVICE_IDENTITY__AUDIENCE: "), "{error}");
        assert!(error.contains("DATABASE_URL: "), "{error}");
    }

    #[test]
    fn every_number_has_bounds_from_both_sides() {
        settings::arbitrary::every_number_is_bounded::<Settings>(&[URL]);
    }

    #[test]
    fn a_database_url_is_taken_as_it_was_copied() {
        load(&[("DATABASE_URL", "psql 'postgresql://u:p@localhost/tasks'\n")]).unwrap();
    }

    #[test]
    fn what_kubernetes_says_of_a_service_called_task_is_no_setting() {
        load(&[
            URL,
            ("TASK_SERVICE_HOST", "10.96.0.7"),
            ("TASK_SERVICE_PORT", "8002"),
            ("TASK_SERVICE_PORT_HTTP", "8002"),
        ])
        .unwrap();
    }
}
