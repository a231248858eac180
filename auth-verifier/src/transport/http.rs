//! Verdicts over HTTP: for our gateway, and for any proxy that asks by a sub-request.

use std::sync::Arc;

use chassis::{
    Body,
    layer::{
        access_log::AccessLogged,
        problem::{MediaType, Problem, Rim},
        request_id::Assign,
    },
    serve::HttpService,
    telemetry::traces,
};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};

use crate::{transport::answer, verdict::Verifier};

/// The whole stack.
pub fn stack(verifier: Arc<Verifier>, errors_as: MediaType) -> impl HttpService {
    Assign(AccessLogged::new(Rim(Routes(verifier), errors_as)))
}

/// The two paths. A router for so few costs more than the look at the path.
struct Routes(Arc<Verifier>);

impl HttpService for Routes {
    async fn call(&self, request: Request<Body>) -> Response<Body> {
        let path = request.uri().path();
        // Envoy puts the original path behind ours; it means the same.
        let below = path.strip_prefix(identity::VERIFY_PATH);
        if below.is_some_and(|below| below.is_empty() || below.starts_with('/')) {
            traces::route(identity::VERIFY_PATH);
            return self.verify(request.headers()).await;
        }
        match (path, request.method()) {
            (identity::JWKS_PATH, &Method::GET | &Method::HEAD) => self.jwks(),
            (identity::JWKS_PATH, _) => Problem::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method-not-allowed",
                "only GET is answered here",
            )
            .with_header(header::ALLOW, HeaderValue::from_static("GET,HEAD"))
            .response(),
            _ => Problem::new(StatusCode::NOT_FOUND, "not-found", "auth-verifier answers on /verify")
                .response(),
        }
    }
}

impl Routes {
    async fn verify(&self, headers: &HeaderMap) -> Response<Body> {
        match answer::to(self.0.verify(headers).await) {
            Ok(mut caller) => {
                let max_age = caller.max_age.as_secs();
                let scopes = caller.scopes.take();
                let mut response = Response::new(Body::empty());
                *response.headers_mut() = answer::identity(caller);
                let headers = response.headers_mut();
                headers.insert(identity::CREDENTIAL_COOKIES, self.0.credential_cookies().clone());
                if let Some(scopes) = scopes {
                    headers.insert(identity::CREDENTIAL_SCOPES, scopes.value());
                }
                let cached = HeaderValue::try_from(format!("private, max-age={max_age}"));
                headers.insert(header::CACHE_CONTROL, cached.expect("it is ASCII"));
                response
            }
            Err(problem) => problem.response(),
        }
    }

    fn jwks(&self) -> Response<Body> {
        traces::route(identity::JWKS_PATH);
        let mut response = Response::new(Body::from(self.0.published().to_string()));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
        response
    }
}
