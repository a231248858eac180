//! Peers that take, or send, too little.

use std::convert::Infallible;

use bytes::Bytes;
use http::HeaderMap;
use http_body_util::{Full, StreamBody};
use hyper::body::Frame;
use tokio::{net::TcpSocket, time::Instant};

use super::{
    h2::{Client, DATA, END_STREAM, GOAWAY, HEADERS, RST_STREAM},
    *,
};

/// More than a socket's buffers hold.
const LARGE: usize = 64 * 1024 * 1024;

fn impatient() -> ServerSettings {
    ServerSettings { write: Duration::from_millis(500), ..settings() }
}

/// A body of `bytes`, whose end is known from its head.
fn whole(bytes: usize) -> Body {
    Body::from(vec![b'x'; bytes])
}

/// The same in pieces of a thousand, whose end is known when it comes.
fn streamed(bytes: usize) -> Body {
    let pieces: Vec<_> = vec![b'x'; bytes].chunks(1000).map(Bytes::copy_from_slice).collect();
    Body::from_stream(futures_util::stream::iter(pieces.into_iter().map(Ok::<_, Infallible>)))
}

/// The same, with trailers behind it.
fn trailed(bytes: usize) -> Body {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().unwrap());
    let frames = [Frame::data(Bytes::from(vec![b'x'; bytes])), Frame::trailers(trailers)];
    Body::new(StreamBody::new(futures_util::stream::iter(frames.map(Ok::<_, Infallible>))))
}

const BODIES: [fn(usize) -> Body; 3] = [whole, streamed, trailed];

#[tokio::test]
async fn streams_without_a_window_are_reset_whatever_pings_say() {
    for body in BODIES {
        for window in [0, 1, 999] {
            let (address, _stop, _end) =
                serving(impatient(), move |_| async move { Response::new(body(5000)) }).await;
            let mut client = Client::connect(address, window).await;
            for id in [1, 3, 5] {
                client.get(id).await;
            }
            let mut reset = Vec::new();
            while reset.len() < 3 {
                let (_, frame) = client.until(RST_STREAM).await;
                assert_eq!(frame.payload, 8_u32.to_be_bytes(), "cancelled");
                reset.push(frame.id);
            }
            reset.sort_unstable();
            assert_eq!(reset, [1, 3, 5], "window {window}");
            // Nothing of them is left to be sent, and the connection goes on.
            client.window_of_all(65_535).await;
            client.get(7).await;
            assert_eq!(client.body(7).await, Some(5000), "window {window}");
            assert_eq!(bystander(address).await.len() / 5000, 1);
        }
    }
}

#[tokio::test]
async fn a_stream_that_waits_for_the_connections_window_alone_is_reset() {
    for body in BODIES {
        let (address, _stop, _end) =
            serving(impatient(), move |_| async move { Response::new(body(100_000)) }).await;
        let mut client = Client::connect(address, 1 << 20).await;
        client.get(1).await;
        let (data, frame) = client.until(RST_STREAM).await;
        assert_eq!((data, frame.id), (65_535, 1));
        client.get(3).await;
        let (data, frame) = client.until(RST_STREAM).await;
        assert_eq!((data, frame.id), (0, 3));
        client.window(0, 1 << 20).await;
        client.get(5).await;
        assert_eq!(client.body(5).await, Some(100_000));
    }
}

#[tokio::test]
async fn a_window_that_opens_a_byte_at_a_time_is_too_slow() {
    for body in BODIES {
        let (address, _stop, _end) =
            serving(impatient(), move |_| async move { Response::new(body(5000)) }).await;
        let mut client = Client::connect(address, 0).await;
        client.get(1).await;
        let mut taken = 0;
        loop {
            let frame = client.next().await.expect("not closed");
            match frame.kind {
                HEADERS => client.window(1, 1).await,
                DATA => {
                    taken += frame.payload.len();
                    sleep(Duration::from_millis(50)).await;
                    client.window(1, 1).await;
                }
                RST_STREAM => break,
                other => panic!("a frame of kind {other}"),
            }
        }
        assert!((1..100).contains(&taken), "{taken} bytes");
    }
}

#[tokio::test]
async fn a_window_that_is_taken_back_holds_nothing() {
    for body in BODIES {
        let (address, _stop, _end) =
            serving(impatient(), move |_| async move { Response::new(body(5000)) }).await;
        let mut client = Client::connect(address, 2000).await;
        client.get(1).await;
        let mut taken = 0;
        while taken < 2000 {
            let frame = client.next().await.expect("not closed");
            if frame.kind == DATA {
                taken += frame.payload.len();
            }
        }
        // The window is 2000 below zero from here on.
        client.window_of_all(0).await;
        client.window(1, 1000).await;
        let (data, frame) = client.until(RST_STREAM).await;
        assert_eq!((data, frame.id), (0, 1));
    }
}

#[tokio::test]
async fn what_hyper_has_let_go_of_does_not_stay() {
    let settings = ServerSettings { write: Duration::from_secs(3), ..settings() };
    let (address, _stop, _end) = serving(settings, |request| async move {
        Response::new(whole(if request.method() == http::Method::GET { LARGE } else { 5000 }))
    })
    .await;
    let mut client = Client::connect(address, (1 << 31) - 1).await;
    client.window(0, (1 << 31) - 1 - 65_535).await;
    // The socket is full, the small answer whole behind it, and then its window is taken away.
    client.get(1).await;
    sleep(Duration::from_millis(500)).await;
    client.post(3).await;
    sleep(Duration::from_millis(500)).await;
    client.window_of_all(0).await;
    let mut reset = false;
    while let Some(frame) = client.next().await {
        reset |= frame.kind == RST_STREAM && frame.id == 1;
        assert!(frame.kind != DATA || frame.id == 1, "the small answer has no room");
    }
    assert!(reset, "the large one goes first, by itself");
}

#[tokio::test]
async fn a_stream_whose_request_is_kept_goes_with_its_connection() {
    let kept = Arc::new(std::sync::Mutex::new(Vec::new()));
    let (address, _stop, _end) = serving(impatient(), move |request| {
        kept.lock().unwrap().push(request.into_body());
        async { Response::new(whole(5000)) }
    })
    .await;
    let mut client = Client::connect(address, 0).await;
    client.post(1).await;
    client.closed().await;
}

#[tokio::test]
async fn who_takes_enough_gets_everything_however_long_it_takes() {
    let patient = ServerSettings { write: Duration::from_secs(2), ..settings() };
    for body in BODIES {
        let (address, _stop, _end) =
            serving(patient.clone(), move |_| async move { Response::new(body(5000)) }).await;
        let mut client = Client::connect(address, 0).await;
        client.get(1).await;
        let (mut taken, start) = (0, Instant::now());
        loop {
            let frame = client.next().await.expect("not closed");
            assert_ne!(frame.kind, RST_STREAM, "after {taken} bytes");
            taken += if frame.kind == DATA { frame.payload.len() } else { 0 };
            if frame.flags & END_STREAM != 0 {
                break;
            }
            if taken % 500 == 0 {
                sleep(Duration::from_millis(300)).await;
                client.window(1, 500).await;
            }
        }
        assert_eq!(taken, 5000);
        assert!(start.elapsed() > patient.write, "longer than the longest wait");
    }
}

#[tokio::test]
async fn a_service_that_is_slow_is_no_fault_of_the_peers() {
    let settings = impatient();
    let pause = settings.write * 3;
    let (address, _stop, _end) = serving(settings, move |_| async move {
        sleep(pause).await;
        let pieces = futures_util::stream::unfold(0, move |piece| async move {
            sleep(pause).await;
            (piece < 2).then(|| (Ok::<_, Infallible>(Bytes::from_static(b"piece")), piece + 1))
        });
        Response::new(Body::from_stream(pieces))
    })
    .await;
    let mut client = Client::connect(address, 65_535).await;
    client.get(1).await;
    assert_eq!(client.body(1).await, Some(10));
    assert!(bystander(address).await.ends_with(b"piece\r\n0\r\n\r\n"));
}

#[tokio::test]
async fn who_has_many_slow_streams_is_told_to_go() {
    let (address, _stop, _end) = serving(impatient(), |_| async { Response::new(whole(5000)) }).await;
    let mut client = Client::connect(address, 0).await;
    let mut told = false;
    'streams: for round in 0.. {
        for stream in 0..60 {
            client.get(round * 120 + stream * 2 + 1).await;
        }
        for _ in 0..60 {
            match client.next().await {
                Some(frame) if frame.kind == GOAWAY => told = true,
                Some(_) => {}
                None => break 'streams,
            }
        }
        assert!(round < 10, "not for ever");
    }
    assert!(told);
}

#[tokio::test]
async fn a_peer_that_never_reads_is_closed() {
    let (address, _stop, _end) = serving(impatient(), |_| async { Response::new(whole(LARGE)) }).await;
    let mut http1 = TcpStream::connect(address).await.unwrap();
    http1.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let mut http2 = Client::connect(address, (1 << 31) - 1).await;
    http2.window(0, (1 << 31) - 1 - 65_535).await;
    http2.get(1).await;
    for mut stream in [http1, http2.stream] {
        // What can be written shows when the other end has gone.
        let gone = async {
            while stream.write_all(b"\0\0\0\0\0").await.is_ok() {
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(PATIENCE, gone).await.expect("closed in time");
    }
}

#[tokio::test]
async fn a_peer_that_reads_slowly_without_pause_gets_everything() {
    // Some 300 KB a second. Unless it is told not to, a socket takes more only when a third of its buffer is free, and
    // over loopback that takes such a peer five seconds.
    let settings = ServerSettings { write: Duration::from_secs(2), ..settings() };
    let size = 4_000_000;
    let (address, _stop, _end) = serving(settings, move |_| async move { Response::new(whole(size)) }).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(64 * 1024).unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
    let (mut buffer, mut read) = (vec![0; 3000], 0);
    loop {
        match timeout(PATIENCE, stream.read(&mut buffer)).await.expect("in time").unwrap() {
            0 => break,
            more => read += more,
        }
        sleep(Duration::from_millis(10)).await;
    }
    assert!(read > size, "{read} bytes");
}

/// Reads the body, and says what became of it.
async fn read(request: Request<Body>) -> Response<Body> {
    match request.into_body().collect().await {
        Ok(body) => Response::new(Body::new(Full::new(body.to_bytes()))),
        Err(error) => {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            Response::new(Body::from(cause.unwrap_or_default()))
        }
    }
}

#[tokio::test]
async fn a_body_that_stops_or_trickles_is_given_up() {
    let (address, _stop, _end) = serving(impatient(), read).await;
    for trickle in [false, true] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = b"POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 100000\r\n\r\nab";
        stream.write_all(head).await.unwrap();
        let (mut reader, mut writer) = stream.into_split();
        let sent = tokio::spawn(async move {
            while trickle && writer.write_all(b"x").await.is_ok() {
                sleep(Duration::from_millis(50)).await;
            }
            writer
        });
        let mut answer = Vec::new();
        let _ = timeout(PATIENCE, reader.read_to_end(&mut answer)).await.expect("closed in time");
        assert!(answer.ends_with(b"too slowly"), "{}", String::from_utf8_lossy(&answer));
        sent.abort();

        let mut client = Client::connect(address, 65_535).await;
        client.post(1).await;
        client.send(DATA, 0, 1, b"ab").await;
        let (mut reader, mut writer) = client.stream.into_split();
        let sent = tokio::spawn(async move {
            while trickle && writer.write_all(b"\0\0\x01\0\0\0\0\0\x01x").await.is_ok() {
                sleep(Duration::from_millis(50)).await;
            }
            writer
        });
        let mut answer = Vec::new();
        let told = async {
            while !answer.windows(7).any(|end| end == b"too slo") {
                assert_ne!(reader.read_buf(&mut answer).await.unwrap(), 0, "not closed");
            }
        };
        timeout(PATIENCE, told).await.expect("told in time");
        sent.abort();
    }
    assert_eq!(bystander(address).await, b"");
}

#[tokio::test]
async fn a_body_that_comes_in_time_is_read_however_long_it_takes() {
    let settings = ServerSettings { write: Duration::from_secs(2), ..settings() };
    let (address, _stop, _end) = serving(settings, read).await;
    let mut client = Client::connect(address, 65_535).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = b"POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 5000\r\n\r\n";
    stream.write_all(head).await.unwrap();
    client.post(1).await;
    for piece in 1..=10 {
        sleep(Duration::from_millis(300)).await;
        stream.write_all(&[b'x'; 500]).await.unwrap();
        client.send(DATA, u8::from(piece == 10), 1, &[b'x'; 500]).await;
    }
    assert!(closed(&mut stream).await.ends_with(&[b'x'; 5000]));
    assert_eq!(client.body(1).await, Some(5000));
}
