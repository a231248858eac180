//! What the server's codes mean to us: one table, with the reason and the source of each row.
//!
//! A code comes before its class. A code that is not in the table is a bug of ours: the statement was refused, and the
//! connection is as good as before. Sources: "A" is Appendix A of PostgreSQL's manual; the names behind it are files of
//! PostgreSQL's source, or of other servers that send the code.

use tokio_postgres::error::{DbError, Severity, SqlState};

use super::error::DatabaseErrorKind::{self, Fault, Lost, TimedOut, Transient};

/// What becomes of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConnectionAfter {
    /// It is as good as before.
    Kept,
    /// It is closed.
    Closed,
}

/// What a code means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Meaning {
    pub(super) kind: DatabaseErrorKind,
    /// Whether it proves that nothing was changed.
    pub(super) not_applied: bool,
    pub(super) connection: ConnectionAfter,
}

/// A code or a class; what it means; why, and the source.
type Row = (&'static str, DatabaseErrorKind, bool, ConnectionAfter, &'static str, &'static str);

use ConnectionAfter::{Closed, Kept};

#[rustfmt::skip]
const TABLE: &[Row] = &[
    // The statement took too long, or lost against another.
    ("57014", TimedOut, true, Kept, "cancelled by an operator or a statement_timeout; the session goes on", "A, postgres.c"),
    ("55P03", Transient, true, Kept, "a lock_timeout: the lock may be free now", "A, proc.c"),
    ("55006", Transient, true, Kept, "somebody else uses it at this moment", "A, dbcommands.c"),
    ("40003", Transient, false, Closed, "it says that it doesn't know whether it was done", "A; distributed servers"),
    ("40", Transient, true, Kept, "rolled back in favour of another (serialization, deadlock)", "A, predicate.c, deadlock.c"),
    // The server lacks something at this moment.
    ("53", Transient, true, Kept, "memory, disk or connections are short; the statement was rolled back", "A, mcxt.c, md.c"),
    ("58", Transient, true, Kept, "a read or write of the server's failed; the statement was rolled back", "A, md.c"),
    // This connection leads to what can't do it; another may lead elsewhere.
    ("25006", Transient, true, Closed, "a server that became a replica, or a setting left behind in a pooler", "A, utility.c"),
    ("25P02", Transient, true, Closed, "a transaction that isn't ours was left open, and failed", "A, postgres.c"),
    ("0A000", Transient, true, Closed, "\"cached plan must not change result type\": the table has changed", "plancache.c"),
    ("26000", Transient, true, Closed, "a pooler that doesn't know what we have prepared", "A, prepare.c; PgBouncer"),
    ("42P05", Transient, true, Closed, "a pooler in which somebody else has prepared under our name", "A, prepare.c; PgBouncer"),
    // The session was ended for its idleness or age: what it was asked afterwards it never read.
    ("57P05", Lost, true, Closed, "idle_session_timeout ends only who is idle", "A, postgres.c"),
    ("25P03", Lost, true, Closed, "idle_in_transaction_session_timeout rolls the transaction back", "A, postgres.c"),
    ("25P04", Lost, true, Closed, "transaction_timeout rolls the transaction back", "A, postgres.c"),
    // The server or a pooler goes. Whether it committed before, it doesn't say.
    ("57P01", Lost, false, Closed, "shut down, or terminated by an operator", "A, postgres.c"),
    ("57P02", Lost, false, Closed, "another session crashed, and all end", "A, postmaster.c"),
    ("57P03", Lost, false, Closed, "starting up or shutting down", "A, postmaster.c"),
    ("57P04", Lost, false, Closed, "the database was dropped, or a replica had to remove what was read", "A, postgres.c"),
    ("57", Lost, false, Closed, "an operator intervened in another way", "A"),
    ("08", Lost, false, Closed, "the connection broke, here or behind a pooler", "A; PgBouncer, objects.c"),
];

/// What an error of the server's means.
pub(super) fn meaning_of(error: &DbError) -> Meaning {
    meaning(error.code(), error.parsed_severity())
}

fn meaning(code: &SqlState, severity: Option<Severity>) -> Meaning {
    // All of the server goes, perhaps in the middle of a commit: what it could not write may be there when it is back (xlog.c).
    if severity == Some(Severity::Panic) {
        return Meaning { kind: Lost, not_applied: false, connection: Closed };
    }
    let code = code.code();
    let line = TABLE
        .iter()
        .find(|line| line.0 == code)
        .or_else(|| TABLE.iter().find(|line| code.get(..2) == Some(line.0)));
    let (kind, not_applied, connection) = line
        .map_or((Fault, true, Kept), |&(_, kind, not_applied, connection, ..)| {
            (kind, not_applied, connection)
        });
    Meaning { kind, not_applied, connection }
}

/// Codes and classes with which a server that is there lets nobody in: not by this name or password, not into this database, no
/// further connection.
const REFUSALS: [&str; 4] = ["28", "3D", "42501", "53300"];

/// Whether a code, as the answer to an attempt to connect, says that somebody is there who does not let us in.
pub(super) fn is_refusal(code: &SqlState) -> bool {
    REFUSALS.iter().any(|refusal| code.code().starts_with(refusal))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_not_let_in_is_told_from_who_finds_nobody() {
        for code in ["28000", "28P01", "3D000", "42501", "53300"] {
            assert!(is_refusal(&SqlState::from_code(code)), "{code}");
        }
        // A server that starts, PgBouncer without its server, Neon's proxy without its compute.
        for code in ["57P03", "57P01", "08P01", "08006", "XX000", "53200"] {
            assert!(!is_refusal(&SqlState::from_code(code)), "{code}");
        }
    }

    #[test]
    fn a_code_says_whether_to_ask_again_whether_something_was_changed_and_what_becomes_of_the_connection() {
        for (code, kind, not_applied, connection) in [
            ("57014", TimedOut, true, Kept),
            ("0A000", Transient, true, Closed),
            ("26000", Transient, true, Closed),
            ("42P05", Transient, true, Closed),
            ("25006", Transient, true, Closed),
            ("25P02", Transient, true, Closed),
            ("25P03", Lost, true, Closed),
            ("25P04", Lost, true, Closed),
            ("40000", Transient, true, Kept),
            ("40001", Transient, true, Kept),
            ("40P01", Transient, true, Kept),
            ("40003", Transient, false, Closed),
            ("53000", Transient, true, Kept),
            ("53100", Transient, true, Kept),
            ("53200", Transient, true, Kept),
            ("53300", Transient, true, Kept),
            ("55P03", Transient, true, Kept),
            ("55006", Transient, true, Kept),
            ("58030", Transient, true, Kept),
            ("58P01", Transient, true, Kept),
            ("57P01", Lost, false, Closed),
            ("57P02", Lost, false, Closed),
            ("57P03", Lost, false, Closed),
            ("57P04", Lost, false, Closed),
            ("57P05", Lost, true, Closed),
            ("57000", Lost, false, Closed),
            ("08006", Lost, false, Closed),
            ("08P01", Lost, false, Closed),
            ("23505", Fault, true, Kept),
            ("23514", Fault, true, Kept),
            ("42P01", Fault, true, Kept),
            ("42501", Fault, true, Kept),
            ("55000", Fault, true, Kept),
            ("XX000", Fault, true, Kept),
            ("?", Fault, true, Kept),
        ] {
            assert_eq!(
                meaning(&SqlState::from_code(code), Some(Severity::Error)),
                Meaning { kind, not_applied, connection },
                "{code}"
            );
        }
    }

    #[test]
    fn what_makes_the_server_panic_says_nothing_of_what_was_changed() {
        let lost = Meaning { kind: Lost, not_applied: false, connection: Closed };
        for code in ["58030", "53100", "XX000", "57014"] {
            assert_eq!(meaning(&SqlState::from_code(code), Some(Severity::Panic)), lost, "{code}");
        }
    }

    #[test]
    fn no_row_stands_behind_another_that_says_the_same() {
        for (at, line) in TABLE.iter().enumerate() {
            assert!(TABLE[..at].iter().all(|earlier| earlier.0 != line.0), "{} stands twice", line.0);
            assert!(line.0.len() == 2 || line.0.len() == 5, "{} is neither a code nor a class", line.0);
        }
    }
}
