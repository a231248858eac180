//! Sends a request to its service, and streams the answer back.

use std::{pin::pin, sync::Arc, time::Duration};

use chassis::Body;
use http::{Request, Response, StatusCode, Version, request};
use thiserror::Error;
use tokio::time::timeout;

use super::{
    ConnectError, SendError, Tries, Upstream,
    pool::{AtHand, LeasedBody},
    response,
};
use crate::{
    admit::InFlightPermit,
    body::{
        bounded::{BodyError, BodyOutcome, BoundedBody},
        idle::IdleTimeoutBody,
    },
    stamp::Stamped,
};

/// How often a request is sent again that got lost on its way.
const RETRIES_MAX: usize = 1;

/// Why there is no answer to pass on.
#[derive(Debug, Error)]
pub enum ForwardError {
    /// No endpoint takes connections. Nothing was sent.
    #[error("reach the service")]
    Unreachable(#[source] ConnectError),
    /// The connection broke, or what came is no answer.
    #[error("exchange with the service")]
    Send(#[source] SendError),
    /// The answer did not begin in time.
    #[error("the answer did not begin within {0:?}")]
    Timeout(Duration),
    /// The request's body could not be read.
    #[error(transparent)]
    Body(BodyError),
    /// An interim answer to what was no upgrade.
    #[error("the service answers {0} to what was no upgrade")]
    Informational(StatusCode),
    /// The answer has a transfer coding that is not `chunked`.
    #[error("the service answers with an unknown transfer coding")]
    Coding,
    /// The service refuses the identity that we gave the request.
    #[error("the service refuses our identities")]
    IdentityRefused,
}

/// Sends a request to one of its service's endpoints.
///
/// A service may close a kept connection just as we write into it. Then the request goes again, once and over a new connection,
/// if nothing of it was sent, or if it only reads and has no body. Everything else is left to the client, who knows whether it
/// may be repeated.
pub async fn forward(stamped: Stamped) -> Result<Response<Body>, ForwardError> {
    let (mut request, route, permit) = stamped.into_parts();
    let upstream: &Arc<Upstream> = &route.upstream;
    let outcome = request.body().outcome();
    let (mut tries, mut retries) = (Tries::default(), 0);
    loop {
        let lease = tries.connect(&upstream.endpoints).await.map_err(ForwardError::Unreachable)?;
        let again = if retries < RETRIES_MAX { repeatable(&request) } else { None };
        let error = match upstream.wait_for(lease.send(request), outcome.as_ref()).await {
            Ok(response) => return upstream.answer(response, permit, outcome.as_ref()),
            Err(error) => error,
        };
        if let Some(error) = outcome.as_ref().and_then(BodyOutcome::error) {
            return Err(ForwardError::Body(error));
        }
        let first = tries.distrust_kept();
        request = match (error, again) {
            // That a kept connection turns out to be closed is no loss yet.
            (ForwardError::Send(SendError::Unsent(unsent, _)), _) if first => {
                request = *unsent.0;
                continue;
            }
            (ForwardError::Send(SendError::Unsent(unsent, _)), _) if retries < RETRIES_MAX => *unsent.0,
            (ForwardError::Send(SendError::Lost(_)), Some(again)) => {
                Request::from_parts(again, BoundedBody::default())
            }
            (error, _) => return Err(error),
        };
        retries += 1;
        upstream.retries.increment(1);
    }
}

/// A copy of a request that may go again although it was sent: it only reads, and has no body.
fn repeatable(request: &Request<BoundedBody>) -> Option<request::Parts> {
    let is_repeatable = request.method().is_safe() && http_body::Body::is_end_stream(request.body());
    if !is_repeatable {
        return None;
    }
    let (mut copy, ()) = Request::new(()).into_parts();
    copy.method = request.method().clone();
    copy.uri = request.uri().clone();
    copy.headers = request.headers().clone();
    Some(copy)
}

impl Upstream {
    /// Waits for an answer to begin; a service can't answer what its client is still sending.
    async fn wait_for(
        &self,
        answer: impl Future<Output = Result<Response<LeasedBody>, SendError>> + Send,
        outcome: Option<&BodyOutcome>,
    ) -> Result<Response<LeasedBody>, ForwardError> {
        let progress = || outcome.map_or(0, BodyOutcome::progress);
        let mut answer = pin!(answer);
        let mut seen = progress();
        loop {
            match timeout(self.timeout, &mut answer).await {
                Ok(answer) => return answer.map_err(ForwardError::Send),
                Err(_) if progress() != seen => seen = progress(),
                Err(_) => return Err(ForwardError::Timeout(self.timeout)),
            }
        }
    }

    /// An answer that is there as a whole frees its connection at once; its permit goes with its only chunk.
    fn answer(
        &self,
        mut response: Response<LeasedBody>,
        permit: InFlightPermit,
        outcome: Option<&BodyOutcome>,
    ) -> Result<Response<Body>, ForwardError> {
        response::strip(&mut response)?;
        let (mut head, body) = response.into_parts();
        // The service's version is its own; ours is what the client hears (RFC 9110 §2.5).
        head.version = Version::HTTP_11;
        Ok(match body.at_hand() {
            AtHand::Whole(bytes) if bytes.is_empty() => Response::from_parts(head, Body::empty()),
            AtHand::Whole(bytes) => permit.hold_until_taken(Response::from_parts(head, bytes)),
            AtHand::Begun(mut body) => {
                if outcome.is_some_and(|outcome| !outcome.has_ended()) {
                    body.drive_apart();
                }
                permit.attach_to(Response::from_parts(head, IdleTimeoutBody::new(body, self.idle)))
            }
        })
    }
}
