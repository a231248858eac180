//! The third wall: what a statement that says nothing of users sees, as a role that row-level security binds.

use std::{sync::Arc, time::Duration};

use chassis::{
    outbound::database::{Idempotency, OwnedStatement, OwnerSetting, Pool, Sql, Statement},
    settings::Switch,
};
use dev_postgres::{
    pooler::PgBouncer,
    test::{self, TestDatabase},
};
use serde_json::json;
use tokio::time::timeout;
use tokio_postgres::{Client, types::Type};

use crate::{
    database::{OWNER, connect, owners_url},
    service::{eventually, settings, start, start_at},
};

const USERS: usize = 4;
const TASKS: usize = 5;

const fn owned(
    name: &'static str,
    kind: Idempotency,
    sql: &'static str,
    types: &'static [Type],
) -> OwnedStatement {
    Statement::new(name, kind, Sql::Static(sql), types).owned(OwnerSetting("task_service.user_id"))
}

/// Every task, and who is set.
static ALL: OwnedStatement = owned(
    "test.all",
    Idempotency::ReadOnly,
    "select 'test.all' as ran, true as found, current_setting('task_service.user_id', true) as told, it.*
    from (select 1) as one left join (select user_id::text as user_id from task_service.tasks) as it on $1 = 'test.all'",
    &[],
);

/// Every tag.
static TAGS: OwnedStatement = owned(
    "test.tags",
    Idempotency::ReadOnly,
    "select 'test.tags' as ran, true as found, '' as told, it.*
    from (select 1) as one
    left join (select user_id::text as user_id from task_service.task_tags) as it on $1 = 'test.tags'",
    &[],
);

/// Takes every tag for somebody else.
static TAKE_TAGS: OwnedStatement = owned(
    "test.take_tags",
    Idempotency::NotIdempotent,
    "with done as (update task_service.task_tags set user_id = $2 where $1 = 'test.take_tags' returning user_id)
    select 'test.take_tags' as ran, true as found, count(*) as taken from done",
    &[Type::TEXT],
);

/// Says that somebody else's task has a tag.
static PLANT_TAG: OwnedStatement = owned(
    "test.plant_tag",
    Idempotency::NotIdempotent,
    "with done as (
        insert into task_service.task_tags (user_id, tag, completed, created_at, id)
        select $2, 'planted', false, now(), gen_random_uuid() where $1 = 'test.plant_tag' returning user_id
    )
    select 'test.plant_tag' as ran, true as found, count(*) as made from done",
    &[Type::TEXT],
);

/// Every kept answer.
static ANSWERS: OwnedStatement = owned(
    "test.answers",
    Idempotency::ReadOnly,
    "select 'test.answers' as ran, true as found, '' as told, it.*
    from (select 1) as one
    left join (select user_id::text as user_id from task_service.answers) as it on $1 = 'test.answers'",
    &[],
);

static CHANGE: OwnedStatement = owned(
    "test.change",
    Idempotency::NotIdempotent,
    "with done as (
        update task_service.tasks set title = 'changed by ' || $2 where $1 = 'test.change' returning user_id
    )
    select 'test.change' as ran, true as found, count(*) as changed from done",
    &[Type::TEXT],
);

static DELETE: OwnedStatement = owned(
    "test.delete",
    Idempotency::NotIdempotent,
    "with done as (delete from task_service.tasks where $1 = 'test.delete' returning user_id)
    select 'test.delete' as ran, true as found, count(*) as gone from done",
    &[],
);

/// Writes for somebody else.
static PLANT: OwnedStatement = owned(
    "test.plant",
    Idempotency::NotIdempotent,
    "with done as (
        insert into task_service.tasks (user_id, id, title)
        select $2, gen_random_uuid(), 'planted' where $1 = 'test.plant' returning user_id
    )
    select 'test.plant' as ran, true as found, count(*) as made from done",
    &[Type::TEXT],
);

/// Gives a task away.
static GIVE: OwnedStatement = owned(
    "test.give",
    Idempotency::NotIdempotent,
    "with done as (update task_service.tasks set user_id = $2 where $1 = 'test.give' returning user_id)
    select 'test.give' as ran, true as found, count(*) as given from done",
    &[Type::TEXT],
);

static FAILS: OwnedStatement = owned(
    "test.fails",
    Idempotency::ReadOnly,
    "select 'test.fails' as ran, true as found, 1 / (length($1) - 10) as never",
    &[],
);

static SLEEPS: OwnedStatement = owned(
    "test.sleeps",
    Idempotency::ReadOnly,
    "select 'test.sleeps' as ran, true as found, pg_sleep(0.3)::text as slept where $1 = 'test.sleeps'",
    &[],
);

/// What somebody without a user sees.
static NOBODYS: Statement = Statement::new(
    "test.nobodys",
    Idempotency::ReadOnly,
    Sql::Static(
        "select 'test.nobodys' as ran, true as found, coalesce(current_setting('task_service.user_id', true), '') as told,
            (select count(*) from task_service.tasks) + (select count(*) from task_service.task_tags) as tasks, (select count(*) from task_service.answers) as answers
        from (select 1) as one where $1 = 'test.nobodys'",
    ),
    &[],
);

fn pool(url: &str, others: &[(&str, &str)]) -> Pool {
    let plan = settings(url, others).store;
    Pool::new(plan.dsn, &plan.database)
}

/// Some tasks of some users, and the superuser, whom nothing binds.
async fn tasks_of_many(database: &TestDatabase) -> Client {
    let plan = settings(&owners_url(database).await, &[]);
    start_at(&plan).await.store.prepare(Switch::On).await.unwrap();
    let admin = connect(&database.url()).await;
    let tasks = format!(
        "insert into task_service.tasks (user_id, id, title, tags)
        select 'u' || u, gen_random_uuid(), 't', array['tag'] from generate_series(1, {USERS}) u, generate_series(1, {TASKS})"
    );
    admin.batch_execute(&tasks).await.unwrap();
    admin
}

async fn rows_of(pool: &Pool, user: &str, statement: &OwnedStatement) -> Vec<String> {
    let rows = pool.query_of(user, statement, &[]).await.unwrap();
    rows.iter().filter_map(|row| row.get::<_, Option<String>>("user_id")).collect()
}

async fn nobody_sees_anything(pool: &Pool) {
    let rows = pool.query(&NOBODYS, &[]).await.unwrap();
    let seen =
        (rows[0].get::<_, &str>("told"), rows[0].get::<_, i64>("tasks"), rows[0].get::<_, i64>("answers"));
    assert_eq!(seen, ("", 0, 0));
}

/// Each of the users at once, over fewer connections than there are of them.
async fn everybody_sees_their_own(pool: &Pool, turns: usize) {
    let users: Vec<_> = (1..=USERS)
        .map(|number| {
            let pool = pool.clone();
            tokio::spawn(async move {
                let user = format!("u{number}");
                for _ in 0..turns {
                    let rows = pool.query_of(&user, &ALL, &[]).await.unwrap();
                    assert_eq!(rows.len(), TASKS);
                    for row in rows {
                        assert_eq!((row.get("told"), row.get("user_id")), (&*user, &*user));
                    }
                    assert_eq!(rows_of(&pool, &user, &TAGS).await, vec![&*user; TASKS]);
                    for nothing in [&ALL, &TAGS] {
                        assert_eq!(rows_of(&pool, "a stranger", nothing).await, Vec::<String>::new());
                    }
                    nobody_sees_anything(&pool).await;
                }
            })
        })
        .collect();
    for user in users {
        user.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_statement_without_a_where_sees_its_users_rows_alone() {
    let Some(database) = test::database() else { return };
    let admin = tasks_of_many(&database).await;
    for named in ["off", "on"] {
        let others =
            [("TASK_SERVICE_DATABASE__POOL_MAX", "2"), ("TASK_SERVICE_DATABASE__NAMED_STATEMENTS", named)];
        let pool = pool(&owners_url(&database).await, &others);
        everybody_sees_their_own(&pool, 25).await;
        let changed = pool.query_of("u1", &CHANGE, &[&"u1"]).await.unwrap();
        assert_eq!(changed[0].get::<_, i64>("changed"), i64::try_from(TASKS).unwrap());
        for (statement, other) in [
            (&PLANT, "u2"),
            (&GIVE, "u2"),
            (&PLANT, ""),
            (&PLANT_TAG, "u2"),
            (&TAKE_TAGS, "u2"),
            (&PLANT_TAG, ""),
        ] {
            let error = pool.query_of("u1", statement, &[&other]).await.unwrap_err();
            assert!(error.not_applied && error.to_string().starts_with("42501 "), "{error}");
        }
        // An id that can't be one, in every place where there is one.
        for strange in ["", "u1\0", "u1' or true --", "%"] {
            match pool.query_of(strange, &ALL, &[]).await {
                Ok(rows) => assert_eq!(rows[0].get::<_, Option<String>>("user_id"), None, "{strange:?}"),
                Err(error) => assert!(error.not_applied && strange.contains('\0'), "{strange:?}: {error}"),
            }
        }
    }
    let pool = pool(&owners_url(&database).await, &[]);
    let gone = pool.query_of("u1", &DELETE, &[]).await.unwrap();
    assert_eq!(gone[0].get::<_, i64>("gone"), i64::try_from(TASKS).unwrap());
    let left = "select count(*), count(*) filter (where title = 't') from task_service.tasks";
    let left = admin.query_one(left, &[]).await.unwrap();
    let others = i64::try_from(TASKS * (USERS - 1)).unwrap();
    assert_eq!((left.get::<_, i64>(0), left.get::<_, i64>(1)), (others, others));
    let tags = "select count(*), count(*) filter (where user_id = 'u1') from task_service.task_tags";
    let tags = admin.query_one(tags, &[]).await.unwrap();
    assert_eq!((tags.get::<_, i64>(0), tags.get::<_, i64>(1)), (others, 0));
}

/// With and without names, whether the pooler tracks them or not.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_statement_without_a_where_sees_its_users_rows_alone_behind_a_pooler() {
    let Some(database) = test::database() else { return };
    let _admin = tasks_of_many(&database).await;
    for named in ["off", "on"] {
        let Some(pooler) = PgBouncer::before_as(&database, 3, OWNER) else { return };
        let others =
            [("TASK_SERVICE_DATABASE__POOL_MAX", "8"), ("TASK_SERVICE_DATABASE__NAMED_STATEMENTS", named)];
        let pools = [pool(&pooler.url(), &others), pool(&pooler.url(), &others)];
        let both = pools.map(|pool| tokio::spawn(async move { everybody_sees_their_own(&pool, 40).await }));
        for pool in both {
            pool.await.unwrap();
        }
    }
}

#[tokio::test]
async fn whom_a_statement_is_about_is_forgotten_with_it_however_it_ends() {
    let Some(database) = test::database() else { return };
    let _admin = tasks_of_many(&database).await;
    for named in ["off", "on"] {
        let others = [
            ("TASK_SERVICE_DATABASE__POOL_MAX", "1"),
            ("TASK_SERVICE_DATABASE__NAMED_STATEMENTS", named),
            ("TASK_SERVICE_DATABASE__QUERY_MS", "100"),
        ];
        // One connection that is never replaced because of its age, so that the next statement gets what the last one left.
        let pool = pool(&owners_url(&database).await, &others);
        for _ in 0..3 {
            assert_eq!(rows_of(&pool, "u1", &ALL).await.len(), TASKS);
            nobody_sees_anything(&pool).await;
            // An error of its own.
            let error = pool.query_of("u1", &FAILS, &[]).await.unwrap_err();
            assert!(error.not_applied && error.to_string().starts_with("22012 "), "{error}");
            nobody_sees_anything(&pool).await;
            // Refused by a policy.
            assert!(pool.query_of("u1", &PLANT, &[&"u2"]).await.unwrap_err().not_applied);
            nobody_sees_anything(&pool).await;
            // Given up before it is sent, while it is, and after.
            for micros in [0, 1, 50, 200, 1000, 5000] {
                let _ = timeout(Duration::from_micros(micros), pool.query_of("u1", &ALL, &[])).await;
                nobody_sees_anything(&pool).await;
            }
            // No answer in time.
            assert!(pool.query_of("u1", &SLEEPS, &[]).await.is_err());
            nobody_sees_anything(&pool).await;
            assert_eq!(rows_of(&pool, "u2", &ALL).await, vec!["u2"; TASKS]);
        }
    }
}

/// The sweep has no user. It finds what it is for, and nobody else finds it.
#[tokio::test]
async fn old_answers_are_removed_and_shown_to_nobody() {
    let Some(service) = start().await else { return };
    let database = service.database.as_ref().unwrap();
    let admin = connect(&database.url()).await;
    let answers = "insert into task_service.answers
            (user_id, key, request, made_at, id, title, completed, tags, created_at, updated_at, version)
        select 'u' || u, made, sha256('x'), now() - made::interval, gen_random_uuid(), 't', false, '{}', now(), now(), 1
        from generate_series(1, 3) u, unnest(array['0 hours', '23 hours', '25 hours', '72 hours']) made";
    admin.batch_execute(answers).await.unwrap();
    let pool = pool(&owners_url(database).await, &[]);
    for user in ["u1", "u2"] {
        assert_eq!(rows_of(&pool, user, &ANSWERS).await, vec![user; 4]);
    }
    assert_eq!(rows_of(&pool, "a stranger", &ANSWERS).await.len(), 0);
    // Who is nobody sees what is over, and can only remove it.
    let seen = pool.query(&NOBODYS, &[]).await.unwrap();
    assert_eq!((seen[0].get::<_, i64>("tasks"), seen[0].get::<_, i64>("answers")), (0, 6));
    let owner = connect(&owners_url(database).await).await;
    for write in [
        "update task_service.answers set title = 'x'",
        "update task_service.answers set made_at = now()",
        "insert into task_service.answers
            (user_id, key, request, made_at, id, title, completed, tags, created_at, updated_at, version)
        values ('u1', 'k', sha256('x'), now() - interval '30 hours', gen_random_uuid(), 't', false, '{}', now(), now(), 1)",
    ] {
        assert!(owner.batch_execute(write).await.is_err(), "{write}");
    }
    service.create("u9", &json!({"title": "a write begins a sweep"})).await;
    let left = "select count(*), count(*) filter (where made_at < now() - interval '24 hours') from task_service.answers";
    eventually("what is over is gone", async || {
        let left = admin.query_one(left, &[]).await.unwrap();
        (left.get::<_, i64>(0), left.get::<_, i64>(1)) == (6, 0)
    })
    .await;
}

/// Of a table of the release before, which knew no policies.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_there_before_the_policies_is_seen_by_its_owners() {
    let Some(database) = test::database() else { return };
    let url = owners_url(&database).await;
    let owner = connect(&url).await;
    let history =
        "create schema task_service; create table task_service.migrations (version bigint primary key,
        name text not null, checksum text not null, applied_at timestamptz not null default now())";
    owner.batch_execute(history).await.unwrap();
    for (version, name, sql) in [
        (1_i64, "tasks", include_str!("../../src/store/migrations/0001_tasks.sql")),
        (2, "pages", include_str!("../../src/store/migrations/0002_pages.sql")),
        (3, "answers", include_str!("../../src/store/migrations/0003_answers.sql")),
    ] {
        let sum = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, sql.as_bytes());
        let sum = sum.as_ref().iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
        owner.batch_execute(sql).await.unwrap();
        let record = "insert into task_service.migrations (version, name, checksum) values ($1, $2, $3)";
        owner.execute(record, &[&version, &name, &sum]).await.unwrap();
    }
    let tasks = "insert into task_service.tasks (user_id, id, title)
        select 'u' || n % 2, gen_random_uuid(), 'Ä ' || n from generate_series(1, 20) n";
    owner.batch_execute(tasks).await.unwrap();
    let service = Arc::new(start_at(&settings(&url, &[])).await);
    service.store.prepare(Switch::On).await.unwrap();
    for user in ["u0", "u1"] {
        let tasks = service.list(user).await;
        assert_eq!(tasks.len(), 10);
        assert!(tasks.iter().all(|task| task["user_id"] == user));
    }
    let seen = owner.query_one("select count(*) from task_service.tasks", &[]).await.unwrap();
    assert_eq!(seen.get::<_, i64>(0), 0, "the owner of the tables is bound too");
}
