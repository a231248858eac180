//! WebSocket through the gateway, byte by byte.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{Instant, timeout},
};

use crate::{
    life::Gateway,
    world::{PATIENCE, Peer, World, knows_u1},
};

/// The key of RFC 6455 §1.3, and its answer.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

const GOING_AWAY: [u8; 4] = [0x88, 2, 0x03, 0xe9];

/// A service that answers each handshake with `answer` (`{accept}` is the right one), then echoes what comes.
struct Service {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Service {
    async fn answering(answer: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let service = Self { address: listener.local_addr().unwrap(), heads: Arc::default() };
        let heads = service.heads.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let heads = heads.clone();
                tokio::spawn(async move {
                    while let Some(head) = read_head(&mut stream).await {
                        heads.lock().unwrap().push(head);
                        stream.write_all(answer.replace("{accept}", ACCEPT).as_bytes()).await.unwrap();
                        if !answer.starts_with("HTTP/1.1 101") {
                            continue;
                        }
                        let mut piece = vec![0; 65_536];
                        while let Ok(bytes @ 1..) = stream.read(&mut piece).await {
                            if stream.write_all(&piece[..bytes]).await.is_err() {
                                return;
                            }
                        }
                        return;
                    }
                });
            }
        });
        service
    }

    async fn new() -> Self {
        Self::answering(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: chat\r\nX-User-Id: nobody\r\n\r\n",
        )
        .await
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }

    /// A gateway before it, with a route of those keys.
    async fn behind(&self, route: &str, variables: &[(&str, &str)]) -> World {
        let Self { address, .. } = self;
        let file = format!(
            "[upstreams]\nchat = \"http://{address}\"\n[[routes]]\npath = \"/ws/**\"\nupstream = \"chat\"\n{route}\n\
             [[routes]]\npath = \"/api/**\"\nupstream = \"task-service\"\n"
        );
        World::with_file(&file, variables).await
    }
}

/// All up to the empty line.
async fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8(head).unwrap())
}

fn handshake(further: &str) -> String {
    format!(
        "GET /ws/room HTTP/1.1\r\nHost: gateway.test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n{further}\r\n"
    )
}

const AS_U1: &str = "Authorization: Bearer good\r\n";

/// Sends a head, and reads the answer's.
async fn send(gateway: SocketAddr, head: &str) -> (String, TcpStream) {
    let mut stream = TcpStream::connect(gateway).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let answer = timeout(PATIENCE, read_head(&mut stream)).await.unwrap().expect("an answer");
    (answer, stream)
}

async fn open(gateway: SocketAddr, further: &str) -> TcpStream {
    let (answer, stream) = send(gateway, &handshake(further)).await;
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    stream
}

/// All that comes until the end.
async fn rest(mut stream: TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("the gateway closes").unwrap();
    rest
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap()
}

#[tokio::test]
async fn a_websocket_opens_for_its_user_and_carries_both_ways_until_both_close() {
    let service = Service::new().await;
    let world = service.behind("websocket = true", &[]).await;
    // A13: what the client says of itself stays outside.
    let forged =
        "X-User-Id: u2\r\nX_User_Id: u2\r\nX-Forwarded-Host: evil\r\nSec-WebSocket-Protocol: chat\r\n";
    let (answer, mut stream) = send(world.gateway, &handshake(&format!("{AS_U1}{forged}"))).await;
    let lower = answer.to_ascii_lowercase();
    assert_eq!(status(&answer), "101");
    for wanted in ["connection: upgrade", "upgrade: websocket", "sec-websocket-protocol: chat"] {
        assert_eq!(lower.matches(wanted).count(), 1, "{answer}");
    }
    assert!(answer.contains(ACCEPT) && !lower.contains("x-user-id"), "{answer}");
    let [head] = &service.heads()[..] else { panic!("one handshake") };
    let head = head.to_ascii_lowercase();
    for wanted in [
        "x-user-id: u1",
        "x-identity-assertion: a.b.c",
        "x-forwarded-host: gateway.test",
        "upgrade: websocket",
    ] {
        assert_eq!(head.matches(wanted).count(), 1, "{head}");
    }
    assert!(!head.contains("u2") && !head.contains("evil") && !head.contains("authorization"), "{head}");
    // More than any buffer on the way.
    let sent: Vec<u8> = (0..3_000_000_u32).map(|byte| (byte % 251) as u8).collect();
    let (mut reader, mut writer) = stream.split();
    let mut got = vec![0; sent.len()];
    let (wrote, read) = tokio::join!(writer.write_all(&sent), timeout(PATIENCE, reader.read_exact(&mut got)));
    wrote.unwrap();
    read.unwrap().unwrap();
    assert!(got == sent);
    // The client closes its half; what is on the way back still comes, then the end.
    writer.write_all(b"last").await.unwrap();
    writer.shutdown().await.unwrap();
    assert_eq!(rest(stream).await, b"last");
}

#[tokio::test]
async fn a_frame_that_comes_right_behind_the_answer_is_the_first_of_the_tunnel() {
    let service = Service::answering(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n\u{1}\u{2}hi",
    )
    .await;
    let world = service.behind("websocket = true", &[]).await;
    let mut stream = open(world.gateway, AS_U1).await;
    let mut frame = [0; 4];
    timeout(PATIENCE, stream.read_exact(&mut frame)).await.unwrap().unwrap();
    assert_eq!(&frame, b"\x01\x02hi");
}

#[tokio::test]
async fn without_a_good_verdict_no_websocket_is_even_asked_for() {
    let service = Service::new().await;
    let world = service.behind("websocket = true", &[]).await;
    // A14
    for further in ["", "Authorization: Bearer bad\r\n"] {
        let (answer, _) = send(world.gateway, &handshake(further)).await;
        assert_eq!(status(&answer), "401", "{answer}");
    }
    assert!(service.heads().is_empty());
}

#[tokio::test]
async fn where_no_route_allows_it_an_upgrade_is_a_plain_request() {
    let service = Service::answering("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nplain").await;
    let world = service.behind("", &[]).await;
    let (answer, mut stream) = send(world.gateway, &handshake(AS_U1)).await;
    assert_eq!(status(&answer), "200");
    let mut body = [0; 5];
    stream.read_exact(&mut body).await.unwrap();
    let head = service.heads().pop().unwrap().to_ascii_lowercase();
    assert!(!head.contains("upgrade"), "{head}");
    // And other protocols than this one are nowhere asked for.
    let world = service.behind("websocket = true", &[]).await;
    let h2c = "GET /ws/x HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
               HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\nAuthorization: Bearer good\r\n\r\n";
    assert_eq!(status(&send(world.gateway, h2c).await.0), "200");
    let head = service.heads().pop().unwrap().to_ascii_lowercase();
    assert!(!head.contains("upgrade") && !head.contains("http2"), "{head}");
}

#[tokio::test]
async fn a_handshake_that_is_none_opens_nothing() {
    let service = Service::new().await;
    let world = service.behind("websocket = true", &[]).await;
    let good = handshake(AS_U1);
    // F15
    for (from, to, want) in [
        ("Version: 13", "Version: 99", "426"),
        ("Version: 13", "Version: 13, 8", "426"),
        ("Sec-WebSocket-Version: 13\r\n", "", "400"),
        (
            "Sec-WebSocket-Version: 13\r\n",
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Version: 13\r\n",
            "400",
        ),
        ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "", "400"),
        ("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ=", "400"),
        ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ==, x", "400"),
        ("GET ", "POST ", "400"),
        ("HTTP/1.1", "HTTP/1.0", "400"),
        ("keep-alive, Upgrade", "keep-alive", "400"),
        ("Sec-WebSocket-Version", "Content-Length: 1\r\nSec-WebSocket-Version", "400"),
        ("Sec-WebSocket-Version", "Transfer-Encoding: chunked\r\nSec-WebSocket-Version", "400"),
    ] {
        assert!(good.contains(from));
        let (answer, _) = send(world.gateway, &good.replacen(from, to, 1)).await;
        assert_eq!(status(&answer), want, "{to}: {answer}");
        if want == "426" {
            let lower = answer.to_ascii_lowercase();
            assert!(
                lower.contains("sec-websocket-version: 13") && lower.contains("upgrade: websocket"),
                "{answer}"
            );
        }
    }
    assert!(service.heads().is_empty());
}

#[tokio::test]
async fn what_does_not_answer_the_handshake_opens_no_tunnel() {
    for wrong in [
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n\r\n",
    ] {
        let service = Service::answering(wrong).await;
        let world = service.behind("websocket = true", &[]).await;
        assert_eq!(status(&send(world.gateway, &handshake(AS_U1)).await.0), "502", "{wrong}");
    }
}

#[tokio::test]
async fn another_answer_passes_and_what_came_behind_the_handshake_is_a_new_request() {
    // F13, F15
    for (answer, want) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "200"),
        (
            "HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 0\r\n\r\n",
            "426",
        ),
        ("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", "403"),
    ] {
        let service = Service::answering(answer).await;
        let world = service.behind("websocket = true", &[]).await;
        let canary = "GET /api/canary HTTP/1.1\r\nHost: gateway.test\r\n\r\n";
        let (answer, mut stream) = send(world.gateway, &format!("{}{canary}", handshake(AS_U1))).await;
        assert_eq!(status(&answer), want);
        let second = timeout(PATIENCE, read_head(&mut stream)).await.unwrap().expect("an answer of its own");
        assert_eq!(status(&second), "401", "it has no credentials: {second}");
        assert!(world.service.seen().is_empty());
    }
}

/// C16: cross-site WebSocket hijacking.
#[tokio::test]
async fn a_foreign_page_opens_no_websocket() {
    let service = Service::new().await;
    let closed = service.behind("websocket = true", &[]).await;
    let by_cookie = "Cookie: better-auth.session_token=s\r\n";
    closed.verifier.respond(|seen| {
        let mut known = crate::world::known("u1");
        let credential = if seen.one("authorization").is_some() { "bearer" } else { "cookie" };
        known.headers_mut().insert("x-credential", credential.parse().unwrap());
        known
    });
    let open = service.behind("websocket = true\naccess = \"public\"", &[]).await;
    for (further, to_closed, to_open) in [
        ("Origin: http://localhost:3000\r\n", "101", "101"),
        ("Origin: http://gateway.test\r\n", "101", "101"),
        ("Origin: http://gateway.test\r\nSec-Fetch-Site: cross-site\r\n", "403", "403"),
        ("Origin: https://evil.example\r\n", "403", "403"),
        ("Origin: https://evil.example\r\nSec-Fetch-Site: same-origin\r\n", "403", "403"),
        ("Origin: null\r\n", "403", "403"),
        // No browser's; where a cookie counts, nobody can tell.
        ("", "403", "101"),
    ] {
        let further = format!("{by_cookie}{further}");
        assert_eq!(status(&send(closed.gateway, &handshake(&further)).await.0), to_closed, "{further}");
        assert_eq!(status(&send(open.gateway, &handshake(&further)).await.0), to_open, "{further}");
    }
    // No page can send a token along.
    let by_token = format!("{AS_U1}Origin: https://evil.example\r\n");
    assert_eq!(status(&send(closed.gateway, &handshake(&by_token)).await.0), "101");
    let lenient = service.behind("websocket = true\ncsrf = \"fetch-metadata\"", &[]).await;
    lenient.verifier.respond(|_| {
        let mut known = crate::world::known("u1");
        known.headers_mut().insert("x-credential", "cookie".parse().unwrap());
        known
    });
    assert_eq!(status(&send(lenient.gateway, &handshake(by_cookie)).await.0), "101");
    // Where pages of other origins may not call, they open none either.
    let own = service.behind("websocket = true\naccess = \"public\"\ncors = false", &[]).await;
    for (origin, want) in [("http://localhost:3000", "403"), ("http://gateway.test", "101")] {
        let handshake = handshake(&format!("{by_cookie}Origin: {origin}\r\n"));
        assert_eq!(status(&send(own.gateway, &handshake).await.0), want, "{origin}");
    }
    // A service that checks its forms by itself is not known to check this.
    let keys = "websocket = true\naccess = \"public\"\nforward_credentials = true\ncsrf = \"off\"";
    let unchecked = service.behind(keys, &[]).await;
    for (origin, want) in [("https://evil.example", "403"), ("http://gateway.test", "101")] {
        let handshake = handshake(&format!("{by_cookie}Origin: {origin}\r\n"));
        assert_eq!(status(&send(unchecked.gateway, &handshake).await.0), want, "{origin}");
    }
}

#[tokio::test]
async fn websockets_are_bounded_in_all_and_by_their_clients_and_users_share() {
    for (variable, want) in [
        ("GATEWAY_LIMITS__WEBSOCKETS_PER_CLIENT_MAX", "429"),
        ("GATEWAY_LIMITS__WEBSOCKETS_MAX", "503"),
        ("GATEWAY_LIMITS__REQUESTS_PER_USER_MAX", "429"),
        ("GATEWAY_LIMITS__REQUESTS_PER_CLIENT_MAX", "429"),
        ("GATEWAY_LIMITS__REQUESTS_MAX", "503"),
    ] {
        let service = Service::new().await;
        let world = service.behind("websocket = true", &[(variable, "2")]).await;
        let (one, _two) = (open(world.gateway, AS_U1).await, open(world.gateway, AS_U1).await);
        let (answer, _) = send(world.gateway, &handshake(AS_U1)).await;
        assert_eq!(status(&answer), want, "{variable}");
        drop(one);
        let deadline = Instant::now() + PATIENCE;
        while status(&send(world.gateway, &handshake(AS_U1)).await.0) != "101" {
            assert!(Instant::now() < deadline, "{variable}: one that is closed makes room");
        }
    }
}

#[tokio::test]
async fn one_client_leaves_the_others_their_websockets() {
    let service = Service::new().await;
    let bounds = [
        ("GATEWAY_SERVER__TRUSTED_PROXIES", "127.0.0.1"),
        ("GATEWAY_LIMITS__WEBSOCKETS_PER_CLIENT_MAX", "2"),
        ("GATEWAY_LIMITS__WEBSOCKETS_MAX", "3"),
    ];
    let world = service.behind("websocket = true", &bounds).await;
    let by = |client: &str| format!("{AS_U1}X-Forwarded-For: {client}\r\n");
    let one = [open(world.gateway, &by("2001:db8::1")).await, open(world.gateway, &by("2001:db8::2")).await];
    let (answer, mut stream) = send(world.gateway, &handshake(&by("2001:db8::3"))).await;
    assert_eq!(status(&answer), "429", "an IPv6 network is one client: {answer}");
    assert!(answer.to_ascii_lowercase().contains("retry-after: 1"), "{answer}");
    let mut body = vec![0; 400];
    let read = timeout(PATIENCE, stream.read(&mut body)).await.unwrap().unwrap();
    assert!(String::from_utf8_lossy(&body[..read]).contains("too-many-websockets"));
    // What was refused took no place of those that are for all.
    let _other = open(world.gateway, &by("203.0.113.7")).await;
    let (answer, _) = send(world.gateway, &handshake(&by("203.0.113.8"))).await;
    assert_eq!(status(&answer), "503", "{answer}");
    // They count, whatever the settings are read from meanwhile.
    world.reload();
    assert_eq!(status(&send(world.gateway, &handshake(&by("2001:db8::1"))).await.0), "429");
    assert_eq!(status(&send(world.gateway, &handshake(&by("203.0.113.8"))).await.0), "503");
    drop(one);
    let deadline = Instant::now() + PATIENCE;
    while status(&send(world.gateway, &handshake(&by("2001:db8::1"))).await.0) != "101" {
        assert!(Instant::now() < deadline, "those that are closed make room");
    }
}

#[tokio::test]
async fn a_connection_that_is_to_close_behind_the_handshake_is_a_websocket_all_the_same() {
    // HTTP ends with the answer, so that `close` says nothing (RFC 9110 §7.8).
    let service = Service::answering(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade, close\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n",
    )
    .await;
    let world = service.behind("websocket = true", &[]).await;
    for connection in ["keep-alive, Upgrade", "Upgrade, close"] {
        let handshake = handshake(AS_U1).replace("keep-alive, Upgrade", connection);
        let (answer, mut stream) = send(world.gateway, &handshake).await;
        assert_eq!(status(&answer), "101", "{connection}");
        // What the service says of its own connection is not passed on; what the client has asked for may be said back.
        let answer = answer.to_ascii_lowercase();
        assert!(answer.contains("\r\nconnection: upgrade"), "{answer}");
        assert_eq!(answer.contains("close"), connection.contains("close"), "{answer}");
        for frame in [b"\x81\x01a", b"\x81\x01b"] {
            stream.write_all(frame).await.unwrap();
            let mut echoed = [0; 3];
            timeout(PATIENCE, stream.read_exact(&mut echoed)).await.unwrap().unwrap();
            assert_eq!(&echoed, frame, "{connection}");
        }
        stream.shutdown().await.unwrap();
        assert_eq!(rest(stream).await, b"");
    }
}

#[tokio::test]
async fn a_websocket_that_is_too_old_is_closed_properly_however_much_comes() {
    let service = Service::new().await;
    let world = service.behind("websocket = true", &[("GATEWAY_LIMITS__WEBSOCKET_AGE_SECS", "2")]).await;
    let began = Instant::now();
    let mut busy = open(world.gateway, AS_U1).await;
    loop {
        busy.write_all(b"\x82\x01x").await.unwrap();
        let mut frame = [0; 3];
        timeout(PATIENCE, busy.read_exact(&mut frame)).await.unwrap().unwrap();
        if frame != *b"\x82\x01x" {
            assert_eq!(frame, GOING_AWAY[..3]);
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(began.elapsed() >= Duration::from_secs(2));
}

#[tokio::test]
async fn a_websocket_that_idles_is_closed_properly_and_one_that_does_not_is_not() {
    let service = Service::new().await;
    let world = service.behind("websocket = true\nidle_secs = 2", &[]).await;
    let began = Instant::now();
    let idle = open(world.gateway, AS_U1).await;
    let mut busy = open(world.gateway, AS_U1).await;
    let talk = tokio::spawn(async move {
        while began.elapsed() < Duration::from_secs(5) {
            busy.write_all(b"\x82\x01x").await.unwrap();
            let mut echo = [0; 3];
            timeout(PATIENCE, busy.read_exact(&mut echo)).await.unwrap().unwrap();
            assert_eq!(&echo, b"\x82\x01x");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    });
    assert_eq!(rest(idle).await, GOING_AWAY);
    assert!(began.elapsed() >= Duration::from_secs(2));
    talk.await.unwrap();
}

#[tokio::test]
async fn as_a_drain_begins_a_frame_is_finished_before_the_client_is_sent_away() {
    let service = Service::new().await;
    let world = service.behind("websocket = true", &[]).await;
    let (mut between, mut within) = (open(world.gateway, AS_U1).await, open(world.gateway, AS_U1).await);
    // Half a frame of ten bytes has come from the service, to the one.
    within.write_all(b"\x82\x0ahello").await.unwrap();
    let mut half = [0; 7];
    timeout(PATIENCE, within.read_exact(&mut half)).await.unwrap().unwrap();
    world.stop.cancel();
    let mut close = [0; 4];
    timeout(PATIENCE, between.read_exact(&mut close)).await.unwrap().unwrap();
    assert_eq!(close, GOING_AWAY);
    // Its answer goes to the service, and the service's end comes back.
    between.write_all(b"\x88\x82\x00\x00\x00\x00\x03\xe9").await.unwrap();
    between.shutdown().await.unwrap();
    assert_eq!(rest(between).await, b"");
    within.write_all(b"world\x82\x01x").await.unwrap();
    assert_eq!(rest(within).await, [b"world", &GOING_AWAY[..]].concat(), "and nothing after that");
    // Nobody comes in any more.
    let refused = TcpStream::connect(world.gateway).await;
    assert!(refused.is_err());
}

/// W14
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_idle_websockets_are_gone_soon_after_sigterm() {
    const MANY: usize = 1000;
    // Each has an end here at the client's, and one at the service's.
    let files = u64::try_from(3 * MANY).unwrap();
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    if limit.current.is_some_and(|now| now < files) {
        let raised = rustix::process::Rlimit { current: Some(files), maximum: limit.maximum };
        rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).unwrap();
    }
    let (service, verifier) = (Service::new().await, Peer::new(knows_u1).await);
    let (_file, path) = crate::world::config(&format!(
        "[upstreams]\nchat = \"http://{}\"\n[[routes]]\npath = \"/ws/**\"\nupstream = \"chat\"\nwebsocket = true\n",
        service.address
    ));
    let verifier = verifier.url();
    let gateway = Gateway::start(&[
        ("GATEWAY_CONFIG", &path),
        ("GATEWAY_AUTH_VERIFIER_URL", &verifier),
        ("GATEWAY_LIMITS__REQUESTS_PER_USER_MAX", "1100"),
        ("GATEWAY_LIMITS__REQUESTS_PER_CLIENT_MAX", "1100"),
        ("GATEWAY_LIMITS__WEBSOCKETS_PER_CLIENT_MAX", "1100"),
        ("GATEWAY_SERVER__DRAIN_DELAY_SECS", "0"),
        ("GATEWAY_SERVER__DRAIN_SECS", "55"),
    ]);
    let mut open_ones = Vec::new();
    for _ in 0..MANY {
        open_ones.push(open(gateway.traffic, AS_U1).await);
    }
    // One of them has had something.
    open_ones[0].write_all(b"\x82\x01x").await.unwrap();
    let mut echo = [0; 3];
    timeout(PATIENCE, open_ones[0].read_exact(&mut echo)).await.unwrap().unwrap();
    gateway.tell(rustix::process::Signal::TERM);
    // Half of them answer as they must; the others are dead.
    for (at, mut stream) in open_ones.into_iter().enumerate() {
        tokio::spawn(async move {
            let mut close = [0; 4];
            stream.read_exact(&mut close).await.unwrap();
            assert_eq!(close, GOING_AWAY);
            if at % 2 == 0 {
                stream.write_all(b"\x88\x82\x00\x00\x00\x00\x03\xe9").await.unwrap();
                stream.shutdown().await.unwrap();
                assert_eq!(rest(stream).await, b"");
            } else {
                tokio::time::sleep(PATIENCE).await;
            }
        });
    }
    let (status, took, log) = tokio::task::spawn_blocking(move || gateway.end()).await.unwrap();
    assert!(status.success(), "{status}");
    assert!(took < Duration::from_secs(25), "{took:?}");
    // Each has its line, at its end, with what went to its client.
    let lines: Vec<_> = log.iter().filter(|line| line["status"] == 101).collect();
    assert_eq!(lines.len(), MANY);
    for line in &lines {
        let is_whole =
            line["span"]["user"] == "u1" && line["complete"] == true && line["bytes"].as_u64() >= Some(4);
        assert!(is_whole, "{line}");
    }
    assert_eq!(lines.iter().filter(|line| line["bytes"] == 7).count(), 1, "an echo and a close frame");
}
