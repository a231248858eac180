//! The tables, brought up to date by whoever comes.

use std::{fs, os::unix::fs::PermissionsExt, sync::Arc};

use aws_lc_rs::digest;
use chassis::settings::Switch;
use dev_postgres::{
    Postgres, StartError,
    test::{self, TestDatabase},
};
use serde_json::json;
use task_service::store::{PrepareError, Store};

use crate::{
    database::connect,
    service::{eventually, settings, start_at},
};

fn store(url: &str) -> Store {
    Store::new(settings(url, &[]).store)
}

/// The numbers of all migrations that there are, by their files.
fn all() -> Vec<i64> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/store/migrations");
    let names = fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut all: Vec<i64> = names.map(|name| name.split_once('_').unwrap().0.parse().unwrap()).collect();
    all.sort_unstable();
    all
}

async fn applied(database: &TestDatabase) -> Vec<i64> {
    let client = connect(&database.url()).await;
    let rows = client.query("select version from task_service.migrations order by version", &[]).await;
    rows.unwrap().iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn any_number_of_replicas_may_start_at_once() {
    let Some(database) = test::database() else { return };
    for _ in 0..2 {
        let replicas: Vec<_> = (0..20)
            .map(|_| {
                let store = store(&database.url());
                tokio::spawn(async move { store.prepare(Switch::On).await })
            })
            .collect();
        for replica in replicas {
            replica.await.unwrap().unwrap();
        }
        assert_eq!(applied(&database).await, all());
    }
}

/// As the first release has left it, with tasks in it. An operator may have built the indexes before, while all goes on.
#[tokio::test]
async fn a_database_of_the_first_release_is_brought_up_to_date_and_serves_both() {
    const FIRST: &str = include_str!("../../src/store/migrations/0001_tasks.sql");
    // Some of its statements' own words.
    const INSERT: &str = "insert into task_service.tasks (user_id, id, title, description, completed, priority, due_date, tags)
        values ('u1', gen_random_uuid(), 'old', null, false, 3, '2026-01-31T00:00:00Z', array['a'])";
    const UPDATE: &str = "update task_service.tasks set due_date = '2026-02-01T10:00:00Z', priority = 2,
        updated_at = greatest(updated_at, clock_timestamp()), version = version + 1 where user_id = 'u1'";
    for built_before in [false, true] {
        let Some(database) = test::database() else { return };
        let admin = connect(&database.url()).await;
        let sum = digest::digest(&digest::SHA256, FIRST.as_bytes());
        let sum = sum.as_ref().iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
        let first = format!(
            "create schema task_service;
            create table task_service.migrations
                (version bigint primary key, name text not null, checksum text not null,
                applied_at timestamptz not null default now());
            {FIRST};
            insert into task_service.migrations (version, name, checksum) values (1, 'tasks', '{sum}');
            {INSERT}"
        );
        admin.batch_execute(&first).await.unwrap();
        if built_before {
            for (name, key) in [
                ("update", "updated_at"),
                ("title", "lower(title)"),
                ("due_date", "due_date"),
                ("priority", "priority"),
            ] {
                let build = format!(
                    "create index concurrently tasks_by_{name} on task_service.tasks (user_id, {key}, id)"
                );
                admin.batch_execute(&build).await.unwrap();
            }
        }
        let service = start_at(&settings(&database.url(), &[])).await;
        service.store.prepare(Switch::On).await.unwrap();
        assert_eq!(applied(&database).await, all());
        let indexes =
            "select count(*) from pg_indexes where schemaname = 'task_service' and tablename = 'tasks'";
        assert_eq!(admin.query_one(indexes, &[]).await.unwrap().get::<_, i64>(0), 8);
        let task = service.list("u1").await.pop().unwrap();
        assert_eq!(task["due_date"], "2026-01-31T00:00:00.000Z", "a moment, as it was told before");
        // A replica of the first release goes on beside this one, also over a day that it knows nothing of.
        let path = format!("/api/tasks/{}", task["id"].as_str().unwrap());
        let day = service.call_with("u1", &format!("PATCH {path}"), &json!({"due_date": "2026-01-31"})).await;
        assert_eq!(day.json()["due_date"], "2026-01-31");
        admin.batch_execute(&format!("{UPDATE}; {INSERT}")).await.unwrap();
        let task = service.call("u1", &format!("GET {path}")).await.json();
        assert_eq!(
            (&task["due_date"], &task["priority"]),
            (&json!("2026-02-01T10:00:00.000Z"), &json!("medium"))
        );
        assert_eq!(service.list("u1").await.len(), 2);
        // What it writes is found by its tag.
        let tagged = service.call("u1", "GET /api/tasks?tag=a").await.json();
        assert_eq!(tagged.as_array().unwrap().len(), 2);
    }
}

/// As the migration tells those who have too many tasks to wait for it.
#[tokio::test]
async fn the_indexes_of_the_orders_may_be_built_before_while_all_goes_on() {
    const ORDERS: &str = include_str!("../../src/store/migrations/0009_orders.sql");
    let Some(database) = test::database() else { return };
    let admin = connect(&database.url()).await;
    store(&database.url()).prepare(Switch::On).await.unwrap();
    let indexes = async || {
        let sql = "select indexrelid::regclass::text, indexrelid from pg_index
            where indrelid = 'task_service.tasks'::regclass and indisvalid order by 1";
        let rows = admin.query(sql, &[]).await.unwrap();
        rows.iter().map(|row| (row.get(0), row.get(1))).collect::<Vec<(String, u32)>>()
    };
    let wanted: Vec<_> = indexes().await.into_iter().map(|(name, _)| name).collect();
    // The release before.
    let before = "delete from task_service.migrations where version = 9;
        create index tasks_newest_first on task_service.tasks (user_id, created_at desc, id desc);
        create index tasks_by_title on task_service.tasks (user_id, title_key, id)";
    admin.batch_execute(before).await.unwrap();
    for build in ORDERS.split("create index if not exists ").skip(1) {
        let (build, name) = (build.split(';').next().unwrap(), build.split(' ').next().unwrap());
        admin.batch_execute(&format!("drop index task_service.{name}")).await.unwrap();
        admin.batch_execute(&format!("create index concurrently {build}")).await.unwrap();
    }
    let built = indexes().await;
    store(&database.url()).prepare(Switch::On).await.unwrap();
    let now = indexes().await;
    assert!(now.iter().all(|index| built.contains(index)), "{now:?}: none is built again, {built:?}");
    assert_eq!(now.into_iter().map(|(name, _)| name).collect::<Vec<_>>(), wanted);

    // One that broke off is built again.
    let broken = "delete from task_service.migrations where version = 9;
        update pg_index set indisvalid = false where indexrelid = 'task_service.tasks_in_order_of_title'::regclass";
    admin.batch_execute(broken).await.unwrap();
    store(&database.url()).prepare(Switch::On).await.unwrap();
    assert_eq!(indexes().await.into_iter().map(|(name, _)| name).collect::<Vec<_>>(), wanted);

    // What is none of them is not taken for one.
    let other = "delete from task_service.migrations where version = 9;
        drop index task_service.tasks_in_order_of_title;
        create index tasks_in_order_of_title on task_service.tasks (user_id, id)";
    admin.batch_execute(other).await.unwrap();
    let refused = store(&database.url()).prepare(Switch::On).await.unwrap_err();
    let told = format!("{refused} {refused:?}");
    assert!(told.contains("tasks_in_order_of_title in task_service: not the index"), "{told}");
}

#[tokio::test]
async fn a_first_start_leaves_no_error_in_the_servers_log() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let postgres = match Postgres::start(folder.path(), &mut |_| {}) {
        Err(error @ (StartError::NotFound | StartError::Fetch(_))) => return test::skip(&error.to_string()),
        started => started.unwrap(),
    };
    postgres.create_database("tasks").unwrap();
    // As a role that owns its database and may do nothing else.
    store(&postgres.url("tasks")).prepare(Switch::On).await.unwrap();
    let entries = fs::read_dir(folder.path()).unwrap();
    let logs: Vec<_> = entries
        .filter_map(|entry| fs::read_to_string(entry.unwrap().path().join("server.log")).ok())
        .collect();
    assert_eq!(logs.len(), 1);
    assert!(logs[0].contains("ready to accept connections") && !logs[0].contains("ERROR"), "{}", logs[0]);
}

#[tokio::test]
async fn a_replica_that_may_not_migrate_waits_for_one_that_may() {
    let Some(database) = test::database() else { return };
    let store = store(&database.url());
    assert!(matches!(store.prepare(Switch::Off).await, Err(PrepareError::Behind)));
    store.prepare(Switch::On).await.unwrap();
    store.prepare(Switch::Off).await.unwrap();
}

#[tokio::test]
async fn a_role_that_may_change_no_table_is_enough_to_serve() {
    let Some(database) = test::database() else { return };
    let admin = connect(&database.url()).await;
    let role = format!("app_{}", database.url().rsplit('_').next().unwrap());
    admin.batch_execute(&format!("create role {role} login")).await.unwrap();
    let url = database.url().replace("postgres@", &format!("{role}@"));

    let error = store(&url).prepare(Switch::On).await.unwrap_err();
    assert!(
        matches!(&error, PrepareError::Refused { advice, .. } if advice.contains("TASK_SERVICE_MIGRATE=off")),
        "{error}"
    );

    store(&database.url()).prepare(Switch::On).await.unwrap();
    let grants = format!(
        "grant usage on schema task_service to {role};
         grant select on task_service.migrations to {role};
         grant select, insert, update, delete on task_service.tasks, task_service.answers, task_service.legacy_ids,
             task_service.task_tags to {role}"
    );
    admin.batch_execute(&grants).await.unwrap();
    let service = start_at(&settings(&url, &[])).await;
    service.store.prepare(Switch::Off).await.unwrap();
    // Nothing is left to do, so nothing is demanded either.
    service.store.prepare(Switch::On).await.unwrap();
    let task = service.create("u1", &json!({"title": "t"})).await;
    let path = format!("/api/tasks/{}", task["id"].as_str().unwrap());
    assert_eq!(service.call("u1", &format!("PATCH {path}/complete")).await.status, 200);
    assert_eq!(service.call("u1", &format!("DELETE {path}")).await.status, 204);

    drop(service);
    admin.batch_execute(&format!("drop owned by {role}; drop role {role}")).await.unwrap();
}

#[tokio::test]
async fn a_past_that_differs_is_not_served() {
    let Some(database) = test::database() else { return };
    store(&database.url()).prepare(Switch::On).await.unwrap();
    let admin = connect(&database.url()).await;
    admin.batch_execute("update task_service.migrations set checksum = 'another'").await.unwrap();
    for migrate in [Switch::On, Switch::Off] {
        let error = store(&database.url()).prepare(migrate).await.unwrap_err();
        assert!(matches!(error, PrepareError::Changed { version: 1, name: "tasks" }), "{error}");
        assert!(error.to_string().starts_with("migration 1 (tasks) was applied with another content"));
    }
}

#[tokio::test]
async fn a_database_that_is_ahead_is_served() {
    let Some(database) = test::database() else { return };
    store(&database.url()).prepare(Switch::On).await.unwrap();
    let admin = connect(&database.url()).await;
    let future = "insert into task_service.migrations (version, name, checksum) values (1000, 'later', 'x');
        alter table task_service.tasks add column later text";
    admin.batch_execute(future).await.unwrap();
    let service = start_at(&settings(&database.url(), &[])).await;
    service.store.prepare(Switch::On).await.unwrap();
    service.create("u1", &json!({"title": "t"})).await;
    assert_eq!(applied(&database).await, [all(), vec![1000]].concat());
}

#[tokio::test]
async fn tables_of_others_are_left_alone() {
    let Some(database) = test::database() else { return };
    let admin = connect(&database.url()).await;
    // What an older backend may have left, in the schema that everybody uses.
    admin.batch_execute("create table tasks (id serial primary key, what text)").await.unwrap();
    store(&database.url()).prepare(Switch::On).await.unwrap();
    admin.batch_execute("insert into tasks (what) values ('still mine')").await.unwrap();
    // And a search path that leads there changes nothing.
    let name = database.url().rsplit_once('/').unwrap().1.to_owned();
    admin.batch_execute(&format!("alter database {name} set search_path = public")).await.unwrap();
    let service = start_at(&settings(&database.url(), &[])).await;
    service.store.prepare(Switch::On).await.unwrap();
    service.create("u1", &json!({"title": "t"})).await;
}

#[tokio::test]
async fn a_role_with_defaults_of_its_own_migrates_all_the_same() {
    let Some(database) = test::database() else { return };
    let admin = connect(&database.url()).await;
    let name = database.url().rsplit_once('/').unwrap().1.to_owned();
    let defaults = format!("alter database {name} set default_transaction_isolation = 'serializable'");
    admin.batch_execute(&defaults).await.unwrap();
    let replicas: Vec<_> = (0..5)
        .map(|_| {
            let store = store(&database.url());
            tokio::spawn(async move { store.prepare(Switch::On).await })
        })
        .collect();
    for replica in replicas {
        replica.await.unwrap().unwrap();
    }
    assert_eq!(applied(&database).await, all());
}

#[tokio::test]
async fn a_database_in_another_encoding_is_refused() {
    let Some(database) = test::database() else { return };
    let admin = connect(&database.url()).await;
    let name = format!("{}_ascii", database.url().rsplit_once('/').unwrap().1);
    let create = format!("create database {name} encoding 'SQL_ASCII' locale 'C' template template0");
    admin.batch_execute(&create).await.unwrap();
    let error = store(&format!("{}_ascii", database.url())).prepare(Switch::On).await.unwrap_err();
    assert!(matches!(&error, PrepareError::Refused { said, .. } if said.contains("must be UTF8")), "{error}");
    admin.batch_execute(&format!("drop database {name} with (force)")).await.unwrap();
}

#[tokio::test]
async fn what_is_wrong_with_the_database_is_said_with_what_to_do() {
    let Some(database) = test::database() else { return };
    let missing = store(&format!("{}_missing", database.url())).prepare(Switch::On).await.unwrap_err();
    assert!(
        matches!(&missing, PrepareError::Refused { advice, .. } if advice.contains("create it")),
        "{missing}"
    );
    let nowhere = store("postgresql://u:hunter2@127.0.0.1:1/d").prepare(Switch::On).await.unwrap_err();
    assert!(matches!(&nowhere, PrepareError::Unreachable(_)), "{nowhere}");
    assert!(!nowhere.to_string().contains("hunter2"));
}

#[tokio::test]
async fn the_bounds_of_the_service_are_the_bounds_of_the_table() {
    let Some(database) = test::database() else { return };
    store(&database.url()).prepare(Switch::On).await.unwrap();
    let admin = connect(&database.url()).await;
    for (columns, values, good) in [
        ("title", "repeat('🦀', 200)", true),
        ("title", "repeat('a', 201)", false),
        ("title", "''", false),
        ("title, description", "'t', repeat('é', 1000)", true),
        ("title, description", "'t', repeat('a', 1001)", false),
        ("title, priority", "'t', 4", true),
        ("title, priority", "'t', 5", false),
        ("title, priority", "'t', 0", false),
        ("title, tags", "'t', array_fill('x'::text, array[20])", true),
        ("title, tags", "'t', array_fill('x'::text, array[21])", false),
        ("title, tags", "'t', array[null::text]", false),
    ] {
        let insert = format!(
            "insert into task_service.tasks (user_id, id, {columns}) values ('u1', gen_random_uuid(), {values})"
        );
        assert_eq!(admin.batch_execute(&insert).await.is_ok(), good, "{values}");
    }
    for user in ["''", "repeat('x', 256)", "null"] {
        let insert = format!(
            "insert into task_service.tasks (user_id, id, title) values ({user}, gen_random_uuid(), 't')"
        );
        assert!(admin.batch_execute(&insert).await.is_err(), "{user}");
    }
}

/// What a role, a database or a pooler's leftovers may say; a replica says the same of each of its transactions.
async fn only_read(admin: &tokio_postgres::Client, only: bool) {
    let to = if only { "on" } else { "off" };
    let sql = format!(
        "set default_transaction_read_only = off;
         do $$ begin
             execute format('alter database %I set default_transaction_read_only = {to}', current_database());
         end $$"
    );
    admin.batch_execute(&sql).await.unwrap();
}

#[tokio::test]
async fn a_database_that_can_only_be_read_is_left_as_it_is_and_read() {
    let Some(database) = test::database() else { return };
    let admin = connect(&database.url()).await;
    only_read(&admin, true).await;
    let error = store(&database.url()).prepare(Switch::On).await.unwrap_err();
    assert!(matches!(error, PrepareError::ReadOnly), "{error}");
    assert!(error.to_string().contains("can only be read"), "{error}");
    let made: bool =
        admin.query_one("select to_regnamespace('task_service') is not null", &[]).await.unwrap().get(0);
    assert!(!made, "though the role might");
    only_read(&admin, false).await;
    store(&database.url()).prepare(Switch::On).await.unwrap();

    // With all the tables there is nothing to wait for.
    only_read(&admin, true).await;
    let service = start_at(&settings(&database.url(), &[])).await;
    service.store.prepare(Switch::On).await.unwrap();
    assert_eq!(service.list("u1").await.len(), 0);
    let body = json!({"title": "t"});
    let answer = service.call_with("u1", "POST /api/tasks", &body).await;
    answer.problem(503, "database-read-only");
    only_read(&admin, false).await;
    // Connections that were opened meanwhile still say so; each is closed when it does.
    eventually("it can be written to", async || {
        service.call_with("u1", "POST /api/tasks", &body).await.status == 201
    })
    .await;
}

#[tokio::test]
async fn where_every_transaction_is_serializable_nobody_is_told() {
    for level in ["serializable", "repeatable read"] {
        let Some(database) = test::database() else { return };
        let admin = connect(&database.url()).await;
        let sql = format!(
            "do $$ begin
                 execute format('alter database %I set default_transaction_isolation = %L', current_database(), '{level}');
             end $$"
        );
        admin.batch_execute(&sql).await.unwrap();
        let service = Arc::new(start_at(&settings(&database.url(), &[])).await);
        service.store.prepare(Switch::On).await.unwrap();
        // Each has their own tasks, which share their pages with the others'.
        let users: Vec<_> = (0..6)
            .map(|n| {
                let service = service.clone();
                tokio::spawn(async move {
                    let user = format!("u{}", n / 2);
                    let mut made = 0;
                    for turn in 0..25 {
                        let body = json!({"title": format!("{n}-{turn}")});
                        let task = service.create(&user, &body).await;
                        made += 1;
                        let line = format!("/api/tasks/{}", task["id"].as_str().unwrap());
                        let answer = service.call(&user, &format!("PATCH {line}/complete")).await;
                        assert_eq!(answer.status, 200, "{}", answer.text());
                        assert_eq!(answer.json()["completed"], true, "once");
                        assert!(service.list(&user).await.len() >= made);
                    }
                })
            })
            .collect();
        for user in users {
            user.await.unwrap();
        }
        let shown: i64 = admin
            .query_one("select count(*) from task_service.tasks where completed and version = 2", &[])
            .await
            .unwrap()
            .get(0);
        assert_eq!(shown, 150, "{level}");
    }
}
