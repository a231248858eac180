//! Sessions looked up in Better Auth's own tables, on a real PostgreSQL.

use std::{
    os::unix::fs::PermissionsExt,
    process::{Command, Output, Stdio},
    sync::Arc,
    time::Duration,
};

use auth_verifier::{
    better_auth::database::Database,
    person::{Expiry, Person},
    rejection::Unavailable,
    session::token::{SessionToken, SigningKey},
    settings::Settings,
};
use aws_lc_rs::hmac;
use base64::{Engine, prelude::BASE64_STANDARD};
use chassis::{clock::UnixSeconds, settings};
use dev_postgres::{
    Postgres, StartError,
    test::{self, TestDatabase},
    wire::{End, Mode, Wire},
};
use identity::{Email, UserId};
use tokio_postgres::Client;

use crate::{
    tables::{ADMIN_PLUGIN, BETTER_AUTH, PATIENT, TOKEN, connect},
    world::{ISSUER, SECRET},
};

/// The end of the session that each test begins with, 2100-01-01 in UTC.
const END: u64 = 4_102_444_800;

/// Somebody's tables, looked into by us and by hand.
struct Tables {
    sessions: Arc<Database>,
    admin: Client,
    database: TestDatabase,
}

impl Tables {
    async fn new(tables: &str, variables: &[(&str, &str)]) -> Option<Self> {
        let database = test::database()?;
        let admin = connect(&database.url()).await;
        admin.batch_execute(tables).await.unwrap();
        Some(Self { sessions: sessions(&database.url(), variables), admin, database })
    }

    async fn better_auth() -> Option<Self> {
        Self::new(BETTER_AUTH, &[]).await
    }

    async fn run(&self, sql: &str) {
        self.admin.batch_execute(sql).await.unwrap();
    }

    async fn find(&self, token: &str) -> Option<Person> {
        self.sessions.session(&SessionToken::bare(token).unwrap()).await.unwrap()
    }
}

fn sessions(url: &str, variables: &[(&str, &str)]) -> Arc<Database> {
    let base =
        [("BETTER_AUTH_URL", ISSUER), ("BETTER_AUTH_SECRET", SECRET), ("AUTH_VERIFIER_DATABASE__URL", url)];
    let variables = base.iter().chain(&PATIENT).chain(variables).copied();
    let settings = settings::load::<Settings>(&variables.collect()).unwrap();
    settings.database().unwrap()
}

fn ada() -> Person {
    ada_with_id("u1")
}

fn ada_with_id(id: &str) -> Person {
    let email = Email::parse("ada@example.com");
    Person {
        user: UserId::parse(id).unwrap(),
        email,
        email_verified: Some(true),
        expires: Expiry::At(UnixSeconds(END)),
        banned: false,
    }
}

#[tokio::test]
async fn a_session_is_found_where_better_auth_keeps_it() {
    let Some(tables) = Tables::better_auth().await else { return };
    assert_eq!(tables.find(TOKEN).await, Some(ada()));
    assert_eq!(tables.find("TheTokenOfNobodyWith32Characters1").await, None);
    assert_eq!(tables.find("THETOKENOFADAWITH32CHARACTERS0001").await, None);
}

#[tokio::test]
async fn a_session_that_is_over_is_not_found() {
    let Some(tables) = Tables::better_auth().await else { return };
    for (end, alive) in [("1 minute", true), ("0 seconds", false), ("-1 second", false)] {
        tables.run(&format!(r#"update session set "expiresAt" = now() + interval '{end}'"#)).await;
        assert_eq!(tables.find(TOKEN).await.is_some(), alive, "{end}");
    }
}

#[tokio::test]
async fn whether_an_address_was_verified_is_read_from_whatever_column_there_is() {
    let Some(tables) = Tables::better_auth().await else { return };
    let with = |email_verified| Some(Person { email_verified, ..ada() });
    tables.run(r#"update "user" set "emailVerified" = false"#).await;
    assert_eq!(tables.find(TOKEN).await, with(Some(false)));
    // As some keep it: the moment.
    let moment = r#"alter table "user" alter "emailVerified" type timestamptz using now()"#;
    tables.run(moment).await;
    assert_eq!(tables.find(TOKEN).await, with(None));
    tables.run(r#"alter table "user" drop "emailVerified""#).await;
    assert_eq!(tables.find(TOKEN).await, with(None));
}

#[tokio::test]
async fn a_session_whose_user_is_gone_is_not_found() {
    let Some(tables) = Tables::better_auth().await else { return };
    tables.run(r#"alter table session drop constraint "session_userId_fkey"; delete from "user""#).await;
    assert_eq!(tables.find(TOKEN).await, None);
}

#[tokio::test]
async fn a_user_whose_id_cannot_stand_in_a_header_is_nobody() {
    let Some(tables) = Tables::better_auth().await else { return };
    tables.run(r#"alter table session drop constraint "session_userId_fkey""#).await;
    for id in ["", "u1,u2", "u 1", "ü1"] {
        tables.run(&format!(r#"update "user" set id = '{id}'; update session set "userId" = '{id}'"#)).await;
        assert_eq!(tables.find(TOKEN).await, None, "{id:?}");
    }
}

#[tokio::test]
async fn a_token_is_a_value_whatever_is_in_it() {
    let Some(tables) = Tables::better_auth().await else { return };
    let hmac = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    for token in [
        "' or true --",
        "'; drop table session; --",
        "$1",
        "%",
        "TheTokenOfAdaWith32Characters000_",
        "\\",
        "ü\u{2028}",
    ] {
        let signature = BASE64_STANDARD.encode(hmac::sign(&hmac, token.as_bytes()));
        let token = SigningKey::new(SECRET).verify(&format!("{token}.{signature}")).unwrap();
        assert_eq!(tables.sessions.session(&token).await, Ok(None), "{}", token.expose());
    }
    assert_eq!(tables.find(TOKEN).await, Some(ada()));
}

#[tokio::test]
async fn tables_may_have_other_names_and_stand_elsewhere() {
    let other = r#"
        create schema "Auth ""1""";
        create table "Auth ""1""".users (id text primary key, email text not null, banned boolean, ban_expires timestamptz);
        create table "Auth ""1"""."user's sessions" (token text primary key, user_id text not null, expires_at timestamptz);
        insert into "Auth ""1""".users values ('u1', 'ada@example.com', false, null);
        insert into "Auth ""1"""."user's sessions" values ('TheTokenOfAdaWith32Characters0001', 'u1', '2100-01-01 00:00Z')"#;
    let variables = [
        ("AUTH_VERIFIER_TABLES__SCHEMA", r#"Auth "1""#),
        ("AUTH_VERIFIER_TABLES__SESSION", "user's sessions"),
        ("AUTH_VERIFIER_TABLES__USER", "users"),
        ("AUTH_VERIFIER_TABLES__COLUMNS", "snake"),
    ];
    let Some(tables) = Tables::new(other, &variables).await else { return };
    assert_eq!(tables.find(TOKEN).await, Some(Person { email_verified: None, ..ada() }));
    tables.run(r#"update "Auth ""1""".users set banned = true"#).await;
    assert_eq!(tables.find(TOKEN).await, Some(Person { banned: true, email_verified: None, ..ada() }));
}

#[tokio::test]
async fn ids_may_be_uuids_or_numbers() {
    for (kind, id) in [
        ("uuid", "0199f7a2-6c1e-7b63-9d4f-2f6f2b1d9a10"),
        ("integer", "2147483647"),
        ("bigint", "1"),
        ("varchar(36)", "u1"),
    ] {
        let schema = BETTER_AUTH
            .replace("id text primary key", &format!("id {kind} primary key"))
            .replace(r#""userId" text"#, &format!(r#""userId" {kind}"#))
            .replace("'s1'", &format!("'{id}'"))
            .replace("'u1'", &format!("'{id}'"));
        let Some(tables) = Tables::new(&schema, &[]).await else { return };
        assert_eq!(tables.find(TOKEN).await, Some(ada_with_id(id)), "{kind}");
    }
}

#[tokio::test]
async fn timestamps_mean_what_they_say_wherever_the_server_is() {
    for server in ["Asia/Tokyo", "America/New_York"] {
        for (kind, zone) in [
            ("timestamptz", "UTC"),
            ("timestamp", "UTC"),
            ("timestamp(3)", "Asia/Tokyo"),
            ("timestamp", "America/New_York"),
        ] {
            let what = format!("{kind} of {zone} on a server in {server}");
            let schema =
                BETTER_AUTH.replace("timestamptz", kind) + ";" + &ADMIN_PLUGIN.replace("timestamptz", kind);
            let Some(tables) = Tables::new(&schema, &[("AUTH_VERIFIER_TABLES__TIME_ZONE", zone)]).await
            else {
                return;
            };
            let name = tables.database.url().rsplit_once('/').unwrap().1.to_owned();
            tables.run(&format!("alter database {name} set timezone = '{server}'")).await;
            let moment = |text: &str| match kind {
                "timestamptz" => text.to_owned(),
                _ => format!("({text}) at time zone '{zone}'"),
            };

            let end = moment("timestamptz '2100-01-01 00:00Z'");
            tables.run(&format!(r#"update session set "expiresAt" = {end}"#)).await;
            assert_eq!(tables.find(TOKEN).await, Some(ada()), "{what}");
            for (minutes, alive) in [(10, true), (-10, false)] {
                let end = moment(&format!("now() + interval '{minutes} minutes'"));
                tables.run(&format!(r#"update session set "expiresAt" = {end}"#)).await;
                assert_eq!(tables.find(TOKEN).await.is_some(), alive, "{what}");
            }

            tables.run(r#"update session set "expiresAt" = now() + interval '2 days'"#).await;
            for (minutes, banned) in [(10, true), (-10, false)] {
                let end = moment(&format!("now() + interval '{minutes} minutes'"));
                tables.run(&format!(r#"update "user" set banned = true, "banExpires" = {end}"#)).await;
                assert_eq!(tables.find(TOKEN).await.unwrap().banned, banned, "{what}");
            }
        }
    }
}

#[tokio::test]
async fn a_ban_holds_until_it_ends() {
    let Some(tables) = Tables::new(&format!("{BETTER_AUTH};{ADMIN_PLUGIN}"), &[]).await else { return };
    for (ban, ends, banned) in [
        ("null", "null", false),
        ("false", "null", false),
        ("false", "now() + interval '1 hour'", false),
        ("null", "now() + interval '1 hour'", false),
        ("true", "null", true),
        ("true", "now() + interval '1 hour'", true),
        ("true", "now() - interval '1 second'", false),
    ] {
        tables.run(&format!(r#"update "user" set banned = {ban}, "banExpires" = {ends}"#)).await;
        assert_eq!(tables.find(TOKEN).await, Some(Person { banned, ..ada() }), "{ban}, {ends}");
    }
}

#[tokio::test]
async fn the_admin_plugin_may_come_and_go_while_we_run() {
    let Some(tables) = Tables::better_auth().await else { return };
    for _ in 0..2 {
        assert_eq!(tables.find(TOKEN).await, Some(ada()));
        tables.run(&format!(r#"{ADMIN_PLUGIN}; update "user" set banned = true"#)).await;
        assert_eq!(tables.find(TOKEN).await, Some(Person { banned: true, ..ada() }));
        tables.run(r#"alter table "user" drop role, drop banned, drop "banReason", drop "banExpires""#).await;
    }
}

#[tokio::test]
async fn tables_that_are_not_as_the_settings_say_are_no_answer() {
    let token = SessionToken::bare(TOKEN).unwrap();
    for variable in [
        ("AUTH_VERIFIER_TABLES__SCHEMA", "auth"),
        ("AUTH_VERIFIER_TABLES__SESSION", "sessions"),
        ("AUTH_VERIFIER_TABLES__USER", "session"),
        ("AUTH_VERIFIER_TABLES__COLUMNS", "snake"),
        // No column of what is read along with the table stands in for one that it lacks.
        ("AUTH_VERIFIER_TABLES__FIELDS", "user.id=owner_id"),
        ("AUTH_VERIFIER_TABLES__FIELDS", "session.token=banned"),
        // What may not be there must be, once it was named: a slip must not let in who is banned.
        ("AUTH_VERIFIER_TABLES__FIELDS", "user.banned=is_baned"),
        ("AUTH_VERIFIER_TABLES__FIELDS", "user.banExpires=ban_end"),
    ] {
        let Some(tables) = Tables::new(BETTER_AUTH, &[variable]).await else { return };
        assert_eq!(tables.sessions.session(&token).await, Err(Unavailable::Sessions), "{variable:?}");
    }
}

/// What the command prints.
fn grants() -> String {
    let output = granting(&[]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn granting(arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    Command::new(env!("CARGO_BIN_EXE_auth-verifier"))
        .arg("grants")
        .args(arguments)
        .current_dir(folder.path())
        .env_clear()
        .envs([("BETTER_AUTH_URL", ISSUER), ("BETTER_AUTH_SECRET", SECRET)])
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[tokio::test]
async fn a_role_of_any_name_is_made_and_granted_to_as_often_as_it_is_asked_for() {
    let Some(tables) = Tables::better_auth().await else { return };
    let name = format!("Reader é\\'; $sql$ \n\" {}", std::process::id());
    let printed = granting(&["--role", &name]);
    assert!(printed.status.success(), "{}", String::from_utf8_lossy(&printed.stderr));
    let sql = String::from_utf8(printed.stdout).unwrap();
    assert!(!sql.contains("auth_verifier"), "{sql}");
    for _ in 0..2 {
        tables.run(&sql).await;
    }
    let may = "select rolcanlogin and not rolsuper and has_column_privilege($1, 'session', 'token', 'select')
        and not has_table_privilege($1, 'session', 'select') from pg_roles where rolname = $1";
    assert!(tables.admin.query_one(may, &[&name]).await.unwrap().get::<_, bool>(0));
    let quoted = format!("\"{}\"", name.replace('"', "\"\""));
    tables.run(&format!("drop owned by {quoted}; drop role {quoted}")).await;
}

#[test]
fn a_name_that_no_role_can_have_is_refused() {
    for name in ["", "pg_reader", "public", "none", &"x".repeat(64)] {
        let refused = granting(&["--role", name]);
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(!refused.status.success() && refused.stdout.is_empty(), "{name}");
        assert!(said.contains("--role") && said.contains("is no name of a role"), "{name}: {said}");
    }
}

#[tokio::test]
async fn the_printed_grants_are_enough_and_no_more() {
    let Some(tables) = Tables::better_auth().await else { return };
    tables.run(&grants()).await;
    let url = tables.database.url().replace("//postgres@", "//auth_verifier@");
    let (sessions, token) = (sessions(&url, &[]), SessionToken::bare(TOKEN).unwrap());
    assert_eq!(sessions.session(&token).await, Ok(Some(ada())));

    // Until what the plugin adds is granted too, a ban could go unseen.
    tables.run(ADMIN_PLUGIN).await;
    assert_eq!(sessions.session(&token).await, Err(Unavailable::Sessions));
    let again = grants();
    tables.run(&format!(r#"{again}; update "user" set banned = true"#)).await;
    assert_eq!(sessions.session(&token).await, Ok(Some(Person { banned: true, ..ada() })));

    let role = connect(&url).await;
    for refused in [
        "select * from session",
        "select id from session",
        r#"select "ipAddress" from session"#,
        r#"select * from "user""#,
        r#"select name from "user""#,
        "select password from account",
        r#"update session set "expiresAt" = now() + interval '1 year'"#,
        "delete from session",
        r#"insert into "user" (id) values ('u2')"#,
    ] {
        let error = role.batch_execute(refused).await.unwrap_err();
        assert_eq!(error.code().unwrap().code(), "42501", "{refused}: {error}");
    }
}

#[tokio::test]
async fn connections_that_were_killed_are_not_noticed() {
    let Some(tables) = Tables::better_auth().await else { return };
    for _ in 0..20 {
        assert_eq!(tables.find(TOKEN).await, Some(ada()));
        tables
            .run(
                "select pg_terminate_backend(pid) from pg_stat_activity
                 where application_name = 'auth-verifier' and datname = current_database()",
            )
            .await;
    }
}

#[tokio::test]
async fn without_the_database_we_cannot_know_and_with_it_again_we_can() {
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
    postgres.create_database("auth").unwrap();
    let url = postgres.url("auth");
    connect(&url).await.batch_execute(BETTER_AUTH).await.unwrap();
    let wait = ("AUTH_VERIFIER_DATABASE__ACQUIRE_TIMEOUT_MS", "2000");
    let (sessions, token) = (sessions(&url, &[wait]), SessionToken::bare(TOKEN).unwrap());
    assert_eq!(sessions.session(&token).await, Ok(Some(ada())));

    postgres.stop();
    assert_eq!(sessions.session(&token).await, Err(Unavailable::Sessions));

    let _postgres = start().unwrap();
    let back = async { while sessions.session(&token).await != Ok(Some(ada())) {} };
    tokio::time::timeout(Duration::from_secs(60), back).await.unwrap();
}

#[tokio::test]
async fn a_session_is_found_by_whoever_waits_for_a_database_to_wake_up() {
    let Some(tables) = Tables::better_auth().await else { return };
    let wire = Wire::to(&tables.database).await;
    // As it comes: longer than Neon takes.
    let wait = ("AUTH_VERIFIER_DATABASE__ACQUIRE_TIMEOUT_MS", "5000");
    let sessions = sessions(&wire.url(), &[wait]);
    let token = SessionToken::bare(TOKEN).unwrap();
    assert_eq!(sessions.session(&token).await, Ok(Some(ada())));
    for end in [End::Told, End::Closed] {
        wire.set(Mode::Asleep(Duration::from_secs(2)));
        wire.end_all(end);
        let found =
            tokio::join!(sessions.session(&token), sessions.session(&token), sessions.session(&token));
        assert_eq!(found, (Ok(Some(ada())), Ok(Some(ada())), Ok(Some(ada()))), "{end:?}");
        assert!(!wire.is_asleep());
    }
}

#[tokio::test]
async fn a_session_is_found_again_though_all_connections_have_fallen_silent() {
    let Some(tables) = Tables::better_auth().await else { return };
    let wire = Wire::to(&tables.database).await;
    let sessions = sessions(&wire.url(), &[("AUTH_VERIFIER_DATABASE__QUERY_MS", "1000")]);
    let token = SessionToken::bare(TOKEN).unwrap();
    let ask = || async {
        tokio::join!(sessions.session(&token), sessions.session(&token), sessions.session(&token))
    };
    assert_eq!(ask().await, (Ok(Some(ada())), Ok(Some(ada())), Ok(Some(ada()))));
    wire.freeze();
    // Those that met one; nobody else does.
    let _told = ask().await;
    for _ in 0..3 {
        assert_eq!(ask().await, (Ok(Some(ada())), Ok(Some(ada())), Ok(Some(ada()))));
    }
}

#[tokio::test]
async fn a_session_without_an_end_is_one_that_lasts() {
    let Some(tables) = Tables::better_auth().await else { return };
    for (end, alive) in [("infinity", true), ("20000-01-01Z", true), ("-infinity", false)] {
        tables.run(&format!(r#"update session set "expiresAt" = '{end}'"#)).await;
        assert_eq!(tables.find(TOKEN).await.is_some(), alive, "{end}");
    }
}

#[tokio::test]
async fn an_id_is_found_in_its_one_spelling_whatever_its_column_holds() {
    let uuid = "0199f7a2-6c1e-7b63-9d4f-2f6f2b1d9a10";
    for (kind, id, others) in [
        ("text", "u1", vec!["U1", "u1 ", "", "u2"]),
        ("varchar(50)", "u1", vec!["U1", "u1 ", "u2"]),
        (
            "uuid",
            uuid,
            vec!["0199F7A2-6C1E-7B63-9D4F-2F6F2B1D9A10", "{0199f7a2-6c1e-7b63-9d4f-2f6f2b1d9a10}", "u1"],
        ),
        ("int", "258", vec!["0258", "+258", " 258", "2580000000000", "u1"]),
        ("bigint", "258", vec!["0258", "99999999999999999999", "u1"]),
        ("smallint", "-1", vec!["-01", "32768"]),
    ] {
        let Some(tables) = Tables::better_auth().await else { return };
        let change = format!(
            r#"alter table session drop constraint "session_userId_fkey";
               delete from session; delete from "user";
               alter table "user" alter id type {kind} using id::text::{kind};
               alter table session alter "userId" type {kind} using "userId"::text::{kind};
               alter table session alter id type {kind} using id::text::{kind};
               insert into "user" (id, name, email, "emailVerified") values ('{id}', 'Ada', 'ada@example.com', true);
               insert into session (id, token, "userId", "expiresAt") values ('{id}', '{TOKEN}', '{id}', '2100-01-01Z')"#
        );
        tables.run(&change).await;
        assert_eq!(tables.find(TOKEN).await, Some(ada_with_id(id)), "{kind}");
        assert_eq!(tables.sessions.session_by_id(id).await, Ok(Some(ada_with_id(id))), "{kind}");
        let user = tables.sessions.user(&UserId::parse(id).unwrap()).await.unwrap();
        assert_eq!(user.map(|person| person.user), UserId::parse(id), "{kind}");
        for other in others {
            assert_eq!(tables.sessions.session_by_id(other).await, Ok(None), "{kind}: {other:?}");
            if let Some(user) = UserId::parse(other) {
                assert_eq!(tables.sessions.user(&user).await, Ok(None), "{kind}: {other:?}");
            }
        }
    }
}
