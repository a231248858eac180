//! Every route, in every spelling that frontends call.

use chassis::Body;
use serde_json::{Value, json};

use crate::service::{Service, start};

/// Every path to the list of `u1`.
const LISTS: [&str; 4] = ["/api/tasks", "/api/tasks/", "/api/u1/tasks", "/api/u1/tasks/"];

/// Every path to a task of `u1`, and below it.
fn paths(id: &Value, below: &str) -> [String; 4] {
    let id = id.as_str().unwrap();
    ["/api/tasks", "/api/u1/tasks"]
        .map(|tasks| ["", "/"].map(|slash| format!("{tasks}/{id}{below}{slash}")))
        .as_flattened()
        .to_owned()
        .try_into()
        .unwrap()
}

async fn task(service: &Service) -> Value {
    let body = json!({
        "title": "Buy milk", "description": "two bottles", "priority": "low", "tags": ["home"],
        "due_date": "2026-01-31",
    });
    service.create("u1", &body).await
}

#[tokio::test]
async fn a_task_is_made_and_says_where_it_is() {
    let Some(service) = start().await else { return };
    for tasks in LISTS {
        let body = json!({"title": "  Buy milk "});
        let answer = service.call_with("u1", &format!("POST {tasks}"), &body).await;
        assert_eq!(answer.status, 201);
        let task = answer.json();
        let id = task["id"].as_str().unwrap();
        let location = format!("{}/{id}", tasks.trim_end_matches('/'));
        assert_eq!(answer.header("location"), Some(&*location));
        assert_eq!(answer.header("cache-control"), Some("private, no-cache"));
        assert_eq!(service.call("u1", &format!("GET {location}")).await.json(), task);
        let (created, updated) = (&task["created_at"], &task["updated_at"]);
        assert_eq!(
            task,
            json!({
                "id": id, "user_id": "u1", "title": "Buy milk", "description": null, "completed": false,
                "is_completed": false, "priority": null, "due_date": null, "tags": [],
                "created_at": created, "updated_at": updated,
            })
        );
        assert_eq!(created, updated);
        assert!(created.as_str().unwrap().ends_with('Z'));
    }
}

#[tokio::test]
async fn everything_that_is_said_about_a_task_is_kept() {
    let Some(service) = start().await else { return };
    let body = json!({
        "title": "🦀".repeat(200), "description": "é".repeat(1000), "is_completed": true, "priority": "high",
        "due_date": "2026-01-31T23:59:59.999+02:00", "tags": vec!["ü".repeat(50); 20],
    });
    let task = service.create("u1", &body).await;
    for name in ["title", "description", "priority", "tags"] {
        assert_eq!(task[name], body[name]);
    }
    assert_eq!((&task["completed"], &task["is_completed"]), (&json!(true), &json!(true)));
    assert_eq!(task["due_date"], "2026-01-31T21:59:59.999Z");
    assert_eq!(service.list("u1").await, [task]);
}

#[tokio::test]
async fn a_list_is_a_bare_array_under_every_path() {
    let Some(service) = start().await else { return };
    let task = task(&service).await;
    for tasks in LISTS {
        let answer = service.call("u1", &format!("GET {tasks}")).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.json(), json!([task]));
        assert_eq!(answer.header("cache-control"), Some("private, no-cache"));
    }
}

#[tokio::test]
async fn a_task_is_read_under_every_path() {
    let Some(service) = start().await else { return };
    let task = task(&service).await;
    for path in paths(&task["id"], "") {
        assert_eq!(service.call("u1", &format!("GET {path}")).await.json(), task, "{path}");
    }
}

#[tokio::test]
async fn put_and_patch_change_what_is_named_and_nothing_else() {
    let Some(service) = start().await else { return };
    let mut task = task(&service).await;
    for method in ["PUT", "PATCH"] {
        for path in paths(&task["id"], "") {
            for changes in [
                json!({"title": " new "}),
                json!({"description": "new"}),
                json!({"description": null}),
                json!({"priority": "high"}),
                json!({"priority": null}),
                json!({"due_date": "2030-12-31T10:00:00.000Z"}),
                json!({"due_date": null}),
                json!({"tags": ["a", "b"]}),
                json!({"tags": null}),
                json!({"tags": []}),
                json!({"completed": true}),
                json!({"is_completed": false}),
                json!({"title": "all", "description": "of", "priority": "medium", "tags": ["it"]}),
            ] {
                let changed = service.call_with("u1", &format!("{method} {path}"), &changes).await.json();
                assert!(changed["updated_at"].as_str() >= task["updated_at"].as_str());
                task["updated_at"] = changed["updated_at"].clone();
                for (name, value) in changes.as_object().unwrap() {
                    match name.as_str() {
                        "title" => task["title"] = value.as_str().unwrap().trim().into(),
                        "tags" if value.is_null() => task["tags"] = json!([]),
                        "completed" | "is_completed" => {
                            task["completed"] = value.clone();
                            task["is_completed"] = value.clone();
                        }
                        _ => task[name] = value.clone(),
                    }
                }
                assert_eq!(changed, task, "{method} {path} {changes}");
            }
        }
    }
    assert_eq!(service.list("u1").await, [task]);
}

#[tokio::test]
async fn a_change_of_nothing_changes_nothing() {
    let Some(service) = start().await else { return };
    let task = task(&service).await;
    for method in ["PUT", "PATCH"] {
        for nothing in [json!({}), json!({"nonsense": [1, {"deep": true}], "id": 7})] {
            let line = format!("{method} {}", paths(&task["id"], "")[0]);
            assert_eq!(service.call_with("u1", &line, &nothing).await.json(), task);
        }
    }
}

#[tokio::test]
async fn completion_is_set_where_it_is_said_and_turned_over_where_not() {
    let Some(service) = start().await else { return };
    let task = task(&service).await;
    for path in paths(&task["id"], "/complete") {
        let line = format!("PATCH {path}");
        for (body, want) in [
            (Some(json!({"completed": true})), true),
            (Some(json!({"completed": true})), true),
            (None, false),
            (Some(json!({})), true),
            (Some(json!({"is_completed": true})), true),
            (Some(json!({"is_completed": false, "completed": false})), false),
            (Some(json!({"title": "not here"})), true),
            (Some(json!({"is_completed": false})), false),
        ] {
            let answer = match &body {
                Some(body) => service.call_with("u1", &line, body).await,
                None => service.call("u1", &line).await,
            };
            let changed = answer.json();
            assert_eq!(changed["completed"], want, "{body:?}");
            assert_eq!(changed["is_completed"], want);
            assert_eq!(changed["title"], task["title"]);
        }
        // A content type without a body says nothing.
        let request = service.request("u1", &line).header("content-type", "text/plain");
        let answer = service.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(answer.json()["completed"], true);
        service.call("u1", &line).await;
    }
}

#[tokio::test]
async fn toggle_is_another_word_for_it() {
    let Some(service) = start().await else { return };
    let task = task(&service).await;
    for (at, path) in paths(&task["id"], "/toggle").iter().enumerate() {
        let toggled = service.call("u1", &format!("PATCH {path}")).await.json();
        assert_eq!(toggled["completed"], at % 2 == 0);
        service.call("u1", &format!("GET {path}")).await.problem(405, "method-not-allowed");
    }
}

#[tokio::test]
async fn two_who_turn_over_at_once_are_both_heard() {
    let Some(service) = start().await else { return };
    let service = std::sync::Arc::new(service);
    let task = task(&service).await;
    let line = format!("PATCH {}", paths(&task["id"], "/complete")[0]);
    let turns: Vec<_> = (0..51)
        .map(|_| {
            let (service, line) = (service.clone(), line.clone());
            tokio::spawn(async move { service.call("u1", &line).await.status })
        })
        .collect();
    for turn in turns {
        assert_eq!(turn.await.unwrap(), 200);
    }
    assert_eq!(service.list("u1").await[0]["completed"], true, "an odd number of turns");
}

#[tokio::test]
async fn a_removed_task_is_gone() {
    let Some(service) = start().await else { return };
    for at in 0..4 {
        let task = task(&service).await;
        let path = &paths(&task["id"], "")[at];
        let answer = service.call("u1", &format!("DELETE {path}")).await;
        assert_eq!(answer.status, 204);
        assert!(answer.body.is_empty());
        assert_eq!(answer.header("content-type"), None);
        for method in ["GET", "DELETE"] {
            service.call("u1", &format!("{method} {path}")).await.problem(404, "not-found");
        }
    }
    assert!(service.list("u1").await.is_empty());
}

#[tokio::test]
async fn head_answers_like_get_without_a_body() {
    let Some(service) = start().await else { return };
    let task = task(&service).await;
    for path in ["/api/tasks".to_owned(), paths(&task["id"], "")[0].clone()] {
        let (get, head) = (
            service.call("u1", &format!("GET {path}")).await,
            service.call("u1", &format!("HEAD {path}")).await,
        );
        assert_eq!(head.status, 200);
        assert!(head.body.is_empty());
        assert_eq!(head.header("content-type"), get.header("content-type"));
        assert_eq!(head.header("content-length"), get.header("content-length"));
    }
    assert_eq!(service.call("u1", "HEAD /api/tasks/nothing").await.status, 404);
}

#[tokio::test]
async fn a_method_that_a_path_does_not_have_is_told_which_it_has() {
    let Some(service) = start().await else { return };
    let task = task(&service).await;
    let list = LISTS.map(|path| (path.to_owned(), ["GET", "HEAD", "POST"].as_slice()));
    let one = paths(&task["id"], "").map(|path| (path, ["DELETE", "GET", "HEAD", "PATCH", "PUT"].as_slice()));
    let complete = paths(&task["id"], "/complete").map(|path| (path, ["PATCH"].as_slice()));
    for (path, allowed) in list.into_iter().chain(one).chain(complete) {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PURGE"] {
            if allowed.contains(&method) {
                continue;
            }
            let answer = service.call("u1", &format!("{method} {path}")).await;
            answer.problem(405, "method-not-allowed");
            let mut named: Vec<_> = answer.header("allow").unwrap().split(',').map(str::trim).collect();
            named.sort_unstable();
            assert_eq!(named, allowed, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn a_path_that_is_not_there_is_not_found() {
    let Some(service) = start().await else { return };
    for path in [
        "/",
        "/api",
        "/api/",
        "/api/task",
        "/api/tasks//",
        "/API/TASKS",
        "/api/tasks/x/y",
        "/api/u1/tasks/x/y",
        "/api/u1/tasks/x/complete/y",
        "/tasks",
        "/health",
        "/api/%FF/tasks",
        "/api/tasks/%FF",
    ] {
        let answer = service.call("u1", &format!("GET {path}")).await;
        assert_eq!(answer.status, 404, "{path}");
        answer.problem(404, "not-found");
    }
}

#[tokio::test]
async fn where_a_path_could_mean_two_things_the_short_form_wins() {
    let Some(service) = start().await else { return };
    let task = service.create("tasks", &json!({"title": "t"})).await;
    let id = task["id"].as_str().unwrap();
    // The task called `tasks`, not the list of a user called `tasks`.
    service.call("tasks", "GET /api/tasks/tasks").await.problem(404, "not-found");
    service.call("tasks", "GET /api/tasks/tasks/").await.problem(404, "not-found");
    service.call("tasks", "PATCH /api/tasks/tasks/complete").await.problem(404, "not-found");
    // What the short form can't mean is the long one.
    assert_eq!(service.call("tasks", &format!("GET /api/tasks/tasks/{id}")).await.json(), task);
    service.call("u1", &format!("GET /api/tasks/tasks/{id}")).await.problem(403, "forbidden");
    // Such a user lacks nothing.
    assert_eq!(service.list("tasks").await, [task]);
    // And one called `complete` is a user like any other.
    assert_eq!(service.call("complete", "GET /api/complete/tasks").await.json(), json!([]));
}

/// As frontends of other backends call `u1`'s tasks.
const ELSEWHERE: [&str; 8] = [
    "/api/todos",
    "/api/u1/todos",
    "/api/v1/tasks",
    "/api/v1/todos",
    "/api/v1/u1/tasks",
    "/api/users/u1/tasks",
    "/api/users/u1/todos",
    "/api/v1/users/u1/tasks",
];

#[tokio::test]
async fn other_words_in_a_path_lead_to_the_same_tasks() {
    let Some(service) = start().await else { return };
    for tasks in ELSEWHERE.iter().flat_map(|path| [(*path).to_owned(), format!("{path}/")]) {
        let made = service.call_with("u1", &format!("POST {tasks}"), &json!({"title": "t"})).await;
        assert_eq!(made.status, 201, "{tasks}");
        let task = made.json();
        let path = format!("{}/{}", tasks.trim_end_matches('/'), task["id"].as_str().unwrap());
        assert_eq!(made.header("location"), Some(&*path));
        assert_eq!(service.call("u1", &format!("GET {path}")).await.json(), task);
        assert_eq!(service.call("u1", &format!("GET {tasks}?limit=1")).await.json(), json!([task]));
        let put = service.call_with("u1", &format!("PUT {path}"), &json!({"title": "new"})).await;
        assert_eq!(put.json()["title"], "new", "{path}");
        for (word, completed) in [("complete", true), ("toggle", false), ("toggle-complete", true)] {
            let answer = service.call("u1", &format!("PATCH {path}/{word}")).await;
            assert_eq!((answer.status.as_u16(), &answer.json()["completed"]), (200, &json!(completed)));
        }
        let found = service.call("u1", &format!("GET {}/search?q=NEW", tasks.trim_end_matches('/'))).await;
        assert_eq!(found.json().as_array().map(Vec::len), Some(1), "{tasks}");
        assert_eq!(service.call("u1", &format!("DELETE {path}")).await.status, 204);
        assert_eq!(service.list("u1").await, [] as [Value; 0]);
    }
}

/// Whatever words stand before it.
#[tokio::test]
async fn no_word_in_a_path_makes_anybody_another_user() {
    let Some(service) = start().await else { return };
    let task = service.create("u1", &json!({"title": "u1's"})).await;
    let id = task["id"].as_str().unwrap();
    for path in ELSEWHERE {
        let about_another = path.contains("u1");
        let (list, one) = if about_another { ("forbidden", "forbidden") } else { ("", "not-found") };
        let answer = service.call("u2", &format!("GET {path}")).await;
        if about_another {
            answer.problem(403, list);
        } else {
            assert_eq!(answer.json(), json!([]), "{path}");
        }
        for line in
            [format!("GET {path}/{id}"), format!("DELETE {path}/{id}"), format!("PATCH {path}/{id}/toggle")]
        {
            let status = if about_another { 403 } else { 404 };
            service.call("u2", &line).await.problem(status, one);
        }
    }
    // Users whose names are such words have their own tasks, and no others have them.
    for name in ["v1", "users", "todos", "tasks", "search"] {
        let own = service.create(name, &json!({"title": name})).await;
        assert_eq!(service.call(name, "GET /api/v1/tasks").await.json(), json!([own]));
        service.call("u2", &format!("GET /api/users/{name}/tasks")).await.problem(403, "forbidden");
        service.call("u2", &format!("GET /api/v1/{name}/todos/{id}")).await.problem(403, "forbidden");
    }
    assert_eq!(service.list("u1").await, [task]);
}

#[tokio::test]
async fn where_one_searches_nothing_is_made_or_removed() {
    let Some(service) = start().await else { return };
    let task = service.create("u1", &json!({"title": "Buy milk"})).await;
    for path in ["/api/tasks/search", "/api/u1/tasks/search/", "/api/v1/todos/search"] {
        for query in ["q=milk", "search=BUY", "query=", ""] {
            assert_eq!(
                service.call("u1", &format!("GET {path}?{query}")).await.json(),
                json!([task]),
                "{query}"
            );
        }
        assert_eq!(service.call("u1", &format!("GET {path}?q=beer")).await.json(), json!([]));
        for method in ["POST", "PUT", "PATCH", "DELETE"] {
            let answer = service.call_with("u1", &format!("{method} {path}"), &json!({"title": "t"})).await;
            assert_eq!(answer.header("allow"), Some("GET, HEAD"), "{method} {path}");
            answer.problem(405, "method-not-allowed");
        }
    }
    service.call("u2", "GET /api/u1/tasks/search?q=milk").await.problem(403, "forbidden");
    assert_eq!(service.list("u1").await, [task]);
}
