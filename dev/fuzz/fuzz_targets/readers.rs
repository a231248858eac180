//! Any bytes of an HTTP/1 connection: each request that our reader lets through is read alike by hyper, h11 and llhttp, or refused
//! for a reason that stands here.

#![no_main]

use std::{
    cell::RefCell,
    env,
    io::{Read as _, Write as _},
    process::{Child, Command, Stdio},
};

use fuzz::http1::{Read, by_hyper, by_us};
use http::HeaderMap;
use serde::Deserialize;

use Reader::{H11, Llhttp};

/// What others refuse and we don't: who, why we let it through, and in which words they say it.
const MAY_REFUSE: &[(Reader, &str, &[&str])] = &[
    (
        H11,
        "a request with no Host or two, which the gateway refuses when it looks for the route (H1, H2)",
        &["Missing mandatory Host: header", "Found multiple Host: headers"],
    ),
    (H11, "an empty line before a request (RFC 9112 §2.2)", &["no request line received"]),
    (
        H11,
        "trailers that look like framing: nobody reads them as that, and the gateway drops all (H19, F10)",
        &[
            "bad Content-Length",
            "conflicting Content-Length headers",
            "multiple Transfer-Encoding headers",
            "Only Transfer-Encoding: chunked is supported",
        ],
    ),
    (
        Llhttp,
        "a method that it does not know; those that the gateway does not serve are answered 405 (H26)",
        &[
            "Invalid method encountered",
            "Invalid method for HTTP/x.x request",
            "Expected space after method",
            "Expected HTTP/2 Connection Preface",
            "Expected SOURCE method for ICE/x.x request",
        ],
    ),
    (
        Llhttp,
        "a length that is said again, in the same digits (RFC 9110 §8.6, H12)",
        &["Duplicate Content-Length"],
    ),
    (Llhttp, "a tab behind `chunked` (RFC 9110 §5.5)", &["Request has invalid `Transfer-Encoding`"]),
    (
        Llhttp,
        "what it does not expect in a chunk's extension, which ends with its line all the same (F8)",
        &["Invalid character in chunk extensions", "Invalid quoted-pair in chunk extensions"],
    ),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reader {
    H11,
    Llhttp,
}

/// A request: bytes as characters, names in lower case, values without spaces around them.
#[derive(Clone, Debug, PartialEq, Deserialize)]
struct Request {
    method: String,
    target: String,
    version: String,
    headers: Vec<(String, String)>,
    body: String,
    trailers: Vec<(String, String)>,
    /// Where it ends.
    end: usize,
}

/// What somebody else finds in a connection's bytes, and why no more.
#[derive(Debug, Deserialize)]
struct Found {
    requests: Vec<Request>,
    ended: String,
}

thread_local! {
    static H11_READER: RefCell<Child> = start(Command::new(set("READERS_PYTHON")).arg("readers/h11_reader.py"));
    static LLHTTP_READER: RefCell<Child> =
        start(Command::new("node").arg("readers/llhttp_reader.mjs").arg(set("READERS_LLHTTP")));
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let requests: Vec<_> = by_us(input).into_iter().map(|bytes| (bytes, as_it_stands(bytes))).collect();
    for reader in [H11, Llhttp] {
        let mut left = &requests[..];
        while !left.is_empty() {
            left = &left[read_alike(reader, left)..];
        }
    }
});

/// Has somebody read requests, one behind the other. How many are done with: those that are the same to them, and one that they
/// refuse.
fn read_alike(reader: Reader, requests: &[(&[u8], Request)]) -> usize {
    let bytes: Vec<_> = requests.iter().map(|(bytes, _)| *bytes).collect();
    let found = reader.read(&bytes.concat());
    let (mut begin, read) = (0, found.requests.len());
    assert!(read <= requests.len(), "{reader:?} finds more in it: {found:?}");
    for (request, (_, ours)) in found.requests.iter().zip(requests) {
        let mut ours = reader.would_say(ours);
        ours.end += begin;
        begin = ours.end;
        assert_eq!(*request, ours, "by {reader:?}: {}", found.ended);
    }
    let Some((_, refused)) = requests.get(read) else { return read };
    if read > 0 && found.ended == "it was the last" && is_last(&requests[read - 1].1) {
        return read;
    }
    let said = found.ended.strip_prefix("refused: ").unwrap_or_default();
    let may =
        MAY_REFUSE.iter().any(|(who, _, how)| *who == reader && how.iter().any(|how| said.starts_with(how)));
    assert!(may, "{reader:?} {}: {refused:?}", found.ended);
    read + 1
}

/// Whether a request may be a connection's last one.
fn is_last(request: &Request) -> bool {
    request.version == "1.0" || request.headers.iter().any(|(name, _)| name == "connection")
}

/// The one request in these bytes: its head by its lines, its body by hyper, who reads the same head.
fn as_it_stands(bytes: &[u8]) -> Request {
    let read = by_hyper(bytes);
    let [Read { headers: by_hyper, body: Some((body, trailers)), .. }] = &read[..] else {
        panic!("{} requests in what we take for one, or its body broke", read.len())
    };
    let text = text(bytes);
    let (head, _) = text.trim_start_matches("\r\n").split_once("\r\n\r\n").expect("a head has an end");
    let mut lines = head.split("\r\n");
    let mut line = lines.next().expect("there is one").split(' ').map(str::to_owned);
    let mut next = || line.next().expect("a method, a target and a version");
    let (method, target, version) = (next(), next(), next().replace("HTTP/", ""));
    let headers: Vec<_> = lines.map(|line| line.split_once(':').expect("a colon")).map(field).collect();
    let sorted = |mut fields: Vec<_>| {
        fields.sort();
        fields
    };
    assert_eq!(sorted(one_length(headers.clone())), sorted(fields(by_hyper)), "by hyper");
    let trailers = sorted(trailers.as_ref().map(fields).unwrap_or_default());
    Request { method, target, version, headers, body: self::text(body), trailers, end: bytes.len() }
}

fn fields(headers: &HeaderMap) -> Vec<(String, String)> {
    headers.iter().map(|(name, value)| (name.to_string(), text(value.as_bytes()))).collect()
}

fn field((name, value): (&str, &str)) -> (String, String) {
    (name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned())
}

/// Without the lengths that are said again: some readers say once what they have read twice.
fn one_length(mut headers: Vec<(String, String)>) -> Vec<(String, String)> {
    let mut lengths = 0;
    headers.retain(|(name, _)| {
        lengths += usize::from(name == "content-length");
        name != "content-length" || lengths == 1
    });
    headers
}

/// Bytes as characters, one for one.
fn text(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

impl Reader {
    /// Asks it what it finds.
    fn read(self, bytes: &[u8]) -> Found {
        let process = match self {
            H11 => &H11_READER,
            Llhttp => &LLHTTP_READER,
        };
        let mut found = process.with_borrow_mut(|process| ask(process, bytes));
        for request in &mut found.requests {
            for fields in [&mut request.headers, &mut request.trailers] {
                *fields = fields.iter().map(|(name, value)| field((name, value))).collect();
            }
            request.trailers.sort();
        }
        found
    }

    /// A request in its words.
    fn would_say(self, request: &Request) -> Request {
        let mut request = request.clone();
        if self == H11 {
            for fields in [&mut request.headers, &mut request.trailers] {
                *fields = one_length(std::mem::take(fields));
                // So it says a coding.
                for (_, value) in fields.iter_mut().filter(|(name, _)| name == "transfer-encoding") {
                    value.make_ascii_lowercase();
                }
            }
        }
        request
    }
}

fn set(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("{name} is not set: start it by run.sh"))
}

fn start(command: &mut Command) -> RefCell<Child> {
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    RefCell::new(child.unwrap_or_else(|error| panic!("{command:?}: {error}")))
}

/// Each message is its length, in 4 bytes, and itself.
fn ask(process: &mut Child, bytes: &[u8]) -> Found {
    let (to, from) = (process.stdin.as_mut().expect("piped"), process.stdout.as_mut().expect("piped"));
    let length = u32::try_from(bytes.len()).expect("an input is short");
    to.write_all(&[&length.to_be_bytes(), bytes].concat()).expect("it listens");
    let mut length = [0; 4];
    from.read_exact(&mut length).expect("it answers");
    let mut found = vec![0; u32::from_be_bytes(length) as usize];
    from.read_exact(&mut found).expect("all of its answer");
    serde_json::from_slice(&found).expect("its answer is JSON")
}
