//! Services that are spoken to by HTTP/2: what holds over HTTP/1.1 holds here, and what they say by the protocol is believed.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use chassis::Body;
use futures_util::future::join_all;
use h2::{Reason, server};
use http::{HeaderMap, Method, Request, Response, Version};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Notify, mpsc},
    time::{sleep, timeout},
};

use crate::world::{PATIENCE, Peer, Seen, World, as_u1, by_hand, config, echo, get};

/// A gateway whose services at `/w/**` speak HTTP/2, with those keys of the route.
async fn world(urls: &[String], route: &str, upstream: &str) -> World {
    world_with(urls, route, upstream, &[]).await
}

async fn world_with(urls: &[String], route: &str, upstream: &str, variables: &[(&str, &str)]) -> World {
    let urls = urls.iter().map(|url| format!("\"{url}\"")).collect::<Vec<_>>().join(", ");
    let file = format!(
        "[upstreams]\nweb = {{ url = [{urls}], http2 = true{upstream} }}\n\
         [[routes]]\npath = \"/w/**\"\nupstream = \"web\"\n{route}\n"
    );
    World::with_file(&file, variables).await
}

fn post(target: &str, body: impl Into<Body>) -> Request<Body> {
    as_u1(Method::POST, target).body(body.into()).unwrap()
}

/// What a service does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Answer,
    /// Answers when the test says so.
    Wait,
    /// Never answers.
    Hang,
    Reset(Reason),
    /// Begins to answer, and resets the stream then.
    Begin(Reason),
    /// The same after half of the length that it says.
    BeginHalf(Reason),
    /// Sends as much as is taken, for ever.
    Flood,
}

/// What to do with the how-manieth request.
type Choose = dyn Fn(usize, &Request<()>) -> Act + Send + Sync;

/// A service that speaks HTTP/2 alone, and does with each request what it is told.
#[derive(Clone)]
struct Service {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    closed: Arc<AtomicUsize>,
    in_flight: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
    sent: Arc<AtomicUsize>,
    /// The streams that the gateway has reset.
    cancelled: Arc<AtomicUsize>,
    bodies: Arc<Mutex<Vec<String>>>,
    go: Arc<Notify>,
    act: Arc<Choose>,
}

impl Service {
    async fn new(streams_max: u32, act: impl Fn(usize, &Request<()>) -> Act + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let this = Self {
            address: listener.local_addr().unwrap(),
            connections: Arc::default(),
            closed: Arc::default(),
            in_flight: Arc::default(),
            most: Arc::default(),
            sent: Arc::default(),
            cancelled: Arc::default(),
            bodies: Arc::default(),
            go: Arc::default(),
            act: Arc::new(act),
        };
        let serving = this.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                serving.connections.fetch_add(1, SeqCst);
                tokio::spawn(serving.clone().serve(stream, streams_max));
            }
        });
        this
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn bodies(&self) -> Vec<String> {
        self.bodies.lock().unwrap().clone()
    }

    async fn serve(self, stream: TcpStream, streams_max: u32) {
        let mut builder = server::Builder::new();
        let Ok(mut connection) =
            builder.max_concurrent_streams(streams_max).handshake::<_, Bytes>(stream).await
        else {
            return;
        };
        while let Some(Ok((request, respond))) = connection.accept().await {
            tokio::spawn(self.clone().take(request, respond));
        }
        self.closed.fetch_add(1, SeqCst);
    }

    async fn take(self, request: Request<h2::RecvStream>, mut respond: server::SendResponse<Bytes>) {
        let now = self.in_flight.fetch_add(1, SeqCst) + 1;
        self.most.fetch_max(now, SeqCst);
        let (head, mut body) = request.into_parts();
        let mut read = Vec::new();
        while let Some(Ok(data)) = body.data().await {
            body.flow_control().release_capacity(data.len()).unwrap();
            read.extend_from_slice(&data);
        }
        let head = Request::from_parts(head, ());
        assert_eq!(head.version(), Version::HTTP_2);
        let at = {
            let mut bodies = self.bodies.lock().unwrap();
            bodies.push(String::from_utf8(read.clone()).unwrap());
            bodies.len() - 1
        };
        let act = (self.act)(at, &head);
        if act == Act::Wait {
            self.go.notified().await;
        }
        match act {
            Act::Answer | Act::Wait => {
                let mut stream = respond.send_response(Response::new(()), false).unwrap();
                let _ = stream.send_data(read.into(), true);
            }
            Act::Hang => {
                let _ = std::future::poll_fn(|cx| respond.poll_reset(cx)).await;
                self.cancelled.fetch_add(1, SeqCst);
            }
            Act::Reset(reason) => respond.send_reset(reason),
            Act::Begin(reason) => {
                let mut stream = respond.send_response(Response::new(()), false).unwrap();
                stream.send_data("begun".into(), false).unwrap();
                sleep(Duration::from_millis(50)).await;
                stream.send_reset(reason);
            }
            Act::BeginHalf(reason) => {
                let head = Response::builder().header("content-length", "10").body(()).unwrap();
                let mut stream = respond.send_response(head, false).unwrap();
                stream.send_data("begun".into(), false).unwrap();
                sleep(Duration::from_millis(3)).await;
                stream.send_reset(reason);
            }
            Act::Flood => {
                let mut stream = respond.send_response(Response::new(()), false).unwrap();
                loop {
                    stream.reserve_capacity(16 * 1024);
                    match std::future::poll_fn(|cx| stream.poll_capacity(cx)).await {
                        Some(Ok(room)) => {
                            self.sent.fetch_add(room, SeqCst);
                            if stream.send_data(vec![0; room].into(), false).is_err() {
                                break;
                            }
                        }
                        _ => break,
                    }
                }
                self.cancelled.fetch_add(1, SeqCst);
            }
        }
        self.in_flight.fetch_sub(1, SeqCst);
    }
}

/// Waits until that holds.
async fn until(holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, waiting).await.expect("it holds in time");
}

#[tokio::test]
async fn a_service_of_ours_gets_and_gives_what_it_does_over_http_1() {
    let web = Peer::new(|seen: &Seen| {
        let mut answer = echo(seen);
        let headers = answer.headers_mut();
        headers.insert("x-user-id", "u2".parse().unwrap());
        headers.insert("x-internal-not-applied", "true".parse().unwrap());
        headers
            .insert("location", format!("{}next", seen.target.split("w/").next().unwrap()).parse().unwrap());
        answer
    })
    .await;
    let port = web.address.port();
    let world = world(&[format!("http://localhost:{port}")], "body_bytes = 4000000", "").await;
    let large = "x".repeat(3 << 20);
    for (method, body) in [
        (Method::GET, ""),
        (Method::HEAD, ""),
        (Method::DELETE, ""),
        (Method::POST, "hello"),
        (Method::PUT, ""),
        (Method::PATCH, "{}"),
        (Method::POST, &*large),
    ] {
        let request = as_u1(method.clone(), "/w/a%20b?c=d")
            .header("x-user-id", "u2")
            .header("connection", "x-mine")
            .header("x-mine", "1")
            .header("te", "trailers")
            .header("cookie", "theme=dark; better-auth.session_token=s");
        let answer = world.send(request.body(Body::from(body.to_owned())).unwrap()).await;
        assert_eq!(answer.status, 200, "{method}");
        assert_eq!(answer.body.len(), if method == Method::HEAD { 0 } else { body.len() }, "{method}");
        assert_eq!((answer.one("x-user-id"), answer.one("x-internal-not-applied")), (None, None));
        assert_eq!(answer.one("location"), Some("/next"));
        let seen = web.last();
        assert_eq!((&seen.method, seen.body.len()), (&method, body.len()));
        assert_eq!(seen.target, format!("http://localhost:{port}/w/a%20b?c=d"));
        assert_eq!(seen.one("x-user-id"), Some("u1"));
        assert_eq!(seen.one("x-identity-assertion"), Some("a.b.c"));
        assert_eq!(seen.one("x-forwarded-host"), Some("gateway.test"));
        assert_eq!(seen.one("cookie"), Some("theme=dark"));
        for name in ["host", "connection", "x-mine", "te", "transfer-encoding", "upgrade", "authorization"] {
            assert_eq!(seen.one(name), None, "{name}");
        }
    }
    assert_eq!(world.send_h2(get("/w/x")).await.status, 200);
}

#[tokio::test]
async fn bodies_stream_both_ways_and_trailers_stop_here() {
    let (sender, receiver) = mpsc::channel::<Bytes>(1);
    let receiver = Mutex::new(Some(receiver));
    let web = Peer::new(move |seen: &Seen| {
        if seen.target.ends_with("/trailers") {
            let trailers =
                HeaderMap::from_iter([(http::HeaderName::from_static("x-user-id"), "u2".parse().unwrap())]);
            let frames = [Frame::data(Bytes::from("body")), Frame::trailers(trailers)];
            let frames = frames.map(Ok::<_, std::convert::Infallible>);
            return Response::new(Body::new(StreamBody::new(futures_util::stream::iter(frames))));
        }
        let mut receiver = receiver.lock().unwrap().take().unwrap();
        let pieces = futures_util::stream::poll_fn(move |cx| {
            receiver
                .poll_recv(cx)
                .map(|piece| piece.map(|piece| Ok::<_, std::convert::Infallible>(Frame::data(piece))))
        });
        Response::new(Body::new(StreamBody::new(pieces)))
    })
    .await;
    let world = world(&[web.url()], "", "").await;
    let answer = world.raw(b"GET /w/trailers HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: close, TE\r\nAuthorization: Bearer good\r\n\r\n");
    let answer = answer.await;
    assert!(answer.contains("body") && !answer.contains("u2"), "{answer}");

    // Each piece is there before the next one is made.
    let stream = TcpStream::connect(world.gateway).await.unwrap();
    let (mut client, connection) =
        hyper::client::conn::http1::handshake(hyper_util::rt::TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let (pieces, body) = by_hand();
    let mut request = post("/w/x", body);
    request.headers_mut().insert("host", "a".parse().unwrap());
    pieces.send("up".into()).await.unwrap();
    drop(pieces);
    let mut answer = client.send_request(request).await.unwrap();
    assert_eq!(web.last().body, "up");
    for piece in ["one", "two", "three"] {
        sender.send(piece.into()).await.unwrap();
        let came = timeout(PATIENCE, answer.body_mut().frame()).await.unwrap().unwrap().unwrap();
        assert_eq!(came.into_data().unwrap(), piece);
    }
    drop(sender);
    assert!(answer.body_mut().frame().await.is_none());
}

#[tokio::test]
async fn requests_share_a_connection_as_far_as_their_service_allows() {
    let service = Service::new(7, |_, _| Act::Wait).await;
    let world = world(&[service.url()], "", "").await;
    let requests = (0..60).map(|n| world.send(post("/w/x", n.to_string())));
    let letting_go = async {
        // One at a time, so that all that may come together do.
        until(|| service.in_flight.load(SeqCst) >= 7).await;
        while service.bodies().len() < 60 || service.in_flight.load(SeqCst) > 0 {
            service.go.notify_waiters();
            sleep(Duration::from_millis(5)).await;
        }
    };
    let (answers, ()) = tokio::join!(join_all(requests), letting_go);
    for (n, answer) in answers.iter().enumerate() {
        assert_eq!((answer.status.as_u16(), &*answer.body), (200, &*n.to_string()));
    }
    let connections = service.connections.load(SeqCst);
    assert!((1..=9).contains(&connections), "{connections}");
    assert!(service.most.load(SeqCst) <= 7 * connections, "{}", service.most.load(SeqCst));
    let mut bodies = service.bodies();
    bodies.sort_by_key(|body| body.parse::<usize>().unwrap());
    assert_eq!(bodies, (0..60).map(|n| n.to_string()).collect::<Vec<_>>(), "each came once");
}

#[tokio::test]
async fn many_share_one_connection_and_an_idle_one_is_closed() {
    let service = Service::new(100, |_, _| Act::Answer).await;
    let world = world(&[service.url()], "", "").await;
    for _ in 0..5 {
        let answers = join_all((0..40).map(|_| world.send(get("/w/x")))).await;
        assert!(answers.iter().all(|answer| answer.status == 200));
    }
    assert_eq!(service.connections.load(SeqCst), 1, "even the first requests wait for it");
    let idle = world_with(&[service.url()], "", "", &[("GATEWAY_UPSTREAM__POOL_IDLE_SECS", "1")]).await;
    assert_eq!(idle.send(get("/w/x")).await.status, 200);
    until(|| service.closed.load(SeqCst) == 1).await;
    assert_eq!(idle.send(get("/w/x")).await.status, 200);
    assert_eq!(service.connections.load(SeqCst), 3);
}

#[tokio::test]
async fn however_many_clients_leave_early_the_connection_serves_the_others() {
    let acts =
        |_, request: &Request<()>| if request.uri().path() == "/w/flood" { Act::Flood } else { Act::Answer };
    let service = Service::new(100, acts).await;
    let world = world(&[service.url()], "", "").await;
    for round in 1..=6 {
        let mut clients = Vec::new();
        for _ in 0..40 {
            let mut client = TcpStream::connect(world.gateway).await.unwrap();
            client
                .write_all(b"GET /w/flood HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer good\r\n\r\n")
                .await
                .unwrap();
            clients.push(client);
        }
        until(|| service.in_flight.load(SeqCst) == 40).await;
        drop(clients);
        until(|| service.cancelled.load(SeqCst) == 40 * round).await;
        assert_eq!(world.send(post("/w/x", "a write")).await.status, 200, "{round}");
    }
    assert_eq!(service.connections.load(SeqCst), 1);
}

#[tokio::test]
async fn a_request_that_was_refused_goes_again_whatever_it_does() {
    // Twice, and then it is done.
    let service =
        Service::new(100, |at, _| if at < 2 { Act::Reset(Reason::REFUSED_STREAM) } else { Act::Answer })
            .await;
    let one = world(&[service.url()], "", "").await;
    let answer = one.send(post("/w/x", "a write")).await;
    assert_eq!((answer.status.as_u16(), &*answer.body), (200, "a write"));
    assert_eq!(service.bodies(), ["a write"; 3]);
    assert_eq!(service.connections.load(SeqCst), 1, "the connection is well");

    // Always: the client hears that nothing was done.
    let refusing = Service::new(100, |_, _| Act::Reset(Reason::REFUSED_STREAM)).await;
    let alone = world(&[refusing.url()], "", "").await;
    for request in [post("/w/x", "a write"), get("/w/x")] {
        let answer = alone.send(request).await;
        assert_eq!((answer.status.as_u16(), &*answer.problem()), (503, "service-unavailable"));
        assert_eq!(answer.one("retry-after"), Some("1"));
    }
    assert_eq!(refusing.bodies().len(), 6);

    // Beside one that is well, each is done, once.
    let well = Service::new(100, |_, _| Act::Answer).await;
    let pair = world(&[refusing.url(), well.url()], "", "").await;
    for n in 0..30 {
        let answer = pair.send(post("/w/x", n.to_string())).await;
        assert_eq!(answer.status, 200, "{n}");
    }
    assert_eq!(well.bodies(), (0..30).map(|n| n.to_string()).collect::<Vec<_>>());

    // A body that is not kept can't go again.
    let before = refusing.bodies().len();
    let answer = alone.send(post("/w/x", "x".repeat(64 * 1024 + 1))).await;
    assert_eq!((answer.status.as_u16(), refusing.bodies().len() - before), (503, 1));
}

#[tokio::test]
async fn a_request_that_may_have_been_done_goes_again_only_if_it_reads() {
    for act in [Act::Reset(Reason::INTERNAL_ERROR), Act::Reset(Reason::CANCEL), Act::Reset(Reason::NO_ERROR)]
    {
        let service = Service::new(100, move |at, _| if at == 0 { act } else { Act::Answer }).await;
        let reads = world(&[service.url()], "", "").await;
        assert_eq!(reads.send(get("/w/x")).await.status, 200, "{act:?}");
        assert_eq!(service.bodies().len(), 2);

        let service = Service::new(100, move |at, _| if at == 0 { act } else { Act::Answer }).await;
        let writes = world(&[service.url()], "", "").await;
        let answer = writes.send(post("/w/x", "a write")).await;
        assert_eq!((answer.status.as_u16(), &*answer.problem()), (502, "service-broken"), "{act:?}");
        assert_eq!(writes.send(post("/w/x", "another")).await.status, 200);
        assert_eq!(service.bodies(), ["a write", "another"], "{act:?}");
        assert_eq!(service.connections.load(SeqCst), 1, "the stream alone was lost");
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_cut_and_its_request_is_not_sent_again() {
    // hyper takes the second reason for an end.
    for reason in [Reason::INTERNAL_ERROR, Reason::NO_ERROR] {
        let service =
            Service::new(100, move |at, _| if at == 0 { Act::Begin(reason) } else { Act::Answer }).await;
        let world = world(&[service.url()], "", "").await;
        let answer = world
            .raw(b"GET /w/x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer good\r\nConnection: close\r\n\r\n")
            .await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.contains("begun") && !answer.ends_with("0\r\n\r\n"), "{reason:?}: {answer}");
        assert_eq!(service.bodies().len(), 1);
        assert_eq!(world.send(get("/w/x")).await.status, 200);
        assert_eq!(service.connections.load(SeqCst), 1);
    }
}

#[tokio::test]
async fn what_is_shorter_than_it_says_has_no_other_answer_behind_it() {
    for reason in [Reason::INTERNAL_ERROR, Reason::NO_ERROR] {
        let act = move |_, request: &Request<()>| {
            if request.uri().path() == "/w/x" { Act::BeginHalf(reason) } else { Act::Answer }
        };
        let service = Service::new(100, act).await;
        let world = world(&[service.url()], "", "").await;
        for _ in 0..5 {
            let answer = world
                .raw(
                    b"GET /w/x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer good\r\n\r\n\
                    POST /w/y HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer good\r\nContent-Length: 6\r\n\
                    Connection: close\r\n\r\nsecond",
                )
                .await;
            assert!(!answer.contains("second"), "{reason:?}: {answer}");
        }
    }
}

/// What an HTTP/1.1 service reads of an upload that its client gives up.
async fn half_an_upload(reason: Reason) -> String {
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = service.local_addr().unwrap();
    let world = World::with_file(
        &format!(
            "[upstreams]\nold = \"http://{address}\"\n[[routes]]\npath = \"/**\"\nupstream = \"old\"\naccess = \"authenticated\"\n"
        ),
        &[],
    )
    .await;
    let stream = TcpStream::connect(world.gateway).await.unwrap();
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let head = Request::post("http://a/w/x").header("authorization", "Bearer good").body(()).unwrap();
    let (_answer, mut body) = client.send_request(head, false).unwrap();
    body.send_data("half of it".into(), false).unwrap();
    let (mut inward, _) = timeout(PATIENCE, service.accept()).await.expect("it is passed on").unwrap();
    let mut read = Vec::new();
    while !String::from_utf8_lossy(&read).contains("half of it") {
        assert!(timeout(PATIENCE, inward.read_buf(&mut read)).await.unwrap().unwrap() > 0);
    }
    body.send_reset(reason);
    while timeout(PATIENCE, inward.read_buf(&mut read)).await.expect("it ends").is_ok_and(|count| count > 0) {
    }
    String::from_utf8(read).unwrap()
}

#[tokio::test]
async fn an_upload_that_its_client_gives_up_is_cut_for_its_service_too() {
    for reason in [Reason::CANCEL, Reason::NO_ERROR] {
        let read = half_an_upload(reason).await;
        assert!(!read.ends_with("0\r\n\r\n"), "{reason:?}: {read}");
    }
}

#[tokio::test]
async fn a_request_that_hangs_holds_up_no_other_and_ends_by_itself() {
    let acts =
        |_, request: &Request<()>| if request.uri().path() == "/w/hang" { Act::Hang } else { Act::Answer };
    let service = Service::new(100, acts).await;
    let world = world(&[service.url()], "timeout_secs = 1", "").await;
    let others = async {
        for _ in 0..10 {
            assert_eq!(world.send(get("/w/x")).await.status, 200);
        }
    };
    let (hung, ()) = tokio::join!(world.send(post("/w/hang", "a write")), others);
    assert_eq!((hung.status.as_u16(), &*hung.problem()), (504, "service-timeout"));
    until(|| service.cancelled.load(SeqCst) == 1).await;
    // So does one whose client has left.
    let mut client = TcpStream::connect(world.gateway).await.unwrap();
    client.write_all(b"GET /w/hang HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer good\r\n\r\n").await.unwrap();
    until(|| service.in_flight.load(SeqCst) == 1).await;
    drop(client);
    until(|| service.cancelled.load(SeqCst) == 2).await;
    assert_eq!(world.send(get("/w/x")).await.status, 200);
    assert_eq!(service.connections.load(SeqCst), 1);
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_up_its_service_and_nobody_else() {
    let acts =
        |_, request: &Request<()>| if request.uri().path() == "/w/flood" { Act::Flood } else { Act::Answer };
    let service = Service::new(100, acts).await;
    let world = world(&[service.url()], "", "").await;
    let mut slow = Vec::new();
    for n in 1..=3 {
        let mut client = TcpStream::connect(world.gateway).await.unwrap();
        client
            .write_all(b"GET /w/flood HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer good\r\n\r\n")
            .await
            .unwrap();
        slow.push(client);
        until(|| service.in_flight.load(SeqCst) == n).await;
    }
    let mut sent = 0;
    loop {
        sleep(Duration::from_millis(300)).await;
        let now = service.sent.load(SeqCst);
        if std::mem::replace(&mut sent, now) == now {
            break;
        }
    }
    // The kernel's buffers take megabytes on the way to a client of this machine.
    assert!(sent < 3 * (16 << 20), "{sent}");
    for n in 0..20 {
        assert_eq!(world.send(post("/w/x", n.to_string())).await.body, n.to_string());
    }
    assert_eq!(service.connections.load(SeqCst), 1);
    drop(slow);
    until(|| service.cancelled.load(SeqCst) == 3).await;
}

/// What of HTTP/2 is written by hand: a frame.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;

/// Reads the preface and frames, until so many requests have come; the streams that they are on.
async fn requests(stream: &mut TcpStream, count: usize) -> Vec<u32> {
    stream.read_exact(&mut [0; 24]).await.unwrap();
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
    let mut streams = Vec::new();
    let mut ended = 0;
    while ended < count {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.unwrap();
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        stream.read_exact(&mut payload).await.unwrap();
        if head[3] == HEADERS {
            streams.push(u32::from_be_bytes(head[5..].try_into().unwrap()));
        }
        ended += usize::from(head[3] <= HEADERS && head[4] & 1 == 1);
    }
    streams
}

#[tokio::test]
async fn a_service_that_leaves_midway_has_done_what_is_up_to_its_last_stream_and_nothing_above() {
    let leaving = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = leaving.local_addr().unwrap();
    let world = world(&[format!("http://{address}")], "", "").await;
    let sent = join_all((0..3).map(|n| world.send(post("/w/x", n.to_string()))));
    let service = async {
        let (mut stream, _) = leaving.accept().await.unwrap();
        assert_eq!(requests(&mut stream, 3).await, [1, 3, 5]);
        // The first is answered, the second was begun and is lost, of the third nothing was done.
        stream.write_all(&frame(GOAWAY, 0, 0, &[0, 0, 0, 3, 0, 0, 0, 0])).await.unwrap();
        stream.write_all(&frame(HEADERS, 5, 1, &[0x88])).await.unwrap();
        // The third comes again, over a connection of its own, while the old one is still there.
        let (mut second, _) = timeout(PATIENCE, leaving.accept()).await.expect("it comes again").unwrap();
        assert_eq!(requests(&mut second, 1).await, [1]);
        second.write_all(&frame(HEADERS, 5, 1, &[0x88])).await.unwrap();
        sleep(Duration::from_millis(100)).await;
        drop(stream);
        // Nothing else does.
        let third = timeout(Duration::from_millis(500), leaving.accept()).await;
        assert!(third.is_err(), "a write that may have been done is not done again");
        second
    };
    let (answers, _second) = tokio::join!(sent, service);
    let mut statuses: Vec<_> = answers.iter().map(|answer| answer.status.as_u16()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 502]);
}

#[tokio::test]
async fn a_service_that_does_not_speak_it_is_broken_and_nothing_is_done() {
    let old = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = old.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = old.accept().await {
            stream
                .write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                .await
                .unwrap();
        }
    });
    let world = world(&[format!("http://{address}")], "", "").await;
    let answer = timeout(PATIENCE, world.send(post("/w/x", "a write"))).await.unwrap();
    // As long as nothing was sent, that is told.
    assert!([502, 503].contains(&answer.status.as_u16()), "{}", answer.status);
    // Nobody there at all: nothing was sent.
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let world = self::world(&[format!("http://{gone}")], "", "").await;
    let answers = join_all((0..20).map(|n| world.send(post("/w/x", n.to_string())))).await;
    assert!(answers.iter().all(|answer| answer.status == 503));
}

#[tokio::test]
async fn its_readiness_is_asked_in_the_same_way() {
    let unready = |_, request: &Request<()>| {
        if request.uri().path() == "/ready" { Act::Reset(Reason::INTERNAL_ERROR) } else { Act::Answer }
    };
    let (one, other) = (Service::new(100, unready).await, Service::new(100, |_, _| Act::Answer).await);
    let world = world(&[one.url(), other.url()], "", ", ready = \"/ready\"").await;
    // Twice nothing is a no.
    until(|| one.bodies().len() >= 2 && !other.bodies().is_empty()).await;
    sleep(Duration::from_millis(50)).await;
    for _ in 0..10 {
        let answer = world.send(post("/w/x", "asked")).await;
        assert_eq!((answer.status.as_u16(), &*answer.body), (200, "asked"));
    }
    assert!(!one.bodies().contains(&"asked".to_owned()));
}

/// Sends so many requests, every other one a write with a number of its own, and calls `midway` when a third of them is done.
/// The statuses of the reads, and of the writes by number.
async fn load(world: &World, count: usize, midway: impl Fn()) -> (Vec<u16>, HashMap<usize, u16>) {
    let done = AtomicUsize::new(0);
    let next = AtomicUsize::new(0);
    let (reads, writes) = (Mutex::default(), Mutex::default());
    let clients = (0..20).map(|_| async {
        let mut connection = world.connect_h2().await;
        loop {
            let n = next.fetch_add(1, SeqCst);
            if n >= count {
                return;
            }
            if n.is_multiple_of(2) {
                let status = connection.send(get("/w/x")).await.status.as_u16();
                Vec::push(&mut reads.lock().unwrap(), status);
            } else {
                let answer = connection.send(post("/w/x", format!("{n}"))).await;
                if answer.status == 200 {
                    assert_eq!(answer.body, n.to_string(), "nobody hears another's answer");
                }
                HashMap::insert(&mut writes.lock().unwrap(), n, answer.status.as_u16());
            }
            if done.fetch_add(1, SeqCst) + 1 == count / 3 {
                midway();
            }
        }
    });
    join_all(clients).await;
    (reads.into_inner().unwrap(), writes.into_inner().unwrap())
}

fn times(bodies: impl IntoIterator<Item = String>) -> HashMap<usize, usize> {
    let mut times = HashMap::new();
    for body in bodies.into_iter().filter(|body| !body.is_empty()) {
        *times.entry(body.parse().unwrap()).or_default() += 1;
    }
    times
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_a_replica_leaves_nothing_fails_and_nothing_is_done_twice() {
    let (leaving, staying) = (Peer::new(echo).await, Peer::new(echo).await);
    let world = world(&[leaving.url(), staying.url()], "", "").await;
    let (reads, writes) = load(&world, 3000, || leaving.leave()).await;
    assert_eq!((reads.len(), writes.len()), (1500, 1500));
    assert!(reads.iter().all(|status| *status == 200), "{reads:?}");
    let failed: Vec<_> = writes.iter().filter(|(_, status)| **status != 200).collect();
    assert!(failed.is_empty(), "{failed:?}");
    assert!(leaving.seen().len() > 100, "it had its share");
    let bodies = [&leaving, &staying].map(Peer::seen).concat().into_iter();
    let times = times(bodies.map(|seen| String::from_utf8(seen.body.to_vec()).unwrap()));
    assert!(
        (0..3000).filter(|n: &usize| !n.is_multiple_of(2)).all(|n| times.get(&n) == Some(&1)),
        "each once"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_a_replica_dies_reads_go_on_and_nothing_is_done_twice() {
    let staying = Service::new(100, |_, _| Act::Answer).await;
    // What one writes between the two dies with it.
    let dying = Service::new(100, |_, _| Act::Answer).await;
    let relay = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = relay.local_addr().unwrap();
    let to = dying.address;
    let relaying = tokio::spawn(async move {
        let mut open = tokio::task::JoinSet::new();
        while let Ok((mut from, _)) = relay.accept().await {
            open.spawn(async move {
                let mut to = TcpStream::connect(to).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
            });
        }
    });
    let world = world(&[format!("http://{address}"), staying.url()], "", "").await;
    let (reads, writes) = load(&world, 3000, || relaying.abort()).await;
    assert_eq!((reads.len(), writes.len()), (1500, 1500));
    assert!(reads.iter().all(|status| *status == 200), "{reads:?}");
    let times = times([dying.bodies(), staying.bodies()].concat());
    for (n, status) in &writes {
        let done = times.get(n).copied().unwrap_or(0);
        // Only what was on its way then may be unknown, and its client hears so.
        assert!(
            done <= 1 && (*status == 502 || (*status == 200 && done == 1)),
            "{n}: {status}, done {done} times"
        );
    }
    let unknown = writes.values().filter(|status| **status == 502).count();
    assert!(unknown <= 20, "{unknown}");
    assert!(dying.bodies().len() > 100, "it had its share");
}

#[test]
fn what_can_not_go_over_it_does_not_start() {
    let file = |upstream: &str, route: &str| {
        format!("[upstreams]\nweb = {upstream}\n[[routes]]\npath = \"/w\"\nupstream = \"web\"\n{route}\n")
    };
    for (text, want) in [
        (
            file("{ url = \"http://web\", http2 = true }", "websocket = true"),
            "routes[0].websocket: can't be opened by HTTP/2, which `web` is set to",
        ),
        (file("{ url = \"http://web\", http2 = \"yes\" }", ""), "http2"),
        (file("{ url = \"https://web\", http2 = true }", ""), "must be one or more of"),
    ] {
        let (_file, path) = config(&text);
        let variables = [("GATEWAY_CONFIG", &*path)].into_iter().collect();
        let error =
            chassis::settings::load::<gateway::settings::Settings>(&variables).err().unwrap().to_string();
        assert!(error.contains(want), "{error}");
    }
}
