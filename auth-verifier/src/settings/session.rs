//! What can be set about sessions; each one explained in `defaults.toml`.

use std::time::Duration;

use chassis::{
    database::{DatabaseSettings, Names},
    settings::{self, ServiceUrl, SettingsError},
};
use serde::{Deserialize, Deserializer, de::value::StringDeserializer};

use super::{Settings, api_path};
use crate::{session_data::Strategy, sessions::database::sql::Tables};

/// What the settings of the sessions' database are called.
pub const SESSION_DATABASE: Names = Names {
    application: "auth-verifier",
    url: "AUTH_VERIFIER_SESSION__DATABASE__URL",
    prefix: "AUTH_VERIFIER_SESSION__DATABASE__",
    kept: "session",
};

/// Session cookies and session tokens.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "defaults.toml explains each one")]
pub struct Session {
    pub lookup: Lookup,
    #[serde(deserialize_with = "settings::optional")]
    pub url: Option<ServiceUrl>,
    #[serde(rename = "reuse_secs", deserialize_with = "settings::secs")]
    pub reuse: Duration,
    pub remembered_max: u64,
    #[serde(rename = "timeout_ms", deserialize_with = "settings::millis")]
    pub timeout: Duration,
    pub cookie_prefix: String,
    pub secure_cookies: SecureCookies,
    pub bearer: BearerTokens,
    pub database: DatabaseSettings,
    pub tables: SessionTables,
}

/// Where sessions are looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "defaults.toml explains each one")]
pub enum Lookup {
    Auto,
    Database,
    Http,
    Off,
}

/// Whether the cookies' names begin with `__Secure-`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "defaults.toml explains each one")]
pub enum SecureCookies {
    Auto,
    On,
    Off,
}

/// Which session tokens are bearer tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "defaults.toml explains each one")]
pub enum BearerTokens {
    Any,
    Signed,
    Off,
}

/// What Better Auth's tables are called.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "defaults.toml explains each one")]
pub struct SessionTables {
    pub schema: String,
    pub session: String,
    pub user: String,
    pub columns: Columns,
    pub time_zone: String,
}

impl SessionTables {
    /// How the variables of these settings begin.
    pub const PREFIX: &str = "AUTH_VERIFIER_SESSION__TABLES__";

    fn check(&self) -> Result<(), SettingsError> {
        Tables::parse(self)?;
        if self.time_zone.is_empty() || self.time_zone.contains('\0') {
            let name = format!("{}TIME_ZONE", Self::PREFIX);
            return Err(SettingsError::new(name, "must be the name of a time zone, such as UTC"));
        }
        Ok(())
    }
}

/// How the columns are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "defaults.toml explains each one")]
pub enum Columns {
    Camel,
    Snake,
}

/// The cookie cache.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "defaults.toml explains each one")]
pub struct CookieCache {
    #[serde(deserialize_with = "or_off")]
    pub strategy: Option<Strategy>,
    pub version: String,
}

/// `None` for "off".
fn or_off<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Strategy>, D::Error> {
    let text = String::deserialize(from)?;
    (text != "off").then(|| Strategy::deserialize(StringDeserializer::new(text))).transpose()
}

impl Settings {
    /// Where sessions are looked up, `auto` made plain: without the secret no cookie can be checked, and so none is.
    pub fn lookup(&self) -> Lookup {
        match self.session.lookup {
            Lookup::Auto if self.current_secret().is_none() => Lookup::Off,
            Lookup::Auto if self.session.database.url.is_some() => Lookup::Database,
            Lookup::Auto if self.better_auth.url.is_some() => Lookup::Http,
            Lookup::Auto => Lookup::Off,
            stated => stated,
        }
    }

    /// Better Auth's `/get-session`, if it is known where Better Auth is.
    pub fn get_session_url(&self) -> Option<String> {
        let stated = self.session.url.as_ref().map(|url| url.join("/get-session"));
        let keys = self.jwks_url.as_ref().map(|url| url.url().to_string());
        let beside_keys = keys.and_then(|url| Some(format!("{}/get-session", url.strip_suffix("/jwks")?)));
        let base =
            self.better_auth.url.as_ref().map(|base| base.join(&format!("{}/get-session", api_path(base))));
        stated.or(beside_keys).or(base)
    }

    /// How the names of Better Auth's cookies begin (`cookies/index.ts`, `createCookieGetter`). Where it isn't known
    /// whether it is served over TLS, both ways are tried, the one first that only a secure origin can set.
    pub fn cookie_prefixes(&self) -> Vec<String> {
        let https = self.better_auth.url.as_ref().map(|url| url.url().scheme() == "https");
        let prefixes: &[&str] = match (self.session.secure_cookies, https) {
            (SecureCookies::On, _) | (SecureCookies::Auto, Some(true)) => &["__Secure-"],
            (SecureCookies::Off, _) | (SecureCookies::Auto, Some(false)) => &[""],
            (SecureCookies::Auto, None) => &["__Secure-", ""],
        };
        prefixes.iter().map(|prefix| format!("{prefix}{}", self.session.cookie_prefix)).collect()
    }

    pub(super) fn check_sessions(&self) -> Result<(), SettingsError> {
        let wrong = |name: &str, reason: &str| Err(SettingsError::new(name, reason));
        if self.lookup() != Lookup::Off && self.current_secret().is_none() {
            return wrong(
                "AUTH_VERIFIER_SESSION__LOOKUP",
                "needs BETTER_AUTH_SECRET, which session cookies are signed with",
            );
        }
        self.session.tables.check()?;
        if self.lookup() == Lookup::Database || self.session.database.url.is_some() {
            self.session.database.check(&SESSION_DATABASE)?;
        }
        if self.lookup() == Lookup::Http && self.get_session_url().is_none() {
            return wrong(
                "AUTH_VERIFIER_SESSION__URL",
                "set it to where Better Auth's API is, or set BETTER_AUTH_URL",
            );
        }
        if self.lookup() == Lookup::Off && self.cookie_cache.strategy.is_some() {
            return wrong(
                "AUTH_VERIFIER_COOKIE_CACHE__STRATEGY",
                "needs AUTH_VERIFIER_SESSION__LOOKUP: a cookie cache spares look-ups, and can't stand for them",
            );
        }
        if self.session.reuse > Duration::from_mins(5) {
            return wrong(
                "AUTH_VERIFIER_SESSION__REUSE_SECS",
                "must be at most 300: a session that ended is let in for as long",
            );
        }
        if self.session.cookie_prefix.is_empty() || self.session.cookie_prefix.contains(['=', ';', ' ']) {
            return wrong("AUTH_VERIFIER_SESSION__COOKIE_PREFIX", "must be the beginning of a cookie's name");
        }
        Ok(())
    }
}
