//! The front door: the one origin that the browser sees.
//!
//! [`settings`] are parsed into a [`plan`], and the [`stack`] is built from that. The modules after it are the stations of a
//! request's walk, in its order; [`refusal`] and `rim` make answers of what they refuse, and [`body`] has the bodies.

pub mod metrics;
pub mod settings;

pub mod plan;

pub mod stack;

pub mod record;

pub mod compress;
pub mod cors;
pub mod refusal;
mod rim;

pub mod head;

pub mod accounts;
pub mod client;
pub mod local;
pub mod route;

pub mod rate_limit;

pub mod admit;
pub mod counts;

pub mod sanitize;

pub mod authenticate;

pub mod permit;

pub mod csrf;

pub mod quota;

pub mod shed;

pub mod cookies;
pub mod neon_auth;
pub mod stamp;

pub mod upstream;

pub mod websocket;

pub mod body;

use std::{ffi::OsString, process::ExitCode};

use chassis::{
    process::{self, Process, StartError},
    serve::Replaceable,
};

use crate::{counts::Counts, plan::Plan, settings::Settings};

/// Runs the gateway by its command line.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    process::main::<Settings, _>(args, serve)
}

async fn serve(plan: Plan, mut process: Process) -> Result<(), StartError> {
    chassis::telemetry::catalog::describe(crate::metrics::METRICS);
    process.tls.set(plan.tls.clone());
    let counts = Counts::default();
    let stack = Replaceable::new(stack::stack(&plan, &counts));
    process.on_reload::<Settings>({
        let (stack, tls) = (stack.clone(), process.tls.clone());
        move |plan: Plan| {
            tls.set(plan.tls.clone());
            // A new one from the ground up: no verdict, and no connection, is older than its settings. Only what is counted goes on.
            stack.replace(stack::stack(&plan, &counts));
        }
    });
    // Whether the services behind are there shows in the answers; the front door itself is open.
    process.readiness.set(true);
    process.serve(stack).await;
    Ok(())
}
