//! How large a request's head may be.
//!
//! The listener reads heads of up to twice these bounds. What is beyond that it refuses by itself: over HTTP/1 in the same words, over
//! HTTP/2 with h2's bare status, which no page can read.

use chassis::Body;
use http::{HeaderMap, Request, header};
use thiserror::Error;

use crate::body::bounded::{PendingBody, Slack};

/// The part of the largest head that `Authorization` may be: 16 KiB, unless somebody sets another, which is as much as auth-verifier
/// checks of a token.
const CREDENTIAL_OF_HEAD: usize = 2;

/// The bounds of a request's head, and how slow the body behind it may be.
#[derive(Clone, Copy, Debug)]
pub struct HeadBounds {
    /// The longest target (path and query), in bytes.
    pub target_bytes: usize,
    /// The largest head, in bytes.
    pub head_bytes: usize,
    /// The most header fields.
    pub head_fields: usize,
    /// How slow its body may be.
    pub slack: Slack,
}

/// A request whose head is within the bounds. Only this file makes one.
pub struct Checked(Request<PendingBody>);

/// A head beyond its bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HeadError {
    /// The target is too long.
    #[error("the request target is too long")]
    TargetTooLong,
    /// There are too many header fields, or too large ones.
    #[error("the request head is too large")]
    TooLarge,
    /// The credential is larger than any.
    #[error("the Authorization header is too large")]
    AuthorizationTooLarge,
}

impl HeadBounds {
    /// Checks a request's head. The body of a refused request is drained.
    pub fn check(&self, request: Request<Body>) -> Result<Checked, HeadError> {
        let Size { bytes, fields, expects_continue } = Size::of(request.headers());
        let request = request.map(|body| PendingBody::new(body, self.slack, expects_continue));
        let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
        if target > self.target_bytes {
            return Err(HeadError::TargetTooLong);
        }
        let bytes = target + bytes;
        if fields > self.head_fields || bytes > self.head_bytes {
            return Err(HeadError::TooLarge);
        }
        // Nobody is asked about what is no token. A smaller head can't hold one.
        let credential_bytes_max = self.head_bytes / CREDENTIAL_OF_HEAD;
        if bytes > credential_bytes_max
            && let Some(credential) = request.headers().get(header::AUTHORIZATION)
            && credential.len() > credential_bytes_max
        {
            return Err(HeadError::AuthorizationTooLarge);
        }
        Ok(Checked(request))
    }
}

impl Checked {
    /// The request, whose head is within its bounds.
    pub fn into_request(self) -> Request<PendingBody> {
        self.0
    }
}

/// How large header fields are.
struct Size {
    /// In HTTP/1.1, each with its colon, a space and its line's end.
    bytes: usize,
    /// Over HTTP/2 a client may send each cookie in a field of its own, to be put together by whoever goes on in HTTP/1.1
    /// (RFC 9113 §8.2.3): they are one.
    fields: usize,
    expects_continue: bool,
}

impl Size {
    /// By one walk over them.
    fn of(headers: &HeaderMap) -> Self {
        let (mut bytes, mut cookies, mut expects_continue) = (0, 0_usize, false);
        for (name, value) in headers {
            bytes += name.as_str().len() + value.len() + 4;
            cookies += usize::from(*name == header::COOKIE);
            expects_continue |= *name == header::EXPECT;
        }
        Self { bytes, fields: headers.len() - cookies.saturating_sub(1), expects_continue }
    }
}
