//! Asks auth-verifier who is calling; without a clear answer nothing goes on.

use std::time::{Duration, Instant};

use chassis::{
    Body,
    layer::request_id,
    outbound::client::{self, Client},
    serve::trusted_proxies::FORWARDED_FOR,
    settings::ServiceUrl,
};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Limited};
use hyper_util::client::legacy;
use identity::{self, CredentialCookies, Email, UserId};
use tokio::time::timeout;

use crate::{client::Scheme, csrf::OwnPages, refusal::Refusal, route::Access, sanitize::Sanitized, settings};

/// How often a question goes again whose connection was closed: an auth-verifier that ends closes all of ours at once, and the
/// next from the pool may be another of those.
const ASKED_AGAIN_MAX: usize = 4;

/// The most of a verdict's body that is read, only so that its connection can be used again.
const BODY_BYTES_MAX: usize = 16 * 1024;

/// The longest assertion that is passed on.
const ASSERTION_BYTES_MAX: usize = 4 * 1024;

/// The longest that auth-verifier may ask clients to wait.
const RETRY_AFTER_SECS_MAX: u32 = 300;

/// Challenges for a verdict that brought none.
const CHALLENGE: HeaderValue = HeaderValue::from_static("Bearer realm=\"api\"");

/// Asks for verdicts, over connections of its own.
#[derive(Clone)]
pub struct Authenticate {
    client: Client,
    url: Uri,
    wait: Duration,
    /// The wait that auth-verifier is told.
    told: HeaderValue,
    pages: OwnPages,
}

/// Somebody whom auth-verifier knows.
pub struct Caller {
    user: UserId,
    email: Option<Email>,
    email_verified: Option<HeaderValue>,
    credential: Option<HeaderValue>,
    assertion: HeaderValue,
    credential_cookies: Option<CredentialCookies>,
}

/// A request of which we know who sent it, or that may pass without. Only this file makes one.
pub struct Authenticated {
    sanitized: Sanitized,
    caller: Option<Caller>,
}

impl Authenticate {
    /// Asks at `url`; whoever is known by a cookie must come from one of `pages`.
    pub fn new(url: &ServiceUrl, settings: &settings::Verifier, pages: OwnPages) -> Self {
        let client = client::client_of(url, settings.connect);
        let url = url.join(identity::VERIFY_PATH).parse().expect("a URL with a path that we know is a URI");
        // It hears what we wait less a tenth, so that its answer finds us still here.
        let told = settings.timeout.mul_f64(0.9).as_millis();
        let told = HeaderValue::try_from(told.to_string()).expect("digits may stand in a header");
        Self { client, url, wait: settings.timeout, told, pages }
    }

    /// Finds out who is calling. On a public route nobody is asked, and the request passes as nobody's.
    pub async fn authenticate(&self, sanitized: Sanitized) -> Result<Authenticated, Refusal> {
        let caller = match sanitized.access() {
            Access::Public => None,
            Access::Authenticated => {
                let started = Instant::now();
                let verdict = self.ask(Question::of(&sanitized)).await;
                let result = match &verdict {
                    Ok(_) => "known",
                    Err(Refusal::Unauthenticated(_) | Refusal::Forbidden) => "denied",
                    Err(_) => "error",
                };
                metrics::histogram!("verifier_call_seconds", "result" => result).record(started.elapsed());
                Some(verdict?)
            }
        };
        if let Some(caller) = &caller {
            chassis::layer::access_log::user(caller.user.as_str());
            if !caller.is_by_bearer() {
                let request = sanitized.request();
                let scheme = sanitized.client().scheme();
                self.pages.check(request.method(), request.headers(), sanitized.host(), scheme)?;
            }
        }
        Ok(Authenticated { sanitized, caller })
    }

    async fn ask(&self, question: Question) -> Result<Caller, Refusal> {
        let answer = async {
            let mut asked = self.send(&question).await;
            for _ in 0..ASKED_AGAIN_MAX {
                // A connection that was closed as we wrote into it; to ask again changes nothing.
                match &asked {
                    Err(error) if !error.is_connect() => asked = self.send(&question).await,
                    _ => break,
                }
            }
            asked
        };
        match timeout(self.wait, answer).await {
            Ok(Ok(answer)) => read(&answer),
            Ok(Err(error)) => Err(Refusal::VerifierUnavailable(client::chain(&error))),
            Err(_) => Err(Refusal::VerifierUnavailable(format!("no verdict within {:?}", self.wait))),
        }
    }

    async fn send(&self, question: &Question) -> Result<Response<()>, legacy::Error> {
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = self.url.clone();
        *request.headers_mut() = question.0.clone();
        request.headers_mut().insert(identity::VERDICT_WAIT, self.told.clone());
        let (head, body) = self.client.request(request).await?.into_parts();
        // A body that is too large or breaks costs the connection, not the verdict.
        let _ = Limited::new(body, BODY_BYTES_MAX).collect().await;
        Ok(Response::from_parts(head, ()))
    }
}

/// What auth-verifier is asked: the headers of the question.
struct Question(HeaderMap);

impl Question {
    fn of(sanitized: &Sanitized) -> Self {
        let request = sanitized.request();
        let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
        let mut headers = HeaderMap::new();
        let mut put = |name: HeaderName, value: Option<HeaderValue>| {
            if let Some(value) = value {
                headers.insert(name, value);
            }
        };
        put(
            HeaderName::from_static("x-forwarded-method"),
            HeaderValue::from_str(request.method().as_str()).ok(),
        );
        let client = sanitized.client();
        let scheme = client.scheme().unwrap_or(Scheme::Http).as_str();
        put(HeaderName::from_static("x-forwarded-proto"), Some(HeaderValue::from_static(scheme)));
        // The client alone: whoever limits by address counts clients, not gateways.
        put(FORWARDED_FOR, HeaderValue::try_from(client.address().to_string()).ok());
        put(HeaderName::from_static("x-forwarded-host"), HeaderValue::from_str(sanitized.host()).ok());
        put(HeaderName::from_static("x-forwarded-uri"), HeaderValue::from_str(target).ok());
        for name in [request_id::HEADER, HeaderName::from_static("traceparent")] {
            let value = request.headers().get(&name).cloned();
            put(name, value);
        }
        let credentials = sanitized.credentials();
        put(header::AUTHORIZATION, credentials.authorization.clone());
        // HTTP/2 may cut them up; HTTP/1.1 has one header (RFC 9113 §8.2.3).
        let cookies: Vec<&[u8]> = credentials.cookies.iter().map(HeaderValue::as_bytes).collect();
        let cookies = HeaderValue::from_bytes(&cookies.join(&b"; "[..])).ok();
        put(header::COOKIE, cookies.filter(|cookies| !cookies.is_empty()));
        Self(headers)
    }
}

/// Reads a verdict. Anything that is not exactly one is none (CVE-2026-25748, GHSA-7r4p-vjf4-gxv4).
fn read(answer: &Response<()>) -> Result<Caller, Refusal> {
    let headers = answer.headers();
    let unavailable = |reason: &str| Refusal::VerifierUnavailable(format!("auth-verifier {reason}"));
    match answer.status() {
        StatusCode::OK => {}
        StatusCode::UNAUTHORIZED => {
            let challenge = one(headers, &header::WWW_AUTHENTICATE).ok().flatten();
            return Err(Refusal::Unauthenticated(challenge.unwrap_or(CHALLENGE)));
        }
        StatusCode::FORBIDDEN => return Err(Refusal::Forbidden),
        StatusCode::SERVICE_UNAVAILABLE if headers.contains_key(header::RETRY_AFTER) => {
            let secs = one(headers, &header::RETRY_AFTER).ok().flatten();
            let secs = secs.and_then(|secs| secs.to_str().ok()?.parse().ok()).unwrap_or(1);
            return Err(Refusal::VerdictLater(secs.clamp(1, RETRY_AFTER_SECS_MAX)));
        }
        status => return Err(unavailable(&format!("answered {status}"))),
    }
    let once =
        |name: &HeaderName| one(headers, name).map_err(|()| unavailable(&format!("said {name} twice")));
    let user = once(&identity::USER_ID)?.ok_or_else(|| unavailable("said 200 without x-user-id"))?;
    let user = user
        .to_str()
        .ok()
        .and_then(UserId::parse)
        .ok_or_else(|| unavailable("said an x-user-id that is none"))?;
    let assertion = once(&identity::ASSERTION)?
        .filter(is_compact_jws)
        .ok_or_else(|| unavailable("said 200 without x-identity-assertion"))?;
    let email = once(&identity::USER_EMAIL)?;
    let email = email.as_ref().and_then(|email| email.to_str().ok()).and_then(Email::parse);
    let email_verified = once(&identity::USER_EMAIL_VERIFIED)?
        .filter(|told| email.is_some() && (told == "true" || told == "false"));
    let credential =
        once(&identity::CREDENTIAL)?.filter(|credential| credential == "bearer" || credential == "cookie");
    // Unclear is like untold: none goes on.
    let credential_cookies = once(&identity::CREDENTIAL_COOKIES)?.as_ref().and_then(CredentialCookies::parse);
    Ok(Caller { user, email, email_verified, credential, assertion, credential_cookies })
}

/// Three parts in base64url (RFC 7515 §7.1); whether it is a good one, those inside find out.
fn is_compact_jws(value: &HeaderValue) -> bool {
    let plain = |part: &[u8]| part.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte));
    let parts: Vec<&[u8]> = value.as_bytes().split(|byte| *byte == b'.').take(4).collect();
    value.len() <= ASSERTION_BYTES_MAX && parts.len() == 3 && parts.into_iter().all(plain)
}

fn one(headers: &HeaderMap, name: &HeaderName) -> Result<Option<HeaderValue>, ()> {
    let mut values = headers.get_all(name).into_iter();
    match (values.next(), values.next()) {
        (value, None) => Ok(value.cloned()),
        _ => Err(()),
    }
}

impl Authenticated {
    /// The user who sent it, if we know.
    pub fn user(&self) -> Option<&UserId> {
        self.caller.as_ref().map(|caller| &caller.user)
    }

    /// The request, and who sent it.
    pub fn into_parts(self) -> (Sanitized, Option<Caller>) {
        (self.sanitized, self.caller)
    }
}

impl Caller {
    /// Whether the request carried a token that no browser adds by itself.
    fn is_by_bearer(&self) -> bool {
        self.credential.as_ref().is_some_and(|credential| credential == "bearer")
    }

    /// Which cookies are credentials, if the verdict tells it.
    pub fn credential_cookies(&self) -> Option<&CredentialCookies> {
        self.credential_cookies.as_ref()
    }

    /// The headers that say who it is.
    pub fn headers(self) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        [
            (identity::USER_ID, Some(self.user.value())),
            (identity::ASSERTION, Some(self.assertion)),
            (identity::USER_EMAIL, self.email.as_ref().map(Email::value)),
            (identity::USER_EMAIL_VERIFIED, self.email_verified),
            (identity::CREDENTIAL, self.credential),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(status: u16, fields: &[(&str, &str)]) -> Result<Caller, Refusal> {
        let mut answer = Response::builder().status(status);
        for (name, value) in fields {
            answer = answer.header(*name, *value);
        }
        read(&answer.body(()).unwrap())
    }

    #[test]
    fn when_to_try_again_is_auth_verifiers_to_say_within_a_bound() {
        for (said, told) in [("7", 7), ("0", 1), ("86400", 300), ("soon", 1), ("-1", 1)] {
            assert_eq!(
                verdict(503, &[("retry-after", said)]).err(),
                Some(Refusal::VerdictLater(told)),
                "{said}"
            );
        }
        assert!(matches!(verdict(503, &[]).err(), Some(Refusal::VerifierUnavailable(_))));
    }

    #[test]
    fn a_verdict_is_believed_only_whole() {
        let good = [("x-user-id", "u1"), ("x-identity-assertion", "a.b.c"), ("x-credential", "bearer")];
        let headers: Vec<_> = verdict(200, &good).ok().unwrap().headers().collect();
        assert_eq!(headers.len(), 3);
        let long = "x".repeat(10 * 1024);
        for fields in [
            &[][..],
            &[("x-identity-assertion", "a.b.c")],
            &[("x-user-id", "u1")],
            &[("x-user-id", ""), ("x-identity-assertion", "a.b.c")],
            &[("x-user-id", "u1"), ("x-user-id", "u1"), ("x-identity-assertion", "a.b.c")],
            &[("x-user-id", "u1,u2"), ("x-identity-assertion", "a.b.c")],
            &[("x-user-id", "u1"), ("x-identity-assertion", "")],
            &[("x-user-id", "u1"), ("x-identity-assertion", "a.b.c, d")],
            &[("x-user-id", "u1"), ("x-identity-assertion", "a.b")],
            &[("x-user-id", "u1"), ("x-identity-assertion", "a"), ("x-identity-assertion", "b")],
            &[("x-user-id", &long), ("x-identity-assertion", "a.b.c")],
            &[("x-user-id", "u1"), ("x-identity-assertion", &long)],
            &[
                ("x-user-id", "u1"),
                ("x-identity-assertion", "a"),
                ("x-user-email", "a"),
                ("x-user-email", "b"),
            ],
        ] {
            assert!(matches!(verdict(200, fields), Err(Refusal::VerifierUnavailable(_))), "{fields:?}");
        }
        for status in [201, 204, 302, 400, 404, 500, 503] {
            assert!(matches!(verdict(status, &good), Err(Refusal::VerifierUnavailable(_))), "{status}");
        }
        assert!(matches!(verdict(401, &good), Err(Refusal::Unauthenticated(_))));
        assert!(matches!(verdict(403, &good), Err(Refusal::Forbidden)));
    }

    #[test]
    fn the_challenge_is_passed_on() {
        let Err(Refusal::Unauthenticated(challenge)) =
            verdict(401, &[("www-authenticate", "Bearer error=\"x\"")])
        else {
            panic!("unauthenticated")
        };
        assert_eq!(challenge, "Bearer error=\"x\"");
        assert_eq!(verdict(401, &[]).err(), Some(Refusal::Unauthenticated(CHALLENGE)));
    }
}
