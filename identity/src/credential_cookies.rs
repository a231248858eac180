//! Which cookies are credentials. auth-verifier says so with each good verdict, and a proxy keeps them from the services.
//!
//! The names of Better Auth's cookies are a setting of auth-verifier alone. If the proxy had such a setting, too, it would
//! pass live sessions on to every service as soon as somebody forgot it.

use http::HeaderValue;

/// The most names in a verdict.
const NAMES_MAX: usize = 16;

/// The longest name, in bytes.
const NAME_BYTES_MAX: usize = 128;

/// Prefixes by which a browser enforces attributes of a cookie (RFC 6265bis §4.1.3). They are not part of the name that is
/// set at auth-verifier.
const PREFIXES: [&[u8]; 2] = [b"__Secure-", b"__Host-"];

/// What may follow a name in cookies that belong to it: `session_data.0`, `session_token_multi-…`.
const BEHIND_A_NAME: &[u8] = b"._-";

/// Names of cookies that are credentials. A name that ends in a dot stands for all that begin with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialCookies(Vec<Box<str>>);

impl CredentialCookies {
    /// These names; `None` if there are none, too many, or one that can't stand in a header.
    pub fn new(names: impl IntoIterator<Item = impl AsRef<str>>) -> Option<Self> {
        let mut known: Vec<Box<str>> = Vec::new();
        for name in names {
            let name = bare(name.as_ref().as_bytes());
            if !(1..=NAME_BYTES_MAX).contains(&name.len()) || !name.iter().all(|byte| is_token_char(*byte)) {
                return None;
            }
            let name: Box<str> = str::from_utf8(name).ok()?.into();
            if !known.contains(&name) {
                known.push(name);
            }
        }
        (1..=NAMES_MAX).contains(&known.len()).then_some(Self(known))
    }

    /// Reads the header of a verdict; `None` if it is malformed.
    pub fn parse(value: &HeaderValue) -> Option<Self> {
        Self::new(value.to_str().ok()?.split(',').map(str::trim).take(NAMES_MAX + 1))
    }

    /// As a header value: `myapp., sid`.
    pub fn value(&self) -> HeaderValue {
        HeaderValue::from_str(&self.0.join(", ")).expect("tokens and commas are a header value")
    }

    /// Whether the cookie `name` is a credential. Case doesn't matter: it may not matter to a service either.
    pub fn covers(&self, name: &[u8]) -> bool {
        let name = bare(name);
        self.0.iter().any(|known| {
            let known = known.as_bytes();
            let begins = name.get(..known.len()).is_some_and(|start| start.eq_ignore_ascii_case(known));
            let goes_on = name.get(known.len()).is_none_or(|byte| BEHIND_A_NAME.contains(byte));
            begins && (goes_on || known.ends_with(b"."))
        })
    }
}

fn bare(name: &[u8]) -> &[u8] {
    PREFIXES.iter().find_map(|prefix| name.strip_prefix(*prefix)).unwrap_or(name)
}

/// A `tchar` (RFC 9110 §5.6.2). The comma, which separates names, is not one.
fn is_token_char(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_covers_its_pieces_and_its_kin() {
        let cookies = CredentialCookies::new(["__Secure-sid", "myapp."]).unwrap();
        assert_eq!(cookies.value(), "sid, myapp.");
        assert_eq!(CredentialCookies::parse(&cookies.value()), Some(cookies.clone()));
        for name in [
            "sid",
            "SID",
            "__Secure-sid",
            "__Host-sid",
            "sid.0",
            "sid_multi-abc",
            "myapp.session_token",
            "__Secure-myapp.session_data.1",
            "myapp.",
        ] {
            assert!(cookies.covers(name.as_bytes()), "{name}");
        }
        for name in ["sidebar", "si", "xsid", "myapp", "myapplication.x", "", "theme"] {
            assert!(!cookies.covers(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn a_malformed_header_is_not_read() {
        let many: Vec<_> = (0..=NAMES_MAX).map(|n| format!("n{n}")).collect();
        for bad in ["", " ", "a,,b", "a b", "a=b", "__Secure-", "a;b", &"n".repeat(129), &many.join(",")] {
            assert_eq!(CredentialCookies::parse(&HeaderValue::from_str(bad).unwrap()), None, "{bad}");
        }
        assert_eq!(CredentialCookies::parse(&HeaderValue::from_bytes(b"s\xfc").unwrap()), None);
        for good in ["a", "a , b", &"n".repeat(128), &many[1..].join(",")] {
            assert!(CredentialCookies::parse(&HeaderValue::from_str(good).unwrap()).is_some(), "{good}");
        }
    }
}
