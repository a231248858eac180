//! Strips headers that only we may set, in any spelling, and sets the credentials aside.

pub mod names;

use chassis::{
    header::{NotSingle, single},
    layer::request_id,
};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use thiserror::Error;

use self::names::{is_forwarding, is_listed, is_odd};
use crate::admit::Admitted;

/// Headers that a request can't do without; to nominate one as hop-by-hop can only be meant to make it vanish on
/// the way (CVE-2025-48865, Traefik CVE-2024-45410).
pub(crate) const ESSENTIAL: [HeaderName; 9] = [
    header::AUTHORIZATION,
    header::COOKIE,
    header::HOST,
    header::ORIGIN,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    request_id::HEADER,
];

/// More than that no `u64` holds for certain.
const LENGTH_DIGITS_MAX: usize = 19;

/// The scheme of a bearer token, which has no comma (RFC 6750 §2.1).
const BEARER: &[u8] = b"Bearer ";

/// The credentials of a request.
#[derive(Clone, Default)]
pub struct Credentials {
    /// Its `Authorization`, if there is one.
    pub authorization: Option<HeaderValue>,
    /// Its cookies, as they came.
    pub cookies: Vec<HeaderValue>,
}

impl Credentials {
    /// Whether a browser may have sent them by itself, whatever page has asked it to: cookies, and what it knows of `Basic` or
    /// `Negotiate` (RFC 9110 §11.6.2). A bearer token is a page's own doing.
    pub fn are_ambient(&self) -> bool {
        !self.cookies.is_empty() || self.authorization.as_ref().is_some_and(|value| !is_bearer(value))
    }
}

/// Whether an `Authorization` has a bearer token.
pub(crate) fn is_bearer(value: &HeaderValue) -> bool {
    value.as_bytes().get(..BEARER.len()).is_some_and(|scheme| scheme.eq_ignore_ascii_case(BEARER))
}

/// A request without credentials, hop-by-hop headers, and headers that only we may set. Only this file makes one.
pub struct Sanitized {
    admitted: Admitted,
    credentials: Credentials,
}

/// Why a request's headers can't be forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SanitizeError {
    /// They can be understood in more than one way; the client is told how.
    #[error("{0}")]
    Ambiguous(&'static str),
    /// An expectation that is not `100-continue` (RFC 9110 §10.1.1).
    #[error("the expectation is unknown")]
    Expectation,
    /// A transfer coding that is not `chunked` (RFC 9112 §6.1).
    #[error("the transfer coding is unknown")]
    Coding,
}

/// Strips a request. What a trusted proxy says of the client was read before, and is set again by `stamp`.
pub fn sanitize(mut admitted: Admitted) -> Result<Sanitized, SanitizeError> {
    let credentials = strip(admitted.routed_mut().headers_mut())?;
    Ok(Sanitized { admitted, credentials })
}

impl Sanitized {
    /// The admitted request, stripped.
    pub fn admitted(&self) -> &Admitted {
        &self.admitted
    }

    pub(crate) fn admitted_mut(&mut self) -> &mut Admitted {
        &mut self.admitted
    }

    /// What the client sent to be known by.
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// The request, and its credentials.
    pub(crate) fn into_parts(self) -> (Admitted, Credentials) {
        (self.admitted, self.credentials)
    }
}

fn strip(headers: &mut HeaderMap) -> Result<Credentials, SanitizeError> {
    let has = Has::of(headers);
    if has.expect {
        let mut expectations = headers.get_all(header::EXPECT).into_iter();
        if !expectations.all(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
            return Err(SanitizeError::Expectation);
        }
    }
    if has.coding && !is_coding_known(headers) {
        return Err(SanitizeError::Coding);
    }
    if has.length {
        one_length(headers)?;
    }
    if has.authorization {
        one_authorization(headers)?;
    }
    let nominated = if has.connection { nominated(headers)? } else { Vec::new() };
    let mut credentials = Credentials::default();
    if has.authorization {
        credentials.authorization = headers.remove(header::AUTHORIZATION);
    }
    // The verdict will tell which cookies go on.
    if has.cookie {
        credentials.cookies = headers.get_all(header::COOKIE).iter().cloned().collect();
        headers.remove(header::COOKIE);
    }
    // hyper answers `Expect: 100-continue` by itself, as soon as the body is read.
    if has.expect {
        headers.remove(header::EXPECT);
    }
    if has.stripped || !nominated.is_empty() {
        remove_where(headers, |name| nominated.contains(name) || is_stripped(name.as_str()));
    }
    Ok(credentials)
}

/// Which headers there are that need a closer look, by one walk over all of them: to look each of them up by its name costs four times
/// as much.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is another header")]
struct Has {
    authorization: bool,
    connection: bool,
    cookie: bool,
    coding: bool,
    expect: bool,
    length: bool,
    /// Any that is stripped whatever it says.
    stripped: bool,
}

impl Has {
    fn of(headers: &HeaderMap) -> Self {
        let mut has = Self::default();
        for name in headers.keys() {
            has.authorization |= *name == header::AUTHORIZATION;
            has.connection |= *name == header::CONNECTION;
            has.cookie |= *name == header::COOKIE;
            has.coding |= *name == header::TRANSFER_ENCODING;
            has.expect |= *name == header::EXPECT;
            has.length |= *name == header::CONTENT_LENGTH;
            has.stripped |= is_stripped(name.as_str());
        }
        has
    }
}

/// hyper decodes `chunked` and hands on whatever else stands there, although it has not undone it: the body that goes on
/// would be encoded, and no longer say so.
pub(crate) fn is_coding_known(headers: &HeaderMap) -> bool {
    match single(headers, &header::TRANSFER_ENCODING) {
        Ok(coding) => coding.as_bytes().eq_ignore_ascii_case(b"chunked"),
        Err(NotSingle::Missing) => true,
        Err(NotSingle::Repeated) => false,
    }
}

/// The same length said twice goes on once (RFC 9110 §8.6): hyper hands on both, and not every service reads two as one.
fn one_length(headers: &mut HeaderMap) -> Result<(), SanitizeError> {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).into_iter();
    let Some(first) = lengths.next() else { return Ok(()) };
    // HTTP/2's reader takes none for 0.
    let digits = first.as_bytes();
    if !(1..=LENGTH_DIGITS_MAX).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
        return Err(SanitizeError::Ambiguous("the Content-Length is no decimal number"));
    }
    let Some(second) = lengths.next() else { return Ok(()) };
    if second != first || lengths.any(|other| other != first) {
        return Err(SanitizeError::Ambiguous("the request has more than one Content-Length"));
    }
    let length = first.clone();
    headers.insert(header::CONTENT_LENGTH, length);
    Ok(())
}

/// A request has one credential in `Authorization` (RFC 9110 §11.6.2). Two in a list, as a proxy makes of two headers, would be one or
/// the other's to two readers.
fn one_authorization(headers: &HeaderMap) -> Result<(), SanitizeError> {
    const MANY: SanitizeError =
        SanitizeError::Ambiguous("the request has more than one credential in Authorization");
    let authorization = match single(headers, &header::AUTHORIZATION) {
        Ok(authorization) => authorization,
        Err(NotSingle::Missing) => return Ok(()),
        Err(NotSingle::Repeated) => return Err(MANY),
    };
    // To the end of it, without a way out in the middle: so the comparisons are made sixteen at a time.
    let is_comma = |byte: u8| byte == b',';
    let has_comma = || authorization.as_bytes().iter().fold(false, |found, byte| found | is_comma(*byte));
    if is_bearer(authorization) && has_comma() { Err(MANY) } else { Ok(()) }
}

/// The headers that `Connection` names, which are for us alone.
fn nominated(headers: &HeaderMap) -> Result<Vec<HeaderName>, SanitizeError> {
    let mut names = Vec::new();
    for value in headers.get_all(header::CONNECTION) {
        let value =
            value.to_str().map_err(|_| SanitizeError::Ambiguous("the Connection header is not text"))?;
        for name in value.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            let name = HeaderName::try_from(name).map_err(|_| {
                SanitizeError::Ambiguous("the Connection header names something that is no header")
            })?;
            if ESSENTIAL.contains(&name) || identity::ALL.contains(&name) || is_forwarding(name.as_str()) {
                return Err(SanitizeError::Ambiguous(
                    "the Connection header names a header that must not vanish",
                ));
            }
            names.push(name);
        }
    }
    Ok(names)
}

/// Whether a header is stripped, of requests and of answers. Names are lower case already.
pub(crate) fn is_stripped(name: &str) -> bool {
    // Browsers send letters, digits and dashes; nothing else passes.
    is_odd(name) || is_listed(name)
}

/// Removes the headers for which `to_remove` holds.
pub(crate) fn remove_where(headers: &mut HeaderMap, to_remove: impl Fn(&HeaderName) -> bool) {
    let names: Vec<HeaderName> = headers.keys().filter(|name| to_remove(name)).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn headers_that_only_we_may_set_are_stripped_in_any_spelling() {
        for name in [
            "x-user-id",
            "X-User-Id",
            "x-USER-iD",
            "X_User_Id",
            "X-User_Id",
            "x_user-id",
            "X.User.Id",
            "x-user.id",
            "x-user-email",
            "x-user-roles",
            "x-user",
            "x-userid",
            "remote-user",
            "x-remote-user",
            "x-authenticated-user",
            "x-webauth-user",
            "x-forwarded",
            "x-identity",
            "x-credentials",
            "x-identity-assertion",
            "X_Identity_Assertion",
            "x-credential",
            "x-verdict-wait-ms",
            "X_Verdict_Wait_Ms",
            "x-auth-request-user",
            "x-gateway-assertion",
            "x-internal-secret",
            "x-forwarded-for",
            "X_Forwarded_For",
            "x-forwarded-user",
            "forwarded",
            "x-real-ip",
            "x-original-url",
            "x-rewrite-url",
            "x-http-method-override",
            "true-client-ip",
            "cf-connecting-ip",
            "x-envoy-external-address",
            "x-envoy-original-path",
            "proxy",
            "te",
            "keep-alive",
            "proxy-connection",
            "proxy-authorization",
            "upgrade",
            "http2-settings",
            "trailer",
            "x-user-id~",
            "x|user|id",
            "x'user'id",
        ] {
            let mut map = headers(&[(name, "u2"), (name, "u1"), ("accept", "*/*")]);
            strip(&mut map).unwrap();
            assert_eq!(map, headers(&[("accept", "*/*")]), "{name}");
        }
    }

    #[test]
    fn every_header_of_the_contract_is_internal() {
        for ours in identity::ALL.into_iter().chain([identity::VERDICT_WAIT, identity::CREDENTIAL_COOKIES]) {
            assert!(is_stripped(ours.as_str()), "{ours}");
        }
    }

    #[test]
    fn headers_that_a_client_may_send_pass() {
        let fields = [
            ("accept", "*/*"),
            ("content-type", "application/json"),
            ("x-request-id", "r1"),
            ("traceparent", "00-1-2-01"),
            ("idempotency-key", "k"),
            ("if-match", "\"1\""),
            ("x-csrf-token", "t"),
            ("x-own", "me"),
            ("origin", "https://a.test"),
        ];
        let mut map = headers(&fields);
        strip(&mut map).unwrap();
        assert_eq!(map, headers(&fields));
    }

    #[test]
    fn what_connection_nominates_stops_here() {
        let mut map = headers(&[
            ("connection", "close, X-Hop"),
            ("connection", "x-hop-2"),
            ("x-hop", "1"),
            ("x-hop-2", "2"),
        ]);
        strip(&mut map).unwrap();
        assert_eq!(map, headers(&[]));
    }

    #[test]
    fn to_nominate_what_must_not_vanish_is_refused() {
        for name in [
            "X-User-Id",
            "authorization",
            "Cookie",
            "host",
            "Origin",
            "content-length",
            "content-type",
            "x-forwarded-for",
            "X-FORWARDED-FOR",
            "forwarded",
            "x-request-id",
            "x-identity-assertion",
        ] {
            let mut map = headers(&[("connection", &format!("close, {name}"))]);
            let refused = strip(&mut map).err().unwrap();
            assert!(matches!(refused, SanitizeError::Ambiguous(_)), "{name}");
        }
        assert!(strip(&mut headers(&[("connection", "a b")])).is_err());
    }

    #[test]
    fn credentials_are_taken_off_and_kept_apart() {
        let mut map = headers(&[
            ("authorization", "Bearer t"),
            ("cookie", "a=1"),
            ("cookie", "b=2"),
            ("accept", "*/*"),
        ]);
        let credentials = strip(&mut map).unwrap();
        assert_eq!(map, headers(&[("accept", "*/*")]));
        assert_eq!(credentials.authorization.unwrap(), "Bearer t");
        assert_eq!(credentials.cookies, ["a=1", "b=2"]);
    }

    #[test]
    fn a_length_that_is_said_twice_goes_on_once_and_two_are_refused() {
        for said in [&["5"][..], &["5", "5"], &["5", "5", "5"]] {
            let mut map = headers(&said.iter().map(|length| ("content-length", *length)).collect::<Vec<_>>());
            strip(&mut map).unwrap();
            assert_eq!(map, headers(&[("content-length", "5")]), "{said:?}");
        }
        for said in [
            &["5", "6"][..],
            &["5", "5", "6"],
            &["5", "05"],
            &[""],
            &["", ""],
            &["+5"],
            &["5 "],
            &["0x5"],
            &["5,5"],
        ] {
            let mut map = headers(&said.iter().map(|length| ("content-length", *length)).collect::<Vec<_>>());
            assert!(matches!(strip(&mut map), Err(SanitizeError::Ambiguous(_))), "{said:?}");
        }
    }

    #[test]
    fn two_authorization_headers_and_unknown_expectations_are_refused() {
        let mut map = headers(&[("authorization", "Bearer a"), ("authorization", "Bearer a")]);
        assert!(matches!(strip(&mut map), Err(SanitizeError::Ambiguous(_))));
        assert_eq!(strip(&mut headers(&[("expect", "200-ok")])).err(), Some(SanitizeError::Expectation));
        let mut map = headers(&[("expect", "100-Continue")]);
        strip(&mut map).unwrap();
        assert_eq!(map, headers(&[]));
    }
}
