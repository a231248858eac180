//! Better Auth's tables, as it makes them.

use dev_postgres::test::{self, TestDatabase};
use tokio_postgres::{Client, NoTls};

use crate::world::World;

/// The tables as Better Auth makes them itself.
pub const BETTER_AUTH: &str = r#"
create table "user" (id text primary key, name text not null, email text not null unique,
    "emailVerified" boolean not null, image text, "createdAt" timestamptz not null default now(),
    "updatedAt" timestamptz not null default now());
create table session (id text primary key, "expiresAt" timestamptz not null, token text not null unique,
    "createdAt" timestamptz not null default now(), "updatedAt" timestamptz not null default now(),
    "ipAddress" text, "userAgent" text, "userId" text not null references "user" on delete cascade);
create table account (id text primary key, "userId" text not null, password text);
insert into "user" (id, name, email, "emailVerified") values ('u1', 'Ada', 'ada@example.com', true);
insert into session (id, token, "userId", "expiresAt") values ('s1', 'TheTokenOfAdaWith32Characters0001', 'u1', '2100-01-01 00:00Z')"#;

pub const ADMIN_PLUGIN: &str = r#"
alter table "user" add role text, add banned boolean, add "banReason" text, add "banExpires" timestamptz"#;

/// The token of the session that each test begins with.
pub const TOKEN: &str = "TheTokenOfAdaWith32Characters0001";

/// A slow machine's patience, not what is tested here.
pub const PATIENT: [(&str, &str); 3] = [
    ("AUTH_VERIFIER_DATABASE__ACQUIRE_TIMEOUT_MS", "60000"),
    ("AUTH_VERIFIER_DATABASE__CONNECT_MS", "60000"),
    ("AUTH_VERIFIER_DATABASE__QUERY_MS", "60000"),
];

/// What the OAuth provider adds, as far as it is looked at.
pub const OAUTH_PROVIDER: &str = r#"
create table "oauthClient" (id text primary key, "clientId" text not null unique, disabled boolean);
create table "oauthAccessToken" (id text primary key, token text unique, "clientId" text not null references "oauthClient" ("clientId"),
    "sessionId" text references session on delete set null, "userId" text references "user", "referenceId" text, resources jsonb,
    "expiresAt" timestamptz, "createdAt" timestamptz, revoked timestamptz, confirmation jsonb, scopes jsonb not null);
insert into "oauthClient" values ('c1', 'the-client', null)"#;

/// A verifier that reads these tables, and a way to change them.
pub struct WithTables {
    pub world: World,
    admin: Client,
    _database: TestDatabase,
}

impl WithTables {
    /// `None` where there is no PostgreSQL, which was said aloud.
    pub async fn new(tables: &str, variables: &[(&str, &str)]) -> Option<Self> {
        let database = test::database()?;
        let admin = connect(&database.url()).await;
        admin.batch_execute(tables).await.unwrap();
        let url = database.url();
        let all = [&[("AUTH_VERIFIER_DATABASE__URL", &*url)][..], &PATIENT, variables].concat();
        Some(Self { world: World::new(&all).await, admin, _database: database })
    }

    pub async fn run(&self, sql: &str) {
        self.admin.batch_execute(sql).await.unwrap();
    }
}

pub async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}
