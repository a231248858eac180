//! The secret that tokens are signed with: given, or else made once and kept with the data.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use chassis::settings::Environment;

use crate::error::StartError;

/// As long as the output of HMAC-SHA256 (RFC 7518 §3.2).
const BYTES: usize = 32;

/// Where the secret comes from.
pub(crate) enum Secret {
    /// It is set; Better Auth has the same one.
    Given,
    /// It is ours.
    Made {
        /// The file that it is kept in.
        file: PathBuf,
        /// The secret itself.
        value: String,
    },
}

/// Whether the environment sets a secret.
pub(crate) fn is_given(environment: &Environment) -> bool {
    let names =
        ["BETTER_AUTH_SECRET", "BETTER_AUTH_SECRET_FILE", "BETTER_AUTH_SECRETS", "BETTER_AUTH_SECRETS_FILE"];
    names.iter().any(|name| environment.get(name).is_some())
}

/// Finds out whether a secret is set, else reads ours from `folder`, making it where there is none.
pub(crate) fn find_or_make(environment: &Environment, folder: &Path) -> Result<Secret, StartError> {
    if is_given(environment) {
        return Ok(Secret::Given);
    }
    let file = folder.join("better-auth-secret");
    if !file.exists() {
        make(&file)?;
    }
    let text = fs::read_to_string(&file).map_err(StartError::io("read", &file))?;
    let value = text.trim_end().to_owned();
    if value.len() < BYTES { Err(StartError::NoSecret(file)) } else { Ok(Secret::Made { file, value }) }
}

fn make(file: &Path) -> Result<(), StartError> {
    let mut bytes = [0; BYTES];
    File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut bytes))
        .map_err(StartError::io("read", "/dev/urandom"))?;
    let text = bytes.map(|byte| format!("{byte:02x}")).concat();
    // Complete or not there, and never readable by others.
    let fresh = file.with_extension("new");
    let write = || -> io::Result<()> {
        let mut options = File::options();
        writeln!(options.write(true).create(true).truncate(true).mode(0o600).open(&fresh)?, "{text}")?;
        fs::rename(&fresh, file)
    };
    write().map_err(StartError::io("write", file))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn made(folder: &Path) -> (PathBuf, String) {
        match find_or_make(&Environment::default(), folder).unwrap() {
            Secret::Made { file, value } => (file, value),
            Secret::Given => panic!("nothing was given"),
        }
    }

    #[test]
    fn a_secret_is_made_once_and_is_for_our_eyes_only() {
        let folder = tempfile::tempdir().unwrap();
        let (file, value) = made(folder.path());
        assert_eq!(value.len(), 2 * BYTES);
        assert_eq!(made(folder.path()).1, value);
        assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);

        let another = tempfile::tempdir().unwrap();
        assert_ne!(made(another.path()).1, value);
    }

    #[test]
    fn a_given_secret_is_enough() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["BETTER_AUTH_SECRET", "BETTER_AUTH_SECRET_FILE"] {
            let environment = [(name, "x")].into_iter().collect();
            assert!(matches!(find_or_make(&environment, folder.path()), Ok(Secret::Given)));
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_file_without_a_secret_is_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("better-auth-secret"), "short\n").unwrap();
        assert!(matches!(find_or_make(&Environment::default(), folder.path()), Err(StartError::NoSecret(_))));
    }
}
