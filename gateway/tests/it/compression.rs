//! Answers that are compressed on their way out, as a client reads them.

use std::{io::Read, sync::Mutex};

use bytes::Bytes;
use chassis::Body;
use flate2::read::{GzDecoder, MultiGzDecoder};
use http::{HeaderMap, Method, Response};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

use crate::world::{PATIENCE, World, as_u1, by_hand};

const ON: (&str, &str) = ("GATEWAY_COMPRESSION", "on");

/// A list as task-service gives it, some KiB of it.
fn list() -> String {
    format!("[{}]", vec![r#"{"title":"Buy milk","completed":false}"#; 100].join(","))
}

fn json(body: impl Into<Body>) -> Response<Body> {
    Response::builder().header("content-type", "application/json").body(body.into()).unwrap()
}

/// Asks by HTTP/1.1, with this `Accept-Encoding`; the answer, still on its way.
async fn ask(world: &World, method: Method, accepted: &str) -> Response<hyper::body::Incoming> {
    let stream = TcpStream::connect(world.gateway).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = as_u1(method, "/api/tasks").header("host", "a").header("accept-encoding", accepted);
    let sent = sender.send_request(request.body(Body::empty()).unwrap());
    timeout(PATIENCE, sent).await.unwrap().unwrap()
}

async fn whole(response: Response<hyper::body::Incoming>) -> (HeaderMap, Bytes) {
    let (head, body) = response.into_parts();
    (head.headers, timeout(PATIENCE, body.collect()).await.unwrap().unwrap().to_bytes())
}

fn varies(headers: &HeaderMap) -> bool {
    headers.get_all("vary").iter().any(|value| value == "Accept-Encoding")
}

#[tokio::test]
async fn a_list_is_compressed_for_who_accepts_it_and_for_nobody_where_it_is_off() {
    let world = World::with(&[ON]).await;
    world.service.respond(|_| json(list()));
    let (headers, body) = whole(ask(&world, Method::GET, "gzip, br").await).await;
    assert_eq!(headers["content-encoding"], "gzip");
    assert!(varies(&headers));
    assert!(headers.get("content-length").is_none_or(|length| length == &body.len().to_string()));
    assert!(body.len() * 10 < list().len(), "{}", body.len());
    let mut text = String::new();
    GzDecoder::new(&body[..]).read_to_string(&mut text).unwrap();
    assert_eq!(text, list());

    let (headers, body) = whole(ask(&world, Method::GET, "br").await).await;
    assert!(headers.get("content-encoding").is_none() && varies(&headers));
    assert_eq!(body, list());

    let (headers, body) = whole(ask(&world, Method::HEAD, "gzip").await).await;
    assert!(headers.get("content-encoding").is_none() && body.is_empty());

    world.service.respond(|_| json("[]"));
    let (headers, body) = whole(ask(&world, Method::GET, "gzip").await).await;
    assert!(headers.get("content-encoding").is_none());
    assert_eq!(body, "[]");

    let off = World::new().await;
    off.service.respond(|_| json(list()));
    let (headers, body) = whole(ask(&off, Method::GET, "gzip").await).await;
    assert!(headers.get("content-encoding").is_none() && !varies(&headers));
    assert_eq!(body, list());
}

#[tokio::test]
async fn what_has_not_changed_varies_as_it_did() {
    let unchanged = |tag: &'static str| {
        move |_: &_| Response::builder().status(304).header("etag", tag).body(Body::empty()).unwrap()
    };
    let (on, off) = (World::with(&[ON]).await, World::new().await);
    // A strong tag names one form alone, which is never compressed.
    for (world, tag, want) in [(&on, "W/\"1\"", true), (&on, "\"1\"", false), (&off, "W/\"1\"", false)] {
        world.service.respond(unchanged(tag));
        let response = ask(world, Method::GET, "gzip").await;
        assert_eq!((response.status().as_u16(), varies(response.headers())), (304, want), "{tag}");
    }
}

#[tokio::test]
async fn what_a_service_pauses_after_has_left() {
    let world = World::with(&[ON]).await;
    let (pieces, body) = by_hand();
    let body = Mutex::new(Some(body));
    world.service.respond(move |_| json(body.lock().unwrap().take().unwrap()));
    let mut response = ask(&world, Method::GET, "gzip").await;
    let mut seen = Vec::new();
    for piece in ["[1,", "2,", "3]"] {
        pieces.send(piece.into()).await.unwrap();
        let mut text = Vec::new();
        while !text.ends_with(piece.as_bytes()) {
            let frame = timeout(PATIENCE, response.frame()).await.expect("it has left").unwrap().unwrap();
            seen.extend_from_slice(frame.data_ref().unwrap());
            text.clear();
            // What there is of it by now; the end is missing.
            let _ = MultiGzDecoder::new(&seen[..]).read_to_end(&mut text);
        }
    }
    drop(pieces);
    while let Some(frame) = response.frame().await {
        seen.extend_from_slice(frame.unwrap().data_ref().unwrap());
    }
    let mut text = String::new();
    GzDecoder::new(&seen[..]).read_to_string(&mut text).unwrap();
    assert_eq!(text, "[1,2,3]");
}

#[tokio::test]
async fn an_answer_that_breaks_off_does_not_look_whole() {
    let world = World::with(&[ON]).await;
    let (breaks, broken) = tokio::sync::oneshot::channel::<()>();
    let broken = Mutex::new(Some(broken));
    world.service.respond(move |_| {
        let broken = broken.lock().unwrap().take().unwrap();
        let first = futures_util::stream::once(async { Ok(Bytes::from(list())) });
        let end = futures_util::stream::once(async move { Err(broken.await.unwrap_err()) });
        json(Body::from_stream(Box::pin(futures_util::StreamExt::chain(first, end))))
    });
    let mut response = ask(&world, Method::GET, "gzip").await;
    assert_eq!(response.headers()["content-encoding"], "gzip");
    timeout(PATIENCE, response.frame()).await.unwrap().unwrap().unwrap();
    drop(breaks);
    assert!(timeout(PATIENCE, response.into_body().collect()).await.unwrap().is_err());
}
