//! The folder in which everything is kept, and that only one copy uses at a time.

use std::{
    fs::{self, File, TryLockError},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use chassis::settings::Environment;
use rustix::process::geteuid;

use crate::error::StartError;

/// The data folder, locked for as long as this lives.
#[derive(Debug)]
pub(crate) struct Folder {
    /// The folder that was asked for.
    pub(crate) path: PathBuf,
    /// Where our own files are: the same one, unless we are root, and others may write to it.
    pub(crate) files: dev_postgres::Folder,
    _lock: File,
}

impl Folder {
    /// Makes the folder if it is missing, and locks it for this copy.
    pub(crate) fn lock(path: &Path) -> Result<Self, StartError> {
        refuse_others_links(path)?;
        let files = dev_postgres::Folder::of(path)?;
        let path = path.canonicalize().map_err(StartError::io("find", path))?;
        let lock = files.file("running.lock")?;
        // The system lets go of the lock with the process, so that a killed copy leaves none behind.
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, files, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(StartError::AnotherCopy(path)),
            Err(TryLockError::Error(error)) => {
                Err(StartError::io("lock", files.path().join("running.lock"))(error))
            }
        }
    }
}

/// Root does not go where somebody else's link leads.
fn refuse_others_links(path: &Path) -> Result<(), StartError> {
    let is_others = |found: fs::Metadata| found.is_symlink() && found.uid() != geteuid().as_raw();
    if geteuid().is_root() && fs::symlink_metadata(path).is_ok_and(is_others) {
        return Err(StartError::OthersLink(path.to_owned()));
    }
    Ok(())
}

/// `USHER_DATA_DIR`, or `.data` in the project when run by cargo, else in the current folder.
pub(crate) fn path(environment: &Environment) -> PathBuf {
    if let Some(set) = environment.get("USHER_DATA_DIR") {
        return set.into();
    }
    // Cargo tells a program that it runs where its package is: the folder below the project.
    let manifest = environment.get("CARGO_MANIFEST_DIR").map(Path::new);
    let project = manifest.and_then(|folder| folder.ancestors().nth(1)).unwrap_or(Path::new(""));
    project.join(".data")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{lchown, symlink};

    use super::*;

    #[test]
    fn data_are_kept_in_the_project_or_where_it_is_said() {
        for (variables, want) in [
            (&[][..], ".data"),
            (&[("CARGO_MANIFEST_DIR", "/home/a/project/usher")][..], "/home/a/project/.data"),
            (&[("CARGO_MANIFEST_DIR", "/home/a/project/usher"), ("USHER_DATA_DIR", "/d")][..], "/d"),
        ] {
            assert_eq!(path(&variables.iter().copied().collect()), Path::new(want));
        }
    }

    #[test]
    fn a_folder_has_one_user_at_a_time() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a/b");
        let first = Folder::lock(&path).unwrap();
        assert!(matches!(Folder::lock(&path), Err(StartError::AnotherCopy(_))));
        drop(first);
        Folder::lock(&path).unwrap();
    }

    #[test]
    fn a_link_in_the_place_of_the_folder_is_followed_if_it_is_ours() {
        let root = tempfile::tempdir().unwrap();
        let (real, link) = (root.path().join("real"), root.path().join("link"));
        fs::create_dir(&real).unwrap();
        symlink(&real, &link).unwrap();
        drop(Folder::lock(&link).unwrap());
        if !geteuid().is_root() {
            return;
        }
        lchown(&link, Some(61_999), None).unwrap();
        let error = Folder::lock(&link).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{} is a link of another user's", link.display())), "{error}");
    }

    #[test]
    fn a_lock_that_somebody_else_has_linked_away_is_not_touched() {
        let root = tempfile::tempdir().unwrap();
        let victim = root.path().join("victim");
        fs::write(&victim, "kept").unwrap();
        let folder = root.path().join("data");
        fs::create_dir(&folder).unwrap();
        symlink(&victim, folder.join("running.lock")).unwrap();
        Folder::lock(&folder).unwrap_err();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "kept");
    }
}
