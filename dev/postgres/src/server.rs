//! Runs the server, on a leash that its guard holds.

use std::{
    ffi::OsString,
    path::Path,
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::{
    StartError,
    account::Account,
    folder::Folder,
    folders::{Folders, GUARD, LOGIN_NAMES, LOGINS},
    log::Log,
    programs::Programs,
    session,
    session::Session,
    wait::wait_for,
};

/// The shell script between us and the server. The system has no portable way to say "end with your parent",
/// but a pipe is closed for everybody who dies, even of SIGKILL.
const SCRIPT: &str = include_str!("guard.sh");

/// What the server says in its log when clients may come.
const READY: &str = "database system is ready to accept connections";

/// How long we look for that and don't ask: a server that is asked too early complains of it in its log. Somebody may have
/// configured it to log elsewhere.
const READY_WAIT: Duration = Duration::from_secs(3);
const ASK_INTERVAL: Duration = Duration::from_secs(1);

/// Whether data must survive the server.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    Kept,
    /// Never waits for the disk, and is removed by the guard.
    Temporary,
}

/// Longer than the guard takes to insist.
const STOP_WAIT: Duration = Duration::from_secs(30);
const STOP_INTERVAL: Duration = Duration::from_millis(5);

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
            Durability::Temporary => folders.home.path(),
        };
        let home = folders.home.path();
        let mut guard = account.detached("sh");
        guard.arg(home.join(GUARD)).arg(removed_in_the_end).arg(programs.postgres());
        guard.arg("-D").arg(folders.data()).arg("-k").arg(&folders.socket_dir);
        guard.args(["-p", &session::PORT.to_string(), "-c", "listen_addresses="]);
        if durability == Durability::Kept {
            guard.arg("-c").arg(setting("hba_file", &home.join(LOGINS)));
            guard.arg("-c").arg(setting("ident_file", &home.join(LOGIN_NAMES)));
        } else {
            guard.args(["-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off"]);
            // Each test of a process may bring a pool.
            guard.args(["-c", "max_connections=300"]);
        }
        log.attach(&mut guard)?;
        // Ctrl-C is for us, and we stop the server when its clients are gone.
        let guard = guard.stdin(Stdio::piped()).spawn();
        Ok(Self { guard: guard.map_err(StartError::io("run", programs.postgres()))?, log })
    }

    pub(crate) fn await_ready(&mut self, session: &Session) -> Result<(), StartError> {
        let Self { guard, log } = self;
        let mut ask_at = Instant::now() + READY_WAIT;
        let look = || {
            let asks = log.says(READY) || Instant::now() >= ask_at;
            if asks {
                ask_at = Instant::now() + ASK_INTERVAL;
            }
            if asks && session.answers() {
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

/// Puts the guard's script where it will be run. The folder is ours now, and may be the server's later.
pub(crate) fn write_guard(home: &Folder) -> Result<(), StartError> {
    home.write(GUARD, SCRIPT)
}

fn setting(name: &str, path: &Path) -> OsString {
    let mut setting = OsString::from(name);
    setting.push("=");
    setting.push(path);
    setting
}

fn is_running(guard: &mut Child) -> bool {
    matches!(guard.try_wait(), Ok(None))
}

impl Drop for Server {
    fn drop(&mut self) {
        // Lets go of the leash. The guard insists more and more, and so ends within half a minute.
        drop(self.guard.stdin.take());
        if !is_running(&mut self.guard) {
            return;
        }
        // Whoever watches the leash may have been killed. For as long as we haven't heard of the guard's end, the number of its
        // group is nobody else's.
        let group = Pid::from_child(&self.guard);
        let _ = kill_process_group(group, Signal::INT);
        let deadline = Instant::now() + STOP_WAIT;
        while is_running(&mut self.guard) {
            if Instant::now() >= deadline {
                let _ = kill_process_group(group, Signal::KILL);
                let _ = self.guard.wait();
                return;
            }
            thread::sleep(STOP_INTERVAL);
        }
    }
}
