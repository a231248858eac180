//! A name behind which other replicas appear and go, while people read and write: the gateway is never started again.
//!
//! What may fail: a write that was at a replica when it was told to stop; its client is told 502. What may not: any other.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use dev_postgres::test::{self, skip};
use tempfile::TempDir;
use tokio::{
    task::{block_in_place, spawn_blocking},
    time::{Instant, sleep},
};

use crate::{
    traffic::{Traffic, WRITERS, all_is_as_told, failed},
    world::{Client, PATIENCE, SECRET, Service},
};

/// A hosts file that one process has in the place of the machine's: its names are looked up by the system's own resolver.
struct Hosts {
    folder: TempDir,
}

impl Hosts {
    /// `None` where a process can't have files of its own, which was said aloud.
    fn new() -> Option<Self> {
        let hosts = Self { folder: tempfile::tempdir().unwrap() };
        hosts.say(&[]);
        // Where nobody listens, so that no name is asked for outside of this machine.
        fs::write(hosts.file("resolv.conf"), "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n").unwrap();
        let tried = hosts.before(Path::new("true")).status();
        if tried.as_ref().is_ok_and(std::process::ExitStatus::success) {
            return Some(hosts);
        }
        skip(&format!("unshare --mount: {tried:?}; it needs Linux, and root or user namespaces"));
        None
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// From now on the name has these addresses.
    fn say(&self, addresses: &[SocketAddr]) {
        let lines = addresses.iter().map(|address| format!("{} tasks.test\n", address.ip()));
        // In place: it is this file that the process sees. A reader may see half of it, which is a shorter list.
        fs::write(self.file("hosts"), lines.collect::<String>()).unwrap();
    }

    /// A command that runs a program with it.
    fn before(&self, program: &Path) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--map-root-user", "sh", "-c"]);
        let script = "for file in hosts resolv.conf; do mount --bind \"$0/$file\" \"/etc/$file\" || exit; done; exec \"$@\"";
        command.arg(script).arg(self.folder.path()).arg(program);
        command
    }
}

/// A replica at an address of its own; all of them listen at the same port.
fn replica(database: &str, jwks: &str, last: u8, port: u16) -> Service {
    let variables = [
        ("DATABASE_URL", database),
        ("TASK_SERVICE_IDENTITY_JWKS_URL", jwks),
        ("TASK_SERVICE_LISTEN", &*format!("127.0.0.{last}:{port}")),
    ];
    Service::start("task-service", &variables)
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_come_and_go_behind_a_name_are_found_while_people_work() {
    let Some(hosts) = Hosts::new() else { return };
    let Some(database) = spawn_blocking(test::database).await.unwrap() else { return };
    let client = Client::new();
    let verifier = Service::start("auth-verifier", &[("BETTER_AUTH_SECRET", SECRET)]);
    let jwks = format!("{}/.well-known/jwks.json", verifier.url());
    let mut replicas = vec![replica(&database.url(), &jwks, 11, 0)];
    let port = replicas[0].traffic.port();
    hosts.say(&[replicas[0].traffic]);
    let variables = [
        ("GATEWAY_AUTH_VERIFIER_URL", &*verifier.url()),
        ("GATEWAY_TASK_SERVICE_URL", &*format!("http://tasks.test:{port}")),
        ("GATEWAY_UPSTREAM__RESOLVE_SECS", "1"),
        ("GATEWAY_VERIFIER__CONNECT_MS", "4000"),
        ("GATEWAY_VERIFIER__TIMEOUT_MS", "8000"),
    ];
    let gateway =
        Service::start_by(hosts.before(Path::new(env!("CARGO_BIN_EXE_usher"))), "gateway", &variables);
    for service in [&verifier, &replicas[0], &gateway] {
        service.ready(&client).await;
    }
    let traffic = Traffic::start(&client, &gateway.url());
    traffic.more("one replica").await;

    // Three new ones for the first, then each for the one before.
    for last in 12..=16 {
        let new = replica(&database.url(), &jwks, last, port);
        new.ready(&client).await;
        replicas.push(new);
        let old = (replicas.len() > 3).then(|| replicas.remove(0));
        hosts.say(&replicas.iter().map(|replica| replica.traffic).collect::<Vec<_>>());
        let newest = replicas.last().unwrap();
        serves(&client, newest, &traffic).await;
        if let Some(old) = old {
            // Its name says so first, as where replicas are replaced one by one; it serves until it is told to stop.
            assert!(block_in_place(|| old.terminate()).success());
            traffic.more("one that has no name any more has stopped").await;
        }
    }
    // All at once: none of those that were known is there any more.
    let new: Vec<_> = (21..=22).map(|last| replica(&database.url(), &jwks, last, port)).collect();
    for new in &new {
        new.ready(&client).await;
    }
    hosts.say(&new.iter().map(|replica| replica.traffic).collect::<Vec<_>>());
    for new in &new {
        serves(&client, new, &traffic).await;
    }
    for old in replicas {
        assert!(block_in_place(|| old.terminate()).success());
    }
    traffic.more("all are others").await;
    // A name that nobody knows for a while takes nothing away.
    hosts.say(&[]);
    let gone = Instant::now();
    while gone.elapsed() < Duration::from_secs(3) {
        traffic.more("the name is gone").await;
    }

    let (unread, written) = traffic.end().await;
    assert_eq!(unread, Vec::<String>::new(), "no read fails");
    let lost = failed(&written);
    assert!(lost.keys().all(|status| *status == 502), "only what was on its way: {lost:?}");
    assert!(lost.values().sum::<usize>() <= 6 * WRITERS, "{lost:?}");
    all_is_as_told(&database.url(), &written).await;
}

/// Waits until a replica is asked by the gateway, while work goes on.
async fn serves(client: &Client, replica: &Service, traffic: &Traffic) {
    let asked = async || {
        let metrics = http::Request::get(format!("http://{}/metrics", replica.ops));
        let answer = client.call(metrics, None).await;
        let metrics = answer.body.as_str().unwrap_or_default().to_owned();
        metrics.lines().any(|line| line.starts_with("http_requests_total{method=\"GET\""))
    };
    let deadline = Instant::now() + PATIENCE;
    while !asked().await {
        assert!(Instant::now() < deadline, "a new replica is found");
        sleep(Duration::from_millis(50)).await;
    }
    traffic.more("a new replica is there").await;
}
