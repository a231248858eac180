//! The verdict spoken over HTTP: for our gateway, and for any proxy that asks by a sub-request.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::State,
    response::{IntoResponse, Response},
    routing::{any, get},
};
use chassis::{Body, identity, problem, problem::Problem, request_id, serve::HttpService, trace};
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use tower::{ServiceExt, service_fn};

use crate::{
    Rejection, Unavailable,
    verdict::{Caller, Verdict},
    verifier::Verifier,
};

/// The whole stack.
pub fn stack(verifier: Arc<Verifier>) -> impl HttpService {
    let router = Router::new()
        .route(identity::VERIFY_PATH, any(verify))
        // Envoy puts the original path behind ours; it means the same.
        .route(&format!("{}/{{*below}}", identity::VERIFY_PATH), any(verify))
        .route(&format!("{}/", identity::VERIFY_PATH), any(verify))
        .route(identity::JWKS_PATH, get(jwks))
        .fallback(async || {
            Problem::new(StatusCode::NOT_FOUND, "not-found", "auth-verifier answers on /verify")
        })
        .method_not_allowed_fallback(async || {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "only GET is answered here")
        })
        .with_state(verifier);
    let router = service_fn(move |request: Request<Body>| router.clone().oneshot(request));
    request_id::name(trace::trace(problem::answer(router)))
}

async fn verify(State(verifier): State<Arc<Verifier>>, headers: HeaderMap) -> Response {
    match verifier.judge(&headers).await {
        Verdict::Known(caller) => known(caller),
        Verdict::Rejected(rejection) => rejected(&rejection).into_response(),
        Verdict::Banned => {
            Problem::new(StatusCode::FORBIDDEN, "forbidden", "this account is banned").into_response()
        }
        Verdict::Unavailable(Unavailable::Keys | Unavailable::Sessions) => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "verifier-unavailable",
            "who is calling can't be checked right now; try again in a moment",
        )
        .retry_after_secs(1)
        .into_response(),
    }
}

fn known(caller: Caller) -> Response {
    let Caller { user, email, credential, assertion, max_age } = caller;
    tracing::Span::current().record("user", user.as_str());
    let cached = format!("private, max-age={}", max_age.as_secs());
    let mut headers = HeaderMap::new();
    headers.insert(identity::USER_ID, user.value());
    headers.extend(email.map(|email| (identity::USER_EMAIL, email.value())));
    headers.insert(identity::CREDENTIAL, HeaderValue::from_static(credential));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_str(&cached).expect("it is ASCII"));
    headers.insert(identity::ASSERTION, assertion);
    (StatusCode::OK, headers).into_response()
}

/// RFC 6750 §3: a request without any credential hears only the challenge, one with a bad token that it is bad.
/// Why it is bad is for the log.
fn rejected(rejection: &Rejection) -> Problem {
    let (challenge, code, detail) = match rejection {
        Rejection::Missing | Rejection::Scheme => (
            "Bearer realm=\"api\"",
            "unauthenticated",
            "sign in, and send the token as Authorization: Bearer",
        ),
        _ => (
            "Bearer realm=\"api\", error=\"invalid_token\", error_description=\"the token is expired, malformed or not valid here\"",
            "invalid-token",
            "the token is expired, malformed or not valid here; sign in again",
        ),
    };
    Problem::new(StatusCode::UNAUTHORIZED, code, detail)
        .with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
}

async fn jwks(State(verifier): State<Arc<Verifier>>) -> Response {
    ([(header::CACHE_CONTROL, "public, max-age=300")], Json(verifier.published())).into_response()
}
