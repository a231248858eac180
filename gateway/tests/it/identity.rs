//! A client can say who it is by its credential alone.

use chassis::Body;
use http::{HeaderName, HeaderValue, Method, Request, Response};

use crate::world::{World, as_u1, config, echo, get, known};

const SPELLINGS: [&str; 21] = [
    "x-user-id",
    "X-User-Id",
    "x-USER-iD",
    "X_User_Id",
    "X-User_Id",
    "x_user-id",
    "X.User.Id",
    "x-user-email",
    "x-user-email-verified",
    "X_User_Email",
    "x-identity-assertion",
    "X_Identity_Assertion",
    "x-credential",
    "x-credential-scopes",
    "x-user-roles",
    "x-user-role",
    "X_User_Role",
    "x-user-organization-id",
    "x-user-organization-slug",
    "X-User_Organization-Role",
    "x_credential",
];

/// What arrived names `u1` once, and nobody else anywhere.
fn assert_is_u1(world: &World) {
    let seen = world.service.last();
    assert_eq!(seen.one("x-user-id"), Some("u1"));
    assert_eq!(seen.one("x-user-email"), Some("u1@example.com"));
    assert_eq!(seen.one("x-user-email-verified"), Some("false"));
    assert_eq!(seen.one("x-identity-assertion"), Some("a.b.c"));
    assert_eq!(seen.one("x-credential"), Some("bearer"));
    assert!(!format!("{:?}", seen.headers).contains("u2"), "{:?}", seen.headers);
    assert_eq!(seen.trailers, None);
}

#[tokio::test]
async fn what_a_client_says_of_itself_changes_nothing() {
    let world = World::new().await;
    for name in SPELLINGS {
        let name = HeaderName::try_from(name).unwrap();
        let request = || as_u1(Method::GET, "/api/tasks").header(&name, "u2").header(&name, "u2,u1");
        for answer in [
            world.send(request().body(Body::empty()).unwrap()).await,
            world.send_h2(request().body(Body::empty()).unwrap()).await,
        ] {
            assert_eq!(answer.status, 200, "{name}");
            assert_is_u1(&world);
        }
    }
}

#[tokio::test]
async fn spellings_that_only_the_wire_knows_change_nothing_either() {
    let world = World::new().await;
    for field in ["X-USER-ID: u2", "x-user-ID:u2", "X-User-Id:\tu2\t"] {
        let head = format!(
            "GET /api/tasks HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer good\r\n{field}\r\nConnection: close\r\n\r\n"
        );
        assert!(world.raw(head.as_bytes()).await.starts_with("HTTP/1.1 200"), "{field}");
        assert_is_u1(&world);
    }
    let arrived = world.service.seen().len();
    for field in ["X-User-Id : u2", " X-User-Id: u2", "X-User-Id\u{a0}: u2", "Accept: x\r\n X-User-Id: u2"] {
        let head = format!(
            "GET /api/tasks HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer good\r\n{field}\r\nConnection: close\r\n\r\n"
        );
        assert!(world.raw(head.as_bytes()).await.starts_with("HTTP/1.1 400"), "{field}");
    }
    assert_eq!(world.service.seen().len(), arrived);
}

#[tokio::test]
async fn a_public_route_is_passed_as_nobody() {
    let (_file, path) =
        config("[[routes]]\npath = \"/pub/**\"\nupstream = \"task-service\"\naccess = \"public\"");
    let world = World::with(&[("GATEWAY_CONFIG", &path)]).await;
    for credential in [None, Some("Bearer good"), Some("Bearer bad")] {
        for name in SPELLINGS {
            let mut request = Request::get("/pub/x")
                .header("cookie", "theme=dark; sid=s")
                .header(HeaderName::try_from(name).unwrap(), "u2");
            if let Some(credential) = credential {
                request = request.header("authorization", credential);
            }
            assert_eq!(world.send(request.body(Body::empty()).unwrap()).await.status, 200);
            let seen = world.service.last();
            for name in [
                "x-user-id",
                "x-user-email",
                "x-user-email-verified",
                "x-identity-assertion",
                "x-credential",
                "x-credential-scopes",
                "x-user-role",
                "x-user-organization-id",
                "x-user-organization-slug",
                "x-user-organization-role",
                "authorization",
                // Nobody has said which of them are credentials.
                "cookie",
            ] {
                assert_eq!(seen.one(name), None);
            }
            assert!(!format!("{:?}", seen.headers).contains("u2"));
        }
    }
    assert!(world.verifier.seen().is_empty(), "nobody is asked");
    assert_eq!(
        world.send(get("/api/tasks")).await.status,
        404,
        "the file's routes stand in place of the default ones"
    );
}

#[tokio::test]
async fn a_role_and_an_organization_are_auth_verifiers_to_tell_and_no_clients() {
    const TOLD: [(&str, &str); 4] = [
        ("x-user-role", "authenticated"),
        ("x-user-organization-id", "o1"),
        ("x-user-organization-slug", "acme"),
        ("x-user-organization-role", "member"),
    ];
    let world = World::new().await;
    let by_client = || {
        let request = as_u1(Method::GET, "/api/tasks").header("X_User_Organization_Role", "owner");
        TOLD.iter()
            .fold(request, |request, (name, _)| request.header(*name, "owner"))
            .body(Body::empty())
            .unwrap()
    };
    // Nothing is told, and nothing is made of what the client says.
    assert_eq!(world.send(by_client()).await.status, 200);
    assert!(!format!("{:?}", world.service.last().headers).contains("owner"));
    // `good` is an answer that the gateway may still hold.
    world.verifier.respond(|_| {
        let mut known = known("u2");
        let told = TOLD.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        known.headers_mut().extend(told);
        known
    });
    let mut another = by_client();
    another.headers_mut().insert("authorization", HeaderValue::from_static("Bearer another"));
    let answer = world.send(another).await;
    assert_eq!(answer.status, 200);
    let seen = world.service.last();
    for (name, value) in TOLD {
        assert_eq!(seen.one(name), Some(value));
        assert_eq!(answer.one(name), None, "it is not for the client");
    }
    assert!(!format!("{:?}", seen.headers).contains("owner"));
}

#[tokio::test]
async fn trailers_stop_at_the_door() {
    let world = World::new().await;
    let request = "POST /api/tasks HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer good\r\nTE: trailers\r\n\
        Trailer: X-User-Id\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n\
        2\r\nhi\r\n0\r\nX-User-Id: u2\r\n\r\n";
    assert!(world.raw(request.as_bytes()).await.starts_with("HTTP/1.1 200"));
    assert_is_u1(&world);
    assert_eq!(world.service.last().body, "hi");
}

#[tokio::test]
async fn a_header_that_must_not_vanish_can_not_be_nominated() {
    let world = World::new().await;
    for name in ["X-User-Id", "Authorization", "x-forwarded-for", "Cookie", "x-identity-assertion"] {
        let head = format!(
            "GET /api/tasks HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer good\r\nConnection: close, {name}\r\n\r\n"
        );
        assert!(world.raw(head.as_bytes()).await.starts_with("HTTP/1.1 400"), "{name}");
    }
    assert!(world.service.seen().is_empty());
    let head = "GET /api/tasks HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer good\r\nX-Hop: 1\r\nConnection: close, X-Hop\r\n\r\n";
    assert!(world.raw(head.as_bytes()).await.starts_with("HTTP/1.1 200"));
    assert_eq!(world.service.last().one("x-hop"), None);
}

#[tokio::test]
async fn credentials_stop_at_the_gateway() {
    let world = World::new().await;
    let cookies = "theme=dark; better-auth.session_token=s.x; __Secure-better-auth.session_data.0=d";
    let request = as_u1(Method::GET, "/api/tasks").header("cookie", cookies);
    assert_eq!(world.send(request.body(Body::empty()).unwrap()).await.status, 200);
    let (asked, arrived) = (world.verifier.last(), world.service.last());
    assert_eq!(asked.one("authorization"), Some("Bearer good"));
    assert_eq!(asked.one("cookie"), Some(cookies));
    assert_eq!(arrived.one("authorization"), None);
    assert_eq!(arrived.one("cookie"), Some("theme=dark"));
}

#[tokio::test]
async fn no_cookie_goes_inside_that_the_verdict_calls_a_credential() {
    let world = World::new().await;
    let cookies = "a=1; myapp.session_token=s; __Secure-myapp.session_data.1=d; sid=s; sid_multi-x=s; b=2";
    let request = || as_u1(Method::GET, "/api/tasks").header("cookie", cookies).body(Body::empty()).unwrap();
    assert_eq!(world.send(request()).await.status, 200);
    assert_eq!(world.service.last().one("cookie"), Some("a=1; b=2"));
    // A verifier that doesn't say which are credentials, or not clearly.
    for told in ["", "my app", "a,,b"] {
        world.verifier.respond(move |_| {
            let mut known = crate::world::known("u1");
            known.headers_mut().insert("x-credential-cookies", told.parse().unwrap());
            known
        });
        assert_eq!(world.send(request()).await.status, 200);
        assert_eq!(world.service.last().one("cookie"), None, "{told:?}");
    }
    world.verifier.respond(|_| {
        let mut known = crate::world::known("u1");
        known.headers_mut().remove("x-credential-cookies");
        known
    });
    assert_eq!(world.send(request()).await.status, 200);
    assert_eq!(world.service.last().one("cookie"), None, "untold");
    assert_eq!(world.service.last().one("x-credential-cookies"), None);
}

#[tokio::test]
async fn forwarding_headers_are_ours() {
    let world = World::new().await;
    let mut request = as_u1(Method::POST, "/api/tasks?x=1");
    for name in [
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-forwarded-uri",
        "x-forwarded-method",
        "x-forwarded-prefix",
        "X_Forwarded_For",
        "forwarded",
        "x-real-ip",
        "x-original-uri",
        "x-rewrite-url",
        "x-http-method-override",
        "cf-connecting-ip",
    ] {
        request = request.header(HeaderName::try_from(name).unwrap(), "evil");
    }
    assert_eq!(world.send(request.body(Body::empty()).unwrap()).await.status, 200);
    let (asked, arrived) = (world.verifier.last(), world.service.last());
    for seen in [&asked, &arrived] {
        assert!(!format!("{:?}", seen.headers).contains("evil"), "{:?}", seen.headers);
    }
    assert_eq!(
        (arrived.one("x-forwarded-for"), arrived.one("x-forwarded-host")),
        (Some("127.0.0.1"), Some("gateway.test"))
    );
    assert_eq!(
        (asked.one("x-forwarded-method"), asked.one("x-forwarded-uri")),
        (Some("POST"), Some("/api/tasks?x=1"))
    );
    assert_eq!(asked.one("x-forwarded-host"), Some("gateway.test"));
}

#[tokio::test]
async fn an_answer_says_nothing_of_what_is_inside() {
    let world = World::new().await;
    world.service.respond(|_| {
        let mut response = Response::new(Body::from("x"));
        for (name, value) in [
            ("x-user-id", "u1"),
            ("x-identity-assertion", "a.b.c"),
            ("x-internal-host", "10.0.0.1"),
            ("server", "s"),
            ("via", "v"),
            ("keep-alive", "timeout=5"),
            ("x-hop", "1"),
            ("connection", "x-hop"),
            ("x-kept", "k"),
            ("x-request-id", "theirs"),
        ] {
            response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        response
    });
    let answer = world.send(get("/api/tasks")).await;
    assert_eq!(answer.one("x-kept"), Some("k"));
    assert_ne!(answer.one("x-request-id"), Some("theirs"));
    for name in
        ["x-user-id", "x-identity-assertion", "x-internal-host", "server", "via", "keep-alive", "x-hop"]
    {
        assert_eq!(answer.one(name), None, "{name}");
    }
}

#[tokio::test]
async fn interleaved_callers_are_never_mixed_up() {
    let world = World::new().await;
    world.verifier.respond(|seen| {
        let token = seen.one("authorization").unwrap().strip_prefix("Bearer ").unwrap().to_owned();
        crate::world::known(&token)
    });
    world.service.respond(|seen| {
        let mut response = echo(seen);
        *response.body_mut() = Body::from(seen.one("x-user-id").unwrap().to_owned());
        response
    });
    let world = std::sync::Arc::new(world);
    let asking: Vec<_> = (0..200)
        .map(|n| {
            let world = world.clone();
            tokio::spawn(async move {
                let user = format!("user-{n}");
                let request = Request::get("/api/tasks").header("authorization", format!("Bearer {user}"));
                assert_eq!(world.send(request.body(Body::empty()).unwrap()).await.body, user);
            })
        })
        .collect();
    for asked in asking {
        asked.await.unwrap();
    }
}
