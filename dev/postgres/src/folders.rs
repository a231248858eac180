//! The folders of a server, one for its data and one for its socket, and the lock of the process that owns it.

use std::{
    env, fs,
    fs::{File, TryLockError},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    process,
};

use aws_lc_rs::digest::{SHA256, digest};

use crate::{StartError, account::Account, session::Session, wait::wait_for};

/// The longest path that leaves room for a socket's name: systems allow as few as 103 bytes for both.
const SOCKET_DIR_BYTES_MAX: usize = 79;

/// The folders of one server.
#[derive(Debug)]
pub(crate) struct Folders {
    /// Holds everything; open to the server's user alone.
    pub(crate) home: PathBuf,
    pub(crate) socket_dir: PathBuf,
}

impl Folders {
    /// Folders below `root`; or, if the server's user can't enter that, elsewhere, and always the same for `root`.
    pub(crate) fn under(
        root: &Path,
        major: u32,
        account: &Account,
        say: &mut dyn FnMut(&str),
    ) -> Result<Self, StartError> {
        fs::create_dir_all(root).map_err(StartError::io("create", root))?;
        let root = root.canonicalize().map_err(StartError::io("find", root))?;
        let name = format!("dev-postgres-{:016x}", fingerprint(&root));

        let root = if account.can_enter(&root) {
            root
        } else {
            // Not the temporary folder: that one may be emptied by a restart.
            let elsewhere = Path::new("/var/tmp").join(&name);
            account.make_private(&elsewhere)?;
            say(&format!(
                "the data are kept in {}, because user {} can't enter {}",
                elsewhere.display(),
                account.name(),
                root.display()
            ));
            elsewhere
        };
        // The data of one major version mean nothing to another.
        let home = root.join(format!("pg{major}"));
        account.make_private(&home)?;
        let socket_dir = if fits_a_socket(&home) {
            home.clone()
        } else {
            // Always the same one, whatever this process takes for the temporary folder.
            let folders = ["/tmp".into(), "/var/tmp".into(), env::temp_dir()];
            let short = usable(folders, account)?.join(format!("{name}-{major}"));
            account.make_private(&short)?;
            short
        };
        Ok(Self { home, socket_dir })
    }

    /// Folders of their own among the temporary files.
    pub(crate) fn temporary(account: &Account) -> Result<Self, StartError> {
        let base = usable([env::temp_dir(), "/tmp".into(), "/var/tmp".into()], account)?;
        let mut n = 0u32;
        loop {
            let home = base.join(format!("dev-postgres-{}-{n}", process::id()));
            // A name that is taken is another server's, or what a killed process of our number left.
            if account.make_new_private(&home)? {
                return Ok(Self { socket_dir: home.clone(), home });
            }
            n += 1;
        }
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.home.join("data")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.home.join("server.log")
    }

    /// Removes it all. What can't be removed stays: there is nobody to tell.
    pub(crate) fn remove(&self) {
        let _ = fs::remove_dir_all(&self.home);
    }

    /// Becomes the owner, who starts the server and stops it; `None` once another owner's server answers.
    ///
    /// The owner is who holds the lock. The system lets go of it with the process, so that nobody takes a server
    /// for alive whose owner was killed and whose guard is about to stop it.
    pub(crate) fn own(&self, session: &Session) -> Result<Option<File>, StartError> {
        let path = self.home.join("owner.lock");
        let file = File::create(&path).map_err(StartError::io("open", &path))?;
        let look = || match file.try_lock() {
            Ok(()) => Ok(Some(true)),
            Err(TryLockError::WouldBlock) => Ok(session.answers().then_some(false)),
            Err(TryLockError::Error(error)) => Err(StartError::io("lock", &path)(error)),
        };
        let owned = wait_for(look, || StartError::Busy(self.home.clone()))?;
        Ok(owned.then_some(file))
    }
}

fn fits_a_socket(folder: &Path) -> bool {
    folder.as_os_str().len() <= SOCKET_DIR_BYTES_MAX
}

/// The first folder for temporary files that the server's user can use and whose path is short.
fn usable(folders: [PathBuf; 3], account: &Account) -> Result<PathBuf, StartError> {
    // What is made in it has some 30 bytes more.
    let fits = |folder: &PathBuf| folder.as_os_str().len() + 32 <= SOCKET_DIR_BYTES_MAX;
    let usable = folders.iter().find(|folder| fits(folder) && account.can_enter(folder));
    usable.cloned().ok_or_else(|| StartError::NoFolder(folders.to_vec()))
}

/// The same in every build and on every machine, unlike the hashers of the standard library.
fn fingerprint(path: &Path) -> u64 {
    let hash = digest(&SHA256, path.as_os_str().as_bytes());
    hash.as_ref().iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;
    use crate::test;

    #[test]
    fn a_path_too_long_for_a_socket_gets_a_short_folder_and_the_same_one_again() {
        let account = Account::of_process().unwrap();
        let base = Folders::temporary(&account).unwrap();
        let long = base.home.join("a".repeat(90));
        account.make_private(&long).unwrap();
        let both = [(); 2].map(|()| Folders::under(&long, 15, &account, &mut |_| {}).unwrap());
        for folders in &both {
            assert!(folders.home.starts_with(&long));
            assert!(fits_a_socket(&folders.socket_dir), "{}", folders.socket_dir.display());
            assert_eq!(folders.socket_dir, both[0].socket_dir);
        }
        base.remove();
        fs::remove_dir(&both[0].socket_dir).unwrap();
    }

    #[test]
    fn a_folder_that_root_keeps_to_itself_is_stood_in_for_by_one_that_lasts() {
        let account = Account::of_process().unwrap();
        if !account.is_other() {
            return test::skip("only root has folders that the server's user can't enter");
        }
        let closed = tempfile::tempdir().unwrap();
        fs::set_permissions(closed.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let root = closed.path().join("project/.data");
        let mut said = Vec::new();
        let folders = Folders::under(&root, 15, &account, &mut |note| said.push(note.to_owned())).unwrap();
        let again = Folders::under(&root, 15, &account, &mut |_| {}).unwrap();
        assert!(folders.home.starts_with("/var/tmp"));
        assert_eq!(folders.home, again.home);
        assert!(said[0].contains("can't enter"), "{said:?}");
        fs::remove_dir_all(folders.home.parent().unwrap()).unwrap();
    }

    #[test]
    fn a_private_folder_is_open_to_the_server_alone() {
        let account = Account::of_process().unwrap();
        let folders = Folders::temporary(&account).unwrap();
        let found = fs::metadata(&folders.home).unwrap();
        assert_eq!(found.mode() & 0o777, 0o700);
        assert!(account.can_enter(&folders.home));
        folders.remove();
    }

    #[test]
    fn a_link_in_the_place_of_a_private_folder_is_refused() {
        let account = Account::of_process().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("/tmp", &link).unwrap();
        assert!(matches!(account.make_private(&link), Err(StartError::Foreign(_))));
    }
}
