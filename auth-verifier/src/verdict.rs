//! The verdict: who is calling, or why that is not known.

pub(crate) mod assertion;
pub(crate) mod neon;
pub(crate) mod opaque_token;
pub(crate) mod revocation;
pub(crate) mod sessions;

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use chassis::clock::{Clock, UnixSeconds};
use http::{HeaderMap, HeaderValue};
use identity::{CredentialKind, CredentialScopes, Email, Membership, UserId};
use metrics::Counter;
use serde::Deserialize;
use tokio::{task::JoinSet, time::timeout};
use tracing::{info, warn};

use crate::{
    better_auth::lookups::Found,
    credential::{
        self, Bearer,
        asker::Asker,
        kind::{Kind, Strategy},
    },
    jwt::{Authority, Owner, Tokens},
    person::{Expiry, Person},
    rejection::{Rejection, Unavailable, Unverified},
    session::cookie_cache::CacheAsBearer,
    verdict::{
        assertion::Signer, neon::Neon, opaque_token::OpaqueTokens, revocation::Revocations,
        sessions::Sessions,
    },
};

/// A verdict on the credential of a request.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// It is good.
    Known(Caller),
    /// There is none, or it is not good.
    Rejected(Rejection),
    /// It is good, but its owner is banned.
    Banned,
    /// Its keys or its session are out of reach.
    Unavailable(Unavailable),
}

/// The owner of a good credential.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The user's id.
    pub user: UserId,
    /// The e-mail address, where it is known and may be passed on.
    pub email: Option<Email>,
    /// Whether the address was verified, where that is known.
    pub email_verified: Option<bool>,
    /// What the user was known by.
    pub credential: CredentialKind,
    /// What that was granted, if it is an access token.
    pub scopes: Option<CredentialScopes>,
    /// The user's role and organization, where the credential says so and that is told.
    pub membership: Option<Arc<Membership>>,
    /// The signed identity.
    pub assertion: HeaderValue,
    /// How long this verdict may be reused.
    pub max_age: Duration,
}

/// Which e-mail addresses are passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Emails {
    /// All that are known.
    Any,
    /// Those that Better Auth has verified.
    Verified,
    /// No address is passed on.
    Off,
}

impl Emails {
    /// Whether an address is passed on that was `verified`, or of which that is not known.
    fn pass(self, verified: Option<bool>) -> bool {
        match self {
            Self::Any => true,
            Self::Verified => verified == Some(true),
            Self::Off => false,
        }
    }
}

/// Gives verdicts.
pub struct Verifier {
    /// JWTs of every kind.
    pub(crate) tokens: Tokens,
    /// Session cookies and session tokens, where they are accepted.
    pub(crate) sessions: Option<Sessions>,
    /// Neon Auth's sessions, where it is set.
    pub(crate) neon: Option<Neon>,
    /// Opaque access tokens, where they are accepted.
    pub(crate) opaque: Option<OpaqueTokens>,
    /// Cookie caches sent by themselves, as bearer tokens, where they are accepted.
    pub(crate) cache_as_bearer: Option<CacheAsBearer>,
    /// Looks up whether a JWT was revoked, where that is set.
    pub(crate) revocations: Option<Revocations>,
    /// The prefixes of other issuers' users; no id of ours may begin with one.
    pub(crate) prefixes: Arc<[String]>,
    /// Which e-mail addresses are passed on.
    pub(crate) emails: Emails,
    /// Signs identities.
    pub(crate) signer: Signer,
    /// How long a verdict may be reused at most.
    pub(crate) max_age: Duration,
    /// The issuers whose keys are kept fresh.
    pub(crate) authorities: Vec<Arc<Authority>>,
    /// The cookies that are credentials, in the form in which a verdict names them.
    pub(crate) credential_cookies: HeaderValue,
    /// What time it is.
    pub(crate) clock: Clock,
    /// Counts verdicts of the commonest kinds.
    pub(crate) known: Known,
}

/// The counters of good credentials.
#[derive(Default)]
pub(crate) struct Known {
    bearer: OnceLock<Counter>,
    cookie: OnceLock<Counter>,
}

impl Verifier {
    /// Verifies the credential that `headers` carry.
    pub async fn verify(&self, headers: &HeaderMap) -> Verdict {
        let asker = Asker::of(headers, self.clock.now());
        let found = self.find(headers, asker);
        let found = match asker.wait {
            Some(wait) => timeout(wait, found).await.unwrap_or(Err(Unavailable::Late.into())),
            None => found.await,
        };
        let verdict = match found {
            Ok((Found { person, .. }, _)) if person.banned => {
                info!(user = person.user.as_str(), "refused: the account is banned");
                Verdict::Banned
            }
            Ok((found, credential)) => Verdict::Known(self.caller(found, credential)),
            Err(Unverified::Rejected(rejection)) => {
                let rejection = self.as_cookie_cache(headers).unwrap_or(rejection);
                if rejection != Rejection::Missing {
                    info!(code = rejection.code(), "rejected: {rejection}");
                }
                Verdict::Rejected(rejection)
            }
            Err(Unverified::Unavailable(unavailable)) => {
                warn!("no verdict: {unavailable}");
                Verdict::Unavailable(unavailable)
            }
        };
        self.count(&verdict);
        verdict
    }

    fn count(&self, verdict: &Verdict) {
        let counter = |result, reason| metrics::counter!(crate::metrics::VERDICTS.name, "result" => result, "reason" => reason);
        match verdict {
            // Nearly every verdict: the counter is looked up once.
            Verdict::Known(Caller { credential, .. }) => match credential {
                CredentialKind::Bearer => &self.known.bearer,
                CredentialKind::Cookie => &self.known.cookie,
            }
            .get_or_init(|| counter("known", credential.as_str()))
            .increment(1),
            Verdict::Rejected(rejection) => counter("rejected", rejection.code()).increment(1),
            Verdict::Banned => counter("banned", "banned").increment(1),
            Verdict::Unavailable(unavailable) => counter("unavailable", unavailable.code()).increment(1),
        }
    }

    /// The public keys of the assertions, ours and those that other replicas may sign with, as a JWK set.
    pub fn published(&self) -> serde_json::Value {
        self.signer.jwks()
    }

    /// The cookies that are credentials, whether or not they are looked at, as a verdict names them.
    pub fn credential_cookies(&self) -> &HeaderValue {
        &self.credential_cookies
    }

    /// Keeps the keys fresh, for as long as it is polled.
    pub async fn keep_fresh(self: Arc<Self>) {
        let mut keeping = JoinSet::new();
        for authority in self.authorities.iter().cloned() {
            keeping.spawn(async move { authority.keys.keep_fresh().await });
        }
        keeping.join_all().await;
    }

    /// The owner of the credential that counts.
    ///
    /// A bearer token comes first, and a bad one doesn't fall back to a cookie: a request with the token of one account
    /// must not act as the account of the cookie beside it. Only a token that Better Auth did not sign counts as
    /// absent, as it does in Better Auth (`plugins/bearer`).
    async fn find(&self, headers: &HeaderMap, asker: Asker) -> Result<(Found, CredentialKind), Unverified> {
        let by_bearer = match credential::bearer(headers)? {
            None => Err(Rejection::Missing.into()),
            Some(Bearer::Foreign) => Err(Rejection::Scheme.into()),
            Some(Bearer::Literal(literal)) => Err(Rejection::Literal(literal).into()),
            // One that Better Auth would pass over, too; but a JWT is meant.
            Some(Bearer::Jwt(token)) => {
                return Ok((self.by_jwt(token, asker).await?, CredentialKind::Bearer));
            }
            Some(Bearer::Session(token)) => self.by_bare(token, asker).await,
        };
        let absent = match by_bearer {
            Err(Unverified::Rejected(rejection)) if rejection.is_absent() => rejection,
            found => return Ok((found?, CredentialKind::Bearer)),
        };
        self.by_cookie(headers, asker, absent).await
    }

    /// The owner of the session cookie, where no bearer token counts, which is why `absent` says.
    ///
    /// Each cookie is of one authority, by its name, and is tried at no other. That of our own Better Auth comes first, if it has
    /// signed it; one that has ended doesn't fall back to Neon Auth's, which may be another account's.
    async fn by_cookie(
        &self,
        headers: &HeaderMap,
        asker: Asker,
        absent: Rejection,
    ) -> Result<(Found, CredentialKind), Unverified> {
        let mut unsigned = None;
        if let Some(sessions) = &self.sessions
            && let Some(cookie) = credential::session_cookie(headers, &sessions.naming.names)
        {
            if let Rejection::Literal(_) = absent {
                info!("{absent}; the cookie counts");
            }
            match sessions.verify_cookie(&cookie, asker).await {
                Err(Unverified::Rejected(rejection @ Rejection::SessionSignature)) if self.neon.is_some() => {
                    unsigned = Some(rejection);
                }
                found => return Ok((self.ours(found?)?, CredentialKind::Cookie)),
            }
        }
        if let Some(neon) = &self.neon
            && let Some(found) = neon.verify(headers, asker).await?
        {
            let found = if neon.user_prefix.is_empty() { self.ours(found)? } else { found };
            return Ok((found, CredentialKind::Cookie));
        }
        if let Some(unsigned) = unsigned {
            return Err(unsigned.into());
        }
        let own = self.sessions.as_ref();
        let misnamed = own.and_then(|own| own.naming.find_misnamed(headers, &own.keys, asker.now));
        let misnamed = misnamed.or_else(|| self.neon.as_ref()?.find_misnamed(headers));
        Err(misnamed.unwrap_or(absent).into())
    }

    async fn by_jwt(&self, token: &str, asker: Asker) -> Result<Found, Unverified> {
        if let Some(person) = self.cache_as_bearer.as_ref().and_then(|cache| cache.open(token, asker.now)) {
            return Ok(self.ours(Found::by_itself(person))?);
        }
        let verified = self.tokens.verify(token, asker.now).await?;
        let revocations = match verified.of {
            Owner::Ours | Owner::Others => self.revocations.as_ref(),
            Owner::Neon => self.neon.as_ref().and_then(|neon| neon.revocations.as_ref()),
        };
        match revocations {
            Some(revocations) => revocations.check(verified, asker).await,
            None => Ok(Found {
                scopes: verified.scopes,
                membership: verified.membership,
                ..Found::by_itself(verified.person)
            }),
        }
    }

    /// A token that is no JWT: a session's, or else an opaque access token. Both may look alike.
    async fn by_bare(&self, token: &str, asker: Asker) -> Result<Found, Unverified> {
        let by_session = match &self.sessions {
            Some(sessions) => sessions.verify_bearer(token, asker).await,
            None => Err(Rejection::Malformed("it does not have three parts").into()),
        };
        let opaque = self.opaque.as_ref().and_then(|opaque| Some((opaque, opaque.unprefixed(token)?)));
        let found = match (by_session, opaque) {
            (Err(Unverified::Rejected(rejection)), Some((opaque, token))) => {
                match opaque.verify(token, asker).await {
                    // Report the error of the likelier kind. With session tokens off, a bare token was meant as an
                    // access token; one that has ended must not fall back to a cookie.
                    Err(Unverified::Rejected(Rejection::NoAccessToken))
                        if !matches!(rejection, Rejection::SessionBearer | Rejection::SessionUnsigned) =>
                    {
                        Err(rejection.into())
                    }
                    found => found,
                }
            }
            (found, _) => found,
        };
        Ok(self.ours(found?)?)
    }

    /// Refuses a user of our own Better Auth whose id begins like those of another issuer.
    fn ours(&self, found: Found) -> Result<Found, Rejection> {
        let user = found.person.user.as_str();
        let foreign = self.prefixes.iter().any(|prefix| user.starts_with(&**prefix));
        if foreign { Err(Rejection::Foreign) } else { Ok(found) }
    }

    /// The better explanation for a rejected bearer token that is a cookie cache, whatever else it was taken for.
    fn as_cookie_cache(&self, headers: &HeaderMap) -> Option<Rejection> {
        let (Bearer::Jwt(token) | Bearer::Session(token)) = credential::bearer(headers).ok()?? else {
            return None;
        };
        let short = token.len() <= self.tokens.bytes_max();
        let Kind::Cache(form) = short.then(|| Kind::of(token, ""))? else { return None };
        let accepted = self.cache_as_bearer.is_some() && form == Strategy::Jwt;
        Some(if accepted { Rejection::CacheOver } else { Rejection::Cache(form.name()) })
    }

    fn caller(&self, found: Found, credential: CredentialKind) -> Caller {
        let Found { person, fresh_until, scopes, membership, .. } = found;
        let Person { user, email, email_verified, expires, .. } = person;
        let email = email.filter(|_| self.emails.pass(email_verified));
        let email_verified = email_verified.filter(|_| email.is_some());
        // Later than when it was asked, if something had to be looked up.
        let now = self.clock.now();
        let assertion = self.signer.assert(&user, membership.as_ref(), now);
        let max_age = self.max_age.min(left(expires.min(fresh_until), now));
        Caller { user, email, email_verified, credential, scopes, membership, assertion, max_age }
    }
}

/// The time until something ends, in whole seconds, without the one that has begun.
fn left(end: Expiry, now: UnixSeconds) -> Duration {
    match end {
        Expiry::At(end) => end.since(now.after(Duration::from_secs(1))),
        Expiry::Never => Duration::MAX,
    }
}
