//! The connections of a replica, and a fair, bounded wait for one of them.
//!
//! bb8 hands a free connection to whoever asks first, so that under load a request can wait for seconds while others
//! pass it by. The queue in front is first come, first served, as many as there are connections go through it, and
//! nobody stands in it for longer than a bound.

use std::{sync::Arc, time::Duration};

use bb8::QueueStrategy;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, timeout_at},
};
use tokio_postgres::{Row, types::ToSql};
use tracing::info;

use super::{
    DatabaseSettings,
    connection::Manager,
    dsn::Dsn,
    error::{DatabaseError, DatabaseErrorKind},
};

/// How long a request still waits for a connection when none could be made for longer than a request may wait.
const OUTAGE_WAIT: Duration = Duration::from_millis(250);

/// What a statement does to the tables, which says whether it may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing. A read.
    None,
    /// The same, however often it is sent: an insert whose id was made before.
    Once,
    /// Something more each time it is sent.
    Each,
}

impl Effect {
    fn may_be_repeated_after(self, error: &DatabaseError) -> bool {
        match error.kind {
            DatabaseErrorKind::Lost | DatabaseErrorKind::Passing => error.undone || self != Self::Each,
            // The time is used up, or it would fail again.
            DatabaseErrorKind::Busy
            | DatabaseErrorKind::Unreachable
            | DatabaseErrorKind::TimedOut
            | DatabaseErrorKind::Fault => false,
        }
    }
}

/// The connections of a replica.
#[derive(Clone)]
pub struct Pool {
    connections: bb8::Pool<Manager>,
    queue: Arc<Semaphore>,
    manager: Manager,
    wait: Duration,
    query: Duration,
}

/// A connection for one statement.
struct Turn<'a> {
    /// Goes back before the next in the queue is called.
    connection: bb8::PooledConnection<'a, Manager>,
    _place: SemaphorePermit<'a>,
}

impl Pool {
    /// A pool without connections; they are made when they are needed. Needs a Tokio runtime.
    pub fn new(dsn: Dsn, settings: &DatabaseSettings) -> Self {
        dsn.warn();
        let manager = Manager::new(dsn, settings.connect, settings.life);
        let connections = bb8::Pool::builder()
            .max_size(settings.pool_max)
            // The one used last is used next, so that those that are not needed grow idle and go.
            .queue_strategy(QueueStrategy::Lifo)
            .idle_timeout(settings.idle)
            .max_lifetime(settings.life)
            .connection_timeout(settings.wait)
            .build_unchecked(manager.clone());
        Self {
            connections,
            queue: Arc::new(Semaphore::new(settings.pool_max as usize)),
            manager,
            wait: settings.wait,
            query: settings.query,
        }
    }

    /// Asks the database, and once more where that can't change more than asking once does.
    ///
    /// Each connection keeps each statement that it was ever asked: they are to be few, and values their parameters.
    pub async fn query(
        &self,
        effect: Effect,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, DatabaseError> {
        let first = match self.attempt(effect, sql, parameters).await {
            Err(error) if effect.may_be_repeated_after(&error) => error,
            answer => return answer,
        };
        info!(cause = %first, "ask the database again");
        metrics::counter!("database_retries_total").increment(1);
        // Whatever becomes of the second attempt, the first may have been carried out.
        let repeated = self.attempt(effect, sql, parameters).await;
        repeated.map_err(|error| DatabaseError { undone: first.undone && error.undone, ..error })
    }

    async fn attempt(
        &self,
        effect: Effect,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, DatabaseError> {
        let answer = match self.take().await {
            Ok(mut turn) => turn.connection.query(sql, parameters, self.query).await,
            Err(error) => Err(error),
        };
        answer.map_err(|error| {
            metrics::counter!("database_errors_total", "kind" => error.kind.name()).increment(1);
            DatabaseError { undone: error.undone || effect == Effect::None, ..error }
        })
    }

    async fn take(&self) -> Result<Turn<'_>, DatabaseError> {
        let begun = Instant::now();
        let lasting = self.manager.outage().is_some_and(|outage| outage > self.wait);
        // While the database is away requests must not pile up; a moment is enough to see that it is back.
        let wait = if lasting { OUTAGE_WAIT.min(self.wait) } else { self.wait };
        let taken = self.take_until(begun + wait).await;
        metrics::histogram!("database_wait_seconds").record(begun.elapsed());
        taken.map_err(|kind| DatabaseError::before(kind, format!("no connection within {wait:?}")))
    }

    /// Waits in the queue, then for a connection, both until `deadline`.
    async fn take_until(&self, deadline: Instant) -> Result<Turn<'_>, DatabaseErrorKind> {
        let place = match timeout_at(deadline, self.queue.acquire()).await {
            Ok(place) => place.map_err(|_| DatabaseErrorKind::Unreachable)?,
            // Those in front are waiting too: for a connection that can't be made.
            Err(_) if self.manager.outage().is_some() => return Err(DatabaseErrorKind::Unreachable),
            Err(_) => return Err(DatabaseErrorKind::Busy),
        };
        match timeout_at(deadline, self.connections.get()).await {
            Ok(Ok(connection)) => Ok(Turn { connection, _place: place }),
            _ => Err(DatabaseErrorKind::Unreachable),
        }
    }
}
