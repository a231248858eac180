//! Every request has one id, from the front door to the last log line.

use std::{fmt, sync::Arc};

use http::{HeaderName, HeaderValue, Request, Response};
use uuid::Uuid;

use crate::{Body, header, serve::HttpService};

/// The header that carries it, in and out.
pub const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// A request's id: 1 to 64 letters, digits, `-`, `_` or `.`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(Arc<str>);

impl RequestId {
    const CHARS_MAX: usize = 64;

    /// A new one: a UUID v7, so that ids sort by time.
    pub fn make() -> Self {
        Self(Uuid::now_v7().to_string().into())
    }

    /// Takes an id that came with a request; `None` unless it is short and plain enough for any log.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let plain = value.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte));
        let fits = (1..=Self::CHARS_MAX).contains(&value.len());
        let text = std::str::from_utf8(value).ok()?;
        (fits && plain).then(|| Self(text.into()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id as a header's value.
    pub fn value(&self) -> HeaderValue {
        HeaderValue::from_str(&self.0).expect("letters, digits, -, _ and . may stand in a header")
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Gives each request its id: the one it came with, where that is a plain one, else a new one. The id is put on the
/// request, among its extensions, and on the answer.
pub struct Assign<S>(pub S);

impl<S: HttpService> HttpService for Assign<S> {
    async fn call(&self, mut request: Request<Body>) -> Response<Body> {
        let given = header::single(request.headers(), &HEADER).ok();
        let id = given.and_then(|id| RequestId::parse(id.as_bytes())).unwrap_or_else(RequestId::make);
        request.headers_mut().insert(HEADER, id.value());
        request.extensions_mut().insert(id.clone());
        let mut response = self.0.call(request).await;
        response.headers_mut().insert(HEADER, id.value());
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_short_plain_id_is_taken_over() {
        for good in ["a", "0199-x_y.z", &"x".repeat(64)] {
            assert_eq!(RequestId::parse(good.as_bytes()).unwrap().as_str(), good);
        }
        for bad in ["", "a b", "a\r\nx: y", "ä", "<script>", &"x".repeat(65)] {
            assert_eq!(RequestId::parse(bad.as_bytes()), None, "{bad:?}");
        }
        assert_ne!(RequestId::make(), RequestId::make());
    }
}
