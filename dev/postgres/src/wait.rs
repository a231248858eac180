//! Waits for what is about to happen, and not for ever.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::StartError;

/// How long a server may take to start or to stop.
const WAIT_MAX: Duration = Duration::from_secs(30);

const INTERVAL: Duration = Duration::from_millis(20);

/// Looks again and again until there is something to see; `late` says what to do about it if there never is.
pub(crate) fn wait_for<T>(
    mut look: impl FnMut() -> Result<Option<T>, StartError>,
    late: impl FnOnce() -> StartError,
) -> Result<T, StartError> {
    let deadline = Instant::now() + WAIT_MAX;
    loop {
        if let Some(seen) = look()? {
            return Ok(seen);
        }
        if Instant::now() >= deadline {
            return Err(late());
        }
        thread::sleep(INTERVAL);
    }
}
