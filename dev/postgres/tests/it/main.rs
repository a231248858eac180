//! The real thing: a server of whatever PostgreSQL this machine has.
#![expect(clippy::unwrap_used, reason = "a test fails where it can't go on")]

mod earlier;
mod roles;
mod root;

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use dev_postgres::{Postgres, StartError, test};
use postgres::{Client, NoTls};

/// A slow machine's patience.
const PATIENCE: Duration = Duration::from_secs(60);

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// A folder that the server's user can enter, as projects usually are.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

fn start(root: &Path) -> Option<Postgres> {
    match Postgres::start(root, &mut |_| {}) {
        Err(error @ (StartError::NotFound | StartError::Fetch(_))) => {
            test::skip(&error.to_string());
            None
        }
        started => Some(started.unwrap()),
    }
}

fn query(url: &str, statement: &str) -> Vec<String> {
    let mut client = Client::connect(url, NoTls).unwrap();
    let rows = client.query(statement, &[]).unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

fn execute(url: &str, statements: &str) {
    Client::connect(url, NoTls).unwrap().batch_execute(statements).unwrap();
}

fn answers(url: &str) -> bool {
    Client::connect(url, NoTls).is_ok()
}

/// Another process that owns a server.
struct Holder {
    process: Child,
    url: String,
}

impl Holder {
    fn spawn(root: &Path, environment: &[(&str, &str)]) -> Child {
        Command::new(env!("CARGO_BIN_EXE_dev-postgres"))
            .arg(root)
            .arg("held")
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn start(root: &Path, environment: &[(&str, &str)]) -> Self {
        let mut process = Self::spawn(root, environment);
        let mut url = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut url).unwrap();
        Self { process, url: url.trim().to_owned() }
    }

    fn kill(mut self) -> String {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.url
    }

    fn stop(mut self) -> String {
        drop(self.process.stdin.take());
        assert!(self.process.wait().unwrap().success());
        self.url
    }
}

/// The folder of the one server in `root`.
fn home(root: &Path) -> PathBuf {
    let mut entries = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
    entries.find(|path| path.is_dir()).unwrap()
}

/// The number that the server wrote down for itself.
fn server_pid(root: &Path) -> i32 {
    let file = home(root).join("data/postmaster.pid");
    fs::read_to_string(file).unwrap().lines().next().unwrap().parse().unwrap()
}

/// The processes that mention `text` in their command line.
fn processes_with(text: &str) -> Vec<String> {
    let output = Command::new("ps").args(["-A", "-ww", "-o", "pid=,args="]).output().unwrap();
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    lines.lines().filter(|line| line.contains(text)).map(str::to_owned).collect()
}

#[test]
fn rows_are_still_there_after_a_restart() {
    let root = folder();
    let Some(postgres) = start(root.path()) else { return };
    postgres.create_database("tasks").unwrap();
    postgres.create_database("tasks").unwrap();
    execute(&postgres.url("tasks"), "create table t (v text); insert into t values ('kept')");
    postgres.stop();

    let postgres = start(root.path()).unwrap();
    postgres.create_database("tasks").unwrap();
    assert_eq!(query(&postgres.url("tasks"), "select v from t"), ["kept"]);
}

#[test]
fn stopping_leaves_no_process() {
    let root = folder();
    let Some(mut postgres) = start(root.path()) else { return };
    assert!(postgres.is_running());
    let name = root.path().file_name().unwrap().to_str().unwrap();
    // The guard, its watcher, and the server itself at least.
    assert!(processes_with(name).len() >= 3);
    // A client that stays connected does not hold it up.
    let _idle = Client::connect(&postgres.superuser_url("postgres"), NoTls).unwrap();
    postgres.stop();
    assert_eq!(processes_with(name), [""; 0]);
}

#[test]
fn nobody_else_can_reach_it() {
    let root = folder();
    let Some(postgres) = start(root.path()) else { return };
    // Root's services run as users of their own, who must get to the socket; what they can do there is shown below.
    let mode = if rustix::process::geteuid().is_root() { 0o711 } else { 0o700 };
    assert_eq!(postgres.socket_dir().metadata().unwrap().permissions().mode() & 0o777, mode);
    assert_eq!(home(root.path()).join("data").metadata().unwrap().permissions().mode() & 0o777, 0o700);
    let addresses = query(&postgres.superuser_url("postgres"), "select current_setting('listen_addresses')");
    assert_eq!(addresses, [""]);
}

#[test]
fn text_is_utf8_and_sorts_by_code_point() {
    let root = folder();
    let Some(postgres) = start(root.path()) else { return };
    let url = postgres.superuser_url("postgres");
    assert_eq!(query(&url, "select current_setting('server_encoding')"), ["UTF8"]);
    assert_eq!(query(&url, "select v from (values ('a'), ('B'), ('é')) t (v) order by v"), ["B", "a", "é"]);
}

#[test]
fn a_second_process_joins_and_leaves_the_server_to_its_owner() {
    let root = folder();
    let Some(owner) = start(root.path()) else { return };
    let second = Holder::start(root.path(), &[]);
    assert_eq!(second.url, owner.url("held"));
    let url = second.stop();
    assert!(answers(&url), "the owner's server runs on");
    owner.stop();
    assert!(!answers(&url));
}

#[test]
fn two_that_start_at_once_share_one_server() {
    let root = folder();
    let started = thread::scope(|scope| {
        let start = || scope.spawn(|| start(root.path()));
        [start(), start(), start()].map(|thread| thread.join().unwrap())
    });
    if started.iter().any(Option::is_none) {
        return;
    }
    for postgres in started.iter().flatten() {
        assert!(answers(&postgres.superuser_url("postgres")));
    }
}

#[test]
fn a_parent_that_is_killed_takes_its_server_along_and_a_new_one_starts_at_once() {
    let root = folder();
    let Some(postgres) = start(root.path()) else { return };
    postgres.stop();
    let name = root.path().file_name().unwrap().to_str().unwrap().to_owned();

    let url = Holder::start(root.path(), &[]).kill();
    // No waiting: the old server may still be answering.
    let again = Holder::start(root.path(), &[]);
    assert_eq!(again.url, url);
    execute(&url, "create table t (v text)");
    // Joining a server that is about to stop would show here.
    assert!(answers(&url));

    again.kill();
    eventually("no process is left", || processes_with(&name).is_empty());
    let log = fs::read_to_string(home(root.path()).join("server.log")).unwrap();
    assert!(log.contains("received fast shutdown request"), "{log}");
    assert!(log.contains("database system is shut down"), "{log}");
}

#[test]
fn a_server_that_is_killed_is_noticed_and_starts_again_with_its_data() {
    let root = folder();
    let Some(mut postgres) = start(root.path()) else { return };
    execute(&postgres.superuser_url("postgres"), "create table t (v text); insert into t values ('kept')");
    kill(server_pid(root.path()));
    eventually("the end is noticed", || !postgres.is_running());
    postgres.stop();

    let postgres = start(root.path()).unwrap();
    assert_eq!(query(&postgres.superuser_url("postgres"), "select v from t"), ["kept"]);
}

#[test]
fn a_guard_that_is_killed_takes_its_server_along_and_the_next_one_does_not_wait() {
    let root = folder();
    let Some(mut postgres) = start(root.path()) else { return };
    execute(&postgres.superuser_url("postgres"), "create table t (v text); insert into t values ('kept')");
    let old = server_pid(root.path());
    let guard = parent_of(old);
    kill(guard);
    eventually("the end is noticed", || !postgres.is_running());
    let began = Instant::now();
    postgres.stop();

    let postgres = start(root.path()).unwrap();
    // Half of what the guard's watcher would have taken.
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!(query(&postgres.superuser_url("postgres"), "select v from t"), ["kept"]);
    assert!(!is_there(old), "two servers on the same data");
}

#[test]
fn a_server_stops_though_nobody_watches_its_leash() {
    let root = folder();
    let Some(postgres) = start(root.path()) else { return };
    let server = server_pid(root.path());
    let guard = parent_of(server);
    let watchers: Vec<_> =
        pids_and_parents().into_iter().filter(|(pid, parent)| *parent == guard && *pid != server).collect();
    assert_eq!(watchers.len(), 1);
    kill(watchers[0].0);
    postgres.stop();
    assert!(!is_there(server));
}

fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

/// Of all that live: some systems' first process takes its time to bury others.
fn pids_and_parents() -> Vec<(i32, i32)> {
    let output = Command::new("ps").args(["-A", "-o", "pid=,ppid=,stat="]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let numbers =
        |line: &str| -> Vec<i32> { line.split_whitespace().take(2).map(|n| n.parse().unwrap()).collect() };
    text.lines().filter(|line| !line.contains('Z')).map(numbers).map(|pair| (pair[0], pair[1])).collect()
}

fn parent_of(child: i32) -> i32 {
    pids_and_parents().into_iter().find(|(pid, _)| *pid == child).unwrap().1
}

fn is_there(pid: i32) -> bool {
    pids_and_parents().iter().any(|(one, _)| *one == pid)
}

#[test]
fn a_healthy_start_logs_no_error() {
    let root = folder();
    for _ in 0..2 {
        let Some(postgres) = start(root.path()) else { return };
        postgres.create_database("tasks").unwrap();
        postgres.create_database("tasks").unwrap();
        assert!(answers(&postgres.url("tasks")));
        let log = fs::read_to_string(home(root.path()).join("server.log")).unwrap();
        for word in ["ERROR", "FATAL", "PANIC", "WARNING"] {
            assert!(!log.contains(word), "{log}");
        }
    }
}

#[test]
fn the_variables_of_a_client_do_not_lead_the_server_astray() {
    let root = folder();
    let Some(postgres) = start(root.path()) else { return };
    postgres.stop();
    let held = Holder::start(
        root.path(),
        &[
            ("PGPORT", "1"),
            ("PGDATA", "/nowhere"),
            ("PGHOST", "/nowhere"),
            ("PGDATABASE", "nowhere"),
            ("PGUSER", "x"),
        ],
    );
    assert!(answers(&held.url));
    held.stop();
}

#[test]
fn what_is_left_of_an_interrupted_start_is_no_obstacle() {
    let root = folder();
    let Some(postgres) = start(root.path()) else { return };
    let home = home(root.path());
    postgres.stop();
    fs::rename(home.join("data"), home.join("data.new")).unwrap();
    fs::remove_file(home.join("data.new/PG_VERSION")).unwrap();

    let postgres = start(root.path()).unwrap();
    assert!(answers(&postgres.superuser_url("postgres")));
}

#[test]
fn a_start_that_is_killed_half_way_is_no_obstacle() {
    let other = folder();
    let Some(home) = start(other.path()).map(|_| home(other.path())) else { return };
    let root = folder();
    let mut killed = Holder::spawn(root.path(), &[]);
    let fresh = root.path().join(home.file_name().unwrap()).join("data.new");
    eventually("initdb runs", || fresh.exists());
    killed.kill().unwrap();
    killed.wait().unwrap();

    let postgres = start(root.path()).unwrap();
    assert!(answers(&postgres.superuser_url("postgres")));
}

#[test]
fn a_lock_file_from_before_a_crash_is_no_obstacle() {
    let root = folder();
    let Some(postgres) = start(root.path()) else { return };
    let home = home(root.path());
    postgres.stop();
    // A process that has been and gone.
    let mut gone = Command::new("true").spawn().unwrap();
    let pid = gone.id();
    gone.wait().unwrap();
    let text = format!("{pid}\n{}\n1\n5432\n{}\n\n", home.join("data").display(), home.display());
    fs::write(home.join("data/postmaster.pid"), text).unwrap();
    fs::set_permissions(home.join("data/postmaster.pid"), fs::Permissions::from_mode(0o666)).unwrap();

    let postgres = start(root.path()).unwrap();
    assert!(answers(&postgres.superuser_url("postgres")));
}

#[test]
fn a_server_that_can_not_start_shows_its_log() {
    let root = folder();
    let Some(postgres) = start(root.path()) else { return };
    let configuration = home(root.path()).join("data/postgresql.conf");
    postgres.stop();
    fs::write(configuration, "shared_buffers = none\n").unwrap();

    let error = Postgres::start(root.path(), &mut |_| {}).unwrap_err();
    assert!(matches!(error, StartError::Ended(_)), "{error}");
    assert!(error.to_string().contains("shared_buffers"), "{error}");
}

#[test]
fn a_temporary_server_leaves_nothing_behind() {
    let postgres = match Postgres::temporary(&mut |_| {}) {
        Err(error @ (StartError::NotFound | StartError::Fetch(_))) => return test::skip(&error.to_string()),
        started => started.unwrap(),
    };
    let home = postgres.socket_dir().to_owned();
    assert!(answers(&postgres.superuser_url("postgres")));
    postgres.stop();
    assert!(!home.exists());
}

#[test]
fn each_test_has_a_database_of_its_own() {
    let Some(one) = test::database() else { return };
    let Some(two) = test::database() else { return };
    assert_ne!(one.url(), two.url());
    execute(&one.url(), "create table t ()");
    execute(&two.url(), "create table t ()");

    let url = one.url();
    let _connected = Client::connect(&url, NoTls).unwrap();
    drop(one);
    assert!(!answers(&url), "the database went with its test");
}

#[test]
fn a_test_database_can_be_had_inside_of_a_runtime() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        drop(test::database());
    });
}

#[test]
fn a_test_process_that_ends_takes_its_server_along() {
    let Some(database) = test::database() else { return };
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "each_test_has_a_database_of_its_own", "--nocapture"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(child.wait().unwrap().success(), "{said}");
    let homes = format!("dev-postgres-{}-", child.id());
    let parent = database.server().socket_dir().parent().unwrap().to_owned();
    eventually("the folder is removed", || {
        fs::read_dir(&parent)
            .unwrap()
            .all(|entry| !entry.unwrap().file_name().to_string_lossy().starts_with(&homes))
    });
    eventually("no process is left", || processes_with(&homes).is_empty());
}
