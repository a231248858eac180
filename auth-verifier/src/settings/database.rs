//! What can be set about Better Auth's database; each one explained in `defaults.toml`.

use chassis::{
    outbound::database::Names,
    settings::{self, Faults},
};
use serde::Deserialize;

use super::Settings;
use crate::better_auth::database::tables::{Columns, Name, Renamed, Tables};

/// What the settings of Better Auth's database are called.
pub(crate) const DATABASE: Names = Names {
    application: "auth-verifier",
    url: "AUTH_VERIFIER_DATABASE__URL",
    prefix: "AUTH_VERIFIER_DATABASE__",
    noun: "session",
};

/// What Better Auth's tables are called.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TableSettings {
    pub(crate) schema: String,
    pub(crate) session: String,
    pub(crate) user: String,
    pub(crate) jwks: String,
    pub(crate) oauth_access_token: String,
    pub(crate) oauth_client: String,
    pub(crate) columns: Columns,
    #[serde(deserialize_with = "settings::list")]
    pub(crate) fields: Vec<Renamed>,
    pub(crate) time_zone: String,
}

impl TableSettings {
    /// How the variables of these settings begin.
    pub(crate) const PREFIX: &str = "AUTH_VERIFIER_TABLES__";
}

impl Settings {
    /// What the tables are called.
    pub(super) fn tables(&self, faults: &mut Faults) -> Option<Tables> {
        let TableSettings { schema, session, user, jwks, oauth_access_token, oauth_client, .. } =
            &self.tables;
        let TableSettings { columns, fields, time_zone, .. } = &self.tables;
        let mut fault =
            |key: &str, reason: String| faults.add(format!("{}{key}", TableSettings::PREFIX), reason);
        if time_zone.is_empty() || time_zone.contains('\0') {
            fault("TIME_ZONE", "must be the name of a time zone, such as UTC".to_owned());
        }
        let mut name = |key, text: &str| Name::parse(text).map_err(|reason| fault(key, reason)).ok();
        let schema = name("SCHEMA", schema);
        let session = name("SESSION", session);
        let user = name("USER", user);
        let jwks = name("JWKS", jwks);
        let oauth_access_token = name("OAUTH_ACCESS_TOKEN", oauth_access_token);
        let oauth_client = name("OAUTH_CLIENT", oauth_client);
        let names = [session?, user?, jwks?, oauth_access_token?, oauth_client?];
        let tables = Tables::new(schema?, names, *columns, fields.clone());
        tables.map_err(|reason| fault("FIELDS", reason)).ok()
    }
}
