//! Moments in rows: which ones a client is told, and in which order they come to be.

use std::sync::Arc;

use serde_json::json;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    database::connect,
    service::{eventually, start},
};

#[tokio::test]
async fn a_date_that_cannot_be_written_does_not_take_the_list_away() {
    let Some(service) = start().await else { return };
    let admin = connect(&service.database.as_ref().unwrap().url()).await;
    for (kept, told) in [
        ("infinity", "9999-12-31T23:59:59.999Z"),
        ("20000-01-01Z", "9999-12-31T23:59:59.999Z"),
        ("9999-12-31T23:59:59.999Z", "9999-12-31T23:59:59.999Z"),
        ("0001-01-01Z", "0001-01-01T00:00:00.000Z"),
        ("0001-12-31Z BC", "0001-01-01T00:00:00.000Z"),
        ("-infinity", "0001-01-01T00:00:00.000Z"),
    ] {
        let insert = format!(
            "delete from task_service.tasks;
             insert into task_service.tasks (user_id, id, title, due_date, created_at, updated_at)
             values ('u1', gen_random_uuid(), 't', '{kept}', '{kept}', '{kept}')"
        );
        admin.batch_execute(&insert).await.unwrap();
        service.create("u1", &json!({"title": "ordinary"})).await;
        let tasks = service.list("u1").await;
        assert_eq!(tasks.len(), 2, "{kept}");
        let task = tasks.iter().find(|task| task["title"] == "t").unwrap();
        for field in ["due_date", "created_at", "updated_at"] {
            assert_eq!(task[field], told, "{kept}");
        }
        let line = format!("/api/tasks/{}", task["id"].as_str().unwrap());
        assert_eq!(service.call("u1", &format!("GET {line}")).await.json(), *task);
        assert_eq!(service.call("u1", &format!("PATCH {line}/complete")).await.status, 200);
    }
}

#[tokio::test]
async fn a_due_date_comes_back_as_it_was_meant() {
    let Some(service) = start().await else { return };
    let task = service.create("u1", &json!({"title": "t"})).await;
    let line = format!("/api/tasks/{}", task["id"].as_str().unwrap());
    for (said, told) in [
        (json!("2026-01-31"), json!("2026-01-31")),
        (json!("2026-01-31T00:00:00Z"), json!("2026-01-31T00:00:00.000Z")),
        (json!("0001-01-01"), json!("0001-01-01")),
        (json!("9999-12-31"), json!("9999-12-31")),
        (json!("2026-01-31T09:30"), json!("2026-01-31T09:30:00.000Z")),
        (json!("2026-01-31 09:30:15+0100"), json!("2026-01-31T08:30:15.000Z")),
        (json!(""), json!(null)),
        (json!("2026-02-01"), json!("2026-02-01")),
        (json!(null), json!(null)),
    ] {
        let body = json!({"title": "t", "due_date": said});
        assert_eq!(service.create("u1", &body).await["due_date"], told, "{said}");
        for method in ["PUT", "PATCH"] {
            let changed = service.call_with("u1", &format!("{method} {line}"), &body).await.json();
            assert_eq!(changed["due_date"], told, "{said}");
        }
        assert_eq!(service.call("u1", &format!("GET {line}")).await.json()["due_date"], told);
        let completed = service.call("u1", &format!("PATCH {line}/complete")).await.json();
        assert_eq!(completed["due_date"], told, "what is not changed stays");
        assert_eq!(service.list("u1").await.last().unwrap()["due_date"], told);
    }
}

#[tokio::test]
async fn a_day_is_sorted_by_its_start() {
    let Some(service) = start().await else { return };
    let dates = [
        "2026-01-30T23:59:59.999Z",
        "2026-01-31",
        "2026-01-31T00:00:00.001Z",
        "2026-01-31T23:00:00.000Z",
        "2026-02-01",
    ];
    for at in [3, 0, 4, 2, 1] {
        service.create("u1", &json!({"title": "t", "due_date": dates[at]})).await;
    }
    let listed = service.call("u1", "GET /api/tasks?sort=due_date").await.json();
    let listed: Vec<_> = listed.as_array().unwrap().iter().map(|task| task["due_date"].clone()).collect();
    assert_eq!(listed, dates);
}

/// During a roll-out the release before writes to the same rows, and knows nothing of days.
#[tokio::test]
async fn what_the_release_before_writes_is_told_as_it_meant_it() {
    let Some(service) = start().await else { return };
    let admin = connect(&service.database.as_ref().unwrap().url()).await;
    let task =
        service.create("u1", &json!({"title": "t", "due_date": "2026-01-31", "priority": "urgent"})).await;
    let line = format!("GET /api/tasks/{}", task["id"].as_str().unwrap());
    for (kept, told) in [
        ("'2026-01-31T09:30Z'", json!("2026-01-31T09:30:00.000Z")),
        ("'2026-02-01T00:00Z'", json!("2026-02-01T00:00:00.000Z")),
        ("null", json!(null)),
        ("'2026-01-31T00:00Z'", json!("2026-01-31")),
    ] {
        admin.batch_execute(&format!("update task_service.tasks set due_date = {kept}")).await.unwrap();
        assert_eq!(service.call("u1", &line).await.json()["due_date"], told, "{kept}");
    }
    let insert = "insert into task_service.tasks (user_id, id, title, due_date)
        values ('u2', gen_random_uuid(), 't', '2026-01-31T00:00Z')";
    admin.batch_execute(insert).await.unwrap();
    assert_eq!(service.list("u2").await[0]["due_date"], "2026-01-31T00:00:00.000Z");
}

#[tokio::test]
async fn a_change_never_seems_older_than_the_one_before() {
    let Some(service) = start().await else { return };
    let service = Arc::new(service);
    let url = service.database.as_ref().unwrap().url();
    let (admin, observer) = (connect(&url).await, connect(&url).await);
    for below in ["", "/complete"] {
        let task = service.create("u1", &json!({"title": "t"})).await;
        let line = format!("PATCH /api/tasks/{}{below}", task["id"].as_str().unwrap());
        admin.batch_execute("begin; select from task_service.tasks for update").await.unwrap();
        let later = tokio::spawn({
            let service = service.clone();
            let body = if below.is_empty() { json!({"title": "new"}) } else { json!({"completed": true}) };
            async move { service.call_with("u1", &line, &body).await.json() }
        });
        let waiting = "select count(*) from pg_stat_activity
            where application_name = 'task-service' and datname = current_database() and wait_event_type = 'Lock'";
        eventually("the change waits", async || {
            observer.query_one(waiting, &[]).await.unwrap().get::<_, i64>(0) == 1
        })
        .await;
        // What was begun later is done earlier.
        let update = "update task_service.tasks set updated_at = clock_timestamp() returning updated_at";
        let earlier: OffsetDateTime = admin.query_one(update, &[]).await.unwrap().get(0);
        admin.batch_execute("commit").await.unwrap();
        let later = later.await.unwrap();
        let told = OffsetDateTime::parse(later["updated_at"].as_str().unwrap(), &Rfc3339).unwrap();
        // It is told to the millisecond, cut off.
        assert!(told >= earlier - time::Duration::milliseconds(1), "{told} follows {earlier}");
        let kept: OffsetDateTime =
            admin.query_one("select max(updated_at) from task_service.tasks", &[]).await.unwrap().get(0);
        assert!(kept >= earlier, "{kept} follows {earlier}");
        admin.batch_execute("delete from task_service.tasks").await.unwrap();
    }
}
