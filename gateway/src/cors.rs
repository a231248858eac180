//! Cross-origin resource sharing (CORS): which pages may call, and what they may read (Fetch §3.2).
//!
//! Origins are compared byte for byte; an unknown one learns nothing. Credentials are allowed, so that there is no wildcard
//! anywhere (Fetch §3.2.5): the headers that a preflight asks for are the ones that it is allowed.
//!
//! A preflight is an `OPTIONS` with `Origin` and `Access-Control-Request-Method`. Any other `OPTIONS` is a request like all
//! others, and authenticated; tower-http's layer would answer it.
//!
//! Whom a browser keeps from an answer is told by the access line (`refused_origin`) and counted: its page learns nothing, nor can
//! whoever runs it ask the browser.

use std::time::Duration;

use chassis::{
    Body,
    header::single,
    layer::{access_log, request_id},
    serve::HttpService,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, header};

use crate::{
    csrf::{FETCH_MODE, FETCH_SITE},
    rate_limit::{RATE_LIMIT, RATE_LIMIT_POLICY},
    route::{path, pattern::Pattern},
    upstream::ExposedHeaders,
};

/// What a page may read of an answer, besides what it always may.
const EXPOSED: [HeaderName; 9] = [
    request_id::HEADER,
    header::LOCATION,
    header::LINK,
    header::ETAG,
    header::RETRY_AFTER,
    RATE_LIMIT,
    RATE_LIMIT_POLICY,
    header::WWW_AUTHENTICATE,
    header::ALLOW,
];

/// What a page may do.
const METHODS: HeaderValue = HeaderValue::from_static("GET,HEAD,POST,PUT,PATCH,DELETE,OPTIONS");

/// What the answer to a preflight depends on.
const VARY_PREFLIGHT: HeaderValue =
    HeaderValue::from_static("Origin, Access-Control-Request-Method, Access-Control-Request-Headers");

/// The longest list of headers that a preflight is allowed: it is said back, and no page needs more.
const ASKED_BYTES_MAX: usize = 2048;

/// The longest part of a refused origin that the access line shows, in bytes: a scheme, the longest host name, and a port.
const ORIGIN_BYTES_MAX: usize = 272;

/// Answers preflights, and puts CORS headers on every answer, refusals too: without them a browser hides it from the page.
pub struct Cors<S> {
    inner: S,
    origins: Vec<HeaderValue>,
    /// The gateway's own, whose pages need no leave.
    own: Vec<HeaderValue>,
    /// The routes in their order, and which of them have no CORS; empty where all have it.
    routes: Vec<(Pattern, bool)>,
    max_age: HeaderValue,
    exposed: HeaderValue,
}

impl<S: HttpService> HttpService for Cors<S> {
    const ANSWERS_REFUSED: bool = S::ANSWERS_REFUSED;

    async fn call(&self, request: Request<Body>) -> Response<Body> {
        let origin = single(request.headers(), &header::ORIGIN).ok();
        let known = origin.filter(|origin| self.origins.contains(origin));
        let allowed = known.filter(|_| self.routes.is_empty() || self.is_open(request.uri().path()));
        if let (Some(origin), None) = (origin, allowed) {
            self.tell_refused(origin, known.is_some(), &request);
        }
        let allowed = allowed.cloned();
        if is_preflight(&request) {
            return self.preflight(&request, allowed);
        }
        let mut response = self.inner.call(request).await;
        self.apply(allowed, &mut response);
        response
    }
}

/// Fetch §4.8. With two origins it is none, and refused with all others that have two.
fn is_preflight<B>(request: &Request<B>) -> bool {
    request.method() == Method::OPTIONS
        && single(request.headers(), &header::ORIGIN).is_ok()
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

impl<S> Cors<S> {
    /// Pages of `origins` may call `inner`, and remember a preflight for `max_age`; but for those of `routes` that are `false`. Pages of
    /// its `own` origins are not refused.
    pub fn new(
        inner: S,
        origins: Vec<HeaderValue>,
        own: Vec<HeaderValue>,
        max_age: Duration,
        mut routes: Vec<(Pattern, bool)>,
    ) -> Self {
        if routes.iter().all(|(_, has_cors)| *has_cors) {
            routes.clear();
        }
        Self { inner, origins, own, routes, max_age: max_age.as_secs().into(), exposed: list(&[]) }
    }

    /// Whether pages may call what a path leads to. A path that can't be read leads to a refusal, which they may read.
    fn is_open(&self, path: &str) -> bool {
        path::canonical(path)
            .ok()
            .and_then(|path| self.routes.iter().find(|(pattern, _)| pattern.fits(&path)))
            .is_none_or(|(_, has_cors)| *has_cors)
    }

    /// Tells whoever runs us of a page whose browser keeps the answer from it.
    #[cold]
    fn tell_refused(&self, origin: &HeaderValue, is_known: bool, request: &Request<Body>) {
        if self.own.contains(origin) || !is_kept_from_page(origin, request) {
            return;
        }
        let reason = if is_known { "route" } else { "unknown_origin" };
        metrics::counter!(crate::metrics::CORS_REFUSALS.name, "reason" => reason).increment(1);
        access_log::remark("refused_origin", shown(origin));
    }

    /// The answer to a preflight, given before anybody is asked.
    fn preflight<B>(&self, request: &Request<B>, allowed: Option<HeaderValue>) -> Response<Body> {
        let mut response = Response::new(Body::empty());
        let headers = response.headers_mut();
        if let Some(origin) = allowed {
            allow(headers, origin);
            headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
            headers.insert(header::ACCESS_CONTROL_MAX_AGE, self.max_age.clone());
            if let Ok(asked) = single(request.headers(), &header::ACCESS_CONTROL_REQUEST_HEADERS)
                && is_list_of_names(asked)
            {
                headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
            }
        }
        headers.insert(header::VARY, VARY_PREFLIGHT);
        response
    }

    fn apply(&self, allowed: Option<HeaderValue>, response: &mut Response<Body>) {
        let further = response.extensions_mut().remove::<ExposedHeaders>();
        let headers = response.headers_mut();
        // Without an origin, too: a cache must not give this answer to a page. Where no page may ever call, nothing hangs on
        // it, and `/_next/static` is cached once for all.
        if !self.origins.is_empty() {
            headers.append(header::VARY, HeaderValue::from_static("Origin"));
        }
        let Some(origin) = allowed else { return };
        allow(headers, origin);
        let exposed = further.map_or_else(|| self.exposed.clone(), |ExposedHeaders(further)| list(&further));
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    }
}

/// Whether a browser keeps the answer from the page, as far as can be told: it asked across origins, and to read it. A form that is sent,
/// a beacon and a WebSocket have an origin, too, and no CORS.
fn is_kept_from_page<B>(origin: &HeaderValue, request: &Request<B>) -> bool {
    let headers = request.headers();
    let host = request.uri().authority().map(|authority| authority.as_str().as_bytes());
    let host = host.or_else(|| headers.get(header::HOST).map(HeaderValue::as_bytes));
    let of_page = origin.as_bytes().split(|byte| *byte == b'/').next_back();
    // Where it is not over TLS, browsers tell nothing but the origin.
    let is_same = headers.get(FETCH_SITE).is_some_and(|site| site == "same-origin")
        || of_page.zip(host).is_some_and(|(page, host)| page.eq_ignore_ascii_case(host));
    let is_read = match headers.get(FETCH_MODE) {
        Some(mode) => mode == "cors",
        None => !headers.contains_key(header::UPGRADE),
    };
    is_read && !is_same
}

/// An origin as the access line shows it: what a client may send, and no more of it than one can have.
fn shown(origin: &HeaderValue) -> String {
    let bytes = origin.as_bytes();
    bytes[..bytes.len().min(ORIGIN_BYTES_MAX)].escape_ascii().to_string()
}

fn allow(headers: &mut HeaderMap, origin: HeaderValue) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
}

/// Whether a preflight asks for headers as browsers do (Fetch §4.8): names, separated by commas.
fn is_list_of_names(asked: &HeaderValue) -> bool {
    asked.len() <= ASKED_BYTES_MAX
        && asked
            .as_bytes()
            .split(|byte| *byte == b',')
            .all(|name| HeaderName::from_bytes(name.trim_ascii()).is_ok())
}

/// Our own names and `further` ones, as one header.
fn list(further: &[HeaderName]) -> HeaderValue {
    let ours = EXPOSED;
    let further = further.iter().filter(|name| !ours.contains(name));
    let all: Vec<&str> = ours.iter().chain(further).map(HeaderName::as_str).collect();
    HeaderValue::try_from(all.join(",")).expect("names and commas may stand in a header")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_sends_for_an_origin_is_shown_up_to_its_bound_and_does_nothing() {
        let long = "x".repeat(ORIGIN_BYTES_MAX);
        for (sent, want) in [
            (&b"null"[..], "null"),
            (b"https://a.example:8443", "https://a.example:8443"),
            (b"a\tb\"\\\xff", r#"a\tb\"\\\xff"#),
            (long.as_bytes(), &long),
            (format!("{long}y").as_bytes(), &long),
        ] {
            assert_eq!(shown(&HeaderValue::from_bytes(sent).unwrap()), want);
        }
    }

    #[test]
    fn a_browser_keeps_from_a_page_what_it_asks_to_read_of_another_origin() {
        for (origin, fields, want) in [
            ("https://app.example", &[("host", "api.example")][..], true),
            ("null", &[("host", "api.example")], true),
            ("http://localhost:3000", &[("host", "localhost:8000")], true),
            ("https://app.example", &[("host", "api.example"), ("sec-fetch-mode", "cors")], true),
            ("https://app.example", &[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "cors")], true),
            ("https://app.example", &[("sec-fetch-site", "same-site")], true),
            // Its own page.
            ("https://API.example", &[("host", "api.example")], false),
            ("http://localhost:8000", &[("host", "localhost:8000")], false),
            ("https://app.example", &[("host", "inner"), ("sec-fetch-site", "same-origin")], false),
            // A form, a beacon, a WebSocket.
            ("https://app.example", &[("host", "api.example"), ("sec-fetch-mode", "navigate")], false),
            ("https://app.example", &[("host", "api.example"), ("sec-fetch-mode", "no-cors")], false),
            ("https://app.example", &[("host", "api.example"), ("upgrade", "websocket")], false),
        ] {
            let mut request = Request::new(());
            for (name, value) in fields {
                request.headers_mut().insert(*name, HeaderValue::from_static(value));
            }
            let origin = HeaderValue::from_static(origin);
            assert_eq!(is_kept_from_page(&origin, &request), want, "{origin:?} {fields:?}");
        }
        // HTTP/2 names the host in the target.
        let request = Request::get("http://api.example/api/tasks").body(()).unwrap();
        assert!(!is_kept_from_page(&HeaderValue::from_static("https://api.example"), &request));
        assert!(is_kept_from_page(&HeaderValue::from_static("https://app.example"), &request));
    }
}
