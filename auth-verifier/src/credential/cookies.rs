//! The cookies of a request, read as Better Auth reads them (`better-call`, `cookies.ts`).

use std::{borrow::Cow, collections::BTreeMap};

use http::{HeaderMap, HeaderValue, header};
use percent_encoding::percent_decode_str;

/// What Better Auth calls its cookies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CookieNames {
    /// The name of the session cookie (`session_token`).
    pub token: String,
    /// The name of the cookie cache (`session_data`).
    pub data: String,
}

/// Name and value of each cookie, in order.
pub struct Cookies<'a>(Vec<(&'a str, Cow<'a, str>)>);

impl<'a> Cookies<'a> {
    /// Reads all `Cookie` headers; HTTP/2 may send several (RFC 9113 §8.2.3). A cookie that is not text is skipped,
    /// and only that one: a browser sends whatever any page of the site has set.
    pub fn of(headers: &'a HeaderMap) -> Self {
        let mut cookies: Vec<(&str, Cow<'_, str>)> = Vec::new();
        let headers = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes);
        for pair in headers.flat_map(|header| header.split(|byte| *byte == b';')) {
            let pair = str::from_utf8(pair).ok().and_then(|pair| pair.split_once('='));
            let Some((name, value)) = pair else { continue };
            let (name, value) = (name.trim_ascii(), value.trim_ascii());
            cookies.push((name, decoded(unquoted(value))));
        }
        Self(cookies)
    }

    /// Name and value of each, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &str)> {
        self.0.iter().map(|(name, value)| (*name, &**value))
    }

    /// The cookie of that name; of two the first. An empty one is none.
    pub fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(known, _)| *known == name)?;
        Some(&**value).filter(|value| !value.is_empty())
    }

    /// The same, taken out.
    pub(crate) fn take(&mut self, name: &str) -> Option<Cow<'a, str>> {
        let (_, value) = self.0.iter_mut().find(|(known, _)| *known == name)?;
        Some(std::mem::take(value)).filter(|value| !value.is_empty())
    }

    /// The cookie of that name, put together from its pieces `<name>.0`, `<name>.1` … where it was cut up.
    pub fn get_whole(&self, name: &str) -> Option<Cow<'_, str>> {
        self.get(name).map(Cow::Borrowed).or_else(|| self.pieces(name).map(Cow::Owned))
    }

    /// Of two pieces with one number the last counts (`session-store.ts`, `getChunkedCookie`).
    fn pieces(&self, name: &str) -> Option<String> {
        let mut pieces = BTreeMap::new();
        for (known, value) in &self.0 {
            let index = known.strip_prefix(name).and_then(|rest| rest.strip_prefix('.'));
            // Canonical numbers only: `01` and `+1` are other cookies.
            let number = index.and_then(|text| text.parse().ok().filter(|n: &u64| n.to_string() == text));
            pieces.extend(number.map(|number| (number, &**value)));
        }
        (!pieces.is_empty()).then(|| pieces.into_values().collect())
    }
}

/// The text between quotes. An opening quote takes the last character with it, whatever that is.
fn unquoted(value: &str) -> &str {
    let Some(inner) = value.strip_prefix('"') else { return value };
    inner.char_indices().next_back().map_or("", |(last, _)| &inner[..last])
}

/// `decodeURIComponent`, where it succeeds; else the text as it is. A plus is a plus.
pub fn decoded(text: &str) -> Cow<'_, str> {
    let escaped = |at: usize| {
        text.as_bytes().get(at + 1..at + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit))
    };
    if !text.contains('%') || !text.match_indices('%').all(|(at, _)| escaped(at)) {
        return Cow::Borrowed(text);
    }
    percent_decode_str(text).decode_utf8().unwrap_or(Cow::Borrowed(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(cookies: &[&str]) -> HeaderMap {
        cookies
            .iter()
            .map(|cookie| (header::COOKIE, HeaderValue::from_bytes(cookie.as_bytes()).unwrap()))
            .collect()
    }

    #[track_caller]
    fn check(cookies: &[&str], name: &str, want: Option<&str>) {
        let headers = headers(cookies);
        assert_eq!(Cookies::of(&headers).get(name), want, "{cookies:?}");
    }

    #[test]
    fn the_first_cookie_of_a_name_counts() {
        check(&["a=1; s=x; s=y"], "s", Some("x"));
        check(&["a=1", "s=x", "s=y"], "s", Some("x"));
        check(&["s=; s=y"], "s", None);
        check(&["a=1"], "s", None);
        check(&[], "s", None);
    }

    #[test]
    fn values_are_read_as_better_auth_reads_them() {
        check(&["s=a%2Bb+c%3D"], "s", Some("a+b+c="));
        check(&["s=\"quoted\""], "s", Some("quoted"));
        check(&["s=\"unclosed"], "s", Some("unclose"));
        check(&["s=\""], "s", None);
        check(&["  s =  x  "], "s", Some("x"));
        check(&["\ts\t=\tx\t"], "s", Some("x"));
        check(&["s=a=b="], "s", Some("a=b="));
        check(&["s=%zz"], "s", Some("%zz"));
        check(&["s=%2"], "s", Some("%2"));
        check(&["s=%ff"], "s", Some("%ff"));
        check(&["junk; s=x"], "s", Some("x"));
        check(&["__Secure-s=x; __Host-s=y"], "s", None);
        check(&["S=x"], "s", None);
        check(&["theme=dämmerung; s=x; \u{a0}s=y"], "s", Some("x"));
        check(&["\u{a0}s=y"], "s", None);
    }

    #[test]
    fn a_cookie_that_is_not_text_hides_no_other_one() {
        check(&["a=\u{fc}; s=x"], "s", Some("x"));
        let latin = HeaderValue::from_bytes(b"a=\xfc; s=x; b=\xff").unwrap();
        let headers = [(header::COOKIE, latin)].into_iter().collect();
        assert_eq!(Cookies::of(&headers).get("s"), Some("x"));
    }

    #[test]
    fn pieces_are_put_together_in_the_order_of_their_numbers() {
        let whole = |cookies: &str| Cookies::of(&headers(&[cookies])).get_whole("d").map(Cow::into_owned);
        assert_eq!(whole("d.1=b; d.0=a; d.10=k; d.2=c").as_deref(), Some("abck"));
        assert_eq!(whole("d.0=a; d=whole").as_deref(), Some("whole"));
        assert_eq!(whole("d.0=a; d.01=x; d.+1=x; d.x=x; dd.1=x; d.-1=x").as_deref(), Some("a"));
        assert_eq!(whole("d.0=a; d.1=b; d.0=c").as_deref(), Some("cb"));
        assert_eq!(whole("x=1"), None);
    }
}
