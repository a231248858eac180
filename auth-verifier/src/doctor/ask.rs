//! One question over HTTP, and whatever comes back: unlike the service, the doctor wants to see a wrong answer.

use std::time::{Duration, Instant};

use axum::body::to_bytes;
use bytes::Bytes;
use chassis::{
    Body,
    client::{Client, chain},
    document::BYTES_MAX,
};
use http::{HeaderMap, Request, StatusCode, header, request::Builder};
use tokio::time::timeout;

use super::ANSWER;

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
                format!("answers {status} and leads to {}, which is not followed", crate::Claimed::new(to))
            }
            (StatusCode::OK, _) if self.is_html() => "answers with a page (HTML)".to_owned(),
            (status, _) => format!("answers {status}"),
        }
    }
}

/// Asks; an error says in half a sentence why there is no answer.
pub(super) async fn ask(client: &Client, request: Builder, body: &'static str) -> Result<Answer, String> {
    let asked = Instant::now();
    let answer = async {
        let request = request
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, concat!("usher/", env!("CARGO_PKG_VERSION")))
            .body(Body::from(body))
            .map_err(|error| error.to_string())?;
        let response = client.request(request).await.map_err(|error| chain(&error))?;
        let (parts, body) = response.into_parts();
        let body = to_bytes(Body::new(body), BYTES_MAX).await.map_err(|error| chain(&error))?;
        Ok(Answer { status: parts.status, headers: parts.headers, body, took: asked.elapsed() })
    };
    timeout(ANSWER, answer).await.unwrap_or_else(|_| Err(format!("no answer within {ANSWER:?}")))
}

/// Asks for a document.
pub(super) async fn get(client: &Client, url: &str) -> Result<Answer, String> {
    ask(client, Request::get(url), "").await
}
