//! Which credential does a request carry?

use http::{HeaderMap, header};

use crate::Rejection;

/// A credential, not checked yet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Credential<'a> {
    /// `Authorization: Bearer …` (RFC 6750 §2.1).
    Bearer(&'a str),
}

/// Finds the credential, or says why there is none.
///
/// The scheme's letters may be of any case; between it and the token stands one space. A token in the query is
/// never looked at (RFC 6750 §2.3 advises against it).
pub fn find(headers: &HeaderMap) -> Result<Credential<'_>, Rejection> {
    let mut given = headers.get_all(header::AUTHORIZATION).into_iter();
    let value = match (given.next(), given.next()) {
        (None, _) => return Err(Rejection::Missing),
        (Some(_), Some(_)) => return Err(Rejection::Ambiguous),
        (Some(value), None) => value.to_str().map_err(|_| Rejection::Header)?,
    };
    let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Rejection::Scheme);
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=%".contains(&byte);
    if token.is_empty() || !token.bytes().all(plain) {
        return Err(Rejection::Header);
    }
    Ok(Credential::Bearer(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(values: &[&str], want: Result<&str, Rejection>) {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, value.parse().unwrap());
        }
        let found = find(&headers).map(|Credential::Bearer(token)| token);
        assert_eq!(found, want, "{values:?}");
    }

    #[test]
    fn one_bearer_token_is_found() {
        check(&["Bearer a.b.c"], Ok("a.b.c"));
        check(&["bearer a.b.c"], Ok("a.b.c"));
        check(&["BEARER abc%2B="], Ok("abc%2B="));
    }

    #[test]
    fn anything_else_is_not_guessed_at() {
        check(&[], Err(Rejection::Missing));
        check(&["Bearer a", "Bearer a"], Err(Rejection::Ambiguous));
        check(&["Basic YTpi"], Err(Rejection::Scheme));
        check(&["a.b.c"], Err(Rejection::Scheme));
        for bad in
            ["Bearer", "Bearer ", "Bearer  a", "Bearer a ", "Bearer a, Bearer b", "Bearer\ta", "Bearer \"a\""]
        {
            let want = if bad.contains('\t') { Rejection::Scheme } else { Rejection::Header };
            check(&[bad], Err(want));
        }
    }
}
