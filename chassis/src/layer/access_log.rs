//! One span and one access line per request, written when its answer has left or was given up.
//!
//! Paths are logged, queries are not: people put tokens there.

use std::{
    pin::Pin,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    task::{Context, Poll, ready},
    time::Instant,
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body::{Frame, SizeHint};
use tracing::{Instrument, Span, field::Empty, info, info_span};

use crate::{
    Body,
    layer::{method, request_id::RequestId},
    serve::HttpService,
};

/// The longest part of a path and of a method that a log line shows, in bytes.
const PATH_BYTES_MAX: usize = 256;
const METHOD_BYTES_MAX: usize = 32;

/// Whether the process has given up on what is still in flight, and how many requests that has cut short.
static CUTTING: AtomicBool = AtomicBool::new(false);
static CUT: AtomicU64 = AtomicU64::new(0);

/// Puts a span around each request, counts it, and writes its access line.
pub struct AccessLogged<S>(pub S);

impl<S: HttpService> HttpService for AccessLogged<S> {
    async fn call(&self, request: Request<Body>) -> Response<Body> {
        let started = Instant::now();
        let method = shortened_method(request.method());
        let path = shortened(request.uri().path(), PATH_BYTES_MAX).to_owned();
        let id = request.extensions().get::<RequestId>().map(RequestId::as_str).unwrap_or_default();
        let span = info_span!("request", request_id = id, user = Empty);
        // Made before the wait: a client that goes away drops this future, and that request has its line too.
        let mut line =
            Line { span: span.clone(), method, path, started, status: None, bytes: 0, whole: false };
        metrics::gauge!("http_requests_in_flight").increment(1.0);
        let response = self.0.call(request).instrument(span).await;
        line.status = Some(response.status());
        line.whole = http_body::Body::is_end_stream(response.body());
        response.map(|inner| Body::new(Watched { inner, line }))
    }
}

/// Says who is calling, for the access line and every other line of this request.
pub fn user(id: &str) {
    Span::current().record("user", id);
}

/// From now on what ends unfinished was cut short by us, not by its client.
pub(crate) fn cut() {
    CUTTING.store(true, Ordering::Relaxed);
}

/// How many requests were cut short.
pub(crate) fn cut_requests() -> u64 {
    CUT.load(Ordering::Relaxed)
}

fn shortened(text: &str, bytes_max: usize) -> &str {
    // A path that hyper let through is ASCII or UTF-8; cut it where a character begins.
    &text[..text.floor_char_boundary(bytes_max)]
}

/// A method may be as long as a head; one of the usual length is not copied.
fn shortened_method(method: &Method) -> Method {
    if method.as_str().len() <= METHOD_BYTES_MAX {
        return method.clone();
    }
    let start = shortened(method.as_str(), METHOD_BYTES_MAX);
    Method::from_bytes(start.as_bytes()).expect("the start of a method is one")
}

/// What the access line says; it is written when this is dropped.
struct Line {
    span: Span,
    method: Method,
    path: String,
    started: Instant,
    status: Option<StatusCode>,
    bytes: u64,
    whole: bool,
}

impl Drop for Line {
    fn drop(&mut self) {
        let _entered = self.span.enter();
        let took = self.started.elapsed();
        // 499 is what nginx writes for a client that left before its answer. `cut` says that we left, not the client.
        let status = self.status.map_or(499, |status| status.as_u16());
        let cut = (!self.whole && CUTTING.load(Ordering::Relaxed)).then_some(true);
        let Self { method, bytes, whole, .. } = self;
        // What a terminal would act on is shown, not done.
        let path = self.path.escape_debug();
        let ms = (took.as_secs_f64() * 1e5).round() / 1e2;
        info!(target: "access", %method, %path, status, bytes, ms, whole, cut, "{method} {path} {status} in {ms} ms");
        let labels = [("method", method::label(method::index(method))), ("status", status_label(status))];
        metrics::gauge!("http_requests_in_flight").decrement(1.0);
        metrics::counter!("http_requests_total", &labels).increment(1);
        metrics::histogram!("http_request_duration_seconds", &labels).record(took);
        if cut.is_some() {
            CUT.fetch_add(1, Ordering::Relaxed);
            metrics::counter!("http_requests_cut_total").increment(1);
        }
    }
}

fn status_label(status: u16) -> &'static str {
    match status {
        ..=199 => "1xx",
        200..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        500.. => "5xx",
    }
}

/// A body that counts what leaves.
struct Watched {
    inner: Body,
    line: Line,
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = crate::BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, crate::BodyError>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                self.line.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
                self.line.whole = http_body::Body::is_end_stream(&self.inner);
            }
            None => self.line.whole = true,
            Some(Err(_)) => {}
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_chooses_is_shown_up_to_its_bound() {
        for (bytes, shown) in [(1, 1), (METHOD_BYTES_MAX, METHOD_BYTES_MAX), (30_000, METHOD_BYTES_MAX)] {
            let method = Method::from_bytes("M".repeat(bytes).as_bytes()).unwrap();
            assert_eq!(shortened_method(&method).as_str(), "M".repeat(shown));
        }
        for (path, shown) in [
            ("/".repeat(PATH_BYTES_MAX), "/".repeat(PATH_BYTES_MAX)),
            ("/".repeat(PATH_BYTES_MAX + 1), "/".repeat(PATH_BYTES_MAX)),
            // No character is torn apart.
            ("ä".repeat(PATH_BYTES_MAX), "ä".repeat(PATH_BYTES_MAX / 2)),
            (format!("/{}", "ä".repeat(PATH_BYTES_MAX)), format!("/{}", "ä".repeat(PATH_BYTES_MAX / 2 - 1))),
        ] {
            assert_eq!(shortened(&path, PATH_BYTES_MAX), shown);
        }
    }
}
