//! Whatever Better Auth's cookies are called, none of them reaches a service; other people's do.

use axum::{Router, extract::Request};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use chassis::Body;
use dev_better_auth::BetterAuth;
use http::{HeaderMap, Method, StatusCode, header};
use http_body_util::BodyExt;
use hyper_util::{client::legacy, rt::TokioExecutor};
use serde_json::{Value, json};
use tokio::{net::TcpListener, time::timeout};

use crate::{
    better_auth::start,
    world::{Client, PATIENCE, SECRET, Service},
};

const ROUTES: &str = r#"
[[routes]]
path = "/public/**"
upstream = "task-service"
access = "public"

[[routes]]
path = "/api/**"
upstream = "task-service"
"#;

/// How auth-verifier is told of names of their own.
const OWN: &[(&str, &str)] =
    &[("AUTH_VERIFIER_SESSION__COOKIE", "sid"), ("AUTH_VERIFIER_COOKIE_CACHE__COOKIE", "scache")];

/// What an application may call its cookies.
struct Naming {
    what: &'static str,
    /// What it writes into `betterAuth({…})`.
    options: Value,
    /// How auth-verifier is told.
    told: &'static [(&'static str, &'static str)],
    /// What the names of its cookies contain then.
    names: &'static [&'static str],
}

fn namings() -> Vec<Naming> {
    let cache = |strategy: &str| json!({"cookieCache": {"enabled": true, "strategy": strategy}});
    let own = json!({"session_token": {"name": "sid"}, "session_data": {"name": "scache"}});
    vec![
        Naming {
            what: "as they come, the cache compact and in pieces",
            options: json!({"session": cache("compact")}),
            told: &[],
            names: &["better-auth.session_token", "session_data.0", "_multi-", "dont_remember"],
        },
        Naming {
            what: "secure",
            options: json!({"advanced": {"useSecureCookies": true}, "session": cache("jwt")}),
            told: &[("AUTH_VERIFIER_SESSION__SECURE_COOKIES", "on")],
            names: &["__Secure-better-auth.session_token", "__Secure-better-auth.session_data.0"],
        },
        Naming {
            what: "with a prefix, the cache encrypted and in pieces",
            options: json!({"advanced": {"cookiePrefix": "my-app"}, "session": cache("jwe")}),
            told: &[("AUTH_VERIFIER_SESSION__COOKIE_PREFIX", "my-app")],
            names: &["my-app.session_token", "my-app.session_data.0", "_multi-", "my-app.dont_remember"],
        },
        Naming {
            what: "with names of their own, the cache compact and in pieces",
            options: json!({"advanced": {"cookies": own}, "session": cache("compact")}),
            told: OWN,
            names: &["sid", "scache.0", "sid_multi-"],
        },
        Naming {
            what: "with names of their own, the cache a JWT in pieces",
            options: json!({"advanced": {"cookies": own}, "session": cache("jwt")}),
            told: OWN,
            names: &["sid", "scache.0", "sid_multi-"],
        },
        Naming {
            what: "with names of their own, secure, with a prefix, the cache encrypted and in pieces",
            options: json!({
                "advanced": {"cookies": own, "useSecureCookies": true, "cookiePrefix": "my-app"},
                "session": cache("jwe"),
            }),
            told: &[
                ("AUTH_VERIFIER_SESSION__COOKIE", "sid"),
                ("AUTH_VERIFIER_COOKIE_CACHE__COOKIE", "scache"),
                ("AUTH_VERIFIER_SESSION__SECURE_COOKIES", "on"),
                ("AUTH_VERIFIER_SESSION__COOKIE_PREFIX", "my-app"),
            ],
            names: &[
                "__Secure-sid",
                "__Secure-scache.0",
                "__Secure-sid_multi-",
                "__Secure-my-app.dont_remember",
            ],
        },
    ]
}

/// A service that says which cookies it got.
async fn echo() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().fallback(async |request: Request| {
        let cookies = request.headers().get_all(header::COOKIE).into_iter();
        let cookies: Vec<_> = cookies.map(|cookies| String::from_utf8_lossy(cookies.as_bytes())).collect();
        json!({"cookies": cookies}).to_string()
    });
    tokio::spawn(axum::serve(listener, router).into_future());
    format!("http://{address}")
}

/// A browser, over one version of HTTP.
struct Browser {
    client: legacy::Client<legacy::connect::HttpConnector, Body>,
    /// Whether each cookie gets a header of its own, as browsers do over HTTP/2.
    one_by_one: bool,
}

impl Browser {
    fn both() -> [Self; 2] {
        [false, true].map(|http2| Self {
            client: legacy::Client::builder(TokioExecutor::new()).http2_only(http2).build_http(),
            one_by_one: http2,
        })
    }

    /// The status, and the cookies that the service got.
    async fn get(&self, url: &str, bearer: Option<&str>, cookies: &str) -> (StatusCode, Value) {
        let mut headers = HeaderMap::new();
        headers.insert(header::ORIGIN, "http://localhost:3000".parse().unwrap());
        if let Some(bearer) = bearer {
            headers.insert(header::AUTHORIZATION, format!("Bearer {bearer}").parse().unwrap());
        }
        let pieces = if self.one_by_one { cookies.split("; ").collect() } else { vec![cookies] };
        for piece in pieces {
            headers.append(header::COOKIE, piece.parse().unwrap());
        }
        let mut request = http::Request::get(url).body(Body::empty()).unwrap();
        *request.headers_mut() = headers;
        let answer = timeout(PATIENCE, self.client.request(request)).await.unwrap().unwrap();
        let (status, body) = (answer.status(), answer.into_body().collect().await.unwrap().to_bytes());
        let body: Value = serde_json::from_slice(&body).unwrap();
        (status, body["cookies"].clone())
    }
}

/// A gateway whose auth-verifier is set so, with the echo behind it.
async fn front(better_auth: &BetterAuth, told: &[(&str, &str)], echo: &str, routes: &str) -> [Service; 2] {
    let common = [
        ("BETTER_AUTH_SECRET", SECRET),
        ("BETTER_AUTH_URL", &*better_auth.url),
        ("AUTH_VERIFIER_SESSION__TIMEOUT_MS", "20000"),
    ];
    let verifier = Service::start("auth-verifier", &[&common, told].concat());
    let gateway = [
        ("GATEWAY_CONFIG", routes),
        ("GATEWAY_AUTH_VERIFIER_URL", &*verifier.url()),
        ("GATEWAY_TASK_SERVICE_URL", echo),
        ("GATEWAY_VERIFIER__CONNECT_MS", "20000"),
        ("GATEWAY_VERIFIER__TIMEOUT_MS", "20000"),
    ];
    let gateway = Service::start("gateway", &gateway);
    let client = Client::new();
    for service in [&verifier, &gateway] {
        service.ready(&client).await;
    }
    [verifier, gateway]
}

#[tokio::test(flavor = "multi_thread")]
async fn no_cookie_of_better_auth_reaches_a_service_whatever_it_is_called() {
    let (folder, echo) = (tempfile::tempdir().unwrap(), echo().await);
    let routes = folder.path().join("gateway.toml");
    std::fs::write(&routes, ROUTES).unwrap();
    let routes = routes.to_str().unwrap();
    // So much of it that the cache doesn't fit one cookie, and that no compression makes it fit.
    let noise: Vec<u8> = (0..3600).map(|_| fastrand::u8(..)).collect();
    let image = BASE64_URL_SAFE_NO_PAD.encode(noise);

    for Naming { what, mut options, told, names } in namings() {
        options["plugins"] = json!({"multiSession": {}});
        let Some(better_auth) = start(options).await else { return };
        let body = json!({"name": "Ada", "email": "ada@example.com", "password": "correct horse",
            "image": format!("https://example.com/{image}")});
        let signed_up = better_auth.call(Method::POST, "/sign-up/email", "", Some(body)).await;
        assert_eq!(signed_up.status, 200, "{what}: {}", signed_up.body);
        let jwt = better_auth.api_token(&signed_up.cookies()).await;
        let body = json!({"email": "ada@example.com", "password": "correct horse", "rememberMe": false});
        let signed_in = better_auth.call(Method::POST, "/sign-in/email", "", Some(body)).await;
        let theirs = signed_in.cookies();
        for name in names {
            assert!(
                theirs.split("; ").any(|cookie| cookie.contains(name)),
                "{what}: {name} is not in {theirs}"
            );
        }

        let cookies = format!("theme=dark; {theirs}; sidebar=open");
        for told in [Some(told), None] {
            let [_verifier, gateway] = front(&better_auth, told.unwrap_or_default(), &echo, routes).await;
            for browser in Browser::both() {
                let what = format!("{what}, told: {}, HTTP/2: {}", told.is_some(), browser.one_by_one);
                let (api, public) =
                    (format!("{}/api/x", gateway.url()), format!("{}/public/x", gateway.url()));
                let inside = json!(["theme=dark; sidebar=open"]);
                assert_eq!(
                    browser.get(&api, Some(&jwt), &cookies).await,
                    (StatusCode::OK, inside.clone()),
                    "{what}"
                );
                let (status, got) = browser.get(&api, None, &cookies).await;
                match told {
                    Some(_) => assert_eq!((status, got), (StatusCode::OK, inside), "{what}"),
                    // Whoever has other names is nobody then, and gets nowhere.
                    None => assert!(got == inside || status == 401, "{what}: {status} {got}"),
                }
                for bearer in [None, Some(&*jwt)] {
                    let (status, got) = browser.get(&public, bearer, &cookies).await;
                    assert_eq!((status, got), (StatusCode::OK, json!([])), "{what}");
                }
            }
        }
    }
}
