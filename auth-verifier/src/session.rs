//! A session: its cookie, its token as a bearer token, and the cache of it that a cookie may hold.

pub mod cookie_cache;
pub mod opaque_token;
pub mod token;

use std::sync::Arc;

use crate::{
    better_auth::lookups::{Found, Lookups, Question},
    credential::{
        SessionCookie,
        asker::Asker,
        cookies::{CookieNames, decoded},
    },
    diagnostics::misnamed::Misnamed,
    rejection::{Rejection, Unverified},
    session::{
        cookie_cache::CookieCache,
        token::{SessionToken, SigningKeys},
    },
    settings::BearerTokens,
};

/// How sessions are checked.
pub struct Sessions {
    /// What their tokens are signed with.
    pub keys: Arc<SigningKeys>,
    /// Where they are looked up.
    pub lookups: Arc<Lookups>,
    /// What the cookies are called.
    pub names: Vec<CookieNames>,
    /// Finds one that is called otherwise.
    pub misnamed: Misnamed,
    /// The cookie cache, where it is honoured.
    pub cache: Option<CookieCache>,
    /// Which of them are bearer tokens.
    pub bearer: BearerTokens,
    /// The longest bearer token that is looked at, in bytes.
    pub bytes_max: usize,
}

impl Sessions {
    /// Whose session a cookie is for: by the cache beside it, else by looking it up.
    pub async fn by_cookie(&self, cookie: &SessionCookie<'_>, asker: Asker) -> Result<Found, Unverified> {
        let now = asker.now;
        let token = self.keys.open(&cookie.token, now).ok_or(Rejection::SessionSignature)?;
        if let Some((cache, data)) = self.cache.as_ref().zip(cookie.data.as_ref())
            && let Some(person) = cache.open(data, &token, &self.keys, now).await
        {
            return Ok(Found::lasting(person));
        }
        self.look_up(Question::Session(&token), asker).await
    }

    /// Whose session a bearer token is for.
    pub async fn by_bearer(&self, token: &str, asker: Asker) -> Result<Found, Unverified> {
        let now = asker.now;
        if token.len() > self.bytes_max {
            return Err(Rejection::TooLong(self.bytes_max).into());
        }
        match (self.bearer, token.contains('.')) {
            (BearerTokens::Any | BearerTokens::Signed, true) => {
                let token = decoded(token);
                let token = self.keys.open(&token, now).ok_or_else(|| {
                    let ours = self.keys.recognise(&token, now);
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
