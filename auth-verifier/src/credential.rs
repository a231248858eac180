//! The credentials of a request: which there are, and what they are by their looks. Nothing is verified here.
//!
//! A bearer token comes before a cookie. One of three parts or more is checked as a JWT, any other as a session token or an
//! opaque access token.

pub(crate) mod asker;
pub mod cookies;
pub mod jws;
pub mod kind;

use std::{borrow::Cow, fmt};

use chassis::header::{NotSingle, single};
use http::{HeaderMap, header};

use crate::{
    credential::cookies::{CookieNames, Cookies},
    rejection::Rejection,
};

/// What stands in `Authorization`. Its `Debug` shows no token.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Bearer<'a> {
    /// A bearer token of three parts or more, to be checked as a JWT.
    Jwt(&'a str),
    /// Any other bearer token, to be checked as a session token or an opaque access token.
    Session(&'a str),
    /// Another scheme, such as that of a site behind a password.
    Foreign,
    /// What a program sends that has no token.
    Literal(&'static str),
}

/// The scheme of a bearer token.
const BEARER: &[u8] = b"bearer";

/// What becomes of a missing token in `Bearer ${token}`, before a user has signed in.
const LITERALS: [&str; 3] = ["null", "undefined", ""];

/// A session cookie. Its `Debug` shows no more than whether there is a cache beside it.
#[derive(PartialEq, Eq)]
pub struct SessionCookie<'a> {
    /// `<token>.<signature>`.
    pub token: Cow<'a, str>,
    /// The cookie cache.
    pub data: Option<Cow<'a, str>>,
}

impl fmt::Debug for Bearer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Jwt(_) => "Jwt(…)",
            Self::Session(_) => "Session(…)",
            Self::Foreign => "Foreign",
            Self::Literal(literal) => literal,
        })
    }
}

impl fmt::Debug for SessionCookie<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.data.is_some() {
            "SessionCookie(…, with a cache)"
        } else {
            "SessionCookie(…)"
        })
    }
}

/// The session cookie of a request. `names` are how Better Auth's cookies may be called; the first that is there
/// counts.
pub fn session_cookie<'a>(headers: &'a HeaderMap, names: &[CookieNames]) -> Option<SessionCookie<'a>> {
    if names.is_empty() {
        return None;
    }
    let mut cookies = Cookies::of(headers);
    names.iter().find_map(|names| {
        let data = cookies.get_whole(&names.data).map(|data| Cow::Owned(data.into_owned()));
        Some(SessionCookie { token: cookies.take(&names.token)?, data })
    })
}

/// What stands in a request's `Authorization`.
///
/// The scheme's letters may be of any case; between it and the token stands one space. A token in the query is never
/// looked at (RFC 6750 §2.3 advises against it).
pub fn bearer(headers: &HeaderMap) -> Result<Option<Bearer<'_>>, Rejection> {
    let value = match single(headers, &header::AUTHORIZATION) {
        Err(NotSingle::Missing) => return Ok(None),
        Err(NotSingle::Repeated) => return Err(Rejection::Ambiguous),
        Ok(value) => value,
    };
    let (scheme, behind) = value.as_bytes().split_at(value.len().min(BEARER.len()));
    let (space, token) = behind.split_at(behind.len().min(1));
    if !scheme.eq_ignore_ascii_case(BEARER) || !matches!(space, b"" | b" ") {
        return value.to_str().map(|_| Some(Bearer::Foreign)).map_err(|_| Rejection::Header);
    }
    if let Some(literal) = LITERALS.into_iter().find(|literal| literal.as_bytes() == token) {
        return Ok(Some(Bearer::Literal(literal)));
    }
    // To the end of it, without a way out in the middle: so the comparisons are made sixteen at a time.
    let sound = token.iter().fold(true, |sound, byte| sound & is_b64token_char(*byte));
    let token = str::from_utf8(token).ok().filter(|_| sound).ok_or(Rejection::Header)?;
    let has_two_dots = token.find('.') != token.rfind('.');
    Ok(Some(if has_two_dots { Bearer::Jwt(token) } else { Bearer::Session(token) }))
}

/// Whether a bearer token may have that byte (RFC 6750 §2.1, `b64token`), or, as Better Auth's encoded ones do, a `%`.
pub(crate) fn is_b64token_char(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/' | b'=' | b'%')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(values: &[&str], want: Result<Option<Bearer<'_>>, Rejection>) {
        let headers = values.iter().map(|value| (header::AUTHORIZATION, value.parse().unwrap())).collect();
        assert_eq!(bearer(&headers), want, "{values:?}");
    }

    #[test]
    fn one_bearer_token_is_found() {
        check(&[], Ok(None));
        check(&["Bearer a.b.c"], Ok(Some(Bearer::Jwt("a.b.c"))));
        check(&["bearer a.b.c"], Ok(Some(Bearer::Jwt("a.b.c"))));
        check(&["Bearer a.b.c.d.e"], Ok(Some(Bearer::Jwt("a.b.c.d.e"))));
        check(&["BEARER abc.x%2B="], Ok(Some(Bearer::Session("abc.x%2B="))));
        check(&["Bearer abc"], Ok(Some(Bearer::Session("abc"))));
    }

    #[test]
    fn anything_else_is_not_guessed_at() {
        check(&["Bearer a", "Bearer a"], Err(Rejection::Ambiguous));
        check(&["Basic YTpi"], Ok(Some(Bearer::Foreign)));
        check(&["a.b.c"], Ok(Some(Bearer::Foreign)));
        for bad in ["Bearer  a", "Bearer a ", "Bearer a, Bearer b", "Bearer\ta", "Bearer \"a\"", "Bearer  "] {
            let foreign = bad.contains('\t');
            check(&[bad], if foreign { Ok(Some(Bearer::Foreign)) } else { Err(Rejection::Header) });
        }
    }

    #[test]
    fn a_program_without_a_token_sends_none() {
        for (sent, literal) in
            [("Bearer null", "null"), ("bearer undefined", "undefined"), ("Bearer ", ""), ("Bearer", "")]
        {
            check(&[sent], Ok(Some(Bearer::Literal(literal))));
        }
        check(&["Bearer Null"], Ok(Some(Bearer::Session("Null"))));
        check(&["Bearer nulls"], Ok(Some(Bearer::Session("nulls"))));
    }

    #[test]
    fn a_credential_is_never_shown() {
        for authorization in ["Bearer hunter2.hunter2.hunter2", "Bearer hunter2", "Basic hunter2"] {
            let headers: HeaderMap = [
                (header::AUTHORIZATION, authorization.parse().unwrap()),
                (header::COOKIE, "p.session_token=hunter2; p.session_data=hunter2".parse().unwrap()),
            ]
            .into_iter()
            .collect();
            let names = CookieNames { token: "p.session_token".into(), data: "p.session_data".into() };
            let shown = format!("{:?} {:?}", bearer(&headers).unwrap(), session_cookie(&headers, &[names]));
            assert!(!shown.contains("hunter2") && shown.contains("with a cache"), "{shown}");
        }
    }

    #[test]
    fn a_session_cookie_is_found_by_the_names_that_it_may_have() {
        let headers = [(
            header::COOKIE,
            "p.session_token=plain; __Secure-p.session_token=s; p.session_data=d".parse().unwrap(),
        )];
        let headers: HeaderMap = headers.into_iter().collect();
        let find = |prefixes: &[&str]| {
            let named = |prefix: &&str| CookieNames {
                token: format!("{prefix}.session_token"),
                data: format!("{prefix}.session_data"),
            };
            let cookie = session_cookie(&headers, &prefixes.iter().map(named).collect::<Vec<_>>())?;
            Some((cookie.token.into_owned(), cookie.data.map(Cow::into_owned)))
        };
        assert_eq!(
            find(&["__Secure-p", "p"]),
            Some(("s".into(), None)),
            "never the cache of one beside the other"
        );
        assert_eq!(find(&["p"]), Some(("plain".into(), Some("d".into()))));
        assert_eq!(find(&["q"]), None);
        assert_eq!(find(&[]), None);
    }
}
