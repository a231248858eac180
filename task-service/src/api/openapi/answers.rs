//! What comes back: the statuses that are refusals, the gateway's among them, and the headers of all answers.

use utoipa::openapi::{
    ContentBuilder, Header, HeaderBuilder, Ref, RefOr,
    response::{Response, ResponseBuilder},
    schema::{ObjectBuilder, Schema, Type},
};

use super::schemas::{PROBLEM, named, text};
use crate::settings::BodyLimits;

/// A status by which a request is turned away.
pub(super) struct Refused {
    pub(super) status: u16,
    /// Among the components.
    pub(super) name: &'static str,
    /// `{}` is the largest body.
    description: &'static str,
    headers: &'static [&'static str],
}

/// All of them, as the gateway and task-service have them in their `refusal` tables.
pub(super) const PROBLEMS: [Refused; 20] = [
    of(
        400,
        "BadRequest",
        "It can't be read: the body is no JSON or broke off, a header or the address is malformed.",
        &[],
    ),
    of(401, "Unauthenticated", "No valid credential came with it: sign in.", &["WWW-Authenticate"]),
    of(
        403,
        "Forbidden",
        "The caller is known, and may not: the path names another user, the account is banned, or a page of a foreign origin asks by a cookie.",
        &[],
    ),
    of(404, "NotFound", "There is no such task, or it is another user's.", &[]),
    of(405, "MethodNotAllowed", "The path doesn't answer to this method.", &["Allow"]),
    of(408, "TooSlow", "The body did not arrive in time.", &[]),
    of(
        409,
        "StillRunning",
        "A request with the same Idempotency-Key is being carried out: repeat it in a moment to hear how it went.",
        &["Retry-After"],
    ),
    of(412, "PreconditionFailed", "It is not in the state that If-Match or If-None-Match asks for.", &[]),
    of(413, "TooLarge", "The body is larger than {} bytes.", &[]),
    of(414, "TargetTooLong", "The address is too long.", &[]),
    of(415, "UnsupportedMediaType", "The body is not said to be JSON, or it is compressed.", &[]),
    of(417, "UnknownExpectation", "No Expect but `100-continue` is known.", &[]),
    of(
        422,
        "Invalid",
        "It can be read, and is wrong: `errors` names each field or parameter. Or its Idempotency-Key was used for something else.",
        &[],
    ),
    of(
        429,
        "TooManyRequests",
        "Too many requests of this client or user at once, or in a while.",
        &["Retry-After"],
    ),
    of(431, "HeadTooLarge", "The header fields are too many, or too large.", &[]),
    of(500, "Internal", "Something is wrong on our side; it has been noted.", &[]),
    of(501, "UnknownCoding", "No Transfer-Encoding but chunked is known.", &[]),
    of(
        502,
        "Broken",
        "A complete answer did not come. Look whether the change was made before trying again.",
        &[],
    ),
    of(
        503,
        "Unavailable",
        "It can't be done right now. Where Retry-After stands, it is safe to try again then; where not, look first whether the change was made.",
        &["Retry-After"],
    ),
    of(
        504,
        "TimedOut",
        "An answer did not come in time. Look whether the change was made before trying again.",
        &[],
    ),
];

/// What every request may be answered: somebody refuses it before anybody looks at what it asks for.
pub(super) const ANY: [u16; 13] = [400, 405, 408, 413, 414, 417, 429, 431, 500, 501, 502, 503, 504];

/// What the gateway may answer on the paths that lead nowhere else.
pub(super) const AT_THE_DOOR: [u16; 5] = [400, 405, 414, 431, 501];

/// What stands with every answer.
pub(super) const ALWAYS: [&str; 2] = ["Cache-Control", "X-Request-Id"];

/// What may stand with every answer of a route whose rate is limited.
pub(super) const RATE: [&str; 2] = ["RateLimit", "RateLimit-Policy"];

const fn of(
    status: u16,
    name: &'static str,
    description: &'static str,
    headers: &'static [&'static str],
) -> Refused {
    Refused { status, name, description, headers }
}

impl Refused {
    pub(super) fn response(&self, limits: &BodyLimits) -> Response {
        let content = ContentBuilder::new().schema(Some(named(PROBLEM))).build();
        let description = self.description.replace("{}", &limits.bytes_max.to_string());
        let headers = self.headers.iter().chain(&ALWAYS).chain(&RATE).copied();
        with_headers(ResponseBuilder::new().description(description), headers)
            .content("application/problem+json", content.clone())
            // For clients that would rather have it.
            .content("application/json", content)
            .build()
    }
}

/// The refusal of a status.
pub(super) fn refusal(status: u16) -> Ref {
    Ref::from_response_name(refused(status).name)
}

fn refused(status: u16) -> &'static Refused {
    PROBLEMS.iter().find(|problem| problem.status == status).expect("every status has its row")
}

/// An answer with these headers, by their names among the components.
pub(super) fn with_headers(
    response: ResponseBuilder,
    names: impl Iterator<Item = &'static str>,
) -> ResponseBuilder {
    names.fold(response, |response, name| {
        response.header_ref(name, Ref::new(format!("#/components/headers/{name}")))
    })
}

/// All headers of answers.
pub(super) fn headers() -> [(&'static str, Header); 11] {
    let number = || ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0));
    let tag = || text().pattern(Some("^(W/)?\"[!#-~]*\"$"));
    [
        header("Allow", text(), "The methods that the path answers to."),
        header("Cache-Control", text(), "Whether it may be kept, and by whom."),
        header("ETag", tag(), "Names this state: of a task it is strong, of all else weak."),
        header("Link", text(), "`rel=\"next\"` is the next page. Without it this is the last one."),
        header("Location", text(), "Where the new task is."),
        header("RateLimit", text(), "What is left of the rate, where one is set."),
        header("RateLimit-Policy", text(), "The rate, where one is set."),
        header("Retry-After", number(), "After how many seconds to try again."),
        header("WWW-Authenticate", text(), "By what to authenticate (RFC 6750)."),
        header("X-Request-Id", text(), "The request's id, as in the logs."),
        header("X-Total-Count", number(), "How many tasks all pages have; where `total=true` asks for it."),
    ]
}

fn header(name: &'static str, schema: impl Into<RefOr<Schema>>, description: &str) -> (&'static str, Header) {
    (name, HeaderBuilder::new().schema(Some(schema)).description(Some(description)).build())
}
