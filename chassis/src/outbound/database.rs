//! PostgreSQL: where it is, who vouches for it, and a fair, bounded way to ask it.
//!
//! A service's settings become a [`Dsn`], and that a [`Pool`]. What is asked, and what the answer means, is the
//! service's own.

mod dsn;
mod tls;

mod statement;

mod connection;
mod flight;
mod pool;
mod shares;

mod error;
mod sqlstate;

use std::{path::PathBuf, time::Duration};

use serde::Deserialize;

pub use self::{
    connection::{ConnectError, open},
    dsn::Dsn,
    error::{DatabaseError, DatabaseErrorKind, described},
    pool::Pool,
    statement::{Idempotency, Statement},
    tls::is_distrust,
};
use crate::settings::{self, Secret, SettingsError, Switch};

/// More connections than any PostgreSQL has.
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
    pub wait: Duration,
    #[serde(rename = "connect_ms", deserialize_with = "settings::millis")]
    pub connect: Duration,
    #[serde(rename = "query_ms", deserialize_with = "settings::millis")]
    pub query: Duration,
    #[serde(rename = "idle_timeout_secs", deserialize_with = "settings::secs")]
    pub idle: Duration,
    #[serde(rename = "max_lifetime_secs", deserialize_with = "settings::secs")]
    pub life: Duration,
    pub named_statements: Switch,
}

/// What a service calls its database, for those who read an error or look who is connected.
#[derive(Clone, Copy, Debug)]
pub struct Names {
    /// The service, as the server lists its connections.
    pub application: &'static str,
    /// The variable of the connection string.
    pub url: &'static str,
    /// What the other variables begin with.
    pub prefix: &'static str,
    /// What is kept there; one of them.
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

    /// Refuses what can't work, by the variable's name.
    pub fn check(&self, names: &Names) -> Result<(), SettingsError> {
        let wrong = |key, reason: String| Err(names.wrong(key, reason));
        Dsn::parse(self, names)?;
        if !(1..=POOL_MAX).contains(&self.pool_max) {
            return wrong("POOL_MAX", format!("must be 1 to {POOL_MAX}"));
        }
        if self.idle.is_zero() {
            return wrong("IDLE_TIMEOUT_SECS", "must be at least 1".into());
        }
        if self.life.is_zero() {
            return wrong("MAX_LIFETIME_SECS", "must be at least 1".into());
        }
        Ok(())
    }
}

impl Names {
    fn wrong(&self, key: &str, reason: impl Into<String>) -> SettingsError {
        SettingsError::new(format!("{}{key}", self.prefix), reason)
    }
}
