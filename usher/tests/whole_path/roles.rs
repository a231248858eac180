//! The role by which task-service reads and writes, replaced by another while people work, as docs/secrets.md has it.

use std::time::Duration;

use dev_postgres::test;
use tokio::{
    task::{block_in_place, spawn_blocking},
    time::{Instant, sleep},
};
use tokio_postgres::NoTls;

use crate::{
    balancer::{Balancer, Turns},
    traffic::{Traffic, all_is_as_told, failed},
    world::{Client, PATIENCE, SECRET, Service},
};

/// What docs/secrets.md has whoever owns the database say in the end, of roles of this test's own.
fn farewell(first: &str, migrating: &str) -> String {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/secrets.md");
    let page = std::fs::read_to_string(page).unwrap();
    let sql =
        page.split("```sql\n").find(|block| block.trim_start().starts_with("grant usher_tasks,")).unwrap();
    let sql = sql.split("```").next().unwrap();
    sql.replace("usher_tasks", first).replace("usher_migrate", migrating)
}

/// What `task-service grants` prints.
fn grants(serving: &str, migrating: &str) -> String {
    let mut grants = std::process::Command::new(env!("CARGO_BIN_EXE_usher"));
    grants.args(["task-service", "grants", "--serve", serving, "--migrate", migrating]).env_clear();
    String::from_utf8(block_in_place(|| grants.output()).unwrap().stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_serves_is_replaced_as_documented_and_no_write_is_lost() {
    let Some(database) = spawn_blocking(test::database).await.unwrap() else { return };
    let (admin, connection) = tokio_postgres::connect(&database.url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    let url = database.url();
    let name = url.rsplit('/').next().unwrap();
    let [first, second, migrating, owner] =
        ["first", "second", "migrates", "owns"].map(|role| format!("{role}_of_{name}"));
    let at = |role: &str| url.replace("postgres@", &format!("{role}@"));
    assert_ne!(at(&first), url, "another role");

    // As Neon's console makes them: no superuser.
    let as_at_neon = format!(
        "create role {owner} login createrole createdb bypassrls; alter database {name} owner to {owner}"
    );
    admin.batch_execute(&as_at_neon).await.unwrap();
    let (owners, connection) = tokio_postgres::connect(&at(&owner), NoTls).await.unwrap();
    tokio::spawn(connection);
    owners.batch_execute(&grants(&first, &migrating)).await.unwrap();
    let (client, balancer) = (Client::new(), Balancer::start(Turns::Requests).await);
    let verifier = Service::start("auth-verifier", &[("BETTER_AUTH_SECRET", SECRET)]);
    let jwks = format!("{}/.well-known/jwks.json", verifier.url());
    let replica = |role: &str| {
        Service::start(
            "task-service",
            &[
                ("DATABASE_URL", &*at(role)),
                ("TASK_SERVICE_MIGRATE_URL", &at(&migrating)),
                ("TASK_SERVICE_IDENTITY_JWKS_URL", &jwks),
                ("TASK_SERVICE_REQUIRE_ROW_LEVEL_SECURITY", "on"),
            ],
        )
    };
    let mut replicas = vec![replica(&first), replica(&first)];
    for replica in &replicas {
        replica.ready(&client).await;
        balancer.add(replica.traffic);
    }
    let gateway = [
        ("GATEWAY_AUTH_VERIFIER_URL", &*verifier.url()),
        ("GATEWAY_TASK_SERVICE_URL", &balancer.url()),
        // A slow machine is not what is tested here.
        ("GATEWAY_VERIFIER__CONNECT_MS", "20000"),
        ("GATEWAY_VERIFIER__TIMEOUT_MS", "20000"),
    ];
    let gateway = Service::start("gateway", &gateway);
    gateway.ready(&client).await;
    let traffic = Traffic::start(&client, &gateway.url());
    traffic.more("before").await;

    owners.batch_execute(&grants(&second, &migrating)).await.unwrap();
    traffic.more("there are two that may serve").await;
    for place in 0..2 {
        let old = replicas.remove(place);
        balancer.remove(old.traffic);
        assert!(block_in_place(|| old.terminate()).success());
        let new = replica(&second);
        new.ready(&client).await;
        balancer.add(new.traffic);
        replicas.insert(place, new);
        traffic.more("one has the second").await;
    }
    // Its connections end with the processes that held them, as soon as the server notices.
    let deadline = Instant::now() + PATIENCE;
    let left = "select count(*) from pg_stat_activity where usename = $1";
    while admin.query_one(left, &[&first]).await.unwrap().get::<_, i64>(0) > 0 {
        assert!(Instant::now() < deadline, "nobody uses the first");
        sleep(Duration::from_millis(20)).await;
    }
    owners.batch_execute(&farewell(&first, &migrating)).await.unwrap();
    traffic.more("the first is gone").await;

    let (reads, written) = traffic.end().await;
    assert_eq!(reads, Vec::<String>::new());
    assert!(written.len() > 10, "{written:?}");
    assert_eq!(failed(&written).len(), 0, "{:?}", failed(&written));
    all_is_as_told(&url, &written).await;
    drop(replicas);
    drop(owners);
    admin.batch_execute(&format!("alter database {name} owner to postgres")).await.unwrap();
    for role in [&second, &migrating, &owner] {
        admin.batch_execute(&format!("drop owned by {role} cascade; drop role {role}")).await.unwrap();
    }
}
