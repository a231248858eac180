//! A session by its cookie or its token: the signature, then the cookie cache, then a look-up.

use std::sync::Arc;

use serde::Deserialize;

use crate::{
    better_auth::lookups::{Found, Lookups, Question},
    credential::{SessionCookie, asker::Asker, cookies::decoded},
    rejection::{Rejection, Unverified},
    session::{
        cookie_cache::CookieCache,
        misnamed::CookieNaming,
        token::{SessionToken, SigningKeys},
    },
};

/// Which session tokens are accepted as bearer tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum BearerTokens {
    /// Those without a signature, too. Only a setting with a frightening name says so.
    #[serde(skip)]
    Any,
    /// Those with their signature.
    Signed,
    /// None.
    Off,
}

/// Verifies sessions.
pub(crate) struct Sessions {
    /// The keys that sign their tokens.
    pub(crate) keys: Arc<SigningKeys>,
    /// Where they are looked up.
    pub(crate) lookups: Arc<Lookups>,
    /// What their cookies are called.
    pub(crate) naming: CookieNaming,
    /// The cookie cache, where it is honoured.
    pub(crate) cache: Option<CookieCache>,
    /// Which of their tokens are bearer tokens.
    pub(crate) bearer: BearerTokens,
    /// The longest bearer token that is looked at, in bytes.
    pub(crate) bytes_max: usize,
}

impl Sessions {
    /// Verifies a session cookie, by the cache beside it or by a look-up.
    pub(crate) async fn verify_cookie(
        &self,
        cookie: &SessionCookie<'_>,
        asker: Asker,
    ) -> Result<Found, Unverified> {
        let now = asker.now;
        let token = self.keys.verify(&cookie.token, now).ok_or(Rejection::SessionSignature)?;
        if let Some((cache, data)) = self.cache.as_ref().zip(cookie.data.as_ref())
            && let Some(person) = cache.open(data, &token, &self.keys, now).await
        {
            return Ok(Found::by_itself(person));
        }
        self.look_up(Question::Session(&token), asker).await
    }

    /// Verifies a session token that came as a bearer token.
    pub(crate) async fn verify_bearer(&self, token: &str, asker: Asker) -> Result<Found, Unverified> {
        let now = asker.now;
        if token.len() > self.bytes_max {
            return Err(Rejection::TooLong(self.bytes_max).into());
        }
        match (self.bearer, token.contains('.')) {
            (BearerTokens::Any | BearerTokens::Signed, true) => {
                let token = decoded(token);
                let token = self.keys.verify(&token, now).ok_or_else(|| {
                    let ours = self.keys.verifies_misencoded(&token, now);
                    if ours { Rejection::SessionSpelling } else { Rejection::SessionSignature }
                })?;
                self.look_up(Question::Session(&token), asker).await
            }
            (BearerTokens::Any, false) => {
                let token = SessionToken::bare(token).ok_or(Rejection::NoSession)?;
                self.look_up(Question::Bare(&token), asker).await
            }
            (BearerTokens::Signed, false) => Err(Rejection::SessionUnsigned.into()),
            (BearerTokens::Off, _) => Err(Rejection::SessionBearer.into()),
        }
    }

    async fn look_up(&self, question: Question<'_>, asker: Asker) -> Result<Found, Unverified> {
        let found = self.lookups.find(question, asker).await?;
        Ok(found.ok_or(Rejection::NoSession)?)
    }
}
