//! For tests: a real PgBouncer in front of a database, which hands each transaction to whichever connection is free.

use std::{
    env, fs,
    io::ErrorKind,
    os::unix::net::UnixStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use crate::{
    StartError,
    account::Account,
    folders::Folders,
    log::Log,
    session::{self, Session},
    test::{TestDatabase, skip},
    wait::wait_for,
};

/// Ends the pooler when standard input closes, however its holder ended, and removes the folder. A gentle signal would have
/// newer versions wait for their clients.
const GUARD: &str = r#"folder=$1; shift
exec 3<&0 </dev/null
"$@" 3<&- & pooler=$!
cat <&3 >/dev/null
kill -KILL "$pooler"; wait "$pooler"; rm -rf "$folder""#;

const SETTINGS: &str = "pgbouncer.ini";

/// The first version that knows which statements each client has prepared.
const TRACKS_SINCE: (u32, u32) = (1, 21);

/// A PgBouncer in transaction mode. It ends with this.
#[derive(Debug)]
pub struct PgBouncer {
    guard: Child,
    folders: Folders,
    database: String,
    tracks: bool,
}

impl PgBouncer {
    /// A pooler that has `connections` to the database for all of its clients. It tracks prepared statements if it can.
    ///
    /// `None` where PgBouncer is not installed, which is said aloud on standard error.
    ///
    /// # Panics
    ///
    /// Where the variable `CI` is set, a missing PgBouncer fails the test, and so does a broken one everywhere.
    pub fn before(database: &TestDatabase, connections: u32) -> Option<Self> {
        Self::before_as(database, connections, session::SUPERUSER)
    }

    /// The same; whoever comes is `role` to the database.
    ///
    /// # Panics
    ///
    /// As [`PgBouncer::before`].
    pub fn before_as(database: &TestDatabase, connections: u32, role: &str) -> Option<Self> {
        let account = Account::of_process(&mut |_| {}).expect("the server's user can run a pooler too");
        let Some(version) = version() else {
            skip("pgbouncer is not installed: apt-get install pgbouncer");
            return None;
        };
        let tracks = version >= TRACKS_SINCE;
        Some(Self::start((database, role), connections, tracks, &account).expect("a pooler starts"))
    }

    fn start(
        (database, role): (&TestDatabase, &str),
        connections: u32,
        tracks: bool,
        account: &Account,
    ) -> Result<Self, StartError> {
        let folders = Folders::temporary(account)?;
        let folder = folders.home.path().display();
        let statements = if tracks { "max_prepared_statements = 200" } else { "" };
        let settings = format!(
            "[databases]
* = host={server} port={port} user={role}
[pgbouncer]
unix_socket_dir = {folder}
listen_port = {port}
auth_type = any
pool_mode = transaction
default_pool_size = {connections}
max_client_conn = 500
{statements}
",
            server = database.server().socket_dir().display(),
            port = session::PORT,
        );
        folders.home.write(SETTINGS, &settings)?;
        let log = Log::open(&folders)?;
        folders.give(account)?;
        let mut guard = account.detached("sh");
        guard.args(["-c", GUARD, "guard"]).arg(folders.home.path());
        guard.arg(program()).arg(folders.home.path().join(SETTINGS));
        log.attach(&mut guard)?;
        let guard = guard.stdin(Stdio::piped()).spawn();
        let guard = guard.map_err(StartError::io("run", "pgbouncer"))?;
        let pooler = Self { guard, folders, database: database.name().to_owned(), tracks };
        let socket = pooler.socket();
        wait_for(|| Ok(UnixStream::connect(&socket).ok()), || StartError::NotReady(log.end()))?;
        Ok(pooler)
    }

    /// Whether it knows which statements each client has prepared.
    pub fn tracks(&self) -> bool {
        self.tracks
    }

    /// The socket that it listens at.
    pub(crate) fn socket(&self) -> PathBuf {
        self.folders.home.path().join(format!(".s.PGSQL.{}", session::PORT))
    }

    /// The database that it leads to.
    pub(crate) fn database(&self) -> &str {
        &self.database
    }

    /// Where the database is, by way of the pooler.
    pub fn url(&self) -> String {
        Session::at(&self.folders.socket_dir).superuser_url(&self.database)
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}

/// The one to run: the variable `PGBOUNCER` names another than the machine's.
fn program() -> String {
    env::var("PGBOUNCER").unwrap_or_else(|_| {
        // Debian keeps servers where only root looks.
        let debians = "/usr/sbin/pgbouncer";
        if fs::exists(debians).unwrap_or(false) { debians } else { "pgbouncer" }.to_owned()
    })
}

/// Its version, `PgBouncer 1.18.0`, if there is one.
fn version() -> Option<(u32, u32)> {
    let output = match Command::new(program()).arg("--version").output() {
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        output => output.expect("pgbouncer says its version"),
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let mut numbers = text.split_whitespace().nth(1)?.split('.').map(|number| number.parse().unwrap_or(0));
    Some((numbers.next()?, numbers.next()?))
}
