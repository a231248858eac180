//! What became of a statement that was sent between `begin` and `commit`, with its owner: four answers, and one outcome.
//!
//! It was done if all four say so. `commit` alone says nothing: a server that has rolled back answers it without an error. And a
//! statement whose `begin` failed ran by itself.

use tokio_postgres::error::Severity;

use super::sqlstate;

/// The outcome of the four.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Group<R, E> {
    /// All of it was done, and is on the disk.
    Done(R),
    /// The statement was done, but what ran in the place of telling the owner was another's statement.
    Untold(R),
    /// The first error, and whether it is certain that nothing was changed.
    Failed { error: E, not_applied: bool },
}

/// What an error of the server's says; one that is not the server's says nothing.
#[derive(Clone, Copy)]
pub(super) struct Said {
    /// Whether its code proves that what it answers changed nothing.
    not_applied: bool,
    /// Whether the session ended with it: what came behind it was never read.
    is_last: bool,
}

pub(super) trait Says {
    fn said(&self) -> Option<Said>;
}

impl Says for tokio_postgres::Error {
    fn said(&self) -> Option<Said> {
        let error = self.as_db_error()?;
        let is_last = matches!(error.parsed_severity(), Some(Severity::Fatal | Severity::Panic));
        Some(Said { not_applied: sqlstate::meaning_of(error).not_applied, is_last })
    }
}

impl<R, E: Says> Group<R, E> {
    /// `told` says whether it was our statement that told the owner.
    pub(super) fn of(
        begun: Result<(), E>,
        told: Result<bool, E>,
        answer: Result<R, E>,
        ended: Result<(), E>,
    ) -> Self {
        let has_begun = begun.is_ok();
        let refusal = |error: &E| error.said().is_some_and(|said| said.not_applied);
        let not_applied = match (&answer, &ended) {
            (Err(error), _) if error.said().is_some() => refusal(error),
            // The connection ended. If the server has said why, before it came to the statement, that counts.
            (Err(_), _) => {
                let first = begun.as_ref().err().or(told.as_ref().err()).and_then(E::said);
                first.is_some_and(|said| said.not_applied && (said.is_last || has_begun))
            }
            // Refused when all was done but the end: rolled back. Who ended the session then may have come just behind the commit.
            (Ok(_), Err(error)) => {
                has_begun && refusal(error) && !error.said().is_some_and(|said| said.is_last)
            }
            // It ran, although what stood before it did not.
            (Ok(_), Ok(())) => false,
        };
        match (begun, told, answer, ended) {
            (Ok(()), Ok(true), Ok(rows), Ok(())) => Self::Done(rows),
            (Ok(()), Ok(false), Ok(rows), Ok(())) => Self::Untold(rows),
            (Err(error), ..) | (_, Err(error), ..) | (_, _, Err(error), _) | (.., Err(error)) => {
                Self::Failed { error, not_applied }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An error in a test: of the server's, which it may survive; or the end of the connection.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Bad {
        /// A refusal: nothing was changed.
        Refused,
        /// The session was ended before it read what came.
        Unread,
        /// The server doesn't say what it has done.
        Unsaid,
        /// The connection is gone.
        Gone,
    }

    impl Says for Bad {
        fn said(&self) -> Option<Said> {
            let (not_applied, is_last) = match self {
                Self::Refused => (true, false),
                Self::Unread => (true, true),
                Self::Unsaid => (false, true),
                Self::Gone => return None,
            };
            Some(Said { not_applied, is_last })
        }
    }

    use Bad::{Gone, Refused, Unread, Unsaid};

    #[test]
    fn it_was_done_if_all_four_say_so() {
        assert_eq!(Group::<_, Bad>::of(Ok(()), Ok(true), Ok(7), Ok(())), Group::Done(7));
        assert_eq!(Group::<_, Bad>::of(Ok(()), Ok(false), Ok(7), Ok(())), Group::Untold(7));
        let bad = [Ok(()), Err(Refused), Err(Unread), Err(Unsaid), Err(Gone)];
        for begun in bad {
            for told in bad {
                for answer in bad {
                    for ended in bad {
                        let all = [begun, told, answer, ended];
                        let group = Group::of(begun, told.map(|()| true), answer, ended);
                        let first = all.into_iter().find_map(Result::err);
                        match group {
                            Group::Failed { error, .. } => assert_eq!(Some(error), first, "{all:?}"),
                            group => assert_eq!((group, first), (Group::Done(()), None)),
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn nothing_was_changed_only_where_that_is_certain() {
        let ok = Ok(());
        for (begun, told, answer, ended, want) in [
            // The statement itself was refused; the end of a transaction that failed is no error.
            (ok, ok, Err(Refused), ok, true),
            (ok, Err(Refused), Err(Refused), ok, true),
            (ok, ok, Err(Unsaid), Err(Gone), false),
            (ok, ok, Err(Gone), Err(Gone), false),
            // The session ended before the statement was read.
            (Err(Unread), Err(Gone), Err(Gone), Err(Gone), true),
            (Err(Unsaid), Err(Gone), Err(Gone), Err(Gone), false),
            (ok, Err(Refused), Err(Gone), Err(Gone), true),
            // It was refused, and then the connection ended: the statement may have run by itself.
            (Err(Refused), Err(Gone), Err(Gone), Err(Gone), false),
            (Err(Gone), Err(Gone), Err(Gone), Err(Gone), false),
            // The end: refused, which rolls back; or lost on its way.
            (ok, ok, ok, Err(Refused), true),
            (ok, ok, ok, Err(Unread), false),
            (ok, ok, ok, Err(Unsaid), false),
            (ok, ok, ok, Err(Gone), false),
            // Without a beginning, the statement ran by itself.
            (Err(Refused), ok, ok, ok, false),
            (Err(Refused), ok, ok, Err(Refused), false),
            (Err(Refused), ok, Err(Refused), ok, true),
            (ok, Err(Refused), ok, ok, false),
        ] {
            let group = Group::of(begun, told.map(|()| true), answer, ended);
            let all = (begun, told, answer, ended);
            let Group::Failed { not_applied, .. } = group else { panic!("{all:?}") };
            assert_eq!(not_applied, want, "{all:?}");
        }
    }
}
