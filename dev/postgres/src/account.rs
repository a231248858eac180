//! Which user the server runs as: ours, or, since PostgreSQL refuses to run as root, one with fewer rights.

use std::{
    env,
    ffi::OsStr,
    os::unix::{ffi::OsStrExt, process::CommandExt},
    path::Path,
    process::{Command, Stdio},
};

use rustix::{
    fs::Mode,
    process::{getegid, geteuid},
};

use crate::{StartError, folder::Folder};

/// The account that distributions have for PostgreSQL.
const NAMES: &[&str] = if cfg!(target_os = "macos") { &["postgres", "_postgres"] } else { &["postgres"] };

/// How to make it as the distribution's package would, only that nobody can log in: with the tools of most systems, or else with
/// those of `BusyBox`.
const MAKE: [&str; 3] = [
    "useradd --system --user-group --no-create-home --home-dir /var/lib/postgresql --shell /usr/sbin/nologin postgres",
    // The group is there.
    "useradd --system --gid postgres --no-create-home --home-dir /var/lib/postgresql --shell /usr/sbin/nologin postgres",
    "adduser -S -D -H -h /var/lib/postgresql -s /sbin/nologin postgres",
];

/// Root's variables that a program with fewer rights may need: where programs and libraries are, and how to speak of time.
const SEEN: [&str; 6] = ["PATH", "LANG", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"];

/// Starts a program in a session of its own. Linux's systems have it, others don't.
const SETSID: &str = "setsid";
const HAS_SETSID: bool = cfg!(target_os = "linux");

/// A user that may run PostgreSQL.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    uid: u32,
    gid: u32,
    /// Whom to become first; `None` where that is us.
    name: Option<&'static str>,
}

impl Account {
    /// The user that runs this process, unless that is root; then it is `postgres`, which is made if need be.
    ///
    /// It is never `nobody`: that is everybody's account, and whoever else runs as it could read and change the data.
    pub(crate) fn of_process(say: &mut dyn FnMut(&str)) -> Result<Self, StartError> {
        let uid = geteuid();
        if !uid.is_root() {
            return Ok(Self { uid: uid.as_raw(), gid: getegid().as_raw(), name: None });
        }
        if HAS_SETSID {
            let found = Command::new(SETSID).arg("true").stdin(Stdio::null()).status();
            found.map_err(StartError::io("run", SETSID))?;
        }
        // initdb wants a user with a name, so that a bare number won't do.
        if let Some(account) = NAMES.iter().find_map(|name| Self::named(name)) {
            return Ok(account);
        }
        let make = |command: &&str| {
            let command = format!("exec {command}");
            let made = Command::new("sh").args(["-c", &command]).stdin(Stdio::null()).output();
            made.is_ok_and(|output| output.status.success())
        };
        if MAKE.iter().any(make)
            && let Some(account) = Self::named(NAMES[0])
        {
            say("made the system account `postgres`, because PostgreSQL does not run as root");
            return Ok(account);
        }
        Err(StartError::NoAccount)
    }

    /// Looks a user up with `id`, which knows every directory that the system asks, not only `/etc/passwd`.
    fn named(name: &'static str) -> Option<Self> {
        let id = |which| id(&[which, name])?.parse().ok();
        let account = Self { uid: id("-u")?, gid: id("-g")?, name: Some(name) };
        // Somebody's idea of a joke.
        (account.uid != 0).then_some(account)
    }

    /// Whether a folder is that of `nobody`, whom root's servers ran as where there was no other, before. So do many programs: any of
    /// them may have made or changed what is in it.
    pub(crate) fn is_nobodys(folder: &Folder) -> Result<bool, StartError> {
        let nobody = id(&["-u", "nobody"]).and_then(|number| number.parse().ok());
        Ok(nobody == Some(folder.owner()?))
    }

    /// Refuses data of anybody but us and this user.
    pub(crate) fn must_own(&self, data: &Folder) -> Result<(), StartError> {
        if self.is_other() && Self::is_nobodys(data)? {
            return Err(StartError::Nobodys { folder: data.path().to_owned(), account: self.name() });
        }
        data.must_belong_to(&[geteuid().as_raw(), self.uid])
    }

    /// What to call this user in a sentence.
    pub(crate) fn name(&self) -> &'static str {
        self.name.unwrap_or("this user")
    }

    /// The number of this user.
    pub(crate) fn uid(&self) -> u32 {
        self.uid
    }

    /// Whether this is somebody with fewer rights than ours.
    pub(crate) fn is_other(&self) -> bool {
        self.name.is_some()
    }

    /// A command run by this user. It sees no `PG…` variable: one of those would move the server's socket. Of root's it sees next
    /// to none: there may be secrets among them, and each user can read the variables of all of their processes. Nor does it share
    /// root's session: whoever has a terminal in common with root could type into it.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = if self.has_session() {
            let mut command = Command::new(SETSID);
            command.arg(program);
            command
        } else {
            Command::new(program)
        };
        for (name, _) in env::vars_os() {
            if !self.sees(&name) {
                command.env_remove(name);
            }
        }
        if self.is_other() {
            // With this the standard library also gives up root's supplementary groups.
            command.uid(self.uid).gid(self.gid);
        }
        command.current_dir("/").stdin(Stdio::null());
        command
    }

    /// The same in a process group of its own: Ctrl-C is for us.
    pub(crate) fn detached(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.command(program);
        // A session has one. Of a group's leader, `setsid` would make another process.
        if !self.has_session() {
            command.process_group(0);
        }
        command
    }

    /// Whether this user's processes get sessions of their own.
    fn has_session(&self) -> bool {
        HAS_SETSID && self.is_other()
    }

    fn sees(&self, variable: &OsStr) -> bool {
        if self.is_other() { is_harmless(variable) } else { !variable.as_bytes().starts_with(b"PG") }
    }

    /// Whether this user can reach a folder. The system is asked, because it also knows of access lists and of
    /// each folder on the way.
    pub(crate) fn can_enter(&self, folder: &Path) -> bool {
        let entered = self.command("true").current_dir(folder).status();
        entered.is_ok_and(|status| status.success())
    }

    /// Gives this user a folder, or what the folder has been before: theirs.
    pub(crate) fn give(&self, folder: &Folder, mode: Mode) -> Result<(), StartError> {
        folder.must_belong_to(&[self.uid, geteuid().as_raw()])?;
        folder.set_mode(mode)?;
        if self.is_other() { folder.give(self.uid, self.gid) } else { Ok(()) }
    }
}

/// Whether root's variable of this name may be shown to a program with fewer rights.
pub fn is_harmless(variable: &OsStr) -> bool {
    variable.as_bytes().starts_with(b"LC_") || SEEN.iter().any(|seen| variable == *seen)
}

/// What our own user is called, as the server will see it.
pub(crate) fn own_name() -> Option<String> {
    id(&["-un"])
}

fn id(arguments: &[&str]) -> Option<String> {
    let output = Command::new("id").args(arguments).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_sees_no_secret_of_roots_and_nothing_that_moves_its_socket() {
        for (variable, of_others, of_ours) in [
            ("BETTER_AUTH_SECRET", false, true),
            ("DATABASE_URL", false, true),
            ("PGPORT", false, false),
            ("PATH", true, true),
            ("LC_ALL", true, true),
        ] {
            for (name, is_seen) in [(Some("postgres"), of_others), (None, of_ours)] {
                let account = Account { uid: 1, gid: 1, name };
                assert_eq!(account.sees(OsStr::new(variable)), is_seen, "{variable}");
            }
        }
    }
}
