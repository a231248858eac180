//! Every way in which a request is turned away, and what its client is told: one enum, one table.

use chassis::layer::problem::Problem;
use http::{HeaderValue, StatusCode, header};
use identity::CredentialKind;
use thiserror::Error;

use crate::{
    admit::AdmitError,
    authenticate::{AuthenticateError, verdict::VerdictError},
    body::bounded::BodyError,
    csrf::CsrfError,
    head::HeadError,
    neon_auth::NeonAuthError,
    permit::PermitError,
    quota::QuotaExceeded,
    rate_limit::RateExceeded,
    route::RouteError,
    sanitize::SanitizeError,
    shed::Overloaded,
    upstream::{SendError, forward::ForwardError},
    websocket::{HandshakeError, TooMany, handshake},
};

/// A request that is turned away, or could not be served: the error of the station that it came to.
#[derive(Debug, Error)]
#[expect(missing_docs, reason = "each is described on its own type")]
pub enum Refusal {
    #[error(transparent)]
    Head(#[from] HeadError),
    #[error(transparent)]
    Route(#[from] RouteError),
    #[error(transparent)]
    Admit(#[from] AdmitError),
    #[error(transparent)]
    Sanitize(#[from] SanitizeError),
    #[error(transparent)]
    Authenticate(#[from] AuthenticateError),
    #[error(transparent)]
    Permit(#[from] PermitError),
    #[error(transparent)]
    Csrf(#[from] CsrfError),
    #[error(transparent)]
    Quota(#[from] QuotaExceeded),
    #[error(transparent)]
    Overloaded(#[from] Overloaded),
    #[error(transparent)]
    NeonAuth(#[from] NeonAuthError),
    #[error(transparent)]
    Forward(#[from] ForwardError),
}

impl From<&Refusal> for Problem {
    fn from(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::Head(error) => head(*error),
            Refusal::Route(error) => route(error),
            Refusal::Admit(error) => admit(*error),
            Refusal::Sanitize(error) => sanitize(*error),
            Refusal::Authenticate(error) => authenticate(error),
            Refusal::Permit(error) => permit(error),
            Refusal::Csrf(error) => csrf(*error),
            Refusal::Quota(QuotaExceeded::Share) => too_many_requests(),
            Refusal::Quota(QuotaExceeded::Rate(exceeded)) => too_fast(*exceeded),
            Refusal::Overloaded(Overloaded) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "overloaded",
                "the service has too much to do; try again in a moment",
            )
            .retry_after_secs(1),
            Refusal::NeonAuth(error) => neon_auth(error),
            Refusal::Forward(error) => forward(error),
        }
    }
}

fn head(error: HeadError) -> Problem {
    match error {
        HeadError::TargetTooLong => {
            Problem::new(StatusCode::URI_TOO_LONG, "target-too-long", "the address is too long")
        }
        HeadError::AuthorizationTooLarge => Problem::new(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "head-too-large",
            "the Authorization header is longer than any token",
        ),
        HeadError::TooLarge => Problem::new(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "head-too-large",
            "the request has too many or too large header fields; most often it is the cookies",
        ),
    }
}

fn route(error: &RouteError) -> Problem {
    match error {
        RouteError::Ambiguous(reason) | RouteError::Handshake(HandshakeError::Malformed(reason)) => {
            ambiguous(reason)
        }
        RouteError::Method(allowed) => Problem::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method-not-allowed",
            "the method is not served here",
        )
        .with_header(header::ALLOW, allowed.clone()),
        // RFC 6455 §4.4, RFC 9110 §15.5.22
        RouteError::Handshake(HandshakeError::Version) => Problem::new(
            StatusCode::UPGRADE_REQUIRED,
            "websocket-version",
            "the only version of WebSocket that is spoken here is 13",
        )
        .with_header(header::SEC_WEBSOCKET_VERSION, handshake::VERSION)
        .with_header(header::UPGRADE, HeaderValue::from_static("websocket"))
        .with_header(header::CONNECTION, HeaderValue::from_static("upgrade")),
        // RFC 9110 §15.5.20
        RouteError::Misdirected => Problem::new(
            StatusCode::MISDIRECTED_REQUEST,
            "misdirected",
            "this host is not served here; ask by the address of the application",
        ),
        RouteError::Accounts => accounts_elsewhere(),
        RouteError::NotFound => {
            Problem::new(StatusCode::NOT_FOUND, "not-found", "nothing is served at this address")
        }
    }
}

/// The same wherever it is said, so that it tells nothing of routes or services.
fn accounts_elsewhere() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "accounts-elsewhere",
        "nobody signs up or in at this API: accounts are Better Auth's. Sign in by its client (authClient.signIn) at the server that runs it, most often your frontend's own /api/auth, and send its token or cookie with requests to this API",
    )
}

fn admit(error: AdmitError) -> Problem {
    match error {
        AdmitError::Full => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "busy",
            "too many requests are being served; try again in a moment",
        )
        .retry_after_secs(1),
        AdmitError::NeonFull => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "busy",
            "too many requests wait for Neon Auth; try again in a moment",
        )
        .retry_after_secs(1),
        AdmitError::ClientShare(_) | AdmitError::NeonShare(_) => too_many_requests(),
        AdmitError::ClientRate(exceeded) => too_fast(exceeded),
        AdmitError::BodyTooLarge => body(BodyError::TooLarge),
    }
}

/// RFC 6585 §4. A client's share and a user's are one to the client: what it may do about them is the same.
fn too_many_requests() -> Problem {
    Problem::new(
        StatusCode::TOO_MANY_REQUESTS,
        "too-many-requests",
        "too many of your requests are being served at once; try again when one is done",
    )
    .retry_after_secs(1)
}

/// The same for whoever makes too many in a while: `Retry-After` is exact.
fn too_fast(RateExceeded { retry_secs }: RateExceeded) -> Problem {
    Problem::new(
        StatusCode::TOO_MANY_REQUESTS,
        "rate-limited",
        format!("you have sent too many requests; try again in {retry_secs} s"),
    )
    .retry_after_secs(retry_secs)
}

fn sanitize(error: SanitizeError) -> Problem {
    match error {
        SanitizeError::Ambiguous(reason) => ambiguous(reason),
        SanitizeError::Expectation => Problem::new(
            StatusCode::EXPECTATION_FAILED,
            "unknown-expectation",
            "only `Expect: 100-continue` is known",
        ),
        SanitizeError::Coding => close(Problem::new(
            StatusCode::NOT_IMPLEMENTED,
            "unknown-coding",
            "the only Transfer-Encoding that is known is chunked",
        )),
    }
}

fn authenticate(error: &AuthenticateError) -> Problem {
    let unavailable = || {
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "verifier-unavailable",
            "who is calling can't be checked right now; try again in a moment",
        )
    };
    match error {
        AuthenticateError::Verdict(verdict) => match verdict {
            VerdictError::Unauthenticated(challenge) => Problem::new(
                StatusCode::UNAUTHORIZED,
                "unauthenticated",
                "sign in, and send a valid token with the request",
            )
            .with_header(header::WWW_AUTHENTICATE, challenge.clone()),
            VerdictError::Forbidden => {
                Problem::new(StatusCode::FORBIDDEN, "forbidden", "this account may not do that")
            }
            VerdictError::RetryAfter(secs) => unavailable().retry_after_secs(*secs),
            VerdictError::Status(_) | VerdictError::Unclear(_) => unavailable().retry_after_secs(1),
        },
        AuthenticateError::Accounts => accounts_elsewhere(),
        AuthenticateError::Unreachable(_) | AuthenticateError::Send(_) | AuthenticateError::Timeout(_) => {
            unavailable().retry_after_secs(1)
        }
    }
}

/// 403, not 401: the caller is known, and a frontend that hears 401 signs them out, although to sign in again would not help. What
/// would help is told by a challenge, which may stand beside any status (RFC 9110 §11.6.1).
fn permit(error: &PermitError) -> Problem {
    let refused =
        |detail: &str| Problem::new(StatusCode::FORBIDDEN, "credential-not-taken", detail.to_owned());
    match error {
        PermitError::Kind(CredentialKind::Bearer) => {
            refused("only a token counts here, and no cookie; send one as Authorization: Bearer")
                .with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"api\""))
        }
        PermitError::Kind(CredentialKind::Cookie) => {
            refused("only a session cookie counts here, and no token; leave Authorization out")
        }
        PermitError::Scopes(required) => Problem::new(
            StatusCode::FORBIDDEN,
            "insufficient-scope",
            format!("this takes an access token that was granted: {}", required.text()),
        )
        .with_header(header::WWW_AUTHENTICATE, required.challenge()),
    }
}

fn csrf(error: CsrfError) -> Problem {
    let detail = match error {
        CsrfError::ForeignOrigin | CsrfError::ManyOrigins => {
            "a request that changes something by a cookie, or opens a WebSocket, must come from a page of an allowed origin; or send a token"
        }
        // Most often a server that passes its caller's cookie on.
        CsrfError::NoOrigin => {
            "a request that changes something by a cookie must say from which page it comes (Origin); or send a token; or set GATEWAY_CSRF__MODE=fetch-metadata"
        }
    };
    Problem::new(StatusCode::FORBIDDEN, "cross-site", detail)
}

fn neon_auth(error: &NeonAuthError) -> Problem {
    close(match error {
        // RFC 5842 §7.2
        NeonAuthError::Loop => Problem::new(
            StatusCode::LOOP_DETECTED,
            "loop",
            "the request was on its way to Neon Auth, and came to a gateway again: NEON_AUTH_BASE_URL must be Neon's",
        ),
        NeonAuthError::TwoValues(name) => Problem::new(
            StatusCode::BAD_REQUEST,
            "ambiguous-request",
            format!(
                "the cookie {name} came with two values, and nothing was done; remove the site's cookies in the browser"
            ),
        ),
        NeonAuthError::TooMany(name) => Problem::new(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "head-too-large",
            format!(
                "the cookie {name} is one too many of Neon Auth's, and nothing was done; remove the site's cookies in the browser"
            ),
        ),
    })
}

fn forward(error: &ForwardError) -> Problem {
    match error {
        ForwardError::Body(error) => body(*error),
        // Nothing was done, so that it may be tried again whatever it is.
        ForwardError::Unreachable(_) | ForwardError::Send(SendError::Unsent(..) | SendError::Refused(_)) => {
            Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "service-unavailable",
                "the service can't be reached; try again in a moment",
            )
            .retry_after_secs(1)
        }
        ForwardError::Send(SendError::Lost(_) | SendError::Broken(_))
        | ForwardError::Informational(_)
        | ForwardError::Handshake
        | ForwardError::Coding => Problem::new(
            StatusCode::BAD_GATEWAY,
            "service-broken",
            "the service did not give a complete answer; look whether the change was made before trying again",
        ),
        ForwardError::Timeout(_) => Problem::new(
            StatusCode::GATEWAY_TIMEOUT,
            "service-timeout",
            "the service did not answer in time; look whether the change was made before trying again",
        ),
        ForwardError::WebSockets(TooMany::OfClient(_)) => Problem::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too-many-websockets",
            "too many of your WebSockets are open; try again when one is closed",
        )
        .retry_after_secs(1),
        ForwardError::WebSockets(TooMany::InAll) => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "busy",
            "too many WebSockets are open; try again in a moment",
        )
        .retry_after_secs(1),
        ForwardError::IdentityRefused => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "identity-refused",
            "the service can't check right now who is calling; try again in a moment",
        )
        .retry_after_secs(1),
    }
}

/// The rest of the body is not read, so the connection can't be used again.
fn body(error: BodyError) -> Problem {
    close(match error {
        BodyError::TooLarge => {
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", "the request body is too large")
        }
        BodyError::TooSlow => Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "body-too-slow",
            "the request body did not arrive in time",
        ),
        BodyError::Broken => {
            Problem::new(StatusCode::BAD_REQUEST, "body-broken", "the request body could not be read")
        }
    })
}

fn ambiguous(reason: &'static str) -> Problem {
    close(Problem::new(StatusCode::BAD_REQUEST, "ambiguous-request", reason))
}

fn close(problem: Problem) -> Problem {
    problem.with_header(header::CONNECTION, HeaderValue::from_static("close"))
}
