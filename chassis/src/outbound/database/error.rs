//! Why the database has no answer; and, decided where that is known, what may be done about it.

use thiserror::Error;
use tokio_postgres::error::SqlState;

use super::sqlstate;
use crate::outbound::client;

/// Codes whose messages quote a value, which may be a credential: not of its type, out of range, no date, no text.
const QUOTING: [&str; 5] = ["22P02", "22003", "22007", "22008", "22021"];

/// Why the database has no answer.
#[derive(Debug, Error)]
#[error("{cause}")]
pub struct DatabaseError {
    /// Whose fault it is, and whether asking again can help.
    pub kind: DatabaseErrorKind,
    /// Whether the statement certainly changed nothing.
    pub not_applied: bool,
    /// What the server called it, if it was the server.
    pub(super) code: Option<SqlState>,
    /// For the log.
    pub(super) cause: String,
}

/// Whose fault it is, and whether asking again can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatabaseErrorKind {
    /// Every connection was in use for as long as a request waits.
    Busy,
    /// No connection can be made, or what it leads to is not ready.
    Unreachable,
    /// The connection is gone; another one may have the answer.
    Lost,
    /// The server refused the statement for a reason that goes with this connection or this moment.
    Transient,
    /// No answer in time.
    TimedOut,
    /// The statement itself is at fault: ours.
    Fault,
}

impl DatabaseErrorKind {
    /// A name for counting.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::Unreachable => "unreachable",
            Self::Lost => "lost",
            Self::Transient => "transient",
            Self::TimedOut => "timed_out",
            Self::Fault => "fault",
        }
    }
}

impl DatabaseError {
    /// Something that happened before a statement was sent.
    pub fn before(kind: DatabaseErrorKind, cause: impl Into<String>) -> Self {
        Self { kind, not_applied: true, code: None, cause: cause.into() }
    }

    /// An answer that makes no sense to us.
    pub fn fault(cause: impl Into<String>) -> Self {
        Self { kind: DatabaseErrorKind::Fault, not_applied: false, code: None, cause: cause.into() }
    }

    /// The answer to another statement. Which one ran instead is unknown; ours did not.
    pub(super) fn foreign(statement: &str) -> Self {
        let cause = format!("{statement} was answered as another statement");
        Self::before(DatabaseErrorKind::Transient, cause)
    }

    /// No answer in time to a statement that was sent.
    pub(super) fn timed_out(cause: String) -> Self {
        Self { kind: DatabaseErrorKind::TimedOut, not_applied: false, code: None, cause }
    }

    /// What the driver says about a statement that was `sent`, or not even that.
    pub(super) fn of(error: &tokio_postgres::Error, sent: bool) -> Self {
        // Without a code it didn't come from the server: the connection broke, or speaks no sense.
        let (kind, not_applied) = error.code().map_or((DatabaseErrorKind::Lost, false), |code| {
            let meaning = sqlstate::meaning(code);
            (meaning.kind, meaning.not_applied)
        });
        Self { kind, not_applied: not_applied || !sent, code: error.code().cloned(), cause: described(error) }
    }

    /// Whether a parameter, which the server was to read by itself, can't be of the type that it is compared with.
    pub fn is_misfit(&self) -> bool {
        let misfits = [SqlState::INVALID_TEXT_REPRESENTATION, SqlState::NUMERIC_VALUE_OUT_OF_RANGE];
        self.code.as_ref().is_some_and(|code| misfits.contains(code))
    }
}

/// An error of the driver for the log: what the server said, without the detail, which quotes the row.
pub fn described(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(said) if QUOTING.contains(&said.code().code()) => {
            format!("{} a value is not one of its type", said.code().code())
        }
        Some(said) => format!("{} {}", said.code().code(), said.message()),
        None => client::chain(error),
    }
}
