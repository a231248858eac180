//! Of the requests in flight, those at Neon's own Better Auth. It is far away and somebody else's: while it hangs, sign-in waits, and nothing
//! else does.

use std::{net::IpAddr, sync::Arc};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::share::{Share, Shares};
use crate::{admit::AdmitError, counts::Counts};

/// How many there may be, in all and of one client.
pub(super) struct NeonPlaces {
    places: Arc<Semaphore>,
    clients: Shares<IpAddr>,
}

/// One of them, until this is dropped.
pub(super) struct NeonPlace {
    _place: OwnedSemaphorePermit,
    _of_client: Share<IpAddr>,
}

impl NeonPlaces {
    pub(super) fn new(max: usize, per_client_max: usize, counts: &Counts) -> Self {
        Self { places: counts.at_neon.of(max), clients: counts.clients_at_neon.bounded(per_client_max) }
    }

    /// Takes one for `client`. Those with a body count, too: the rate and the time of a body are bounded, and each client has a share.
    pub(super) fn take(&self, client: IpAddr) -> Result<NeonPlace, AdmitError> {
        let of_client = self.clients.take(client).ok_or(AdmitError::NeonShare(client))?;
        let place = self.places.clone().try_acquire_owned().map_err(|_| AdmitError::NeonFull)?;
        metrics::gauge!(crate::metrics::NEON_AUTH_IN_FLIGHT.name).increment(1.0);
        Ok(NeonPlace { _place: place, _of_client: of_client })
    }
}

impl Drop for NeonPlace {
    fn drop(&mut self) {
        metrics::gauge!(crate::metrics::NEON_AUTH_IN_FLIGHT.name).decrement(1.0);
    }
}
