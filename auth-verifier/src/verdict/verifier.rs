//! Everything that a verdict needs, built from the settings.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use chassis::{
    outbound::refreshed::Source,
    settings::{Secret, SettingsError, Switch},
};
use http::HeaderMap;
use identity::CredentialCookies;
use time::OffsetDateTime;
use tokio::task::JoinSet;

use crate::{
    better_auth::{database::Database, lookups::Lookups},
    cache::verified::Bounds,
    diagnostics::misnamed::Misnamed,
    jwt::{
        AccessTokens, Profile, SharedSecret, Tokens,
        authority::{Authority, Users},
        claims::{Named, Parties},
        keys::{Key, Keys},
    },
    secrets::Secrets,
    session::{
        Sessions,
        cookie_cache::{CacheAsBearer, CookieCache, Form, JweKeys, Published, Strategy},
        opaque_token::OpaqueTokens,
        token::SigningKeys,
    },
    settings::{KeySource, Lookup, Settings, Trusted},
    verdict::{
        Judge, Verdict,
        assertion::Signer,
        key_source,
        revocation::{Revocation, Revocations},
    },
};

/// How long a connection to Better Auth may take to stand.
const CONNECT: Duration = Duration::from_secs(1);

/// Says who is calling.
pub struct Verifier {
    judge: Judge,
    signer: Arc<Signer>,
    own: Option<Arc<Authority>>,
    trusted: Vec<Arc<Authority>>,
    credential_cookies: CredentialCookies,
}

impl Verifier {
    /// Builds it from settings that were checked; what only opening something can show is an error. Needs a Tokio
    /// runtime.
    pub fn new(settings: &Settings) -> Result<Arc<Self>, SettingsError> {
        let secrets = settings.secrets()?;
        let database = if settings.reads().any() { Some(Arc::new(Database::new(settings)?)) } else { None };
        let lookups = Arc::new(Lookups::new(settings, secrets.as_ref(), database.clone())?);
        let (own, trusted) = (own(settings, database.as_ref())?, trusted(settings)?);
        let signing = secrets.as_ref().map(|all| Arc::new(SigningKeys::new(all, old_until(settings))));
        let seed = settings.identity_seed().expect("the settings were checked");
        let (audience, life) = (settings.identity.audience.clone(), settings.identity.life);
        let besides = settings.identity_seeds_besides();
        let signer = Signer::new(seed.expose(), audience, life, settings.verdict_max_age)
            .publishing(besides.iter().map(Secret::expose));
        let signer = Arc::new(signer);
        let prefixes = settings.trusted.iter().map(|trusted| trusted.user_prefix.clone());
        let prefixes: Arc<[String]> = prefixes.filter(|prefix| !prefix.is_empty()).collect();
        let access_tokens =
            AccessTokens { parties: settings.oauth_parties(), scopes: settings.oauth.scopes.clone() };
        let judge = Judge {
            tokens: Tokens::new(Profile {
                hs256: shared_secret(settings, secrets.as_ref()),
                own: own.clone(),
                trusted: trusted.clone(),
                access_tokens: settings.oauth.access_tokens.jwt().then(|| access_tokens.clone()),
                leeway: settings.leeway,
                bytes_max: settings.token_bytes_max,
                remembered: bounds(settings),
                prefixes: Arc::clone(&prefixes),
            }),
            sessions: secrets
                .as_ref()
                .zip(signing.as_ref())
                .filter(|_| settings.lookup() != Lookup::Off)
                .map(|(secrets, keys)| sessions(settings, secrets, keys, &lookups, own.as_ref())),
            opaque: settings.oauth.access_tokens.opaque().then(|| OpaqueTokens {
                prefix: settings.oauth.opaque_prefix.clone(),
                demands: access_tokens,
                lookups: Arc::clone(&lookups),
            }),
            cache_as_bearer: signing.filter(|_| settings.cookie_cache.bearer == Switch::On).map(|keys| {
                let version = settings.cookie_cache.version.clone();
                CacheAsBearer { version, keys, bytes_max: settings.token_bytes_max }
            }),
            revocations: (settings.jwt.revocation != Revocation::Off)
                .then(|| Revocations { by: settings.jwt.revocation, lookups }),
            prefixes,
            emails: settings.email,
            signer: Arc::clone(&signer),
            max_age: settings.verdict_max_age,
        };
        let credential_cookies = settings.credential_cookies().expect("the settings were checked");
        Ok(Arc::new(Self { judge, signer, own, trusted, credential_cookies }))
    }

    /// Says who sends these headers.
    pub async fn judge(&self, headers: &HeaderMap) -> Verdict {
        self.judge.judge(headers, now).await
    }

    /// The public keys of the assertions, ours and those that other replicas may sign with, as a JWK set.
    pub fn published(&self) -> serde_json::Value {
        self.signer.jwks()
    }

    /// The cookies that are credentials, whether or not they are looked at.
    pub fn credential_cookies(&self) -> &CredentialCookies {
        &self.credential_cookies
    }

    /// Keeps the keys fresh, for as long as it is polled.
    pub async fn keep_fresh(self: Arc<Self>) {
        let mut keeping = JoinSet::new();
        for authority in self.own.iter().chain(&self.trusted).cloned() {
            keeping.spawn(async move { authority.keys.keep_fresh().await });
        }
        keeping.join_all().await;
    }
}

/// Our own Better Auth, if tokens signed with its keys are accepted.
fn own(
    settings: &Settings,
    database: Option<&Arc<Database>>,
) -> Result<Option<Arc<Authority>>, SettingsError> {
    let Some(source) = settings.key_source() else { return Ok(None) };
    let source = match source {
        KeySource::Endpoint(url) => {
            let headers = settings.address_headers(&url);
            key_source::endpoint(url, headers, settings.client(CONNECT)?)
        }
        KeySource::File(path) => key_source::file(path),
        KeySource::Table => {
            key_source::table(Arc::clone(database.expect("the settings say that it is read")))
        }
    };
    let keys = keys(settings, source);
    Ok(Some(Arc::new(Authority { parties: settings.parties(), keys, users: Users::Own })))
}

fn trusted(settings: &Settings) -> Result<Vec<Arc<Authority>>, SettingsError> {
    let authority = |trusted: &Trusted| {
        let source = match (&trusted.jwks_url, &trusted.jwks_file) {
            (Some(url), _) => {
                let client = trusted.client(CONNECT)?;
                key_source::endpoint(url.url().to_string(), HeaderMap::new(), client)
            }
            (None, file) => key_source::file(file.clone().expect("the settings were checked")),
        };
        Ok(Arc::new(Authority {
            parties: Parties { issuers: trusted.issuers.clone(), audiences: trusted.audiences.clone() },
            keys: keys(settings, source),
            users: Users::Others(trusted.user_prefix.clone()),
        }))
    };
    settings.trusted.iter().map(authority).collect()
}

fn keys(settings: &Settings, source: Source) -> Keys {
    Keys::new(source, settings.jwks_policy(), settings.jwks.rsa_algorithm)
}

fn shared_secret(settings: &Settings, secrets: Option<&Secrets>) -> Option<SharedSecret> {
    let secrets = secrets.filter(|_| settings.hs256.enabled)?;
    let until = old_until(settings);
    let demanded = settings.hs256.require_issuer_and_audience;
    Some(SharedSecret {
        key: Key::hs256(secrets.current()),
        old: (secrets.all().skip(1).filter(|_| until > 0).map(Key::hs256).collect(), until),
        parties: settings.parties(),
        named: if demanded { Named::Always } else { Named::Perhaps },
    })
}

fn sessions(
    settings: &Settings,
    secrets: &Secrets,
    keys: &Arc<SigningKeys>,
    lookups: &Arc<Lookups>,
    own: Option<&Arc<Authority>>,
) -> Sessions {
    let form = |strategy| match strategy {
        Strategy::Compact => Form::Compact,
        Strategy::Jwt => Form::Jwt,
        Strategy::JwtJwks => {
            let own = own.expect("the settings were checked").clone();
            Form::JwtJwks(Box::new(Published::new(own, settings.cache_issuers(), bounds(settings))))
        }
        Strategy::Jwe => Form::Jwe(JweKeys::new(secrets.all())),
    };
    let cache = settings.cookie_cache.strategy.map(|strategy| {
        let version = settings.cookie_cache.version.clone();
        CookieCache { form: form(strategy), version }
    });
    Sessions {
        keys: Arc::clone(keys),
        lookups: Arc::clone(lookups),
        names: settings.cookie_names(),
        misnamed: Misnamed::new(settings),
        cache,
        bearer: settings.session.bearer_tokens(),
        bytes_max: settings.token_bytes_max,
    }
}

/// How much of what published keys verified is remembered.
fn bounds(settings: &Settings) -> Bounds {
    Bounds { max: settings.jwt.cache_entries_max, life: settings.jwt.cache }
}

/// Until when older secrets' signatures count, in seconds since 1970.
fn old_until(settings: &Settings) -> u64 {
    let until = settings.better_auth.old_secrets_until.map(OffsetDateTime::unix_timestamp);
    until.and_then(|secs| secs.try_into().ok()).unwrap_or(0)
}

/// Since 1970.
fn now() -> Duration {
    // A clock before 1970 makes every token expired or not yet valid, which is the safe side.
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::MAX)
}
