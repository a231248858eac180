//! Which credentials a route takes: by their kind, and by what they were granted.

use chassis::Body;
use http::{Method, Request, Response};

use crate::world::{Answer, Peer, Seen, World, as_u1, echo, known};

const PAGE: &str = "http://localhost:3000";

/// The verdict that every credential is `u1`'s: with the scopes that a token's name has behind the colon (`+` between them), or by
/// the cookie `sid`.
fn by_anything(seen: &Seen) -> Response<Body> {
    let Some(authorization) = seen.one("authorization") else {
        let by_cookie = seen.one("cookie").is_some_and(|cookies| cookies.contains("sid=good"));
        return if by_cookie { verdict("cookie", None) } else { nobody() };
    };
    match authorization.strip_prefix("Bearer ").unwrap().split_once('=') {
        Some(("good", scopes)) => verdict("bearer", Some(&scopes.replace('+', " "))),
        _ if authorization == "Bearer good" => verdict("bearer", None),
        _ => nobody(),
    }
}

fn nobody() -> Response<Body> {
    Response::builder().status(401).body(Body::empty()).unwrap()
}

fn verdict(credential: &str, scopes: Option<&str>) -> Response<Body> {
    let mut known = known("u1");
    let headers = known.headers_mut();
    headers.insert("x-credential", credential.parse().unwrap());
    headers.insert("cache-control", "private, max-age=60".parse().unwrap());
    if let Some(scopes) = scopes {
        headers.insert("x-credential-scopes", scopes.parse().unwrap());
    }
    known
}

/// A gateway with a service of its own on `/w/**` with those keys, and task-service on all else.
async fn world(keys: &str, variables: &[(&str, &str)]) -> (World, Peer) {
    let web = Peer::new(echo).await;
    let file = format!(
        "[upstreams]\nweb = \"{}\"\n[[routes]]\npath = \"/w/**\"\nupstream = \"web\"\n{keys}\n\
         [[routes]]\npath = \"/**\"\nupstream = \"task-service\"\n",
        web.url()
    );
    let world = World::with_file(&file, variables).await;
    world.verifier.respond(by_anything);
    (world, web)
}

async fn ask(world: &World, target: &str, fields: &[(&str, &str)]) -> Answer {
    let request = Request::get(target).header("origin", PAGE);
    let request = fields.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    world.send(request.body(Body::empty()).unwrap()).await
}

const TOKEN: (&str, &str) = ("authorization", "Bearer good");
const COOKIE: (&str, &str) = ("cookie", "theme=dark; sid=good");

/// A refusal that a page can read, and that signs nobody out.
fn refused(answer: &Answer, problem: &str) {
    assert_eq!((answer.status.as_u16(), &*answer.problem()), (403, problem), "{}", answer.body);
    assert_eq!(answer.one("access-control-allow-origin"), Some(PAGE));
    let exposed = answer.one("access-control-expose-headers").unwrap().to_lowercase();
    assert!(exposed.contains("www-authenticate"), "{exposed}");
}

#[tokio::test]
async fn a_route_takes_the_kind_of_credential_that_it_says() {
    for (keys, token, cookie) in [
        ("", 200, 200),
        ("credential = \"bearer\"", 200, 403),
        ("credential = \"cookie\"", 403, 200),
        ("access = \"optional\"\ncredential = \"cookie\"", 403, 200),
    ] {
        let (world, web) = world(keys, &[]).await;
        // Again by a verdict that is kept; and other routes take what they always took.
        for round in 0..2 {
            for (fields, want) in [(&[TOKEN][..], token), (&[COOKIE], cookie), (&[TOKEN, COOKIE], token)] {
                let before = web.seen().len();
                let answer = ask(&world, "/w/x", fields).await;
                assert_eq!(answer.status, want, "{keys}: {fields:?}, round {round}");
                assert_eq!(web.seen().len() - before, usize::from(want == 200));
                if want == 403 {
                    refused(&answer, "credential-not-taken");
                    let helps = keys.contains("bearer").then_some("Bearer realm=\"api\"");
                    assert_eq!(answer.one("www-authenticate"), helps);
                }
                assert_eq!(ask(&world, "/x", fields).await.status, 200);
            }
        }
        assert_eq!(world.verifier.seen().len(), 3, "one verdict serves all routes");
        let (none, bad) =
            (ask(&world, "/w/x", &[]).await, ask(&world, "/w/x", &[("cookie", "sid=bad")]).await);
        let want = if keys.contains("optional") { 200 } else { 401 };
        assert_eq!((none.status.as_u16(), bad.status.as_u16()), (want, want), "{keys}");
    }
}

#[tokio::test]
async fn a_kind_that_no_verdict_tells_is_none() {
    for told in [None, Some("Bearer"), Some("session"), Some("bearer, cookie")] {
        for keys in ["credential = \"bearer\"", "credential = \"cookie\""] {
            let (world, web) = world(keys, &[]).await;
            world.verifier.respond(move |_| {
                let mut known = known("u1");
                known.headers_mut().remove("x-credential");
                let told =
                    told.map(|told| (http::HeaderName::from_static("x-credential"), told.parse().unwrap()));
                known.headers_mut().extend(told);
                known
            });
            refused(&ask(&world, "/w/x", &[TOKEN]).await, "credential-not-taken");
            assert!(web.seen().is_empty(), "{told:?}");
        }
    }
}

#[tokio::test]
async fn where_authentication_is_optional_and_tokens_count_a_cookie_makes_nobody_known() {
    let (world, web) = world("access = \"optional\"\ncredential = \"bearer\"", &[]).await;
    for (fields, user) in
        [(&[COOKIE][..], None), (&[], None), (&[TOKEN], Some("u1")), (&[TOKEN, COOKIE], Some("u1"))]
    {
        assert_eq!(ask(&world, "/w/x", fields).await.status, 200, "{fields:?}");
        let seen = web.last();
        assert_eq!(
            (seen.one("x-user-id"), seen.one("x-identity-assertion").is_some()),
            (user, user.is_some())
        );
        // Without a verdict nobody has said which cookies are credentials.
        assert!(!seen.one("cookie").unwrap_or_default().contains("sid"), "{:?}", seen.headers);
    }
    assert_eq!(ask(&world, "/w/x", &[("authorization", "Bearer bad"), COOKIE]).await.status, 401);
    // And nobody's cookie changes anything, whatever page it comes from.
    let forged = Request::post("/w/x").header(COOKIE.0, COOKIE.1).header("origin", "https://evil.example");
    assert_eq!(world.send(forged.body(Body::empty()).unwrap()).await.status, 200);
    assert_eq!(web.last().one("x-user-id"), None);
}

#[tokio::test]
async fn a_route_demands_scopes_and_says_which() {
    let (world, web) = world("scopes = [\"tasks:read\", \"tasks:write\"]", &[]).await;
    let challenge = "Bearer realm=\"api\", error=\"insufficient_scope\", \
                     error_description=\"the token was not granted what this needs\", scope=\"tasks:read tasks:write\"";
    for round in 0..2 {
        for (token, want) in [
            ("good=tasks:read+tasks:write", 200),
            ("good=openid+tasks:write+email+tasks:read", 200),
            ("good=tasks:read", 403),
            ("good=tasks:read+tasks:writer", 403),
            ("good=TASKS:READ+TASKS:WRITE", 403),
            // What can't be read was not granted.
            ("good=tasks:read++tasks:write", 403),
            ("good=tasks:read+tasks:write+\"", 403),
            ("good", 403),
        ] {
            let before = web.seen().len();
            let bearer = format!("Bearer {token}");
            let answer = ask(&world, "/w/x", &[("authorization", &bearer)]).await;
            assert_eq!(answer.status, want, "{token}, round {round}");
            assert_eq!(web.seen().len() - before, usize::from(want == 200), "{token}");
            if want == 403 {
                refused(&answer, "insufficient-scope");
                assert_eq!(answer.one("www-authenticate"), Some(challenge));
                assert!(answer.body.contains("tasks:read tasks:write"), "{}", answer.body);
            } else {
                assert_eq!(web.last().one("x-credential-scopes"), None, "it is of the verdict");
                assert_eq!(answer.one("x-credential-scopes"), None);
            }
            assert_eq!(ask(&world, "/x", &[("authorization", &bearer)]).await.status, 200, "{token}");
        }
        // Whoever is signed in was granted no scope.
        refused(&ask(&world, "/w/x", &[COOKIE]).await, "insufficient-scope");
    }
    assert_eq!(world.verifier.seen().len(), 9, "one verdict for each credential");
    assert_eq!(ask(&world, "/w/x", &[]).await.status, 401);
    let preflight =
        Request::options("/w/x").header("origin", PAGE).header("access-control-request-method", "GET");
    assert_eq!(world.send(preflight.body(Body::empty()).unwrap()).await.status, 200, "needs no credential");
}

#[tokio::test]
async fn scopes_that_a_client_gives_itself_are_none_and_stop_here() {
    let (world, web) =
        world("scopes = [\"tasks:read\"]", &[("GATEWAY_VERIFIER__CACHE_ENTRIES_MAX", "0")]).await;
    for name in [
        "x-credential-scopes",
        "X-Credential-Scopes",
        "X_Credential_Scopes",
        "x-credential_scopes",
        "x-credential",
    ] {
        let own = (name, "tasks:read");
        refused(&ask(&world, "/w/x", &[TOKEN, own]).await, "insufficient-scope");
        assert_eq!(world.verifier.last().one("x-credential-scopes"), None);
        let granted = ("authorization", "Bearer good=tasks:read");
        for (target, peer) in [("/w/x", &web), ("/x", &world.service)] {
            assert_eq!(ask(&world, target, &[granted, own]).await.status, 200);
            assert!(!format!("{:?}", peer.last().headers).contains("tasks:read"), "{name}");
        }
    }
    // Said twice it is no verdict at all.
    world.verifier.respond(|_| {
        let mut known = verdict("bearer", Some("tasks:read"));
        known.headers_mut().append("x-credential-scopes", "tasks:read".parse().unwrap());
        known
    });
    assert_eq!(ask(&world, "/w/x", &[TOKEN]).await.problem(), "verifier-unavailable");
}

/// During a roll-out one auth-verifier tells scopes and the other one doesn't yet.
#[tokio::test]
async fn beside_an_older_auth_verifier_a_route_is_closed_and_never_open() {
    let older = Peer::new(|_| verdict("bearer", None)).await;
    let newer = Peer::new(|_| verdict("bearer", Some("tasks:read"))).await;
    let urls = format!("{}, {}", older.url(), newer.url());
    let variables = [("GATEWAY_AUTH_VERIFIER_URL", &*urls), ("GATEWAY_VERIFIER__CACHE_ENTRIES_MAX", "0")];
    let (world, web) = world("scopes = [\"tasks:read\"]\ncredential = \"bearer\"", &variables).await;
    for _ in 0..40 {
        let before = newer.seen().len();
        let answer = ask(&world, "/w/x", &[TOKEN]).await;
        assert_eq!(answer.status == 200, newer.seen().len() > before, "{}", answer.status);
        if answer.status != 200 {
            refused(&answer, "insufficient-scope");
        }
    }
    assert!(!older.seen().is_empty() && !newer.seen().is_empty());
    assert_eq!(web.seen().len(), newer.seen().len());
}

#[tokio::test]
async fn it_holds_over_http_2_and_for_every_method() {
    let (world, web) = world("credential = \"cookie\"", &[]).await;
    for method in [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
        let request = || as_u1(method.clone(), "/w/x").body(Body::empty()).unwrap();
        assert_eq!(world.send_h2(request()).await.status, 403, "{method}");
        assert_eq!(world.send(request()).await.status, 403, "{method}");
    }
    assert!(web.seen().is_empty());
}
