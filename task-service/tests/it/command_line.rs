//! The binary itself, from its first line to its last.

use std::process::Stdio;

use chassis::outbound::client::{self, FetchError};
use dev_postgres::test;
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

use crate::{
    database::{as_role, connect, owners_url},
    issuer::Issuer,
    service::{PATIENCE, eventually},
};

/// The binary, in a folder of its own, which has no `.env`, with these variables and no others.
pub fn binary(folder: &TempDir, arguments: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_task-service"));
    command
        .args(arguments)
        .current_dir(folder.path())
        .env_clear()
        // Not the default: somebody else's may be there.
        .env("TASK_SERVICE_IDENTITY_JWKS_URL", "http://127.0.0.1:1/.well-known/jwks.json")
        .envs(variables.iter().copied())
        .env("TASK_SERVICE_LISTEN", "127.0.0.1:0")
        .env("TASK_SERVICE_OPS_LISTEN", "127.0.0.1:0")
        .env("TASK_SERVICE_LOG", "json")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

/// Runs to the end: whether it went well, and what it said to people.
async fn run(arguments: &[&str], variables: &[(&str, &str)]) -> (bool, String) {
    let folder = tempfile::tempdir().unwrap();
    let output = timeout(PATIENCE, binary(&folder, arguments, variables).output()).await.unwrap().unwrap();
    (output.status.success(), String::from_utf8(output.stderr).unwrap())
}

/// What a running service has said, and what it says next.
struct Log {
    said: Vec<Value>,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Log {
    /// The first line that says this, in whichever order it came.
    async fn line(&mut self, message: &str) -> Value {
        let says = |line: &&Value| line["message"].as_str().is_some_and(|text| text.contains(message));
        if let Some(line) = self.said.iter().find(says) {
            return line.clone();
        }
        let search = async {
            while let Some(line) = self.lines.next_line().await.unwrap() {
                let line: Value = serde_json::from_str(&line).unwrap();
                self.said.push(line.clone());
                if says(&&line) {
                    return line;
                }
            }
            panic!("nobody said {message}");
        };
        timeout(PATIENCE, search).await.unwrap()
    }
}

/// A service that runs until its standard input closes.
struct Running {
    child: Child,
    log: Log,
    ops: String,
    _folder: TempDir,
}

impl Running {
    async fn start(variables: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut child = binary(&folder, &["--until-stdin-closes"], variables)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut log = Log { said: Vec::new(), lines };
        let ops = format!("http://{}", log.line("listening").await["ops"].as_str().unwrap());
        Self { child, log, ops, _folder: folder }
    }

    async fn is_ready(&self) -> bool {
        let url = format!("{}/readyz", self.ops);
        match client::fetch(&client::client(PATIENCE), &url, PATIENCE, 1000).await {
            Ok(_) => true,
            Err(FetchError::Status(status)) => {
                assert_eq!(status, 503);
                false
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// What its operator's listener says about its not being ready.
    async fn why_not(&self) -> String {
        let address = self.ops.trim_start_matches("http://").parse().unwrap();
        let probed =
            tokio::task::spawn_blocking(move || chassis::process::ops::probe(address)).await.unwrap();
        probed.unwrap_err().to_string()
    }

    async fn stop(mut self) {
        drop(self.child.stdin.take());
        let status = timeout(PATIENCE, self.child.wait()).await.unwrap().unwrap();
        assert!(status.success());
    }
}

#[tokio::test]
async fn settings_are_checked_without_a_socket_or_a_database() {
    let url = ("DATABASE_URL", "postgresql://u:hunter2@db.example.com/d");
    assert_eq!(run(&["--check"], &[url]).await, (true, String::new()));

    let (good, said) = run(&["--check"], &[]).await;
    assert!(!good && said.contains("DATABASE_URL: set it"), "{said}");
    let (good, said) = run(&["--check"], &[url, ("TASK_SERVICE_POOL", "1")]).await;
    assert!(!good && said.contains("TASK_SERVICE_POOL: is not a setting"), "{said}");
    let (good, said) = run(&[], &[("DATABASE_URL", "postgresql://u:hunter2@h/d?sslmode=disable")]).await;
    assert!(!good && said.contains("DANGEROUS_PLAINTEXT") && !said.contains("hunter2"), "{said}");
}

#[tokio::test]
async fn migrations_run_as_a_job_of_their_own() {
    let Some(database) = test::database() else { return };
    let url = database.url();
    let variables = [("DATABASE_URL", &*url), ("TASK_SERVICE_MIGRATE", "off")];
    assert_eq!(run(&["migrate"], &variables).await, (true, String::new()));
    assert_eq!(run(&["migrate"], &variables).await, (true, String::new()));
    let count = "select count(*) from task_service.tasks";
    assert_eq!(connect(&url).await.query_one(count, &[]).await.unwrap().get::<_, i64>(0), 0);

    let (good, said) = run(&["migrate"], &[("DATABASE_URL", "postgresql://u:hunter2@127.0.0.1:1/d")]).await;
    assert!(!good && said.contains("out of reach") && !said.contains("hunter2"), "{said}");
}

#[tokio::test]
async fn the_service_listens_first_and_is_ready_when_it_has_tables_and_keys() {
    let Some(database) = test::database() else { return };
    let (issuer, url) = (Issuer::start().await, database.url());
    issuer.set_up(false);
    let jwks = issuer.url.url().to_string();
    let running = Running::start(&[
        ("DATABASE_URL", &*url),
        ("TASK_SERVICE_IDENTITY_JWKS_URL", &jwks),
        ("TASK_SERVICE_MIGRATE", "off"),
    ])
    .await;
    assert!(!running.is_ready().await);
    assert!(run(&["migrate"], &[("DATABASE_URL", &*url)]).await.0);
    assert!(!running.is_ready().await, "there is no key yet");
    issuer.set_up(true);
    eventually("it is ready", async || running.is_ready().await).await;
    issuer.set_up(false);
    drop(database);
    assert!(running.is_ready().await, "an outage makes answers, not absence");
    running.stop().await;
}

#[tokio::test]
async fn what_the_role_may_not_do_is_said_to_whoever_asks_and_heard_of_without_a_restart() {
    let Some(database) = test::database() else { return };
    let owner = owners_url(&database).await;
    assert!(run(&["migrate"], &[("DATABASE_URL", &*owner)]).await.0);
    let admin = connect(&database.url()).await;
    let role = format!("waits_{}", database.url().rsplit('_').next().unwrap());
    let grants = format!(
        "create role {role} login; grant usage on schema task_service to {role};
        grant select on task_service.migrations, task_service.legacy_ids to {role};
        grant select, insert, update, delete on task_service.tasks, task_service.task_tags to {role}"
    );
    admin.batch_execute(&grants).await.unwrap();
    let mut running = Running::start(&[("DATABASE_URL", &as_role(&database.url(), &role))]).await;
    let line = running.log.line("not ready, and trying again").await;
    assert_eq!(line["level"], "ERROR");
    let lacks =
        ["select", "insert", "update", "delete"].map(|what| format!("{what} on task_service.answers"));
    let want = format!(
        "not ready: needs a change: the role {role} lacks {}; `task-service grants --serve '{role}' --migrate \
         'tasks_owner'` prints the SQL that grants it",
        lacks.join(", ")
    );
    assert_eq!(running.why_not().await, want);
    let grant = format!("grant select, insert, update, delete on task_service.answers to {role}");
    admin.batch_execute(&grant).await.unwrap();
    eventually("it waits for the keys", async || running.why_not().await.contains("auth-verifier's keys"))
        .await;
    running.stop().await;
    admin.batch_execute(&format!("drop owned by {role}; drop role {role}")).await.unwrap();
}

#[tokio::test]
async fn a_role_that_row_level_security_does_not_bind_is_warned_of() {
    let Some(database) = test::database() else { return };
    let mut running = Running::start(&[("DATABASE_URL", &database.url())]).await;
    let line = running.log.line("only each statement's own condition keeps users apart").await;
    assert_eq!(line["level"], "WARN");
    assert!(
        line["cause"].as_str().unwrap().contains("`task-service grants --serve 'task_service' --migrate"),
        "{line}"
    );
    let (client, url) = (client::client(PATIENCE), format!("{}/metrics", running.ops));
    let metrics = client::fetch(&client, &url, PATIENCE, 1 << 20).await.unwrap();
    let metrics = String::from_utf8(metrics.to_vec()).unwrap();
    assert!(metrics.contains("\nrow_level_security 0\n"), "{metrics}");
    running.stop().await;
}

#[tokio::test]
async fn a_past_that_differs_ends_the_service_with_a_sentence() {
    let Some(database) = test::database() else { return };
    let url = database.url();
    assert!(run(&["migrate"], &[("DATABASE_URL", &*url)]).await.0);
    let admin = connect(&url).await;
    admin.batch_execute("update task_service.migrations set checksum = 'another'").await.unwrap();
    for arguments in [&[][..], &["migrate"]] {
        let (good, said) = run(arguments, &[("DATABASE_URL", &*url)]).await;
        assert!(!good && said.contains("migration 1 (tasks) was applied with another content"), "{said}");
    }
}

#[tokio::test]
async fn a_database_that_is_not_there_yet_is_waited_for_and_said_to_be_away() {
    let nowhere = ("DATABASE_URL", "postgresql://u:hunter2@127.0.0.1:1/d");
    let mut running = Running::start(&[nowhere]).await;
    let line = running.log.line("not ready yet; trying again").await;
    // It may be started together with us.
    assert_eq!(line["level"], "INFO");
    assert!(line["error"].as_str().unwrap().contains("out of reach"), "{line}");
    assert!(!line.to_string().contains("hunter2"));
    assert!(!running.is_ready().await);
    assert_eq!(running.why_not().await, "not ready: waits: the database is out of reach");
    running.stop().await;
}

#[tokio::test]
async fn another_backends_tasks_are_told_of_until_they_are_taken_over() {
    let Some(database) = test::database() else { return };
    let (url, admin) = (database.url(), connect(&database.url()).await);
    let variables = [("DATABASE_URL", &*url)];
    let told = "another backend's tasks are here and were not taken over";
    let said = async || {
        let mut running = Running::start(&variables).await;
        eventually("it has looked", async || running.why_not().await.contains("auth-verifier's keys")).await;
        // Whatever it has said by then stands before its last line.
        drop(running.child.stdin.take());
        running.log.line("stopped").await;
        let lines = running.log.said.iter().filter(|line| line["message"].as_str().unwrap().contains(told));
        lines
            .map(|line| format!("{} {}", line["level"].as_str().unwrap(), line["table"].as_str().unwrap()))
            .collect::<Vec<_>>()
    };
    // What has no user, is elsewhere, or is our own is none.
    let others = "create table todo (id int, title text); create schema other; create table other.tasks (user_id text, title text)";
    admin.batch_execute(others).await.unwrap();
    assert!(said().await.is_empty());
    admin.batch_execute("create table tasks (id int, user_id text, title text)").await.unwrap();
    assert_eq!(said().await, ["INFO public.tasks"]);
    assert!(run(&["import", "--any-user", "--dry-run"], &variables).await.0);
    assert_eq!(said().await, ["INFO public.tasks"]);
    // Nothing of it could be taken.
    admin.batch_execute("insert into tasks values (1, null, 'nobody')").await.unwrap();
    assert!(run(&["import", "--any-user"], &variables).await.0);
    assert_eq!(said().await, ["INFO public.tasks"]);
    admin.batch_execute("insert into tasks values (2, 'u1', 'milk')").await.unwrap();
    assert!(run(&["import", "--any-user"], &variables).await.0);
    assert!(said().await.is_empty());
}

#[tokio::test]
async fn what_somebody_has_to_change_is_said_to_whoever_asks_without_what_is_secret() {
    let Some(database) = test::database() else { return };
    let name = database.url().rsplit_once('/').unwrap().1.to_owned();
    let missing = format!("{}_hunter2", database.url());
    let mut running = Running::start(&[("DATABASE_URL", &missing)]).await;
    let line = running.log.line("not ready, and trying again").await;
    assert_eq!(line["level"], "ERROR");
    let why = running.why_not().await;
    assert_eq!(why, "not ready: needs a change: there is no database of the name in DATABASE_URL; create it");
    // It is heard of without a restart.
    let admin = connect(&database.url()).await;
    admin.batch_execute(&format!("create database {name}_hunter2")).await.unwrap();
    running.log.line("migrated").await;
    eventually("it waits for the keys", async || {
        running.why_not().await == "not ready: waits: auth-verifier's keys (TASK_SERVICE_IDENTITY_JWKS_URL)"
    })
    .await;
    running.stop().await;
    admin.batch_execute(&format!("drop database {name}_hunter2 with (force)")).await.unwrap();
}
