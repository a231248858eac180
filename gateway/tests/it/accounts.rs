//! What a frontend hears that wants an account of us.

use chassis::Body;
use http::{Method, Request, Response};
use serde_json::Value;

use crate::world::{Answer, Peer, World, as_u1, echo};

const ASKS: [&str; 9] = [
    "/api/auth/register",
    "/api/auth/login/",
    "/api/register",
    "/api/login",
    "/api/token",
    "/api/v1/auth/signup",
    "/api/auth/sign-in/email",
    "/auth/login",
    "/signup",
];

async fn ask(world: &World, path: &str) -> Answer {
    let request = Request::post(path)
        .header("origin", "http://localhost:3000")
        .header("content-type", "application/json")
        .body(Body::from(r#"{"email":"a@b.test","password":"hunter2hunter2"}"#));
    world.send(request.unwrap()).await
}

#[tokio::test]
async fn whoever_wants_an_account_of_us_is_told_who_has_them() {
    let world = World::new().await;
    let mut told = Vec::new();
    for path in ASKS {
        let answer = ask(&world, path).await;
        assert_eq!((answer.status.as_u16(), &*answer.problem()), (404, "accounts-elsewhere"), "{path}");
        // Not as somebody who must sign in first: that is what they want.
        assert_eq!(answer.one("www-authenticate"), None);
        assert_eq!(
            answer.one("access-control-allow-origin"),
            Some("http://localhost:3000"),
            "the page reads it"
        );
        let body: Value = serde_json::from_str(&answer.body).unwrap();
        let detail = body["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("Better Auth") && detail.contains("/api/auth"), "{detail}");
        assert!(!answer.body.contains("hunter2"));
        told.push(detail);
    }
    // One sentence for all: whether there is a route tells nothing.
    assert!(told.iter().all(|detail| *detail == told[0]), "{told:?}");
    assert!(world.service.seen().is_empty());
}

#[tokio::test]
async fn what_is_asked_about_a_session_is_answered_as_ever() {
    let world = World::new().await;
    for path in
        ["/api/auth/me", "/api/auth/logout", "/api/auth/get-session", "/api/tasks/login", "/api/login/tasks"]
    {
        let answer = ask(&world, path).await;
        assert_eq!((answer.status.as_u16(), &*answer.problem()), (401, "unauthenticated"), "{path}");
    }
    // Where auth-verifier can't say who is calling, neither can we.
    world.verifier.respond(|_| Response::builder().status(503).body(Body::empty()).unwrap());
    assert_eq!(ask(&world, "/api/login").await.problem(), "verifier-unavailable");
}

#[tokio::test]
async fn whoever_is_known_reaches_the_service_whatever_the_path_is_called() {
    let world = World::new().await;
    for path in ["/api/auth/register", "/api/login"] {
        let answer = world.send(as_u1(Method::POST, path).body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status, 200, "{path}");
    }
    assert_eq!(world.service.seen().len(), 2);
}

#[tokio::test]
async fn a_route_of_the_operators_is_never_shadowed() {
    let web = Peer::new(echo).await;
    let file = format!(
        "[upstreams]\nweb = \"http://localhost:{}\"\n\
         [[routes]]\npath = \"/api/auth/**\"\nupstream = \"web\"\naccess = \"public\"\ncsrf = \"off\"\n\
         [[routes]]\npath = \"/login\"\nupstream = \"web\"\n\
         [[routes]]\npath = \"/api/users/**\"\nupstream = \"task-service\"\n\
         [[routes]]\npath = \"/api/token\"\nupstream = \"task-service\"\n\
         [[routes]]\npath = \"/api/**\"\nupstream = \"task-service\"\n",
        web.address.port()
    );
    let world = World::with_file(&file, &[]).await;
    for path in ["/api/auth/register", "/api/auth/login", "/api/auth/sign-in/email", "/api/auth/token"] {
        assert_eq!(ask(&world, path).await.status, 200, "{path}");
    }
    assert_eq!(web.seen().len(), 4);
    // One that demands a credential says so.
    for path in ["/login", "/api/users/login", "/api/token"] {
        let answer = ask(&world, path).await;
        assert_eq!((answer.status.as_u16(), &*answer.problem()), (401, "unauthenticated"), "{path}");
    }
    // What is left for us.
    assert_eq!(ask(&world, "/api/login").await.problem(), "accounts-elsewhere");
    assert_eq!(ask(&world, "/signup").await.problem(), "accounts-elsewhere");
    assert_eq!(ask(&world, "/nowhere").await.problem(), "not-found");
    assert_eq!(web.seen().len(), 4);
}
