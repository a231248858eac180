//! Why a request is turned away, and what the client is told: one table.

use chassis::{
    layer::problem::{FieldError, Problem},
    outbound::database::{DatabaseError, DatabaseErrorKind},
};
use http::{HeaderName, HeaderValue, StatusCode, header};
use tracing::{error, warn};

use crate::task::once::Once;

/// Why a request is turned away.
#[derive(Debug)]
pub(super) enum Refusal {
    NoSuchPath,
    /// With what the path does answer to, as an `Allow` header lists it.
    MethodNotAllowed(&'static str),
    /// The path names another user.
    NotYours,
    /// Unknown, or another user's: the client must not be able to tell which.
    NoSuchTask,
    /// The task is there, in another version than the client means.
    Stale,
    /// A header with a condition that can't be read.
    BadPrecondition(HeaderName),
    /// An `Idempotency-Key` that is none.
    BadKey,
    /// Its key was used for something else.
    KeyReused,
    /// The same is being done at this moment.
    StillRunning,
    /// The user has used as many keys as one may.
    TooManyKeys,
    NoBody,
    NotJson {
        line: usize,
        column: usize,
    },
    NotJsonType,
    /// With the limit, in bytes.
    TooLarge(usize),
    TooSlow,
    /// The body broke off.
    Incomplete,
    /// Well-formed, but wrong.
    Invalid(Vec<FieldError>),
    Store(DatabaseError),
}

impl From<DatabaseError> for Refusal {
    fn from(error: DatabaseError) -> Self {
        Self::Store(error)
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        use StatusCode as Is;
        match refusal {
            Refusal::NoSuchPath => Self::new(Is::NOT_FOUND, "not-found", "there is nothing at this path"),
            Refusal::MethodNotAllowed(methods) => Self::new(
                Is::METHOD_NOT_ALLOWED,
                "method-not-allowed",
                "this path does not answer to that method; the Allow header lists those that it does",
            )
            .with_header(header::ALLOW, HeaderValue::from_static(methods)),
            Refusal::NotYours => Self::new(
                Is::FORBIDDEN,
                "forbidden",
                "the path names another user; use your own id, or /api/tasks",
            ),
            Refusal::NoSuchTask => Self::new(Is::NOT_FOUND, "not-found", "there is no such task"),
            Refusal::Stale => Self::new(
                Is::PRECONDITION_FAILED,
                "precondition-failed",
                "it has changed since you read it; read it again, and repeat what you want if you still do",
            ),
            Refusal::BadPrecondition(name) => {
                let detail = format!("{name} must be * or a list of entity tags, such as \"3\", \"4\"");
                Self::new(Is::BAD_REQUEST, "bad-precondition", detail)
            }
            Refusal::BadKey => {
                let detail = format!(
                    "send one Idempotency-Key, of 1 to {} visible characters without a space",
                    Once::KEY_CHARS_MAX
                );
                Self::new(Is::BAD_REQUEST, "bad-idempotency-key", detail)
            }
            Refusal::KeyReused => Self::new(
                Is::UNPROCESSABLE_ENTITY,
                "idempotency-key-reused",
                "this Idempotency-Key was used for another request within 24 hours; make a new one for each",
            ),
            Refusal::StillRunning => Self::new(
                Is::CONFLICT,
                "still-running",
                "a request with this Idempotency-Key is being carried out; repeat it in a moment to hear how it went",
            )
            .retry_after_secs(1),
            Refusal::TooManyKeys => Self::new(
                Is::TOO_MANY_REQUESTS,
                "too-many-idempotency-keys",
                "too many requests with an Idempotency-Key within 24 hours; send it later, or without one",
            )
            .retry_after_secs(600),
            Refusal::NoBody => {
                Self::new(Is::BAD_REQUEST, "not-json", "the body is empty; send a JSON object")
            }
            Refusal::NotJson { line, column } => {
                let detail = format!("the body is not JSON (line {line}, column {column})");
                Self::new(Is::BAD_REQUEST, "not-json", detail)
            }
            Refusal::NotJsonType => Self::new(
                Is::UNSUPPORTED_MEDIA_TYPE,
                "unsupported-media-type",
                "send the body as application/json, not compressed",
            ),
            Refusal::TooLarge(bytes_max) => {
                let detail = format!("the body is larger than {bytes_max} bytes");
                Self::new(Is::PAYLOAD_TOO_LARGE, "too-large", detail)
            }
            Refusal::TooSlow => Self::new(Is::REQUEST_TIMEOUT, "too-slow", "the body did not arrive in time"),
            Refusal::Incomplete => Self::new(Is::BAD_REQUEST, "incomplete", "the body broke off"),
            Refusal::Invalid(errors) => {
                // Frontends show only this sentence, so it says all of it.
                let detail: Vec<_> =
                    errors.iter().map(|error| format!("{} {}", error.field, error.detail)).collect();
                Self::new(Is::UNPROCESSABLE_ENTITY, "invalid", detail.join("; ")).with_errors(errors)
            }
            Refusal::Store(error) => stored(&error),
        }
    }
}

fn stored(error: &DatabaseError) -> Problem {
    use DatabaseErrorKind::{Busy, Fault, Lost, TimedOut, Transient, Unreachable};
    let DatabaseError { kind, not_applied, .. } = *error;
    match kind {
        Fault => {
            error!(%error, "the database does not understand us: somebody changed our tables, or it is a bug of ours");
        }
        Busy | Unreachable | Lost | Transient | TimedOut => {
            warn!(%error, ?kind, not_applied, "no answer from the database");
        }
    }
    let unavailable = |code, detail| Problem::new(StatusCode::SERVICE_UNAVAILABLE, code, detail);
    let away =
        || unavailable("database-unavailable", "the tasks are out of reach right now; try again in a moment");
    match kind {
        Fault => Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "something went wrong on our side; it has been noted",
        ),
        // No Retry-After: a client that repeats by itself might do it twice.
        Busy | Unreachable | Lost | Transient | TimedOut if !not_applied => unavailable(
            "outcome-unknown",
            "the connection to the database was lost on the way; look whether the change was made before you repeat it",
        ),
        // Where it was the user's own share that was full, another instance would give them a second one.
        Busy => unavailable("busy", "too many requests at once; try again in a moment").retry_after_secs(1),
        Transient if error.is_read_only() => nothing_done(unavailable(
            "database-read-only",
            "the tasks can only be read right now, and nothing was changed; try again in a while",
        ))
        .retry_after_secs(2),
        Unreachable | Lost | Transient => nothing_done(away()).retry_after_secs(2),
        // A statement that ran for all of its time would do so beside the same database again.
        TimedOut => away().retry_after_secs(2),
    }
}

/// Tells the gateway that nothing was changed, so that it may ask another instance.
pub(crate) fn nothing_done(problem: Problem) -> Problem {
    problem.with_header(identity::NOT_APPLIED, identity::truth(true))
}
