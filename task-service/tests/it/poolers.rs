//! Behind a transaction pooler, where a statement that is asked for by its name may be somebody else's.

use std::sync::Arc;

use chassis::{Body, settings::Switch};
use dev_postgres::{
    pooler::PgBouncer,
    test::{self, TestDatabase},
};
use serde_json::json;
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::{
    abandoned::counted,
    database::connect,
    service::{Service, settings, start_at},
};

/// Replicas at one time, and how often they are all replaced.
const REPLICAS: usize = 4;
const ROUNDS: usize = 5;

/// What each of them is asked, a few times over.
const REPEATS: usize = 6;

/// Connections of the pooler: fewer than it has clients, so that they are handed about.
const CONNECTIONS: u32 = 3;

async fn replica(url: &str, named: &str) -> Service {
    let others =
        [("TASK_SERVICE_DATABASE__POOL_MAX", "4"), ("TASK_SERVICE_DATABASE__NAMED_STATEMENTS", named)];
    let service = start_at(&settings(url, &others)).await;
    service.store.prepare(Switch::On).await.unwrap();
    service
}

/// Everything that can be asked, each answer checked against what was asked. Statements come in another order in each
/// replica, so that whatever they are called, they are not called the same.
async fn asks_everything(service: Arc<Service>, number: usize) {
    let user = format!("u{number}");
    let kept = service.create(&user, &json!({"title": "kept"})).await;
    let kept_line = format!("/api/tasks/{}", kept["id"].as_str().unwrap());
    for turn in 0..REPEATS {
        for kind in 0..7 {
            match (kind + number) % 7 {
                0 => {
                    let answer = service.call(&user, &format!("GET {kept_line}")).await;
                    assert_eq!(answer.json()["id"], kept["id"]);
                }
                1 => {
                    let title = format!("new {turn}");
                    let made = service.create(&user, &json!({"title": title})).await;
                    assert_eq!((&made["title"], &made["user_id"]), (&json!(title), &json!(user)));
                    let line = format!("DELETE /api/tasks/{}", made["id"].as_str().unwrap());
                    assert_eq!(service.call(&user, &line).await.status, 204);
                    assert_eq!(service.call(&user, &line).await.status, 404);
                }
                2 => {
                    let line = format!("PATCH {kept_line}/complete");
                    let answer = service.call_with(&user, &line, &json!({"completed": turn % 2 == 0})).await;
                    assert_eq!(answer.json()["completed"], turn % 2 == 0);
                }
                3 => {
                    let title = format!("kept {turn}");
                    let body = json!({"title": title});
                    let answer = service.call_with(&user, &format!("PUT {kept_line}"), &body).await;
                    assert_eq!(answer.json()["title"], title);
                }
                4 => {
                    let tasks = service.list(&user).await;
                    assert_eq!(tasks.len(), 1, "{tasks:?}");
                    assert_eq!(tasks[0]["id"], kept["id"]);
                }
                5 => {
                    let line = format!("PATCH {kept_line}/complete");
                    let before =
                        service.call(&user, &format!("GET {kept_line}")).await.json()["completed"].clone();
                    for _ in 0..2 {
                        let request = service
                            .request(&user, &line)
                            .header("idempotency-key", format!("{turn}-{number}-{}", kept["id"]));
                        let answer = service.send(request.body(Body::empty()).unwrap()).await;
                        assert_ne!(answer.json()["completed"], before, "turned over once");
                    }
                }
                _ => {
                    for sort in ["title", "created_at", "updated_at", "due_date", "priority"] {
                        for order in ["asc", "desc"] {
                            let line = format!("GET /api/tasks?sort={sort}&order={order}");
                            let answer = service.call(&user, &line).await;
                            assert_eq!(answer.status, 200, "{}", answer.text());
                            assert_eq!(answer.json()[0]["id"], kept["id"]);
                        }
                    }
                }
            }
        }
    }
    assert_eq!(service.call(&user, &format!("DELETE {kept_line}")).await.status, 204);
}

#[tokio::test]
async fn behind_a_pooler_every_answer_is_that_of_its_own_question() {
    rolls_out("off").await;
}

/// What the setting relies on does not hold there; the service notices, nothing is mixed up, and nobody is told.
#[tokio::test]
async fn names_that_a_pooler_does_not_track_are_given_up_without_harm() {
    rolls_out("on").await;
}

async fn rolls_out(named: &str) {
    let Some(database) = test::database() else { return };
    let Some(pooler) = PgBouncer::before(&database, CONNECTIONS) else { return };
    for round in 0..ROUNDS {
        // Each round is a roll-out: others, who know nothing of what their predecessors have left in the pooler.
        let mut asked = Vec::new();
        for number in 0..REPLICAS {
            let service = Arc::new(replica(&pooler.url(), named).await);
            asked.push(tokio::spawn(asks_everything(service, number + round)));
        }
        for asked in asked {
            asked.await.unwrap();
        }
    }
    let admin = connect(&database.url()).await;
    let left: i64 = admin.query_one("select count(*) from task_service.tasks", &[]).await.unwrap().get(0);
    assert_eq!(left, 0, "each was deleted, and by its own");
}

/// Two connections of a pooler, in one of which somebody else has prepared a statement under every name that we might
/// use. Whoever has the clean one in use leaves the other to us.
async fn planted(
    database: &TestDatabase,
    pooler: &PgBouncer,
    statement: impl Fn(usize) -> &'static str,
) -> Client {
    const NAMES: usize = 3000;
    let (clean, other) = (connect(&pooler.url()).await, connect(&pooler.url()).await);
    clean.batch_execute("begin").await.unwrap();
    // The driver counts in this process, whoever asks.
    let direct = connect(&database.url()).await;
    let _ours = direct.prepare("select 1").await.unwrap();
    let names = direct.simple_query("select substr(max(name), 2) from pg_prepared_statements").await.unwrap();
    let SimpleQueryMessage::Row(row) = &names[1] else { panic!("no row") };
    let first: usize = row.get(0).unwrap().parse().unwrap();
    let planting: Vec<_> =
        (first + 1..first + NAMES).map(|n| format!("prepare s{n} {}", statement(n))).collect();
    other.batch_execute(&planting.join(";")).await.unwrap();
    clean.batch_execute("commit").await.unwrap();
    clean
}

/// What another process has left in the pooler: here, what looks like the reading of a task and deletes it.
#[tokio::test]
async fn what_others_have_left_in_a_pooler_is_never_run_in_the_place_of_a_statement() {
    let Some(database) = test::database() else { return };
    let Some(pooler) = PgBouncer::before(&database, 2) else { return };
    let service = replica(&pooler.url(), "off").await;
    let task = service.create("u1", &json!({"title": "kept"})).await;
    let line = format!("GET /api/tasks/{}", task["id"].as_str().unwrap());
    let deletes = "(text, uuid) as delete from task_service.tasks where user_id = $1 and id = $2
        returning id, user_id, title, description, completed, priority, due_date, tags, created_at, updated_at";
    let clean = planted(&database, &pooler, |_| deletes).await;
    for _ in 0..20 {
        // What is prepared in the one is executed in the other.
        let first = service.call("u1", &line).await;
        clean.batch_execute("begin").await.unwrap();
        let second = service.call("u1", &line).await;
        clean.batch_execute("commit").await.unwrap();
        for answer in [first, second] {
            assert_eq!(answer.status, 200, "{}", answer.text());
            assert_eq!(answer.json(), task);
        }
    }
    assert_eq!(service.list("u1").await, [task]);
}

/// Somebody was told that names are safe, where they are not: what comes is another's tasks, by another statement.
#[tokio::test]
async fn an_answer_that_says_that_another_statement_ran_is_not_believed() {
    const FOREIGN: &str = "database_foreign_answers_total";
    let Some(database) = test::database() else { return };
    // What looks as if it told the owner, and tells nobody.
    let tells = "(text, text, text) as select 'owner.set' as ran, true as found, $3 as owner";
    let lists = "(text, text, boolean, smallint, text, text, text, bigint, bigint) as
        select 'task.list.of.all' as ran, true as found, id, user_id, title, description, completed, priority, due_date,
            tags, created_at, updated_at, due_day, version from task_service.tasks";
    // The names of both must be those that ours get; which those are depends on the tests beside this one.
    for _ in 0..50 {
        let Some(pooler) = PgBouncer::before(&database, 2) else { return };
        let service = replica(&pooler.url(), "on").await;
        let admin = connect(&database.url()).await;
        let task =
            "insert into task_service.tasks (user_id, id, title) values ('u2', gen_random_uuid(), 'secret')";
        admin.batch_execute(task).await.unwrap();
        let clean = planted(&database, &pooler, |n| if n % 2 == 0 { tells } else { lists }).await;
        let before = counted(FOREIGN);
        assert_eq!(service.list("u1").await.len(), 0);
        clean.batch_execute("begin").await.unwrap();
        assert_eq!(service.list("u1").await.len(), 0);
        clean.batch_execute("commit").await.unwrap();
        if counted(FOREIGN) > before || pooler.tracks() {
            return;
        }
    }
    panic!("it was tried");
}

/// The same write, sent to two replicas at one time, each with its own way through the pooler.
#[tokio::test(flavor = "multi_thread")]
async fn behind_a_pooler_what_two_replicas_are_asked_under_one_key_is_done_once() {
    const KEYS: usize = 20;
    let Some(database) = test::database() else { return };
    let Some(pooler) = PgBouncer::before(&database, CONNECTIONS) else { return };
    for named in ["off", "on"] {
        let replicas =
            [replica(&pooler.url(), named).await, replica(&pooler.url(), named).await].map(Arc::new);
        let user = format!("raced-{named}");
        let turned = replicas[0].create(&user, &json!({"title": "turned"})).await;
        let turned = format!("PATCH /api/tasks/{}/complete", turned["id"].as_str().unwrap());
        for key in 0..KEYS {
            for (line, body) in
                [("POST /api/tasks", Some(json!({"title": format!("{key}")}))), (&*turned, None)]
            {
                let asked: Vec<_> = replicas
                    .iter()
                    .chain(&replicas)
                    .map(|service| {
                        let request = service
                            .request(&user, line)
                            .header("idempotency-key", format!("{}-{key}", body.is_some()))
                            .header("content-type", "application/json");
                        let body =
                            body.as_ref().map_or_else(Body::empty, |body| Body::from(body.to_string()));
                        let (service, request) = (service.clone(), request.body(body).unwrap());
                        tokio::spawn(async move { service.send(request).await })
                    })
                    .collect();
                let mut told = Vec::new();
                for asked in asked {
                    let answer = asked.await.unwrap();
                    match answer.status.as_u16() {
                        200 | 201 => told.push((answer.status, answer.json())),
                        _ => drop(answer.problem(409, "still-running")),
                    }
                }
                assert!(!told.is_empty(), "one of them did it");
                assert!(told.windows(2).all(|told| told[0] == told[1]), "all hear the same: {told:?}");
            }
        }
        let tasks = replicas[1].list(&user).await;
        assert_eq!(tasks.len(), KEYS + 1, "each was made once");
        assert_eq!(tasks[KEYS]["completed"], KEYS % 2 == 1);
        let admin = connect(&database.url()).await;
        let version = "select version from task_service.tasks where user_id = $1 and title = 'turned'";
        let version: i64 = admin.query_one(version, &[&user]).await.unwrap().get(0);
        assert_eq!(version, 1 + i64::try_from(KEYS).unwrap(), "turned over once for each key");
    }
}
