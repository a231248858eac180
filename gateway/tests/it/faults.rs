//! What a replica's fault costs a request: where something else can answer it, nothing; and no write is ever done twice.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use chassis::Body;
use http::{Method, Response};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};

use crate::world::{Answer, PATIENCE, Peer, Seen, World, as_u1, by_hand, config, echo, get};

const BODY: &str = "{\"title\":\"once\"}";

/// A service that says that it did nothing.
fn did_nothing(_: &Seen) -> Response<Body> {
    Response::builder()
        .status(503)
        .header("retry-after", "7")
        .header("x-internal-not-applied", "true")
        .body(Body::from("not now"))
        .unwrap()
}

async fn in_front_of(urls: &[String], others: &[(&str, &str)]) -> World {
    let urls = urls.join(",");
    World::with(&[&[("GATEWAY_TASK_SERVICE_URL", &*urls)], others].concat()).await
}

async fn write(world: &World, method: Method) -> Answer {
    world.send(as_u1(method, "/api/tasks").body(Body::from(BODY)).unwrap()).await
}

#[tokio::test]
async fn what_was_certainly_not_done_is_done_elsewhere() {
    let (unready, ready) = (Peer::new(did_nothing).await, Peer::new(echo).await);
    let world = in_front_of(&[unready.url(), ready.url()], &[]).await;
    let mut n = 0;
    for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
        for body in ["", BODY] {
            n += 1;
            let request = as_u1(method.clone(), "/api/tasks?a=b").header("content-type", "application/json");
            let answer = world.send(request.body(Body::from(body)).unwrap()).await;
            assert_eq!((answer.status.as_u16(), &*answer.body), (200, body), "{method}");
            let seen = ready.last();
            assert_eq!((&seen.method, &*seen.target), (&method, "/api/tasks?a=b"));
            assert_eq!((&*seen.body, seen.one("x-user-id")), (body.as_bytes(), Some("u1")));
            assert_eq!(seen.one("host"), Some(&*ready.address.to_string()));
        }
    }
    assert_eq!(ready.seen().len(), n, "each was done once");
    assert!(unready.seen().len() <= 5, "and it has lost its share: {}", unready.seen().len());
    assert!(!unready.seen().is_empty());
}

#[tokio::test]
async fn where_nobody_does_it_the_client_hears_the_service_itself() {
    let all = [Peer::new(did_nothing).await, Peer::new(did_nothing).await, Peer::new(did_nothing).await];
    for several in [&all[..1], &all[..2], &all] {
        let urls: Vec<_> = several.iter().map(Peer::url).collect();
        let world = in_front_of(&urls, &[]).await;
        let before: usize = all.iter().map(|peer| peer.seen().len()).sum();
        let answer = write(&world, Method::POST).await;
        assert_eq!((answer.status.as_u16(), &*answer.body), (503, "not now"));
        assert_eq!(answer.one("retry-after"), Some("7"));
        assert_eq!(answer.one("x-internal-not-applied"), None, "no client hears it");
        let asked = all.iter().map(|peer| peer.seen().len()).sum::<usize>() - before;
        assert_eq!(asked, several.len(), "each was asked once");
    }
    // The other one has gone since.
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let world = in_front_of(&[all[0].url(), format!("http://{nobody}")], &[]).await;
    let answer = write(&world, Method::POST).await;
    assert_eq!((answer.status.as_u16(), &*answer.body), (503, "not now"));
}

#[tokio::test]
async fn any_other_answer_is_final() {
    let answers: [(u16, &[&str]); 7] = [
        (503, &[]),
        (503, &["false"]),
        (503, &["TRUE"]),
        (503, &["true", "true"]),
        (500, &["true"]),
        (502, &["true"]),
        (429, &["true"]),
    ];
    for (status, said) in answers {
        let respond = move |_: &Seen| {
            let mut response = Response::builder().status(status);
            for said in said {
                response = response.header("x-internal-not-applied", *said);
            }
            response.body(Body::empty()).unwrap()
        };
        let both = [Peer::new(respond).await, Peer::new(respond).await];
        let world = in_front_of(&[both[0].url(), both[1].url()], &[]).await;
        for method in [Method::GET, Method::POST] {
            let answer = write(&world, method).await;
            assert_eq!(answer.status, status);
            assert_eq!(answer.headers.get("x-internal-not-applied"), None, "{status} {said:?}");
        }
        assert_eq!(both[0].seen().len() + both[1].seen().len(), 2, "{status} {said:?}");
    }
}

#[tokio::test]
async fn a_client_can_not_have_it_said() {
    // A service that sends back what it is sent.
    let mirrors = |seen: &Seen| {
        let mut response = Response::builder().status(503);
        for (name, value) in &seen.headers {
            if name.as_str().contains("applied") {
                response = response.header(name, value);
            }
        }
        response.body(Body::empty()).unwrap()
    };
    let both = [Peer::new(mirrors).await, Peer::new(mirrors).await];
    let world = in_front_of(&[both[0].url(), both[1].url()], &[]).await;
    for name in ["x-internal-not-applied", "X-INTERNAL-NOT-APPLIED"] {
        let request = as_u1(Method::POST, "/api/tasks").header(name, "true").body(Body::from(BODY)).unwrap();
        assert_eq!(world.send(request).await.status, 503);
    }
    assert_eq!(both[0].seen().len() + both[1].seen().len(), 2);
}

#[tokio::test]
async fn a_body_that_is_too_long_to_keep_or_of_no_known_length_goes_once() {
    const KEPT: usize = 64 * 1024;
    for (length, goes_again) in [(Some(KEPT), true), (Some(KEPT + 1), false), (None, false)] {
        let (unready, ready) = (Peer::new(did_nothing).await, Peer::new(echo).await);
        let world = in_front_of(&[unready.url(), ready.url()], &[]).await;
        let sent = "x".repeat(length.unwrap_or(1));
        let (mut done, mut refused) = (0, 0);
        for _ in 0..4 {
            let body = match length {
                Some(_) => Body::from(sent.clone()),
                None => {
                    let (sender, body) = by_hand();
                    tokio::spawn(async move { sender.send(Bytes::from_static(b"x")).await });
                    body
                }
            };
            match world.send(as_u1(Method::POST, "/api/tasks").body(body).unwrap()).await.status.as_u16() {
                200 => done += 1,
                503 => refused += 1,
                status => panic!("{status}"),
            }
        }
        assert!(ready.seen().iter().all(|seen| seen.body == sent), "whole");
        assert_eq!(ready.seen().len(), done, "once");
        let asked = unready.seen().len();
        assert!(asked > 0);
        assert_eq!(refused, if goes_again { 0 } else { asked }, "{length:?}");
    }
}

/// A service that reads a request and then closes the connection; how many it has read.
async fn breaking() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, read) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let counted = read.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let counted = counted.clone();
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.windows(4).any(|end| end == b"\r\n\r\n") {
                    if stream.read_buf(&mut head).await.unwrap_or(0) == 0 {
                        return;
                    }
                }
                counted.fetch_add(1, Ordering::SeqCst);
            });
        }
    });
    (address, read)
}

#[tokio::test]
async fn what_only_reads_goes_elsewhere_when_its_replica_breaks_off_and_a_write_never() {
    let well = Peer::new(echo).await;
    for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
        let (broken, read) = breaking().await;
        let world = in_front_of(&[format!("http://{broken}"), well.url()], &[]).await;
        for n in 0..4 {
            let request = as_u1(method.clone(), "/api/tasks").body(Body::empty()).unwrap();
            assert_eq!(world.send(request).await.status, 200, "{method} {n}");
        }
        assert!(read.load(Ordering::SeqCst) > 0, "the broken one was asked");
    }
    for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
        let (broken, read) = breaking().await;
        let world = in_front_of(&[format!("http://{broken}"), well.url()], &[]).await;
        let (did, mut told) = (well.seen().len(), Vec::new());
        for _ in 0..4 {
            told.push(write(&world, method.clone()).await.status.as_u16());
        }
        let broke = told.iter().filter(|status| **status == 502).count();
        assert!(broke > 0, "the broken one was asked");
        assert_eq!(told.iter().filter(|status| **status == 200).count(), 4 - broke, "{told:?}");
        assert_eq!(read.load(Ordering::SeqCst), broke, "{method}: what broke off was read once");
        assert_eq!(well.seen().len() - did, 4 - broke, "{method}: and not done elsewhere");
    }
}

#[tokio::test]
async fn a_replica_that_breaks_off_again_and_again_loses_its_share_while_another_answers() {
    let ((broken, read), well) = (breaking().await, Peer::new(echo).await);
    let eject = [("GATEWAY_UPSTREAM__EJECT_SECS", "3600")];
    let world = in_front_of(&[format!("http://{broken}"), well.url()], &eject).await;
    let mut failed = 0;
    for _ in 0..40 {
        failed += usize::from(write(&world, Method::POST).await.status != 200);
    }
    assert_eq!((failed, read.load(Ordering::SeqCst)), (5, 5));

    // The only one never does.
    let (broken, read) = breaking().await;
    let world = in_front_of(&[format!("http://{broken}")], &eject).await;
    for n in 1..20 {
        assert_eq!(write(&world, Method::POST).await.status, 502);
        assert_eq!(read.load(Ordering::SeqCst), n);
    }
}

#[tokio::test]
async fn what_breaks_off_twice_does_not_go_a_third_time() {
    let mut broken = Vec::new();
    for _ in 0..3 {
        broken.push(breaking().await);
    }
    let urls: Vec<_> = broken.iter().map(|(address, _)| format!("http://{address}")).collect();
    let world = in_front_of(&urls, &[]).await;
    assert_eq!(world.send(get("/api/tasks")).await.status, 502);
    assert_eq!(broken.iter().map(|(_, read)| read.load(Ordering::SeqCst)).sum::<usize>(), 2);
}

#[tokio::test]
async fn only_task_service_is_believed_that_it_did_nothing() {
    let both = [Peer::new(did_nothing).await, Peer::new(did_nothing).await];
    let (_file, path) = config(&format!(
        "[upstreams]\nnotes = \"{}, {}\"\n[[routes]]\npath = \"/api/**\"\nupstream = \"notes\"",
        both[0].url(),
        both[1].url()
    ));
    let world = World::with(&[("GATEWAY_CONFIG", &path)]).await;
    for (n, method) in [Method::GET, Method::POST, Method::PUT].into_iter().enumerate() {
        let answer = write(&world, method).await;
        assert_eq!((answer.status.as_u16(), &*answer.body), (503, "not now"));
        assert_eq!(answer.one("x-internal-not-applied"), None, "no client hears it");
        assert_eq!(both[0].seen().len() + both[1].seen().len(), n + 1);
    }
}

#[tokio::test]
async fn retries_are_a_share_of_all_requests() {
    let (all, mut broken) = (1000, Vec::new());
    for _ in 0..2 {
        broken.push(breaking().await);
    }
    let urls: Vec<_> = broken.iter().map(|(address, _)| format!("http://{address}")).collect();
    let world = Arc::new(in_front_of(&urls, &[]).await);
    let workers: Vec<_> = (0..10)
        .map(|_| {
            let world = world.clone();
            tokio::spawn(async move {
                for _ in 0..all / 10 {
                    assert_eq!(world.send(get("/api/tasks")).await.status, 502);
                }
            })
        })
        .collect();
    let began = Instant::now();
    for worker in workers {
        worker.await.unwrap();
    }
    let read: usize = broken.iter().map(|(_, read)| read.load(Ordering::SeqCst)).sum();
    // For each 10 s a fifth of what was asked in them or before them, and a hundred.
    let windows = usize::try_from(began.elapsed().as_secs()).unwrap() / 10 + 1;
    let most = all + windows.min(2) * all / 5 + windows * 100;
    assert!(read <= most, "{read} of {most}");
    assert!(read >= all + 100, "some went again: {read}");
}

/// An address that takes connections and never answers, as a stopped process does.
async fn hung() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (listener, url)
}

#[tokio::test]
async fn a_replica_that_hangs_loses_its_share_after_three_requests_which_go_nowhere_else() {
    let ((_listener, hung), well) = (hung().await, Peer::new(echo).await);
    let settings = [("GATEWAY_UPSTREAM__EJECT_SECS", "3600"), ("GATEWAY_UPSTREAM__TIMEOUT_SECS", "1")];
    let world = in_front_of(&[hung.clone(), well.url()], &settings).await;
    let mut told = Vec::new();
    for _ in 0..20 {
        told.push(world.send(get("/api/tasks")).await.status.as_u16());
    }
    assert_eq!(told.iter().filter(|status| **status == 504).count(), 3, "{told:?}");
    assert_eq!(well.seen().len(), 17, "what waited in vain was asked nowhere else");

    // The only one never does.
    let world = in_front_of(&[hung], &settings).await;
    for _ in 0..4 {
        assert_eq!(world.send(get("/api/tasks")).await.status, 504);
    }
}

#[tokio::test]
async fn a_request_that_takes_long_stays_where_it_is_though_nobody_else_is_answered() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (read, other) = (Arc::new(AtomicUsize::new(0)), Peer::new(echo).await);
    let counted = read.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let counted = counted.clone();
            tokio::spawn(async move {
                let mut head = [0; 4096];
                while let Ok(1..) = stream.read(&mut head).await {
                    counted.fetch_add(1, Ordering::SeqCst);
                    sleep(Duration::from_millis(2500)).await;
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhere").await;
                }
            });
        }
    });
    let settings = [("GATEWAY_UPSTREAM__EJECT_SECS", "3600"), ("GATEWAY_UPSTREAM__TIMEOUT_SECS", "4")];
    let world = Arc::new(in_front_of(&[url, other.url()], &settings).await);
    // More at once than make a hung one lose its share; and then again, where it has kept it.
    let mut all_here = 0;
    for round in 1..=2 {
        let asking: Vec<_> = (0..16)
            .map(|_| {
                let world = world.clone();
                tokio::spawn(async move { world.send(get("/api/slow")).await })
            })
            .collect();
        let mut here = 0;
        for one in asking {
            let answer = timeout(PATIENCE, one).await.unwrap().unwrap();
            assert_eq!(answer.status, 200);
            here += usize::from(answer.body == "here");
        }
        assert!(here > 0, "{round}: it has its share");
        assert_eq!(read.swap(0, Ordering::SeqCst), here, "{round}");
        all_here += here;
        assert_eq!(other.seen().len(), round * 16 - all_here, "{round}");
    }
}

#[tokio::test]
async fn a_write_to_a_replica_that_hangs_is_never_sent_elsewhere() {
    let ((listener, hung), well) = (hung().await, Peer::new(echo).await);
    let world = in_front_of(&[hung, well.url()], &[("GATEWAY_UPSTREAM__TIMEOUT_SECS", "1")]).await;
    let mut told = Vec::new();
    for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
        told.push(write(&world, method).await.status.as_u16());
    }
    let late = told.iter().filter(|status| **status == 504).count();
    assert!(late > 0, "one went to the hung one: {told:?}");
    assert_eq!(well.seen().len(), 4 - late, "and nowhere else");
    drop(listener);
}

#[tokio::test]
async fn a_replica_that_comes_back_is_probed_by_one_and_gets_its_share_again() {
    let (coming, other) = (Peer::new(did_nothing).await, Peer::new(echo).await);
    let world = in_front_of(&[coming.url(), other.url()], &[("GATEWAY_UPSTREAM__EJECT_SECS", "1")]).await;
    for _ in 0..20 {
        assert_eq!(write(&world, Method::POST).await.status, 200);
    }
    let before = coming.seen().len();
    assert!(before <= 5, "{before}");
    coming.respond(echo);
    let began = Instant::now();
    while coming.seen().len() < before + 10 {
        assert!(began.elapsed() < PATIENCE, "it gets its share again");
        assert_eq!(world.send(get("/api/tasks")).await.status, 200);
    }
}

#[tokio::test]
async fn where_all_fail_alike_none_loses_its_share() {
    let both = [Peer::new(did_nothing).await, Peer::new(did_nothing).await];
    let urls = [both[0].url(), both[1].url()];
    let world = in_front_of(&urls, &[("GATEWAY_UPSTREAM__EJECT_SECS", "3600")]).await;
    for _ in 0..20 {
        assert_eq!(write(&world, Method::POST).await.status, 503);
    }
    for peer in &both {
        peer.respond(echo);
    }
    let before = [both[0].seen().len(), both[1].seen().len()];
    for _ in 0..20 {
        assert_eq!(write(&world, Method::POST).await.status, 200);
    }
    for (peer, before) in both.iter().zip(before) {
        assert!(peer.seen().len() > before, "what stood behind both is back, and so are both");
    }
}

#[tokio::test]
async fn a_body_that_is_still_on_its_way_when_the_answer_comes_goes_nowhere_else() {
    let early = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", early.local_addr().unwrap());
    let well = Peer::new(echo).await;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = early.accept().await {
            tokio::spawn(async move {
                let _ = stream.read(&mut [0; 4096]).await;
                let answer = "HTTP/1.1 503 Service Unavailable\r\nX-Internal-Not-Applied: true\r\nContent-Length: 0\r\n\r\n";
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = stream.read(&mut [0; 4096]).await;
            });
        }
    });
    let world = in_front_of(&[url, well.url()], &[]).await;
    let mut told = Vec::new();
    for _ in 0..2 {
        let mut client = TcpStream::connect(world.gateway).await.unwrap();
        let head = "POST /api/tasks HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer good\r\nContent-Length: 10\r\n\r\nhalf ";
        client.write_all(head.as_bytes()).await.unwrap();
        let mut status = [0; 12];
        let reading = timeout(Duration::from_secs(1), client.read_exact(&mut status)).await;
        if reading.is_err() {
            // It went to the one that waits for all of it.
            client.write_all(b"whole").await.unwrap();
            timeout(PATIENCE, client.read_exact(&mut status)).await.unwrap().unwrap();
        }
        told.push(String::from_utf8_lossy(&status).into_owned());
    }
    told.sort_unstable();
    assert_eq!(told, ["HTTP/1.1 200", "HTTP/1.1 503"]);
    assert_eq!(well.seen().len(), 1);
}

fn status(status: u16) -> impl Fn(&Seen) -> Response<Body> + Send + Sync {
    move |_| Response::builder().status(status).body(Body::empty()).unwrap()
}

/// Peers that listen at one port of several addresses of this machine, and say at another one whether they are ready.
struct Asked {
    services: Vec<Peer>,
    ops: Vec<Peer>,
    world: World,
}

impl Asked {
    async fn new(others: &[(&str, &str)]) -> Self {
        let (one, other) = ([127, 0, 0, 1], [127, 0, 0, 2]);
        let services = vec![Peer::at((one, 0).into(), echo).await, Peer::at((other, 0).into(), echo).await];
        let first = Peer::at((one, 0).into(), status(200)).await;
        let port = first.address.port();
        let ops = vec![first, Peer::at((other, port).into(), status(200)).await];
        let at = format!(":{port}/readyz");
        let urls: Vec<_> = services.iter().map(Peer::url).collect();
        let asked = [("GATEWAY_TASK_SERVICE_READY", &*at), ("GATEWAY_UPSTREAM__READY_SECS", "1")];
        let world = in_front_of(&urls, &[&asked, others].concat()).await;
        Self { services, ops, world }
    }

    /// Waits until both have been asked again, twice: what they said before that is known.
    async fn twice_more(&self) {
        let before: Vec<_> = self.ops.iter().map(|ops| ops.seen().len()).collect();
        let began = Instant::now();
        while self.ops.iter().zip(&before).any(|(ops, before)| ops.seen().len() < before + 2) {
            assert!(began.elapsed() < PATIENCE, "both are asked");
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// How many of twenty requests, all of which are answered well, each one gets.
    async fn shares(&self) -> [usize; 2] {
        let before = [0, 1].map(|at| self.services[at].seen().len());
        for _ in 0..20 {
            assert_eq!(self.world.send(get("/api/tasks")).await.status, 200);
        }
        [0, 1].map(|at| self.services[at].seen().len() - before[at])
    }
}

#[tokio::test]
async fn a_replica_that_says_that_it_is_not_ready_gets_no_share_while_another_one_is() {
    let asked = Asked::new(&[]).await;
    asked.twice_more().await;
    assert_eq!(asked.shares().await, [10, 10]);
    let seen = asked.ops[0].last();
    assert_eq!((&seen.method, &*seen.target), (&Method::GET, "/readyz"));
    assert_eq!(seen.one("host"), Some(&*asked.ops[0].address.to_string()));
    for not_ready in [503, 404, 302] {
        asked.ops[0].respond(status(not_ready));
        asked.twice_more().await;
        assert_eq!(asked.shares().await, [0, 20], "{not_ready}");
        asked.ops[1].respond(status(not_ready));
        asked.twice_more().await;
        assert_eq!(asked.shares().await, [10, 10], "{not_ready}: where none is ready, all are asked");
        asked.ops[0].respond(status(204));
        asked.ops[1].respond(status(200));
        asked.twice_more().await;
        assert_eq!(asked.shares().await, [10, 10], "{not_ready}: they are ready again");
    }
}

#[tokio::test]
async fn a_service_can_be_asked_at_a_path_of_its_own() {
    let says = |healthy: bool| {
        move |seen: &Seen| match &*seen.target {
            "/healthz" if !healthy => status(503)(seen),
            _ => echo(seen),
        }
    };
    let (unready, ready) = (Peer::new(says(false)).await, Peer::new(says(true)).await);
    let (_file, path) = config(&format!(
        "[upstreams]\nnotes = {{ url = \"{}, {}\", ready = \"/healthz\" }}\n\
         [[routes]]\npath = \"/api/**\"\nupstream = \"notes\"",
        unready.url(),
        ready.url()
    ));
    let world = World::with(&[("GATEWAY_CONFIG", &path)]).await;
    let began = Instant::now();
    while unready.seen().is_empty() || ready.seen().is_empty() {
        assert!(began.elapsed() < PATIENCE, "both are asked, without a request");
        sleep(Duration::from_millis(10)).await;
    }
    sleep(Duration::from_millis(200)).await;
    for _ in 0..10 {
        assert_eq!(world.send(get("/api/notes")).await.status, 200);
    }
    let requests = |peer: &Peer| peer.seen().iter().filter(|seen| seen.target == "/api/notes").count();
    assert_eq!((requests(&unready), requests(&ready)), (0, 10));
}

#[tokio::test]
async fn what_only_reads_leaves_a_replica_that_hangs_once_and_a_write_stays() {
    let ((listener, hung), well) = (hung().await, Peer::new(echo).await);
    let settings = [
        ("GATEWAY_TASK_SERVICE_READY", "/readyz"),
        ("GATEWAY_UPSTREAM__READY_TIMEOUT_MS", "200"),
        ("GATEWAY_UPSTREAM__TIMEOUT_SECS", "10"),
    ];
    let world = Arc::new(in_front_of(&[hung, well.url()], &settings).await);
    let began = Instant::now();
    let ask = |method: Method| {
        let world = world.clone();
        tokio::spawn(async move {
            let body = if method.is_safe() { Body::empty() } else { Body::from(BODY) };
            world.send(as_u1(method, "/api/tasks").body(body).unwrap()).await.status.as_u16()
        })
    };
    // More than one each, so that each kind meets the one that hangs.
    let reads: Vec<_> = (0..4).map(|_| ask(Method::GET)).collect();
    let writes: Vec<_> = (0..4).map(|_| ask(Method::DELETE)).collect();
    for read in reads {
        assert_eq!(timeout(PATIENCE, read).await.unwrap().unwrap(), 200);
    }
    assert!(began.elapsed() < Duration::from_secs(10), "it doesn't wait for the timeout");
    let mut told = Vec::new();
    for write in writes {
        told.push(timeout(PATIENCE, write).await.unwrap().unwrap());
    }
    let late = told.iter().filter(|status| **status == 504).count();
    assert!(late > 0, "{told:?}");
    let done = well.seen().iter().filter(|seen| seen.method == Method::DELETE).count();
    assert_eq!((done, told.iter().filter(|status| **status == 200).count()), (4 - late, 4 - late));
    for _ in 0..10 {
        assert_eq!(write(&world, Method::POST).await.status, 200, "it has lost its share");
    }
    drop(listener);
}

#[tokio::test]
async fn a_request_with_a_key_goes_again_only_where_its_service_honours_keys() {
    for (honours, key, goes_again) in [
        (true, &["k1"][..], true),
        (true, &[], false),
        (true, &[""], false),
        (true, &["k1", "k2"], false),
        (false, &["k1"], false),
    ] {
        let ((broken, read), well) = (breaking().await, Peer::new(echo).await);
        let (_file, path) = config(&format!(
            "[upstreams]\nnotes = {{ url = \"http://{broken}, {}\", idempotency_key = {honours} }}\n\
             [[routes]]\npath = \"/api/**\"\nupstream = \"notes\"",
            well.url()
        ));
        let world = World::with(&[("GATEWAY_CONFIG", &path)]).await;
        let mut told = Vec::new();
        for _ in 0..4 {
            let mut request = as_u1(Method::POST, "/api/notes");
            for key in key {
                request = request.header("idempotency-key", *key);
            }
            told.push(world.send(request.body(Body::from(BODY)).unwrap()).await.status.as_u16());
        }
        let broke = read.load(Ordering::SeqCst);
        assert!(broke > 0);
        let done = well.seen();
        assert!(done.iter().all(|seen| seen.body == BODY), "whole");
        if goes_again {
            assert_eq!((told, done.len()), (vec![200; 4], 4), "{key:?}");
            assert!(done.iter().all(|seen| seen.one("idempotency-key") == Some("k1")));
        } else {
            assert_eq!(told.iter().filter(|status| **status == 502).count(), broke, "{honours} {key:?}");
            assert_eq!(done.len(), 4 - broke, "{honours} {key:?}");
        }
    }
}
