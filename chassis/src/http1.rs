//! HTTP/1 heads and chunks, read more strictly than hyper reads them.
//!
//! hyper accepts what others read differently: a length beside a coding, lines without a carriage return, a fragment in a target.
//! Each such difference between two readers has let somebody smuggle a request. What is read here has one meaning (RFC 9112), to
//! every reader: hyper sees nothing else. Nothing is repaired, and nothing is copied.

use http::StatusCode;
use thiserror::Error;

pub mod chunks;
mod head;
pub mod request;
pub mod requests;
pub mod response;

/// How bytes break the grammar, or can be read in two ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Violation {
    /// The request line is not a method, a target and a version.
    #[error(
        "the request line must be a method, a target, and HTTP/1.1 or HTTP/1.0, with one space between them"
    )]
    RequestLine,
    /// A byte of the target may not stand there: a fragment, a character that must be escaped.
    #[error("the target has a character that must be percent-encoded; a fragment (#) is never sent")]
    Target,
    /// The target is of a form that is not served: `javascript:…`, `a.test:80`.
    #[error("the target must be a path, or a URL that begins with http:// or https:// and has no user in it")]
    TargetForm,
    /// The target is longer than any is read.
    #[error("the address is too long")]
    TargetTooLong,
    /// The status line of an answer is none.
    #[error("the status line must be HTTP/1.1 or HTTP/1.0, a space, and three digits")]
    StatusLine,
    /// A carriage return or a line feed that stands alone.
    #[error("a line of the head does not end in CR LF")]
    LineEnd,
    /// A control character that is neither a line's end nor a tab in a value.
    #[error("the head has a control character")]
    ControlCharacter,
    /// A field's name is no token, or its colon does not follow at once.
    #[error("the name of a header field must be a token that a colon follows at once")]
    FieldName,
    /// A field goes on in a further line.
    #[error("a header field must stand in one line")]
    Folded,
    /// A length that is no number, or two.
    #[error("Content-Length must be one decimal number")]
    Length,
    /// `Content-Length` and `Transfer-Encoding` both.
    #[error("the message has both Content-Length and Transfer-Encoding; one of them must go")]
    LengthAndCoding,
    /// A list of codings that does not end in the only `chunked`, or any before HTTP/1.1.
    #[error("Transfer-Encoding must be `chunked`, once, and needs HTTP/1.1")]
    Coding,
    /// A `CONNECT` with a body: to some readers what follows its head is the tunnel's already (RFC 9110 §9.3.6).
    #[error("a CONNECT has no body")]
    ConnectBody,
    /// Another coding beneath `chunked`.
    #[error("the only Transfer-Encoding that is known is chunked")]
    UnknownCoding,
    /// The head is larger than its bound.
    #[error("the request has too large header fields; most often it is the cookies")]
    TooLarge,
    /// The head has more fields than its bound.
    #[error("the request has too many header fields")]
    TooManyFields,
    /// The framing of a chunked body is broken.
    #[error("the chunks of the body are broken")]
    Chunk,
}

impl Violation {
    /// What its client is answered.
    pub fn status(self) -> StatusCode {
        match self {
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::UnknownCoding => StatusCode::NOT_IMPLEMENTED,
            Self::TooLarge | Self::TooManyFields => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::RequestLine
            | Self::Target
            | Self::TargetForm
            | Self::StatusLine
            | Self::LineEnd
            | Self::ControlCharacter
            | Self::FieldName
            | Self::Folded
            | Self::Length
            | Self::LengthAndCoding
            | Self::Coding
            | Self::ConnectBody
            | Self::Chunk => StatusCode::BAD_REQUEST,
        }
    }

    /// Its name, for a metric.
    pub fn label(self) -> &'static str {
        match self {
            Self::RequestLine | Self::StatusLine => "start_line",
            Self::Target | Self::TargetForm => "target",
            Self::TargetTooLong => "target_too_long",
            Self::LineEnd => "line_end",
            Self::ControlCharacter => "control_character",
            Self::FieldName => "field_name",
            Self::Folded => "folded",
            Self::Length => "length",
            Self::LengthAndCoding => "length_and_coding",
            Self::Coding => "coding",
            Self::ConnectBody => "connect_body",
            Self::UnknownCoding => "unknown_coding",
            Self::TooLarge => "too_large",
            Self::TooManyFields => "too_many_fields",
            Self::Chunk => "chunk",
        }
    }
}

/// How large a head may be.
#[derive(Clone, Copy, Debug)]
pub struct HeadBounds {
    /// The most bytes, its empty line included.
    pub bytes: usize,
    /// The most header fields.
    pub fields: usize,
}

/// What ends the body behind a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// It has so many bytes. 0: there is none.
    Length(u64),
    /// Its chunks say so.
    Chunked,
}

const TOKEN: u8 = 1;
const PATH: u8 = 2;
const QUERY: u8 = 4;

/// What a byte may stand in: a token (RFC 9110 §5.6.2), a path, a query. The latter two are what `http::Uri` reads, which is a
/// little more than RFC 3986 has (`"{}|^[]`), but without what it cuts off (`#`) and without bytes beyond ASCII.
const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte: u8 = 0;
    while byte < 0x80 {
        let mut class = 0;
        if byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'!' | b'#'
                    | b'$'
                    | b'%'
                    | b'&'
                    | b'\''
                    | b'*'
                    | b'+'
                    | b'-'
                    | b'.'
                    | b'^'
                    | b'_'
                    | b'`'
                    | b'|'
                    | b'~'
            )
        {
            class |= TOKEN;
        }
        if matches!(byte, 0x21 | 0x24..=0x3b | 0x3d | 0x40..=0x5f | 0x61..=0x7a | b'|' | b'~' | b'"' | b'{' | b'}')
        {
            class |= PATH;
        }
        if matches!(byte, 0x21 | 0x24..=0x3b | 0x3d | 0x3f..=0x7e) {
            class |= QUERY;
        }
        classes[byte as usize] = class;
        byte += 1;
    }
    classes
};

fn is(byte: u8, class: u8) -> bool {
    CLASSES[usize::from(byte)] & class != 0
}

/// How many of the first bytes are of a class. Four at a time: names are most of what a head needs to be looked at closely.
fn run(bytes: &[u8], class: u8) -> usize {
    let class_of = |byte: u8| CLASSES[usize::from(byte)];
    let mut at = 0;
    while let Some(&[a, b, c, d]) = bytes.get(at..).and_then(<[u8]>::first_chunk::<4>) {
        if class_of(a) & class_of(b) & class_of(c) & class_of(d) & class == 0 {
            break;
        }
        at += 4;
    }
    while at < bytes.len() && is(bytes[at], class) {
        at += 1;
    }
    at
}
