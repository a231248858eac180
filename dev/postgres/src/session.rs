//! Talks to the server, as its superuser.

use std::{
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use postgres::{Client, Config, Error, NoTls};

/// The server's superuser, whose name everybody expects.
pub(crate) const SUPERUSER: &str = "postgres";
/// The database that every server has.
pub(crate) const MAINTENANCE: &str = "postgres";
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

    /// Where a database is for the superuser, who has no password.
    pub(crate) fn superuser_url(&self, database: &str) -> String {
        self.url(SUPERUSER, database)
    }

    /// Where a database is for `login`: a role and, behind a colon, its password, both as a URL has them.
    pub(crate) fn url(&self, login: &str, database: &str) -> String {
        let host = percent_encode(self.socket_dir.as_os_str().as_bytes(), ESCAPED);
        format!("postgresql://{login}@{host}:{PORT}/{}", escaped(database))
    }

    /// Whether the server takes connections. While it starts, recovers or stops it says no.
    pub(crate) fn answers(&self) -> bool {
        self.run(MAINTENANCE, |client| client.batch_execute("")).is_ok()
    }

    /// Works on a database, on a thread of its own: the caller may be inside of an asynchronous runtime, where
    /// the blocking client can't bring up the one that it is made of.
    pub(crate) fn run<T: Send>(
        &self,
        database: &str,
        work: impl FnOnce(&mut Client) -> Result<T, Error> + Send,
    ) -> Result<T, Error> {
        let mut config = Config::new();
        config
            .host_path(&self.socket_dir)
            .port(PORT)
            .user(SUPERUSER)
            .dbname(database)
            // A database's owner may have set another path, with functions of their own for a superuser to fall for.
            .options("-c search_path=pg_catalog")
            .connect_timeout(CONNECT_WAIT);
        thread::scope(|scope| {
            let run = || config.connect(NoTls).and_then(|mut client| work(&mut client));
            scope.spawn(run).join().expect("the client does not panic outside of a runtime")
        })
    }
}

/// A part of a URL.
pub(crate) fn escaped(text: &str) -> String {
    percent_encode(text.as_bytes(), ESCAPED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_the_socket_and_the_database() {
        let session = Session::at(Path::new("/tmp/a b/ü"));
        let url = session.superuser_url("tasks-1");
        assert_eq!(url, "postgresql://postgres@%2Ftmp%2Fa%20b%2F%C3%BC:5432/tasks-1");
        let config: Config = url.parse().unwrap();
        assert_eq!(config.get_hosts(), [postgres::config::Host::Unix("/tmp/a b/ü".into())]);
        assert_eq!(config.get_dbname(), Some("tasks-1"));
    }
}
