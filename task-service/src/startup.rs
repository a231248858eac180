//! What must be there before the first request: the tables, and a key to verify identities with.
//!
//! The service says once that it is ready. During a later outage it answers 503: if it called itself unready then, all
//! its replicas would be taken away at once, and with them the answers.

use std::{sync::Arc, time::Duration};

use chassis::{
    backoff::{Backoff, News},
    outbound::database::AWAY_PAUSE_MAX,
    process::ops::{Hindrance, Readiness},
    settings::Switch,
};
use identity::Verifier;
use tokio::time::sleep;
use tracing::{debug, error, info, warn};

use crate::store::{PrepareError, Store};

/// The wait after a first failed attempt, and the longest where somebody has to act. A database that is out of reach is tried
/// again as soon as requests would have it tried.
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(10);

/// How often to look whether the keys have come.
const KEYS_POLL: Duration = Duration::from_millis(100);

/// Prepares the store, however long that takes, then says that the service is ready.
///
/// # Errors
///
/// What no waiting can mend: [`PrepareError::Changed`].
pub(crate) async fn prepare(
    store: Store,
    verifier: Arc<Verifier>,
    migrate: Switch,
    readiness: Readiness,
) -> Result<(), PrepareError> {
    readiness.hinder(Hindrance::Wait("the database has not answered yet".into()));
    prepare_tables(&store, migrate, &readiness).await?;
    tell_of_other_tasks(&store).await;
    readiness.hinder(Hindrance::Wait("auth-verifier's keys (TASK_SERVICE_IDENTITY_JWKS_URL)".into()));
    while !verifier.is_ready() {
        sleep(KEYS_POLL).await;
    }
    readiness.set(true);
    info!("ready");
    Ok(())
}

/// Says which tables of another backend were not taken over. It hinders nothing: what can't be looked at is no news.
async fn tell_of_other_tasks(store: &Store) {
    match store.not_taken_over().await {
        Ok(tables) => {
            for table in tables {
                info!(
                    table,
                    "another backend's tasks are here and were not taken over; see `task-service import --help`"
                );
            }
        }
        Err(error) => debug!(%error, "nobody knows whether another backend's tasks are here"),
    }
}

async fn prepare_tables(store: &Store, migrate: Switch, readiness: &Readiness) -> Result<(), PrepareError> {
    let mut backoff = Backoff::new(BACKOFF_MIN, BACKOFF_MAX).from_start();
    loop {
        let error = match store.prepare(migrate).await {
            Ok(()) => return Ok(()),
            Err(error @ PrepareError::Changed { .. }) => return Err(error),
            Err(error) => error,
        };
        readiness.hinder(hindrance(&error));
        let is_answer = matches!(
            error,
            PrepareError::Refused { .. }
                | PrepareError::Failed(_)
                | PrepareError::Ungranted { .. }
                | PrepareError::Unbound { .. }
                | PrepareError::Elsewhere { .. }
                | PrepareError::ReadOnly
        );
        match backoff.fail(&error) {
            News::Known => debug!(%error, "not ready yet"),
            _ if is_answer => error!(%error, "not ready, and trying again"),
            News::Early => info!(%error, "not ready yet; trying again"),
            News::New => warn!(%error, "not ready yet; trying again"),
        }
        sleep(pause(&backoff, &error)).await;
    }
}

/// How long to wait after this failure.
fn pause(backoff: &Backoff, error: &PrepareError) -> Duration {
    match error {
        PrepareError::Unreachable(_) => backoff.jittered_wait_within(AWAY_PAUSE_MAX),
        _ => backoff.jittered_wait(),
    }
}

/// What the operator's listener says of an error: what to do, without what the database said.
fn hindrance(error: &PrepareError) -> Hindrance {
    match error {
        PrepareError::Refused { advice, .. } => Hindrance::Change((*advice).to_owned()),
        PrepareError::Unreachable(_) => Hindrance::Wait("the database is out of reach".into()),
        PrepareError::Failed(_) => Hindrance::Wait("the database refuses a migration".into()),
        PrepareError::Ungranted { .. } | PrepareError::Unbound { .. } | PrepareError::Elsewhere { .. } => {
            Hindrance::Change(error.to_string())
        }
        PrepareError::Behind | PrepareError::ReadOnly | PrepareError::Changed { .. } => {
            Hindrance::Wait(error.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_that_is_away_is_found_soon_and_one_that_refuses_is_not_pestered() {
        let mut backoff = Backoff::new(BACKOFF_MIN, BACKOFF_MAX);
        let away = PrepareError::Unreachable("nobody is there".into());
        let refused = PrepareError::Failed("no".into());
        for _ in 0..20 {
            backoff.fail("");
            assert!(pause(&backoff, &away) <= AWAY_PAUSE_MAX);
            assert!(pause(&backoff, &away) >= BACKOFF_MIN / 2);
        }
        assert!(pause(&backoff, &refused) >= BACKOFF_MAX / 2);
    }
}
