//! Bodies and assertions made by somebody who means harm: each is refused, and the service goes on.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::json;

use crate::service::{Answer, Service, request, settings, start, start_at};

/// What serde takes for something else than an object where certain features are on.
const PRIVATE: [&str; 3] =
    ["$serde_json::private::RawValue", "$serde_json::private::Number", "$__toml_private_datetime"];

async fn send(service: &Service, line: &str, body: String) -> Answer {
    let request = service.request("u1", line).header("content-type", "application/json");
    service.send(request.body(body.into()).unwrap()).await
}

/// An object whose member of that name holds `inner` as text.
fn holding(name: &str, inner: &str) -> String {
    json!({name: inner}).to_string()
}

/// As many levels of text in text as fit into `bytes`, each below a hundred arrays: whoever reads one as JSON begins anew
/// to count how deep it is. Escapes as `\u005c` grow with the depth only, and hide the names.
fn nested(name: &str, bytes: usize) -> String {
    let escaped = |text: &str| text.replace('\\', r"\u005c").replace('"', r"\u0022");
    let hidden = name.replace('$', r"\u0024");
    let (open, close) = ("[".repeat(100), "]".repeat(100));
    let (mut body, mut next) = (String::new(), "1".to_owned());
    while next.len() <= bytes {
        body = next;
        next = format!(r#"{{"{hidden}":"{open}{}{close}"}}"#, escaped(&body));
    }
    body
}

/// Runs on a stack on which nothing can follow what it reads.
fn on_a_small_stack<F: Future<Output = ()>>(run: impl FnOnce() -> F + Send + 'static) {
    let run = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(run());
    std::thread::Builder::new().stack_size(256 * 1024).spawn(run).unwrap().join().unwrap();
}

#[tokio::test]
async fn a_task_inside_of_a_text_is_no_task() {
    let Some(service) = start().await else { return };
    let task = service.create("u1", &json!({"title": "t"})).await;
    let path = format!("/api/tasks/{}", task["id"].as_str().unwrap());
    for name in PRIVATE {
        let body = holding(name, r#"{"title":"x","completed":true}"#);
        let problem = send(&service, "POST /api/tasks", body.clone()).await.problem(422, "invalid");
        assert_eq!(problem["detail"], "title is required");
        for line in [format!("PUT {path}"), format!("PATCH {path}")] {
            let answer = send(&service, &line, body.clone()).await;
            assert_eq!(answer.json(), task, "nothing that we know is named");
        }
        for (field, inner, fault) in [
            ("title", r#""x""#, "title must be text"),
            ("completed", "true", "completed must be true or false"),
            ("due_date", r#""2026-01-31""#, "due_date must be text"),
            ("tags", r#"["x"]"#, "tags must be a list of texts"),
        ] {
            let body = format!(r#"{{"title":"t","{field}":{}}}"#, holding(name, inner));
            let body = if field == "title" { body.replacen(r#""title":"t","#, "", 1) } else { body };
            let problem = send(&service, "POST /api/tasks", body).await.problem(422, "invalid");
            assert_eq!(problem["detail"], fault);
        }
    }
    assert_eq!(service.list("u1").await, [task]);
}

#[tokio::test]
async fn texts_within_texts_take_nothing_down() {
    let Some(service) = start().await else { return };
    let task = service.create("u1", &json!({"title": "t"})).await;
    let path = format!("/api/tasks/{}", task["id"].as_str().unwrap());
    for name in PRIVATE {
        for bytes in [39_000, 52_000, 65_000] {
            let body = nested(name, bytes);
            assert!(body.len() > bytes / 2, "{}", body.len());
            let problem = send(&service, "POST /api/tasks", body.clone()).await.problem(422, "invalid");
            assert_eq!(problem["detail"], "title is required");
            let title = format!(r#"{{"title":{body}}}"#);
            let problem = send(&service, &format!("PATCH {path}"), title).await.problem(422, "invalid");
            assert_eq!(problem["detail"], "title must be text");
            let answer = send(&service, &format!("PATCH {path}/complete"), body).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
    }
    assert_eq!(service.list("u1").await.len(), 1);
}

#[test]
fn the_depth_of_a_body_takes_no_stack() {
    on_a_small_stack(|| async {
        let nowhere = "postgresql://nobody@127.0.0.1:1/nothing";
        let service = start_at(&settings(nowhere, &[("TASK_SERVICE_LIMITS__BODY_BYTES", "2000000")])).await;
        for (open, close) in [("[", "]"), (r#"{"title":"#, "}")] {
            let (open, close) = (open.repeat(100_000), close.repeat(100_000));
            let deep = format!("{open}1{close}");
            for line in ["POST /api/tasks", "PATCH /api/tasks/0190b3a4-0000-7000-8000-000000000000"] {
                send(&service, line, open.clone()).await.problem(400, "not-json");
                send(&service, line, deep.clone()).await.problem(422, "invalid");
                send(&service, line, format!(r#"{{"title":{deep}}}"#)).await.problem(422, "invalid");
                let tags = format!(r#"{{"title":"t","tags":[{deep}]}}"#);
                let problem = send(&service, line, tags).await.problem(422, "invalid");
                assert_eq!(problem["detail"], "tags[0] must be text");
            }
        }
    });
}

#[test]
fn the_depth_of_an_assertion_takes_no_stack() {
    on_a_small_stack(|| async {
        let service = start_at(&settings("postgresql://nobody@127.0.0.1:1/nothing", &[])).await;
        let base64 = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
        // A key that is known, so that it is for their depth that they are no good.
        let named = format!(r#""alg":"EdDSA","kid":"{}""#, service.issuer.key.kid);
        let header = format!("{{{named}}}");
        for (open, close) in [("[", "]"), (r#"{"jwk":"#, "}")] {
            let (open, close) = (open.repeat(100_000), close.repeat(100_000));
            let deep = format!("{open}1{close}");
            for text in [open, deep.clone(), format!(r#"{{"jwk":{deep},{named}}}"#)] {
                for (header, claims) in [(&*text, "{}"), (&*header, &*text)] {
                    let assertion = format!("{}.{}.AAAA", base64(header), base64(claims));
                    let request = request("GET /api/tasks")
                        .header(identity::USER_ID, "u1")
                        .header(identity::ASSERTION, assertion);
                    let answer = service.send(request.body(chassis::Body::empty()).unwrap()).await;
                    answer.problem(401, "unauthenticated");
                }
            }
        }
    });
}
