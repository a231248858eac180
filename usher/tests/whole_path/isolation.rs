//! A user can neither see, change, delete nor detect another's task, by any route.

use http::Method;
use serde_json::{Value, json};

use crate::world::World;

/// An answer's body, but for the one thing that differs from request to request.
fn told(mut body: Value) -> Value {
    if let Some(body) = body.as_object_mut() {
        body.remove("request_id");
    }
    body
}

#[tokio::test(flavor = "multi_thread")]
async fn another_users_task_is_as_if_it_were_not() {
    let Some(world) = World::start(&[]).await else { return };
    let (ada, eve) = (world.user("ada"), world.user("eve"));
    let id = ada.make("Ada's secret").await;
    let before = ada.call(Method::GET, &format!("/api/tasks/{id}"), None).await.body;
    let missing = "0193e4a0-0000-7000-8000-000000000000";

    for (method, below, body) in [
        (Method::GET, "", None),
        (Method::HEAD, "", None),
        (Method::PUT, "", Some(json!({"title": "Eve's"}))),
        (Method::PATCH, "", Some(json!({"title": "Eve's"}))),
        (Method::PATCH, "/complete", Some(json!({"completed": true}))),
        (Method::PATCH, "/complete", None),
        (Method::DELETE, "", None),
    ] {
        for form in ["/api/tasks", "/api/eve/tasks"] {
            for slash in ["", "/"] {
                let call = async |id: &str| {
                    let path = format!("{form}/{id}{below}{slash}");
                    eve.call(method.clone(), &path, body.clone()).await
                };
                let (theirs, none) = (call(&id).await, call(missing).await);
                assert_eq!(theirs.status, 404, "{method} {form}{below}{slash}: {}", theirs.body);
                assert_eq!(none.status, 404);
                assert_eq!(told(theirs.body), told(none.body), "not to be told apart");
            }
        }
        // In somebody else's name she gets nowhere, whether the task is there or not.
        for id in [&*id, missing] {
            let answer = eve.call(method.clone(), &format!("/api/ada/tasks/{id}{below}"), body.clone()).await;
            assert_eq!(answer.status, 403, "{method}");
        }
    }
    for path in ["/api/ada/tasks", "/api/ada/tasks/", "/api/%61da/tasks"] {
        assert_eq!(eve.call(Method::GET, path, None).await.status, 403, "{path}");
        assert_eq!(eve.call(Method::POST, path, Some(json!({"title": "x"}))).await.status, 403, "{path}");
    }
    for list in
        ["/api/tasks", "/api/eve/tasks", "/api/tasks?status=all&user_id=ada", "/api/tasks/?limit=1000"]
    {
        assert_eq!(eve.call(Method::GET, list, None).await.body, json!([]), "{list}");
    }
    let after = ada.call(Method::GET, &format!("/api/tasks/{id}"), None).await.body;
    assert_eq!(before, after, "nothing has changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_a_task_is_can_not_be_said_in_its_body() {
    let Some(world) = World::start(&[]).await else { return };
    let (ada, eve) = (world.user("ada"), world.user("eve"));
    let id = ada.make("Ada's").await;
    let planted =
        json!({"title": "planted", "user_id": "ada", "id": id, "created_at": "2000-01-01T00:00:00Z"});
    let made = eve.call(Method::POST, "/api/tasks", Some(planted)).await;
    assert_eq!((made.status.as_u16(), &made.body["user_id"]), (201, &json!("eve")));
    assert_ne!(made.body["id"], json!(id));
    let path = format!("/api/tasks/{}", made.body["id"].as_str().unwrap());
    let moved = eve.call(Method::PUT, &path, Some(json!({"user_id": "ada"}))).await;
    assert_eq!(moved.body["user_id"], "eve");
    assert_eq!(ada.titles().await, ["Ada's"]);
    assert_eq!(eve.titles().await, ["planted"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_life_of_a_task() {
    let Some(world) = World::start(&[]).await else { return };
    let ada = world.user("ada");
    let made = ada.call(Method::POST, "/api/tasks/", Some(json!({"title": "  milk  "}))).await;
    assert_eq!(made.status, 201);
    let id = made.body["id"].as_str().unwrap().to_owned();
    assert_eq!(made.headers["location"], *format!("/api/tasks/{id}"));
    assert_eq!((&made.body["title"], &made.body["is_completed"]), (&json!("milk"), &json!(false)));
    let task = format!("/api/{}/tasks/{id}", ada.id);
    let done = ada.call(Method::PATCH, &format!("{task}/complete"), None).await;
    assert_eq!((&done.body["completed"], &done.body["is_completed"]), (&json!(true), &json!(true)));
    let changed = ada.call(Method::PUT, &task, Some(json!({"description": "two litres"}))).await;
    assert_eq!((&changed.body["title"], &changed.body["completed"]), (&json!("milk"), &json!(true)));
    let completed = ada.call(Method::GET, "/api/tasks?status=completed", None).await;
    assert_eq!(completed.body.as_array().unwrap().len(), 1);
    assert_eq!(ada.call(Method::GET, "/api/tasks?status=pending", None).await.body, json!([]));
    let gone = ada.call(Method::DELETE, &task, None).await;
    assert_eq!((gone.status.as_u16(), gone.headers.get("content-type")), (204, None));
    assert_eq!(ada.call(Method::GET, &task, None).await.status, 404);
    assert_eq!(ada.call(Method::POST, "/api/tasks", Some(json!({"title": ""}))).await.status, 422);
}
