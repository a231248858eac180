//! The command line: the service itself, and its migrations as a job of their own.

use std::{ffi::OsString, process::ExitCode};

use chassis::{
    process::{self, Process, StartError},
    settings::Switch,
};
use clap::Command;

use crate::{settings::Settings, stack::stack, startup, store::Store, trust::Trust};

const MIGRATE: &str = "migrate";

/// Runs task-service by its command line.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let about = "Bring the tables up to date, and exit with 0 or 1";
    let command = process::command::<Settings>().subcommand(Command::new(MIGRATE).about(about));
    match command.try_get_matches_from(args) {
        Err(error) => process::usage(&error),
        Ok(matches) if matches.subcommand_name() == Some(MIGRATE) => {
            process::run_once::<Settings, _>(&matches, migrate)
        }
        Ok(matches) => process::run::<Settings, _>(&matches, serve),
    }
}

async fn migrate(settings: Settings) -> Result<(), StartError> {
    let store = Store::new(&settings)?;
    store.prepare(Switch::On).await.map_err(|error| StartError::Other(error.into()))
}

async fn serve(settings: Settings, process: Process) -> Result<(), StartError> {
    let trust = Trust::new(&settings.identity_jwks_url, &settings.identity.audience);
    let store = Store::new(&settings)?;
    tokio::spawn(trust.clone().keep_fresh());
    // Beside serving: a database that is away must not keep us from saying so.
    let prepared = tokio::spawn({
        let (store, trust) = (store.clone(), trust.clone());
        let (stop, readiness) = (process.stop.clone(), process.readiness.clone());
        async move {
            let prepared = startup::prepare(store, trust, settings.migrate, readiness);
            let result = stop.run_until_cancelled(prepared).await.unwrap_or(Ok(()));
            if result.is_err() {
                stop.cancel();
            }
            result
        }
    });
    process.serve(stack(trust, store, settings.limits)).await;
    prepared
        .await
        .map_err(|error| StartError::Other(error.into()))?
        .map_err(|error| StartError::Other(error.into()))
}
