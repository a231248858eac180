//! The cache of a session that Neon's SDK keeps in a cookie beside it: `<prefix>.local.session_data`, a JWT, HS256 by the
//! app's own secret (`@neondatabase/auth` 0.5.0-beta, `server/session/operations.ts`).
//!
//! It is what `/get-session` said at its `iat`. So it is relied on as a look-up of that moment would be, for as long as a
//! revocation may go unnoticed, and never beyond its end. The SDK takes it beside any session cookie; we only beside that
//! of its own session, as the session's end takes only that cookie away.
//!
//! It holds its session's token, and neither says at which Neon Auth that is nor can the cookie's signature be checked here. So
//! it vouches for a cookie only where a look-up has found that very cookie to be its user's before
//! ([`crate::better_auth::lookups::Lookups::find_unless`]).

use std::time::Duration;

use chassis::clock::UnixSeconds;
use serde::Deserialize;

use crate::{
    credential::jws::Jws,
    jwt::keys::{Algorithm, Key},
    person::{ANONYMOUS, Person, User},
    session::{cookie_cache::instant, token::SessionToken},
};

/// Opens the SDK's caches.
pub(crate) struct SessionData {
    /// The key of the app's secret.
    pub(crate) key: Key,
    /// How long one may be relied on after it was made.
    pub(crate) lag: Duration,
    /// The longest that is looked at, in bytes.
    pub(crate) bytes_max: usize,
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
    iat: u64,
    exp: u64,
    session: Session,
    user: User,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Session {
    token: String,
    user_id: String,
    #[serde(deserialize_with = "instant")]
    expires_at: UnixSeconds,
}

impl SessionData {
    /// The owner of the session of `token` by its cache, and until when that may be relied on. `None` where it is of
    /// another session, can't be opened, or is too old: then the session is looked up.
    pub(crate) fn open(
        &self,
        value: &str,
        token: &SessionToken,
        now: UnixSeconds,
    ) -> Option<(Person, UnixSeconds)> {
        (value.len() <= self.bytes_max).then_some(())?;
        let jws = Jws::parse(value).ok()?;
        let typ = jws.typ().ok()?;
        (jws.alg() == Algorithm::Hs256.name() && typ.is_none_or(|typ| typ == "JWT")).then_some(())?;
        self.key.verify(&jws).ok()?;
        let Claims { sub, iat, exp, session, user } = jws.claims().ok()?;
        let fresh_until = UnixSeconds(iat).after(self.lag).min(UnixSeconds(exp));
        // One from the future would be relied on for too long.
        let young = UnixSeconds(iat) <= now && now < fresh_until;
        let ones_own = session.token == token.expose() && session.user_id == user.id && sub == user.id;
        (young && ones_own && session.expires_at > now && user.id != ANONYMOUS).then_some(())?;
        Some((user.person(session.expires_at.min(UnixSeconds(exp)), now)?, fresh_until))
    }
}

/// Whether it is signed with `secret`, whatever else it says.
pub(crate) fn is_signed_with(value: &str, secret: &str) -> bool {
    let hs256 = |jws: &Jws<'_>| jws.alg() == Algorithm::Hs256.name();
    Jws::parse(value).is_ok_and(|jws| hs256(&jws) && Key::hs256(secret).verify(&jws).is_ok())
}
