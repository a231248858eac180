//! The few bytes of gRPC that a server needs to be asked by Envoy, and to answer it well or badly.

use auth_verifier::transport::grpc::message::{
    CheckRequest, CheckResponse, DeniedHttpResponse, HeaderValue, HeaderValueOption, HttpResponse,
    HttpStatus, OVERWRITE_IF_EXISTS_OR_ADD, OkHttpResponse, Status,
};
use axum::body::Bytes;
use chassis::Body;
use http::{HeaderMap, HeaderName, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use prost::Message;

/// gRPC's `UNKNOWN`, by which anything but 0 can be said.
const UNKNOWN: i32 = 2;

/// Each message has a byte for its compression and four for its length before it.
const PREFIX: usize = 5;

/// An answer that is none.
#[derive(Clone, Copy, Debug)]
pub enum Trouble {
    /// The call fails.
    Failed,
    /// The message is empty, which says OK to those who don't look closely.
    Empty,
    /// The message can't be read.
    Garbage,
}

impl Trouble {
    /// What the client hears.
    pub fn status(self) -> StatusCode {
        match self {
            Self::Failed | Self::Garbage | Self::Empty => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// The headers of the request that is asked about, by a call with these.
pub fn asked(call: &HeaderMap, body: &[u8]) -> HeaderMap {
    let check = CheckRequest::decode(&body[PREFIX..]).unwrap();
    let http = check.attributes.unwrap().request.unwrap().http.unwrap();
    let raw = http.header_map.unwrap_or_default().headers;
    let headers = http.headers.into_iter().chain(raw).map(|HeaderValue { key, value, raw_value }| {
        (key.parse::<HeaderName>().unwrap(), [value, raw_value].concat().try_into().unwrap())
    });
    let headers: HeaderMap = headers.collect();
    assert_eq!(call.get("x-request-id"), headers.get("x-request-id"), "one id in both logs");
    headers
}

/// Says over gRPC what this answer says over HTTP.
pub fn say(answer: Response<Body>) -> Response<Body> {
    let message = match answer.extensions().get::<Trouble>() {
        Some(Trouble::Failed) => return with_status(Bytes::new(), "14"),
        Some(Trouble::Empty) => Vec::new(),
        Some(Trouble::Garbage) => vec![0xff; 9],
        None => verdict(&answer).encode_to_vec(),
    };
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    with_status([&[0][..], &length, &message].concat().into(), "0")
}

fn verdict(answer: &Response<Body>) -> CheckResponse {
    let option = |(name, value): (&HeaderName, &http::HeaderValue)| HeaderValueOption {
        header: Some(HeaderValue {
            key: name.to_string(),
            value: value.as_bytes().to_vec(),
            raw_value: Vec::new(),
        }),
        append_action: OVERWRITE_IF_EXISTS_OR_ADD,
    };
    let headers = answer.headers().iter().map(option).collect();
    let (code, http) = if answer.status().is_success() {
        (0, HttpResponse::Ok(OkHttpResponse { headers, headers_to_remove: Vec::new() }))
    } else {
        let status = Some(HttpStatus { code: answer.status().as_u16().into() });
        (UNKNOWN, HttpResponse::Denied(DeniedHttpResponse { status, headers, body: String::new() }))
    };
    CheckResponse { status: Some(Status { code }), http_response: Some(http) }
}

fn with_status(message: Bytes, status: &'static str) -> Response<Body> {
    let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), status.parse().unwrap())]);
    let body = Full::new(message).with_trailers(async { Some(Ok(trailers)) });
    Response::builder().header("content-type", "application/grpc").body(Body::new(body)).unwrap()
}
