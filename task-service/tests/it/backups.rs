//! Backing up and restoring, by the very lines of docs/upgrading.md: row-level security binds whoever dumps, and must not leave rows out.

use std::{
    path::Path,
    process::{Command, Output, Stdio},
};

use chassis::settings::Switch;
use dev_postgres::test::{self, TestDatabase};
use serde_json::json;
use task_service::store::Store;

use crate::{
    database::{as_role, connect},
    service::{settings, start_at},
};

/// What the page calls the roles.
const ROLES: [&str; 3] = ["usher_tasks", "usher_migrate", "usher_backup"];

/// The blocks of code of the page in that language, with roles of this test's own.
fn blocks(language: &str, roles: &[String; 3]) -> Vec<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/upgrading.md");
    let mut page = std::fs::read_to_string(page).unwrap();
    for (name, own) in ROLES.iter().zip(roles) {
        page = page.replace(name, own);
    }
    let fence = format!("\n```{language}\n");
    page.split(&fence).skip(1).map(|block| block.split("\n```").next().unwrap().to_owned()).collect()
}

/// The one block that begins so.
fn block(language: &str, beginning: &str, roles: &[String; 3]) -> String {
    let mut found = blocks(language, roles);
    found.retain(|block| block.starts_with(beginning));
    assert_eq!(found.len(), 1, "{beginning}: {found:?}");
    found.remove(0)
}

/// Runs what the page says in a folder, as a shell would, with the program under its name.
fn run(folder: &Path, variables: &[(&str, &str)], script: &str) -> Output {
    let program = Path::new(env!("CARGO_BIN_EXE_task-service")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let mut shell = Command::new("sh");
    shell.args(["-e", "-c", script]).current_dir(folder).env("PATH", path).envs(variables.iter().copied());
    shell.stdin(Stdio::null()).output().unwrap()
}

#[track_caller]
fn done(output: &Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Whether a program of PostgreSQL's clients is there and is as new as the server; else it is said aloud.
async fn can_dump(database: &TestDatabase) -> bool {
    let version = connect(&database.url()).await.query_one("show server_version_num", &[]).await.unwrap();
    let server = version.get::<_, String>(0).parse::<u32>().unwrap() / 10000;
    let client = Command::new("pg_dump").arg("--version").output();
    let said = client.map(|output| String::from_utf8(output.stdout).unwrap()).unwrap_or_default();
    let client =
        said.split_whitespace().nth(2).and_then(|version| version.split('.').next()?.parse::<u32>().ok());
    if client.is_none_or(|client| client < server) {
        test::skip(&format!("pg_dump {server} or newer is needed (postgresql-client), there is {said:?}"));
        return false;
    }
    true
}

async fn titles(database: &TestDatabase) -> Vec<(String, String)> {
    let all = "select user_id, title from task_service.tasks order by 1, 2";
    let rows = connect(&database.url()).await.query(all, &[]).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_backed_up_as_documented_is_restored_with_roles_and_row_level_security() {
    let (Some(database), Some(empty)) = (test::database(), test::database()) else { return };
    if !can_dump(&database).await {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let name = database.url().rsplit('/').next().unwrap().to_owned();
    let roles = ["serves", "migrates", "backs_up"].map(|role| format!("{role}_{name}"));
    let [serving, migrating, backup] = &roles;
    let admin = connect(&database.url()).await;
    let grants =
        run(folder.path(), &[], &format!("task-service grants --serve {serving} --migrate {migrating}"));
    done(&grants);
    admin.batch_execute(&String::from_utf8(grants.stdout).unwrap()).await.unwrap();
    let small = as_role(&database.url(), serving);
    let owner = as_role(&database.url(), migrating);
    let others = [("TASK_SERVICE_MIGRATE_URL", &*owner)];
    let service = start_at(&settings(&small, &others)).await;
    service.store.prepare(Switch::On).await.unwrap();
    for user in ["ada", "bob"] {
        service.create(user, &json!({"title": format!("{user}'s")})).await;
    }
    let all = titles(&database).await;
    assert_eq!(all.len(), 2);

    // Whoever is bound makes no dump that lacks something: it makes none.
    let dump = block("sh", "pg_dump ", &roles);
    for bound in [&small, &owner] {
        let refused = run(folder.path(), &[("BACKUP_URL", bound)], &dump);
        assert!(!refused.status.success(), "{bound}");
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(said.contains("affected by row-level security policy"), "{said}");
    }
    // Unless it is asked to.
    let silent = format!("{dump} --enable-row-security");
    done(&run(folder.path(), &[("BACKUP_URL", &owner)], &silent));
    let without = run(folder.path(), &[], "pg_restore --data-only --table=tasks --file=- tasks.dump");
    assert!(!String::from_utf8_lossy(&without.stdout).contains("ada"), "as the page warns");

    admin.batch_execute(&format!("create role {backup} login bypassrls")).await.unwrap();
    connect(&owner).await.batch_execute(&block("sql", "grant usage on schema", &roles)).await.unwrap();
    done(&run(folder.path(), &[("BACKUP_URL", &as_role(&database.url(), backup))], &dump));
    // A table to come is in the next dump, too.
    connect(&owner).await.batch_execute("create table task_service.later (x text)").await.unwrap();
    done(&run(
        folder.path(),
        &[("BACKUP_URL", &as_role(&database.url(), backup))],
        &dump.replace("tasks.dump", "later.dump"),
    ));

    let restore = block("sh", "task-service grants ", &roles);
    done(&run(folder.path(), &[("NEW_URL", &empty.url())], &restore));
    assert_eq!(titles(&empty).await, all);
    let required = [("TASK_SERVICE_REQUIRE_ROW_LEVEL_SECURITY", "on")];
    let small = as_role(&empty.url(), serving);
    let restored = start_at(&settings(&small, &required)).await;
    restored.store.prepare(Switch::Off).await.expect("up to date, granted and bound");
    restored.create("ada", &json!({"title": "and on"})).await;
    let lists = restored.call("bob", "GET /api/tasks").await;
    assert!(lists.text().contains("bob's") && !lists.text().contains("ada's"), "{}", lists.text());
    Store::new(settings(&as_role(&empty.url(), migrating), &[]).store).migrate().await.unwrap();

    drop((service, restored));
    for url in [database.url(), empty.url()] {
        let admin = connect(&url).await;
        for role in &roles {
            admin.batch_execute(&format!("drop owned by {role} cascade")).await.unwrap();
        }
    }
    for role in &roles {
        admin.batch_execute(&format!("drop role {role}")).await.unwrap();
    }
}

/// The database of the compose file: a superuser, and a role that owns the tables and serves.
#[tokio::test(flavor = "multi_thread")]
async fn the_compose_files_database_is_backed_up_and_restored_as_documented() {
    let Some(database) = test::database() else { return };
    if !can_dump(&database).await {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let owners = crate::database::owners_url(&database).await;
    let service = start_at(&settings(&owners, &[])).await;
    service.store.prepare(Switch::On).await.unwrap();
    service.create("ada", &json!({"title": "kept"})).await;

    // Instead of a shell in the container: the same programs, at this server.
    let url = database.url();
    let here = |script: String| {
        let script = script
            .replace("--username=postgres ", "")
            .replace("--role=tasks", &format!("--role={}", crate::database::OWNER));
        script
            .replace("compose exec -T postgres ", "")
            .replace("--dbname=tasks", "--dbname=\"$URL\"")
            .replace(" tasks >", " \"$URL\" >")
            .replace("compose st", ": st")
    };
    let as_they_are = ROLES.map(ToOwned::to_owned);
    let dump = here(block("sh", "compose exec -T postgres pg_dump", &as_they_are));
    let restore = here(block("sh", "compose stop task-service", &as_they_are));
    assert!(!dump.contains("compose") && !restore.contains("compose"), "{dump}\n{restore}");
    done(&run(folder.path(), &[("URL", &url)], &dump));
    service.create("ada", &json!({"title": "since"})).await;
    drop(service);
    done(&run(folder.path(), &[("URL", &url)], &restore));

    let service = start_at(&settings(&owners, &[("TASK_SERVICE_REQUIRE_ROW_LEVEL_SECURITY", "on")])).await;
    service.store.prepare(Switch::On).await.unwrap();
    assert_eq!(titles(&database).await, [("ada".to_owned(), "kept".to_owned())]);
    service.create("ada", &json!({"title": "and on"})).await;
    let before = "select count(*) from task_service_before.tasks";
    let before = connect(&url).await.query_one(before, &[]).await.unwrap();
    assert_eq!(before.get::<_, i64>(0), 2, "what was there is put aside");
    connect(&url).await.batch_execute("drop schema task_service_before cascade").await.unwrap();
}
