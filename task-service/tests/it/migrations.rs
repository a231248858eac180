//! The tables, brought up to date by whoever comes.

use std::{fs, os::unix::fs::PermissionsExt};

use chassis::settings::Switch;
use dev_postgres::{
    Postgres, StartError,
    test::{self, TestDatabase},
};
use serde_json::json;
use task_service::store::{PrepareError, Store};

use crate::{
    database::connect,
    service::{settings, start_at},
};

fn store(url: &str) -> Store {
    Store::new(settings(url, &[]).store)
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
        assert_eq!(applied(&database).await, [1, 2, 3]);
    }
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
         grant select, insert, update, delete on task_service.tasks, task_service.answers to {role}"
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
    assert_eq!(applied(&database).await, [1, 2, 3, 1000]);
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
    let defaults = format!(
        "alter database {name} set default_transaction_isolation = 'serializable';
         alter database {name} set default_transaction_read_only = on"
    );
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
    assert_eq!(applied(&database).await, [1, 2, 3]);
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
