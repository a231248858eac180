//! Prints what a person sees of the launcher among the log lines of the services: who, and then what.

use std::{fmt::Display, time::Duration};

use chassis::telemetry::lines::{Lines, last_words};

/// How long the last lines may take to be read.
const LAST: Duration = Duration::from_secs(1);

/// Prints one line. Nobody who reads it, or doesn't, holds up the launcher.
pub(crate) fn say(who: &str, what: impl Display) {
    Lines::stdout().push(format!("{who:<13}  {what}\n").as_bytes());
}

/// Prints as many lines as there are.
pub(crate) fn tell(text: &str) {
    for line in text.lines() {
        Lines::stdout().push(format!("{line}\n").as_bytes());
    }
}

/// Says what went wrong, on standard error, each line by itself: the last that a person sees.
pub(crate) fn complain(what: impl Display) {
    let lines: Vec<_> = what.to_string().lines().map(|line| format!("usher: {line}\n")).collect();
    last_words(lines.concat(), LAST);
}

/// Waits, but not for long, until everything that was said is written.
pub(crate) fn finish() {
    Lines::stdout().flush(LAST);
}
