//! What is this, and why is it accepted or not? Told to a person, without showing the credential.

use std::fmt::Write;

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::{
    Rejection,
    credential::{self, Bearer},
    settings::{Lookup, Settings},
    verdict::Verdict,
    verifier::Verifier,
};

/// Looks at what was pasted: a token, an `Authorization` or `Cookie` header, or a cookie.
pub async fn inspect(pasted: &str, settings: &Settings, verifier: &Verifier) -> String {
    let mut told = String::new();
    let Some((name, value)) = carried(pasted.trim()) else {
        return "There is nothing to look at: paste a token, a cookie, or the header that carries it.\n"
            .to_owned();
    };
    let headers: HeaderMap = [(name, value)].into_iter().collect();
    let kind = match credential::find(&headers, &settings.cookie_names()) {
        Ok(credentials) => match (credentials.bearer, credentials.cookie) {
            (Some(Bearer::Jwt(_)), _) => "a JWT, sent as a bearer token",
            (Some(Bearer::Session(_)), _) => "a session token, sent as a bearer token",
            (None, Some(cookie)) if cookie.data.is_some() => "a session cookie with a cookie cache beside it",
            (None, Some(_)) => "a session cookie",
            (None, None) => "cookies, none of which is called as Better Auth calls its session here",
        },
        Err(_) => "an Authorization header",
    };
    let _ = writeln!(told, "It is {kind}.");
    let _ = match verifier.judge(&headers).await {
        Verdict::Known(caller) => writeln!(told, "It is accepted: the user is {}.", caller.user),
        Verdict::Rejected(Rejection::Missing) if settings.lookup() == Lookup::Off => writeln!(
            told,
            "It is not accepted: sessions are not looked up; that needs BETTER_AUTH_SECRET and AUTH_VERIFIER_SESSION__LOOKUP."
        ),
        Verdict::Rejected(rejection) => writeln!(told, "It is not accepted: {rejection}."),
        Verdict::Banned => writeln!(told, "It is good, but the account is banned."),
        Verdict::Unavailable(unavailable) => {
            writeln!(told, "Whether it is good can't be known now: {unavailable}; the log says why.")
        }
    };
    told
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
