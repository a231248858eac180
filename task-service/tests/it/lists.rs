//! Which tasks a list has, and in which order.

use serde_json::{Value, json};

use crate::service::{Service, start};

/// Five tasks, made one after another.
async fn service() -> Option<Service> {
    let service = start().await?;
    for body in [
        json!({"title": "Buy milk", "priority": "low", "tags": ["home", "shop"], "due_date": "2026-03-01"}),
        json!({"title": "apply for leave", "priority": "high", "tags": ["work"], "completed": true}),
        json!({"title": "100% sure", "description": "MILK_shake", "due_date": "2026-01-01"}),
        json!({"title": r"C:\temp", "priority": "medium", "tags": ["work", "a,b"]}),
        json!({"title": "Zebra", "priority": "high", "due_date": "2026-02-01", "completed": true}),
    ] {
        service.create("u1", &body).await;
    }
    Some(service)
}

async fn titles(service: &Service, query: &str) -> Vec<String> {
    let answer = service.call("u1", &format!("GET /api/tasks?{query}")).await;
    assert_eq!(answer.status, 200, "{query}: {}", answer.text());
    let tasks = answer.json();
    tasks.as_array().unwrap().iter().map(|task| task["title"].as_str().unwrap().to_owned()).collect()
}

const MILK: &str = "Buy milk";
const LEAVE: &str = "apply for leave";
const SURE: &str = "100% sure";
const TEMP: &str = r"C:\temp";
const ZEBRA: &str = "Zebra";

#[tokio::test]
async fn a_list_shows_what_is_asked_for() {
    let Some(service) = service().await else { return };
    let newest_first = [ZEBRA, TEMP, SURE, LEAVE, MILK];
    for (query, want) in [
        ("", &newest_first[..]),
        ("status=all", &newest_first),
        ("status=&completed=&priority=&tag=&search=&sort=&order=&limit=&offset=", &newest_first),
        ("unknown=1&cursor=", &newest_first),
        ("search=+%0A", &newest_first),
        ("search=+milk+", &[SURE, MILK]),
        ("status=pending", &[TEMP, SURE, MILK]),
        ("status=completed", &[ZEBRA, LEAVE]),
        ("completed=true", &[ZEBRA, LEAVE]),
        ("completed=false", &[TEMP, SURE, MILK]),
        ("completed=true&status=completed", &[ZEBRA, LEAVE]),
        ("completed=True", &[ZEBRA, LEAVE]),
        ("is_completed=true", &[ZEBRA, LEAVE]),
        ("status=Active", &[TEMP, SURE, MILK]),
        ("completed=all&priority=all", &newest_first),
        ("completed=pending", &[TEMP, SURE, MILK]),
        ("completed=completed", &[ZEBRA, LEAVE]),
        ("status=complete", &[ZEBRA, LEAVE]),
        ("completed=incomplete", &[TEMP, SURE, MILK]),
        ("status=Incomplete&isCompleted=false", &[TEMP, SURE, MILK]),
        ("order=DESC", &newest_first),
        ("sortBy=createdAt&sortOrder=ASC&limit=1", &[MILK]),
        ("priority=HIGH", &[ZEBRA, LEAVE]),
        ("tags=work", &[TEMP, LEAVE]),
        ("q=milk", &[SURE, MILK]),
        ("sort_by=createdAt&order=ASC&limit=1", &[MILK]),
        ("sort=dueDate&limit=1", &[SURE]),
        ("priority=high", &[ZEBRA, LEAVE]),
        ("priority=high&status=pending", &[]),
        ("tag=work", &[TEMP, LEAVE]),
        ("tag=a%2Cb", &[TEMP]),
        ("tag=wor", &[]),
        ("search=milk", &[SURE, MILK]),
        ("search=MILK", &[SURE, MILK]),
        ("search=buy+milk", &[MILK]),
        ("search=%25", &[SURE]),
        ("search=_", &[SURE]),
        ("search=%5C", &[TEMP]),
        ("search=%5Ct", &[TEMP]),
        ("search=z_bra", &[]),
        ("search=%27%3B+drop+table", &[]),
        ("limit=2", &[ZEBRA, TEMP]),
        ("limit=2&offset=2", &[SURE, LEAVE]),
        ("limit=2&skip=4", &[MILK]),
        ("offset=10000", &[]),
    ] {
        assert_eq!(titles(&service, query).await, want, "{query}");
    }
}

#[tokio::test]
async fn a_list_is_sorted_as_asked_for_and_what_has_no_value_comes_last() {
    let Some(service) = service().await else { return };
    for (query, want) in [
        ("sort=created_at", [ZEBRA, TEMP, SURE, LEAVE, MILK]),
        ("sort=created&order=asc", [MILK, LEAVE, SURE, TEMP, ZEBRA]),
        ("order=asc", [MILK, LEAVE, SURE, TEMP, ZEBRA]),
        ("sort=title", [SURE, LEAVE, MILK, TEMP, ZEBRA]),
        ("sort_by=title&sort_order=desc", [ZEBRA, TEMP, MILK, LEAVE, SURE]),
        ("sort=due_date", [SURE, ZEBRA, MILK, LEAVE, TEMP]),
        ("sort=due_date&order=desc", [MILK, ZEBRA, SURE, TEMP, LEAVE]),
        ("sort=priority", [ZEBRA, LEAVE, TEMP, MILK, SURE]),
        ("sort=priority&order=asc", [MILK, TEMP, LEAVE, ZEBRA, SURE]),
    ] {
        assert_eq!(titles(&service, query).await, want, "{query}");
    }
    let oldest = service.list("u1").await.pop().unwrap();
    service.call("u1", &format!("PATCH /api/tasks/{}/complete", oldest["id"].as_str().unwrap())).await;
    assert_eq!(titles(&service, "sort=updated_at&limit=1").await, [MILK]);
    assert_eq!(titles(&service, "sort=updated&order=asc&offset=4").await, [MILK]);
}

/// Keyboards and systems differ in which of the two they write; people see no difference.
#[tokio::test]
async fn what_looks_the_same_is_found_however_it_is_written() {
    let Some(service) = start().await else { return };
    let (composed, apart) = ("Caf\u{e9} \u{fc}ber", "Cafe\u{301} u\u{308}ber");
    service.create("u1", &json!({"title": composed})).await;
    service.create("u1", &json!({"title": "t", "description": apart})).await;
    service.create("u1", &json!({"title": "Cafe uber"})).await;
    for search in ["caf%C3%A9", "cafe%CC%81", "+CAF%C3%89+%C3%BC", "%C3%BCber", "u%CC%88b"] {
        assert_eq!(titles(&service, &format!("search={search}")).await, ["t", composed], "{search}");
    }
    assert_eq!(titles(&service, "search=%25%C3%A9").await, [""; 0]);
    // What has both forms is found by a part that has one, or as it was written.
    service.create("u1", &json!({"title": "\u{e4} o\u{308}"})).await;
    for (search, found) in
        [("%C3%A4", 1), ("a%CC%88", 1), ("%C3%B6", 1), ("%C3%A4+o%CC%88", 1), ("%C3%A4+%C3%B6", 0)]
    {
        assert_eq!(titles(&service, &format!("search={search}")).await.len(), found, "{search}");
    }
}

#[tokio::test]
async fn a_bad_parameter_is_named() {
    let Some(service) = start().await else { return };
    for (query, fields) in [
        ("status=done", &["status"][..]),
        ("completed=1", &["completed"]),
        ("is_completed=yes", &["is_completed"]),
        ("isCompleted=yes", &["is_completed"]),
        ("tags=%00", &["tags"]),
        ("q=%00", &["search"]),
        ("priority=later", &["priority"]),
        ("sort=id", &["sort"]),
        ("sort_by=id", &["sort_by"]),
        ("order=up", &["order"]),
        ("sort_order=up", &["sort_order"]),
        ("limit=0", &["limit"]),
        ("limit=1001", &["limit"]),
        ("limit=ten", &["limit"]),
        ("offset=-1", &["offset"]),
        ("skip=10001", &["skip"]),
        ("search=%00", &["search"]),
        ("tag=%00", &["tag"]),
        ("status=pending&completed=true", &["completed"]),
        ("status=all&completed=true", &["completed"]),
        ("completed=all&is_completed=true", &["completed"]),
        ("is_completed=all&status=pending", &["status"]),
        ("completed=all&completed=true", &["completed"]),
        ("priority=all&priority=high", &["priority"]),
        ("limit=1&limit=2", &["limit"]),
        ("sort=title&sort_by=priority", &["sort_by"]),
        ("limit=x&status=y&offset=z", &["status", "limit", "offset"]),
    ] {
        let answer = service.call("u1", &format!("GET /api/tasks?{query}")).await;
        let problem = answer.problem(422, "invalid");
        let named: Vec<_> =
            problem["errors"].as_array().unwrap().iter().map(|error| &error["field"]).collect();
        assert_eq!(named, fields, "{query}");
    }
    let long = "x".repeat(201);
    service.call("u1", &format!("GET /api/tasks?search={long}")).await.problem(422, "invalid");
    // Bytes that are no text are looked for, and not found.
    assert_eq!(service.call("u1", "GET /api/tasks?search=%FF").await.json(), json!([]));
}

#[tokio::test]
async fn a_list_without_a_limit_has_the_first_thousand() {
    let Some(service) = start().await else { return };
    let client = crate::database::connect(&service.database.as_ref().unwrap().url()).await;
    let many = "insert into task_service.tasks (user_id, id, title)
        select 'u1', gen_random_uuid(), 'task ' || n from generate_series(1, 1001) n";
    client.batch_execute(many).await.unwrap();
    assert_eq!(service.list("u1").await.len(), 1000);
    assert_eq!(titles(&service, "limit=1000").await.len(), 1000);
    assert_eq!(titles(&service, "offset=1000").await.len(), 1);

    // All were made in the same moment: the id decides, and pages neither repeat a task nor leave one out.
    for sort in ["created_at", "updated_at", "title", "due_date", "priority"] {
        let mut seen = std::collections::HashSet::new();
        for page in 0..11 {
            let query = format!("sort={sort}&limit=100&offset={}", page * 100);
            let answer = service.call("u1", &format!("GET /api/tasks?{query}")).await.json();
            seen.extend(answer.as_array().unwrap().iter().map(|task: &Value| task["id"].to_string()));
        }
        assert_eq!(seen.len(), 1001, "{sort}");
    }
}
