//! Why the database has no answer; and, decided where that is known, what may be done about it.

use thiserror::Error;
use tokio_postgres::error::SqlState;

use crate::client;

/// Why the database has no answer.
#[derive(Debug, Error)]
#[error("{cause}")]
pub struct DatabaseError {
    /// Whose fault it is, and whether asking again can help.
    pub kind: DatabaseErrorKind,
    /// Whether the statement certainly changed nothing.
    pub undone: bool,
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
    Passing,
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
            Self::Passing => "passing",
            Self::TimedOut => "timed_out",
            Self::Fault => "fault",
        }
    }
}

impl DatabaseError {
    /// Something that happened before a statement was sent.
    pub fn before(kind: DatabaseErrorKind, cause: impl Into<String>) -> Self {
        Self { kind, undone: true, cause: cause.into() }
    }

    /// An answer that makes no sense to us.
    pub fn fault(cause: impl Into<String>) -> Self {
        Self { kind: DatabaseErrorKind::Fault, undone: false, cause: cause.into() }
    }

    /// What the driver says about a statement that was `sent`, or not even that.
    pub(super) fn of(error: &tokio_postgres::Error, sent: bool) -> Self {
        // Without a code it didn't come from the server: the connection broke, or speaks no sense.
        let (kind, undone) = error.code().map_or((DatabaseErrorKind::Lost, false), of_code);
        Self { kind, undone: undone || !sent, cause: described(error) }
    }
}

/// What the server's code means, and whether it proves that nothing was changed.
fn of_code(code: &SqlState) -> (DatabaseErrorKind, bool) {
    match *code {
        // By an operator, or by a `statement_timeout` of the role.
        SqlState::QUERY_CANCELED => (DatabaseErrorKind::TimedOut, true),
        // "cached plan must not change result type": the table has changed since the statement was prepared.
        SqlState::FEATURE_NOT_SUPPORTED
        // A pooler that doesn't know what we have prepared.
        | SqlState::INVALID_SQL_STATEMENT_NAME
        // A server that became a replica, or a setting that somebody left behind in a pooled connection.
        | SqlState::READ_ONLY_SQL_TRANSACTION
        | SqlState::T_R_SERIALIZATION_FAILURE
        | SqlState::T_R_DEADLOCK_DETECTED => (DatabaseErrorKind::Passing, true),
        // The server or a pooler goes. Whether it committed before, it doesn't say.
        SqlState::ADMIN_SHUTDOWN | SqlState::CRASH_SHUTDOWN | SqlState::CANNOT_CONNECT_NOW => {
            (DatabaseErrorKind::Lost, false)
        }
        // Class 08, connection exception.
        _ if code.code().starts_with("08") => (DatabaseErrorKind::Lost, false),
        // Class 53, insufficient resources: memory, disk.
        _ if code.code().starts_with("53") => (DatabaseErrorKind::Passing, true),
        _ => (DatabaseErrorKind::Fault, true),
    }
}

/// An error of the driver for the log: what the server said, without the detail, which quotes the row.
pub fn described(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(said) => format!("{} {}", said.code().code(), said.message()),
        None => client::chain(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_says_whether_to_ask_again_and_whether_something_was_changed() {
        for (code, kind, undone) in [
            ("57014", DatabaseErrorKind::TimedOut, true),
            ("0A000", DatabaseErrorKind::Passing, true),
            ("26000", DatabaseErrorKind::Passing, true),
            ("25006", DatabaseErrorKind::Passing, true),
            ("40001", DatabaseErrorKind::Passing, true),
            ("40P01", DatabaseErrorKind::Passing, true),
            ("53100", DatabaseErrorKind::Passing, true),
            ("57P01", DatabaseErrorKind::Lost, false),
            ("57P02", DatabaseErrorKind::Lost, false),
            ("57P03", DatabaseErrorKind::Lost, false),
            ("08006", DatabaseErrorKind::Lost, false),
            ("08P01", DatabaseErrorKind::Lost, false),
            ("23514", DatabaseErrorKind::Fault, true),
            ("42P01", DatabaseErrorKind::Fault, true),
            ("XX000", DatabaseErrorKind::Fault, true),
        ] {
            assert_eq!(of_code(&SqlState::from_code(code)), (kind, undone), "{code}");
        }
    }
}
