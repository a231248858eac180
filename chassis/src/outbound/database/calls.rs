//! Whether statements are sent as calls of the database's functions.
//!
//! Where the functions are missing, may not be executed or find another isolation than theirs, transactions do the same, and cost
//! more. That can pass: a grant is made, a default is set back. So now and then one statement tries.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;
use tracing::{info, warn};

use super::error::DatabaseError;

/// How long after a call that was refused the next is tried.
const CALLS_PAUSE: Duration = Duration::from_secs(5 * 60);

/// What is known of them: nothing yet, that they are answered, or that they are refused.
const UNTRIED: u8 = 0;
const ON: u8 = 1;
const OFF: u8 = 2;

pub(super) struct Calls {
    /// The name by which the database knows the service.
    application: String,
    state: AtomicU8,
    /// While they are off: when one may be tried.
    next: Mutex<Option<Instant>>,
}

impl Calls {
    pub(super) fn of(application: String) -> Self {
        Self { application, state: AtomicU8::new(UNTRIED), next: Mutex::default() }
    }

    /// Whether the next statement may be sent as a call: any, or, while they are off, one after each pause.
    pub(super) fn may_be_sent(&self) -> bool {
        self.state.load(Ordering::Relaxed) != OFF || self.is_due()
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
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        *next = Some(Instant::now() + CALLS_PAUSE);
        if self.turn(OFF) != OFF {
            warn!(
                %cause,
                again_in = ?CALLS_PAUSE,
                "the database's functions can't be used; going on with transactions, which cost it more"
            );
        }
    }

    /// A call was answered.
    pub(super) fn answered(&self) {
        if self.state.load(Ordering::Relaxed) != ON {
            self.turned_on();
        }
    }

    #[cold]
    fn turned_on(&self) {
        let _next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        if self.turn(ON) == OFF {
            info!("the database's functions can be used again");
        }
    }

    /// What they were before. Under the lock, so that the last turn is the one that is shown.
    fn turn(&self, state: u8) -> u8 {
        let before = self.state.swap(state, Ordering::Relaxed);
        if before != state {
            let application = self.application.clone();
            metrics::gauge!(crate::metrics::DATABASE_FUNCTIONS.name, "application" => application)
                .set(f64::from(u8::from(state == ON)));
        }
        before
    }
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;
    use tokio::time::advance;

    use super::{super::error::DatabaseErrorKind, *};

    const MOMENT: Duration = Duration::from_millis(1);

    #[tokio::test(start_paused = true)]
    async fn what_was_refused_is_tried_by_one_after_each_pause_until_it_is_answered() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let _counted = metrics::set_default_local_recorder(&recorder);
        let shown = || {
            let said = recorder.handle().render();
            let line =
                said.lines().find_map(|line| line.strip_prefix("database_functions{application=\"shelf\"} "));
            line.map(str::to_owned)
        };
        let calls = Calls::of("shelf".to_owned());
        assert!(calls.may_be_sent() && calls.may_be_sent());
        assert_eq!(shown(), None, "nothing is known of a service that never calls");
        calls.answered();
        assert_eq!(shown().as_deref(), Some("1"));
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
            assert_eq!(shown().as_deref(), Some("0"));
        }
        calls.answered();
        assert_eq!(shown().as_deref(), Some("1"));
        assert!(calls.may_be_sent() && calls.may_be_sent());
    }
}
