//! Sends a request to its service, and streams the answer back.

use std::{pin::pin, time::Duration};

use chassis::{Body, header::single, layer::trace_context::TRACEPARENT, telemetry::traces::ClientSpan};
use http::{HeaderName, Request, Response, StatusCode, Version, request};
use thiserror::Error;
use tokio::time::timeout;

use super::{
    Again, ConnectError, SendError, Tries, Upstream,
    balance::Endpoint,
    health::Fault,
    pool::{AtHand, Lease, LeasedBody},
    response::{self, Way},
};
use crate::{
    admit::InFlightPermit,
    body::{
        bounded::{BodyError, BodyOutcome, BoundedBody},
        idle::IdleTimeoutBody,
    },
    cookies::CookiePrefixes,
    route::Route,
    stamp::{Stamped, StampedParts},
    websocket::{self, Handshake, TooMany, WebSockets},
};

/// How often a request is sent again.
const RETRIES_MAX: usize = 2;

/// By it a service recognises a request that it has met before (draft-ietf-httpapi-idempotency-key-header).
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

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
    /// As many WebSockets are open as may be.
    #[error(transparent)]
    WebSockets(TooMany),
    /// The service answers 101, but not to the handshake that it was sent.
    #[error("the service does not answer the WebSocket's handshake")]
    Handshake,
    /// The service refuses the identity that we gave the request.
    #[error("the service refuses our identities")]
    IdentityRefused,
}

/// Why a try has no answer.
enum Failed {
    Send(SendError),
    /// Its endpoint hangs, and the request may go elsewhere.
    Silent,
    Timeout,
}

type Sent = Result<Response<LeasedBody>, Failed>;

/// Sends a request to its service; its answer, or the one that opens a WebSocket.
///
/// Taken apart before the future is made, like [`send`]: it would have room for the request twice.
pub fn forward(
    stamped: Stamped,
    prefixes: &CookiePrefixes,
    websockets: &WebSockets,
) -> impl Future<Output = Result<Response<Body>, ForwardError>> + Send {
    let StampedParts { request, record, permit, caller, mut handshake } = stamped.into_parts();
    let way = Way { record, prefixes, caller };
    async move {
        if let Some(handshake) = &mut handshake {
            handshake.count(websockets, permit.client()).map_err(ForwardError::WebSockets)?;
        }
        let (response, outcome) = send(request, &way).await?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS
            && let Some(handshake) = handshake
        {
            return switch(response, *handshake, permit, &way);
        }
        answer(response, permit, outcome.as_ref(), &way)
    }
}

/// An answer, and how the request's body went that it is to, if it may still be read.
type Answered = (Response<LeasedBody>, Option<BodyOutcome>);

/// Sends a request to one of its service's endpoints, and to another one if that certainly does nothing twice: nothing was sent;
/// the endpoint says that it did nothing, by HTTP/2 itself or where it is believed; or the request may be repeated
/// ([`Upstream::repeats`]) and its connection broke, or its endpoint hangs (once). What reached an endpoint goes again only within
/// the service's budget. Each try that was sent has the time of one answer.
///
/// Everything else is left to the client, who knows whether it may be repeated.
fn send(
    mut request: Request<BoundedBody>,
    way: &Way<'_>,
) -> impl Future<Output = Result<Answered, ForwardError>> + Send {
    let route: &Route = way.record.route();
    let (upstream, endpoints) = (&*route.upstream, &route.upstream.endpoints);
    endpoints.retries.begin();
    let mut outcome = request.body().outcome();
    let only_reads = route.resend && only_reads(&request);
    let mut repeats = only_reads || upstream.repeats(&request);
    async move {
        let (mut tries, mut retries, mut again) = (Tries::new(only_reads), 0, None);
        // The answer of an endpoint that did nothing. It is what the client hears, unless another one is sent the request.
        let mut told: Option<Box<Response<LeasedBody>>> = None;
        loop {
            let lease = match upstream.connect(&mut tries, retries, route).await {
                Ok(lease) => lease,
                Err(error) => return Ok((*told.ok_or(error)?, None)),
            };
            let (endpoint, is_kept) = (lease.endpoint().clone(), lease.is_kept());
            let can_leave = !lease.is_only() && tries.can_leave(endpoints, &endpoint);
            let may_hear_so = upstream.is_http2 || (can_leave && upstream.believes_not_applied);
            let copy = retries < RETRIES_MAX && (may_hear_so || repeats) && request.body_mut().keep();
            let copy = copy.then(|| copy_of(&request));
            let span = begin(way, &mut request, &endpoint, retries);
            let leaves_silence = can_leave && repeats && copy.is_some() && outcome.is_none();
            let sent = lease.send(request, route.asked_by_public_host);
            let sent = upstream.wait_for(sent, route, outcome.as_ref(), &endpoint, leaves_silence).await;
            let sent = ended(span, sent);
            let was_sent = !matches!(sent, Err(Failed::Send(SendError::Unsent(..))));
            if let Some(why) = again.take_if(|_| was_sent) {
                endpoints.retries.made(why);
            }
            let (why, next) = match sent {
                Ok(response) if upstream.did_nothing(&response) => {
                    endpoints.did_nothing(&endpoint);
                    let may = copy.is_some() && can_leave && endpoints.retries.may(Again::NotApplied);
                    let body = if may { once_more(outcome.as_ref()) } else { None };
                    let Some((copy, body)) = copy.zip(body) else {
                        return Ok((response, outcome));
                    };
                    told = Some(Box::new(response));
                    outcome = body.outcome();
                    tries.leave(&endpoint);
                    (Again::NotApplied, Request::from_parts(*copy, body))
                }
                Ok(response) => {
                    endpoint.answered(response.status());
                    return Ok((response, outcome));
                }
                Err(failed) => {
                    if let Some(error) = outcome.as_ref().and_then(BodyOutcome::error) {
                        return Err(ForwardError::Body(error));
                    }
                    let first = match &failed {
                        Failed::Send(error) => {
                            upstream.blame(&endpoint, error, is_kept, can_leave.then_some(&mut tries))
                                && tries.distrust_kept()
                        }
                        Failed::Silent | Failed::Timeout => false,
                    };
                    match (failed, copy) {
                        // Nor is it a loss yet.
                        (Failed::Send(SendError::Unsent(unsent, _)), _) if first => {
                            request = *unsent.0;
                            continue;
                        }
                        (Failed::Send(SendError::Unsent(unsent, _)), _)
                            if retries < RETRIES_MAX && endpoints.retries.may(Again::Unsent) =>
                        {
                            (Again::Unsent, *unsent.0)
                        }
                        (Failed::Send(error @ SendError::Unsent(..)), _) => {
                            return Ok((*told.ok_or(ForwardError::Send(error))?, None));
                        }
                        (Failed::Send(error @ (SendError::Lost(_) | SendError::Refused(_))), Some(copy))
                            if repeats || matches!(error, SendError::Refused(_)) =>
                        {
                            let was_refused = matches!(error, SendError::Refused(_));
                            repeats &= was_refused;
                            let why = if was_refused { Again::NotApplied } else { Again::Lost };
                            let body = once_more(outcome.as_ref());
                            let Some(body) = body.filter(|_| endpoints.retries.may(why)) else {
                                return Err(ForwardError::Send(error));
                            };
                            outcome = body.outcome();
                            (why, Request::from_parts(*copy, body))
                        }
                        (Failed::Silent, Some(copy)) => {
                            repeats = false;
                            tries.leave(&endpoint);
                            (Again::Silent, Request::from_parts(*copy, BoundedBody::default()))
                        }
                        (Failed::Send(error), _) => return Err(ForwardError::Send(error)),
                        (Failed::Silent | Failed::Timeout, _) => {
                            return Err(ForwardError::Timeout(route.timeout));
                        }
                    }
                }
            };
            again = Some(why);
            request = next;
            retries += 1;
        }
    }
}

/// Records a try. Its span, if there is one: what its service does is a part of that.
fn begin(
    way: &Way<'_>,
    request: &mut Request<BoundedBody>,
    endpoint: &Endpoint,
    retries: usize,
) -> Option<ClientSpan> {
    way.record.attempt(&endpoint.label);
    let span = ClientSpan::begin("")?.http(request.method(), endpoint.address);
    // Our traces are none of a stranger's business.
    if let Some(traceparent) = span.traceparent().filter(|_| way.record.route().neon_auth.is_none()) {
        request.headers_mut().insert(TRACEPARENT, traceparent);
    }
    match u16::try_from(retries) {
        Ok(retries @ 1..) => Some(span.with("http.request.resend_count", retries)),
        _ => Some(span),
    }
}

/// Tells the span of a try what came of it.
fn ended(span: Option<ClientSpan>, sent: Sent) -> Sent {
    let Some(span) = span else { return sent };
    match &sent {
        Ok(response) => span.answered(response.status()),
        Err(Failed::Send(SendError::Unsent(..))) => span.failed("unsent"),
        Err(Failed::Send(SendError::Refused(_))) => span.failed("refused"),
        Err(Failed::Send(SendError::Lost(_))) => span.failed("lost"),
        Err(Failed::Send(SendError::Broken(_))) => span.failed("broken"),
        Err(Failed::Silent) => span.failed("silent"),
        Err(Failed::Timeout) => span.failed("timeout"),
    }
    sent
}

/// Whether a request changes nothing, whatever becomes of it. PUT and DELETE, though idempotent by the book, may undo what
/// somebody else did in between.
fn only_reads(request: &Request<BoundedBody>) -> bool {
    request.method().is_safe() && http_body::Body::is_end_stream(request.body())
}

/// A request's body for another try; `None` if not all of it was kept.
fn once_more(outcome: Option<&BodyOutcome>) -> Option<BoundedBody> {
    match outcome {
        None => Some(BoundedBody::default()),
        Some(outcome) => outcome.again(),
    }
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

    /// What a failure says of an endpoint, which `tries` leave, if they may. Whether other connections that were kept are in doubt.
    fn blame(
        &self,
        endpoint: &Endpoint,
        error: &SendError,
        is_kept: bool,
        tries: Option<&mut Tries>,
    ) -> bool {
        let was_refused = matches!(error, SendError::Refused(_));
        // A kept connection that turns out to be closed says nothing of its endpoint.
        let is_its_fault = !is_kept || error.is_of_the_request();
        if was_refused {
            // One whose connection merely ends (GOAWAY) is well.
            if error.is_of_the_request() {
                self.endpoints.did_nothing(endpoint);
            }
        } else if is_its_fault {
            self.endpoints.failed(endpoint, Fault::Broken);
        }
        if let Some(tries) = tries
            && (is_its_fault || !matches!(error, SendError::Unsent(..)))
        {
            tries.leave(endpoint);
        }
        !was_refused
    }

    /// A connection for a try. In the first one each connection has a bound of its own, later ones have a bound together.
    async fn connect(&self, tries: &mut Tries, retries: usize, route: &Route) -> Result<Lease, ForwardError> {
        let connecting = tries.connect(&self.endpoints);
        if retries == 0 {
            return connecting.await.map_err(ForwardError::Unreachable);
        }
        match Box::pin(timeout(route.timeout, connecting)).await {
            Ok(connected) => connected.map_err(ForwardError::Unreachable),
            Err(_) => Err(ForwardError::Timeout(route.timeout)),
        }
    }

    /// Whether a request may be repeated although it was sent, because its service recognises it by its key.
    fn repeats(&self, request: &Request<BoundedBody>) -> bool {
        self.honours_idempotency_key
            && single(request.headers(), &IDEMPOTENCY_KEY).is_ok_and(|key| !key.is_empty())
    }

    /// Waits for an answer to begin; a service can't answer what its client is still sending. A request that `leaves_silence` is
    /// given up as soon as its endpoint is known to hang, if the budget allows it to go elsewhere.
    async fn wait_for(
        &self,
        answer: impl Future<Output = Result<Response<LeasedBody>, SendError>> + Send,
        route: &Route,
        outcome: Option<&BodyOutcome>,
        endpoint: &Endpoint,
        mut leaves_silence: bool,
    ) -> Result<Response<LeasedBody>, Failed> {
        let progress = || outcome.map_or(0, BodyOutcome::progress);
        let mut answer = pin!(answer);
        let (mut seen, answers) = (progress(), endpoint.answers());
        let mut left = route.timeout;
        loop {
            let look = self.look.filter(|_| leaves_silence).map_or(left, |look| look.min(left));
            match timeout(look, &mut answer).await {
                Ok(answer) => return answer.map_err(Failed::Send),
                Err(_) if progress() != seen => {
                    (seen, left) = (progress(), route.timeout);
                    continue;
                }
                Err(_) if leaves_silence && endpoint.is_silent() => {
                    if self.endpoints.retries.may(Again::Silent) {
                        return Err(Failed::Silent);
                    }
                    leaves_silence = false;
                }
                Err(_) if look < left => {}
                Err(_) => {
                    // Where others are answered meanwhile, it is this request that takes long.
                    if endpoint.answers() == answers && outcome.is_none_or(BodyOutcome::has_ended) {
                        self.endpoints.failed(endpoint, Fault::Silent);
                    }
                    return Err(Failed::Timeout);
                }
            }
            left = left.saturating_sub(look);
        }
    }
}

/// An answer that is there as a whole frees its connection at once; its permit goes with its only chunk.
fn answer(
    mut response: Response<LeasedBody>,
    permit: InFlightPermit,
    outcome: Option<&BodyOutcome>,
    way: &Way<'_>,
) -> Result<Response<Body>, ForwardError> {
    if let Some(outcome) = outcome {
        outcome.forget();
    }
    response::strip(&mut response, way)?;
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
            permit.attach_to(Response::from_parts(head, IdleTimeoutBody::new(body, way.record.route().idle)))
        }
    })
}

/// The answer of 101 that opens a WebSocket, if it answers the client's handshake.
fn switch(
    mut response: Response<LeasedBody>,
    handshake: Handshake,
    permit: InFlightPermit,
    way: &Way<'_>,
) -> Result<Response<Body>, ForwardError> {
    if !handshake.is_answered_by(response.headers()) {
        return Err(ForwardError::Handshake);
    }
    response::strip_headers(&mut response, way);
    let (head, body) = response.into_parts();
    let service = body.into_stream().ok_or(ForwardError::Handshake)?;
    let waits = way.record.route().websocket.ok_or(ForwardError::Handshake)?;
    let mut response = Response::from_parts(head, Body::empty());
    websocket::open(&mut response, handshake, service, waits, permit);
    Ok(response)
}
