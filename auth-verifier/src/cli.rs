//! The command line: the service itself, and what helps those who run it.

use std::{
    ffi::OsString,
    io::{IsTerminal, Read, Write},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use chassis::{
    outbound::database::RoleName,
    process::{self, Process, StartError},
    settings::{self, Environment, SettingsError},
};
use clap::{Args, FromArgMatches, Subcommand};
use identity::UserId;

use crate::{
    diagnostics::{
        dev_token,
        doctor::{self, Given},
        inspect,
    },
    settings::{Plan, Settings},
    transport::{grpc, http::stack},
};

/// The most that is read of what is pasted, in bytes: more than any header may have.
const PASTED_BYTES_MAX: u64 = 256 * 1024;

/// How long what is piped in may take to come.
const PASTED_WAIT: Duration = Duration::from_secs(10);

#[derive(Subcommand)]
enum Command {
    /// Make a development token, signed with `BETTER_AUTH_SECRET`
    Token(TokenArgs),
    /// Print the SQL that lets a role read what is looked at in Better Auth's tables, and nothing else
    Grants(GrantsArgs),
    /// Compare the settings with the live Better Auth, and with a token or cookie if one comes on standard input; say
    /// what is wrong and what to set
    Doctor,
    /// Say of a token or cookie, pasted on standard input, what it is and why it is accepted or not
    Inspect,
}

#[derive(Args)]
struct TokenArgs {
    /// The user's id
    #[arg(long)]
    sub: String,
    /// How long it is good
    #[arg(long, default_value_t = 3600)]
    lifetime_secs: u32,
}

#[derive(Args)]
struct GrantsArgs {
    /// The role: made if it isn't there
    #[arg(long, default_value = "auth_verifier", value_parser = RoleName::parse)]
    role: RoleName,
}

/// Runs auth-verifier by its command line.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let command = Command::augment_subcommands(process::command::<Settings>()).subcommand_required(false);
    match command.try_get_matches_from(args) {
        Err(error) => process::usage(&error),
        Ok(matches) => match Command::from_arg_matches(&matches) {
            Ok(Command::Token(args)) => finish(mint(&args)),
            Ok(Command::Grants(args)) => finish(grants(&args.role)),
            Ok(Command::Inspect) => process::run_report::<Settings, _>(&matches, look_at),
            Ok(Command::Doctor) => process::run_report::<Settings, _>(&matches, examine),
            Err(_) => process::run::<Settings, _>(&matches, serve),
        },
    }
}

async fn serve(plan: Plan, mut process: Process) -> Result<(), StartError> {
    chassis::telemetry::catalog::describe(crate::metrics::METRICS);
    let verifier = plan.verifier();
    if let Some(address) = plan.settings.grpc_listen {
        process.add_listener(
            "GRPC_LISTEN",
            address,
            grpc::stack(verifier.clone(), plan.settings.errors_as),
        )?;
    }
    tokio::spawn(Arc::clone(&verifier).keep_fresh());
    // Keys that can't be fetched yet make answers of 503, not a process out of reach.
    process.readiness.set(true);
    process.serve(stack(verifier, plan.settings.errors_as)).await;
    Ok(())
}

fn pasted() -> std::io::Result<String> {
    let mut pasted = String::new();
    std::io::stdin().lock().take(PASTED_BYTES_MAX).read_to_string(&mut pasted)?;
    Ok(pasted)
}

async fn examine(plan: Plan) -> Result<(), StartError> {
    // Begun at once: a writer at the other end of a pipe doesn't wait for us.
    let reading = (!std::io::stdin().is_terminal()).then(|| tokio::task::spawn_blocking(pasted));
    let given = async {
        let Some(reading) = reading else { return Given::Terminal };
        match tokio::time::timeout(PASTED_WAIT, reading).await {
            Ok(Ok(Ok(text))) => Given::Text(text),
            Ok(Ok(Err(error))) => Given::Unread(error.to_string()),
            Ok(Err(error)) => Given::Unread(error.to_string()),
            Err(_) => Given::Unread(format!("it did not end within {PASTED_WAIT:?}")),
        }
    };
    let report = doctor::examine(&plan, given).await;
    std::io::stdout().write_all(report.to_string().as_bytes()).map_err(|e| StartError::Other(e.into()))?;
    match report.bad() {
        0 => Ok(()),
        1 => Err(StartError::Other("one thing is wrong".into())),
        n => Err(StartError::Other(format!("{n} things are wrong").into())),
    }
}

async fn look_at(plan: Plan) -> Result<(), StartError> {
    let pasted = pasted().map_err(|error| StartError::Other(error.into()))?;
    let told = inspect::inspect(&pasted, &plan, &plan.verifier()).await;
    std::io::stdout().write_all(told.as_bytes()).map_err(|error| StartError::Other(error.into()))
}

fn mint(args: &TokenArgs) -> Result<String, SettingsError> {
    let plan = settings::load::<Settings>(&Environment::of_process()?)?;
    let secret = plan.hs256_secret().ok_or_else(|| {
        SettingsError::new("BETTER_AUTH_SECRET", "must be set, and HS256 enabled, to make development tokens")
    })?;
    if UserId::parse(&args.sub).is_none() {
        return Err(SettingsError::new("--sub", "must be 1 to 255 visible ASCII characters without a comma"));
    }
    let lifetime = Duration::from_secs(args.lifetime_secs.into());
    let first = |names: &[String]| names.first().cloned();
    let (iss, aud) = (first(&plan.expected.issuers), first(&plan.expected.audiences));
    Ok(dev_token::mint_for(secret, &args.sub, lifetime, iss.as_deref(), aud.as_deref()))
}

fn grants(role: &RoleName) -> Result<String, SettingsError> {
    let plan = settings::load::<Settings>(&Environment::of_process()?)?;
    let mut reads = plan.reads;
    // Asked for before there is a role to connect as.
    reads.session_tokens |= plan.settings.session.looks_up_by_itself();
    let neon = plan.neon.as_ref().filter(|neon| neon.reads.any());
    Ok(match neon {
        Some(neon) if !plan.settings.accepts_own() => neon.tables.grants(role, neon.reads),
        Some(neon) => {
            format!("{}\n{}", plan.tables.grants(role, reads), neon.tables.further_grants(role, neon.reads))
        }
        None => plan.tables.grants(role, reads),
    })
}

fn finish(result: Result<String, SettingsError>) -> ExitCode {
    let written = match result {
        Ok(text) => writeln!(std::io::stdout(), "{text}").map(|()| ExitCode::SUCCESS),
        Err(error) => writeln!(std::io::stderr(), "auth-verifier: {error}").map(|()| ExitCode::FAILURE),
    };
    written.unwrap_or(ExitCode::FAILURE)
}
