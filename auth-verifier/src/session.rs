//! A session: its cookie, its token as a bearer token, and the cache of it that a cookie may hold.

use std::sync::Arc;

use crate::{
    Rejection, Unverified,
    cookies::{CookieNames, decoded},
    credential::SessionCookie,
    lookups::{Found, Lookups, Question},
    session_data::CookieCache,
    session_token::{SessionToken, SigningKeys},
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
    /// The cookie cache, where it is honoured.
    pub cache: Option<CookieCache>,
    /// Which of them are bearer tokens.
    pub bearer: BearerTokens,
    /// The longest bearer token that is looked at, in bytes.
    pub bytes_max: usize,
}

impl Sessions {
    /// Whose session a cookie is for, at the time `now`, in seconds since 1970: by the cache beside it, else by
    /// looking it up.
    pub async fn by_cookie(&self, cookie: &SessionCookie<'_>, now: u64) -> Result<Found, Unverified> {
        let token = self.keys.open(&cookie.token, now).ok_or(Rejection::SessionSignature)?;
        if let Some((cache, data)) = self.cache.as_ref().zip(cookie.data.as_ref())
            && let Some(person) = cache.open(data, &token, &self.keys, now).await
        {
            return Ok(Found::lasting(person));
        }
        self.look_up(&token, now).await
    }

    /// Whose session a bearer token is for.
    pub async fn by_bearer(&self, token: &str, now: u64) -> Result<Found, Unverified> {
        if token.len() > self.bytes_max {
            return Err(Rejection::TooLong(self.bytes_max).into());
        }
        let token = match (self.bearer, token.contains('.')) {
            (BearerTokens::Any | BearerTokens::Signed, true) => {
                let token = decoded(token);
                self.keys.open(&token, now).ok_or_else(|| {
                    let ours = self.keys.recognise(&token, now);
                    if ours { Rejection::SessionSpelling } else { Rejection::SessionSignature }
                })?
            }
            (BearerTokens::Any, false) => SessionToken::bare(token).ok_or(Rejection::NoSession)?,
            (BearerTokens::Signed, false) | (BearerTokens::Off, _) => {
                return Err(Rejection::SessionBearer.into());
            }
        };
        self.look_up(&token, now).await
    }

    async fn look_up(&self, token: &SessionToken, now: u64) -> Result<Found, Unverified> {
        let found = self.lookups.find(Question::Session(token), now).await?;
        Ok(found.ok_or(Rejection::NoSession)?)
    }
}
