//! `jwt`, with the keys of the JWT plugin (`plugins/jwt/cookie-cache.ts`, since 1.7).

use std::{sync::Arc, time::Duration};

use serde::Deserialize;

use super::{Opened, Payload, Session};
use crate::{
    cache::verified::{Bounds, Remembered},
    jwt::{
        authority::Authority,
        claims::{Claims, Named, Parties},
        jws::Jws,
    },
    person::User,
};

/// What tells it from an API token, which the same keys sign (`cookies/jwt.ts`).
const TYPE: &str = "better-auth.session-cache+jwt";

/// Its audience, and its issuer where Better Auth has no base URL.
const NAME: &str = "better-auth:session-cache";

/// How far Better Auth lets the clock be off here.
const LEEWAY: Duration = Duration::from_secs(15);

#[derive(Deserialize)]
struct Contents {
    sid: String,
    session: Session,
    user: User,
    #[serde(default)]
    version: Option<String>,
}

/// What such caches are checked by.
pub struct Published {
    authority: Arc<Authority>,
    /// The only ones that they may be for.
    parties: Parties,
    remembered: Remembered<Opened>,
}

impl Published {
    /// Caches that `authority` signs, and that one of `issuers` made.
    pub fn new(authority: Arc<Authority>, mut issuers: Vec<String>, bounds: Bounds) -> Self {
        issuers.push(NAME.to_owned());
        let parties = Parties { issuers, audiences: vec![NAME.to_owned()] };
        Self { authority, parties, remembered: Remembered::new("cookie_caches", bounds) }
    }

    /// Opens one, whose end is for the caller to look at.
    pub(super) async fn open(&self, value: &str, now: u64) -> Option<Opened> {
        if let Some(opened) = self.remembered.get(value) {
            return Some(opened);
        }
        let jws = Jws::parse(value).ok()?;
        if jws.typ().ok()? != Some(TYPE) {
            return None;
        }
        let claims: Claims = jws.claims().ok()?;
        // A stranger's is no reason to fetch keys.
        claims.iss.as_ref().filter(|iss| self.parties.issuers.contains(*iss))?;
        let key = jws.verify(&self.authority.keys).await.ok()?;
        let checked = claims.check(&self.parties, Named::Always, LEEWAY, now).ok()?;
        let Contents { sid, session, user, version } = jws.claims().ok()?;
        (checked.sub == user.id && sid == session.token).then_some(())?;
        let payload = Payload { session, user, version };
        // The leeway is for the signature alone: the session in it is over at its `exp` (`getSession`).
        let opened = Opened { payload, expires_ms: checked.expires.checked_mul(1000)? };
        self.remembered.insert(value, opened.clone(), &self.authority, jws.kid()?, &key);
        Some(opened)
    }
}
