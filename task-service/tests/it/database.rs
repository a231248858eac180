//! The database under a test's hand: looked into directly, or reached over a wire that can be cut.

use dev_postgres::test::TestDatabase;
pub use dev_postgres::wire::{Mode, Wire};
use tokio_postgres::{Client, NoTls};

/// A connection of the test's own.
pub async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// The role that owns the databases of tests, and is bound by the policies of its tables as any other is.
pub const OWNER: &str = "tasks_owner";

/// Where the database is for a role that owns it and may do nothing else.
pub async fn owners_url(database: &TestDatabase) -> String {
    let admin = connect(&database.url()).await;
    let name = database.url().rsplit_once('/').unwrap().1.to_owned();
    let hand_over = format!(
        "do $$ begin create role {OWNER} login; exception when duplicate_object or unique_violation then null; end $$;
        alter database {name} owner to {OWNER}"
    );
    admin.batch_execute(&hand_over).await.unwrap();
    as_role(&database.url(), OWNER)
}

/// The same URL for another role.
pub fn as_role(url: &str, role: &str) -> String {
    url.replace("postgres@", &format!("{role}@"))
}

/// Has the server know all about these tables, before a test counts what its plans cost. The checkpoint comes first: tests run
/// with `synchronous_commit = off`, and no vacuum calls a page visible to all while the commit that wrote it is not on the disk.
pub async fn analyze(admin: &Client, tables: &str) {
    admin.batch_execute("checkpoint").await.unwrap();
    admin.batch_execute(&format!("vacuum analyze {tables}")).await.unwrap();
}
