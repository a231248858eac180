//! What only Neon Auth's tokens say, beyond what any API token of Better Auth's does.

use chassis::clock::UnixSeconds;
use identity::{Membership, Organization};
use serde::Deserialize;
use time::OffsetDateTime;

use super::keys::Algorithm;
use crate::{
    credential::jws::Jws,
    loose::Loose,
    person,
    rejection::{Rejection, Untrusted},
};

/// What it signs with; that can't be configured.
pub(super) const ALGORITHM: Algorithm = Algorithm::EdDsa;

/// The role of somebody who has signed in. (Neon's documentation, not tried against Neon.)
const SIGNED_IN: &str = "authenticated";

/// A ban of another type than the admin plugin gives it is an error: it must not go unseen.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Claims {
    #[serde(default)]
    role: Loose,
    #[serde(default)]
    banned: Option<bool>,
    #[serde(default, with = "time::serde::rfc3339::option")]
    ban_expires: Option<OffsetDateTime>,
}

/// Whether the user of a verified token is banned at `now`. An error where it stands for no user: Neon Auth hands out tokens
/// for people who have not signed in, too (`/token/anonymous`).
pub(super) fn judge(jws: &Jws<'_>, now: UnixSeconds) -> Result<bool, Rejection> {
    let Claims { role, banned, ban_expires } = jws.claims()?;
    match role.text() {
        Some(SIGNED_IN) => {}
        Some(role) => return Err(Rejection::Role(Untrusted::new(role))),
        None => return Err(Rejection::MissingClaim("role")),
    }
    Ok(person::is_banned(banned, ban_expires, now))
}

/// What a verified token says of its user's role and organization, as far as it can be passed on.
pub(super) fn membership(jws: &Jws<'_>) -> Option<Membership> {
    #[derive(Deserialize)]
    struct Told {
        #[serde(default)]
        role: Loose,
        #[serde(default)]
        o: Option<Active>,
    }
    #[derive(Deserialize)]
    struct Active {
        #[serde(default)]
        id: Loose,
        #[serde(default)]
        slug: Loose,
        #[serde(default)]
        role: Loose,
    }
    let Told { role, o } = jws.claims().ok()?;
    let organization = o.and_then(|o| Organization::new(o.id.text()?, o.slug.text(), o.role.text()));
    Membership::new(role.text(), organization)
}
