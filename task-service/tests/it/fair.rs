//! One user's lists, and what is left for others, and for the user's own other requests.

use chassis::Body;
use http::Request;
use serde_json::Value;
use tokio_postgres::Client;

use crate::{
    abandoned::{service, waiting_for_a_lock},
    database::connect,
    service::{Answer, Service},
};

/// So many tasks with this text for a description.
async fn give(admin: &Client, user: &str, count: usize, text: &str) {
    let insert = format!(
        "insert into task_service.tasks (user_id, id, title, description)
        select '{user}', gen_random_uuid(), 'Task ' || n, {text} from generate_series(1, {count}) as n"
    );
    admin.batch_execute(&insert).await.unwrap();
}

fn ids(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json().as_array().unwrap().iter().map(|task| task["id"].as_str().unwrap().to_owned()).collect()
}

fn next(answer: &Answer) -> Option<String> {
    Some(answer.header("link")?.strip_prefix('<').unwrap().split_once('>').unwrap().0.to_owned())
}

fn get(service: &Service, user: &str, target: &str) -> Request<Body> {
    service.request(user, &format!("GET {target}")).body(Body::empty()).unwrap()
}

#[tokio::test]
async fn a_users_searches_leave_connections_for_their_other_requests_and_for_others() {
    let Some((service, admin)) = service(&[("TASK_SERVICE_DATABASE__POOL_MAX", "8")]).await else { return };
    let observer = connect(&service.database.as_ref().unwrap().url()).await;
    admin.batch_execute("begin; lock table task_service.tasks").await.unwrap();
    let send = |user: &'static str, query: &'static str| {
        let service = service.clone();
        tokio::spawn(async move { service.call(user, &format!("GET /api/tasks{query}")).await })
    };
    // Half of the connections are the user's, and half of those for what costs much.
    let mut sent: Vec<_> = (0..16).map(|_| send("u1", "?search=x")).collect();
    sent.extend((0..4).map(|_| send("u1", "?search=x&tag=x")));
    waiting_for_a_lock(&observer, 2).await;
    sent.push(send("u1", ""));
    waiting_for_a_lock(&observer, 3).await;
    sent.push(send("u1", "?tag=x&sort=title"));
    waiting_for_a_lock(&observer, 4).await;
    sent.push(send("u1", ""));
    sent.extend((0..4).map(|_| send("u2", "")));
    waiting_for_a_lock(&observer, 8).await;
    admin.batch_execute("commit").await.unwrap();
    for answer in sent {
        assert_eq!(answer.await.unwrap().status, 200);
    }
}

/// With texts that are longer in JSON, or shorter, than they are kept.
#[tokio::test]
async fn a_page_ends_by_its_bytes_and_says_so() {
    const BYTES: usize = 65_536;
    let Some((service, admin)) = service(&[("TASK_SERVICE_LIMITS__PAGE_BYTES", "65536")]).await else {
        return;
    };
    for (user, text) in [
        ("u1", "repeat(chr(1), 1000)"),
        ("u2", "repeat('🦀', 1000)"),
        ("u3", "repeat('x', n % 1000)"),
        ("u4", "null"),
    ] {
        give(&admin, user, 400, text).await;
        for list in
            ["?sort=title", "?sort=due_date&order=desc", "?limit=300", "?status=pending", "?search=task"]
        {
            let (mut seen, mut pages, mut target) = (Vec::new(), 0, Some(format!("/api/tasks{list}")));
            while let Some(there) = target {
                let answer = service.call(user, &format!("GET {there}")).await;
                assert!(answer.body.len() <= BYTES, "{} bytes", answer.body.len());
                let page = ids(&answer);
                target = next(&answer);
                // It is full: none of these tasks is longer than that.
                let is_full = answer.body.len() > BYTES - 7000 || page.len() == 300;
                assert!(
                    is_full || target.is_none(),
                    "{user} {list}: {} of {} bytes",
                    page.len(),
                    answer.body.len()
                );
                seen.extend(page);
                pages += 1;
            }
            assert!(pages > 1, "{user} {list}");
            assert_eq!(seen.len(), 400, "{user} {list}");
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen.len(), 400, "{user} {list}: none twice");
        }
    }
    // Who has the page already is told so, and still what follows.
    let answer = service.call("u1", "GET /api/tasks").await;
    let again =
        service.request("u1", "GET /api/tasks").header("if-none-match", answer.header("etag").unwrap());
    let again = service.send(again.body(Body::empty()).unwrap()).await;
    assert_eq!((again.status.as_u16(), next(&again)), (304, next(&answer)));
    // What fits is on one page.
    give(&admin, "u5", 9, "repeat('x', 1000)").await;
    let answer = service.call("u5", "GET /api/tasks").await;
    assert_eq!((ids(&answer).len(), next(&answer)), (9, None));
}

/// Whoever counts pages adds their limit to the offset, and would pass over what a shorter page leaves out.
#[tokio::test]
async fn a_page_by_offset_is_whole() {
    let settings = [("TASK_SERVICE_LIMITS__PAGE_BYTES", "65536"), ("TASK_SERVICE_LIMITS__LISTS_MAX", "128")];
    let Some((service, admin)) = service(&settings).await else { return };
    // Longer than a page in the database, and longer only in JSON.
    for (user, text) in [("u1", "repeat('🦀', 1000)"), ("u2", "repeat(chr(1), 1000)"), ("u3", "null")] {
        give(&admin, user, 230, text).await;
        for offset in ["offset", "skip"] {
            let (mut seen, mut pages) = (Vec::new(), Vec::new());
            while pages.last().is_none_or(|page| *page == 100) {
                let page = format!("/api/tasks?limit=100&{offset}={}&sort=title", 100 * pages.len());
                let answer = service.call(user, &format!("GET {page}")).await;
                let page = ids(&answer);
                assert_eq!(next(&answer).is_some(), page.len() == 100, "{user} {offset}");
                pages.push(page.len());
                seen.extend(page);
            }
            assert_eq!(pages, [100, 100, 30], "{user} {offset}");
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen.len(), 230, "{user} {offset}");
        }
        // Who follows links, or gives no number, has pages as they are.
        for list in ["?limit=100", "?limit=100&offset="] {
            let answer = service.call(user, &format!("GET /api/tasks{list}")).await;
            assert_eq!(ids(&answer).len() == 100, user == "u3", "{user} {list}");
            let there = next(&answer).unwrap();
            assert_eq!(ids(&service.call(user, &format!("GET {there}")).await).len() == 100, user == "u3");
        }
    }
}

/// With places for no more, it ends where they do, and says so.
#[tokio::test]
async fn a_page_by_offset_takes_half_of_the_memory_at_most() {
    const BYTES: usize = 65_536;
    let settings = [
        ("TASK_SERVICE_LIMITS__PAGE_BYTES", "65536"),
        ("TASK_SERVICE_LIMITS__LISTS_MAX", "4"),
        ("TASK_SERVICE_DATABASE__ACQUIRE_TIMEOUT_MS", "1000"),
    ];
    let Some((service, admin)) = service(&settings).await else { return };
    give(&admin, "u1", 230, "repeat('🦀', 1000)").await;
    give(&admin, "u2", 200, "repeat('x', 1000)").await;
    {
        let answer = service.call("u1", "GET /api/tasks?limit=100&offset=0").await;
        assert!((BYTES + 1..=2 * BYTES).contains(&answer.body.len()), "{}", answer.body.len());
        assert!(next(&answer).is_some());
    }
    // It counts as what it takes.
    let unread = service.open(get(&service, "u1", "/api/tasks?limit=100&offset=0")).await;
    assert_eq!(unread.status(), 200);
    service.call("u1", "GET /api/tasks").await.problem(503, "busy");
    // Others have theirs; what is longer waits, and says that it is busy, where a shorter page would pass over tasks.
    assert!(!ids(&service.call("u2", "GET /api/tasks").await).is_empty());
    service.call("u2", "GET /api/tasks?limit=200&offset=0").await.problem(503, "busy");
    drop(unread);
    assert!(service.call("u2", "GET /api/tasks?limit=200&offset=0").await.status == 200);
}

/// Of what others leave each has half: two who read nothing leave room, and so do five.
#[tokio::test]
async fn accounts_that_take_no_answers_leave_room_for_others() {
    let others =
        [("TASK_SERVICE_LIMITS__LISTS_MAX", "32"), ("TASK_SERVICE_DATABASE__ACQUIRE_TIMEOUT_MS", "300")];
    let Some((service, admin)) = service(&others).await else { return };
    let mut unread = Vec::new();
    for (user, places) in [("u1", 16), ("u2", 8), ("u3", 4), ("u4", 2)] {
        give(&admin, user, 200, "repeat('x', 1000)").await;
        let mut theirs = 0;
        loop {
            let answer = service.open(get(&service, user, "/api/tasks")).await;
            if answer.status() == 503 {
                break;
            }
            unread.push(answer);
            theirs += 1;
        }
        assert_eq!(theirs, places, "{user}");
    }
    give(&admin, "u9", 200, "repeat('x', 1000)").await;
    assert_eq!(service.list("u9").await.len(), 200);
}

#[tokio::test]
async fn a_thousand_usual_tasks_are_on_one_page() {
    let Some((service, admin)) = service(&[]).await else { return };
    give(&admin, "u1", 1000, "repeat('word ', 100)").await;
    assert_eq!(service.list("u1").await.len(), 1000);
    let answer = service.call("u1", "GET /api/tasks").await;
    assert_eq!(next(&answer), None);
    // The longest ones are on several.
    admin.batch_execute("update task_service.tasks set description = repeat('🦀', 1000)").await.unwrap();
    let answer = service.call("u1", "GET /api/tasks").await;
    assert!(answer.body.len() <= 1024 * 1024 && next(&answer).is_some(), "{}", answer.body.len());
}

#[tokio::test]
async fn who_takes_no_answers_has_a_bounded_number_of_them_and_waits_for_themselves() {
    let others =
        [("TASK_SERVICE_LIMITS__LISTS_MAX", "4"), ("TASK_SERVICE_DATABASE__ACQUIRE_TIMEOUT_MS", "1000")];
    let Some((service, admin)) = service(&others).await else { return };
    for user in ["u1", "u2", "u3"] {
        give(&admin, user, 200, "repeat('x', 1000)").await;
    }
    let open = async |user: &str| {
        let answer = service.open(get(&service, user, "/api/tasks")).await;
        assert_eq!(answer.status(), 200);
        answer
    };
    let mut unread = vec![open("u1").await, open("u1").await];
    service.call("u1", "GET /api/tasks").await.problem(503, "busy");
    // What is no list has its own bounds.
    let task = service.create("u1", &serde_json::json!({"title": "t"})).await;
    let path = format!("/api/tasks/{}", task["id"].as_str().unwrap());
    assert_eq!(service.call("u1", &format!("GET {path}")).await.status, 200);
    // Others have theirs, as long as there are any.
    assert_eq!(service.list("u2").await.len(), 200);
    unread.extend([open("u2").await, open("u3").await]);
    service.call("u3", "GET /api/tasks").await.problem(503, "busy");
    // An answer that was taken, or given up, has its place no more.
    unread.truncate(1);
    assert_eq!(service.list("u1").await.len(), 201);
    // Small ones and 304 keep none.
    give(&admin, "u4", 9, "null").await;
    let mut small = Vec::new();
    for _ in 0..8 {
        small.push(open("u4").await);
    }
    let etag = service.call("u1", "GET /api/tasks").await.header("etag").unwrap().to_owned();
    for _ in 0..8 {
        let request = service.request("u1", "GET /api/tasks").header("if-none-match", &etag);
        let answer = service.open(request.body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status(), 304);
        small.push(answer);
    }
    assert!(
        service
            .call("u1", "GET /api/tasks")
            .await
            .json()
            .as_array()
            .is_some_and(|all: &Vec<Value>| all.len() == 201)
    );
}
