//! The folders of a server, one for its data and one for its socket, and the lock of the process that owns it.
//!
//! What we write (locks, the log, who may log in) lies in a folder of ours, and the two that are the server's below it. Where we
//! are root, the server's user can thus put no link in our way.

use std::{
    env, fs,
    fs::{File, TryLockError},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process,
};

use rustix::process::geteuid;

use crate::{
    StartError,
    account::Account,
    folder::{Folder, PASSABLE, PRIVATE, name_for},
    place::{Place, name_of},
    session::Session,
    wait::wait_for,
};

/// The longest path that leaves room for a socket's name: systems allow as few as 103 bytes for both.
const SOCKET_DIR_BYTES_MAX: usize = 79;

pub(crate) const DATA: &str = "data";
/// Data that are not complete.
pub(crate) const FRESH_DATA: &str = "data.new";
pub(crate) const LOG: &str = "server.log";
pub(crate) const OWNER_LOCK: &str = "owner.lock";
pub(crate) const GUARD: &str = "guard.sh";
pub(crate) const LOGINS: &str = "pg_hba.conf";
pub(crate) const LOGIN_NAMES: &str = "pg_ident.conf";
pub(crate) const SECRET: &str = "role-secret";
const SOCKET: &str = "socket";

/// What we may open or make in a server's folder, other than the data.
const OURS: [&str; 8] = [OWNER_LOCK, LOG, GUARD, LOGINS, LOGIN_NAMES, SECRET, SOCKET, FRESH_DATA];

/// The folders of one server.
#[derive(Debug)]
pub(crate) struct Folders {
    /// Holds everything. It is ours, and once [`Folders::give`] was called the server's.
    pub(crate) home: Folder,
    pub(crate) socket_dir: PathBuf,
}

impl Folders {
    /// The folders of one major version.
    pub(crate) fn of(place: &Place, major: u32, account: &Account) -> Result<Self, StartError> {
        let name = name_of(major);
        let home = match place.folder.new_folder(&name)? {
            Some(new) => new,
            None => place
                .folder
                .folder(&name)?
                .ok_or_else(|| StartError::Foreign(place.folder.path().join(&name)))?,
        };
        if account.is_other() {
            home.alone(|| seal(&home, account))?;
            let mut socket_dir = home.path().join(SOCKET);
            if fits_a_socket(&socket_dir) && everybody_can_enter(home.path()) {
                account.give(&home.own_or_given(SOCKET, account)?, PASSABLE)?;
            } else {
                let sockets = Folder::elsewhere(place.folder.path())?;
                let name = format!("{SOCKET}-{major}");
                account.give(&sockets.own_or_given(&name, account)?, PASSABLE)?;
                socket_dir = sockets.path().join(name);
            }
            return Ok(Self { home, socket_dir });
        }
        account.give(&home, PRIVATE)?;
        let socket_dir = if fits_a_socket(home.path()) {
            home.path().to_owned()
        } else {
            // Always the same one, whatever this process takes for the temporary folder.
            let base = usable(["/tmp".into(), "/var/tmp".into(), env::temp_dir()], account)?;
            base.own(&format!("{}-{major}", name_for(place.folder.path())), PRIVATE)?.path().to_owned()
        };
        Ok(Self { home, socket_dir })
    }

    /// Folders of their own among the temporary files.
    pub(crate) fn temporary(account: &Account) -> Result<Self, StartError> {
        let base = usable([env::temp_dir(), "/tmp".into(), "/var/tmp".into()], account)?;
        let mut n = 0u32;
        loop {
            // A name that is taken is another server's, or what a killed process of our number left.
            if let Some(home) = base.new_folder(&format!("dev-postgres-{}-{n}", process::id()))? {
                return Ok(Self { socket_dir: home.path().to_owned(), home });
            }
            n += 1;
        }
    }

    /// Gives it all to the server's user, who will remove it. Nothing is opened in here after that.
    pub(crate) fn give(&self, account: &Account) -> Result<(), StartError> {
        account.give(&self.home, PRIVATE)
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.home.path().join(DATA)
    }

    /// Removes it all. What can't be removed stays: there is nobody to tell. No link is followed.
    pub(crate) fn remove(&self) {
        let _ = fs::remove_dir_all(self.home.path());
    }

    /// Becomes the owner, who starts the server and stops it; `None` once another owner's server answers.
    ///
    /// The owner is who holds the lock. The system lets go of it with the process, so that nobody takes a server
    /// for alive whose owner was killed and whose guard is about to stop it.
    pub(crate) fn own(&self, session: &Session) -> Result<Option<File>, StartError> {
        let file = self.home.file(OWNER_LOCK)?;
        let look = || match file.try_lock() {
            Ok(()) => Ok(Some(true)),
            Err(TryLockError::WouldBlock) => Ok(session.answers().then_some(false)),
            Err(TryLockError::Error(error)) => {
                Err(StartError::io("lock", self.home.path().join(OWNER_LOCK))(error))
            }
        };
        let owned = wait_for(look, || StartError::Busy(self.home.path().to_owned()))?;
        Ok(owned.then_some(file))
    }
}

/// Makes a folder root's that the server's user had before, when an earlier version of this gave it all of it.
///
/// Whatever that user may have put in our way is removed. Until that is done nobody else can enter, which is how an interrupted
/// attempt is known. The data themselves are not touched.
fn seal(home: &Folder, account: &Account) -> Result<(), StartError> {
    if home.owner()? == geteuid().as_raw() && home.mode()? == PASSABLE {
        return Ok(());
    }
    account.must_own(home)?;
    if let Some(data) = home.folder(DATA)? {
        account.must_own(&data)?;
    }
    home.set_mode(PRIVATE)?;
    home.take()?;
    for name in OURS {
        // Another process may hold these.
        let is_lock = [OWNER_LOCK, LOG].contains(&name);
        if !(is_lock && home.has_own_file(name)?) {
            home.remove(name)?;
        }
    }
    home.set_mode(PASSABLE)
}

fn fits_a_socket(folder: &Path) -> bool {
    folder.as_os_str().len() <= SOCKET_DIR_BYTES_MAX
}

/// Whether the bits of all folders on the way let everybody through: the services run as users of their own.
fn everybody_can_enter(folder: &Path) -> bool {
    let bits = |folder: &Path| fs::metadata(folder).map_or(0, |found| found.mode());
    folder.ancestors().all(|folder| bits(folder) & 0o001 != 0)
}

/// The first folder for temporary files that the server's user can use and whose path is short.
fn usable(folders: [PathBuf; 3], account: &Account) -> Result<Folder, StartError> {
    for folder in &folders {
        let Ok(path) = folder.canonicalize() else { continue };
        // What is made in it has some 30 bytes more.
        if path.as_os_str().len() + 32 > SOCKET_DIR_BYTES_MAX || !account.can_enter(&path) {
            continue;
        }
        let folder = Folder::open(&path)?;
        if !account.is_other() || folder.keeps_names()? {
            return Ok(folder);
        }
    }
    Err(StartError::NoFolder(folders.to_vec()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn account() -> Account {
        Account::of_process(&mut |_| {}).unwrap()
    }

    fn folders(root: &Path) -> Folders {
        let account = account();
        Folders::of(&Place::find(root, &account, &mut |_| {}).unwrap(), 15, &account).unwrap()
    }

    #[test]
    fn a_path_too_long_for_a_socket_gets_a_short_folder_and_the_same_one_again() {
        let base = tempfile::tempdir().unwrap();
        fs::set_permissions(base.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let long = base.path().join("a".repeat(90));
        let both = [(); 2].map(|()| folders(&long));
        for folders in &both {
            assert!(folders.home.path().starts_with(long.canonicalize().unwrap()));
            assert!(fits_a_socket(&folders.socket_dir), "{}", folders.socket_dir.display());
            assert_eq!(folders.socket_dir, both[0].socket_dir);
        }
        fs::remove_dir(&both[0].socket_dir).unwrap();
        if account().is_other() {
            fs::remove_dir(both[0].socket_dir.parent().unwrap()).unwrap();
        }
    }

    #[test]
    fn a_private_folder_is_open_to_the_server_alone() {
        let account = account();
        let folders = Folders::temporary(&account).unwrap();
        folders.give(&account).unwrap();
        let found = fs::metadata(folders.home.path()).unwrap();
        assert_eq!(found.mode() & 0o777, 0o700);
        assert!(account.can_enter(folders.home.path()));
        folders.remove();
    }

    #[test]
    fn a_link_in_the_place_of_a_folder_of_ours_is_refused() {
        let root = tempfile::tempdir().unwrap();
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
        symlink("/tmp", root.path().join("pg15")).unwrap();
        let account = account();
        let place = Place::find(root.path(), &account, &mut |_| {});
        let made = place.and_then(|place| Folders::of(&place, 15, &account));
        assert!(matches!(made, Err(StartError::Foreign(_))), "{made:?}");
    }
}
