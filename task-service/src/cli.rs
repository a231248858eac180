//! The command line: the service itself, and its migrations as a job of their own.

use std::{ffi::OsString, process::ExitCode};

use chassis::{
    process::{self, Process, StartError},
    settings::Switch,
    telemetry::catalog,
};
use clap::Command;
use identity::Verifier;

use crate::{
    settings::{Plan, Settings},
    stack::stack,
    startup,
    store::Store,
};

const MIGRATE: &str = "migrate";

/// Runs task-service by its command line.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let about = "Bring the tables up to date, and exit with 0 or 1";
    let command = process::command::<Settings>().subcommand(Command::new(MIGRATE).about(about));
    match command.try_get_matches_from(args) {
        Err(error) => process::usage(&error),
        Ok(matches) if matches.subcommand_name() == Some(MIGRATE) => {
            process::run_job::<Settings, _>(&matches, migrate)
        }
        Ok(matches) => process::run::<Settings, _>(&matches, serve),
    }
}

async fn migrate(plan: Plan) -> Result<(), StartError> {
    Store::new(plan.store).prepare(Switch::On).await.map_err(|error| StartError::Other(error.into()))
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
    process.serve(stack(verifier, store, plan.body)).await;
    prepared
        .await
        .map_err(|error| StartError::Other(error.into()))?
        .map_err(|error| StartError::Other(error.into()))
}
