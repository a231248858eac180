//! The role that serves: what it may not do, what it lacks, and what it escapes.

use std::process::Stdio;

use chassis::settings::Switch;
use dev_postgres::test::{self, TestDatabase};
use serde_json::json;
use task_service::store::{PrepareError, Store};
use tokio::process::Command;
use tokio_postgres::Client;

use crate::{
    abandoned::counted,
    database::{as_role, connect, owners_url},
    service::{settings, start_at},
};

const BOUND: &str = "row_level_security";

/// Two roles of this database's own; they go with this.
struct Roles {
    serving: String,
    migrating: String,
    admin: Client,
}

impl Roles {
    async fn of(database: &TestDatabase) -> Self {
        let number = database.url().rsplit('_').next().unwrap().to_owned();
        let admin = connect(&database.url()).await;
        Self { serving: format!("serves_{number}"), migrating: format!("migrates_{number}"), admin }
    }

    async fn grant(&self) -> Result<(), tokio_postgres::Error> {
        self.admin.batch_execute(&grants(&self.serving, &self.migrating).await).await
    }

    async fn end(self) {
        for role in [&self.serving, &self.migrating] {
            let drop = format!("drop owned by \"{role}\" cascade; drop role \"{role}\"");
            self.admin.batch_execute(&drop).await.unwrap();
        }
    }
}

async fn print(arguments: &[&str]) -> (bool, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_task-service"));
    let output = command.args(arguments).env_clear().stdin(Stdio::null()).output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.success(), text(output.stdout), text(output.stderr))
}

/// What the command prints.
async fn grants(serving: &str, migrating: &str) -> String {
    let (done, sql, error) = print(&["grants", "--serve", serving, "--migrate", migrating]).await;
    assert!(done, "{error}");
    sql
}

fn store(url: &str, others: &[(&str, &str)]) -> Store {
    Store::new(settings(url, others).store)
}

async fn serves(url: &str, others: &[(&str, &str)]) {
    let service = start_at(&settings(url, others)).await;
    service.store.prepare(Switch::On).await.unwrap();
    let task = service.create("u1", &json!({"title": "t"})).await;
    let path = format!("/api/tasks/{}", task["id"].as_str().unwrap());
    let request = service.request("u1", &format!("PATCH {path}/complete")).header("idempotency-key", &*path);
    let answer = service.send(request.body(chassis::Body::empty()).unwrap()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(service.call("u1", &format!("DELETE {path}")).await.status, 204);
}

#[tokio::test]
async fn one_role_serves_and_another_migrates_from_the_first_start_on() {
    let Some(database) = test::database() else { return };
    let roles = Roles::of(&database).await;
    for _ in 0..2 {
        roles.grant().await.unwrap();
        let big = as_role(&database.url(), &roles.migrating);
        let small = as_role(&database.url(), &roles.serving);
        serves(&small, &[("TASK_SERVICE_MIGRATE_URL", &big)]).await;
    }
    // Without the other's URL too, now that nothing is left to do.
    serves(&as_role(&database.url(), &roles.serving), &[("TASK_SERVICE_REQUIRE_ROW_LEVEL_SECURITY", "on")])
        .await;
    let client = connect(&as_role(&database.url(), &roles.serving)).await;
    for forbidden in [
        "alter table task_service.tasks add column x text",
        "alter table task_service.tasks disable row level security",
        "alter table task_service.tasks no force row level security",
        "drop policy own on task_service.tasks",
        "create policy mine on task_service.tasks using (true)",
        "create table task_service.x (x text)",
        "truncate task_service.tasks",
        "drop table task_service.answers",
        "create index on task_service.tasks (title)",
        "delete from task_service.migrations",
        "insert into task_service.migrations (version, name, checksum) values (1000, 'x', 'x')",
        "set role postgres",
    ] {
        let error = client.batch_execute(forbidden).await.unwrap_err();
        assert_eq!(error.code().unwrap().code(), "42501", "{forbidden}: {error}");
    }
    let error = client.batch_execute(&format!("set role {}", roles.migrating)).await.unwrap_err();
    assert_eq!(error.code().unwrap().code(), "42501");
    roles.end().await;
}

/// As a job migrates, and the service waits for it: what was granted before the first table holds for all.
#[tokio::test]
async fn what_was_granted_before_the_first_table_is_enough_after_a_job() {
    let Some(database) = test::database() else { return };
    let roles = Roles::of(&database).await;
    roles.grant().await.unwrap();
    let small = as_role(&database.url(), &roles.serving);
    let behind = store(&small, &[]).prepare(Switch::Off).await;
    assert!(matches!(behind, Err(PrepareError::Behind)));
    store(&as_role(&database.url(), &roles.migrating), &[]).migrate().await.unwrap();
    serves(&small, &[]).await;
    roles.end().await;
}

/// Who has served as the owner so far migrates from now on, and a smaller role serves.
#[tokio::test]
async fn a_database_of_one_role_is_given_a_second() {
    let Some(database) = test::database() else { return };
    let owners = owners_url(&database).await;
    serves(&owners, &[]).await;
    let roles = Roles::of(&database).await;
    roles.admin.batch_execute(&grants(&roles.serving, crate::database::OWNER).await).await.unwrap();
    serves(&as_role(&database.url(), &roles.serving), &[]).await;
    serves(&owners, &[]).await;
    // And to a third, which owns nothing yet.
    roles.grant().await.unwrap();
    serves(&as_role(&database.url(), &roles.serving), &[]).await;
    let big = as_role(&database.url(), &roles.migrating);
    store(&big, &[]).migrate().await.unwrap();
    roles.end().await;
}

#[tokio::test]
async fn what_the_role_lacks_is_said_with_what_grants_it() {
    let Some(database) = test::database() else { return };
    let roles = Roles::of(&database).await;
    roles.grant().await.unwrap();
    store(&as_role(&database.url(), &roles.migrating), &[]).migrate().await.unwrap();
    let small = as_role(&database.url(), &roles.serving);
    for (revoked, lacks) in [
        ("insert on task_service.tasks", "insert on task_service.tasks"),
        ("select on task_service.migrations", "select on task_service.migrations"),
        ("usage on schema task_service", "usage on schema task_service"),
        (
            "execute on function task_service.get_task, task_service.delete_task from public; \
             revoke execute on function task_service.get_task, task_service.delete_task",
            "execute on function task_service.delete_task, execute on function task_service.get_task",
        ),
        (
            "update, delete on task_service.tasks, task_service.answers",
            "update on task_service.tasks, delete on task_service.tasks, update on task_service.answers, \
             delete on task_service.answers",
        ),
    ] {
        roles.admin.batch_execute(&format!("revoke {revoked} from {}", roles.serving)).await.unwrap();
        for migrate in [Switch::On, Switch::Off] {
            let error = store(&small, &[]).prepare(migrate).await.unwrap_err();
            let want = format!(
                "the role {0} lacks {lacks}; `task-service grants --serve '{0}' --migrate '{1}'` prints the SQL that \
                 grants it",
                roles.serving, roles.migrating
            );
            assert_eq!(error.to_string(), want);
        }
        roles.grant().await.unwrap();
        store(&small, &[]).prepare(Switch::On).await.unwrap();
    }
    // Who may grant it does so, if the service knows the way.
    roles
        .admin
        .batch_execute(&format!("revoke all on task_service.tasks from {}", roles.serving))
        .await
        .unwrap();
    let big = as_role(&database.url(), &roles.migrating);
    serves(&small, &[("TASK_SERVICE_MIGRATE_URL", &big)]).await;
    // And says so, if it knows a wrong one.
    roles
        .admin
        .batch_execute(&format!("revoke all on task_service.tasks from {}", roles.serving))
        .await
        .unwrap();
    let wrong =
        store(&small, &[("TASK_SERVICE_MIGRATE_URL", &format!("{big}_missing"))]).prepare(Switch::On).await;
    let error = wrong.unwrap_err().to_string();
    assert!(error.contains("no database of the name in TASK_SERVICE_MIGRATE_URL"), "{error}");
    roles.end().await;
}

#[tokio::test]
async fn a_role_that_row_level_security_does_not_bind_is_told_and_refused_where_that_is_asked() {
    let Some(database) = test::database() else { return };
    let required = [("TASK_SERVICE_REQUIRE_ROW_LEVEL_SECURITY", "on")];
    store(&database.url(), &[]).prepare(Switch::On).await.unwrap();
    let refused = async |url: &str, why: &str| {
        store(url, &[]).prepare(Switch::On).await.unwrap();
        let error = store(url, &required).prepare(Switch::On).await.unwrap_err();
        assert!(matches!(error, PrepareError::Unbound { .. }), "{error}");
        assert!(error.to_string().contains(why), "{error}");
        assert!(error.to_string().contains("`task-service grants --serve '"), "{error}");
    };
    refused(&database.url(), "the role postgres, which is a superuser").await;
    let roles = Roles::of(&database).await;
    roles.grant().await.unwrap();
    let small = as_role(&database.url(), &roles.serving);
    store(&small, &required).prepare(Switch::On).await.unwrap();
    roles.admin.batch_execute(&format!("alter role {} bypassrls", roles.serving)).await.unwrap();
    refused(&small, "which has BYPASSRLS").await;
    // It can't be mended by grants, so they are refused too.
    let error = roles.grant().await.unwrap_err();
    assert!(error.as_db_error().unwrap().message().contains("has BYPASSRLS"));
    roles.admin.batch_execute(&format!("rollback; alter role {} nobypassrls", roles.serving)).await.unwrap();
    store(&small, &required).prepare(Switch::On).await.unwrap();
    // The owner is bound, until somebody lifts that.
    let big = as_role(&database.url(), &roles.migrating);
    store(&big, &required).prepare(Switch::On).await.unwrap();
    roles.admin.batch_execute("alter table task_service.answers no force row level security").await.unwrap();
    refused(&big, "which finds it switched off").await;
    store(&small, &required).prepare(Switch::On).await.unwrap();
    assert!(counted(BOUND) <= 1.0);
    roles.end().await;
}

/// As after a roll-back to a release that sets no user.
#[tokio::test]
async fn row_level_security_that_was_switched_off_is_switched_on_by_the_grants() {
    let Some(database) = test::database() else { return };
    let roles = Roles::of(&database).await;
    roles.grant().await.unwrap();
    store(&as_role(&database.url(), &roles.migrating), &[]).migrate().await.unwrap();
    let off = "no force row level security, disable row level security";
    let off = format!("alter table task_service.tasks {off}; alter table task_service.answers {off}");
    roles.admin.batch_execute(&off).await.unwrap();
    let small = as_role(&database.url(), &roles.serving);
    let required = [("TASK_SERVICE_REQUIRE_ROW_LEVEL_SECURITY", "on")];
    let error = store(&small, &required).prepare(Switch::On).await.unwrap_err().to_string();
    let command =
        format!("`task-service grants --serve '{}' --migrate '{}'`", roles.serving, roles.migrating);
    assert!(error.contains("finds it switched off") && error.contains(&command), "{error}");
    roles.grant().await.unwrap();
    serves(&small, &required).await;
    roles.end().await;
}

#[tokio::test]
async fn who_owns_the_tables_keeps_its_rights_whoever_migrates() {
    let Some(database) = test::database() else { return };
    let owners = owners_url(&database).await;
    serves(&owners, &[]).await;
    let admin = connect(&database.url()).await;
    // Something is left to do for the one who migrates.
    admin.batch_execute("delete from task_service.migrations where version = 6; drop table task_service.legacy_ids, task_service.imports").await.unwrap();
    serves(&owners, &[("TASK_SERVICE_MIGRATE_URL", &database.url())]).await;
    connect(&owners)
        .await
        .batch_execute("create table task_service.x (x text); drop table task_service.x")
        .await
        .unwrap();
}

#[tokio::test]
async fn the_role_that_migrates_may_not_lead_to_another_database() {
    let (Some(database), Some(other)) = (test::database(), test::database()) else { return };
    let wrong = [("TASK_SERVICE_MIGRATE_URL", &*other.url())];
    let error = store(&database.url(), &wrong).prepare(Switch::On).await.unwrap_err();
    assert!(matches!(error, PrepareError::Elsewhere { .. }), "{error}");
    assert!(error.to_string().contains("TASK_SERVICE_MIGRATE_URL leads to another database"), "{error}");
    for url in [database.url(), other.url()] {
        let made = "select to_regnamespace('task_service') is not null";
        assert!(
            !connect(&url).await.query_one(made, &[]).await.unwrap().get::<_, bool>(0),
            "nothing was made"
        );
    }
}

#[tokio::test]
async fn a_role_that_could_escape_does_not_serve() {
    let Some(database) = test::database() else { return };
    let roles = Roles::of(&database).await;
    roles.grant().await.unwrap();
    for (power, none) in [("createrole", "nocreaterole"), ("replication", "noreplication")] {
        roles.admin.batch_execute(&format!("alter role {} {power}", roles.serving)).await.unwrap();
        let error = roles.grant().await.unwrap_err();
        assert!(
            error.as_db_error().unwrap().message().contains("row-level security would not hold it"),
            "{power}"
        );
        roles.admin.batch_execute(&format!("rollback; alter role {} {none}", roles.serving)).await.unwrap();
    }
    roles.grant().await.unwrap();
    roles.end().await;
}

#[tokio::test]
async fn a_role_that_could_become_the_owner_does_not_serve() {
    let Some(database) = test::database() else { return };
    let roles = Roles::of(&database).await;
    roles.grant().await.unwrap();
    roles.admin.batch_execute(&format!("grant {} to {}", roles.migrating, roles.serving)).await.unwrap();
    let error = roles.grant().await.unwrap_err();
    assert!(error.as_db_error().unwrap().message().contains("is a member of"));
    roles.admin.batch_execute("rollback").await.unwrap();
    roles.end().await;
}

#[tokio::test]
async fn roles_of_any_name_are_granted_to() {
    let Some(database) = test::database() else { return };
    let mut roles = Roles::of(&database).await;
    roles.serving = format!("{}'; drop role x; -- $grants$", roles.serving);
    roles.migrating = format!("{} é\\$roles$", roles.migrating);
    for _ in 0..2 {
        roles.grant().await.unwrap();
    }
    let there = "select count(*) from pg_roles where rolname = any ($1) and rolcanlogin and not rolsuper";
    let names = [&roles.serving, &roles.migrating];
    assert_eq!(roles.admin.query_one(there, &[&&names[..]]).await.unwrap().get::<_, i64>(0), 2);
    roles.end().await;
}

#[tokio::test]
async fn names_that_can_be_none_are_refused() {
    for arguments in [
        &["grants"][..],
        &["grants", "--serve", "a"],
        &["grants", "--serve", "a", "--migrate", "a"],
        &["grants", "--serve", "", "--migrate", "a"],
    ] {
        let (done, sql, error) = print(arguments).await;
        assert!(!done && sql.is_empty() && !error.is_empty(), "{arguments:?}");
    }
}
