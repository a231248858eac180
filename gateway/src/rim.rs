//! The rim of the walk: a refusal is logged, counted, and becomes an answer.

use chassis::{Body, layer::problem::Problem, outbound::client::chain};
use http::Response;
use tracing::{error, info, warn};

use crate::{
    admit::AdmitError,
    authenticate::{AuthenticateError, verdict::VerdictError},
    body::bounded::BodyError,
    neon_auth::NeonAuthError,
    quota::QuotaExceeded,
    refusal::Refusal,
    route::RouteError,
    sanitize::SanitizeError,
    settings::variable,
    upstream::{SendError, forward::ForwardError},
    websocket::TooMany,
};

/// The answer of the walk, whichever way it ended.
pub fn answer(walked: Result<Response<Body>, Refusal>) -> Response<Body> {
    walked.unwrap_or_else(|refusal| {
        count(&refusal);
        log(&refusal);
        Problem::from(&refusal).response()
    })
}

fn count(refusal: &Refusal) {
    let by_load = match refusal {
        Refusal::Admit(AdmitError::Full) => "full",
        Refusal::Overloaded(_) => "overloaded",
        Refusal::Admit(AdmitError::ClientShare(_)) => "client_share",
        Refusal::Admit(AdmitError::ClientRate(_)) => "client_rate",
        Refusal::Admit(AdmitError::NeonFull) => "neon_auth",
        Refusal::Admit(AdmitError::NeonShare(_)) => "neon_auth_share",
        Refusal::Quota(QuotaExceeded::Share) => "user_share",
        Refusal::Quota(QuotaExceeded::Rate(_)) => "user_rate",
        Refusal::Forward(ForwardError::Body(BodyError::TooSlow)) => "body_too_slow",
        Refusal::Forward(ForwardError::WebSockets(TooMany::InAll)) => "websockets",
        Refusal::Forward(ForwardError::WebSockets(TooMany::OfClient(_))) => "websocket_share",
        Refusal::Csrf(error) => {
            metrics::counter!(crate::metrics::CSRF_REJECTIONS.name, "reason" => error.label()).increment(1);
            return;
        }
        Refusal::Permit(error) => {
            metrics::counter!(crate::metrics::PERMIT_REJECTIONS.name, "reason" => error.label()).increment(1);
            return;
        }
        _ => return,
    };
    metrics::counter!(crate::metrics::REQUESTS_REFUSED.name, "reason" => by_load).increment(1);
}

/// What went wrong behind us is told here, once; what a client did wrong is in its answer.
fn log(refusal: &Refusal) {
    match refusal {
        Refusal::Admit(AdmitError::Full) => warn!("refused: {refusal} ({})", variable::REQUESTS_MAX),
        Refusal::Admit(AdmitError::ClientShare(client)) => info!(
            %client,
            "refused: {refusal} ({}); a load balancer's address belongs in {}",
            variable::REQUESTS_PER_CLIENT_MAX,
            variable::TRUSTED_PROXIES,
        ),
        Refusal::Admit(AdmitError::NeonFull) => {
            warn!("refused: {refusal} ({})", variable::NEON_AUTH_REQUESTS_MAX);
        }
        Refusal::Admit(AdmitError::NeonShare(client)) => {
            info!(%client, "refused: {refusal} ({})", variable::NEON_AUTH_REQUESTS_PER_CLIENT_MAX);
        }
        Refusal::Quota(QuotaExceeded::Share) => {
            info!("refused: {refusal} ({})", variable::REQUESTS_PER_USER_MAX);
        }
        Refusal::Route(RouteError::Ambiguous(_)) | Refusal::Sanitize(SanitizeError::Ambiguous(_)) => {
            info!("refused: {refusal}");
        }
        Refusal::NeonAuth(error @ NeonAuthError::Loop) => warn!("refused: {error}"),
        Refusal::Authenticate(error) => log_unauthenticated(error),
        Refusal::Forward(error) => log_unserved(error),
        // Whoever is limited comes again and again; the access line and the metrics say it.
        Refusal::Admit(AdmitError::ClientRate(_) | AdmitError::BodyTooLarge)
        | Refusal::Quota(QuotaExceeded::Rate(_))
        | Refusal::Overloaded(_)
        | Refusal::Head(_)
        | Refusal::Route(
            RouteError::Method(_)
            | RouteError::Misdirected
            | RouteError::Handshake(_)
            | RouteError::Accounts
            | RouteError::NotFound,
        )
        | Refusal::Sanitize(SanitizeError::Expectation | SanitizeError::Coding)
        | Refusal::Permit(_)
        | Refusal::Csrf(_)
        | Refusal::NeonAuth(NeonAuthError::TwoValues(_) | NeonAuthError::TooMany(_)) => {}
    }
}

fn log_unauthenticated(error: &AuthenticateError) {
    match error {
        AuthenticateError::Verdict(VerdictError::Unauthenticated(_) | VerdictError::Forbidden)
        | AuthenticateError::Accounts => {}
        AuthenticateError::Verdict(VerdictError::RetryAfter(secs)) => {
            warn!(retry_after_secs = secs, "no verdict: auth-verifier can't know now; its log says why");
        }
        AuthenticateError::Verdict(VerdictError::Status(_) | VerdictError::Unclear(_))
        | AuthenticateError::Unreachable(_)
        | AuthenticateError::Send(_)
        | AuthenticateError::Timeout(_) => warn!("no verdict: {}", chain(error)),
    }
}

fn log_unserved(error: &ForwardError) {
    match error {
        ForwardError::Body(_) => {}
        ForwardError::WebSockets(TooMany::InAll) => warn!("refused: {error} ({})", variable::WEBSOCKETS_MAX),
        ForwardError::WebSockets(TooMany::OfClient(_)) => {
            info!("refused: {error} ({})", variable::WEBSOCKETS_PER_CLIENT_MAX);
        }
        ForwardError::IdentityRefused => {
            error!("{error}: does it know auth-verifier's keys, and its audience?");
        }
        ForwardError::Unreachable(_) | ForwardError::Send(SendError::Unsent(..) | SendError::Refused(_)) => {
            warn!("the service can't be reached: {}", chain(error));
        }
        ForwardError::Send(_)
        | ForwardError::Informational(_)
        | ForwardError::Handshake
        | ForwardError::Coding => {
            warn!("the service's answer broke: {}", chain(error));
        }
        ForwardError::Timeout(_) => warn!("the service did not answer in time: {error}"),
    }
}
