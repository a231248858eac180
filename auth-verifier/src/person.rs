//! The owner of a credential, of whichever kind it is.

use std::time::Duration;

use chassis::clock::UnixSeconds;
use identity::{Email, UserId};
use serde::Deserialize;
use time::OffsetDateTime;

use crate::loose::Loose;

/// Why the id of a user can't be passed on.
pub(crate) const UNNAMEABLE: &str = "the user's id can't stand in a header: it must be 1 to 255 visible ASCII characters without a \
    comma (advanced.database.generateId)";

/// What Neon Auth calls whoever has not signed in. Nobody is called so here, whichever issuer says it.
pub(crate) const ANONYMOUS: &str = "anonymous";

/// When something ends. `Never` is later than every moment, so that the earlier of two is their `min`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Expiry {
    /// At that moment.
    At(UnixSeconds),
    /// Not by itself.
    Never,
}

impl Expiry {
    /// Whether it lies at or before `now`.
    pub(crate) fn has_passed(self, now: UnixSeconds) -> bool {
        self <= Self::At(now)
    }

    /// The same, so much later.
    pub(crate) fn after(self, duration: Duration) -> Self {
        match self {
            Self::At(moment) => Self::At(moment.after(duration)),
            Self::Never => Self::Never,
        }
    }
}

/// The owner of a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// The user's id.
    pub user: UserId,
    /// The e-mail address, where it is known and can stand in a header.
    pub email: Option<Email>,
    /// Whether Better Auth has seen that the address is theirs (`emailVerified`), where that is known.
    pub email_verified: Option<bool>,
    /// When the credential ends.
    pub expires: Expiry,
    /// Whether the account is banned (admin plugin).
    pub banned: bool,
}

/// Better Auth's user object, as far as it is looked at.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct User {
    pub(crate) id: String,
    #[serde(default)]
    email: Option<String>,
    #[serde(default)]
    email_verified: Loose,
    #[serde(default)]
    banned: Option<bool>,
    #[serde(default, with = "time::serde::rfc3339::option")]
    ban_expires: Option<OffsetDateTime>,
}

impl User {
    /// The owner of a credential that ends at `expires`. A ban counts if it holds at `now`.
    /// `None` if the id can't be a user id.
    pub(crate) fn person(&self, expires: UnixSeconds, now: UnixSeconds) -> Option<Person> {
        Some(Person {
            user: UserId::parse(&self.id)?,
            email: self.email.as_deref().and_then(Email::parse),
            email_verified: self.email_verified.truth(),
            expires: Expiry::At(expires),
            banned: is_banned(self.banned, self.ban_expires, now),
        })
    }
}

/// Whether a ban holds at `now`.
pub(crate) fn is_banned(banned: Option<bool>, expires: Option<OffsetDateTime>, now: UnixSeconds) -> bool {
    let lifted = expires.is_some_and(|end| end.unix_timestamp() < i64::try_from(now.0).unwrap_or(0));
    banned == Some(true) && !lifted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ban_holds_until_it_ends() {
        for (user, banned) in [
            (r#"{"id":"u1"}"#, false),
            (r#"{"id":"u1","banned":null,"banExpires":null}"#, false),
            (r#"{"id":"u1","banned":false}"#, false),
            (r#"{"id":"u1","banned":true}"#, true),
            (r#"{"id":"u1","banned":true,"banExpires":"1970-01-01T00:16:40.000Z"}"#, true),
            (r#"{"id":"u1","banned":true,"banExpires":"1970-01-01T00:16:39.999Z"}"#, false),
            (r#"{"id":"u1","banned":false,"banExpires":"2099-01-01T00:00:00.000Z"}"#, false),
        ] {
            let person = serde_json::from_str::<User>(user)
                .unwrap()
                .person(UnixSeconds(2000), UnixSeconds(1000))
                .unwrap();
            assert_eq!(person.banned, banned, "{user}");
        }
    }
}
