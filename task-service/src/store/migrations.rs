//! Brings the tables up to date, also if other replicas do so at the same moment.
//!
//! The rules: a released migration is never edited, only followed by another. It only adds, or puts in the place of an index
//! one that serves the release before as well: so that release still works beside it. The one exception is the fourth, which
//! says what it asks for. It runs in a transaction, so `create index concurrently` can't be one. A database with more
//! migrations than this binary knows is fine: replicas see that during a roll-out, and all of them after a roll-back.
//!
//! Row-level security binds the role that migrates too. A migration that changes rows says `alter table … no force row level
//! security` first, and `force` at the end: nobody else gets at the table between the two.

use std::time::Duration;

use aws_lc_rs::digest;
use chassis::{
    outbound::database::{ConnectError, Dsn, described, is_distrust, open},
    settings::Switch,
};
use thiserror::Error;
use tokio::time::timeout;
use tokio_postgres::{GenericClient, IsolationLevel, error::SqlState, types::Type};
use tracing::{error, info, warn};

use super::role::{self, Role};

struct Migration {
    version: i64,
    name: &'static str,
    sql: &'static str,
}

const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, name: "tasks", sql: include_str!("migrations/0001_tasks.sql") },
    Migration { version: 2, name: "pages", sql: include_str!("migrations/0002_pages.sql") },
    Migration { version: 3, name: "answers", sql: include_str!("migrations/0003_answers.sql") },
    Migration { version: 4, name: "isolation", sql: include_str!("migrations/0004_isolation.sql") },
    Migration { version: 5, name: "lists", sql: include_str!("migrations/0005_lists.sql") },
    Migration { version: 6, name: "imports", sql: include_str!("migrations/0006_imports.sql") },
    Migration { version: 7, name: "tags", sql: include_str!("migrations/0007_tags.sql") },
    Migration { version: 8, name: "calls", sql: include_str!("migrations/0008_calls.sql") },
    Migration { version: 9, name: "orders", sql: include_str!("migrations/0009_orders.sql") },
];

/// The advisory lock that replicas take in turn to migrate: "ushertsk". It ends with the transaction, behind a pooler
/// too; a lock of the session would be left behind in another client's.
const LOCK: i64 = 0x7573_6865_7274_736b;

/// How long a replica waits for another, how long a statement may run, and that the result is on the disk.
const BOUNDS: &str =
    "set local lock_timeout = '30s'; set local statement_timeout = '120s'; set local synchronous_commit = on";

/// How long all of it may take, also over a network that goes silent.
const WAIT: Duration = Duration::from_mins(5);

/// The table of applied migrations; it is created under the lock, because two concurrent `create … if not exists` can
/// fail. And `create schema if not exists` demands a privilege even if the schema exists.
const HISTORY: &str = "
do $$
begin
    if to_regnamespace('task_service') is null then
        create schema task_service;
    end if;
end
$$;
create table if not exists task_service.migrations (
    version bigint primary key,
    name text not null,
    checksum text not null,
    applied_at timestamptz not null default now()
)";

const APPLIED: &str = "select version, checksum from task_service.migrations";

/// Whether acknowledged writes would survive a crash of the server; whether it can be written to; and whether there is a table of
/// applied migrations: a statement that fails in a new database would stand in the server's log as an error.
const FIRST_LOOK: &str = "
select current_setting('synchronous_commit') = 'off' as late, current_setting('fsync') = 'off' as never,
    current_setting('transaction_read_only') = 'on' as read_only,
    not exists (
        select from pg_class c join pg_namespace n on n.oid = relnamespace
        where nspname = 'task_service' and relname = 'migrations'
    ) as new";

/// Which database it is: one of the same name on another server most likely has another number.
const WHICH: &str = "select datname::text, oid from pg_database where datname = current_database()";

const READ_ONLY: &str = "select current_setting('transaction_read_only') = 'on'";

const RECORD: &str = "insert into task_service.migrations (version, name, checksum) values ($1, $2, $3)";

/// Why the tables are not ready. The text says what to do, if there is something to do.
#[derive(Debug, Error)]
pub enum PrepareError {
    /// It may be over in a moment.
    #[error("the database is out of reach: {0}")]
    Unreachable(String),
    /// Somebody has to act; they may do so without restarting us.
    #[error("{advice} ({said})")]
    Refused {
        /// What to do, in words that don't quote the database.
        advice: &'static str,
        /// What the database said.
        said: String,
    },
    /// The database refuses a statement, for whatever reason.
    #[error("the database refuses a migration ({0})")]
    Failed(String),
    /// `TASK_SERVICE_MIGRATE=off`, and nobody has migrated yet.
    #[error("the tables are not up to date; `task-service migrate` brings them there")]
    Behind,
    /// `TASK_SERVICE_MIGRATE_URL` and `DATABASE_URL` don't belong together.
    #[error(
        "TASK_SERVICE_MIGRATE_URL leads to another database ({migrates}) than DATABASE_URL ({serves}), or to one of that name on \
         another server; set both to the same"
    )]
    Elsewhere {
        /// Where the tables would be looked for.
        serves: String,
        /// Where they would be made.
        migrates: String,
    },
    /// A replica, or a database that is set to be only read. Who may write there in spite of that was not asked to.
    #[error(
        "the database can only be read, and the tables are not up to date; set DATABASE_URL to the primary, or wait until \
         it is one (default_transaction_read_only, pg_is_in_recovery())"
    )]
    ReadOnly,
    /// The role that serves may not do all that serving takes.
    #[error("the role {role} lacks {missing}; `{mend}` prints the SQL that grants it")]
    Ungranted {
        /// Which one.
        role: String,
        /// What it may not do.
        missing: String,
        /// The command that prints what to do.
        mend: String,
    },
    /// `TASK_SERVICE_REQUIRE_ROW_LEVEL_SECURITY=on`, and it does not bind the role that serves.
    #[error(
        "row-level security does not bind the role {role}, which {why}; `{mend}` prints the SQL for a role that it binds"
    )]
    Unbound {
        /// Which one.
        role: String,
        /// What it is.
        why: String,
        /// The command that prints what to do.
        mend: String,
    },
    /// The database and this binary disagree about an applied migration. Serving could do harm.
    #[error(
        "migration {version} ({name}) was applied with another content than this release has; run the release that \
         the database was made with, or one that followed it"
    )]
    Changed {
        /// Which one.
        version: i64,
        /// Its name.
        name: &'static str,
    },
}

/// Whose databases they are.
pub(super) struct Ways<'a> {
    /// That of the role that serves.
    pub(super) serve: &'a Dsn,
    /// That of a role that may change tables, if it is another.
    pub(super) migrate: Option<&'a Dsn>,
    /// How long connecting may take.
    pub(super) connect: Duration,
}

/// Brings the tables up to date, or, with `Switch::Off`, checks that they are, and that the role that serves may use them. Three
/// queries if all is well.
pub(super) async fn run(ways: Ways<'_>, migrate: Switch) -> Result<Role, PrepareError> {
    let work = async {
        let (mut client, _) = open(ways.serve, ways.connect).await?;
        let Look { is_new, read_only } = first_look(&client).await?;
        let role = Role::of(&client).await?;
        let is_current = match (is_new, role.may_look()) {
            (true, _) => false,
            (false, true) => missing(&applied(&client).await?)?.is_empty(),
            // Another may look, and grant it.
            (false, false) if migrate == Switch::On && ways.migrate.is_some() => false,
            (false, false) => return role.may_serve().map(|()| role),
        };
        match (migrate, ways.migrate) {
            (Switch::Off, _) if !is_current => return Err(PrepareError::Behind),
            (Switch::On, None) if !is_current && read_only => return Err(PrepareError::ReadOnly),
            (Switch::On, None) if !is_current => apply(&mut client, None).await?,
            (Switch::On, Some(dsn)) if !is_current || role.may_serve().is_err() => {
                let (name, number) = which(&client).await?;
                let apply = async {
                    let (mut client, _) = open(dsn, ways.connect).await?;
                    let other = which(&client).await?;
                    if other != (name.clone(), number) {
                        return Err(PrepareError::Elsewhere { serves: name, migrates: other.0 });
                    }
                    // What holds for the role that serves need not hold for this one.
                    if client.query_typed_one(READ_ONLY, &[]).await?.try_get(0)? {
                        return Err(PrepareError::ReadOnly);
                    }
                    apply(&mut client, Some(&role.name)).await
                };
                apply.await.map_err(PrepareError::of_the_other)?;
            }
            _ if read_only => {
                warn!("the database can only be read: whoever writes is answered 503 until that changes");
            }
            _ => {}
        }
        let role = if is_current && role.may_serve().is_ok() { role } else { Role::of(&client).await? };
        role.may_serve()?;
        // What was applied is there for this role, too.
        if !is_current && !missing(&applied(&client).await?)?.is_empty() {
            return Err(PrepareError::Behind);
        }
        Ok(role)
    };
    timeout(WAIT, work).await.unwrap_or_else(|_| {
        Err(PrepareError::Unreachable(format!("the migrations did not finish within {WAIT:?}")))
    })
}

/// The name and the number of the database that a connection leads to.
async fn which(client: &impl GenericClient) -> Result<(String, u32), PrepareError> {
    let row = client.query_typed_one(WHICH, &[]).await?;
    Ok((row.try_get(0)?, row.try_get(1)?))
}

/// What is known of a database before anything is asked of it.
struct Look {
    /// Nothing was ever applied.
    is_new: bool,
    read_only: bool,
}

/// Warns if the server acknowledges writes before they are on its disk, and tells the rest.
async fn first_look(client: &impl GenericClient) -> Result<Look, PrepareError> {
    let row = client.query_typed_one(FIRST_LOOK, &[]).await?;
    if row.try_get("late")? {
        warn!(
            "synchronous_commit is off for this role or database; our own writes are on the disk all the same"
        );
    }
    if row.try_get("never")? {
        error!(
            "the database runs with fsync=off: a crash of its machine loses what was acknowledged, or all of it; set fsync=on"
        );
    }
    Ok(Look { is_new: row.try_get("new")?, read_only: row.try_get("read_only")? })
}

/// Applies what is missing, and lets `serving` use it.
async fn apply(client: &mut tokio_postgres::Client, serving: Option<&str>) -> Result<(), PrepareError> {
    // Whatever the role's defaults are, we must see what was committed while we waited for the lock.
    let transaction = client
        .build_transaction()
        .isolation_level(IsolationLevel::ReadCommitted)
        .read_only(false)
        .start()
        .await?;
    transaction.batch_execute(BOUNDS).await?;
    transaction.query_typed("select pg_advisory_xact_lock($1)", &[(&LOCK, Type::INT8)]).await?;
    transaction.batch_execute(HISTORY).await?;
    for migration in missing(&applied(&transaction).await?)? {
        let Migration { version, name, sql } = migration;
        transaction.batch_execute(sql).await?;
        let checksum = migration.checksum();
        let record = [(version as _, Type::INT8), (name as _, Type::TEXT), (&checksum as _, Type::TEXT)];
        transaction.execute_typed(RECORD, &record).await?;
        info!(version, name, "migrated");
    }
    if let Some(serving) = serving {
        role::grant(&transaction, serving).await?;
    }
    transaction.commit().await?;
    Ok(())
}

/// The versions and checksums of the applied migrations.
async fn applied(client: &impl GenericClient) -> Result<Vec<(i64, String)>, PrepareError> {
    let rows = client.query_typed(APPLIED, &[]).await?;
    Ok(rows
        .iter()
        .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
        .collect::<Result<_, tokio_postgres::Error>>()?)
}

/// The migrations that are left to apply, in order.
fn missing(applied: &[(i64, String)]) -> Result<Vec<&'static Migration>, PrepareError> {
    let mut missing = Vec::new();
    for migration in MIGRATIONS {
        match applied.iter().find(|(version, _)| *version == migration.version) {
            None => missing.push(migration),
            Some((_, checksum)) if *checksum == migration.checksum() => {}
            Some(_) => {
                let Migration { version, name, .. } = *migration;
                return Err(PrepareError::Changed { version, name });
            }
        }
    }
    Ok(missing)
}

impl Migration {
    /// SHA-256 of its text. Line ends don't count: Git may have changed them.
    fn checksum(&self) -> String {
        let text = self.sql.replace("\r\n", "\n");
        let sum = digest::digest(&digest::SHA256, text.as_bytes());
        sum.as_ref().iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
    }
}

impl PrepareError {
    /// The same, of the role that migrates.
    fn of_the_other(self) -> Self {
        match self {
            Self::Refused { advice, said } => Self::Refused {
                advice: "TASK_SERVICE_MIGRATE_URL leads to no role that may migrate here; the log says why",
                said: format!("{}: {said}", advice.replace("DATABASE_URL", "TASK_SERVICE_MIGRATE_URL")),
            },
            other => other,
        }
    }
}

impl From<ConnectError> for PrepareError {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Refused(error) => error.into(),
            ConnectError::TimedOut(_) => Self::Unreachable(error.to_string()),
        }
    }
}

impl From<tokio_postgres::Error> for PrepareError {
    fn from(error: tokio_postgres::Error) -> Self {
        let said = described(&error);
        if let Some(advice) = advice_on_connecting(&error) {
            return Self::Refused { advice, said };
        }
        let Some(code) = error.code() else { return Self::Unreachable(said) };
        let advice = match *code {
            SqlState::INVALID_PASSWORD => "the database refuses the user or the password in DATABASE_URL",
            SqlState::INVALID_AUTHORIZATION_SPECIFICATION => {
                "the database does not let the user in DATABASE_URL in from here; a user that it has, \
                 sslmode=require and its pg_hba.conf decide that"
            }
            SqlState::INVALID_CATALOG_NAME => "there is no database of the name in DATABASE_URL; create it",
            SqlState::INSUFFICIENT_PRIVILEGE => {
                "the role may not do this; set TASK_SERVICE_MIGRATE_URL to one that may, or TASK_SERVICE_MIGRATE=off and run \
                 `task-service migrate` with it; `task-service grants` prints the SQL for both"
            }
            // Our own migrations raise it where the database is not fit for them.
            SqlState::RAISE_EXCEPTION => "the database in DATABASE_URL can't hold the tables",
            SqlState::READ_ONLY_SQL_TRANSACTION => return Self::ReadOnly,
            SqlState::ADMIN_SHUTDOWN
            | SqlState::CRASH_SHUTDOWN
            | SqlState::CANNOT_CONNECT_NOW
            | SqlState::TOO_MANY_CONNECTIONS
            | SqlState::LOCK_NOT_AVAILABLE => return Self::Unreachable(said),
            _ if code.code().starts_with("08") => return Self::Unreachable(said),
            _ => return Self::Failed(said),
        };
        Self::Refused { advice, said }
    }
}

/// What to do about an error that is the driver's own, if there is something to do.
fn advice_on_connecting(error: &tokio_postgres::Error) -> Option<&'static str> {
    if is_distrust(error) {
        return Some(
            "nobody whom we trust vouches for the database; if it has a certificate authority of its own, name its \
             file in TASK_SERVICE_DATABASE__CA_FILE",
        );
    }
    // The driver doesn't say it otherwise.
    match described(error).as_str() {
        "error performing TLS handshake: server does not support TLS" => Some(
            "the database offers no TLS; where nobody else can read the network, add sslmode=disable to DATABASE_URL and \
             set TASK_SERVICE_DATABASE__DANGEROUS_PLAINTEXT=on",
        ),
        "invalid configuration: password missing" => {
            Some("the database asks for a password, and DATABASE_URL has none")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<(i64, String)> {
        MIGRATIONS.iter().map(|migration| (migration.version, migration.checksum())).collect()
    }

    #[test]
    fn versions_count_up_from_one() {
        assert_eq!(MIGRATIONS[0].version, 1);
        assert!(MIGRATIONS.is_sorted_by(|one, next| one.version < next.version));
    }

    /// If this fails, a migration was edited that databases have applied: add another one instead.
    #[test]
    fn what_was_released_is_not_edited() {
        let released = [
            "8a403c03515156901f05b2e0c0c20d2844ac587d29e23785324a71e14f8e125e",
            "06aa027ef8e4304d4b8c33c3c5714450a9b62544ae413fd1526f1c8be75b9d44",
            "69eb29302920cb79cca39873fd11108b9a0b114f331eeb0c0a9c7846969aef7d",
        ];
        for (migration, checksum) in MIGRATIONS.iter().zip(released) {
            assert_eq!(migration.checksum(), checksum, "migration {}", migration.version);
        }
    }

    #[test]
    fn what_is_missing_is_applied_and_what_is_newer_is_left_alone() {
        assert_eq!(missing(&[]).unwrap().len(), MIGRATIONS.len());
        assert!(missing(&all()).unwrap().is_empty());
        let newer = [all(), vec![(1000, "from the future".into())]].concat();
        assert!(missing(&newer).unwrap().is_empty());
    }

    #[test]
    fn a_past_that_differs_is_not_served() {
        let mut changed = all();
        changed[0].1 = "another".into();
        assert!(matches!(missing(&changed), Err(PrepareError::Changed { version: 1, name: "tasks" })));
    }

    #[test]
    fn line_ends_are_not_content() {
        let unix = Migration { version: 1, name: "x", sql: "a\nb\n" };
        let windows = Migration { sql: "a\r\nb\r\n", ..unix };
        assert_eq!(unix.checksum(), windows.checksum());
    }
}
