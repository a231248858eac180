//! Runs the server, on a leash that its guard holds.

use std::{
    fs,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Stdio},
};

use crate::{
    StartError, account::Account, folders::Folders, log::Log, programs::Programs, session, session::Session,
    wait::wait_for,
};

/// The shell script between us and the server. The system has no portable way to say "end with your parent",
/// but a pipe is closed for everybody who dies, even of SIGKILL.
const GUARD: &str = include_str!("guard.sh");

/// Whether data must survive the server.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    Kept,
    /// Never waits for the disk, and is removed by the guard.
    Temporary,
}

/// A server of ours. The guard's standard input is the leash.
#[derive(Debug)]
pub(crate) struct Server {
    guard: Child,
    log: Log,
}

impl Server {
    pub(crate) fn spawn(
        folders: &Folders,
        programs: &Programs,
        account: &Account,
        durability: Durability,
        log: Log,
    ) -> Result<Self, StartError> {
        let removed_in_the_end = match durability {
            Durability::Kept => Path::new(""),
            Durability::Temporary => &folders.home,
        };
        let script = folders.home.join("guard.sh");
        fs::write(&script, GUARD).map_err(StartError::io("write", &script))?;
        let mut guard = account.command("sh");
        guard.arg(script).arg(removed_in_the_end).arg(programs.postgres());
        guard.arg("-D").arg(folders.data()).arg("-k").arg(&folders.socket_dir);
        guard.args(["-p", &session::PORT.to_string(), "-c", "listen_addresses="]);
        if durability == Durability::Temporary {
            guard.args(["-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off"]);
            // Each test of a process may bring a pool.
            guard.args(["-c", "max_connections=300"]);
        }
        log.attach(&mut guard)?;
        // A process group of its own: Ctrl-C is for us, and we stop the server when its clients are gone.
        let guard = guard.process_group(0).stdin(Stdio::piped()).spawn();
        Ok(Self { guard: guard.map_err(StartError::io("run", programs.postgres()))?, log })
    }

    pub(crate) fn await_ready(&mut self, session: &Session) -> Result<(), StartError> {
        let Self { guard, log } = self;
        let look = || {
            if session.answers() {
                Ok(Some(()))
            } else if is_running(guard) {
                Ok(None)
            } else {
                Err(StartError::Ended(log.end()))
            }
        };
        wait_for(look, || StartError::NotReady(log.end()))
    }

    /// The guard ends with its server.
    pub(crate) fn is_running(&mut self) -> bool {
        is_running(&mut self.guard)
    }
}

fn is_running(guard: &mut Child) -> bool {
    matches!(guard.try_wait(), Ok(None))
}

impl Drop for Server {
    fn drop(&mut self) {
        // Lets go of the leash. The guard insists more and more, and so ends within half a minute.
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}
