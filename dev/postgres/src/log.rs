//! The log of a server, which also tells whether anybody is still there.

use std::{
    fs::{File, TryLockError},
    io::{Read, Seek},
    process::Command,
};

use crate::{
    StartError,
    folders::{Folders, LOG},
    wait::wait_for,
};

/// How many lines of a log a person is shown.
const LINES: usize = 12;

/// A log of ours alone, empty at first.
#[derive(Debug)]
pub(crate) struct Log {
    file: File,
}

impl Log {
    /// Opens the log once nobody else writes to it.
    ///
    /// It is locked for as long as anybody has it open, and that is every process of a server: once we have it, a
    /// server that ran here before, and whose owner was killed, is gone.
    pub(crate) fn open(folders: &Folders) -> Result<Self, StartError> {
        let file = folders.home.appended(LOG)?;
        let look = || match file.try_lock() {
            Ok(()) => Ok(Some(())),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => {
                Err(StartError::io("lock", folders.home.path().join(LOG))(error))
            }
        };
        wait_for(look, || StartError::Busy(folders.home.path().to_owned()))?;
        file.set_len(0).map_err(StartError::io("empty", folders.home.path().join(LOG)))?;
        Ok(Self { file })
    }

    /// Makes it the output of a command.
    pub(crate) fn attach(&self, command: &mut Command) -> Result<(), StartError> {
        let again = || self.file.try_clone().map_err(StartError::io("open", "the server's log"));
        command.stdout(again()?).stderr(again()?);
        Ok(())
    }

    /// Its last lines, in which the reason stands. They can be read even when the file has been removed.
    pub(crate) fn end(&self) -> String {
        let text = self.text();
        let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }

    /// Whether it says so.
    pub(crate) fn says(&self, words: &str) -> bool {
        self.text().contains(words)
    }

    fn text(&self) -> String {
        let mut bytes = Vec::new();
        let mut file = &self.file;
        // What can be read is shown; there is nobody to tell of the rest.
        let _ = file.rewind().and_then(|()| file.read_to_end(&mut bytes));
        String::from_utf8_lossy(&bytes).into_owned()
    }
}
