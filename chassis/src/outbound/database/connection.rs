//! One connection to the database, which knows what it has prepared and when it must not be used any more.
//!
//! The stock manager for this pool probes a connection before each use, and prepares each statement anew: three round
//! trips where one will do. Here a statement has no name and goes with its parameters in one message, which no pooler
//! can take apart; or, if the settings say that names are safe, it is prepared once.

use std::{
    collections::HashMap,
    error::Error as _,
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::future::join4;
use thiserror::Error;
use tokio::{
    sync::SetOnce,
    task::AbortHandle,
    time::{Instant, timeout},
};
use tokio_postgres::{
    Client, Row,
    error::{Severity, SqlState},
};
use tracing::{debug, warn};

use super::{
    dsn::Dsn,
    error::{DatabaseError, DatabaseErrorKind, described},
    group::Group,
    outage::{self, Presence, Wanted},
    sqlstate::{self, ConnectionAfter},
    statement::{Encoded, OWNER, Statement},
    tls::is_distrust,
};

/// How long the driver may take to report how a connection ended, after it has reported that it did.
const END_WAIT: Duration = Duration::from_millis(100);

/// How much of its lifetime a connection has at least; the rest is random, so that connections of one age don't all
/// expire at once.
const LIFETIME_MIN: f64 = 0.8;

/// Opens the transaction of an owner's statement. Whatever the role's default is: statements rely on seeing what was committed
/// while they waited for a row.
const BEGIN: &str = "begin isolation level read committed";

/// Ends it. A server that has refused part of it rolls back, and calls that no error.
const END: &str = "commit";

/// Why there is no connection. The text is for the log; it has no password in it.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// It took too long.
    #[error("no connection within {0:?}")]
    TimedOut(Duration),
    /// The operating system or the server refused it.
    #[error("{}", described(.0))]
    Refused(#[from] tokio_postgres::Error),
}

impl ConnectError {
    /// Whether somebody is there who does not let us in: another attempt in a moment will most likely end alike.
    pub(super) fn is_refusal(&self) -> bool {
        let Self::Refused(error) = self else { return false };
        match error.code() {
            Some(code) => sqlstate::is_refusal(code),
            None => is_distrust(error),
        }
    }
}

/// Opens a connection within `wait`. Where attempts hang, others are begun beside the first.
pub async fn open(dsn: &Dsn, wait: Duration) -> Result<(Client, AbortHandle), ConnectError> {
    let opened = outage::alone(|wait| open_noting(dsn, wait, Arc::default()), wait).await;
    outage::show(&dsn.application(), opened.as_ref().is_err_and(|error| !error.is_refusal()));
    opened
}

/// The same; `ended_idle` is set when it ends: whether nothing was in flight then.
async fn open_noting(
    dsn: &Dsn,
    wait: Duration,
    ended_idle: Arc<SetOnce<bool>>,
) -> Result<(Client, AbortHandle), ConnectError> {
    let opened = timeout(wait, dsn.config.connect(dsn.tls.clone())).await;
    let (client, mut connection) = opened.map_err(|_| ConnectError::TimedOut(wait))??;
    let task = tokio::spawn(async move {
        let _open = Open::counted();
        let ended = (&mut connection).await;
        let idle = ended.as_ref().is_err_and(says_nothing_was_sent);
        // Before requests learn that the connection is gone.
        let _ = ended_idle.set(idle);
        drop(connection);
        if let Err(error) = ended {
            debug!(error = described(&error), "connection ended");
        }
    });
    Ok((client, task.abort_handle()))
}

/// Whether the end of a connection proves that the statement which was waiting had not been sent, or not as a whole.
fn says_nothing_was_sent(end: &tokio_postgres::Error) -> bool {
    // An error that answers no statement was sent while there was none.
    let unasked = end.as_db_error().is_some();
    // The other side was gone when we wrote, and without the end of the message the server commits nothing.
    let cause = end.source().and_then(|cause| cause.downcast_ref::<io::Error>());
    unasked || cause.is_some_and(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

/// Counts a connection for as long as it is open.
struct Open;

impl Open {
    fn counted() -> Self {
        metrics::gauge!(crate::metrics::DATABASE_CONNECTIONS.name).increment(1.0);
        Self
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        metrics::gauge!(crate::metrics::DATABASE_CONNECTIONS.name).decrement(1.0);
    }
}

/// Opens the connections of a pool, and knows which can still be used without asking the server.
#[derive(Clone)]
pub(super) struct Manager(Arc<Shared>);

/// What all connections of a pool have in common.
struct Shared {
    dsn: Dsn,
    /// How long opening a connection may take.
    wait: Duration,
    /// Its maximum lifetime, less a random fifth.
    life: Duration,
    /// Whether statements are prepared under names.
    named: AtomicBool,
    /// Connections of an earlier generation are not used any more.
    generation: AtomicU64,
    /// Counts doubts. A connection that has not been proved since the last one is probed before it is used.
    doubts: AtomicU64,
    presence: Presence,
}

impl Manager {
    pub(super) fn new(dsn: Dsn, wait: Duration, life: Duration, named: bool) -> Self {
        let presence = Presence::new(dsn.application(), wait);
        let shared = Shared {
            dsn,
            wait,
            life,
            named: AtomicBool::new(named),
            generation: AtomicU64::new(0),
            doubts: AtomicU64::new(0),
            presence,
        };
        shared.show_named(named);
        Self(Arc::new(shared))
    }

    /// For how long no connection could be made; see [`Presence::outage`].
    pub(super) fn outage(&self) -> Option<Duration> {
        self.0.presence.outage()
    }

    /// Counts somebody who waits for a connection, until this is dropped.
    pub(super) fn wanted(&self) -> Wanted<'_> {
        self.0.presence.wanted()
    }

    /// Opens a connection within `wait`.
    async fn open(&self, wait: Duration) -> Result<Connection, ConnectError> {
        let shared = &self.0;
        // Before the attempt: a loss in the meantime puts this one in doubt, too.
        let (generation, doubts) = (shared.generation(), shared.doubts());
        let ended_idle = Arc::new(SetOnce::new());
        let opened = open_noting(&shared.dsn, wait, ended_idle.clone()).await;
        let result = if opened.is_ok() { "ok" } else { "error" };
        metrics::counter!(crate::metrics::DATABASE_CONNECTS.name, "result" => result).increment(1);
        let (client, task) = opened?;
        let life = shared.life.mul_f64(LIFETIME_MIN + (1.0 - LIFETIME_MIN) * fastrand::f64());
        let (retired, lost) = (AtomicBool::new(false), AtomicBool::new(false));
        let link = Link { client, task, retired, lost, ended_idle, generation, shared: shared.clone() };
        Ok(Connection {
            link: Arc::new(link),
            statements: Mutex::default(),
            expires: Instant::now() + life,
            doubts,
        })
    }
}

impl Shared {
    fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// A connection of this generation was lost. The others of its age are most likely lost, too (a restart, a
    /// suspended database), and just don't know it yet: a retry must not get one of those.
    fn lost(&self, generation: u64) {
        let next = generation + 1;
        // Of many that are lost together only the first begins a new generation.
        let _ = self.generation.compare_exchange(generation, next, Ordering::AcqRel, Ordering::Acquire);
    }

    fn doubts(&self) -> u64 {
        self.doubts.load(Ordering::Acquire)
    }

    fn is_named(&self) -> bool {
        self.named.load(Ordering::Acquire)
    }

    fn show_named(&self, named: bool) {
        let application = self.dsn.application();
        metrics::gauge!(crate::metrics::DATABASE_NAMED_STATEMENTS.name, "application" => application)
            .set(f64::from(u8::from(named)));
    }

    /// Names turned out to be shared with other clients.
    fn give_up_names(&self, cause: &str) {
        if self.named.swap(false, Ordering::AcqRel) {
            warn!(
                cause,
                "a pooler that does not track prepared statements; going on without them (set …_DATABASE__NAMED_STATEMENTS=off)"
            );
            self.show_named(false);
        }
    }
}

/// There is no connection, or none that may be used. Why, was logged where it was seen.
#[derive(Debug)]
pub(super) struct NoConnection;

impl bb8::ManageConnection for Manager {
    type Connection = Connection;
    type Error = NoConnection;

    async fn connect(&self) -> Result<Connection, NoConnection> {
        self.0.presence.connect(|wait| self.open(wait)).await.ok_or(NoConnection)
    }

    async fn is_valid(&self, connection: &mut Connection) -> Result<(), NoConnection> {
        let link = &connection.link;
        let good = connection.expires > Instant::now()
            && !link.is_unusable()
            && link.generation == self.0.generation();
        if good { Ok(()) } else { Err(NoConnection) }
    }

    fn has_broken(&self, connection: &mut Connection) -> bool {
        connection.link.is_unusable()
    }
}

/// A connection and what it has prepared.
pub(super) struct Connection {
    link: Arc<Link>,
    statements: Mutex<HashMap<&'static str, tokio_postgres::Statement>>,
    expires: Instant,
    /// The last doubt that this connection has been proved after.
    doubts: u64,
}

/// The part of a connection that a waiting request shares with it.
pub(super) struct Link {
    client: Client,
    task: AbortHandle,
    /// Nobody else must use it any more.
    retired: AtomicBool,
    /// It counts as lost, once for all that were in flight on it.
    lost: AtomicBool,
    /// Set when it ends: whether nothing was in flight then.
    ended_idle: Arc<SetOnce<bool>>,
    generation: u64,
    shared: Arc<Shared>,
}

/// The outcome of a statement.
pub(super) enum Answer {
    Rows(Vec<Row>),
    /// The name stood for another client's statement. Ours was not carried out, and may be sent without a name.
    Misnamed,
    Error(DatabaseError),
}

impl Connection {
    pub(super) fn link(&self) -> &Arc<Link> {
        &self.link
    }

    /// Whether it must be probed before it is used.
    pub(super) fn is_doubted(&self) -> bool {
        self.doubts < self.link.shared.doubts()
    }

    /// Whether nothing is known against another statement on it, by what has happened since it left the pool.
    pub(super) fn is_good_still(&self) -> bool {
        let link = &self.link;
        !link.is_unusable() && link.generation == link.shared.generation() && !self.is_doubted()
    }

    /// Sends an empty query.
    pub(super) async fn probe(&mut self) -> Answer {
        let doubts = self.link.shared.doubts();
        match self.link.client.simple_query("").await {
            Ok(_) => {
                self.link.shared.presence.note_answer();
                self.doubts = doubts;
                Answer::Rows(Vec::new())
            }
            Err(error) => {
                // Whatever it says, a pooler with no server behind it for instance: nobody is served by it.
                self.link.retire();
                Answer::Error(self.link.failed(&error, true))
            }
        }
    }

    /// Sends a statement that is one message by itself, and waits for its answer. Others may do so at the same time.
    pub(super) async fn ask(&self, statement: &Statement, parameters: Vec<Encoded>) -> Answer {
        let named = self.link.shared.is_named();
        let prepared = if named { Some(self.prepared(statement).await) } else { None };
        // Over a closed connection nothing is sent.
        let mut sent = !self.link.client.is_closed();
        let answer = match prepared {
            None => send(&self.link.client, statement, None, parameters).await,
            Some(Ok(prepared)) => send(&self.link.client, statement, Some(&prepared), parameters).await,
            Some(Err(error)) => {
                sent = false;
                Err(error)
            }
        };
        match answer {
            Ok(rows) => self.answered(statement, rows, named),
            Err(error) if named && is_misnamed(&error) => self.misnamed(&error),
            Err(error) => {
                let sent = self.was_sent(sent, &error).await;
                Answer::Error(self.refused(statement, &error, sent))
            }
        }
    }

    /// Tells the server whom a statement is about, sends it, and waits for the answers: all in one transaction, and in one
    /// round trip. Nobody else may use the connection meanwhile: it is borrowed for writing.
    ///
    /// What is sent is on its way when this is first polled, as a whole: dropping it later leaves no transaction open.
    pub(super) async fn ask_of(
        &mut self,
        owner: Vec<Encoded>,
        statement: &Statement,
        parameters: Vec<Encoded>,
    ) -> Answer {
        let named = self.link.shared.is_named();
        let mut prepared = (None, None);
        if named {
            // Before the transaction: what is prepared within it would run behind its end.
            for (place, statement) in [(&mut prepared.0, &OWNER), (&mut prepared.1, statement)] {
                *place = match self.prepared(statement).await {
                    Ok(prepared) => Some(prepared),
                    Err(error) if is_misnamed(&error) => return self.misnamed(&error),
                    Err(error) => return Answer::Error(self.refused(statement, &error, false)),
                };
            }
        }
        let client = &self.link.client;
        let sent = !client.is_closed();
        // Each is sent when it is first polled, and `join4` polls in this order.
        let (begun, told, answer, ended) = join4(
            client.batch_execute(BEGIN),
            send(client, &OWNER, prepared.0.as_ref(), owner),
            send(client, statement, prepared.1.as_ref(), parameters),
            client.batch_execute(END),
        )
        .await;
        if begun.is_err() || ended.is_err() {
            // The transaction may be open still.
            self.link.retire();
        }
        let told = told.map(|rows| OWNER.own(rows).is_some());
        let is_untold = matches!(told, Ok(false));
        match Group::of(begun, told, answer, ended) {
            Group::Done(rows) => self.answered(statement, rows, named),
            Group::Untold(rows) => {
                let answer = self.answered(statement, rows, named);
                if !matches!(answer, Answer::Rows(_)) {
                    return answer;
                }
                // It ran, and for nobody: what row-level security doesn't bind may have been changed.
                self.foreign(named);
                Answer::Error(DatabaseError { not_applied: false, ..DatabaseError::foreign(OWNER.name) })
            }
            Group::Failed { error, not_applied: true } if named && is_misnamed(&error) => {
                self.misnamed(&error)
            }
            // For nobody, it was refused.
            Group::Failed { not_applied: true, .. } if named && is_untold => {
                self.foreign(named);
                Answer::Misnamed
            }
            Group::Failed { error, not_applied } => {
                let sent = self.was_sent(sent, &error).await;
                let failed = self.refused(statement, &error, sent);
                Answer::Error(DatabaseError { not_applied: not_applied || !sent, ..failed })
            }
        }
    }

    /// Prepares a statement, once per connection.
    async fn prepared(
        &self,
        statement: &Statement,
    ) -> Result<tokio_postgres::Statement, tokio_postgres::Error> {
        if let Some(prepared) = self.statements().get(statement.name) {
            return Ok(prepared.clone());
        }
        let prepared = self.link.client.prepare_typed(&statement.sql, &statement.all_types()).await?;
        // If somebody else has done so meanwhile, theirs; ours is closed when it is dropped.
        Ok(self.statements().entry(statement.name).or_insert(prepared).clone())
    }

    fn statements(&self) -> MutexGuard<'_, HashMap<&'static str, tokio_postgres::Statement>> {
        self.statements.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what came as the answer.
    fn answered(&self, statement: &Statement, rows: Vec<Row>, named: bool) -> Answer {
        if let Some(rows) = statement.own(rows) {
            self.link.shared.presence.note_answer();
            return Answer::Rows(rows);
        }
        self.foreign(named);
        if named { Answer::Misnamed } else { Answer::Error(DatabaseError::foreign(statement.name)) }
    }

    /// The answer to another statement has come.
    fn foreign(&self, named: bool) {
        self.link.retire();
        metrics::counter!(crate::metrics::DATABASE_FOREIGN_ANSWERS.name).increment(1);
        if named {
            self.link.shared.give_up_names("the answer to another statement");
        }
    }

    fn misnamed(&self, error: &tokio_postgres::Error) -> Answer {
        self.link.retire();
        self.link.shared.give_up_names(&described(error));
        Answer::Misnamed
    }

    /// Whether what was handed to the driver may have reached the server.
    async fn was_sent(&self, handed: bool, error: &tokio_postgres::Error) -> bool {
        handed && !(error.is_closed() && self.link.ended_idle().await)
    }

    /// Takes in an error as the answer to a statement that was `sent` or not.
    fn refused(&self, statement: &Statement, error: &tokio_postgres::Error, sent: bool) -> DatabaseError {
        let failed = self.link.failed(error, sent);
        let raced = statement.has_lost_the_race(error);
        let kind = if raced { DatabaseErrorKind::Transient } else { failed.kind };
        DatabaseError { kind, ..failed }
    }
}

/// Sends a statement, by its name if it was prepared, and waits for its answer.
async fn send(
    client: &Client,
    statement: &Statement,
    prepared: Option<&tokio_postgres::Statement>,
    parameters: Vec<Encoded>,
) -> Result<Vec<Row>, tokio_postgres::Error> {
    let rows = match prepared {
        Some(prepared) => client.query_raw(prepared, parameters).await?,
        None => {
            let parameters = parameters.into_iter().zip(statement.all_types());
            client.query_typed_raw(&statement.sql, parameters).await?
        }
    };
    statement.rows(rows).await
}

/// Whether an error shows that a name stands for nothing, or for another client's statement. Ours was not carried out
/// then.
fn is_misnamed(error: &tokio_postgres::Error) -> bool {
    let Some(said) = error.as_db_error() else { return false };
    let telling = [
        SqlState::INVALID_SQL_STATEMENT_NAME,
        SqlState::DUPLICATE_PSTATEMENT,
        // It takes another number of parameters, or of other types.
        SqlState::PROTOCOL_VIOLATION,
        SqlState::INVALID_BINARY_REPRESENTATION,
        SqlState::CHARACTER_NOT_IN_REPERTOIRE,
    ];
    // A pooler that closes the connection sends one of these codes too, as fatal.
    telling.contains(said.code()) && said.parsed_severity() == Some(Severity::Error)
}

impl Link {
    /// Takes in an error on this connection.
    fn failed(&self, error: &tokio_postgres::Error, sent: bool) -> DatabaseError {
        match error.as_db_error().map(|said| sqlstate::meaning_of(said).connection) {
            Some(ConnectionAfter::Kept) => self.shared.presence.note_answer(),
            Some(ConnectionAfter::Closed) | None => self.retire(),
        }
        let error = DatabaseError::of(error, sent);
        if error.kind == DatabaseErrorKind::Lost {
            self.lose("broken");
        }
        error
    }

    /// It was lost, and with it most likely those of its age. Returns whether that is news.
    fn lose(&self, how: &'static str) -> bool {
        let is_news = !self.lost.swap(true, Ordering::AcqRel);
        if is_news {
            metrics::counter!(crate::metrics::DATABASE_CONNECTIONS_LOST.name, "how" => how).increment(1);
            self.shared.lost(self.generation);
        }
        is_news
    }

    /// Whether it ended while nothing was in flight.
    async fn ended_idle(&self) -> bool {
        // The driver reports that a moment before or after the end itself.
        timeout(END_WAIT, self.ended_idle.wait()).await.is_ok_and(|idle| *idle)
    }

    fn is_unusable(&self) -> bool {
        self.retired.load(Ordering::Acquire) || self.client.is_closed()
    }

    /// Nobody else will use it.
    pub(super) fn retire(&self) {
        self.retired.store(true, Ordering::Release);
    }

    /// A statement was not answered in time: idle connections are probed before they are used again.
    pub(super) fn doubt(&self) {
        self.shared.doubts.fetch_add(1, Ordering::AcqRel);
    }

    /// Ends it, with all that is in flight on it.
    pub(super) fn close(&self) {
        self.retire();
        self.task.abort();
    }

    /// It doesn't answer any more. No connection of its age is used any more.
    pub(super) fn fell_silent(&self) {
        // First: what else is in flight on it ends as on one that broke.
        if self.lose("silent") {
            warn!("a connection to the database has fallen silent; it is replaced, and those as old as it");
        }
        // The driver would keep the socket open in case an answer comes after all.
        self.close();
    }

    /// Asks the server to cancel the statement: one that nobody waits for must not hold its locks.
    pub(super) async fn cancel(&self) {
        let token = self.client.cancel_token();
        let cancelled = timeout(self.shared.wait, token.cancel_query(self.shared.dsn.tls.clone())).await;
        if !matches!(cancelled, Ok(Ok(()))) {
            debug!("a statement could not be cancelled");
        }
    }
}
