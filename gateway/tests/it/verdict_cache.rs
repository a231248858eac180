//! A verdict is used again for its own credentials alone, as long as auth-verifier allows and no longer.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use chassis::Body;
use http::{Method, Request, Response, StatusCode};
use tokio::{net::TcpListener, sync::Semaphore, task::JoinHandle, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::world::{Peer, Seen, World, as_u1, get, known, knows_by_name, knows_u1, serve_on};

/// That verdict, to be used again for so many seconds.
fn lasting(secs: u64, mut verdict: Response<Body>) -> Response<Body> {
    if verdict.status() == 200 {
        let value = format!("private, max-age={secs}").parse().unwrap();
        verdict.headers_mut().insert("cache-control", value);
    }
    verdict
}

fn by(token: &str) -> Request<Body> {
    Request::get("/api/tasks").header("authorization", format!("Bearer {token}")).body(Body::empty()).unwrap()
}

#[tokio::test]
async fn auth_verifier_is_asked_once_as_long_as_its_verdict_holds() {
    let world = World::new().await;
    world.verifier.respond(|seen: &Seen| lasting(100, knows_by_name(seen)));
    for round in 0..3 {
        for user in ["u1", "u2", "u3"] {
            assert_eq!(world.send(by(user)).await.status, 200);
            let arrived = world.service.last();
            assert_eq!(arrived.one("x-user-id"), Some(user), "round {round}");
            assert_eq!(arrived.one("x-user-email"), Some(&*format!("{user}@example.com")));
            assert_eq!(arrived.one("x-identity-assertion"), Some("a.b.c"));
            assert_eq!(arrived.one("authorization"), None);
        }
    }
    assert_eq!(world.verifier.seen().len(), 3, "once for each");
}

#[tokio::test]
async fn nothing_is_used_again_that_may_not_be() {
    for caching in [None, Some("max-age=0"), Some("no-store"), Some("no-cache, max-age=60"), Some("private")]
    {
        let world = World::new().await;
        world.verifier.respond(move |seen: &Seen| {
            let mut verdict = knows_u1(seen);
            verdict
                .headers_mut()
                .extend(caching.map(|caching| (http::header::CACHE_CONTROL, caching.parse().unwrap())));
            verdict
        });
        for _ in 0..2 {
            assert_eq!(world.send(get("/api/tasks")).await.status, 200);
        }
        assert_eq!(world.verifier.seen().len(), 2, "{caching:?}");
    }
}

#[tokio::test]
async fn the_cache_can_be_switched_off() {
    let world = World::with(&[("GATEWAY_VERIFIER__CACHE_ENTRIES_MAX", "0")]).await;
    world.verifier.respond(|seen: &Seen| lasting(100, knows_u1(seen)));
    for _ in 0..2 {
        assert_eq!(world.send(get("/api/tasks")).await.status, 200);
    }
    assert_eq!(world.verifier.seen().len(), 2);
}

#[tokio::test]
async fn a_verdict_is_of_all_the_credentials_of_a_request_together() {
    let world = World::new().await;
    world.verifier.respond(|_| lasting(100, known("u1")));
    let with = |fields: &[(&str, &str)]| {
        let request = fields
            .iter()
            .fold(Request::get("/api/tasks"), |request, (name, value)| request.header(*name, *value));
        request.body(Body::empty()).unwrap()
    };
    for (asked, fields) in [
        &[("authorization", "Bearer a")][..],
        &[("authorization", "Bearer aa")],
        &[("authorization", "bearer a")],
        &[("cookie", "Bearer a")],
        &[("cookie", "s=a")],
        &[("cookie", "s=b")],
        &[("cookie", "s=a; t=b")],
        &[("cookie", "s=a"), ("cookie", "t=b")],
        &[("authorization", "Bearer a"), ("cookie", "s=a")],
        &[("authorization", "Bearer a"), ("cookie", "s=b")],
        &[("authorization", ""), ("cookie", "s=a")],
        &[("authorization", ""), ("cookie", ""), ("cookie", "s=a")],
        &[("cookie", ""), ("cookie", "s=a")],
        &[],
    ]
    .iter()
    .enumerate()
    {
        for _ in 0..2 {
            assert_eq!(world.send(with(fields)).await.status, 200);
            assert_eq!(world.verifier.seen().len(), asked + 1, "{fields:?}");
        }
    }
}

#[tokio::test]
async fn what_else_a_request_says_asks_for_no_verdict_of_its_own() {
    let world = World::new().await;
    world.verifier.respond(|seen: &Seen| lasting(100, knows_u1(seen)));
    for (method, target) in
        [(Method::GET, "/api/tasks"), (Method::POST, "/api/tasks?a=b"), (Method::DELETE, "/api/tasks/1")]
    {
        let request = as_u1(method, target).header("x-user-id", "u2").header("x-request-id", target);
        assert_eq!(world.send(request.body(Body::empty()).unwrap()).await.status, 200);
        assert_eq!(world.service.last().one("x-user-id"), Some("u1"));
    }
    assert_eq!(world.verifier.seen().len(), 1);
}

#[tokio::test]
async fn a_denial_is_never_kept() {
    let world = World::new().await;
    for status in [401, 403, 503] {
        world.verifier.respond(move |_| {
            let denial = Response::builder()
                .status(status)
                .header("cache-control", "max-age=60")
                .header("retry-after", "1");
            denial.body(Body::empty()).unwrap()
        });
        assert_eq!(world.send(get("/api/tasks")).await.status.as_u16(), status);
    }
    world.verifier.respond(knows_u1);
    assert_eq!(world.send(get("/api/tasks")).await.status, 200);
}

#[tokio::test]
async fn a_verdict_ends_when_it_ends_also_while_auth_verifier_is_away() {
    let world = World::new().await;
    world.verifier.respond(|seen: &Seen| lasting(2, knows_u1(seen)));
    assert_eq!(world.send(get("/api/tasks")).await.status, 200);
    world.verifier.respond(|_| Response::builder().status(500).body(Body::empty()).unwrap());
    assert_eq!(world.send(get("/api/tasks")).await.status, 200, "it holds still");
    sleep(Duration::from_millis(2100)).await;
    assert_eq!(world.send(get("/api/tasks")).await.status, 503);
}

#[tokio::test]
async fn a_verdict_in_use_is_refreshed_before_it_ends() {
    let world = World::new().await;
    world.verifier.respond(|seen: &Seen| lasting(4, knows_u1(seen)));
    assert_eq!(world.send(get("/api/tasks")).await.status, 200);
    sleep(Duration::from_millis(3100)).await;
    assert_eq!(world.send(get("/api/tasks")).await.status, 200);
    until_asked(&world.verifier, 2).await;
    // The first verdict is over by now, and the second one is not.
    sleep(Duration::from_millis(1000)).await;
    assert_eq!(world.send(get("/api/tasks")).await.status, 200);
    assert_eq!(world.verifier.seen().len(), 2);
}

#[tokio::test]
async fn a_refresh_that_is_denied_ends_the_verdict_at_once_and_one_that_fails_does_not() {
    for (status, then) in [(500, 200), (401, 401)] {
        let world = World::new().await;
        world.verifier.respond(|seen: &Seen| lasting(8, knows_u1(seen)));
        assert_eq!(world.send(get("/api/tasks")).await.status, 200);
        world.verifier.respond(move |_| Response::builder().status(status).body(Body::empty()).unwrap());
        sleep(Duration::from_millis(6100)).await;
        assert_eq!(world.send(get("/api/tasks")).await.status, 200);
        until_asked(&world.verifier, 2).await;
        sleep(Duration::from_millis(100)).await;
        assert_eq!(world.send(get("/api/tasks")).await.status.as_u16(), then);
    }
}

async fn until_asked(verifier: &Peer, times: usize) {
    while verifier.seen().len() < times {
        sleep(Duration::from_millis(5)).await;
    }
}

/// A verifier that knows everybody by name, once it is let.
struct Held {
    url: String,
    asked: Arc<Semaphore>,
    go: Arc<Semaphore>,
}

impl Held {
    async fn new(verdict: impl Fn() -> Response<Body> + Clone + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (asked, go) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let (asks, goes) = (asked.clone(), go.clone());
        let service = move |_| {
            let (asks, goes, verdict) = (asks.clone(), goes.clone(), verdict.clone());
            async move {
                asks.add_permits(1);
                goes.acquire().await.unwrap().forget();
                verdict()
            }
        };
        serve_on(listener, service, CancellationToken::new());
        Self { url, asked, go }
    }

    async fn until_asked(&self) {
        self.asked.acquire().await.unwrap().forget();
    }

    /// A gateway that has had a verdict of it.
    async fn world(&self) -> Arc<World> {
        let world = Arc::new(World::with(&[("GATEWAY_AUTH_VERIFIER_URL", &self.url)]).await);
        self.go.add_permits(1);
        assert_eq!(world.send(by("somebody else")).await.status, 200);
        self.until_asked().await;
        world
    }
}

#[tokio::test]
async fn requests_that_come_together_ask_once() {
    let held = Held::new(|| lasting(60, known("u1"))).await;
    let world = held.world().await;
    let asking = ask(&world, 20);
    held.until_asked().await;
    sleep(Duration::from_millis(200)).await;
    held.go.add_permits(1);
    for asking in asking {
        assert_eq!(asking.await.unwrap(), 200);
    }
    assert_eq!(held.asked.available_permits(), 0, "nobody else asked");
}

/// So many requests, of one user.
fn ask(world: &Arc<World>, times: usize) -> Vec<JoinHandle<StatusCode>> {
    let ask = |_| {
        let world = world.clone();
        tokio::spawn(async move { world.send(get("/api/tasks")).await.status })
    };
    (0..times).map(ask).collect()
}

#[tokio::test]
async fn who_came_after_a_verdict_that_may_not_be_used_again_waits_for_the_next_one() {
    // The first one may, so that there is something to wait for.
    let life = Arc::new(AtomicU64::new(60));
    let held = Held::new(move || lasting(life.swap(0, Ordering::Relaxed), known("u1"))).await;
    let world = held.world().await;
    let mut first = ask(&world, 1);
    held.until_asked().await;
    let later = ask(&world, 10);
    sleep(Duration::from_millis(200)).await;
    assert_eq!(held.asked.available_permits(), 0);
    held.go.add_permits(1);
    assert_eq!(first.remove(0).await.unwrap(), 200);
    held.until_asked().await;
    sleep(Duration::from_millis(200)).await;
    held.go.add_permits(1);
    for asking in later {
        assert_eq!(asking.await.unwrap(), 200);
    }
    assert_eq!(held.asked.available_permits(), 0, "two calls for all of them");
}

#[tokio::test]
async fn where_no_verdict_may_be_used_again_nobody_waits_for_anothers() {
    let held = Held::new(|| lasting(0, known("u1"))).await;
    let world = held.world().await;
    let asking = ask(&world, 5);
    for _ in 0..5 {
        held.until_asked().await;
    }
    held.go.add_permits(5);
    for asking in asking {
        assert_eq!(asking.await.unwrap(), 200);
    }
}

#[tokio::test]
async fn what_failed_for_an_earlier_request_is_asked_again() {
    let answers = Arc::new(AtomicU64::new(0));
    let held = Held::new(move || match answers.fetch_add(1, Ordering::Relaxed) {
        1 => Response::builder().status(503).header("retry-after", "1").body(Body::empty()).unwrap(),
        _ => lasting(60, known("u1")),
    })
    .await;
    let world = held.world().await;
    let mut first = ask(&world, 1);
    held.until_asked().await;
    let mut second = ask(&world, 1);
    sleep(Duration::from_millis(200)).await;
    held.go.add_permits(2);
    assert_eq!(first.remove(0).await.unwrap(), 503);
    assert_eq!(second.remove(0).await.unwrap(), 200);
}

#[tokio::test]
async fn a_verdict_that_a_service_does_not_believe_is_not_used_again() {
    let world = World::new().await;
    world.verifier.respond(|seen: &Seen| lasting(60, knows_u1(seen)));
    world.service.respond(|_| {
        let refused = Response::builder().status(401).header("www-authenticate", "Identity-Assertion");
        refused.body(Body::empty()).unwrap()
    });
    for calls in 1..=2 {
        assert_eq!(world.send(get("/api/tasks")).await.status, 503);
        assert_eq!(world.verifier.seen().len(), calls);
    }
}

#[tokio::test]
async fn a_client_that_leaves_leaves_those_behind_it_their_verdict() {
    let held = Held::new(|| lasting(60, known("u1"))).await;
    let world = held.world().await;
    let first = ask(&world, 1).remove(0);
    held.until_asked().await;
    let second = ask(&world, 1).remove(0);
    sleep(Duration::from_millis(200)).await;
    first.abort();
    sleep(Duration::from_millis(100)).await;
    held.go.add_permits(2);
    assert_eq!(second.await.unwrap(), 200);
    // And one whose only request left is no obstacle to the next.
    assert_eq!(world.send(get("/api/tasks")).await.status, 200);
}

#[tokio::test]
async fn requests_of_different_users_that_come_together_stay_apart() {
    let world = Arc::new(World::new().await);
    world.verifier.respond(|seen: &Seen| lasting(1, knows_by_name(seen)));
    world.service.respond(|seen: &Seen| Response::new(Body::from(seen.one("x-user-id").unwrap().to_owned())));
    let asking: Vec<_> = (0..400)
        .map(|n| {
            let world = world.clone();
            tokio::spawn(async move {
                let user = format!("u{}", n % 7);
                assert_eq!(world.send(by(&user)).await.body, user);
            })
        })
        .collect();
    for asking in asking {
        asking.await.unwrap();
    }
}
