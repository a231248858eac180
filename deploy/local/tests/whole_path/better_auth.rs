//! The real library signs somebody up; its token opens the door.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use dev_postgres::test::{TestDatabase, database, skip};
use http::{Method, Request, header};
use serde_json::{Value, json};

use crate::world::{Client, SECRET, World};

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/better-auth");

/// Where the library is installed, once; `None` where there is no npm.
fn installed() -> Option<&'static Path> {
    static FOLDER: OnceLock<Option<PathBuf>> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("better-auth");
        fs::create_dir_all(&folder).unwrap();
        for file in ["package.json", "package-lock.json", "server.mjs"] {
            fs::copy(Path::new(SOURCE).join(file), folder.join(file)).unwrap();
        }
        let npm = Command::new("npm")
            .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
            .current_dir(&folder)
            .stdin(Stdio::null())
            .output();
        match npm {
            Err(_) => None,
            Ok(output) => {
                assert!(output.status.success(), "npm ci: {}", String::from_utf8_lossy(&output.stderr));
                Some(folder)
            }
        }
    });
    folder.as_deref()
}

/// A running Better Auth, which ends with this.
struct BetterAuth {
    url: String,
    server: Child,
    client: Client,
    _database: TestDatabase,
}

impl Drop for BetterAuth {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

impl BetterAuth {
    /// Starts it with keys for `algorithm`; `None` where npm or PostgreSQL is missing, which was said aloud.
    fn start(algorithm: &str) -> Option<Self> {
        let database = database()?;
        let Some(folder) = installed() else {
            skip("npm is not installed; install Node.js 20 or newer");
            return None;
        };
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let url = format!("http://127.0.0.1:{port}");
        let mut server = Command::new("node")
            .arg("server.mjs")
            .current_dir(folder)
            .env("BETTER_AUTH_URL", &url)
            .env("BETTER_AUTH_SECRET", SECRET)
            .env("DATABASE_URL", database.url())
            .env("ALGORITHM", algorithm)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(server.stdout.take().unwrap()).lines().map_while(Result::ok);
        assert!(lines.any(|line| line == "ready"), "Better Auth starts");
        std::thread::spawn(move || lines.for_each(drop));
        Some(Self { url, server, client: Client::new(), _database: database })
    }

    /// Signs somebody up; gives the user's id and a fresh API token.
    async fn sign_up(&self, name: &str) -> (String, String) {
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("{}/api/auth/sign-up/email", self.url))
            .header("origin", &self.url);
        let person =
            json!({"name": name, "email": format!("{name}@example.com"), "password": "correct horse"});
        let answer = self.client.call(request, Some(person)).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let cookie =
            answer.headers[header::SET_COOKIE].to_str().unwrap().split(';').next().unwrap().to_owned();
        let request = Request::get(format!("{}/api/auth/token", self.url)).header("cookie", cookie);
        let token = self.client.call(request, None).await;
        assert_eq!(token.status, 200, "{}", token.body);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        (text(&answer.body["user"]["id"]), text(&token.body["token"]))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_better_auth_signs_up_makes_and_lists_tasks() {
    for algorithm in ["EdDSA", "ES256", "RS256", "ES512", "PS256"] {
        let started = tokio::task::spawn_blocking(move || BetterAuth::start(algorithm)).await.unwrap();
        let Some(better_auth) = started else { return };
        let (ada_id, ada_token) = better_auth.sign_up("ada").await;
        let (bob_id, bob_token) = better_auth.sign_up("bob").await;
        assert_eq!(algorithm_of(&ada_token), algorithm);
        let Some(world) = World::start(&[("BETTER_AUTH_URL", &better_auth.url)]).await else { return };
        let (ada, bob) = (world.bearer(&ada_token), world.bearer(&bob_token));

        let made = ada.call(Method::POST, "/api/tasks", Some(json!({"title": "Ada's"}))).await;
        assert_eq!(made.status, 201, "{algorithm}: {}", made.body);
        assert_eq!(made.body["user_id"], *ada_id);
        let made =
            bob.call(Method::POST, &format!("/api/{bob_id}/tasks"), Some(json!({"title": "Bob's"}))).await;
        assert_eq!(made.status, 201, "{algorithm}: {}", made.body);
        assert_eq!(ada.titles().await, ["Ada's"]);
        assert_eq!(bob.titles().await, ["Bob's"]);

        // The claims of one under the signature of the other are nobody's.
        let (parts, other): (Vec<_>, Vec<_>) =
            (ada_token.split('.').collect(), bob_token.split('.').collect());
        let forged = format!("{}.{}.{}", parts[0], other[1], parts[2]);
        assert_eq!(world.bearer(&forged).call(Method::GET, "/api/tasks", None).await.status, 401);
    }
}

fn algorithm_of(token: &str) -> String {
    let header = BASE64_URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
    let header: Value = serde_json::from_slice(&header).unwrap();
    header["alg"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_another_better_auth_opens_nothing() {
    let start = || tokio::task::spawn_blocking(|| BetterAuth::start("EdDSA"));
    let (Some(ours), Some(theirs)) = (start().await.unwrap(), start().await.unwrap()) else { return };
    let Some(world) = World::start(&[("BETTER_AUTH_URL", &ours.url)]).await else { return };
    let (_, good) = ours.sign_up("ada").await;
    let (_, foreign) = theirs.sign_up("ada").await;
    assert_eq!(world.bearer(&good).call(Method::GET, "/api/tasks", None).await.status, 200);
    assert_eq!(world.bearer(&foreign).call(Method::GET, "/api/tasks", None).await.status, 401);
}
