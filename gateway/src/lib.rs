//! The front door: the one origin that the browser sees.
//!
//! The modules are the stations of a request's walk, in its order; [`stack`] is the walk on one page. The first
//! three stand outside [`answer`], where refusals become answers, so that a refusal has an id, an access line and
//! CORS headers too.

pub mod settings;

pub mod client;
pub mod cors;
pub mod refusal;

pub mod route;

pub mod admit;

pub mod sanitize;

pub mod authenticate;

pub mod csrf;

pub mod cookies;
pub mod stamp;

pub mod upstream;

mod body;
pub mod stack;

use std::{ffi::OsString, process::ExitCode};

use chassis::process::{self, Process, StartError};

use crate::settings::Settings;

/// Runs the gateway by its command line.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    process::main::<Settings, _>(args, serve)
}

async fn serve(settings: Settings, process: Process) -> Result<(), StartError> {
    let stack = stack::stack(&settings);
    // Whether the services behind are there shows in the answers; the front door itself is open.
    process.readiness.set(true);
    process.serve(stack).await;
    Ok(())
}
