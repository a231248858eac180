//! Where a refusal becomes an answer: one list of what can go wrong, one table of what the client is told.

use std::net::IpAddr;

use chassis::{Body, layer::problem::Problem};
use http::{HeaderValue, Response, StatusCode, header};
use tracing::{error, info, warn};

/// A request that is turned away, or could not be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// As many requests are inside as may be.
    Full,
    /// As many requests of this client are inside as may be.
    ClientShare(IpAddr),
    /// As many requests of this user are inside as may be.
    UserShare,
    /// The path and query are longer than the bound.
    TargetTooLong,
    /// The head has more fields than the bound.
    HeadTooLarge,
    /// The body is larger than the bound.
    BodyTooLarge,
    /// The body paused for too long.
    BodyTooSlow,
    /// The body's framing is broken, or the client went away.
    BodyBroken,
    /// The request can be read in more than one way; the reason is told.
    Ambiguous(&'static str),
    /// An expectation that we don't know (RFC 9110 §10.1.1).
    Expectation,
    /// A coding of the body that we don't know (RFC 9112 §6.1).
    Coding,
    /// A method that is not served here; the ones that are.
    Method(&'static str),
    /// No route fits.
    NoRoute,
    /// The credential is missing or no good; the challenge is auth-verifier's.
    Unauthenticated(HeaderValue),
    /// Known, but not allowed.
    Forbidden,
    /// Known by a cookie, from a page that is not ours.
    CrossSite,
    /// auth-verifier could not be asked, or its answer can't be trusted. The reason is for the log.
    VerifierUnavailable(String),
    /// The service refused the identity that we gave the request.
    IdentityRefused,
    /// auth-verifier can't know now, and says in how many seconds to try again. Why is in its log.
    VerdictLater(u32),
    /// No connection to the service: nothing was sent. The reason is for the log.
    UpstreamUnreachable(String),
    /// The connection to the service broke. The reason is for the log.
    UpstreamBroken(String),
    /// The service did not begin its answer in time.
    UpstreamTimeout,
}

/// The methods that the gateway knows.
pub const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

impl From<&Refusal> for Problem {
    fn from(refusal: &Refusal) -> Self {
        use StatusCode as S;
        let close =
            |problem: Self| problem.with_header(header::CONNECTION, HeaderValue::from_static("close"));
        match refusal {
            Refusal::Full => Self::new(
                S::SERVICE_UNAVAILABLE,
                "busy",
                "too many requests are being served; try again in a moment",
            )
            .retry_after_secs(1),
            // RFC 6585 §4. To the client they are one: what it may do about it is the same.
            Refusal::ClientShare(_) | Refusal::UserShare => Self::new(
                S::TOO_MANY_REQUESTS,
                "too-many-requests",
                "too many of your requests are being served at once; try again when one is done",
            )
            .retry_after_secs(1),
            Refusal::TargetTooLong => {
                Self::new(S::URI_TOO_LONG, "target-too-long", "the address is too long")
            }
            Refusal::HeadTooLarge => Self::new(
                S::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "head-too-large",
                "the request has too many or too large header fields; most often it is the cookies",
            ),
            // The rest of the body is not read, so the connection can't be used again.
            Refusal::BodyTooLarge => {
                close(Self::new(S::PAYLOAD_TOO_LARGE, "body-too-large", "the request body is too large"))
            }
            Refusal::BodyTooSlow => close(Self::new(
                S::REQUEST_TIMEOUT,
                "body-too-slow",
                "the request body did not arrive in time",
            )),
            Refusal::BodyBroken => {
                close(Self::new(S::BAD_REQUEST, "body-broken", "the request body could not be read"))
            }
            Refusal::Ambiguous(reason) => close(Self::new(S::BAD_REQUEST, "ambiguous-request", *reason)),
            Refusal::Expectation => Self::new(
                S::EXPECTATION_FAILED,
                "unknown-expectation",
                "only `Expect: 100-continue` is known",
            ),
            Refusal::Coding => close(Self::new(
                S::NOT_IMPLEMENTED,
                "unknown-coding",
                "the only Transfer-Encoding that is known is chunked",
            )),
            Refusal::Method(allowed) => {
                Self::new(S::METHOD_NOT_ALLOWED, "method-not-allowed", "the method is not served here")
                    .with_header(header::ALLOW, HeaderValue::from_static(allowed))
            }
            Refusal::NoRoute => Self::new(S::NOT_FOUND, "not-found", "nothing is served at this address"),
            Refusal::Unauthenticated(challenge) => Self::new(
                S::UNAUTHORIZED,
                "unauthenticated",
                "sign in, and send a valid token with the request",
            )
            .with_header(header::WWW_AUTHENTICATE, challenge.clone()),
            Refusal::Forbidden => Self::new(S::FORBIDDEN, "forbidden", "this account may not do that"),
            Refusal::CrossSite => Self::new(
                S::FORBIDDEN,
                "cross-site",
                "a request that changes something by a cookie must come from a page of an allowed origin; or send a token",
            ),
            Refusal::VerifierUnavailable(_) => Self::new(
                S::SERVICE_UNAVAILABLE,
                "verifier-unavailable",
                "who is calling can't be checked right now; try again in a moment",
            )
            .retry_after_secs(1),
            Refusal::IdentityRefused => Self::new(
                S::SERVICE_UNAVAILABLE,
                "identity-refused",
                "the service can't check right now who is calling; try again in a moment",
            )
            .retry_after_secs(1),
            Refusal::VerdictLater(secs) => Self::new(
                S::SERVICE_UNAVAILABLE,
                "verifier-unavailable",
                "who is calling can't be checked right now; try again in a moment",
            )
            .retry_after_secs(*secs),
            Refusal::UpstreamUnreachable(_) => Self::new(
                S::SERVICE_UNAVAILABLE,
                "service-unavailable",
                "the service can't be reached; try again in a moment",
            )
            .retry_after_secs(1),
            Refusal::UpstreamBroken(_) => Self::new(
                S::BAD_GATEWAY,
                "service-broken",
                "the service did not give a complete answer; look whether the change was made before trying again",
            ),
            Refusal::UpstreamTimeout => Self::new(
                S::GATEWAY_TIMEOUT,
                "service-timeout",
                "the service did not answer in time; look whether the change was made before trying again",
            ),
        }
    }
}

impl Refusal {
    /// What went wrong behind us is told here, once; what a client did wrong is in its answer.
    fn log(&self) {
        let by_load = match self {
            Self::Full => Some("full"),
            Self::ClientShare(_) => Some("client_share"),
            Self::UserShare => Some("user_share"),
            Self::BodyTooSlow => Some("body_too_slow"),
            _ => None,
        };
        if let Some(reason) = by_load {
            metrics::counter!("requests_refused_total", "reason" => reason).increment(1);
        }
        match self {
            Self::VerifierUnavailable(reason) => warn!("no verdict: {reason}"),
            Self::IdentityRefused => {
                error!(
                    "the service refuses our identities: does it know auth-verifier's keys, and its audience?"
                );
            }
            Self::UpstreamUnreachable(reason) => warn!("the service can't be reached: {reason}"),
            Self::UpstreamBroken(reason) => warn!("the service's connection broke: {reason}"),
            Self::VerdictLater(secs) => {
                warn!(
                    retry_after_secs = secs,
                    "auth-verifier can't say now who is calling; its log says why"
                );
            }
            Self::UpstreamTimeout => warn!("the service did not answer in time"),
            Self::Full => warn!("as many requests are inside as may be"),
            Self::ClientShare(client) => info!(
                %client,
                "refused: the address has its share of requests inside (GATEWAY_LIMITS__REQUESTS_PER_CLIENT_MAX); \
                 a load balancer's belongs in GATEWAY_SERVER__TRUSTED_PROXIES"
            ),
            Self::UserShare => {
                info!(
                    "refused: the user has its share of requests inside (GATEWAY_LIMITS__REQUESTS_PER_USER_MAX)"
                );
            }
            Self::Ambiguous(reason) => info!("refused: {reason}"),
            Self::TargetTooLong
            | Self::HeadTooLarge
            | Self::BodyTooLarge
            | Self::BodyTooSlow
            | Self::BodyBroken
            | Self::Expectation
            | Self::Coding
            | Self::Method(_)
            | Self::NoRoute
            | Self::Unauthenticated(_)
            | Self::Forbidden
            | Self::CrossSite => {}
        }
    }
}

/// The answer to a request that is refused.
pub fn answer(refusal: Refusal) -> Response<Body> {
    refusal.log();
    Problem::from(&refusal).response()
}

/// An answer that the gateway gives by itself: that it is there.
pub fn healthy() -> Response<Body> {
    let mut response = Response::new(Body::from(r#"{"status":"healthy"}"#));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// What `OPTIONS *` asks for (RFC 9110 §9.3.7).
pub fn methods() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(METHODS));
    response
}
