//! What frontends send that were written for another backend, and what is set for it: each row of docs/migrating.md's table; and the
//! code and the nginx of the pages beside it, as they stand there.

mod elsewhere;

use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
};

use dev_better_auth::{BetterAuth, Frontend};
use dev_postgres::test::skip;
use http::{Method, Request};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::{
    better_auth::start,
    world::{Answer, PATIENCE, Service, World},
};

/// What a slow machine needs.
const PATIENT: [(&str, &str); 2] =
    [("AUTH_VERIFIER_SESSION__TIMEOUT_MS", "20000"), ("AUTH_VERIFIER_REVOCATION_LAG_SECS", "0")];

async fn world(better_auth: &BetterAuth, variables: &[(&str, &str)]) -> Option<World> {
    let own = [("BETTER_AUTH_URL", &*better_auth.url)];
    World::start(&[&PATIENT[..], &own, variables].concat()).await
}

/// The status of a list that a bearer token asks for.
async fn by_bearer(world: &World, token: &str) -> u16 {
    world.bearer(token).call(Method::GET, "/api/tasks", None).await.status.as_u16()
}

/// Another gateway before the same services.
async fn gateway(world: &World, variables: &[(&str, &str)]) -> Service {
    let (verifier, tasks) = (world.verifier.url(), world.tasks.url());
    let own = [
        ("GATEWAY_AUTH_VERIFIER_URL", &*verifier),
        ("GATEWAY_TASK_SERVICE_URL", &*tasks),
        ("GATEWAY_VERIFIER__CONNECT_MS", "20000"),
        ("GATEWAY_VERIFIER__TIMEOUT_MS", "20000"),
    ];
    let gateway = Service::start("gateway", &[&own[..], variables].concat());
    gateway.ready(&world.client).await;
    gateway
}

fn code(answer: &Answer) -> (u16, String) {
    let code = answer.body["type"].as_str().unwrap_or_default();
    (answer.status.as_u16(), code.trim_start_matches("urn:usher:problem:").to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_at_another_path_are_found_by_one_setting() {
    let options = json!({"plugins": {"jwt": {"jwks": {"jwksPath": "/.well-known/jwks.json"}}}});
    let Some(better_auth) = start(options).await else { return };
    let ada = better_auth.sign_up("ada").await;
    let Some(without) = world(&better_auth, &[]).await else { return };
    assert_eq!(by_bearer(&without, &ada.jwt).await, 503, "the keys are not where they mostly are");
    let keys = format!("{}/api/auth/.well-known/jwks.json", better_auth.url);
    let Some(with) = world(&better_auth, &[("AUTH_VERIFIER_JWKS_URL", &keys)]).await else { return };
    assert_eq!(by_bearer(&with, &ada.jwt).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_token_needs_no_setting_and_without_its_signature_one() {
    let Some(better_auth) = start(json!({})).await else { return };
    let ada = better_auth.sign_up("ada").await;
    let Some(without) = world(&better_auth, &[]).await else { return };
    assert_eq!(by_bearer(&without, &ada.bearer).await, 200, "set-auth-token");
    assert_eq!(by_bearer(&without, ada.token()).await, 401, "session.token");
    let bare = [("AUTH_VERIFIER_SESSION__DANGEROUS_UNSIGNED_BEARER", "on")];
    let Some(with) = world(&better_auth, &bare).await else { return };
    assert_eq!(by_bearer(&with, ada.token()).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cookie_caches_value_as_a_bearer_token_needs_a_setting() {
    let cache = json!({"session": {"cookieCache": {"enabled": true, "strategy": "jwt"}}});
    let Some(better_auth) = start(cache).await else { return };
    let ada = better_auth.sign_up("ada").await;
    let cookie = ada.cookie("session_data");
    let value = cookie.split_once('=').unwrap().1;
    let Some(without) = world(&better_auth, &[]).await else { return };
    assert_eq!(by_bearer(&without, value).await, 401);
    let Some(with) = world(&better_auth, &[("AUTH_VERIFIER_COOKIE_CACHE__BEARER", "on")]).await else {
        return;
    };
    assert_eq!(by_bearer(&with, value).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_base_url_the_path_is_what_counts() {
    let Some(world) = World::start(&[]).await else { return };
    let ada = world.user("ada");
    let id = ada.make("Ada's").await;
    for path in ["/api/tasks", "/api/tasks/", "/api/ada/tasks"] {
        let listed = ada.call(Method::GET, path, None).await;
        assert_eq!((listed.status.as_u16(), &listed.body[0]["id"]), (200, &json!(id)), "{path}");
    }
    for (path, status, told) in [
        ("/tasks", 404, "not-found"),
        ("/ada/tasks", 404, "not-found"),
        ("/api/api/tasks", 403, "forbidden"),
        ("/api/bob/tasks", 403, "forbidden"),
    ] {
        assert_eq!(code(&ada.call(Method::GET, path, None).await), (status, told.to_owned()), "{path}");
    }
    // Signed by itself, with the secret.
    assert_eq!(ada.titles().await, ["Ada's"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_the_backend_before_served_is_told_who_serves_it() {
    let Some(world) = World::start(&[]).await else { return };
    for path in ["/api/auth/register", "/api/auth/login", "/login", "/api/token"] {
        let request = Request::post(format!("{}{path}", world.gateway.url()));
        let answer = world.client.call(request, Some(json!({"email": "a@example.com"}))).await;
        assert_eq!(code(&answer), (404, "accounts-elsewhere".to_owned()), "{path}");
        assert!(answer.body["detail"].as_str().unwrap().contains("Better Auth"), "{}", answer.body);
    }
    let form = "title=Ada";
    let mut stream = TcpStream::connect(world.gateway.traffic).unwrap();
    write!(
        stream,
        "POST /api/tasks HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
        world.user("ada").token,
        form.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 415 ") && answer.contains("unsupported-media-type"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frontends_server_asks_for_whoever_it_is_answering() {
    let Some(better_auth) = start(json!({})).await else { return };
    let ada = better_auth.sign_up("ada").await;
    let Some(world) = world(&better_auth, &[]).await else { return };
    let lenient = gateway(&world, &[("GATEWAY_CSRF__MODE", "fetch-metadata")]).await;
    // The caller's cookie, as a server passes it on: no browser's headers beside it.
    let by_cookie = async |gateway: &Service, method: Method, origin: Option<&str>| {
        let body = (method == Method::POST).then(|| json!({"title": "Ada's"}));
        let request = Request::builder()
            .method(method)
            .uri(format!("{}/api/tasks", gateway.url()))
            .header("cookie", ada.session_cookie());
        let request = match origin {
            Some(origin) => request.header("origin", origin),
            None => request,
        };
        code(&world.client.call(request, body).await)
    };
    let page = Some("http://localhost:3000");
    assert_eq!(by_cookie(&world.gateway, Method::GET, None).await.0, 200);
    assert_eq!(by_cookie(&world.gateway, Method::POST, None).await, (403, "cross-site".to_owned()));
    assert_eq!(by_cookie(&world.gateway, Method::POST, page).await.0, 201);
    assert_eq!(by_cookie(&lenient, Method::POST, None).await.0, 201);
    let foreign = Some("https://evil.example");
    assert_eq!(by_cookie(&lenient, Method::POST, foreign).await, (403, "cross-site".to_owned()));
    // By token, nothing is set.
    let made = world.bearer(&ada.jwt).call(Method::POST, "/api/tasks", Some(json!({"title": "t"}))).await;
    assert_eq!(made.status, 201, "{}", made.body);
}

/// A page of docs/.
fn page(name: &str) -> String {
    fs::read_to_string(format!("{}/../docs/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// What stands between the fences of a language.
fn blocks<'a>(page: &'a str, language: &str) -> Vec<&'a str> {
    let open = format!("```{language}\n");
    page.split(&*open).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_code_that_the_pages_for_frontends_show_does_what_they_say() {
    let text = page("frontend.md") + &page("tasks-api.md");
    let files: BTreeMap<&str, &str> = blocks(&text, "ts")
        .into_iter()
        .filter_map(|block| Some((block.lines().next()?.strip_prefix("// ")?, block)))
        .collect();
    assert_eq!(files.len(), 6, "{:?}", files.keys());
    let started = tokio::task::spawn_blocking({
        let files = json!(files);
        move || Frontend::start(&files)
    });
    let Some(frontend) = started.await.unwrap() else { return };
    let Some(world) = World::start(&[("BETTER_AUTH_URL", &frontend.url)]).await else { return };
    let api = world.gateway.url();
    let told = tokio::task::spawn_blocking(move || frontend.run(&api)).await.unwrap();
    let sign_in = "sign in, and send a valid token with the request";
    assert_eq!(
        told,
        json!({
            "signed_out": sign_in,
            "made": "Buy milk",
            // Twenty at once share one.
            "tokens_asked": 1,
            "lists": vec![1; 20],
            "removed": Value::Null,
            "made_by_server": 201,
            "listed_by_server": ["Buy milk"],
            "pages": 2,
            "walked": ["Buy milk", "Buy milk"],
            "signed_out_again": sign_in,
            "nobody_on_server": told["nobody_on_server"],
            "without_table": 500,
        })
    );
    assert!(!told["nobody_on_server"].as_str().unwrap().contains("nothing failed"), "{told}");
}

/// nginx, which ends with this.
struct Nginx(Child, #[expect(dead_code, reason = "it has its folder")] tempfile::TempDir);

impl Drop for Nginx {
    fn drop(&mut self) {
        // Its workers end with it only if it may tell them.
        let pid = rustix::process::Pid::from_child(&self.0);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.0.wait();
    }
}

/// The nginx of docs/proxies.md before a gateway; `None`, with a message, where there is none.
async fn nginx(gateway: SocketAddr) -> Option<(Nginx, SocketAddr)> {
    let found = ["nginx", "/usr/sbin/nginx"].into_iter().find(|program| {
        Command::new(program).arg("-v").stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    });
    let Some(program) = found else {
        skip("nginx is not installed: apt-get install nginx");
        return None;
    };
    let text = page("proxies.md");
    let [block] = blocks(&text, "nginx")[..] else { panic!("the page has one configuration") };
    let listen = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert!(block.contains("server 127.0.0.1:8000;") && block.contains("listen 8080;"));
    let block = block
        .replace("127.0.0.1:8000", &gateway.to_string())
        .replace("listen 8080", &format!("listen {listen}"));
    let folder = tempfile::tempdir().unwrap();
    let scratch = folder.path().display();
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {scratch}/{kind};\n"))
        .concat();
    let file = folder.path().join("nginx.conf");
    let all = format!(
        "daemon off;\npid {scratch}/pid;\nerror_log stderr;\nevents {{}}\nhttp {{\naccess_log off;\n{temporary}{block}}}\n"
    );
    fs::write(&file, all).unwrap();
    let child = Command::new(program).arg("-c").arg(&file).spawn().unwrap();
    let nginx = Nginx(child, folder);
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(listen).is_err() {
        assert!(Instant::now() < deadline, "nginx listens");
        sleep(std::time::Duration::from_millis(20)).await;
    }
    Some((nginx, listen))
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_the_nginx_of_the_page_each_client_counts_for_itself() {
    let Some(world) = World::start(&[]).await else { return };
    let one_each = [
        ("GATEWAY_SERVER__TRUSTED_PROXIES", "127.0.0.1/32"),
        ("GATEWAY_LIMITS__CLIENT_PER_MINUTE", "1"),
        ("GATEWAY_LIMITS__CLIENT_BURST", "1"),
        ("CORS_ALLOWED_ORIGINS", ""),
    ];
    let gateway = gateway(&world, &one_each).await;
    let Some((_nginx, listen)) = nginx(gateway.traffic).await else { return };
    let token = world.user("ada").token;
    let from = async |client: &str, method: Method, origin: Option<&str>| {
        let body = (method == Method::POST).then(|| json!({"title": "Ada's"}));
        let request = Request::builder()
            .method(method)
            .uri(format!("http://{listen}/api/tasks"))
            .header("authorization", format!("Bearer {token}"))
            .header("x-forwarded-for", client);
        let request = match origin {
            Some(origin) => request.header("origin", origin),
            None => request,
        };
        world.client.call(request, body).await.status.as_u16()
    };
    // The test's own address is that of the proxy, so that the one before it counts.
    assert_eq!(from("203.0.113.1", Method::POST, Some(&format!("http://{listen}"))).await, 201);
    assert_eq!(from("203.0.113.2", Method::GET, None).await, 200);
    assert_eq!(from("203.0.113.1", Method::GET, None).await, 429);
}
