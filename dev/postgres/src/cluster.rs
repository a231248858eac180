//! Makes the database cluster of a server, once.

use std::path::Path;

use crate::{
    StartError,
    account::Account,
    folder::{Folder, PRIVATE},
    folders::{DATA, FRESH_DATA, Folders},
    log::Log,
    programs::Programs,
    session,
};

/// Runs `initdb`, unless that was done before. Returns once all of it is on the disk.
pub(crate) fn create(
    folders: &Folders,
    programs: &Programs,
    account: &Account,
    log: &Log,
) -> Result<(), StartError> {
    let home = &folders.home;
    if home.has(DATA)? {
        return Ok(());
    }
    // Complete or not there: what an interrupted initdb leaves never bears the final name.
    home.remove(FRESH_DATA)?;
    // The server's user makes no folder in one of ours.
    let fresh = home.own(FRESH_DATA, PRIVATE)?;
    account.give(&fresh, PRIVATE)?;
    // Its own way to the disk goes file by file and takes seconds, where there is another.
    let further: &[_] = if Folder::SYNCS_DISK { &["--no-sync"] } else { &[] };
    initdb(fresh.path(), further, programs, account, log)?;
    fresh.sync_disk()?;
    home.move_to(FRESH_DATA, home, DATA)?;
    home.sync()
}

/// The same for data that nobody will miss.
pub(crate) fn create_temporary(
    folders: &Folders,
    programs: &Programs,
    account: &Account,
    log: &Log,
) -> Result<(), StartError> {
    initdb(&folders.data(), &["--no-sync"], programs, account, log)
}

fn initdb(
    data: &Path,
    further: &[&str],
    programs: &Programs,
    account: &Account,
    log: &Log,
) -> Result<(), StartError> {
    let initdb = |locale: &str| {
        let mut initdb = account.detached(programs.initdb());
        initdb.arg("--pgdata").arg(data).arg(format!("--locale={locale}")).args(further);
        // Who may log in is said elsewhere, where the data are kept.
        initdb.args(["--username", session::SUPERUSER, "--auth=trust", "--encoding=UTF8"]);
        log.attach(&mut initdb)?;
        // Ctrl-C lets it finish, which takes it a moment.
        initdb.status().map_err(StartError::io("run", programs.initdb()))
    };
    // Text sorts by code point wherever this runs. Older systems lack the first of the two names.
    if initdb("C.UTF-8")?.success() || initdb("C")?.success() {
        Ok(())
    } else {
        Err(StartError::Initdb(log.end()))
    }
}
