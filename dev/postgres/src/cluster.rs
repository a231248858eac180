//! Makes the database cluster of a server, once.

use std::{fs, os::unix::process::CommandExt};

use crate::{StartError, account::Account, folders::Folders, log::Log, programs::Programs, session};

/// Runs `initdb`, unless that was done before.
pub(crate) fn create(
    folders: &Folders,
    programs: &Programs,
    account: &Account,
    log: &Log,
) -> Result<(), StartError> {
    let data = folders.data();
    if data.exists() {
        return Ok(());
    }
    // Complete or not there: what an interrupted initdb leaves never bears the final name.
    let fresh = data.with_extension("new");
    if fresh.exists() {
        fs::remove_dir_all(&fresh).map_err(StartError::io("remove", &fresh))?;
    }
    let initdb = |locale: &str| {
        let mut initdb = account.command(programs.initdb());
        initdb.arg("--pgdata").arg(&fresh).arg(format!("--locale={locale}"));
        initdb.args(["--username", session::USER, "--auth=trust", "--encoding=UTF8", "--no-sync"]);
        log.attach(&mut initdb)?;
        // A process group of its own: Ctrl-C lets it finish, which takes it a moment.
        initdb.process_group(0).status().map_err(StartError::io("run", programs.initdb()))
    };
    // Text sorts by code point wherever this runs. Older systems lack the first of the two names.
    if !initdb("C.UTF-8")?.success() && !initdb("C")?.success() {
        return Err(StartError::Initdb(log.end()));
    }
    fs::rename(&fresh, &data).map_err(StartError::io("rename", &fresh))
}
