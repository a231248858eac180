//! Replicas of task-service and auth-verifier that restart, crash, hang, or never become ready, while people read and write.
//!
//! What may fail: a write that was at a replica when it crashed, hung or was told to stop, and a read that was at one that hung; its
//! client is told 502 or 504. What may not: any other. And no write is done twice, none is lost that was acknowledged, and none is done of which its
//! client was told that it was not (503 with `Retry-After`).

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use dev_postgres::test::{self, TestDatabase};
use http::StatusCode;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::{JoinSet, block_in_place, spawn_blocking},
    time::{Instant, sleep},
};

use crate::{
    traffic::{READERS, Traffic, WRITERS, all_is_as_told, failed},
    world::{Client, PATIENCE, SECRET, Service},
};

/// Two auth-verifiers, three replicas of task-service and one that never becomes ready, and the gateway.
struct Deployment {
    verifiers: Vec<Service>,
    tasks: Vec<Service>,
    gateway: Service,
    client: Client,
    database: TestDatabase,
    jwks: String,
    _unready: Option<Service>,
}

impl Deployment {
    /// `None` where there is no PostgreSQL, which was said aloud.
    async fn start() -> Option<Self> {
        let database = spawn_blocking(test::database).await.unwrap()?;
        let client = Client::new();
        let verifiers = vec![verifier(None), verifier(None)];
        // Both sign with one seed, so either has the key.
        let jwks = format!("{}/.well-known/jwks.json", verifiers[0].url());
        let tasks: Vec<_> = (0..3).map(|_| task_service(&database.url(), &jwks, None)).collect();
        let unready = task_service("postgresql://nobody@127.0.0.1:1/nothing", &jwks, None);
        let urls = |services: &[&Service]| services.iter().map(|one| one.url()).collect::<Vec<_>>().join(",");
        let of_tasks = urls(&tasks.iter().chain([&unready]).collect::<Vec<_>>());
        let gateway = [
            ("GATEWAY_AUTH_VERIFIER_URL", &*urls(&verifiers.iter().collect::<Vec<_>>())),
            ("GATEWAY_TASK_SERVICE_URL", &of_tasks),
            // Each request is asked about.
            ("GATEWAY_VERIFIER__CACHE_ENTRIES_MAX", "0"),
            // A slow machine is not what is tested here, but what hangs must be found.
            ("GATEWAY_VERIFIER__CONNECT_MS", "4000"),
            ("GATEWAY_VERIFIER__TIMEOUT_MS", "8000"),
            ("GATEWAY_UPSTREAM__TIMEOUT_SECS", "5"),
            ("GATEWAY_UPSTREAM__EJECT_SECS", "1"),
        ];
        let gateway = Service::start("gateway", &gateway);
        for service in verifiers.iter().chain(&tasks).chain([&gateway]) {
            service.ready(&client).await;
        }
        Some(Self { verifiers, tasks, gateway, client, database, jwks, _unready: Some(unready) })
    }

    /// An auth-verifier, three replicas of task-service that the gateway asks whether they are ready, each at an address of its own,
    /// and the gateway. `None` where there is no PostgreSQL, which was said aloud.
    async fn asked() -> Option<Self> {
        let database = spawn_blocking(test::database).await.unwrap()?;
        let client = Client::new();
        let verifiers = vec![verifier(None)];
        let jwks = format!("{}/.well-known/jwks.json", verifiers[0].url());
        let mut ops = 0;
        let tasks: Vec<_> = (1..=3)
            .map(|last| {
                let set = [
                    ("DATABASE_URL", &*database.url()),
                    ("TASK_SERVICE_IDENTITY_JWKS_URL", &jwks),
                    ("TASK_SERVICE_LISTEN", &*format!("127.0.0.{last}:0")),
                    ("TASK_SERVICE_OPS_LISTEN", &*format!("127.0.0.{last}:{ops}")),
                ];
                let task_service = Service::start("task-service", &set);
                ops = task_service.ops.port();
                task_service
            })
            .collect();
        let of_tasks: Vec<_> = tasks.iter().map(Service::url).collect();
        let gateway = [
            ("GATEWAY_AUTH_VERIFIER_URL", &*verifiers[0].url()),
            ("GATEWAY_TASK_SERVICE_URL", &*of_tasks.join(",")),
            ("GATEWAY_TASK_SERVICE_READY", &*format!(":{ops}/readyz")),
            ("GATEWAY_VERIFIER__TIMEOUT_MS", "8000"),
            // Nobody waits for that.
            ("GATEWAY_UPSTREAM__TIMEOUT_SECS", "50"),
        ];
        let gateway = Service::start("gateway", &gateway);
        for service in verifiers.iter().chain(&tasks).chain([&gateway]) {
            service.ready(&client).await;
        }
        Some(Self { verifiers, tasks, gateway, client, database, jwks, _unready: None })
    }

    /// Starts a replica again where it was.
    async fn start_again(&mut self, place: usize) {
        let address = self.tasks[place].traffic.to_string();
        self.tasks[place] = task_service(&self.database.url(), &self.jwks, Some(&address));
        self.tasks[place].ready(&self.client).await;
    }
}

fn verifier(listen: Option<&str>) -> Service {
    let listen = listen.map(|address| ("AUTH_VERIFIER_LISTEN", address));
    let variables: Vec<_> = [("BETTER_AUTH_SECRET", SECRET)].into_iter().chain(listen).collect();
    Service::start("auth-verifier", &variables)
}

fn task_service(database: &str, jwks: &str, listen: Option<&str>) -> Service {
    let listen = listen.map(|address| ("TASK_SERVICE_LISTEN", address));
    let set = [("DATABASE_URL", database), ("TASK_SERVICE_IDENTITY_JWKS_URL", jwks)];
    Service::start("task-service", &set.into_iter().chain(listen).collect::<Vec<_>>())
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_becomes_of_a_replica_no_read_fails_and_no_write_is_lost_or_made_twice() {
    let Some(mut deployment) = Deployment::start().await else { return };
    let traffic = Traffic::start(&deployment.client, &deployment.gateway.url());
    let mut all = BTreeMap::new();

    traffic.more("one of four is never ready").await;
    traffic.more("one of four is never ready").await;
    let written = traffic.written();
    assert_eq!(failed(&written), BTreeMap::new(), "what a replica never did is done elsewhere");
    assert!(!written.is_empty());
    all.extend(written);

    for place in 0..3 {
        let old = deployment.tasks.remove(place);
        let address = old.traffic.to_string();
        assert!(block_in_place(|| old.terminate()).success());
        traffic.more("one is told to stop").await;
        let new = task_service(&deployment.database.url(), &deployment.jwks, Some(&address));
        new.ready(&deployment.client).await;
        deployment.tasks.insert(place, new);
        traffic.more("it is back").await;
    }
    let written = traffic.written();
    let statuses = failed(&written);
    assert!(statuses.keys().all(|status| *status == 502), "only what was on its way: {statuses:?}");
    all.extend(written);

    deployment.tasks[0].kill();
    traffic.more("one has crashed").await;
    deployment.start_again(0).await;
    traffic.more("it was started again").await;
    let written = traffic.written();
    let statuses = failed(&written);
    assert!(statuses.values().sum::<usize>() <= WRITERS, "only what was on its way: {statuses:?}");
    all.extend(written);

    deployment.tasks[1].halt();
    let halted = Instant::now();
    while halted.elapsed() < Duration::from_secs(12) {
        traffic.more_or_failed("one hangs").await;
    }
    deployment.tasks[1].go_on();
    // What waits there is answered now, or late.
    sleep(Duration::from_secs(6)).await;
    let late = traffic.failed();
    assert!(late.iter().all(|answer| answer.starts_with("504 ")), "only what was at it: {late:?}");
    // Each reader once, until it has lost its share; then one that probes it, now and then.
    assert!(late.len() <= READERS + 4, "{late:?}");
    traffic.more("it goes on").await;
    all.extend(traffic.written());

    // The end of all that was begun.
    all.extend(traffic.end().await.1);
    all_is_as_told(&deployment.database.url(), &all).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_becomes_of_one_of_two_auth_verifiers_no_request_fails() {
    let Some(mut deployment) = Deployment::start().await else { return };
    let traffic = Traffic::start(&deployment.client, &deployment.gateway.url());
    traffic.more("before").await;
    for place in [1, 0] {
        let old = deployment.verifiers.remove(place);
        let address = old.traffic.to_string();
        assert!(block_in_place(|| old.terminate()).success());
        traffic.more("one is told to stop").await;
        let new = verifier(Some(&address));
        new.ready(&deployment.client).await;
        deployment.verifiers.insert(place, new);
        traffic.more("it is back").await;
    }
    deployment.verifiers[1].halt();
    traffic.more("one hangs").await;
    traffic.more("one hangs").await;
    deployment.verifiers[1].go_on();
    traffic.more("it goes on").await;
    deployment.verifiers[1].kill();
    traffic.more("one has crashed").await;
    let written = traffic.written();
    assert_eq!(failed(&written), BTreeMap::new(), "nor does a write, which nobody has begun");
    all_is_as_told(&deployment.database.url(), &written).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_replicas_are_asked_whether_they_are_ready_one_that_hangs_costs_no_read() {
    let Some(deployment) = Deployment::asked().await else { return };
    let traffic = Traffic::start(&deployment.client, &deployment.gateway.url());
    for place in [1, 0] {
        traffic.more("all are ready").await;
        deployment.tasks[place].halt();
        let halted = Instant::now();
        // Longer than it takes to find out.
        while halted.elapsed() < Duration::from_secs(8) {
            traffic.more("one hangs").await;
        }
        deployment.tasks[place].go_on();
    }
    traffic.more("it goes on").await;
    let (failed, written) = traffic.end().await;
    assert_eq!(failed, Vec::<String>::new());
    all_is_as_told(&deployment.database.url(), &written).await;
}

/// Asks again and again over new connections, and counts; what is reset is asked once more, as browsers do.
async fn ask_over_new_connections(address: SocketAddr, answered: Arc<AtomicUsize>, reset: Arc<AtomicUsize>) {
    loop {
        let answer = async {
            let mut stream = TcpStream::connect(address).await?;
            stream.write_all(b"GET /health HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            std::io::Result::Ok(answer)
        };
        match answer.await {
            Ok(answer) => {
                assert!(answer.starts_with("HTTP/1.1 200 "), "{answer:?}");
                answered.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "somebody listens, always");
                reset.fetch_add(1, Ordering::Relaxed);
            }
        }
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_gateway_starts_beside_the_draining_one_at_the_same_addresses() {
    let client = Client::new();
    let gateway = |at: Option<&Service>| {
        let [listen, ops] = [at.map(|at| at.traffic), at.map(|at| at.ops)]
            .map(|address| address.map_or_else(|| "127.0.0.1:0".to_owned(), |address| address.to_string()));
        Service::start(
            "gateway",
            &[
                ("GATEWAY_SERVER__REUSE_PORT", "on"),
                ("GATEWAY_SERVER__DRAIN_DELAY_SECS", "1"),
                ("GATEWAY_LISTEN", &*listen),
                ("GATEWAY_OPS_LISTEN", &*ops),
            ],
        )
    };
    let mut old = gateway(None);
    old.ready(&client).await;
    let (answered, reset) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut asking = JoinSet::new();
    for _ in 0..4 {
        asking.spawn(ask_over_new_connections(old.traffic, answered.clone(), reset.clone()));
    }
    for _ in 0..3 {
        let new = gateway(Some(&old));
        assert_eq!((new.traffic, new.ops), (old.traffic, old.ops));
        old.signal(rustix::process::Signal::TERM);
        // The old one gives its port up at once: whoever asks there is soon told of the new one.
        let (url, deadline) = (format!("http://{}/readyz", new.ops), Instant::now() + PATIENCE);
        let mut in_a_row = 0;
        while in_a_row < 20 {
            assert!(Instant::now() < deadline, "the new one alone is asked");
            in_a_row = if client.status(&url).await == Some(StatusCode::OK) { in_a_row + 1 } else { 0 };
        }
        assert!(block_in_place(|| old.wait()).success());
        let before = answered.load(Ordering::Relaxed);
        let deadline = Instant::now() + PATIENCE;
        while answered.load(Ordering::Relaxed) < before + 100 {
            assert!(Instant::now() < deadline, "the new one answers");
            sleep(Duration::from_millis(5)).await;
        }
        old = new;
    }
    // None failed; in the moment in which a socket closes, the kernel may reset a connection (net.ipv4.tcp_migrate_req).
    while let Some(ended) = asking.try_join_next() {
        ended.unwrap();
    }
    assert!(reset.load(Ordering::Relaxed) <= 3, "one each time at most: {reset:?}");
}
