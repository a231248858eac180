//! The body of a request: JSON, of a bounded size, within a bounded time.

use std::sync::Arc;

use axum::{
    body::{Bytes, HttpBody},
    extract::{FromRequest, Request},
};
use chassis::json::Malformed;
use http::{HeaderMap, HeaderValue, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::time::timeout;

use super::{Api, refusal::Refusal};
use crate::task::Body;

/// A request's body, if it has one.
pub(super) struct Input(Option<Bytes>);

impl Input {
    pub(super) fn required(&self) -> Result<Body<'_>, Refusal> {
        self.optional()?.ok_or(Refusal::NoBody)
    }

    pub(super) fn optional(&self) -> Result<Option<Body<'_>>, Refusal> {
        let body = self.0.as_deref().map(Body::read).transpose();
        body.map_err(|Malformed { line, column }| Refusal::NotJson { line, column })
    }
}

impl FromRequest<Arc<Api>> for Input {
    type Rejection = Refusal;

    async fn from_request(request: Request, api: &Arc<Api>) -> Result<Self, Refusal> {
        let bytes_max = api.limits.body_bytes;
        let (parts, body) = request.into_parts();
        // One that announces more than we take is not read at all.
        if HttpBody::size_hint(&body).lower() > bytes_max as u64 {
            return Err(Refusal::TooLarge(bytes_max));
        }
        let collected = timeout(api.limits.body_wait, Limited::new(body, bytes_max).collect()).await;
        let body = collected.map_err(|_| Refusal::TooSlow)?.map_err(|error| {
            if error.is::<LengthLimitError>() { Refusal::TooLarge(bytes_max) } else { Refusal::Incomplete }
        })?;
        let bytes = body.to_bytes();
        // Clients set a content type on a request without a body, too; it says nothing then.
        if bytes.is_empty() {
            return Ok(Self(None));
        }
        if !is_json(&parts.headers) {
            return Err(Refusal::NotJsonType);
        }
        Ok(Self(Some(bytes)))
    }
}

/// Whether the headers allow for a body in JSON. One that doesn't say what it is may be it.
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
