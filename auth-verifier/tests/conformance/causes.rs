//! What goes wrong between us and a real Better Auth by its options: what works nevertheless, and what doctor says of the rest.

use std::{process::Stdio, sync::Arc};

use auth_verifier::verdict::{Verdict, Verifier};
use dev_better_auth::{BetterAuth, SECRET, Setup, Version};
use serde_json::json;
use tokio::{io::AsyncWriteExt, process::Command};
use tokio_postgres::NoTls;

use crate::pair::{Sent, Who, ours, variables, verifier};

const BY_HTTP: (&str, &str) = (variables::LOOKUP, "http");
const BY_TABLE: (&str, &str) = (variables::LOOKUP, "database");

/// What doctor says, given a Cookie header.
async fn doctor(better_auth: &BetterAuth, variables: &[(&str, &str)], cookie: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_auth-verifier"))
        .arg("doctor")
        .current_dir(folder.path())
        .env_clear()
        .envs([(variables::URL, &*better_auth.url), (variables::SECRET, SECRET)])
        .envs(variables::PATIENT)
        .envs(variables.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(format!("Cookie: {cookie}").as_bytes()).await.unwrap();
    let output = child.wait_with_output().await.unwrap();
    String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
}

/// Whether it can't be known who sent this.
async fn is_unknown(verifier: &Arc<Verifier>, sent: &Sent) -> bool {
    matches!(verifier.verify(&sent.0).await, Verdict::Unavailable(_))
}

#[track_caller]
fn bad(told: &str, want: &[&str]) {
    let said = told.lines().any(|line| line.starts_with("!!") && want.iter().all(|want| line.contains(want)));
    assert!(said, "{want:?} in:\n{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_better_auth_that_answers_by_some_names_alone_is_asked_by_its_own() {
    let Some(first) = BetterAuth::start(Setup::new(Version::V1_7, json!({}))).await else { return };
    let ada = first.sign_up("ada").await;
    let hosts = json!({"baseURL": {"allowedHosts": ["app.example.com"], "protocol": "https"}});
    let public = first.again(Setup::new(Version::V1_7, hosts)).await;
    // As a browser has it from https://app.example.com.
    let cookie = ada.session_cookie().replace("better-auth.", "__Secure-better-auth.");
    let parties = [(variables::ISSUERS, &*first.url), ("AUTH_VERIFIER_AUDIENCES", &first.url), BY_HTTP];
    let base = Some("https://app.example.com");
    let by_name = verifier(&public, base, &parties);
    assert_eq!(ours(&by_name, &Sent::cookie(&cookie)).await, Who::user(&ada.id), "a session");
    assert_eq!(ours(&by_name, &Sent::bearer(&ada.jwt)).await, Who::user(&ada.id), "keys");

    let strange = ("AUTH_VERIFIER_BETTER_AUTH__HOST", "nobody.example.com");
    let by_another = verifier(&public, base, &[&parties[..], &[strange]].concat());
    for sent in [Sent::cookie(&cookie), Sent::bearer(&ada.jwt)] {
        assert!(is_unknown(&by_another, &sent).await);
    }
    let told = doctor(&public, &[], &ada.session_cookie()).await;
    bad(&told, &["better-auth", "allowedHosts", "AUTH_VERIFIER_BETTER_AUTH__HOST"]);
    let host =
        [("AUTH_VERIFIER_BETTER_AUTH__HOST", "app.example.com"), (variables::URL, "https://app.example.com")];
    let inner = [(variables::JWKS_URL, format!("{}/api/auth/jwks", public.url))];
    let within = inner.iter().map(|(name, value)| (*name, &**value)).chain(host).collect::<Vec<_>>();
    let told = doctor(&public, &within, &cookie).await;
    assert!(told.contains("It is accepted") && !told.contains("!!"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_only_looked_up_is_prolonged_where_that_is_set_and_nowhere_else() {
    for version in Version::ALL {
        let lives = json!({"session": {"expiresIn": 36_000, "updateAge": 60}});
        let Some(better_auth) = BetterAuth::start(Setup::new(version, lives)).await else { return };
        let ada = better_auth.sign_up("ada").await;
        let (client, connection) = tokio_postgres::connect(&better_auth.database_url(), NoTls).await.unwrap();
        tokio::spawn(connection);
        let soon = r#"update session set "expiresAt" = now() + interval '1 hour'"#;
        let long = r#"select bool_and("expiresAt" > now() + interval '2 hours') as long from session"#;
        for (setting, want) in [("off", false), ("on", true)] {
            client.batch_execute(soon).await.unwrap();
            let refresh = ("AUTH_VERIFIER_SESSION__REFRESH", setting);
            let verifier = verifier(&better_auth, None, &[BY_HTTP, refresh]);
            let sent = Sent::cookie(&ada.session_cookie());
            assert_eq!(ours(&verifier, &sent).await, Who::user(&ada.id), "{version}, {setting}");
            let long: bool = client.query_one(long, &[]).await.unwrap().get("long");
            assert_eq!(long, want, "{version}, {setting}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_custom_session_has_changed_is_told_and_the_database_is_a_cure() {
    for (left_out, want) in [("the session", "`session`"), ("the user's id", "`user.id`")] {
        let plugins = json!({"plugins": {"customSession": format!("function session without {left_out}")}});
        let Some(better_auth) = BetterAuth::start(Setup::new(Version::V1_7, plugins)).await else { return };
        let ada = better_auth.sign_up("ada").await;
        let sent = Sent::cookie(&ada.session_cookie());
        assert!(is_unknown(&verifier(&better_auth, None, &[BY_HTTP]), &sent).await, "{left_out}");
        bad(
            &doctor(&better_auth, &[], &ada.session_cookie()).await,
            &[want, "customSession", "AUTH_VERIFIER_DATABASE__URL"],
        );
        let database = better_auth.database_url();
        let by_table = [(variables::DATABASE_URL, &*database)];
        assert_eq!(ours(&verifier(&better_auth, None, &[BY_TABLE]), &sent).await, Who::user(&ada.id));
        let told = doctor(&better_auth, &by_table, &ada.session_cookie()).await;
        assert!(told.contains("It is accepted") && !told.contains("!!"), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_moved_to_secondary_storage_are_told_from_both_sides() {
    let Some(before) = BetterAuth::start(Setup::new(Version::V1_7, json!({}))).await else { return };
    let ada = before.sign_up("ada").await;
    let storage = json!({"get": "function kept", "set": "function keep", "delete": "function drop"});
    let moved = before.again(Setup::new(Version::V1_7, json!({"secondaryStorage": storage}))).await;
    let bob = moved.sign_up("bob").await;
    let database = moved.database_url();
    let by_table = [(variables::DATABASE_URL, &*database)];
    let cure = ["secondaryStorage", "AUTH_VERIFIER_SESSION__LOOKUP=http"];
    for (person, cause) in [(&ada, "has forgotten it"), (&bob, "its table has none such")] {
        let told = doctor(&moved, &by_table, &person.session_cookie()).await;
        bad(&told, &[&["credential", cause][..], &cure].concat());
        bad(&told, &[&["sessions", "itself doesn't know"][..], &cure].concat());
    }
    let told = doctor(&moved, &[], &bob.session_cookie()).await;
    assert!(told.contains("It is accepted") && !told.contains("!!"), "{told}");
}
