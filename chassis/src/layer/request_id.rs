//! Every request has one id, from the front door to the last log line.

use std::{
    cell::Cell,
    fmt,
    hash::{BuildHasher, RandomState},
    time::{SystemTime, UNIX_EPOCH},
};

use http::{HeaderName, HeaderValue, Request, Response};
use uuid::{Builder, Uuid, Variant, Version};

use crate::{Body, header, serve::HttpService};

/// The header that carries it, in and out.
pub const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// A request's id: 1 to 64 letters, digits, `-`, `_` or `.`. It is no secret, and no proof of anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

impl RequestId {
    const CHARS_MAX: usize = 64;

    /// A new one: a UUID v7 (RFC 9562 §5.7), so that ids sort by time.
    ///
    /// Two are the same only if they were made in the same quarter of a microsecond and 62 further bits are the same, too:
    /// `SipHash` of a counter, by a key that this thread drew from the system once. So a new id costs no system call.
    pub fn make() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let millis = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        // Of a millisecond, in parts of 4096.
        let fraction = u64::from(since.subsec_nanos() % 1_000_000) * 4096 / 1_000_000;
        let bits = bits();
        let id = Builder::from_u128((u128::from((millis << 16) | fraction) << 64) | u128::from(bits))
            .with_version(Version::SortRand)
            .with_variant(Variant::RFC4122)
            .into_uuid();
        let mut text = Uuid::encode_buffer();
        let text = id.hyphenated().encode_lower(&mut text);
        Self(HeaderValue::from_str(text).expect("digits, letters and hyphens may stand in a header"))
    }

    /// Takes an id that came with a request; `None` unless it is short and plain enough for any log.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let plain = value.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte));
        let fits = (1..=Self::CHARS_MAX).contains(&value.len());
        (fits && plain).then(|| HeaderValue::from_bytes(value).ok().map(Self))?
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        self.0.to_str().expect("an id is of letters, digits, -, _ and .")
    }

    /// The id as a header's value.
    pub fn value(&self) -> HeaderValue {
        self.0.clone()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Bits that nobody foresees who doesn't know this thread's key; no secret.
pub(crate) fn bits() -> u64 {
    thread_local! {
        static BITS: (RandomState, Cell<u64>) = (RandomState::new(), Cell::new(0));
    }
    BITS.with(|(key, counter)| key.hash_one(counter.replace(counter.get() + 1)))
}

/// Gives each request its id: the one it came with, where that is a plain one, else a new one. The id is put on the
/// request, among its extensions, and on the answer.
pub struct Assign<S>(pub S);

impl<S: HttpService> HttpService for Assign<S> {
    const ANSWERS_REFUSED: bool = S::ANSWERS_REFUSED;

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
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn only_a_short_plain_id_is_taken_over() {
        for good in ["a", "0199-x_y.z", &"x".repeat(64)] {
            assert_eq!(RequestId::parse(good.as_bytes()).unwrap().as_str(), good);
        }
        for bad in ["", "a b", "a\r\nx: y", "ä", "<script>", &"x".repeat(65)] {
            assert_eq!(RequestId::parse(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn ids_are_made_in_their_order_and_none_twice() {
        let made: Vec<_> = (0..10_000).map(|_| RequestId::make().to_string()).collect();
        let other: Vec<_> =
            std::thread::spawn(|| (0..10_000).map(|_| RequestId::make().to_string()).collect())
                .join()
                .unwrap();
        assert!(made.iter().zip(&made[1..]).all(|(one, next)| one[..18] <= next[..18]), "by time");
        assert!(made.iter().all(|id| Uuid::parse_str(id).unwrap().get_version_num() == 7));
        let all: HashSet<_> = made.iter().chain(&other).collect();
        assert_eq!(all.len(), 20_000);
    }
}
