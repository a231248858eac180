//! What the services need: keys to verify with, and databases of sessions and of tasks.

use std::{
    io,
    time::{SystemTime, UNIX_EPOCH},
};

use auth_verifier::session::token::{SessionToken, SigningKey};
use dev_postgres::test::{self, TestDatabase};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_postgres::{Client, NoTls};

use crate::issuer::{ALGORITHMS, Issuer};

/// Better Auth's secret.
pub const SECRET: &str = "k7Jx2mQ9vR4tY8wZ1aB5cD6eF3gH0iLn";

/// Its base URL. Nobody answers there: keys come from a file, and sessions from the database.
pub const ISSUER: &str = "http://localhost:3000";

/// How many users there are, each with a session.
pub const USERS: usize = 1000;

/// The tables as Better Auth makes them itself.
const TABLES: &str = r#"
create table "user" (id text primary key, name text not null, email text not null unique,
    "emailVerified" boolean not null, image text, "createdAt" timestamptz not null default now(),
    "updatedAt" timestamptz not null default now());
create table session (id text primary key, "expiresAt" timestamptz not null, token text not null unique,
    "createdAt" timestamptz not null default now(), "updatedAt" timestamptz not null default now(),
    "ipAddress" text, "userAgent" text, "userId" text not null references "user" on delete cascade);
create index on session ("userId")"#;

/// Keys, a file that publishes them, and a database.
pub struct World {
    /// A plain connection to the database of sessions.
    pub client: Client,
    /// An empty database, for task-service.
    pub tasks: TestDatabase,
    issuers: Vec<Issuer>,
    folder: TempDir,
    database: TestDatabase,
}

impl World {
    /// A new one; `None`, with a message, where there is no PostgreSQL.
    pub async fn new() -> io::Result<Option<Self>> {
        let (Some(database), Some(tasks)) = (test::database(), test::database()) else { return Ok(None) };
        let (client, connection) =
            tokio_postgres::connect(&database.url(), NoTls).await.map_err(io::Error::other)?;
        tokio::spawn(connection);
        client.batch_execute(TABLES).await.map_err(io::Error::other)?;
        for number in 0..USERS {
            let (user, token) = (user(number), session(number));
            let rows = format!(
                r#"insert into "user" values ('{user}', 'Ada', '{user}@example.com', true);
                   insert into session (id, token, "userId", "expiresAt")
                   values ('{token}', '{token}', '{user}', '2100-01-01 00:00Z')"#
            );
            client.batch_execute(&rows).await.map_err(io::Error::other)?;
        }
        let issuers: Vec<_> = ALGORITHMS.into_iter().map(|alg| Issuer::new(alg, SECRET)).collect();
        let folder = tempfile::tempdir()?;
        let keys: Vec<_> = issuers.iter().filter_map(Issuer::jwk).collect();
        std::fs::write(folder.path().join("jwks.json"), json!({"keys": keys}).to_string())?;
        Ok(Some(Self { client, tasks, issuers, folder, database }))
    }

    /// The issuer that signs with `alg`.
    pub fn issuer(&self, alg: &str) -> &Issuer {
        self.issuers.iter().find(|issuer| issuer.alg == alg).expect("there is one for each algorithm")
    }

    /// A folder that is removed with this world.
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// The settings of a verifier in this world, and further ones.
    pub fn variables(&self, further: &[(&str, &str)]) -> Vec<(String, String)> {
        let jwks = self.folder.path().join("jwks.json");
        let database = self.database.url();
        let base = [
            ("BETTER_AUTH_SECRET", SECRET),
            ("BETTER_AUTH_URL", ISSUER),
            ("AUTH_VERIFIER_JWKS__FILE", jwks.to_str().expect("temporary folders have plain names")),
            ("AUTH_VERIFIER_DATABASE__URL", &database),
            // A busy machine is no failure.
            ("AUTH_VERIFIER_DATABASE__ACQUIRE_TIMEOUT_MS", "60000"),
            ("AUTH_VERIFIER_DATABASE__CONNECT_MS", "60000"),
            ("AUTH_VERIFIER_DATABASE__QUERY_MS", "60000"),
        ];
        let owned = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
        base.iter().chain(further).map(owned).collect()
    }
}

/// The id of a user.
pub fn user(number: usize) -> String {
    format!("u{number}")
}

/// The token of that user's session.
pub fn session(number: usize) -> String {
    format!("SessionOfUser{number:019}")
}

/// The session cookie of a token, as Better Auth sets it.
pub fn cookie(token: &str) -> String {
    let token = SessionToken::bare(token).expect("it is 32 letters and digits");
    format!("better-auth.session_token={}", SigningKey::new(SECRET).sign(&token))
}

/// The claims of Better Auth's API tokens.
pub fn claims(user: &str) -> Value {
    let now = now();
    json!({
        "iat": now, "name": "Ada Lovelace", "email": format!("{user}@example.com"), "emailVerified": true,
        "image": null, "createdAt": "2026-01-01T00:00:00.000Z", "updatedAt": "2026-01-01T00:00:00.000Z",
        "id": user, "sub": user, "exp": now + 6 * 3600, "iss": ISSUER, "aud": ISSUER,
    })
}

/// In seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
