//! Requests of an HTTP/1 connection, as hyper reads them and as our reader lets them through.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use chassis::http1::{HeadBounds, requests::RequestReader};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version, header};
use http_body_util::{BodyExt, Empty};
use hyper::{
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::runtime::{Builder, Runtime};

/// hyper's own bounds are beyond these.
pub const BOUNDS: HeadBounds = HeadBounds { bytes: 8192, fields: 100 };

/// A request, as hyper reads it; `None` for a body that broke.
#[derive(Clone, Debug, PartialEq)]
pub struct Read {
    pub method: Method,
    pub target: Uri,
    pub version: Version,
    pub headers: HeaderMap,
    pub body: Option<(Bytes, Option<HeaderMap>)>,
}

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().build().expect("a runtime");
}

/// What hyper reads in bytes.
pub fn by_hyper(bytes: &[u8]) -> Vec<Read> {
    let read = Arc::<Mutex<Vec<Read>>>::default();
    let requests = read.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let requests = requests.clone();
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.ok();
            let body = body
                .map(|body| (body.trailers().cloned(), body))
                .map(|(trailers, body)| (body.to_bytes(), trailers));
            let (method, target, version, headers) = (head.method, head.uri, head.version, head.headers);
            requests.lock().expect("nobody panics").push(Read { method, target, version, headers, body });
            let mut response = Response::new(Empty::<Bytes>::new());
            // Nothing of a tunnel.
            *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            Ok::<_, Infallible>(response)
        }
    });
    let io = TokioIo::new(tokio::io::join(bytes, tokio::io::sink()));
    let served = http1::Builder::new().half_close(true).serve_connection(io, service);
    let _ = RUNTIME.with(|runtime| runtime.block_on(served));
    let read = read.lock().expect("nobody panics");
    read.clone()
}

/// The requests that the reader lets through whole, each with its body.
pub fn by_us(input: &[u8]) -> Vec<&[u8]> {
    let mut reader = RequestReader::new(BOUNDS);
    let (mut requests, mut begin, mut at) = (Vec::new(), 0, 0);
    for end in 1..=input.len() {
        let Ok(read) = reader.read(&input[at..end]) else { break };
        at += read;
        if read > 0 && reader.awaits_answer().is_some() {
            reader.answered(false);
        }
        if read > 0 && reader.reads_head() {
            requests.push(&input[begin..at]);
            begin = at;
        }
    }
    requests
}

/// Whether hyper expects no other one behind it.
pub fn is_last(request: &Read) -> bool {
    request.version == Version::HTTP_10 || request.headers.contains_key(header::CONNECTION)
}
