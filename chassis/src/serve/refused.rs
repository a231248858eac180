//! A request that hyper never saw, because its head is broken: what is known of it, and what it is answered.

use http::{HeaderValue, Method, Request, StatusCode, Uri, Version, header};

use crate::{
    Body,
    http1::{Violation, request::RESERVED},
    layer::problem::Problem,
};

/// What hyper is given in the place of such a request. The reader lets nobody else's method begin like this one.
pub(super) const STAND_IN: &[u8] = b"! * HTTP/1.1\r\n\r\n";
const _: () = assert!(STAND_IN[0] == RESERVED);

/// The longest method that is told; others are none.
const METHOD_BYTES_MAX: usize = 16;

/// A request whose head was refused before anybody read it; among its extensions. [`Rim`](crate::layer::problem::Rim) answers it.
#[derive(Clone, Debug)]
pub struct Refused {
    violation: Violation,
    method: Method,
    target: Uri,
    origin: Option<HeaderValue>,
}

impl Refused {
    /// What can be told of the request whose head these bytes are, as far as it has come. Nothing of it decides anything: an
    /// access line shows method and path, and a page of an allowed origin may read why it was refused.
    pub(super) fn of(head: &[u8], violation: Violation) -> Self {
        let mut lines =
            head.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        let start = lines.by_ref().find(|line| !line.is_empty()).unwrap_or_default();
        let mut words = start.split(|byte| *byte == b' ');
        let method = words.next().filter(|method| method.len() <= METHOD_BYTES_MAX);
        let method = method.and_then(|method| Method::from_bytes(method).ok());
        let path = words.next().and_then(|target| target.split(|byte| matches!(byte, b'?' | b'#')).next());
        let path = path.filter(|path| path.first() == Some(&b'/') && path.is_ascii());
        let mut origins = lines.filter_map(|line| {
            let (name, value) = line.split_at_checked("origin:".len())?;
            name.eq_ignore_ascii_case(b"origin:").then_some(value.trim_ascii())
        });
        let origin = origins.next().filter(|_| origins.next().is_none());
        Self {
            violation,
            method: method.unwrap_or_else(|| Method::from_bytes(b"-").expect("it is a token")),
            target: path.and_then(|path| Uri::try_from(path).ok()).unwrap_or(Uri::from_static("*")),
            origin: origin.and_then(|origin| HeaderValue::from_bytes(origin).ok()),
        }
    }

    /// The request, as the layers outside of the rim see it. Its version is 0.9, which no other's is.
    pub(super) fn request(self) -> Request<Body> {
        let mut request = Request::new(Body::empty());
        *request.version_mut() = Version::HTTP_09;
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.target.clone();
        if let Some(origin) = &self.origin {
            request.headers_mut().insert(header::ORIGIN, origin.clone());
        }
        request.extensions_mut().insert(self);
        request
    }

    /// Takes it off a request that was refused.
    pub(crate) fn take(request: &mut Request<Body>) -> Option<Self> {
        (request.version() == Version::HTTP_09).then(|| request.extensions_mut().remove()).flatten()
    }

    /// What its client is told. Nothing that follows on its connection is read: where it begins can't be known.
    pub(crate) fn problem(&self) -> Problem {
        let code = match (self.violation.status(), self.violation) {
            (StatusCode::URI_TOO_LONG, _) => "target-too-long",
            (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, _) => "head-too-large",
            (StatusCode::NOT_IMPLEMENTED, _) => "unknown-coding",
            (_, Violation::Length | Violation::LengthAndCoding | Violation::Coding) => "ambiguous-request",
            _ => "malformed-request",
        };
        Problem::new(self.violation.status(), code, self.violation.to_string())
            .with_header(header::CONNECTION, HeaderValue::from_static("close"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(head: &str, method: &str, path: &str, origin: Option<&str>) {
        let request = Refused::of(head.as_bytes(), Violation::LineEnd).request();
        let told = request.headers().get("origin").map(|origin| origin.to_str().unwrap());
        assert_eq!(
            (request.method().as_str(), request.uri().path(), told),
            (method, path, origin),
            "{head:?}"
        );
    }

    #[test]
    fn of_a_broken_head_is_told_what_is_plain() {
        check("POST /a?token=x HTTP/1.1\r\nOrigin: http://a\r\nb: c\n\n", "POST", "/a", Some("http://a"));
        check("\r\nGET /a#b HTTP/1.1\norigin:http://a\n", "GET", "/a", Some("http://a"));
        check("GET /a HTTP/1.1\r\nOrigin: http://a\r\nOrigin: http://b\r\n\r\n", "GET", "/a", None);
        check("GET http://a/b HTTP/1.1\r\n", "GET", "*", None);
        check("G\u{1b}T /\u{e9}", "-", "*", None);
        check("", "-", "*", None);
        check(&"A".repeat(17), "-", "*", None);
    }
}
