//! The session cookie of a Better Auth whose secret we don't have: Neon Auth's. Nobody but its maker can check the
//! signature. So it is worth nothing by itself, and is carried to its maker as it is, byte for byte and by the name that
//! it came by.

use base64::{Engine, prelude::BASE64_STANDARD};
use http::{HeaderMap, header};

use crate::{
    credential::{
        cookies::{CookieNames, decoded},
        kind::{is_session_token, split_signed},
    },
    rejection::Rejection,
    session::token::{SessionToken, encoded},
};

/// The length of a signature: an HMAC-SHA256, in bytes.
const SIGNATURE_BYTES: usize = 32;

/// The longest cookie that is carried, in bytes: name, token and signature as Better Auth makes them, with room to spare.
const BYTES_MAX: usize = 1024;

/// A session cookie, unverified. It is a live credential; there is no `Debug`.
#[derive(Clone)]
pub struct Carried {
    /// `<name>=<value>`, as it came.
    pair: String,
    /// `<name>=<value>`, decoded: one text for each cookie.
    plain: String,
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

    /// `None` where it is not a session token with a signature, spelled as `encodeURIComponent` spells it, or plainly. Its
    /// maker takes thousands of spellings of one cookie (`%41` for `A`, any bits where base64 has some to spare), each of
    /// which would be another cookie here, and asked about by itself. Nobody writes those. (That Neon Auth's have Better Auth's form is so in a real
    /// Better Auth set up as it is, not tried against Neon.)
    fn read(name: &str, value: &[u8]) -> Option<Self> {
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"%+/=._-".contains(byte);
        let fits = name.len() + value.len() < BYTES_MAX && value.iter().all(plain);
        let value = str::from_utf8(value).ok().filter(|_| fits)?;
        let whole = decoded(value);
        let (token, signature) = split_signed(&whole)?;
        let spelled = value == whole || value == encoded(&whole);
        // Its last character's spare bits must be zero.
        let signed = BASE64_STANDARD.decode(signature).is_ok_and(|mac| mac.len() == SIGNATURE_BYTES);
        (spelled && signed && is_session_token(token)).then(|| Self {
            pair: format!("{name}={value}"),
            plain: format!("{name}={whole}"),
            token: SessionToken::of_table(token.to_owned()),
        })
    }

    /// The cookie, for its maker alone.
    pub(crate) fn expose(&self) -> &str {
        &self.pair
    }

    /// The same text for each spelling of it.
    pub(crate) fn plain(&self) -> &str {
        &self.plain
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
    const SIGNATURE: &str = "NZ0lKCzX%2FnSvD9XCRDDrH9v3FZ10lmGAz%2BSKKCzXFnQ%3D";

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
        for value in [format!("{TOKEN}.{SIGNATURE}"), format!("{TOKEN}.{}", decoded(SIGNATURE))] {
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
    fn real_cookies_are_taken_in_either_spelling_as_one() {
        let better_auth: serde_json::Value =
            serde_json::from_str(include_str!("../../tests/vectors/better-auth.json")).unwrap();
        let neon: serde_json::Value =
            serde_json::from_str(include_str!("../../tests/vectors/neon-auth.json")).unwrap();
        let value = |cookies: &str| {
            let mut pairs = cookies.split("; ").filter_map(|pair| pair.split_once('='));
            pairs.find(|(name, _)| name.ends_with("session_token")).unwrap().1.to_owned()
        };
        let cases = better_auth["session_cookie"].as_object().unwrap().values();
        let cookies = cases.filter_map(|case| case["cookie_request_header"].as_str());
        let all: Vec<_> = cookies.chain(neon["cookies"].as_str()).map(value).collect();
        assert!(all.len() > 1 && all.iter().any(|value| value.contains("%2")), "{}", all.len());
        for value in all {
            let read = |value: &str| Carried::read("s", value.as_bytes()).unwrap().plain().to_owned();
            assert_eq!(read(&value), read(&decoded(&value)));
            assert_eq!(encoded(&decoded(&value)), value);
        }
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
            // Spelled as nobody spells it.
            &format!("%44{}.{SIGNATURE}", &TOKEN[1..]),
            &format!("{TOKEN}%2E{SIGNATURE}"),
            &format!("{TOKEN}.{}", SIGNATURE.replace("%2F", "%2f")),
            &format!("{TOKEN}.{}", SIGNATURE.replace("%3D", "=")),
            &format!("{TOKEN}.{}", SIGNATURE.replace("%2F", "/")),
            &format!("{TOKEN}.{}", encoded(SIGNATURE)),
            // Spare bits that are set, another alphabet, another length.
            &format!("{TOKEN}.{}", SIGNATURE.replace("Q%3D", "R%3D")),
            &format!("{TOKEN}.{}", SIGNATURE.replace("%2B", "-")),
            &format!("{TOKEN}.{}", SIGNATURE.replace("Q%3D", "%3D%3D")),
            &format!("{TOKEN}.{}", SIGNATURE.replace("%3D", "Q")),
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
