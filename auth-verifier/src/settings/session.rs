//! What can be set about sessions; each one explained in `defaults.toml`.

use std::time::Duration;

use chassis::{
    identity::CredentialCookies,
    settings::{self, ServiceUrl, SettingsError, Switch},
};
use serde::{Deserialize, Deserializer, de::value::StringDeserializer};

use super::{Settings, api_path};
use crate::{cookies::CookieNames, session_data::Strategy};

/// Session cookies and session tokens.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "defaults.toml explains each one")]
pub struct Session {
    pub lookup: Lookup,
    #[serde(deserialize_with = "settings::optional")]
    pub url: Option<ServiceUrl>,
    #[serde(rename = "timeout_ms", deserialize_with = "settings::millis")]
    pub timeout: Duration,
    pub cookie_prefix: String,
    pub secure_cookies: SecureCookies,
    pub cookie: String,
    pub bearer: BearerTokens,
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

/// The cookie cache.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "defaults.toml explains each one")]
pub struct CookieCache {
    #[serde(deserialize_with = "or_off")]
    pub strategy: Option<Strategy>,
    pub version: String,
    pub cookie: String,
    pub bearer: Switch,
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
            Lookup::Auto if self.database.url.is_some() => Lookup::Database,
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

    /// What Better Auth's cookies are called (`cookies/index.ts`, `createCookieGetter`). Where it isn't known whether it
    /// is served over TLS, both ways are tried, the one first that only a secure origin can set.
    pub fn cookie_names(&self) -> Vec<CookieNames> {
        let https = self.better_auth.url.as_ref().map(|url| url.url().scheme() == "https");
        let secure: &[&str] = match (self.session.secure_cookies, https) {
            (SecureCookies::On, _) | (SecureCookies::Auto, Some(true)) => &["__Secure-"],
            (SecureCookies::Off, _) | (SecureCookies::Auto, Some(false)) => &[""],
            (SecureCookies::Auto, None) => &["__Secure-", ""],
        };
        let named = |stated: &str, known: &str| {
            if stated.is_empty() {
                format!("{}.{known}", self.session.cookie_prefix)
            } else {
                stated.to_owned()
            }
        };
        let token = named(&self.session.cookie, "session_token");
        let data = named(&self.cookie_cache.cookie, "session_data");
        let names = |secure: &&str| CookieNames {
            token: format!("{secure}{token}"),
            data: format!("{secure}{data}"),
        };
        secure.iter().map(names).collect()
    }

    /// The cookies that are credentials: all that begin with Better Auth's prefix, and those that have names of their own.
    /// `None` if one has no name that can be told.
    pub fn credential_cookies(&self) -> Option<CredentialCookies> {
        let prefix = format!("{}.", self.session.cookie_prefix);
        let own =
            [&self.session.cookie, &self.cookie_cache.cookie].into_iter().filter(|name| !name.is_empty());
        CredentialCookies::new(std::iter::once(&prefix).chain(own))
    }

    pub(super) fn check_sessions(&self) -> Result<(), SettingsError> {
        let wrong = |name: &str, reason: &str| Err(SettingsError::new(name, reason));
        if self.lookup() != Lookup::Off && self.current_secret().is_none() {
            return wrong(
                "AUTH_VERIFIER_SESSION__LOOKUP",
                "needs BETTER_AUTH_SECRET, which session cookies are signed with",
            );
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
        if self.cookie_cache.strategy == Some(Strategy::JwtJwks) && self.key_source().is_none() {
            return wrong(
                "AUTH_VERIFIER_COOKIE_CACHE__STRATEGY",
                "jwt-jwks needs Better Auth's keys: set BETTER_AUTH_URL",
            );
        }
        if self.cookie_cache.bearer == Switch::On && self.current_secret().is_none() {
            return wrong(
                "AUTH_VERIFIER_COOKIE_CACHE__BEARER",
                "needs BETTER_AUTH_SECRET, which cookie caches are signed with",
            );
        }
        let is_name = |name: &str| CredentialCookies::new([name]).is_some();
        if !is_name(&self.session.cookie_prefix) {
            return wrong("AUTH_VERIFIER_SESSION__COOKIE_PREFIX", "must be the beginning of a cookie's name");
        }
        for (name, cookie) in [
            ("AUTH_VERIFIER_SESSION__COOKIE", &self.session.cookie),
            ("AUTH_VERIFIER_COOKIE_CACHE__COOKIE", &self.cookie_cache.cookie),
        ] {
            if !cookie.is_empty() && (!is_name(cookie) || cookie.starts_with("__Secure-")) {
                return wrong(name, "must be a cookie's name, without __Secure-");
            }
        }
        Ok(())
    }
}
