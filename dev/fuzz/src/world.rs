//! A verifier to ask, and a Better Auth behind it.

use std::sync::{Arc, OnceLock};

use auth_verifier::{
    settings::Settings,
    verdict::{Verdict, Verifier},
};
use http::{HeaderMap, header};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::{Builder, Runtime},
};

use crate::{
    recorded::{cases, text},
    secret,
};

/// A session that is alive, and whose.
pub const TOKEN: &str = "f95qf9iK74qedqpch74KnlMB1w2mEtOr";
pub const USER: &str = "u1";

/// A verifier that knows the keys of every recorded server, and the recorded secret.
pub struct World {
    runtime: Runtime,
    verifier: Arc<Verifier>,
}

impl World {
    /// The one that there is.
    pub fn get() -> &'static Self {
        static WORLD: OnceLock<World> = OnceLock::new();
        WORLD.get_or_init(Self::new)
    }

    fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
        let url = format!("http://{}/api/auth", listener.local_addr().expect("it is bound"));
        runtime.spawn(better_auth(listener));

        let issuers: Vec<&str> = cases("api_jwt").map(|server| text(&server["issuer"])).collect();
        let issuers = issuers.join(",");
        let environment = [
            ("BETTER_AUTH_SECRET", secret()),
            ("BETTER_AUTH_URL", &url),
            ("AUTH_VERIFIER_ISSUERS", &issuers),
            ("AUTH_VERIFIER_AUDIENCES", &issuers),
            ("AUTH_VERIFIER_COOKIE_CACHE__STRATEGY", "compact"),
            // Nobody needs to sign what is only looked for.
            ("AUTH_VERIFIER_SESSION__DANGEROUS_UNSIGNED_BEARER", "on"),
            // A slow machine is not what is looked for.
            ("AUTH_VERIFIER_JWKS__TIMEOUT_MS", "20000"),
            ("AUTH_VERIFIER_SESSION__TIMEOUT_MS", "20000"),
        ];
        let settings = chassis::settings::load::<Settings>(&environment.into_iter().collect())
            .expect("these settings are good");
        let verifier = settings.verifier();
        let world = Self { runtime, verifier };
        world.control();
        world
    }

    /// Who should be known is: a verifier that knows nobody shows nothing.
    fn control(&self) {
        for (token, user) in good() {
            let value = format!("Bearer {token}").parse().expect("it is ASCII");
            let verdict = self.judge(&[(header::AUTHORIZATION, value)].into_iter().collect());
            assert!(
                matches!(&verdict, Verdict::Known(caller) if caller.user.as_str() == user),
                "{verdict:?}"
            );
        }
    }

    /// Says who sends these headers.
    pub fn judge(&self, headers: &HeaderMap) -> Verdict {
        self.runtime.block_on(self.verifier.verify(headers))
    }
}

/// Whoever would be known by one of these: recorded tokens that live long, and the session that is alive.
pub fn good() -> &'static [(String, String)] {
    static GOOD: OnceLock<Vec<(String, String)>> = OnceLock::new();
    GOOD.get_or_init(|| {
        let tokens = cases("api_jwt").map(|server| (&server["token_long_lived"], &server["user_row"]["id"]));
        let tokens = tokens.map(|(token, user)| (text(token).to_owned(), text(user).to_owned()));
        tokens.chain([(TOKEN.to_owned(), USER.to_owned())]).collect()
    })
}

/// Answers as Better Auth does where it is asked for keys, or for a session.
async fn better_auth(listener: TcpListener) {
    while let Ok((connection, _)) = listener.accept().await {
        tokio::spawn(answer(connection));
    }
}

async fn answer(mut connection: TcpStream) -> std::io::Result<()> {
    let keys: Vec<&Value> =
        cases("api_jwt").filter_map(|server| server["jwks"]["keys"].as_array()).flatten().collect();
    let keys = json!({"keys": keys}).to_string();
    let session = json!({"token": TOKEN, "userId": USER, "expiresAt": "2099-01-01T00:00:00.000Z"});
    let session = json!({"session": session, "user": {"id": USER}}).to_string();
    let mut head = Vec::new();
    loop {
        if connection.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
        if !head.ends_with(b"\r\n\r\n") {
            continue;
        }
        let text = String::from_utf8_lossy(&head);
        let body = match (text.contains("/get-session"), text.contains(TOKEN)) {
            (false, _) => &keys,
            (true, true) => &session,
            (true, false) => "null",
        };
        let start = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
        connection.write_all((start + body).as_bytes()).await?;
        head.clear();
    }
}
