//! What somebody pasted: which header carries it, and what its kind is called. Nothing is verified here.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::{
    credential::{
        cookies::Cookies,
        kind::{Kind, Strategy},
    },
    settings::Plan,
};

/// A header with a credential.
pub(crate) struct Pasted {
    /// That header alone.
    pub(crate) headers: HeaderMap,
}

/// A cookie that looks like the session's.
pub(crate) struct Cookie<'a> {
    pub(crate) name: &'a str,
    pub(crate) value: String,
}

impl Pasted {
    /// Reads a token, an `Authorization` or `Cookie` header, or a cookie; `None` if it is none of them.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (name, value) = carried(text.trim())?;
        Some(Self { headers: [(name, value)].into_iter().collect() })
    }

    /// The bearer token.
    pub(crate) fn bearer(&self) -> Option<&str> {
        let value = self.headers.get(header::AUTHORIZATION)?.to_str().ok()?;
        Some(value.split_once(' ')?.1)
    }

    /// The cookies.
    pub(crate) fn cookies(&self) -> Cookies<'_> {
        Cookies::of(&self.headers)
    }
}

/// The cookie that is the session's: by one of the names that it should have, else by the ending that its name mostly
/// has, else by its value.
pub(crate) fn session_cookie<'a>(cookies: &Cookies<'a>, plan: &Plan) -> Option<Cookie<'a>> {
    let names = &plan.cookies.names;
    let called = |name: &str| names.iter().any(|names| names.token == name);
    let (mut ending, mut signed) = (None, None);
    for (name, value) in cookies.iter() {
        let named = || Some(Cookie { name, value: value.to_owned() });
        if called(name) {
            return named();
        }
        if name.ends_with("session_token") {
            ending = ending.or_else(named);
        }
        // Those of the multi-session and the admin plugin are signed, too.
        let other = name.contains("_multi-") || name.ends_with("admin_session");
        if !other && Kind::of(value, "") == Kind::Signed {
            signed = signed.or_else(named);
        }
    }
    ending.or(signed)
}

/// The cookie cache, by the same signs.
pub(crate) fn cache_cookie<'a>(cookies: &Cookies<'a>, plan: &Plan) -> Option<Cookie<'a>> {
    let names = &plan.cookies.names;
    let expected = |name: &str| names.iter().any(|names| names.data == base(name));
    let alike = |name: &str| base(name).ends_with("session_data");
    let (name, _) = cookies
        .iter()
        .find(|(name, _)| expected(name))
        .or_else(|| cookies.iter().find(|(name, _)| alike(name)))?;
    let name = base(name);
    Some(Cookie { name, value: cookies.get_whole(name)?.into_owned() })
}

/// A cookie's name without the number of its piece.
fn base(name: &str) -> &str {
    match name.rsplit_once('.') {
        Some((base, number)) if !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit()) => {
            base
        }
        _ => name,
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ApiToken => "an API token (a JWT signed with a public key's private half)",
            Self::Hs256 => "an HS256 token (a JWT signed with a shared secret)",
            Self::AccessToken => "an OAuth access token (a JWT, at+jwt)",
            Self::OpaqueAccessToken => "an opaque OAuth access token",
            Self::IdToken => "an ID token (it tells a client who signed in, and is no credential for an API)",
            Self::LogoutToken => "a logout token (it tells a client that somebody signed out)",
            Self::Verification => {
                "an e-mail verification token (it is for a link in an e-mail, and no credential)"
            }
            Self::Cache(Strategy::Compact) => "a cookie cache of the form compact",
            Self::Cache(Strategy::Jwt) => "a cookie cache of the form jwt",
            Self::Cache(Strategy::JwtJwks) => {
                "a cookie cache of the form jwt, signed with Better Auth's keys (jwt-jwks)"
            }
            Self::Cache(Strategy::Jwe) => "a cookie cache of the form jwe (encrypted)",
            Self::OtherType(typ) => return write!(f, "a JWT of type {typ}"),
            Self::Signed => "a session token with its signature",
            Self::Bare => "a bare session token, or an opaque access token, which look alike",
            Self::Unknown => "nothing that Better Auth hands out",
        })
    }
}

/// The header that carries what was pasted.
fn carried(pasted: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = match pasted.split_once(':') {
        Some((name, value)) if name.eq_ignore_ascii_case("authorization") => {
            (header::AUTHORIZATION, value.trim().to_owned())
        }
        Some((name, value)) if name.eq_ignore_ascii_case("cookie") => {
            (header::COOKIE, value.trim().to_owned())
        }
        _ if pasted.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("bearer ")) => {
            (header::AUTHORIZATION, pasted.to_owned())
        }
        // Base64 ends in `=`, but only a cookie has something behind it.
        _ if pasted
            .split_once('=')
            .is_some_and(|(name, value)| !value.trim_matches('=').is_empty() && !name.is_empty()) =>
        {
            (header::COOKIE, pasted.to_owned())
        }
        _ => (header::AUTHORIZATION, format!("Bearer {pasted}")),
    };
    let value = HeaderValue::from_str(&value).ok().filter(|_| !pasted.is_empty())?;
    Some((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_pasted_shows_which_header_carries_it() {
        let check = |pasted: &str, want: Option<(HeaderName, &str)>| {
            let found = carried(pasted);
            let found = found.as_ref().map(|(name, value)| (name.clone(), value.to_str().unwrap()));
            assert_eq!(found, want, "{pasted}");
        };
        check("a.b.c", Some((header::AUTHORIZATION, "Bearer a.b.c")));
        check("abc.sig=", Some((header::AUTHORIZATION, "Bearer abc.sig=")));
        check("bearer a.b.c", Some((header::AUTHORIZATION, "bearer a.b.c")));
        check("Authorization: Bearer a", Some((header::AUTHORIZATION, "Bearer a")));
        check("better-auth.session_token=a.b%3D", Some((header::COOKIE, "better-auth.session_token=a.b%3D")));
        check("Cookie: a=1; b=2", Some((header::COOKIE, "a=1; b=2")));
        check("", None);
        check("a\nb", None);
    }
}
