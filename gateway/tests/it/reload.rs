//! Settings that change while the gateway runs: no request and no connection is lost, and a wrong file changes nothing.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use chassis::Body;
use http::Method;
use rustix::process::Signal;
use tokio::time::sleep;

use crate::{
    life::{self, Gateway, PATIENCE, answer, refuse, sent, silent_verifier},
    world::{World, as_u1, get},
};

/// A file of settings, gone with this.
struct Settings {
    folder: tempfile::TempDir,
    verifier: String,
}

impl Settings {
    fn new(verifier: &str) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), verifier: verifier.into() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("gateway.toml")
    }

    /// Writes it anew, with `/health` at another path, as an editor or a mounted `ConfigMap` does.
    fn health_at(&self, path: &str) {
        let Self { verifier, .. } = self;
        self.replace(&format!(
            "auth_verifier_url = '{verifier}'\n\
             [[routes]]\npath = '{path}'\nanswer = 'health'\n\
             [[routes]]\npath = '/api/**'\nupstream = 'task-service'\n"
        ));
    }

    fn replace(&self, text: &str) {
        let other = self.folder.path().join("other");
        fs::write(&other, text).unwrap();
        fs::rename(other, self.path()).unwrap();
    }

    fn start(&self) -> Gateway {
        Gateway::start(&[("GATEWAY_CONFIG", self.path().to_str().unwrap())])
    }
}

/// One request over a connection that stays; the status.
fn status(kept: &mut TcpStream, path: &str) -> u16 {
    kept.write_all(format!("HEAD {path} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        kept.read_exact(&mut byte).expect("the connection stays");
        head.extend(byte);
    }
    str::from_utf8(&head[9..12]).unwrap().parse().unwrap()
}

#[test]
fn what_is_in_flight_and_what_is_connected_stays_while_routes_change() {
    let (url, inside) = silent_verifier();
    let settings = Settings::new(&url);
    settings.health_at("/before");
    let mut gateway = settings.start();
    let mut kept = sent(gateway.traffic, "");
    assert_eq!((status(&mut kept, "/before"), status(&mut kept, "/after")), (200, 404));
    let waits = "GET /api/x HTTP/1.1\r\nhost: a\r\nconnection: close\r\nauthorization: Bearer x\r\n\r\n";
    let client = sent(gateway.traffic, waits);
    let mut asked = inside.recv_timeout(PATIENCE).unwrap();

    settings.health_at("/after");
    gateway.tell(Signal::HUP);
    let said = gateway.says("the settings are those of the files");
    assert_eq!(said["level"], "INFO");
    assert_eq!(
        (status(&mut kept, "/before"), status(&mut kept, "/after")),
        (404, 200),
        "and a kept connection stays"
    );

    refuse(&mut asked);
    assert!(answer(client).starts_with("HTTP/1.1 401"), "the one in flight is answered by whom it was asked");
    assert_eq!(life::get(gateway.ops, "/readyz").0, 200);
    assert!(life::get(gateway.ops, "/metrics").1.contains("settings_reloads_total{outcome=\"applied\"}"));
    gateway.tell(Signal::TERM);
    assert_eq!(gateway.end().0.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_go_on_while_settings_are_read_again_and_again() {
    let world = Arc::new(World::new().await);
    let (world_of, stop) = (&world, Arc::new(AtomicBool::new(false)));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (world, stop) = (world_of.clone(), stop.clone());
            tokio::spawn(async move {
                let mut h2 = world.connect_h2().await;
                let mut answered = 0;
                while !stop.load(Ordering::Relaxed) {
                    let change = as_u1(Method::PUT, "/api/tasks/1").body(Body::from("milk")).unwrap();
                    let answer = h2.send(change).await;
                    assert_eq!((answer.status.as_u16(), &*answer.body), (200, "milk"));
                    assert_eq!(h2.send(get("/api/tasks")).await.status, 200);
                    answered += 2;
                }
                answered
            })
        })
        .collect();
    for _ in 0..50 {
        world.reload();
        sleep(Duration::from_millis(20)).await;
    }
    stop.store(true, Ordering::Relaxed);
    let mut answered = 0;
    for client in clients {
        answered += client.await.unwrap();
    }
    assert_eq!(world.service.seen().len(), answered, "nothing twice, nothing lost");
    assert!(world.service.seen().iter().all(|seen| seen.one("x-user-id") == Some("u1")));
    let asked = world.verifier.seen().len();
    world.reload();
    assert_eq!(world.send(get("/api/tasks")).await.status, 200);
    assert_eq!(world.verifier.seen().len(), asked + 1, "no verdict is older than the settings");
}

#[test]
fn a_file_that_changes_is_read_without_being_asked() {
    let settings = Settings::new("http://127.0.0.1:1");
    settings.health_at("/before");
    let mut gateway = settings.start();
    settings.health_at("/after");
    assert_eq!(gateway.says("the settings are those of the files")["cause"], "a file has changed");
    assert_eq!((life::get(gateway.traffic, "/before").0, life::get(gateway.traffic, "/after").0), (404, 200));
}

#[test]
fn a_wrong_file_changes_nothing_and_the_log_says_what_is_wrong() {
    let settings = Settings::new("http://127.0.0.1:1");
    settings.health_at("/before");
    let mut gateway = settings.start();
    for (text, why) in [
        ("[[routes]]\npath = '/a'\nanswer = 'health'\n[[routes", "line 4: is not TOML"),
        ("[[routes]]\npath = '/a'\nupstream = 'nobody'\n", "`nobody` is not in [upstreams]"),
        (
            "[server]\nidle_secs = 77\n[[routes]]\npath = '/a'\nanswer = 'health'\n",
            "[server] idle_secs: can't change while the service runs",
        ),
        ("", "a file is empty"),
    ] {
        settings.replace(text);
        refused(&mut gateway, why);
        assert_eq!(
            (life::get(gateway.traffic, "/before").0, life::get(gateway.traffic, "/a").0),
            (200, 404),
            "{why}"
        );
    }
    fs::remove_file(settings.path()).unwrap();
    refused(&mut gateway, "read it: No such file");
    assert_eq!(life::get(gateway.traffic, "/before").0, 200);
    settings.health_at("/after");
    gateway.tell(Signal::HUP);
    gateway.says("the settings are those of the files");
    assert_eq!(life::get(gateway.traffic, "/after").0, 200);
}

/// Has the gateway read its file, and waits until it has said what is wrong with it.
fn refused(gateway: &mut Gateway, why: &str) {
    gateway.tell(Signal::HUP);
    // It may have seen by itself that the file has changed, and have said so twice.
    while !gateway.says("those before stay in force")["error"].as_str().unwrap().contains(why) {}
}
