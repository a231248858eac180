//! The plan: settings parsed into what the verifier is built from. All that is wrong with
//! them is reported here, at once, and nothing later.

use std::fmt;

use chassis::{
    clock::UnixSeconds,
    outbound::{client::Trust, refreshed::Policy},
    settings::{Faults, Secret, SettingsError, Switch},
};
use http::HeaderValue;
use time::OffsetDateTime;

use super::{Identity, Neon, Settings, database::DATABASE};
use crate::{
    better_auth::{
        address::Address,
        database::{
            self,
            tables::{Reads, Tables},
        },
        key_source::KeySource,
        lookups,
    },
    credential::kind::Strategy,
    jwt::{AccessTokens, Users, claims::Expected, keys::KeysConfig},
    secrets::{self, Secrets},
    session::misnamed::CookieNaming,
    settings::session::Lookup,
    verdict::assertion,
};

/// What the verifier is built from.
pub struct Plan {
    /// The settings as they were written, for those who explain them.
    pub(crate) settings: Settings,
    /// Better Auth's secrets.
    pub(crate) secrets: Option<Secrets>,
    /// When older secrets end.
    pub(crate) old_secrets_until: UnixSeconds,
    /// How Better Auth is reached.
    pub(crate) better_auth: Address,
    /// Better Auth's `/get-session`, where it is known where that is.
    pub(crate) get_session_url: Option<String>,
    /// What API tokens must name.
    pub(crate) expected: Expected,
    /// How keys are kept.
    pub(crate) keys: KeysConfig,
    /// Our own Better Auth, where tokens signed with its keys are accepted.
    pub(crate) own: Option<Issuer>,
    /// Neon Auth, where it is set.
    pub(crate) neon: Option<Neon>,
    /// Other issuers.
    pub(crate) trusted: Vec<Issuer>,
    /// What access tokens must be for, in either form.
    pub(crate) access_tokens: AccessTokens,
    /// Where sessions are looked up; never [`Lookup::Auto`].
    pub(crate) lookup: Lookup,
    /// How look-ups are made.
    pub(crate) lookups: lookups::Config,
    /// What Better Auth's cookies are called.
    pub(crate) cookies: CookieNaming,
    /// The cookies that are credentials, as a verdict names them.
    pub(crate) credential_cookies: HeaderValue,
    /// The form of the cookie cache, where it is honoured.
    pub(crate) cache: Option<CacheForm>,
    /// What Better Auth's tables are called.
    pub(crate) tables: Tables,
    /// What is read of them.
    pub(crate) reads: Reads,
    /// Better Auth's database, where anything is read of it.
    pub(crate) database: Option<database::Config>,
    /// How identities are signed.
    pub(crate) identity: assertion::Config,
}

/// An issuer whose tokens are accepted.
#[derive(Clone)]
pub(crate) struct Issuer {
    /// Where its keys are.
    pub(crate) source: KeySource,
    /// What its tokens must name.
    pub(crate) expected: Expected,
    /// The users that it speaks for.
    pub(crate) users: Users,
}

/// A form of the cookie cache, with what is needed to open it.
pub(crate) enum CacheForm {
    /// Signed like session tokens.
    Compact,
    /// Signed like session tokens.
    Jwt,
    /// Encrypted.
    Jwe,
    /// Signed by published keys.
    JwtJwks {
        /// Whose they are: our own Better Auth.
        own: Box<Issuer>,
        /// The issuers that such caches may name.
        issuers: Vec<String>,
    },
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan").finish_non_exhaustive()
    }
}

impl Plan {
    /// The settings as they were written.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The secret that HS256 tokens are checked with, if they are accepted.
    pub(crate) fn hs256_secret(&self) -> Option<&str> {
        self.secrets.as_ref().filter(|_| self.settings.hs256.enabled).map(Secrets::current)
    }

    pub(super) fn parse(settings: Settings) -> Result<Self, SettingsError> {
        let mut faults = Faults::default();
        let plan = Self::parsed(settings, &mut faults);
        faults.result()?;
        plan.ok_or_else(|| SettingsError::new("AUTH_VERIFIER_CONFIG", "can't be made sense of"))
    }

    /// `None` where something can't be had, which is a fault then.
    fn parsed(settings: Settings, faults: &mut Faults) -> Option<Self> {
        let secrets = faults.hear(settings.parse_secrets());
        settings.check_old_secrets(secrets.as_ref(), faults);
        let trust = Trust::read(settings.better_auth.ca_file.as_deref());
        let trust = trust.map_err(|why| faults.add(super::CA_FILE, why)).ok();
        let better_auth = Address {
            public: settings.better_auth.url.clone(),
            host: settings.better_auth.host.clone(),
            trust: trust.clone().unwrap_or_default(),
        };
        let expected = settings.expected();
        let source = settings.key_source(&better_auth);
        settings.check_tokens(source.as_ref(), faults);
        settings.check_oauth(source.is_some(), &better_auth, faults);
        let trusted = settings.trusted_issuers(faults);
        let own = source.map(|source| Issuer { source, expected: expected.clone(), users: Users::Own });
        let lookup = settings.lookup();
        settings.check_sessions(own.as_ref(), &better_auth, faults);
        let nothing = !settings.hs256_accepted()
            && own.is_none()
            && settings.trusted.is_empty()
            && settings.neon_issuer().is_none()
            && lookup == Lookup::Off;
        if nothing {
            faults.add(
                "BETTER_AUTH_URL",
                "set it to where Better Auth runs, or BETTER_AUTH_SECRET to what it signs with, or NEON_AUTH_BASE_URL to Neon's Auth \
                 URL; there is nothing to check tokens by",
            );
        }
        let neon = settings.neon(secrets.as_ref(), settings.accepts_own(), faults);
        let cookies = settings.cookie_naming();
        let credential_cookies = settings.credential_cookies(faults);
        let tables = settings.tables(faults);
        let reads = settings.reads(own.as_ref());
        let database = settings.database(reads, tables.as_ref(), faults);
        let identity = settings.identity_config(secrets.as_ref().and_then(Option::as_ref), faults);
        let cache = settings.cookie_cache.strategy.and_then(|strategy| {
            Some(match strategy {
                Strategy::Compact => CacheForm::Compact,
                Strategy::Jwt => CacheForm::Jwt,
                Strategy::Jwe => CacheForm::Jwe,
                // Without its keys that was a fault.
                Strategy::JwtJwks => {
                    CacheForm::JwtJwks { own: Box::new(own.clone()?), issuers: settings.cache_issuers() }
                }
            })
        });
        let secrets = secrets?;
        let get_session_url = settings.get_session_url(&better_auth);
        let lookups = settings.lookups(secrets.as_ref(), &better_auth, get_session_url.as_ref(), &cookies);
        Some(Self {
            old_secrets_until: settings.old_secrets_until(),
            access_tokens: settings.access_tokens(&better_auth),
            better_auth: trust.map(|_| better_auth)?,
            get_session_url,
            expected,
            keys: settings.keys(),
            own,
            neon,
            trusted: trusted?,
            lookup,
            lookups,
            cookies,
            credential_cookies: credential_cookies?,
            cache,
            tables: tables?,
            reads,
            database,
            identity: identity?,
            secrets,
            settings,
        })
    }
}

impl Settings {
    fn parse_secrets(&self) -> Result<Option<Secrets>, SettingsError> {
        Secrets::parse(self.better_auth.secrets.as_ref(), self.better_auth.secret.as_ref())
    }

    /// Whether Better Auth's secret is set, whatever it is.
    pub(super) fn states_secret(&self) -> bool {
        self.better_auth.secret.is_some() || self.better_auth.secrets.is_some()
    }

    /// Whether anything of a Better Auth of one's own is accepted: what its secret or its keys sign, or what stands in its
    /// tables.
    pub(crate) fn accepts_own(&self) -> bool {
        self.states_secret() || self.own_keys().is_some() || self.oauth.access_tokens.opaque()
    }

    /// Where the keys of a Better Auth of one's own are; for whom only the place matters.
    pub(super) fn own_keys(&self) -> Option<KeySource> {
        let public = self.better_auth.url.clone();
        self.key_source(&Address { public, host: None, trust: Trust::default() })
    }

    fn hs256_accepted(&self) -> bool {
        self.hs256.enabled && self.states_secret()
    }

    fn old_secrets_until(&self) -> UnixSeconds {
        let until = self.better_auth.old_secrets_until.map(OffsetDateTime::unix_timestamp);
        UnixSeconds(until.and_then(|secs| secs.try_into().ok()).unwrap_or(0))
    }

    fn check_old_secrets(&self, secrets: Option<&Option<Secrets>>, faults: &mut Faults) {
        let several = |secrets: &Option<Secrets>| secrets.as_ref().is_some_and(|all| all.all().count() > 1);
        if self.better_auth.old_secrets_until.is_some() && secrets.is_some_and(|secrets| !several(secrets)) {
            faults.add(
                "AUTH_VERIFIER_BETTER_AUTH__OLD_SECRETS_UNTIL",
                "needs older secrets: set BETTER_AUTH_SECRETS to the versions",
            );
        }
    }

    /// How keys are kept.
    fn keys(&self) -> KeysConfig {
        let policy = Policy {
            fresh: self.jwks.fresh,
            stale_max: self.jwks.stale_max,
            cool_down: self.jwks.cool_down,
            wait: self.jwks.timeout,
            first_wait: self.jwks.first_timeout,
        };
        KeysConfig { policy, rsa: self.jwks.rsa_algorithm }
    }

    /// What identities are signed with.
    ///
    /// Of several secrets that is the oldest: replicas that have not heard of the newer ones know it, and so do
    /// services that asked such a replica for its key. So the key of a new secret is published before it signs.
    ///
    /// The others are published. Where identities have a seed of their own, none of Better Auth's secrets is: to know
    /// one must not be enough to sign identities. Nor is that of Neon's SDK where it does not sign itself: whoever has it
    /// speaks for Neon Auth's users at most.
    fn identity_config(&self, secrets: Option<&Secrets>, faults: &mut Faults) -> Option<assertion::Config> {
        let Identity { audience, seed, previous_seed, next_seed, life } = &self.identity;
        for (key, seed) in [("SEED", seed), ("PREVIOUS_SEED", previous_seed), ("NEXT_SEED", next_seed)] {
            if let Some(seed) = seed {
                faults.hear(secrets::checked(&format!("AUTH_VERIFIER_IDENTITY__{key}"), seed.expose()));
            }
        }
        let neons = self.neon_auth.cookie_secret.clone();
        if seed.is_none() && !self.states_secret() && neons.is_none() {
            faults.add(
                "AUTH_VERIFIER_IDENTITY__SEED",
                "set it (the same for all replicas) where there is no BETTER_AUTH_SECRET and no NEON_AUTH_COOKIE_SECRET; `openssl rand \
                 -base64 32` makes a good one",
            );
        }
        if audience.trim().is_empty() {
            faults.add("AUTH_VERIFIER_IDENTITY__AUDIENCE", "must not be empty");
        }
        if self.verdict_max_age >= *life {
            faults.add(
                "AUTH_VERIFIER_VERDICT_MAX_AGE_SECS",
                "must be less than AUTH_VERIFIER_IDENTITY__LIFE_SECS: a reused verdict carries the identity that was signed with it",
            );
        }
        let all = || secrets.iter().flat_map(|secrets| secrets.all().map(Secret::new)).collect::<Vec<_>>();
        let signs = seed.clone().or_else(|| all().pop()).or(neons)?;
        let of_better_auth = if seed.is_none() { all() } else { Vec::new() };
        let stated = previous_seed.iter().chain(next_seed).cloned();
        let published = stated.chain(of_better_auth).filter(|other| *other != signs).collect();
        Some(assertion::Config {
            published,
            seed: signs,
            audience: audience.clone(),
            life: *life,
            max_age: self.verdict_max_age,
        })
    }

    /// What is read of Better Auth's tables.
    pub(super) fn reads(&self, own: Option<&Issuer>) -> Reads {
        use crate::verdict::revocation::Revocation;
        let access_tokens = self.oauth.access_tokens.opaque();
        Reads {
            session_tokens: self.lookup() == Lookup::Database,
            session_ids: self.jwt.revocation == Revocation::Session || access_tokens,
            // Neon Auth's have tables of their own.
            users: self.jwt.revocation == Revocation::User
                && (self.neon_issuer().is_none() || self.accepts_own()),
            access_tokens,
            keys: own.is_some_and(|own| matches!(own.source, KeySource::Table)),
        }
    }

    /// Better Auth's database, where anything is read of it. Its settings must be good wherever its URL is set.
    pub(super) fn database(
        &self,
        reads: Reads,
        tables: Option<&Tables>,
        faults: &mut Faults,
    ) -> Option<database::Config> {
        if !reads.any() && self.database.url.is_none() {
            return None;
        }
        faults.hear(self.database.check(&DATABASE))?;
        let dsn = faults.hear(chassis::outbound::database::Dsn::parse(&self.database, &DATABASE))?;
        Some(database::Config {
            dsn,
            pool: self.database.clone(),
            tables: tables?.clone(),
            time_zone: self.tables.time_zone.clone(),
            key_grace: self.jwks.grace,
        })
        .filter(|_| reads.any())
    }

    /// How sessions, users and access tokens are looked up.
    fn lookups(
        &self,
        secrets: Option<&Secrets>,
        address: &Address,
        url: Option<&String>,
        cookies: &CookieNaming,
    ) -> lookups::Config {
        let bound = self.session.timeout + self.session.overtime;
        let http = |refresh| {
            Some(lookups::http::Config {
                url: url?.clone(),
                address: address.clone(),
                names: cookies.names.clone(),
                secret: Some(Secret::new(secrets?.current())),
                bound,
                address_header: self.session.client_address_header.clone(),
                refresh,
                limits_cure: lookups::pauses::CURE,
            })
        };
        let sessions = match self.lookup() {
            Lookup::Database => lookups::SessionsAt::Database { compared: http(Switch::Off) },
            Lookup::Http => {
                // Without its URL or the secret that was a fault.
                http(self.session.refresh)
                    .map_or(lookups::SessionsAt::Nowhere, lookups::SessionsAt::BetterAuth)
            }
            Lookup::Off | Lookup::Auto => lookups::SessionsAt::Nowhere,
        };
        lookups::Config {
            sessions,
            unsigned: lookups::Unsigned::Few,
            lag: self.revocation_lag,
            entries_max: self.lookups_cache_entries_max,
            wait: self.session.timeout,
            bound,
        }
    }
}
