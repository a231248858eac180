//! What an access token was granted. auth-verifier says so with a verdict, so that whoever asked can demand scopes route by
//! route.

use std::sync::Arc;

use http::HeaderValue;

/// The most scopes in a verdict.
const SCOPES_MAX: usize = 64;

/// The longest list of them, in bytes.
const BYTES_MAX: usize = 2 * 1024;

/// Scopes (RFC 6749 §3.3), one at least, in the order in which they were granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialScopes(Arc<str>);

impl CredentialScopes {
    /// These scopes; `None` if there are none, too many, or one that is none. Not even the good ones are told then: a list that
    /// is not what a token says would be our own.
    pub fn new<'a>(scopes: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let mut list = String::new();
        for (at, scope) in scopes.into_iter().enumerate() {
            if at > 0 {
                list.push(' ');
            }
            if at == SCOPES_MAX || !is_scope(scope) || list.len() + scope.len() > BYTES_MAX {
                return None;
            }
            list.push_str(scope);
        }
        (!list.is_empty()).then(|| Self(list.into()))
    }

    /// Reads the header of a verdict; `None` if it is malformed.
    pub fn parse(value: &HeaderValue) -> Option<Self> {
        Self::new(value.to_str().ok()?.split(' '))
    }

    /// As a header value: `openid tasks:read`.
    pub fn value(&self) -> HeaderValue {
        HeaderValue::from_str(&self.0).expect("scopes and spaces are a header value")
    }

    /// Whether `scope` is among them, byte by byte.
    pub fn have(&self, scope: &str) -> bool {
        self.0.split(' ').any(|granted| granted == scope)
    }
}

/// Whether a text is one scope: a `scope-token` of RFC 6749 §3.3, so that it can also stand in a challenge.
pub fn is_scope(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_had_whole_or_not_at_all() {
        let scopes = CredentialScopes::new(["openid", "tasks:read", "https://api.example/x"]).unwrap();
        assert_eq!(scopes.value(), "openid tasks:read https://api.example/x");
        assert_eq!(CredentialScopes::parse(&scopes.value()), Some(scopes.clone()));
        for scope in ["openid", "tasks:read", "https://api.example/x"] {
            assert!(scopes.have(scope), "{scope}");
        }
        for scope in ["", " ", "tasks", "tasks:rea", "tasks:read:all", "Tasks:read", "openid tasks:read", "*"]
        {
            assert!(!scopes.have(scope), "{scope}");
        }
    }

    #[test]
    fn a_list_is_told_whole_or_not_at_all() {
        let many: Vec<_> = (0..=SCOPES_MAX).map(|n| format!("s{n}")).collect();
        let many: Vec<_> = many.iter().map(|scope| &**scope).collect();
        let long = "s".repeat(BYTES_MAX + 1);
        for bad in [
            &[][..],
            &[""],
            &["good", ""],
            &["good", "a b"],
            &["good", "a\"b"],
            &["a\\b"],
            &["a\tb"],
            &["a\r\nx-user-id: u2"],
            &["caf\u{e9}"],
            &many,
            &[&long],
        ] {
            assert_eq!(CredentialScopes::new(bad.iter().copied()), None, "{bad:?}");
        }
        assert!(CredentialScopes::new(many[1..].iter().copied()).is_some());
        assert!(CredentialScopes::new([&long[1..]]).is_some());
        for bad in ["", " ", "a  b", " a", "a ", "a\tb"] {
            assert_eq!(CredentialScopes::parse(&HeaderValue::from_str(bad).unwrap()), None, "{bad:?}");
        }
        assert_eq!(CredentialScopes::parse(&HeaderValue::from_bytes(b"s\xfc").unwrap()), None);
    }
}
