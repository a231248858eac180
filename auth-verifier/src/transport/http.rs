//! The verdict spoken over HTTP: for our gateway, and for any proxy that asks by a sub-request.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    response::{IntoResponse, Response},
    routing::{any, get},
};
use chassis::{
    json::Answer,
    layer::{
        access_log::AccessLogged,
        problem::{Problem, Rim},
        request_id::Assign,
    },
    serve::HttpService,
};
use http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::{transport::answer, verdict::verifier::Verifier};

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
    Assign(AccessLogged(Rim(router)))
}

async fn verify(State(verifier): State<Arc<Verifier>>, headers: HeaderMap) -> Response {
    match answer::to(verifier.judge(&headers).await) {
        Ok(caller) => {
            let cached = format!("private, max-age={}", caller.max_age.as_secs());
            let mut headers = answer::identity(caller);
            headers.insert(identity::CREDENTIAL_COOKIES, verifier.credential_cookies().value());
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_str(&cached).expect("it is ASCII"));
            (StatusCode::OK, headers).into_response()
        }
        Err(problem) => problem.into_response(),
    }
}

async fn jwks(State(verifier): State<Arc<Verifier>>) -> Response {
    ([(header::CACHE_CONTROL, "public, max-age=300")], Answer(verifier.published())).into_response()
}
