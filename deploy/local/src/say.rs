//! What a person sees of the launcher, among the log lines of the services: who, and then what.

use std::{
    fmt::Display,
    io::{self, Write},
};

/// Prints one line. A closed standard output is no reason to stop.
pub(crate) fn say(who: &str, what: impl Display) {
    let _ = writeln!(io::stdout(), "{who:<13}  {what}");
}
