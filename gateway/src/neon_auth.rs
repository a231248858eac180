//! Neon's own Better Auth behind the gateway, for apps without a server: what the route handler of Neon's SDK does for those that have
//! one, and no more.
//!
//! Neon is a stranger that may sign people in, and nothing else: it hears what the SDK tells it (`ask`), and what it answers is taken
//! apart and put together again (`answer`). A session cookie that it sets becomes one of the gateway's own host.

use std::sync::Arc;

use chassis::header::single;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri, header, uri::PathAndQuery};
use thiserror::Error;
use tracing::debug;

use crate::{
    client::Client,
    route::hosts_of,
    sanitize::{Credentials, is_bearer, remove_where},
};

/// What Neon's cookies are called, behind `__Secure-` or `__Host-` or not. (An older page of its documentation has the second one.)
pub(crate) const NAMES: [&str; 2] = ["neon-auth.", "neonauth."];

/// The names that the SDK keeps for itself, on the app's own host. Neon neither sets nor reads them.
const LOCAL: &str = "local.";

/// The most cookies of Neon's that a client may send; Better Auth has five, of which large ones come in pieces. Whoever has more is
/// told by none of them who they are.
const COOKIES_MAX: usize = 32;

/// The longest name of a cookie that is told in an error.
const NAME_BYTES_MAX: usize = 128;

/// By it, Neon tells requests that come through an app's handler. The SDK's sends the same. What comes here with it, a handler has sent: most
/// likely this one.
const THROUGH_HANDLER: HeaderName = HeaderName::from_static("x-neon-auth-middleware");

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// What of a request's headers goes to Neon, besides those that are set here. The SDK's handler sends `Referer`, too, whose origin Better
/// Auth reads where there is no `Origin`; but that is the address of whatever page somebody is at.
const ASKED: [&str; 6] =
    ["accept", "accept-language", "content-type", "content-length", "transfer-encoding", "user-agent"];

/// What of an answer's headers goes to the client, by the SDK's list; and when to come again.
const ANSWERED: [&str; 11] = [
    "content-type",
    "content-encoding",
    "content-length",
    "date",
    "location",
    "retry-after",
    "set-auth-jwt",
    "set-auth-token",
    "set-cookie",
    "x-neon-ret-request-id",
    "x-retry-after",
];

/// What a page of Neon's may do at our origin: be read.
const HARMLESS: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'unsafe-inline'; form-action 'none'; frame-ancestors 'none'; sandbox",
);

/// The way to Neon and back, for one route.
#[derive(Clone, Debug)]
pub struct NeonAuth(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// The route's path, without the slash at its end: `/api/auth`.
    path: String,
    /// That of Neon's base URL, in the same way: `/neondb/auth`.
    base: String,
    /// The gateway's own origins, and the hosts that each is asked by.
    own: Vec<(HeaderValue, Vec<String>)>,
    /// Those whose pages may be led back to.
    trusted: Vec<HeaderValue>,
    /// Whether a cookie is for https alone, whatever it is called.
    secure: bool,
}

/// Why a request can't go to Neon.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NeonAuthError {
    /// It comes from a handler for Neon, as this one is.
    #[error("a request to Neon came back: NEON_AUTH_BASE_URL leads to this gateway, or to another one")]
    Loop,
    /// It would change something, and one of its cookies came with two values.
    #[error("the cookie {0} came with two values")]
    TwoValues(String),
    /// It would change something, and has more of Neon's cookies than any sign-in sets; this is the first one too many.
    #[error("the cookie {0} is one of too many")]
    TooMany(String),
}

/// Why not all of a client's cookies go to Neon: by the first of them.
#[derive(Debug, PartialEq, Eq)]
struct Doubt {
    name: String,
    why: Why,
    /// Those that may go all the same.
    sure: Option<HeaderValue>,
}

#[derive(Debug, PartialEq, Eq)]
enum Why {
    TwoValues,
    TooMany,
}

impl From<Doubt> for NeonAuthError {
    fn from(Doubt { name, why, .. }: Doubt) -> Self {
        match why {
            Why::TwoValues => Self::TwoValues(name),
            Why::TooMany => Self::TooMany(name),
        }
    }
}

impl NeonAuth {
    /// The way from `path` to `base`, at `own` origins; to pages of those, and of `allowed` ones, an answer may lead back.
    pub(crate) fn new(path: &str, base: &str, own: &[HeaderValue], allowed: &[HeaderValue]) -> Self {
        Self(Arc::new(Inner {
            path: path.trim_end_matches('/').to_owned(),
            base: base.trim_end_matches('/').to_owned(),
            own: own.iter().map(|origin| (origin.clone(), hosts_of(origin).collect())).collect(),
            trusted: own.iter().chain(allowed).cloned().collect(),
            secure: own.iter().any(|origin| origin.as_bytes().starts_with(b"https://")),
        }))
    }

    /// Makes of a client's request the one that Neon hears. One that changes something is told with all of its cookies, or not at all:
    /// a sign-out without its session would end nothing, and say that it had.
    pub(crate) fn ask<B>(
        &self,
        request: &mut Request<B>,
        credentials: Credentials,
        client: &Client,
    ) -> Result<(), NeonAuthError> {
        if request.headers().contains_key(THROUGH_HANDLER) {
            return Err(NeonAuthError::Loop);
        }
        let cookies = match neons(&credentials.cookies) {
            Err(error) if !request.method().is_safe() => return Err(error.into()),
            Ok(cookies) | Err(Doubt { sure: cookies, .. }) => cookies,
        };
        *request.uri_mut() = Uri::from(self.target(request.uri()));
        let headers = request.headers_mut();
        let origin = self.origin(headers, client);
        remove_where(headers, |name| !ASKED.contains(&name.as_str()));
        // Of a page that doesn't say so, nothing is made up: Better Auth goes by it.
        headers.extend(origin.map(|origin| (header::ORIGIN, origin)));
        headers.insert(THROUGH_HANDLER, HeaderValue::from_static("true"));
        headers.extend(cookies.map(|cookies| (header::COOKIE, cookies)));
        let token = credentials.authorization.filter(is_bearer);
        headers.extend(token.map(|token| (header::AUTHORIZATION, token)));
        Ok(())
    }

    /// Where that is at Neon. What no path could be put behind is asked of the base itself, which answers 404.
    fn target(&self, asked: &Uri) -> PathAndQuery {
        let Inner { path, base, .. } = &*self.0;
        let rest = asked.path().strip_prefix(&**path).unwrap_or_default();
        let query = asked.query().map(|query| format!("?{query}")).unwrap_or_default();
        let target = format!("{base}{rest}{query}").parse();
        target.or_else(|_| base.parse()).unwrap_or_else(|_| PathAndQuery::from_static("/"))
    }

    /// The origin of the page that asks: the one that the browser names; our own, where it says that it is the same.
    fn origin(&self, headers: &HeaderMap, client: &Client) -> Option<HeaderValue> {
        if headers.contains_key(header::ORIGIN) {
            return single(headers, &header::ORIGIN).ok().cloned();
        }
        single(headers, &FETCH_SITE).ok().filter(|site| *site == "same-origin")?;
        let host = client.host().to_str().ok()?;
        let is_named =
            |(_, hosts): &&(_, Vec<String>)| hosts.iter().any(|own| own.eq_ignore_ascii_case(host));
        let named: Vec<_> = self.0.own.iter().filter(is_named).map(|(origin, _)| origin).collect();
        match &named[..] {
            [origin] => Some((*origin).clone()),
            // By http and by https: which of them, only the scheme can tell.
            several => {
                let scheme = format!("{}://", client.scheme()?.as_str());
                let mut same =
                    several.iter().filter(|origin| origin.as_bytes().starts_with(scheme.as_bytes()));
                same.next().map(|origin| (*origin).clone())
            }
        }
    }

    /// Makes of Neon's answer one of ours. Its `Location` has no address of Neon's any more.
    pub(crate) fn answer(&self, headers: &mut HeaderMap) {
        remove_where(headers, |name| !ANSWERED.contains(&name.as_str()));
        if let Some(location) = headers.remove(header::LOCATION)
            && let Some(location) = self.led(&location)
        {
            headers.insert(header::LOCATION, location);
        }
        if let header::Entry::Occupied(all) = headers.entry(header::SET_COOKIE) {
            let (_, all) = all.remove_entry_mult();
            let ours: Vec<_> = all.filter_map(|cookie| self.rehosted(&cookie)).collect();
            for cookie in ours {
                headers.append(header::SET_COOKIE, cookie);
            }
        }
        // Whose session it is, is nobody else's business: neither a cache's nor a script's of a page that Neon might answer with.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(header::CONTENT_SECURITY_POLICY, HARMLESS);
    }

    /// Where an answer may lead: a path of ours, or a page of a trusted origin. `None`: somewhere else.
    fn led(&self, location: &HeaderValue) -> Option<HeaderValue> {
        let text = location.to_str().ok().filter(|text| !text.contains(['\t', '\\']))?;
        if text.starts_with('/') && !text.starts_with("//") {
            // Where Neon's base has no path, nobody can tell its paths from pages of ours: it leads to those.
            let below = text.strip_prefix(&self.0.base).filter(|rest| {
                !self.0.base.is_empty() && (rest.is_empty() || rest.starts_with(['/', '?', '#']))
            });
            let Some(rest) = below else { return Some(location.clone()) };
            let ours = match &*self.0.path {
                "" if !rest.starts_with('/') => format!("/{rest}"),
                path => format!("{path}{rest}"),
            };
            // Without Neon's base, what was a path may name a host.
            return ours.parse().ok().filter(|_| !ours.starts_with("//"));
        }
        let is_at = |origin: &HeaderValue| {
            let rest = origin.to_str().ok().and_then(|origin| text.strip_prefix(origin));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?', '#']))
        };
        let trusted = self.0.trusted.iter().any(is_at);
        if !trusted {
            debug!("dropped a Location of Neon's that leads to an origin that is not trusted");
        }
        trusted.then(|| location.clone())
    }

    /// A cookie of Neon's as one of our own host, which no page's script reads and no foreign page's request carries; `None` where it is
    /// none of Neon's.
    fn rehosted(&self, cookie: &HeaderValue) -> Option<HeaderValue> {
        let mut parts = cookie.as_bytes().split(|byte| *byte == b';');
        let pair = parts.next().unwrap_or_default().trim_ascii();
        let name = pair.split(|byte| *byte == b'=').next().unwrap_or_default();
        if !is_neons(name) || pair.len() == name.len() || !pair.iter().all(u8::is_ascii_graphic) {
            debug!("dropped a Set-Cookie of Neon's under a name that is not its own");
            return None;
        }
        let mut ours = pair.to_vec();
        ours.extend_from_slice(b"; Path=/");
        for part in parts.map(<[u8]>::trim_ascii) {
            let at = part.iter().position(|byte| *byte == b'=').unwrap_or(part.len());
            let (attribute, value) = part.split_at(at);
            let value = value.get(1..).unwrap_or_default().trim_ascii();
            // How long it lives is Neon's to say, and nothing else is.
            let (attribute, plain): (&[u8], fn(&u8) -> bool) = match attribute.trim_ascii() {
                name if name.eq_ignore_ascii_case(b"max-age") => {
                    (b"Max-Age", |byte| byte.is_ascii_digit() || *byte == b'-')
                }
                name if name.eq_ignore_ascii_case(b"expires") => {
                    (b"Expires", |byte| byte.is_ascii_alphanumeric() || b" ,:-".contains(byte))
                }
                _ => continue,
            };
            if !value.is_empty() && value.iter().all(plain) {
                ours.extend_from_slice(&[b"; ", attribute, b"=", value].concat());
            }
        }
        ours.extend_from_slice(b"; HttpOnly; SameSite=Lax");
        if self.0.secure || name.starts_with(b"__") {
            ours.extend_from_slice(b"; Secure");
        }
        HeaderValue::from_bytes(&ours).ok()
    }
}

/// Whether Neon sets and reads a cookie of this name.
fn is_neons(name: &[u8]) -> bool {
    let bare = name.strip_prefix(b"__Secure-").or_else(|| name.strip_prefix(b"__Host-")).unwrap_or(name);
    let rest = NAMES.iter().find_map(|prefix| bare.strip_prefix(prefix.as_bytes()));
    rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with(LOCAL.as_bytes()))
}

/// Neon's own of a client's cookies. One that came twice, with two values, is left out: the other one may be a neighbouring host's.
fn neons(cookies: &[HeaderValue]) -> Result<Option<HeaderValue>, Doubt> {
    let mut kept: Vec<(&[u8], &[u8])> = Vec::new();
    let mut doubtful: Vec<&[u8]> = Vec::new();
    for pair in cookies.iter().flat_map(|header| header.as_bytes().split(|byte| *byte == b';')) {
        let pair = pair.trim_ascii();
        let Some(at) = pair.iter().position(|byte| *byte == b'=') else { continue };
        let (name, value) = (pair[..at].trim_ascii(), pair[at + 1..].trim_ascii());
        match kept.iter().find(|(known, _)| *known == name) {
            Some((_, known)) if *known != value => doubtful.push(name),
            None if is_neons(name) && kept.len() == COOKIES_MAX => {
                return Err(Doubt { name: told(name), why: Why::TooMany, sure: None });
            }
            None if is_neons(name) => kept.push((name, value)),
            _ => {}
        }
    }
    let pairs = kept.iter().filter(|(name, _)| !doubtful.contains(name));
    let pairs: Vec<Vec<u8>> = pairs.map(|(name, value)| [name, &b"="[..], value].concat()).collect();
    let sure = HeaderValue::from_bytes(&pairs.join(&b"; "[..])).ok().filter(|value| !value.is_empty());
    match doubtful.first() {
        None => Ok(sure),
        Some(name) => Err(Doubt { name: told(name), why: Why::TwoValues, sure }),
    }
}

/// A cookie's name, as far as it is told to whoever has sent it.
fn told(name: &[u8]) -> String {
    String::from_utf8_lossy(&name[..name.len().min(NAME_BYTES_MAX)]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Scheme;

    fn way(own: &'static str) -> NeonAuth {
        let allowed = [HeaderValue::from_static("http://localhost:3000")];
        NeonAuth::new("/api/auth", "/neondb/auth", &[HeaderValue::from_static(own)], &allowed)
    }

    #[test]
    fn a_cookie_of_neons_becomes_one_of_our_host_and_no_other_is_set() {
        let (https, http) = (way("https://app.test"), way("http://localhost:8000"));
        let check = |way: &NeonAuth, said: &str, want: Option<&str>| {
            let ours = way.rehosted(&HeaderValue::from_bytes(said.as_bytes()).unwrap());
            assert_eq!(ours.as_ref().map(|cookie| cookie.to_str().unwrap()), want, "{said}");
        };
        let secure = "__Secure-neon-auth.session_token=a.b%3D";
        let ours = format!("{secure}; Path=/; Max-Age=604800; HttpOnly; SameSite=Lax; Secure");
        for attributes in [
            "Max-Age=604800; Path=/; HttpOnly; Secure; SameSite=None; Partitioned",
            "max-age = 604800; domain=neon.tech; path=/neondb/auth; SameSite=none",
            "Domain=app.test;Max-Age=604800",
            "Max-Age=604800; Max-Age=1 0; Path=/x; Expires=",
        ] {
            for way in [&https, &http] {
                check(way, &format!("{secure}; {attributes}"), Some(&ours));
            }
        }
        let bare = "neon-auth.session_token=a";
        check(&https, bare, Some(&format!("{bare}; Path=/; HttpOnly; SameSite=Lax; Secure")));
        check(&http, bare, Some(&format!("{bare}; Path=/; HttpOnly; SameSite=Lax")));
        check(
            &https,
            "__Secure-neon-auth.session_challange=; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT",
            Some(
                "__Secure-neon-auth.session_challange=; Path=/; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT; HttpOnly; \
                 SameSite=Lax; Secure",
            ),
        );
        for other in [
            "theme=dark",
            "better-auth.session_token=x",
            "xneon-auth.session_token=x",
            "neon-authx=1",
            "neon-auth.=1",
            "__Host-session=x",
            "=neon-auth.session_token=x",
            " =neon-auth.session_token=x",
            "neon-auth.session_token",
            "neon-auth.session token=x",
            "neon-auth.session_token=a\tb",
            "Neon-Auth.session_token=x",
            "__Secure-neon-auth.local.session_data=eyJ",
            "__secure-neon-auth.session_token=x",
            "",
        ] {
            check(&https, other, None);
        }
    }

    #[test]
    fn only_neons_cookies_go_to_neon_and_none_that_came_in_two_forms() {
        let check = |cookies: &[&str], want: Option<&str>| {
            let cookies: Vec<_> =
                cookies.iter().map(|cookie| HeaderValue::from_str(cookie).unwrap()).collect();
            let neons = neons(&cookies).unwrap_or_else(|doubt| doubt.sure);
            assert_eq!(neons.as_ref().map(|value| value.to_str().unwrap()), want, "{cookies:?}");
        };
        let token = "__Secure-neon-auth.session_token";
        check(
            &[
                &format!("theme=dark; {token}=t; better-auth.session_token=b"),
                "__Secure-neonauth.session_challenge=c; x",
            ],
            Some(&format!("{token}=t; __Secure-neonauth.session_challenge=c")),
        );
        check(&[&format!("{token}=t; {token}=t")], Some(&format!("{token}=t")));
        check(&[&format!("{token}=t; {token}=other")], None);
        check(&[&format!("{token}=t"), &format!("a=1; {token}=other; neon-auth.x=1")], Some("neon-auth.x=1"));
        check(&["__Secure-neon-auth.local.session_data=eyJ; theme=dark; neon-authx=1"], None);
        check(&[], None);
        let many =
            |count: usize| (0..count).map(|n| format!("neon-auth.{n}=x")).collect::<Vec<_>>().join("; ");
        check(&[&many(COOKIES_MAX)], Some(&many(COOKIES_MAX)));
        check(&[&many(COOKIES_MAX + 1)], None);
    }

    #[test]
    fn what_the_route_stands_for_is_put_behind_neons_base_url() {
        let own = [HeaderValue::from_static("https://app.test")];
        for (base, asked, want) in [
            ("/neondb/auth", "/api/auth/get-session?a=1&b=%2F", "/neondb/auth/get-session?a=1&b=%2F"),
            ("/neondb/auth", "/api/auth", "/neondb/auth"),
            ("/neondb/auth", "/api/auth?x", "/neondb/auth?x"),
            ("/neondb/auth/", "/api/auth/", "/neondb/auth/"),
            ("/", "/api/auth/token", "/token"),
            ("/", "/api/auth", "/"),
        ] {
            let way = NeonAuth::new("/api/auth", base, &own, &[]);
            assert_eq!(way.target(&asked.parse().unwrap()).as_str(), want, "{base} {asked}");
        }
    }

    #[test]
    fn an_answer_leads_to_our_own_pages_alone() {
        let way = way("https://app.test");
        for (said, want) in [
            ("/neondb/auth/error?a=1", Some("/api/auth/error?a=1")),
            ("/neondb/auth", Some("/api/auth")),
            ("/neondb/authx", Some("/neondb/authx")),
            ("/tasks?neon_auth_session_verifier=v", Some("/tasks?neon_auth_session_verifier=v")),
            ("https://app.test/tasks", Some("https://app.test/tasks")),
            ("http://localhost:3000", Some("http://localhost:3000")),
            ("https://app.test.evil.example/", None),
            ("https://app.test@evil.example/", None),
            ("https://app.test:8443/", None),
            ("https://evil.example/", None),
            ("/neondb/auth//evil.example/", Some("/api/auth//evil.example/")),
            ("//evil.example/", None),
            ("/\\evil.example/", None),
            ("/\t/evil.example/", None),
            ("javascript:alert(1)", None),
            ("", None),
        ] {
            let led = way.led(&HeaderValue::from_str(said).unwrap());
            assert_eq!(led.as_ref().map(|value| value.to_str().unwrap()), want, "{said}");
        }
    }
    #[test]
    fn a_path_of_neons_is_no_host_where_the_route_stands_for_all_paths() {
        for (path, base, said, want) in [
            ("", "/neondb/auth", "/neondb/auth//evil.example", None),
            ("/", "/neondb/auth/", "/neondb/auth//evil.example/x", None),
            ("", "/neondb/auth", "/neondb/auth/\\evil.example", None),
            ("", "/neondb/auth", "/neondb/auth/error", Some("/error")),
            ("", "/neondb/auth", "/neondb/auth", Some("/")),
            ("", "/neondb/auth", "/neondb/auth?a=1", Some("/?a=1")),
            ("", "/neondb/auth", "/tasks", Some("/tasks")),
            ("", "", "//evil.example", None),
            // A base without a path: what it leads to is a page of ours.
            ("/api/auth", "/", "/tasks", Some("/tasks")),
            ("/api/auth", "", "/tasks?a=1", Some("/tasks?a=1")),
            ("/api/auth", "", "//evil.example", None),
        ] {
            let way = NeonAuth::new(path, base, &[HeaderValue::from_static("https://app.test")], &[]);
            let led = way.led(&HeaderValue::from_str(said).unwrap());
            assert_eq!(led.as_ref().map(|value| value.to_str().unwrap()), want, "{path:?} {base:?} {said}");
        }
    }
    #[test]
    fn an_origin_that_is_not_told_is_the_one_by_which_the_client_asked() {
        let own = ["http://app.test", "https://app.test", "https://app.test:8443", "https://other.test"];
        let own = own.map(HeaderValue::from_static);
        let way = NeonAuth::new("/api/auth", "/neondb/auth", &own, &[]);
        let mut headers = HeaderMap::new();
        headers.insert(FETCH_SITE, HeaderValue::from_static("same-origin"));
        for (host, scheme, want) in [
            ("app.test", Some(Scheme::Https), Some("https://app.test")),
            ("app.test", Some(Scheme::Http), Some("http://app.test")),
            ("app.test", None, None),
            ("app.test:8443", None, Some("https://app.test:8443")),
            ("other.test", None, Some("https://other.test")),
            ("other.test", Some(Scheme::Http), Some("https://other.test")),
            ("evil.example", Some(Scheme::Https), None),
        ] {
            let origin = way.origin(&headers, &Client::named(host, scheme));
            assert_eq!(origin.as_ref().map(|value| value.to_str().unwrap()), want, "{host} {scheme:?}");
        }
    }
}
