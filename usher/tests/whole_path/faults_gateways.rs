//! Two gateways behind a balancer, one of which is replaced, crashes, or hangs, while people read and write.
//!
//! The balancer is HAProxy, set up as one would for that: it asks each gateway's ops port whether it is ready, and sends a GET again
//! elsewhere that got no answer. What may fail: a write that was at a gateway when that crashed or hung; its client is told 502, 503
//! or 504 by HAProxy, without `Retry-After`, or nothing: HAProxy closes a client's kept connection where a server's has broken. What may not: any read, and a write while a gateway is replaced. And no write is done twice, none is lost
//! that was acknowledged.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    process::{Child, Command, Stdio},
    time::Duration,
};

use dev_postgres::test::{self, TestDatabase, skip};
use tempfile::TempDir;
use tokio::{
    task::{block_in_place, spawn_blocking},
    time::{Instant, sleep},
};

use crate::{
    traffic::{Traffic, WRITERS, all_is_as_told, failed},
    world::{Client, PATIENCE, SECRET, Service},
};

/// HAProxy before two gateways; it ends with this.
struct HaProxy {
    address: SocketAddr,
    child: Child,
    _folder: TempDir,
}

impl HaProxy {
    /// `None` where there is none, which was said aloud.
    fn before(gateways: &[Service]) -> Option<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, folder) = (listener.local_addr().unwrap(), tempfile::tempdir().unwrap());
        let servers: Vec<_> = gateways
            .iter()
            .enumerate()
            .map(|(n, gateway)| {
                let (traffic, ops) = (gateway.traffic, gateway.ops.port());
                format!("  server gateway{n} {traffic} check port {ops} inter 200ms fall 1 rise 1\n")
            })
            .collect();
        let text = format!(
            "defaults\n  mode http\n  timeout connect 2s\n  timeout client 60s\n  timeout server 6s\n  timeout check 2s\n\
             frontend door\n  bind {address}\n  default_backend gateways\n\
             backend gateways\n  balance roundrobin\n  retries 3\n  option redispatch 1\n\
             \x20 retry-on conn-failure empty-response response-timeout\n  http-request disable-l7-retry if !METH_GET\n\
             \x20 option httpchk GET /readyz\n{}",
            servers.concat()
        );
        let file = folder.path().join("haproxy.cfg");
        fs::write(&file, text).unwrap();
        let path = format!("{}:/usr/sbin", std::env::var("PATH").unwrap());
        drop(listener);
        let child = Command::new("haproxy")
            .env("PATH", path)
            .arg("-q")
            .arg("-f")
            .arg(&file)
            .stdin(Stdio::null())
            .spawn();
        match child {
            Ok(child) => Some(Self { address, child, _folder: folder }),
            Err(error) => {
                skip(&format!("haproxy: {error}; it is in every distribution's packages"));
                None
            }
        }
    }
}

impl Drop for HaProxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Deployment {
    gateways: Vec<Service>,
    proxy: HaProxy,
    client: Client,
    database: TestDatabase,
    tasks: Service,
    verifier: Service,
}

impl Deployment {
    /// `None` where there is no PostgreSQL or no HAProxy, which was said aloud.
    async fn start() -> Option<Self> {
        let database = spawn_blocking(test::database).await.unwrap()?;
        let client = Client::new();
        let verifier = Service::start("auth-verifier", &[("BETTER_AUTH_SECRET", SECRET)]);
        let jwks = format!("{}/.well-known/jwks.json", verifier.url());
        let tasks = [("DATABASE_URL", &*database.url()), ("TASK_SERVICE_IDENTITY_JWKS_URL", &jwks)];
        let tasks = Service::start("task-service", &tasks);
        let gateways: Vec<_> = (0..2).map(|_| gateway(&verifier, &tasks, None)).collect();
        for service in gateways.iter().chain([&verifier, &tasks]) {
            service.ready(&client).await;
        }
        let proxy = HaProxy::before(&gateways)?;
        let deployment = Self { gateways, proxy, client, database, tasks, verifier };
        let deadline = Instant::now() + PATIENCE;
        while deployment
            .client
            .status(&format!("{}/health", deployment.url()))
            .await
            .is_none_or(|status| status != 200)
        {
            assert!(Instant::now() < deadline, "HAProxy answers");
            sleep(Duration::from_millis(20)).await;
        }
        Some(deployment)
    }

    fn url(&self) -> String {
        format!("http://{}", self.proxy.address)
    }

    /// Starts a gateway where that one was, and waits until HAProxy has seen that it is ready.
    async fn start_again(&mut self, place: usize) {
        let new = gateway(&self.verifier, &self.tasks, Some(&self.gateways[place]));
        new.ready(&self.client).await;
        self.gateways[place] = new;
    }
}

fn gateway(verifier: &Service, tasks: &Service, at: Option<&Service>) -> Service {
    let [listen, ops] = [at.map(|at| at.traffic), at.map(|at| at.ops)]
        .map(|address| address.map_or_else(|| "127.0.0.1:0".to_owned(), |address| address.to_string()));
    let variables = [
        ("GATEWAY_LISTEN", &*listen),
        ("GATEWAY_OPS_LISTEN", &*ops),
        ("GATEWAY_AUTH_VERIFIER_URL", &verifier.url()),
        ("GATEWAY_TASK_SERVICE_URL", &tasks.url()),
        // Everybody comes by the balancer's one address.
        ("GATEWAY_SERVER__TRUSTED_PROXIES", "127.0.0.1"),
        // Long enough for the balancer to see that it is not ready any more.
        ("GATEWAY_SERVER__DRAIN_DELAY_SECS", "2"),
        ("GATEWAY_VERIFIER__CONNECT_MS", "4000"),
        ("GATEWAY_VERIFIER__TIMEOUT_MS", "8000"),
    ];
    Service::start("gateway", &variables)
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_becomes_of_one_of_two_gateways_no_read_fails_and_no_write_is_lost_or_made_twice() {
    let Some(mut deployment) = Deployment::start().await else { return };
    let traffic = Traffic::start(&deployment.client, &deployment.url());
    traffic.more("before").await;

    for place in [0, 1] {
        let address = deployment.gateways[place].traffic;
        deployment.gateways[place].signal(rustix::process::Signal::TERM);
        traffic.more("one drains").await;
        assert!(block_in_place(|| deployment.gateways[place].ended()).success());
        traffic.more("one is away").await;
        deployment.start_again(place).await;
        assert_eq!(deployment.gateways[place].traffic, address);
        traffic.more("its successor is there").await;
        // HAProxy looks five times a second.
        sleep(Duration::from_secs(1)).await;
    }
    let mut all = traffic.written();
    assert_eq!(failed(&all), [].into(), "nor does a write: a gateway finishes what it has begun");

    deployment.gateways[0].kill();
    traffic.more("one has crashed").await;
    deployment.start_again(0).await;
    traffic.more("it was started again").await;
    sleep(Duration::from_secs(1)).await;
    let written = traffic.written();
    let lost = failed(&written);
    assert!(lost.values().sum::<usize>() <= WRITERS, "only what was on its way: {lost:?}");
    all.extend(written);

    deployment.gateways[1].halt();
    let halted = Instant::now();
    // Longer than HAProxy waits for an answer.
    while halted.elapsed() < Duration::from_secs(8) {
        traffic.more("one hangs").await;
    }
    deployment.gateways[1].go_on();
    traffic.more("it goes on").await;
    let written = traffic.written();
    let lost = failed(&written);
    assert!(lost.values().sum::<usize>() <= 2 * WRITERS, "only what was at it: {lost:?}");
    all.extend(written);

    // What waits at the one that hung is done now, or late.
    sleep(Duration::from_secs(1)).await;
    let (failed, written) = traffic.end().await;
    assert_eq!(failed, Vec::<String>::new());
    all.extend(written);
    all_is_as_told(&deployment.database.url(), &all).await;
}
