//! People who read and write tasks through a gateway, while something happens to those behind it; what they were told, and whether that
//! is so.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use auth_verifier::diagnostics::dev_token;
use http::Request;
use serde_json::json;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::world::{Client, PATIENCE, SECRET};

/// How many read and how many write at once, how many of them under a key, which they repeat until it is done; and the pause of each
/// after an answer: some hundred requests a second.
pub const READERS: usize = 9;
pub const WRITERS: usize = 3;
const REPEATERS: usize = 2;
const BREATH: Duration = Duration::from_millis(20);

/// How many reads are answered between two events.
const BETWEEN: usize = 200;

/// What became of a write: its status, and whether it may be sent again.
pub type Written = (u16, bool);

/// The connection was closed, and nobody knows.
const NO_ANSWER: Written = (502, false);

/// People who read and write.
#[derive(Default)]
struct Work {
    reads: AtomicUsize,
    failed: Mutex<Vec<String>>,
    written: Mutex<BTreeMap<String, Written>>,
}

impl Work {
    async fn read(&self, client: &Client, url: &str, token: &str) {
        loop {
            let request = Request::get(format!("{url}?limit=1")).header("authorization", token);
            let Some(answer) = client.answer(request, None).await else {
                self.failed.lock().unwrap().push("no answer".to_owned());
                continue;
            };
            if answer.status != 200 {
                let again =
                    answer.headers.get("retry-after").map(|secs| format!(" ({} s)", secs.to_str().unwrap()));
                let failed =
                    format!("{}{} {}", answer.status.as_u16(), again.unwrap_or_default(), answer.body);
                self.failed.lock().unwrap().push(failed);
            }
            self.reads.fetch_add(1, Ordering::Relaxed);
            sleep(BREATH).await;
        }
    }

    async fn write(&self, client: &Client, url: &str, token: &str, writer: usize) {
        for n in 0.. {
            let title = format!("{writer}-{n}");
            let request = Request::post(url).header("authorization", token);
            let written = match client.answer(request, Some(json!({"title": &title}))).await {
                Some(answer) => (answer.status.as_u16(), answer.headers.contains_key("retry-after")),
                None => NO_ANSWER,
            };
            self.written.lock().unwrap().insert(title, written);
            sleep(BREATH).await;
        }
    }

    /// Writes under a key, again and again until it is known to be done.
    async fn write_until_done(&self, client: &Client, url: &str, token: &str, writer: usize) {
        for n in 0.. {
            let title = format!("{writer}-{n}");
            let status = loop {
                let request =
                    Request::post(url).header("authorization", token).header("idempotency-key", &title);
                let answer = client.answer(request, Some(json!({"title": &title}))).await;
                sleep(BREATH).await;
                match answer.map(|answer| answer.status.as_u16()) {
                    None | Some(409 | 502..=504) => {}
                    Some(status) => break status,
                }
            };
            self.written.lock().unwrap().insert(title, (status, false));
        }
    }
}

/// The work that goes on until this is dropped.
pub struct Traffic {
    work: Arc<Work>,
    workers: JoinSet<()>,
}

impl Traffic {
    /// Ada's, at that gateway.
    pub fn start(client: &Client, gateway: &str) -> Self {
        let work = Arc::new(Work::default());
        let mut workers = JoinSet::new();
        let token = format!("Bearer {}", dev_token::mint(SECRET, "ada", PATIENCE * 10));
        for worker in 0..READERS + WRITERS + REPEATERS {
            let (work, client, token) = (work.clone(), client.clone(), token.clone());
            let url = format!("{gateway}/api/tasks");
            workers.spawn(async move {
                if worker < READERS {
                    work.read(&client, &url, &token).await;
                } else if worker < READERS + WRITERS {
                    work.write(&client, &url, &token, worker).await;
                } else {
                    work.write_until_done(&client, &url, &token, worker).await;
                }
            });
        }
        Self { work, workers }
    }

    /// Waits until so many more reads were answered, every one of them well.
    pub async fn more(&self, when: &str) {
        self.more_or_failed(when).await;
        assert_eq!(*self.work.failed.lock().unwrap(), Vec::<String>::new(), "{when}: no read fails");
    }

    /// The same, however they were answered.
    pub async fn more_or_failed(&self, when: &str) {
        let (from, deadline) = (self.work.reads.load(Ordering::Relaxed), Instant::now() + PATIENCE);
        while self.work.reads.load(Ordering::Relaxed) < from + BETWEEN {
            assert!(Instant::now() < deadline, "{when}: reads are answered");
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// The reads that failed since this was last asked.
    pub fn failed(&self) -> Vec<String> {
        std::mem::take(&mut self.work.failed.lock().unwrap())
    }

    /// What was written since this was last asked, by how it was answered.
    pub fn written(&self) -> BTreeMap<String, Written> {
        std::mem::take(&mut self.work.written.lock().unwrap())
    }

    /// Ends it, in the midst of whatever it does: the reads that failed, and what was written, since this was last asked.
    pub async fn end(mut self) -> (Vec<String>, BTreeMap<String, Written>) {
        if let Some(ended) = self.workers.try_join_next() {
            ended.unwrap();
        }
        self.workers.shutdown().await;
        (self.failed(), self.written())
    }
}

/// Each write is in the table as often as its client was told, if it was told.
pub async fn all_is_as_told(database: &str, written: &BTreeMap<String, Written>) {
    let (client, connection) = tokio_postgres::connect(database, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    // Whoever owns the tables sees them as one user does.
    client.batch_execute("set task_service.user_id = 'ada'").await.unwrap();
    let rows = client.query("select title, count(*) from task_service.tasks group by 1", &[]).await.unwrap();
    let rows: BTreeMap<String, i64> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    for (title, (status, may_repeat)) in written {
        let times = rows.get(title).copied().unwrap_or(0);
        let right = match status {
            201 => times == 1,
            503 if *may_repeat => times == 0,
            502..=504 => times <= 1,
            _ => false,
        };
        assert!(right, "{title} was answered {status}, and is there {times} times");
    }
    assert!(rows.values().all(|times| *times == 1), "nothing is there twice");
}

/// How many writes were not done, or not certainly, by their status.
pub fn failed(written: &BTreeMap<String, Written>) -> BTreeMap<u16, usize> {
    let mut failed = BTreeMap::new();
    for (status, _) in written.values().filter(|(status, _)| *status != 201) {
        *failed.entry(*status).or_default() += 1;
    }
    failed
}
