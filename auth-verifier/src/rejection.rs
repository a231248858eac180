//! Why a credential is rejected, exactly: for the log, never for the client.

use std::fmt;

use thiserror::Error;

/// Text of an unverified token: shown escaped, and cut off.
#[derive(Clone, PartialEq, Eq)]
pub struct Untrusted(String);

impl Untrusted {
    const CHARS_MAX: usize = 80;

    /// Takes text of a token.
    pub fn new(text: &str) -> Self {
        let mut shown: String = text.chars().take(Self::CHARS_MAX).collect();
        if shown.len() < text.len() {
            shown.push('…');
        }
        Self(shown)
    }
}

impl fmt::Display for Untrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Debug for Untrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The reason why a credential is rejected.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Rejection {
    /// There is none.
    #[error("the request carries no credential")]
    Missing,
    /// Another scheme than Bearer.
    #[error("the Authorization scheme is not Bearer")]
    Scheme,
    /// What a program says that has no token to send.
    #[error("the Authorization header has no token: it says `Bearer {0}`")]
    Literal(&'static str),
    /// A session cookie by another name than it is looked for.
    #[error("a session cookie is called {found}, and not looked at. {set}")]
    OtherCookie {
        /// What it is called.
        found: Untrusted,
        /// What to set.
        set: String,
    },
    /// Which one counts would be a guess.
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
    Type(Untrusted),
    /// A header member that changes what the token means.
    #[error("the token's header has `{0}`, which is not supported")]
    HeaderMember(&'static str),
    /// Unknown, or switched off.
    #[error("tokens signed with {0} are not accepted")]
    Algorithm(Untrusted),
    /// A key set needs the key's name.
    #[error("the token names no key")]
    NoKeyId,
    /// Neither before nor after asking again.
    #[error("the token names a key that its issuer does not publish")]
    UnknownKey,
    /// The key says which algorithm it is for, not the token.
    #[error("the token's key is for {0}")]
    KeyMismatch(&'static str),
    /// Forged, tampered with, or signed with another key.
    #[error("the token's signature does not match")]
    Signature,
    /// A claim that must be there is not.
    #[error("the token has no `{0}`")]
    MissingClaim(&'static str),
    /// `exp` has passed.
    #[error("the token expired {0} s ago")]
    Expired(u64),
    /// `nbf` is yet to come.
    #[error("the token is not valid for another {0} s")]
    NotYet(u64),
    /// Its issuer is none of those that are accepted.
    #[error("the token's issuer is {found}, expected {}", listed(expected))]
    Issuer {
        /// What the token says.
        found: Untrusted,
        /// What is accepted.
        expected: Vec<String>,
    },
    /// Its audience is none of ours.
    #[error("the token's audience is {found}, expected {}", listed(expected))]
    Audience {
        /// What the token says.
        found: Untrusted,
        /// What is accepted.
        expected: Vec<String>,
    },
    /// An access token for other resources.
    #[error("the access token is for {found}, {}", resources(expected))]
    Resource {
        /// What the token is for.
        found: Untrusted,
        /// What is accepted.
        expected: Vec<String>,
    },
    /// Bound to a key of its client's (RFC 7800, RFC 9449).
    #[error("the token is bound to a key (`cnf`), so it is no bearer token")]
    Bound,
    /// For a client to read, not for an API.
    #[error("the token is an ID token (`at_hash`), not an API token")]
    IdToken,
    /// For a program, not for a user (RFC 6749 §4.4).
    #[error("the access token is a client's own, and names no user")]
    ClientsOwn,
    /// It doesn't allow enough.
    #[error("the access token does not have the scope {0}")]
    Scope(String),
    /// A session cookie or token that Better Auth did not sign, or not with our secret.
    #[error("the session token is not signed with BETTER_AUTH_SECRET")]
    SessionSignature,
    /// A session token whose signature is right, but not written as Better Auth writes it.
    #[error("the session token's signature is not written as Better Auth writes it, 44 characters of base64")]
    SessionSpelling,
    /// A session token that is not accepted as a bearer token.
    #[error("session tokens are not accepted as bearer tokens (AUTH_VERIFIER_SESSION__BEARER)")]
    SessionBearer,
    /// A session token without a signature, as it stands in a table and perhaps in logs.
    #[error(
        "a session token without its signature is not accepted as a bearer token: send what set-auth-token hands out"
    )]
    SessionUnsigned,
    /// A cookie cache that came by itself.
    #[error(
        "that is a cookie cache ({0}), and no bearer token: send the session cookie beside it, or an API token; \
         AUTH_VERIFIER_COOKIE_CACHE__BEARER=on accepts one of the form jwt by itself, sign-out or not"
    )]
    Cache(&'static str),
    /// A cookie cache that may come by itself, but has ended or can't be opened.
    #[error(
        "the cookie cache has expired, of another version than AUTH_VERIFIER_COOKIE_CACHE__VERSION, or not signed with \
         BETTER_AUTH_SECRET"
    )]
    CacheOver,
    /// Signed out, expired, or never there.
    #[error("there is no such session, or it has ended")]
    NoSession,
    /// The user was deleted.
    #[error("there is no such user any more")]
    NoUser,
    /// The session that a token names is another user's.
    #[error("the session that the token names (`sid`) is not its user's")]
    OtherSession,
    /// Neither a session's nor an access token.
    #[error("there is no such access token, it has ended, or it stands for no user")]
    NoAccessToken,
    /// A cookie of Neon Auth's that can't be one of a session.
    #[error("the cookie is no session token with its signature, as Neon Auth makes them")]
    CarriedCookie,
    /// Which of them counts would be a guess.
    #[error("the request carries the session cookie {0} twice, with two values")]
    CookieTwice(String),
    /// A token of Neon Auth's for somebody who has not signed in.
    #[error("the token's role is {0}, not authenticated: it stands for nobody")]
    Role(Untrusted),
    /// A subject that can't be a user id, or is nobody's.
    #[error(
        "the token's `sub` is empty, anonymous, too long, or has characters that can't stand in a header"
    )]
    Subject,
    /// A user of ours, or of an issuer that shares our users, who is called as only another issuer's are.
    #[error("the user's id begins as those of a trusted issuer do (user_prefix), and is not of that issuer")]
    Foreign,
    /// One of the others, with what the token says of itself.
    #[error("{reason} ({header})")]
    WithContext {
        /// What is wrong.
        reason: Box<Rejection>,
        /// What the token says of itself.
        header: UnverifiedHeader,
    },
}

/// What an unverified token says of itself, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnverifiedHeader {
    alg: String,
    kid: Option<Untrusted>,
    iss: Option<Untrusted>,
}

impl UnverifiedHeader {
    /// Takes what it says.
    pub fn new(alg: &str, kid: Option<&str>, iss: Option<&str>) -> Self {
        // The names of algorithms need no quotes; what is none is shown as it is anything else.
        let name = alg.len() <= 8 && alg.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let alg = if name { alg.to_owned() } else { Untrusted::new(alg).to_string() };
        Self { alg, kid: kid.map(Untrusted::new), iss: iss.map(Untrusted::new) }
    }
}

impl fmt::Display for UnverifiedHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { alg, kid, iss } = self;
        write!(f, "the token is {alg}")?;
        if let Some(kid) = kid {
            write!(f, " for key {kid}")?;
        }
        iss.as_ref().map_or(Ok(()), |iss| write!(f, ", issuer {iss}"))
    }
}

impl Rejection {
    /// Whether it counts as no credential at all, so that another one may count.
    pub(crate) fn is_absent(&self) -> bool {
        matches!(
            self,
            Self::Missing
                | Self::Scheme
                | Self::Literal(_)
                | Self::OtherCookie { .. }
                | Self::SessionSignature
                | Self::SessionBearer
                | Self::SessionUnsigned
        )
    }

    /// The same, said of an access token where it is one: its audience has a setting of its own.
    pub(crate) fn of_resource(self, access_token: bool) -> Self {
        match self {
            Self::Audience { found, expected } if access_token => Self::Resource { found, expected },
            rejection => rejection,
        }
    }

    /// What is wrong, without what the token says of itself.
    pub fn reason(&self) -> &Self {
        match self {
            Self::WithContext { reason, .. } => reason.reason(),
            reason => reason,
        }
    }

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
            Self::UnknownKey => "unknown_key",
            Self::KeyMismatch(_) => "key_mismatch",
            Self::Signature => "signature",
            Self::MissingClaim(_) => "missing_claim",
            Self::Expired(_) => "expired",
            Self::NotYet(_) => "not_yet",
            Self::Issuer { .. } => "issuer",
            Self::Audience { .. } | Self::Resource { .. } => "audience",
            Self::SessionSignature => "session_signature",
            Self::SessionSpelling => "session_spelling",
            Self::SessionBearer => "session_bearer",
            Self::SessionUnsigned => "session_unsigned",
            Self::Literal(_) => "literal",
            Self::OtherCookie { .. } => "other_cookie",
            Self::Foreign => "foreign_user",
            Self::Cache(_) => "cache",
            Self::CacheOver => "cache_over",
            Self::NoSession => "no_session",
            Self::Bound => "bound",
            Self::IdToken => "id_token",
            Self::ClientsOwn => "clients_own",
            Self::Scope(_) => "scope",
            Self::NoUser => "no_user",
            Self::OtherSession => "other_session",
            Self::NoAccessToken => "no_access_token",
            Self::CarriedCookie => "carried_cookie",
            Self::CookieTwice(_) => "cookie_twice",
            Self::Role(_) => "role",
            Self::Subject => "subject",
            Self::WithContext { reason, .. } => reason.code(),
        }
    }
}

/// What a credential is checked by is out of reach.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Unavailable {
    /// No key set, or none that is young enough, or the one there is lacks a key and can't be fetched again.
    #[error("Better Auth's keys can't be fetched")]
    Keys,
    /// The set that is there lacks a key, and is not fetched again yet; for so many seconds.
    #[error("the token names a key that is not known, and the keys are not fetched again for another {0} s")]
    Key(u32),
    /// Neither its tables nor it itself answers.
    #[error("sessions can't be looked up")]
    Sessions,
    /// Better Auth's rate limit; for so many seconds.
    #[error("Better Auth limits how often sessions are looked up; it is not asked for another {0} s")]
    Limited(u32),
    /// The client has asked about too many sessions that were none; for so many seconds.
    #[error(
        "the client has asked about too many sessions that are none, and is not asked about for another {0} s"
    )]
    OverBudget(u32),
    /// All clients together have asked about too many sessions that were none; for so many seconds.
    #[error(
        "clients have asked about too many sessions that are none; nobody who is not known yet is asked about for another {0} s"
    )]
    Crowded(u32),
    /// The answer takes longer than the caller waits. It serves the next request.
    #[error("the answer takes longer than it is waited for, and is served to whoever asks next")]
    Late,
}

impl Unavailable {
    /// When to try again, in seconds.
    pub fn retry_after_secs(&self) -> u32 {
        match self {
            Self::Key(secs) | Self::Limited(secs) | Self::OverBudget(secs) | Self::Crowded(secs) => {
                (*secs).max(1)
            }
            Self::Keys | Self::Sessions | Self::Late => 1,
        }
    }

    /// A name for counting.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Keys => "keys",
            Self::Key(_) => "key",
            Self::Sessions => "sessions",
            Self::Limited(_) => "limited",
            Self::OverBudget(_) => "over_budget",
            Self::Crowded(_) => "crowded",
            Self::Late => "late",
        }
    }
}

/// Why a credential was not verified.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Unverified {
    /// It is rejected.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// What it is checked by is out of reach.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl Unverified {
    /// Adds what the token says of itself to a rejection.
    pub(crate) fn with_context(self, header: impl FnOnce() -> UnverifiedHeader) -> Self {
        match self {
            Self::Rejected(reason) => {
                Rejection::WithContext { reason: Box::new(reason), header: header() }.into()
            }
            unavailable @ Self::Unavailable(_) => unavailable,
        }
    }
}

fn resources(expected: &[String]) -> String {
    if expected.is_empty() {
        "and no resource is accepted: set AUTH_VERIFIER_OAUTH__AUDIENCES to those of this API".to_owned()
    } else {
        format!("expected {} (AUTH_VERIFIER_OAUTH__AUDIENCES)", expected.join(" or "))
    }
}

fn listed(expected: &[String]) -> String {
    if expected.is_empty() { "none: set BETTER_AUTH_URL".to_owned() } else { expected.join(" or ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_hears_exactly_what_is_wrong_and_with_which_token() {
        let rejection = Rejection::Issuer {
            found: Untrusted::new("https://a"),
            expected: vec!["https://b".into(), "https://c".into()],
        };
        let header = UnverifiedHeader::new("ES512", Some("k1"), Some("https://a"));
        let told = Unverified::Rejected(rejection).with_context(|| header).to_string();
        assert_eq!(
            told,
            "the token's issuer is \"https://a\", expected https://b or https://c (the token is ES512 for key \"k1\", issuer \"https://a\")"
        );
        let header = UnverifiedHeader::new("none\n", None, None);
        let told = Unverified::Rejected(Rejection::Signature).with_context(|| header).to_string();
        assert_eq!(told, "the token's signature does not match (the token is \"none\\n\")");
    }
}
