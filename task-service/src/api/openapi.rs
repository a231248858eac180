//! What anybody may read: the document of the API (`OpenAPI` 3.1), and a page to try it at. Made once, when the service
//! starts.
//!
//! They stand before `trust`: neither tells anything of a user, nor is a row or a key asked for.

mod answers;
mod document;
mod operations;
mod parameters;
mod schemas;

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use chassis::{Body, layer::problem::Problem, serve::HttpService, telemetry::traces};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};

use super::{
    conditional::{Preconditions, Reading, weak_tag},
    refusal::Refusal,
};
use crate::settings::BodyLimits;

/// Where the document is.
const DOCUMENT: &str = "/api/openapi.json";

/// Where the page is.
const PAGE: &str = "/api/docs";

/// What both answer to.
const METHODS: &str = "GET, HEAD";

/// How long a cache may answer with them, and be behind a new release.
const CACHE: HeaderValue = HeaderValue::from_static("public, max-age=300");

/// Answers what asks for the document or the page, and leaves everything else to `inner`.
pub(crate) struct Described<S> {
    document: Fixed,
    page: Fixed,
    inner: S,
}

impl<S> Described<S> {
    /// Describes an API that has these bounds.
    pub(crate) fn new(limits: &BodyLimits, inner: S) -> Self {
        let json = document::document(limits).to_json().expect("text and numbers are JSON");
        let document = Fixed::new("application/json", json, &[]);
        let policy = (header::CONTENT_SECURITY_POLICY, page_policy());
        let page = Fixed::new("text/html; charset=utf-8", page(), &[policy]);
        Self { document, page, inner }
    }

    fn find(&self, path: &str) -> Option<(&'static str, &Fixed)> {
        match path.strip_suffix('/').unwrap_or(path) {
            DOCUMENT => Some((DOCUMENT, &self.document)),
            PAGE => Some((PAGE, &self.page)),
            _ => None,
        }
    }
}

impl<S: HttpService> HttpService for Described<S> {
    const ANSWERS_REFUSED: bool = S::ANSWERS_REFUSED;

    async fn call(&self, request: Request<Body>) -> Response<Body> {
        let Some((route, fixed)) = self.find(request.uri().path()) else {
            return self.inner.call(request).await;
        };
        traces::route(route);
        match fixed.answer(request.method(), request.headers()) {
            Ok(response) => response,
            Err(refusal) => Problem::from(refusal).response(),
        }
    }
}

/// An answer that is always the same.
struct Fixed {
    headers: HeaderMap,
    tag: HeaderValue,
    body: Bytes,
}

impl Fixed {
    fn new(kind: &'static str, text: String, further: &[(HeaderName, HeaderValue)]) -> Self {
        // Weak, so that the gateway may compress it.
        let tag = weak_tag(text.as_bytes());
        let headers = [
            (header::CACHE_CONTROL, CACHE),
            (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
            (header::ETAG, tag.clone()),
            (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
            (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        ];
        let headers = headers.into_iter().chain(further.iter().cloned()).collect();
        Self { headers, tag, body: text.into() }
    }

    fn answer(&self, method: &Method, asked: &HeaderMap) -> Result<Response<Body>, Refusal> {
        if !matches!(*method, Method::GET | Method::HEAD) {
            return Err(Refusal::MethodNotAllowed(METHODS));
        }
        let reading = Preconditions::of(asked)?.reading(&self.tag);
        let (status, body) = match reading {
            Reading::Answer => (StatusCode::OK, self.body.clone().into()),
            Reading::NotModified => (StatusCode::NOT_MODIFIED, Body::empty()),
            Reading::Refuse => return Err(Refusal::Stale),
        };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = self.headers.clone();
        Ok(response)
    }
}

const HTML: &str = include_str!("openapi/page.html");
const STYLE: &str = include_str!("openapi/page.css");
const SCRIPT: &str = include_str!("openapi/page.js");

/// The page, in one piece: nothing of it comes from elsewhere.
fn page() -> String {
    HTML.replace("/* style */", STYLE).replace("/* script */", SCRIPT)
}

/// What the page may do: run this script and no other, look like this, and ask its own origin. It can't be framed, and no text
/// becomes markup in it, whatever a task is called.
fn page_policy() -> HeaderValue {
    let hash = |text: &str| {
        format!("'sha256-{}'", BASE64_STANDARD.encode(digest(&SHA256, text.as_bytes()).as_ref()))
    };
    let policy = format!(
        "default-src 'none'; script-src {}; style-src {}; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
        hash(SCRIPT),
        hash(STYLE),
    );
    HeaderValue::try_from(policy).expect("visible ASCII is a header value")
}

#[cfg(test)]
mod tests;
