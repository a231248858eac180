//! The answer: who is calling, or why nobody is.

pub mod assertion;
pub mod key_source;
pub mod revocation;
pub mod verifier;

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue};
use identity::{Email, UserId};
use tokio::time::timeout;
use tracing::{info, warn};

use crate::{
    better_auth::lookups::Found,
    credential::{self, Bearer, asker::Asker},
    diagnostics::pasted::Kind,
    jwt::Tokens,
    person::Person,
    rejection::{Rejection, Unavailable, Unverified},
    session::{
        Sessions,
        cookie_cache::{CacheAsBearer, Strategy},
        opaque_token::OpaqueTokens,
    },
    settings::Emails,
    verdict::{assertion::Signer, revocation::Revocations},
};

/// What is known of a caller.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// The credential is good.
    Known(Caller),
    /// There is none, or it is no good.
    Rejected(Rejection),
    /// The credential is good, but its owner is banned.
    Banned,
    /// We can't know.
    Unavailable(Unavailable),
}

/// Somebody whose credential is good.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Who.
    pub user: UserId,
    /// The e-mail address, where it is known.
    pub email: Option<Email>,
    /// Whether the address was verified, where that is known.
    pub email_verified: Option<bool>,
    /// What they were known by, as `x-credential` says it.
    pub credential: &'static str,
    /// The signed identity.
    pub assertion: HeaderValue,
    /// How long this verdict may be reused.
    pub max_age: Duration,
}

/// Gives verdicts.
pub struct Judge {
    /// JWTs of every kind.
    pub tokens: Tokens,
    /// Session cookies and session tokens, where they are accepted.
    pub sessions: Option<Sessions>,
    /// Opaque access tokens, where they are accepted.
    pub opaque: Option<OpaqueTokens>,
    /// Cookie caches that come by themselves, as bearer tokens, where they are accepted.
    pub cache_as_bearer: Option<CacheAsBearer>,
    /// Who is asked whether a JWT was revoked, where somebody is.
    pub revocations: Option<Revocations>,
    /// How the ids of other issuers' users begin; none of ours may.
    pub prefixes: Arc<[String]>,
    /// Which e-mail addresses are passed on.
    pub emails: Emails,
    /// Signs who it is.
    pub signer: Arc<Signer>,
    /// How long a verdict may be reused, at most.
    pub max_age: Duration,
}

/// A good credential, of whichever kind.
struct Good {
    found: Found,
    credential: &'static str,
}

const BEARER: &str = "bearer";
const COOKIE: &str = "cookie";

impl Judge {
    /// Says who sends these headers; `clock` tells the time since 1970.
    pub async fn judge(&self, headers: &HeaderMap, clock: impl Fn() -> Duration) -> Verdict {
        let asker = Asker::of(headers, clock().as_secs());
        let verified = self.verify(headers, asker);
        let verified = match asker.wait {
            Some(wait) => timeout(wait, verified).await.unwrap_or(Err(Unavailable::Late.into())),
            None => verified.await,
        };
        let verdict = match verified {
            Ok(Good { found, .. }) if found.grant.person.banned => {
                info!(user = found.grant.person.user.as_str(), "refused: the account is banned");
                Verdict::Banned
            }
            Ok(good) => Verdict::Known(self.caller(good, clock())),
            Err(Unverified::Rejected(rejection)) => {
                let rejection = self.of_a_cache(headers).unwrap_or(rejection);
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
        let (result, reason) = match &verdict {
            Verdict::Known(caller) => ("known", caller.credential),
            Verdict::Rejected(rejection) => ("rejected", rejection.code()),
            Verdict::Banned => ("banned", "banned"),
            Verdict::Unavailable(unavailable) => ("unavailable", unavailable.code()),
        };
        metrics::counter!("verdicts_total", "result" => result, "reason" => reason).increment(1);
        verdict
    }

    async fn verify(&self, headers: &HeaderMap, asker: Asker) -> Result<Good, Unverified> {
        let names = self.sessions.as_ref().map_or(&[][..], |sessions| &sessions.names);
        let credentials = credential::find(headers, names)?;
        let by_bearer = match credentials.bearer {
            None => Err(Rejection::Missing.into()),
            Some(Bearer::Foreign) => Err(Rejection::Scheme.into()),
            Some(Bearer::Literal(literal)) => Err(Rejection::Literal(literal).into()),
            // Whoever sends a JWT means it: one that is no good must not let in somebody else's cookie.
            Some(Bearer::Jwt(token)) => {
                let found = self.verify_jwt(token, asker).await?;
                return Ok(Good { found, credential: BEARER });
            }
            Some(Bearer::Session(token)) => self.verify_bare(token, asker).await,
        };
        let found = match (by_bearer, credentials.cookie, &self.sessions) {
            // As in Better Auth (`plugins/bearer`): a token that it did not sign is no credential, and the cookie
            // counts; one that it did, or that may be one, is, and ends it even if its session is over.
            (Err(Unverified::Rejected(rejection)), Some(cookie), Some(sessions))
                if rejection.is_of_none() =>
            {
                if let Rejection::Literal(_) = rejection {
                    info!("{rejection}; the cookie counts");
                }
                let found = self.ours(sessions.by_cookie(&cookie, asker).await?)?;
                return Ok(Good { found, credential: COOKIE });
            }
            (Err(Unverified::Rejected(rejection)), None, Some(sessions)) if rejection.is_of_none() => {
                let misnamed = sessions.misnamed.find(headers, &sessions.keys, asker.now);
                return Err(misnamed.unwrap_or(rejection).into());
            }
            (verified, _, _) => verified?,
        };
        Ok(Good { found, credential: BEARER })
    }

    /// What is to be said of a cookie cache that came as a bearer token and was rejected, whatever else it was taken for.
    fn of_a_cache(&self, headers: &HeaderMap) -> Option<Rejection> {
        let (Bearer::Jwt(token) | Bearer::Session(token)) = credential::find(headers, &[]).ok()?.bearer?
        else {
            return None;
        };
        let form = Kind::cache_as_bearer(token, self.tokens.bytes_max())?;
        let accepted = self.cache_as_bearer.is_some() && form == Strategy::Jwt;
        Some(if accepted { Rejection::CacheOver } else { Rejection::Cache(form.name()) })
    }

    /// A user of our own Better Auth, who is not called as another issuer's are.
    fn ours(&self, found: Found) -> Result<Found, Rejection> {
        let user = found.grant.person.user.as_str();
        let foreign = self.prefixes.iter().any(|prefix| user.starts_with(&**prefix));
        if foreign { Err(Rejection::Foreign) } else { Ok(found) }
    }

    async fn verify_jwt(&self, token: &str, asker: Asker) -> Result<Found, Unverified> {
        if let Some(person) = self.cache_as_bearer.as_ref().and_then(|cache| cache.open(token, asker.now)) {
            return Ok(self.ours(Found::lasting(person))?);
        }
        let verified = self.tokens.verify(token, asker.now).await?;
        match &self.revocations {
            Some(revocations) => revocations.check(verified, asker).await,
            None => Ok(Found::lasting(verified.person)),
        }
    }

    /// A token of no shape: a session's, or else an access token. Both may look alike.
    async fn verify_bare(&self, token: &str, asker: Asker) -> Result<Found, Unverified> {
        let by_session = match &self.sessions {
            Some(sessions) => sessions.by_bearer(token, asker).await,
            None => Err(Rejection::Malformed("it does not have three parts").into()),
        };
        let opaque = self.opaque.as_ref().and_then(|opaque| Some((opaque, opaque.unprefixed(token)?)));
        let found = match (by_session, opaque) {
            (Err(Unverified::Rejected(rejection)), Some((opaque, token))) => {
                match opaque.verify(token, asker).await {
                    // Said of what it was more likely meant to be. Where a session's token would be none, this was
                    // meant to be an access token, and one that has ended must not let in whoever's cookie comes beside.
                    Err(Unverified::Rejected(Rejection::NoAccessToken))
                        if !matches!(rejection, Rejection::SessionBearer | Rejection::SessionUnsigned) =>
                    {
                        Err(rejection.into())
                    }
                    verified => verified,
                }
            }
            (verified, _) => verified,
        };
        Ok(self.ours(found?)?)
    }

    /// `now` is the time since 1970: by now it may be later than when it was asked.
    fn caller(&self, good: Good, now: Duration) -> Caller {
        let Good { found: Found { grant, fresh_until }, credential } = good;
        let Person { user, email, email_verified, expires, .. } = grant.person;
        let email = email.filter(|_| self.emails.pass(email_verified));
        let email_verified = email_verified.filter(|_| email.is_some());
        let assertion = self.signer.assert(&user, now.as_secs());
        // Whole seconds, and none that has begun.
        let left = Duration::from_secs(expires.min(fresh_until)).saturating_sub(now).as_secs();
        let max_age = self.max_age.min(Duration::from_secs(left));
        Caller { user, email, email_verified, credential, assertion, max_age }
    }
}
