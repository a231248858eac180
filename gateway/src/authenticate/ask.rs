//! Asks auth-verifier, over connections of its own.

use std::{
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use chassis::{
    layer::{
        request_id,
        trace_context::{SpanContext, TRACEPARENT, TRACESTATE},
    },
    telemetry::traces::{self, ClientSpan},
};
use futures_util::future::{Either, select};
use http::{HeaderMap, HeaderValue, Method, Request, Uri, header, response, uri::PathAndQuery};
use http_body_util::{BodyExt, Limited};
use metrics::Histogram;
use thiserror::Error;
use tokio::time::{sleep, timeout};

use super::verdict::{Verdict, VerdictError, parse_verdict};
use crate::{
    body::bounded::BoundedBody,
    cookies,
    sanitize::Sanitized,
    upstream::{Again, ConnectError, Endpoint, Endpoints, Fault, SendError, Tries},
};

/// How often a request for a verdict goes again whose connection was closed: an auth-verifier that ends closes all of ours at once, and
/// the address behind its name may lead to another one that ends.
const RETRIES_MAX: usize = 4;

/// How long a request waits for an auth-verifier that takes no connection, within the wait for a verdict: it may be restarting. And
/// after what pauses it tries again, each twice as long as the one before.
const REFUSED_WAIT: Duration = Duration::from_secs(1);
const REFUSED_PAUSE: Duration = Duration::from_millis(20);
const REFUSED_PAUSE_MAX: Duration = Duration::from_millis(100);

/// The part of the wait for a verdict after which another auth-verifier is asked as well, if the first one answers nobody.
const SILENCE_OF_WAIT: u32 = 4;

/// The most that a verdict's body may be. It is read so that its connection can be used again.
const BODY_BYTES_MAX: usize = 16 * 1024;

/// How many headers a request for a verdict has.
const FIELDS: usize = 13;

/// Asks for verdicts.
pub struct VerifierClient {
    endpoints: Endpoints,
    wait: Duration,
    /// The wait that auth-verifier is told.
    told_wait: HeaderValue,
    known: Histogram,
    denied: Histogram,
    failed: Histogram,
}

/// Why nobody is known to be calling. Requests that wait for the same verdict share it.
#[derive(Clone, Debug, Error)]
pub enum AuthenticateError {
    /// auth-verifier was asked, and gave no good verdict.
    #[error(transparent)]
    Verdict(#[from] VerdictError),
    /// Nobody is, who wants an account, where there are none.
    #[error("accounts are Better Auth's")]
    Accounts,
    /// It takes no connections.
    #[error("reach auth-verifier")]
    Unreachable(#[source] Arc<ConnectError>),
    /// It was asked, and broke off.
    #[error("ask auth-verifier")]
    Send(#[source] Arc<hyper::Error>),
    /// No verdict came in time.
    #[error("no verdict came within {0:?}")]
    Timeout(Duration),
}

impl AuthenticateError {
    /// Whether auth-verifier says that nobody is let in, and nothing is broken.
    pub(super) fn is_denial(&self) -> bool {
        matches!(self, Self::Verdict(VerdictError::Unauthenticated(_) | VerdictError::Forbidden))
    }
}

/// What auth-verifier is asked about a request: the headers of a call.
#[derive(Clone)]
pub(super) struct Question {
    headers: HeaderMap,
    /// The span of the request, if it is recorded.
    asker: Option<SpanContext>,
}

impl Question {
    /// Asks about a request, and says for how long the verdict is waited for.
    pub(super) fn of(sanitized: &Sanitized, told_wait: &HeaderValue) -> Self {
        let routed = sanitized.admitted().routed();
        let request = routed.head();
        let mut headers = HeaderMap::with_capacity(FIELDS);
        routed.client().forward_to_verifier(request, &mut headers);
        for name in [request_id::HEADER, TRACEPARENT, TRACESTATE] {
            if let Some(value) = request.headers.get(&name) {
                headers.insert(name, value.clone());
            }
        }
        let credentials = sanitized.credentials();
        if let Some(authorization) = &credentials.authorization {
            headers.insert(header::AUTHORIZATION, authorization.clone());
        }
        // HTTP/2 may cut them up; HTTP/1.1 has one header (RFC 9113 §8.2.3).
        let cookies = cookies::joined(&credentials.cookies);
        if let Some(cookies) = cookies.filter(|cookies| !cookies.is_empty()) {
            headers.insert(header::COOKIE, cookies);
        }
        headers.insert(identity::VERDICT_WAIT, told_wait.clone());
        Self { headers, asker: traces::current() }
    }

    /// A call, and its span, if it has one.
    fn request(&self, endpoint: &Endpoint) -> (Request<BoundedBody>, Option<ClientSpan>) {
        let mut request = Request::new(BoundedBody::default());
        *request.uri_mut() = Uri::from(PathAndQuery::from_static(identity::VERIFY_PATH));
        *request.headers_mut() = self.headers.clone();
        let span = |asker| ClientSpan::of(asker, "GET /verify").http(&Method::GET, endpoint.address);
        let span = self.asker.map(span);
        if let Some(traceparent) = span.as_ref().and_then(ClientSpan::traceparent) {
            request.headers_mut().insert(TRACEPARENT, traceparent);
        }
        (request, span)
    }
}

impl VerifierClient {
    /// Asks at `endpoints`, and waits for `wait`.
    pub fn new(endpoints: Endpoints, wait: Duration) -> Self {
        // It is told a tenth less, so that its answer finds us still waiting.
        let told = wait.mul_f64(0.9).as_millis();
        let told_wait = HeaderValue::from(u64::try_from(told).unwrap_or(u64::MAX));
        let calls = |result| metrics::histogram!(crate::metrics::VERIFIER_CALL.name, "result" => result);
        let (known, denied, failed) = (calls("known"), calls("denied"), calls("error"));
        Self { endpoints, wait, told_wait, known, denied, failed }
    }

    /// How long a verdict is waited for.
    pub(super) fn wait(&self) -> Duration {
        self.wait
    }

    /// The wait that auth-verifier is told.
    pub(super) fn told_wait(&self) -> &HeaderValue {
        &self.told_wait
    }

    /// The verdict, if it knows who is calling, and says so in time.
    pub(super) async fn ask(&self, question: Question) -> Result<Verdict, AuthenticateError> {
        let started = Instant::now();
        let answered = self.call(question).await;
        let calls = match &answered {
            Ok(_) => &self.known,
            Err(error) if error.is_denial() => &self.denied,
            Err(_) => &self.failed,
        };
        calls.record(started.elapsed());
        answered
    }

    /// Asks one of them, and another one if the first answers nobody. Whichever answers first is believed: to be asked changes
    /// nothing. The patience with the first is a part of the wait, not in it: an alarm is set for each call, not two.
    async fn call(&self, question: Question) -> Result<Verdict, AuthenticateError> {
        let retries = &self.endpoints.retries;
        retries.begin();
        let (patience, asked) = (self.wait / SILENCE_OF_WAIT, Asked::default());
        let until = Instant::now() + self.wait.min(REFUSED_WAIT);
        let mut first = pin!(self.exchange(&question, Tries::new(true), until, &asked, None));
        if let Ok(answer) = timeout(patience, &mut first).await {
            return Ok(parse_verdict(&answer?)?);
        }
        let answered = async {
            let mut tries = Tries::new(true);
            let Some(silent) = asked.silent().filter(|silent| {
                tries.can_leave(&self.endpoints, &silent.endpoint) && retries.may(Again::Silent)
            }) else {
                return first.await;
            };
            tries.leave(&silent.endpoint);
            let began = Instant::now();
            let asked = Asked::default();
            let second = self.exchange(&question, tries, Instant::now(), &asked, Some(Again::Silent));
            match select(first, Box::pin(second)).await {
                Either::Left((Err(_), second)) => second.await,
                Either::Right((Err(_), first)) => first.await,
                Either::Left((answer, _)) => answer,
                Either::Right((answer, _)) => {
                    // If the second one needed as long, it is the question that takes long.
                    if began.elapsed() <= patience && silent.since.elapsed() >= patience && silent.is_silent()
                    {
                        self.endpoints.failed(&silent.endpoint, Fault::Silent);
                    }
                    answer
                }
            }
        };
        let answered = Box::pin(timeout(self.wait.saturating_sub(patience), answered)).await;
        Ok(parse_verdict(&answered.map_err(|_| AuthenticateError::Timeout(self.wait))??)?)
    }

    /// The answer of one of them. If none takes a connection, they are tried again until then.
    async fn exchange(
        &self,
        question: &Question,
        mut tries: Tries,
        until: Instant,
        asked: &Asked,
        mut again: Option<Again>,
    ) -> Result<response::Parts, AuthenticateError> {
        let (mut retries, mut pause) = (0, REFUSED_PAUSE);
        loop {
            let lease = match tries.connect(&self.endpoints).await {
                Ok(lease) => lease,
                Err(ConnectError::Failed(..)) if Instant::now() + pause < until => {
                    sleep(pause).await;
                    pause = (pause * 2).min(REFUSED_PAUSE_MAX);
                    tries.begin_anew();
                    continue;
                }
                Err(error) => return Err(AuthenticateError::Unreachable(Arc::new(error))),
            };
            let (endpoint, is_kept) = (lease.endpoint().clone(), lease.is_kept());
            asked.set(&endpoint);
            if let Some(why) = again.take() {
                self.endpoints.retries.made(why);
            }
            let (request, span) = question.request(&endpoint);
            match lease.send(request, false).await {
                Ok(answer) => {
                    if let Some(span) = span {
                        span.answered(answer.status());
                    }
                    endpoint.answered(answer.status());
                    let (head, body) = answer.into_parts();
                    if !http_body::Body::is_end_stream(&body) {
                        // Nobody needs it; but who sends too much of it, or breaks off, is no auth-verifier that is well.
                        let read = Box::pin(Limited::new(body, BODY_BYTES_MAX).collect()).await;
                        read.map_err(|_| VerdictError::Unclear("its body is too large, or breaks off"))?;
                    }
                    return Ok(head);
                }
                // The connection was closed as we wrote into it. To ask again, or another one, changes nothing.
                Err(error) => {
                    if let Some(span) = span {
                        span.failed("lost");
                    }
                    if !is_kept {
                        self.endpoints.failed(&endpoint, Fault::Broken);
                        if tries.can_leave(&self.endpoints, &endpoint) {
                            tries.leave(&endpoint);
                        }
                    }
                    if retries == RETRIES_MAX {
                        let (SendError::Unsent(_, error)
                        | SendError::Lost(error)
                        | SendError::Refused(error)
                        | SendError::Broken(error)) = error;
                        return Err(AuthenticateError::Send(Arc::new(error)));
                    }
                    tries.distrust_kept();
                    retries += 1;
                }
            }
        }
    }
}

/// Who was asked last for a verdict.
#[derive(Default)]
struct Asked(Mutex<Option<Silent>>);

/// Somebody who was asked, and how often they had answered by then.
#[derive(Clone)]
struct Silent {
    endpoint: Arc<Endpoint>,
    answers: u64,
    since: Instant,
}

impl Asked {
    fn set(&self, endpoint: &Arc<Endpoint>) {
        let (answers, since) = (endpoint.answers(), Instant::now());
        let asked = Silent { endpoint: endpoint.clone(), answers, since };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(asked);
    }

    /// Whoever it was, if they have answered nobody since.
    fn silent(&self) -> Option<Silent> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone().filter(Silent::is_silent)
    }
}

impl Silent {
    fn is_silent(&self) -> bool {
        self.endpoint.answers() == self.answers
    }
}
