//! Nobody has more than a share of the requests in flight: who is counted, and what the others notice.

use std::time::Duration;

use bytes::Bytes;
use chassis::Body;
use http::{Method, Request, Response};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::world::{Answer, PATIENCE, World, as_u1, by_hand, knows_by_name};

/// The proxy in front, in these tests, is whoever connects.
const TRUSTING: (&str, &str) = ("GATEWAY_SERVER__TRUSTED_PROXIES", "127.0.0.0/8");

async fn world(variables: &[(&str, &str)]) -> World {
    let world = World::with(&[&[TRUSTING], variables].concat()).await;
    world.verifier.respond(knows_by_name);
    world
}

fn request(method: Method, user: &str, address: &str, body: Body) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri("/api/tasks")
        .header("authorization", format!("Bearer {user}"))
        .header("x-forwarded-for", address)
        .body(body)
        .unwrap()
}

async fn ask(world: &World, user: &str, address: &str) -> Answer {
    world.send(request(Method::GET, user, address, Body::empty())).await
}

/// A request that is inside, and stays there until the rest of its body is sent.
async fn inside(world: &World, user: &str, address: &str) -> TcpStream {
    let asked = world.verifier.seen().len();
    let mut stream = TcpStream::connect(world.gateway).await.unwrap();
    let start = format!(
        "POST /api/tasks HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {user}\r\nX-Forwarded-For: {address}\r\n\
         Content-Length: 2\r\nConnection: close\r\n\r\nh"
    );
    stream.write_all(start.as_bytes()).await.unwrap();
    let arrived = async {
        while world.verifier.seen().len() == asked {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, arrived).await.unwrap();
    stream
}

async fn finish(mut stream: TcpStream) {
    stream.write_all(b"i").await.unwrap();
    let mut read = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut read)).await.unwrap().unwrap();
    assert!(read.starts_with("HTTP/1.1 200"), "{read}");
}

fn assert_over_its_share(answer: &Answer) {
    assert_eq!((answer.status.as_u16(), &*answer.problem()), (429, "too-many-requests"));
    assert_eq!(answer.one("retry-after"), Some("1"));
}

#[tokio::test]
async fn one_client_has_its_share_of_permits_and_the_others_have_theirs() {
    let world = world(&[("GATEWAY_LIMITS__REQUESTS_PER_CLIENT_MAX", "2")]).await;
    let one = "2001:db8::1";
    let (first, second) = (inside(&world, "u1", one).await, inside(&world, "u2", "2001:db8::2").await);
    assert_over_its_share(&ask(&world, "u3", one).await);
    assert_over_its_share(&ask(&world, "u3", "2001:db8::3").await);
    for other in ["2001:db8:0:1::1", "203.0.113.7"] {
        assert_eq!(ask(&world, "u3", other).await.status, 200, "{other}");
    }
    finish(first).await;
    assert_eq!(ask(&world, "u3", one).await.status, 200, "a permit was given back");
    finish(second).await;
}

#[tokio::test]
async fn one_user_has_its_share_of_permits_by_however_many_addresses() {
    let world = world(&[("GATEWAY_LIMITS__REQUESTS_PER_USER_MAX", "1")]).await;
    let first = inside(&world, "u1", "203.0.113.1").await;
    let refused = async {
        loop {
            let answer = ask(&world, "u1", "203.0.113.2").await;
            if answer.status != 200 {
                return answer;
            }
        }
    };
    assert_over_its_share(&timeout(PATIENCE, refused).await.expect("the share is taken"));
    assert_eq!(ask(&world, "u2", "203.0.113.2").await.status, 200);
    finish(first).await;
    assert_eq!(ask(&world, "u1", "203.0.113.1").await.status, 200, "the permit was given back");
}

#[tokio::test]
async fn what_is_in_flight_counts_when_the_settings_are_read_again() {
    for (variable, user, address, want) in [
        ("GATEWAY_LIMITS__REQUESTS_PER_CLIENT_MAX", "u2", "203.0.113.1", 429),
        ("GATEWAY_LIMITS__REQUESTS_MAX", "u2", "203.0.113.2", 503),
    ] {
        let world = world(&[(variable, "1")]).await;
        let first = inside(&world, "u1", "203.0.113.1").await;
        world.reload();
        assert_eq!(ask(&world, user, address).await.status, want, "{variable}");
        finish(first).await;
        assert_eq!(ask(&world, user, address).await.status, 200, "{variable}");
    }
}

#[tokio::test]
async fn a_full_gateway_is_nobodys_fault() {
    let world = world(&[("GATEWAY_LIMITS__REQUESTS_MAX", "1")]).await;
    let first = inside(&world, "u1", "203.0.113.1").await;
    let answer = ask(&world, "u2", "203.0.113.2").await;
    assert_eq!((answer.status.as_u16(), &*answer.problem()), (503, "busy"));
    finish(first).await;
}

#[tokio::test]
async fn whom_nobody_trusts_can_not_choose_as_whom_it_is_counted() {
    let world = World::with(&[("GATEWAY_LIMITS__REQUESTS_PER_CLIENT_MAX", "1")]).await;
    world.verifier.respond(knows_by_name);
    let first = inside(&world, "u1", "203.0.113.1").await;
    assert_over_its_share(&ask(&world, "u2", "203.0.113.2").await);
    finish(first).await;
}

/// Streams whose bodies come a byte at a time, by HTTP/2, each begun again when it has ended, until `stop`: how they ended.
async fn trickle(world: &World, streams: usize, stop: &CancellationToken) -> Vec<JoinHandle<Vec<u16>>> {
    let connection = world.connect_h2().await;
    let trickling = |_| {
        let (mut connection, stop) = (connection.clone(), stop.clone());
        tokio::spawn(async move {
            let mut ends = Vec::new();
            while !stop.is_cancelled() {
                let (sender, body) = by_hand();
                tokio::spawn(async move {
                    while sender.send(Bytes::from_static(b"x")).await.is_ok() {
                        sleep(Duration::from_millis(100)).await;
                    }
                });
                let request = request(Method::POST, "evil", "203.0.113.9", body);
                ends.push(connection.send(request).await.status.as_u16());
                sleep(Duration::from_millis(50)).await;
            }
            ends
        })
    };
    (0..streams).map(trickling).collect()
}

#[tokio::test]
async fn a_client_that_trickles_its_bodies_keeps_nobody_out() {
    let world = world(&[
        ("GATEWAY_LIMITS__REQUESTS_MAX", "60"),
        ("GATEWAY_LIMITS__REQUESTS_PER_CLIENT_MAX", "50"),
        ("GATEWAY_LIMITS__REQUESTS_PER_USER_MAX", "8"),
        ("GATEWAY_LIMITS__BODY_GRACE_SECS", "2"),
        ("GATEWAY_LIMITS__BODY_RATE", "1000"),
    ])
    .await;
    let stop = CancellationToken::new();
    let attack = trickle(&world, 40, &stop).await;
    let refused = async {
        while ask(&world, "evil", "203.0.113.10").await.status != 429 {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, refused).await.expect("the attacker holds its share");
    for n in 0..40 {
        let body = Body::from("a good body");
        let good = if n % 2 == 0 {
            world.send(request(Method::POST, "good", "203.0.113.9", body)).await
        } else {
            world.send_h2(request(Method::POST, "good", "203.0.113.7", body)).await
        };
        assert_eq!((good.status.as_u16(), &*good.body), (200, "a good body"), "{n}");
    }
    stop.cancel();
    let mut ends = Vec::new();
    for stream in attack {
        ends.extend(timeout(PATIENCE, stream).await.expect("none goes on for ever").unwrap());
    }
    assert!(ends.iter().all(|end| [408, 429].contains(end)), "{ends:?}");
    assert!(ends.contains(&408) && ends.contains(&429), "{ends:?}");
    assert_eq!(ask(&world, "evil", "203.0.113.9").await.status, 200, "all permits were given back");
}

#[tokio::test]
async fn a_trusted_proxy_is_believed_about_client_and_scheme() {
    let world = World::with(&[TRUSTING]).await;
    let said = || {
        as_u1(Method::POST, "/api/tasks")
            .header("x-forwarded-for", "evil, 203.0.113.7, 127.0.0.9")
            .header("x-forwarded-proto", "https")
            .header("x-forwarded-host", "evil")
            .header("x-real-ip", "evil")
            .body(Body::empty())
            .unwrap()
    };
    for answer in [world.send(said()).await, world.send_h2(said()).await] {
        assert_eq!(answer.status, 200);
        let (asked, arrived) = (world.verifier.last(), world.service.last());
        assert_eq!(arrived.one("x-forwarded-for"), Some("203.0.113.7, 127.0.0.9, 127.0.0.1"));
        assert_eq!(asked.one("x-forwarded-for"), Some("203.0.113.7"));
        for seen in [asked, arrived] {
            assert_eq!(seen.one("x-forwarded-proto"), Some("https"));
            assert_eq!(seen.one("x-forwarded-host"), Some("gateway.test"));
            assert!(!format!("{:?}", seen.headers).contains("evil"), "{:?}", seen.headers);
        }
    }
}

#[tokio::test]
async fn behind_a_proxy_that_ends_tls_the_gateways_own_pages_are_those_by_https() {
    let world = World::with(&[TRUSTING]).await;
    world.verifier.respond(|_| {
        let mut verdict: Response<Body> = crate::world::known("u1");
        verdict.headers_mut().insert("x-credential", "cookie".parse().unwrap());
        verdict
    });
    for (origin, want) in [("https://gateway.test", 200), ("http://gateway.test", 403)] {
        let request = as_u1(Method::POST, "/api/tasks")
            .header("x-forwarded-proto", "https")
            .header("origin", origin)
            .body(Body::empty())
            .unwrap();
        assert_eq!(world.send(request).await.status, want, "{origin}");
    }
}
