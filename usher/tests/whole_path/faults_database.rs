//! PostgreSQL is stopped and started again, and crashes, while people read and write.
//!
//! What may fail: whatever is asked while the database is away. Reads are answered 503 with `Retry-After` then, and no other way; a write
//! that was at the database when that went, whose outcome nobody knows, with a 5xx that doesn't ask for it again. What may not: a write that was
//! acknowledged is there, once; one that may be sent again is not there; and when the database is back, nobody has to do anything.

use std::{fs, path::Path, time::Duration};

use dev_postgres::{Postgres, test};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    task::{block_in_place, spawn_blocking},
    time::{Instant, sleep},
};

use crate::{
    traffic::{READERS, Traffic, all_is_as_told},
    world::{Client, PATIENCE, SECRET, Service},
};

const DATABASE: &str = "tasks";

/// Long enough for those who read to ask again and again.
const AWAY: Duration = Duration::from_secs(4);

fn start(folder: &Path) -> Postgres {
    Postgres::start(&folder.join("data"), &mut |_| {}).unwrap()
}

/// Ends it as a crash would: nothing is written that was not written.
async fn crash(postgres: &mut Postgres) {
    let url = postgres.superuser_url("postgres");
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    let folder: String = client.query_one("show data_directory", &[]).await.unwrap().get(0);
    let first = fs::read_to_string(Path::new(&folder).join("postmaster.pid")).unwrap();
    let pid = Pid::from_raw(first.lines().next().unwrap().parse().unwrap()).unwrap();
    kill_process(pid, Signal::QUIT).unwrap();
    let _ = connection.await;
    let deadline = Instant::now() + PATIENCE;
    while postgres.is_running() {
        assert!(Instant::now() < deadline, "it ends");
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_database_is_away_for_a_while_nothing_is_lost_and_everybody_is_told() {
    // Whether there is one at all; what is to be stopped is none that others use.
    if spawn_blocking(test::database).await.unwrap().is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut postgres = block_in_place(|| start(folder.path()));
    block_in_place(|| postgres.create_database(DATABASE)).unwrap();
    let url = postgres.url(DATABASE);
    let client = Client::new();
    let verifier = Service::start("auth-verifier", &[("BETTER_AUTH_SECRET", SECRET)]);
    let jwks = format!("{}/.well-known/jwks.json", verifier.url());
    let tasks = [("DATABASE_URL", &*url), ("TASK_SERVICE_IDENTITY_JWKS_URL", &jwks)];
    let tasks: Vec<_> = (0..2).map(|_| Service::start("task-service", &tasks)).collect();
    let gateway = [
        ("GATEWAY_AUTH_VERIFIER_URL", &*verifier.url()),
        ("GATEWAY_TASK_SERVICE_URL", &*tasks.iter().map(Service::url).collect::<Vec<_>>().join(",")),
        ("GATEWAY_VERIFIER__CONNECT_MS", "4000"),
        ("GATEWAY_VERIFIER__TIMEOUT_MS", "8000"),
    ];
    let gateway = Service::start("gateway", &gateway);
    for service in tasks.iter().chain([&verifier, &gateway]) {
        service.ready(&client).await;
    }
    let traffic = Traffic::start(&client, &gateway.url());
    traffic.more("before").await;

    for crashes in [false, true] {
        if crashes {
            crash(&mut postgres).await;
        }
        // Of one that has crashed, the lock.
        block_in_place(|| postgres.stop());
        let (gone, mut told) = (Instant::now(), traffic.failed());
        while gone.elapsed() < AWAY || told.len() < 2 * READERS {
            assert!(gone.elapsed() < PATIENCE, "whoever reads is told: {told:?}");
            sleep(Duration::from_millis(20)).await;
            told.extend(traffic.failed());
        }
        let wrong: Vec<_> = told.iter().filter(|told| !told.starts_with("503 (")).collect();
        assert!(wrong.is_empty(), "whoever reads is asked to come again: {wrong:?}");
        postgres = block_in_place(|| start(folder.path()));
        recovered(&traffic).await;
        traffic.more("the database is back").await;
    }

    let (unread, written) = traffic.end().await;
    assert_eq!(unread, Vec::<String>::new());
    assert!(written.values().any(|(status, _)| *status == 201), "some was written");
    all_is_as_told(&url, &written).await;
    block_in_place(|| postgres.stop());
}

/// Waits until no read fails any more.
async fn recovered(traffic: &Traffic) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        traffic.more_or_failed("the database is back").await;
        let told = traffic.failed();
        let wrong: Vec<_> = told.iter().filter(|told| !told.starts_with("503 (")).collect();
        assert!(wrong.is_empty(), "{wrong:?}");
        if told.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "they are back without help: {told:?}");
    }
}
