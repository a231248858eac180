//! Conditional requests: what a client has seen, and what was changed in between.

use std::{collections::HashSet, sync::Arc};

use chassis::Body;
use serde_json::{Value, json};

use crate::{
    database::connect,
    service::{Answer, Service, start},
};

fn path(task: &Value) -> String {
    format!("/api/tasks/{}", task["id"].as_str().unwrap())
}

/// Sends a request of `u1` with headers, and with a body if there is one.
async fn send(service: &Service, line: &str, headers: &[(&str, &str)], body: Option<&Value>) -> Answer {
    let mut request = service.request("u1", line);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = match body {
        Some(body) => {
            request = request.header("content-type", "application/json");
            Body::from(body.to_string())
        }
        None => Body::empty(),
    };
    service.send(request.body(body).unwrap()).await
}

/// Every write to a task, with its body.
fn writes(path: &str) -> [(String, Option<Value>); 4] {
    [
        (format!("PUT {path}"), Some(json!({"title": "put"}))),
        (format!("PATCH {path}"), Some(json!({"title": "patched"}))),
        (format!("PATCH {path}/complete"), None),
        (format!("DELETE {path}"), None),
    ]
}

#[tokio::test]
async fn a_task_has_a_tag_that_follows_its_changes() {
    let Some(service) = start().await else { return };
    let made = service.call_with("u1", "POST /api/tasks", &json!({"title": "t"})).await;
    let path = path(&made.json());
    let mut seen = vec![made.header("etag").unwrap().to_owned()];
    assert_eq!(seen, ["\"1\""]);
    for (line, body) in &writes(&path)[..3] {
        let changed = send(&service, line, &[], body.as_ref()).await;
        let tag = changed.header("etag").unwrap().to_owned();
        assert!(!seen.contains(&tag), "{line}");
        for line in [format!("GET {path}"), format!("HEAD {path}")] {
            assert_eq!(service.call("u1", &line).await.header("etag"), Some(&*tag));
        }
        seen.push(tag);
    }
    let unchanged = send(&service, &format!("PATCH {path}"), &[], Some(&json!({}))).await;
    assert_eq!(unchanged.header("etag"), seen.last().map(|tag| &**tag));
    assert_eq!(service.call("u1", &format!("DELETE {path}")).await.header("etag"), None);
}

#[tokio::test]
async fn what_was_changed_since_is_not_changed_again() {
    let Some(service) = start().await else { return };
    let task = service.create("u1", &json!({"title": "t"})).await;
    let path = path(&task);
    let tag = service.call_with("u1", &format!("PATCH {path}"), &json!({"title": "new"})).await;
    let current = tag.header("etag").unwrap().to_owned();
    let before = service.list("u1").await;
    for (line, body) in writes(&path) {
        for (name, value) in [
            ("if-match", "\"1\""),
            ("if-match", "\"1\", \"7\""),
            ("if-match", "W/\"2\""),
            ("if-match", "\"nonsense\""),
            ("if-match", "\"02\""),
            ("if-none-match", "*"),
            ("if-none-match", &*current),
            ("if-none-match", "W/\"2\""),
        ] {
            send(&service, &line, &[(name, value)], body.as_ref()).await.problem(412, "precondition-failed");
        }
        let both = [("if-match", &*current), ("if-none-match", &*current)];
        send(&service, &line, &both, body.as_ref()).await.problem(412, "precondition-failed");
    }
    let nothing = send(&service, &format!("PUT {path}"), &[("if-match", "\"1\"")], Some(&json!({}))).await;
    nothing.problem(412, "precondition-failed");
    assert_eq!(service.list("u1").await, before);
}

#[tokio::test]
async fn what_is_as_it_was_seen_is_changed() {
    let Some(service) = start().await else { return };
    for at in 0..4 {
        for header in [
            ("if-match", "\"1\""),
            ("if-match", "\"9\" , \"1\""),
            ("if-match", "*"),
            ("if-none-match", "\"2\""),
        ] {
            let task = service.create("u1", &json!({"title": "t"})).await;
            let (line, body) = &writes(&path(&task))[at];
            let answer = send(&service, line, &[header], body.as_ref()).await;
            assert!(answer.status.is_success(), "{line} {header:?}: {}", answer.text());
        }
    }
}

#[tokio::test]
async fn what_is_not_there_is_not_found_whatever_is_demanded_of_it() {
    let Some(service) = start().await else { return };
    let others = service.create("u2", &json!({"title": "t"})).await;
    let nowhere = json!({"id": "0190b3a4-0000-7000-8000-000000000000"});
    for task in [others, nowhere] {
        for header in
            [("if-match", "\"1\""), ("if-match", "*"), ("if-none-match", "*"), ("if-none-match", "\"1\"")]
        {
            for (line, body) in writes(&path(&task)) {
                send(&service, &line, &[header], body.as_ref()).await.problem(404, "not-found");
            }
            send(&service, &format!("GET {}", path(&task)), &[header], None).await.problem(404, "not-found");
        }
    }
    assert_eq!(service.list("u2").await.len(), 1);
}

#[tokio::test]
async fn who_has_a_task_already_is_not_sent_it_again() {
    let Some(service) = start().await else { return };
    let task = service.create("u1", &json!({"title": "t"})).await;
    for line in [format!("GET {}", path(&task)), format!("HEAD {}", path(&task))] {
        for (name, value, status) in [
            ("if-none-match", "\"1\"", 304),
            ("if-none-match", "W/\"1\"", 304),
            ("if-none-match", "\"0\", \"1\"", 304),
            ("if-none-match", "*", 304),
            ("if-none-match", "\"2\"", 200),
            ("if-match", "\"1\"", 200),
            ("if-match", "*", 200),
            ("if-match", "W/\"1\"", 412),
            ("if-match", "\"2\"", 412),
            ("if-modified-since", "Fri, 01 Jan 2100 00:00:00 GMT", 200),
        ] {
            let answer = send(&service, &line, &[(name, value)], None).await;
            assert_eq!(answer.status, status, "{line} {name}: {value}");
            if status == 304 {
                assert_eq!(answer.header("etag"), Some("\"1\""));
                assert_eq!(answer.header("cache-control"), Some("private, no-cache"));
                assert_eq!((answer.header("content-type"), answer.header("content-length")), (None, None));
                assert!(answer.body.is_empty());
            }
        }
    }
}

#[tokio::test]
async fn a_list_has_a_tag_of_all_that_it_shows() {
    let Some(service) = start().await else { return };
    let tag = async |query: &str| {
        let answer = service.call("u1", &format!("GET /api/tasks{query}")).await;
        answer.header("etag").unwrap().to_owned()
    };
    let mut seen = HashSet::from([tag("").await]);
    let task = service.create("u1", &json!({"title": "one"})).await;
    assert!(seen.insert(tag("").await), "a task was made");
    service.create("u1", &json!({"title": "two"})).await;
    assert!(seen.insert(tag("").await), "another one was");
    assert!(seen.insert(tag("?order=asc").await), "the order is another");
    service.call("u1", &format!("PATCH {}/complete", path(&task))).await;
    let now = tag("").await;
    assert!(seen.insert(now.clone()), "one was changed");
    assert!(now.starts_with("W/"), "{now}: a gateway may compress it");
    assert_eq!(tag("").await, now);

    let strong = now.strip_prefix("W/").unwrap();
    for (name, value, status) in [
        ("if-none-match", &*now, 304),
        ("if-none-match", strong, 304),
        ("if-none-match", "*", 304),
        ("if-none-match", "\"x\"", 200),
        ("if-match", "*", 200),
        ("if-match", &now, 412),
    ] {
        let answer = send(&service, "GET /api/tasks", &[(name, value)], None).await;
        assert_eq!(answer.status, status, "{name}: {value}");
        assert_eq!(answer.body.is_empty(), status == 304);
    }
    service.call("u1", &format!("DELETE {}", path(&task))).await;
    assert!(seen.insert(tag("").await), "one was removed");
}

/// What a client keeps beside a page is where the next one is.
#[tokio::test]
async fn a_page_that_has_become_the_last_one_is_sent_again() {
    let Some(service) = start().await else { return };
    let last = service.create("u1", &json!({"title": "last"})).await;
    service.create("u1", &json!({"title": "first"})).await;
    let line = "GET /api/tasks?limit=1";
    let page = service.call("u1", line).await;
    assert!(page.header("link").is_some());
    let tag = [("if-none-match", page.header("etag").unwrap())];
    let same = send(&service, line, &tag, None).await;
    assert_eq!((same.status.as_u16(), same.header("link")), (304, page.header("link")));
    service.call("u1", &format!("DELETE {}", path(&last))).await;
    let alone = send(&service, line, &tag, None).await;
    assert_eq!((alone.status.as_u16(), alone.header("link")), (200, None));
    assert_eq!(alone.body, page.body);
}

#[tokio::test]
async fn a_condition_that_cannot_be_read_is_refused_and_changes_nothing() {
    let Some(service) = start().await else { return };
    let task = service.create("u1", &json!({"title": "t"})).await;
    let lines = writes(&path(&task)).into_iter().chain([(format!("GET {}", path(&task)), None)]);
    for (line, body) in lines {
        for name in ["if-match", "if-none-match"] {
            for value in ["1", "", "*, \"1\"", "\"1", "\"1\" \"2\""] {
                let answer = send(&service, &line, &[(name, value)], body.as_ref()).await;
                let problem = answer.problem(400, "bad-precondition");
                assert!(problem["detail"].as_str().unwrap().starts_with(name), "{problem}");
            }
        }
    }
    assert_eq!(service.list("u1").await, [task]);
}

#[tokio::test]
async fn of_many_who_have_seen_the_same_one_is_heard() {
    let Some(service) = start().await else { return };
    let service = Arc::new(service);
    let task = service.create("u1", &json!({"title": "t"})).await;
    let path = path(&task);
    let asked: Vec<_> = (0..16)
        .map(|number| {
            let (service, line) = (service.clone(), format!("PATCH {path}"));
            tokio::spawn(async move {
                let body = json!({"title": format!("{number}")});
                send(&service, &line, &[("if-match", "\"1\"")], Some(&body)).await.status.as_u16()
            })
        })
        .collect();
    let mut told = Vec::new();
    for asked in asked {
        told.push(asked.await.unwrap());
    }
    told.sort_unstable();
    assert_eq!(told, [vec![200], vec![412; 15]].concat());
    assert_eq!(service.call("u1", &format!("GET {path}")).await.header("etag"), Some("\"2\""));
}

/// The version is compared when the row's turn has come, not when the statement began.
#[tokio::test]
async fn a_change_that_waits_for_another_is_compared_with_what_that_has_left() {
    let Some(service) = start().await else { return };
    let service = Arc::new(service);
    let url = service.database.as_ref().unwrap().url();
    let (admin, observer) = (connect(&url).await, connect(&url).await);
    for (rival, want) in [
        ("update task_service.tasks set version = version + 1", 412),
        ("delete from task_service.tasks", 404),
    ] {
        for at in 0..4 {
            for header in [None, Some(("if-match", "\"1\""))] {
                let task = service.create("u1", &json!({"title": "t"})).await;
                admin.batch_execute("begin; select from task_service.tasks for update").await.unwrap();
                let (line, body) = writes(&path(&task))[at].clone();
                let waiting = tokio::spawn({
                    let service = service.clone();
                    async move { send(&service, &line, header.as_slice(), body.as_ref()).await.status.as_u16() }
                });
                crate::abandoned::waiting_for_a_lock(&observer, 1).await;
                admin.batch_execute(&format!("{rival}; commit")).await.unwrap();
                let status = waiting.await.unwrap();
                match (want, header) {
                    (412, None) => assert!(status < 300, "{status}"),
                    // It was there when it was asked for, and is not as it was.
                    (404, Some(_)) => assert_eq!(status, 412),
                    _ => assert_eq!(status, want),
                }
                admin.batch_execute("delete from task_service.tasks").await.unwrap();
            }
        }
    }
}
