//! Why a credential is no good, said exactly: for the log, never for the client.

use std::fmt;

use thiserror::Error;

/// A part of a token that was not verified: shown escaped and short.
#[derive(Clone, PartialEq, Eq)]
pub struct Claimed(String);

impl Claimed {
    const CHARS_MAX: usize = 80;

    /// Takes what a token says of itself.
    pub fn new(text: &str) -> Self {
        let mut shown: String = text.chars().take(Self::CHARS_MAX).collect();
        if shown.len() < text.len() {
            shown.push('…');
        }
        Self(shown)
    }
}

impl fmt::Display for Claimed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Debug for Claimed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A credential is no good.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Rejection {
    /// There is none.
    #[error("the request carries no credential")]
    Missing,
    /// Another scheme than Bearer.
    #[error("the Authorization scheme is not Bearer")]
    Scheme,
    /// Two answers to one question.
    #[error("the request carries more than one Authorization header")]
    Ambiguous,
    /// Not what RFC 6750 §2.1 calls a token.
    #[error("the Authorization header is not `Bearer`, one space and a token")]
    Header,
    /// Longer than we look at.
    #[error("the token is longer than {0} bytes")]
    TooLong(usize),
    /// Not three parts, not base64url, not JSON, a member twice or of the wrong type.
    #[error("the token is malformed: {0}")]
    Malformed(&'static str),
    /// `typ` says that this is something else.
    #[error("the token is of type {0}, not an API token")]
    Type(Claimed),
    /// A header member that changes what the token means.
    #[error("the token's header has `{0}`, which is not supported")]
    HeaderMember(&'static str),
    /// Unknown, or switched off.
    #[error("the token is signed with {0}, which is not accepted")]
    Algorithm(Claimed),
    /// A key set needs the key's name.
    #[error("the token names no key")]
    NoKeyId,
    /// Neither before nor after asking again.
    #[error("the token names key {0}, which Better Auth does not publish")]
    UnknownKey(Claimed),
    /// The key says which algorithm it is for, not the token.
    #[error("the token is {token} for key {key}, which is for {expected}")]
    KeyMismatch {
        /// What the token says.
        token: &'static str,
        /// The key that it names.
        key: Claimed,
        /// What the key is for.
        expected: &'static str,
    },
    /// Forged, tampered with, or signed by somebody else.
    #[error("the token's signature does not match ({algorithm}{})", key.as_ref().map_or_else(String::new, |key| format!(", key {key}")))]
    Signature {
        /// The algorithm it was checked with.
        algorithm: &'static str,
        /// The key it was checked with.
        key: Option<Claimed>,
    },
    /// A claim that must be there is not.
    #[error("the token has no `{0}`")]
    MissingClaim(&'static str),
    /// Over.
    #[error("the token expired {0} s ago")]
    Expired(u64),
    /// Not yet.
    #[error("the token is not valid for another {0} s")]
    NotYet(u64),
    /// Somebody else's.
    #[error("the token's issuer is {found}, expected {}", listed(expected))]
    Issuer {
        /// What the token says.
        found: Claimed,
        /// What is accepted.
        expected: Vec<String>,
    },
    /// For somebody else.
    #[error("the token's audience is {found}, expected {}", listed(expected))]
    Audience {
        /// What the token says.
        found: Claimed,
        /// What is accepted.
        expected: Vec<String>,
    },
    /// A session cookie or token that Better Auth did not sign, or not with our secret.
    #[error("the session token is not signed with BETTER_AUTH_SECRET")]
    SessionSignature,
    /// A session token that is not accepted as a bearer token.
    #[error("session tokens are not accepted as bearer tokens, or not without a signature")]
    SessionBearer,
    /// Signed out, over, or never there.
    #[error("there is no such session, or it has ended")]
    NoSession,
    /// A subject that can't be a user id.
    #[error("the token's `sub` is empty, too long, or has characters that can't stand in a header")]
    Subject,
}

impl Rejection {
    /// A name for counting.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Scheme => "scheme",
            Self::Ambiguous => "ambiguous",
            Self::Header => "header",
            Self::TooLong(_) => "too_long",
            Self::Malformed(_) => "malformed",
            Self::Type(_) => "type",
            Self::HeaderMember(_) => "header_member",
            Self::Algorithm(_) => "algorithm",
            Self::NoKeyId => "no_key_id",
            Self::UnknownKey(_) => "unknown_key",
            Self::KeyMismatch { .. } => "key_mismatch",
            Self::Signature { .. } => "signature",
            Self::MissingClaim(_) => "missing_claim",
            Self::Expired(_) => "expired",
            Self::NotYet(_) => "not_yet",
            Self::Issuer { .. } => "issuer",
            Self::Audience { .. } => "audience",
            Self::SessionSignature => "session_signature",
            Self::SessionBearer => "session_bearer",
            Self::NoSession => "no_session",
            Self::Subject => "subject",
        }
    }
}

/// We can't know: what a credential would be checked by is out of reach.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Unavailable {
    /// No key set, or none that is young enough, or the one there is lacks a key and can't be fetched again.
    #[error("Better Auth's keys can't be fetched")]
    Keys,
    /// Neither its tables nor it itself answers.
    #[error("sessions can't be looked up")]
    Sessions,
}

/// A credential could not be taken for good.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Unverified {
    /// It is no good.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// We can't know whether it is.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

fn listed(expected: &[String]) -> String {
    if expected.is_empty() { "none: set BETTER_AUTH_URL".to_owned() } else { expected.join(" or ") }
}
