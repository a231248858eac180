//! The checklist of attacks, by its ids: what each of them gets is written down here, or in the test that is named.
//!
//! | ids | tested by |
//! |---|---|
//! | A1-A4, A13 | `identity::{what_a_client_says_of_itself_changes_nothing, spellings_that_only_the_wire_knows_change_nothing_either}` |
//! | A5, A6 | `identity::a_public_route_is_passed_as_nobody` |
//! | A7, A8 | `authentication::a_verdict_that_is_not_one_is_none`, and here |
//! | A9-A11 | `identity::a_header_that_must_not_vanish_can_not_be_nominated`, and here |
//! | A12, H19 | `identity::trailers_stop_at_the_door`, over HTTP/2 here |
//! | A15, A16 | `cors::{a_preflight_is_answered_before_anybody_is_asked, options_that_is_no_preflight_is_a_request_like_all_others}` |
//! | A19 | `faults` |
//! | A21 | `routing::a_request_keeps_its_plain_id_and_gets_one_otherwise` |
//! | A22 | `authentication::without_a_good_credential_nothing_is_forwarded` |
//! | A23 | `identity::an_answer_says_nothing_of_what_is_inside` |
//! | B1-B3, B5 | `identity::forwarding_headers_are_ours`, and `sanitize`'s own |
//! | B4 | `client`'s own |
//! | B6 | `routing::one_canonical_path_is_decided_on_and_forwarded` |
//! | P1-P9, P13 | `routing::a_path_that_can_be_read_in_two_ways_is_refused`, `route::path`'s own, and here as bytes |
//! | P11, P14 | `routing::what_has_no_route_is_not_found` |
//! | P15 | `limits::a_target_has_a_bound` |
//! | H1-H3 | `routing::a_request_that_names_no_host_or_two_is_refused` |
//! | H26, H27 | `routing::methods_are_those_that_we_know` |
//! | H28 | `limits::an_unknown_expectation_is_refused_and_the_known_one_is_met` |
//! | F16 | `limits::a_client_that_sends_all_before_it_reads_hears_why_it_was_refused` |
//! | F19 | `identity::interleaved_callers_are_never_mixed_up` |
//! | what is read of the bytes, and in how many pieces they may come | `chassis::serve::tests::heads`, `chassis::http1` |
//!
//! P12 (a prefix that is stripped) and P16's authority-form have nothing to be tried on: no route strips a prefix yet.

use chassis::Body;
use http::{Method, Request, Response};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::world::{PATIENCE, World, as_u1, get, known};

/// What comes behind each attack on its connection, as somebody who may pass.
const CANARY: &str =
    "GET /api/canary HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer good\r\nConnection: close\r\n\r\n";

const GOOD: &str = "Host: a\r\nAuthorization: Bearer good\r\n";

fn statuses(read: &str) -> Vec<u16> {
    let answers = read.match_indices("HTTP/1.1 ").filter_map(|(at, found)| {
        // The problems' sentences name the version, too.
        read[at + found.len()..].get(..3)?.parse().ok()
    });
    answers.collect()
}

/// Sends an attack with the canary behind it. What is refused closes the connection; nothing of either gets inside.
async fn refused(world: &World, id: &str, attack: &str, status: u16) {
    let read = world.raw(format!("{attack}{CANARY}").as_bytes()).await;
    assert_eq!(statuses(&read), [status], "{id} {attack:?}: {read}");
    assert!(read.contains("\r\nconnection: close\r\n"), "{id} {attack:?}: {read}");
    assert!(read.contains("application/problem+json"), "{id} {attack:?}: {read}");
    assert!(world.service.seen().is_empty(), "{id} {attack:?}: {:?}", world.service.seen());
    assert!(world.verifier.seen().is_empty(), "{id} {attack:?}: nobody is asked");
}

#[tokio::test]
async fn what_could_be_read_in_two_ways_is_refused_and_the_canary_with_it() {
    let world = World::new().await;
    let get = |target: &str| format!("GET {target} HTTP/1.1\r\n{GOOD}\r\n");
    let post = |fields: &str, body: &str| format!("POST /api/tasks HTTP/1.1\r\n{GOOD}{fields}\r\n\r\n{body}");
    let chunked = "0\r\n\r\n";
    for (id, attack, status) in [
        ("H1", "GET /api/tasks HTTP/1.1\r\nAuthorization: Bearer good\r\n\r\n".to_owned(), 400),
        ("H2", get("/api/tasks").replace("Host: a", "Host: a\r\nHost: b"), 400),
        ("H3", get("/api/tasks").replace("Host: a", "Host: a, b"), 400),
        ("H3", get("/api/tasks").replace("Host: a", "Host: u@a"), 400),
        ("H3", get("/api/tasks").replace("Host: a", "Host: a/x"), 400),
        ("H3", get("/api/tasks").replace("Host: a", "Host:"), 400),
        ("H4", get("http://b.test/api/tasks"), 400),
        ("H5", get("http://u@a/api/tasks"), 400),
        ("H8 F1", post("Content-Length: 5\r\nTransfer-Encoding: chunked", chunked), 400),
        ("H8 F2", post("Transfer-Encoding: chunked\r\nContent-Length: 5", chunked), 400),
        ("F1", post("Content-Length: 0\r\nTransfer-Encoding: chunked", chunked), 400),
        ("H9", post("Transfer-Encoding: chunked, chunked", chunked), 400),
        ("H10", post("Transfer-Encoding: gzip, chunked", chunked), 501),
        ("H11", post("Transfer-Encoding: ,chunked", chunked), 400),
        ("F3", post("Transfer-Encoding: xchunked", chunked), 400),
        ("F3", post("Transfer-Encoding: \x0bchunked", chunked), 400),
        ("F3", post("Transfer-Encoding: \x0cchunked", chunked), 400),
        ("F3", post("Transfer-Encoding: chunked\0", chunked), 400),
        ("F3", post("Transfer-Encoding:\r\n chunked", chunked), 400),
        ("F3", post("Transfer-Encoding: \"chunked\"", chunked), 400),
        ("F3", post("Transfer-Encoding: chunked;a=b", chunked), 400),
        ("F3", post("Transfer-Encoding: chunked,", chunked), 400),
        ("F3", post("Transfer-Encoding: identity", chunked), 400),
        ("F3", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", chunked), 400),
        ("F4", post("Content-Length: 3, 3", "abc"), 400),
        ("F4", post("Content-Length: 3\r\nContent-Length: 4", "abc"), 400),
        ("F4", post("Content-Length: +3", "abc"), 400),
        ("F4", post("Content-Length: -0", "abc"), 400),
        ("F4", post("Content-Length: 0x3", "abc"), 400),
        ("F4", post("Content-Length: 3 3", "abc"), 400),
        ("F4", post("Content-Length: 18446744073709551619", "abc"), 400),
        ("P16", post("Content-Length: 3", "abc").replace("POST /api/tasks", "CONNECT a:443"), 400),
        ("P16", post("Transfer-Encoding: chunked", chunked).replace("POST /api/tasks", "CONNECT a:443"), 400),
        ("F6", post("Transfer-Encoding: chunked", chunked).replace("HTTP/1.1", "HTTP/1.0"), 400),
        ("H14 F11", get("/api/tasks").replace("\r\n", "\n"), 400),
        ("F11", get("/api/tasks").replace("Host: a\r\n", "Host: a\n"), 400),
        ("F11", get("/api/tasks").replace("Host: a\r\n", "Host: a\r"), 400),
        ("F12", get("/api/tasks").replace("Host: a", "Host: a\r\nno colon"), 400),
        ("F12", get("/api/tasks").replace("Host: a", "Host: a\r\n: x"), 400),
        ("F12 A4", get("/api/tasks").replace("Host: a", "Host: a\r\nX-User-Id : u2"), 400),
        ("A4", get("/api/tasks").replace("Host: a", "Host: a\r\nX-User-Id\u{a0}: u2"), 400),
        ("F12", get("/api/tasks").replace("Host: a", "Host: a\r\nx: a\0b"), 400),
        ("H25 P9", get("/api/tasks#/health"), 400),
        ("P9", get("/health#/api/tasks"), 400),
        ("F18", get("javascript:alert(1)"), 400),
        ("F18", get("javascript://a/api/tasks"), 400),
        ("F18", get("file:///api/tasks"), 400),
        ("P16", get("a:80"), 400),
        ("P1", get("/health/../api/tasks"), 400),
        ("P2", get("/health/%2e%2E/api/tasks"), 400),
        ("P3", get("/health%2f..%2fapi/tasks"), 400),
        ("P4", get("/health/..;/api/tasks"), 400),
        ("P4", get("/api/tasks;x=1"), 400),
        ("P5", get("//api/tasks"), 400),
        ("P6", get("/health\\..\\api/tasks"), 400),
        ("P7", get("/api/tasks%00"), 400),
        ("P7", get("/api/tasks%0d%0aX-User-Id:%20u2"), 400),
        ("P13", get("/api/%zz"), 400),
        ("P13", get("/api/%c0%ae"), 400),
        ("P13", get("/api/\u{e9}"), 400),
        ("P13", get("/api/tasks?\u{e9}"), 400),
        ("A9", get("/api/tasks").replace("Host: a", "Host: a\r\nConnection: close, X-User-Id"), 400),
        ("A10", get("/api/tasks").replace("Host: a", "Host: a\r\nConnection: Authorization"), 400),
        ("A11", get("/api/tasks").replace("Host: a", "Host: a\r\nConnection: x-forwarded-for"), 400),
        ("H15", post("Transfer-Encoding: chunked\r\nConnection: Transfer-Encoding", chunked), 400),
        ("H15", post("Content-Length: 0\r\nConnection: Content-Length", ""), 400),
        ("H15", get("/api/tasks").replace("Host: a", "Host: a\r\nConnection: host"), 400),
        ("J16", get("/api/tasks").replace("Bearer good", "Bearer good\r\nAuthorization: Bearer good"), 400),
        ("J16", get("/api/tasks").replace("Bearer good", "Bearer good, Bearer good"), 400),
    ] {
        refused(&world, id, &attack, status).await;
    }
}

#[tokio::test]
async fn f7_f8_f9_h13_broken_chunks_are_the_clients_fault() {
    let world = World::new().await;
    let extension = format!("3;{}\r\nabc\r\n0\r\n\r\n", "e".repeat(65_536));
    for body in [
        "0x3\r\nabc\r\n0\r\n\r\n",
        "+3\r\nabc\r\n0\r\n\r\n",
        "-3\r\nabc\r\n0\r\n\r\n",
        "_3\r\nabc\r\n0\r\n\r\n",
        " 3\r\nabc\r\n0\r\n\r\n",
        "3 \r\nabc\r\n0\r\n\r\n",
        "10000000000000003\r\nabc\r\n0\r\n\r\n",
        "3\nabc\r\n0\r\n\r\n",
        "3;a\nb\r\nabc\r\n0\r\n\r\n",
        "3;a\rb\r\nabc\r\n0\r\n\r\n",
        "3;a\0\r\nabc\r\n0\r\n\r\n",
        "3;\x01\r\nabc\r\n0\r\n\r\n",
        &extension,
        "3\r\nabcspill\r\n0\r\n\r\n",
        "3\r\nabc\n0\r\n\r\n",
    ] {
        let attack =
            format!("POST /api/tasks HTTP/1.1\r\n{GOOD}Transfer-Encoding: chunked\r\n\r\n{body}{CANARY}");
        let read = world.raw(attack.as_bytes()).await;
        assert_eq!(statuses(&read), [400], "{body:?}: {read}");
        assert!(read.contains("body-broken") && read.contains("\r\nconnection: close\r\n"), "{read}");
        assert!(world.service.seen().is_empty(), "{body:?}");
    }
    assert_eq!(world.send(get("/api/tasks")).await.status, 200, "the service is not blamed");
}

#[tokio::test]
async fn what_looks_odd_but_has_one_meaning_passes_and_the_canary_is_a_request_of_its_own() {
    let world = World::new().await;
    let head = |method: &str, fields: &str| format!("{method} /api/tasks HTTP/1.1\r\n{GOOD}{fields}\r\n");
    let chunked = "Transfer-Encoding: CHUNKED\t\r\n";
    for (id, attack, body) in [
        ("H12", head("POST", "Content-Length: 2\r\nContent-Length: 2\r\n") + "hi", "hi"),
        (
            "H22 F14",
            head(
                "GET",
                "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
            ),
            "",
        ),
        ("H23 F13", head("GET", "Connection: Upgrade\r\nUpgrade: foo\r\n"), ""),
        ("H29 F5", head("GET", "Content-Length: 2\r\n") + "hi", "hi"),
        ("H29 F5", head("GET", chunked) + "2\r\nhi\r\n0\r\n\r\n", "hi"),
        ("F5", head("DELETE", "Content-Length: 2\r\n") + "hi", "hi"),
        ("F5", head("OPTIONS", chunked) + "2\r\nhi\r\n0\r\n\r\n", "hi"),
        ("F5", head("POST", "Content-Length: 0\r\n"), ""),
        ("F5", head("POST", "Expect: 100-continue\r\nContent-Length: 2\r\n") + "hi", "hi"),
        ("F3", head("POST", chunked) + "2\r\nhi\r\n0\r\n\r\n", "hi"),
        ("F7", head("POST", chunked) + "00002;a=\"b\"\r\nhi\r\n000\r\n\r\n", "hi"),
        (
            "F10",
            head("POST", chunked)
                + "2\r\nhi\r\n0\r\nContent-Length: 9\r\nHost: b\r\nAuthorization: x\r\n\r\n",
            "hi",
        ),
        (
            "H16",
            head(
                "GET",
                "Connection: TE, keep-alive\r\nTE: gzip\r\nKeep-Alive: 1\r\nProxy-Connection: x\r\nProxy-Authorization: x\r\n",
            ),
            "",
        ),
        ("H17 A3", head("GET", "X_User_Id: u2\r\nX.User.Id: u2\r\nX-User_Id: u2\r\n"), ""),
        ("H18 A2", head("GET", "X-User-Id: u2\r\nx-USER-iD: u2,u1\r\n"), ""),
        ("H21 J24", head("GET", "X-Own: \u{e9}\r\n"), ""),
        ("A21", head("GET", "X-Gateway-Assertion: u2\r\nX-Internal-Secret: u2\r\n"), ""),
        ("B5", head("GET", "X-HTTP-Method-Override: DELETE\r\n"), ""),
        ("P10", head("GET", "").replace("/api/tasks", "/api/tasks?/health&x=/../"), ""),
        ("P8", head("GET", "").replace("/api/tasks", "/api/%252e%252e"), ""),
        ("P16", head("GET", "").replace("/api/tasks", "http://a/api/tasks"), ""),
        ("J16", head("GET", "").replace("/api/tasks", "/api/tasks?access_token=bad"), ""),
        ("RFC 9112 2.2", format!("\r\n{}", head("GET", "")), ""),
    ] {
        let before = world.service.seen().len();
        let read = world.raw(format!("{attack}{CANARY}").as_bytes()).await;
        let answers: Vec<_> = statuses(&read).into_iter().filter(|status| *status != 100).collect();
        assert_eq!(answers, [200, 200], "{id} {attack:?}: {read}");
        let seen = world.service.seen().split_off(before);
        assert_eq!(seen.len(), 2, "{id}");
        assert_eq!((&*seen[0].body, &*seen[1].target), (body.as_bytes(), "/api/canary"), "{id} {attack:?}");
        for seen in &seen {
            assert_eq!(seen.one("x-user-id"), Some("u1"), "{id}");
            assert_eq!(seen.trailers, None, "{id}");
            for (name, value) in &seen.headers {
                let value = String::from_utf8_lossy(value.as_bytes());
                assert!(!value.contains("u2"), "{id}: {name}: {value}");
            }
            for gone in [
                "upgrade",
                "http2-settings",
                "te",
                "keep-alive",
                "proxy-connection",
                "proxy-authorization",
                "expect",
            ] {
                assert!(!seen.headers.contains_key(gone), "{id}: {gone}");
            }
        }
    }
}

#[tokio::test]
async fn methods_and_forms_that_are_not_served_are_said_to_be() {
    let world = World::new().await;
    for (id, line, status) in [
        ("H26", "TRACE /api/tasks", 405),
        ("H26", "get /api/tasks", 405),
        ("H26", "FOO /api/tasks", 405),
        ("P16", "CONNECT a:443", 405),
        ("H27 P16", "OPTIONS *", 204),
        ("P11", "GET /apifoo", 404),
        ("P11", "GET /api../foo", 404),
        ("P14", "GET /API/tasks", 404),
    ] {
        let host = if line.starts_with("CONNECT") { "a:443" } else { "a" };
        let head = format!(
            "{line} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer good\r\nConnection: close\r\n\r\n"
        );
        let read = world.raw(head.as_bytes()).await;
        assert_eq!(statuses(&read), [status], "{id} {line}: {read}");
    }
    for (id, line, status) in [("H28", "Expect: 200-ok\r\nContent-Length: 0\r\nConnection: close\r\n", 417)] {
        let read = world.raw(format!("POST /api/tasks HTTP/1.1\r\n{GOOD}{line}\r\n").as_bytes()).await;
        assert_eq!(statuses(&read), [status], "{id} {line}: {read}");
    }
    assert!(world.service.seen().is_empty());
}

#[tokio::test]
async fn j16_a_scheme_is_known_in_any_case_and_a_token_in_the_query_is_none() {
    let world = World::new().await;
    world.verifier.respond(|seen| match seen.one("authorization") {
        Some("bearer good") => known("u1"),
        _ => Response::builder().status(401).body(Body::empty()).unwrap(),
    });
    let with = |authorization: Option<&str>, target: &str| {
        let mut request = Request::get(target);
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        request.body(Body::empty()).unwrap()
    };
    for (authorization, target, want) in [
        (Some("bearer good"), "/api/tasks", 200),
        (Some("Bearer  good"), "/api/tasks", 401),
        (Some("Basic YTpi"), "/api/tasks", 401),
        (None, "/api/tasks?access_token=good", 401),
        (Some("Digest a=\"b\", c=\"d\""), "/api/tasks", 401),
        (Some("bearer a, bearer b"), "/api/tasks", 400),
    ] {
        assert_eq!(world.send(with(authorization, target)).await.status, want, "{authorization:?} {target}");
    }
}

#[tokio::test]
async fn w10_nobody_is_asked_about_what_is_longer_than_any_token() {
    let world = World::new().await;
    for (bytes, want) in [(16 * 1024, 401), (16 * 1024 + 1, 431)] {
        let token = format!("Bearer {}", ".".repeat(bytes - 7));
        let request =
            || Request::get("/api/tasks").header("authorization", &token).body(Body::empty()).unwrap();
        for answer in [world.send(request()).await, world.send_h2(request()).await] {
            assert_eq!(answer.status, want, "{bytes}");
        }
    }
    assert_eq!(world.verifier.seen().len(), 2, "about the shorter one");
}

#[tokio::test]
async fn w13_a_verdict_whose_body_is_too_large_or_breaks_off_is_not_believed() {
    let world = World::new().await;
    for (bytes, want) in [(16 * 1024, 200), (16 * 1024 + 1, 503)] {
        world.verifier.respond(move |_| {
            let mut response = known("u1");
            *response.body_mut() = Body::from(vec![b'x'; bytes]);
            response
        });
        assert_eq!(world.send(get("/api/tasks")).await.status, want, "{bytes}");
    }
    assert_eq!(world.service.seen().len(), 1);
    let cut = "HTTP/1.1 200 OK\r\nx-user-id: u1\r\nx-credential: bearer\r\nx-identity-assertion: a.b.c\r\ncontent-length: 9\r\n\r\ncut";
    let url = answering(cut, false).await;
    let world = World::with(&[("GATEWAY_AUTH_VERIFIER_URL", &url)]).await;
    let answer = world.send(get("/api/tasks")).await;
    assert_eq!((answer.status.as_u16(), &*answer.problem()), (503, "verifier-unavailable"));
    assert!(world.service.seen().is_empty());
}

/// A server that answers every request with these bytes, and closes the connection or keeps it.
async fn answering(bytes: &'static str, keeps: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut read = Vec::new();
            while !read.windows(4).any(|end| end == b"\r\n\r\n")
                && stream.read_buf(&mut read).await.is_ok_and(|read| read > 0)
            {}
            let _ = stream.write_all(bytes.as_bytes()).await;
            if keeps {
                kept.push(stream);
            }
        }
    });
    url
}

#[tokio::test]
async fn f17_an_answer_that_can_be_read_in_two_ways_is_none() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\nhell",
        "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 4, 4\r\n\r\nhell",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nX: a\r\n b\r\n\r\nhell",
        "HTTP/1.1 200 OK\nContent-Length: 4\n\nhell",
        "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nX: a\0b\r\n\r\nhell",
        "HTTP/1.1 2000 OK\r\nContent-Length: 4\r\n\r\nhell",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\nhell",
    ] {
        let url = answering(answer, true).await;
        let world = World::with(&[("GATEWAY_TASK_SERVICE_URL", &url)]).await;
        // Each over a new connection, since the one before is not used again: nothing is answered twice over one.
        for _ in 0..2 {
            let got = world.send(as_u1(Method::POST, "/api/tasks").body(Body::from("x")).unwrap()).await;
            assert_eq!((got.status.as_u16(), &*got.problem()), (502, "service-broken"), "{answer:?}");
        }
    }
    let url = answering("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhell", true).await;
    let world = World::with(&[("GATEWAY_TASK_SERVICE_URL", &url)]).await;
    let got = world.send(get("/api/tasks")).await;
    assert_eq!((got.status.as_u16(), &*got.body), (200, "hell"));
}

#[tokio::test]
async fn f17_an_answer_without_its_last_chunk_is_not_made_whole() {
    for answer in [
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello",
    ] {
        let url = answering(answer, false).await;
        let world = World::with(&[("GATEWAY_TASK_SERVICE_URL", &url)]).await;
        let read = world.raw(CANARY.as_bytes()).await;
        let (head, body) = read.split_once("\r\n\r\n").unwrap();
        let is_whole = body.ends_with("0\r\n\r\n") || head.contains("content-length: 5");
        assert!(head.starts_with("HTTP/1.1 502") || !is_whole, "{answer:?}: {read}");
    }
}

#[tokio::test]
async fn bounds_of_a_head_are_told_in_words_over_a_raw_socket_and_to_a_page() {
    let world = World::new().await;
    let origin = "Origin: http://localhost:3000\r\n";
    let with = |fields: &str| format!("GET /api/tasks HTTP/1.1\r\n{GOOD}{origin}{fields}\r\n");
    for attack in [
        with(&"a: b\r\n".repeat(150)),
        with(&"a: b\r\n".repeat(300)),
        with(&format!("Cookie: a={}\r\n", "b".repeat(40_000))),
        with(&format!("Cookie: a={}\r\n", "b".repeat(200_000))),
    ] {
        let read = world.raw(attack.replace("Host: a", "Connection: close\r\nHost: a").as_bytes()).await;
        assert_eq!(statuses(&read), [431], "{read}");
        assert!(read.contains("\r\naccess-control-allow-origin: http://localhost:3000\r\n"), "{read}");
        assert!(read.contains("urn:usher:problem:head-too-large"), "{read}");
    }
    let read = world
        .raw(
            with("")
                .replace("/api/tasks", &"/a".repeat(5000))
                .replace("Host: a", "Connection: close\r\nHost: a")
                .as_bytes(),
        )
        .await;
    assert!(read.starts_with("HTTP/1.1 414") && read.contains("target-too-long"), "P15: {read}");
    assert!(world.service.seen().is_empty() && world.verifier.seen().is_empty());
}

#[tokio::test]
async fn cookies_that_http_2_cut_up_are_one_field() {
    let world = World::new().await;
    for (crumbs, fields, want) in [(150, 10, 200), (150, 100, 431)] {
        let mut request = as_u1(Method::GET, "/api/tasks");
        for crumb in 0..crumbs {
            request = request.header("cookie", format!("c{crumb}=1"));
        }
        for field in 0..fields {
            request = request.header(format!("x-{field}"), "1");
        }
        assert_eq!(
            world.send_h2(request.body(Body::empty()).unwrap()).await.status,
            want,
            "{crumbs} {fields}"
        );
    }
    let cookies = world.service.last().one("cookie").unwrap().to_owned();
    assert_eq!(cookies.split("; ").count(), 150);
}

/// What one HTTP/2 stream gets that sends a head block, and perhaps trailers.
async fn over_h2(world: &World, head: &[u8], trailers: Option<&[u8]>) -> Vec<(u8, Vec<u8>)> {
    let mut stream = TcpStream::connect(world.gateway).await.unwrap();
    let frame = |kind: u8, flags: u8, id: u32, payload: &[u8]| {
        let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(id.to_be_bytes());
        frame.extend(payload);
        frame
    };
    let mut all = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    all.extend(frame(4, 0, 0, &[]));
    all.extend(frame(1, if trailers.is_some() { 4 } else { 5 }, 1, head));
    if let Some(trailers) = trailers {
        all.extend(frame(0, 0, 1, b"hi"));
        all.extend(frame(1, 5, 1, trailers));
    }
    stream.write_all(&all).await.unwrap();
    let mut frames = Vec::new();
    loop {
        let mut header = [0; 9];
        let Ok(Ok(_)) = timeout(PATIENCE, stream.read_exact(&mut header)).await else { return frames };
        let mut payload = vec![0; usize::from(header[1]) << 8 | usize::from(header[2])];
        stream.read_exact(&mut payload).await.unwrap();
        let (kind, ends) = (header[3], header[4] & 1 == 1);
        if kind == 4 || kind == 8 || kind == 6 {
            continue;
        }
        frames.push((kind, payload));
        if matches!(kind, 3 | 7) || (matches!(kind, 0 | 1) && ends) {
            return frames;
        }
    }
}

/// A field in HPACK, by its literal name, never indexed.
fn field(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![0x10, u8::try_from(name.len()).unwrap()];
    bytes.extend(name.bytes());
    bytes.push(u8::try_from(value.len()).unwrap());
    bytes.extend(value.bytes());
    bytes
}

fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    fields.iter().flat_map(|(name, value)| field(name, value)).collect()
}

const RST_STREAM: u8 = 3;
const GOAWAY: u8 = 7;
/// `:status: 400` and `:status: 200` in HPACK's table.
const STATUS_400: u8 = 0x8c;
const STATUS_200: u8 = 0x88;

#[tokio::test]
async fn f18_h6_h7_a20_what_http_2_may_not_say_is_reset_or_refused() {
    let world = World::new().await;
    let good = [
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", "/api/tasks"),
        ("authorization", "Bearer good"),
    ];
    let changed = |at: usize, value: &'static str| {
        let mut changed = good;
        changed[at].1 = value;
        fields(&changed)
    };
    let with = |more: &[(&str, &str)]| fields(&[&good[..], more].concat());
    for (id, head) in [
        ("F18", changed(3, "/api/tasks\r\nx-user-id: u2")),
        ("F18", changed(3, "/api/tasks x")),
        ("F18", changed(3, "api/tasks")),
        ("F18", changed(3, "")),
        ("F18", changed(0, "GET x")),
        ("F18", changed(1, "javascript")),
        ("F18", changed(1, "ht tp")),
        ("F18", changed(2, "u@a")),
        ("F18", changed(3, "/api/tasks?\u{e9}")),
        ("F18", changed(3, "/api/tasks?\u{2028}")),
        ("F18", with(&[("content-length", "5")])),
        ("F4", with(&[("content-length", "")])),
        ("F4", with(&[("content-length", ""), ("content-length", "")])),
        ("F4", with(&[("content-length", "+0")])),
        ("F18", with(&[("transfer-encoding", "chunked")])),
        ("F18", with(&[(":path", "/x")])),
        ("F18", with(&[("x", "a\r\nb")])),
        ("F18", with(&[("x", "a\0b")])),
        ("F18", with(&[("X-Upper", "a")])),
        ("A20", with(&[("connection", "x-user-id")])),
        ("H6", with(&[("host", "b")])),
        ("H7", fields(&[good[0], good[1], good[3], good[4]])),
    ] {
        let frames = over_h2(&world, &head, None).await;
        let refused = frames.iter().any(|(kind, payload)| match kind {
            1 => payload[0] == STATUS_400,
            kind => matches!(*kind, RST_STREAM | GOAWAY),
        });
        assert!(refused, "{id}: {frames:?}");
        assert!(world.service.seen().is_empty(), "{id}");
    }
    // h2 hands on what stands before a fragment. Of that the route, the verdict and the service see the same.
    over_h2(&world, &changed(3, "/api/tasks#/health"), None).await;
    assert_eq!(world.service.last().target, "/api/tasks");
    assert_eq!(world.verifier.last().one("x-forwarded-uri"), Some("/api/tasks"));
    let frames = over_h2(&world, &with(&[("te", "trailers")]), None).await;
    assert!(frames.iter().any(|(kind, payload)| *kind == 1 && payload[0] == STATUS_200), "{frames:?}");
}

/// h2 leaves pseudo-header fields out of trailers before anybody sees them, and says nothing; to see them ourselves we would have to
/// decode HPACK. They do nothing: no trailer goes inside.
#[tokio::test]
async fn h20_a12_trailers_over_http_2_change_nothing() {
    let world = World::new().await;
    let head = fields(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", "/api/tasks"),
        ("authorization", "Bearer good"),
    ]);
    for trailers in [
        fields(&[(":path", "/api/other")]),
        fields(&[(":path", "/x"), ("x-user-id", "u2")]),
        fields(&[("x-user-id", "u2")]),
    ] {
        let frames = over_h2(&world, &head, Some(&trailers)).await;
        if frames.iter().any(|(kind, _)| matches!(*kind, RST_STREAM | GOAWAY)) {
            continue;
        }
        let seen = world.service.last();
        assert_eq!((&*seen.target, &*seen.body, seen.trailers.as_ref()), ("/api/tasks", &b"hi"[..], None));
        assert_eq!(seen.one("x-user-id"), Some("u1"));
    }
}
