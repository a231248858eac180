//! What can be set about tokens and the keys that they are signed with; each one explained in `defaults.toml`.

use std::{path::PathBuf, time::Duration};

use chassis::settings::{self, ServiceUrl, SettingsError};
use serde::{Deserialize, Deserializer};

use super::{Settings, api_path};
use crate::{
    credential::is_of_a_token,
    jwt::{claims::Parties, keys::Algorithm},
    verdict::revocation::Revocation,
};

/// The longest prefix of other issuers' users, in characters: an id behind it needs room, too.
const USER_PREFIX_CHARS_MAX: usize = 64;

/// Tokens signed with the shared secret.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "defaults.toml explains each one")]
pub struct Hs256 {
    pub enabled: bool,
    pub require_issuer_and_audience: bool,
}

/// Tokens signed with Better Auth's own keys.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "defaults.toml explains each one")]
pub struct Jwks {
    pub enabled: bool,
    pub source: JwksSource,
    #[serde(deserialize_with = "settings::optional")]
    pub file: Option<PathBuf>,
    #[serde(deserialize_with = "rsa_algorithm")]
    pub rsa_algorithm: Option<Algorithm>,
    #[serde(rename = "grace_secs", deserialize_with = "settings::secs")]
    pub grace: Duration,
    #[serde(rename = "fresh_secs", deserialize_with = "settings::secs")]
    pub fresh: Duration,
    #[serde(rename = "stale_max_secs", deserialize_with = "settings::secs")]
    pub stale_max: Duration,
    #[serde(rename = "cool_down_secs", deserialize_with = "settings::secs")]
    pub cool_down: Duration,
    #[serde(rename = "timeout_ms", deserialize_with = "settings::millis")]
    pub timeout: Duration,
    #[serde(rename = "first_timeout_ms", deserialize_with = "settings::millis")]
    pub first_timeout: Duration,
}

/// Where Better Auth's keys are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "defaults.toml explains each one")]
pub enum JwksSource {
    Auto,
    Endpoint,
    Table,
    File,
}

/// The same, made plain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// An endpoint, at that URL.
    Endpoint(String),
    /// The table.
    Table,
    /// A file.
    File(PathBuf),
}

/// What holds for JWTs of every kind.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "defaults.toml explains each one")]
pub struct Jwt {
    pub revocation: Revocation,
    #[serde(rename = "cache_secs", deserialize_with = "settings::secs")]
    pub cache: Duration,
    pub cache_entries_max: u64,
}

/// The OAuth provider's access tokens.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "defaults.toml explains each one")]
pub struct OAuth {
    pub access_tokens: AccessTokenForms,
    #[serde(deserialize_with = "settings::list")]
    pub issuers: Vec<String>,
    #[serde(deserialize_with = "settings::list")]
    pub audiences: Vec<String>,
    #[serde(deserialize_with = "settings::list")]
    pub scopes: Vec<String>,
    pub opaque_prefix: String,
}

/// Which access tokens are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "defaults.toml explains each one")]
pub enum AccessTokenForms {
    Off,
    Jwt,
    Opaque,
    Both,
}

impl AccessTokenForms {
    /// Whether JWTs are.
    pub fn jwt(self) -> bool {
        matches!(self, Self::Jwt | Self::Both)
    }

    /// Whether opaque ones are.
    pub fn opaque(self) -> bool {
        matches!(self, Self::Opaque | Self::Both)
    }
}

/// Another issuer whose tokens are accepted.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "defaults.toml explains each one")]
pub struct Trusted {
    #[serde(deserialize_with = "settings::list")]
    pub issuers: Vec<String>,
    #[serde(deserialize_with = "settings::list")]
    pub audiences: Vec<String>,
    pub user_prefix: String,
    #[serde(default)]
    pub jwks_url: Option<ServiceUrl>,
    #[serde(default)]
    pub jwks_file: Option<PathBuf>,
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
}

/// `None` where it is left empty.
fn rsa_algorithm<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Algorithm>, D::Error> {
    let text = String::deserialize(from)?;
    let known = Algorithm::named(&text).filter(|algorithm| algorithm.is_rsa());
    if known.is_none() && !text.is_empty() {
        return Err(serde::de::Error::custom("must be RS256, RS384, RS512, PS256, PS384 or PS512"));
    }
    Ok(known)
}

impl Settings {
    /// Whom Better Auth's API tokens must come from and be meant for.
    pub fn parties(&self) -> Parties {
        Parties { issuers: self.issuers(), audiences: self.audiences() }
    }

    /// The same of access tokens. Their issuer is the base URL with its path, where nothing else is configured
    /// (`oauth-provider`, `createJwtAccessToken`).
    pub fn oauth_parties(&self) -> Parties {
        let base = self.better_auth.url.as_ref().map(|base| base.join(api_path(base)));
        let stated = self.oauth.issuers.clone();
        let issuers = if stated.is_empty() { base.into_iter().collect() } else { stated };
        Parties { issuers, audiences: self.oauth.audiences.clone() }
    }

    /// Where Better Auth's keys are read, `auto` made plain; `None` if tokens signed with them are not accepted.
    pub fn key_source(&self) -> Option<KeySource> {
        let endpoint = || self.jwks_url().map(KeySource::Endpoint);
        let file = || self.jwks.file.clone().map(KeySource::File);
        let table = || self.database.url.as_ref().map(|_| KeySource::Table);
        self.jwks.enabled.then_some(())?;
        match self.jwks.source {
            JwksSource::Auto => file().or_else(endpoint).or_else(|| table().filter(|_| self.names_parties())),
            JwksSource::Endpoint => endpoint(),
            JwksSource::Table => Some(KeySource::Table),
            JwksSource::File => file(),
        }
    }

    fn names_parties(&self) -> bool {
        !self.issuers().is_empty() && !self.audiences().is_empty()
    }

    pub(super) fn check_tokens(&self) -> Result<(), SettingsError> {
        let wrong = |name: &str, reason: &str| Err(SettingsError::new(name, reason));
        match (self.jwks.source, self.key_source()) {
            (JwksSource::File, None) if self.jwks.enabled => {
                return wrong("AUTH_VERIFIER_JWKS__FILE", "set it to a file with a JWK set");
            }
            (JwksSource::Endpoint, None) if self.jwks.enabled => {
                return wrong(
                    "AUTH_VERIFIER_JWKS_URL",
                    "set it to where the keys are, or set BETTER_AUTH_URL",
                );
            }
            (_, Some(_)) if self.issuers().is_empty() => {
                return wrong(
                    "AUTH_VERIFIER_ISSUERS",
                    "name the issuers whose tokens are accepted, or set BETTER_AUTH_URL",
                );
            }
            (_, Some(_)) if self.audiences().is_empty() => {
                return wrong(
                    "AUTH_VERIFIER_AUDIENCES",
                    "name the audiences that are accepted, or set BETTER_AUTH_URL",
                );
            }
            _ => {}
        }
        if self.jwks.file.is_some() && !matches!(self.key_source(), Some(KeySource::File(_))) {
            return wrong(
                "AUTH_VERIFIER_JWKS__FILE",
                "is not read: AUTH_VERIFIER_JWKS__SOURCE or …__ENABLED says otherwise",
            );
        }
        if self.hs256.require_issuer_and_audience && !self.hs256.enabled {
            return wrong(
                "AUTH_VERIFIER_HS256__REQUIRE_ISSUER_AND_AUDIENCE",
                "demands nothing where AUTH_VERIFIER_HS256__ENABLED is false",
            );
        }
        if self.hs256.require_issuer_and_audience && !self.names_parties() {
            return wrong(
                "AUTH_VERIFIER_HS256__REQUIRE_ISSUER_AND_AUDIENCE",
                "needs AUTH_VERIFIER_ISSUERS and AUTH_VERIFIER_AUDIENCES, or BETTER_AUTH_URL",
            );
        }
        if self.jwks.stale_max < self.jwks.fresh {
            return wrong(
                "AUTH_VERIFIER_JWKS__STALE_MAX_SECS",
                "must be at least AUTH_VERIFIER_JWKS__FRESH_SECS",
            );
        }
        Ok(())
    }

    pub(super) fn check_oauth(&self) -> Result<(), SettingsError> {
        let wrong = |name: &str, reason: &str| Err(SettingsError::new(name, reason));
        let OAuth { access_tokens, issuers, audiences, scopes, opaque_prefix } = &self.oauth;
        if *access_tokens == AccessTokenForms::Off {
            // Whoever demands a scope, say, must not believe that it is demanded of API tokens.
            let stated = [issuers, audiences, scopes].iter().any(|list| !list.is_empty());
            if stated || !opaque_prefix.is_empty() {
                return wrong(
                    "AUTH_VERIFIER_OAUTH__ACCESS_TOKENS",
                    "is off, so that what else is set of AUTH_VERIFIER_OAUTH__ would do nothing",
                );
            }
        }
        // With two dots a token would be taken for a JWT.
        if !opaque_prefix.bytes().all(is_of_a_token) || opaque_prefix.matches('.').count() > 1 {
            return wrong(
                "AUTH_VERIFIER_OAUTH__OPAQUE_PREFIX",
                "must be of characters that a bearer token may have, at most one of them a dot",
            );
        }
        if !access_tokens.jwt() {
            return Ok(());
        }
        if self.key_source().is_none() {
            return wrong(
                "AUTH_VERIFIER_OAUTH__ACCESS_TOKENS",
                "jwt needs Better Auth's keys: set BETTER_AUTH_URL",
            );
        }
        if self.oauth_parties().issuers.is_empty() {
            return wrong(
                "AUTH_VERIFIER_OAUTH__ISSUERS",
                "name the issuers of access tokens, or set BETTER_AUTH_URL",
            );
        }
        if self.oauth.audiences.is_empty() {
            return wrong(
                "AUTH_VERIFIER_OAUTH__AUDIENCES",
                "name the resources that access tokens must be for, as clients ask for them (`resource`)",
            );
        }
        Ok(())
    }

    pub(super) fn check_trusted(&self) -> Result<(), SettingsError> {
        let mut known = self.issuers();
        for (at, trusted) in self.trusted.iter().enumerate() {
            let wrong = |key: &str, reason: &str| {
                Err(SettingsError::new(format!("AUTH_VERIFIER_CONFIG: trusted[{at}].{key}"), reason))
            };
            if trusted.issuers.is_empty() {
                return wrong("issuers", "name the issuers");
            }
            if trusted.audiences.is_empty() {
                return wrong("audiences", "name the audiences");
            }
            if trusted.jwks_url.is_some() == trusted.jwks_file.is_some() {
                return wrong("jwks_url", "set either this or jwks_file");
            }
            if let Some(Err(why)) = trusted.ca_file.as_deref().map(chassis::outbound::client::roots) {
                return wrong("ca_file", &why);
            }
            if let Some(twice) = trusted.issuers.iter().find(|issuer| known.contains(issuer)) {
                return wrong("issuers", &format!("{twice} is accepted already, with other keys"));
            }
            let visible = trusted.user_prefix.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',');
            if !visible || trusted.user_prefix.len() > USER_PREFIX_CHARS_MAX {
                return wrong("user_prefix", "must be at most 64 visible ASCII characters without a comma");
            }
            // Nobody's id may begin as another's prefix does, or one issuer could make up a user of the other's.
            let prefix = &trusted.user_prefix;
            if prefix.ends_with(|last: char| last.is_ascii_alphanumeric() || "-_".contains(last)) {
                return wrong(
                    "user_prefix",
                    "must end in a character that no id of ours has, such as a colon",
                );
            }
            let within = |one: &str, other: &str| !other.is_empty() && one != other && one.starts_with(other);
            let mut earlier = self.trusted[..at].iter().map(|earlier| &earlier.user_prefix);
            if let Some(other) = earlier.find(|other| within(prefix, other) || within(other, prefix)) {
                return wrong("user_prefix", &format!("must not be told from {other} by its end alone"));
            }
            known.extend(trusted.issuers.iter().cloned());
        }
        Ok(())
    }
}
