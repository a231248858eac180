//! How a user authenticated. The gateway checks requests for CSRF by it, so it is a type and not a string.

use http::HeaderValue;

/// The kind of credential that a verdict is based on, as [`CREDENTIAL`](crate::CREDENTIAL) tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CredentialKind {
    /// A token in `Authorization`, which a page sends on purpose.
    Bearer,
    /// A cookie, which a browser sends by itself: the request may be forged by another site.
    Cookie,
}

impl CredentialKind {
    /// Both kinds.
    pub const ALL: [Self; 2] = [Self::Bearer, Self::Cookie];

    /// `bearer` or `cookie`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bearer => "bearer",
            Self::Cookie => "cookie",
        }
    }

    /// As a header value.
    pub const fn value(self) -> HeaderValue {
        HeaderValue::from_static(self.as_str())
    }

    /// Reads a header value; `None` for anything but [`CredentialKind::as_str`], byte by byte.
    pub fn parse(value: &HeaderValue) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| value == kind.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_read_as_it_is_written_and_nothing_else_is_one() {
        for (kind, text) in [(CredentialKind::Bearer, "bearer"), (CredentialKind::Cookie, "cookie")] {
            assert_eq!(kind.value(), text);
            assert_eq!(CredentialKind::parse(&kind.value()), Some(kind));
        }
        for bad in ["", "Bearer", "COOKIE", "bearer ", "bearer, cookie", "cookies", "session"] {
            assert_eq!(CredentialKind::parse(&HeaderValue::from_str(bad).unwrap()), None, "{bad:?}");
        }
        assert_eq!(CredentialKind::parse(&HeaderValue::from_bytes(b"bearer\xff").unwrap()), None);
    }
}
