//! What goes wrong around a service while people write: each repeats what was not answered well under the same key, as told.
//! Afterwards every write that was acknowledged is there, once.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use chassis::{Body, settings::Switch};
use dev_postgres::{
    Postgres, StartError,
    pooler::PgBouncer,
    test,
    wire::{Mode, Wire},
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::{
    task::{JoinHandle, block_in_place},
    time::sleep,
};
use tokio_postgres::{Client, error::SqlState};

use crate::{
    database::connect,
    service::{Answer, Service, eventually, settings, start_at},
};

/// How many write at once, and how much each does before and after what goes wrong.
const WRITERS: usize = 6;
const WRITES: usize = 5;

/// What goes on for longer than a statement may take, and a connection may be waited for.
const SHORT: [(&str, &str); 2] =
    [("TASK_SERVICE_DATABASE__QUERY_MS", "1000"), ("TASK_SERVICE_DATABASE__ACQUIRE_TIMEOUT_MS", "1000")];
const LONGER: Duration = Duration::from_millis(2000);

/// The pause of a client who is told to come again: shorter than told, so that the test is no longer than it must be.
const PAUSE: Duration = Duration::from_millis(50);

/// People who write under keys, until they are told to stop.
struct Writers {
    stop: Arc<AtomicBool>,
    done: Vec<Arc<AtomicUsize>>,
    refused: Arc<AtomicUsize>,
    work: Vec<JoinHandle<Vec<String>>>,
}

impl Writers {
    async fn start(service: &Arc<Service>) -> Self {
        let (stop, refused) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let done: Vec<_> = (0..WRITERS).map(|_| Arc::<AtomicUsize>::default()).collect();
        let work = done.iter().enumerate().map(|(n, done)| {
            let (service, stop, done, refused) =
                (service.clone(), stop.clone(), done.clone(), refused.clone());
            tokio::spawn(async move {
                let mut titles = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let title = format!("{n}-{}", titles.len());
                    writes(&service, &format!("u{n}"), &title, &refused).await;
                    titles.push(title);
                    done.fetch_add(1, Ordering::Relaxed);
                }
                titles
            })
        });
        let work = work.collect();
        let writers = Self { stop, done, refused, work };
        writers.go_on().await;
        writers
    }

    /// Waits until each has done some more.
    async fn go_on(&self) {
        let counts = || self.done.iter().map(|done| done.load(Ordering::Relaxed)).collect::<Vec<_>>();
        let before = counts();
        eventually("everybody's writes are done", async || {
            let ended = self.work.iter().any(JoinHandle::is_finished);
            assert!(!ended, "a writer has failed");
            counts().iter().zip(&before).all(|(now, before)| *now >= before + WRITES)
        })
        .await;
    }

    /// How many answers were refusals.
    fn refused(&self) -> usize {
        self.refused.load(Ordering::Relaxed)
    }

    /// Lets them finish what they are at, and looks whether all is as they were told.
    async fn end(self, admin: &Client) {
        self.stop.store(true, Ordering::Relaxed);
        let mut told = Vec::new();
        for work in self.work {
            told.extend(work.await.unwrap());
        }
        told.sort();
        let rows = "select title, completed, version from task_service.tasks order by title collate \"C\"";
        let rows = admin.query(rows, &[]).await.unwrap();
        let titles: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        assert_eq!(titles, told, "each is there, once, and nothing else");
        for row in rows {
            assert_eq!(
                (row.get(1), row.get(2)),
                (true, 2_i64),
                "{}: turned over once",
                row.get::<_, &str>(0)
            );
        }
    }
}

/// Makes a task and completes it by turning it over, each of which must be done once.
async fn writes(service: &Service, user: &str, title: &str, refused: &AtomicUsize) {
    let body = json!({"title": title});
    let made =
        until_done(service, user, "POST /api/tasks", &format!("make-{title}"), Some(&body), refused).await;
    assert_eq!(made.status, 201);
    let line = format!("PATCH /api/tasks/{}/complete", made.json()["id"].as_str().unwrap());
    let turned = until_done(service, user, &line, &format!("turn-{title}"), None, refused).await;
    assert_eq!(turned.json()["completed"], true, "{title}: turned over once");
}

/// Sends a write under a key again and again, as its client is told, until it is done.
async fn until_done(
    service: &Service,
    user: &str,
    line: &str,
    key: &str,
    body: Option<&Value>,
    refused: &AtomicUsize,
) -> Answer {
    loop {
        let request = service
            .request(user, line)
            .header("idempotency-key", key)
            .header("content-type", "application/json");
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        let answer = service.send(request.body(body).unwrap()).await;
        match answer.status.as_u16() {
            200 | 201 => return answer,
            409 => drop(answer.problem(409, "still-running")),
            503 => {
                refused.fetch_add(1, Ordering::Relaxed);
            }
            _ => panic!("{line}: {}", answer.text()),
        }
        sleep(PAUSE).await;
    }
}

/// A service on that database, ready.
async fn service(url: &str, others: &[(&str, &str)]) -> Arc<Service> {
    let service = start_at(&settings(url, others)).await;
    service.store.prepare(Switch::On).await.unwrap();
    Arc::new(service)
}

#[tokio::test(flavor = "multi_thread")]
async fn backends_that_are_terminated_all_the_time() {
    let Some(database) = test::database() else { return };
    let admin = connect(&database.url()).await;
    let service = service(&database.url(), &[]).await;
    let writers = Writers::start(&service).await;
    let kill = "select count(pg_terminate_backend(pid)) from pg_stat_activity
        where application_name = 'task-service' and datname = current_database()";
    let mut killed = 0;
    while killed < 60 {
        killed += admin.query_one(kill, &[]).await.unwrap().get::<_, i64>(0);
        sleep(Duration::from_millis(40)).await;
    }
    writers.go_on().await;
    writers.end(&admin).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_drops_everything_for_a_while() {
    let Some(database) = test::database() else { return };
    let wire = Wire::to(&database).await;
    let service = service(&wire.url(), &SHORT).await;
    let writers = Writers::start(&service).await;
    wire.set(Mode::Silent);
    sleep(LONGER).await;
    assert!(writers.refused() > 0, "nobody waits for ever");
    wire.set(Mode::Open);
    writers.go_on().await;
    writers.end(&connect(&database.url()).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_that_is_killed_and_started_again() {
    const CONNECTIONS: u32 = 3;
    let Some(database) = test::database() else { return };
    let start = || block_in_place(|| PgBouncer::before(&database, CONNECTIONS));
    let Some(mut pooler) = start() else { return };
    let wire = Wire::to_pooler(&pooler).await;
    let service = service(&wire.url(), &[]).await;
    let writers = Writers::start(&service).await;
    for _ in 0..3 {
        block_in_place(|| drop(pooler));
        let next = start().unwrap();
        wire.turn_to(&next);
        pooler = next;
        writers.go_on().await;
    }
    writers.end(&connect(&database.url()).await).await;
}

/// A server of the test's own.
fn server(folder: &Path) -> Option<Postgres> {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    let postgres = match block_in_place(|| Postgres::start(folder, &mut |_| {})) {
        Err(error @ (StartError::NotFound | StartError::Fetch(_))) => {
            test::skip(&error.to_string());
            return None;
        }
        started => started.unwrap(),
    };
    block_in_place(|| postgres.create_database("tasks")).unwrap();
    Some(postgres)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stands_still_in_the_midst_of_statements() {
    let folder = tempfile::tempdir().unwrap();
    let Some(postgres) = server(folder.path()) else { return };
    let admin = connect(&postgres.superuser_url("tasks")).await;
    let service = service(&postgres.url("tasks"), &SHORT).await;
    let writers = Writers::start(&service).await;
    let data: String = admin.query_one("show data_directory", &[]).await.unwrap().get(0);
    let first = fs::read_to_string(Path::new(&data).join("postmaster.pid")).unwrap();
    let postmaster = Pid::from_raw(first.lines().next().unwrap().parse().unwrap()).unwrap();
    // The one that makes others first.
    let mut stopped = Stopped(vec![postmaster]);
    kill_process(postmaster, Signal::STOP).unwrap();
    let others = admin.query("select pid from pg_stat_activity", &[]).await.unwrap();
    for other in others.iter().map(|row| Pid::from_raw(row.get(0)).unwrap()) {
        // Somebody may have ended meanwhile.
        let _ = kill_process(other, Signal::STOP);
        stopped.0.push(other);
    }
    sleep(LONGER).await;
    assert!(writers.refused() > 0, "nobody waits for ever");
    drop(stopped);
    writers.go_on().await;
    writers.end(&admin).await;
    block_in_place(|| postgres.stop());
}

/// Processes that stand still until this is dropped, the first one last.
struct Stopped(Vec<Pid>);

impl Drop for Stopped {
    fn drop(&mut self) {
        for stopped in self.0.iter().rev() {
            let _ = kill_process(*stopped, Signal::CONT);
        }
    }
}

/// A small disk, which goes with this.
struct Disk(PathBuf);

impl Disk {
    /// `None` where we may not mount one, which is said aloud.
    fn mount(folder: &Path, owner: u32) -> Option<Self> {
        let options = format!("size=3m,mode=0700,uid={owner}");
        let mut mount = Command::new("mount");
        let mounted = mount.args(["-t", "tmpfs", "-o", &options, "usher-test"]).arg(folder).output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(folder.to_owned())),
            Ok(output) => {
                test::skip(&format!(
                    "no disk may be mounted here: {}",
                    String::from_utf8_lossy(&output.stderr)
                ));
                None
            }
            Err(error) => {
                test::skip(&format!("no disk can be mounted here: {error}"));
                None
            }
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Whoever has a file open there may keep it.
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full() {
    let folder = tempfile::tempdir().unwrap();
    let Some(postgres) = server(folder.path()) else { return };
    let admin = connect(&postgres.superuser_url("tasks")).await;
    let data: String = admin.query_one("show data_directory", &[]).await.unwrap().get(0);
    let owner = fs::metadata(data).unwrap().uid();
    let small = folder.path().join("small");
    fs::create_dir(&small).unwrap();
    let Some(_disk) = Disk::mount(&small, owner) else { return block_in_place(|| postgres.stop()) };
    admin.batch_execute(&format!("create tablespace small location '{}'", small.display())).await.unwrap();
    // The role that serves has no say in it: the tables are there already.
    let service = service(&postgres.url("tasks"), &[]).await;
    admin.batch_execute("alter table task_service.tasks set tablespace small").await.unwrap();
    let writers = Writers::start(&service).await;

    admin.batch_execute("create table ballast (bytes bytea) tablespace small").await.unwrap();
    let fill = "insert into ballast select string_agg(sha512(random()::text::bytea), '') from generate_series(1, 100)";
    let full = loop {
        if let Err(error) = admin.execute(fill, &[]).await {
            break error;
        }
    };
    assert_eq!(full.code(), Some(&SqlState::DISK_FULL), "{full}");
    eventually("writes are refused", async || writers.refused() > WRITERS).await;
    // What is small may yet find a gap.
    let long = json!({"title": "t", "description": "d".repeat(1000)});
    let answer = loop {
        let answer = service.call_with("somebody", "POST /api/tasks", &long).await;
        if answer.status != 201 {
            break answer;
        }
    };
    answer.problem(503, "database-unavailable");
    assert_eq!(answer.header("retry-after"), Some("2"), "nothing was changed");
    assert!(!service.list("u1").await.is_empty(), "reading goes on");

    admin.batch_execute("drop table ballast; checkpoint").await.unwrap();
    writers.go_on().await;
    admin.batch_execute("delete from task_service.tasks where user_id = 'somebody'").await.unwrap();
    writers.end(&admin).await;
    block_in_place(|| postgres.stop());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_is_read_and_written_to_once_it_is_the_primary() {
    let folder = tempfile::tempdir().unwrap();
    let Some(postgres) = server(folder.path()) else { return };
    let admin = connect(&postgres.superuser_url("tasks")).await;
    let data: String = admin.query_one("show data_directory", &[]).await.unwrap().get(0);
    let url = postgres.url("tasks");
    let before = service(&url, &[]).await;
    let task = before.create("u1", &json!({"title": "t"})).await;
    block_in_place(|| postgres.stop());
    // Follows whoever there may be, and takes no writes.
    fs::write(Path::new(&data).join("standby.signal"), "").unwrap();
    let postgres = block_in_place(|| Postgres::start(folder.path(), &mut |_| {})).unwrap();

    let service = service(&url, &[]).await;
    assert_eq!(service.list("u1").await, std::slice::from_ref(&task), "one that starts is ready");
    for service in [&before, &service] {
        let answer = service.call_with("u1", "POST /api/tasks", &json!({"title": "n"})).await;
        answer.problem(503, "database-read-only");
    }
    let admin = connect(&postgres.superuser_url("tasks")).await;
    admin.batch_execute("select pg_promote()").await.unwrap();
    for service in [&before, &service] {
        eventually("it is written to", async || {
            service.call_with("u1", "POST /api/tasks", &json!({"title": "n"})).await.status == 201
        })
        .await;
    }
    assert_eq!(service.list("u1").await.len(), 3);
    block_in_place(|| postgres.stop());
}
