//! A statement in flight. The request may be dropped; the connection stays out of the pool until the answer has been
//! read.
//!
//! A statement that is still running must not meet the next user of its connection, and a late cancellation must not
//! meet that user's statement. So an abandoned statement keeps its connection, its permit of the queue and its owner's
//! share until it is over: a read is cancelled after a moment, a write is left to finish within the time that it had
//! anyway, and a connection that is silent after that is closed and counts as lost.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use tokio::{
    runtime::Handle,
    time::{Instant, sleep, timeout, timeout_at},
};
use tracing::{debug, info, warn};

use super::{
    connection::{Answer, Link},
    error::DatabaseError,
    lanes::{Attention, Turn},
    statement::Idempotency,
};

/// How long an abandoned read may go on before it is cancelled: most are over by then, and to cancel one takes a
/// connection of its own.
const READ_GRACE: Duration = Duration::from_millis(50);

/// How long the server may take to end what was cancelled. On a shared connection, from one end to the next: each cancellation
/// travels over a connection of its own and ends one statement, so that many take as many ways to a server far away.
const CANCELLED_WAIT: Duration = Duration::from_secs(1);

/// The wait for an answer. It owns what must be held until then, and returns it with the answer.
type Work<T> = Pin<Box<dyn Future<Output = (T, Answer)> + Send>>;

/// A statement in flight, for as long as a request waits for its answer.
pub(super) struct Flight<T: Send + 'static> {
    work: Option<Work<T>>,
    link: Arc<Link>,
    what: What,
    /// When the request stops waiting.
    deadline: Instant,
    /// On a connection that others use, too.
    shared: Option<Attention>,
}

/// What is in flight.
#[derive(Clone, Copy)]
enum What {
    Statement(&'static str, Idempotency),
    /// An empty query, which any server answers at once.
    Probe,
}

impl<T: Send + 'static> Flight<T> {
    /// `work` is the wait for the answer of this statement; [`Flight::land`] begins it.
    pub(super) fn new(
        link: Arc<Link>,
        (name, idempotency): (&'static str, Idempotency),
        wait: Duration,
        work: impl Future<Output = (T, Answer)> + Send + 'static,
    ) -> Self {
        let what = What::Statement(name, idempotency);
        Self { work: Some(Box::pin(work)), link, what, deadline: Instant::now() + wait, shared: None }
    }

    /// The same, for a read on a connection that others use, too.
    pub(super) fn among(mut self, attention: Attention) -> Self {
        self.shared = Some(attention);
        self
    }

    /// The same, for a probe of the connection.
    pub(super) fn probe(
        link: Arc<Link>,
        wait: Duration,
        work: impl Future<Output = (T, Answer)> + Send + 'static,
    ) -> Self {
        let deadline = Instant::now() + wait;
        Self { work: Some(Box::pin(work)), link, what: What::Probe, deadline, shared: None }
    }

    /// Waits for the answer, until the deadline. Dropping the future abandons the statement.
    pub(super) async fn land(mut self) -> Result<(T, Answer), DatabaseError> {
        let Some(work) = &mut self.work else { unreachable!("it lands once") };
        let begun = Instant::now();
        if let Ok(answer) = timeout_at(self.deadline, work).await {
            self.work = None;
            return Ok(answer);
        }
        let name = match self.what {
            // It goes on without us.
            What::Statement(name, _) => {
                self.link.doubt();
                name
            }
            What::Probe => {
                self.work = None;
                self.link.fell_silent();
                "whether it is there"
            }
        };
        Err(DatabaseError::timed_out(format!("no answer to {name} within {:?}", begun.elapsed())))
    }
}

impl<T: Send + 'static> Drop for Flight<T> {
    fn drop(&mut self) {
        let Some(work) = self.work.take() else { return };
        let (link, deadline) = (self.link.clone(), self.deadline);
        let Ok(runtime) = Handle::try_current() else { return link.retire() };
        match (self.what, self.shared.take()) {
            (What::Statement(name, _), Some(attention)) => {
                let turn = attention.end();
                runtime.spawn(see_through_among_others(work, link, turn, name, deadline));
            }
            (What::Statement(name, idempotency), None) => {
                runtime.spawn(see_through(work, link, name, idempotency, deadline));
            }
            (What::Probe, _) => {
                runtime.spawn(async move {
                    if timeout_at(deadline, work).await.is_err() {
                        link.fell_silent();
                    }
                });
            }
        }
    }
}

/// Counts an abandoned statement for as long as it is in flight.
struct Abandoned;

impl Abandoned {
    fn counted() -> Self {
        metrics::gauge!(crate::metrics::DATABASE_ABANDONED.name).increment(1.0);
        Self
    }
}

impl Drop for Abandoned {
    fn drop(&mut self) {
        metrics::gauge!(crate::metrics::DATABASE_ABANDONED.name).decrement(1.0);
    }
}

/// Waits for the end of an abandoned statement, then releases what it held.
async fn see_through<T: Send>(
    mut work: Work<T>,
    link: Arc<Link>,
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
            // It may just be slow; but if the connection is broken, the idle ones most likely are too.
            link.doubt();
            let cancelled = async { tokio::join!(link.cancel(), &mut work).1 };
            let answer = timeout(CANCELLED_WAIT, cancelled).await.ok();
            // The cancellation may yet arrive, and must not meet another's statement.
            link.retire();
            answer.map(|answer| (answer, true))
        }
    };
    account(landed.as_ref().map(|((_, answer), cancelled)| (answer, *cancelled)), &link, name, idempotency);
}

/// The same, for a read on a connection that others use, too. What is cancelled there might be another's: so it is left alone while
/// somebody waits for an answer on it, and this one's time is not over. Then one of those that were abandoned clears it of all.
async fn see_through_among_others<T: Send>(
    mut work: Work<T>,
    link: Arc<Link>,
    turn: Arc<Turn>,
    name: &'static str,
    deadline: Instant,
) {
    let _abandoned = Abandoned::counted();
    let mut landed = timeout(READ_GRACE, &mut work).await.ok().map(|answer| (answer, false));
    if landed.is_none() {
        turn.close();
        link.doubt();
    }
    // Whoever began before it is abandoned by then, too, and whoever began later is close to it: a turn is short.
    while landed.is_none() && turn.is_attended() && Instant::now() < deadline {
        landed = timeout(READ_GRACE, &mut work).await.ok().map(|answer| (answer, false));
    }
    if landed.is_none() {
        // Each cancellation ends one of them, and one is under way at a time.
        let cancelling = async {
            loop {
                if let Some(_clearing) = turn.clearing() {
                    link.cancel().await;
                }
                sleep(READ_GRACE).await;
            }
        };
        let answer = async {
            tokio::select! {
                biased;
                answer = &mut work => answer,
                never = cancelling => never,
            }
        };
        tokio::pin!(answer);
        // At most as often as there are reads on it: nobody joins any more, and with each answer there is one fewer.
        loop {
            let before = turn.answers();
            landed = timeout(CANCELLED_WAIT, &mut answer).await.ok().map(|answer| (answer, true));
            if landed.is_some() || turn.answers() == before {
                break;
            }
        }
        link.retire();
    }
    account(
        landed.as_ref().map(|((_, answer), cancelled)| (answer, *cancelled)),
        &link,
        name,
        Idempotency::ReadOnly,
    );
}

/// Counts an abandoned statement by what became of it: its answer and whether it was cancelled, if any came.
fn account(landed: Option<(&Answer, bool)>, link: &Link, name: &'static str, idempotency: Idempotency) {
    let outcome = match landed {
        Some((Answer::Rows(_), _)) => "done",
        Some((Answer::Misnamed, _)) => "not_applied",
        Some((Answer::Error(error), cancelled)) => match (error.not_applied, cancelled) {
            (true, true) => "cancelled",
            (true, false) => "not_applied",
            (false, _) => "unknown",
        },
        None => {
            link.fell_silent();
            "unknown"
        }
    };
    metrics::counter!(crate::metrics::DATABASE_STATEMENTS_ABANDONED.name, "idempotency" => idempotency.name(), "outcome" => outcome)
        .increment(1);
    match (idempotency, outcome) {
        (Idempotency::ReadOnly, _) => debug!(statement = name, outcome, "a read that nobody waited for"),
        (_, "unknown") => warn!(
            statement = name,
            outcome,
            "a write that nobody waited for: whether it was done can't be known (an Idempotency-Key lets its client ask again)"
        ),
        _ => info!(statement = name, outcome, "a write that nobody waited for"),
    }
}
