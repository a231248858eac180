//! Is a token's owner still welcome? A JWT is good until it ends, whatever happens to its owner; where that is too long,
//! Better Auth's tables are asked.

use std::sync::Arc;

use serde::Deserialize;

use crate::{
    better_auth::lookups::{Found, Lookups, Question},
    credential::asker::Asker,
    jwt::Verified,
    person::Person,
    rejection::{Rejection, Unverified},
};

/// What ends a JWT before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Revocation {
    /// Nothing.
    Off,
    /// Its user's end, or a ban.
    User,
    /// That, and the end of the session that it must name as `sid`.
    Session,
}

/// Asks whether tokens were revoked.
pub struct Revocations {
    /// What is asked.
    pub by: Revocation,
    /// Where.
    pub lookups: Arc<Lookups>,
}

impl Revocations {
    /// Whose token it is, if it was not revoked. Only our own Better Auth's users can be asked about.
    pub async fn check(&self, verified: Verified, asker: Asker) -> Result<Found, Unverified> {
        let Verified { person, session, own } = verified;
        let found = match (self.by, own) {
            (Revocation::Off, _) | (_, false) => return Ok(Found::lasting(person)),
            (Revocation::User, true) => {
                self.lookups.find(Question::User(&person.user), asker).await?.ok_or(Rejection::NoUser)?
            }
            (Revocation::Session, true) => {
                let id = session.ok_or(Rejection::MissingClaim("sid"))?;
                let found = self.lookups.find(Question::SessionById(&id), asker).await?;
                found.ok_or(Rejection::NoSession)?
            }
        };
        if found.grant.person.user != person.user {
            return Err(Rejection::OtherSession.into());
        }
        let Person { expires, banned, .. } = found.grant.person;
        let person = Person { expires: person.expires.min(expires), banned, ..person };
        Ok(Found { fresh_until: found.fresh_until, ..Found::lasting(person) })
    }
}
