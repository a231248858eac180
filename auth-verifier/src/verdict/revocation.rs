//! Revocation of JWTs. By itself a JWT is good until it ends, whatever happens to its owner; where that is too long,
//! Better Auth's tables are asked.

use std::sync::Arc;

use identity::UserId;
use serde::Deserialize;

use crate::{
    better_auth::lookups::{Found, Lookups, Question},
    credential::asker::Asker,
    jwt::{Owner, Verified},
    person::Person,
    rejection::{Rejection, Unverified},
};

/// What ends a JWT before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Revocation {
    /// JWTs are not looked up.
    Off,
    /// A ban, or the deletion of its user.
    User,
    /// The same, and the end of the session that it must name as `sid`.
    Session,
}

/// Looks up whether tokens were revoked.
pub(crate) struct Revocations {
    /// What revokes them.
    pub(crate) by: Revocation,
    /// Where that is looked up.
    pub(crate) lookups: Arc<Lookups>,
    /// What is put before the ids that stand there; may be empty.
    pub(crate) prefix: String,
}

impl Revocations {
    /// The owner of a token that was not revoked. Nobody can be asked about another issuer's users.
    pub(crate) async fn check(&self, verified: Verified, asker: Asker) -> Result<Found, Unverified> {
        let Verified { person, session, of, scopes, membership } = verified;
        let user = match &*self.prefix {
            "" => Some(person.user.clone()),
            prefix => person.user.as_str().strip_prefix(prefix).and_then(UserId::parse),
        }
        .ok_or(Rejection::Subject)?;
        let found = match (self.by, of) {
            (Revocation::Off, _) | (_, Owner::Others) => {
                return Ok(Found { scopes, membership, ..Found::by_itself(person) });
            }
            (Revocation::User, Owner::Ours | Owner::Neon) => {
                self.lookups.find(Question::User(&user), asker).await?.ok_or(Rejection::NoUser)?
            }
            (Revocation::Session, Owner::Ours | Owner::Neon) => {
                let id = session.ok_or(Rejection::MissingClaim("sid"))?;
                let found = self.lookups.find(Question::SessionById(&id), asker).await?;
                found.ok_or(Rejection::NoSession)?
            }
        };
        if found.person.user != user {
            return Err(Rejection::OtherSession.into());
        }
        let (expires, banned) = (found.person.expires, found.person.banned);
        let person = Person { expires: person.expires.min(expires), banned, ..person };
        Ok(Found { person, scopes, membership, ..found })
    }
}
