//! What anybody may read: the document of the API, and the page to try it at.

use std::collections::BTreeSet;

use chassis::Body;
use serde_json::{Value, json};

use crate::service::{Answer, Service, request, settings, start, start_without_keys};

const PATHS: [&str; 2] = ["/api/openapi.json", "/api/docs"];

/// Of nobody.
async fn ask(service: &Service, line: &str, headers: &[(&str, &str)]) -> Answer {
    let request = headers.iter().fold(request(line), |request, (name, value)| request.header(*name, *value));
    service.send(request.body(Body::empty()).unwrap()).await
}

/// A service without a database and without a key, which can answer nothing else.
async fn alone() -> Service {
    start_without_keys(&settings("postgresql://nobody@127.0.0.1:1/nothing", &[])).await
}

async fn document(service: &Service) -> Value {
    ask(service, "GET /api/openapi.json", &[]).await.json()
}

#[tokio::test]
async fn anybody_reads_the_document_and_the_page_whatever_else_is_out_of_reach() {
    let service = alone().await;
    for (path, kind) in PATHS.into_iter().zip(["application/json", "text/html; charset=utf-8"]) {
        for spelling in [path.to_owned(), format!("{path}/"), format!("{path}?v=1")] {
            let answer = ask(&service, &format!("GET {spelling}"), &[]).await;
            assert_eq!(answer.status, 200, "{spelling}");
            assert_eq!(answer.header("content-type"), Some(kind));
            assert_eq!(answer.header("cache-control"), Some("public, max-age=300"));
            assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
            assert!(answer.body.len() > 1000);
            let head = ask(&service, &format!("HEAD {spelling}"), &[]).await;
            assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
            assert_eq!(head.header("content-length"), Some(&*answer.body.len().to_string()));
            assert_eq!(head.header("etag"), answer.header("etag"));
        }
        for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"] {
            let answer = ask(&service, &format!("{method} {path}"), &[]).await;
            answer.problem(405, "method-not-allowed");
            assert_eq!(answer.header("allow"), Some("GET, HEAD"));
        }
    }
    assert_eq!(document(&service).await["openapi"], "3.1.0");
    // What stands beside them is proved as ever.
    for path in [
        "/api/openapi",
        "/api/docs/x",
        "/api/openapi.json/x",
        "/api/docs//",
        "/API/docs",
        "/docs",
        "/api/docs%2F",
    ] {
        ask(&service, &format!("GET {path}"), &[]).await.problem(401, "unauthenticated");
    }
}

#[tokio::test]
async fn whoever_has_them_is_told_so() {
    let service = alone().await;
    for path in PATHS {
        let line = format!("GET {path}");
        let tag = ask(&service, &line, &[]).await.header("etag").unwrap().to_owned();
        assert!(tag.starts_with("W/\""), "the gateway may compress it: {tag}");
        let same = ask(&service, &line, &[("if-none-match", &tag)]).await;
        assert_eq!((same.status.as_u16(), same.body.len()), (304, 0));
        assert_eq!(
            (same.header("etag"), same.header("cache-control")),
            (Some(&*tag), Some("public, max-age=300"))
        );
        assert_eq!(ask(&service, &line, &[("if-none-match", "\"other\"")]).await.status, 200);
        ask(&service, &line, &[("if-match", "\"other\"")]).await.problem(412, "precondition-failed");
        ask(&service, &line, &[("if-none-match", "x")]).await.problem(400, "bad-precondition");
    }
}

#[tokio::test]
async fn the_page_runs_nothing_but_its_own_script() {
    let answer = ask(&alone().await, "GET /api/docs", &[]).await;
    let policy = answer.header("content-security-policy").unwrap();
    for rule in ["default-src 'none'", "connect-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"] {
        assert!(policy.split("; ").any(|said| said == rule), "{rule}: {policy}");
    }
    assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
}

#[tokio::test]
async fn what_is_described_answers_and_what_is_not_is_405_with_what_is() {
    let Some(service) = start().await else { return };
    let document = document(&service).await;
    let mut asked = 0;
    for (template, item) in document["paths"].as_object().unwrap() {
        if template.ends_with("/health") {
            continue; // The gateway's.
        }
        let described: BTreeSet<String> =
            item.as_object().unwrap().keys().map(|method| method.to_uppercase()).collect();
        for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PURGE"] {
            let task = service.create("u1", &json!({"title": "t"})).await;
            let path = template.replace("{user_id}", "u1").replace("{id}", task["id"].as_str().unwrap());
            let answer = service.call_with("u1", &format!("{method} {path}"), &json!({"title": "t"})).await;
            asked += 1;
            if !described.contains(method) {
                assert_eq!(answer.status, 405, "{method} {path}");
                let allowed = answer.header("allow").unwrap().split(", ").map(str::to_owned).collect();
                assert_eq!(described, allowed, "{method} {path}");
                continue;
            }
            assert!(answer.status.is_success(), "{method} {path}: {}", answer.text());
            let responses = &item[method.to_lowercase()]["responses"];
            let response = &responses[answer.status.as_str()];
            assert!(response.is_object(), "{method} {path}: {} is not described", answer.status);
            // Every header of its own, too.
            for name in ["etag", "location", "link", "x-total-count", "cache-control"] {
                let described = response["headers"].as_object().unwrap();
                let is_described = described.keys().any(|described| described.eq_ignore_ascii_case(name));
                assert!(answer.header(name).is_none() || is_described, "{method} {path}: {name}");
            }
        }
    }
    assert_eq!(asked, 10 * 9);
}
