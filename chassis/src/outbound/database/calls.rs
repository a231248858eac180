//! Whether statements are sent as calls of the database's functions.
//!
//! Where the functions are missing, may not be executed or find another isolation than theirs, transactions do the same, and cost
//! more. That can pass: a grant is made, a default is set back. So now and then one statement tries.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;
use tracing::{info, warn};

use super::error::DatabaseError;

/// How long after a call that was refused the next is tried.
const CALLS_PAUSE: Duration = Duration::from_secs(5 * 60);

#[derive(Default)]
pub(super) struct Calls {
    are_off: AtomicBool,
    /// While they are off: when one may be tried.
    next: Mutex<Option<Instant>>,
}

impl Calls {
    /// Whether the next statement may be sent as a call: any, or, while they are off, one after each pause.
    pub(super) fn may_be_sent(&self) -> bool {
        !self.are_off.load(Ordering::Relaxed) || self.is_due()
    }

    #[cold]
    fn is_due(&self) -> bool {
        let now = Instant::now();
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = next.is_none_or(|next| next <= now);
        if is_due {
            *next = Some(now + CALLS_PAUSE);
        }
        is_due
    }

    /// A call was refused for what it is, and the statement itself was not.
    pub(super) fn refused(&self, cause: &DatabaseError) {
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + CALLS_PAUSE);
        if !self.are_off.swap(true, Ordering::Relaxed) {
            warn!(%cause, again_in = ?CALLS_PAUSE, "the database's functions can't be used; going on with transactions, which cost it more");
        }
    }

    /// A call was answered.
    pub(super) fn answered(&self) {
        if self.are_off.load(Ordering::Relaxed) && self.are_off.swap(false, Ordering::Relaxed) {
            info!("the database's functions can be used again");
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::{super::error::DatabaseErrorKind, *};

    const MOMENT: Duration = Duration::from_millis(1);

    #[tokio::test(start_paused = true)]
    async fn what_was_refused_is_tried_by_one_after_each_pause_until_it_is_answered() {
        let calls = Calls::default();
        assert!(calls.may_be_sent() && calls.may_be_sent());
        let refusal = DatabaseError::before(DatabaseErrorKind::Fault, "no such function".to_owned());
        calls.refused(&refusal);
        for is_refused in [true, false, false] {
            assert!(!calls.may_be_sent());
            advance(CALLS_PAUSE.saturating_sub(MOMENT)).await;
            assert!(!calls.may_be_sent());
            advance(MOMENT).await;
            assert!(calls.may_be_sent());
            // Whatever becomes of that one: it may have been lost on the way.
            assert!(!calls.may_be_sent(), "one, and not all that ask meanwhile");
            if is_refused {
                calls.refused(&refusal);
            }
        }
        calls.answered();
        assert!(calls.may_be_sent() && calls.may_be_sent());
    }
}
