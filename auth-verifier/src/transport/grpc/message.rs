//! The messages of `envoy.service.auth.v3`, as far as a check needs them.
//!
//! They are written by hand: the crate that has all of Envoy's API brings tonic's own server and client along and takes
//! longer to build than we do, and generating these few would need a compiler for them. Field numbers are for ever,
//! and a field that isn't named here is skipped, so Envoys to come are understood too.

use std::fmt;

use prost::{Message, Oneof};

/// Whether a request may pass.
#[derive(Clone, PartialEq, Message)]
pub struct CheckRequest {
    /// What Envoy knows of it.
    #[prost(message, optional, tag = "1")]
    pub attributes: Option<AttributeContext>,
}

/// What Envoy knows of a request.
#[derive(Clone, PartialEq, Message)]
pub struct AttributeContext {
    /// The request itself.
    #[prost(message, optional, tag = "4")]
    pub request: Option<Request>,
}

/// A request of any protocol.
#[derive(Clone, PartialEq, Message)]
pub struct Request {
    /// One of HTTP; Envoy's filter for connections sends none.
    #[prost(message, optional, tag = "2")]
    pub http: Option<HttpRequest>,
}

/// A request of HTTP, in one of the two forms that Envoy has for headers.
#[derive(Clone, PartialEq, Message)]
pub struct HttpRequest {
    /// Those of one name joined by a comma. It is a map, which travels as a list of its entries; read as that list, a
    /// name that stands twice is seen twice.
    #[prost(message, repeated, tag = "3")]
    pub headers: Vec<HeaderValue>,
    /// As they came, where `encode_raw_headers` is set.
    #[prost(message, optional, tag = "13")]
    pub header_map: Option<HeaderMap>,
}

/// A list of headers.
#[derive(Clone, PartialEq, Message)]
pub struct HeaderMap {
    /// The headers.
    #[prost(message, repeated, tag = "1")]
    pub headers: Vec<HeaderValue>,
}

/// A header, or an entry of a map of headers, which looks the same. Its `Debug` shows its name alone: it may be a
/// credential.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct HeaderValue {
    /// Its name, in lower case.
    #[prost(string, tag = "1")]
    pub key: String,
    /// Its value. Declared as text, which older Envoys don't keep to; one such header must not make the whole
    /// message unreadable.
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
    /// Its value, where `value` is empty.
    #[prost(bytes = "vec", tag = "3")]
    pub raw_value: Vec<u8>,
}

impl fmt::Debug for HeaderValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: …", self.key)
    }
}

/// Whether the request may pass, and what is to be changed about it.
#[derive(Clone, PartialEq, Message)]
pub struct CheckResponse {
    /// The request passes if its code is 0, whatever else is said.
    #[prost(message, optional, tag = "1")]
    pub status: Option<Status>,
    /// What is to be changed, or what the client is told.
    #[prost(oneof = "HttpResponse", tags = "2, 3")]
    pub http_response: Option<HttpResponse>,
}

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
pub struct Status {
    /// A code of gRPC's.
    #[prost(int32, tag = "1")]
    pub code: i32,
}

/// What is to be changed, or what the client is told.
#[derive(Clone, PartialEq, Oneof)]
pub enum HttpResponse {
    /// What the client is told.
    #[prost(message, tag = "2")]
    Denied(DeniedHttpResponse),
    /// What is to be changed.
    #[prost(message, tag = "3")]
    Ok(OkHttpResponse),
}

/// The answer to a client whose request doesn't pass.
#[derive(Clone, PartialEq, Message)]
pub struct DeniedHttpResponse {
    /// The answer's status.
    #[prost(message, optional, tag = "1")]
    pub status: Option<HttpStatus>,
    /// Its headers.
    #[prost(message, repeated, tag = "2")]
    pub headers: Vec<HeaderValueOption>,
    /// Its body.
    #[prost(string, tag = "3")]
    pub body: String,
}

/// A status of HTTP.
#[derive(Clone, PartialEq, Message)]
pub struct HttpStatus {
    /// Its number.
    #[prost(int32, tag = "1")]
    pub code: i32,
}

/// What is to be changed about a request that passes.
#[derive(Clone, PartialEq, Message)]
pub struct OkHttpResponse {
    /// Headers to put on.
    #[prost(message, repeated, tag = "2")]
    pub headers: Vec<HeaderValueOption>,
    /// Headers to take off, after those were put on.
    #[prost(string, repeated, tag = "5")]
    pub headers_to_remove: Vec<String>,
}

/// A header to put on.
#[derive(Clone, PartialEq, Message)]
pub struct HeaderValueOption {
    /// The header.
    #[prost(message, optional, tag = "1")]
    pub header: Option<HeaderValue>,
    /// What becomes of one that is there already.
    #[prost(int32, tag = "3")]
    pub append_action: i32,
}

/// The `append_action` by which a header is alone with its name. Where nothing is said, the client's own would stay.
pub const OVERWRITE_IF_EXISTS_OR_ADD: i32 = 2;
