//! Takes off what a client must not say, in every spelling, and keeps what it is asked by: its credential.

pub mod names;

use std::sync::Arc;

use chassis::{Body, layer::request_id};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};

use self::names::{HOP_BY_HOP, is_forwarding, is_internal, is_odd};
use crate::{
    client::Client,
    refusal::Refusal,
    route::{Access, Routed},
};

/// Headers that a request can't do without; to nominate one as hop-by-hop can only be meant to make it vanish on
/// the way (CVE-2025-48865, Traefik CVE-2024-45410).
const ESSENTIAL: [HeaderName; 8] = [
    header::AUTHORIZATION,
    header::COOKIE,
    header::HOST,
    header::ORIGIN,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    request_id::HEADER,
];

/// What a client is asked by.
#[derive(Clone, Default)]
pub struct Credentials {
    /// Its `Authorization`, if there is one.
    pub authorization: Option<HeaderValue>,
    /// Its cookies, as they came.
    pub cookies: Vec<HeaderValue>,
}

/// A request with nothing on it that only we may say. Only this file makes one.
pub struct Sanitized {
    request: Request<Body>,
    host: String,
    upstream: Arc<str>,
    access: Access,
    client: Client,
    credentials: Credentials,
}

/// Takes off credentials, hop-by-hop headers, and everything that only those inside may say.
///
/// Who the client is was read off before: what a proxy says of it goes, too, and what is true of it is put on later.
pub fn sanitize(routed: Routed, client: Client) -> Result<Sanitized, Refusal> {
    let (mut request, host, upstream, access) = routed.into_parts();
    let credentials = strip(request.headers_mut())?;
    Ok(Sanitized { request, host, upstream, access, client, credentials })
}

impl Sanitized {
    /// Who may pass.
    pub fn access(&self) -> Access {
        self.access
    }

    /// Who is counted as the client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// What the client is asked by.
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// The request, for reading.
    pub fn request(&self) -> &Request<Body> {
        &self.request
    }

    /// The host that the client named.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The request, the client and the host that it named, the upstream, and the client's cookies.
    pub fn into_parts(self) -> (Request<Body>, Client, String, Arc<str>, Vec<HeaderValue>) {
        (self.request, self.client, self.host, self.upstream, self.credentials.cookies)
    }
}

fn strip(headers: &mut HeaderMap) -> Result<Credentials, Refusal> {
    let mut expectations = headers.get_all(header::EXPECT).into_iter();
    if !expectations.all(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
        return Err(Refusal::Expectation);
    }
    check_coding(headers)?;
    one_length(headers)?;
    if headers.get_all(header::AUTHORIZATION).iter().count() > 1 {
        return Err(Refusal::Ambiguous("the request has more than one Authorization header"));
    }
    let nominated = nominated(headers)?;
    let credentials = Credentials {
        authorization: headers.remove(header::AUTHORIZATION),
        cookies: headers.get_all(header::COOKIE).iter().cloned().collect(),
    };
    // hyper has answered `Expect: 100-continue` by itself, as soon as the body is read.
    headers.remove(header::EXPECT);
    let gone: Vec<HeaderName> =
        headers.keys().filter(|name| nominated.contains(name) || stops(name.as_str())).cloned().collect();
    for name in gone {
        headers.remove(name);
    }
    // Which of them go on inward, the verdict will tell.
    headers.remove(header::COOKIE);
    Ok(credentials)
}

/// hyper reads `chunked` and hands on whatever else stands there, although it has not undone it: what goes on would be
/// encoded, and no longer say so.
fn check_coding(headers: &HeaderMap) -> Result<(), Refusal> {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).into_iter();
    match (codings.next(), codings.next()) {
        (None, _) => Ok(()),
        (Some(one), None) if one.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(()),
        _ => Err(Refusal::Coding),
    }
}

/// The same length said twice goes on once (RFC 9110 §8.6): hyper hands on both, and not every service reads two as one.
fn one_length(headers: &mut HeaderMap) -> Result<(), Refusal> {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).into_iter();
    let (Some(first), Some(second)) = (lengths.next(), lengths.next()) else { return Ok(()) };
    if second != first || lengths.any(|other| other != first) {
        return Err(Refusal::Ambiguous("the request has more than one Content-Length"));
    }
    let length = first.clone();
    headers.insert(header::CONTENT_LENGTH, length);
    Ok(())
}

/// The headers that `Connection` names, which are for us alone.
fn nominated(headers: &HeaderMap) -> Result<Vec<HeaderName>, Refusal> {
    let mut names = Vec::new();
    for value in headers.get_all(header::CONNECTION) {
        let value = value.to_str().map_err(|_| Refusal::Ambiguous("the Connection header is not text"))?;
        for name in value.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            let name = HeaderName::try_from(name)
                .map_err(|_| Refusal::Ambiguous("the Connection header names something that is no header"))?;
            if ESSENTIAL.contains(&name) || identity::ALL.contains(&name) || is_forwarding(name.as_str()) {
                return Err(Refusal::Ambiguous("the Connection header names a header that must not vanish"));
            }
            names.push(name);
        }
    }
    Ok(names)
}

fn refuses_identity(headers: &HeaderMap) -> bool {
    let challenge = identity::CHALLENGE.as_bytes();
    headers.get_all(header::WWW_AUTHENTICATE).iter().any(|value| {
        value.as_bytes().get(..challenge.len()).is_some_and(|scheme| scheme.eq_ignore_ascii_case(challenge))
    })
}

/// Whether a header stops here. Names are lower case already.
fn stops(name: &str) -> bool {
    // Browsers send letters, digits and dashes; nothing else passes.
    is_odd(name)
        || HOP_BY_HOP.contains(&name)
        || identity::ALL.iter().any(|ours| ours.as_str() == name)
        || is_internal(name)
        || is_forwarding(name)
}

/// Takes the hop-by-hop headers, and what only those inside may hear, off an answer.
///
/// A service that refuses the identity that we gave it has trouble with us, not with the client: an outage inside must
/// not sign anybody out.
pub fn strip_answer(response: &mut Response<Body>) -> Result<(), Refusal> {
    if response.status() == StatusCode::UNAUTHORIZED && refuses_identity(response.headers()) {
        return Err(Refusal::IdentityRefused);
    }
    let headers = response.headers_mut();
    if check_coding(headers).is_err() {
        return Err(Refusal::UpstreamBroken("it answers with an unknown transfer coding".into()));
    }
    let lists = headers.get_all(header::CONNECTION).iter().filter_map(|list| list.to_str().ok());
    let nominated: Vec<String> =
        lists.flat_map(|list| list.split(',')).map(|name| name.trim().to_ascii_lowercase()).collect();
    let gone = |name: &HeaderName| {
        let name = name.as_str();
        let essential = ESSENTIAL.iter().any(|essential| essential == name);
        stops(name)
            || matches!(name, "server" | "via")
            || (!essential && nominated.iter().any(|one| one == name))
    };
    let gone: Vec<HeaderName> = headers.keys().filter(|name| gone(name)).cloned().collect();
    for name in gone {
        headers.remove(name);
    }
    Ok(())
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
    fn what_only_we_may_say_is_taken_off_in_every_spelling() {
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
    fn what_a_client_may_say_passes() {
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
            assert!(matches!(refused, Refusal::Ambiguous(_)), "{name}");
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
        for said in [&["5", "6"][..], &["5", "5", "6"], &["5", "05"]] {
            let mut map = headers(&said.iter().map(|length| ("content-length", *length)).collect::<Vec<_>>());
            assert!(matches!(strip(&mut map), Err(Refusal::Ambiguous(_))), "{said:?}");
        }
    }

    #[test]
    fn two_authorization_headers_and_unknown_expectations_are_refused() {
        let mut map = headers(&[("authorization", "Bearer a"), ("authorization", "Bearer a")]);
        assert!(matches!(strip(&mut map), Err(Refusal::Ambiguous(_))));
        assert_eq!(strip(&mut headers(&[("expect", "200-ok")])).err(), Some(Refusal::Expectation));
        let mut map = headers(&[("expect", "100-Continue")]);
        strip(&mut map).unwrap();
        assert_eq!(map, headers(&[]));
    }
}
