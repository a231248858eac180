//! Several auth-verifiers, and one that comes and goes: what their faults cost a request.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use chassis::Body;
use http::Response;
use tokio::{
    net::TcpListener,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::world::{PATIENCE, Peer, Seen, World, get, known, knows_u1, serve_on};

/// Each request is asked about.
const NO_CACHE: (&str, &str) = ("GATEWAY_VERIFIER__CACHE_ENTRIES_MAX", "0");

async fn asking(urls: &[String], others: &[(&str, &str)]) -> World {
    let urls = urls.join(", ");
    World::with(&[&[NO_CACHE, ("GATEWAY_AUTH_VERIFIER_URL", &*urls)], others].concat()).await
}

#[tokio::test]
async fn auth_verifiers_share_the_questions_each_under_its_own_name() {
    let (one, two) = (Peer::new(knows_u1).await, Peer::new(knows_u1).await);
    let named = format!("http://localhost:{}", two.address.port());
    let world = asking(&[one.url(), named], &[]).await;
    // The name is looked up meanwhile; it may have an address where nobody listens.
    let began = Instant::now();
    while two.seen().is_empty() {
        assert!(began.elapsed() < PATIENCE, "the name is found");
        assert_eq!(world.send(get("/api/tasks")).await.status, 200);
    }
    let before = [one.seen().len(), two.seen().len()];
    for _ in 0..20 {
        assert_eq!(world.send(get("/api/tasks")).await.status, 200);
    }
    let shares = [one.seen().len() - before[0], two.seen().len() - before[1]];
    assert!(shares.iter().all(|share| *share >= 6), "{shares:?}");
    assert_eq!(one.last().one("host"), Some(&*one.address.to_string()));
    assert_eq!(two.last().one("host"), Some(&*format!("localhost:{}", two.address.port())));
}

#[tokio::test]
async fn what_one_of_them_denies_nobody_else_is_asked_about() {
    let denies = |_: &Seen| Response::builder().status(401).body(Body::empty()).unwrap();
    let forbids = |_: &Seen| Response::builder().status(403).body(Body::empty()).unwrap();
    let broken = |_: &Seen| Response::builder().status(500).body(Body::empty()).unwrap();
    for (status, peers) in [
        (401, [Peer::new(denies).await, Peer::new(denies).await]),
        (403, [Peer::new(forbids).await, Peer::new(forbids).await]),
        (503, [Peer::new(broken).await, Peer::new(broken).await]),
    ] {
        let world = asking(&[peers[0].url(), peers[1].url()], &[]).await;
        assert_eq!(world.send(get("/api/tasks")).await.status, status);
        assert_eq!(peers[0].seen().len() + peers[1].seen().len(), 1, "{status}");
        assert!(world.service.seen().is_empty());
    }
}

#[tokio::test]
async fn one_of_a_pair_that_hangs_costs_no_request() {
    let hung = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let well = Peer::new(knows_u1).await;
    let urls = [format!("http://{}", hung.local_addr().unwrap()), well.url()];
    let wait = [("GATEWAY_VERIFIER__TIMEOUT_MS", "8000"), ("GATEWAY_UPSTREAM__EJECT_SECS", "3600")];
    let world = Arc::new(asking(&urls, &wait).await);
    let asking: Vec<_> = (0..8)
        .map(|_| {
            let world = world.clone();
            tokio::spawn(async move { world.send(get("/api/tasks")).await.status })
        })
        .collect();
    for one in asking {
        assert_eq!(timeout(PATIENCE, one).await.unwrap().unwrap(), 200);
    }
    // It has lost its share.
    for _ in 0..20 {
        assert_eq!(world.send(get("/api/tasks")).await.status, 200);
    }
    assert_eq!(well.seen().len(), 28, "each was answered once");
    drop(hung);
}

#[tokio::test]
async fn one_that_is_silent_keeps_its_share_where_the_other_one_takes_as_long() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let slow = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let urls = [&silent, &slow].map(|one| format!("http://{}", one.local_addr().unwrap()));
    let taken = Arc::new(AtomicUsize::new(0));
    let counted = taken.clone();
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok(taken) = silent.accept().await {
            open.push(taken);
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    // More than a quarter of the wait.
    let service = async |_: http::Request<Body>| {
        sleep(Duration::from_millis(1500)).await;
        known("u1")
    };
    serve_on(slow, service, CancellationToken::new());
    let settings = [("GATEWAY_VERIFIER__TIMEOUT_MS", "4000"), ("GATEWAY_UPSTREAM__EJECT_SECS", "3600")];
    let world = Arc::new(asking(&urls, &settings).await);
    for round in 1..=2 {
        let asking: Vec<_> = (0..8)
            .map(|_| {
                let world = world.clone();
                tokio::spawn(async move { world.send(get("/api/tasks")).await.status })
            })
            .collect();
        for one in asking {
            assert_eq!(timeout(PATIENCE, one).await.unwrap().unwrap(), 200);
        }
        assert!(taken.swap(0, Ordering::SeqCst) >= 3, "{round}");
    }
}

#[tokio::test]
async fn one_of_a_pair_that_takes_connections_and_closes_them_costs_no_request() {
    let broken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let urls = [format!("http://{}", broken.local_addr().unwrap()), Peer::new(knows_u1).await.url()];
    let taken = Arc::new(AtomicUsize::new(0));
    let counted = taken.clone();
    tokio::spawn(async move {
        while broken.accept().await.is_ok() {
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    let world = asking(&urls, &[("GATEWAY_UPSTREAM__EJECT_SECS", "3600")]).await;
    for n in 0..40 {
        assert_eq!(world.send(get("/api/tasks")).await.status, 200, "{n}");
    }
    assert_eq!(taken.load(Ordering::SeqCst), 5, "and then it loses its share");
}

#[tokio::test]
async fn a_pair_that_hangs_lets_nobody_in() {
    let (one, two) =
        (TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let urls = [&one, &two].map(|hung| format!("http://{}", hung.local_addr().unwrap()));
    let world = asking(&urls, &[("GATEWAY_VERIFIER__TIMEOUT_MS", "200")]).await;
    for _ in 0..4 {
        let answer = world.send(get("/api/tasks")).await;
        assert_eq!((answer.status.as_u16(), &*answer.problem()), (503, "verifier-unavailable"));
    }
    assert!(world.service.seen().is_empty());
}

#[tokio::test]
async fn the_first_answer_of_two_counts_whoever_gives_it() {
    // The one that is asked first answers late, and differently.
    let late = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let urls = [format!("http://{}", late.local_addr().unwrap())];
    let well = Peer::new(|_: &Seen| known("u2")).await;
    let world =
        asking(&[&urls[..], &[well.url()]].concat(), &[("GATEWAY_VERIFIER__TIMEOUT_MS", "2000")]).await;
    for _ in 0..2 {
        assert_eq!(world.send(get("/api/tasks")).await.status, 200);
        assert_eq!(world.service.last().one("x-user-id"), Some("u2"));
    }
}

#[tokio::test]
async fn the_only_one_that_restarts_costs_no_request() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = async |request: http::Request<Body>| {
        assert_eq!(request.uri().path(), "/verify");
        known("u1")
    };
    let mut stop = CancellationToken::new();
    serve_on(listener, service, stop.clone());
    let world = Arc::new(asking(&[format!("http://{address}")], &[]).await);
    assert_eq!(world.send(get("/api/tasks")).await.status, 200);
    for away in [30, 150, 400] {
        stop.cancel();
        let gone = Instant::now();
        while tokio::net::TcpStream::connect(address).await.is_ok() {
            assert!(gone.elapsed() < PATIENCE);
            sleep(Duration::from_millis(5)).await;
        }
        let asking: Vec<_> = (0..20)
            .map(|_| {
                let world = world.clone();
                tokio::spawn(async move { world.send(get("/api/tasks")).await.status })
            })
            .collect();
        sleep(Duration::from_millis(away)).await;
        stop = CancellationToken::new();
        serve_on(TcpListener::bind(address).await.unwrap(), service, stop.clone());
        for one in asking {
            assert_eq!(one.await.unwrap(), 200, "{away}");
        }
    }
}
