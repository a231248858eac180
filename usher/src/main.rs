//! Everything on one machine: `cargo run` starts PostgreSQL, auth-verifier, task-service and the gateway, tells
//! what a person needs next, and keeps them running until Ctrl-C. Nothing has to be set up before.
//!
//! This one program is also each of the services: `usher gateway` is the gateway, and that is how the services are
//! started, as processes of their own that can be killed and come back alone.
//!
//! The modules in the order of a start: [`plan`], [`folder`], [`ports`], [`database`], [`secret`], then the
//! services as [`supervise`] keeps them, and what [`greet`] says. [`run`] is that order on one page.

mod database;
mod error;
mod folder;
mod greet;
mod plan;
mod ports;
mod run;
mod say;
mod secret;
mod supervise;

use std::{
    ffi::OsString,
    io::{self, Write},
    process::ExitCode,
};

const USAGE: &str = "\
Starts everything on this machine: PostgreSQL, auth-verifier, task-service and the gateway.

Usage: usher                     start everything, until Ctrl-C
       usher SERVICE [ARGUMENT…] be one service: auth-verifier, task-service or gateway; try --help behind it
";

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let Some(name) = args.next() else { return run::run() };
    let service = |name: &str| std::iter::once(OsString::from(name)).chain(args);
    match name.to_str() {
        Some(name @ plan::AUTH_VERIFIER) => auth_verifier::main(service(name)),
        Some(name @ plan::TASK_SERVICE) => task_service::main(service(name)),
        Some(name @ plan::GATEWAY) => gateway::main(service(name)),
        Some("--help" | "-h") => {
            let _ = io::stdout().write_all(USAGE.as_bytes());
            ExitCode::SUCCESS
        }
        _ => {
            let name = name.display();
            let _ = writeln!(io::stderr(), "usher: `{name}` is not a service\n\n{USAGE}");
            ExitCode::from(2)
        }
    }
}
