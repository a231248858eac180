//! What the pages say holds: each link leads somewhere, each command, setting, metric and code that they name exists, and each
//! block of a shell is of a kind that something runs.
#![expect(clippy::unwrap_used, reason = "a test fails where it can't go on")]
#![expect(clippy::disallowed_methods, reason = "what is read in JSON stands on our own pages")]

mod commands;
mod links;
mod names;
mod pages;
mod problems;
mod settings;

/// Fails with a line for each fault.
#[track_caller]
fn none(faults: &[String]) {
    assert!(faults.is_empty(), "\n  {}\n", faults.join("\n  "));
}
