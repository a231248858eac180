//! The verdict of auth-verifier: who is calling, or why nobody is. Anything that is not exactly one is none (CVE-2026-25748,
//! GHSA-7r4p-vjf4-gxv4).

use std::time::Duration;

use chassis::header::{NotSingle, single};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, response};
use identity::{CredentialCookies, CredentialKind, CredentialScopes, Email, MEMBERSHIP, Membership, UserId};
use thiserror::Error;

/// The longest assertion that is passed on.
const ASSERTION_BYTES_MAX: usize = 4 * 1024;

/// The longest that auth-verifier may ask clients to wait.
const RETRY_AFTER_SECS_MAX: u32 = 300;

/// The longest that a verdict is used again, whatever auth-verifier allows: as long as it may set.
pub(super) const LIFE_MAX: Duration = Duration::from_secs(120);

/// The challenge for a verdict that brought none.
const CHALLENGE: HeaderValue = HeaderValue::from_static("Bearer realm=\"api\"");

/// What is wrong with an answer that is no verdict, in its own header.
type Unclear = &'static str;

/// A verdict that lets nobody in, or an answer that is none.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum VerdictError {
    /// The credential is missing or not accepted; the challenge is auth-verifier's.
    #[error("the credential is not accepted")]
    Unauthenticated(HeaderValue),
    /// The caller is known, and may not do that.
    #[error("the caller may not do that")]
    Forbidden,
    /// auth-verifier can't know now, and says in how many seconds to try again. Its log says why.
    #[error("auth-verifier can't know for {0} s")]
    RetryAfter(u32),
    /// An answer of a status that no verdict has.
    #[error("auth-verifier answered {0}")]
    Status(StatusCode),
    /// A 200 without one clear caller.
    #[error("auth-verifier answered 200 {0}")]
    Unclear(Unclear),
}

/// Who is calling, and for how long that may be believed.
pub(super) struct Verdict {
    pub(super) caller: Caller,
    /// Counted from when auth-verifier was asked; nothing at all, unless it says otherwise.
    pub(super) life: Duration,
}

/// Somebody whom auth-verifier knows.
pub struct Caller {
    user: UserId,
    user_header: HeaderValue,
    email: Option<HeaderValue>,
    email_verified: Option<HeaderValue>,
    credential: Option<CredentialKind>,
    assertion: HeaderValue,
    credential_cookies: Option<CredentialCookies>,
    scopes: Option<CredentialScopes>,
    /// Boxed, as hardly anybody has it told.
    membership: Option<Box<Membership>>,
}

/// Reads a verdict.
pub(super) fn parse_verdict(answer: &response::Parts) -> Result<Verdict, VerdictError> {
    let headers = &answer.headers;
    match answer.status {
        StatusCode::OK => {}
        StatusCode::UNAUTHORIZED => {
            let challenge = single(headers, &header::WWW_AUTHENTICATE).ok();
            return Err(VerdictError::Unauthenticated(challenge.cloned().unwrap_or(CHALLENGE)));
        }
        StatusCode::FORBIDDEN => return Err(VerdictError::Forbidden),
        StatusCode::SERVICE_UNAVAILABLE if headers.contains_key(header::RETRY_AFTER) => {
            let secs = single(headers, &header::RETRY_AFTER).ok();
            let secs = secs.and_then(|secs| secs.to_str().ok()?.parse().ok()).unwrap_or(1);
            return Err(VerdictError::RetryAfter(secs.clamp(1, RETRY_AFTER_SECS_MAX)));
        }
        status => return Err(VerdictError::Status(status)),
    }
    let user_header =
        once(headers, &identity::USER_ID)?.ok_or(VerdictError::Unclear("without an x-user-id"))?;
    let user = user_header
        .to_str()
        .ok()
        .and_then(UserId::parse)
        .ok_or(VerdictError::Unclear("with an x-user-id that can't be one"))?;
    let assertion = once(headers, &identity::ASSERTION)?
        .filter(is_compact_jws)
        .ok_or(VerdictError::Unclear("without an x-identity-assertion"))?;
    let email = once(headers, &identity::USER_EMAIL)?
        .filter(|email| email.to_str().ok().and_then(Email::parse).is_some());
    let email_verified = once(headers, &identity::USER_EMAIL_VERIFIED)?
        .filter(|told| email.is_some() && (told == "true" || told == "false"));
    let credential = once(headers, &identity::CREDENTIAL)?.as_ref().and_then(CredentialKind::parse);
    let credential_cookies =
        once(headers, &identity::CREDENTIAL_COOKIES)?.as_ref().and_then(CredentialCookies::parse);
    let scopes = once(headers, &identity::CREDENTIAL_SCOPES)?.as_ref().and_then(CredentialScopes::parse);
    let membership = if MEMBERSHIP.iter().any(|name| headers.contains_key(name)) {
        for name in &MEMBERSHIP {
            once(headers, name)?;
        }
        Membership::parse(headers).map(Box::new)
    } else {
        None
    };
    let caller = Caller {
        user,
        user_header,
        email,
        email_verified,
        credential,
        assertion,
        credential_cookies,
        scopes,
        membership,
    };
    Ok(Verdict { caller, life: life(headers) })
}

/// How long a verdict may be used again (RFC 9111 §5.2.2). Whatever is not clear, or has passed another cache, forbids it.
fn life(headers: &HeaderMap) -> Duration {
    let max_age = || {
        if headers.contains_key(header::AGE) || headers.contains_key(header::VARY) {
            return None;
        }
        let told = single(headers, &header::CACHE_CONTROL).ok()?.to_str().ok()?;
        // As auth-verifier writes it.
        if let Some(secs) = told.strip_prefix("private, max-age=")
            && secs.bytes().all(|byte| byte.is_ascii_digit())
        {
            return secs.parse().ok();
        }
        let mut max_age = None;
        for directive in told.split(',') {
            match directive.trim().split_once('=') {
                Some(("max-age", secs))
                    if max_age.is_none() && secs.bytes().all(|byte| byte.is_ascii_digit()) =>
                {
                    max_age = Some(secs.parse().ok()?);
                }
                None if directive.trim() == "private" => {}
                _ => return None,
            }
        }
        max_age
    };
    Duration::from_secs(max_age().unwrap_or(0))
}

fn once(headers: &HeaderMap, name: &HeaderName) -> Result<Option<HeaderValue>, VerdictError> {
    match single(headers, name) {
        Ok(value) => Ok(Some(value.clone())),
        Err(NotSingle::Missing) => Ok(None),
        Err(NotSingle::Repeated) => Err(VerdictError::Unclear("with one of its headers twice")),
    }
}

/// Three parts in base64url (RFC 7515 §7.1). Whether the signature is good, the services find out.
fn is_compact_jws(value: &HeaderValue) -> bool {
    let bytes = value.as_bytes();
    // Base64url (RFC 4648 §5), and the dots. Each byte is looked at, whatever those before are: so that is done to sixteen at a
    // time.
    let is_sound = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_' || byte == b'.';
    let sound = bytes.iter().fold(true, |sound, byte| sound & is_sound(*byte));
    let dots: usize = bytes.iter().map(|byte| usize::from(*byte == b'.')).sum();
    sound && dots == 2 && value.len() <= ASSERTION_BYTES_MAX
}

impl Caller {
    /// The same in memory of its own: what was read off an answer holds all of the buffer that the answer was in.
    pub(super) fn detached(self) -> Self {
        let own = |value: HeaderValue| HeaderValue::from_bytes(value.as_bytes()).unwrap_or(value);
        Self {
            user_header: own(self.user_header),
            email: self.email.map(own),
            email_verified: self.email_verified.map(own),
            assertion: own(self.assertion),
            ..self
        }
    }

    /// The user.
    pub fn user(&self) -> &UserId {
        &self.user
    }

    /// By which kind of credential the caller is known, if the verdict says so clearly.
    pub fn credential(&self) -> Option<CredentialKind> {
        self.credential
    }

    /// What that was granted, if the verdict says so clearly.
    pub fn scopes(&self) -> Option<&CredentialScopes> {
        self.scopes.as_ref()
    }

    /// Whether the caller is known by a token, which no browser sends by itself.
    pub fn is_by_bearer(&self) -> bool {
        self.credential == Some(CredentialKind::Bearer)
    }

    /// Which cookies are credentials, if the verdict says so clearly.
    pub fn credential_cookies(&self) -> Option<&CredentialCookies> {
        self.credential_cookies.as_ref()
    }

    /// The headers that say who it is.
    pub fn headers(&self) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        [
            (identity::USER_ID, Some(self.user_header.clone())),
            (identity::ASSERTION, Some(self.assertion.clone())),
            (identity::USER_EMAIL, self.email.clone()),
            (identity::USER_EMAIL_VERIFIED, self.email_verified.clone()),
            (identity::CREDENTIAL, self.credential.map(CredentialKind::value)),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .chain(self.membership.iter().flat_map(|membership| membership.headers()))
    }
}

#[cfg(test)]
mod tests {
    use http::Response;

    use super::*;

    fn verdict(status: u16, fields: &[(&str, &str)]) -> Result<Caller, VerdictError> {
        parsed(status, fields).map(|verdict| verdict.caller)
    }

    fn parsed(status: u16, fields: &[(&str, &str)]) -> Result<Verdict, VerdictError> {
        let mut answer = Response::builder().status(status);
        for (name, value) in fields {
            answer = answer.header(*name, *value);
        }
        parse_verdict(&answer.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn when_to_try_again_is_auth_verifiers_to_say_within_a_bound() {
        for (said, told) in [("7", 7), ("0", 1), ("86400", 300), ("soon", 1), ("-1", 1)] {
            assert_eq!(
                verdict(503, &[("retry-after", said)]).err(),
                Some(VerdictError::RetryAfter(told)),
                "{said}"
            );
        }
        assert!(matches!(verdict(503, &[]).err(), Some(VerdictError::Unclear(_) | VerdictError::Status(_))));
    }

    #[test]
    fn a_verdict_is_believed_only_whole() {
        let good = [("x-user-id", "u1"), ("x-identity-assertion", "a.b.c"), ("x-credential", "bearer")];
        let headers: Vec<_> = verdict(200, &good).unwrap().headers().collect();
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
            assert!(
                matches!(verdict(200, fields), Err(VerdictError::Unclear(_) | VerdictError::Status(_))),
                "{fields:?}"
            );
        }
        for status in [201, 204, 302, 400, 404, 500, 503] {
            assert!(
                matches!(verdict(status, &good), Err(VerdictError::Unclear(_) | VerdictError::Status(_))),
                "{status}"
            );
        }
        assert!(matches!(verdict(401, &good), Err(VerdictError::Unauthenticated(_))));
        assert!(matches!(verdict(403, &good), Err(VerdictError::Forbidden)));
    }

    #[test]
    fn a_role_and_an_organization_go_on_as_auth_verifier_tells_them() {
        let good = [("x-user-id", "u1"), ("x-identity-assertion", "a.b.c")];
        let told = [
            ("x-user-role", "authenticated"),
            ("x-user-organization-id", "o1"),
            ("x-user-organization-slug", "acme"),
            ("x-user-organization-role", "owner"),
        ];
        let some = verdict(200, &[&good[..], &told[..2]].concat()).unwrap();
        assert_eq!(some.headers().count(), 4);
        let headers: Vec<_> = verdict(200, &[&good[..], &told].concat()).unwrap().headers().collect();
        for (name, value) in told {
            assert!(headers.iter().any(|(found, is)| found == name && is == value), "{name}");
            let twice = verdict(200, &[&good[..], &told, &[(name, "other")]].concat());
            assert!(matches!(twice, Err(VerdictError::Unclear(_))), "{name}");
        }
        let lone = verdict(200, &[&good[..], &told[2..]].concat()).unwrap();
        assert_eq!(lone.headers().count(), 2, "of no organization");
    }

    #[test]
    fn a_verdict_is_used_again_only_as_long_as_it_clearly_says() {
        for (fields, secs) in [
            (&[("cache-control", "private, max-age=5")][..], 5),
            (&[("cache-control", "max-age=119")], 119),
            (&[("cache-control", "private,max-age=0")], 0),
            (&[], 0),
            (&[("cache-control", "")], 0),
            (&[("cache-control", "private")], 0),
            (&[("cache-control", "no-store, max-age=5")], 0),
            (&[("cache-control", "max-age=5, no-cache")], 0),
            (&[("cache-control", "max-age=5, max-age=6")], 0),
            (&[("cache-control", "max-age=-5")], 0),
            (&[("cache-control", "max-age=")], 0),
            (&[("cache-control", "max-age=99999999999999999999")], 0),
            (&[("cache-control", "s-maxage=5")], 0),
            (&[("cache-control", "max-age=5"), ("cache-control", "max-age=5")], 0),
            (&[("cache-control", "max-age=5"), ("age", "3")], 0),
            (&[("cache-control", "max-age=5"), ("vary", "*")], 0),
        ] {
            let good = [("x-user-id", "u1"), ("x-identity-assertion", "a.b.c")];
            let verdict = parsed(200, &[&good[..], fields].concat()).unwrap();
            assert_eq!(verdict.life, Duration::from_secs(secs), "{fields:?}");
        }
    }

    #[test]
    fn the_challenge_is_passed_on() {
        let Err(VerdictError::Unauthenticated(challenge)) =
            verdict(401, &[("www-authenticate", "Bearer error=\"x\"")])
        else {
            panic!("unauthenticated")
        };
        assert_eq!(challenge, "Bearer error=\"x\"");
        assert_eq!(verdict(401, &[]).err(), Some(VerdictError::Unauthenticated(CHALLENGE)));
    }
}
