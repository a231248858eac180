//! Neon Auth's tables, as Neon's documentation describes them (not tried against Neon): schema `neon_auth`, ids of the type uuid,
//! quoted camelCase columns.

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use dev_postgres::test;
use serde_json::json;
use tokio_postgres::Client;

use super::stand_in::{ADA, COOKIE, Neon, TOKEN, by, cookie, session, signed, signed_by};
use crate::{
    doctor::run,
    tables::{BETTER_AUTH, OAUTH_PROVIDER, PATIENT, connect},
    world::World,
};

const TABLES: &str = r#"
create schema neon_auth;
create table neon_auth."user" (id uuid primary key default gen_random_uuid(), name text not null, email text not null unique,
    "emailVerified" boolean not null, image text, "createdAt" timestamptz not null default now(),
    "updatedAt" timestamptz not null default now(), role text, banned boolean, "banReason" text, "banExpires" timestamptz);
create table neon_auth.session (id uuid primary key default gen_random_uuid(), "expiresAt" timestamptz not null,
    token text not null unique, "createdAt" timestamptz not null default now(), "updatedAt" timestamptz not null,
    "ipAddress" text, "userAgent" text, "userId" uuid not null references neon_auth."user" on delete cascade,
    "impersonatedBy" text, "activeOrganizationId" text);
insert into neon_auth."user" (id, name, email, "emailVerified") values
    ('e72eb6ec-36e4-4cae-9dd7-61b7e3b6e6e9', 'Ada', 'ada@example.com', true);
insert into neon_auth.session (token, "userId", "expiresAt", "updatedAt") values
    ('AN38LlXAsfWfnnZ19cDjYaajjbQp1dJV', 'e72eb6ec-36e4-4cae-9dd7-61b7e3b6e6e9', '2100-01-01 00:00Z', now())"#;

/// A verifier that reads these tables; `None` where there is no PostgreSQL, which was said aloud.
async fn world(neon: &Neon, variables: &[(&str, &str)]) -> Option<(World, Client, test::TestDatabase)> {
    let database = test::database()?;
    let admin = connect(&database.url()).await;
    admin.batch_execute(TABLES).await.unwrap();
    let url = database.url();
    let base = [("AUTH_VERIFIER_DATABASE__URL", &*url), ("AUTH_VERIFIER_REVOCATION_LAG_SECS", "0")];
    let all = [&base[..], &PATIENT, variables].concat();
    Some((neon.alone(&all).await, admin, database))
}

#[tokio::test]
async fn a_token_ends_with_its_user_where_that_is_set() {
    let neon = Neon::new().await;
    let Some((world, admin, _database)) = world(&neon, &[("AUTH_VERIFIER_JWT__REVOCATION", "user")]).await
    else {
        return;
    };
    let status = async |changes| world.bearer(&neon.jwt(changes)).await.status.as_u16();
    assert_eq!(status(json!({})).await, 200);
    for nobody in ["0e2eb6ec-36e4-4cae-9dd7-61b7e3b6e6e9", "u1", &*ADA.to_uppercase()] {
        assert_eq!(status(json!({"sub": nobody})).await, 401, "{nobody}");
    }
    admin.batch_execute(r#"update neon_auth."user" set banned = true"#).await.unwrap();
    assert_eq!(status(json!({})).await, 403);
    admin
        .batch_execute(r#"update neon_auth."user" set "banExpires" = now() - interval '1 second'"#)
        .await
        .unwrap();
    assert_eq!(status(json!({})).await, 200);
    admin.batch_execute(r#"delete from neon_auth."user""#).await.unwrap();
    assert_eq!(status(json!({})).await, 401);
}

#[tokio::test]
async fn a_token_ends_with_its_user_whatever_that_is_called_here() {
    let neon = Neon::new().await;
    let further =
        [("AUTH_VERIFIER_JWT__REVOCATION", "user"), ("AUTH_VERIFIER_NEON_AUTH__USER_PREFIX", "neon:")];
    let Some((world, admin, _database)) = world(&neon, &further).await else { return };
    assert_eq!(world.bearer(&neon.jwt(json!({}))).await.user(), Some(&*format!("neon:{ADA}")));
    admin.batch_execute(r#"delete from neon_auth."user""#).await.unwrap();
    assert_eq!(world.bearer(&neon.jwt(json!({}))).await.status, 401);
}

#[tokio::test]
async fn a_cookie_is_looked_up_in_the_table_only_under_a_name_that_says_what_that_means() {
    let neon = Neon::new().await;
    neon.forget();
    let Some((asking, _, _first)) = world(&neon, &[]).await else { return };
    assert_eq!(by(&asking, &cookie()).await.status, 401, "Neon was asked, whatever the table says");
    assert_eq!(neon.asked(), 1);

    let dangerous = ("AUTH_VERIFIER_NEON_AUTH__DANGEROUS_UNSIGNED_COOKIES", "on");
    let Some((world, admin, _database)) = world(&neon, &[dangerous]).await else { return };
    assert_eq!(by(&world, &cookie()).await.user(), Some(ADA));
    // What it means: nobody checks the signature.
    let forged = format!("{COOKIE}={}", signed_by("somebody-elses-secret-of-32-bytes", TOKEN));
    assert_eq!(by(&world, &forged).await.user(), Some(ADA));
    let none = format!(
        "{COOKIE}={}",
        signed_by("somebody-elses-secret-of-32-bytes", "BN38LlXAsfWfnnZ19cDjYaajjbQp1dJV")
    );
    assert_eq!(by(&world, &none).await.status, 401);
    admin.batch_execute(r#"update neon_auth."user" set banned = true"#).await.unwrap();
    assert_eq!(by(&world, &cookie()).await.status, 403);
    admin.batch_execute("delete from neon_auth.session").await.unwrap();
    assert_eq!(by(&world, &cookie()).await.status, 401);
    assert_eq!(neon.asked(), 1);
}

/// An opaque token is of a Better Auth of one's own, though nothing else that is set names one.
#[tokio::test]
async fn an_opaque_token_of_our_own_is_of_another_user_than_neons_cookie() {
    let neon = Neon::new().await;
    neon.know(COOKIE, &signed(TOKEN), session(TOKEN, &json!({"id": "u1"})));
    let Some(database) = test::database() else { return };
    let admin = connect(&database.url()).await;
    admin.batch_execute(&format!("{BETTER_AUTH};{OAUTH_PROVIDER}")).await.unwrap();
    let token = "OpaqueTokenOfAdaOfOurOwn00000001";
    let hash = BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA256, token.as_bytes()));
    let insert = format!(
        r#"insert into "oauthAccessToken" (id, token, "clientId", "sessionId", "userId", "expiresAt", scopes) values
            ('t1', '{hash}', 'the-client', 's1', 'u1', '2100-01-01 00:00Z', '["openid"]')"#
    );
    admin.batch_execute(&insert).await.unwrap();
    let url = database.url();
    let variables = [
        ("AUTH_VERIFIER_DATABASE__URL", &*url),
        ("AUTH_VERIFIER_OAUTH__ACCESS_TOKENS", "opaque"),
        ("AUTH_VERIFIER_NEON_AUTH__USER_PREFIX", "neon:"),
    ];
    let world = neon.alone(&[&variables[..], &PATIENT].concat()).await;
    assert_eq!(world.bearer(token).await.user(), Some("u1"));
    assert_eq!(by(&world, &cookie()).await.user(), Some("neon:u1"));
}

#[tokio::test]
async fn by_the_table_a_made_up_signature_is_no_other_question() {
    let neon = Neon::new().await;
    let variables = [
        ("AUTH_VERIFIER_NEON_AUTH__DANGEROUS_UNSIGNED_COOKIES", "on"),
        ("AUTH_VERIFIER_REVOCATION_LAG_SECS", "300"),
    ];
    let Some((world, admin, _database)) = world(&neon, &variables).await else { return };
    assert_eq!(by(&world, &cookie()).await.user(), Some(ADA));
    admin.batch_execute("delete from neon_auth.session").await.unwrap();
    let forged = format!("{COOKIE}={}", signed_by("somebody-elses-secret-of-32-bytes", TOKEN));
    assert_eq!(
        by(&world, &forged).await.user(),
        Some(ADA),
        "the table is not read again before the lag ends"
    );
}

#[tokio::test]
async fn what_is_read_of_them_can_be_granted_and_no_more() {
    let neon = Neon::new().await;
    let database = ("AUTH_VERIFIER_DATABASE__URL", "postgresql://u@localhost/neondb");
    let base = [
        ("NEON_AUTH_BASE_URL", &*neon.base),
        ("NEON_AUTH_COOKIE_SECRET", super::stand_in::COOKIE_SECRET),
        database,
    ];
    let revocation = ("AUTH_VERIFIER_JWT__REVOCATION", "user");
    let told = run("grants", &[&base[..], &[revocation]].concat(), "").await;
    told.says(&["grant usage on schema \"neon_auth\" to \"auth_verifier\";"]);
    told.says(&["grant select (\"id\", \"email\") on \"neon_auth\".\"user\" to \"auth_verifier\";"]);
    assert!(!told.text.contains("session") && !told.text.contains("public"), "{}", told.text);
    // Beside those of our own, by one role.
    let own =
        [("BETTER_AUTH_SECRET", crate::world::SECRET), ("AUTH_VERIFIER_NEON_AUTH__USER_PREFIX", "neon:")];
    let told = run("grants", &[&base[..], &[revocation], &own].concat(), "").await;
    told.says(&["grant usage on schema \"neon_auth\""]);
    told.says(&["grant usage on schema \"public\""]);
    assert_eq!(told.text.matches("create role").count(), 1, "{}", told.text);
    let opaque = [("AUTH_VERIFIER_OAUTH__ACCESS_TOKENS", "opaque"), own[1]];
    let told = run("grants", &[&base[..], &opaque].concat(), "").await;
    told.says(&["on \"public\".\"oauthAccessToken\" to \"auth_verifier\";"]);
    assert!(!told.text.contains("neon_auth"), "{}", told.text);
}
