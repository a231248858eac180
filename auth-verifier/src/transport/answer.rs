//! The answer to a verdict, whichever protocol carries it.

use chassis::layer::{access_log, problem::Problem};
use http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::{
    rejection::Rejection,
    verdict::{Caller, Verdict},
};

/// The caller, if the verdict knows one, or else the problem that the client is told.
pub fn to(verdict: Verdict) -> Result<Caller, Problem> {
    match verdict {
        Verdict::Known(caller) => {
            access_log::user(caller.user.as_str());
            Ok(caller)
        }
        Verdict::Rejected(rejection) => Err(rejected(&rejection)),
        Verdict::Banned => Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", "this account is banned")),
        Verdict::Unavailable(unavailable) => Err(Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "verifier-unavailable",
            "who is calling can't be checked right now; try again in a moment",
        )
        .retry_after_secs(unavailable.retry_after_secs())),
    }
}

/// How many headers an answer has, in front of those that hyper adds.
const HEADERS: usize = 8;

/// The headers that say who is calling. Those of [`identity::ALL`] that are not among them are not known.
pub(crate) fn identity(caller: Caller) -> HeaderMap {
    let Caller { user, email, email_verified, credential, membership, assertion, .. } = caller;
    let mut headers = HeaderMap::with_capacity(HEADERS);
    headers.insert(identity::USER_ID, user.value());
    if let Some(email) = email {
        headers.insert(identity::USER_EMAIL, email.value());
    }
    if let Some(is) = email_verified {
        headers.insert(identity::USER_EMAIL_VERIFIED, identity::truth(is));
    }
    headers.insert(identity::CREDENTIAL, credential.value());
    headers.insert(identity::ASSERTION, assertion);
    if let Some(membership) = membership {
        headers.extend(membership.headers());
    }
    headers
}

/// RFC 6750 §3: a request without any credential hears only the challenge, one with a bad token that it is bad, and one
/// with a token that does not allow enough that another of its kind would not help. Why it is bad is for the log.
fn rejected(rejection: &Rejection) -> Problem {
    let (status, challenge, code, detail) = match rejection.reason() {
        Rejection::Scope(_) => (
            StatusCode::FORBIDDEN,
            "Bearer realm=\"api\", error=\"insufficient_scope\", error_description=\"the token does not allow this\"",
            "insufficient-scope",
            "the token does not allow this; ask for one with the scopes that this API needs",
        ),
        Rejection::TooLong(bytes) => return too_long(*bytes),
        Rejection::Missing | Rejection::Scheme | Rejection::Literal(_) | Rejection::OtherCookie { .. } => (
            StatusCode::UNAUTHORIZED,
            "Bearer realm=\"api\"",
            "unauthenticated",
            "sign in, and send the token as Authorization: Bearer",
        ),
        _ => (
            StatusCode::UNAUTHORIZED,
            "Bearer realm=\"api\", error=\"invalid_token\", error_description=\"the token is expired, malformed or not valid here\"",
            "invalid-token",
            "the token is expired, malformed or not valid here; sign in again",
        ),
    };
    Problem::new(status, code, detail)
        .with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
}

/// Nothing was looked at, so nothing is given away; and to sign in again would make another of that length.
fn too_long(bytes: usize) -> Problem {
    let told = format!("the token is longer than {bytes} bytes, the most that is looked at");
    let challenge = format!("Bearer realm=\"api\", error=\"invalid_token\", error_description=\"{told}\"");
    let challenge = HeaderValue::try_from(challenge).expect("it is ASCII");
    let detail = format!("{told}; make it say less, or raise AUTH_VERIFIER_TOKEN_BYTES_MAX");
    Problem::new(StatusCode::UNAUTHORIZED, "token-too-long", detail)
        .with_header(header::WWW_AUTHENTICATE, challenge)
}
