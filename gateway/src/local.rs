//! What the gateway answers by itself.

use chassis::{Body, layer::method};
use http::{HeaderValue, Response, StatusCode, header};
use serde::Deserialize;

/// An answer of the gateway's own, on a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Local {
    /// `{"status":"healthy"}`
    Health,
}

impl Local {
    /// The answer.
    pub fn response(self) -> Response<Body> {
        let Self::Health = self;
        let mut response = Response::new(Body::from(r#"{"status":"healthy"}"#));
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

/// The answer to `OPTIONS *` (RFC 9110 §9.3.7).
pub fn server_options() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(method::ALLOW));
    response
}
