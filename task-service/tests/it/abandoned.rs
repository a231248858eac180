//! Requests that are given up half-way: what they leave behind, and for whom.

use std::{sync::Arc, time::Duration};

use chassis::settings::Switch;
use dev_postgres::{pooler::PgBouncer, test};
use http::StatusCode;
use serde_json::{Value, json};
use tokio::{task::JoinHandle, time::timeout};
use tokio_postgres::Client;

use crate::{
    database::{Wire, connect},
    service::{Answer, PATIENCE, Service, eventually, settings, start_at, swept},
};

/// How long a client waits before it goes: the gateway's own patience with a verdict.
const CLIENTS_PATIENCE: Duration = Duration::from_millis(500);

/// A service on a database of its own, which has swept, and a connection for its superuser.
pub async fn service(others: &[(&str, &str)]) -> Option<(Arc<Service>, Client)> {
    let database = test::database()?;
    let admin = connect(&database.url()).await;
    let mut service = start_at(&settings(&database.url(), others)).await;
    service.database = Some(database);
    service.store.prepare(Switch::On).await.unwrap();
    swept(&service, &admin).await;
    Some((Arc::new(service), admin))
}

fn path(task: &Value) -> String {
    format!("/api/tasks/{}", task["id"].as_str().unwrap())
}

/// Sends a request without waiting for its answer.
fn send(service: &Arc<Service>, user: &str, line: String) -> JoinHandle<Answer> {
    let (service, user) = (service.clone(), user.to_owned());
    tokio::spawn(async move { service.call(&user, &line).await })
}

/// Waits until so many of the service's statements wait for a lock.
pub async fn waiting_for_a_lock(admin: &Client, count: i64) {
    // Not by `wait_event`: who has waited for a second looks for a deadlock, and waits for nothing meanwhile.
    let waiting = "select count(*) from pg_stat_activity
        where application_name = 'task-service' and datname = current_database()
            and exists (select from pg_locks where pg_locks.pid = pg_stat_activity.pid and not granted)";
    eventually("the statements wait for a lock", async || {
        admin.query_one(waiting, &[]).await.unwrap().get::<_, i64>(0) == count
    })
    .await;
}

/// Gives a request up.
async fn give_up(request: JoinHandle<Answer>) {
    request.abort();
    assert!(request.await.unwrap_err().is_cancelled());
}

/// What is counted under this name and these labels. Other tests of this process count too.
pub fn counted(series: &str) -> f64 {
    let text = chassis::telemetry::metrics().render();
    let line = text.lines().find_map(|line| line.strip_prefix(series));
    line.map_or(0.0, |value| value.trim().parse().unwrap())
}

async fn version(admin: &Client) -> i64 {
    admin.query_one("select version from task_service.tasks where user_id = 'u1'", &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn a_write_that_is_given_up_keeps_nobody_else_waiting_and_is_finished() {
    const DONE: &str = "database_statements_abandoned_total{idempotency=\"not_idempotent\",outcome=\"done\"}";
    let before = counted(DONE);
    let Some((service, admin)) = service(&[("TASK_SERVICE_DATABASE__POOL_MAX", "2")]).await else { return };
    let task = service.create("u1", &json!({"title": "t"})).await;
    admin.batch_execute("begin; select from task_service.tasks for update").await.unwrap();
    let observer = connect(&service.database.as_ref().unwrap().url()).await;
    let write = send(&service, "u1", format!("PATCH {}/complete", path(&task)));
    waiting_for_a_lock(&observer, 1).await;
    give_up(write).await;
    for _ in 0..20 {
        assert_eq!(service.list("u2").await.len(), 0, "the other connection is another's to use");
    }
    // It was sent, so it is carried out: half of a request is not half of a write.
    admin.batch_execute("commit").await.unwrap();
    eventually("the write is done", async || version(&admin).await == 2).await;
    assert_eq!(service.list("u1").await[0]["completed"], true);
    eventually("it is accounted for", async || counted(DONE) > before).await;
}

#[tokio::test]
async fn a_write_that_is_given_up_is_cancelled_when_its_time_is_over() {
    let others = [("TASK_SERVICE_DATABASE__POOL_MAX", "2"), ("TASK_SERVICE_DATABASE__QUERY_MS", "1000")];
    let Some((service, admin)) = service(&others).await else { return };
    let task = service.create("u1", &json!({"title": "t"})).await;
    admin.batch_execute("begin; select from task_service.tasks for update").await.unwrap();
    let observer = connect(&service.database.as_ref().unwrap().url()).await;
    let write = send(&service, "u1", format!("PATCH {}/complete", path(&task)));
    waiting_for_a_lock(&observer, 1).await;
    give_up(write).await;
    waiting_for_a_lock(&observer, 0).await;
    admin.batch_execute("commit").await.unwrap();
    assert_eq!(service.list("u1").await, [task], "nothing waits for the lock any more, and nothing was done");
}

#[tokio::test]
async fn a_read_that_is_given_up_is_cancelled() {
    let Some((service, admin)) = service(&[("TASK_SERVICE_DATABASE__POOL_MAX", "2")]).await else { return };
    let task = service.create("u1", &json!({"title": "t"})).await;
    admin.batch_execute("begin; lock table task_service.tasks").await.unwrap();
    let observer = connect(&service.database.as_ref().unwrap().url()).await;
    for _ in 0..3 {
        let read = send(&service, "u1", "GET /api/tasks".into());
        waiting_for_a_lock(&observer, 1).await;
        give_up(read).await;
        waiting_for_a_lock(&observer, 0).await;
    }
    admin.batch_execute("commit").await.unwrap();
    for _ in 0..20 {
        assert_eq!(
            service.list("u1").await,
            std::slice::from_ref(&task),
            "no cancellation meets another's statement"
        );
    }
}

#[tokio::test]
async fn clients_that_give_up_cost_others_no_more_than_clients_that_wait() {
    let Some((service, admin)) = service(&[("TASK_SERVICE_DATABASE__POOL_MAX", "4")]).await else { return };
    let task = service.create("u1", &json!({"title": "t"})).await;
    let observer = connect(&service.database.as_ref().unwrap().url()).await;
    for gives_up in [true, false] {
        admin.batch_execute("begin; select from task_service.tasks for update").await.unwrap();
        let writes: Vec<_> =
            (0..8).map(|_| send(&service, "u1", format!("PATCH {}/complete", path(&task)))).collect();
        // Half of the connections are as many as one user may have.
        waiting_for_a_lock(&observer, 2).await;
        let mut patient = Vec::new();
        for write in writes {
            if gives_up { give_up(write).await } else { patient.push(write) }
        }
        for _ in 0..12 {
            assert_eq!(service.list("u2").await.len(), 0);
        }
        admin.batch_execute("commit").await.unwrap();
        for write in patient {
            assert_eq!(write.await.unwrap().status, StatusCode::OK);
        }
        waiting_for_a_lock(&observer, 0).await;
    }
}

#[tokio::test]
async fn who_has_all_of_their_share_in_use_waits_for_themselves_and_is_told_so() {
    let others =
        [("TASK_SERVICE_DATABASE__POOL_MAX", "2"), ("TASK_SERVICE_DATABASE__ACQUIRE_TIMEOUT_MS", "1000")];
    let Some((service, admin)) = service(&others).await else { return };
    let task = service.create("u1", &json!({"title": "t"})).await;
    let observer = connect(&service.database.as_ref().unwrap().url()).await;
    admin.batch_execute("begin; select from task_service.tasks for update").await.unwrap();
    let abandoned = send(&service, "u1", format!("PATCH {}/complete", path(&task)));
    waiting_for_a_lock(&observer, 1).await;
    give_up(abandoned).await;
    let answer = service.call("u1", "GET /api/tasks").await;
    answer.problem(503, "busy");
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(service.list("u2").await.len(), 0);
    admin.batch_execute("commit").await.unwrap();
    eventually("the share is free again", async || service.call("u1", "GET /api/tasks").await.status == 200)
        .await;
}

#[tokio::test]
async fn connections_that_fall_silent_are_found_out_although_nobody_waits_for_them() {
    const LOST: &str = "database_connections_lost_total{how=\"silent\"}";
    let before = counted(LOST);
    let Some(database) = test::database() else { return };
    let wire = Wire::to(&database).await;
    let service = start_at(&settings(&wire.url(), &[("TASK_SERVICE_DATABASE__POOL_MAX", "4")])).await;
    service.store.prepare(Switch::On).await.unwrap();
    let service = Arc::new(service);
    // Some to fall silent: a lock has them all in use at once.
    let (admin, observer) = (connect(&database.url()).await, connect(&database.url()).await);
    admin.batch_execute("begin; lock table task_service.tasks").await.unwrap();
    let reads: Vec<_> = (0..4).map(|n| send(&service, &format!("u{n}"), "GET /api/tasks".into())).collect();
    waiting_for_a_lock(&observer, 4).await;
    admin.batch_execute("commit").await.unwrap();
    for read in reads {
        assert_eq!(read.await.unwrap().status, StatusCode::OK);
    }

    wire.freeze();
    let mut failed = 0;
    let answered = async {
        while timeout(CLIENTS_PATIENCE, service.list("u1")).await.is_err() {
            failed += 1;
        }
    };
    timeout(PATIENCE, answered).await.expect("somebody is answered although nobody waits for long");
    assert!(failed < 20, "{failed} failed one after another");
    for _ in 0..20 {
        service.list("u1").await;
    }
    assert_eq!(service.list("u2").await.len(), 0);
    eventually("they are counted", async || counted(LOST) > before).await;
}

#[tokio::test]
async fn who_waits_for_a_silent_connection_is_the_last_to_meet_one() {
    let Some(database) = test::database() else { return };
    let wire = Wire::to(&database).await;
    let others = [("TASK_SERVICE_DATABASE__POOL_MAX", "4"), ("TASK_SERVICE_DATABASE__QUERY_MS", "2000")];
    let service = Arc::new(start_at(&settings(&wire.url(), &others)).await);
    service.store.prepare(Switch::On).await.unwrap();
    let (admin, observer) = (connect(&database.url()).await, connect(&database.url()).await);
    admin.batch_execute("begin; lock table task_service.tasks").await.unwrap();
    let reads: Vec<_> = (0..4).map(|n| send(&service, &format!("u{n}"), "GET /api/tasks".into())).collect();
    waiting_for_a_lock(&observer, 4).await;
    admin.batch_execute("commit").await.unwrap();
    for read in reads {
        assert_eq!(read.await.unwrap().status, StatusCode::OK);
    }

    wire.freeze();
    // Whether this one is told so or given another connection in time, no other is told the same.
    service.call("u1", "GET /api/tasks").await;
    for _ in 0..8 {
        assert_eq!(service.list("u2").await.len(), 0, "those that lie idle are asked before they are used");
    }
}

#[tokio::test]
async fn names_of_statements_do_not_pile_up_where_requests_are_given_up() {
    let Some(database) = test::database() else { return };
    // One connection for all, so that what the service has prepared in it can be looked at.
    let Some(pooler) = PgBouncer::before(&database, 1) else { return };
    let others =
        [("TASK_SERVICE_DATABASE__POOL_MAX", "1"), ("TASK_SERVICE_DATABASE__NAMED_STATEMENTS", "on")];
    let service = start_at(&settings(&pooler.url(), &others)).await;
    service.store.prepare(Switch::On).await.unwrap();
    for _ in 0..50 {
        let _ = timeout(Duration::ZERO, service.call("u1", "GET /api/tasks")).await;
    }
    assert_eq!(service.list("u1").await.len(), 0);
    let observer = connect(&pooler.url()).await;
    let names = observer.simple_query("select name from pg_prepared_statements").await.unwrap();
    let names = names.iter().filter(|message| matches!(message, tokio_postgres::SimpleQueryMessage::Row(_)));
    // The list, which says whose it is.
    assert_eq!(names.count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whatever_is_given_up_every_answer_is_that_of_its_own_question() {
    for named in ["off", "on"] {
        let others =
            [("TASK_SERVICE_DATABASE__POOL_MAX", "3"), ("TASK_SERVICE_DATABASE__NAMED_STATEMENTS", named)];
        let Some((service, admin)) = service(&others).await else { return };
        let users: Vec<_> = (0..8)
            .map(|n| {
                let service = service.clone();
                tokio::spawn(async move {
                    let user = format!("u{n}");
                    let task = service.create(&user, &json!({"title": user})).await;
                    let line = path(&task);
                    for turn in 0..60_u64 {
                        // Some go before the statement is sent, some while it is under way, some after.
                        let patience = Duration::from_micros(turn * 97 % 4000);
                        let calls = [
                            format!("GET {line}"),
                            "GET /api/tasks".into(),
                            format!("PATCH {line}/complete"),
                        ];
                        for call in &calls {
                            let _ = timeout(patience, service.call(&user, call)).await;
                        }
                        let tasks = service.list(&user).await;
                        assert_eq!(tasks.len(), 1);
                        assert_eq!((&tasks[0]["id"], &tasks[0]["title"]), (&task["id"], &task["title"]));
                        assert_eq!(service.call(&user, &calls[0]).await.json()["id"], task["id"]);
                    }
                })
            })
            .collect();
        for user in users {
            user.await.unwrap();
        }
        // All that was abandoned is over, and has given back what it held.
        let active = "select count(*) from pg_stat_activity
            where application_name = 'task-service' and datname = current_database() and state <> 'idle'";
        eventually("nothing is under way", async || {
            admin.query_one(active, &[]).await.unwrap().get::<_, i64>(0) == 0
        })
        .await;
        let connections = "select count(*) from pg_stat_activity
            where application_name = 'task-service' and datname = current_database()";
        eventually("those that were closed are gone", async || {
            admin.query_one(connections, &[]).await.unwrap().get::<_, i64>(0) <= 3
        })
        .await;
    }
}
