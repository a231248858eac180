//! A database that sleeps while nobody asks anything, as Neon's does, and wakes for the first who does.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use chassis::settings::Switch;
use dev_postgres::{
    test::{self, TestDatabase},
    wire::{End, Mode, Wire},
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::sleep,
};
use tokio_postgres::Client;

use crate::{
    abandoned::waiting_for_a_lock,
    database::connect,
    service::{Service, eventually, settings, start_at},
};

/// Longer than Neon takes as a rule, and less than `database.acquire_timeout_ms` by default.
const WAKES_WITHIN: Duration = Duration::from_secs(2);

/// How long connections are refused while it goes to sleep.
const GOES: Duration = Duration::from_millis(500);

/// How many people ask at once.
const PEOPLE: usize = 8;

async fn service() -> Option<(Arc<Service>, Wire, TestDatabase)> {
    let database = test::database()?;
    let wire = Wire::to(&database).await;
    // As it comes, but for the time of a statement: this machine's is no measure.
    let defaults = [("TASK_SERVICE_DATABASE__ACQUIRE_TIMEOUT_MS", "5000")];
    let service = start_at(&settings(&wire.url(), &defaults)).await;
    service.store.prepare(Switch::On).await.unwrap();
    Some((Arc::new(service), wire, database))
}

/// Opens a connection for each of so many, by a lock that has them all in use at once.
pub async fn all_connected(service: &Arc<Service>, people: usize, admin: &Client, observer: &Client) {
    admin.batch_execute("begin; lock table task_service.tasks").await.unwrap();
    let reads: Vec<_> = (0..people)
        .map(|n| {
            let service = service.clone();
            tokio::spawn(async move { service.list(&format!("u{n}")).await })
        })
        .collect();
    waiting_for_a_lock(observer, people.try_into().unwrap()).await;
    admin.batch_execute("commit").await.unwrap();
    for read in reads {
        read.await.unwrap();
    }
}

/// Directly, and by way of a pooler, which is killed.
#[tokio::test]
async fn a_database_that_sleeps_costs_the_first_who_ask_a_wait_and_nobody_an_answer() {
    tokio::join!(sleeps_and_wakes(End::Told), sleeps_and_wakes(End::Closed));
}

async fn sleeps_and_wakes(end: End) {
    let Some((service, wire, database)) = service().await else { return };
    let (admin, observer) = (connect(&database.url()).await, connect(&database.url()).await);
    all_connected(&service, PEOPLE, &admin, &observer).await;
    wire.set(Mode::Refused);
    wire.end_all(end);
    let people: Vec<_> = (0..PEOPLE)
        .map(|n| {
            let service = service.clone();
            tokio::spawn(async move {
                let user = format!("u{n}");
                service.create(&user, &json!({"title": "t"})).await;
                service.list(&user).await.len()
            })
        })
        .collect();
    sleep(GOES).await;
    wire.set(Mode::Asleep(WAKES_WITHIN));
    for one in people {
        assert_eq!(one.await.unwrap(), 1, "{end:?}");
    }
    assert!(!wire.is_asleep(), "it woke up");
}

#[tokio::test]
async fn a_database_that_nobody_asks_anything_is_left_asleep() {
    let Some((service, wire, database)) = service().await else { return };
    let (admin, observer) = (connect(&database.url()).await, connect(&database.url()).await);
    for end in [End::Told, End::Closed] {
        all_connected(&service, PEOPLE, &admin, &observer).await;
        wire.set(Mode::Asleep(GOES));
        let before = wire.connections();
        wire.end_all(end);
        sleep(Duration::from_secs(1)).await;
        assert_eq!(wire.connections(), before, "{end:?}: nobody goes there");
        assert!(wire.is_asleep());
        service.list("u1").await;
    }
}

/// Who gave up has nobody try on in their place.
#[tokio::test]
async fn a_database_that_was_asked_in_vain_is_left_alone_until_somebody_asks_again() {
    let Some(database) = test::database() else { return };
    let wire = Wire::to(&database).await;
    let short = ("TASK_SERVICE_DATABASE__ACQUIRE_TIMEOUT_MS", "1000");
    let service = start_at(&settings(&wire.url(), &[short])).await;
    service.store.prepare(Switch::On).await.unwrap();
    wire.set(Mode::Cut);
    let before = wire.connections();
    service.call("u1", "GET /api/tasks").await.problem(503, "database-unavailable");
    // An attempt may be on its way.
    sleep(Duration::from_millis(500)).await;
    let tried = wire.connections();
    assert!(tried > before + 1, "it was tried again while somebody waited");
    sleep(Duration::from_secs(1)).await;
    assert_eq!(wire.connections(), tried);
    wire.set(Mode::Open);
    assert_eq!(service.list("u1").await.len(), 0, "whoever asks next is answered at once");
}

/// More ask than there are connections, and the database answers none: that is not their number's fault.
#[tokio::test]
async fn who_asks_a_database_that_is_away_is_not_told_that_it_is_busy() {
    tokio::join!(is_away(Mode::Cut), is_away(Mode::Refused), is_away(Mode::Silent));
}

async fn is_away(mode: Mode) {
    let Some(database) = test::database() else { return };
    let wire = Wire::to(&database).await;
    let others =
        [("TASK_SERVICE_DATABASE__ACQUIRE_TIMEOUT_MS", "3000"), ("TASK_SERVICE_DATABASE__POOL_MAX", "2")];
    let service = Arc::new(start_at(&settings(&wire.url(), &others)).await);
    service.store.prepare(Switch::On).await.unwrap();
    wire.set(mode);
    wire.end_all(End::Closed);
    let calls: Vec<_> = (0..20)
        .map(|n| {
            let service = service.clone();
            tokio::spawn(async move { service.call(&format!("u{n}"), "GET /api/tasks").await })
        })
        .collect();
    for call in calls {
        call.await.unwrap().problem(503, "database-unavailable");
    }
    wire.set(Mode::Open);
    eventually("it is back", async || service.call("u1", "GET /api/tasks").await.status == 200).await;
}

/// A failover: the machine with the other end of all connections is gone, and another has its name.
#[tokio::test]
async fn connections_that_fall_silent_at_once_cost_one_statements_time_and_not_one_each() {
    let Some(database) = test::database() else { return };
    let wire = Wire::to(&database).await;
    let query = ("TASK_SERVICE_DATABASE__QUERY_MS", "2000");
    let service = Arc::new(start_at(&settings(&wire.url(), &[query])).await);
    service.store.prepare(Switch::On).await.unwrap();
    let (admin, observer) = (connect(&database.url()).await, connect(&database.url()).await);
    // The others are idle.
    for in_use in [1, PEOPLE] {
        all_connected(&service, PEOPLE, &admin, &observer).await;
        wire.freeze();
        let reads: Vec<_> = (0..in_use)
            .map(|n| {
                let service = service.clone();
                tokio::spawn(async move { service.call(&format!("u{n}"), "GET /api/tasks").await.status })
            })
            .collect();
        for read in reads {
            let status = read.await.unwrap();
            assert!([200, 503].contains(&status.as_u16()), "{status}");
        }
        // From here on nobody meets one.
        let after: Vec<_> = (0..2 * PEOPLE)
            .map(|n| {
                let service = service.clone();
                tokio::spawn(async move { service.list(&format!("u{n}")).await })
            })
            .collect();
        for after in after {
            after.await.unwrap();
        }
    }
}

/// As a pooler may that has no server behind it, and keeps its clients: whoever asks whether somebody is there hears an error.
#[tokio::test]
async fn who_hears_an_error_from_a_connection_in_doubt_makes_another() {
    let Some(database) = test::database() else { return };
    let wire = Wire::to(&database).await;
    let (_, rest) =
        wire.url().split_once('@').map(|(login, rest)| (login.to_owned(), rest.to_owned())).unwrap();
    let to = rest.split('/').next().unwrap().to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = wire.url().replace(&to, &listener.local_addr().unwrap().to_string());
    let probes = Arc::new(AtomicUsize::new(0));
    tokio::spawn({
        let probes = probes.clone();
        async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&to).await.unwrap();
                tokio::spawn(refuse_probes(client, server, probes.clone()));
            }
        }
    });
    let settings = settings(
        &url,
        &[("TASK_SERVICE_DATABASE__QUERY_MS", "2000"), ("TASK_SERVICE_DATABASE__POOL_MAX", "2")],
    );
    let service = Arc::new(start_at(&settings).await);
    service.store.prepare(Switch::On).await.unwrap();
    let (admin, observer) = (connect(&database.url()).await, connect(&database.url()).await);
    all_connected(&service, 2, &admin, &observer).await;
    admin.batch_execute("begin; lock table task_service.tasks").await.unwrap();
    // From here on, the other connection is in doubt.
    assert_eq!(service.call("u1", "GET /api/tasks").await.status, 503);
    admin.batch_execute("commit").await.unwrap();
    service.list("u2").await;
    assert!((1..=2).contains(&probes.load(Ordering::SeqCst)), "{probes:?}");
}

/// Carries the bytes of a connection, and answers empty queries itself.
async fn refuse_probes(mut client: TcpStream, mut server: TcpStream, probes: Arc<AtomicUsize>) {
    let error = b"SERROR\0VERROR\0C58000\0Mcould not get a server from the pool\0\0";
    let length = u32::try_from(error.len() + 4).unwrap().to_be_bytes();
    let refusal = [b"E", &length[..], error, b"Z\0\0\0\x05I"].concat();
    let (mut asked, mut answered) = (vec![0; 65536], vec![0; 65536]);
    loop {
        tokio::select! {
            read = client.read(&mut asked) => match read.unwrap_or(0) {
                0 => return,
                read if asked[..read] == *b"Q\0\0\0\x05\0" => {
                    probes.fetch_add(1, Ordering::SeqCst);
                    client.write_all(&refusal).await.unwrap();
                }
                read => server.write_all(&asked[..read]).await.unwrap(),
            },
            read = server.read(&mut answered) => match read.unwrap_or(0) {
                0 => return,
                read => client.write_all(&answered[..read]).await.unwrap(),
            },
        }
    }
}
