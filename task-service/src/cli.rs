//! The command line: the service itself, as jobs of their own its migrations and the import of another backend's tasks, and
//! the SQL for its roles.

use std::{
    ffi::OsString,
    io::{self, Write},
    process::ExitCode,
};

use chassis::{
    process::{self, Process, StartError},
    telemetry::catalog,
};
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches, error::ErrorKind};
use identity::Verifier;

use crate::{
    import::{self, Choices},
    settings::{Plan, Settings},
    stack::stack,
    startup,
    store::{Store, role},
};

const MIGRATE: &str = "migrate";
const IMPORT: &str = "import";
const GRANTS: &str = "grants";
const SERVE: &str = "serve";

/// Runs task-service by its command line.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let about = "Bring the tables up to date, and exit with 0 or 1";
    let role = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name("ROLE").required(true).help(help)
    };
    let grants_command = Command::new(GRANTS)
        .about("Print the SQL for two roles, one that serves and one that migrates: for `psql -v ON_ERROR_STOP=1 -f -`")
        .arg(role(
            SERVE,
            "The role in DATABASE_URL, which reads and writes rows and is bound by row-level security",
        ))
        .arg(role(MIGRATE, "The role that owns the tables: of TASK_SERVICE_MIGRATE_URL, or of the job"));
    let command = process::command::<Settings>()
        .subcommand(Command::new(MIGRATE).about(about))
        .subcommand(Choices::augment_args(Command::new(IMPORT)))
        .subcommand(grants_command);
    match command.try_get_matches_from(args) {
        Err(error) => process::usage(&error),
        Ok(matches) if matches.subcommand_name() == Some(MIGRATE) => {
            process::run_job::<Settings, _>(&matches, migrate)
        }
        Ok(matches) if matches.subcommand_name() == Some(IMPORT) => {
            let choices = matches.subcommand_matches(IMPORT).map(Choices::from_arg_matches);
            match choices.unwrap_or_else(|| Ok(Choices::default())) {
                Err(error) => process::usage(&error),
                // Its report is all there is on standard output.
                Ok(choices) => process::run_report::<Settings, _>(&matches, async |plan: Plan| {
                    Ok(import::run(plan.store, plan.migrate, choices).await?)
                }),
            }
        }
        Ok(matches) if matches.subcommand_name() == Some(GRANTS) => {
            matches.subcommand_matches(GRANTS).map_or(ExitCode::FAILURE, print_grants)
        }
        Ok(matches) => process::run::<Settings, _>(&matches, serve),
    }
}

fn print_grants(matches: &ArgMatches) -> ExitCode {
    let role = |name| matches.get_one::<String>(name).map_or("", String::as_str);
    match role::grants(role(SERVE), role(MIGRATE)) {
        Ok(sql) => {
            let printed = io::stdout().write_all(sql.as_bytes());
            if printed.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => process::usage(&clap::Error::raw(ErrorKind::ValueValidation, format!("{error}\n"))),
    }
}

async fn migrate(plan: Plan) -> Result<(), StartError> {
    Store::new(plan.store).migrate().await.map_err(|error| StartError::Other(error.into()))
}

async fn serve(plan: Plan, process: Process) -> Result<(), StartError> {
    catalog::describe(identity::metrics::METRICS);
    catalog::describe(crate::metrics::METRICS);
    let verifier = Verifier::new(&plan.jwks_url, &plan.audience);
    let store = Store::new(plan.store);
    tokio::spawn(verifier.clone().keep_fresh());
    // Beside serving: while the database is away, requests must be told so.
    let prepared = tokio::spawn({
        let (store, verifier) = (store.clone(), verifier.clone());
        let (stop, readiness) = (process.stop.clone(), process.readiness.clone());
        async move {
            let prepared = startup::prepare(store, verifier, plan.migrate, readiness);
            let result = stop.run_until_cancelled(prepared).await.unwrap_or(Ok(()));
            if result.is_err() {
                stop.cancel();
            }
            result
        }
    });
    process.serve(stack(verifier, store, plan.body, plan.answers)).await;
    prepared
        .await
        .map_err(|error| StartError::Other(error.into()))?
        .map_err(|error| StartError::Other(error.into()))
}
