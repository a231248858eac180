//! Sends a request to its service, and streams the answer back.

use std::{pin::pin, sync::Arc, time::Duration};

use chassis::{Body, header::single};
use http::{Request, Response, StatusCode, Version, request};
use thiserror::Error;
use tokio::time::timeout;

use super::{
    Again, ConnectError, SendError, Tries, Upstream,
    balance::Endpoint,
    health::Fault,
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

/// How often a request is sent again.
const RETRIES_MAX: usize = 2;

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

/// Sends a request to one of its service's endpoints, and to another one if that certainly does nothing twice: nothing was sent,
/// the endpoint says that it did nothing and is believed, or the request only reads and its connection broke (once). What reached an
/// endpoint goes again only within the service's budget. Each try that was sent has the time of one answer.
///
/// Everything else is left to the client, who knows whether it may be repeated.
pub async fn forward(stamped: Stamped) -> Result<Response<Body>, ForwardError> {
    let (mut request, route, permit) = stamped.into_parts();
    let upstream: &Arc<Upstream> = &route.upstream;
    let endpoints = &upstream.endpoints;
    endpoints.retries.begin();
    let mut outcome = request.body().outcome();
    let mut tries = Tries::new(only_reads(&request));
    let (mut retries, mut again, mut was_lost) = (0, None, false);
    // The answer of an endpoint that did nothing. It is what the client hears, unless another one is sent the request.
    let mut told: Option<Box<Response<LeasedBody>>> = None;
    loop {
        // Of the first try each connection has its own bound.
        let bound = if retries == 0 { Duration::MAX } else { upstream.timeout };
        let connected = match timeout(bound, tries.connect(endpoints)).await {
            Ok(connected) => connected.map_err(ForwardError::Unreachable),
            Err(_) => Err(ForwardError::Timeout(bound)),
        };
        let lease = match connected {
            Ok(lease) => lease,
            Err(error) => return upstream.answer(*told.ok_or(error)?, permit, None),
        };
        let (endpoint, is_kept) = (lease.endpoint().clone(), lease.is_kept());
        let can_leave = tries.can_leave(endpoints, &endpoint);
        let may_leave = can_leave && upstream.believes_not_applied;
        let may_repeat = tries.only_reads() && !was_lost;
        let copy = retries < RETRIES_MAX && (may_leave || may_repeat) && request.body_mut().keep();
        let copy = copy.then(|| copy_of(&request));
        let sent = upstream.wait_for(lease.send(request), outcome.as_ref(), &endpoint).await;
        let was_sent = !matches!(sent, Err(ForwardError::Send(SendError::Unsent(..))));
        if let Some(why) = again.take_if(|_| was_sent) {
            endpoints.retries.made(why);
        }
        let (why, next) = match sent {
            Ok(response) if upstream.did_nothing(&response) => {
                endpoints.did_nothing(&endpoint);
                let may = copy.is_some() && can_leave && endpoints.retries.may(Again::NotApplied);
                let body = match &outcome {
                    _ if !may => None,
                    None => Some(BoundedBody::default()),
                    Some(outcome) => outcome.again(),
                };
                let Some((copy, body)) = copy.zip(body) else {
                    return upstream.answer(response, permit, outcome.as_ref());
                };
                told = Some(Box::new(response));
                outcome = body.outcome();
                tries.leave(&endpoint);
                (Again::NotApplied, Request::from_parts(*copy, body))
            }
            Ok(response) => {
                endpoint.answered(response.status());
                return upstream.answer(response, permit, outcome.as_ref());
            }
            Err(error) => {
                if let Some(error) = outcome.as_ref().and_then(BodyOutcome::error) {
                    return Err(ForwardError::Body(error));
                }
                let ForwardError::Send(error) = error else { return Err(error) };
                if !is_kept {
                    endpoints.failed(&endpoint, Fault::Broken);
                }
                // A kept connection that turns out to be closed says nothing of its endpoint.
                if can_leave && (was_sent || !is_kept) {
                    tries.leave(&endpoint);
                }
                let first = tries.distrust_kept();
                match (error, copy) {
                    // Nor is it a loss yet.
                    (SendError::Unsent(unsent, _), _) if first => {
                        request = *unsent.0;
                        continue;
                    }
                    (SendError::Unsent(unsent, _), _)
                        if retries < RETRIES_MAX && endpoints.retries.may(Again::Unsent) =>
                    {
                        (Again::Unsent, *unsent.0)
                    }
                    (error @ SendError::Unsent(..), _) => {
                        return upstream.answer(*told.ok_or(ForwardError::Send(error))?, permit, None);
                    }
                    (SendError::Lost(_), Some(copy)) if may_repeat && endpoints.retries.may(Again::Lost) => {
                        was_lost = true;
                        (Again::Lost, Request::from_parts(*copy, BoundedBody::default()))
                    }
                    (error, _) => return Err(ForwardError::Send(error)),
                }
            }
        };
        again = Some(why);
        request = next;
        retries += 1;
    }
}

/// Whether a request changes nothing, whatever becomes of it. PUT and DELETE, though idempotent by the book, may undo what
/// somebody else did in between.
fn only_reads(request: &Request<BoundedBody>) -> bool {
    request.method().is_safe() && http_body::Body::is_end_stream(request.body())
}

/// A copy of a request's head, for another try; boxed, because each request holds room for it.
fn copy_of(request: &Request<BoundedBody>) -> Box<request::Parts> {
    let (mut copy, ()) = Request::new(()).into_parts();
    copy.method = request.method().clone();
    copy.uri = request.uri().clone();
    copy.headers = request.headers().clone();
    Box::new(copy)
}

impl Upstream {
    /// Whether an answer says that certainly nothing was done, and is believed. With any other status that means nothing.
    fn did_nothing<B>(&self, response: &Response<B>) -> bool {
        self.believes_not_applied
            && response.status() == StatusCode::SERVICE_UNAVAILABLE
            && single(response.headers(), &identity::NOT_APPLIED).is_ok_and(|said| said == "true")
    }

    /// Waits for an answer to begin; a service can't answer what its client is still sending.
    async fn wait_for(
        &self,
        answer: impl Future<Output = Result<Response<LeasedBody>, SendError>> + Send,
        outcome: Option<&BodyOutcome>,
        endpoint: &Endpoint,
    ) -> Result<Response<LeasedBody>, ForwardError> {
        let progress = || outcome.map_or(0, BodyOutcome::progress);
        let mut answer = pin!(answer);
        let (mut seen, answers) = (progress(), endpoint.answers());
        loop {
            match timeout(self.timeout, &mut answer).await {
                Ok(answer) => return answer.map_err(ForwardError::Send),
                Err(_) if progress() != seen => seen = progress(),
                Err(_) => {
                    // Where others are answered meanwhile, it is this request that takes long.
                    if endpoint.answers() == answers && outcome.is_none_or(BodyOutcome::has_ended) {
                        self.endpoints.failed(endpoint, Fault::Silent);
                    }
                    return Err(ForwardError::Timeout(self.timeout));
                }
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
        if let Some(outcome) = outcome {
            outcome.forget();
        }
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
