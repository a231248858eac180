//! PostgreSQL: where it is, how its certificate is checked, and a pool with a fair, bounded wait.
//!
//! A service's settings become a [`Dsn`], and that a [`Pool`]. Which [`Statement`]s are sent is the service's own
//! matter.

mod dsn;
mod tls;

mod statement;

mod calls;
mod connection;
mod flight;
mod group;
mod lanes;
mod outage;
mod pool;
mod shares;

mod role_name;

mod error;
mod sqlstate;

use std::{path::PathBuf, time::Duration};

use serde::Deserialize;

pub use self::{
    connection::{ConnectError, open},
    dsn::Dsn,
    error::{DatabaseError, DatabaseErrorKind, described},
    outage::AWAY_PAUSE_MAX,
    pool::Pool,
    role_name::RoleName,
    shares::{Share, Shares},
    statement::{Idempotency, OwnedStatement, OwnerSetting, Sql, Statement, UNFIT},
    tls::is_distrust,
};
use crate::settings::{self, Secret, SettingsError, Switch};

/// The most that `pool_max` may be set to: more than any PostgreSQL takes.
const POOL_MAX: u32 = 1000;

/// How to reach a database, and the bounds of using it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the services' defaults.toml explain each one")]
pub struct DatabaseSettings {
    #[serde(deserialize_with = "settings::optional")]
    pub url: Option<Secret>,
    #[serde(deserialize_with = "settings::optional")]
    pub ca_file: Option<PathBuf>,
    pub dangerous_plaintext: Switch,
    pub pool_max: u32,
    #[serde(rename = "acquire_timeout_ms", deserialize_with = "settings::millis")]
    pub acquire_timeout: Duration,
    #[serde(rename = "connect_ms", deserialize_with = "settings::millis")]
    pub connect: Duration,
    #[serde(rename = "query_ms", deserialize_with = "settings::millis")]
    pub query: Duration,
    #[serde(rename = "idle_timeout_secs", deserialize_with = "settings::secs")]
    pub idle_timeout: Duration,
    #[serde(rename = "max_lifetime_secs", deserialize_with = "settings::secs")]
    pub max_lifetime: Duration,
    pub named_statements: Switch,
}

/// What a service calls its database in errors, and on the server's list of connections.
#[derive(Clone, Copy, Debug)]
pub struct Names {
    /// The service, as `pg_stat_activity` lists it.
    pub application: &'static str,
    /// The variable of the connection string.
    pub url: &'static str,
    /// What the other variables begin with.
    pub prefix: &'static str,
    /// What is kept there, in the singular: `task`.
    pub noun: &'static str,
}

impl DatabaseSettings {
    /// The bounds of its numbers.
    pub const BOUNDS: settings::Bounds = &[
        ("pool_max", 1..=POOL_MAX as u64),
        ("acquire_timeout_ms", 1..=600_000),
        ("connect_ms", 1..=600_000),
        ("query_ms", 1..=600_000),
        ("idle_timeout_secs", 1..=86_400),
        ("max_lifetime_secs", 1..=604_800),
    ];

    /// What its settings were called before: `(old, new)`.
    pub const RENAMED: &[(&str, &str)] = &[
        ("database.wait_ms", "database.acquire_timeout_ms"),
        ("database.idle_secs", "database.idle_timeout_secs"),
        ("database.life_secs", "database.max_lifetime_secs"),
    ];

    /// Refuses a connection string that can't work, by the variable's name.
    pub fn check(&self, names: &Names) -> Result<(), SettingsError> {
        Dsn::parse(self, names).map(drop)
    }
}

impl Names {
    fn wrong(&self, key: &str, reason: impl Into<String>) -> SettingsError {
        SettingsError::new(format!("{}{key}", self.prefix), reason)
    }
}
