//! Why the launcher does not start, each cause in a sentence that a person can act on.

use std::{io, net::SocketAddr, path::PathBuf, process::ExitStatus};

use chassis::settings::SettingsError;
use thiserror::Error;

#[derive(Debug, Error)]
pub(crate) enum StartError {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error("another copy runs with the data in {}: stop it first, or give this one a USHER_DATA_DIR and ports of its own", .0.display())]
    AnotherCopy(PathBuf),
    #[error("port {} is in use: stop what listens there, or set {variable}={instead}", .at.port())]
    PortInUse { variable: String, at: SocketAddr, instead: SocketAddr },
    #[error("{place}: listen on {at}: {source}")]
    Listen { place: String, at: SocketAddr, source: io::Error },
    #[error(transparent)]
    Postgres(#[from] dev_postgres::StartError),
    #[error(transparent)]
    Database(#[from] dev_postgres::DatabaseError),
    #[error("{} is a link of another user's: remove it, or set USHER_DATA_DIR to where it leads", .0.display())]
    OthersLink(PathBuf),
    #[error("{} holds no secret of at least 32 bytes: remove it, and another one is made", .0.display())]
    NoSecret(PathBuf),
    #[error("{service} ended before it was ready ({status}); it says why above")]
    Ended { service: &'static str, status: ExitStatus },
    #[error("{service} can't get ready: {what}")]
    NeedsChange { service: &'static str, what: String },
    #[error("{service} was not ready within {secs} s ({why}); its log is above")]
    NotReady { service: &'static str, secs: u64, why: String },
    #[error(
        "the demo needs {program}: install Node.js {least} or newer, which brings npm (https://nodejs.org), or start without it"
    )]
    NoNode { program: &'static str, least: u32 },
    #[error("the demo needs Node.js {least} or newer, and `node --version` says `{found}`")]
    OldNode { found: String, least: u32 },
    #[error(
        "the demo does not run as root, and user {user} can't run `node`: install Node.js where everybody may run it, or start as \
         another user"
    )]
    RootsNode { user: u32 },
    #[error("the demo's packages could not be fetched with npm: {0}")]
    Packages(String),
    #[error("the demo could not be built:\n{0}")]
    NotBuilt(String),
    #[error("{what} {}: {source}", .path.display())]
    Io { what: &'static str, path: PathBuf, source: io::Error },
    #[error("{what}: {source}")]
    System { what: &'static str, source: io::Error },
}

impl StartError {
    /// For `map_err`: `what` was attempted on `path`.
    pub(crate) fn io(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { what, path, source }
    }

    /// For `map_err`: `what` was attempted.
    pub(crate) fn system(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { what, source }
    }
}
