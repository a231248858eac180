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

/// A change that only `status` tells of must not be answered 200 and be lost.
#[tokio::test]
async fn a_status_in_a_body_completes_a_task_or_not() {
    let Some(service) = start().await else { return };
    // Before the change it is completed; a new one is not.
    for (said, new, changed) in [
        ("completed", true, true),
        ("Done", true, true),
        ("pending", false, false),
        ("not_started", false, false),
        ("in_progress", false, false),
        // One of those that only another backend has.
        ("archived", false, true),
        ("", false, true),
    ] {
        let [made, put, patch] = each(&service, &json!({"status": said})).await;
        for (answer, status, want) in [(made, 201, new), (put, 200, changed), (patch, 200, changed)] {
            assert_eq!(answer.status, status, "{said}: {}", answer.text());
            assert_eq!(answer.json()["completed"], want, "{said}");
        }
    }
    // What a page sends back as a whole may have the status of before.
    for body in
        [json!({"status": "pending", "completed": true}), json!({"is_completed": true, "status": "todo"})]
    {
        for answer in each(&service, &body).await {
            assert_eq!(
                (answer.status.is_success(), &answer.json()["completed"]),
                (true, &json!(true)),
                "{body}"
            );
        }
    }
    let task = service.create("u1", &json!({"title": "t"})).await;
    let line = format!("PATCH /api/tasks/{}/complete", task["id"].as_str().unwrap());
    for _ in 0..2 {
        let answer = service.call_with("u1", &line, &json!({"status": "completed"})).await;
        assert_eq!(answer.json()["completed"], true, "it is set, not turned over");
    }
}

#[tokio::test]
async fn a_query_says_whether_a_task_is_to_be_completed() {
    let Some(service) = start().await else { return };
    let task = service.create("u1", &json!({"title": "t"})).await;
    let line = format!("PATCH /api/tasks/{}/complete", task["id"].as_str().unwrap());
    for (query, want) in [
        ("completed=true", true),
        ("completed=True", true),
        ("is_completed=false", false),
        ("isCompleted=false", false),
        // It says nothing of it.
        ("completed=", true),
        ("x=1", false),
    ] {
        let answer = service.call("u1", &format!("{line}?{query}")).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["completed"]), (200, &json!(want)), "{query}");
    }
    for (query, body, wrong) in [
        ("completed=yes", json!({}), "completed must be true or false"),
        (
            "completed=true&is_completed=false",
            json!({}),
            "is_completed is given more than once, with different values",
        ),
        ("completed=true", json!({"completed": false}), "completed contradicts the query"),
    ] {
        let problem =
            service.call_with("u1", &format!("{line}?{query}"), &body).await.problem(422, "invalid");
        assert_eq!(problem["detail"], wrong, "{query}");
    }
    let same = service.call_with("u1", &format!("{line}?completed=true"), &json!({"completed": true})).await;
    assert_eq!(same.json()["completed"], true);
    // Under a key, the other state is another request.
    let send = async |query: &str| {
        let request = service.request("u1", &format!("{line}{query}")).header("idempotency-key", "k");
        service.send(request.body(Body::empty()).unwrap()).await
    };
    assert_eq!(send("?completed=false").await.json()["completed"], false);
    assert_eq!(send("?completed=false&_=17").await.json()["completed"], false);
    for other in ["?completed=true", ""] {
        send(other).await.problem(422, "idempotency-key-reused");
    }
    assert_eq!(service.list("u1").await[0]["completed"], false);
}

#[tokio::test]
async fn pages_are_found_by_their_numbers_each_task_on_one() {
    let Some(service) = start().await else { return };
    for number in 0..5 {
        service.create("u1", &json!({"title": format!("task {number}")})).await;
    }
    for size in ["limit", "per_page", "page_size"] {
        let mut titles = Vec::new();
        for (page, count) in [(1, 2), (2, 2), (3, 1), (4, 0)] {
            let line = format!("GET /api/tasks?sort=createdAt:asc&page={page}&{size}=2");
            let tasks = service.call("u1", &line).await.json();
            assert_eq!(tasks.as_array().map(Vec::len), Some(count), "{line}");
            titles.extend(tasks.as_array().unwrap().iter().map(|task| task["title"].clone()));
        }
        assert_eq!(titles, ["task 0", "task 1", "task 2", "task 3", "task 4"], "{size}");
    }
    for (query, wrong) in [
        ("page=0", "page must be a whole number from 1 to 10001"),
        ("page=12", "page must be a whole number from 1 to 11"),
        ("page=2&limit=2&offset=3", "page contradicts offset"),
        ("page=2&limit=2&page=3", "page is given more than once, with different values"),
        ("per_page=0", "limit must be a whole number from 1 to 1000"),
        ("limit=2&page_size=3", "limit is given more than once, with different values"),
        ("sort=title:up", "order must be asc or desc"),
        ("sort=-title&order=asc", "order is given more than once, with different values"),
    ] {
        let problem = service.call("u1", &format!("GET /api/tasks?{query}")).await.problem(422, "invalid");
        assert_eq!(problem["detail"], wrong, "{query}");
    }
}
