//! The names by which the services meet: the verdict of auth-verifier, and the identity that travels inward.
//!
//! auth-verifier says who is calling in response headers, the gateway puts the same headers on the request it
//! forwards, and an internal service believes them only together with the assertion that auth-verifier signed.

mod assertion;
mod credential_cookies;
mod keys;

use std::{fmt, time::Duration};

use http::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

pub use self::{
    assertion::{Proof, Rejection},
    credential_cookies::CredentialCookies,
    keys::KeySet,
};

/// The path of auth-verifier that gives a verdict, with any method; anything below it means the same.
pub const VERIFY_PATH: &str = "/verify";

/// The path of auth-verifier that publishes the key of its assertions (RFC 7517 §5).
pub const JWKS_PATH: &str = "/.well-known/jwks.json";

/// Who is calling.
pub const USER_ID: HeaderName = HeaderName::from_static("x-user-id");

/// The caller's e-mail address, where it is known.
pub const USER_EMAIL: HeaderName = HeaderName::from_static("x-user-email");

/// Whether that address was verified to be the user's: `true` or `false`, where it is known.
pub const USER_EMAIL_VERIFIED: HeaderName = HeaderName::from_static("x-user-email-verified");

/// What the caller was known by: `bearer` or `cookie`.
pub const CREDENTIAL: HeaderName = HeaderName::from_static("x-credential");

/// Proof that auth-verifier said so: a compact JWS over [`Assertion`], signed with EdDSA.
pub const ASSERTION: HeaderName = HeaderName::from_static("x-identity-assertion");

/// Which cookies are credentials ([`CredentialCookies`]); on verdicts only, never on a request inside.
pub const CREDENTIAL_COOKIES: HeaderName = HeaderName::from_static("x-credential-cookies");

/// The challenge of a service that refuses an identity (`WWW-Authenticate`, RFC 9110 §11.6.1). It is an alarm for those
/// inside: whoever's credential was good must not hear that it isn't.
pub const CHALLENGE: &str = "Identity-Assertion";

/// How long whoever asks for a verdict waits for it, in milliseconds: then it is answered 503, while what is under way
/// goes on for whoever asks next.
pub const VERDICT_WAIT: HeaderName = HeaderName::from_static("x-verdict-wait-ms");

/// Every header that only we may set, on any request inside.
pub const ALL: [HeaderName; 5] = [USER_ID, USER_EMAIL, USER_EMAIL_VERIFIED, CREDENTIAL, ASSERTION];

/// How a header says whether something is so.
pub fn truth(is: bool) -> HeaderValue {
    HeaderValue::from_static(if is { "true" } else { "false" })
}

/// The `iss` of every assertion.
pub const ISSUER: &str = "auth-verifier";

/// The longest that an assertion may live.
pub const ASSERTION_LIFE_MAX: Duration = Duration::from_mins(2);

/// The claims of an identity assertion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assertion {
    /// Always [`ISSUER`].
    pub iss: String,
    /// The user's id; equals [`USER_ID`] on the same request.
    pub sub: String,
    /// The services it is meant for.
    pub aud: String,
    /// When it was signed, in seconds since 1970.
    pub iat: u64,
    /// When it ends, in seconds since 1970; at most [`ASSERTION_LIFE_MAX`] after `iat`.
    pub exp: u64,
}

/// A user's id that can stand in a header as it is: 1 to 255 visible ASCII characters, no comma.
///
/// The comma is left out because two headers of one name may be joined by one (RFC 9110 §5.3), and `u2,u1` must
/// never be read as somebody.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct UserId(Box<str>);

impl UserId {
    /// The longest id, in characters.
    pub const CHARS_MAX: usize = 255;

    /// Reads an id; `None` if it can't travel in a header unchanged.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = (1..=Self::CHARS_MAX).contains(&text.len());
        let visible = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',');
        (fits && visible).then(|| Self(text.into()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id as a header's value.
    pub fn value(&self) -> HeaderValue {
        HeaderValue::from_str(&self.0).expect("visible ASCII may stand in a header")
    }
}

/// An e-mail address that can stand in a header as it is; one that can't is left away.
#[derive(Clone, PartialEq, Eq)]
pub struct Email(Box<str>);

impl Email {
    /// The longest address, in characters (RFC 5321 §4.5.3.1.3, less the brackets).
    pub const CHARS_MAX: usize = 254;

    /// Reads an address; `None` if it can't travel in a header unchanged.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = (3..=Self::CHARS_MAX).contains(&text.len()) && text.contains('@');
        let visible = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',');
        (fits && visible).then(|| Self(text.into()))
    }

    /// The address as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The address as a header's value.
    pub fn value(&self) -> HeaderValue {
        HeaderValue::from_str(&self.0).expect("visible ASCII may stand in a header")
    }
}

impl fmt::Debug for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Debug for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_visible_ascii_of_a_bounded_length() {
        for good in ["1", "HLUkb5Gm33GMmWcw8SLCKoM5bvp6ls7V", "auth0|1", "a@b.c", &"x".repeat(255)] {
            assert_eq!(UserId::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", " ", "a b", "a\r\nx: y", "a\0", "ü", "u2,u1", "\u{7f}", &"x".repeat(256)] {
            assert_eq!(UserId::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn an_address_is_visible_ascii_of_a_bounded_length() {
        let longest = format!("{}@b", "a".repeat(252));
        for good in ["a@b", "ada+tag@example.com", &longest] {
            assert_eq!(Email::parse(good).unwrap().as_str(), good);
        }
        for bad in [
            "",
            "ab",
            "ada",
            "a@b,c@d",
            "a b@c",
            "a@b\t",
            "a@b\r\nx-user-id: u2",
            "ä@b",
            &format!("a{longest}"),
        ] {
            assert_eq!(Email::parse(bad), None, "{bad:?}");
        }
    }
}
