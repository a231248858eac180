//! `task-service import`: takes over the tasks that another backend has kept in the same database.
//!
//! One transaction reads, from a snapshot of the old table, user by user, and holds the lock that lets one import run at a
//! time. Another connection writes, a batch in each transaction, and notes the old ids with the tasks. So there is no state
//! to resume from: whatever is noted is passed over, be the import repeated, cut short, or followed by another.

mod choices;
mod progress;
mod report;
mod row;
mod table;
mod taking;

use std::{
    io::{self, Write},
    time::Duration,
};

use chassis::{
    outbound::database::{ConnectError, described, open},
    process::{StartError, signals::Signals},
    settings::Switch,
};
use thiserror::Error;
use time::OffsetDateTime;
use tokio::select;
use tokio_postgres::{Client, IsolationLevel, error::SqlState, types::Type};

pub(crate) use self::choices::Choices;
use self::{
    progress::Progress,
    report::Report,
    row::{Judged, Key, Old, judge},
    table::{CURSOR, Table},
    taking::Taking,
};
use crate::{
    settings::StorePlan,
    store::{PrepareError, Store},
};

/// The most rows of one batch, which are in memory and in one transaction together.
const BATCH_ROWS: usize = 500;

/// The lock by which one import runs at a time: "usherimp". It ends with the transaction that reads.
const LOCK: i64 = 0x7573_6865_7269_6d70;

/// How long the reader's statements may take: sorting all of a table is the longest. Its transaction idles while batches are
/// written, however long the server lets others do so. And what a policy would hide is an error, not absent.
const READER_BOUNDS: &str = "
set local lock_timeout = '30s';
set local statement_timeout = '30min';
set local row_security = off;
set local cursor_tuple_fraction = 1;
select set_config(name, '0', true) from pg_settings
where name in ('idle_in_transaction_session_timeout', 'transaction_timeout')";

/// How long the writer's statements may take; and what is counted as taken is on the disk.
const WRITER_BOUNDS: &str = "
set local lock_timeout = '30s';
set local statement_timeout = '2min';
select set_config('synchronous_commit', 'on', true) where current_setting('synchronous_commit') = 'off'";

/// How long opening a connection may take at least: a sleeping database wakes within this.
const CONNECT_MIN: Duration = Duration::from_secs(15);

/// Why an import ends early. Whatever was taken over before is, and stays so.
#[derive(Debug, Error)]
pub(crate) enum ImportError {
    /// Something has to be decided or put right first.
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    #[error("the database is out of reach: {0}")]
    Connect(#[from] ConnectError),
    #[error("{0}; what was taken over is safe, and run again it goes on from there")]
    Database(String),
    #[error("stopped by {0}; what was taken over is safe, and run again it goes on from there")]
    Stopped(&'static str),
    #[error(transparent)]
    System(#[from] io::Error),
}

impl From<tokio_postgres::Error> for ImportError {
    fn from(error: tokio_postgres::Error) -> Self {
        let said = described(&error);
        match error.code() {
            Some(&SqlState::INSUFFICIENT_PRIVILEGE) => Self::Refused(format!(
                "the role in DATABASE_URL may not do this; import with the one that migrates ({said})"
            )),
            _ => Self::Database(said),
        }
    }
}

impl From<ImportError> for StartError {
    fn from(error: ImportError) -> Self {
        Self::Other(error.into())
    }
}

/// Takes a table over, or says what that would do, until it is asked to stop.
pub(crate) async fn run(plan: StorePlan, migrate: Switch, choices: Choices) -> Result<(), ImportError> {
    // The first process of a container would not hear them otherwise.
    let mut signals = Signals::listen()?;
    select! {
        done = take_over(plan, migrate, choices) => done,
        (signal, _) = signals.next() => Err(ImportError::Stopped(signal)),
    }
}

async fn take_over(plan: StorePlan, migrate: Switch, choices: Choices) -> Result<(), ImportError> {
    let wait = plan.database.connect.max(CONNECT_MIN);
    // By the role that owns the tables, where there is another one that serves.
    let dsn = plan.migrate_dsn.clone().unwrap_or_else(|| plan.dsn.clone());
    if !choices.dry_run {
        let store = Store::new(plan);
        match migrate {
            Switch::On => store.migrate().await?,
            Switch::Off => store.prepare(migrate).await?,
        }
    }
    let (mut reader, _) = open(&dsn, wait).await?;
    let snapshot = reader
        .build_transaction()
        .isolation_level(IsolationLevel::RepeatableRead)
        .read_only(true)
        .start()
        .await?;
    snapshot.batch_execute(READER_BOUNDS).await?;
    let locked =
        snapshot.query_typed_one("select pg_try_advisory_xact_lock($1)", &[(&LOCK, Type::INT8)]).await?;
    if !locked.try_get::<_, bool>(0)? {
        return Err(ImportError::Refused("another import is running; wait until it has ended".into()));
    }
    let table = Table::find(&snapshot, &choices).await?;
    let size = table.open(&snapshot).await.map_err(|error| unreadable(&table, error))?;
    say(&table.described(&size))?;

    let (mut writer, _) = open(&dsn, wait).await?;
    let taking = if choices.dry_run {
        Taking::look_only(&writer, &table.name).await?
    } else {
        Taking::begin(&mut writer, &table.name).await?
    };
    let mut import = Import { choices, taking, report: Report::default(), now: now(), last: None };
    let mut progress = Progress::of(size.rows);
    let fetch = format!("fetch forward {BATCH_ROWS} from {CURSOR}");
    loop {
        let rows = snapshot.query_typed(&fetch, &[]).await?;
        if rows.is_empty() {
            break;
        }
        let batch = rows.iter().map(Old::read).collect::<Result<Vec<_>, _>>()?;
        import.batch(&mut writer, &batch).await?;
        progress.at(import.report.rows);
    }
    progress.finish();
    snapshot.rollback().await?;
    let Import { report, choices, taking, .. } = import;
    say(&report.told(&choices))?;
    if let Some(fault) = report.fault(size.rows) {
        return Err(ImportError::Refused(fault));
    }
    // Where nothing could be taken, the service goes on to say that there is something to take.
    if !choices.dry_run && (report.left_out == 0 || report.taken + report.there > 0) {
        taking.finish(&mut writer).await?;
    }
    Ok(())
}

struct Import {
    choices: Choices,
    taking: Taking,
    report: Report,
    /// For rows that don't say when they were made.
    now: OffsetDateTime,
    /// The row before.
    last: Option<Key>,
}

impl Import {
    /// Takes the rows of a batch over, which come user by user.
    async fn batch(&mut self, writer: &mut Client, batch: &[Old]) -> Result<(), ImportError> {
        let mut users: Vec<(String, Vec<Judged>)> = Vec::new();
        for old in batch {
            self.report.rows += 1;
            let twice = old.key().is_some() && old.key() == self.last;
            let judged = judge(old, twice, &self.choices, self.now);
            self.last = old.key();
            match (&old.user, judged.can_be_there()) {
                (Some(user), true) => match users.last_mut() {
                    Some((same, rows)) if same == user => rows.push(judged),
                    _ => users.push((user.clone(), vec![judged])),
                },
                _ => self.report.left_out(&judged),
            }
        }
        let transaction = writer
            .build_transaction()
            .isolation_level(IsolationLevel::ReadCommitted)
            .read_only(self.choices.dry_run)
            .start()
            .await?;
        transaction.batch_execute(WRITER_BOUNDS).await?;
        let looks = users.iter().map(|(user, rows)| self.taking.look(user, rows)).collect();
        let there = taking::ask(&transaction, looks).await?;
        let (mut fitting, mut takes) = (Vec::new(), Vec::new());
        for ((user, rows), there) in users.iter().zip(&there) {
            let mut fits = Vec::new();
            for judged in rows {
                match &judged.fit {
                    _ if there.contains(&judged.old_id) => self.report.there += 1,
                    None => self.report.left_out(judged),
                    Some(fit) => fits.push((judged, fit)),
                }
            }
            if !fits.is_empty() {
                takes.push(self.taking.take(user, &fits, &self.choices.time_zone));
                fitting.push(fits);
            }
        }
        let taken = if self.choices.dry_run { None } else { Some(taking::ask(&transaction, takes).await?) };
        transaction.commit().await?;
        for (at, fits) in fitting.iter().enumerate() {
            for (judged, _) in fits {
                // An import that was killed may have ended its last batch only now.
                match &taken {
                    Some(taken) if !taken[at].contains(&judged.old_id) => self.report.there += 1,
                    _ => self.report.taken(judged),
                }
            }
        }
        Ok(())
    }
}

/// What a table that can't be read needs.
fn unreadable(table: &Table, error: tokio_postgres::Error) -> ImportError {
    let said = described(&error);
    match error.code() {
        Some(&SqlState::INSUFFICIENT_PRIVILEGE) => ImportError::Refused(format!(
            "{} can't be read in full by the role in DATABASE_URL: grant it select on the table and on the users', and \
             bypassrls where a policy hides rows ({said})",
            table.name
        )),
        _ => error.into(),
    }
}

fn now() -> OffsetDateTime {
    let now = OffsetDateTime::now_utc();
    // As the database keeps it.
    now.replace_nanosecond(now.microsecond() * 1000).unwrap_or(now)
}

fn say(text: &str) -> io::Result<()> {
    io::stdout().write_all(text.as_bytes())
}
