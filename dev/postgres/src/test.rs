//! For tests: an empty database each, on one temporary server for the whole test process.

use std::{
    env,
    io::{self, Write},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use crate::{Postgres, StartError};

/// A database that is one test's own. It goes when this is dropped.
#[derive(Debug)]
pub struct TestDatabase {
    server: &'static Postgres,
    name: String,
}

/// An empty database. The first call of a process starts the server, which ends with the process.
///
/// `None` where no PostgreSQL can be had, which is said aloud on standard error.
///
/// # Panics
///
/// Where the variable `CI` is set, a missing PostgreSQL fails the test, and so does a broken one everywhere.
pub fn database() -> Option<TestDatabase> {
    static SERVER: OnceLock<Result<Postgres, StartError>> = OnceLock::new();
    static COUNT: AtomicU32 = AtomicU32::new(1);

    let server = match SERVER.get_or_init(|| Postgres::temporary(&mut say)) {
        Ok(server) => server,
        Err(error @ (StartError::NotFound | StartError::Fetch(_) | StartError::NoAccount)) => {
            skip(&error.to_string());
            return None;
        }
        Err(error) => panic!("{error}"),
    };
    let name = format!("test_{}", COUNT.fetch_add(1, Ordering::Relaxed));
    server.create_test_database(&name).expect("a fresh server makes databases");
    Some(TestDatabase { server, name })
}

impl TestDatabase {
    /// Where the database is, for the server's superuser: a test may make roles and end the connections of others.
    pub fn url(&self) -> String {
        self.server.superuser_url(&self.name)
    }

    /// What it is called on its server.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The server that it is on.
    pub fn server(&self) -> &Postgres {
        self.server
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        // If it can't be dropped, it goes with the server.
        let _ = self.server.drop_database(&self.name);
    }
}

/// Says that a test could not run, or fails it where the variable `CI` is set.
///
/// # Panics
///
/// Where `CI` is set: there, a test that doesn't run is a fault.
pub fn skip(reason: &str) {
    assert!(env::var_os("CI").is_none(), "{reason}");
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    say(&format!("SKIPPED: {test}: {reason}"));
}

/// Writes past libtest, which would keep what a passing test prints to itself.
fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}
