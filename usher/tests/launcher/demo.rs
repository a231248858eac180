//! `usher demo`: the page and its sign-in come up beside the services, and end with them; and what is said where they can't.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
};

use dev_postgres::test::skip;
use postgres::{Client, NoTls, error::SqlState};
use rustix::process::{Pid, Signal, geteuid, kill_process};

use super::{Launcher, PATIENCE, READY, eventually, folder, free_ports, processes};

/// A launcher of the demo, and where the page's own web server is.
fn demo(folder: &Path, further: &[(&str, &str)]) -> (Launcher, u16) {
    let (ports, [port, ..]) = (free_ports(), free_ports());
    let mut command = Launcher::command(folder, ports, further);
    command.arg("demo").env("USHER_DEMO_LISTEN", format!("127.0.0.1:{port}"));
    (Launcher::run(&mut command, ports), port)
}

/// An answer to a GET, as the address that browsers know is asked.
fn get(port: u16, path: &str) -> std::io::Result<String> {
    get_of(&format!("localhost:{port}"), port, path)
}

/// The same, asked by another name.
fn get_of(host: &str, port: u16, path: &str) -> std::io::Result<String> {
    ask(port, &format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"), b"")
}

/// An answer to what is sent, which may be given before all of it is.
fn ask(port: u16, head: &str, body: &[u8]) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let written = stream.write_all(&[head.as_bytes(), body].concat());
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    // Who doesn't read all that is sent resets the connection behind the answer.
    if answer.is_empty() {
        written.and(read)?;
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// What no browser sends ends nothing, and takes no memory.
fn assert_refuses_what_is_odd(port: u16) {
    for (path, status) in [("//", 404), ("//[", 404), ("/?//[", 200), ("//?x", 404), ("*", 404)] {
        let answer = get(port, path).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {answer}");
    }
    let post = |length: &str| {
        let type_of_all = "content-type: application/json\r\nconnection: close";
        format!(
            "POST /api/auth/sign-in/email HTTP/1.1\r\nhost: localhost:{port}\r\n{type_of_all}\r\n{length}\r\n\r\n"
        )
    };
    // Better Auth's own answers are other ones.
    let is_refused =
        |answer: String| answer.starts_with("HTTP/1.1 413 ") && answer.contains("more than 65536");
    let json = |bytes: usize| format!("{{\"email\":\"{}\"}}", "x".repeat(bytes - 12)).into_bytes();
    let chunked = |bytes: usize| {
        let body = String::from_utf8(json(bytes)).unwrap();
        format!("{bytes:x}\r\n{body}\r\n0\r\n\r\n").into_bytes()
    };
    assert!(is_refused(ask(port, &post("content-length: 150000000"), b"").unwrap()));
    for (bytes, refused) in [(65_536, false), (65_537, true)] {
        let length = format!("content-length: {bytes}");
        for (head, body) in
            [(post(&length), json(bytes)), (post("transfer-encoding: chunked"), chunked(bytes))]
        {
            let answer = ask(port, &head, &body).unwrap();
            assert_eq!(is_refused(answer.clone()), refused, "{bytes}: {answer}");
            assert!(refused || answer.starts_with("HTTP/1.1 4"), "{answer}");
        }
    }
}

/// The demo's role has Better Auth's tables; it neither gets into task-service's database nor makes itself somebody else.
fn assert_reaches_no_tasks(url: &str) {
    let mut own = Client::connect(url, NoTls).unwrap();
    own.query_one("select count(*) from usher_demo.\"user\"", &[]).unwrap();
    for statement in ["set role tasks", "create role r", "create database d", "grant tasks to usher_demo"] {
        let refused = own.batch_execute(statement).unwrap_err();
        assert_eq!(refused.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{statement}");
    }
    let tasks = format!("{}/tasks", url.rsplit_once('/').unwrap().0);
    assert!(Client::connect(&tasks, NoTls).is_err());
}

/// What it says at last, where it doesn't come up.
fn refusal(folder: &Path, further: &[(&str, &str)]) -> String {
    let (mut launcher, _) = demo(folder, further);
    assert_eq!(launcher.end(folder, &[]).code(), Some(1), "{}", launcher.printed());
    launcher.await_line("usher: ");
    let printed = launcher.printed();
    printed.lines().find_map(|line| line.strip_prefix("usher: ")).unwrap().to_owned()
}

/// A folder with a program of that name in it, which everybody may run.
fn program(folder: &Path, name: &str, script: &str) -> String {
    let bin = folder.join("bin");
    fs::create_dir_all(&bin).unwrap();
    fs::set_permissions(&bin, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(bin.join(name), format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(bin.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    format!("{}:{}", bin.display(), std::env::var("PATH").unwrap())
}

#[test]
fn the_page_is_there_at_both_addresses_and_comes_and_goes_with_the_services() {
    let Some(folder) = folder() else { return };
    if !Command::new("npm").arg("--version").stdout(Stdio::null()).status().is_ok_and(|npm| npm.success()) {
        return skip("Node.js is not installed");
    }
    let (mut launcher, port) = demo(folder.path(), &[("AWS_SECRET_ACCESS_KEY", "open sesame")]);
    launcher.await_line(READY);
    let gateway = launcher.ports[0];
    let printed = launcher.printed();
    for (line, port) in [("The demo", port), ("The same", gateway)] {
        assert!(printed.contains(&format!("  {line}            http://localhost:{port}  (")), "{printed}");
        let page = get(port, "/").unwrap();
        assert!(page.starts_with("HTTP/1.1 200"), "{page}");
        assert!(
            page.contains(&format!("<meta name=\"tasks-api\" content=\"http://localhost:{gateway}\"")),
            "{page}"
        );
        assert!(get(port, "/api/auth/jwks").unwrap().contains("\"kty\":\"OKP\""));
    }
    assert!(get(gateway, "/api/tasks").unwrap().starts_with("HTTP/1.1 401"));
    assert!(get_of("evil.test", gateway, "/").unwrap().starts_with("HTTP/1.1 421"));
    assert_refuses_what_is_odd(port);
    assert!(launcher.curl(0).contains("Buy milk"), "the printed lines hold here, too");

    let is_page = |launcher: &Launcher| {
        let parent = i32::try_from(launcher.process.id()).unwrap();
        processes().into_iter().find(|one| one.parent == parent && one.command.contains("server.mjs"))
    };
    let page = is_page(&launcher).unwrap();
    let variables = fs::read(format!("/proc/{}/environ", page.pid)).unwrap();
    let variables = String::from_utf8_lossy(&variables);
    assert!(!variables.contains("sesame"));
    assert_reaches_no_tasks(variables.split('\0').find_map(|one| one.strip_prefix("DATABASE_URL=")).unwrap());
    let status = fs::read_to_string(format!("/proc/{}/status", page.pid)).unwrap();
    if geteuid().is_root() {
        assert!(status.contains("\nUid:\t61003\t61003\t61003\t61003\n"), "{status}");
        assert!(launcher.printed().contains("demo as user 61003"));
    }
    assert!(!launcher.printed().contains("starting it again"), "{}", launcher.printed());
    kill_process(Pid::from_raw(page.pid).unwrap(), Signal::KILL).unwrap();
    launcher.await_line("demo           ended (signal: 9 (SIGKILL)); starting it again");
    eventually("the page is back", || get(port, "/").is_ok_and(|page| page.starts_with("HTTP/1.1 200")));

    // However the launcher ends.
    let services = [launcher.services(), vec![is_page(&launcher).unwrap()]].concat();
    launcher.signal(Signal::KILL);
    assert!(!launcher.end(folder.path(), &services).success());
    // It was built once; and ends in order.
    let (mut again, _) = demo(folder.path(), &[]);
    again.await_line(READY);
    assert!(!again.printed().contains("building"), "{}", again.printed());
    let services = [again.services(), vec![is_page(&again).unwrap()]].concat();
    again.signal(Signal::INT);
    assert!(again.end(folder.path(), &services).success());
    assert!(again.printed().contains("demo           stopped"), "{}", again.printed());
}

#[test]
fn without_a_nodejs_that_will_do_nothing_is_made() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(
        refusal(folder.path(), &[("PATH", "/nowhere")]),
        "the demo needs node: install Node.js 20 or newer, which brings npm (https://nodejs.org), or start without it"
    );
    let path = program(folder.path(), "node", "echo v18.20.4");
    assert_eq!(
        refusal(folder.path(), &[("PATH", &path)]),
        "the demo needs Node.js 20 or newer, and `node --version` says `v18.20.4`"
    );
    assert!(!folder.path().join("data").exists());
}

#[test]
fn packages_that_can_not_be_fetched_are_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    program(folder.path(), "node", "echo v20.20.2");
    let seen = folder.path().join("seen");
    let npm = "[ \"$1\" = --version ] || { echo 'npm error code ENOTFOUND' >&2; echo 'npm error there is no network' >&2; exit 1; }";
    let path = program(folder.path(), "npm", &format!("env >>'{}'\n{npm}", seen.display()));
    let variables = [
        ("PATH", &*path),
        ("BETTER_AUTH_SECRET", "k7Jx2mQ9vR4tY8wZ1aB5cD6eF3gH0iLn"),
        ("DATABASE_URL", "postgresql://ada:hunter2@127.0.0.1:9/tasks"),
        ("AWS_SECRET_ACCESS_KEY", "open sesame"),
        ("https_proxy", "http://proxy.test:3128"),
    ];
    assert_eq!(
        refusal(folder.path(), &variables),
        "the demo's packages could not be fetched with npm: there is no network"
    );
    // Each time that it was run.
    let seen = fs::read_to_string(seen).unwrap();
    assert_eq!(seen.matches("https_proxy=http://proxy.test:3128\n").count(), 2, "{seen}");
    for secret in ["k7Jx2mQ9", "hunter2", "sesame"] {
        assert!(!seen.contains(secret), "{secret}");
    }
}

#[test]
fn a_port_in_use_is_named_with_the_variable_that_moves_it() {
    let folder = tempfile::tempdir().unwrap();
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = holder.local_addr().unwrap();
    let path = program(folder.path(), "node", "echo v20.20.2");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let ports = free_ports();
    let mut command = Launcher::command(folder.path(), ports, &[("PATH", &path)]);
    command.arg("demo").env("USHER_DEMO_LISTEN", address.to_string());
    let mut launcher = Launcher::run(&mut command, ports);
    assert_eq!(launcher.end(folder.path(), &[]).code(), Some(1));
    launcher.await_line(&format!(
        "usher: port {} is in use: stop what listens there, or set USHER_DEMO_LISTEN=127.0.0.1:",
        address.port()
    ));
}

#[test]
fn settings_of_another_frontend_are_named_before_anything_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let sentence = refusal(folder.path(), &[("BETTER_AUTH_URL", "https://app.example.com")]);
    assert!(
        sentence.starts_with("BETTER_AUTH_URL: is `https://app.example.com`, where the demo needs"),
        "{sentence}"
    );
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}
