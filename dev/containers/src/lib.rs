//! The three services as containers, on a real engine: what the tests do what an operator does with.
//!
//! The modules in the order in which they are used: a [`checkout`] to build from, the [`engine`] that builds, a
//! [`deployment`] of the compose file on it, [`http`] to ask, and [`traffic`] that counts what it is told.

pub mod checkout;
pub mod deployment;
pub mod engine;
pub mod http;
pub mod traffic;

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

/// Longer than anything that is waited for may take on a slow machine.
pub const PATIENCE: Duration = Duration::from_mins(2);

/// Between two looks at what is waited for.
const LOOK: Duration = Duration::from_millis(50);

/// Waits until something holds, and says how long that took.
///
/// # Panics
///
/// Where it doesn't hold in time.
#[track_caller]
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "in time: {what}");
        sleep(LOOK);
    }
    start.elapsed()
}
