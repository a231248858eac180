//! Secrets are planted in whatever holds one, the services say all that they can, and nobody finds them in a log.

use auth_verifier::{
    diagnostics::dev_token,
    session::token::{SessionToken, SigningKey},
};
use dev_postgres::test;
use http::Request;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::spawn_blocking,
};
use tokio_postgres::NoTls;

use crate::world::{Client, PATIENCE, Service};

const SECRET: &str = "PlantedSecretOfBetterAuth0123456789abc";
const SESSION: &str = "PlantedSessionToken0123456789abcdef";
const UNKNOWN: &str = "PlantedUnknownToken0123456789abcdef";
const PASSWORD: &str = "PlantedDatabasePassword";
const QUERY: &str = "PlantedInAQuery";
const BODY: &str = "PlantedInABody";
const HEADER: &str = "PlantedInAHeader";

const TABLES: &str = r#"
create table "user" (id text primary key, name text not null, email text not null unique,
    "emailVerified" boolean not null, image text, "createdAt" timestamptz not null default now(),
    "updatedAt" timestamptz not null default now());
create table session (id text primary key, "expiresAt" timestamptz not null, token text not null unique,
    "createdAt" timestamptz not null default now(), "updatedAt" timestamptz not null default now(),
    "ipAddress" text, "userAgent" text, "userId" text not null references "user" on delete cascade);
insert into "user" (id, name, email, "emailVerified") values ('u1', 'Ada', 'ada@example.com', true);
insert into session (id, token, "userId", "expiresAt")
    values ('s1', 'PlantedSessionToken0123456789abcdef', 'u1', '2100-01-01 00:00Z')"#;

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_a_log_whatever_the_log_is_asked_to_say() {
    let Some(database) = spawn_blocking(test::database).await.unwrap() else { return };
    let (admin, connection) = tokio_postgres::connect(&database.url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    admin.batch_execute(TABLES).await.unwrap();

    let url = database.url();
    let (scheme, rest) = url.split_once("://").unwrap();
    let (user, place) = rest.split_once('@').unwrap();
    let url = format!("{scheme}://{user}:{PASSWORD}@{place}");
    // Every level of everything, and by name what is known to say too much.
    let all = (
        "RUST_LOG",
        "trace,tokio_postgres=trace,h2=trace,hyper=trace,hyper_util=trace,rustls=trace,tonic=trace",
    );
    let patient = [
        ("AUTH_VERIFIER_DATABASE__ACQUIRE_TIMEOUT_MS", "20000"),
        ("AUTH_VERIFIER_DATABASE__CONNECT_MS", "20000"),
        ("AUTH_VERIFIER_DATABASE__QUERY_MS", "20000"),
    ];
    let verifier = [
        ("BETTER_AUTH_SECRET", SECRET),
        ("BETTER_AUTH_URL", "http://127.0.0.1:9"),
        ("AUTH_VERIFIER_DATABASE__URL", &url),
        ("AUTH_VERIFIER_JWT__REVOCATION", "user"),
        ("AUTH_VERIFIER_GRPC_LISTEN", "127.0.0.1:0"),
        all,
    ];
    let verifier = Service::start("auth-verifier", &[&verifier[..], &patient].concat());
    let jwks = format!("{}/.well-known/jwks.json", verifier.url());
    let tasks = [("DATABASE_URL", &*url), ("TASK_SERVICE_IDENTITY_JWKS_URL", &jwks), all];
    let tasks = Service::start("task-service", &tasks);
    let gateway = [
        ("GATEWAY_AUTH_VERIFIER_URL", &*verifier.url()),
        ("GATEWAY_TASK_SERVICE_URL", &tasks.url()),
        ("GATEWAY_VERIFIER__CONNECT_MS", "20000"),
        ("GATEWAY_VERIFIER__TIMEOUT_MS", "20000"),
        all,
    ];
    let gateway = Service::start("gateway", &gateway);
    let client = Client::new();
    for service in [&verifier, &tasks, &gateway] {
        service.ready(&client).await;
    }

    let jwt = dev_token::mint(SECRET, "u1", PATIENCE * 10);
    let signed = SigningKey::new(SECRET).sign(&SessionToken::bare(SESSION).unwrap());
    let cookie = |value: &str| format!("better-auth.session_token={value}; other={HEADER}");
    let credentials = [
        ("authorization", format!("Bearer {jwt}")),
        ("authorization", format!("Bearer {signed}")),
        ("authorization", format!("Bearer {UNKNOWN}")),
        ("authorization", format!("Bearer {jwt}x")),
        ("authorization", format!("Basic {UNKNOWN}")),
        ("cookie", cookie(&signed)),
        ("cookie", cookie(&format!("{signed}x"))),
    ];
    let mut let_in = 0;
    for (name, value) in &credentials {
        let request = |method: &str| {
            Request::builder()
                .method(method)
                .uri(format!("{}/api/tasks?token={QUERY}", gateway.url()))
                .header("origin", "http://localhost:3000")
                .header("te", HEADER)
                .header(*name, value)
        };
        let made = client.call(request("POST"), Some(serde_json::json!({"title": BODY}))).await;
        let_in += usize::from(made.status == 201);
        client.call(request("POST"), Some(serde_json::json!({"title": 1, BODY: true}))).await;
        client.call(request("GET"), None).await;
        // A proxy of somebody's own.
        let asked = Request::get(format!("{}/verify", verifier.url())).header(*name, value);
        client.call(asked.header("x-forwarded-uri", format!("/?{QUERY}")), None).await;
    }
    assert_eq!(let_in, 3, "by the JWT, the session token and the cookie");
    http2(&gateway).await;
    http2(&verifier).await;

    let long = jwt.rsplit('.').next().unwrap();
    let signature = signed.split('.').nth(1).unwrap();
    let planted = [SECRET, SESSION, UNKNOWN, PASSWORD, QUERY, BODY, HEADER, long, signature, "eyJ"];
    let mut asked_for = 0;
    for service in [verifier, tasks, gateway] {
        let said = spawn_blocking(move || service.end()).await.unwrap();
        assert!(said.contains("\"message\":\"stopped\""), "{said}");
        asked_for += said.matches("\"level\":\"DEBUG\"").count();
        for secret in planted {
            let line = said.lines().find(|line| line.contains(secret));
            assert_eq!(line, None, "{secret}");
        }
    }
    assert!(asked_for > 0, "they did say what only RUST_LOG asks for");
}

/// What h2 complains about, with the path and the header that it quotes.
async fn http2(service: &Service) {
    let mut stream = TcpStream::connect(service.traffic).await.unwrap();
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    for (stream, path) in [(1u8, format!("/?{QUERY}")), (3, format!("/\u{1}?{QUERY}"))] {
        let mut block = vec![0x82, 0x86, 0x41, 1, b'a', 0x44, u8::try_from(path.len()).unwrap()];
        block.extend(path.bytes());
        for (name, value) in [("te", HEADER), ("authorization", UNKNOWN)] {
            block.extend([0, u8::try_from(name.len()).unwrap()]);
            block.extend(name.bytes());
            block.push(u8::try_from(value.len()).unwrap());
            block.extend(value.bytes());
        }
        bytes.extend([0, 0, u8::try_from(block.len()).unwrap(), 1, 5, 0, 0, 0, stream]);
        bytes.extend(block);
    }
    // A farewell that quotes, too.
    let farewell = HEADER.as_bytes();
    bytes.extend([0, 0, u8::try_from(8 + farewell.len()).unwrap(), 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    bytes.extend(farewell);
    stream.write_all(&bytes).await.unwrap();
    let _ = stream.read_to_end(&mut Vec::new()).await;
}
