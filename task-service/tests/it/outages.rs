//! What happens when the database doesn't answer, or too late, or not to everybody.

use std::{os::unix::fs::PermissionsExt, sync::Arc, time::Duration};

use chassis::settings::Switch;
use dev_postgres::{Postgres, StartError, test};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_postgres::Client;

use crate::{
    database::{Mode, Wire, connect},
    service::{Service, eventually, settings, start, start_at, swept},
};

const ONE_CONNECTION: (&str, &str) = ("TASK_SERVICE_DATABASE__POOL_MAX", "1");
const SHORT_WAIT: (&str, &str) = ("TASK_SERVICE_DATABASE__ACQUIRE_TIMEOUT_MS", "2000");
const SHORT_QUERY: (&str, &str) = ("TASK_SERVICE_DATABASE__QUERY_MS", "2000");

/// A service whose wire to the database can be cut.
async fn wired(others: &[(&str, &str)]) -> Option<(Service, Wire)> {
    let database = test::database()?;
    let wire = Wire::to(&database).await;
    let mut service = start_at(&settings(&wire.url(), others)).await;
    service.database = Some(database);
    service.store.prepare(Switch::On).await.unwrap();
    swept(&service, &connect(&url(&service)).await).await;
    Some((service, wire))
}

fn url(service: &Service) -> String {
    service.database.as_ref().unwrap().url()
}

fn path(task: &Value) -> String {
    format!("/api/tasks/{}", task["id"].as_str().unwrap())
}

#[tokio::test]
async fn until_the_tables_are_ready_nothing_is_answered() {
    let Some(database) = test::database() else { return };
    let service = start_at(&settings(&database.url(), &[])).await;
    let answer = service.call("u1", "GET /api/tasks").await;
    answer.problem(503, "database-unavailable");
    assert_eq!(answer.header("retry-after"), Some("2"));
    assert_eq!(answer.header("x-internal-not-applied"), Some("true"));
    service.store.prepare(Switch::On).await.unwrap();
    assert_eq!(service.list("u1").await.len(), 0);
}

#[tokio::test]
async fn what_needs_no_database_is_answered_without_one() {
    let nowhere = "postgresql://nobody@127.0.0.1:1/nothing";
    let service = start_at(&settings(nowhere, &[])).await;
    service.call("u1", "GET /api/u2/tasks").await.problem(403, "forbidden");
    service.call("u1", "GET /api/tasks?limit=0").await.problem(422, "invalid");
    service.call("u1", "GET /api/tasks/not-an-id").await.problem(404, "not-found");
    service.call("u1", "PUT /api/tasks").await.problem(405, "method-not-allowed");
    service.call_with("u1", "POST /api/tasks", &json!({})).await.problem(422, "invalid");
}

#[tokio::test]
async fn a_database_that_stops_and_comes_back_is_used_again() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let start = || match Postgres::start(folder.path(), &mut |_| {}) {
        Err(error @ (StartError::NotFound | StartError::Fetch(_))) => {
            test::skip(&error.to_string());
            None
        }
        started => Some(started.unwrap()),
    };
    let Some(postgres) = start() else { return };
    postgres.create_database("tasks").unwrap();
    let service = start_at(&settings(&postgres.url("tasks"), &[SHORT_WAIT])).await;
    service.store.prepare(Switch::On).await.unwrap();
    let task = service.create("u1", &json!({"title": "kept"})).await;

    postgres.stop();
    for line in ["GET /api/tasks", "POST /api/tasks", &format!("DELETE {}", path(&task))] {
        let answer = service.call_with("u1", line, &json!({"title": "t"})).await;
        answer.problem(503, "database-unavailable");
        assert_eq!(answer.header("retry-after"), Some("2"));
        assert_eq!(answer.header("x-internal-not-applied"), Some("true"), "{line}");
    }

    let _postgres = start().unwrap();
    eventually("the service is back", async || service.call("u1", "GET /api/tasks").await.status == 200)
        .await;
    assert_eq!(service.list("u1").await, [task]);
}

#[tokio::test]
async fn an_outage_that_lasts_does_not_hold_up_each_request_for_the_whole_wait() {
    let wait = Duration::from_secs(2);
    let Some((service, wire)) = wired(&[("TASK_SERVICE_DATABASE__ACQUIRE_TIMEOUT_MS", "2000")]).await else {
        return;
    };
    wire.set(Mode::Cut);
    eventually("a request is answered at once", async || {
        let begun = Instant::now();
        service.call("u1", "GET /api/tasks").await.problem(503, "database-unavailable");
        begun.elapsed() < wait
    })
    .await;
    wire.set(Mode::Open);
    eventually("the service is back", async || service.call("u1", "GET /api/tasks").await.status == 200)
        .await;
}

#[tokio::test]
async fn connections_that_were_killed_are_not_noticed_by_who_reads_or_creates() {
    let Some(service) = start().await else { return };
    let service = Arc::new(service);
    let admin = connect(&url(&service)).await;
    let kill = "select pg_terminate_backend(pid) from pg_stat_activity
        where application_name = 'task-service' and datname = current_database()";
    for round in 0..20 {
        // Several at once, so that there is more than one connection to kill.
        let calls: Vec<_> = (0..8)
            .map(|_| {
                let service = service.clone();
                tokio::spawn(async move { service.call("u1", "GET /api/tasks").await.status })
            })
            .collect();
        for call in calls {
            assert_eq!(call.await.unwrap(), 200);
        }
        admin.batch_execute(kill).await.unwrap();
        assert_eq!(service.list("u1").await.len(), round);
        admin.batch_execute(kill).await.unwrap();
        service.create("u1", &json!({"title": "t"})).await;
    }
}

#[tokio::test]
async fn an_answer_that_is_lost_is_asked_for_again_by_who_reads() {
    let Some((service, wire)) = wired(&[]).await else { return };
    let task = service.create("u1", &json!({"title": "t"})).await;
    let line = format!("GET {}", path(&task));
    for line in ["GET /api/tasks", &line] {
        // Once before, so that the statement is prepared and the answer is what gets lost.
        assert_eq!(service.call("u1", line).await.status, 200);
        wire.set(Mode::CutNextAnswer);
        assert_eq!(service.call("u1", line).await.status, 200);
    }
}

#[tokio::test]
async fn a_task_whose_answer_is_lost_is_made_once() {
    let Some((service, wire)) = wired(&[ONE_CONNECTION]).await else { return };
    service.create("u1", &json!({"title": "before"})).await;
    wire.set(Mode::CutNextAnswer);
    let task = service.create("u1", &json!({"title": "lost", "tags": ["x"]})).await;
    let tasks = service.list("u1").await;
    assert_eq!(tasks.len(), 2);
    assert_eq!(tasks[0], task);
    assert_eq!(task["title"], "lost");
}

#[tokio::test]
async fn a_change_whose_answer_is_lost_is_not_made_twice() {
    let Some((service, wire)) = wired(&[ONE_CONNECTION]).await else { return };
    let admin = connect(&url(&service)).await;
    for (method, below, body) in
        [("PATCH", "/complete", json!({})), ("PUT", "", json!({"title": "new"})), ("DELETE", "", json!({}))]
    {
        // Another one first: the statement is prepared then.
        for lost in [false, true] {
            let task = service.create("u1", &json!({"title": "t"})).await;
            let line = format!("{method} {}{below}", path(&task));
            if !lost {
                assert!(service.call_with("u1", &line, &body).await.status.is_success());
                continue;
            }
            wire.set(Mode::CutNextAnswer);
            let answer = service.call_with("u1", &line, &body).await;
            answer.problem(503, "outcome-unknown");
            assert_eq!(answer.header("retry-after"), None, "a client must not repeat it by itself");
            let versions = "select version from task_service.tasks where id::text = $1";
            let rows = admin.query(versions, &[&task["id"].as_str()]).await.unwrap();
            let versions: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
            // The connection broke before the end, and all of it was undone; or behind the end, and it was made.
            let made = if method == "DELETE" { vec![] } else { vec![2] };
            assert!(versions == made || versions == [1], "{line}: {versions:?}");
        }
    }
}

/// Has each change of a task end with this, when all but the end is done.
async fn at_the_end(service: &Service, what: &str) -> Client {
    let admin = connect(&url(service)).await;
    let trigger = format!(
        "create sequence public.ends;
        create function public.ends() returns trigger language plpgsql security definer as $$ begin
            {what}
            return null;
        end $$;
        create constraint trigger ends after update or delete on task_service.tasks deferrable initially deferred
            for each row execute function public.ends()"
    );
    admin.batch_execute(&trigger).await.unwrap();
    admin
}

async fn versions(admin: &Client) -> Vec<i64> {
    let rows = admin.query("select version from task_service.tasks", &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn a_change_of_which_only_the_last_word_is_lost_was_made_and_nobody_says_otherwise() {
    let Some((service, wire)) = wired(&[ONE_CONNECTION]).await else { return };
    let admin = at_the_end(&service, "perform pg_sleep(2);").await;
    let (service, wire) = (Arc::new(service), Arc::new(wire));
    for (method, below, made) in [("PATCH", "/complete", vec![2]), ("DELETE", "", vec![])] {
        let task = service.create("u1", &json!({"title": "t"})).await;
        let line = format!("{method} {}{below}", path(&task));
        let asked = tokio::spawn({
            let (service, line) = (service.clone(), line.clone());
            async move { service.call("u1", &line).await }
        });
        let ending = "select count(*) from pg_stat_activity
            where application_name = 'task-service' and datname = current_database() and state = 'active'
                and wait_event = 'PgSleep'";
        eventually("it ends", async || admin.query_one(ending, &[]).await.unwrap().get::<_, i64>(0) == 1)
            .await;
        wire.set(Mode::CutNextAnswer);
        let answer = asked.await.unwrap();
        answer.problem(503, "outcome-unknown");
        assert_eq!(answer.header("retry-after"), None, "a client must not repeat it by itself");
        assert_eq!(versions(&admin).await, made, "{line}");
        admin.batch_execute("delete from task_service.tasks").await.unwrap();
    }
}

#[tokio::test]
async fn what_the_server_refuses_at_the_very_end_was_not_done_and_is_asked_again() {
    for named in ["off", "on"] {
        let named = ("TASK_SERVICE_DATABASE__NAMED_STATEMENTS", named);
        let Some((service, _wire)) = wired(&[ONE_CONNECTION, named]).await else { return };
        // The first time each; a sequence goes on whatever is undone.
        let once = "if nextval('public.ends') % 2 = 1 then
            raise exception 'not now' using errcode = 'serialization_failure';
        end if;";
        let admin = at_the_end(&service, once).await;
        let task = service.create("u1", &json!({"title": "t"})).await;
        let answer = service.call("u1", &format!("PATCH {}/complete", path(&task))).await;
        assert_eq!(answer.json()["completed"], true, "turned over once");
        assert_eq!(versions(&admin).await, [2]);
        assert_eq!(service.call("u1", &format!("DELETE {}", path(&task))).await.status, 204);
        // And always.
        admin.batch_execute("alter sequence public.ends increment 2").await.unwrap();
        let task = service.create("u1", &json!({"title": "t"})).await;
        admin.batch_execute("select setval('public.ends', 1)").await.unwrap();
        let answer = service.call("u1", &format!("PATCH {}/complete", path(&task))).await;
        answer.problem(503, "database-unavailable");
        assert_eq!(answer.header("retry-after"), Some("2"), "nothing was changed");
        assert_eq!(versions(&admin).await, [1]);
        assert_eq!(
            service.list("u1").await,
            [task],
            "and the next statement has a connection without a transaction"
        );
    }
}

#[tokio::test]
async fn what_was_never_sent_is_sent_again_whatever_it_is() {
    let named = ("TASK_SERVICE_DATABASE__NAMED_STATEMENTS", "on");
    let Some((service, wire)) = wired(&[ONE_CONNECTION, named]).await else { return };
    let task = service.create("u1", &json!({"title": "t"})).await;
    // This statement is new to the connection: what gets lost is that it was prepared.
    wire.set(Mode::CutNextAnswer);
    let answer = service.call("u1", &format!("PATCH {}/complete", path(&task))).await;
    assert_eq!(answer.json()["completed"], true);
}

#[tokio::test]
async fn a_task_that_may_or_may_not_be_there_is_said_to_be_so() {
    let Some((service, wire)) = wired(&[ONE_CONNECTION, SHORT_WAIT]).await else { return };
    service.create("u1", &json!({"title": "before"})).await;
    // The insert arrives, its answer doesn't, and there is no way to ask again.
    wire.set(Mode::CutAnswers);
    let answer = service.call_with("u1", "POST /api/tasks", &json!({"title": "lost"})).await;
    answer.problem(503, "outcome-unknown");
    assert_eq!(answer.header("retry-after"), None);
}

#[tokio::test]
async fn a_database_that_falls_silent_is_given_up_and_left_for_another_connection() {
    let Some((service, wire)) = wired(&[ONE_CONNECTION, SHORT_QUERY, SHORT_WAIT]).await else { return };
    let task = service.create("u1", &json!({"title": "t"})).await;
    service.call("u1", "GET /api/tasks").await;
    wire.set(Mode::Silent);
    let answer = service.call("u1", "GET /api/tasks").await;
    answer.problem(503, "database-unavailable");
    assert_eq!(answer.header("retry-after"), Some("2"));
    wire.set(Mode::Open);
    eventually("the service is back", async || service.call("u1", "GET /api/tasks").await.status == 200)
        .await;
    assert_eq!(service.list("u1").await, [task]);
}

#[tokio::test]
async fn a_statement_that_takes_too_long_is_given_up_and_cancelled() {
    let Some(database) = test::database() else { return };
    let mut service = start_at(&settings(&database.url(), &[SHORT_QUERY])).await;
    service.database = Some(database);
    service.store.prepare(Switch::On).await.unwrap();
    let task = service.create("u1", &json!({"title": "t"})).await;

    let admin = connect(&url(&service)).await;
    admin.batch_execute("begin; select from task_service.tasks for update").await.unwrap();
    let answer = service.call("u1", &format!("PATCH {}/complete", path(&task))).await;
    answer.problem(503, "outcome-unknown");

    // Nobody waits for the lock any more, so that nothing happens when it is released.
    let other = connect(&url(&service)).await;
    let waiting = "select count(*) from pg_stat_activity
        where application_name = 'task-service' and datname = current_database() and state = 'active'";
    eventually("the statement is cancelled", async || {
        other.query_one(waiting, &[]).await.unwrap().get::<_, i64>(0) == 0
    })
    .await;
    admin.batch_execute("commit").await.unwrap();
    assert_eq!(service.list("u1").await, [task]);
}

#[tokio::test]
async fn who_finds_every_connection_in_use_waits_no_longer_than_the_bound() {
    let Some(database) = test::database() else { return };
    let mut service = start_at(&settings(&database.url(), &[ONE_CONNECTION, SHORT_WAIT])).await;
    service.database = Some(database);
    service.store.prepare(Switch::On).await.unwrap();
    let service = Arc::new(service);
    let task = service.create("u1", &json!({"title": "t"})).await;

    let admin = connect(&url(&service)).await;
    admin.batch_execute("begin; lock table task_service.tasks").await.unwrap();
    let held = tokio::spawn({
        let service = service.clone();
        async move { service.list("u1").await }
    });
    let other = connect(&url(&service)).await;
    let waiting = "select count(*) from pg_stat_activity
        where application_name = 'task-service' and datname = current_database() and wait_event_type = 'Lock'";
    eventually("the one connection is held", async || {
        other.query_one(waiting, &[]).await.unwrap().get::<_, i64>(0) == 1
    })
    .await;
    for _ in 0..3 {
        let answer = service.call("u1", "GET /api/tasks").await;
        answer.problem(503, "busy");
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
    admin.batch_execute("commit").await.unwrap();
    assert_eq!(held.await.unwrap(), [task]);
    assert_eq!(service.list("u1").await.len(), 1);
}

#[tokio::test]
async fn more_requests_than_connections_are_all_answered() {
    let Some(database) = test::database() else { return };
    let pool = ("TASK_SERVICE_DATABASE__POOL_MAX", "2");
    let mut service = start_at(&settings(&database.url(), &[pool])).await;
    service.database = Some(database);
    service.store.prepare(Switch::On).await.unwrap();
    let service = Arc::new(service);
    let calls: Vec<_> = (0..100)
        .map(|n| {
            let service = service.clone();
            tokio::spawn(async move { service.create("u1", &json!({"title": format!("{n}")})).await })
        })
        .collect();
    for call in calls {
        call.await.unwrap();
    }
    assert_eq!(service.list("u1").await.len(), 100);
    let connections = "select count(*) from pg_stat_activity
        where application_name = 'task-service' and datname = current_database()";
    let count: i64 = connect(&url(&service)).await.query_one(connections, &[]).await.unwrap().get(0);
    assert!(count <= 2, "{count} connections");
}

#[tokio::test]
async fn a_request_that_is_given_up_leaves_its_connection_usable() {
    let Some(database) = test::database() else { return };
    let mut service = start_at(&settings(&database.url(), &[ONE_CONNECTION])).await;
    service.database = Some(database);
    service.store.prepare(Switch::On).await.unwrap();
    let task = service.create("u1", &json!({"title": "t"})).await;
    for _ in 0..50 {
        // Polled once, then dropped: the client went away.
        let call = service.call("u1", "GET /api/tasks");
        let gone = tokio::time::timeout(Duration::ZERO, call).await;
        drop(gone);
        let foreign = service.call("u2", "GET /api/tasks").await;
        assert_eq!(foreign.json(), json!([]), "the answer to somebody else's question");
    }
    assert_eq!(service.list("u1").await, [task]);
}

#[tokio::test]
async fn a_table_that_was_changed_meanwhile_is_read_anew() {
    let Some(service) = start().await else { return };
    let task = service.create("u1", &json!({"title": "t"})).await;
    assert_eq!(service.list("u1").await.len(), 1);
    let admin = connect(&url(&service)).await;
    // The prepared statement's result would have another type: "cached plan must not change result type".
    admin
        .batch_execute("alter table task_service.tasks alter column description type varchar(1000)")
        .await
        .unwrap();
    assert_eq!(service.list("u1").await, std::slice::from_ref(&task));
    assert_eq!(service.call("u1", &format!("GET {}", path(&task))).await.json(), task);
    admin.batch_execute("alter table task_service.tasks add column later text").await.unwrap();
    assert_eq!(service.list("u1").await, [task]);
}

#[tokio::test]
async fn a_database_that_may_only_be_read_is_out_of_reach_for_who_writes() {
    let Some(service) = start().await else { return };
    let task = service.create("u1", &json!({"title": "t"})).await;
    let line = format!("PATCH {}/complete", path(&task));
    let admin = connect(&url(&service)).await;
    let set = |to: &str| {
        format!(
            "set default_transaction_read_only = off;
             do $$ begin
                 execute format('alter database %I set default_transaction_read_only = {to}', current_database());
             end $$;
             select pg_terminate_backend(pid) from pg_stat_activity
             where application_name = 'task-service' and datname = current_database()"
        )
    };
    admin.batch_execute(&set("on")).await.unwrap();
    assert_eq!(service.list("u1").await.len(), 1, "reading goes on");
    let answer = service.call("u1", &line).await;
    answer.problem(503, "database-read-only");
    assert_eq!(answer.header("retry-after"), Some("2"), "nothing was changed, so it may be repeated");
    admin.batch_execute(&set("off")).await.unwrap();
    assert_eq!(service.list("u1").await, [task]);
    assert_eq!(service.call("u1", &line).await.json()["completed"], true);
}

/// A role of the test's own that may do what the service does, with this behind its `create role`.
async fn role(service: &Service, with: &str) -> (String, String) {
    let admin = connect(&url(service)).await;
    let database = url(service);
    let name = format!("role_{}", database.rsplit('_').next().unwrap());
    let sql = format!(
        "create role {name} login {with};
         grant usage on schema task_service to {name};
         grant select on task_service.migrations to {name};
         grant select, insert, update, delete on task_service.tasks, task_service.answers, task_service.legacy_ids,
             task_service.task_tags to {name}"
    );
    admin.batch_execute(&sql).await.unwrap();
    let url = database.replace("postgres@", &format!("{name}@"));
    (name, url)
}

async fn drop_role(service: &Service, name: &str) {
    let admin = connect(&url(service)).await;
    let sql = format!("drop owned by {name}; drop role {name}");
    admin.batch_execute(&sql).await.unwrap();
}

#[tokio::test]
async fn a_server_that_gives_fewer_connections_than_wanted_serves_by_those_that_it_gives() {
    let Some(owner) = start().await else { return };
    let (name, url) = role(&owner, "connection limit 2").await;
    let wait = ("TASK_SERVICE_DATABASE__ACQUIRE_TIMEOUT_MS", "3000");
    let service = Arc::new(start_at(&settings(&url, &[wait])).await);
    eventually("the service is ready", async || service.store.prepare(Switch::Off).await.is_ok()).await;
    // Long enough for an outage that doesn't end to be one that lasts, with statements that take a while.
    let holder = connect(&self::url(&owner)).await;
    let calls: Vec<_> = (0..4)
        .map(|n| {
            let service = service.clone();
            tokio::spawn(async move {
                let deadline = Instant::now() + Duration::from_secs(6);
                while Instant::now() < deadline {
                    service.list(&format!("u{n}")).await;
                }
            })
        })
        .collect();
    for _ in 0..12 {
        holder.batch_execute("begin; lock table task_service.tasks; select pg_sleep(0.4)").await.unwrap();
        holder.batch_execute("commit; select pg_sleep(0.1)").await.unwrap();
    }
    for call in calls {
        call.await.unwrap();
    }
    drop(service);
    let sessions = format!("select count(*) from pg_stat_activity where usename = '{name}'");
    eventually("its connections are closed", async || {
        holder.query_one(&sessions, &[]).await.unwrap().get::<_, i64>(0) == 0
    })
    .await;
    drop_role(&owner, &name).await;
}

#[tokio::test]
async fn a_lock_that_was_not_free_in_time_is_no_fault_and_costs_no_connection() {
    let Some(owner) = start().await else { return };
    let admin = connect(&url(&owner)).await;
    for (setting, answers) in [("lock_timeout", "55P03"), ("statement_timeout", "57014")] {
        let (name, url) = role(&owner, "").await;
        admin.batch_execute(&format!("alter role {name} set {setting} = '300ms'")).await.unwrap();
        let service = start_at(&settings(&url, &[ONE_CONNECTION])).await;
        service.store.prepare(Switch::Off).await.unwrap();
        let task = service.create("u1", &json!({"title": "t"})).await;
        let pids = format!("select array_agg(pid) from pg_stat_activity where usename = '{name}'");
        // The connection of the preparation ends in its own time.
        let before = async || admin.query_one(&pids, &[]).await.unwrap().get::<_, Option<Vec<i32>>>(0);
        eventually("one connection is left", async || before().await.is_some_and(|pids| pids.len() == 1))
            .await;
        let pids = before().await;

        let holder = connect(&self::url(&owner)).await;
        holder.batch_execute("begin; select from task_service.tasks for update").await.unwrap();
        let answer = service.call("u1", &format!("PATCH {}/complete", path(&task))).await;
        answer.problem(503, "database-unavailable");
        assert_eq!(answer.header("retry-after"), Some("2"), "{answers}: nothing was changed");
        holder.batch_execute("commit").await.unwrap();
        assert_eq!(service.list("u1").await, [task], "{answers}");
        assert_eq!(before().await, pids, "{answers}: the connection is as good as before");

        drop(service);
        eventually("its connections are closed", async || before().await.is_none()).await;
        admin.batch_execute("delete from task_service.tasks").await.unwrap();
        drop_role(&owner, &name).await;
    }
}

#[tokio::test]
async fn who_changes_something_does_not_notice_that_an_idle_connection_was_ended() {
    let Some(owner) = start().await else { return };
    let (name, url) = role(&owner, "").await;
    let admin = connect(&self::url(&owner)).await;
    let version: String = admin.query_one("show server_version_num", &[]).await.unwrap().get(0);
    if version.parse::<u32>().unwrap() < 140_000 {
        return test::skip("idle_session_timeout is PostgreSQL 14's");
    }
    admin.batch_execute(&format!("alter role {name} set idle_session_timeout = '200ms'")).await.unwrap();
    let service = start_at(&settings(&url, &[ONE_CONNECTION])).await;
    service.store.prepare(Switch::Off).await.unwrap();
    let task = service.create("u1", &json!({"title": "t"})).await;
    let line = format!("PATCH {}/complete", path(&task));
    let (mut completed, mut unknown) = (false, 0);
    for turn in 0..60 {
        // Around the moment at which the server ends it; a slow machine must not let the next connection get as old unused.
        tokio::time::sleep(Duration::from_millis(197 + turn % 6)).await;
        let answer = service.call("u1", &line).await;
        if answer.status == 503 {
            // The last word of the server may be lost when both speak at one time; then it is not made up.
            answer.problem(503, "outcome-unknown");
            unknown += 1;
            completed = service.list("u1").await[0]["completed"] == true;
            continue;
        }
        completed = !completed;
        assert_eq!(answer.json()["completed"], completed, "turn {turn}: each turned it over once");
    }
    assert!(unknown <= 3, "{unknown} were noticed");
    drop(service);
    let sessions = format!("select count(*) from pg_stat_activity where usename = '{name}'");
    eventually("its connections are closed", async || {
        admin.query_one(&sessions, &[]).await.unwrap().get::<_, i64>(0) == 0
    })
    .await;
    drop_role(&owner, &name).await;
}

#[tokio::test]
async fn what_is_acknowledged_is_on_the_disk_whatever_a_role_or_a_database_says() {
    let Some(service) = start().await else { return };
    let admin = connect(&url(&service)).await;
    swept(&service, &admin).await;
    // At the end of each transaction, by the setting that it ends with.
    let watch = "create table public.seen (what text, setting text);
        grant insert on public.seen to public;
        create function public.see() returns trigger language plpgsql as $$ begin
            insert into public.seen values (tg_op, current_setting('synchronous_commit'));
            return null;
        end $$;
        create constraint trigger see after insert or update or delete on task_service.tasks
            deferrable initially deferred for each row execute function public.see()";
    admin.batch_execute(watch).await.unwrap();
    for (setting, want) in [("off", "on"), ("local", "local"), ("remote_write", "remote_write"), ("on", "on")]
    {
        let set = format!(
            "do $$ begin
                 execute format('alter database %I set synchronous_commit = {setting}', current_database());
             end $$;
             truncate public.seen;
             select pg_terminate_backend(pid) from pg_stat_activity
             where application_name = 'task-service' and datname = current_database()"
        );
        admin.batch_execute(&set).await.unwrap();
        let task = service.create("u1", &json!({"title": "t"})).await;
        for (line, body) in [("PATCH", json!({"title": "n"})), ("DELETE", json!({}))] {
            let answer = service.call_with("u1", &format!("{line} {}", path(&task)), &body).await;
            assert!(answer.status.is_success(), "{}", answer.text());
        }
        let seen = admin.query("select what, setting from public.seen", &[]).await.unwrap();
        let seen: Vec<(String, String)> = seen.iter().map(|row| (row.get(0), row.get(1))).collect();
        let all = ["INSERT", "UPDATE", "DELETE"].map(|what| (what.to_owned(), want.to_owned()));
        assert_eq!(seen, all, "{setting}");
    }
}
