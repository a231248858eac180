//! Answers that say what went wrong: RFC 9457 problem details.
//!
//! A station makes a [`Problem`]; [`Rim`], at the rim of the stack, writes it out with the request's id. Until
//! then it travels in the response's extensions, so that nothing on the way can half-write a body.

mod media_type;

use std::borrow::Cow;

use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header, header::Entry};
use http_body::Body as _;
use serde::Serialize;

use self::media_type::Accept;
pub use self::media_type::MediaType;
use crate::{
    Body,
    layer::request_id::RequestId,
    serve::{HttpService, Refused},
    telemetry,
};

/// Something to tell the client: a status, a stable code, and a sentence a person can act on.
///
/// It never holds a cause, a query, a token or a stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: Cow<'static, str>,
    errors: Vec<FieldError>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// One field of the input that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// Its name, as the client wrote it.
    pub field: Cow<'static, str>,
    /// What is wrong, and what would be right.
    pub detail: Cow<'static, str>,
}

#[derive(Serialize)]
struct Document<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldError],
}

impl Problem {
    /// `code` ends the problem's `type`, `urn:usher:problem:<code>`, and stays the same for ever.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { status, code, detail: detail.into(), errors: Vec::new(), headers: Vec::new() }
    }

    /// Names the fields that are wrong.
    #[must_use]
    pub fn with_errors(mut self, errors: Vec<FieldError>) -> Self {
        self.errors = errors;
        self
    }

    /// Adds a header to the answer.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Says when to try again (RFC 9110 §10.2.3).
    #[must_use]
    pub fn retry_after_secs(self, secs: u32) -> Self {
        self.with_header(header::RETRY_AFTER, secs.into())
    }

    /// The status of the answer.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The answer, still to be written out by [`Rim`].
    pub fn response(self) -> Response<Body> {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.status;
        response.extensions_mut().insert(self);
        response
    }

    /// The answer in full: its status, headers and body. [`Rim`] writes it over HTTP; other protocols carry it in
    /// messages of their own.
    pub fn write(self, request_id: Option<&RequestId>, media_type: MediaType) -> Response<String> {
        let document = Document {
            r#type: format!("urn:usher:problem:{}", self.code),
            title: self.status.canonical_reason().unwrap_or("Problem"),
            status: self.status.as_u16(),
            detail: &self.detail,
            request_id: request_id.map(RequestId::as_str),
            errors: &self.errors,
        };
        let body = serde_json::to_string(&document).expect("a document of text and numbers is JSON");
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, media_type.value());
        // No cache keeps it, so that it need not vary by `Accept`.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.extend(self.headers);
        response
    }
}

impl axum::response::IntoResponse for Problem {
    fn into_response(self) -> axum::response::Response {
        self.response().map(Into::into)
    }
}

/// The rim: whatever problem comes out of the inner service is written as this media type, or as the other one for who would
/// rather have it, and an answer to HEAD has no body (RFC 9110 §9.3.2). hyper sees to that over HTTP/1 alone. What the listener
/// refused to read ([`Refused`]) is answered here, and comes no further.
pub struct Rim<S>(pub S, pub MediaType);

impl<S: HttpService> HttpService for Rim<S> {
    const ANSWERS_REFUSED: bool = true;

    async fn call(&self, mut request: Request<Body>) -> Response<Body> {
        let id = request.extensions().get::<RequestId>().cloned();
        let is_head = request.method() == Method::HEAD;
        let accept = Accept::of(request.headers());
        let mut response = match Refused::take(&mut request) {
            Some(refused) => refused.problem().response(),
            None => self.0.call(request).await,
        };
        if let Some(problem) = response.extensions_mut().remove::<Problem>() {
            telemetry::request::problem(problem.code);
            let (written, body) = problem.write(id.as_ref(), self.1.for_client(accept.lines())).into_parts();
            // A router further in has counted the empty body that stood here.
            response.headers_mut().remove(header::CONTENT_LENGTH);
            response.headers_mut().extend(written.headers);
            *response.body_mut() = body.into();
        }
        if is_head && !response.body().is_end_stream() {
            let length = response.body().size_hint().exact();
            if let (Some(length), Entry::Vacant(vacant)) =
                (length, response.headers_mut().entry(header::CONTENT_LENGTH))
            {
                vacant.insert(length.into());
            }
            *response.body_mut() = Body::empty();
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn an_answer_to_head_has_the_length_and_no_body() {
        for problem in [false, true] {
            let inner = move |_: Request<Body>| async move {
                if problem {
                    return Problem::new(StatusCode::NOT_FOUND, "not-found", "there is nothing here")
                        .response();
                }
                Response::new(Body::from("0123456789"))
            };
            let get = Rim(inner, MediaType::Problem).call(Request::new(Body::empty())).await;
            let body = get.into_body().collect().await.unwrap().to_bytes();
            let mut request = Request::new(Body::empty());
            *request.method_mut() = Method::HEAD;
            let head = Rim(inner, MediaType::Problem).call(request).await;
            assert_eq!(head.headers()["content-length"], body.len().to_string());
            assert!(head.into_body().is_end_stream());
        }
    }

    #[tokio::test]
    async fn a_problem_is_of_the_type_that_is_set_or_that_its_client_would_rather_have() {
        let inner = |_: Request<Body>| async {
            Problem::new(StatusCode::NOT_FOUND, "not-found", "there is nothing here").response()
        };
        let ask = async |set, accept: Option<&'static str>| {
            let mut request = Request::new(Body::empty());
            if let Some(accept) = accept {
                request.headers_mut().insert(header::ACCEPT, HeaderValue::from_static(accept));
            }
            let response = Rim(inner, set).call(request).await;
            let media_type = response.headers()["content-type"].clone();
            (media_type, response.into_body().collect().await.unwrap().to_bytes())
        };
        let (problem, body) = ask(MediaType::Problem, None).await;
        assert_eq!(problem, "application/problem+json");
        for (set, accept, want) in [
            (MediaType::Problem, Some("*/*"), "application/problem+json"),
            (MediaType::Problem, Some("application/json"), "application/json"),
            (MediaType::Json, None, "application/json"),
            (MediaType::Json, Some("*/*"), "application/json"),
            (MediaType::Json, Some("application/problem+json"), "application/problem+json"),
        ] {
            let (media_type, same) = ask(set, accept).await;
            assert_eq!(media_type, want, "{set:?} {accept:?}");
            assert_eq!(same, body, "whatever it is called");
        }
    }

    #[tokio::test]
    async fn a_problem_is_written_with_its_id_and_headers() {
        let inner = |_: Request<Body>| async {
            let errors = vec![FieldError { field: "title".into(), detail: "is required".into() }];
            let problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", "the task is not valid");
            let mut response = problem.with_errors(errors).retry_after_secs(1).response();
            response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
            response
        };
        let mut request = Request::new(Body::empty());
        request.extensions_mut().insert(RequestId::parse(b"r-1").unwrap());
        let response = Rim(inner, MediaType::Problem).call(request).await;
        assert_eq!(response.status(), 422);
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        assert_eq!(response.headers()["retry-after"], "1");
        assert_eq!(
            response.headers().get("content-length"),
            None,
            "the empty body's length is not the problem's"
        );
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            body,
            serde_json::json!({
                "type": "urn:usher:problem:invalid", "title": "Unprocessable Entity", "status": 422,
                "detail": "the task is not valid", "request_id": "r-1",
                "errors": [{"field": "title", "detail": "is required"}],
            })
        );
    }
}
