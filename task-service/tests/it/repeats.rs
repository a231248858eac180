//! Writes that are sent again under their `Idempotency-Key`: done once, answered the same.

use std::{sync::Arc, time::Duration};

use chassis::{Body, settings::Switch};
use dev_postgres::test;
use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::{
    abandoned::{counted, waiting_for_a_lock},
    database::{Mode, Wire, connect},
    service::{Answer, Service, eventually, settings, start, start_at, swept},
};

fn path(task: &Value) -> String {
    format!("/api/tasks/{}", task["id"].as_str().unwrap())
}

/// A request of `user` under a key.
async fn send(service: &Service, user: &str, line: &str, key: &str, body: Option<&Value>) -> Answer {
    let request = service.request(user, line).header("idempotency-key", key);
    let request = match body {
        Some(body) => request.header("content-type", "application/json").body(Body::from(body.to_string())),
        None => request.body(Body::empty()),
    };
    service.send(request.unwrap()).await
}

/// What a client hears, less what is of each answer alone.
fn told(answer: &Answer) -> (u16, String, [Option<String>; 3]) {
    let headers = ["location", "etag", "content-type"].map(|name| answer.header(name).map(str::to_owned));
    (answer.status.as_u16(), answer.text(), headers)
}

/// Answers that are kept for a user.
fn kept(user: &str, count: u32, age: &str) -> String {
    format!(
        "insert into task_service.answers
            (user_id, key, request, made_at, id, title, completed, tags, created_at, updated_at, version)
        select '{user}', 'old-' || n, sha256('x'), now() - interval '{age}', gen_random_uuid(), 't', false, '{{}}',
            now(), now(), 1
        from generate_series(1, {count}) as n"
    )
}

/// How many answers there are.
async fn count(admin: &Client) -> i64 {
    admin.query_one("select count(*) from task_service.answers", &[]).await.unwrap().get(0)
}

/// A write under a key, to a task in the version that it was made in.
async fn send_to_the_first(service: &Service, line: &str, key: &str, body: Option<&Value>) -> Answer {
    let request = service.request("u1", line).header("idempotency-key", key).header("if-match", "\"1\"");
    let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
    service.send(request.header("content-type", "application/json").body(body).unwrap()).await
}

/// Every write to a task, with its body, in an order in which all can be done.
fn writes(path: &str) -> [(String, Option<Value>); 5] {
    [
        (format!("PATCH {path}/complete"), None),
        (format!("PATCH {path}/complete"), Some(json!({}))),
        (format!("PUT {path}"), Some(json!({"title": "put", "due_date": "2026-01-31"}))),
        (format!("PATCH {path}"), Some(json!({"title": "patched", "priority": "high", "tags": ["a"]}))),
        (format!("DELETE {path}"), None),
    ]
}

#[tokio::test]
async fn a_task_that_is_made_again_is_the_one_that_was_made() {
    let Some(service) = start().await else { return };
    let body = json!({"title": "once", "description": "d", "tags": ["a", "b"], "due_date": "2026-01-31", "priority": "urgent"});
    for (key, line) in [("a", "POST /api/tasks"), ("b", "POST /api/u1/tasks/")] {
        let first = send(&service, "u1", line, key, Some(&body)).await;
        assert_eq!(first.status, 201, "{}", first.text());
        let path = first.header("location").unwrap().to_owned();
        let again = send(&service, "u1", line, key, Some(&body)).await;
        assert_eq!(told(&again), told(&first));
        // Whatever has become of it since.
        service.call("u1", &format!("PATCH {path}/complete")).await;
        assert_eq!(told(&send(&service, "u1", line, key, Some(&body)).await), told(&first));
        service.call("u1", &format!("DELETE {path}")).await;
        assert_eq!(told(&send(&service, "u1", line, key, Some(&body)).await), told(&first));
        assert_eq!(service.list("u1").await.len(), 0);
    }
}

#[tokio::test]
async fn every_write_is_done_once_under_its_key() {
    let Some(service) = start().await else { return };
    let task = service.create("u1", &json!({"title": "t"})).await;
    let mut version = 1;
    for (at, (line, body)) in writes(&path(&task)).iter().enumerate() {
        let key = format!("key-{at}");
        let first = send(&service, "u1", line, &key, body.as_ref()).await;
        assert!(first.status.is_success(), "{line}: {}", first.text());
        for _ in 0..3 {
            assert_eq!(told(&send(&service, "u1", line, &key, body.as_ref()).await), told(&first), "{line}");
        }
        version += 1;
        if let Some(tag) = first.header("etag") {
            assert_eq!(tag, format!("\"{version}\""));
            let now = service.call("u1", &format!("GET {}", path(&task))).await;
            assert_eq!(now.header("etag"), Some(tag), "{line} was done once");
        }
    }
    // Without a key each is done for itself.
    service.call("u1", &format!("DELETE {}", path(&task))).await.problem(404, "not-found");
}

#[tokio::test]
async fn a_key_stands_for_one_request_of_one_user() {
    let Some(service) = start().await else { return };
    let (one, two) = (json!({"title": "one"}), json!({"title": "two"}));
    let first = send(&service, "u1", "POST /api/tasks", "k", Some(&one)).await;
    let path = path(&first.json());
    for (line, body) in [
        ("POST /api/tasks", Some(&two)),
        ("POST /api/u1/tasks", Some(&one)),
        (&*format!("PUT {path}"), Some(&one)),
        (&*format!("PATCH {path}"), Some(&one)),
        (&*format!("PATCH {path}/complete"), None),
        (&*format!("DELETE {path}"), None),
    ] {
        send(&service, "u1", line, "k", body).await.problem(422, "idempotency-key-reused");
    }
    assert_eq!(service.list("u1").await, [first.json()]);
    assert_eq!(send(&service, "u1", "POST /api/tasks", "K", Some(&one)).await.status, 201);
    let others = send(&service, "u2", "POST /api/tasks", "k", Some(&two)).await;
    assert_eq!((others.status.as_u16(), &others.json()["title"]), (201, &json!("two")));
    assert_eq!((service.list("u1").await.len(), service.list("u2").await.len()), (2, 1));
}

#[tokio::test]
async fn a_key_has_1_to_255_visible_characters_and_there_is_one() {
    let Some(service) = start().await else { return };
    let task = service.create("u1", &json!({"title": "t"})).await;
    let create = ("POST /api/tasks".to_owned(), Some(json!({"title": "t"})));
    for (line, body) in writes(&path(&task)).into_iter().chain([create]) {
        for bad in ["", " ", "a b", &"k".repeat(256)] {
            send(&service, "u1", &line, bad, body.as_ref()).await.problem(400, "bad-idempotency-key");
        }
        let two = service.request("u1", &line).header("idempotency-key", "a").header("idempotency-key", "a");
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        service.send(two.body(body).unwrap()).await.problem(400, "bad-idempotency-key");
    }
    assert_eq!(service.list("u1").await, [task]);
    let long = "k".repeat(255);
    for _ in 0..2 {
        let made = send(&service, "u1", "POST /api/tasks", &long, Some(&json!({"title": "t"}))).await;
        assert_eq!(made.status, 201);
    }
    // To a read it says nothing.
    assert_eq!(send(&service, "u1", "GET /api/tasks", "", None).await.json().as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn what_changed_nothing_is_not_kept() {
    let Some(service) = start().await else { return };
    let task = service.create("u1", &json!({"title": "t"})).await;
    let line = format!("PATCH {}", path(&task));
    send(&service, "u1", &line, "k", Some(&json!({"title": ""}))).await.problem(422, "invalid");
    let nowhere = "DELETE /api/tasks/0190b3a4-0000-7000-8000-000000000000";
    send(&service, "u1", nowhere, "k", None).await.problem(404, "not-found");
    let stale = service.request("u1", &line).header("idempotency-key", "k").header("if-match", "\"7\"");
    service.send(stale.body(r#"{"title":"new"}"#.into()).unwrap()).await.problem(412, "precondition-failed");
    assert_eq!(send(&service, "u1", &line, "k", Some(&json!({"title": "new"}))).await.status, 200);
}

#[tokio::test]
async fn a_change_of_nothing_uses_its_key_like_any_other() {
    let Some(service) = start().await else { return };
    let task = service.create("u1", &json!({"title": "t"})).await;
    let (line, nothing) = (format!("PATCH {}", path(&task)), json!({}));
    let first = send(&service, "u1", &line, "k", Some(&nothing)).await;
    assert_eq!((first.status.as_u16(), first.header("etag")), (200, Some("\"1\"")));
    assert_eq!(first.json(), task);
    let something = json!({"title": "new"});
    send(&service, "u1", &line, "k", Some(&something)).await.problem(422, "idempotency-key-reused");
    assert_eq!(send(&service, "u1", &line, "k2", Some(&something)).await.status, 200);
    send(&service, "u1", &line, "k2", Some(&nothing)).await.problem(422, "idempotency-key-reused");
    assert_eq!(told(&send(&service, "u1", &line, "k", Some(&nothing)).await), told(&first));
    let stale = service.request("u1", &line).header("idempotency-key", "k3").header("if-match", "\"1\"");
    service.send(stale.body("{}".into()).unwrap()).await.problem(412, "precondition-failed");
}

#[tokio::test]
async fn a_condition_that_held_the_first_time_is_not_asked_again() {
    let Some(service) = start().await else { return };
    let task = service.create("u1", &json!({"title": "t"})).await;
    let line = format!("PATCH {}/complete", path(&task));
    for _ in 0..2 {
        let request = service.request("u1", &line).header("idempotency-key", "k").header("if-match", "\"1\"");
        let answer = service.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!((answer.status.as_u16(), answer.header("etag")), (200, Some("\"2\"")));
    }
}

#[tokio::test]
async fn after_a_day_a_key_is_free_again() {
    let Some(service) = start().await else { return };
    let admin = connect(&service.database.as_ref().unwrap().url()).await;
    let (one, two) = (json!({"title": "one"}), json!({"title": "two"}));
    send(&service, "u1", "POST /api/tasks", "k", Some(&one)).await;
    let set = async |age: &str| {
        let update = format!("update task_service.answers set made_at = now() - interval '{age}'");
        admin.batch_execute(&update).await.unwrap();
    };
    set("23 hours 59 minutes").await;
    send(&service, "u1", "POST /api/tasks", "k", Some(&two)).await.problem(422, "idempotency-key-reused");
    set("24 hours 1 second").await;
    for _ in 0..2 {
        let made = send(&service, "u1", "POST /api/tasks", "k", Some(&two)).await;
        assert_eq!((made.status.as_u16(), &made.json()["title"]), (201, &json!("two")));
    }
    assert_eq!(service.list("u1").await.len(), 2);
}

#[tokio::test]
async fn who_comes_while_the_first_is_at_it_hears_so_and_then_how_it_went() {
    let Some(service) = start().await else { return };
    let service = Arc::new(service);
    let url = service.database.as_ref().unwrap().url();
    let (admin, observer) = (connect(&url).await, connect(&url).await);
    for at in 0..5 {
        let task = service.create("u1", &json!({"title": "t"})).await;
        let (line, body) = writes(&path(&task))[at].clone();
        let key = format!("key-{at}");
        admin.batch_execute("begin; select from task_service.tasks for update").await.unwrap();
        let first = tokio::spawn({
            let (service, line, key, body) = (service.clone(), line.clone(), key.clone(), body.clone());
            async move { send(&service, "u1", &line, &key, body.as_ref()).await }
        });
        waiting_for_a_lock(&observer, 1).await;
        let second = send(&service, "u1", &line, &key, body.as_ref()).await;
        second.problem(409, "still-running");
        assert_eq!(second.header("retry-after"), Some("1"));
        // Nobody else waits for them.
        assert_eq!(
            send(&service, "u2", "POST /api/tasks", &key, Some(&json!({"title": "t"}))).await.status,
            201
        );
        admin.batch_execute("commit").await.unwrap();
        let first = first.await.unwrap();
        assert!(first.status.is_success(), "{line}: {}", first.text());
        assert_eq!(told(&send(&service, "u1", &line, &key, body.as_ref()).await), told(&first));
    }
}

#[tokio::test]
async fn of_many_who_come_at_once_one_does_it_and_all_hear_the_same() {
    let Some(service) = start().await else { return };
    let service = Arc::new(service);
    let task = service.create("u1", &json!({"title": "t"})).await;
    let toggle = format!("PATCH {}/complete", path(&task));
    for round in 0..10 {
        let lines = [("POST /api/tasks".to_owned(), Some(json!({"title": "t"}))), (toggle.clone(), None)];
        for (at, (line, body)) in lines.iter().enumerate() {
            let asked: Vec<_> = (0..12)
                .map(|_| {
                    let (service, line, body) = (service.clone(), line.clone(), body.clone());
                    tokio::spawn(async move {
                        send(&service, "u1", &line, &format!("{at}-{round}"), body.as_ref()).await
                    })
                })
                .collect();
            let mut answers = Vec::new();
            for asked in asked {
                answers.push(told(&asked.await.unwrap()));
            }
            answers.retain(|answer| answer.0 != 409);
            assert!(!answers.is_empty() && answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
        }
        assert_eq!(service.list("u1").await.len(), round + 2);
        let now = service.call("u1", &format!("GET {}", path(&task))).await;
        assert_eq!(now.header("etag"), Some(&*format!("\"{}\"", round + 2)));
    }
}

/// The second has begun too early to see what the first has noted, and comes to the task when the first is over: here the
/// test itself takes the place of the first, down to the row that both want.
#[tokio::test]
async fn who_began_before_the_first_had_ended_hears_how_that_went() {
    let Some(service) = start().await else { return };
    let service = Arc::new(service);
    let url = service.database.as_ref().unwrap().url();
    let (admin, observer) = (connect(&url).await, connect(&url).await);
    for conditional in [false, true] {
        for at in 0..5 {
            let task = service.create("u1", &json!({"title": "t"})).await;
            let (line, body) = writes(&path(&task))[at].clone();
            let ask = {
                let service = service.clone();
                async move || {
                    if conditional {
                        send_to_the_first(&service, &line, "k", body.as_ref()).await
                    } else {
                        send(&service, "u1", &line, "k", body.as_ref()).await
                    }
                }
            };
            let save = |table: &str, name: &str| {
                format!("create temporary table {name} as table task_service.{table};")
            };
            admin.batch_execute(&save("tasks", "before")).await.unwrap();
            let first = ask().await;
            assert!(first.status.is_success(), "{}", first.text());
            let undo = save("tasks", "behind")
                + &save("answers", "notes")
                + "alter table before drop column title_key;
                delete from task_service.tasks; delete from task_service.answers;
                do $$ declare columns text := (
                    select string_agg(attname, ', ') from pg_attribute
                    where attrelid = 'before'::regclass and attnum > 0 and not attisdropped
                );
                begin
                    execute format('insert into task_service.tasks (%s) select %s from before', columns, columns);
                end $$";
            admin.batch_execute(&undo).await.unwrap();
            let redo = "begin;
                update task_service.tasks as task
                set title = behind.title, completed = behind.completed, priority = behind.priority,
                    due_date = behind.due_date, due_day = behind.due_day, tags = behind.tags,
                    updated_at = behind.updated_at, version = behind.version
                from behind where behind.id = task.id;
                delete from task_service.tasks where id not in (select id from behind);
                insert into task_service.answers table notes";
            admin.batch_execute(redo).await.unwrap();
            let second = tokio::spawn(async move { ask().await });
            waiting_for_a_lock(&observer, 1).await;
            admin.batch_execute("commit").await.unwrap();
            let second = second.await.unwrap();
            assert_eq!(told(&second), told(&first), "conditional: {conditional}, write {at}");
            let left = "select count(*) from (table task_service.tasks except table behind) as other";
            assert_eq!(admin.query_one(left, &[]).await.unwrap().get::<_, i64>(0), 0, "done once");
            let forget = "drop table before, behind, notes;
                delete from task_service.tasks; delete from task_service.answers";
            admin.batch_execute(forget).await.unwrap();
        }
    }
}

/// A snapshot is taken first and the turn later: where a user has used many keys, the first often ends in between.
#[tokio::test]
async fn a_repeat_that_meets_the_end_of_the_first_never_hears_that_it_failed() {
    let Some(service) = start().await else { return };
    let service = Arc::new(service);
    let admin = connect(&service.database.as_ref().unwrap().url()).await;
    admin.batch_execute(&kept("u1", 5000, "1 hour")).await.unwrap();
    for round in 0..60 {
        for (at, conditional) in [(4, false), (4, true), (3, true), (0, true)] {
            let task = service.create("u1", &json!({"title": "t"})).await;
            let (line, body) = writes(&path(&task))[at].clone();
            let key = format!("{at}-{conditional}-{round}");
            let asked: Vec<_> = (0..2)
                .map(|second| {
                    let (service, line, body, key) =
                        (service.clone(), line.clone(), body.clone(), key.clone());
                    tokio::spawn(async move {
                        tokio::time::sleep(Duration::from_micros(second * 50 * round)).await;
                        if conditional {
                            send_to_the_first(&service, &line, &key, body.as_ref()).await
                        } else {
                            send(&service, "u1", &line, &key, body.as_ref()).await
                        }
                    })
                })
                .collect();
            let mut answers = Vec::new();
            for asked in asked {
                answers.push(told(&asked.await.unwrap()));
            }
            // Whom the first has kept waiting for too long hears that it is running; nothing else but how it went.
            answers.retain(|answer| answer.0 != 409);
            assert!(!answers.is_empty(), "one of them was the first");
            for answer in &answers {
                assert!((200..300).contains(&answer.0), "{line}: {answers:?}");
                assert_eq!(answer, &answers[0], "{line}");
            }
        }
    }
}

/// Whether a repeat may be sent elsewhere depends on what the first one did. Without its connection it is undone, which nobody
/// hears.
#[tokio::test]
async fn while_the_first_goes_on_nobody_says_that_nothing_was_done() {
    let Some(database) = test::database() else { return };
    let wire = Wire::to(&database).await;
    let service =
        start_at(&settings(&wire.url(), &[("TASK_SERVICE_DATABASE__ACQUIRE_TIMEOUT_MS", "500")])).await;
    service.store.prepare(Switch::On).await.unwrap();
    let service = Arc::new(service);
    let (admin, observer) = (connect(&database.url()).await, connect(&database.url()).await);
    swept(&service, &observer).await;
    for at in 0..5 {
        let mut task = Value::Null;
        eventually("the service is back", async || {
            let made = service.call_with("u1", "POST /api/tasks", &json!({"title": "t"})).await;
            task = serde_json::from_slice(&made.body).unwrap();
            made.status == 201
        })
        .await;
        let (line, body) = writes(&path(&task))[at].clone();
        admin.batch_execute("begin; select from task_service.tasks for update").await.unwrap();
        let asked = tokio::spawn({
            let (service, line, body) = (service.clone(), line.clone(), body.clone());
            async move { send(&service, "u1", &line, &format!("key-{at}"), body.as_ref()).await }
        });
        waiting_for_a_lock(&observer, 1).await;
        wire.set(Mode::Cut);
        wire.set(Mode::Open);
        // It is asked again over another connection, and heard that the first is at it; then there is no way to ask.
        let heard = "select count(*) from pg_stat_activity
            where application_name = 'task-service' and datname = current_database() and state = 'idle'
                and query like '%pg_try_advisory_xact_lock%'";
        eventually("it was asked again", async || {
            asked.is_finished() || observer.query_one(heard, &[]).await.unwrap().get::<_, i64>(0) > 0
        })
        .await;
        wire.set(Mode::Cut);
        let answer = asked.await.unwrap();
        assert!([503, 409].contains(&answer.status.as_u16()), "{line}: {}", answer.text());
        assert_eq!(answer.header("x-internal-not-applied"), None, "{line}: {}", answer.text());
        admin.batch_execute("commit").await.unwrap();
        waiting_for_a_lock(&observer, 0).await;
        wire.set(Mode::Open);
        eventually("who repeats it has it done", async || {
            let again = send(&service, "u1", &line, &format!("key-{at}"), body.as_ref()).await;
            again.status.is_success()
        })
        .await;
        assert_eq!(usize::try_from(count(&observer).await), Ok(at + 1), "{line}: once");
    }
}

/// Not every row that is there twice is somebody else's repeat.
#[tokio::test]
async fn a_row_that_is_there_twice_by_another_constraint_is_a_fault_of_ours() {
    let Some(service) = start().await else { return };
    let admin = connect(&service.database.as_ref().unwrap().url()).await;
    admin.batch_execute("create unique index on task_service.tasks (user_id, title)").await.unwrap();
    let body = json!({"title": "t"});
    assert_eq!(send(&service, "u1", "POST /api/tasks", "a", Some(&body)).await.status, 201);
    send(&service, "u1", "POST /api/tasks", "b", Some(&body)).await.problem(500, "internal");
    service.call_with("u1", "POST /api/tasks", &body).await.problem(500, "internal");
    assert_eq!(service.list("u1").await.len(), 1);
}

/// The service commits, and is gone before it has answered: whoever comes in its place knows.
#[tokio::test]
async fn an_answer_that_was_lost_is_given_by_another_replica() {
    let Some(database) = test::database() else { return };
    let wire = Wire::to(&database).await;
    // Nobody is let in while answers are cut, and nobody need wait long for that.
    let service =
        start_at(&settings(&wire.url(), &[("TASK_SERVICE_DATABASE__ACQUIRE_TIMEOUT_MS", "500")])).await;
    service.store.prepare(Switch::On).await.unwrap();
    swept(&service, &connect(&database.url()).await).await;
    let task = service.create("u1", &json!({"title": "t"})).await;
    let create = ("POST /api/tasks".to_owned(), Some(json!({"title": "new"})));
    let all = [create].into_iter().chain(writes(&path(&task)));
    for (at, (line, body)) in all.enumerate() {
        let key = format!("key-{at}");
        wire.set(Mode::CutAnswers);
        let lost = send(&service, "u1", &line, &key, body.as_ref()).await;
        assert!([503, 409].contains(&lost.status.as_u16()), "{line}: {}", lost.text());
        assert_eq!(lost.header("x-internal-not-applied"), None, "{line}: it was done");
        wire.set(Mode::Open);
        let other = start_at(&settings(&database.url(), &[])).await;
        other.store.prepare(Switch::On).await.unwrap();
        let answer = send(&other, "u1", &line, &key, body.as_ref()).await;
        assert!(answer.status.is_success(), "{line}: {}", answer.text());
        let want = if at == 0 { 1 } else { at + 1 };
        if let Some(tag) = answer.header("etag") {
            assert_eq!(tag, format!("\"{want}\""), "{line} was done once");
        }
        eventually("the first one is back", async || {
            told(&send(&service, "u1", &line, &key, body.as_ref()).await) == told(&answer)
        })
        .await;
    }
    assert_eq!(service.list("u1").await.len(), 1, "one was made, and the other removed");
}

/// A toggle with a key is asked again by the service itself, where one without would have to say that it doesn't know.
#[tokio::test]
async fn an_answer_that_is_lost_once_is_not_noticed() {
    let Some(database) = test::database() else { return };
    let wire = Wire::to(&database).await;
    let service = start_at(&settings(&wire.url(), &[])).await;
    service.store.prepare(Switch::On).await.unwrap();
    swept(&service, &connect(&database.url()).await).await;
    let task = service.create("u1", &json!({"title": "t"})).await;
    for (at, (line, body)) in writes(&path(&task)).iter().enumerate() {
        wire.set(Mode::CutNextAnswer);
        let answer = send(&service, "u1", line, &format!("key-{at}"), body.as_ref()).await;
        assert!(answer.status.is_success(), "{line}: {}", answer.text());
        if let Some(tag) = answer.header("etag") {
            assert_eq!(tag, format!("\"{}\"", at + 2), "{line} was done once");
        }
    }
}

#[tokio::test]
async fn a_user_may_use_so_many_keys_a_day_and_what_is_over_does_not_count() {
    let Some(service) = start().await else { return };
    let admin = connect(&service.database.as_ref().unwrap().url()).await;
    let body = json!({"title": "t"});
    admin.batch_execute(&kept("u1", 9_999, "1 hour")).await.unwrap();
    assert_eq!(send(&service, "u1", "POST /api/tasks", "last", Some(&body)).await.status, 201);
    let refused = send(&service, "u1", "POST /api/tasks", "one more", Some(&body)).await;
    refused.problem(400, "bad-idempotency-key");
    let refused = send(&service, "u1", "POST /api/tasks", "one-more", Some(&body)).await;
    refused.problem(429, "too-many-idempotency-keys");
    assert!(refused.header("retry-after").is_some());
    // What was kept is still answered, others have keys of their own, and without one all goes on.
    assert_eq!(send(&service, "u1", "POST /api/tasks", "last", Some(&body)).await.status, 201);
    assert_eq!(send(&service, "u2", "POST /api/tasks", "k", Some(&body)).await.status, 201);
    service.create("u1", &body).await;
    assert_eq!(service.list("u1").await.len(), 2);

    // A day later, and others have left so many that theirs would be removed first.
    admin
        .batch_execute("update task_service.answers set made_at = now() - interval '25 hours'")
        .await
        .unwrap();
    admin.batch_execute(&kept("u3", 10_001, "3 days")).await.unwrap();
    assert_eq!(send(&service, "u1", "POST /api/tasks", "one-more", Some(&body)).await.status, 201);
    assert_eq!(count(&admin).await, 10_001 + 10_001 + 1, "no request has removed what is nobody's of its");
}

#[tokio::test]
async fn answers_whose_time_is_over_are_removed_as_others_come() {
    const REMOVED: &str = "kept_answers_removed_total";
    let Some(service) = start().await else { return };
    let admin = connect(&service.database.as_ref().unwrap().url()).await;
    for (user, days) in [("u1", 0), ("u2", 1), ("u3", 2)] {
        admin.batch_execute(&kept(user, 1000, &format!("{days} days"))).await.unwrap();
    }
    let before = counted(REMOVED);
    send(&service, "u1", "POST /api/tasks", "k", Some(&json!({"title": "t"}))).await;
    eventually("two thirds are gone", async || count(&admin).await == 1001).await;
    eventually("it is counted", async || counted(REMOVED) >= before + 2000.0).await;
}

/// More than two sweeps may remove, which would take minutes if each waited for its time; and by writes that have no key, which are most of them.
#[tokio::test]
async fn a_sweep_that_was_not_enough_is_followed_by_another() {
    let Some(service) = start().await else { return };
    let admin = connect(&service.database.as_ref().unwrap().url()).await;
    let nowhere = "DELETE /api/tasks/0190b3a4-0000-7000-8000-000000000000";
    admin.batch_execute(&kept("u2", 20_700, "2 days")).await.unwrap();
    service.call("u1", nowhere).await.problem(404, "not-found");
    eventually("as many are gone as one sweep removes", async || count(&admin).await == 10_700).await;
    eventually("the rest is gone", async || {
        service.call("u1", nowhere).await.problem(404, "not-found");
        count(&admin).await == 0
    })
    .await;
    // Then there is none for a while.
    admin.batch_execute(&kept("u2", 10, "2 days")).await.unwrap();
    for _ in 0..20 {
        service.call("u1", nowhere).await.problem(404, "not-found");
    }
    assert_eq!(count(&admin).await, 10);
}
