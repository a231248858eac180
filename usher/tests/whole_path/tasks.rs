//! What the headers of the tasks API mean, seen from a page: through the gateway, from another origin.

use http::{Method, header};
use serde_json::json;

use crate::world::{Answer, User, World};

/// What a page of this origin may call the gateway from (`CORS_ALLOWED_ORIGINS` by default).
const ORIGIN: (&str, &str) = ("origin", "http://localhost:3000");

async fn get(user: &User<'_>, path: &str, headers: &[(&str, &str)]) -> Answer {
    user.call_with(Method::GET, path, None, &[headers, &[ORIGIN]].concat()).await
}

fn one<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer.headers.get(name).map(|value| value.to_str().unwrap())
}

/// Whether the browser shows the header to the page.
fn shows(answer: &Answer, name: &str) -> bool {
    let exposed = one(answer, header::ACCESS_CONTROL_EXPOSE_HEADERS.as_str()).unwrap();
    exposed.split(',').any(|shown| shown.trim() == name)
}

#[tokio::test]
async fn a_page_walks_through_all_tasks_by_the_links_that_it_is_given() {
    let Some(world) = World::start(&[]).await else { return };
    let user = world.user("page@user");
    for number in 0..5 {
        user.make(&format!("task {number}")).await;
    }
    for path in ["/api/tasks", "/api/page%40user/tasks/"] {
        let (mut titles, mut next) = (Vec::new(), Some(format!("{path}?limit=2&order=asc")));
        while let Some(target) = next {
            let page = get(&user, &target, &[]).await;
            assert_eq!(page.status, 200, "{}", page.body);
            titles.extend(page.body.as_array().unwrap().iter().map(|task| task["title"].clone()));
            next = one(&page, "link").map(|link| {
                assert!(shows(&page, "link"));
                let (target, rel) = link.strip_prefix('<').unwrap().split_once('>').unwrap();
                assert_eq!(rel, "; rel=\"next\"");
                target.to_owned()
            });
        }
        assert_eq!(titles, ["task 0", "task 1", "task 2", "task 3", "task 4"]);
    }
    let counted = get(&user, "/api/tasks?limit=1&total=true", &[]).await;
    assert_eq!(one(&counted, "x-total-count"), Some("5"));
    assert!(shows(&counted, "x-total-count") && shows(&counted, "link") && shows(&counted, "etag"));
}

#[tokio::test]
async fn a_page_that_shows_what_was_changed_since_changes_nothing() {
    let Some(world) = World::start(&[]).await else { return };
    let user = world.user("u1");
    let path = format!("/api/tasks/{}", user.make("t").await);
    let seen = get(&user, &path, &[]).await;
    let tag = one(&seen, "etag").unwrap().to_owned();
    assert!(shows(&seen, "etag"));
    assert_eq!(get(&user, &path, &[("if-none-match", &tag)]).await.status, 304);
    let list = get(&user, "/api/tasks", &[]).await;
    let list_tag = one(&list, "etag").unwrap().to_owned();
    let again = get(&user, "/api/tasks", &[("if-none-match", &list_tag)]).await;
    assert_eq!((again.status.as_u16(), again.body), (304, json!("")));

    assert_eq!(user.call(Method::PATCH, &format!("{path}/complete"), None).await.status, 200);
    let body = json!({"title": "new"});
    for (method, body) in
        [(Method::PUT, Some(body.clone())), (Method::PATCH, Some(body)), (Method::DELETE, None)]
    {
        let refused = user.call_with(method, &path, body, &[("if-match", &tag), ORIGIN]).await;
        assert_eq!(refused.status, 412, "{}", refused.body);
        assert!(refused.body["detail"].as_str().unwrap().contains("has changed"));
    }
    assert_eq!(get(&user, &path, &[("if-none-match", &tag)]).await.body["title"], "t");
}

#[tokio::test]
async fn a_write_that_a_page_repeats_is_done_once() {
    let Some(world) = World::start(&[]).await else { return };
    let user = world.user("u1");
    let key = ("idempotency-key", "6f0d6a52-9a3c-4a2b-8d53-0b8d4f0f6a11");
    let mut told = Vec::new();
    for _ in 0..3 {
        let made =
            user.call_with(Method::POST, "/api/tasks", Some(json!({"title": "once"})), &[key, ORIGIN]).await;
        assert_eq!(made.status, 201, "{}", made.body);
        told.push((
            made.body.clone(),
            one(&made, "location").unwrap().to_owned(),
            one(&made, "etag").map(str::to_owned),
        ));
    }
    assert!(told.iter().all(|answer| *answer == told[0]), "{told:?}");
    let other =
        user.call_with(Method::POST, "/api/tasks", Some(json!({"title": "two"})), &[key, ORIGIN]).await;
    assert_eq!(other.status, 422);
    assert_eq!(user.titles().await, ["once"]);
}
