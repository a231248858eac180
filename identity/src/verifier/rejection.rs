//! Why an identity is not believed. The text is for the log: the client of a service is the gateway, which needs no
//! help.

use http::HeaderName;
use thiserror::Error;

use crate::ASSERTION_LIFE_MAX;

/// The request doesn't prove who is calling.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Rejection {
    /// The request didn't come through the gateway.
    #[error("there is no {0}")]
    Missing(HeaderName),
    /// Of two values another reader might believe the other.
    #[error("there is more than one {0}")]
    Repeated(HeaderName),
    /// Not a JWS in its compact form (RFC 7515 §7.1), or not text.
    #[error("the assertion is malformed")]
    Malformed,
    /// `none`, or an algorithm that would take the public key for a secret (RFC 8725 §2.1).
    #[error("the assertion is not signed with EdDSA")]
    Algorithm,
    /// It demands an extension, and there is none that we know (RFC 7515 §4.1.11).
    #[error("the assertion has critical header members")]
    Critical,
    /// Its header has no `kid`.
    #[error("the assertion names no key")]
    NoKeyId,
    /// Not even by the keys that were just fetched.
    #[error("the assertion names a key that auth-verifier does not publish")]
    UnknownKey,
    /// Forged or changed on the way.
    #[error("the assertion's signature does not verify")]
    Signature,
    /// The claims are not those of an [`Assertion`](crate::Assertion), or one stands twice.
    #[error("the assertion's claims are malformed")]
    Claims,
    /// Not auth-verifier.
    #[error("the assertion's issuer is another")]
    Issuer,
    /// Meant for other services.
    #[error("the assertion's audience is another")]
    Audience,
    /// `exp` has passed.
    #[error("the assertion expired {0} s ago")]
    Expired(u64),
    /// Signed by a clock that is ahead, to be good for longer than it may.
    #[error("the assertion is from {0} s in the future")]
    Future(u64),
    /// Longer than [`ASSERTION_LIFE_MAX`], or it ends before it begins.
    #[error("the assertion's life is not 0 to {} s", ASSERTION_LIFE_MAX.as_secs())]
    Life,
    /// Its subject can't be a [`UserId`](crate::UserId).
    #[error("the assertion's subject is no user id")]
    Subject,
    /// It proves who somebody else is.
    #[error("the assertion is about another user")]
    OtherUser,
}
