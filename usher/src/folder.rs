//! The folder in which everything is kept, and that only one copy uses at a time.

use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
};

use chassis::settings::Environment;

use crate::error::StartError;

/// The data folder, locked for as long as this lives.
#[derive(Debug)]
pub(crate) struct Folder {
    pub(crate) path: PathBuf,
    _lock: File,
}

impl Folder {
    /// Makes the folder if it is missing, and locks it for this copy.
    pub(crate) fn lock(path: &Path) -> Result<Self, StartError> {
        fs::create_dir_all(path).map_err(StartError::io("create", path))?;
        let path = path.canonicalize().map_err(StartError::io("find", path))?;
        let lock_path = path.join("running.lock");
        let lock = File::create(&lock_path).map_err(StartError::io("open", &lock_path))?;
        // The system lets go of the lock with the process, so that a killed copy leaves none behind.
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(StartError::AnotherCopy(path)),
            Err(TryLockError::Error(error)) => Err(StartError::io("lock", lock_path)(error)),
        }
    }
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
}
