//! What must be there before the first request: the tables, and a key to verify identities with.
//!
//! The service says once that it is ready. During a later outage it answers 503: if it called itself unready then, all
//! its replicas would be taken away at once, and with them the answers.

use std::{sync::Arc, time::Duration};

use chassis::{
    backoff::{Backoff, News},
    process::ops::Readiness,
    settings::Switch,
};
use identity::Verifier;
use tokio::time::sleep;
use tracing::{debug, error, info, warn};

use crate::store::{PrepareError, Store};

/// The wait after a first failed attempt, and the longest.
const BACKOFF_MIN: Duration = Duration::from_millis(200);
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
    prepare_tables(&store, migrate).await?;
    while !verifier.is_ready() {
        sleep(KEYS_POLL).await;
    }
    readiness.set(true);
    info!("ready");
    Ok(())
}

async fn prepare_tables(store: &Store, migrate: Switch) -> Result<(), PrepareError> {
    let mut backoff = Backoff::new(BACKOFF_MIN, BACKOFF_MAX);
    loop {
        let error = match store.prepare(migrate).await {
            Ok(()) => return Ok(()),
            Err(error @ PrepareError::Changed { .. }) => return Err(error),
            Err(error) => error,
        };
        match (backoff.fail(&error), &error) {
            (News::Known, _) => debug!(%error, "not ready yet"),
            (News::New, PrepareError::Refused(_)) => error!(%error, "not ready, and trying again"),
            (News::New, _) => warn!(%error, "not ready yet; trying again"),
        }
        sleep(backoff.jittered_wait()).await;
    }
}
