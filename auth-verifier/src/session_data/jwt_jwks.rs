//! `jwt`, with the keys of the JWT plugin (`plugins/jwt/cookie-cache.ts`, since 1.7).

use std::time::Duration;

use serde::Deserialize;

use super::{Opened, Payload};
use crate::{
    authority::Authority,
    claims::{Claims, Named, Parties},
    jws::Jws,
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
    #[serde(flatten)]
    payload: Payload,
}

/// Opens it, if its signature is `authority`'s and it comes from one of `issuers`.
pub(super) async fn open(value: &str, authority: &Authority, issuers: &[String], now: u64) -> Option<Opened> {
    let jws = Jws::parse(value).ok()?;
    if jws.typ().ok()? != Some(TYPE) {
        return None;
    }
    let issuers = [issuers, &[NAME.to_owned()]].concat();
    let claims: Claims = jws.claims().ok()?;
    // A stranger's is no reason to fetch keys.
    claims.iss.as_ref().filter(|iss| issuers.contains(*iss))?;
    jws.verify(&authority.keys).await.ok()?;
    let parties = Parties { issuers, audiences: vec![NAME.to_owned()] };
    let checked = claims.check(&parties, Named::Always, LEEWAY, now).ok()?;
    let Contents { sid, payload } = jws.claims().ok()?;
    let agrees = checked.sub == payload.user.id && sid == payload.session.token;
    // The leeway is for the signature alone: the session in it is over at its `exp` (`getSession`).
    let expires_ms = checked.expires.checked_mul(1000)?;
    agrees.then_some(Opened { payload, expires_ms })
}
