//! Who is calling: the id and the address of a user, in a form that can travel in a header unchanged.

use std::{fmt, sync::Arc};

use http::HeaderValue;

/// Text of visible ASCII without a comma, which is the same before and after a header.
///
/// No comma, because several headers of one name may be joined by one (RFC 9110 §5.3): `u2,u1` must never be somebody's
/// id. Shared, because every request of a user that is counted or logged holds it.
#[derive(Clone, PartialEq, Eq, Hash)]
struct HeaderText(Arc<str>);

impl HeaderText {
    /// `None` if `text` is not such text, or longer than `chars_max`.
    fn parse(text: &str, chars_max: usize) -> Option<Self> {
        let fits = (1..=chars_max).contains(&text.len());
        let visible = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',');
        (fits && visible).then(|| Self(text.into()))
    }
}

/// The id of a user: 1 to 255 visible ASCII characters, no comma.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct UserId(HeaderText);

/// An e-mail address of visible ASCII, no comma. One that can't travel in a header is left out by auth-verifier.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Email(HeaderText);

impl UserId {
    /// The longest id, in characters.
    pub const CHARS_MAX: usize = 255;

    /// Reads an id; `None` if it can't travel in a header unchanged.
    pub fn parse(text: &str) -> Option<Self> {
        HeaderText::parse(text, Self::CHARS_MAX).map(Self)
    }
}

impl Email {
    /// The longest address, in characters (RFC 5321 §4.5.3.1.3, less the angle brackets).
    pub const CHARS_MAX: usize = 254;

    /// The shortest: `a@b`.
    const CHARS_MIN: usize = 3;

    /// Reads an address; `None` if it can't travel in a header unchanged, or can't be an address.
    pub fn parse(text: &str) -> Option<Self> {
        let plausible = text.len() >= Self::CHARS_MIN && text.contains('@');
        HeaderText::parse(text, Self::CHARS_MAX).filter(|_| plausible).map(Self)
    }
}

macro_rules! header_text {
    ($($name:ident),*) => {$(
        impl $name {
            /// As text.
            pub fn as_str(&self) -> &str {
                &self.0.0
            }

            /// As a header value.
            pub fn value(&self) -> HeaderValue {
                HeaderValue::from_str(self.as_str()).expect("visible ASCII is a header value")
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(self.as_str(), f)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    )*};
}

header_text!(UserId, Email);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_visible_ascii_of_a_bounded_length() {
        for good in ["1", "HLUkb5Gm33GMmWcw8SLCKoM5bvp6ls7V", "auth0|1", "a@b.c", &"x".repeat(255)] {
            assert_eq!(UserId::parse(good).unwrap().as_str(), good);
            assert_eq!(UserId::parse(good).unwrap().value(), good);
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
