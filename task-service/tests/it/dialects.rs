//! What frontends of other backends send, in other words than the contract, and what it comes to. (Those of lists stand in
//! `lists`.)

use chassis::Body;
use serde_json::{Value, json};

use crate::service::{Answer, Service, start};

/// What a new task, a PUT and a PATCH make of a body; a task before a change has a value in every field.
async fn each(service: &Service, body: &Value) -> [Answer; 3] {
    let full = json!({
        "title": "t", "description": "d", "completed": true, "priority": "low", "due_date": "2020-02-02", "tags": ["x"],
    });
    let mut new = json!({"title": "t"});
    new.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
    let (put, patch) = (service.create("u1", &full).await, service.create("u1", &full).await);
    let path = |task: &Value| format!("/api/tasks/{}", task["id"].as_str().unwrap());
    [
        service.call_with("u1", "POST /api/tasks", &new).await,
        service.call_with("u1", &format!("PUT {}", path(&put)), body).await,
        service.call_with("u1", &format!("PATCH {}", path(&patch)), body).await,
    ]
}

#[tokio::test]
async fn what_is_plain_is_taken_in_other_words_too() {
    let Some(service) = start().await else { return };
    for (field, said, want) in [
        ("priority", json!("urgent"), json!("urgent")),
        ("priority", json!("MEDIUM"), json!("medium")),
        ("priority", json!(" High "), json!("high")),
        ("priority", json!("none"), Value::Null),
        ("priority", json!("NONE"), Value::Null),
        ("priority", json!(""), Value::Null),
        ("priority", Value::Null, Value::Null),
        ("due_date", json!(""), Value::Null),
        ("due_date", Value::Null, Value::Null),
        ("due_date", json!("2026-01-31"), json!("2026-01-31")),
        ("due_date", json!("2026-01-31T09:30"), json!("2026-01-31T09:30:00.000Z")),
        ("due_date", json!("2026-01-31T09:30:15"), json!("2026-01-31T09:30:15.000Z")),
        ("due_date", json!("2026-01-31 09:30"), json!("2026-01-31T09:30:00.000Z")),
        ("due_date", json!("2026-01-31T09:30:00+0100"), json!("2026-01-31T08:30:00.000Z")),
        ("tags", json!("a,b"), json!(["a", "b"])),
        ("tags", json!(" a , b c ,"), json!(["a", "b c"])),
        ("tags", json!(""), json!([])),
        ("tags", Value::Null, json!([])),
        ("description", json!(""), Value::Null),
        ("description", Value::Null, Value::Null),
        ("is_completed", json!(true), json!(true)),
    ] {
        for answer in each(&service, &json!({field: said})).await {
            assert!(answer.status.is_success(), "{field} {said}: {}", answer.text());
            assert_eq!(answer.json()[field], want, "{field} {said}");
        }
    }
}

#[tokio::test]
async fn null_says_nothing_of_completion() {
    let Some(service) = start().await else { return };
    for name in ["completed", "is_completed"] {
        let [new, put, patch] = each(&service, &json!({name: null})).await;
        assert_eq!((new.status.as_u16(), new.json()["completed"].clone()), (201, json!(false)));
        for changed in [put, patch] {
            assert_eq!((changed.status.as_u16(), changed.json()["completed"].clone()), (200, json!(true)));
        }
    }
    // To complete without a word of it is to turn it over.
    let task = service.create("u1", &json!({"title": "t"})).await;
    let line = format!("PATCH /api/tasks/{}/toggle", task["id"].as_str().unwrap());
    for want in [true, false] {
        let answer = service.call_with("u1", &line, &json!({"completed": null})).await;
        assert_eq!(answer.json()["completed"], want);
    }
}

#[tokio::test]
async fn what_means_nothing_is_refused_and_changes_nothing() {
    let Some(service) = start().await else { return };
    for (field, said) in [
        ("title", json!("\u{200B}\u{FEFF} \u{3164}")),
        ("title", json!("")),
        ("priority", json!("later")),
        ("priority", json!(2)),
        ("due_date", json!("tomorrow")),
        ("tags", json!({"a": 1})),
        ("completed", json!("perhaps")),
    ] {
        let body = json!({field: said});
        for answer in each(&service, &body).await {
            assert_eq!(answer.problem(422, "invalid")["errors"][0]["field"], field, "{body}");
        }
    }
    let changed =
        service.list("u1").await.into_iter().filter(|task| task["created_at"] != task["updated_at"]);
    assert_eq!(changed.count(), 0);
}

/// Whatever it is, of whatever size.
#[tokio::test]
async fn what_only_another_backend_knows_is_passed_over() {
    let Some(service) = start().await else { return };
    let deep = format!("{}1e9999{}", "{\"a\":[".repeat(200), "]}".repeat(200));
    for unknown in ["17", "123456789012345678901234567890", "1.5e400", "-0", "{\"a\":null}", &deep] {
        let body = format!(
            r#"{{"category_id":{unknown},"title":"t","dueDate":{unknown},"id":17,"user_id":"u2","recurrence":{unknown}}}"#
        );
        let request = service.request("u1", "POST /api/tasks").header("content-type", "application/json");
        let answer = service.send(request.body(Body::from(body)).unwrap()).await;
        assert_eq!(answer.status, 201, "{unknown}: {}", answer.text());
        let task = answer.json();
        assert_eq!((&task["title"], &task["user_id"]), (&json!("t"), &json!("u1")));
    }
}
