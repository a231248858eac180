//! The form that the keys of the JWT plugin sign: `jwt-jwks` (`plugins/jwt/cookie-cache.ts`, since Better Auth 1.7).

use std::{sync::Arc, time::Duration};

use chassis::clock::UnixSeconds;
use serde::Deserialize;

use super::{Opened, Payload, Session};
use crate::{
    cache::{self, Bounds},
    credential::{jws::Jws, kind::JwtType},
    jwt::{
        Authority, SignedBy,
        claims::{Claims, Expected, Naming},
    },
    person::User,
};

/// The audience of these caches, and their issuer where Better Auth has no base URL.
const NAME: &str = "better-auth:session-cache";

/// The tolerance for clocks that differ, as Better Auth has it here.
const LEEWAY: Duration = Duration::from_secs(15);

#[derive(Deserialize)]
struct Contents {
    sid: String,
    session: Session,
    user: User,
    #[serde(default)]
    version: Option<String>,
}

/// Opens caches that published keys sign.
pub struct Published {
    authority: Arc<Authority>,
    expected: Expected,
    cache: cache::Verified<(Opened, SignedBy)>,
}

impl Published {
    /// Opens caches that `authority` signs, and that one of `issuers` made.
    pub(crate) fn new(authority: Arc<Authority>, mut issuers: Vec<String>, bounds: Bounds) -> Self {
        issuers.push(NAME.to_owned());
        let expected = Expected { issuers, audiences: vec![NAME.to_owned()] };
        Self { authority, expected, cache: cache::Verified::new("cookie_caches", bounds) }
    }

    /// Opens one. Whether it has ended is for the caller to check.
    pub(super) async fn open(&self, value: &str, now: UnixSeconds) -> Option<Opened> {
        if let Some(entry) = self.cache.get(value, |(_, by)| by.is_published()) {
            return Some(entry.0.clone());
        }
        let jws = Jws::parse(value).ok()?;
        if JwtType::of(jws.typ().ok()?) != JwtType::CookieCache {
            return None;
        }
        let claims: Claims = jws.claims().ok()?;
        // A stranger's is no reason to fetch keys.
        claims.iss.as_ref().filter(|iss| self.expected.issuers.contains(*iss))?;
        let key = self.authority.keys.verify(&jws).await.ok()?;
        let checked = claims.check(&self.expected, Naming::Required, LEEWAY, now).ok()?;
        let Contents { sid, session, user, version } = jws.claims().ok()?;
        (checked.sub == user.id && sid == session.token).then_some(())?;
        let payload = Payload { session, user, version };
        // The leeway is for the signature alone: the session in it ends at its `exp` (`getSession`).
        let opened = Opened { payload, expires_ms: checked.expires.0.checked_mul(1000)? };
        self.cache.insert(value, (opened.clone(), SignedBy::new(&self.authority, &jws, &key)));
        Some(opened)
    }
}
