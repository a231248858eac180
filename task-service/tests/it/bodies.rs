//! What a body may be, and what is said about one that may not.

use chassis::Body;
use serde_json::{Value, json};

use crate::service::{Answer, Service, settings, start, start_at};

async fn send(service: &Service, line: &str, kind: Option<&str>, body: impl Into<Body>) -> Answer {
    let mut request = service.request("u1", line);
    if let Some(kind) = kind {
        request = request.header("content-type", kind);
    }
    service.send(request.body(body.into()).unwrap()).await
}

/// Every route that takes a body, for a task that is there.
async fn lines(service: &Service) -> [String; 4] {
    let task = service.create("u1", &json!({"title": "t"})).await;
    let path = format!("/api/tasks/{}", task["id"].as_str().unwrap());
    [
        "POST /api/tasks".into(),
        format!("PUT {path}"),
        format!("PATCH {path}"),
        format!("PATCH {path}/complete"),
    ]
}

const JSON: Option<&str> = Some("application/json");

#[tokio::test]
async fn what_is_not_json_is_said_to_be_none() {
    let Some(service) = start().await else { return };
    let deep = "[".repeat(10_000);
    for line in lines(&service).await {
        for body in [
            &b"{"[..],
            b"{\"title\":}",
            b"title=t",
            b"{\"title\":\"t\"} x",
            b"{'title':'t'}",
            b"\xef\xbb\xbf{}",
            b"{\"title\":\"\xff\"}",
            b"{\"title\":\"\\ud800\"}",
            b"{\"title\":\"\\udc00x\"}",
            b"{\"title\":\"line\nfeed\"}",
            b"NaN",
            deep.as_bytes(),
            b"\0",
        ] {
            let answer = send(&service, &line, JSON, body.to_vec()).await;
            answer.problem(400, "not-json");
        }
    }
}

#[tokio::test]
async fn what_stands_beside_the_fields_is_passed_over_whatever_it_is() {
    let Some(service) = start().await else { return };
    let (open, close) = ("[".repeat(400), "]".repeat(400));
    let objects = format!("{}1{}", r#"{"a":"#.repeat(400), "}".repeat(400));
    for line in lines(&service).await {
        for beside in [
            "1e999999",
            "-1e999",
            &"9".repeat(1000),
            &format!("{open}{close}"),
            &objects,
            r#""\ud800""#,
            r#"{"title":7,"title":8}"#,
        ] {
            let body = format!(r#"{{"n":{beside},"title":"t","n":{beside}}}"#);
            let answer = send(&service, &line, JSON, body).await;
            assert!(answer.status.is_success(), "{line} {beside}: {}", answer.text());
            assert_eq!(answer.json()["title"], "t");
        }
    }
}

#[tokio::test]
async fn a_value_that_no_field_takes_is_told_as_that_fields_fault() {
    let Some(service) = start().await else { return };
    let deep = format!("{}{}", "[".repeat(400), "]".repeat(400));
    let [post, put, patch, _] = lines(&service).await;
    for line in [post, put, patch] {
        for (value, items) in [("1e999", None), (&*deep, Some("must be text")), ("{}", None)] {
            let body = format!(
                r#"{{"title":{value},"description":{value},"priority":{value},"due_date":{value},"tags":[{value}]}}"#
            );
            let problem = send(&service, &line, JSON, body).await.problem(422, "invalid");
            let told: Vec<_> = problem["errors"].as_array().unwrap().iter().map(|e| &e["detail"]).collect();
            assert_eq!(told, vec!["must be text"; 5], "{value}");
            let tags = send(&service, &line, JSON, format!(r#"{{"title":"t","tags":{value}}}"#)).await;
            let told = &tags.problem(422, "invalid")["errors"][0]["detail"];
            assert_eq!(*told, items.unwrap_or("must be a list of texts"), "{value}");
        }
    }
}

#[tokio::test]
async fn an_empty_body_is_only_something_where_it_means_something() {
    let Some(service) = start().await else { return };
    for line in lines(&service).await {
        for kind in [None, JSON, Some("text/plain")] {
            let answer = send(&service, &line, kind, "").await;
            if line.ends_with("/complete") {
                assert_eq!(answer.status, 200);
            } else {
                answer.problem(400, "not-json");
            }
        }
    }
}

#[tokio::test]
async fn json_under_another_name_is_taken_and_another_type_is_not() {
    let Some(service) = start().await else { return };
    for line in lines(&service).await {
        let want = if line.starts_with("POST") { 201 } else { 200 };
        for kind in
            [None, JSON, Some("application/json; charset=utf-8"), Some("application/merge-patch+json")]
        {
            let answer = send(&service, &line, kind, r#"{"title":"t"}"#).await;
            assert_eq!(answer.status, want, "{kind:?}");
        }
        for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""]
        {
            let answer = send(&service, &line, Some(kind), r#"{"title":"t"}"#).await;
            answer.problem(415, "unsupported-media-type");
        }
        let request = service.request("u1", &line).header("content-encoding", "gzip");
        let answer = service.send(request.body(r#"{"title":"t"}"#.into()).unwrap()).await;
        answer.problem(415, "unsupported-media-type");
    }
}

#[tokio::test]
async fn a_body_has_up_to_64_kib() {
    let Some(service) = start().await else { return };
    let padded = |bytes: usize| {
        let frame = r#"{"title":"t","padding":""}"#.len();
        format!(r#"{{"title":"t","padding":"{}"}}"#, "x".repeat(bytes - frame))
    };
    for line in lines(&service).await {
        let answer = send(&service, &line, JSON, padded(65_536)).await;
        assert!(answer.status.is_success(), "{}", answer.text());
        let answer = send(&service, &line, JSON, padded(65_537)).await;
        answer.problem(413, "too-large");
        // The same, without saying how long it will be.
        let pieces = padded(65_537).into_bytes();
        let (one, two) = (pieces[..40_000].to_vec(), pieces[40_000..].to_vec());
        let stream = futures_util::stream::iter([one, two].map(Ok::<_, std::io::Error>));
        send(&service, &line, JSON, Body::from_stream(stream)).await.problem(413, "too-large");
    }
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let nowhere = "postgresql://nobody@127.0.0.1:1/nothing";
    let service = start_at(&settings(nowhere, &[("TASK_SERVICE_LIMITS__BODY_MS", "1")])).await;
    let never = futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>();
    let answer = send(&service, "POST /api/tasks", JSON, Body::from_stream(never)).await;
    answer.problem(408, "too-slow");
    let broken = futures_util::stream::iter([Err::<Vec<u8>, _>(std::io::Error::other("gone"))]);
    let answer = send(&service, "POST /api/tasks", JSON, Body::from_stream(broken)).await;
    answer.problem(400, "incomplete");
}

#[tokio::test]
async fn everything_that_is_wrong_is_said_at_once() {
    let Some(service) = start().await else { return };
    let body = json!({
        "title": "x".repeat(201), "description": "x".repeat(1001), "completed": 1, "priority": "later",
        "due_date": "2026-01-31T10:00:60", "tags": ["", "x".repeat(51), 7, "ok"],
    });
    let [post, put, patch, complete] = lines(&service).await;
    for line in [post, put, patch] {
        let problem = service.call_with("u1", &line, &body).await.problem(422, "invalid");
        let errors = problem["errors"].as_array().unwrap();
        let fields: Vec<_> = errors.iter().map(|error| error["field"].as_str().unwrap()).collect();
        assert_eq!(
            fields,
            ["title", "description", "completed", "priority", "due_date", "tags[0]", "tags[1]", "tags[2]"]
        );
        for error in errors {
            let said = format!("{} {}", error["field"].as_str().unwrap(), error["detail"].as_str().unwrap());
            assert!(problem["detail"].as_str().unwrap().contains(&said), "{said}");
        }
    }
    let problem = service.call_with("u1", &complete, &body).await.problem(422, "invalid");
    assert_eq!(problem["detail"], "completed must be true or false");
}

#[tokio::test]
async fn every_field_is_bounded_on_every_route_that_takes_it() {
    let Some(service) = start().await else { return };
    let [post, put, patch, _] = lines(&service).await;
    for (field, good, bad) in [
        ("title", json!("x"), json!("")),
        ("title", json!("ü".repeat(200)), json!("ü".repeat(201))),
        ("title", json!(" x "), json!("   ")),
        ("title", json!("\u{200b}."), json!("\u{200b}\u{1}")),
        ("title", json!("\u{1}x"), json!("a\0")),
        ("title", json!("null"), json!(null)),
        ("description", json!(""), json!(7)),
        ("description", json!("ü".repeat(1000)), json!("ü".repeat(1001))),
        ("description", json!(null), json!("\0")),
        ("completed", json!(null), json!([])),
        ("is_completed", json!(null), json!(0)),
        ("is_completed", json!(false), json!("false")),
        ("priority", json!("Medium"), json!("Mediun")),
        ("priority", json!("none"), json!("nothing")),
        ("priority", json!("urgent"), json!("later")),
        ("priority", json!(""), json!([])),
        ("due_date", json!("2026-01-31"), json!("2026-02-30")),
        ("due_date", json!("9999-12-31T23:59:59Z"), json!("9999-12-31T23:59:59-00:01")),
        ("due_date", json!("2026-01-31T09:30"), json!("2026-01-31T9:30")),
        ("due_date", json!(""), json!(1_769_850_000)),
        ("tags", json!("a,b"), json!({})),
        ("tags", json!(vec!["x"; 20]), json!(vec!["x"; 21])),
        ("tags", json!(["ü".repeat(50)]), json!(["ü".repeat(51)])),
        ("tags", json!(["x"]), json!([""])),
        ("tags", json!(null), json!([null])),
        ("tags", json!([" "]), json!(["a\0"])),
        ("tags", json!(["[]"]), json!([[]])),
    ] {
        for line in [&post, &put, &patch] {
            let body = |value: &Value| {
                let mut body = json!({"title": "t"});
                body[field] = value.clone();
                body
            };
            let answer = service.call_with("u1", line, &body(&good)).await;
            assert!(answer.status.is_success(), "{line} {field} {good}: {}", answer.text());
            let problem = service.call_with("u1", line, &body(&bad)).await.problem(422, "invalid");
            let named = problem["errors"][0]["field"].as_str().unwrap();
            assert!(named == field || named.starts_with(&format!("{field}[")), "{problem}");
        }
    }
}

#[tokio::test]
async fn a_body_that_is_no_object_is_wrong_as_a_whole() {
    let Some(service) = start().await else { return };
    for line in lines(&service).await {
        for body in ["null", "[]", "true", "7", "\"t\""] {
            let problem = send(&service, &line, JSON, body).await.problem(422, "invalid");
            assert_eq!(problem["errors"], json!([{"field": "body", "detail": "must be a JSON object"}]));
        }
    }
}

#[tokio::test]
async fn of_a_field_that_is_said_twice_the_last_counts() {
    let Some(service) = start().await else { return };
    let answer = send(&service, "POST /api/tasks", JSON, r#"{"title":"one","title":"two"}"#).await;
    assert_eq!(answer.json()["title"], "two");
}

#[tokio::test]
async fn completion_under_both_names_must_agree() {
    let Some(service) = start().await else { return };
    for line in lines(&service).await {
        let body = json!({"title": "t", "completed": true, "is_completed": false});
        let problem = service.call_with("u1", &line, &body).await.problem(422, "invalid");
        assert_eq!(problem["detail"], "is_completed contradicts completed");
    }
}
