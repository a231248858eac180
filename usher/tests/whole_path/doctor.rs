//! `auth-verifier doctor`, with Better Auth itself as the patient.

use std::process::Stdio;

use http::Method;
use serde_json::json;
use tokio::{io::AsyncWriteExt, process::Command};

use crate::{better_auth, world::SECRET};

/// What the doctor says, and whether nothing is wrong.
async fn doctor(variables: &[(&str, &str)], pasted: &str) -> (bool, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_usher"))
        .args(["auth-verifier", "doctor"])
        .current_dir(env!("CARGO_TARGET_TMPDIR"))
        .env_clear()
        .env("BETTER_AUTH_SECRET", SECRET)
        // A slow machine is not what is tested here.
        .envs([("AUTH_VERIFIER_SESSION__TIMEOUT_MS", "20000"), ("AUTH_VERIFIER_JWKS__TIMEOUT_MS", "20000")])
        .envs([
            ("AUTH_VERIFIER_DATABASE__ACQUIRE_TIMEOUT_MS", "20000"),
            ("AUTH_VERIFIER_DATABASE__CONNECT_MS", "20000"),
        ])
        .env("AUTH_VERIFIER_DATABASE__QUERY_MS", "20000")
        .envs(variables.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(pasted.as_bytes()).await.unwrap();
    let output = child.wait_with_output().await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    for part in pasted.split(['.', '=', ';', ' ']).filter(|part| part.len() > 30) {
        assert!(!text.contains(part), "{text}");
    }
    (output.status.success(), text)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_finds_nothing_where_all_is_right_and_names_what_is_wrong() {
    let Some(better_auth) = better_auth::start(json!({"session": {"cookieCache": {"enabled": true}}})).await
    else {
        return;
    };
    let ada = better_auth.sign_up("ada").await;
    let (url, database) = (&*better_auth.url, better_auth.database_url());
    let cookies = format!("Cookie: {}", ada.cookies);
    let cache = ("AUTH_VERIFIER_COOKIE_CACHE__STRATEGY", "compact");
    let by_http = [("BETTER_AUTH_URL", url), cache];
    let by_tables = [
        ("BETTER_AUTH_URL", url),
        ("AUTH_VERIFIER_DATABASE__URL", &*database),
        ("AUTH_VERIFIER_JWKS__SOURCE", "table"),
        cache,
    ];
    for variables in [&by_http[..], &by_tables] {
        for pasted in [&ada.jwt, &cookies, &ada.bearer] {
            let (good, text) = doctor(variables, pasted).await;
            assert!(good && text.contains(&format!("the user is {}", ada.id)), "{text}");
            assert!(!text.contains("??") && !text.contains("!!"), "{text}");
        }
    }

    let elsewhere = format!("{url}/auth");
    let slash = format!("{url}/");
    for (variable, value, pasted, want) in [
        ("BETTER_AUTH_URL", &*elsewhere, "", format!("BETTER_AUTH_URL={url}/api/auth")),
        ("AUTH_VERIFIER_JWKS_URL", &*elsewhere, "", format!("AUTH_VERIFIER_JWKS_URL={url}/api/auth/jwks")),
        ("AUTH_VERIFIER_ISSUERS", &*slash, &*ada.jwt, format!("AUTH_VERIFIER_ISSUERS={slash},{url}.")),
        ("AUTH_VERIFIER_AUDIENCES", "api", &*ada.jwt, format!("AUTH_VERIFIER_AUDIENCES=api,{url}.")),
        (
            "BETTER_AUTH_SECRET",
            "another-secret-of-at-least-32-bytes",
            &*cookies,
            "Set BETTER_AUTH_SECRET to".to_owned(),
        ),
        (
            "AUTH_VERIFIER_SESSION__COOKIE_PREFIX",
            "my-app",
            "",
            "AUTH_VERIFIER_SESSION__COOKIE_PREFIX=better-auth".to_owned(),
        ),
        (
            "AUTH_VERIFIER_SESSION__SECURE_COOKIES",
            "on",
            "",
            "AUTH_VERIFIER_SESSION__SECURE_COOKIES=off".to_owned(),
        ),
        ("AUTH_VERIFIER_TABLES__SCHEMA", "auth", "", "AUTH_VERIFIER_TABLES__SCHEMA=public".to_owned()),
        ("AUTH_VERIFIER_TABLES__SESSION", "sessions", "", "AUTH_VERIFIER_TABLES__SESSION=session".to_owned()),
        ("AUTH_VERIFIER_TABLES__COLUMNS", "snake", "", "AUTH_VERIFIER_TABLES__COLUMNS=camel".to_owned()),
    ] {
        let base: &[_] = if variable.ends_with("_URL") { &by_http } else { &by_tables };
        let (good, text) = doctor(&[base, &[(variable, value)]].concat(), pasted).await;
        let said = text.lines().any(|line| line.starts_with("!!") && line.contains(&want));
        assert!(said && !good, "{want} in:\n{text}");
    }

    let session =
        better_auth.call(Method::GET, "/get-session?disableCookieCache=true", &ada.cookies, None).await;
    assert_eq!(session.body["user"]["id"], *ada.id, "nobody was signed out");
}
