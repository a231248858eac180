//! What 33 public frontends send, whose backends had other paths, other tables and other ways to say who is calling.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use http::{Method, Request};
use jsonwebtoken::{Algorithm, EncodingKey, Header, get_current_timestamp};
use serde_json::{Value, json};

use super::{by_bearer, code, world};
use crate::{
    better_auth::start,
    world::{SECRET, World},
};

/// How a client changes a task, completes it and asks for a page; all of it below the path of its list.
struct Client {
    list: &'static str,
    change: Method,
    complete: (Method, &'static str, Option<Value>),
    pages: [&'static str; 2],
}

fn clients() -> Vec<Client> {
    let client = |list, change, complete, pages| Client { list, change, complete, pages };
    let completed = || Some(json!({"completed": true}));
    vec![
        client(
            "/api/v1/tasks",
            Method::PUT,
            (Method::PATCH, "/complete", None),
            ["page=1&per_page=1", "page=2&per_page=1"],
        ),
        client(
            "/api/v1/tasks/",
            Method::PATCH,
            (Method::PATCH, "/toggle", None),
            ["page=1&limit=1&sort_by=created_at", "page=2&limit=1&sort_by=created_at"],
        ),
        client(
            "/api/v1/ada/tasks",
            Method::PATCH,
            (Method::PATCH, "", Some(json!({"status": "completed"}))),
            ["limit=1", "limit=1&skip=1"],
        ),
        client(
            "/api/users/ada/tasks",
            Method::PUT,
            (Method::PATCH, "", completed()),
            ["page=1&page_size=1", "page=2&page_size=1"],
        ),
        client(
            "/api/todos",
            Method::PATCH,
            (Method::PATCH, "/toggle-complete", Some(json!({}))),
            ["limit=1&offset=0", "limit=1&offset=1"],
        ),
        client(
            "/api/v1/todos",
            Method::PATCH,
            (Method::PATCH, "", completed()),
            ["limit=1", "limit=1&page=2"],
        ),
        client(
            "/api/ada/tasks",
            Method::PUT,
            (Method::PATCH, "/complete?completed=true", None),
            ["sort=createdAt:desc&limit=1", "sort=createdAt:desc&limit=1&page=2"],
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_other_backends_find_their_callers_tasks_and_nobody_elses() {
    let Some(world) = World::start(&[]).await else { return };
    let (ada, eve) = (world.user("ada"), world.user("eve"));
    for Client { list, change, complete: (method, suffix, body), pages } in clients() {
        let mut ids = Vec::new();
        for title in ["first", "second"] {
            let made = ada.call(Method::POST, list, Some(json!({"title": title, "category": "work"}))).await;
            assert_eq!((made.status.as_u16(), &made.body["user_id"]), (201, &json!("ada")), "{list}");
            ids.push(made.body["id"].as_str().unwrap().to_owned());
        }
        for (page, title) in pages.iter().zip(["second", "first"]) {
            let listed = ada.call(Method::GET, &format!("{list}?{page}"), None).await;
            let titles: Vec<_> = listed.body.as_array().unwrap().iter().map(|task| &task["title"]).collect();
            assert_eq!(titles, [title], "{list}?{page}");
        }
        let below = list.trim_end_matches('/');
        let one = format!("{below}/{}", ids[0]);
        let found = ada.call(Method::GET, &format!("{below}/search?q=FIRST"), None).await;
        assert_eq!(found.body[0]["id"], json!(ids[0]), "{list}");
        // Whoever is no user that the path names hears so; in one that names none, there are their own alone.
        let refused = if list.contains("ada") { (403, "forbidden") } else { (404, "not-found") };
        for (method, body) in
            [(Method::GET, None), (change.clone(), Some(json!({"title": "Eve's"}))), (Method::DELETE, None)]
        {
            let answer = eve.call(method, &one, body).await;
            assert_eq!(code(&answer), (refused.0, refused.1.to_owned()), "{one}");
        }
        let changed = ada.call(change, &one, Some(json!({"title": "changed"}))).await;
        assert_eq!((changed.status.as_u16(), &changed.body["title"]), (200, &json!("changed")), "{one}");
        let done = ada.call(method, &format!("{one}{suffix}"), body).await;
        assert_eq!((done.status.as_u16(), &done.body["completed"]), (200, &json!(true)), "{one}{suffix}");
        for id in ids {
            assert_eq!(ada.call(Method::DELETE, &format!("{below}/{id}"), None).await.status, 204);
        }
    }
    assert!(ada.titles().await.is_empty() && eve.titles().await.is_empty());
    // What is asked for twice by whoever stands between must not turn a task over twice.
    let id = ada.make("t").await;
    for method in [Method::PUT, Method::POST] {
        let answer = ada.call(method, &format!("/api/tasks/{id}/toggle"), None).await;
        assert_eq!(code(&answer), (405, "method-not-allowed".to_owned()));
        assert_eq!(answer.headers["allow"], "PATCH");
    }
    // A page that asks before it knows who is signed in.
    let answer = ada.call(Method::GET, "/api/undefined/tasks", None).await;
    assert_eq!(code(&answer), (403, "forbidden".to_owned()));
}

fn signed(algorithm: Algorithm, claims: &Value) -> String {
    jsonwebtoken::encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(SECRET.as_bytes()))
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_says_who_is_calling_in_another_way_hears_401_and_the_log_says_why() {
    let Some(world) = World::start(&[]).await else { return };
    let exp = get_current_timestamp() + 600;
    let good = signed(
        Algorithm::HS256,
        &json!({"sub": "ada", "exp": exp, "email": "ada@example.com", "type": "access"}),
    );
    assert_eq!(by_bearer(&world, &good).await, 200);
    let unsigned = [json!({"alg": "none", "typ": "JWT"}), json!({"sub": "ada", "exp": exp})]
        .map(|part| BASE64_URL_SAFE_NO_PAD.encode(part.to_string()) + ".")
        .concat();
    let bearers = [
        (
            signed(Algorithm::HS256, &json!({"id": "ada", "email": "ada@example.com", "exp": exp})),
            "the token has no `sub`",
        ),
        (signed(Algorithm::HS256, &json!({"userId": "ada", "exp": exp})), "the token has no `sub`"),
        (signed(Algorithm::HS256, &json!({"sub": "ada"})), "the token has no `exp`"),
        (
            signed(Algorithm::HS512, &json!({"sub": "ada", "exp": exp})),
            r#"tokens signed with \"HS512\" are not accepted"#,
        ),
        (unsigned, "rejected"),
        ("undefined".to_owned(), "it says `Bearer undefined`"),
    ];
    for (token, _) in &bearers {
        assert_eq!(by_bearer(&world, token).await, 401, "{token}");
    }
    let url = |query: &str| format!("{}/api/tasks{query}", world.gateway.url());
    let in_address = Request::get(url(&format!("?token={good}&access_token={good}")));
    let in_cookie =
        Request::get(url("")).header("cookie", format!("auth-token={good}; auth_token={good}; token={good}"));
    let by_name = Request::get(url("?user_id=ada"))
        .header("x-user-id", "ada")
        .header("x-user-email", "ada@example.com");
    for request in [in_address, in_cookie, by_name] {
        let answer = world.client.call(request, None).await;
        assert_eq!(code(&answer), (401, "unauthenticated".to_owned()));
        assert_eq!(answer.body["detail"], "sign in, and send a valid token with the request");
    }
    // Nor does it make a caller anybody else.
    let eve = world.user("eve");
    let path = format!("/api/tasks?token={good}&user_id=ada");
    let named = [("x-user-id", "ada"), ("cookie", "auth-token=x")];
    let made = eve.call_with(
        Method::POST,
        &path,
        Some(json!({"title": "t", "user_id": "ada", "userId": "ada"})),
        &named,
    );
    let made = made.await;
    assert_eq!((made.status.as_u16(), &made.body["user_id"]), (201, &json!("eve")));
    let World { gateway, verifier, tasks, .. } = world;
    let (gateway, verifier, tasks) = (gateway.end(), verifier.end(), tasks.end());
    for (_, told) in bearers {
        assert!(verifier.contains(told), "{told}: {verifier}");
    }
    let signature = good.rsplit('.').next().unwrap();
    for log in [gateway, verifier, tasks] {
        assert!(!log.contains(signature), "a token in an address is in no log: {log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_and_an_audience_of_its_own_are_told_by_two_settings() {
    let jwt = json!({"jwt": {"issuer": "todo-auth", "audience": "todo-api", "expirationTime": "7d"}});
    let Some(better_auth) = start(json!({"plugins": {"jwt": jwt}})).await else { return };
    let ada = better_auth.sign_up("ada").await;
    let told = [("AUTH_VERIFIER_ISSUERS", "todo-auth"), ("AUTH_VERIFIER_AUDIENCES", "todo-api")];
    for (set, status) in [(&[][..], 401), (&told[..1], 401), (&told, 200)] {
        let Some(world) = world(&better_auth, set).await else { return };
        assert_eq!(by_bearer(&world, &ada.jwt).await, status, "{set:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_columns_and_cookies_of_other_names_are_told_by_settings() {
    let fields = |names: &[(&str, &str)]| -> Value {
        names
            .iter()
            .map(|(field, column)| ((*field).to_owned(), json!(column)))
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    let times = [("createdAt", "created_at"), ("updatedAt", "updated_at")];
    let session = [
        ("userId", "user_id"),
        ("token", "token_hash"),
        ("expiresAt", "expires_at"),
        ("userAgent", "user_agent"),
        ("ipAddress", "ip_address"),
    ];
    let user = [("emailVerified", "email_verified")];
    let options = json!({
        "advanced": {"cookiePrefix": "better_auth"},
        "session": {"modelName": "sessions", "fields": fields(&[&session[..], &times].concat())},
        "user": {"modelName": "users", "fields": fields(&[&user[..], &times].concat())},
    });
    let Some(better_auth) = start(options).await else { return };
    let ada = better_auth.sign_up("ada").await;
    let database = better_auth.database_url();
    let set = [
        ("AUTH_VERIFIER_DATABASE__URL", &*database),
        ("AUTH_VERIFIER_SESSION__LOOKUP", "database"),
        ("AUTH_VERIFIER_SESSION__COOKIE_PREFIX", "better_auth"),
        ("AUTH_VERIFIER_TABLES__SESSION", "sessions"),
        ("AUTH_VERIFIER_TABLES__USER", "users"),
        ("AUTH_VERIFIER_TABLES__COLUMNS", "snake"),
        ("AUTH_VERIFIER_TABLES__FIELDS", "session.token=token_hash"),
    ];
    let Some(world) = world(&better_auth, &set).await else { return };
    let request =
        Request::get(format!("{}/api/tasks", world.gateway.url())).header("cookie", ada.session_cookie());
    assert_eq!(world.client.call(request, None).await.status, 200);
}
