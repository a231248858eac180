//! Asks auth-verifier who is calling; without a clear answer nothing goes on.

use std::time::{Duration, Instant};

use chassis::{
    Body,
    client::{self, Client},
    identity::{self, UserId},
    request_id,
    settings::ServiceUrl,
};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use tokio::time::timeout;

use crate::{answer::Refusal, route::Access, sanitize::Sanitized, settings};

/// The most of a verdict's body that is read, only so that its connection can be used again.
const BODY_BYTES_MAX: usize = 16 * 1024;

/// The longest assertion that is passed on.
const ASSERTION_BYTES_MAX: usize = 4 * 1024;

/// Challenges for a verdict that brought none.
const CHALLENGE: HeaderValue = HeaderValue::from_static("Bearer realm=\"api\"");

/// Asks for verdicts, over connections of its own.
#[derive(Clone)]
pub struct Authenticate {
    client: Client,
    url: String,
    wait: Duration,
}

/// Somebody whom auth-verifier knows.
pub struct Caller {
    user: UserId,
    email: Option<HeaderValue>,
    credential: Option<HeaderValue>,
    assertion: HeaderValue,
}

/// A request of which we know who sent it, or that may pass without. Only this file makes one.
pub struct Authenticated {
    sanitized: Sanitized,
    caller: Option<Caller>,
}

impl Authenticate {
    /// Asks at `url`.
    pub fn new(url: &ServiceUrl, settings: &settings::Verifier) -> Self {
        let client = client::client(settings.connect);
        Self { client, url: url.join(identity::VERIFY_PATH), wait: settings.timeout }
    }

    /// Finds out who is calling. On a public route nobody is asked, and the request passes as nobody's.
    pub async fn authenticate(&self, sanitized: Sanitized) -> Result<Authenticated, Refusal> {
        let caller = match sanitized.access() {
            Access::Public => None,
            Access::Authenticated => {
                let started = Instant::now();
                let verdict = match self.question(&sanitized) {
                    Ok(question) => self.ask(question).await,
                    Err(error) => Err(Refusal::VerifierUnavailable(error.to_string())),
                };
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
            tracing::Span::current().record("user", caller.user.as_str());
        }
        Ok(Authenticated { sanitized, caller })
    }

    async fn ask(&self, question: Request<Body>) -> Result<Caller, Refusal> {
        let unavailable = |reason: String| Refusal::VerifierUnavailable(reason);
        let answer = async {
            let response =
                self.client.request(question).await.map_err(|error| unavailable(client::chain(&error)))?;
            let (head, body) = response.into_parts();
            // A body that is too large or breaks costs the connection, not the verdict.
            let _ = Limited::new(body, BODY_BYTES_MAX).collect().await;
            Ok(Response::from_parts(head, ()))
        };
        let answer = timeout(self.wait, answer)
            .await
            .map_err(|_| unavailable(format!("no verdict within {:?}", self.wait)))??;
        read(&answer)
    }

    fn question(&self, sanitized: &Sanitized) -> Result<Request<Body>, http::Error> {
        let request = sanitized.request();
        let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
        let mut question = Request::get(&self.url)
            .header("x-forwarded-method", request.method().as_str())
            .header("x-forwarded-proto", "http")
            .header("x-forwarded-host", sanitized.host())
            .header("x-forwarded-uri", target);
        for name in [request_id::HEADER, HeaderName::from_static("traceparent")] {
            if let Some(value) = request.headers().get(&name) {
                question = question.header(name, value);
            }
        }
        let credentials = sanitized.credentials();
        if let Some(authorization) = &credentials.authorization {
            question = question.header(header::AUTHORIZATION, authorization);
        }
        for cookies in &credentials.cookies {
            question = question.header(header::COOKIE, cookies);
        }
        question.body(Body::empty())
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
        .filter(|assertion| (1..=ASSERTION_BYTES_MAX).contains(&assertion.len()))
        .ok_or_else(|| unavailable("said 200 without x-identity-assertion"))?;
    let (email, credential) = (once(&identity::USER_EMAIL)?, once(&identity::CREDENTIAL)?);
    Ok(Caller { user, email, credential, assertion })
}

fn one(headers: &HeaderMap, name: &HeaderName) -> Result<Option<HeaderValue>, ()> {
    let mut values = headers.get_all(name).into_iter();
    match (values.next(), values.next()) {
        (value, None) => Ok(value.cloned()),
        _ => Err(()),
    }
}

impl Authenticated {
    /// The request, and who sent it.
    pub fn into_parts(self) -> (Sanitized, Option<Caller>) {
        (self.sanitized, self.caller)
    }
}

impl Caller {
    /// The headers that say who it is.
    pub fn headers(self) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        let user = HeaderValue::from_str(self.user.as_str()).expect("a user id is visible ASCII");
        [
            (identity::USER_ID, Some(user)),
            (identity::ASSERTION, Some(self.assertion)),
            (identity::USER_EMAIL, self.email),
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
