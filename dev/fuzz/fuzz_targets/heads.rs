//! Any bytes of an HTTP/1 connection: where our reader finds the end of a request, hyper finds it, too.

#![no_main]

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
const BOUNDS: HeadBounds = HeadBounds { bytes: 8192, fields: 100 };

/// A request, as hyper reads it; `None` for a body that broke.
#[derive(Clone, Debug, PartialEq)]
struct Read {
    method: Method,
    target: Uri,
    version: Version,
    headers: HeaderMap,
    body: Option<(Bytes, Option<HeaderMap>)>,
}

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().build().expect("a runtime");
}

/// What hyper reads in bytes, and whether it answered nothing by itself.
fn by_hyper(bytes: &[u8]) -> Vec<Read> {
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
fn by_us(input: &[u8]) -> Vec<&[u8]> {
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

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let requests = by_us(input);
    let mut each = Vec::new();
    for bytes in &requests {
        let read = by_hyper(bytes);
        let [request] = &read[..] else { panic!("{} requests in what we take for one", read.len()) };
        assert!(request.body.is_some(), "a body that we take for whole");
        let coding = request.headers.get(header::TRANSFER_ENCODING);
        assert!(coding.is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked")));
        assert!(coding.is_none() || !request.headers.contains_key(header::CONTENT_LENGTH));
        let target = bytes.split(|byte| *byte == b' ').nth(1).expect("a request line has a target");
        let is_url = !target.starts_with(b"/") && target != b"*";
        assert!(is_url || request.target.to_string().as_bytes() == target, "nothing of it is cut off");
        each.push(request.clone());
    }
    let all = by_hyper(&requests.concat());
    // hyper ends where a request says that it is the last.
    assert_eq!(all[..], each[..all.len()], "one after the other, and each by itself");
    assert!(all.len() == each.len() || all.last().is_some_and(is_last), "{} of {}", all.len(), each.len());
    // In whatever pieces it comes, it is read alike.
    let mut whole = RequestReader::new(BOUNDS);
    let end: usize = requests.iter().map(|request| request.len()).sum();
    let mut at = 0;
    while at < end {
        let read = whole.read(&input[at..end]).expect("it was let through before");
        assert!(read > 0);
        at += read;
        if whole.awaits_answer().is_some() {
            whole.answered(false);
        }
    }
});

fn is_last(request: &Read) -> bool {
    request.version == Version::HTTP_10 || request.headers.contains_key(header::CONNECTION)
}
