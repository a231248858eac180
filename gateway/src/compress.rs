//! Compression of answers (RFC 9110 §8.4), where the operator has switched it on: gzip, for clients that take it.
//!
//! Left as they are: what is small, of a type that doesn't shrink, encoded already, a part (`206`), not to be transformed
//! (RFC 9111 §5.2.2.6), or named by a strong `ETag`, which names these bytes and no others (RFC 9110 §8.8.3). Streams of events are left,
//! too. Whatever pauses on its way is flushed, so that nothing waits in the encoder.

use std::{
    io::Write as _,
    mem,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use chassis::{Body, serve::HttpService};
use flate2::{Compression, write::GzEncoder};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::{Body as _, Frame};

/// The smallest body that is worth it: less fits into one packet anyhow.
const BYTES_MIN: u64 = 1024;

/// How hard is tried. More costs the others time, and saves little of JSON.
const LEVEL: Compression = Compression::new(1);

/// The types that shrink, besides all text, JSON and XML.
const TYPES: [&str; 5] = [
    "application/javascript",
    "application/manifest",
    "application/wasm",
    "application/x-ndjson",
    "image/svg+xml",
];

/// Compresses the answers of the inner service, if it is on.
pub struct Compressed<S> {
    inner: S,
    on: bool,
}

impl<S> Compressed<S> {
    /// Compresses what `inner` answers, if it is `on`.
    pub fn new(inner: S, on: bool) -> Self {
        Self { inner, on }
    }
}

impl<S: HttpService> HttpService for Compressed<S> {
    const ANSWERS_REFUSED: bool = S::ANSWERS_REFUSED;

    async fn call(&self, request: Request<Body>) -> Response<Body> {
        let takes = self.on && request.method() != Method::HEAD && takes_gzip(request.headers());
        let mut response = self.inner.call(request).await;
        let compressible = self.on && is_compressible(&response);
        // Also where this client takes none: a cache must know that another one may.
        if compressible || self.on && confirms_compressible(&response) {
            response.headers_mut().append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
        }
        if !compressible || !takes {
            return response;
        }
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        headers.remove(header::CONTENT_LENGTH);
        headers.remove(header::ACCEPT_RANGES);
        response.map(|body| Body::new(GzipBody::new(body)))
    }
}

/// Whether a client accepts gzip (RFC 9110 §12.5.3). Who says nothing accepts anything, but expects plain text.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let lists = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|list| list.to_str().ok());
    let mut by_wildcard = false;
    for coding in lists.flat_map(|list| list.split(',')) {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let weight = weight.trim().trim_start_matches(['q', 'Q']).trim_start().trim_start_matches('=').trim();
        let accepted = weight.is_empty() || weight.bytes().any(|byte| matches!(byte, b'1'..=b'9'));
        match name.trim() {
            name if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") => {
                return accepted;
            }
            "*" => by_wildcard = accepted,
            _ => {}
        }
    }
    by_wildcard
}

/// Whether it is a 304 for what may have been compressed: it varies as that did (RFC 9110 §15.4.5).
fn confirms_compressible(response: &Response<Body>) -> bool {
    let headers = response.headers();
    response.status() == StatusCode::NOT_MODIFIED
        && headers.get(header::ETAG).is_some_and(|etag| !is_strong(etag))
        && !headers.contains_key(header::CONTENT_ENCODING)
}

fn is_strong(etag: &HeaderValue) -> bool {
    !etag.as_bytes().starts_with(b"W/")
}

fn is_compressible(response: &Response<Body>) -> bool {
    let headers = response.headers();
    let text =
        |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).unwrap_or_default();
    let size = response.body().size_hint();
    size.upper().is_none_or(|bytes| bytes >= BYTES_MIN)
        && !matches!(
            response.status(),
            StatusCode::PARTIAL_CONTENT
                | StatusCode::NO_CONTENT
                | StatusCode::NOT_MODIFIED
                | StatusCode::SWITCHING_PROTOCOLS
        )
        && !headers.contains_key(header::CONTENT_ENCODING)
        && !headers.contains_key(header::CONTENT_RANGE)
        && !headers.get(header::ETAG).is_some_and(is_strong)
        && !text(header::CACHE_CONTROL).to_ascii_lowercase().contains("no-transform")
        && shrinks(text(header::CONTENT_TYPE))
}

fn shrinks(content_type: &str) -> bool {
    let name = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let is_text = name.starts_with("text/") && name != "text/event-stream";
    let is_structured = name.ends_with("json") || name.ends_with("xml");
    is_text || is_structured || TYPES.contains(&&*name)
}

/// A body as it is compressed, piece by piece.
struct GzipBody {
    plain: Body,
    /// `None` once it has said its last word.
    encoder: Option<GzEncoder<Vec<u8>>>,
    /// Whether it holds something that nobody has seen.
    holds: bool,
    trailers: Option<HeaderMap>,
}

impl GzipBody {
    fn new(plain: Body) -> Self {
        Self { plain, encoder: Some(GzEncoder::new(Vec::new(), LEVEL)), holds: false, trailers: None }
    }
}

impl http_body::Body for GzipBody {
    type Data = Bytes;
    type Error = chassis::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        loop {
            let Some(encoder) = &mut this.encoder else {
                return Poll::Ready(this.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))));
            };
            match Pin::new(&mut this.plain).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(piece) => {
                        encoder.write_all(&piece)?;
                        this.holds = true;
                        if let Some(made) = made(encoder) {
                            return Poll::Ready(Some(Ok(Frame::data(made))));
                        }
                    }
                    Err(frame) => this.trailers = frame.into_trailers().ok(),
                },
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error.into()))),
                Poll::Ready(None) => {
                    let rest = this.encoder.take().map(GzEncoder::finish).transpose()?.unwrap_or_default();
                    return Poll::Ready(Some(Ok(Frame::data(rest.into()))));
                }
                Poll::Pending if this.holds => {
                    this.holds = false;
                    encoder.flush()?;
                    if let Some(made) = made(encoder) {
                        return Poll::Ready(Some(Ok(Frame::data(made))));
                    }
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.encoder.is_none() && self.trailers.is_none()
    }
}

/// What the encoder has made by now, if it is anything.
fn made(encoder: &mut GzEncoder<Vec<u8>>) -> Option<Bytes> {
    let made = mem::take(encoder.get_mut());
    (!made.is_empty()).then(|| made.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_for_those_who_accept_it() {
        for (accepted, want) in [
            (&["gzip"][..], true),
            (&["gzip, deflate, br, zstd"], true),
            (&["br", "GZIP"], true),
            (&["x-gzip"], true),
            (&["*"], true),
            (&["br;q=1.0, gzip;q=0.001"], true),
            (&["gzip; q=0.5"], true),
            (&["gzip;q=0"], false),
            (&["gzip;q=0.000"], false),
            (&["gzip;q=0, *"], false),
            (&["*, gzip;q=0"], false),
            (&["*;q=0"], false),
            (&["identity"], false),
            (&["br"], false),
            (&["gzipped"], false),
            (&[""], false),
            (&[], false),
        ] {
            let headers =
                accepted.iter().map(|list| (header::ACCEPT_ENCODING, list.parse().unwrap())).collect();
            assert_eq!(takes_gzip(&headers), want, "{accepted:?}");
        }
    }

    #[test]
    fn what_does_not_shrink_or_must_not_change_is_left() {
        let large = "x".repeat(usize::try_from(BYTES_MIN).unwrap());
        let response = |fields: &[(&str, &str)], body: &str| {
            let mut builder = Response::builder();
            for (name, value) in fields {
                builder = builder.header(*name, *value);
            }
            builder.body(Body::from(body.to_owned())).unwrap()
        };
        let json = ("content-type", "application/json");
        assert!(is_compressible(&response(&[json], &large)));
        assert!(!is_compressible(&response(&[json], &large[1..])));
        for (further, want) in [
            (("etag", "W/\"1\""), true),
            (("etag", "\"1\""), false),
            (("content-encoding", "br"), false),
            (("content-range", "bytes 0-9/20"), false),
            (("cache-control", "private, No-Transform"), false),
            (("cache-control", "private"), true),
        ] {
            assert_eq!(is_compressible(&response(&[json, further], &large)), want, "{further:?}");
        }
        for (name, want) in [
            ("application/problem+json", true),
            ("Text/HTML; charset=utf-8", true),
            ("application/xhtml+xml", true),
            ("image/svg+xml", true),
            ("text/event-stream", false),
            ("image/png", false),
            ("application/octet-stream", false),
            ("application/zip", false),
            ("", false),
        ] {
            assert_eq!(is_compressible(&response(&[("content-type", name)], &large)), want, "{name}");
        }
    }
}
