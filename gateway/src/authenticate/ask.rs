//! Asks auth-verifier, over connections of its own.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use chassis::layer::request_id;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri, header, uri::PathAndQuery};
use http_body_util::{BodyExt, Limited};
use metrics::Histogram;
use thiserror::Error;
use tokio::time::timeout;

use super::verdict::{Verdict, VerdictError, parse_verdict};
use crate::{
    body::bounded::BoundedBody,
    sanitize::Sanitized,
    upstream::{ConnectError, Endpoints, SendError, Tries},
};

/// How often a request for a verdict goes again whose connection was closed: an auth-verifier that ends closes all of ours at once, and
/// the address behind its name may lead to another one that ends.
const RETRIES_MAX: usize = 4;

/// The most of a verdict's body that is read, only so that its connection can be used again.
const BODY_BYTES_MAX: usize = 16 * 1024;

/// How many headers a request for a verdict has.
const FIELDS: usize = 12;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

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
pub(super) struct Question(HeaderMap);

impl Question {
    /// Asks about a request, and says for how long the verdict is waited for.
    pub(super) fn of(sanitized: &Sanitized, told_wait: &HeaderValue) -> Self {
        let routed = sanitized.admitted().routed();
        let request = routed.head();
        let mut headers = HeaderMap::with_capacity(FIELDS);
        routed.client().forward_to_verifier(request, &mut headers);
        for name in [request_id::HEADER, TRACEPARENT] {
            if let Some(value) = request.headers.get(&name) {
                headers.insert(name, value.clone());
            }
        }
        let credentials = sanitized.credentials();
        if let Some(authorization) = &credentials.authorization {
            headers.insert(header::AUTHORIZATION, authorization.clone());
        }
        // HTTP/2 may cut them up; HTTP/1.1 has one header (RFC 9113 §8.2.3).
        let cookies = match &credentials.cookies[..] {
            [] => None,
            [one] => Some(one.clone()),
            several => {
                let several: Vec<&[u8]> = several.iter().map(HeaderValue::as_bytes).collect();
                HeaderValue::from_bytes(&several.join(&b"; "[..])).ok()
            }
        };
        if let Some(cookies) = cookies.filter(|cookies| !cookies.is_empty()) {
            headers.insert(header::COOKIE, cookies);
        }
        headers.insert(identity::VERDICT_WAIT, told_wait.clone());
        Self(headers)
    }

    fn request(&self) -> Request<BoundedBody> {
        let mut request = Request::new(BoundedBody::default());
        *request.uri_mut() = Uri::from(PathAndQuery::from_static(identity::VERIFY_PATH));
        *request.headers_mut() = self.0.clone();
        request
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
        let answered = timeout(self.wait, self.call(question)).await;
        let answered = answered.unwrap_or(Err(AuthenticateError::Timeout(self.wait)));
        let calls = match &answered {
            Ok(_) => &self.known,
            Err(error) if error.is_denial() => &self.denied,
            Err(_) => &self.failed,
        };
        calls.record(started.elapsed());
        answered
    }

    async fn call(&self, question: Question) -> Result<Verdict, AuthenticateError> {
        let (mut tries, mut retries) = (Tries::default(), 0);
        loop {
            let lease = tries.connect(&self.endpoints).await;
            let lease = lease.map_err(|error| AuthenticateError::Unreachable(Arc::new(error)))?;
            match lease.send(question.request()).await {
                Ok(answer) => {
                    let (head, body) = answer.into_parts();
                    if !http_body::Body::is_end_stream(&body) {
                        // A body that is too large or breaks costs the connection, not the verdict.
                        let _ = Box::pin(Limited::new(body, BODY_BYTES_MAX).collect()).await;
                    }
                    return Ok(parse_verdict(&head)?);
                }
                // The connection was closed as we wrote into it. To ask again changes nothing.
                Err(_) if retries < RETRIES_MAX => {
                    tries.distrust_kept();
                    retries += 1;
                }
                Err(SendError::Unsent(_, error) | SendError::Lost(error) | SendError::Broken(error)) => {
                    return Err(AuthenticateError::Send(Arc::new(error)));
                }
            }
        }
    }
}
