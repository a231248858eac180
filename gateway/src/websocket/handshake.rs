//! The request that asks for a WebSocket, and the answer that it must get (RFC 6455 §4).

use std::net::IpAddr;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::{Engine, engine::general_purpose::STANDARD};
use chassis::header::{NotSingle, single};
use http::{HeaderMap, HeaderValue, Method, Request, Version, header};
use hyper::upgrade::OnUpgrade;
use thiserror::Error;

use super::{TooMany, WebSocketPermit, WebSockets, has_token};

/// What both sides append to the key (RFC 6455 §1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The only version that there is (RFC 6455 §4.1).
pub const VERSION: HeaderValue = HeaderValue::from_static("13");

const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");
const UPGRADE: HeaderValue = HeaderValue::from_static("Upgrade");

/// Bytes of a key, and characters of it in base64.
const KEY_BYTES: usize = 16;
const KEY_CHARS: usize = 24;

/// A well-formed request for a WebSocket. Only this file makes one.
pub struct Handshake {
    client: OnUpgrade,
    /// The `Sec-WebSocket-Accept` that answers its key.
    accept: HeaderValue,
    counted: Option<WebSocketPermit>,
}

/// Why a request for a WebSocket is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HandshakeError {
    /// The client is told what is wrong.
    #[error("{0}")]
    Malformed(&'static str),
    /// It wants a version that there is not.
    #[error("the version of WebSocket is not 13")]
    Version,
}

impl Handshake {
    /// The handshake that a request is, if it asks for a WebSocket.
    pub fn of<B>(request: &mut Request<B>) -> Result<Option<Self>, HandshakeError> {
        let headers = request.headers();
        if !has_token(headers, &header::UPGRADE, "websocket") {
            return Ok(None);
        }
        let malformed = |reason| Err(HandshakeError::Malformed(reason));
        if request.version() != Version::HTTP_11 || request.method() != Method::GET {
            return malformed("a WebSocket is asked for by GET over HTTP/1.1");
        }
        if !has_token(headers, &header::CONNECTION, "upgrade") {
            return malformed("a WebSocket is asked for with `Connection: Upgrade`");
        }
        let no_length = headers.get(header::CONTENT_LENGTH).is_none_or(|length| length == "0");
        if headers.contains_key(header::TRANSFER_ENCODING) || !no_length {
            return malformed("a request for a WebSocket has no body");
        }
        match single(headers, &header::SEC_WEBSOCKET_VERSION) {
            Ok(version) if version == VERSION => {}
            Ok(_) => return Err(HandshakeError::Version),
            Err(NotSingle::Missing | NotSingle::Repeated) => {
                return malformed("a request for a WebSocket has one Sec-WebSocket-Version");
            }
        }
        let key = single(headers, &header::SEC_WEBSOCKET_KEY).ok().filter(|key| is_key(key));
        let Some(accept) = key.map(accept) else {
            return malformed("a request for a WebSocket has one Sec-WebSocket-Key of 16 bytes in base64");
        };
        let Some(client) = request.extensions_mut().remove::<OnUpgrade>() else {
            return malformed("this connection can't become a WebSocket");
        };
        Ok(Some(Self { client, accept, counted: None }))
    }

    /// Asks the service for it, by the headers that stand for a connection and are stripped of every request.
    pub fn ask(headers: &mut HeaderMap) {
        headers.insert(header::CONNECTION, UPGRADE);
        headers.insert(header::UPGRADE, WEBSOCKET);
    }

    /// Tells the client that it has it.
    pub(super) fn switch(headers: &mut HeaderMap) {
        Self::ask(headers);
    }

    /// Whether an answer of 101 is the answer to this.
    pub fn is_answered_by(&self, headers: &HeaderMap) -> bool {
        has_token(headers, &header::UPGRADE, "websocket")
            && has_token(headers, &header::CONNECTION, "upgrade")
            && single(headers, &header::SEC_WEBSOCKET_ACCEPT) == Ok(&self.accept)
    }

    /// Counts it among the open ones, unless there are as many as may be.
    pub fn count(&mut self, among: &WebSockets, client: IpAddr) -> Result<(), TooMany> {
        self.counted = Some(among.open_one(client)?);
        Ok(())
    }

    /// The client's side of the connection, and the permit.
    pub(super) fn into_parts(self) -> (OnUpgrade, Option<WebSocketPermit>) {
        (self.client, self.counted)
    }
}

fn is_key(key: &HeaderValue) -> bool {
    key.len() == KEY_CHARS && STANDARD.decode(key.as_bytes()).is_ok_and(|key| key.len() == KEY_BYTES)
}

fn accept(key: &HeaderValue) -> HeaderValue {
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key.as_bytes(), GUID].concat());
    HeaderValue::try_from(STANDARD.encode(hash)).expect("base64 may stand in a header")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_to_a_key_is_the_standards_own() {
        // RFC 6455 §1.3
        let key = HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ==");
        assert!(is_key(&key));
        assert_eq!(accept(&key), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        for bad in [
            "",
            "dGhlIHNhbXBsZSBub25jZQ",
            "dGhlIHNhbXBsZSBub25j",
            "dGhlIHNhbXBsZSBub25jZSE=",
            "????????????????????????",
        ] {
            assert!(!is_key(&HeaderValue::from_str(bad).unwrap()), "{bad}");
        }
    }
}
