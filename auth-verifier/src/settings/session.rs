//! What can be set about sessions; each one explained in `defaults.toml`.

use std::time::Duration;

use chassis::settings::{self, Faults, ServiceUrl, Switch};
use http::{HeaderName, HeaderValue, header};
use identity::CredentialCookies;
use serde::{
    Deserialize, Deserializer,
    de::{Error, value::StringDeserializer},
};

use super::{Settings, plan::Issuer};
use crate::{
    better_auth::address::Address,
    credential::{
        cookies::CookieNames,
        kind::{SECURE, Strategy},
    },
    session::misnamed::CookieNaming,
    verdict::sessions::BearerTokens,
};

/// Session cookies and session tokens.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Session {
    pub(crate) lookup: Lookup,
    #[serde(deserialize_with = "settings::optional")]
    pub(crate) url: Option<ServiceUrl>,
    #[serde(rename = "timeout_ms", deserialize_with = "settings::millis")]
    pub(crate) timeout: Duration,
    #[serde(rename = "overtime_ms", deserialize_with = "settings::millis")]
    pub(crate) overtime: Duration,
    #[serde(deserialize_with = "header_name")]
    pub(crate) client_address_header: Option<HeaderName>,
    pub(crate) cookie_prefix: String,
    pub(crate) secure_cookies: SecureCookies,
    pub(crate) cookie: String,
    #[serde(deserialize_with = "bearer_tokens")]
    pub(crate) bearer: BearerTokens,
    pub(crate) dangerous_unsigned_bearer: Switch,
    pub(crate) refresh: Switch,
}

/// Where sessions are looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Lookup {
    Auto,
    Database,
    Http,
    Off,
}

/// Whether the cookies' names begin with `__Secure-`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SecureCookies {
    Auto,
    On,
    Off,
}

/// `any` was a word for it once, and the default.
fn bearer_tokens<'de, D: Deserializer<'de>>(from: D) -> Result<BearerTokens, D::Error> {
    let text = String::deserialize(from)?;
    if text == "any" {
        return Err(D::Error::custom(
            "must be signed or off; AUTH_VERIFIER_SESSION__DANGEROUS_UNSIGNED_BEARER=on accepts session tokens without \
             their signature, so that whoever has read Better Auth's table or a log can sign in as anybody in it",
        ));
    }
    BearerTokens::deserialize(StringDeserializer::new(text))
}

/// `None` where it is left empty.
fn header_name<'de, D: Deserializer<'de>>(from: D) -> Result<Option<HeaderName>, D::Error> {
    let text = String::deserialize(from)?;
    let name = (!text.is_empty()).then(|| HeaderName::try_from(&text)).transpose();
    let name = name.map_err(|_| D::Error::custom("must be a header's name, such as x-forwarded-for"))?;
    let taken = [header::COOKIE, header::AUTHORIZATION, header::HOST, header::ACCEPT, header::USER_AGENT];
    match name {
        Some(name) if taken.contains(&name) => {
            Err(D::Error::custom("must be a header of its own, such as x-forwarded-for"))
        }
        name => Ok(name),
    }
}

/// The cookie cache.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CookieCache {
    #[serde(deserialize_with = "or_off")]
    pub(crate) strategy: Option<Strategy>,
    pub(crate) version: String,
    pub(crate) cookie: String,
    pub(crate) bearer: Switch,
}

/// `None` for "off".
fn or_off<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Strategy>, D::Error> {
    let text = String::deserialize(from)?;
    (text != "off").then(|| Strategy::deserialize(StringDeserializer::new(text))).transpose()
}

impl Session {
    /// Whether where sessions are looked up follows from other settings.
    pub(crate) fn looks_up_by_itself(&self) -> bool {
        self.lookup == Lookup::Auto
    }

    /// Which session tokens are bearer tokens.
    pub(crate) fn bearer_tokens(&self) -> BearerTokens {
        match self.dangerous_unsigned_bearer {
            Switch::On => BearerTokens::Any,
            Switch::Off => self.bearer,
        }
    }
}

impl Settings {
    /// Where sessions are looked up, `auto` made plain: without the secret no cookie can be checked, and so none is.
    pub(super) fn lookup(&self) -> Lookup {
        match self.session.lookup {
            Lookup::Auto if !self.states_secret() => Lookup::Off,
            Lookup::Auto if self.database.url.is_some() => Lookup::Database,
            Lookup::Auto if self.better_auth.url.is_some() => Lookup::Http,
            Lookup::Auto => Lookup::Off,
            stated => stated,
        }
    }

    /// Better Auth's `/get-session`: where that is set, else beside its keys, else under its base URL.
    pub(super) fn get_session_url(&self, better_auth: &Address) -> Option<String> {
        let stated = self.session.url.as_ref().map(|url| url.join("/get-session"));
        let keys = self.jwks_url.as_ref().map(|url| url.url().to_string());
        let beside_keys = keys.and_then(|url| Some(format!("{}/get-session", url.strip_suffix("/jwks")?)));
        stated.or(beside_keys).or_else(|| better_auth.api("/get-session"))
    }

    /// What Better Auth's cookies are called (`cookies/index.ts`, `createCookieGetter`). Where it isn't known whether
    /// it is served over TLS, both ways are tried, the one first that only a secure origin can set.
    pub(super) fn cookie_naming(&self) -> CookieNaming {
        let https = self.better_auth.url.as_ref().map(|url| url.url().scheme() == "https");
        let secure: &[&str] = match (self.session.secure_cookies, https) {
            (SecureCookies::On, _) | (SecureCookies::Auto, Some(true)) => &[SECURE],
            (SecureCookies::Off, _) | (SecureCookies::Auto, Some(false)) => &[""],
            (SecureCookies::Auto, None) => &[SECURE, ""],
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
        CookieNaming {
            names: secure.iter().map(names).collect(),
            prefix: self.session.cookie_prefix.clone(),
            own: self.session.cookie.clone(),
        }
    }

    /// The cookies that are credentials: all that begin with Better Auth's prefix, and those that have names of their
    /// own.
    pub(super) fn credential_cookies(&self, faults: &mut Faults) -> Option<HeaderValue> {
        let is_name = |name: &str| CredentialCookies::new([name]).is_some();
        if !is_name(&self.session.cookie_prefix) {
            faults.add("AUTH_VERIFIER_SESSION__COOKIE_PREFIX", "must be the beginning of a cookie's name");
        }
        let own = [
            ("AUTH_VERIFIER_SESSION__COOKIE", &self.session.cookie),
            ("AUTH_VERIFIER_COOKIE_CACHE__COOKIE", &self.cookie_cache.cookie),
        ];
        for (name, cookie) in own {
            if !cookie.is_empty() && (!is_name(cookie) || cookie.starts_with(SECURE)) {
                faults.add(name, format!("must be a cookie's name, without {SECURE}"));
            }
        }
        let prefix = format!("{}.", self.session.cookie_prefix);
        let own = own.into_iter().map(|(_, name)| name).filter(|name| !name.is_empty());
        let names = std::iter::once(&prefix).chain(own).cloned().chain(self.neon_cookie_prefixes());
        CredentialCookies::new(names).map(|cookies| cookies.value())
    }

    /// Waits that are cut short by another one, or too long to be of use.
    pub(super) fn waits_that_do_not_fit(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        let reads = self.reads(None);
        if self.lookup() == Lookup::Off && !reads.any() {
            return remarks;
        }
        let Session { timeout, overtime, .. } = self.session;
        if self.revocation_lag.is_zero() {
            remarks.push(format!(
                "AUTH_VERIFIER_REVOCATION_LAG_SECS is 0, so that each request waits for a look-up that begins after it: one \
                 that takes longer than AUTH_VERIFIER_SESSION__TIMEOUT_MS ({} ms), or than whoever asks waits \
                 (GATEWAY_VERIFIER__TIMEOUT_MS), serves nobody",
                timeout.as_millis(),
            ));
        }
        let database = self.database.acquire_timeout + self.database.query;
        if reads.any() && database > timeout + overtime {
            remarks.push(format!(
                "a look-up may take {} ms (AUTH_VERIFIER_SESSION__TIMEOUT_MS and …__OVERTIME_MS), and is cut short before the \
                 database has had its {} ms (AUTH_VERIFIER_DATABASE__ACQUIRE_TIMEOUT_MS and …__QUERY_MS)",
                (timeout + overtime).as_millis(),
                database.as_millis(),
            ));
        }
        remarks
    }

    pub(super) fn check_sessions(&self, own: Option<&Issuer>, better_auth: &Address, faults: &mut Faults) {
        let lookup = self.lookup();
        if lookup != Lookup::Off && !self.states_secret() {
            faults.add(
                "AUTH_VERIFIER_SESSION__LOOKUP",
                "needs BETTER_AUTH_SECRET, which session cookies are signed with",
            );
        }
        if lookup == Lookup::Http && self.get_session_url(better_auth).is_none() {
            faults.add(
                "AUTH_VERIFIER_SESSION__URL",
                "set it to where Better Auth's API is, or set BETTER_AUTH_URL",
            );
        }
        if self.session.refresh == Switch::On && lookup != Lookup::Http {
            faults.add(
                "AUTH_VERIFIER_SESSION__REFRESH",
                "needs AUTH_VERIFIER_SESSION__LOOKUP=http: Better Auth's tables are only ever read",
            );
        }
        if lookup == Lookup::Off && self.cookie_cache.strategy.is_some() {
            faults.add(
                "AUTH_VERIFIER_COOKIE_CACHE__STRATEGY",
                "needs AUTH_VERIFIER_SESSION__LOOKUP: a cookie cache spares look-ups, and can't stand for them",
            );
        }
        if self.cookie_cache.strategy == Some(Strategy::JwtJwks) && own.is_none() {
            faults.add(
                "AUTH_VERIFIER_COOKIE_CACHE__STRATEGY",
                "jwt-jwks needs Better Auth's keys: set BETTER_AUTH_URL",
            );
        }
        if self.cookie_cache.bearer == Switch::On && !self.states_secret() {
            faults.add(
                "AUTH_VERIFIER_COOKIE_CACHE__BEARER",
                "needs BETTER_AUTH_SECRET, which cookie caches are signed with",
            );
        }
        if self.session.bearer == BearerTokens::Off && self.session.bearer_tokens() == BearerTokens::Any {
            faults.add(
                "AUTH_VERIFIER_SESSION__DANGEROUS_UNSIGNED_BEARER",
                "accepts more than AUTH_VERIFIER_SESSION__BEARER=off lets in; set one of them",
            );
        }
    }
}
