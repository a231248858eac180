//! Better Auth's tables and Better Auth itself say different things of a session: the log says so, and what to set.

use std::{
    io,
    sync::{Arc, Mutex, Once},
    time::Duration,
};

use chassis::Body;
use http::Request;
use tracing::subscriber::DefaultGuard;

use crate::{
    sessions::{FAR, ada, session},
    tables::{BETTER_AUTH, TOKEN, WithTables},
    world::{SECRET, World, claims_with, with_key},
};

/// What is logged by this thread.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// Listens from now on, until the guard is dropped.
    pub fn listen() -> (Self, DefaultGuard) {
        // One that hears everything for ever: where some threads have a subscriber and others have none, tracing may take a place
        // that logs for one that nobody listens to.
        static EVERYTHING: Once = Once::new();
        EVERYTHING.call_once(|| {
            let _ = tracing::subscriber::set_global_default(
                tracing_subscriber::fmt().with_writer(io::sink).finish(),
            );
        });
        let log = Self::default();
        let writer = log.clone();
        let subscriber =
            tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    /// Waits for a line with all of these.
    pub async fn wait_for(&self, want: &[&str]) {
        loop {
            let text = self.text();
            if text.lines().any(|line| want.iter().all(|want| line.contains(want))) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

async fn ask(world: &World) -> u16 {
    let token = auth_verifier::session::token::SessionToken::bare(TOKEN).unwrap();
    let cookie = auth_verifier::session::token::SigningKey::new(SECRET).sign(&token);
    let request = Request::get("/verify").header("cookie", format!("better-auth.session_token={cookie}"));
    world.get(request.body(Body::empty()).unwrap()).await.status.as_u16()
}

/// What is logged about a bearer token.
async fn logged(world: &World, token: &str) -> String {
    let (log, _guard) = Log::listen();
    assert_eq!(world.bearer(token).await.user(), None);
    assert!(!log.text().contains(token), "{}", log.text());
    log.text()
}

#[tokio::test]
async fn a_cookie_cache_as_a_bearer_token_names_the_setting_that_would_accept_it() {
    let vectors: serde_json::Value =
        serde_json::from_str(include_str!("../vectors/better-auth.json")).unwrap();
    let world = World::new(&[]).await;
    for form in ["compact", "jwt", "jwe"] {
        let cache = vectors["cookie_cache"][form]["session_data"].as_str().unwrap();
        let told = logged(&world, cache).await;
        assert!(told.contains(&format!("a cookie cache ({form})")), "{told}");
        assert!(told.contains("AUTH_VERIFIER_COOKIE_CACHE__BEARER=on"), "{told}");
    }
    let on = World::new(&[("AUTH_VERIFIER_COOKIE_CACHE__BEARER", "on")]).await;
    let told = logged(&on, vectors["cookie_cache"]["jwt"]["session_data"].as_str().unwrap()).await;
    assert!(told.contains("AUTH_VERIFIER_COOKIE_CACHE__VERSION"), "{told}");
    let told = logged(&on, "not.a.cache").await;
    assert!(!told.contains("COOKIE_CACHE"), "{told}");
}

#[tokio::test]
async fn a_person_who_is_two_users_is_told_once() {
    let (world, key) = with_key(&[]).await;
    let (log, _guard) = Log::listen();
    for _ in 0..3 {
        let token = key.token(&claims_with(serde_json::json!({"sub": "u2"})));
        assert_eq!(world.bearer(&token).await.user(), Some("u2"));
    }
    assert_eq!(log.text().matches("jwt.getSubject").count(), 1, "{}", log.text());
}

const NO_LAG: (&str, &str) = ("AUTH_VERIFIER_REVOCATION_LAG_SECS", "0");

#[tokio::test]
async fn a_session_that_the_table_has_and_better_auth_has_forgotten_is_told() {
    let (log, _guard) = Log::listen();
    let Some(tables) = WithTables::new(BETTER_AUTH, &[NO_LAG]).await else { return };
    tables.world.endpoint.answer(200, "null");
    assert_eq!(ask(&tables.world).await, 200);
    log.wait_for(&[
        "ERROR",
        "has forgotten a session",
        "secondaryStorage",
        "AUTH_VERIFIER_SESSION__LOOKUP=http",
    ])
    .await;
    let asked = tables.world.endpoint.asked();
    for _ in 0..5 {
        ask(&tables.world).await;
    }
    assert_eq!(tables.world.endpoint.asked(), asked, "now and then, not each time");
    assert!(!log.text().contains(TOKEN), "{}", log.text());
}

#[tokio::test]
async fn a_session_that_better_auth_knows_and_the_table_has_not_is_told() {
    let (log, _guard) = Log::listen();
    let Some(tables) = WithTables::new(BETTER_AUTH, &[NO_LAG]).await else { return };
    tables.run("delete from session").await;
    tables.world.endpoint.answer(200, &session(TOKEN, FAR, ada()));
    assert_eq!(ask(&tables.world).await, 401);
    log.wait_for(&["ERROR", "knows a session that its table hasn't", "secondaryStorage"]).await;
}

#[tokio::test]
async fn where_both_say_the_same_or_one_is_silent_nothing_is_told() {
    for (status, answer) in
        [(200, session(TOKEN, FAR, ada())), (500, "null".to_owned()), (200, "{}".to_owned())]
    {
        let (log, _guard) = Log::listen();
        let Some(tables) = WithTables::new(BETTER_AUTH, &[NO_LAG]).await else { return };
        tables.world.endpoint.answer(status, &answer);
        let before = tables.world.endpoint.asked();
        assert_eq!(ask(&tables.world).await, 200);
        tables.world.endpoint.wait_for(before + 1).await;
        tokio::task::yield_now().await;
        assert!(!log.text().contains("ERROR"), "{}", log.text());
    }
}
