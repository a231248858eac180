//! What is given, in the shapes that frontends of other backends read.

use serde_json::{Value, json};

use crate::service::{Answer, Service, start, start_with};

const ENVELOPE: (&str, &str) = ("TASK_SERVICE_SHAPE__LIST", "envelope");
const DELETED: (&str, &str) = ("TASK_SERVICE_SHAPE__DELETED", "task");

async fn many(service: &Service, count: usize) {
    for number in 0..count {
        let body =
            json!({"title": format!("task {number}"), "priority": if number == 0 { "high" } else { "low" }});
        service.create("u1", &body).await;
    }
}

/// The envelope, less its tasks; and how many these are.
fn told(answer: &Answer) -> (usize, Value) {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let mut envelope = answer.json();
    let tasks = envelope.as_object_mut().unwrap().remove("tasks").unwrap();
    (tasks.as_array().unwrap().len(), envelope)
}

fn link(answer: &Answer) -> Option<String> {
    let target = answer.header("link")?.strip_prefix('<')?.strip_suffix(">; rel=\"next\"")?;
    Some(target.to_owned())
}

#[tokio::test]
async fn a_list_may_come_in_an_envelope() {
    let Some(service) = start_with(&[ENVELOPE]).await else { return };
    let envelope = |total: i64, count: usize, limit: i64, offset: Value, page: Value| {
        let pages = (total + limit - 1) / limit;
        json!({
            "total": total, "count": count, "limit": limit, "offset": offset, "filtered": total, "page": page,
            "page_size": limit, "per_page": limit, "pages": pages, "total_pages": pages,
        })
    };
    let empty = envelope(0, 0, 1000, json!(0), json!(1));
    assert_eq!(told(&service.call("u1", "GET /api/tasks").await), (0, empty));
    many(&service, 5).await;
    service.create("u2", &json!({"title": "another's"})).await;
    for (query, total, count, limit, offset, page) in [
        ("", 5, 5, 1000, json!(0), json!(1)),
        ("limit=2", 5, 2, 2, json!(0), json!(1)),
        ("limit=2&offset=2", 5, 2, 2, json!(2), json!(2)),
        ("limit=2&offset=4", 5, 1, 2, json!(4), json!(3)),
        ("per_page=2&page=3", 5, 1, 2, json!(4), json!(3)),
        ("page_size=2&page=4", 5, 0, 2, json!(6), json!(4)),
        // It is none of the pages that have numbers.
        ("limit=2&offset=3", 5, 2, 2, json!(3), Value::Null),
        // Where there is nothing, the others are still counted.
        ("limit=2&skip=9", 5, 0, 2, json!(9), Value::Null),
        // Those that are asked for: a page of them must be found by the number.
        ("priority=low&limit=3", 4, 3, 3, json!(0), json!(1)),
        ("priority=high", 1, 1, 1000, json!(0), json!(1)),
        ("search=nothing", 0, 0, 1000, json!(0), json!(1)),
    ] {
        let answer = service.call("u1", &format!("GET /api/tasks?{query}")).await;
        let want = envelope(total, count, limit, offset, page);
        assert_eq!(told(&answer), (count, want), "{query}");
        assert_eq!(answer.header("x-total-count"), None);
    }
    let counted = service.call("u1", "GET /api/tasks?limit=1&total=true").await;
    assert_eq!(counted.header("x-total-count"), Some("5"), "it may be asked for as ever");
    let head = service.call("u1", "HEAD /api/tasks").await;
    let get = service.call("u1", "GET /api/tasks").await;
    assert_eq!(head.header("content-length"), Some(&*get.body.len().to_string()));
    // A task is the same as in any other shape.
    let tasks = get.json()["tasks"].clone();
    let id = tasks[0]["id"].as_str().unwrap();
    assert_eq!(service.call("u1", &format!("GET /api/tasks/{id}")).await.json(), tasks[0]);
}

#[tokio::test]
async fn an_envelope_may_call_its_tasks_items() {
    let Some(service) = start_with(&[("TASK_SERVICE_SHAPE__LIST", "items")]).await else { return };
    many(&service, 3).await;
    let answer = service.call("u1", "GET /api/v1/tasks?page=2&per_page=2").await;
    let page = answer.json();
    let id = page["items"][0]["id"].as_str().unwrap();
    assert_eq!(service.call("u1", &format!("GET /api/tasks/{id}")).await.json(), page["items"][0]);
    assert_eq!((page["items"].as_array().unwrap().len(), page.get("tasks")), (1, None));
    assert_eq!((&page["total"], &page["page"], &page["pages"]), (&json!(3), &json!(2), &json!(2)));
    // It is no copy of any other shape.
    let mut tags = vec![service.call("u9", "GET /api/tasks").await.header("etag").unwrap().to_owned()];
    for set in [&[][..], &[ENVELOPE]] {
        let Some(other) = start_with(set).await else { return };
        tags.push(other.call("u9", "GET /api/tasks").await.header("etag").unwrap().to_owned());
    }
    assert!(tags[0] != tags[1] && tags[0] != tags[2] && tags[1] != tags[2], "{tags:?}");
}

#[tokio::test]
async fn an_envelope_leads_to_the_next_page_and_each_task_is_on_one() {
    let Some(service) = start_with(&[ENVELOPE]).await else { return };
    many(&service, 5).await;
    let (mut next, mut titles, mut offsets) =
        (Some("/api/u1/tasks/?limit=2&order=asc".to_owned()), Vec::new(), Vec::new());
    while let Some(target) = next {
        let answer = service.call("u1", &format!("GET {target}")).await;
        let page = answer.json();
        assert_eq!((&page["total"], &page["filtered"]), (&json!(5), &json!(5)), "{target}");
        titles.extend(page["tasks"].as_array().unwrap().iter().map(|task| task["title"].clone()));
        offsets.push(page["offset"].clone());
        next = link(&answer);
    }
    assert_eq!(titles, ["task 0", "task 1", "task 2", "task 3", "task 4"]);
    // Behind a cursor nobody has counted.
    assert_eq!(offsets, [json!(0), Value::Null, Value::Null]);
}

/// It tells which page it is, and how many there are: so none may end before its limit, but behind a cursor.
#[tokio::test]
async fn an_envelope_is_whole_however_large_and_ends_by_its_bytes_behind_a_cursor_alone() {
    let Some(service) = start_with(&[ENVELOPE, ("TASK_SERVICE_LIMITS__PAGE_BYTES", "65536")]).await else {
        return;
    };
    for number in 0..70 {
        let body = json!({"title": format!("task {number}"), "description": "d".repeat(1000)});
        service.create("u1", &body).await;
    }
    for (query, shown, pages) in [("", 70, 1), ("?per_page=68", 68, 2), ("?page_size=68&page=2", 2, 2)] {
        let page = service.call("u1", &format!("GET /api/tasks{query}")).await.json();
        assert_eq!(page["tasks"].as_array().unwrap().len(), shown, "{query}");
        let told = ["count", "total", "pages"].map(|name| page[name].clone());
        assert_eq!(told, [json!(shown), json!(70), json!(pages)], "{query}");
    }
    let first = service.call("u1", "GET /api/tasks?limit=1").await;
    let behind = link(&first).unwrap().replace("limit=1", "limit=1000");
    let answer = service.call("u1", &format!("GET {behind}")).await;
    let page = answer.json();
    let shown = page["tasks"].as_array().unwrap().len();
    assert!((1..69).contains(&shown), "{shown}");
    assert_eq!((&page["count"], &page["total"], &page["page"]), (&json!(shown), &json!(70), &Value::Null));
    let next = service.call("u1", &format!("GET {}", link(&answer).unwrap())).await.json();
    assert_eq!((&next["count"], &next["total"]), (&json!(69 - shown), &json!(70)));
}

#[tokio::test]
async fn an_envelope_whose_total_has_changed_is_sent_again() {
    let Some(service) = start_with(&[ENVELOPE]).await else { return };
    many(&service, 3).await;
    let line = "GET /api/tasks?limit=1&order=asc";
    let first = service.call("u1", line).await;
    let again = async |tag: &str| {
        let request = service.request("u1", line).header("if-none-match", tag);
        service.send(request.body(chassis::Body::empty()).unwrap()).await
    };
    let tag = first.header("etag").unwrap();
    let same = again(tag).await;
    assert_eq!((same.status.as_u16(), same.body.len(), same.header("link")), (304, 0, first.header("link")));
    // On this page nothing changes, and another one follows still.
    service.create("u1", &json!({"title": "on another page"})).await;
    let more = again(tag).await;
    assert_eq!(more.status, 200);
    assert_eq!(more.json()["tasks"], first.json()["tasks"]);
    assert_eq!((&first.json()["total"], &more.json()["total"]), (&json!(3), &json!(4)));
    // What is kept of a list in one shape is not taken for the other one, when the setting has changed.
    let Some(other) = start().await else { return };
    let (bare, wrapped) =
        (other.call("u9", "GET /api/tasks").await, service.call("u9", "GET /api/tasks").await);
    assert_ne!(bare.header("etag"), wrapped.header("etag"));
}

/// Its body is the same then, so that what is kept of it serves; the number is in the head.
#[tokio::test]
async fn an_array_that_is_kept_hears_a_total_that_has_changed() {
    let Some(service) = start().await else { return };
    many(&service, 3).await;
    let line = "GET /api/tasks?limit=1&order=asc&total=true";
    let first = service.call("u1", line).await;
    service.create("u1", &json!({"title": "on another page"})).await;
    let request = service.request("u1", line).header("if-none-match", first.header("etag").unwrap());
    let again = service.send(request.body(chassis::Body::empty()).unwrap()).await;
    assert_eq!((again.status.as_u16(), again.header("x-total-count")), (304, Some("4")));
    assert_eq!(first.header("x-total-count"), Some("3"));
}

#[tokio::test]
async fn the_removal_of_a_task_may_be_answered_with_it() {
    let Some(service) = start_with(&[DELETED]).await else { return };
    for path in ["/api/tasks", "/api/u1/tasks"] {
        let task =
            service.create("u1", &json!({"title": "t", "tags": ["a"], "due_date": "2026-01-31"})).await;
        let id = task["id"].as_str().unwrap();
        let line = format!("DELETE {path}/{id}");
        let answer = service.call("u1", &line).await;
        assert_eq!((answer.status.as_u16(), answer.header("etag")), (200, None));
        assert_eq!(answer.header("cache-control"), Some("private, no-cache"));
        let want = json!({"ok": true, "message": "the task is deleted", "id": id, "task": task});
        assert_eq!(answer.json(), want);
        // It is gone, and says so as ever.
        service.call("u1", &line).await.problem(404, "not-found");
    }
    let task = service.create("u1", &json!({"title": "another's"})).await;
    let line = format!("DELETE /api/tasks/{}", task["id"].as_str().unwrap());
    service.call("u2", &line).await.problem(404, "not-found");
    // Under a key it is answered the same again, after a change as well.
    let send = async || {
        let request = service.request("u1", &line).header("idempotency-key", "k");
        service.send(request.body(chassis::Body::empty()).unwrap()).await
    };
    let first = send().await;
    assert_eq!(first.json()["task"], task);
    for _ in 0..2 {
        let again = send().await;
        assert_eq!((again.status, &again.body), (first.status, &first.body));
    }
}

#[tokio::test]
async fn errors_may_be_called_json() {
    const PROBLEM: &str = "application/problem+json";
    const JSON: &str = "application/json";
    for (set, cases) in [
        (
            &[][..],
            &[
                (None, PROBLEM),
                (Some("*/*"), PROBLEM),
                (Some("application/json, text/plain, */*"), PROBLEM),
                (Some(JSON), JSON),
            ][..],
        ),
        (
            &[("TASK_SERVICE_ERRORS_AS", "json")],
            &[(None, JSON), (Some("*/*"), JSON), (Some(PROBLEM), PROBLEM)],
        ),
    ] {
        let Some(service) = start_with(set).await else { return };
        for (accept, want) in cases {
            for line in [
                "GET /api/tasks?limit=0",
                "GET /api/tasks/1",
                "PUT /api/tasks",
                "GET /api/u2/tasks",
                "GET /x",
            ] {
                let mut request = service.request("u1", line);
                if let Some(accept) = accept {
                    request = request.header("accept", *accept);
                }
                let answer = service.send(request.body(chassis::Body::empty()).unwrap()).await;
                assert!(answer.status.is_client_error(), "{line}");
                assert_eq!(answer.header("content-type"), Some(*want), "{set:?} {accept:?} {line}");
                // What such a frontend shows.
                let body: Value = serde_json::from_slice(&answer.body).unwrap();
                assert!(body["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{body}");
            }
        }
    }
}
