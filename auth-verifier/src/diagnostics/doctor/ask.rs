//! One request over HTTP, and whatever comes back: unlike the service, the doctor wants to see a wrong answer.

use std::{
    fmt,
    time::{Duration, Instant},
};

use bytes::Bytes;
use chassis::{
    Body,
    outbound::{
        client::{Client, chain, is_distrust},
        refreshed::BYTES_MAX,
    },
};
use http::{HeaderMap, Request, StatusCode, header, request::Builder};
use http_body_util::{BodyExt, Limited};
use tokio::time::timeout;
use url::{Position, Url};

use super::{ANSWER, Doctor};

/// What came back.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) took: Duration,
}

impl Answer {
    pub(super) fn is_html(&self) -> bool {
        let kind = self.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        kind.is_some_and(|kind| kind.starts_with("text/html"))
            || self.body.trim_ascii_start().starts_with(b"<")
    }

    /// What kind of answer it is, for a sentence: `answers 404 Not Found`.
    pub(super) fn told(&self) -> String {
        let to = self.headers.get(header::LOCATION).and_then(|value| value.to_str().ok());
        match (self.status, to) {
            (status, Some(to)) if status.is_redirection() => {
                // What stands behind the path may be anything.
                let to = to.split(['?', '#']).next().unwrap_or_default();
                format!(
                    "answers {status} and leads to {}, which is not followed",
                    crate::rejection::Untrusted::new(to)
                )
            }
            (StatusCode::OK, _) if self.is_html() => "answers with a page (HTML)".to_owned(),
            (status, _) => format!("answers {status}"),
        }
    }
}

/// Asks for a document.
pub(super) async fn get(client: &Client, url: &str) -> Result<Answer, NoAnswer> {
    ask(client, Request::get(url), "").await
}

/// Why there is no answer, in half a sentence.
pub(super) struct NoAnswer {
    why: String,
    /// Whether the server's certificate did not convince us.
    pub(super) distrust: bool,
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

/// Asks a URL, and reads the answer within its bounds.
async fn ask(client: &Client, request: Builder, body: &'static str) -> Result<Answer, NoAnswer> {
    let other = |why: String| NoAnswer { why, distrust: false };
    let asked = Instant::now();
    let answer = async {
        let request = request
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, concat!("usher/", env!("CARGO_PKG_VERSION")))
            .body(Body::from(body))
            .map_err(|error| other(error.to_string()))?;
        let response = client
            .request(request)
            .await
            .map_err(|error| NoAnswer { why: chain(&error), distrust: is_distrust(&error) })?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, BYTES_MAX).collect().await.map_err(|error| other(chain(&*error)))?;
        let body = body.to_bytes();
        Ok(Answer { status: parts.status, headers: parts.headers, body, took: asked.elapsed() })
    };
    timeout(ANSWER, answer).await.unwrap_or_else(|_| Err(other(format!("no answer within {ANSWER:?}"))))
}

impl Doctor<'_> {
    /// Asks for a document of Better Auth's, as the service does.
    pub(super) async fn get(&self, url: &str) -> Result<Answer, NoAnswer> {
        self.ask(url, Request::get(url), "").await
    }

    /// The same, by a request to `url` that says more.
    pub(super) async fn ask(
        &self,
        url: &str,
        mut request: Builder,
        body: &'static str,
    ) -> Result<Answer, NoAnswer> {
        if let Some(headers) = request.headers_mut() {
            headers.extend(self.plan.better_auth.headers(url));
        }
        ask(&self.client, request, body).await
    }

    /// As whom Better Auth is asked at `url`.
    pub(super) fn asked_as(&self, url: &str) -> String {
        let headers = self.plan.better_auth.headers(url);
        let told = headers.get(header::HOST).and_then(|host| host.to_str().ok()).map(ToOwned::to_owned);
        let own = || Some(Url::parse(url).ok()?[Position::BeforeHost..Position::AfterPort].to_owned());
        told.or_else(own).unwrap_or_default()
    }
}
