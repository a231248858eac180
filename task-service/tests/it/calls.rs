//! Reads that are functions of the database, and the connections that they share.

use std::{sync::Arc, time::Duration};

use chassis::settings::Switch;
use dev_postgres::{
    pooler::PgBouncer,
    test::{self, TestDatabase},
};
use http::StatusCode;
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::{Value, json};
use tokio::{task::JoinHandle, time::timeout};
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::{
    abandoned::{service, waiting_for_a_lock},
    database::{Mode, OWNER, Wire, connect, owners_url},
    service::{Answer, PATIENCE, Service, eventually, settings, start_at, swept},
};

/// Of two connections one is shared.
const ONE_LANE: (&str, &str) = ("TASK_SERVICE_DATABASE__POOL_MAX", "2");

/// What may share a connection: a task, and a short list.
const LIST: &str = "GET /api/tasks?limit=20";

const USERS: usize = 6;

fn user(number: usize) -> String {
    format!("u{number}")
}

/// Asks both kinds for each of the users, all at once.
fn all_ask(service: &Arc<Service>, tasks: &[Value]) -> Vec<JoinHandle<Answer>> {
    let ask = |(number, task): (usize, &Value)| {
        let one = format!("GET /api/tasks/{}", task["id"].as_str().unwrap());
        let line = if number % 2 == 0 { LIST.to_owned() } else { one };
        let service = service.clone();
        tokio::spawn(async move { service.call(&user(number), &line).await })
    };
    tasks.iter().enumerate().map(ask).collect()
}

async fn are_told_their_own(asked: Vec<JoinHandle<Answer>>, tasks: &[Value]) {
    for (asked, task) in asked.into_iter().zip(tasks) {
        let answer = asked.await.unwrap();
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        let told = answer.json();
        let told = told.as_array().map_or(&told, |tasks| &tasks[0]);
        assert_eq!(told, task);
    }
}

/// A task of each user.
async fn a_task_each(service: &Service) -> Vec<Value> {
    let mut tasks = Vec::new();
    for number in 0..USERS {
        tasks.push(service.create(&user(number), &json!({"title": user(number)})).await);
    }
    tasks
}

/// A service of one shared connection, a task of each user, and two connections of a superuser's.
async fn shared(others: &[(&str, &str)]) -> Option<(Arc<Service>, Vec<Value>, Client, Client)> {
    let others = [&[ONE_LANE], others].concat();
    let (service, admin) = service(&others).await?;
    let tasks = a_task_each(&service).await;
    let observer = connect(&service.database.as_ref().unwrap().url()).await;
    Some((service, tasks, admin, observer))
}

/// As the owner of the tables, whom row-level security binds.
async fn bound(database: &TestDatabase) -> (String, Vec<Value>) {
    let url = owners_url(database).await;
    let service = start_at(&settings(&url, &[])).await;
    service.store.prepare(Switch::On).await.unwrap();
    (url, a_task_each(&service).await)
}

/// The last column of the last row of each answer.
async fn said(client: &Client, sql: &str) -> Result<Vec<String>, tokio_postgres::Error> {
    let messages = client.simple_query(sql).await?;
    let rows = messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row.get(row.len() - 1).unwrap_or("null").to_owned()),
        _ => None,
    });
    Ok(rows.collect())
}

#[tokio::test]
async fn whom_a_function_is_about_is_forgotten_with_it_in_any_transaction() {
    let Some(database) = test::database() else { return };
    let (url, tasks) = bound(&database).await;
    let direct = connect(&url).await;
    let Some(pooler) = PgBouncer::before_as(&database, 1, OWNER) else { return };
    let pooled = connect(&pooler.url()).await;
    let nobody = "select count(*) || '.' || coalesce(current_setting('task_service.user_id', true), '') from task_service.tasks";
    let id = tasks[1]["id"].as_str().unwrap();
    let one = format!("select is_found from task_service.get_task('task.get.call', 'u1', '{id}')");
    let list = "select is_found from task_service.list_tasks('task.list.call', 'u1', 20, 0)";
    let foreign = format!("select is_found from task_service.get_task('task.get.call', 'u2', '{id}')");
    for client in [&direct, &pooled] {
        for call in [&*one, list] {
            assert_eq!(said(client, call).await.unwrap(), ["t"]);
            assert_eq!(said(client, nobody).await.unwrap(), ["0."]);
            // One after another in one transaction, and in one statement.
            let all = format!(
                "begin; {call}; {nobody}; savepoint a; {call}; rollback to a; {nobody}; {foreign}; {nobody}; commit"
            );
            assert_eq!(said(client, &all).await.unwrap(), ["t", "0.", "t", "0.", "null", "0."]);
            let within = format!("select (select count(*) from task_service.tasks), ({call})");
            assert_eq!(said(client, &within).await.unwrap(), ["t"]);
            // Whom the transaction is about, it is about afterwards.
            let other = "select set_config('task_service.user_id', 'u3', true)";
            let all = format!("begin; {other}; {call}; {nobody}; commit");
            assert_eq!(said(client, &all).await.unwrap(), ["u3", "t", "1.u3"]);
            assert_eq!(said(client, nobody).await.unwrap(), ["0."]);
        }
        // Errors of all kinds: before the user is told, in the statement, and after it.
        for (fails, code) in [
            (
                "begin isolation level serializable; select * from task_service.list_tasks('task.list.call', 'u1', 20, 0)",
                "US001",
            ),
            ("select * from task_service.list_tasks('task.list.call', 'u1', -1, 0)", "2201W"),
            (
                "select 1 / (found_at - 1) from (select count(*) as found_at from task_service.list_tasks('task.list.call', 'u1', 20, 0)) as it",
                "22012",
            ),
        ] {
            let error = said(client, fails).await.unwrap_err();
            assert_eq!(error.code().unwrap().code(), code, "{fails}");
            client.batch_execute("rollback").await.unwrap();
            assert_eq!(said(client, nobody).await.unwrap(), ["0."], "{fails}");
        }
        // In a transaction that goes on.
        let kept = "begin; savepoint a; select * from task_service.list_tasks('task.list.call', 'u1', -1, 0)";
        assert!(said(client, kept).await.is_err());
        let all = format!("rollback to a; {nobody}; commit");
        assert_eq!(said(client, &all).await.unwrap(), ["0."]);
    }
}

#[tokio::test]
async fn under_another_name_a_function_gives_nothing() {
    let Some(database) = test::database() else { return };
    let (url, tasks) = bound(&database).await;
    let client = connect(&url).await;
    let id = tasks[1]["id"].as_str().unwrap();
    for name in ["'task.get'", "'task.list'", "''", "null"] {
        let one = format!("select ran from task_service.get_task({name}, 'u1', '{id}')");
        let list = format!("select ran from task_service.list_tasks({name}, 'u1', 20, 0)");
        for call in [one, list] {
            assert_eq!(said(&client, &call).await.unwrap(), Vec::<String>::new(), "{call}");
        }
    }
    // A search path of somebody else's leads nowhere else.
    let shadow = "create schema evil; create table evil.tasks (like task_service.tasks);
        create function evil.set_config(text, text, boolean) returns text language sql as $$ select 'u2' $$;
        set search_path = evil, pg_catalog";
    client.batch_execute(shadow).await.unwrap();
    let one = format!("select user_id from task_service.get_task('task.get.call', 'u1', '{id}')");
    assert_eq!(said(&client, &one).await.unwrap(), ["u1"]);
}

/// Every write, and every outcome of it.
async fn writes_all_kinds(service: &Service) {
    let full = json!({"title": "a", "description": "b", "priority": "high", "due_date": "2026-01-31", "tags": ["x", "y"]});
    let made = service.call_with("w", "POST /api/tasks", &full).await;
    let task = made.json();
    for field in ["title", "description", "priority", "due_date", "tags"] {
        assert_eq!(task[field], full[field], "{field}");
    }
    let tag = |answer: &Answer| answer.header("etag").unwrap().to_owned();
    let path = format!("/api/tasks/{}", task["id"].as_str().unwrap());
    let (get, delete) = (format!("GET {path}"), format!("DELETE {path}"));
    let (patch, complete) = (format!("PATCH {path}"), format!("PATCH {path}/complete"));
    let changes = json!({"title": "c", "description": null, "tags": []});
    let changed = service.call_with("w", &patch, &changes).await;
    let mut want = task.clone();
    for (field, value) in changes.as_object().unwrap() {
        want[field] = value.clone();
    }
    want["updated_at"] = changed.json()["updated_at"].clone();
    assert_eq!(changed.json(), want);
    assert!(want["updated_at"].as_str() > task["updated_at"].as_str());
    let mut tags = vec![tag(&made), tag(&changed)];
    // Twice is back again.
    for completed in [true, false] {
        let told = service.call("w", &complete).await;
        assert_eq!(told.json()["completed"], completed);
        tags.push(tag(&told));
    }
    assert!((1..tags.len()).all(|at| !tags[..at].contains(&tags[at])), "each is another version: {tags:?}");
    let when = async |line: &str, tag: &str| {
        let request =
            service.request("w", line).header("if-match", tag).header("content-type", "application/json");
        service.send(request.body(chassis::Body::from(r#"{"title":"d"}"#)).unwrap()).await.status
    };
    for line in [&patch, &complete, &delete] {
        assert_eq!(when(line, &tags[0]).await, 412, "{line}");
        assert_eq!(service.call_with("another", line, &json!({"title": "d"})).await.status, 404, "{line}");
    }
    assert_eq!(tag(&service.call("w", &get).await), tags[3]);
    assert_eq!(when(&delete, &tags[3]).await, 204);
    for line in [&get, &patch, &complete, &delete] {
        assert_eq!(service.call_with("w", line, &json!({"title": "d"})).await.status, 404, "{line}");
    }
}

/// One statement and one transaction say the same, whichever the database takes.
#[tokio::test]
async fn where_the_functions_can_not_be_used_transactions_say_the_same() {
    let drop = "do $$ declare f text; begin
        for f in select p.oid::regprocedure from pg_proc p where pronamespace = 'task_service'::regnamespace
            and proname ~ '^(get|list|create|change|complete|delete)_tasks?$' loop
            execute 'drop function ' || f;
        end loop; end $$";
    let serializable = "do $$ begin
        execute format('alter database %I set default_transaction_isolation = serializable', current_database()); end $$";
    let revoke = format!("revoke execute on all functions in schema task_service from public, {OWNER}");
    for named in ["off", "on"] {
        for way in [drop, serializable, &revoke] {
            let Some(database) = test::database() else { return };
            let url = owners_url(&database).await;
            let others = [ONE_LANE, ("TASK_SERVICE_DATABASE__NAMED_STATEMENTS", named)];
            let service = Arc::new(start_at(&settings(&url, &others)).await);
            service.store.prepare(Switch::On).await.unwrap();
            let tasks = a_task_each(&service).await;
            let missing = "GET /api/tasks/01890000-0000-7000-8000-000000000000";
            are_told_their_own(all_ask(&service, &tasks), &tasks).await;
            assert_eq!(service.call("u1", missing).await.status, 404);
            assert_eq!(service.call("nobody", LIST).await.json(), json!([]));
            writes_all_kinds(&service).await;
            // Under way, as it goes with a database that was restored.
            let admin = connect(&database.url()).await;
            admin.batch_execute(way).await.unwrap();
            let ended = "select pg_terminate_backend(pid) from pg_stat_activity
                where application_name = 'task-service' and datname = current_database()";
            admin.batch_execute(ended).await.unwrap();
            for _ in 0..3 {
                are_told_their_own(all_ask(&service, &tasks), &tasks).await;
                assert_eq!(service.call("u1", missing).await.status, 404, "{way}");
                assert_eq!(service.call("nobody", LIST).await.json(), json!([]));
                writes_all_kinds(&service).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn on_shared_connections_every_answer_is_that_of_its_own_question() {
    for (named, pool_max) in [("off", "2"), ("on", "2"), ("on", "8"), ("off", "1")] {
        let others = [
            ("TASK_SERVICE_DATABASE__POOL_MAX", pool_max),
            ("TASK_SERVICE_DATABASE__NAMED_STATEMENTS", named),
        ];
        let Some((service, admin)) = service(&others).await else { return };
        let tasks = a_task_each(&service).await;
        for turn in 0..40 {
            let (asked, given_up) = (all_ask(&service, &tasks), all_ask(&service, &tasks));
            for (number, request) in given_up.into_iter().enumerate() {
                if (turn + number) % 3 == 0 {
                    tokio::task::yield_now().await;
                }
                request.abort();
            }
            are_told_their_own(asked, &tasks).await;
        }
        let active = "select count(*) from pg_stat_activity
            where application_name = 'task-service' and datname = current_database() and state <> 'idle'";
        eventually("nothing is under way", async || said(&admin, active).await.unwrap() == ["0"]).await;
    }
}

#[tokio::test]
async fn who_gives_up_on_a_shared_connection_takes_nobody_with_them() {
    let Some((service, tasks, admin, observer)) = shared(&[]).await else { return };
    for _ in 0..3 {
        admin.batch_execute("begin; lock table task_service.tasks").await.unwrap();
        let (patient, others) = (all_ask(&service, &tasks), all_ask(&service, &tasks));
        waiting_for_a_lock(&observer, 1).await;
        for request in others {
            request.abort();
        }
        // For longer than one that was given up is left alone where nobody else waits.
        let cancelled = timeout(Duration::from_millis(500), waiting_for_a_lock(&observer, 0)).await;
        assert!(cancelled.is_err(), "somebody waits for what it does");
        admin.batch_execute("commit").await.unwrap();
        are_told_their_own(patient, &tasks).await;
    }
}

#[tokio::test]
async fn what_nobody_waits_for_on_a_shared_connection_is_cancelled() {
    let Some((service, tasks, admin, observer)) = shared(&[]).await else { return };
    for _ in 0..3 {
        admin.batch_execute("begin; lock table task_service.tasks").await.unwrap();
        let asked = all_ask(&service, &tasks);
        waiting_for_a_lock(&observer, 1).await;
        for request in asked {
            request.abort();
        }
        waiting_for_a_lock(&observer, 0).await;
        admin.batch_execute("commit").await.unwrap();
        for _ in 0..5 {
            are_told_their_own(all_ask(&service, &tasks), &tasks).await;
        }
    }
}

/// Over a wire: a service of two connections that are open, one of them to be shared, a task of each user, and two
/// connections of a superuser's.
async fn shared_over_a_wire() -> Option<(Arc<Service>, Wire, Vec<Value>, Client, Client)> {
    let database = test::database()?;
    let wire = Wire::to(&database).await;
    let mut service = start_at(&settings(&wire.url(), &[ONE_LANE])).await;
    let (admin, observer) = (connect(&database.url()).await, connect(&database.url()).await);
    service.database = Some(database);
    let service = Arc::new(service);
    service.store.prepare(Switch::On).await.unwrap();
    swept(&service, &observer).await;
    let tasks = a_task_each(&service).await;
    // A lock has both in use at once.
    admin.batch_execute("begin; lock table task_service.tasks").await.unwrap();
    let writes: Vec<_> = ["v0", "v1"]
        .map(|user| {
            let service = service.clone();
            tokio::spawn(async move { service.create(user, &json!({"title": "t"})).await })
        })
        .into();
    waiting_for_a_lock(&observer, 2).await;
    admin.batch_execute("commit").await.unwrap();
    for write in writes {
        write.await.unwrap();
    }
    eventually("two connections are left", async || sessions(&observer).await.len() == 2).await;
    Some((service, wire, tasks, admin, observer))
}

/// The processes that serve the service's connections.
async fn sessions(observer: &Client) -> Vec<i32> {
    let sessions = "select pid from pg_stat_activity
        where application_name = 'task-service' and datname = current_database()";
    observer.query(sessions, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

/// What is counted on this thread, by series. That is all of a test's own, and nothing of another's.
fn counted_here() -> impl Fn(&str) -> usize {
    let recorder = Box::leak(Box::new(PrometheusBuilder::new().build_recorder()));
    let handle = recorder.handle();
    // For as long as the thread is, which is the test's.
    std::mem::forget(metrics::set_default_local_recorder(recorder));
    move |series| {
        let text = handle.render();
        let line = text.lines().find_map(|line| line.strip_prefix(series));
        line.map_or(0, |value| value.trim().parse().unwrap())
    }
}

/// How many statements have got a connection.
const ACQUIRED: &str = "database_acquire_seconds_count";

#[tokio::test]
async fn many_who_give_up_far_from_the_database_cost_one_connection_and_leave_nothing_there() {
    /// For six cancellations one after another, more than one may take.
    const WAY: Duration = Duration::from_millis(250);
    let counted = counted_here();
    let Some((service, wire, tasks, admin, observer)) = shared_over_a_wire().await else { return };
    let (before, acquired) = (sessions(&observer).await, counted(ACQUIRED));
    admin.batch_execute("begin; lock table task_service.tasks").await.unwrap();
    let asked = all_ask(&service, &tasks);
    waiting_for_a_lock(&observer, 1).await;
    eventually("all are sent", async || counted(ACQUIRED) >= acquired + USERS).await;
    wire.set(Mode::Far(WAY));
    for request in asked {
        request.abort();
    }
    eventually("the connection is closed", async || sessions(&observer).await.len() == 1).await;
    waiting_for_a_lock(&observer, 0).await;
    wire.set(Mode::Open);
    admin.batch_execute("commit").await.unwrap();
    are_told_their_own(all_ask(&service, &tasks), &tasks).await;
    let after = sessions(&observer).await;
    assert!(
        before.iter().any(|pid| after.contains(pid)),
        "the other one is still used: {before:?}, {after:?}"
    );
}

#[tokio::test]
async fn a_connection_that_falls_silent_under_many_who_gave_up_is_lost_once() {
    const ENDED: &str = "database_statements_abandoned_total{idempotency=\"read_only\",outcome=\"unknown\"}";
    let counted = counted_here();
    let Some((service, wire, tasks, _admin, _observer)) = shared_over_a_wire().await else { return };
    wire.freeze();
    let acquired = counted(ACQUIRED);
    let asked = all_ask(&service, &tasks);
    eventually("all are sent", async || counted(ACQUIRED) >= acquired + USERS).await;
    for request in asked {
        request.abort();
    }
    eventually("all have ended", async || counted(ENDED) == USERS).await;
    // Those who came too late for the first turn were on the other connection.
    let silent = counted("database_connections_lost_total{how=\"silent\"}");
    assert!((1..=2).contains(&silent), "{silent} for two connections");
    assert_eq!(counted("database_connections_lost_total{how=\"broken\"}"), 0);
    // And with it those of its age: nobody meets one of them.
    are_told_their_own(all_ask(&service, &tasks), &tasks).await;
}

#[tokio::test]
async fn all_that_were_on_a_connection_that_was_killed_are_answered_by_another() {
    let Some((service, tasks, admin, observer)) = shared(&[]).await else { return };
    for _ in 0..3 {
        admin.batch_execute("begin; lock table task_service.tasks").await.unwrap();
        let asked = all_ask(&service, &tasks);
        waiting_for_a_lock(&observer, 1).await;
        let kill = "select pg_terminate_backend(pid) from pg_stat_activity
            where application_name = 'task-service' and datname = current_database() and wait_event_type = 'Lock'";
        observer.batch_execute(kill).await.unwrap();
        admin.batch_execute("commit").await.unwrap();
        are_told_their_own(asked, &tasks).await;
    }
}

#[tokio::test]
async fn a_shared_connection_that_falls_silent_costs_those_who_were_on_it_one_statements_time() {
    let Some(database) = test::database() else { return };
    let wire = Wire::to(&database).await;
    let others = [ONE_LANE, ("TASK_SERVICE_DATABASE__QUERY_MS", "2000")];
    let service = Arc::new(start_at(&settings(&wire.url(), &others)).await);
    service.store.prepare(Switch::On).await.unwrap();
    let tasks = a_task_each(&service).await;
    for _ in 0..2 {
        are_told_their_own(all_ask(&service, &tasks), &tasks).await;
        wire.freeze();
        for asked in all_ask(&service, &tasks) {
            let status = asked.await.unwrap().status;
            assert!([200, 503].contains(&status.as_u16()), "{status}");
        }
        // From here on nobody meets it.
        for _ in 0..3 {
            are_told_their_own(all_ask(&service, &tasks), &tasks).await;
        }
    }
}

/// Where there is one connection for all, it is shared in turns, and who changes something has theirs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_who_never_stop_leave_a_turn_to_who_writes() {
    let Some((service, _admin)) = service(&[("TASK_SERVICE_DATABASE__POOL_MAX", "1")]).await else { return };
    let tasks = a_task_each(&service).await;
    let readers: Vec<_> = (0..USERS)
        .map(|number| {
            let service = service.clone();
            tokio::spawn(async move {
                loop {
                    assert_eq!(service.call(&user(number), LIST).await.status, StatusCode::OK);
                }
            })
        })
        .collect();
    let write = format!("PATCH /api/tasks/{}/complete", tasks[0]["id"].as_str().unwrap());
    let writes = async {
        for _ in 0..10 {
            assert_eq!(service.call("u0", &write).await.status, StatusCode::OK);
        }
    };
    timeout(PATIENCE, writes).await.expect("it is somebody else's turn now and then");
    for reader in readers {
        reader.abort();
        assert!(reader.await.unwrap_err().is_cancelled());
    }
}
