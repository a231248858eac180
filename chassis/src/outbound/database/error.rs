//! Why the database has no answer, and whether the statement may have been carried out.

use thiserror::Error;
use tokio_postgres::error::SqlState;

use super::{sqlstate, statement::UNFIT};
use crate::outbound::client;

/// SQLSTATEs whose messages quote a value, which may be a credential: not of its type, out of range, no date, no text.
const QUOTING: [&str; 5] = ["22P02", "22003", "22007", "22008", "22021"];

/// Why the database has no answer.
#[derive(Debug, Error)]
#[error("{cause}")]
pub struct DatabaseError {
    /// What went wrong.
    pub kind: DatabaseErrorKind,
    /// Whether the statement certainly changed nothing: it was not sent, or the server has rolled it back.
    pub not_applied: bool,
    /// The server's SQLSTATE, if the error is the server's.
    pub(super) code: Option<SqlState>,
    /// For the log.
    pub(super) cause: String,
}

/// What went wrong, as far as it says whether to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatabaseErrorKind {
    /// Every connection was in use for the whole acquire timeout.
    Busy,
    /// No connection can be made, or the database is not ready.
    Unreachable,
    /// The connection broke; another one may work.
    Lost,
    /// The server refused the statement for a reason that another connection or another moment may not have.
    Transient,
    /// No answer in time.
    TimedOut,
    /// The statement itself is wrong: a bug of ours.
    Fault,
}

impl DatabaseErrorKind {
    /// A label for metrics.
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
    /// An error before the statement was sent.
    pub fn before(kind: DatabaseErrorKind, cause: impl Into<String>) -> Self {
        Self { kind, not_applied: true, code: None, cause: cause.into() }
    }

    /// An answer that makes no sense: a bug of ours.
    pub fn fault(cause: impl Into<String>) -> Self {
        Self { kind: DatabaseErrorKind::Fault, not_applied: false, code: None, cause: cause.into() }
    }

    /// The answer to another statement. We don't know which one ran; ours did not.
    pub(super) fn foreign(statement: &str) -> Self {
        let cause = format!("{statement} was answered as another statement");
        Self::before(DatabaseErrorKind::Transient, cause)
    }

    /// No answer in time to a statement that was sent.
    pub(super) fn timed_out(cause: String) -> Self {
        Self { kind: DatabaseErrorKind::TimedOut, not_applied: false, code: None, cause }
    }

    /// An error of the driver, for a statement that was `sent` or not.
    pub(super) fn of(error: &tokio_postgres::Error, sent: bool) -> Self {
        // Without a code it is not the server's: the connection broke, or speaks another protocol.
        let (kind, not_applied) = error.as_db_error().map_or((DatabaseErrorKind::Lost, false), |said| {
            let meaning = sqlstate::meaning_of(said);
            (meaning.kind, meaning.not_applied)
        });
        Self { kind, not_applied: not_applied || !sent, code: error.code().cloned(), cause: described(error) }
    }

    /// Whether the server rolled the statement back in favour of another.
    pub(super) fn is_conflict(&self) -> bool {
        let conflicts = [SqlState::T_R_SERIALIZATION_FAILURE, SqlState::T_R_DEADLOCK_DETECTED];
        self.code.as_ref().is_some_and(|code| conflicts.contains(code))
    }

    /// Whether a call was refused for a reason that does not hold for the statement in its place: there is no such function, or we
    /// may not use it, or it can't work in this transaction.
    pub(super) fn is_of_the_call(&self) -> bool {
        let reasons =
            [SqlState::UNDEFINED_FUNCTION, SqlState::INSUFFICIENT_PRIVILEGE, SqlState::from_code(UNFIT)];
        self.code.as_ref().is_some_and(|code| reasons.contains(code))
    }

    /// Whether the database can only be read: it is a replica, or set to that.
    pub fn is_read_only(&self) -> bool {
        self.code.as_ref().is_some_and(|code| *code == SqlState::READ_ONLY_SQL_TRANSACTION)
    }

    /// Whether a parameter of type `unknown` can't be read as the type of the column that it is compared with.
    pub fn is_misfit(&self) -> bool {
        let misfits = [SqlState::INVALID_TEXT_REPRESENTATION, SqlState::NUMERIC_VALUE_OUT_OF_RANGE];
        self.code.as_ref().is_some_and(|code| misfits.contains(code))
    }
}

/// An error of the driver for the log: the server's code and message, without its detail, which quotes the row.
pub fn described(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(said) if QUOTING.contains(&said.code().code()) => {
            format!("{} a value is not one of its type", said.code().code())
        }
        Some(said) => format!("{} {}", said.code().code(), said.message()),
        None => client::chain(error),
    }
}
