//! Neon Auth's sessions, by their cookie: a look-up, or, once that has proven it, the cache of Neon's SDK beside it.

use std::sync::Arc;

use http::HeaderMap;
use identity::UserId;

use crate::{
    better_auth::{
        database::Access,
        lookups::{Found, Lookups, Question},
    },
    credential::{
        asker::Asker,
        cookies::{CookieNames, Cookies},
    },
    person::{ANONYMOUS, Expiry, Person},
    rejection::{Rejection, Untrusted, Unverified},
    session::{carried::Carried, session_data::SessionData},
    verdict::revocation::Revocations,
};

/// How the name of its session cookie ends.
const ENDING: &str = "session_token";

/// Verifies Neon Auth's sessions.
pub(crate) struct Neon {
    /// What their cookies are called.
    pub(crate) names: Vec<CookieNames>,
    /// Where they are looked up.
    pub(crate) lookups: Arc<Lookups>,
    /// The SDK's caches, where their secret is known.
    pub(crate) data: Option<SessionData>,
    /// What its users' ids begin with; may be empty.
    pub(crate) user_prefix: String,
    /// Looks up whether a JWT was revoked, where that is set.
    pub(crate) revocations: Option<Revocations>,
}

impl Neon {
    /// Verifies the session cookie that `headers` carry; `None` if they carry none of Neon Auth's.
    pub(crate) async fn verify(
        &self,
        headers: &HeaderMap,
        asker: Asker,
    ) -> Result<Option<Found>, Unverified> {
        let Some((carried, names)) = Carried::of(headers, &self.names)? else { return Ok(None) };
        let cached = |user: &UserId| self.cached(headers, &carried, names, user, asker);
        let found = self.lookups.find_unless(Question::Carried(&carried), asker, cached).await?;
        let found = found.ok_or(Rejection::NoSession)?;
        if found.person.user.as_str() == ANONYMOUS {
            return Err(Rejection::Subject.into());
        }
        Ok(Some(self.prefixed(found)?))
    }

    /// The session by the SDK's cache, for the `user` whom a look-up found it to be of: the app's secret alone makes nobody
    /// another one.
    fn cached(
        &self,
        headers: &HeaderMap,
        carried: &Carried,
        names: &CookieNames,
        user: &UserId,
        asker: Asker,
    ) -> Option<Found> {
        let data = self.data.as_ref()?;
        let (person, fresh_until) =
            data.open(Cookies::of(headers).get(&names.data)?, carried.token(), asker.now)?;
        (person.user == *user).then_some(Found {
            person,
            access: Access::Whole,
            fresh_until: Expiry::At(fresh_until),
            scopes: None,
            membership: None,
        })
    }

    /// The owner as they are called here. Where they are told from the users of our own Better Auth, their address is not
    /// passed on: it might be the address of one of those.
    fn prefixed(&self, found: Found) -> Result<Found, Rejection> {
        if self.user_prefix.is_empty() {
            return Ok(found);
        }
        let user = UserId::parse(&format!("{}{}", self.user_prefix, found.person.user));
        let user = user.ok_or(Rejection::Subject)?;
        Ok(Found { person: Person { user, email: None, email_verified: None, ..found.person }, ..found })
    }

    /// A cookie that is Neon Auth's by its looks, but not called as it is here.
    pub(crate) fn find_misnamed(&self, headers: &HeaderMap) -> Option<Rejection> {
        let cookies = Cookies::of(headers);
        let (name, _) = cookies.iter().find(|(name, _)| name.contains("neon") && name.ends_with(ENDING))?;
        let expected = &self.names.first()?.token;
        Some(Rejection::OtherCookie {
            found: Untrusted::new(name),
            set: format!("Neon Auth's is called {expected} where NEON_AUTH_BASE_URL is https."),
        })
    }
}
