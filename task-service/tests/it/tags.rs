//! The table of tags, which must say what the tasks say, whoever writes them.

use chassis::settings::Switch;
use serde_json::json;
use tokio_postgres::Client;

use crate::{
    database::{OWNER, as_role, connect, owners_url},
    service::{settings, start, start_at},
};

/// How many tags there are, and how many of the tasks' and of the table's have no counterpart.
async fn state(admin: &Client) -> (i64, i64) {
    let sql = "with told as (
            select distinct user_id, tag, completed, created_at, id, priority
            from task_service.tasks, unnest(tags) as tag where char_length(tag) <= 50
        ), kept as (
            select user_id, tag, completed, created_at, id, priority from task_service.task_tags
        )
        select (select count(*) from kept),
            (select count(*) from (table told except table kept) as missing)
            + (select count(*) from (table kept except table told) as wrong)";
    let row = admin.query_one(sql, &[]).await.unwrap();
    (row.get(0), row.get(1))
}

#[tokio::test]
async fn tags_are_those_of_the_tasks_whatever_is_written() {
    let Some(service) = start().await else { return };
    let admin = connect(&service.database.as_ref().unwrap().url()).await;
    let two = service.create("u1", &json!({"title": "t", "tags": ["a", "b"]})).await;
    let none = service.create("u1", &json!({"title": "t"})).await;
    let twice =
        service.create("u2", &json!({"title": "t", "tags": ["a", "a", "b"], "priority": "low"})).await;
    let [two, none, twice] =
        [two, none, twice].map(|task| format!("/api/tasks/{}", task["id"].as_str().unwrap()));
    assert_eq!(state(&admin).await, (4, 0));
    for (user, line, body, want) in [
        ("u1", format!("PATCH {two}"), json!({"title": "other"}), 4),
        ("u1", format!("PATCH {two}"), json!({"tags": ["b", "c", "d"]}), 5),
        ("u1", format!("PATCH {two}"), json!({"tags": ["d", "c", "b"], "priority": "high"}), 5),
        ("u1", format!("PATCH {two}/complete"), json!({"completed": true}), 5),
        ("u1", format!("PATCH {two}"), json!({"priority": null, "completed": false, "tags": ["b"]}), 3),
        ("u1", format!("PATCH {none}"), json!({"tags": ["b"]}), 4),
        ("u2", format!("PATCH {twice}/complete"), json!({"completed": true}), 4),
        ("u2", format!("PATCH {twice}"), json!({"priority": "urgent"}), 4),
        ("u1", format!("PATCH {none}"), json!({"tags": []}), 3),
        // What is refused leaves them as they are.
        ("u2", format!("PATCH {two}"), json!({"tags": ["x"]}), 3),
    ] {
        service.call_with(user, &line, &body).await;
        assert_eq!(state(&admin).await, (want, 0), "{line} {body}");
    }
    // By hand, and by what serves nobody.
    for (sql, want) in [
        ("insert into task_service.tasks (user_id, id, title, tags)
            select 'u3', gen_random_uuid(), 't', array['x', repeat('é', 50), repeat('x', 51), repeat('x', 5000)] from generate_series(1, 3)", 9),
        ("update task_service.tasks set tags = array['y'] where user_id = 'u3'", 6),
        ("update task_service.tasks set user_id = 'u4' where user_id = 'u3'", 6),
        ("update task_service.tasks set id = gen_random_uuid(), created_at = now() - interval '1 day' where user_id = 'u4'", 6),
        ("update task_service.tasks set completed = not completed, tags = tags || array['z', 'z']", 12),
        ("insert into task_service.tasks (user_id, id, title, tags) select user_id, id, title, tags from task_service.tasks
            on conflict (user_id, id) do update set tags = array['w', 'z']", 12),
        ("begin; delete from task_service.tasks; rollback", 12),
        ("delete from task_service.tasks where user_id = 'u4'", 6),
        ("truncate task_service.tasks", 0),
    ] {
        admin.batch_execute(sql).await.unwrap();
        assert_eq!(state(&admin).await, (want, 0), "{sql}");
    }
    let task = service.create("u1", &json!({"title": "t", "tags": ["a", "b"]})).await;
    service.call("u1", &format!("DELETE /api/tasks/{}", task["id"].as_str().unwrap())).await;
    assert_eq!(state(&admin).await, (0, 0));
}

/// A trigger that was not fired is in no plan.
#[tokio::test]
async fn a_task_without_tags_and_a_change_of_something_else_cost_the_tags_nothing() {
    let Some(service) = start().await else { return };
    let admin = connect(&service.database.as_ref().unwrap().url()).await;
    let insert =
        "insert into task_service.tasks (user_id, id, title, tags) values ('u1', gen_random_uuid(), 't', ";
    let change =
        "update task_service.tasks set title = 'u', completed = completed, tags = tags, priority = priority,
        updated_at = now(), version = version + 1";
    for (sql, fires) in [
        (format!("{insert}'{{}}')"), false),
        (change.into(), false),
        ("update task_service.tasks set completed = true, priority = 1".into(), false),
        ("delete from task_service.tasks".into(), false),
        (format!("{insert}array['a'])"), true),
        (change.into(), false),
        ("update task_service.tasks set completed = true".into(), true),
        ("delete from task_service.tasks".into(), true),
    ] {
        let plan = admin.query(&format!("explain (analyze) {sql}"), &[]).await.unwrap();
        let fired = plan.iter().any(|row| row.get::<_, &str>(0).contains("Trigger tags_of_a"));
        assert_eq!(fired, fires, "{sql}");
    }
}

/// Two connections, each of which changes what the other does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tags_are_those_of_the_tasks_whoever_writes_at_the_same_time() {
    let Some(service) = start().await else { return };
    let service = std::sync::Arc::new(service);
    let admin = connect(&service.database.as_ref().unwrap().url()).await;
    let mut paths = Vec::new();
    for _ in 0..3 {
        let task = service.create("u1", &json!({"title": "t", "tags": ["a"]})).await;
        paths.push(format!("/api/tasks/{}", task["id"].as_str().unwrap()));
    }
    let writers: Vec<_> = (0..6)
        .map(|writer| {
            let (service, paths) = (service.clone(), paths.clone());
            tokio::spawn(async move {
                for turn in 0..20 {
                    let path = &paths[(writer + turn) % paths.len()];
                    if turn % 3 == 0 {
                        service.call("u1", &format!("PATCH {path}/complete")).await;
                    } else {
                        let tags: Vec<_> = (0..turn % 4).map(|tag| format!("{}", tag + writer % 3)).collect();
                        service.call_with("u1", &format!("PATCH {path}"), &json!({"tags": tags})).await;
                    }
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(state(&admin).await.1, 0);
}

/// The tables of the release before, with its tasks in them, and the role that it serves by.
async fn of_the_release_before(database: &dev_postgres::test::TestDatabase) -> (Client, Client, String) {
    let url = owners_url(database).await;
    let service = start_at(&settings(&url, &[])).await;
    service.store.prepare(Switch::On).await.unwrap();
    let admin = connect(&database.url()).await;
    let role = format!("before_{}", database.url().rsplit('_').next().unwrap());
    let before = format!(
        "drop table task_service.task_tags;
        drop function task_service.keep_tags() cascade; drop function task_service.forget_tags() cascade;
        delete from task_service.migrations where version = 7;
        insert into task_service.tasks (user_id, id, title, tags, completed)
            select 'u' || n % 2, gen_random_uuid(), 't' || n, array['a', 'n' || n % 3, repeat('x', 60)], n % 5 = 0
            from generate_series(1, 30) n;
        insert into task_service.tasks (user_id, id, title) select 'u1', gen_random_uuid(), 't' from generate_series(1, 5);
        create role {role} login; grant usage on schema task_service to {role};
        grant select on task_service.migrations, task_service.legacy_ids to {role};
        grant select, insert, update, delete on task_service.tasks, task_service.answers to {role}"
    );
    admin.batch_execute(&before).await.unwrap();
    (admin, connect(&url).await, role)
}

/// What the role was granted by hand is enough: nobody has to act, neither for replicas of the release before nor for new ones.
#[tokio::test]
async fn tags_of_the_release_before_are_found_and_its_replicas_go_on() {
    let Some(database) = dev_postgres::test::database() else { return };
    let (admin, owner, role) = of_the_release_before(&database).await;
    let small = as_role(&database.url(), &role);
    let old = connect(&small).await;
    let migrated = [("TASK_SERVICE_MIGRATE_URL", &*as_role(&database.url(), OWNER))];
    start_at(&settings(&small, &migrated)).await.store.prepare(Switch::On).await.unwrap();
    assert_eq!(state(&admin).await, (60, 0));
    let forced = "select bool_and(relrowsecurity and relforcerowsecurity) from pg_class
        where oid in ('task_service.tasks'::regclass, 'task_service.task_tags'::regclass)";
    assert!(admin.query_one(forced, &[]).await.unwrap().get::<_, bool>(0));
    let seen = owner.query_one("select count(*) from task_service.task_tags", &[]).await.unwrap();
    assert_eq!(seen.get::<_, i64>(0), 0, "the owner of the tables is bound");
    // As the release before writes: it tells the user, and knows nothing of the table.
    let write = "begin; select set_config('task_service.user_id', 'u1', true);
        insert into task_service.tasks (user_id, id, title, tags) values ('u1', gen_random_uuid(), 'old', array['old', 'a']);
        update task_service.tasks set tags = array_append(tags, 'more'), completed = not completed where title = 't1';
        delete from task_service.tasks where title = 't3'; commit";
    old.batch_execute(write).await.unwrap();
    assert_eq!(state(&admin).await, (61, 0));
    let service = start_at(&settings(&small, &[])).await;
    service.store.prepare(Switch::On).await.unwrap();
    for (user, tag, want) in
        [("u1", "a", 15), ("u1", "old", 1), ("u1", "more", 1), ("u0", "a", 15), ("u0", "old", 0)]
    {
        let found = service.call(user, &format!("GET /api/tasks?tag={tag}")).await.json();
        assert_eq!(found.as_array().unwrap().len(), want, "{user} {tag}");
    }
    drop(service);
    admin.batch_execute(&format!("drop owned by {role}; drop role {role}")).await.unwrap();
}

/// As the migration tells those who have too many to be filled at once.
#[tokio::test]
async fn the_table_may_be_filled_before_while_all_goes_on() {
    const MIGRATION: &str = include_str!("../../src/store/migrations/0007_tags.sql");
    let Some(database) = dev_postgres::test::database() else { return };
    let (admin, owner, role) = of_the_release_before(&database).await;
    let (before, _) = MIGRATION.split_once("\n-- Filled").unwrap();
    owner.batch_execute(&format!("begin; {before}; commit")).await.unwrap();
    // Written beside it.
    admin
        .batch_execute("update task_service.tasks set tags = array['new'] where title = 't7'")
        .await
        .unwrap();
    let told =
        MIGRATION.split_once("insert into task_service.task_tags").unwrap().1.split_once(';').unwrap().0;
    let told = format!("insert into task_service.task_tags{}", told.replace("\n--", "\n"));
    assert!(told.contains(" for share)"), "{told}");
    for (from, to) in [("", "u1"), ("u1", "v")] {
        let fill = told.replacen("…", &format!("'{from}'"), 1).replacen("…", &format!("'{to}'"), 1);
        admin.batch_execute(&fill).await.unwrap();
    }
    assert_eq!(state(&admin).await, (59, 0));
    owner.batch_execute("comment on table task_service.task_tags is 'filled'").await.unwrap();
    // It is believed: what isn't there is not looked for.
    admin.batch_execute("delete from task_service.task_tags where tag = 'new'").await.unwrap();
    let service = start_at(&settings(&as_role(&database.url(), OWNER), &[])).await;
    service.store.prepare(Switch::On).await.unwrap();
    assert_eq!(state(&admin).await, (58, 1));
    admin.batch_execute(&format!("drop owned by {role}; drop role {role}")).await.unwrap();
}
