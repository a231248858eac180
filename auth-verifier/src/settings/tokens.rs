//! What can be set about tokens and the keys that they are signed with; each one explained in `defaults.toml`.

use std::{path::PathBuf, time::Duration};

use chassis::{
    outbound::client::Trust,
    settings::{self, Faults, ServiceUrl, Switch},
};
use http::HeaderMap;
use serde::{Deserialize, Deserializer};

use super::{
    Settings,
    neon::{BASE_URL, HOSTS},
    plan::Issuer,
};
use crate::{
    better_auth::{address::Address, key_source::KeySource},
    credential::is_b64token_char,
    jwt::{AccessTokens, Users, claims::Expected, keys::Algorithm},
    verdict::revocation::Revocation,
};

/// The longest prefix of other issuers' users, in characters: an id behind it needs room, too.
const USER_PREFIX_CHARS_MAX: usize = 64;

/// Tokens signed with the shared secret.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Hs256 {
    pub(crate) enabled: bool,
    pub(crate) require_issuer_and_audience: bool,
}

/// Tokens signed with Better Auth's own keys.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Jwks {
    pub(crate) enabled: bool,
    pub(crate) source: JwksSource,
    #[serde(deserialize_with = "settings::optional")]
    pub(crate) file: Option<PathBuf>,
    #[serde(deserialize_with = "rsa_algorithm")]
    pub(crate) rsa_algorithm: Option<Algorithm>,
    #[serde(rename = "grace_secs", deserialize_with = "settings::secs")]
    pub(crate) grace: Duration,
    #[serde(rename = "fresh_secs", deserialize_with = "settings::secs")]
    pub(crate) fresh: Duration,
    #[serde(rename = "stale_max_secs", deserialize_with = "settings::secs")]
    pub(crate) stale_max: Duration,
    /// The least time between two fetches that unknown keys cause.
    #[serde(rename = "cool_down_secs", deserialize_with = "settings::secs")]
    pub cool_down: Duration,
    #[serde(rename = "timeout_ms", deserialize_with = "settings::millis")]
    pub(crate) timeout: Duration,
    #[serde(rename = "first_timeout_ms", deserialize_with = "settings::millis")]
    pub(crate) first_timeout: Duration,
}

/// Where Better Auth's keys are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum JwksSource {
    Auto,
    Endpoint,
    Table,
    File,
}

/// What holds for JWTs of every kind.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Jwt {
    pub(crate) revocation: Revocation,
    pub(crate) scopes: Switch,
    #[serde(rename = "cache_secs", deserialize_with = "settings::secs")]
    pub(crate) cache: Duration,
    pub(crate) cache_entries_max: u64,
}

/// The OAuth provider's access tokens.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OAuth {
    pub(crate) access_tokens: AccessTokenForms,
    #[serde(deserialize_with = "settings::list")]
    pub(crate) issuers: Vec<String>,
    #[serde(deserialize_with = "settings::list")]
    pub(crate) audiences: Vec<String>,
    #[serde(deserialize_with = "settings::list")]
    pub(crate) scopes: Vec<String>,
    pub(crate) opaque_prefix: String,
}

/// Which access tokens are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum AccessTokenForms {
    Off,
    Jwt,
    Opaque,
    Both,
}

impl AccessTokenForms {
    /// Whether JWTs are accepted.
    pub(crate) fn jwt(self) -> bool {
        matches!(self, Self::Jwt | Self::Both)
    }

    /// Whether opaque tokens are accepted.
    pub(crate) fn opaque(self) -> bool {
        matches!(self, Self::Opaque | Self::Both)
    }
}

/// Another issuer whose tokens are accepted.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Trusted {
    #[serde(deserialize_with = "settings::list")]
    pub(crate) issuers: Vec<String>,
    #[serde(deserialize_with = "settings::list")]
    pub(crate) audiences: Vec<String>,
    pub(crate) user_prefix: String,
    #[serde(default)]
    pub(crate) jwks_url: Option<ServiceUrl>,
    #[serde(default)]
    pub(crate) jwks_file: Option<PathBuf>,
    #[serde(default)]
    pub(crate) ca_file: Option<PathBuf>,
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
    /// What Better Auth's API tokens must name.
    pub(super) fn expected(&self) -> Expected {
        Expected { issuers: self.issuers(), audiences: self.audiences() }
    }

    /// What access tokens must be for. Their issuer is the base URL with its path, where nothing else is configured
    /// (`oauth-provider`, `createJwtAccessToken`).
    pub(super) fn access_tokens(&self, better_auth: &Address) -> AccessTokens {
        let stated = self.oauth.issuers.clone();
        let issuers = if stated.is_empty() { better_auth.api("").into_iter().collect() } else { stated };
        let expected = Expected { issuers, audiences: self.oauth.audiences.clone() };
        AccessTokens { expected, scopes: self.oauth.scopes.clone() }
    }

    /// Where Better Auth's keys are read; `None` if tokens signed with them are not accepted.
    pub(super) fn key_source(&self, better_auth: &Address) -> Option<KeySource> {
        let stated = self.jwks_url.as_ref().map(|url| url.url().to_string());
        let endpoint = || {
            let url = stated.or_else(|| better_auth.api("/jwks"))?;
            let (headers, trust) = (better_auth.headers(&url), better_auth.trust.clone());
            Some(KeySource::Endpoint { url, headers, trust })
        };
        let file = || self.jwks.file.clone().map(KeySource::File);
        let table = || self.database.url.as_ref().map(|_| KeySource::Table);
        self.jwks.enabled.then_some(())?;
        match self.jwks.source {
            JwksSource::Auto => {
                file().or_else(endpoint).or_else(|| table().filter(|_| self.names_issuer_and_audience()))
            }
            JwksSource::Endpoint => endpoint(),
            JwksSource::Table => Some(KeySource::Table),
            JwksSource::File => file(),
        }
    }

    fn names_issuer_and_audience(&self) -> bool {
        !self.issuers().is_empty() && !self.audiences().is_empty()
    }

    pub(super) fn check_tokens(&self, source: Option<&KeySource>, faults: &mut Faults) {
        match (self.jwks.source, source) {
            (JwksSource::File, None) if self.jwks.enabled => {
                faults.add("AUTH_VERIFIER_JWKS__FILE", "set it to a file with a JWK set");
            }
            (JwksSource::Endpoint, None) if self.jwks.enabled => {
                faults.add("AUTH_VERIFIER_JWKS_URL", "set it to where the keys are, or set BETTER_AUTH_URL");
            }
            (_, Some(_)) => {
                for (name, known, what) in [
                    ("AUTH_VERIFIER_ISSUERS", self.issuers(), "issuers whose tokens are accepted"),
                    ("AUTH_VERIFIER_AUDIENCES", self.audiences(), "audiences that are accepted"),
                ] {
                    if known.is_empty() {
                        faults.add(name, format!("name the {what}, or set BETTER_AUTH_URL"));
                    }
                }
            }
            _ => {}
        }
        let from_file = matches!(source, Some(KeySource::File(_)));
        let file_is_missing = self.jwks.enabled && self.jwks.source == JwksSource::File;
        if self.jwks.file.is_some() && !from_file && !file_is_missing {
            faults.add(
                "AUTH_VERIFIER_JWKS__FILE",
                "is not read: AUTH_VERIFIER_JWKS__SOURCE or …__ENABLED says otherwise",
            );
        }
        if self.hs256.require_issuer_and_audience && !self.hs256.enabled {
            faults.add(
                "AUTH_VERIFIER_HS256__REQUIRE_ISSUER_AND_AUDIENCE",
                "demands nothing where AUTH_VERIFIER_HS256__ENABLED is false",
            );
        } else if self.hs256.require_issuer_and_audience && !self.names_issuer_and_audience() {
            faults.add(
                "AUTH_VERIFIER_HS256__REQUIRE_ISSUER_AND_AUDIENCE",
                "needs AUTH_VERIFIER_ISSUERS and AUTH_VERIFIER_AUDIENCES, or BETTER_AUTH_URL",
            );
        }
        if self.jwks.stale_max < self.jwks.fresh {
            faults
                .add("AUTH_VERIFIER_JWKS__STALE_MAX_SECS", "must be at least AUTH_VERIFIER_JWKS__FRESH_SECS");
        }
    }

    /// `keys` says whether there are keys of Better Auth's.
    pub(super) fn check_oauth(&self, keys: bool, better_auth: &Address, faults: &mut Faults) {
        let OAuth { access_tokens, issuers, audiences, scopes, opaque_prefix } = &self.oauth;
        if *access_tokens == AccessTokenForms::Off {
            // A scope that is demanded here, say, would not be demanded of API tokens.
            let stated = [issuers, audiences, scopes].iter().any(|list| !list.is_empty());
            if stated || !opaque_prefix.is_empty() {
                faults.add(
                    "AUTH_VERIFIER_OAUTH__ACCESS_TOKENS",
                    "is off, so that what else is set of AUTH_VERIFIER_OAUTH__ would do nothing",
                );
            }
        }
        // With two dots a token would be taken for a JWT.
        if !opaque_prefix.bytes().all(is_b64token_char) || opaque_prefix.matches('.').count() > 1 {
            faults.add(
                "AUTH_VERIFIER_OAUTH__OPAQUE_PREFIX",
                "must be of characters that a bearer token may have, at most one of them a dot",
            );
        }
        if !access_tokens.jwt() {
            return;
        }
        if !keys {
            faults.add(
                "AUTH_VERIFIER_OAUTH__ACCESS_TOKENS",
                "jwt needs Better Auth's keys: set BETTER_AUTH_URL",
            );
        }
        if self.access_tokens(better_auth).expected.issuers.is_empty() {
            faults.add(
                "AUTH_VERIFIER_OAUTH__ISSUERS",
                "name the issuers of access tokens, or set BETTER_AUTH_URL",
            );
        }
        if self.oauth.audiences.is_empty() {
            faults.add(
                "AUTH_VERIFIER_OAUTH__AUDIENCES",
                "name the resources that access tokens must be for, as clients ask for them (`resource`)",
            );
        }
    }

    /// The other issuers; `None` if there is a fault in one.
    pub(super) fn trusted_issuers(&self, faults: &mut Faults) -> Option<Vec<Issuer>> {
        let mut known = self.issuers();
        known.extend(self.neon_issuer());
        let mut issuers = Vec::new();
        for (at, trusted) in self.trusted.iter().enumerate() {
            let mut wrong = |key: &str, reason: &str| {
                faults.add(format!("AUTH_VERIFIER_CONFIG: trusted[{at}].{key}"), reason);
            };
            if trusted.issuers.is_empty() {
                wrong("issuers", "name the issuers");
            }
            if trusted.audiences.is_empty() {
                wrong("audiences", "name the audiences");
            }
            let trust = Trust::read(trusted.ca_file.as_deref()).map_err(|why| wrong("ca_file", &why)).ok();
            if let Some(twice) = trusted.issuers.iter().find(|issuer| known.contains(issuer)) {
                wrong("issuers", &format!("{twice} is accepted already, with other keys"));
            } else if let Some(neons) = trusted.issuers.iter().find(|issuer| issuer.contains(HOSTS)) {
                wrong(
                    "issuers",
                    &format!(
                        "{neons} is Neon Auth's, whose tokens may be of nobody or of the banned: {BASE_URL} alone has them checked for \
                         that, and is for one branch"
                    ),
                );
            }
            if trusted.jwks_url.as_ref().is_some_and(|url| self.leads_to_neon(url)) {
                wrong("jwks_url", &format!("is at Neon Auth, whose keys follow from {BASE_URL} alone"));
            }
            let earlier = self.trusted[..at].iter().map(|earlier| &*earlier.user_prefix);
            if let Some(reason) = prefix_fault(&trusted.user_prefix, earlier) {
                wrong("user_prefix", &reason);
            }
            known.extend(trusted.issuers.iter().cloned());
            let source = match (&trusted.jwks_url, &trusted.jwks_file) {
                (Some(url), None) => trust.map(|trust| KeySource::Endpoint {
                    url: url.url().to_string(),
                    headers: HeaderMap::new(),
                    trust,
                }),
                (None, Some(file)) => Some(KeySource::File(file.clone())),
                _ => {
                    wrong("jwks_url", "set either this or jwks_file");
                    None
                }
            };
            issuers.push(source.map(|source| Issuer {
                source,
                expected: Expected { issuers: trusted.issuers.clone(), audiences: trusted.audiences.clone() },
                users: Users::Others(trusted.user_prefix.clone()),
            }));
        }
        issuers.into_iter().collect()
    }
}

/// What is wrong with the prefix of an issuer's users. No id may begin with another issuer's prefix, or one issuer
/// could make up a user of the other.
pub(super) fn prefix_fault<'a>(prefix: &str, mut earlier: impl Iterator<Item = &'a str>) -> Option<String> {
    let visible = prefix.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',');
    if !visible || prefix.len() > USER_PREFIX_CHARS_MAX {
        return Some("must be at most 64 visible ASCII characters without a comma".to_owned());
    }
    if prefix.ends_with(|last: char| last.is_ascii_alphanumeric() || "-_".contains(last)) {
        return Some("must end in a character that no id of ours has, such as a colon".to_owned());
    }
    let within = |one: &str, other: &str| !other.is_empty() && one != other && one.starts_with(other);
    let other = earlier.find(|other| within(prefix, other) || within(other, prefix))?;
    Some(format!("must not be told from {other} by its end alone"))
}
