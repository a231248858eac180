//! Builds the verifier from its plan. The only page that knows both all of the parts and the settings.

use std::sync::Arc;

use chassis::clock::{Clock, UnixSeconds};
use chassis::settings::Switch;

use crate::{
    better_auth::{database::Database, lookups::Lookups},
    cache::Bounds,
    jwt::{
        Authority, Profile, SharedSecret, Tokens,
        claims::Naming,
        keys::{Key, Keys},
    },
    secrets::Secrets,
    session::{
        cookie_cache::{CacheAsBearer, CookieCache, Form, JweKeys, Published},
        session_data::SessionData,
        token::SigningKeys,
    },
    settings::{self, CacheForm, Issuer, Lookup, Plan},
    verdict::{
        Known, Verifier,
        assertion::Signer,
        neon::Neon,
        opaque_token::OpaqueTokens,
        revocation::{Revocation, Revocations},
        sessions::Sessions,
    },
};

impl Plan {
    /// Builds the verifier. Needs a Tokio runtime.
    pub fn verifier(&self) -> Arc<Verifier> {
        self.verifier_at(Clock::SYSTEM)
    }

    /// The same, by a clock of one's own.
    pub fn verifier_at(&self, clock: Clock) -> Arc<Verifier> {
        let settings = &self.settings;
        let database = self.database();
        let lookups = Arc::new(Lookups::new(&self.lookups, database.clone()));
        let own = self.own.as_ref().map(|own| self.authority(own, database.as_ref()));
        let trusted: Vec<_> = self.trusted.iter().map(|issuer| self.authority(issuer, None)).collect();
        let signing =
            self.secrets.as_ref().map(|all| Arc::new(SigningKeys::new(all, self.old_secrets_until)));
        let neon = self.neon.as_ref();
        let neons = neon.map(|neon| self.authority(&neon.issuer, None));
        let trusted: Vec<_> = trusted.into_iter().chain(neons).collect();
        let prefixes = settings.trusted.iter().map(|trusted| trusted.user_prefix.clone());
        let prefixes = prefixes.chain(neon.map(|neon| neon.user_prefix.clone()));
        let prefixes: Arc<[String]> = prefixes.filter(|prefix| !prefix.is_empty()).collect();
        let forms = settings.oauth.access_tokens;
        let sessions = self.secrets.as_ref().zip(signing.as_ref()).filter(|_| self.lookup != Lookup::Off);
        Arc::new(Verifier {
            tokens: Tokens::new(Profile {
                hs256: self.secrets.as_ref().filter(|_| settings.hs256.enabled).map(|all| self.hs256(all)),
                own: own.clone(),
                trusted: trusted.clone(),
                access_tokens: forms.jwt().then(|| self.access_tokens.clone()),
                leeway: settings.leeway,
                bytes_max: settings.token_bytes_max,
                cache: self.cache_bounds(),
                prefixes: Arc::clone(&prefixes),
                all_tell_scopes: settings.jwt.scopes == Switch::On,
                tells_membership: settings.neon_auth.membership == Switch::On,
            }),
            neon: neon.map(|neon| self.neon(neon)),
            sessions: sessions.map(|(secrets, keys)| Sessions {
                keys: Arc::clone(keys),
                lookups: Arc::clone(&lookups),
                naming: self.cookies.clone(),
                cache: self.cookie_cache(secrets, own.as_ref(), database.as_ref()),
                bearer: settings.session.bearer_tokens(),
                bytes_max: settings.token_bytes_max,
            }),
            opaque: forms.opaque().then(|| OpaqueTokens {
                prefix: settings.oauth.opaque_prefix.clone(),
                demands: self.access_tokens.clone(),
                lookups: Arc::clone(&lookups),
            }),
            cache_as_bearer: signing.filter(|_| settings.cookie_cache.bearer == Switch::On).map(|keys| {
                let version = settings.cookie_cache.version.clone();
                CacheAsBearer { version, keys, bytes_max: settings.token_bytes_max }
            }),
            revocations: (settings.jwt.revocation != Revocation::Off).then(|| Revocations {
                by: settings.jwt.revocation,
                lookups,
                prefix: String::new(),
            }),
            prefixes,
            emails: settings.email,
            signer: Signer::new(&self.identity),
            max_age: settings.verdict_max_age,
            authorities: own.into_iter().chain(trusted).collect(),
            credential_cookies: self.credential_cookies.clone(),
            clock,
            known: Known::default(),
        })
    }

    /// Better Auth's database, if anything is read of it. Needs a Tokio runtime.
    pub fn database(&self) -> Option<Arc<Database>> {
        self.database.as_ref().map(|config| Arc::new(Database::new(config)))
    }

    /// Neon Auth's sessions. Needs a Tokio runtime.
    fn neon(&self, neon: &settings::Neon) -> Neon {
        let settings = &self.settings;
        let database = neon.database.as_ref().map(|config| Arc::new(Database::new(config)));
        let lookups = Arc::new(Lookups::new(&neon.lookups, database));
        let revocations = neon.reads.users.then(|| Revocations {
            by: Revocation::User,
            lookups: Arc::clone(&lookups),
            prefix: neon.user_prefix.clone(),
        });
        let data = neon.cookie_secret.as_ref().map(|secret| SessionData {
            key: Key::hs256(secret.expose()),
            lag: settings.revocation_lag,
            bytes_max: settings.token_bytes_max,
        });
        Neon { names: neon.names.clone(), lookups, data, user_prefix: neon.user_prefix.clone(), revocations }
    }

    /// The look-ups by themselves. Needs a Tokio runtime.
    pub fn lookups(&self) -> Lookups {
        Lookups::new(&self.lookups, self.database())
    }

    /// An issuer with its keys; `database` is where they may be read.
    fn authority(&self, issuer: &Issuer, database: Option<&Arc<Database>>) -> Arc<Authority> {
        let source = issuer.source.open(database);
        let keys = Keys::new(source, self.keys.clone());
        Arc::new(Authority { expected: issuer.expected.clone(), keys, users: issuer.users.clone() })
    }

    fn hs256(&self, secrets: &Secrets) -> SharedSecret {
        let until = self.old_secrets_until;
        let old = secrets.all().skip(1).filter(|_| until > UnixSeconds(0)).map(Key::hs256).collect();
        let required = self.settings.hs256.require_issuer_and_audience;
        SharedSecret {
            key: Key::hs256(secrets.current()),
            old,
            old_until: until,
            expected: self.expected.clone(),
            naming: if required { Naming::Required } else { Naming::IfPresent },
        }
    }

    /// `own` is our own Better Auth, whose keys are shared with those of its tokens.
    fn cookie_cache(
        &self,
        secrets: &Secrets,
        own: Option<&Arc<Authority>>,
        database: Option<&Arc<Database>>,
    ) -> Option<CookieCache> {
        let form = match self.cache.as_ref()? {
            CacheForm::Compact => Form::Compact,
            CacheForm::Jwt => Form::Jwt,
            CacheForm::Jwe => Form::Jwe(JweKeys::new(secrets.all())),
            CacheForm::JwtJwks { own: issuer, issuers } => {
                let own = own.map_or_else(|| self.authority(issuer, database), Arc::clone);
                Form::JwtJwks(Box::new(Published::new(own, issuers.clone(), self.cache_bounds())))
            }
        };
        Some(CookieCache { form, version: self.settings.cookie_cache.version.clone() })
    }

    fn cache_bounds(&self) -> Bounds {
        Bounds { entries_max: self.settings.jwt.cache_entries_max, life: self.settings.jwt.cache }
    }
}
