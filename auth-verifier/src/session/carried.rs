//! The session cookie of a Better Auth whose secret we don't have: Neon Auth's. Nobody but its maker can check the
//! signature. So it is worth nothing by itself, and is carried to its maker as it is, byte for byte and by the name that
//! it came by.

use http::{HeaderMap, header};

use crate::{
    credential::{
        cookies::{CookieNames, decoded},
        kind::{is_session_token, split_signed},
    },
    rejection::Rejection,
    session::token::SessionToken,
};

/// The longest cookie that is carried, in bytes: name, token and signature as Better Auth makes them, with room to spare.
const BYTES_MAX: usize = 1024;

/// A session cookie, unverified. It is a live credential; there is no `Debug`.
#[derive(Clone)]
pub struct Carried {
    /// `<name>=<value>`, as it came.
    pair: String,
    token: SessionToken,
}

impl Carried {
    /// The first of the cookies called by one of `names` that a request has, and which of the names that is.
    ///
    /// An error where it can't be a session's, or where it stands there twice with two values: which of them its maker
    /// means would be a guess. (Better Auth takes the first, Neon's SDK the last.)
    pub(crate) fn of<'a>(
        headers: &HeaderMap,
        names: &'a [CookieNames],
    ) -> Result<Option<(Self, &'a CookieNames)>, Rejection> {
        for names in names {
            let name = names.token.as_bytes();
            let all = headers
                .get_all(header::COOKIE)
                .iter()
                .flat_map(|header| header.as_bytes().split(|b| *b == b';'));
            let mut values = all.filter_map(|pair| {
                let at = pair.iter().position(|byte| *byte == b'=')?;
                let (found, value) = (pair[..at].trim_ascii(), pair[at + 1..].trim_ascii());
                (found == name && !value.is_empty()).then_some(value)
            });
            let Some(value) = values.next() else { continue };
            if values.any(|other| other != value) {
                return Err(Rejection::CookieTwice(names.token.clone()));
            }
            let carried = Self::read(&names.token, value).ok_or(Rejection::CarriedCookie)?;
            return Ok(Some((carried, names)));
        }
        Ok(None)
    }

    /// `None` where it is not a session token with a signature. (That Neon Auth's have Better Auth's form is so in a real
    /// Better Auth set up as it is, not tried against Neon.)
    fn read(name: &str, value: &[u8]) -> Option<Self> {
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"%+/=._-".contains(byte);
        let fits = name.len() + value.len() < BYTES_MAX && value.iter().all(plain);
        let value = str::from_utf8(value).ok().filter(|_| fits)?;
        let whole = decoded(value);
        let (token, _) = split_signed(&whole)?;
        is_session_token(token).then(|| Self {
            pair: format!("{name}={value}"),
            token: SessionToken::of_table(token.to_owned()),
        })
    }

    /// The cookie, for its maker alone.
    pub(crate) fn expose(&self) -> &str {
        &self.pair
    }

    /// The token that it says it is of.
    pub(crate) fn token(&self) -> &SessionToken {
        &self.token
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "D9XCRDDrH9v3FZ10lmGAzfSKKCzXFnSv";
    const SIGNATURE: &str = "NZ0lKCzXFnSvD9XCRDDrH9v3FZ10lmGAzfSKKCzXFnS%3D";

    fn carried(cookies: &[&str]) -> Result<Option<String>, Rejection> {
        let names = ["__Secure-neon-auth", "neon-auth"]
            .map(|prefix| CookieNames { token: format!("{prefix}.session_token"), data: String::new() });
        let headers = cookies.iter().map(|cookie| (header::COOKIE, cookie.parse().unwrap())).collect();
        let found = Carried::of(&headers, &names)?;
        Ok(found.map(|(carried, _)| {
            assert_eq!(carried.token().expose(), TOKEN);
            carried.expose().to_owned()
        }))
    }

    #[test]
    fn it_is_carried_as_it_came() {
        for value in [format!("{TOKEN}.{SIGNATURE}"), format!("{TOKEN}.{}", SIGNATURE.replace("%3D", "="))] {
            for name in ["__Secure-neon-auth.session_token", "neon-auth.session_token"] {
                let pair = format!("{name}={value}");
                assert_eq!(carried(&[&format!("a=1;  {pair} ; b=2")]), Ok(Some(pair.clone())));
                assert_eq!(carried(&["a=1", &pair, &pair]), Ok(Some(pair)), "the same twice is one");
            }
        }
        assert_eq!(carried(&["a=1; neon-auth.session_token="]), Ok(None));
        assert_eq!(carried(&["neon-auth.session_tokens=x; Neon-auth.session_token=x"]), Ok(None));
    }

    #[test]
    fn of_two_names_the_first_counts_and_of_two_values_none() {
        let (secure, bare) = ("__Secure-neon-auth.session_token", "neon-auth.session_token");
        let good = format!("{TOKEN}.{SIGNATURE}");
        let other = good.replace("NZ0l", "NZ1l");
        let both = format!("{bare}={other}; {secure}={good}");
        assert_eq!(carried(&[&both]), Ok(Some(format!("{secure}={good}"))));
        for twice in
            [&[&*format!("{secure}={good}; {secure}={other}")][..], &[&both, &both.replace(&good, &other)]]
        {
            assert_eq!(carried(twice), Err(Rejection::CookieTwice(secure.to_owned())));
        }
        let bad = format!("{secure}=x; {bare}={good}");
        assert_eq!(
            carried(&[&bad]),
            Err(Rejection::CarriedCookie),
            "a bad one does not fall back to the other"
        );
    }

    #[test]
    fn what_can_be_no_sessions_is_not_carried() {
        let long = "x".repeat(BYTES_MAX);
        for value in [
            TOKEN,
            &format!("{TOKEN}."),
            &format!(".{SIGNATURE}"),
            &format!("short.{SIGNATURE}"),
            &format!("{TOKEN}.{SIGNATURE}x"),
            &format!("\"{TOKEN}.{SIGNATURE}\""),
            &format!("{TOKEN}.{SIGNATURE}\u{7f}"),
            &format!("{TOKEN}.{SIGNATURE}, b"),
            &format!("{TOKEN}%00.{SIGNATURE}"),
            &format!("{TOKEN}%0d%0aX.{SIGNATURE}"),
            &format!("{long}.{SIGNATURE}"),
        ] {
            let cookie = format!("neon-auth.session_token={value}");
            let headers = [(header::COOKIE, http::HeaderValue::from_bytes(cookie.as_bytes()))];
            let Ok(cookie) = headers[0].1.as_ref() else { continue };
            let headers = [(header::COOKIE, cookie.clone())].into_iter().collect();
            let names = [CookieNames { token: "neon-auth.session_token".into(), data: String::new() }];
            assert_eq!(Carried::of(&headers, &names).map(|_| ()), Err(Rejection::CarriedCookie), "{value}");
        }
    }
}
