//! The answer: who is calling, or why nobody is.

use std::{sync::Arc, time::Duration};

use chassis::identity::UserId;
use http::{HeaderMap, HeaderValue};
use tracing::{info, warn};

use crate::{
    Rejection, Unavailable, Unverified,
    assertion::Signer,
    credential::{self, Credential},
    jwt::{self, Profile, Verified},
};

/// What is known of a caller.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// The credential is good.
    Known(Caller),
    /// There is none, or it is no good.
    Rejected(Rejection),
    /// We can't know.
    Unavailable(Unavailable),
}

/// Somebody whose credential is good.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Who.
    pub user: UserId,
    /// The e-mail address, where it is known.
    pub email: Option<String>,
    /// What they were known by, as `x-credential` says it.
    pub credential: &'static str,
    /// The signed identity.
    pub assertion: HeaderValue,
    /// How long this verdict may be reused.
    pub max_age: Duration,
}

/// Gives verdicts.
pub struct Judge {
    profile: Profile,
    signer: Arc<Signer>,
    max_age: Duration,
}

impl Judge {
    /// `max_age` bounds how long a verdict may be reused.
    pub fn new(profile: Profile, signer: Arc<Signer>, max_age: Duration) -> Self {
        Self { profile, signer, max_age }
    }

    /// Says who sends these headers, at the time `now`, in seconds since 1970.
    pub async fn judge(&self, headers: &HeaderMap, now: u64) -> Verdict {
        let verdict = match self.verify(headers, now).await {
            Ok((verified, credential)) => Verdict::Known(self.caller(verified, credential, now)),
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
            Verdict::Unavailable(Unavailable::Keys) => ("unavailable", "keys"),
        };
        metrics::counter!("verdicts_total", "result" => result, "reason" => reason).increment(1);
        verdict
    }

    async fn verify(&self, headers: &HeaderMap, now: u64) -> Result<(Verified, &'static str), Unverified> {
        match credential::find(headers)? {
            Credential::Bearer(token) => Ok((jwt::verify(token, &self.profile, now).await?, "bearer")),
        }
    }

    fn caller(&self, verified: Verified, credential: &'static str, now: u64) -> Caller {
        let Verified { user, email, expires } = verified;
        let assertion = self.signer.sign(&user, now);
        let left = Duration::from_secs(expires.saturating_sub(now));
        Caller { user, email, credential, assertion, max_age: self.max_age.min(left) }
    }
}
