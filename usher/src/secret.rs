//! The secret that tokens are signed with: given, or else made once and kept with the data.

use std::{
    fs::File,
    io::{self, Read, Write},
    path::PathBuf,
};

use chassis::settings::Secret;
use dev_postgres::Folder;

use crate::error::StartError;

/// The variable by which auth-verifier is told of it.
pub(crate) const VARIABLE: &str = "BETTER_AUTH_SECRET";

/// The variable by which it is told of it where that only signs identities.
pub(crate) const SEED: &str = "AUTH_VERIFIER_IDENTITY__SEED";

/// The file that ours is kept in.
const FILE: &str = "better-auth-secret";

/// As long as the output of HMAC-SHA256 (RFC 7518 §3.2).
const BYTES: usize = 32;

/// The most that is read of the file, in bytes: more than any secret that people make.
const FILE_BYTES_MAX: u64 = 4096;

/// A secret of ours.
#[derive(Debug)]
pub(crate) struct Made {
    /// The file that it is kept in.
    pub(crate) file: PathBuf,
    pub(crate) value: Secret,
}

/// Reads the secret in `folder`, where nobody else looks at it now, and makes it where there is none.
pub(crate) fn find_or_make(folder: &Folder) -> Result<Made, StartError> {
    let file = folder.path().join(FILE);
    // For our eyes only, if it is new.
    let mut opened = folder.file(FILE)?;
    let mut text = String::new();
    let read = (&opened).take(FILE_BYTES_MAX).read_to_string(&mut text);
    read.map_err(StartError::io("read", &file))?;
    if text.is_empty() {
        text = make()?;
        let written = opened.write_all(text.as_bytes()).and_then(|()| opened.sync_all());
        written.map_err(StartError::io("write", &file))?;
    }
    let value = text.trim_end();
    if value.len() < BYTES {
        return Err(StartError::NoSecret(file));
    }
    Ok(Made { value: Secret::new(value), file })
}

fn make() -> Result<String, StartError> {
    let mut bytes = [0; BYTES];
    let drawn: io::Result<()> =
        File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut bytes));
    drawn.map_err(StartError::io("read", "/dev/urandom"))?;
    Ok(bytes.map(|byte| format!("{byte:02x}")).concat() + "\n")
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{PermissionsExt, symlink},
    };

    use super::*;

    fn made(folder: &tempfile::TempDir) -> Result<Made, StartError> {
        find_or_make(&Folder::of(folder.path()).unwrap())
    }

    #[test]
    fn a_secret_is_made_once_and_is_for_our_eyes_only() {
        let folder = tempfile::tempdir().unwrap();
        let Made { file, value } = made(&folder).unwrap();
        assert_eq!(value.expose().len(), 2 * BYTES);
        assert_eq!(made(&folder).unwrap().value, value);
        assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);

        let another = tempfile::tempdir().unwrap();
        assert_ne!(made(&another).unwrap().value, value);
    }

    #[test]
    fn a_start_that_ended_before_it_was_written_leaves_nothing_to_clean_up() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), "").unwrap();
        assert_eq!(made(&folder).unwrap().value.expose().len(), 2 * BYTES);
    }

    #[test]
    fn a_file_without_a_secret_is_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), "short\n").unwrap();
        assert!(matches!(made(&folder), Err(StartError::NoSecret(_))));
    }

    #[test]
    fn a_link_in_the_place_of_the_file_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        for (victim, text) in [("empty", ""), ("full", "somebody else's file, and long enough for a secret")]
        {
            let victim = folder.path().join(victim);
            fs::write(&victim, text).unwrap();
            symlink(&victim, folder.path().join(FILE)).unwrap();
            made(&folder).unwrap_err();
            assert_eq!(fs::read_to_string(&victim).unwrap(), text);
            fs::remove_file(folder.path().join(FILE)).unwrap();
        }
    }
}
