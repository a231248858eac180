//! Which user the server runs as: ours, or, since PostgreSQL refuses to run as root, one with fewer rights.

use std::{
    env,
    ffi::OsStr,
    fs::{self, DirBuilder, Permissions},
    io,
    os::unix::{
        ffi::OsStrExt,
        fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown},
        process::CommandExt,
    },
    path::Path,
    process::{Command, Stdio},
};

use rustix::process::geteuid;

use crate::StartError;

/// A user that may run PostgreSQL.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    uid: u32,
    /// Whom to become first; `None` where that is us.
    become_user: Option<User>,
}

#[derive(Clone, Debug)]
struct User {
    name: &'static str,
    uid: u32,
    gid: u32,
}

impl Account {
    /// The user that runs this process, unless that is root.
    pub(crate) fn of_process() -> Result<Self, StartError> {
        let uid = geteuid();
        if !uid.is_root() {
            return Ok(Self { uid: uid.as_raw(), become_user: None });
        }
        // initdb wants a user with a name, so that a bare number won't do.
        let user = ["postgres", "nobody"].into_iter().find_map(User::named).ok_or(StartError::NoAccount)?;
        Ok(Self { uid: user.uid, become_user: Some(user) })
    }

    /// What to call this user in a sentence.
    pub(crate) fn name(&self) -> &'static str {
        self.become_user.as_ref().map_or("this user", |user| user.name)
    }

    /// Whether this is somebody with fewer rights than ours.
    pub(crate) fn is_other(&self) -> bool {
        self.become_user.is_some()
    }

    /// A command run by this user. It sees no `PG…` variable: one of those would move the server's socket.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        for (name, _) in env::vars_os() {
            if name.as_bytes().starts_with(b"PG") {
                command.env_remove(name);
            }
        }
        if let Some(user) = &self.become_user {
            // With this the standard library also gives up root's supplementary groups.
            command.uid(user.uid).gid(user.gid);
        }
        command.current_dir("/").stdin(Stdio::null());
        command
    }

    /// Whether this user can reach a folder. The system is asked, because it also knows of access lists and of
    /// each folder on the way.
    pub(crate) fn can_enter(&self, folder: &Path) -> bool {
        let entered = self.command("true").current_dir(folder).status();
        entered.is_ok_and(|status| status.success())
    }

    /// Makes a folder that is this user's alone; one that is there must be theirs already.
    ///
    /// Whoever can reach the server's socket is let in without a password, so this is what keeps others out.
    pub(crate) fn make_private(&self, folder: &Path) -> Result<(), StartError> {
        if self.make_new_private(folder)? {
            return Ok(());
        }
        // Not followed: in a folder that everybody may write to, a link is somebody's trap.
        let found = fs::symlink_metadata(folder).map_err(StartError::io("look at", folder))?;
        let ours = found.uid() == self.uid || found.uid() == geteuid().as_raw();
        if !(found.is_dir() && ours) {
            return Err(StartError::Foreign(folder.to_owned()));
        }
        fs::set_permissions(folder, Permissions::from_mode(0o700))
            .map_err(StartError::io("close", folder))?;
        self.chown_to(folder)
    }

    /// Makes a folder that is this user's alone, unless the name is taken: then it says `false`.
    pub(crate) fn make_new_private(&self, folder: &Path) -> Result<bool, StartError> {
        match DirBuilder::new().mode(0o700).create(folder) {
            Ok(()) => self.chown_to(folder).map(|()| true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(StartError::io("create", folder)(error)),
        }
    }

    fn chown_to(&self, folder: &Path) -> Result<(), StartError> {
        self.become_user.as_ref().map_or(Ok(()), |user| {
            chown(folder, Some(user.uid), Some(user.gid)).map_err(StartError::io("give away", folder))
        })
    }
}

impl User {
    /// Looks a user up with `id`, which knows every directory that the system asks, not only `/etc/passwd`.
    fn named(name: &'static str) -> Option<Self> {
        let id = |which| {
            let output = Command::new("id").args([which, name]).stderr(Stdio::null()).output().ok()?;
            String::from_utf8(output.stdout).ok()?.trim().parse().ok()
        };
        Some(Self { name, uid: id("-u")?, gid: id("-g")? })
    }
}
