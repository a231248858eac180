//! What breaks the grammar or can be read in two ways is refused in words, and nothing behind it is read. By the ids of the
//! checklist; that each rule holds from both sides, the tests of `http1` say.

use std::sync::Mutex;

use super::*;
use crate::layer::{
    access_log::AccessLogged,
    problem::{MediaType, Rim},
    request_id::Assign,
};

const CANARY: &str = "GET /canary HTTP/1.1\r\nHost: a\r\n\r\n";

/// A service that remembers what reached it, in the layers that every service has.
struct Echo {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
    _stop: CancellationToken,
}

impl Echo {
    async fn new() -> Self {
        let seen = Arc::<Mutex<Vec<String>>>::default();
        let remembered = seen.clone();
        let answer = move |request: Request<Body>| {
            let seen = remembered.clone();
            async move {
                let path = request.uri().path().to_owned();
                seen.lock().unwrap().push(path.clone());
                match request.into_body().collect().await {
                    Ok(body) => Response::new(Body::from([path.as_bytes(), b" ", &body.to_bytes()].concat())),
                    Err(_) => Response::builder().status(400).body(Body::from("the body broke")).unwrap(),
                }
            }
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let token = stop.clone();
        let stack = Assign(AccessLogged::new(Rim(answer, MediaType::Problem)));
        tokio::spawn(async move { serve(listener, stack, &settings(), token).await });
        Self { address, seen, _stop: stop }
    }

    /// Sends these bytes and reads until the end; what reached the service meanwhile.
    async fn says(&self, pieces: &[&[u8]]) -> (String, Vec<String>) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        for piece in pieces {
            // Whoever is refused early is not read to the end.
            let _ = stream.write_all(piece).await;
            if pieces.len() > 1 {
                tokio::task::yield_now().await;
            }
        }
        let answer = String::from_utf8_lossy(&closed(&mut stream).await).into_owned();
        (answer, std::mem::take(&mut *self.seen.lock().unwrap()))
    }
}

/// Heads that are refused, each for one thing.
const REFUSED: &[(&str, &str, u16, &str)] = &[
    (
        "H8 F1",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
        "ambiguous-request",
    ),
    (
        "F2",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        400,
        "ambiguous-request",
    ),
    (
        "H9",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        400,
        "ambiguous-request",
    ),
    (
        "H10",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        501,
        "unknown-coding",
    ),
    (
        "H11",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n",
        400,
        "ambiguous-request",
    ),
    ("H14 F11", "GET / HTTP/1.1\nHost: a\n\n", 400, "malformed-request"),
    ("F11", "GET / HTTP/1.1\r\nHost: a\rb: c\r\n\r\n", 400, "malformed-request"),
    ("H25 P9", "GET /admin#/pub HTTP/1.1\r\nHost: a\r\n\r\n", 400, "malformed-request"),
    ("F18", "GET javascript:alert(1) HTTP/1.1\r\nHost: a\r\n\r\n", 400, "malformed-request"),
    ("F3", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n", 400, "ambiguous-request"),
    ("F3", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n", 400, "ambiguous-request"),
    ("F3", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\0\r\n\r\n", 400, "malformed-request"),
    ("F4", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\nabc", 400, "ambiguous-request"),
    ("F4", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc", 400, "ambiguous-request"),
    (
        "F4",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
        400,
        "ambiguous-request",
    ),
    (
        "F6",
        "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
        "ambiguous-request",
    ),
    ("F12", "GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400, "malformed-request"),
    ("F12", "GET / HTTP/1.1\r\nno colon\r\n\r\n", 400, "malformed-request"),
    ("F12", "GET / HTTP/1.1\r\na: \0\r\n\r\n", 400, "malformed-request"),
    ("F12", "GET / HTTP/1.1\r\n: a\r\n\r\n", 400, "malformed-request"),
    ("stand-in", "! * HTTP/1.1\r\n\r\n", 400, "malformed-request"),
];

fn answers(read: &str) -> usize {
    read.matches("\r\ndate: ").count()
}

fn is_refused(answer: &str, status: u16, code: &str) -> bool {
    answer.starts_with(&format!("HTTP/1.1 {status} "))
        && answer.contains("\r\ncontent-type: application/problem+json\r\n")
        && answer.matches("\r\nconnection: close\r\n").count() == 1
        && answer.contains(&format!("\"urn:usher:problem:{code}\""))
        && answers(answer) == 1
}

#[tokio::test]
async fn a_head_that_can_be_read_in_two_ways_is_refused_and_nothing_behind_it_is_read() {
    let echo = Echo::new().await;
    for (id, head, status, code) in REFUSED {
        let all = format!("{head}{CANARY}{CANARY}");
        let (answer, seen) = echo.says(&[all.as_bytes()]).await;
        assert!(is_refused(&answer, *status, code), "{id} {head:?}: {answer}");
        assert!(
            answer.contains("\r\nx-request-id: ") && answer.contains("\"request_id\":"),
            "{id}: {answer}"
        );
        assert_eq!(seen, Vec::<String>::new(), "{id} {head:?}");
    }
}

#[tokio::test]
async fn neither_does_it_matter_in_how_many_pieces_it_comes() {
    let echo = Echo::new().await;
    for (id, head, status, code) in REFUSED {
        let bytes: Vec<_> = head.as_bytes().chunks(1).collect();
        let (answer, seen) = echo.says(&bytes).await;
        assert!(is_refused(&answer, *status, code), "{id} {head:?}: {answer}");
        assert_eq!(seen, Vec::<String>::new(), "{id} {head:?}");
    }
    let request = "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi";
    let (answer, _) = echo.says(&request.as_bytes().chunks(1).collect::<Vec<_>>()).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("/a hi"), "{answer}");
}

#[tokio::test]
async fn what_was_asked_before_is_answered_before() {
    let echo = Echo::new().await;
    let post = |path| format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
    for (id, head, status, code) in REFUSED {
        let before = format!("{}{}", post("/one"), post("/two"));
        let all = format!("{before}{head}{CANARY}");
        for cut in [all.len(), before.len(), before.len() + head.len() / 2, 10] {
            let (answer, seen) = echo.says(&[&all.as_bytes()[..cut], &all.as_bytes()[cut..]]).await;
            let refused = answer.rfind(&format!("HTTP/1.1 {status} ")).unwrap();
            assert!(
                answer[..refused].contains("/one hi") && answer[..refused].ends_with("/two hi"),
                "{answer}"
            );
            assert!(is_refused(&answer[refused..], *status, code), "{id}: {answer}");
            assert_eq!(seen, ["/one", "/two"], "{id}");
        }
    }
}

#[tokio::test]
async fn heads_beyond_their_bounds_are_refused_in_words() {
    let echo = Echo::new().await;
    let with = |fields: String| format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{fields}\r\n");
    let bytes = |count: usize| with(format!("x: {}\r\n", "y".repeat(count - with("x: \r\n".into()).len())));
    for (head, refused) in [
        (bytes(32 * 1024), false),
        (bytes(32 * 1024 + 1), true),
        (with("x: y\r\n".repeat(98)), false),
        (with("x: y\r\n".repeat(99)), true),
    ] {
        let (answer, _) = echo.says(&[head.as_bytes()]).await;
        assert_eq!(is_refused(&answer, 431, "head-too-large"), refused, "{answer}");
        assert_eq!(answer.starts_with("HTTP/1.1 200"), !refused, "{answer}");
    }
    let (answer, _) = echo.says(&[format!("GET /{}", "a".repeat(40_000)).as_bytes()]).await;
    assert!(is_refused(&answer, 414, "target-too-long"), "{answer}");
}

#[tokio::test]
async fn f7_f8_f9_broken_chunks_end_the_body_and_the_connection() {
    let echo = Echo::new().await;
    let long = format!("3;{}\r\nabc\r\n0\r\n\r\n", "e".repeat(65_536));
    for body in [
        "0x3\r\nabc\r\n0\r\n\r\n",
        "3 \r\nabc\r\n0\r\n\r\n",
        "+3\r\nabc\r\n0\r\n\r\n",
        "00000000000000003\r\nabc\r\n0\r\n\r\n",
        "3\nabc\r\n0\r\n\r\n",
        "3;a\nb\r\nabc\r\n0\r\n\r\n",
        "3;a\0\r\nabc\r\n0\r\n\r\n",
        "3;a\x01b\r\nabc\r\n0\r\n\r\n",
        "3;a\x7f\r\nabc\r\n0\r\n\r\n",
        &long,
        "3\r\nabcdef\r\n0\r\n\r\n",
        "3\r\nabc0\r\n\r\n",
        "0\r\nx y: z\r\n\r\n",
        "0\r\nx: y\n\r\n",
    ] {
        let all = format!("POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}{CANARY}");
        let (answer, seen) = echo.says(&[all.as_bytes()]).await;
        assert!(
            answer.starts_with("HTTP/1.1 400") && answer.ends_with("the body broke"),
            "{body:?}: {answer}"
        );
        assert_eq!(
            (answer.matches("HTTP/1.1").count(), seen),
            (1, vec!["/a".to_owned()]),
            "{body:?}: {answer}"
        );
    }
    let good = "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;a=\"b\"\r\nabc\r\n0\r\nx: y\r\n\r\n";
    let close = CANARY.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    let (answer, seen) = echo.says(&[format!("{good}{close}").as_bytes()]).await;
    assert!(answer.contains("/a abc") && answer.ends_with("/canary "), "{answer}");
    assert_eq!(seen, ["/a", "/canary"]);
}

#[tokio::test]
async fn a_service_without_a_rim_never_sees_what_was_refused() {
    let (address, _stop, _end) = serving(settings(), |_| async { Response::new(Body::from("seen")) }).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /# HTTP/1.1\r\n\r\n").await.unwrap();
    let answer = String::from_utf8_lossy(&closed(&mut stream).await).into_owned();
    assert!(is_refused(&answer, 400, "malformed-request"), "{answer}");
}

#[tokio::test]
async fn f13_what_follows_an_upgrade_that_is_not_granted_is_a_request() {
    let echo = Echo::new().await;
    let upgrade = "GET /up HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    let close = CANARY.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    let all = format!("{upgrade}{close}");
    for cut in [0, upgrade.len(), upgrade.len() + 5] {
        let (answer, seen) = echo.says(&[&all.as_bytes()[..cut], &all.as_bytes()[cut..]]).await;
        assert_eq!((answer.matches("HTTP/1.1 200").count(), seen.len()), (2, 2), "{answer}");
    }
    let (answer, seen) = echo.says(&[format!("{upgrade}\0junk\r\n\r\n").as_bytes()]).await;
    let refused = answer.rfind("HTTP/1.1 400 ").unwrap();
    assert!(is_refused(&answer[refused..], 400, "malformed-request"), "{answer}");
    assert_eq!(seen, ["/up"]);
}

#[tokio::test]
async fn w6_whoever_floods_with_pings_or_settings_is_closed() {
    let echo = Echo::new().await;
    let ping: &[u8] = b"\0\0\x08\x06\0\0\0\0\0pingpong";
    let settings: &[u8] = b"\0\0\0\x04\0\0\0\0\0";
    for flood in [ping, settings] {
        let mut stream = TcpStream::connect(echo.address).await.unwrap();
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
        let (mut read, mut write) = stream.into_split();
        let reading =
            tokio::spawn(async move { while read.read(&mut [0; 4096]).await.is_ok_and(|read| read > 0) {} });
        let mut sent = 0;
        while write.write_all(flood).await.is_ok() && sent < 100_000 {
            sent += 1;
        }
        assert!(sent < 100_000, "it is closed");
        timeout(PATIENCE, reading).await.expect("closed in time").unwrap();
    }
}
