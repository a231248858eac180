//! A statement under way. Whoever asked may leave; the connection stays out of the pool until its answer has been read.
//!
//! A statement that runs on must not meet the next user of its connection, and one that was cancelled must not have
//! its cancellation meet the next user's statement. So an abandoned statement keeps its connection, its place in the
//! queue and its share of its user's until it is over: a read is cancelled after a moment, a write is left to finish
//! within the time that it had anyway, and whatever stays silent then is closed and counts as lost.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use tokio::{
    runtime::Handle,
    time::{Instant, timeout, timeout_at},
};
use tracing::{debug, info, warn};

use super::{
    connection::{Answer, Line},
    error::DatabaseError,
    statement::Idempotency,
};

/// How long an abandoned read may still take before it is cancelled: most are over by then, and to cancel takes a
/// connection of its own.
const READ_GRACE: Duration = Duration::from_millis(50);

/// How long the server may take to answer what was cancelled.
const CANCELLED_WAIT: Duration = Duration::from_secs(1);

/// What is under way: it owns all that is to be held until the answer is there, and gives that back with it.
type Work<T> = Pin<Box<dyn Future<Output = (T, Answer)> + Send>>;

/// A statement under way, and the wish to know its answer.
pub(super) struct Flight<T: Send + 'static> {
    work: Option<Work<T>>,
    line: Arc<Line>,
    what: What,
    /// Until when it is waited for.
    deadline: Instant,
}

/// What is under way.
#[derive(Clone, Copy)]
enum What {
    Statement(&'static str, Idempotency),
    /// A question that every connection answers at once.
    Probe,
}

impl<T: Send + 'static> Flight<T> {
    /// `work` is begun when this lands.
    pub(super) fn new(
        line: Arc<Line>,
        (name, idempotency): (&'static str, Idempotency),
        wait: Duration,
        work: impl Future<Output = (T, Answer)> + Send + 'static,
    ) -> Self {
        let what = What::Statement(name, idempotency);
        Self { work: Some(Box::pin(work)), line, what, deadline: Instant::now() + wait }
    }

    /// The same, for the question whether the connection is there.
    pub(super) fn probe(
        line: Arc<Line>,
        wait: Duration,
        work: impl Future<Output = (T, Answer)> + Send + 'static,
    ) -> Self {
        Self { work: Some(Box::pin(work)), line, what: What::Probe, deadline: Instant::now() + wait }
    }

    /// The answer, unless it takes too long. To drop this half-way is to abandon the statement.
    pub(super) async fn land(mut self) -> Result<(T, Answer), DatabaseError> {
        let Some(work) = &mut self.work else { unreachable!("it lands once") };
        let begun = Instant::now();
        if let Ok(answer) = timeout_at(self.deadline, work).await {
            self.work = None;
            return Ok(answer);
        }
        let name = match self.what {
            // What is left to do is done without us.
            What::Statement(name, _) => {
                self.line.doubt();
                name
            }
            What::Probe => {
                self.work = None;
                self.line.fell_silent();
                "whether it is there"
            }
        };
        Err(DatabaseError::timed_out(format!("no answer to {name} within {:?}", begun.elapsed())))
    }
}

impl<T: Send + 'static> Drop for Flight<T> {
    fn drop(&mut self) {
        let Some(work) = self.work.take() else { return };
        let (line, deadline) = (self.line.clone(), self.deadline);
        let Ok(runtime) = Handle::try_current() else { return line.retire() };
        match self.what {
            What::Statement(name, idempotency) => {
                runtime.spawn(see_through(work, line, name, idempotency, deadline));
            }
            What::Probe => {
                runtime.spawn(async move {
                    if timeout_at(deadline, work).await.is_err() {
                        line.fell_silent();
                    }
                });
            }
        }
    }
}

/// Counts an abandoned statement for as long as it is under way.
struct Abandoned;

impl Abandoned {
    fn counted() -> Self {
        metrics::gauge!("database_abandoned_statements").increment(1.0);
        Self
    }
}

impl Drop for Abandoned {
    fn drop(&mut self) {
        metrics::gauge!("database_abandoned_statements").decrement(1.0);
    }
}

/// Sees an abandoned statement through, then gives back what it held.
async fn see_through<T: Send>(
    mut work: Work<T>,
    line: Arc<Line>,
    name: &'static str,
    idempotency: Idempotency,
    deadline: Instant,
) {
    let _abandoned = Abandoned::counted();
    let patience = if idempotency == Idempotency::ReadOnly {
        deadline.min(Instant::now() + READ_GRACE)
    } else {
        deadline
    };
    let landed = match timeout_at(patience, &mut work).await {
        Ok(answer) => Some((answer, false)),
        Err(_) => {
            // It may just be slow; but if it is the connection, the others are most likely no better.
            line.doubt();
            let cancelled = async { tokio::join!(line.cancel(), &mut work).1 };
            let answer = timeout(CANCELLED_WAIT, cancelled).await.ok();
            // The cancellation may yet arrive, and must not meet another's statement.
            line.retire();
            answer.map(|answer| (answer, true))
        }
    };
    let outcome = match &landed {
        Some(((_, Answer::Rows(_)), _)) => "done",
        Some(((_, Answer::Misnamed), _)) => "not_applied",
        Some(((_, Answer::Error(error)), cancelled)) => match (error.not_applied, cancelled) {
            (true, true) => "cancelled",
            (true, false) => "not_applied",
            (false, _) => "unknown",
        },
        None => {
            line.fell_silent();
            "unknown"
        }
    };
    metrics::counter!("database_statements_abandoned_total", "idempotency" => idempotency.name(), "outcome" => outcome)
        .increment(1);
    match (idempotency, outcome) {
        (Idempotency::ReadOnly, _) => debug!(statement = name, outcome, "a read that nobody waited for"),
        (_, "unknown") => warn!(statement = name, outcome, "a write that nobody waited for"),
        _ => info!(statement = name, outcome, "a write that nobody waited for"),
    }
}
