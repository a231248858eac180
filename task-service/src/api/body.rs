//! The body of a request: JSON, of a bounded size, within a bounded time.

use bytes::Bytes;
use chassis::{Body, json::Malformed};
use http::{HeaderMap, HeaderValue, header};
use http_body::Body as _;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::time::timeout;

use super::{dialect, refusal::Refusal};
use crate::{settings::BodyLimits, task};

/// A request's body, which nobody has read yet.
pub(super) struct JsonBody<'a> {
    headers: &'a HeaderMap,
    body: Body,
    limits: BodyLimits,
}

/// The same, read; `None` if it was empty.
pub(super) struct Read(Option<Bytes>);

impl<'a> JsonBody<'a> {
    pub(super) fn new(headers: &'a HeaderMap, body: Body, limits: BodyLimits) -> Self {
        Self { headers, body, limits }
    }

    pub(super) async fn read(self) -> Result<Read, Refusal> {
        let BodyLimits { bytes_max, wait } = self.limits;
        // One that announces more than we take is not read at all.
        if self.body.size_hint().lower() > bytes_max as u64 {
            return Err(Refusal::TooLarge(bytes_max));
        }
        let collected = timeout(wait, Limited::new(self.body, bytes_max).collect()).await;
        let body = collected.map_err(|_| Refusal::TooSlow)?.map_err(|error| {
            if error.is::<LengthLimitError>() { Refusal::TooLarge(bytes_max) } else { Refusal::Incomplete }
        })?;
        let bytes = body.to_bytes();
        // Clients set a content type on a request without a body, too; it says nothing then.
        if bytes.is_empty() {
            return Ok(Read(None));
        }
        if is_json(self.headers) { Ok(Read(Some(bytes))) } else { Err(Refusal::NotJsonType) }
    }
}

impl Read {
    /// As it came.
    pub(super) fn bytes(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }

    pub(super) fn required(&self) -> Result<task::Body<'_>, Refusal> {
        self.optional()?.ok_or(Refusal::NoBody)
    }

    pub(super) fn optional(&self) -> Result<Option<task::Body<'_>>, Refusal> {
        let body = self.0.as_deref().map(task::Body::read).transpose();
        let body = body.map_err(|Malformed { line, column }| Refusal::NotJson { line, column })?;
        Ok(body.map(dialect::body))
    }
}

/// Whether the headers allow for JSON. A body of no stated type may be.
fn is_json(headers: &HeaderMap) -> bool {
    let plain = headers.get_all(header::CONTENT_ENCODING).iter().all(|coding| coding == "identity");
    plain && headers.get_all(header::CONTENT_TYPE).iter().all(names_json)
}

/// `application/json` or `application/anything+json`, with whatever parameters.
fn names_json(value: &HeaderValue) -> bool {
    let Ok(text) = value.to_str() else { return false };
    let essence = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence.split_once('/').is_some_and(|(kind, subtype)| {
        !kind.is_empty() && (essence == "application/json" || subtype.ends_with("+json"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_goes_by_several_names() {
        for good in [
            "application/json",
            "Application/JSON",
            "application/json; charset=utf-8",
            "application/json;charset=\"UTF-8\"",
            "application/merge-patch+json",
            "application/vnd.api+json ; ext=\"x\"",
        ] {
            assert!(names_json(&HeaderValue::from_static(good)), "{good}");
        }
        for bad in
            ["", "json", "text/plain", "application/x-www-form-urlencoded", "application/jsonp", "/a+json"]
        {
            assert!(!names_json(&HeaderValue::from_static(bad)), "{bad}");
        }
    }

    #[test]
    fn every_header_has_its_say() {
        let headers = |pairs: &[(http::HeaderName, &'static str)]| -> HeaderMap {
            pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
        };
        let json = (header::CONTENT_TYPE, "application/json");
        assert!(is_json(&headers(&[])));
        assert!(is_json(&headers(&[json.clone(), (header::CONTENT_ENCODING, "identity")])));
        assert!(!is_json(&headers(&[json.clone(), (header::CONTENT_ENCODING, "gzip")])));
        assert!(!is_json(&headers(&[json, (header::CONTENT_TYPE, "text/plain")])));
    }
}
