//! Talks to the server: is it there, and a statement at a time.

use std::{
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use postgres::{Client, Config, Error, NoTls, error::SqlState};

use crate::DatabaseError;

/// The server's superuser, whose name everybody expects.
pub(crate) const USER: &str = "postgres";
/// The port in the socket's name; no port is opened.
pub(crate) const PORT: u16 = 5432;

const CONNECT_WAIT: Duration = Duration::from_secs(5);

/// What a URL may show as it is (RFC 3986, "unreserved").
pub(crate) const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// How to reach one server.
#[derive(Debug)]
pub(crate) struct Session {
    socket_dir: PathBuf,
}

impl Session {
    pub(crate) fn at(socket_dir: &Path) -> Self {
        Self { socket_dir: socket_dir.to_owned() }
    }

    pub(crate) fn socket_dir(&self) -> &Path {
        &self.socket_dir
    }

    pub(crate) fn url(&self, database: &str) -> String {
        let host = percent_encode(self.socket_dir.as_os_str().as_bytes(), ESCAPED);
        let database = percent_encode(database.as_bytes(), ESCAPED);
        format!("postgresql://{USER}@{host}:{PORT}/{database}")
    }

    /// Whether the server takes connections. While it starts, recovers or stops it says no.
    pub(crate) fn answers(&self) -> bool {
        self.execute("").is_ok()
    }

    pub(crate) fn create_database(&self, name: &str) -> Result<(), DatabaseError> {
        match self.execute(&format!("create database {}", quoted(name))) {
            // Of two at once, one finds the name in the server's own index.
            Err(error)
                if [&SqlState::DUPLICATE_DATABASE, &SqlState::UNIQUE_VIOLATION]
                    .iter()
                    .any(|state| error.code() == Some(*state)) =>
            {
                Ok(())
            }
            done => done.map_err(failed("create", name)),
        }
    }

    pub(crate) fn drop_database(&self, name: &str) -> Result<(), DatabaseError> {
        let statement = format!("drop database if exists {} with (force)", quoted(name));
        self.execute(&statement).map_err(failed("drop", name))
    }

    /// Runs one statement, on a thread of its own: the caller may be inside of an asynchronous runtime, where
    /// the blocking client can't bring up the one that it is made of.
    fn execute(&self, statement: &str) -> Result<(), Error> {
        let mut config = Config::new();
        config
            .host_path(&self.socket_dir)
            .port(PORT)
            .user(USER)
            .dbname("postgres")
            .connect_timeout(CONNECT_WAIT);
        thread::scope(|scope| {
            let run = || config.connect(NoTls).and_then(|mut client: Client| client.batch_execute(statement));
            scope.spawn(run).join().expect("the client does not panic outside of a runtime")
        })
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn failed(attempt: &'static str, name: &str) -> impl FnOnce(Error) -> DatabaseError {
    let name = name.to_owned();
    move |error| {
        let reason = error.as_db_error().map_or_else(|| error.to_string(), |db| db.message().to_owned());
        DatabaseError { attempt, name, reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_the_socket_and_the_database() {
        let session = Session::at(Path::new("/tmp/a b/ü"));
        let url = session.url("tasks-1");
        assert_eq!(url, "postgresql://postgres@%2Ftmp%2Fa%20b%2F%C3%BC:5432/tasks-1");
        let config: Config = url.parse().unwrap();
        assert_eq!(config.get_hosts(), [postgres::config::Host::Unix("/tmp/a b/ü".into())]);
        assert_eq!(config.get_dbname(), Some("tasks-1"));
    }

    #[test]
    fn a_name_is_quoted() {
        assert_eq!(quoted(r#"a"b"#), r#""a""b""#);
    }
}
