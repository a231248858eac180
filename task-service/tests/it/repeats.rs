//! Writes that are sent again under their `Idempotency-Key`: done once, answered the same.

use std::sync::Arc;

use chassis::{Body, settings::Switch};
use dev_postgres::test;
use serde_json::{Value, json};

use crate::{
    abandoned::waiting_for_a_lock,
    database::{Mode, Wire, connect},
    service::{Answer, Service, eventually, settings, start, start_at},
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

/// The service commits, and is gone before it has answered: whoever comes in its place knows.
#[tokio::test]
async fn an_answer_that_was_lost_is_given_by_another_replica() {
    let Some(database) = test::database() else { return };
    let wire = Wire::to(&database).await;
    // Nobody is let in while answers are cut, and nobody need wait long for that.
    let service =
        start_at(&settings(&wire.url(), &[("TASK_SERVICE_DATABASE__ACQUIRE_TIMEOUT_MS", "500")])).await;
    service.store.prepare(Switch::On).await.unwrap();
    let task = service.create("u1", &json!({"title": "t"})).await;
    let create = ("POST /api/tasks".to_owned(), Some(json!({"title": "new"})));
    let all = [create].into_iter().chain(writes(&path(&task)));
    for (at, (line, body)) in all.enumerate() {
        let key = format!("key-{at}");
        wire.set(Mode::CutAnswers);
        let lost = send(&service, "u1", &line, &key, body.as_ref()).await;
        assert!([503, 409].contains(&lost.status.as_u16()), "{line}: {}", lost.text());
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
async fn a_user_may_use_so_many_keys_a_day_and_what_is_over_makes_room() {
    let Some(service) = start().await else { return };
    let admin = connect(&service.database.as_ref().unwrap().url()).await;
    let body = json!({"title": "t"});
    let fill = |user: &str, count: u32, age: &str| {
        format!(
            "insert into task_service.answers
                (user_id, key, request, made_at, id, title, completed, tags, created_at, updated_at, version)
            select '{user}', 'old-' || n, sha256('x'), now() - interval '{age}', gen_random_uuid(), 't', false, '{{}}',
                now(), now(), 1
            from generate_series(1, {count}) as n"
        )
    };
    admin.batch_execute(&fill("u1", 9_999, "1 hour")).await.unwrap();
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

    // A day later.
    admin
        .batch_execute("update task_service.answers set made_at = now() - interval '25 hours'")
        .await
        .unwrap();
    assert_eq!(send(&service, "u1", "POST /api/tasks", "one-more", Some(&body)).await.status, 201);
    let left: i64 = admin.query_one("select count(*) from task_service.answers", &[]).await.unwrap().get(0);
    assert!(left <= 2, "{left} answers are left");
}

#[tokio::test]
async fn answers_whose_time_is_over_are_removed_as_others_come() {
    let Some(service) = start().await else { return };
    let admin = connect(&service.database.as_ref().unwrap().url()).await;
    let old = "insert into task_service.answers
            (user_id, key, request, made_at, id, title, completed, tags, created_at, updated_at, version)
        select 'u' || n % 7, 'old-' || n, sha256('x'), now() - interval '1 day' * (n % 3), gen_random_uuid(), 't', false,
            '{}', now(), now(), 1
        from generate_series(1, 3000) as n";
    admin.batch_execute(old).await.unwrap();
    send(&service, "u1", "POST /api/tasks", "k", Some(&json!({"title": "t"}))).await;
    eventually("two thirds are gone", async || {
        let left: i64 =
            admin.query_one("select count(*) from task_service.answers", &[]).await.unwrap().get(0);
        left == 1001
    })
    .await;
}
