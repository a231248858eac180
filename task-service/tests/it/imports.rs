//! Another backend's table, taken over by the binary itself.

use std::process::{Output, Stdio};

use dev_postgres::test::{self, TestDatabase};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{process::Command, time::timeout};
use tokio_postgres::Client;

use crate::{
    command_line::binary,
    database::connect,
    service::{PATIENCE, Service, eventually, settings, start_at},
};

/// As Better Auth's migrations make it.
const USERS: &str = r#"
create table "user" (
    "id" text not null primary key, "name" text not null, "email" text not null unique, "emailVerified" boolean not null,
    "image" text, "createdAt" timestamptz default CURRENT_TIMESTAMP not null, "updatedAt" timestamptz default CURRENT_TIMESTAMP not null
);
insert into "user" (id, name, email, "emailVerified") values ('u1', 'A', 'a@example.com', true), ('u2', 'B', 'b@example.com', true)"#;

/// As `SQLModel` 0.0.22 makes it of `id: int | None`, `user_id: str = Field(index=True)` and `datetime.utcnow`.
const SQLMODEL: &str = "
CREATE TABLE tasks (
	id SERIAL NOT NULL, 
	user_id VARCHAR NOT NULL, 
	title VARCHAR(200) NOT NULL, 
	description VARCHAR, 
	completed BOOLEAN NOT NULL, 
	created_at TIMESTAMP WITHOUT TIME ZONE NOT NULL, 
	updated_at TIMESTAMP WITHOUT TIME ZONE NOT NULL, 
	PRIMARY KEY (id)
);
CREATE INDEX ix_tasks_user_id ON tasks (user_id);";

/// As `SQLModel` 0.0.50 makes it of `id: UUID`, an `Enum` of texts, a `date` and `ARRAY(String)`.
const SQLMODEL_UUID: &str = "
CREATE TYPE priority AS ENUM ('LOW', 'MEDIUM', 'HIGH');
CREATE TABLE todos (
	id UUID NOT NULL, 
	user_id VARCHAR NOT NULL, 
	title VARCHAR NOT NULL, 
	description TEXT, 
	is_completed BOOLEAN NOT NULL, 
	priority priority NOT NULL, 
	due_date DATE, 
	tags VARCHAR[], 
	created_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	updated_at TIMESTAMP WITH TIME ZONE, 
	PRIMARY KEY (id)
);
CREATE INDEX ix_todos_user_id ON todos (user_id);";

/// As `SQLAlchemy` 2.0 makes it of a model that says little.
const SQLALCHEMY: &str = "
CREATE TABLE task (
	id SERIAL NOT NULL, 
	owner_id INTEGER, 
	user_id VARCHAR(255), 
	title VARCHAR, 
	done BOOLEAN, 
	priority INTEGER, 
	due_date VARCHAR, 
	tags JSON, 
	category VARCHAR, 
	created_at TIMESTAMP WITHOUT TIME ZONE, 
	PRIMARY KEY (id)
);
CREATE INDEX ix_task_id ON task (id);
CREATE INDEX ix_task_owner_id ON task (owner_id);";

/// A database with Better Auth's users and this besides.
async fn database(sql: &str) -> Option<(TestDatabase, Client)> {
    let database = test::database()?;
    let admin = connect(&database.url()).await;
    admin.batch_execute(USERS).await.unwrap();
    admin.batch_execute(sql).await.unwrap();
    Some((database, admin))
}

async fn import_at(url: &str, arguments: &[&str]) -> Output {
    let folder = TempDir::new().unwrap();
    let arguments = [&["import"], arguments].concat();
    timeout(PATIENCE, binary(&folder, &arguments, &[("DATABASE_URL", url)]).output()).await.unwrap().unwrap()
}

/// What an import reports.
#[track_caller]
fn reported(output: Output) -> String {
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

async fn import(database: &TestDatabase, arguments: &[&str]) -> String {
    reported(import_at(&database.url(), arguments).await)
}

/// Why an import refuses to do anything.
async fn refused(database: &TestDatabase, arguments: &[&str]) -> String {
    let output = import_at(&database.url(), arguments).await;
    assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stderr).unwrap()
}

#[track_caller]
fn ends(said: &str, sum: &str) {
    assert_eq!(said.lines().last(), Some(sum), "{said}");
}

async fn serve(database: &TestDatabase) -> Service {
    let service = start_at(&settings(&database.url(), &[])).await;
    service.store.prepare(chassis::settings::Switch::On).await.unwrap();
    service
}

async fn number(client: &Client, select: &str) -> i64 {
    client.query_one(select, &[]).await.unwrap().get(0)
}

async fn task(service: &Service, user: &str, id: &str) -> Value {
    service.call(user, &format!("GET /api/tasks/{id}")).await.json()
}

const SOME: &str = "insert into tasks (user_id, title, description, completed, created_at, updated_at) values
    ('u1', 'milk', 'two', false, '2025-01-31 09:30:00.123', '2025-02-01 10:00'),
    ('u1', 'bread', null, true, '2025-02-01 09:30', '2025-02-01 10:00'),
    ('u2', 'beer', null, false, '2025-02-02 09:30', '2025-02-02 10:00')";

#[tokio::test]
async fn a_dry_run_says_what_would_be_done_and_does_nothing() {
    let Some((database, admin)) = database(&format!("{SQLMODEL}{SOME}")).await else { return };
    let schemas = "select count(*) from pg_namespace where nspname = 'task_service'";
    let said = import(&database, &["--dry-run"]).await;
    assert!(said.starts_with("public.tasks: 3 rows of 2 users\n"), "{said}");
    assert!(said.contains("    created_at   created_at (timestamp); as times in UTC\n"), "{said}");
    let nothing_there = "dry run, nothing was changed: 3 rows = 3 would be taken over + 0 there already + 0 would be left out";
    ends(&said, nothing_there);
    assert_eq!(number(&admin, schemas).await, 0);
    // With the tables there, it looks at them as an import does.
    let service = serve(&database).await;
    ends(&import(&database, &["--dry-run"]).await, nothing_there);
    assert!(service.list("u1").await.is_empty());
    assert_eq!(number(&admin, "select count(*) from task_service.imports").await, 0);
    import(&database, &[]).await;
    ends(
        &import(&database, &["--dry-run"]).await,
        "dry run, nothing was changed: 3 rows = 0 would be taken over + 3 there already + 0 would be left out",
    );
}

#[tokio::test]
async fn tasks_are_taken_over_once_and_stay_what_their_users_make_of_them() {
    let Some((database, admin)) = database(&format!("{SQLMODEL}{SOME}")).await else { return };
    ends(&import(&database, &[]).await, "3 rows = 3 taken over + 0 there already + 0 left out");
    let service = serve(&database).await;
    let theirs = service.list("u1").await;
    let milk = &theirs[1];
    assert_eq!(theirs.len(), 2);
    for (field, want) in [
        ("user_id", json!("u1")),
        ("title", json!("milk")),
        ("description", json!("two")),
        ("completed", json!(false)),
        ("is_completed", json!(false)),
        ("priority", Value::Null),
        ("due_date", Value::Null),
        ("tags", json!([])),
        ("created_at", json!("2025-01-31T09:30:00.123Z")),
        ("updated_at", json!("2025-02-01T10:00:00.000Z")),
    ] {
        assert_eq!(milk[field], want, "{field}");
    }
    assert_eq!(theirs[0]["completed"], true);

    service.call_with("u1", "PATCH /api/tasks/1", &json!({"title": "oat milk"})).await;
    assert_eq!(service.call("u1", "DELETE /api/tasks/2").await.status, 204);
    admin
        .batch_execute(
            "update tasks set title = 'x', completed = true;
            insert into tasks (user_id, title, completed, created_at, updated_at) values ('u1', 'eggs', false, now(), now())",
        )
        .await
        .unwrap();
    for sum in [
        "4 rows = 1 taken over + 3 there already + 0 left out",
        "4 rows = 0 taken over + 4 there already + 0 left out",
    ] {
        ends(&import(&database, &[]).await, sum);
        let theirs = service.list("u1").await;
        let titles: Vec<_> = theirs.iter().map(|task| task["title"].as_str().unwrap()).collect();
        assert_eq!(titles, ["eggs", "oat milk"], "what was removed stays removed");
    }
}

#[tokio::test]
async fn an_old_id_leads_to_its_users_task_and_to_nobody_elses() {
    let Some((database, _admin)) = database(&format!("{SQLMODEL}{SOME}")).await else { return };
    import(&database, &[]).await;
    let service = serve(&database).await;
    let milk = task(&service, "u1", "1").await;
    assert_eq!(milk["title"], "milk");
    assert_eq!(task(&service, "u1", milk["id"].as_str().unwrap()).await, milk);
    assert_eq!(service.call("u1", "GET /api/u1/tasks/1/").await.json(), milk);
    assert_eq!(service.call("u1", "HEAD /api/tasks/1").await.status, 200);
    let changed = |answer: crate::service::Answer| {
        let task = answer.json();
        assert_eq!(task["id"], milk["id"]);
        task
    };
    assert_eq!(
        changed(service.call_with("u1", "PUT /api/tasks/1", &json!({"title": "a"})).await)["title"],
        "a"
    );
    assert_eq!(
        changed(service.call_with("u1", "PATCH /api/tasks/1", &json!({"title": "b"})).await)["title"],
        "b"
    );
    assert_eq!(changed(service.call("u1", "PATCH /api/tasks/1/complete").await)["completed"], true);
    assert_eq!(changed(service.call("u1", "PATCH /api/u1/tasks/1/toggle").await)["completed"], false);

    // Another user's, nobody's, no number as it was written, and no id at all: none is to be told from the other.
    let unknown = service.call("u1", "GET /api/tasks/0190b3a4-0000-7000-8000-000000000000").await;
    let unknown = unknown.problem(404, "not-found");
    for id in ["3", "4", "01", "+1", "99999999999999999999", "%31%20", "x", "1.0"] {
        for method in ["GET", "DELETE"] {
            let answer = service.call("u1", &format!("{method} /api/tasks/{id}")).await;
            assert_eq!(answer.problem(404, "not-found"), unknown, "{method} {id}");
        }
        for line in [format!("PUT /api/tasks/{id}"), format!("PATCH /api/tasks/{id}/complete")] {
            let answer = service.call_with("u1", &line, &json!({"completed": true})).await;
            assert_eq!(answer.problem(404, "not-found"), unknown, "{line}");
        }
    }
    service.call("u2", "GET /api/u1/tasks/1").await.problem(403, "forbidden");
    assert_eq!(task(&service, "u2", "3").await["completed"], false);

    assert_eq!(service.call("u1", "DELETE /api/tasks/1").await.status, 204);
    assert_eq!(service.call("u1", "GET /api/tasks/1").await.problem(404, "not-found"), unknown);
}

#[tokio::test]
async fn ids_that_are_uuids_stay_and_copies_are_known() {
    let rows = "insert into todos values
        ('11111111-1111-4111-8111-111111111111', 'u1', 'a', null, true, 'HIGH', '2026-01-31', array['x', 'y \"z'],
            '2025-01-31 09:30+02', null),
        ('22222222-2222-4222-8222-222222222222', 'u1', 'b', null, false, 'LOW', 'infinity', null, now(), now()),
        ('33333333-3333-4333-8333-333333333333', 'u1', 'c', null, false, 'LOW', null, null, now(), now()),
        ('44444444-4444-4444-8444-444444444444', 'u1', 'd', repeat('x', 1000000), false, 'LOW', null,
            array_fill(repeat('x', 1000), array[1000]), now(), now())";
    let Some((database, admin)) = database(&format!("{SQLMODEL_UUID}{rows}")).await else { return };
    let service = serve(&database).await;
    // Somebody has begun by hand.
    let copied = "insert into task_service.tasks (user_id, id, title) select user_id, id, title from todos where title = 'c'";
    admin.batch_execute(copied).await.unwrap();
    let said = import(&database, &["todos"]).await;
    assert!(
        said.contains("its due date can't be read (--clear): 22222222-2222-4222-8222-222222222222\n"),
        "{said}"
    );
    for reason in ["it has more than 20 tags", "its description has more than 1000 characters"] {
        let told = said.lines().any(|line| line.contains(reason) && line.contains("(--truncate): 44444444-"));
        assert!(told, "{said}");
    }
    ends(&said, "4 rows = 1 taken over + 1 there already + 2 left out");
    let a = task(&service, "u1", "11111111-1111-4111-8111-111111111111").await;
    assert_eq!(
        (&a["completed"], &a["priority"], &a["due_date"], &a["tags"], &a["created_at"], &a["updated_at"]),
        (
            &json!(true),
            &json!("high"),
            &json!("2026-01-31"),
            &json!(["x", "y \"z"]),
            &json!("2025-01-31T07:30:00.000Z"),
            &json!("2025-01-31T07:30:00.000Z")
        )
    );
    // The copy counts as taken over, also once it is gone.
    service.call("u1", "DELETE /api/tasks/33333333-3333-4333-8333-333333333333").await;
    let said = import(&database, &["public.todos", "--clear", "--truncate"]).await;
    ends(&said, "4 rows = 2 taken over + 2 there already + 0 left out");
    assert_eq!(service.list("u1").await.len(), 3);
    let cut = task(&service, "u1", "44444444-4444-4444-8444-444444444444").await;
    assert_eq!(
        (&cut["description"], &cut["tags"]),
        (&json!("x".repeat(1000)), &json!(vec!["x".repeat(50); 20]))
    );
}

/// A column of texts, in which somebody wrote one id in several ways.
#[tokio::test]
async fn ids_that_are_one_uuid_are_one_task() {
    let rows = "create table tasks (id text primary key, user_id text, title text);
        insert into tasks values ('0190b3a4-0000-4000-8000-00000000000a', 'u1', 'lower'),
            ('0190B3A4-0000-4000-8000-00000000000A', 'u1', 'UPPER'), ('{0190b3a4-0000-4000-8000-00000000000a}', 'u1', 'braced')";
    let Some((database, admin)) = database(rows).await else { return };
    ends(&import(&database, &[]).await, "3 rows = 1 taken over + 2 there already + 0 left out");
    assert_eq!(number(&admin, "select count(*) from task_service.tasks").await, 1);
    ends(&import(&database, &[]).await, "3 rows = 0 taken over + 3 there already + 0 left out");
}

#[tokio::test]
async fn what_does_not_fit_is_left_out_until_somebody_says_what_to_do_with_it() {
    let rows =
        "insert into task (id, user_id, title, done, priority, due_date, tags, category, created_at) values
        (1, 'u1', 'fits', true, null, '2026-07-01 09:30', '[\"a\", \"b\"]', 'home', '2026-07-01 12:00'),
        (2, 'u1', repeat('é', 201), false, null, null, null, null, now()),
        (3, 'u1', null, false, null, null, null, null, now()),
        (4, 'u1', 'one', false, 1, null, null, null, now()),
        (5, 'u1', 'date', false, null, 'tomorrow', null, null, now()),
        (6, 'u1', 'tags', false, null, null, '{\"a\": 1}', null, now()),
        (7, null, 'nobody', false, null, null, null, null, now()),
        (8, 'stranger', 'not ours', false, null, null, null, null, now()),
        (9, 'u1', ' spaced ', null, null, '2026-01-01T09:30:00Z', '\"a, b\"', null, null)";
    let Some((database, _admin)) = database(&format!("{SQLALCHEMY}{rows}")).await else { return };
    let dry = import(&database, &["task", "--dry-run", "--time-zone", "europe/berlin"]).await;
    for line in [
        "    left behind, for a task here has no such field: owner_id, category\n",
        "    due_date     due_date (varchar); without an offset as times in Europe/Berlin\n",
        "would be left out, because (a row may have several reasons)\n",
        "           1  it is nobody's: 7\n",
        "           1  Better Auth doesn't have its user: 8\n",
        "           1  it has no title (--untitled): 3\n",
        "           1  its title has more than 200 characters (--truncate): 2\n",
        "           1  its priority \"1\" is unknown (--priority 1=…, or --clear): 4\n",
        "           1  its due date can't be read (--clear): 5\n",
        "           1  its tags can't be read (--clear): 6\n",
        "           1  the title had space around it: 9\n",
        "           1  it didn't say whether it is completed: it is not: 9\n",
        "           2  it has no time of its last change: its creation's: 1, 9\n",
        "           1  it has no time of creation: its last change's, or now: 9\n",
    ] {
        assert!(dry.contains(line), "{line} {dry}");
    }
    ends(
        &dry,
        "dry run, nothing was changed: 9 rows = 2 would be taken over + 0 there already + 7 would be left out",
    );
    let said = import(&database, &["task", "--time-zone", "Europe/Berlin"]).await;
    ends(&said, "9 rows = 2 taken over + 0 there already + 7 left out");
    let service = serve(&database).await;
    let fits = task(&service, "u1", "1").await;
    assert_eq!(
        (&fits["due_date"], &fits["created_at"], &fits["tags"], &fits["completed"]),
        (
            &json!("2026-07-01T07:30:00.000Z"),
            &json!("2026-07-01T10:00:00.000Z"),
            &json!(["a", "b"]),
            &json!(true)
        )
    );
    let spaced = task(&service, "u1", "9").await;
    assert_eq!(
        (&spaced["title"], &spaced["due_date"], &spaced["tags"]),
        (&json!("spaced"), &json!("2026-01-01T09:30:00.000Z"), &json!(["a", "b"]))
    );

    let choices =
        ["task", "--truncate", "--untitled", "(none)", "--priority", "1=high", "--clear", "--any-user"];
    let said = import(&database, &choices).await;
    ends(&said, "9 rows = 6 taken over + 2 there already + 1 left out");
    assert_eq!(task(&service, "u1", "2").await["title"], "é".repeat(200));
    assert_eq!(task(&service, "u1", "3").await["title"], "(none)");
    assert_eq!(task(&service, "u1", "4").await["priority"], "high");
    assert_eq!(task(&service, "u1", "5").await["due_date"], Value::Null);
    assert_eq!(task(&service, "u1", "6").await["tags"], json!([]));
    assert_eq!(task(&service, "stranger", "8").await["title"], "not ours");
    // Strict again, what was taken is there all the same.
    ends(&import(&database, &["task"]).await, "9 rows = 0 taken over + 8 there already + 1 left out");
}

#[tokio::test]
async fn of_two_tables_the_first_one_keeps_its_numbers() {
    let more =
        "insert into task (id, user_id, title, done, created_at) values (1, 'u1', 'second', false, now())";
    let Some((database, _admin)) = database(&format!("{SQLMODEL}{SOME};{SQLALCHEMY}{more}")).await else {
        return;
    };
    ends(&import(&database, &[]).await, "3 rows = 3 taken over + 0 there already + 0 left out");
    ends(&import(&database, &["task"]).await, "1 row = 1 taken over + 0 there already + 0 left out");
    let service = serve(&database).await;
    assert_eq!(task(&service, "u1", "1").await["title"], "milk");
    assert_eq!(service.list("u1").await.len(), 3);
}

#[tokio::test]
async fn a_table_that_cant_be_taken_is_refused_with_what_to_do() {
    let odd = "
        create table mine (id int, user_id text, title text, due_date bigint);
        create table nobodys (id int, title text);
        create view twice as select 1 as id, 'u1' as user_id, 'a' as title from generate_series(1, 2)";
    let Some((database, admin)) = database(&format!("{SQLMODEL}{odd}")).await else { return };
    for (arguments, words) in [
        (
            &["absent"][..],
            "there is no table absent; these have titles: public.mine, public.nobodys, public.tasks",
        ),
        (&["a b; c"], "a b; c is not a table's name"),
        (&["nobodys"], "name it by --column user_id=… (it has id, title)"),
        (&["mine"], "public.mine.due_date is of type int8, which no due_date can be"),
        (&["--users", "users"], "--users users: there is no such table with an id"),
        (&["--time-zone", "UTC+3"], "--time-zone UTC+3: PostgreSQL has no zone of that name"),
    ] {
        let said = refused(&database, arguments).await;
        assert!(said.contains(words), "{said}");
    }
    ends(
        &import(&database, &["mine", "--column", "due_date="]).await,
        "0 rows = 0 taken over + 0 there already + 0 left out",
    );
    let said = refused(&database, &["task_service.tasks"]).await;
    assert!(said.contains("task_service.tasks is our own"), "{said}");
    let said = import(&database, &["twice"]).await;
    assert!(said.contains("another row of its user has its id: 1\n"), "{said}");
    ends(&said, "2 rows = 1 taken over + 0 there already + 1 left out");

    admin.batch_execute("create table users (id int, email_verified bool)").await.unwrap();
    let said = refused(&database, &[]).await;
    assert!(said.contains("--users says which: public.user, public.users"), "{said}");
    admin.batch_execute(r#"drop table users, "user""#).await.unwrap();
    let said = refused(&database, &[]).await;
    assert!(said.contains("--any-user takes all"), "{said}");
    import(&database, &["--any-user"]).await;
}

#[tokio::test]
async fn cut_short_at_any_moment_it_goes_on_and_only_one_runs_at_a_time() {
    let many = "insert into tasks (user_id, title, completed, created_at, updated_at)
        select 'u1', n::text, false, now(), now() from generate_series(1, 1200) as n";
    let Some((database, admin)) = database(&format!("{SQLMODEL}{many}")).await else { return };
    let service = serve(&database).await;
    let stop = "
        create function stop() returns trigger language plpgsql as
            $$ begin perform pg_advisory_xact_lock(1); return new; end $$;
        create trigger stop before insert on task_service.tasks
            for each row when (new.title = '1100') execute function stop();
        select pg_advisory_lock(1)";
    admin.batch_execute(stop).await.unwrap();
    let waits = "select count(*) from pg_stat_activity
        where datname = current_database() and wait_event_type = 'Lock' and wait_event = 'advisory'";
    let runs = "select count(*) from pg_stat_activity
        where datname = current_database() and (query like 'fetch %' or query like '%unnest%') and pid <> pg_backend_pid()";
    let (tasks, ids) =
        ("select count(*) from task_service.tasks", "select count(*) from task_service.legacy_ids");
    for signal in ["-TERM", "-KILL"] {
        let folder = TempDir::new().unwrap();
        let first = binary(&folder, &["import"], &[("DATABASE_URL", &database.url())])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        eventually("it waits", async || number(&admin, waits).await == 1).await;
        let said = refused(&database, &[]).await;
        assert!(said.contains("another import is running"), "{said}");
        let id = first.id().unwrap().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().await.unwrap().success());
        let ended = timeout(PATIENCE, first.wait_with_output()).await.unwrap().unwrap();
        assert!(!ended.status.success());
        let said = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(
            said.contains("stopped by SIGTERM; what was taken over is safe"),
            signal == "-TERM",
            "{said}"
        );
        admin.batch_execute("select pg_advisory_unlock(1)").await.unwrap();
        eventually("it is gone", async || number(&admin, runs).await == 0).await;
        admin.batch_execute("select pg_advisory_lock(1)").await.unwrap();
        assert_eq!((number(&admin, tasks).await, number(&admin, ids).await), (1000, 1000), "{signal}");
    }
    admin.batch_execute("select pg_advisory_unlock(1)").await.unwrap();
    ends(&import(&database, &[]).await, "1200 rows = 200 taken over + 1000 there already + 0 left out");
    assert_eq!(service.list("u1").await.len(), 1000, "a page");
    assert_eq!((number(&admin, tasks).await, number(&admin, ids).await), (1200, 1200));
}

#[tokio::test]
async fn a_role_that_policies_bind_takes_over_in_each_users_name() {
    let Some((database, admin)) = database(&format!("{SQLMODEL}{SOME}")).await else { return };
    let role = format!("mover_{}", database.url().rsplit_once('/').unwrap().1);
    let grants = format!(
        r#"create role {role} login;
        do $$ begin execute format('grant create on database %I to {role}', current_database()); end $$;
        grant select on tasks, "user" to {role}"#
    );
    admin.batch_execute(&grants).await.unwrap();
    let url = database.url().replacen("postgres@", &format!("{role}@"), 1);
    assert!(url.contains(&role), "{url}");
    reported(import_at(&url, &["--dry-run"]).await);
    let folder = TempDir::new().unwrap();
    let migrated = binary(&folder, &["migrate"], &[("DATABASE_URL", &url)]).output().await.unwrap();
    assert!(migrated.status.success(), "{migrated:?}");
    admin
        .batch_execute(
            "alter table task_service.tasks enable row level security, force row level security;
            drop policy if exists mine on task_service.tasks;
            create policy mine on task_service.tasks using (user_id = current_setting('task_service.user_id', true))",
        )
        .await
        .unwrap();
    let own = "select count(*) from pg_tables where schemaname = 'task_service' and tableowner = 'postgres'";
    assert_eq!(number(&admin, own).await, 0);
    for sum in [
        "3 rows = 3 taken over + 0 there already + 0 left out",
        "3 rows = 0 taken over + 3 there already + 0 left out",
    ] {
        ends(&reported(import_at(&url, &[]).await), sum);
    }
    ends(
        &reported(import_at(&url, &["--dry-run"]).await),
        "dry run, nothing was changed: 3 rows = 0 would be taken over + 3 there already + 0 would be left out",
    );
    assert_eq!(number(&admin, "select count(*) from task_service.tasks").await, 3);
    // What a policy of the old table hides is not taken for absent.
    admin.batch_execute("alter table tasks enable row level security").await.unwrap();
    let hidden = import_at(&url, &[]).await;
    let said = String::from_utf8(hidden.stderr).unwrap();
    assert!(!hidden.status.success() && said.contains("public.tasks can't be read in full"), "{said}");
    admin
        .batch_execute(
            "alter table tasks disable row level security; alter schema task_service owner to postgres",
        )
        .await
        .unwrap();
    let said = String::from_utf8(import_at(&url, &["--dry-run"]).await.stderr).unwrap();
    assert!(said.contains("may not do this; import with the one that migrates"), "{said}");
    drop(admin);
    let admin = connect(&database.url()).await;
    admin.batch_execute(&format!("drop owned by {role} cascade; drop role {role}")).await.unwrap();
}

#[tokio::test]
async fn secrets_are_not_told() {
    let output = import_at("postgresql://u:hunter2@127.0.0.1:1/d", &["--dry-run"]).await;
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains("out of reach") && !said.contains("hunter2"), "{said}");
}
