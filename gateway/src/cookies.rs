//! Which of a client's cookies go on to the service: none that is a credential, whatever its name.
//!
//! auth-verifier names the credentials with its verdict. Without a verdict, or with one that doesn't name them, no cookie goes
//! on. Two more checks stand behind that: the names in the gateway's own settings, and the form of what Better Auth signs, for a
//! cookie whose name nobody has told anybody.

use http::HeaderValue;
use identity::CredentialCookies;
use percent_encoding::percent_decode;

/// The length of an HMAC-SHA256 in padded base64.
const SIGNATURE_CHARS: usize = 44;

/// How a JWT or a JWE begins: `{"` in base64url.
const JOSE: &[u8] = b"eyJ";

/// How a cookie cache of the compact form begins: `{"session":{` in base64url.
const COMPACT_CACHE: &[u8] = b"eyJzZXNzaW9uIjp7";

/// Prefixes of the names of cookies that never go on.
#[derive(Clone, Debug)]
pub struct CookiePrefixes(Vec<String>);

impl CookiePrefixes {
    /// Reads prefixes as they are set; the error says what is wrong.
    pub fn parse(prefixes: Vec<String>) -> Result<Self, &'static str> {
        // RFC 6265 §4.1.1: a name is a token.
        let is_token_char = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if prefixes.iter().all(|prefix| prefix.bytes().all(is_token_char)) {
            Ok(Self(prefixes))
        } else {
            Err("must be beginnings of cookies' names")
        }
    }

    /// These, and further ones that can't be set away.
    pub(crate) fn and(mut self, further: &[&str]) -> Self {
        self.0.extend(further.iter().map(|prefix| (*prefix).to_owned()));
        self
    }

    fn cover(&self, name: &[u8]) -> bool {
        let bare = name.strip_prefix(b"__Secure-").or_else(|| name.strip_prefix(b"__Host-")).unwrap_or(name);
        self.0.iter().any(|prefix| bare.starts_with(prefix.as_bytes()))
    }
}

/// The cookies that go on, in their order, as one header (RFC 6265 §5.4); `credentials` are those that the verdict names.
pub fn forwarded(
    cookies: &[HeaderValue],
    prefixes: &CookiePrefixes,
    credentials: Option<&CredentialCookies>,
) -> Option<HeaderValue> {
    let credentials = credentials?;
    let pairs = || {
        let all = cookies.iter().flat_map(|header| header.as_bytes().split(|byte| *byte == b';'));
        all.map(<[u8]>::trim_ascii).filter_map(|pair| {
            let (name, value) = split(pair)?;
            // A cookie without a name is nobody's.
            (!name.is_empty()).then_some((pair, name, value))
        })
    };
    // Of a value in several pieces only the first shows what it is.
    let by_form: Vec<&[u8]> =
        pairs().filter(|(_, _, value)| looks_signed(value)).map(|(_, name, _)| whole(name)).collect();
    let is_credential =
        |name: &[u8]| credentials.covers(name) || prefixes.cover(name) || by_form.contains(&whole(name));
    let kept: Vec<&[u8]> =
        pairs().filter(|(_, name, _)| !is_credential(name)).map(|(pair, ..)| pair).collect();
    HeaderValue::from_bytes(&kept.join(&b"; "[..])).ok().filter(|value| !value.is_empty())
}

/// All cookies as one header (RFC 9113 §8.2.3).
pub fn joined(cookies: &[HeaderValue]) -> Option<HeaderValue> {
    match cookies {
        [] => None,
        [one] => Some(one.clone()),
        several => {
            let several: Vec<&[u8]> = several.iter().map(HeaderValue::as_bytes).collect();
            HeaderValue::from_bytes(&several.join(&b"; "[..])).ok()
        }
    }
}

/// Whether a `Set-Cookie` sets a credential. One without a name sets the cookie that its value spells when it comes back.
pub fn sets_credential(
    cookie: &HeaderValue,
    prefixes: &CookiePrefixes,
    credentials: Option<&CredentialCookies>,
) -> bool {
    let pair = cookie.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
    let start = pair.iter().position(|byte| *byte != b'=' && !byte.is_ascii_whitespace()).unwrap_or(0);
    let (name, value) = split(&pair[start..]).unwrap_or((pair[start..].trim_ascii(), b""));
    prefixes.cover(name)
        || credentials.is_some_and(|credentials| credentials.covers(name))
        || looks_signed(value)
}

fn split(pair: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = pair.iter().position(|byte| *byte == b'=')?;
    Some((pair[..at].trim_ascii(), pair[at + 1..].trim_ascii()))
}

/// A name without the number of a piece: `session_data.1` is one of `session_data`.
fn whole(name: &[u8]) -> &[u8] {
    match name.iter().rposition(|byte| *byte == b'.') {
        Some(dot) if dot + 1 < name.len() && name[dot + 1..].iter().all(u8::is_ascii_digit) => &name[..dot],
        _ => name,
    }
}

/// Whether a value has the form of what Better Auth signs or encrypts: `<token>.<HMAC-SHA256>`, a JWT or a JWE, or a cookie
/// cache; or of the first piece of one, which has its beginning and not all of its dots.
fn looks_signed(value: &[u8]) -> bool {
    let value: Vec<u8> = percent_decode(value).collect();
    let value = value.strip_prefix(b"\"").unwrap_or(&value);
    let value = value.strip_suffix(b"\"").unwrap_or(value);
    let parts: Vec<&[u8]> = value.split(|byte| *byte == b'.').collect();
    let signature = parts.last().copied().unwrap_or_default();
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/".contains(byte);
    let signed = parts.len() > 1
        && signature.len() == SIGNATURE_CHARS
        && signature.strip_suffix(b"=").is_some_and(|rest| rest.iter().all(is_base64));
    signed || value.starts_with(COMPACT_CACHE) || (value.starts_with(JOSE) && parts.len() > 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGNED: &str = "D9XCRDDrH9v3FZ10lmGAzfSKKCzXFnSv.xJ2b%2FkQ9vR4tY8wZ1aB5cD6eF3gH0iLnxJ2b9kQ9vR4%3D";

    fn check(cookies: &[&str], told: Option<&[&str]>, want: Option<&str>) {
        let cookies: Vec<_> = cookies.iter().map(|cookie| HeaderValue::from_str(cookie).unwrap()).collect();
        let told = told.map(|names| CredentialCookies::new(names).unwrap());
        let prefixes = CookiePrefixes::parse(vec!["better-auth".to_owned()]).unwrap();
        assert_eq!(
            forwarded(&cookies, &prefixes, told.as_ref()).as_ref().map(HeaderValue::as_bytes),
            want.map(str::as_bytes),
            "{cookies:?}"
        );
    }

    #[test]
    fn what_is_no_credential_goes_on_in_its_order() {
        let told = Some(&["myapp."][..]);
        check(&["a=1; b=2", "c=\"x\""], told, Some("a=1; b=2; c=\"x\""));
        check(&["a=1;; =2; alone; b="], told, Some("a=1; b="));
        check(
            &["xbetter-auth=4; myapp=5; sidebar=open"],
            told,
            Some("xbetter-auth=4; myapp=5; sidebar=open"),
        );
        check(&[""], told, None);
        check(&[], told, None);
    }

    #[test]
    fn what_the_verdict_or_the_settings_name_stops() {
        check(
            &["a=1; myapp.session_token=s; __Secure-myapp.session_data.0=d", "sid=x; sid_multi-1=y; b=2"],
            Some(&["myapp.", "sid"]),
            Some("a=1; b=2"),
        );
        check(
            &["better-auth.session_token=s; __Host-better-auth.x=y; better-authx=3"],
            Some(&["myapp."]),
            None,
        );
    }

    #[test]
    fn a_cookie_that_sets_a_credential_is_known_in_every_spelling() {
        let prefixes = CookiePrefixes::parse(vec!["better-auth".to_owned()]).unwrap();
        let told = CredentialCookies::new(["myapp.", "sid"]).unwrap();
        for (cookie, want) in [
            ("better-auth.session_token=x; Path=/", true),
            ("__Secure-better-auth.session_token=x", true),
            ("__Host-myapp.session_token=", true),
            (" sid = x", true),
            ("=better-auth.session_token=x", true),
            ("= =sid=x", true),
            ("better-auth.session_token", true),
            ("theme=better-auth", false),
            ("side=x; sid=y", false),
            ("", false),
            ("=", false),
        ] {
            let cookie = HeaderValue::from_str(cookie).unwrap();
            assert_eq!(sets_credential(&cookie, &prefixes, Some(&told)), want, "{cookie:?}");
        }
        assert!(!sets_credential(&HeaderValue::from_static("sid=x"), &prefixes, None));
        // Nobody has named it, but it would be one: its client could be signed in as somebody else by it.
        let signed = HeaderValue::from_str(&format!("myapp.session_token={SIGNED}; Path=/")).unwrap();
        assert!(sets_credential(&signed, &prefixes, None));
    }

    #[test]
    fn nothing_goes_on_where_nobody_says_which_are_credentials() {
        check(&["theme=dark"], None, None);
    }

    #[test]
    fn what_looks_signed_stops_under_any_name() {
        let told = Some(&["better-auth."][..]);
        let jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzIjoxfQ.c2ln";
        for value in [SIGNED, &SIGNED.replace("%2F", "/").replace("%3D", "="), jwt, &format!("{jwt}.a.b")] {
            check(&[&format!("theme=dark; sid={value}; b=2")], told, Some("theme=dark; b=2"));
            check(&[&format!("sid=\"{value}\"")], told, None);
        }
        let cut_up = "c.0=eyJzZXNzaW9uIjp7ImV4cGlyZXNBdCI6; c.1=IjIwMjci; c.x=1; d.1=2";
        check(&[cut_up], told, Some("c.x=1; d.1=2"));
        // A JWT that was cut in its claims, and a JWE that was in its text.
        for first in ["eyJhbGciOiJIUzI1NiJ9.eyJzIj", "eyJhbGciOiJkaXIifQ..aXY.dGV4dA"] {
            check(&[&format!("c.0={first}; theme=dark; c.1=oxfQ.c2ln")], told, Some("theme=dark"));
        }
        for harmless in ["1.2.3", "eyJ0aGVtZSI6ImRhcmsifQ", "a.b", "x".repeat(44).as_str()] {
            let cookie = format!("v={harmless}");
            check(&[&cookie], told, Some(&cookie));
        }
    }
}
