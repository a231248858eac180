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

use crate::world::{Answer, Client, SECRET, World};

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
pub struct BetterAuth {
    pub url: String,
    server: Child,
    client: Client,
    database: TestDatabase,
}

/// Somebody who signed up.
pub struct Person {
    pub id: String,
    /// An API token of the JWT plugin.
    pub jwt: String,
    /// The cookies of the session, as a browser sends them.
    pub cookies: String,
    /// What the bearer plugin hands out: the session's token with its signature.
    pub bearer: String,
}

impl Drop for BetterAuth {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

impl BetterAuth {
    /// Starts it, set further by `variables`; `None` where npm or PostgreSQL is missing, which was said aloud.
    pub async fn start(variables: &[(&str, &str)]) -> Option<Self> {
        let variables: Vec<_> = variables.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        tokio::task::spawn_blocking(move || Self::start_blocking(&variables)).await.unwrap()
    }

    fn start_blocking(variables: &[(String, String)]) -> Option<Self> {
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
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(server.stdout.take().unwrap()).lines().map_while(Result::ok);
        assert!(lines.any(|line| line == "ready"), "Better Auth starts");
        std::thread::spawn(move || lines.for_each(drop));
        Some(Self { url, server, client: Client::new(), database })
    }

    /// Where its tables are.
    pub fn database_url(&self) -> String {
        self.database.url()
    }

    /// Calls it as a browser does that has these cookies.
    pub async fn call(&self, method: Method, path: &str, cookies: &str, body: Option<Value>) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}/api/auth{path}", self.url))
            .header("origin", &self.url)
            .header("cookie", cookies);
        self.client.call(request, body).await
    }

    /// Signs somebody up, and asks for an API token.
    pub async fn sign_up(&self, name: &str) -> Person {
        let person =
            json!({"name": name, "email": format!("{name}@example.com"), "password": "correct horse"});
        let answer = self.call(Method::POST, "/sign-up/email", "", Some(person)).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let set = answer.headers.get_all(header::SET_COOKIE).iter();
        let cookies: Vec<_> = set.map(|cookie| cookie.to_str().unwrap().split(';').next().unwrap()).collect();
        let cookies = cookies.join("; ");
        let token = self.call(Method::GET, "/token", &cookies, None).await;
        assert_eq!(token.status, 200, "{}", token.body);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        Person {
            id: text(&answer.body["user"]["id"]),
            jwt: text(&token.body["token"]),
            cookies,
            bearer: answer.headers["set-auth-token"].to_str().unwrap().to_owned(),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_better_auth_signs_up_makes_and_lists_tasks() {
    for algorithm in ["EdDSA", "ES256", "RS256", "ES512", "PS256"] {
        let Some(better_auth) = BetterAuth::start(&[("ALGORITHM", algorithm)]).await else { return };
        let (ada, bob) = (better_auth.sign_up("ada").await, better_auth.sign_up("bob").await);
        assert_eq!(algorithm_of(&ada.jwt), algorithm);
        let Some(world) = World::start(&[("BETTER_AUTH_URL", &better_auth.url)]).await else { return };
        let (as_ada, as_bob) = (world.bearer(&ada.jwt), world.bearer(&bob.jwt));

        let made = as_ada.call(Method::POST, "/api/tasks", Some(json!({"title": "Ada's"}))).await;
        assert_eq!(made.status, 201, "{algorithm}: {}", made.body);
        assert_eq!(made.body["user_id"], *ada.id);
        let made = as_bob
            .call(Method::POST, &format!("/api/{}/tasks", bob.id), Some(json!({"title": "Bob's"})))
            .await;
        assert_eq!(made.status, 201, "{algorithm}: {}", made.body);
        assert_eq!(as_ada.titles().await, ["Ada's"]);
        assert_eq!(as_bob.titles().await, ["Bob's"]);

        // The claims of one under the signature of the other are nobody's.
        let (parts, other): (Vec<_>, Vec<_>) = (ada.jwt.split('.').collect(), bob.jwt.split('.').collect());
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
    let Some(ours) = BetterAuth::start(&[]).await else { return };
    let Some(theirs) = BetterAuth::start(&[]).await else { return };
    let Some(world) = World::start(&[("BETTER_AUTH_URL", &ours.url)]).await else { return };
    let (good, foreign) = (ours.sign_up("ada").await, theirs.sign_up("ada").await);
    assert_eq!(world.bearer(&good.jwt).call(Method::GET, "/api/tasks", None).await.status, 200);
    assert_eq!(world.bearer(&foreign.jwt).call(Method::GET, "/api/tasks", None).await.status, 401);
}
