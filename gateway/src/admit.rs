//! Concurrency limits and load shedding: a bounded number of requests is in flight, and of one client a share of them; and the rate
//! limit of its client, before auth-verifier is asked.
//!
//! A request takes a permit or is refused at once: a queue here would only hide the overload.

mod neon;
pub(crate) mod share;

use std::{net::IpAddr, sync::Arc};

use bytes::Bytes;
use chassis::{Body, BoxError};
use http::{Response, header};
use identity::UserId;
use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use self::{
    neon::{NeonPlace, NeonPlaces},
    share::{Share, Shares},
};
use crate::{
    body::{bounded::BoundedBody, guarded::GuardedBody, held::HeldChunk, idle::Rate},
    counts::Counts,
    plan::RequestLimits,
    rate_limit::{RateExceeded, Standings},
    route::Routed,
};

/// The limits, and what is in flight.
pub struct Admission {
    permits: Arc<Semaphore>,
    clients: Shares<IpAddr>,
    at_neon: NeonPlaces,
    answer: Rate,
}

/// One request in flight: given back when its answer has left, or its reader was given up.
pub struct InFlightPermit {
    _permit: OwnedSemaphorePermit,
    of_client: Share<IpAddr>,
    of_user: Option<Share<UserId>>,
    /// Boxed: few requests have one.
    _at_neon: Option<Box<NeonPlace>>,
    answer: Rate,
}

/// A request with a permit, whose body is bounded. Only this file makes one.
pub struct Admitted {
    routed: Routed<BoundedBody>,
    permit: InFlightPermit,
}

/// Why a request was not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AdmitError {
    /// As many requests are in flight as may be.
    #[error("as many requests are in flight as may be")]
    Full,
    /// As many of this client's are.
    #[error("{0} has its share of requests in flight")]
    ClientShare(IpAddr),
    /// As many requests to Neon's own Better Auth are in flight as may be.
    #[error("as many requests to Neon Auth are in flight as may be")]
    NeonFull,
    /// As many of this client's are.
    #[error("{0} has its share of requests to Neon Auth in flight")]
    NeonShare(IpAddr),
    /// Its client makes more than its route allows in a while.
    #[error("the client makes {0}")]
    ClientRate(RateExceeded),
    /// Its body is announced to be larger than the route allows.
    #[error("the request body is too large")]
    BodyTooLarge,
}

impl Admission {
    /// As many in flight as `limits` say, in all and of one client; an answer must be read at their rate.
    pub(crate) fn new(limits: &RequestLimits, counts: &Counts) -> Self {
        Self {
            permits: counts.requests.of(limits.max),
            clients: counts.clients.bounded(limits.per_client_max),
            at_neon: NeonPlaces::new(limits.neon_max, limits.neon_per_client_max, counts),
            answer: limits.answer,
        }
    }

    /// Counts a request to its client, bounds its body by its route, and takes a permit.
    pub(crate) fn admit(&self, routed: Routed, standings: &mut Standings) -> Result<Admitted, AdmitError> {
        let route = routed.route();
        let client = routed.client().counted();
        // First: what costs nothing else must count, too.
        if let Some(limit) = &route.client_rate {
            standings.count_client(limit, client).map_err(AdmitError::ClientRate)?;
        }
        let bounds = route.body;
        // hyper has seen to it that there is one number.
        let length = routed.head().headers.get(header::CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if length.is_some_and(|length| length > bounds.bytes) {
            return Err(AdmitError::BodyTooLarge);
        }
        // The client's own share first: an overload that it causes is told to it, and to nobody else.
        let share = self.clients.take(client).ok_or(AdmitError::ClientShare(client))?;
        let permit = self.permits.clone().try_acquire_owned().map_err(|_| AdmitError::Full)?;
        let at_neon = route.neon_auth.is_some().then(|| self.at_neon.take(client)).transpose()?;
        let permit = InFlightPermit {
            _permit: permit,
            of_client: share,
            of_user: None,
            _at_neon: at_neon.map(Box::new),
            answer: self.answer,
        };
        Ok(Admitted { routed: routed.map(|body| body.bound(bounds)), permit })
    }
}

impl InFlightPermit {
    /// Whose request it is, as it is counted.
    pub(crate) fn client(&self) -> IpAddr {
        *self.of_client.holder()
    }

    /// Counts the request to a user's share, too.
    pub(crate) fn count_to(&mut self, share: Share<UserId>) {
        self.of_user = Some(share);
    }

    /// Holds the permit until the server drops the answer's body: over HTTP/1.1 when it has taken the only chunk, over HTTP/2 when
    /// the stream had room for it. A stream that has none for too long is reset by the server (`server.write_secs`).
    pub(crate) fn hold_until_taken(self, response: Response<Bytes>) -> Response<Body> {
        response.map(|chunk| Body::new(HeldChunk::new(chunk, self)))
    }

    /// Holds the permit until the answer has left, or until its client has taken too little of it for too long.
    pub(crate) fn attach_to<B>(self, response: Response<B>) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Unpin + Send + 'static,
    {
        let least = self.answer;
        response.map(|body| Body::new(GuardedBody::new(body, self, least)))
    }
}

impl Admitted {
    /// The request on its route.
    pub fn routed(&self) -> &Routed<BoundedBody> {
        &self.routed
    }

    pub(crate) fn routed_mut(&mut self) -> &mut Routed<BoundedBody> {
        &mut self.routed
    }

    pub(crate) fn permit_mut(&mut self) -> &mut InFlightPermit {
        &mut self.permit
    }

    /// The request and its permit.
    pub(crate) fn into_parts(self) -> (Routed<BoundedBody>, InFlightPermit) {
        (self.routed, self.permit)
    }
}
