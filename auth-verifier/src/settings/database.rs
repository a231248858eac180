//! What can be set about Better Auth's database; each one explained in `defaults.toml`.

use chassis::{
    outbound::database::Names,
    settings::{self, SettingsError},
};
use serde::Deserialize;

use super::{KeySource, Lookup, Settings};
use crate::{
    better_auth::database::{Renamed, Tables},
    verdict::revocation::Revocation,
};

/// What the settings of Better Auth's database are called.
pub const DATABASE: Names = Names {
    application: "auth-verifier",
    url: "AUTH_VERIFIER_DATABASE__URL",
    prefix: "AUTH_VERIFIER_DATABASE__",
    noun: "session",
};

/// What Better Auth's tables are called.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "defaults.toml explains each one")]
pub struct TableSettings {
    pub schema: String,
    pub session: String,
    pub user: String,
    pub jwks: String,
    pub oauth_access_token: String,
    pub oauth_client: String,
    pub columns: Columns,
    #[serde(deserialize_with = "settings::list")]
    pub fields: Vec<Renamed>,
    pub time_zone: String,
}

/// How the columns are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "defaults.toml explains each one")]
pub enum Columns {
    Camel,
    Snake,
}

impl TableSettings {
    /// How the variables of these settings begin.
    pub const PREFIX: &str = "AUTH_VERIFIER_TABLES__";
}

/// What is read of the tables, as everything is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is one thing that may be read")]
pub struct Reads {
    /// Sessions, by their tokens.
    pub session_tokens: bool,
    /// Sessions, by their ids.
    pub session_ids: bool,
    /// Users, by their ids.
    pub users: bool,
    /// Opaque access tokens, and their clients.
    pub access_tokens: bool,
    /// The public keys.
    pub keys: bool,
}

impl Reads {
    /// Whether there is a need for a database at all.
    pub fn any(self) -> bool {
        self.owners() || self.keys
    }

    /// Whether users are read, to say whose something is.
    pub fn owners(self) -> bool {
        self.session_tokens || self.session_ids || self.users || self.access_tokens
    }
}

impl Settings {
    /// What is read of the tables.
    pub fn reads(&self) -> Reads {
        let access_tokens = self.oauth.access_tokens.opaque();
        Reads {
            session_tokens: self.lookup() == Lookup::Database,
            session_ids: self.jwt.revocation == Revocation::Session || access_tokens,
            users: self.jwt.revocation == Revocation::User,
            access_tokens,
            keys: self.key_source() == Some(KeySource::Table),
        }
    }

    pub(super) fn check_database(&self) -> Result<(), SettingsError> {
        Tables::parse(&self.tables)?;
        if self.tables.time_zone.is_empty() || self.tables.time_zone.contains('\0') {
            let name = format!("{}TIME_ZONE", TableSettings::PREFIX);
            return Err(SettingsError::new(name, "must be the name of a time zone, such as UTC"));
        }
        if self.reads().any() || self.database.url.is_some() {
            self.database.check(&DATABASE)?;
        }
        Ok(())
    }
}
