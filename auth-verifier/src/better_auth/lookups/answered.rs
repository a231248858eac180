//! The answer of `/get-session`: a living session, none, or something that isn't Better Auth's own. Plugins
//! (`customSession`) and a frontend's own routes change it; each way has an error of its own.

use chassis::{clock::UnixSeconds, json};
use serde::{Deserialize, de::IgnoredAny};
use thiserror::Error;
use time::OffsetDateTime;

use crate::{
    loose::Loose,
    person::{Person, UNNAMEABLE, User},
    session::token::SessionToken,
};

/// What to do about an answer that leaves something out.
const CURE: &str = "let customSession keep session.token, session.expiresAt and user.id, or set AUTH_VERIFIER_DATABASE__URL to have \
                    sessions looked up in Better Auth's database";

/// An answer that says nothing reliable about a session.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum Odd {
    /// Not JSON, or of another structure.
    #[error("the answer is none of Better Auth's")]
    Foreign,
    /// An object without a session; Better Auth says `null`.
    #[error(
        "the answer about nobody is an object, and not null: is that a route of the frontend's own? Better Auth's database can be \
         asked instead (AUTH_VERIFIER_DATABASE__URL)"
    )]
    Nobody,
    /// Something isn't there, or is of another type.
    #[error("the answer has no `{0}`: {CURE}")]
    Lacks(&'static str),
    /// Of another type, so that a ban could go unseen.
    #[error(
        "the answer's `user.banned` or `user.banExpires` is not of the type that the admin plugin gives it"
    )]
    Banned,
    /// It is about another session, and says nothing of this one.
    #[error(
        "the answer is about another session: does a cache stand between, or does a route of the frontend's own answer? Better \
         Auth's database can be asked instead (AUTH_VERIFIER_DATABASE__URL)"
    )]
    OtherSession,
    /// The user's id can't be passed on.
    #[error("{UNNAMEABLE}")]
    UserId,
}

#[derive(Deserialize)]
struct Answer {
    session: Session,
    user: User,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Session {
    token: String,
    #[serde(with = "time::serde::rfc3339")]
    expires_at: OffsetDateTime,
}

/// The session of `token`, if the answer says that it is alive. Bans are judged at the time `now`.
pub(crate) fn read(answer: &[u8], token: &SessionToken, now: UnixSeconds) -> Result<Option<Person>, Odd> {
    let found: Option<Answer> = json::object_or_null(answer).ok_or_else(|| Odd::of(answer))?;
    let Some(Answer { session, user }) = found else { return Ok(None) };
    if session.token != token.expose() {
        return Err(Odd::OtherSession);
    }
    let expires = UnixSeconds(u64::try_from(session.expires_at.unix_timestamp()).unwrap_or(0));
    user.person(expires, now).map(Some).ok_or(Odd::UserId)
}

impl Odd {
    /// What is odd about an answer that can't be read.
    fn of(answer: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Parts {
            session: Option<LooseSession>,
            user: Option<LooseUser>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        #[derive(Default)]
        struct LooseSession {
            token: Loose,
            expires_at: Loose,
        }
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct LooseUser {
            id: Loose,
            banned: Option<IgnoredAny>,
        }
        let Some(Parts { session, user }) = json::object(answer) else { return Self::Foreign };
        let lacks = |claim: &Loose| claim.text().is_none();
        match (session, user) {
            (None, None) => Self::Nobody,
            (None, Some(_)) => Self::Lacks("session"),
            (Some(session), _) if lacks(&session.token) => Self::Lacks("session.token"),
            (Some(session), _) if lacks(&session.expires_at) => Self::Lacks("session.expiresAt"),
            (Some(_), None) => Self::Lacks("user"),
            (Some(_), Some(user)) if lacks(&user.id) => Self::Lacks("user.id"),
            (Some(_), Some(user)) if user.banned.is_some() => Self::Banned,
            (Some(_), Some(_)) => Self::Foreign,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_to_change_the_answer_has_its_own_sentence() {
        let token = SessionToken::bare("D9XCRDDrH9v3FZ10lmGAzfSKKCzXFnSv").unwrap();
        let (session, user) = (
            r#""session":{"token":"D9XCRDDrH9v3FZ10lmGAzfSKKCzXFnSv","expiresAt":"2099-01-01T00:00:00.000Z"}"#,
            r#""user":{"id":"u1"}"#,
        );
        let without = |what: &str| session.replace(what, "\"other\"");
        for (answer, want) in [
            ("<html>".to_owned(), Odd::Foreign),
            ("[]".to_owned(), Odd::Foreign),
            (r#"{"session":7,"user":{}}"#.to_owned(), Odd::Foreign),
            ("{}".to_owned(), Odd::Nobody),
            (r#"{"session":null,"user":null}"#.to_owned(), Odd::Nobody),
            (format!("{{{user}}}"), Odd::Lacks("session")),
            (format!("{{{},{user}}}", without("\"token\"")), Odd::Lacks("session.token")),
            (format!("{{{},{user}}}", without("\"expiresAt\"")), Odd::Lacks("session.expiresAt")),
            (format!("{{{session}}}"), Odd::Lacks("user")),
            (format!("{{{session},\"user\":{{\"name\":\"Ada\"}}}}"), Odd::Lacks("user.id")),
            (format!("{{{session},\"user\":{{\"id\":7}}}}"), Odd::Lacks("user.id")),
            (format!("{{{session},\"user\":{{\"id\":\"u1\",\"banned\":1}}}}"), Odd::Banned),
            (format!("{{{session},\"user\":{{\"id\":\"u 1\"}}}}"), Odd::UserId),
            (format!("{{{},{user}}}", session.replace("D9XC", "D9XD")), Odd::OtherSession),
        ] {
            assert_eq!(read(answer.as_bytes(), &token, UnixSeconds(1000)), Err(want.clone()), "{answer}");
            assert!(!want.to_string().contains("D9X"), "no token is shown");
        }
        assert_eq!(read(b"null", &token, UnixSeconds(1000)), Ok(None));
        let good =
            read(format!("{{{session},{user}}}").as_bytes(), &token, UnixSeconds(1000)).unwrap().unwrap();
        assert_eq!(good.user.as_str(), "u1");
    }
}
