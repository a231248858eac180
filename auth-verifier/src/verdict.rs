//! The answer: who is calling, or why nobody is.

use std::{sync::Arc, time::Duration};

use chassis::identity::{Email, UserId};
use http::{HeaderMap, HeaderValue};
use tracing::{info, warn};

use crate::{
    Rejection, Unavailable, Unverified,
    assertion::Signer,
    credential::{self, Bearer, SessionCookie},
    jwt::{self, Profile, Verified},
    session::{SessionToken, SigningKey},
    session_data::{Cached, CookieCache},
    sessions::{Live, Sessions},
    settings::BearerTokens,
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
    /// What they were known by, as `x-credential` says it.
    pub credential: &'static str,
    /// The signed identity.
    pub assertion: HeaderValue,
    /// How long this verdict may be reused.
    pub max_age: Duration,
}

/// How sessions are checked.
pub struct SessionProfile {
    /// What session tokens are signed with.
    pub key: SigningKey,
    /// Where they are looked up.
    pub sessions: Sessions,
    /// How the cookies' names begin.
    pub cookie_prefixes: Vec<String>,
    /// The cookie cache, where it is honoured.
    pub cache: Option<CookieCache>,
    /// Which of them are bearer tokens.
    pub bearer: BearerTokens,
}

/// Gives verdicts.
pub struct Judge {
    profile: Profile,
    sessions: Option<SessionProfile>,
    signer: Arc<Signer>,
    max_age: Duration,
}

/// A good credential, of whichever kind.
struct Good {
    user: UserId,
    email: Option<Email>,
    expires: u64,
    banned: bool,
    credential: &'static str,
}

impl Judge {
    /// `max_age` bounds how long a verdict may be reused.
    pub fn new(
        profile: Profile,
        sessions: Option<SessionProfile>,
        signer: Arc<Signer>,
        max_age: Duration,
    ) -> Self {
        Self { profile, sessions, signer, max_age }
    }

    /// Says who sends these headers, at the time `now`, in seconds since 1970.
    pub async fn judge(&self, headers: &HeaderMap, now: u64) -> Verdict {
        let verdict = match self.verify(headers, now).await {
            Ok(good) if good.banned => {
                info!(user = good.user.as_str(), "refused: the account is banned");
                Verdict::Banned
            }
            Ok(good) => Verdict::Known(self.caller(good, now)),
            Err(Unverified::Rejected(rejection)) => {
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
            Verdict::Unavailable(Unavailable::Keys) => ("unavailable", "keys"),
            Verdict::Unavailable(Unavailable::Sessions) => ("unavailable", "sessions"),
        };
        metrics::counter!("verdicts_total", "result" => result, "reason" => reason).increment(1);
        verdict
    }

    async fn verify(&self, headers: &HeaderMap, now: u64) -> Result<Good, Unverified> {
        let prefixes = self.sessions.as_ref().map_or(&[][..], |sessions| &sessions.cookie_prefixes);
        let credentials = credential::find(headers, prefixes)?;
        let by_bearer = match credentials.bearer {
            None => Err(Rejection::Missing.into()),
            // Whoever sends a JWT means it: one that is no good must not let in somebody else's cookie.
            Some(Bearer::Jwt(token)) => {
                let Verified { user, email, expires } = jwt::verify(token, &self.profile, now).await?;
                return Ok(Good { user, email, expires, banned: false, credential: BEARER });
            }
            Some(Bearer::Session(token)) => self.verify_bearer(token, now).await,
        };
        match (by_bearer, credentials.cookie, &self.sessions) {
            (Err(Unverified::Rejected(_)), Some(cookie), Some(sessions)) => {
                sessions.verify(&cookie, now).await
            }
            (verified, _, _) => verified,
        }
    }

    async fn verify_bearer(&self, token: &str, now: u64) -> Result<Good, Unverified> {
        let Some(sessions) = &self.sessions else {
            return Err(Rejection::Malformed("it does not have three parts").into());
        };
        if token.len() > self.profile.bytes_max {
            return Err(Rejection::TooLong(self.profile.bytes_max).into());
        }
        let token = match (sessions.bearer, token.contains('.')) {
            (BearerTokens::Any | BearerTokens::Signed, true) => {
                sessions.key.open(token).ok_or(Rejection::SessionSignature)?
            }
            (BearerTokens::Any, false) => SessionToken::bare(token).ok_or(Rejection::NoSession)?,
            (BearerTokens::Signed, false) | (BearerTokens::Off, _) => {
                return Err(Rejection::SessionBearer.into());
            }
        };
        sessions.look_up(&token, BEARER, now).await
    }

    fn caller(&self, good: Good, now: u64) -> Caller {
        let Good { user, email, expires, credential, .. } = good;
        let assertion = self.signer.sign(&user, now);
        let left = Duration::from_secs(expires.saturating_sub(now));
        Caller { user, email, credential, assertion, max_age: self.max_age.min(left) }
    }
}

const BEARER: &str = "bearer";
const COOKIE: &str = "cookie";

impl SessionProfile {
    async fn verify(&self, cookie: &SessionCookie<'_>, now: u64) -> Result<Good, Unverified> {
        let token = self.key.open(&cookie.token).ok_or(Rejection::SessionSignature)?;
        let cached = self.cache.as_ref().zip(cookie.data.as_ref());
        if let Some(cached) = cached.and_then(|(cache, data)| cache.open(data, &token, &self.key, now)) {
            let Cached { user, email, expires } = cached;
            return Ok(Good { user, email, expires, banned: false, credential: COOKIE });
        }
        self.look_up(&token, COOKIE, now).await
    }

    async fn look_up(
        &self,
        token: &SessionToken,
        credential: &'static str,
        now: u64,
    ) -> Result<Good, Unverified> {
        let live = self.sessions.find(token, now).await?.ok_or(Rejection::NoSession)?;
        let Live { user, email, expires, banned } = live;
        Ok(Good { user, email, expires, banned, credential })
    }
}
