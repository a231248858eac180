//! Asks auth-verifier who is calling; without a clear verdict nothing goes on.

pub mod verdict;

use std::time::{Duration, Instant};

use chassis::layer::{access_log, request_id};
use http::{HeaderName, HeaderValue, Request, Uri, header, uri::PathAndQuery};
use http_body_util::{BodyExt, Limited};
use metrics::Histogram;
use thiserror::Error;
use tokio::time::timeout;

pub use self::verdict::Caller;
use self::verdict::{VerdictError, parse_verdict};
use crate::{
    body::bounded::BoundedBody,
    route::Access,
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

/// Asks for verdicts, over connections of its own.
pub struct Authenticator {
    endpoints: Endpoints,
    wait: Duration,
    /// The wait that auth-verifier is told.
    told_wait: HeaderValue,
    known: Histogram,
    denied: Histogram,
    failed: Histogram,
}

/// A request of a known caller, or one that may pass without. Only this file makes one.
pub struct Authenticated {
    sanitized: Sanitized,
    caller: Option<Caller>,
}

/// Why nobody is known to be calling.
#[derive(Debug, Error)]
pub enum AuthenticateError {
    /// auth-verifier was asked, and gave no good verdict.
    #[error(transparent)]
    Verdict(#[from] VerdictError),
    /// It takes no connections.
    #[error("reach auth-verifier")]
    Unreachable(#[source] ConnectError),
    /// It was asked, and broke off.
    #[error("ask auth-verifier")]
    Send(#[source] SendError),
    /// No verdict came in time.
    #[error("no verdict came within {0:?}")]
    Timeout(Duration),
}

impl Authenticator {
    /// Asks at `endpoints`, and waits for `wait`.
    pub fn new(endpoints: Endpoints, wait: Duration) -> Self {
        // It is told a tenth less, so that its answer finds us still waiting.
        let told = wait.mul_f64(0.9).as_millis();
        let told_wait = HeaderValue::from(u64::try_from(told).unwrap_or(u64::MAX));
        let calls = |result| metrics::histogram!(crate::metrics::VERIFIER_CALL.name, "result" => result);
        let (known, denied, failed) = (calls("known"), calls("denied"), calls("error"));
        Self { endpoints, wait, told_wait, known, denied, failed }
    }

    /// Finds out who is calling. On a public route nobody is asked, and the request passes as nobody's.
    pub async fn authenticate(&self, sanitized: Sanitized) -> Result<Authenticated, AuthenticateError> {
        if sanitized.admitted().routed().route().access == Access::Public {
            return Ok(Authenticated { sanitized, caller: None });
        }
        let started = Instant::now();
        let asked = timeout(self.wait, self.ask(sanitized)).await;
        let asked = asked.unwrap_or(Err(AuthenticateError::Timeout(self.wait)));
        let calls = match &asked {
            Ok(_) => &self.known,
            Err(AuthenticateError::Verdict(error)) if error.is_denial() => &self.denied,
            Err(_) => &self.failed,
        };
        calls.record(started.elapsed());
        let (sanitized, caller) = asked?;
        access_log::user(caller.user().as_str());
        Ok(Authenticated { sanitized, caller: Some(caller) })
    }

    async fn ask(&self, sanitized: Sanitized) -> Result<(Sanitized, Caller), AuthenticateError> {
        let (mut tries, mut retries) = (Tries::default(), 0);
        loop {
            let lease = tries.connect(&self.endpoints).await.map_err(AuthenticateError::Unreachable)?;
            match lease.send(verify_request(&sanitized, &self.told_wait)).await {
                Ok(answer) => {
                    let (head, body) = answer.into_parts();
                    if !http_body::Body::is_end_stream(&body) {
                        // A body that is too large or breaks costs the connection, not the verdict.
                        let _ = Box::pin(Limited::new(body, BODY_BYTES_MAX).collect()).await;
                    }
                    return Ok((sanitized, parse_verdict(&head)?));
                }
                // The connection was closed as we wrote into it. To ask again changes nothing.
                Err(_) if retries < RETRIES_MAX => {
                    tries.distrust_kept();
                    retries += 1;
                }
                Err(error) => return Err(AuthenticateError::Send(error)),
            }
        }
    }
}

/// What auth-verifier is asked.
fn verify_request(sanitized: &Sanitized, told_wait: &HeaderValue) -> Request<BoundedBody> {
    let routed = sanitized.admitted().routed();
    let request = routed.head();
    let mut asked = Request::new(BoundedBody::default());
    *asked.uri_mut() = Uri::from(PathAndQuery::from_static(identity::VERIFY_PATH));
    let headers = asked.headers_mut();
    headers.reserve(FIELDS);
    routed.client().forward_to_verifier(request, headers);
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
    asked
}

impl Authenticated {
    /// The request.
    pub fn sanitized(&self) -> &Sanitized {
        &self.sanitized
    }

    pub(crate) fn sanitized_mut(&mut self) -> &mut Sanitized {
        &mut self.sanitized
    }

    /// Who sent it, if we know.
    pub fn caller(&self) -> Option<&Caller> {
        self.caller.as_ref()
    }

    /// The request, and who sent it.
    pub(crate) fn into_parts(self) -> (Sanitized, Option<Caller>) {
        (self.sanitized, self.caller)
    }
}
