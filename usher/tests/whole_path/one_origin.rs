//! Pages, sign-in and tasks at one origin, by `deploy/one-origin.toml`: the real Better Auth behind the gateway.

use std::net::TcpListener;

use dev_better_auth::{BetterAuth, Setup, Version};
use http::{Method, Request};
use serde_json::{Value, json};

use crate::world::{Answer, Client, SECRET, Service};

/// The file, for a web server at `web`.
fn config(web: &str) -> tempfile::NamedTempFile {
    let text = include_str!("../../../deploy/one-origin.toml");
    assert_eq!(text.matches("http://127.0.0.1:3000").count(), 1);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text.replace("http://127.0.0.1:3000", web)).unwrap();
    file
}

/// A browser at a page of that origin.
struct Browser<'a> {
    client: &'a Client,
    gateway: String,
    page: &'a str,
    cookies: String,
}

impl Browser<'_> {
    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.gateway))
            .header("origin", self.page)
            .header("cookie", &self.cookies);
        self.client.call(request, body).await
    }
}

/// What a browser sends back of an answer's cookies.
fn cookies(answer: &Answer) -> String {
    let set = answer.headers.get_all("set-cookie").iter();
    let pairs: Vec<&str> = set.map(|cookie| cookie.to_str().unwrap().split(';').next().unwrap()).collect();
    pairs.join("; ")
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_signs_up_through_the_gateway_keeps_tasks_by_cookie_at_the_same_origin() {
    // Better Auth must know the origin before the gateway listens there.
    let listen = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let origin = format!("http://{listen}");
    let options = json!({"baseURL": origin, "trustedOrigins": [origin]});
    let Some(better_auth) = BetterAuth::start(Setup::new(Version::V1_7, options)).await else { return };
    let Some(database) = tokio::task::spawn_blocking(dev_postgres::test::database).await.unwrap() else {
        return;
    };
    let verifier = Service::start(
        "auth-verifier",
        &[
            ("BETTER_AUTH_SECRET", SECRET),
            ("BETTER_AUTH_URL", &origin),
            // Keys and sessions are asked for behind the gateway.
            ("AUTH_VERIFIER_JWKS_URL", &format!("{}/api/auth/jwks", better_auth.url)),
            ("AUTH_VERIFIER_REVOCATION_LAG_SECS", "0"),
            // A slow machine is not what is tested here.
            ("AUTH_VERIFIER_SESSION__TIMEOUT_MS", "20000"),
        ],
    );
    let jwks = format!("{}/.well-known/jwks.json", verifier.url());
    let tasks = Service::start(
        "task-service",
        &[("DATABASE_URL", &database.url()), ("TASK_SERVICE_IDENTITY_JWKS_URL", &jwks)],
    );
    let file = config(&better_auth.url);
    let gateway = Service::start(
        "gateway",
        &[
            ("GATEWAY_CONFIG", file.path().to_str().unwrap()),
            ("GATEWAY_LISTEN", &listen),
            ("GATEWAY_AUTH_VERIFIER_URL", &verifier.url()),
            ("GATEWAY_TASK_SERVICE_URL", &tasks.url()),
            ("GATEWAY_VERIFIER__CONNECT_MS", "20000"),
            ("GATEWAY_VERIFIER__TIMEOUT_MS", "20000"),
            ("GATEWAY_PUBLIC_ORIGINS", &origin),
            ("CORS_ALLOWED_ORIGINS", ""),
        ],
    );
    let client = Client::new();
    for service in [&gateway, &verifier, &tasks] {
        service.ready(&client).await;
    }
    let page = |page| Browser { client: &client, gateway: gateway.url(), page, cookies: String::new() };

    let person = json!({"name": "ada", "email": "ada@example.com", "password": "correct horse"});
    let mut ada = page(&*origin);
    let signed_up = ada.call(Method::POST, "/api/auth/sign-up/email", Some(person.clone())).await;
    assert_eq!(signed_up.status, 200, "{}", signed_up.body);
    let id = signed_up.body["user"]["id"].clone();
    ada.cookies = cookies(&signed_up);
    assert!(ada.cookies.contains("better-auth.session_token="), "{}", ada.cookies);
    assert!(signed_up.headers.get("access-control-allow-origin").is_none());
    let session = ada.call(Method::GET, "/api/auth/get-session", None).await;
    assert_eq!(session.body["user"]["id"], id, "{}", session.body);

    let made = ada.call(Method::POST, "/api/tasks", Some(json!({"title": "Ada's"}))).await;
    assert_eq!((made.status.as_u16(), &made.body["user_id"]), (201, &id), "{}", made.body);
    let listed = ada.call(Method::GET, "/api/tasks", None).await;
    assert_eq!((listed.status.as_u16(), &listed.body[0]["title"]), (200, &json!("Ada's")), "{}", listed.body);

    // What else is below /api is the web server's, which says by itself that it has no such thing.
    let elsewhere = ada.call(Method::GET, "/api/elsewhere", None).await;
    assert_eq!((elsewhere.status.as_u16(), elsewhere.body.get("type")), (404, None), "{}", elsewhere.body);

    // What the API is, the API says itself, to anybody.
    let described = client.call(Request::get(format!("{origin}/api/openapi.json")), None).await;
    assert_eq!((described.status.as_u16(), &described.body["openapi"]), (200, &json!("3.1.0")));
    let shown = client.call(Request::get(format!("{origin}/api/docs")), None).await;
    assert_eq!(shown.status, 200);
    assert!(shown.headers["content-security-policy"].to_str().unwrap().contains("script-src 'sha256-"));

    // The same by a token of the JWT plugin.
    let token = ada.call(Method::GET, "/api/auth/token", None).await;
    let bearer = format!("Bearer {}", token.body["token"].as_str().unwrap());
    let by_token = Request::get(format!("{origin}/api/tasks")).header("authorization", bearer);
    let listed = client.call(by_token, None).await;
    assert_eq!((listed.status.as_u16(), &listed.body[0]["title"]), (200, &json!("Ada's")), "{}", listed.body);

    // A foreign page changes nothing with her cookies: neither here nor, by its own word, at Better Auth.
    let foreign = Browser { page: "https://evil.example", cookies: ada.cookies.clone(), ..page("") };
    let forged = foreign.call(Method::POST, "/api/tasks", Some(json!({"title": "Evil's"}))).await;
    assert_eq!((forged.status.as_u16(), &forged.body["type"]), (403, &json!("urn:usher:problem:cross-site")));
    let forged = foreign.call(Method::POST, "/api/auth/sign-out", Some(json!({}))).await;
    assert_eq!((forged.status.as_u16(), forged.body.get("type")), (403, None), "{}", forged.body);

    let signed_out = ada.call(Method::POST, "/api/auth/sign-out", Some(json!({}))).await;
    assert_eq!(signed_out.status, 200, "{}", signed_out.body);
    assert_eq!(ada.call(Method::GET, "/api/tasks", None).await.status, 401);
    let credentials = json!({"email": person["email"], "password": person["password"]});
    let signed_in = ada.call(Method::POST, "/api/auth/sign-in/email", Some(credentials)).await;
    assert_eq!(signed_in.status, 200, "{}", signed_in.body);
    ada.cookies = cookies(&signed_in);
    assert_eq!(ada.call(Method::GET, "/api/tasks", None).await.body[0]["title"], "Ada's");
}
