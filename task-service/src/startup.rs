//! What must be there before the first request: the tables, and a key to check identities by.
//!
//! Ready is said once. An outage later on makes answers of 503; a service that called itself unready then would take
//! all its replicas away at once, and the answers with them.

use std::{sync::Arc, time::Duration};

use chassis::{process::ops::Readiness, settings::Switch};
use tokio::time::sleep;
use tracing::{debug, error, info, warn};

use crate::{
    store::{PrepareError, Store},
    trust::Trust,
};

/// The first wait after a failed attempt, doubled up to the longest.
const BACKOFF_MIN: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(10);

/// How often to look whether the keys have come.
const KEYS_POLL: Duration = Duration::from_millis(100);

/// Prepares the store, for as long as that takes, then says that the service is ready.
///
/// Only what no waiting can mend is an error.
pub(crate) async fn prepare(
    store: Store,
    trust: Arc<Trust>,
    migrate: Switch,
    readiness: Readiness,
) -> Result<(), PrepareError> {
    tables(&store, migrate).await?;
    while !trust.is_ready() {
        sleep(KEYS_POLL).await;
    }
    readiness.set(true);
    info!("ready");
    Ok(())
}

async fn tables(store: &Store, migrate: Switch) -> Result<(), PrepareError> {
    let mut backoff = BACKOFF_MIN;
    let mut said = String::new();
    loop {
        let error = match store.prepare(migrate).await {
            Ok(()) => return Ok(()),
            Err(error @ PrepareError::Changed { .. }) => return Err(error),
            Err(error) => error,
        };
        // Once is news; the same again a moment later is not.
        let text = error.to_string();
        match error {
            _ if text == said => debug!(%error, "not ready yet"),
            PrepareError::Refused(_) => error!(%error, "not ready, and trying again"),
            _ => warn!(%error, "not ready yet; trying again"),
        }
        said = text;
        // Replicas that failed together don't try again together.
        sleep(backoff.mul_f64(0.5 + 0.5 * fastrand::f64())).await;
        backoff = (backoff * 2).min(BACKOFF_MAX);
    }
}
