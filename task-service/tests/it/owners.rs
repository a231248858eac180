//! What belongs to one user is not there for another.

use http::Method;
use serde_json::json;

use crate::service::start;

const NOBODYS: &str = "0199c0de-0000-7000-8000-000000000000";

#[tokio::test]
async fn a_foreign_task_answers_like_one_that_does_not_exist() {
    let Some(service) = start().await else { return };
    let task = service.create("u1", &json!({"title": "mine", "description": "secret"})).await;
    let id = task["id"].as_str().unwrap();
    for (method, below) in [("GET", ""), ("PUT", ""), ("PATCH", ""), ("DELETE", ""), ("PATCH", "/complete")] {
        for tasks in ["/api/tasks", "/api/u2/tasks"] {
            for slash in ["", "/"] {
                let mut problems = Vec::new();
                for id in [id, NOBODYS, "not-an-id"] {
                    let line = format!("{method} {tasks}/{id}{below}{slash}");
                    let answer = service.call_with("u2", &line, &json!({"title": "stolen"})).await;
                    let mut problem = answer.problem(404, "not-found");
                    let mut headers = answer.headers.clone();
                    headers.remove("x-request-id");
                    problems.push((problem.take(), headers));
                }
                assert!(problems.windows(2).all(|pair| pair[0] == pair[1]), "{method} {problems:?}");
            }
        }
    }
    assert_eq!(service.list("u2").await, Vec::<serde_json::Value>::new());
    assert_eq!(service.list("u1").await, [task]);
}

#[tokio::test]
async fn a_path_that_names_another_user_is_refused() {
    let Some(service) = start().await else { return };
    let task = service.create("u1", &json!({"title": "mine"})).await;
    let id = task["id"].as_str().unwrap();
    for other in ["u1", "", "U2", "u2%20", "u2%2F", "%75%31", "me", "..", "u1,u2"] {
        for below in ["", "/"] {
            for method in [Method::GET, Method::HEAD, Method::POST] {
                let line = format!("{method} /api/{other}/tasks{below}");
                let answer = service.call_with("u2", &line, &json!({"title": "planted"})).await;
                if method == Method::HEAD {
                    assert_eq!((answer.status.as_u16(), answer.body.len()), (403, 0), "{line}");
                } else {
                    answer.problem(403, "forbidden");
                }
            }
        }
        for below in ["", "/", "/complete", "/complete/"] {
            for method in [Method::GET, Method::PUT, Method::PATCH, Method::DELETE] {
                if below.starts_with("/c") && method != Method::PATCH {
                    continue;
                }
                let line = format!("{method} /api/{other}/tasks/{id}{below}");
                let answer = service.call_with("u2", &line, &json!({"title": "stolen"})).await;
                answer.problem(403, "forbidden");
            }
        }
    }
    assert_eq!(service.list("u1").await, [task]);
}

#[tokio::test]
async fn a_user_id_is_compared_as_it_is() {
    let Some(service) = start().await else { return };
    // As it may stand in a header; in a path, percent-encoded.
    for (user, encoded) in [
        ("auth0|7", "auth0%7C7"),
        ("a/b", "a%2Fb"),
        ("a%2Fb", "a%252Fb"),
        ("a@b.c", "a@b.c"),
        ("a?b#c", "a%3Fb%23c"),
        ("tasks", "tasks"),
        ("'; drop table tasks; --", "%27;%20drop%20table%20tasks;%20--"),
    ] {
        if user.contains(' ') {
            // No such id gets in at all.
            service.call(user, "GET /api/tasks").await.problem(401, "unauthenticated");
            continue;
        }
        let line = format!("POST /api/{encoded}/tasks/");
        let answer = service.call_with(user, &line, &json!({"title": user})).await;
        if user == "tasks" {
            // `/api/tasks/tasks/` is the short form of a task called `tasks`.
            answer.problem(405, "method-not-allowed");
            continue;
        }
        assert_eq!(answer.status, 201, "{}", answer.text());
        assert_eq!(answer.json()["user_id"], user);
        let location = answer.header("location").unwrap().to_owned();
        assert!(location.starts_with(&format!("/api/{encoded}/tasks/")), "{location}");
        assert_eq!(service.call(user, &format!("GET {location}")).await.status, 200);
        assert_eq!(service.list(user).await.len(), 1);
    }
}

#[tokio::test]
async fn a_body_cannot_say_whose_a_task_is_nor_who_made_it_when() {
    let Some(service) = start().await else { return };
    let forged = json!({
        "title": "t", "user_id": "u2", "id": NOBODYS, "created_at": "2000-01-01T00:00:00Z",
        "updated_at": "2000-01-01T00:00:00Z", "version": 7,
    });
    let task = service.create("u1", &forged).await;
    assert_eq!(task["user_id"], "u1");
    assert_ne!(task["id"], NOBODYS);
    assert!(task["created_at"].as_str().unwrap() > "2020");
    let line = format!("PUT /api/tasks/{}", task["id"].as_str().unwrap());
    let changed = service.call_with("u1", &line, &forged).await.json();
    assert_eq!(changed["user_id"], "u1");
    assert_eq!((&changed["id"], &changed["created_at"]), (&task["id"], &task["created_at"]));
    assert!(service.list("u2").await.is_empty());
}

#[tokio::test]
async fn a_list_and_every_filter_of_it_stays_with_its_user() {
    let Some(service) = start().await else { return };
    let body = json!({"title": "same", "priority": "high", "tags": ["x"], "completed": true});
    service.create("u1", &body).await;
    for query in
        ["", "?status=completed", "?priority=high", "?tag=x", "?search=same", "?sort=title", "?limit=1"]
    {
        for tasks in ["/api/tasks", "/api/u2/tasks"] {
            let answer = service.call("u2", &format!("GET {tasks}{query}")).await;
            assert_eq!(answer.json(), json!([]), "{query}");
        }
    }
}
