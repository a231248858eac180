//! The connections of a replica, and a fair, bounded wait for one of them.
//!
//! bb8 gives a free connection to whichever request polls first, so that under load one can wait for seconds while
//! later ones overtake it. The semaphore in front is first come, first served, has as many permits as there are
//! connections, and is waited for no longer than the acquire timeout.

use std::{sync::Arc, time::Duration};

use bb8::QueueStrategy;
use metrics::Histogram;
use tokio::{
    sync::{Mutex, OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep, timeout_at},
};
use tokio_postgres::{Row, types::ToSql};
use tracing::info;

use super::{
    DatabaseSettings,
    calls::Calls,
    connection::{Answer, Connection, Manager},
    dsn::Dsn,
    error::{DatabaseError, DatabaseErrorKind},
    flight::Flight,
    lanes::Lanes,
    shares::{Share, Shares},
    statement::{Encoded, Idempotency, OwnedStatement, Statement},
};
use crate::{backoff::Backoff, settings::Switch, telemetry::traces::ClientSpan};

/// The acquire timeout once an outage has lasted for longer than the usual one: longer than the pause between two attempts to
/// connect, so that each request sees one.
const OUTAGE_WAIT: Duration = Duration::from_millis(500);

/// How long an outage must have lasted for it to be why nobody gets a connection.
const OUTAGE_MIN: Duration = Duration::from_millis(250);

/// How often a request that waits for a connection looks whether an outage has begun.
const OUTAGE_LOOK: Duration = Duration::from_millis(100);

/// How often a statement is sent again that the server rolled back in favour of others; the pauses before it, up to these, at random.
/// Where every transaction is serializable, even reads lose against writes.
const CONFLICTS_MAX: u32 = 5;
const CONFLICT_PAUSE_MIN: Duration = Duration::from_millis(5);
const CONFLICT_PAUSE_MAX: Duration = Duration::from_millis(50);

/// How much of an owner's share their costly statements may hold, in percent, but at least one connection: the others are
/// left for what is over at once.
const COSTLY_PERCENT: u8 = 50;

/// How long a connection in doubt may take to answer a probe.
const PROBE_WAIT: Duration = Duration::from_millis(500);

impl Idempotency {
    fn may_be_repeated_after(self, error: &DatabaseError) -> bool {
        match error.kind {
            DatabaseErrorKind::Lost | DatabaseErrorKind::Transient => {
                error.not_applied || self != Self::NotIdempotent
            }
            // The time is spent, or it would fail again.
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
    /// The queue during an outage, when there are fewer connections than permits.
    outage_queue: Arc<Mutex<()>>,
    shares: Option<OwnersShares>,
    lanes: Arc<Lanes>,
    /// Whether statements are sent as calls where they can be.
    calls: Arc<Calls>,
    manager: Manager,
    size: u32,
    wait: Duration,
    query: Duration,
    /// How long each statement waited for a connection, in seconds.
    waits: Histogram,
}

/// How many connections each owner may hold, and how many of them by costly statements.
#[derive(Clone)]
struct OwnersShares {
    all: Arc<Shares>,
    costly: Arc<Shares>,
}

type Pooled = bb8::PooledConnection<'static, Manager>;

/// A statement and, if it is an owner's, whose.
#[derive(Clone, Copy)]
struct Asked<'a> {
    statement: &'a Statement,
    parameters: &'a [&'a (dyn ToSql + Sync)],
    owner: Option<(&'a str, &'a OwnedStatement)>,
}

/// A connection. Its fields drop in this order: the connection is back before the next in the queue gets the permit.
pub(super) struct Lease {
    connection: Pooled,
    _permit: OwnedSemaphorePermit,
}

impl Lease {
    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }
}

/// What an owner's statement takes of their share.
struct Part {
    _all: Option<Share>,
    _costly: Option<Share>,
}

impl Pool {
    /// A pool that opens connections when they are needed. Needs a Tokio runtime, and measures with the recorder that
    /// is installed by now.
    pub fn new(dsn: Dsn, settings: &DatabaseSettings) -> Self {
        dsn.warn();
        let named = settings.named_statements == Switch::On && !dsn.forbids_names();
        let calls = Arc::new(Calls::of(dsn.application()));
        let manager = Manager::new(dsn, settings.connect, settings.max_lifetime, named);
        let connections = bb8::Pool::builder()
            .max_size(settings.pool_max)
            // The one used last is used next, so that surplus ones idle and are closed.
            .queue_strategy(QueueStrategy::Lifo)
            .idle_timeout(settings.idle_timeout)
            .max_lifetime(settings.max_lifetime)
            .connection_timeout(settings.acquire_timeout)
            // The manager does, as long as somebody waits: bb8 does it ever more seldom, and by as many tasks as there are places.
            .retry_connection(false)
            .build_unchecked(manager.clone());
        Self {
            connections,
            queue: Arc::new(Semaphore::new(settings.pool_max as usize)),
            outage_queue: Arc::default(),
            shares: None,
            lanes: Arc::new(Lanes::of(settings.pool_max)),
            calls,
            manager,
            size: settings.pool_max,
            wait: settings.acquire_timeout,
            query: settings.query,
            waits: metrics::histogram!(crate::metrics::DATABASE_ACQUIRE.name),
        }
    }

    /// Bounds how many of the connections one owner's statements may hold at one time, abandoned ones included; costly ones
    /// may hold half of that.
    #[must_use]
    pub fn with_shares(self, percent: u8) -> Self {
        let all = Shares::new(self.size, percent);
        let costly = all.of_each(COSTLY_PERCENT);
        Self { shares: Some(OwnersShares { all, costly }), ..self }
    }

    /// Sends a statement that belongs to no owner. Tables with row-level security show it what they show to nobody in
    /// particular.
    ///
    /// # Errors
    ///
    /// As those of [`Pool::query_of`].
    pub async fn query(
        &self,
        statement: &Statement,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, DatabaseError> {
        self.repeatable(Asked { statement, parameters, owner: None }).await
    }

    /// Sends a statement as part of `owner`'s share, in a transaction in which the server knows the owner: one round trip. Once more
    /// if that is safe; a few times more where it was rolled back in favour of others. Values are parameters, so that there are
    /// few statements.
    ///
    /// Dropping the future abandons the statement: a write that was sent may be carried out.
    ///
    /// # Errors
    ///
    /// [`DatabaseError::not_applied`] says whether the statement certainly changed nothing.
    pub async fn query_of(
        &self,
        owner: &str,
        statement: &OwnedStatement,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, DatabaseError> {
        let owner = Some((owner, statement));
        self.repeatable(Asked { statement: &statement.statement, parameters, owner }).await
    }

    async fn repeatable(&self, asked: Asked<'_>) -> Result<Vec<Row>, DatabaseError> {
        let (begun, mut conflicts, mut repeated) =
            (Instant::now(), Backoff::new(CONFLICT_PAUSE_MIN, CONFLICT_PAUSE_MAX), false);
        // Even if the last attempt was not applied, an earlier one may have been.
        let mut not_applied = true;
        loop {
            let error = match self.attempt(asked).await {
                Ok(rows) => return Ok(rows),
                Err(error) => error,
            };
            not_applied &= error.not_applied;
            let again = asked.statement.idempotency.may_be_repeated_after(&error)
                && if error.is_conflict() { conflicts.failures() < CONFLICTS_MAX } else { !repeated }
                && begun.elapsed() < self.query;
            if !again {
                return Err(DatabaseError { not_applied, ..error });
            }
            info!(cause = %error, "ask the database again");
            metrics::counter!(crate::metrics::DATABASE_RETRIES.name).increment(1);
            if error.is_conflict() {
                conflicts.fail("");
                sleep(conflicts.jittered_wait()).await;
            } else {
                repeated = true;
            }
        }
    }

    async fn attempt(&self, asked: Asked<'_>) -> Result<Vec<Row>, DatabaseError> {
        let statement = asked.statement;
        let span = ClientSpan::begin(statement.name)
            .map(|span| span.with("db.system.name", "postgresql").with("db.operation.name", statement.name));
        let answer = match self.ask(asked).await {
            // Names are given up now, so this happens once.
            Ok(Answer::Misnamed) => Box::pin(self.ask(asked)).await,
            answer => answer,
        };
        let error = match answer {
            Ok(Answer::Rows(rows)) => {
                if let Some(span) = span {
                    span.done();
                }
                return Ok(rows);
            }
            Ok(Answer::Misnamed) => DatabaseError::foreign(statement.name),
            Ok(Answer::Error(error)) | Err(error) => error,
        };
        if let Some(span) = span {
            span.failed(error.kind.name());
        }
        metrics::counter!(crate::metrics::DATABASE_ERRORS.name, "kind" => error.kind.name()).increment(1);
        Err(DatabaseError {
            not_applied: error.not_applied || statement.idempotency == Idempotency::ReadOnly,
            ..error
        })
    }

    /// Sends it as a call, if there is one and the server takes it.
    async fn ask(&self, asked: Asked<'_>) -> Result<Answer, DatabaseError> {
        let call =
            asked.owner.and_then(|(owner, statement)| Some((owner, statement.call()?, statement.is_alone)));
        let Some((owner, call, is_alone)) = call.filter(|_| self.calls.may_be_sent()) else {
            return Box::pin(self.ask_itself(asked)).await;
        };
        let parameters = call.encoded(asked.parameters).map_err(DatabaseError::fault)?;
        // Boxed, or each of the ways would be part of every request, and of its stack.
        let answer = if call.idempotency == Idempotency::ReadOnly && !is_alone {
            Box::pin(self.ask_among_others(owner, call, parameters)).await?
        } else {
            Box::pin(self.ask_alone(Some(owner), call, None, parameters)).await?
        };
        match answer {
            Answer::Error(error) if error.is_of_the_call() => {
                let answer = Box::pin(self.ask_itself(asked)).await;
                // If that fails as well, it was not the call's fault.
                if matches!(answer, Ok(Answer::Rows(_))) {
                    self.calls.refused(&error);
                }
                answer
            }
            answer => {
                if matches!(answer, Answer::Rows(_)) {
                    self.calls.answered();
                }
                Ok(answer)
            }
        }
    }

    async fn ask_itself(&self, asked: Asked<'_>) -> Result<Answer, DatabaseError> {
        let Asked { statement, parameters, owner } = asked;
        let parameters = statement.encoded(parameters).map_err(DatabaseError::fault)?;
        let told = owner.map(|(owner, statement)| statement.owner(owner));
        self.ask_alone(owner.map(|(owner, _)| owner), statement, told, parameters).await
    }

    /// Sends it over a connection that nobody else uses meanwhile; with who its owner is, if the server is to be told.
    async fn ask_alone(
        &self,
        owner: Option<&str>,
        statement: &Statement,
        told: Option<Vec<Encoded>>,
        parameters: Vec<Encoded>,
    ) -> Result<Answer, DatabaseError> {
        let taken = self.waited(async |deadline| {
            let part = self.part(owner, statement.is_costly, deadline).await?;
            Ok((self.lease(deadline).await?, part))
        });
        let (mut lease, part) = taken.await?;
        let link = lease.connection.link().clone();
        let asked = statement.clone();
        let work = async move {
            let answer = match told {
                None => lease.connection.ask(&asked, parameters).await,
                Some(owner) => lease.connection.ask_of(owner, &asked, parameters).await,
            };
            ((lease, part), answer)
        };
        let flight = Flight::new(link, (statement.name, statement.idempotency), self.query, work);
        flight.land().await.map(|(_turn, answer)| answer)
    }

    /// Sends it over a connection that others use, too.
    async fn ask_among_others(
        &self,
        owner: &str,
        call: &Statement,
        parameters: Vec<Encoded>,
    ) -> Result<Answer, DatabaseError> {
        let taken = self.waited(async |deadline| {
            let part = self.part(Some(owner), call.is_costly, deadline).await?;
            let late = || (self.why_late(), "no place on a connection");
            Ok((self.lanes.take(deadline, self.lease(deadline), late).await?, part))
        });
        let ((seat, attention), part) = taken.await?;
        let (link, asked) = (seat.connection().link().clone(), call.clone());
        let work = async move {
            let answer = seat.connection().ask(&asked, parameters).await;
            seat.answered();
            ((seat, part), answer)
        };
        let flight = Flight::new(link, (call.name, call.idempotency), self.query, work).among(attention);
        flight.land().await.map(|(_seat, answer)| answer)
    }

    /// How long a request may wait for what it needs before a statement: the acquire timeout, or less during an outage. Requests
    /// must not pile up then, and a moment is enough to see that it is over.
    pub fn patience(&self) -> Duration {
        let lasting = self.manager.outage().is_some_and(|outage| outage > self.wait);
        if lasting { OUTAGE_WAIT.min(self.wait) } else { self.wait }
    }

    /// Why somebody waited in vain: those in front may be waiting for a connection that can't be made.
    pub fn why_late(&self) -> DatabaseErrorKind {
        let away = self.manager.outage().is_some_and(|outage| outage > OUTAGE_MIN);
        if away { DatabaseErrorKind::Unreachable } else { DatabaseErrorKind::Busy }
    }

    /// What `take` waits for, no longer than until a deadline that it is told.
    async fn waited<T>(
        &self,
        take: impl AsyncFnOnce(Instant) -> Result<T, (DatabaseErrorKind, &'static str)>,
    ) -> Result<T, DatabaseError> {
        let begun = Instant::now();
        let wait = self.patience();
        let taken = take(begun + wait).await;
        self.waits.record(begun.elapsed());
        taken.map_err(|(kind, cause)| DatabaseError::before(kind, format!("{cause} within {wait:?}")))
    }

    /// Waits for the owner's share until `deadline`.
    async fn part(
        &self,
        owner: Option<&str>,
        is_costly: bool,
        deadline: Instant,
    ) -> Result<Part, (DatabaseErrorKind, &'static str)> {
        let (mut all, mut costly) = (None, None);
        if let (Some(shares), Some(owner)) = (&self.shares, owner) {
            let full = || (self.why_late(), "the user's share of the connections was not free");
            // First, so that one that waits here keeps no other statement of its owner waiting.
            if is_costly {
                costly = Some(shares.costly.take(owner, deadline).await.ok_or_else(full)?);
            }
            all = Some(shares.all.take(owner, deadline).await.ok_or_else(full)?);
        }
        Ok(Part { _all: all, _costly: costly })
    }

    /// Waits for the queue and for a connection, until `deadline`.
    async fn lease(&self, deadline: Instant) -> Result<Lease, (DatabaseErrorKind, &'static str)> {
        use DatabaseErrorKind::Unreachable;
        let permit = timeout_at(deadline, self.queue.clone().acquire_owned()).await;
        let permit = permit
            .map_err(|_| (self.why_late(), "no connection"))?
            .map_err(|_| (Unreachable, "no connection"))?;
        loop {
            let connection = self.connection(deadline).await.ok_or((Unreachable, "no connection"))?;
            let connection =
                if connection.is_doubted() { probed(connection).await } else { Some(connection) };
            if let Some(connection) = connection {
                return Ok(Lease { connection, _permit: permit });
            }
            if Instant::now() >= deadline {
                return Err((Unreachable, "no connection"));
            }
        }
    }

    /// Waits for a connection until `deadline`.
    async fn connection(&self, deadline: Instant) -> Option<Pooled> {
        let _wanted = self.manager.wanted();
        let mut first = None;
        loop {
            // While no connection can be made, one that comes back must go to the first in the queue.
            if self.manager.outage().is_none() {
                first = None;
            } else if first.is_none() {
                first = Some(timeout_at(deadline, self.outage_queue.lock()).await.ok()?);
                continue;
            }
            // Then look again: an outage may have begun or ended, and an attempt that ended while nobody waited is not repeated.
            let until = deadline.min(Instant::now() + OUTAGE_LOOK);
            match timeout_at(until, self.connections.get_owned()).await {
                Ok(connection) => return connection.ok(),
                Err(_) if until == deadline => return None,
                Err(_) => {}
            }
        }
    }
}

/// The connection, if it answers a probe.
async fn probed(mut connection: Pooled) -> Option<Pooled> {
    let link = connection.link().clone();
    let work = async move {
        let answer = connection.probe().await;
        (connection, answer)
    };
    let answer = Flight::probe(link, PROBE_WAIT, work).land().await;
    let there = matches!(answer, Ok((_, Answer::Rows(_))));
    metrics::counter!(crate::metrics::DATABASE_PROBES.name, "result" => if there { "ok" } else { "lost" })
        .increment(1);
    answer.ok().filter(|_| there).map(|(connection, _)| connection)
}
