//! Files that settings are read from, each no larger than somebody would write it.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

/// The largest file that is read.
const BYTES_MAX: u64 = 1024 * 1024;

/// The whole of a file.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("is over {BYTES_MAX} bytes")));
    }
    Ok(bytes)
}
