//! One connection to the database, which knows the statements it has prepared and when it is no good any more.
//!
//! The stock manager for this pool asks the server whether it is there before each use, and prepares each statement
//! anew: three round trips for what takes one.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use thiserror::Error;
use tokio::{
    task::AbortHandle,
    time::{Instant, timeout},
};
use tokio_postgres::{Client, Row, Statement, types::ToSql};
use tracing::{debug, info, warn};

use super::{
    dsn::Dsn,
    error::{DatabaseError, DatabaseErrorKind, described},
};

/// Why there is no connection. The text is for the log; it has no password in it.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// Too slow.
    #[error("no connection within {0:?}")]
    TimedOut(Duration),
    /// Refused, by the system or by the server.
    #[error("{}", described(.0))]
    Refused(#[from] tokio_postgres::Error),
    /// It was good once.
    #[error("the connection is no longer good")]
    Spent,
}

/// Opens a connection, within `wait`.
pub async fn open(dsn: &Dsn, wait: Duration) -> Result<(Client, AbortHandle), ConnectError> {
    let opened = timeout(wait, dsn.config.connect(dsn.tls.clone())).await;
    let (client, connection) = opened.map_err(|_| ConnectError::TimedOut(wait))??;
    let task = tokio::spawn(async move {
        let _open = Open::counted();
        if let Err(error) = connection.await {
            debug!(error = described(&error), "connection ended");
        }
    });
    Ok((client, task.abort_handle()))
}

/// Counts a connection for as long as it is there, however it ends.
struct Open;

impl Open {
    fn counted() -> Self {
        metrics::gauge!("database_connections").increment(1.0);
        Self
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        metrics::gauge!("database_connections").decrement(1.0);
    }
}

/// Makes the connections of a pool, and tells the good from the bad without asking the server.
#[derive(Clone)]
pub(super) struct Manager(Arc<Origin>);

/// What all connections of a pool have in common.
struct Origin {
    dsn: Dsn,
    /// How long a connection may take to stand.
    wait: Duration,
    /// After about this it is replaced.
    life: Duration,
    /// Connections of an earlier generation are in doubt.
    generation: AtomicU64,
    outage: Mutex<Option<Outage>>,
}

/// No connection can be made.
struct Outage {
    /// When that was first seen.
    since: Instant,
    /// When it was last seen.
    seen: Instant,
}

impl Manager {
    pub(super) fn new(dsn: Dsn, wait: Duration, life: Duration) -> Self {
        let (generation, outage) = (AtomicU64::new(0), Mutex::new(None));
        Self(Arc::new(Origin { dsn, wait, life, generation, outage }))
    }

    /// For how long no connection could be made; `None` if the last attempt went well, or is too long ago to say
    /// anything about now.
    pub(super) fn outage(&self) -> Option<Duration> {
        let outage = self.0.lock_outage();
        outage.as_ref().filter(|outage| self.0.is_current(outage)).map(|outage| outage.since.elapsed())
    }
}

impl Origin {
    fn lock_outage(&self) -> MutexGuard<'_, Option<Outage>> {
        self.outage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether another attempt would have been seen to fail meanwhile.
    fn is_current(&self, outage: &Outage) -> bool {
        outage.seen.elapsed() <= self.wait * 2
    }

    fn connected(&self) {
        if let Some(outage) = self.lock_outage().take() {
            info!(secs = outage.since.elapsed().as_secs(), "the database is back");
        }
    }

    fn failed(&self, error: &ConnectError) {
        let now = Instant::now();
        let mut outage = self.lock_outage();
        match &mut *outage {
            // Once is news; the same outage a second later is not.
            Some(known) if self.is_current(known) => {
                known.seen = now;
                debug!(%error, "connect to the database");
            }
            _ => {
                warn!(%error, "connect to the database; trying again");
                *outage = Some(Outage { since: now, seen: now });
            }
        }
    }

    fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// A connection of this generation was lost. Where one goes, the others have mostly gone too (a restart, a
    /// suspended database) and just don't know it yet; whoever tries again must not get one of those.
    fn lost(&self, generation: u64) {
        let next = generation + 1;
        // Only the first of many that are lost together begins a new generation.
        let _ = self.generation.compare_exchange(generation, next, Ordering::AcqRel, Ordering::Acquire);
    }
}

impl bb8::ManageConnection for Manager {
    type Connection = Connection;
    type Error = ConnectError;

    async fn connect(&self) -> Result<Connection, ConnectError> {
        let origin = &self.0;
        // Before the attempt: what is lost meanwhile puts this one in doubt too.
        let generation = origin.generation();
        let opened = open(&origin.dsn, origin.wait).await;
        let result = if opened.is_ok() { "ok" } else { "error" };
        metrics::counter!("database_connects_total", "result" => result).increment(1);
        let (client, task) = opened.inspect_err(|error| origin.failed(error))?;
        origin.connected();
        // Connections that were made at one time must not all go at one time.
        let life = origin.life.mul_f64(0.8 + 0.2 * fastrand::f64());
        Ok(Connection {
            client,
            task,
            statements: HashMap::new(),
            spent: false,
            retires: Instant::now() + life,
            generation,
            origin: origin.clone(),
        })
    }

    async fn is_valid(&self, connection: &mut Connection) -> Result<(), ConnectError> {
        let good = !connection.is_spent()
            && connection.retires > Instant::now()
            && connection.generation == self.0.generation();
        if good { Ok(()) } else { Err(ConnectError::Spent) }
    }

    fn has_broken(&self, connection: &mut Connection) -> bool {
        connection.is_spent()
    }
}

/// A connection and what it has prepared.
pub(super) struct Connection {
    client: Client,
    task: AbortHandle,
    statements: HashMap<Box<str>, Statement>,
    /// Something happened after which nobody else should use it.
    spent: bool,
    retires: Instant,
    generation: u64,
    origin: Arc<Origin>,
}

impl Connection {
    /// Asks with a statement that is prepared on first use: from then on one round trip.
    pub(super) async fn query(
        &mut self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
        wait: Duration,
    ) -> Result<Vec<Row>, DatabaseError> {
        let mut sent = false;
        let answer = timeout(wait, async {
            let statement = if let Some(statement) = self.statements.get(sql) {
                statement.clone()
            } else {
                let statement = self.client.prepare(sql).await?;
                self.statements.insert(sql.into(), statement.clone());
                statement
            };
            sent = true;
            self.client.query(&statement, parameters).await
        })
        .await;
        let error = match answer {
            Ok(Ok(rows)) => return Ok(rows),
            Ok(Err(error)) => DatabaseError::of(&error, sent),
            Err(_) => {
                self.cancel();
                // Left to itself the driver would keep the socket until the answer comes after all.
                self.task.abort();
                let cause = format!("no answer within {wait:?}");
                DatabaseError { kind: DatabaseErrorKind::TimedOut, undone: !sent, cause }
            }
        };
        self.spent = error.kind != DatabaseErrorKind::Fault;
        if error.kind == DatabaseErrorKind::Lost {
            self.origin.lost(self.generation);
        }
        Err(error)
    }

    fn is_spent(&self) -> bool {
        self.spent || self.client.is_closed()
    }

    /// Asks the server to give up what it is doing: a statement that nobody waits for must not hold its locks.
    fn cancel(&self) {
        let (token, origin) = (self.client.cancel_token(), self.origin.clone());
        tokio::spawn(async move {
            if !matches!(timeout(origin.wait, token.cancel_query(origin.dsn.tls.clone())).await, Ok(Ok(()))) {
                debug!("a statement could not be cancelled");
            }
        });
    }
}
