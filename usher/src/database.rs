//! The database: the one that the settings name, or a PostgreSQL of our own.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use chassis::{
    backoff::Backoff,
    settings::{Environment, Secret, SettingsError},
};
use dev_postgres::Postgres;
use tokio::{task::spawn_blocking, time::sleep};

use crate::{error::StartError, say::say};

/// The variable by which task-service is told of a database.
pub(crate) const VARIABLE: &str = "DATABASE_URL";

/// task-service's database on our own server, and the role that has it and no other.
pub(crate) const TASKS: &str = "tasks";

/// How often our server is looked after.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// Refuses where our own server would be taken for the real one, and lost with the machine.
pub(crate) fn refuse_in_production(environment: &Environment) -> Result<(), SettingsError> {
    let Some(place) = production(environment) else { return Ok(()) };
    let reason =
        format!("names no database, and no development PostgreSQL is started where {place} is set: set it");
    Err(SettingsError::new(VARIABLE, reason))
}

/// What says that this is no machine to develop on, if anything does.
pub(crate) fn production(environment: &Environment) -> Option<String> {
    if environment.get("KUBERNETES_SERVICE_HOST").is_some() {
        Some("KUBERNETES_SERVICE_HOST".into())
    } else {
        says_production(environment, "APP_ENV")
    }
}

/// A variable with its value, where that is a word for production.
pub(crate) fn says_production(environment: &Environment, variable: &str) -> Option<String> {
    let value = environment.get(variable)?.trim();
    let is_production = ["production", "prod"].iter().any(|word| value.eq_ignore_ascii_case(word));
    is_production.then(|| format!("{variable}={value}"))
}

/// The longest wait before it is started again.
const RESTART_MAX: Duration = Duration::from_secs(30);

/// A PostgreSQL of our own.
#[derive(Debug)]
pub(crate) struct OwnDatabase {
    folder: PathBuf,
    names: &'static [&'static str],
    urls: Vec<Secret>,
    /// `None` while it is started again.
    postgres: Option<Arc<Mutex<Postgres>>>,
}

impl OwnDatabase {
    /// Starts the server and makes the databases of these names, each with a role of its own; all where needed.
    pub(crate) async fn start(folder: &Path, names: &'static [&'static str]) -> Result<Self, StartError> {
        let folder = folder.to_owned();
        let postgres = start(folder.clone(), names).await?;
        say(
            "PostgreSQL",
            format_args!("{} runs, on a socket in {}", postgres.major(), postgres.socket_dir().display()),
        );
        let urls = names.iter().map(|name| Secret::new(postgres.url(name))).collect();
        Ok(Self { folder, names, urls, postgres: Some(shared(postgres)) })
    }

    /// Where a database is, for its own role; the same after every start. `None` where it wasn't asked for.
    pub(crate) fn url(&self, name: &str) -> Option<&Secret> {
        self.names.iter().zip(&self.urls).find_map(|(one, url)| (*one == name).then_some(url))
    }

    /// Starts the server again when it ends; never returns.
    pub(crate) async fn keep(&mut self) {
        let mut backoff = Backoff::new(WATCH_INTERVAL, RESTART_MAX);
        loop {
            sleep(backoff.wait().max(WATCH_INTERVAL)).await;
            if let Some(postgres) = self.postgres.clone() {
                // One of another process is asked, and may take its time to answer.
                let look = move || postgres.lock().is_ok_and(|mut postgres| postgres.is_running());
                if spawn_blocking(look).await.unwrap_or(false) {
                    continue;
                }
                say("PostgreSQL", "ended; starting it again");
            }
            // Let go of first: a server has one owner at a time.
            self.postgres = None;
            match start(self.folder.clone(), self.names).await {
                Ok(postgres) => {
                    backoff.succeed();
                    self.postgres = Some(shared(postgres));
                }
                Err(error) => {
                    backoff.fail(&error);
                    let wait = backoff.wait().as_secs();
                    say("PostgreSQL", format_args!("{error}; starting it again in {wait} s"));
                }
            }
        }
    }

    /// Stops the server.
    pub(crate) async fn stop(&mut self) {
        if let Some(postgres) = self.postgres.take() {
            let stop = move || {
                // Whoever looks at it has done so then.
                drop(postgres.lock());
                drop(postgres);
            };
            let _ = spawn_blocking(stop).await;
            say("PostgreSQL", "stopped");
        }
    }
}

fn shared(postgres: Postgres) -> Arc<Mutex<Postgres>> {
    Arc::new(Mutex::new(postgres))
}

/// Starts the server on a thread of its own, so that Ctrl-C is heard meanwhile. If nobody waits for it any more, it stops again.
async fn start(folder: PathBuf, names: &'static [&'static str]) -> Result<Postgres, StartError> {
    let start = move || -> Result<Postgres, StartError> {
        let postgres = Postgres::start(&folder, &mut |note| say("PostgreSQL", note))?;
        for name in names {
            postgres.create_database(name)?;
        }
        Ok(postgres)
    };
    spawn_blocking(start).await.expect("starting PostgreSQL does not panic")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_server_is_for_development() {
        for (name, value, refused) in [
            ("KUBERNETES_SERVICE_HOST", "10.0.0.1", true),
            ("APP_ENV", "production", true),
            ("APP_ENV", "Production", true),
            ("APP_ENV", " prod ", true),
            ("APP_ENV", "development", false),
            // Its frontend may be built for production.
            ("NODE_ENV", "production", false),
            ("KUBERNETES_SERVICE_HOST", "", false),
        ] {
            let environment = [(name, value)].into_iter().collect();
            assert_eq!(refuse_in_production(&environment).is_err(), refused, "{name}={value}");
        }
    }
}
