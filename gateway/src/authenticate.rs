//! Finds out who is calling; without a clear verdict of auth-verifier nothing goes on.
//!
//! A verdict comes from the [`cache`], if auth-verifier allowed that; from a call that is under way for the same
//! credentials; or from a call of its own ([`ask`]).

mod ask;
mod cache;
pub mod verdict;

use std::{sync::Arc, time::Instant};

use chassis::{cache_key::CacheKey, layer::access_log};
use identity::CredentialKind;

pub(crate) use self::ask::VerifierClient;
pub use self::{ask::AuthenticateError, verdict::Caller};
use self::{
    ask::Question,
    cache::{Cached, VerdictCache},
    verdict::VerdictError,
};
use crate::{
    accounts,
    record::{self, Record},
    route::Access,
    sanitize::{Credentials, Sanitized},
};

/// Authenticates requests.
pub struct Authenticator {
    verifier: Arc<VerifierClient>,
    cache: Option<VerdictCache>,
}

/// A request of a known caller, or one that may pass without. Only this file makes one.
pub struct Authenticated {
    sanitized: Sanitized,
    caller: Option<Arc<Caller>>,
    verdict: Option<CacheKey>,
}

/// Names the verdict on a request in the cache.
#[derive(Clone, Copy)]
pub struct VerdictKey(CacheKey);

impl Authenticator {
    /// Asks `verifier`, and keeps as many verdicts as that; with 0, none.
    pub fn new(verifier: VerifierClient, cache_entries_max: u64) -> Self {
        let verifier = Arc::new(verifier);
        let cache = (cache_entries_max > 0).then(|| VerdictCache::new(verifier.clone(), cache_entries_max));
        Self { verifier, cache }
    }

    /// Finds out who is calling. On a public route nobody is asked, and the request passes as nobody's.
    ///
    /// Where that is optional, so does one that has no credential, and one whose cookies are no good: a browser sends them for as long
    /// as it has them, also after the session's end, and its user must get to the page to sign in again. A token that is no good
    /// is refused: its client has set it on purpose, and would take the answer to nobody for its own.
    pub async fn authenticate(&self, sanitized: Sanitized) -> Result<Authenticated, AuthenticateError> {
        let record = sanitized.admitted().routed().record();
        let route = sanitized.admitted().routed().route();
        let access = route.access;
        let Credentials { authorization, cookies } = sanitized.credentials();
        let has_token = authorization.is_some();
        // Where only a token counts, cookies are none.
        let takes_cookies = || route.credential != Some(CredentialKind::Bearer);
        let has_none = !has_token && (cookies.is_empty() || !takes_cookies());
        if access == Access::Public || (access == Access::Optional && has_none) {
            record.verdict(record::Verdict::None);
            return Ok(Authenticated { sanitized, caller: None, verdict: None });
        }
        let found = match &self.cache {
            Some(cache) => {
                let key = cache.key(sanitized.credentials());
                let caller = match cache.get(&key, || self.question(&sanitized)) {
                    Cached::Fresh(caller) => {
                        record.verdict(record::Verdict::Cached);
                        Ok(caller)
                    }
                    Cached::Nothing(arrival) => {
                        let question = self.question(&sanitized);
                        asked(record, Box::pin(cache.ask(key, arrival, question))).await
                    }
                };
                caller.map(|caller| (caller, Some(key)))
            }
            None => {
                let question = self.question(&sanitized);
                let asked = asked(record, Box::pin(self.verifier.ask(question))).await;
                asked.map(|verdict| (Arc::new(verdict.caller), None))
            }
        };
        let (caller, verdict) = match found {
            Err(AuthenticateError::Verdict(VerdictError::Unauthenticated(_)))
                if access == Access::Optional && !has_token =>
            {
                return Ok(Authenticated { sanitized, caller: None, verdict: None });
            }
            // To sign in first is no help to somebody who wants to. Only where the request is refused in any case, so that no service
            // is shadowed, and not on a route that is there for this.
            Err(AuthenticateError::Verdict(VerdictError::Unauthenticated(_)))
                if route.upstream.has_no_accounts()
                    && accounts::are_not_meant_by(&route.label)
                    && accounts::are_asked_for(sanitized.admitted().routed().head().uri.path()) =>
            {
                return Err(AuthenticateError::Accounts);
            }
            found => found?,
        };
        access_log::user(caller.user().as_str());
        Ok(Authenticated { sanitized, caller: Some(caller), verdict })
    }

    /// Forgets a verdict that a service does not believe, so that the next request brings another one.
    pub fn forget(&self, verdict: Option<VerdictKey>) {
        if let (Some(cache), Some(VerdictKey(key))) = (&self.cache, verdict) {
            cache.forget(&key);
        }
    }

    fn question(&self, sanitized: &Sanitized) -> Question {
        Question::of(sanitized, self.verifier.told_wait())
    }
}

/// Asks, and records what came of it.
async fn asked<T>(
    record: &Record,
    asking: impl Future<Output = Result<T, AuthenticateError>>,
) -> Result<T, AuthenticateError> {
    let began = Instant::now();
    let answer = asking.await;
    let verdict = match &answer {
        Ok(_) => record::Verdict::Asked,
        Err(error) if error.is_denial() => record::Verdict::Denied,
        Err(_) => record::Verdict::Failed,
    };
    record.verdict_after(began.elapsed(), verdict);
    answer
}

impl Authenticated {
    /// The request.
    pub fn sanitized(&self) -> &Sanitized {
        &self.sanitized
    }

    pub(crate) fn sanitized_mut(&mut self) -> &mut Sanitized {
        &mut self.sanitized
    }

    /// Who sent it, if we know.
    pub fn caller(&self) -> Option<&Caller> {
        self.caller.as_deref()
    }

    /// The verdict by which that is known, if it is kept.
    pub fn verdict(&self) -> Option<VerdictKey> {
        self.verdict.map(VerdictKey)
    }

    /// The request, and who sent it.
    pub(crate) fn into_parts(self) -> (Sanitized, Option<Arc<Caller>>) {
        (self.sanitized, self.caller)
    }
}
