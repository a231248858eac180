//! The command line that every service has.

use std::process::ExitCode;

use clap::{Arg, ArgAction, Command, value_parser};

use super::Service;

pub(super) const CHECK: &str = "check";
pub(super) const SHOW: &str = "show";
pub(super) const PROBE: &str = "probe";
pub(super) const UNTIL_STDIN_CLOSES: &str = "until-stdin-closes";
pub(super) const AS_USER: &str = "as-user";

/// The command line of a service: `--check`, `--probe`, and what clap adds.
pub fn command<S: Service>() -> Command {
    let flag = |name: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue);
    Command::new(S::SPEC.service)
        .version(env!("CARGO_PKG_VERSION"))
        .about(S::ABOUT)
        .arg(flag(CHECK).help("Check the settings, say what is wrong with them, and exit with 0 or 1"))
        .arg(
            flag(SHOW)
                .requires(CHECK)
                .help("With --check: print every setting in force and where it comes from, secrets hidden"),
        )
        .arg(
            flag(PROBE).help(
                "Ask the service that runs with these settings whether it is ready, and exit with 0 or 1",
            ),
        )
        .arg(
            flag(UNTIL_STDIN_CLOSES)
                .hide(true)
                .help("Stop when standard input ends: how a child process never outlives its parent"),
        )
        .arg(
            Arg::new(AS_USER)
                .long(AS_USER)
                .value_name("ID")
                .value_parser(value_parser!(u32).range(1..))
                .hide(true)
                .help("Become the user and the group of this number once the settings are read: for a launcher that is root"),
        )
}

/// Prints what clap says: help and version on standard output, mistakes on standard error, with exit code 2.
pub fn usage(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}
