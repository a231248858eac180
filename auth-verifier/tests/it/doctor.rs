//! `auth-verifier doctor` and `inspect`, as processes, against a Better Auth that is not as the settings say.

use std::{
    collections::HashMap,
    process::Stdio,
    sync::{Arc, Mutex},
};

use auth_verifier::session::token::{SessionToken, SigningKey};
use chassis::{Body, serve};
use dev_postgres::test;
use http::{Request, Response};
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, net::TcpListener, process::Command};
use tokio_postgres::{Client, NoTls};
use tokio_util::sync::CancellationToken;

use crate::{
    issuer::{Signing, server},
    world::{SECRET, claims_with},
};

const TOKEN: &str = "TheTokenOfAdaWith32Characters0001";

type Answers = HashMap<String, Response<String>>;

/// Something that answers as it is told to, and with a page of its own elsewhere.
struct Fake {
    url: String,
    answers: Arc<Mutex<Answers>>,
    /// By which name it is to be asked, if by one alone.
    host: Arc<Mutex<Option<String>>>,
    key: Signing,
    _stop: tokio_util::sync::DropGuard,
}

impl Fake {
    /// A Better Auth whose API is at `base`.
    async fn at(base: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let answers: Arc<Mutex<Answers>> = Arc::default();
        let host: Arc<Mutex<Option<String>>> = Arc::default();
        let service = {
            let (answers, host) = (answers.clone(), host.clone());
            move |request: Request<Body>| {
                let by = request.headers().get("host").map(|host| host.to_str().unwrap().to_owned());
                let stranger = host.lock().unwrap().as_ref().is_some_and(|host| Some(host) != by.as_ref());
                let page = || Response::builder().status(404).body("<!doctype html>".to_owned()).unwrap();
                let answer = answers.lock().unwrap().get(request.uri().path()).cloned();
                let thrown = || Response::builder().status(500).body(String::new()).unwrap();
                let answer = if stranger { thrown() } else { answer.unwrap_or_else(page) };
                async move { answer.map(Body::from) }
            }
        };
        let stop = CancellationToken::new();
        let token = stop.clone();
        tokio::spawn(async move { serve::serve(listener, service, &server(), token).await });
        let fake = Self { url, answers, host, key: Signing::new("k1", "EdDSA"), _stop: stop.drop_guard() };
        fake.answer(&format!("{base}/ok"), 200, &json!({"ok": true}));
        fake.answer(&format!("{base}/jwks"), 200, &json!({"keys": [fake.key.jwk()]}));
        fake.answer(&format!("{base}/get-session"), 200, &Value::Null);
        fake.cookies(&format!("{base}/sign-out"), ["better-auth.session_token", "better-auth.session_data"]);
        fake
    }

    fn answer(&self, path: &str, status: u16, body: &Value) {
        self.put(path, Response::builder().status(status).body(body.to_string()).unwrap());
    }

    fn cookies(&self, path: &str, names: [&str; 2]) {
        let mut response = Response::builder();
        for name in names {
            response = response.header("set-cookie", format!("{name}=; Max-Age=0; Path=/"));
        }
        self.put(path, response.body(json!({"success": true}).to_string()).unwrap());
    }

    fn only_as(&self, host: &str) {
        *self.host.lock().unwrap() = Some(host.to_owned());
    }

    fn put(&self, path: &str, response: Response<String>) {
        self.answers.lock().unwrap().insert(path.to_owned(), response);
    }

    fn jwt(&self, changes: Value) -> String {
        let mut changed = json!({"iss": self.url, "aud": self.url});
        changed.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        self.key.token(&claims_with(changed))
    }

    async fn doctor(&self, variables: &[(&str, &str)], pasted: &str) -> Told {
        let base = [("BETTER_AUTH_URL", &*self.url), ("BETTER_AUTH_SECRET", SECRET)];
        run("doctor", &[&base, variables].concat(), pasted).await
    }
}

/// What a command said.
pub struct Told {
    pub text: String,
    pub good: bool,
}

pub async fn run(command: &str, variables: &[(&str, &str)], pasted: &str) -> Told {
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_auth-verifier"))
        .arg(command)
        .current_dir(folder.path())
        .env_clear()
        // A slow machine is not what is tested here.
        .envs([("AUTH_VERIFIER_SESSION__TIMEOUT_MS", "20000"), ("AUTH_VERIFIER_JWKS__TIMEOUT_MS", "20000")])
        .envs(variables.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(pasted.as_bytes()).await.unwrap();
    let output = child.wait_with_output().await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    // Neither the secret nor anything of what was pasted that lets somebody in.
    assert!(!text.contains(SECRET), "{text}");
    assert!(!text.contains(TOKEN), "{text}");
    for part in pasted.split(['.', '=', ' ', ';']).filter(|part| part.len() > 30) {
        assert!(!text.contains(part), "{text}");
    }
    Told { text, good: output.status.success() }
}

impl Told {
    #[track_caller]
    fn good(&self) {
        assert!(self.good && !self.text.contains("!!"), "{}", self.text);
    }

    /// One line says that something is wrong, with all of these.
    #[track_caller]
    pub fn bad(&self, want: &[&str]) {
        let said = self
            .text
            .lines()
            .any(|line| line.starts_with("!!") && want.iter().all(|want| line.contains(want)));
        assert!(said && !self.good, "{want:?} in:\n{}", self.text);
    }

    #[track_caller]
    pub fn says(&self, want: &[&str]) {
        let said = self.text.lines().any(|line| want.iter().all(|want| line.contains(want)));
        assert!(said, "{want:?} in:\n{}", self.text);
    }
}

fn cookie(name: &str, secret: &str) -> String {
    let token = SessionToken::bare(TOKEN).unwrap();
    format!("Cookie: theme=dark; {name}={}", SigningKey::new(secret).sign(&token))
}

#[tokio::test]
async fn where_everything_is_right_nothing_is_wrong() {
    let fake = Fake::at("/api/auth").await;
    let told = fake.doctor(&[], "").await;
    told.good();
    told.says(&["??", "credential", "auth-verifier doctor"]);
    let told = fake.doctor(&[], &fake.jwt(json!({}))).await;
    told.good();
    told.says(&["ok", "It is accepted: the user is u1."]);
    assert!(!told.text.contains("??"), "{}", told.text);
}

#[tokio::test]
async fn settings_that_cannot_work_stop_it_before() {
    let told = run("doctor", &[("BETTER_AUTH_URL", "localhost:3000")], "").await;
    assert!(!told.good && told.text.contains("BETTER_AUTH_URL: must begin with http"), "{}", told.text);
}

#[tokio::test]
async fn a_better_auth_that_is_elsewhere_is_looked_for() {
    let told =
        run("doctor", &[("BETTER_AUTH_URL", "http://127.0.0.1:1"), ("BETTER_AUTH_SECRET", SECRET)], "").await;
    told.bad(&["better-auth", "can't be reached", "BETTER_AUTH_URL"]);
    told.bad(&["keys", "can't be reached", "AUTH_VERIFIER_JWKS_URL"]);

    let fake = Fake::at("/auth").await;
    let told = fake.doctor(&[], "").await;
    told.bad(&["better-auth", &format!("Set BETTER_AUTH_URL={}/auth,", fake.url)]);
    told.bad(&["keys", "404", &format!("Set AUTH_VERIFIER_JWKS_URL={}/auth/jwks,", fake.url)]);
    fake.doctor(&[("BETTER_AUTH_URL", &format!("{}/auth", fake.url))], "").await.good();

    let root = Fake::at("").await;
    let told = root.doctor(&[], "").await;
    told.bad(&["better-auth", &format!("Set AUTH_VERIFIER_JWKS_URL={}/jwks", root.url)]);
    root.doctor(&[("AUTH_VERIFIER_JWKS_URL", &format!("{}/jwks", root.url))], "").await.good();
}

#[tokio::test]
async fn better_auths_rate_limit_is_told_with_what_to_set() {
    let fake = Fake::at("/api/auth").await;
    fake.answer("/api/auth/get-session", 429, &Value::Null);
    let told = fake.doctor(&[], "").await;
    told.bad(&["429", "customRules", "/get-session", "AUTH_VERIFIER_DATABASE__URL", "ipAddressHeaders"]);
}

#[tokio::test]
async fn a_better_auth_that_answers_by_some_names_alone_is_told_from_one_whose_secret_changed() {
    let fake = Fake::at("/api/auth").await;
    for path in ["/api/auth/ok", "/api/auth/jwks", "/api/auth/get-session"] {
        fake.answer(path, 500, &Value::Null);
    }
    let port = fake.url.rsplit_once(':').unwrap().1;
    let told = fake.doctor(&[], "").await;
    told.bad(&[
        "better-auth",
        "allowedHosts",
        &format!("127.0.0.1:{port}"),
        "AUTH_VERIFIER_BETTER_AUTH__HOST",
    ]);
    told.bad(&["keys", "allowedHosts", "AUTH_VERIFIER_BETTER_AUTH__HOST"]);
    assert!(!told.text.contains("a change of BETTER_AUTH_SECRET"), "{}", told.text);

    let public = Fake::at("/api/auth").await;
    public.only_as("app.example.com");
    public.doctor(&[], "").await.bad(&["allowedHosts", "AUTH_VERIFIER_BETTER_AUTH__HOST"]);
    public.doctor(&[("AUTH_VERIFIER_BETTER_AUTH__HOST", "app.example.com")], "").await.good();
    let inner = format!("{}/api/auth/jwks", public.url);
    let from_within = [("BETTER_AUTH_URL", "https://app.example.com"), ("AUTH_VERIFIER_JWKS_URL", &*inner)];
    public.cookies(
        "/api/auth/sign-out",
        ["__Secure-better-auth.session_token", "__Secure-better-auth.session_data"],
    );
    public.doctor(&from_within, "").await.good();
}

#[tokio::test]
async fn a_frontend_that_answers_for_get_session_itself_is_told_of_the_database() {
    let fake = Fake::at("/api/auth").await;
    for nobody in [json!({"session": null, "user": null}), json!({})] {
        fake.answer("/api/auth/get-session", 200, &nobody);
        let told = fake.doctor(&[], "").await;
        told.bad(&[
            "get-session",
            "of the frontend's own",
            "AUTH_VERIFIER_DATABASE__URL",
            "AUTH_VERIFIER_SESSION__URL",
        ]);
    }
}

#[tokio::test]
async fn keys_that_cannot_be_used_are_named() {
    let fake = Fake::at("/api/auth").await;
    let jwks = "/api/auth/jwks";
    fake.answer(jwks, 404, &Value::Null);
    // Where sessions are looked up, nobody may have any use for keys.
    let told = fake.doctor(&[], "").await;
    told.good();
    told.says(&["??", "404", "plugins: [jwt()]", "AUTH_VERIFIER_JWKS__ENABLED=false"]);
    for needed in [
        ("AUTH_VERIFIER_SESSION__LOOKUP", "off"),
        ("AUTH_VERIFIER_JWKS__SOURCE", "endpoint"),
        ("AUTH_VERIFIER_COOKIE_CACHE__STRATEGY", "jwt-jwks"),
    ] {
        let told = fake.doctor(&[needed], "").await;
        told.bad(&["404", "plugins: [jwt()]", "AUTH_VERIFIER_JWKS__ENABLED=false"]);
    }
    fake.answer(jwks, 500, &Value::Null);
    fake.doctor(&[], "").await.bad(&["500", "BETTER_AUTH_SECRET"]);
    fake.put(jwks, Response::new("<html>".to_owned()));
    fake.doctor(&[], "").await.bad(&["with a page (HTML)", "AUTH_VERIFIER_JWKS_URL"]);
    let moved = Response::builder().status(308).header("location", "https://a.test/api/auth/jwks?k=v");
    fake.put(jwks, moved.body(String::new()).unwrap());
    fake.doctor(&[], "").await.bad(&["308", "leads to \"https://a.test/api/auth/jwks\", which"]);
    fake.answer(jwks, 200, &json!({"keys": []}));
    fake.doctor(&[], "").await.bad(&["has no key yet"]);

    let mut rsa = Signing::new("r1", "RS256").jwk();
    rsa.as_object_mut().unwrap().remove("alg");
    fake.answer(jwks, 200, &json!({"keys": [fake.key.jwk(), rsa, {"kty": "oct", "kid": "o1"}]}));
    let told = fake.doctor(&[], "").await;
    told.bad(&["\"r1\"", "AUTH_VERIFIER_JWKS__RSA_ALGORITHM"]);
    told.says(&["??", "\"o1\""]);
    told.says(&["ok", "1 key, for EdDSA"]);
    fake.doctor(&[("AUTH_VERIFIER_JWKS__RSA_ALGORITHM", "RS256")], "").await.good();

    let told = fake.doctor(&[("AUTH_VERIFIER_JWKS__FILE", "/nowhere/keys.json")], "").await;
    told.bad(&["/nowhere/keys.json", "Set AUTH_VERIFIER_JWKS__FILE"]);

    let file = tempfile::NamedTempFile::new().unwrap();
    let trusted = "[[trusted]]\nissuers = [\"https://p.test\"]\naudiences = [\"api\"]\nuser_prefix = \"p:\"\n\
                   jwks_url = \"http://127.0.0.1:1/jwks\"\n";
    std::fs::write(file.path(), trusted).unwrap();
    let told = fake.doctor(&[("AUTH_VERIFIER_CONFIG", file.path().to_str().unwrap())], "").await;
    told.bad(&["http://127.0.0.1:1/jwks", "trusted[0].jwks_url", "AUTH_VERIFIER_CONFIG"]);
}

#[tokio::test]
async fn a_clock_that_is_off_is_noticed() {
    let fake = Fake::at("/api/auth").await;
    let ok = Response::builder().header("date", "Sat, 01 Jan 2000 00:00:00 GMT");
    fake.put("/api/auth/ok", ok.body(json!({"ok": true}).to_string()).unwrap());
    fake.doctor(&[], "").await.bad(&["clock", "behind ours", "AUTH_VERIFIER_LEEWAY_SECS"]);
}

#[tokio::test]
async fn cookies_of_other_names_are_noticed() {
    let fake = Fake::at("/api/auth").await;
    let cache = ("AUTH_VERIFIER_COOKIE_CACHE__STRATEGY", "compact");
    for (names, want) in [
        (["my.session_token", "my.session_data"], "AUTH_VERIFIER_SESSION__COOKIE_PREFIX=my."),
        (["sid", "better-auth.session_data"], "AUTH_VERIFIER_SESSION__COOKIE=sid."),
        (["__Host-sid", "better-auth.session_data"], "AUTH_VERIFIER_SESSION__COOKIE=__Host-sid."),
        (["better-auth.session_token", "cache"], "AUTH_VERIFIER_COOKIE_CACHE__COOKIE=cache."),
        (
            ["__Secure-better-auth.session_token", "__Secure-better-auth.session_data"],
            "AUTH_VERIFIER_SESSION__SECURE_COOKIES=on.",
        ),
    ] {
        fake.cookies("/api/auth/sign-out", names);
        fake.doctor(&[cache], "").await.bad(&["cookies", want]);
        let (name, value) = want.trim_end_matches('.').split_once('=').unwrap();
        fake.doctor(&[cache, (name, value)], "").await.good();
    }
    // As before 1.4.
    fake.answer("/api/auth/sign-out", 400, &json!({"code": "FAILED_TO_GET_SESSION"}));
    let told = fake.doctor(&[], "").await;
    told.good();
    told.says(&["??", "cookies", "standard input"]);
}

#[tokio::test]
async fn something_that_answers_for_better_auth_is_noticed() {
    let fake = Fake::at("/api/auth").await;
    fake.answer("/api/auth/get-session", 401, &json!({}));
    fake.doctor(&[], "").await.bad(&["401", "AUTH_VERIFIER_SESSION__URL"]);
}

#[tokio::test]
async fn a_token_shows_what_it_names_and_what_to_set() {
    let fake = Fake::at("/api/auth").await;
    let port = fake.url.rsplit_once(':').unwrap().1;
    for (found, how) in [
        (format!("{}/", fake.url), "but for the slash at the end"),
        (format!("{}/api/auth", fake.url), "but for the path"),
        (fake.url.replace("http:", "https:"), "but for the scheme"),
        (fake.url.replace("127.0.0.1", "localhost"), "but for the name of the machine"),
        (fake.url.replace(port, "1"), "but for the port"),
        ("https://other.test".to_owned(), "not http://127.0.0.1"),
    ] {
        let told = fake.doctor(&[], &fake.jwt(json!({"iss": found}))).await;
        told.bad(&["issuer", how, &format!("AUTH_VERIFIER_ISSUERS={found}.")]);
        fake.doctor(&[("AUTH_VERIFIER_ISSUERS", &found)], &fake.jwt(json!({"iss": found}))).await.good();
        let told = fake.doctor(&[], &fake.jwt(json!({"aud": ["x", &found]}))).await;
        told.bad(&["audience", "AUTH_VERIFIER_AUDIENCES="]);
    }
    let told = fake.doctor(&[], &Signing::new("k2", "EdDSA").token(&claims_with(json!({})))).await;
    told.bad(&["\"k2\"", "AUTH_VERIFIER_JWKS_URL"]);
    let access =
        fake.key.token_with(&json!({"alg": "EdDSA", "kid": "k1", "typ": "at+jwt"}), &claims_with(json!({})));
    fake.doctor(&[], &access).await.bad(&["AUTH_VERIFIER_OAUTH__ACCESS_TOKENS=jwt"]);
    let oauth = [
        ("AUTH_VERIFIER_OAUTH__ACCESS_TOKENS", "jwt"),
        ("AUTH_VERIFIER_OAUTH__AUDIENCES", "https://api.test"),
    ];
    let told = fake.doctor(&oauth, &access).await;
    told.bad(&["issuer", "AUTH_VERIFIER_OAUTH__ISSUERS="]);
    told.bad(&["audience", "AUTH_VERIFIER_OAUTH__AUDIENCES=https://api.test,"]);
    let id_token = fake.jwt(json!({"auth_time": 1, "aud": "client"}));
    fake.doctor(&[], &id_token).await.bad(&["an ID token", "/token"]);
    fake.doctor(&[], &fake.jwt(json!({"exp": 1}))).await.bad(&["expired"]);

    fake.answer("/api/auth/jwks", 500, &Value::Null);
    let told = fake.doctor(&[], &fake.jwt(json!({"iss": "https://other.test"}))).await;
    told.bad(&["issuer", "AUTH_VERIFIER_ISSUERS=https://other.test."]);
    fake.doctor(&[], &fake.jwt(json!({}))).await.bad(&["can't be known"]);

    let hs256 = |secret| {
        auth_verifier::diagnostics::dev_token::mint(secret, "u1", std::time::Duration::from_secs(60))
    };
    fake.answer("/api/auth/jwks", 200, &json!({"keys": [fake.key.jwk()]}));
    fake.doctor(&[], &hs256(SECRET)).await.good();
    let other = "another-secret-of-at-least-32-bytes";
    fake.doctor(&[], &hs256(other)).await.bad(&["not signed with our", "Set BETTER_AUTH_SECRET to"]);
    let off = [("AUTH_VERIFIER_HS256__ENABLED", "false")];
    fake.doctor(&off, &hs256(SECRET)).await.bad(&["AUTH_VERIFIER_HS256__ENABLED=true"]);
}

#[tokio::test]
async fn a_cookie_shows_name_secret_and_cache() {
    let fake = Fake::at("/api/auth").await;
    let other = "another-secret-of-at-least-32-bytes";
    let name = "better-auth.session_token";
    let told = fake.doctor(&[], &cookie(name, SECRET)).await;
    told.says(&["ok", "signed with our BETTER_AUTH_SECRET"]);
    told.bad(&["no such session"]);
    fake.doctor(&[], &cookie(name, other)).await.bad(&["Set BETTER_AUTH_SECRET to"]);
    fake.doctor(&[], &cookie("my.session_token", SECRET))
        .await
        .bad(&["AUTH_VERIFIER_SESSION__COOKIE_PREFIX=my"]);
    fake.doctor(&[], &cookie("sid", SECRET)).await.bad(&["AUTH_VERIFIER_SESSION__COOKIE=sid"]);
    let secure = format!("__Secure-{name}");
    fake.doctor(&[], &cookie(&secure, SECRET)).await.bad(&["AUTH_VERIFIER_SESSION__SECURE_COOKIES=on"]);
    fake.doctor(&[], "Cookie: a=1; b=2").await.bad(&["none that looks like the session's"]);

    let vectors: Value = serde_json::from_str(include_str!("../vectors/better-auth.json")).unwrap();
    for form in ["compact", "jwt", "jwe"] {
        let recorded = vectors["cookie_cache"][form]["cookie_request_header"].as_str().unwrap();
        let strategy = if form == "jwe" { "compact" } else { "jwe" };
        let set = [("AUTH_VERIFIER_COOKIE_CACHE__STRATEGY", strategy)];
        let want = format!("AUTH_VERIFIER_COOKIE_CACHE__STRATEGY={form}.");
        fake.doctor(&set, &format!("Cookie: {recorded}")).await.says(&["??", &want]);
    }
}

#[tokio::test]
async fn inspect_says_what_it_is_and_what_to_set() {
    let fake = Fake::at("/api/auth").await;
    let inspect = async |pasted: &str, want: &[&str]| {
        let base = [("BETTER_AUTH_URL", &*fake.url), ("BETTER_AUTH_SECRET", SECRET)];
        let told = run("inspect", &base, pasted).await;
        for want in want {
            assert!(told.good && told.text.contains(want), "{want}: {}", told.text);
        }
    };
    let vectors: Value = serde_json::from_str(include_str!("../vectors/better-auth.json")).unwrap();
    let text = |pointer: &str| vectors.pointer(pointer).and_then(Value::as_str).unwrap();
    inspect(&fake.jwt(json!({})), &["It is an API token", "It is accepted: the user is u1."]).await;
    inspect(text("/cookie_cache/jwe/session_data"), &["a cookie cache of the form jwe", "not accepted"])
        .await;
    let cached = text("/cookie_cache/compact/cookie_request_header");
    inspect(cached, &["a session cookie", "with a cookie cache of the form compact beside it"]).await;
    let mail = text("/must_be_rejected/email_verification_token_same_secret");
    inspect(mail, &["an e-mail verification token", "not accepted", "/token"]).await;
    inspect(
        &cookie("my.session_token", SECRET),
        &["my.session_token", "AUTH_VERIFIER_SESSION__COOKIE_PREFIX=my"],
    )
    .await;
    inspect(
        &cookie("__Secure-better-auth.session_token", SECRET),
        &["AUTH_VERIFIER_SESSION__SECURE_COOKIES=on"],
    )
    .await;
    inspect(TOKEN, &["a bare session token", "not accepted", "set-auth-token", "DANGEROUS_UNSIGNED_BEARER"])
        .await;
    inspect("", &["nothing to look at"]).await;
}

/// Better Auth's tables, as far as they are read.
const TABLES: &str = r#"
create table "user" (id text primary key, email text not null, "emailVerified" boolean not null);
create table session (id text primary key, "expiresAt" timestamptz not null, token text not null,
    "userAgent" text, "userId" text not null);
create table jwks (id text primary key, "publicKey" text not null, "privateKey" text not null);
insert into jwks values ('k1', '{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}', '')"#;

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

#[tokio::test]
async fn tables_that_are_not_as_the_settings_say_are_named() {
    const P: &str = "AUTH_VERIFIER_TABLES__";
    let snake = TABLES.replace("emailVerified", "email_verified").replace("expiresAt", "expires_at");
    let snake = snake.replace("userId", "user_id").replace("userAgent", "user_agent");
    let snake = snake.replace("publicKey", "public_key").replace("privateKey", "private_key");
    let plural = TABLES.replace("table session", "table sessions").replace(r#""user""#, "users");
    let schema = format!("create schema auth; set search_path = auth; {TABLES}");
    for (tables, wants) in [
        (snake, &[("columns are written otherwise", "AUTH_VERIFIER_TABLES__COLUMNS=snake")][..]),
        (
            plural,
            &[
                (r#"no table "public"."session""#, "AUTH_VERIFIER_TABLES__SESSION=sessions"),
                (r#"no table "public"."user""#, "AUTH_VERIFIER_TABLES__USER=users"),
            ],
        ),
        (schema, &[(r#"no table "public"."session""#, "AUTH_VERIFIER_TABLES__SCHEMA=auth")]),
        (
            TABLES.replace(r#""userId""#, "user_id"),
            &[("names of their own", "AUTH_VERIFIER_TABLES__FIELDS: session.userId=user_id")],
        ),
        (
            TABLES.replace(r#""userId""#, "owner"),
            &[(
                r#"no column "userId""#,
                "AUTH_VERIFIER_TABLES__FIELDS=session.userId=<its column>; there are id",
            )],
        ),
        ("select 1".to_owned(), &[(r#"no table "public"."session""#, "AUTH_VERIFIER_SESSION__LOOKUP=http")]),
        (
            TABLES
                .replace("table session", "table auth_sessions")
                .replace("token text", "secret text")
                .replace(r#""userId""#, "owner"),
            &[(
                r#"no table "public"."session""#,
                "AUTH_VERIFIER_TABLES__SESSION=auth_sessions and AUTH_VERIFIER_TABLES__FIELDS=session.token=<its column>,session.userId=<its column>",
            )],
        ),
        (
            TABLES.replace(r#""emailVerified" boolean"#, r#""emailVerified" boolean, banned integer"#),
            &[("banned of \"public\".\"user\" is integer, and not boolean", "alter table")],
        ),
    ] {
        let Some(database) = test::database() else { return };
        connect(&database.url()).await.batch_execute(&tables).await.unwrap();
        let told = by_tables(&database.url(), &[]).await;
        for (what, set) in wants {
            told.bad(&["tables", what, set]);
        }
        assert!(
            wants.iter().all(|(_, set)| [P, "LOOKUP", "alter table"].iter().any(|part| set.contains(part)))
        );
    }
}

/// What Better Auth says of Ada's session, with changes.
fn session_of(changes: Value) -> Value {
    let mut answer = json!({
        "session": {"token": TOKEN, "expiresAt": "2099-01-01T00:00:00.000Z", "userId": "u1"},
        "user": {"id": "u1", "email": "ada@example.com"},
    });
    for (pointer, value) in changes.as_object().unwrap() {
        let (place, name) = pointer.rsplit_once('/').unwrap();
        let place = answer.pointer_mut(place).unwrap().as_object_mut().unwrap();
        match value {
            Value::Null => place.remove(name),
            value => place.insert(name.to_owned(), value.clone()),
        };
    }
    answer
}

#[tokio::test]
async fn an_answer_that_a_plugin_has_changed_is_told_from_others() {
    let fake = Fake::at("/api/auth").await;
    let cookie = cookie("better-auth.session_token", SECRET);
    let get_session = "/api/auth/get-session";
    for (changes, want) in [
        (json!({"/session": null}), &["no `session`", "customSession", "AUTH_VERIFIER_DATABASE__URL"][..]),
        (json!({"/session/token": null}), &["no `session.token`", "customSession"]),
        (json!({"/user/id": null}), &["no `user.id`", "customSession"]),
        (json!({"/session/token": "another"}), &["about another session", "AUTH_VERIFIER_DATABASE__URL"]),
        (json!({"/user/banned": 1}), &["`user.banned`", "the admin plugin"]),
        (json!({"/user/id": "u1,u2"}), &["can't be named", "visible ASCII", "generateId"]),
    ] {
        fake.answer(get_session, 200, &session_of(changes.clone()));
        let told = fake.doctor(&[], &cookie).await;
        told.bad(&[&["credential"], want].concat());
        assert!(!told.text.contains("The checks above say why"), "{changes}: {}", told.text);
    }
}

#[tokio::test]
async fn a_table_that_better_auth_no_longer_uses_is_told_from_one_that_it_does() {
    let Some(database) = test::database() else { return };
    let admin = connect(&database.url()).await;
    admin.batch_execute(TABLES).await.unwrap();
    let fake = Fake::at("/api/auth").await;
    let url = database.url();
    let by_tables = [
        ("AUTH_VERIFIER_DATABASE__URL", &*url),
        ("AUTH_VERIFIER_DATABASE__CONNECT_MS", "20000"),
        ("AUTH_VERIFIER_DATABASE__QUERY_MS", "20000"),
    ];
    let cookie = cookie("better-auth.session_token", SECRET);
    let get_session = "/api/auth/get-session";
    let cure = ["secondaryStorage", "AUTH_VERIFIER_SESSION__LOOKUP=http", "storeSessionInDatabase"];

    let told = fake.doctor(&by_tables, "").await;
    told.good();
    told.says(&[&["??", "sessions", "no living session"][..], &cure].concat());
    fake.answer(get_session, 200, &session_of(json!({})));
    let told = fake.doctor(&by_tables, &cookie).await;
    told.bad(&[&["credential", "its table has none such"][..], &cure].concat());

    let rows = format!(
        "insert into \"user\" values ('u1', 'ada@example.com', true);
         insert into session values ('s1', '2099-01-01 00:00Z', '{TOKEN}', null, 'u1')"
    );
    admin.batch_execute(&rows).await.unwrap();
    let told = fake.doctor(&by_tables, &cookie).await;
    told.good();
    told.says(&["ok", "sessions", "Better Auth knows a living session of its table"]);
    fake.answer(get_session, 200, &Value::Null);
    let told = fake.doctor(&by_tables, &cookie).await;
    told.bad(&[&["sessions", "itself doesn't know"][..], &cure].concat());
    told.bad(&[&["credential", "has forgotten it"][..], &cure].concat());
    fake.answer("/api/auth/ok", 404, &Value::Null);
    fake.doctor(&by_tables, "").await.says(&["ok", "sessions", "can't be asked"]);
}

#[tokio::test]
async fn what_makes_two_users_of_one_person_or_a_cache_of_no_use_is_told() {
    let fake = Fake::at("/api/auth").await;
    let told = fake.doctor(&[], &fake.jwt(json!({"sub": "ada@example.com"}))).await;
    told.good();
    told.says(&["??", "one person, two users", "jwt.getSubject"]);

    let vectors: Value = serde_json::from_str(include_str!("../vectors/better-auth.json")).unwrap();
    let secret = vectors["secret"].as_str().unwrap();
    for form in ["compact", "jwt", "jwe"] {
        let recorded = vectors["cookie_cache"][form]["cookie_request_header"].as_str().unwrap();
        let settings = [
            ("BETTER_AUTH_SECRET", secret),
            ("AUTH_VERIFIER_COOKIE_CACHE__STRATEGY", form),
            ("AUTH_VERIFIER_COOKIE_CACHE__VERSION", "7"),
        ];
        let told = fake.doctor(&settings, &format!("Cookie: {recorded}")).await;
        told.says(&["??", "has the version \"1\", not 7", "AUTH_VERIFIER_COOKIE_CACHE__VERSION"]);
        let told = fake.doctor(&settings[..2], &format!("Cookie: {recorded}")).await;
        assert!(!told.text.contains("CACHE__VERSION"), "{}", told.text);
    }
}

/// Sessions and keys are read from there.
async fn by_tables(url: &str, further: &[(&str, &str)]) -> Told {
    let base = [
        ("BETTER_AUTH_SECRET", SECRET),
        ("AUTH_VERIFIER_ISSUERS", "http://a.test"),
        ("AUTH_VERIFIER_AUDIENCES", "http://a.test"),
        ("AUTH_VERIFIER_DATABASE__URL", url),
        ("AUTH_VERIFIER_DATABASE__CONNECT_MS", "20000"),
        ("AUTH_VERIFIER_DATABASE__QUERY_MS", "20000"),
    ];
    run("doctor", &[&base, further].concat(), "").await
}

#[tokio::test]
async fn tables_that_are_right_are_said_to_be() {
    let Some(database) = test::database() else { return };
    let admin = connect(&database.url()).await;
    admin.batch_execute(TABLES).await.unwrap();
    let told = by_tables(&database.url(), &[]).await;
    told.good();
    told.says(&["ok", "clock", "The database's clock and ours agree"]);
    told.says(&["ok", "keys", "1 key, for EdDSA"]);
    told.says(&["ok", "the admin plugin is not there"]);

    let zone = ("AUTH_VERIFIER_TABLES__TIME_ZONE", "Middle/Earth");
    by_tables(&database.url(), &[zone]).await.bad(&["Middle/Earth", "AUTH_VERIFIER_TABLES__TIME_ZONE"]);
    let change =
        r#"alter table session alter "expiresAt" type timestamp; alter table "user" add banned boolean"#;
    admin.batch_execute(change).await.unwrap();
    let told = by_tables(&database.url(), &[("AUTH_VERIFIER_TABLES__TIME_ZONE", "Asia/Tokyo")]).await;
    told.good();
    told.says(&["expiresAt", "no time zone", "Asia/Tokyo", "AUTH_VERIFIER_TABLES__TIME_ZONE"]);
    told.says(&["who is banned", "turned away"]);
    admin.batch_execute("alter table session alter token type bytea using token::bytea").await.unwrap();
    by_tables(&database.url(), &[]).await.bad(&["tables", "has no answer"]);
}

#[tokio::test]
async fn a_role_that_may_not_read_is_told_of_the_grants() {
    let Some(database) = test::database() else { return };
    let admin = connect(&database.url()).await;
    let role = format!("reader_{}", database.url().rsplit_once('_').unwrap().1);
    let grant = format!(
        "{TABLES}; create role {role} login; grant usage on schema public to {role};
        grant select on session, jwks to {role}; grant select (id) on \"user\" to {role}"
    );
    admin.batch_execute(&grant).await.unwrap();
    let url = database.url().replace("//postgres@", &format!("//{role}:hunter2@"));
    let told = by_tables(&url, &[]).await;
    told.bad(&["may not read email", "auth-verifier grants"]);
    assert!(!told.text.contains("hunter2"), "{}", told.text);
    let policy = format!("grant select on \"user\" to {role}; alter table session enable row level security");
    admin.batch_execute(&policy).await.unwrap();
    let told = by_tables(&url, &[]).await;
    told.good();
    told.says(&["??", "Row level security", "create policy"]);

    let told = by_tables(&url.replace(&role, "nobody"), &[]).await;
    told.bad(&["database", "AUTH_VERIFIER_DATABASE__URL"]);
    let told = by_tables("postgresql://u:hunter2@127.0.0.1:1/auth?sslmode=disable", &[]).await;
    told.bad(&["database", "can't be reached", "AUTH_VERIFIER_DATABASE__URL"]);
    assert!(!told.text.contains("hunter2"), "{}", told.text);
    let database = url.rsplit_once('/').unwrap().1;
    let told = by_tables(&url.replace(database, "elsewhere"), &[]).await;
    told.bad(&["database", "Set the database's name"]);
}
