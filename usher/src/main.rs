//! Everything on one machine: `cargo run` starts PostgreSQL, auth-verifier, task-service and the gateway, prints what a person
//! needs next, and keeps them running until Ctrl-C. Nothing has to be set up before. `cargo run -- demo` has a page and its sign-in
//! beside them ([`demo`]).
//!
//! This one program is also each of the services: `usher gateway` is the gateway. That is how the services are started: as
//! processes of their own, each of which is started again when it ends.
//!
//! The modules in the order of a start: [`plan`], [`check`], [`folder`], [`ports`], [`database`], [`secret`], then the services
//! as [`supervise`] keeps them and [`rights`] has them run, and what [`greet`] says. [`run`] is that order on one page.

mod check;
mod database;
mod demo;
mod error;
mod folder;
mod greet;
mod plan;
mod ports;
mod rights;
mod run;
mod say;
mod secret;
mod supervise;

use std::{
    ffi::OsStr,
    io::{self, Write},
    iter,
    process::ExitCode,
};

use plan::Which;

const USAGE: &str = "\
Starts everything on this machine: PostgreSQL, auth-verifier, task-service and the gateway.

Usage: usher                     start everything, until Ctrl-C
       usher demo                the same, and a page with sign-in to try it with; needs Node.js
       usher --check             check the settings of all services, say what is wrong, and exit with 0 or 1
       usher --check --show      and print every setting in force and where it comes from, secrets hidden
       usher SERVICE [ARGUMENT…] be one service: auth-verifier, task-service or gateway; try --help behind it
";

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let Some(name) = args.next() else { return run::run(Which::Services) };
    match name.to_str() {
        Some(plan::AUTH_VERIFIER) => auth_verifier::main(iter::once(name).chain(args)),
        Some(plan::TASK_SERVICE) => task_service::main(iter::once(name).chain(args)),
        Some(plan::GATEWAY) => gateway::main(iter::once(name).chain(args)),
        Some(demo::NAME) => match args.next() {
            None => run::run(Which::ServicesAndDemo),
            Some(_) => misused("demo takes no argument"),
        },
        Some("--check") => match args.next().as_deref().map(OsStr::to_str) {
            None => check::run(false),
            Some(Some("--show")) => check::run(true),
            Some(_) => misused("--check takes nothing but --show"),
        },
        Some("--help" | "-h") => {
            let _ = io::stdout().write_all(USAGE.as_bytes());
            ExitCode::SUCCESS
        }
        _ => misused(&format!("`{}` is not a service", name.display())),
    }
}

fn misused(what: &str) -> ExitCode {
    let _ = writeln!(io::stderr(), "{USAGE}\nusher: {what}");
    ExitCode::from(2)
}
