//! A database of somebody else's: used, refused with what to change, or waited for.

use std::{
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::net::UnixStream,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use dev_postgres::Postgres;

use super::{Launcher, folder};

/// Long before a launcher gives up waiting.
const SOON: Duration = Duration::from_secs(30);

/// A database of its own server, in `folder`, and its URL.
pub fn given(folder: &Path) -> (Postgres, String) {
    let postgres = Postgres::start(&folder.join("given"), &mut |_| {}).unwrap();
    postgres.create_database("given").unwrap();
    let url = postgres.url("given");
    (postgres, url)
}

#[test]
fn a_given_database_is_used_and_none_is_started() {
    let Some(folder) = folder() else { return };
    let (_postgres, url) = given(folder.path());
    let launcher = Launcher::ready(folder.path(), &[("DATABASE_URL", &url), ("APP_ENV", "production")]);
    assert!(launcher.curl(0).contains("Buy milk"));
    assert!(launcher.printed().contains("using DATABASE_URL"));
    assert!(!launcher.printed().contains(&url));
    assert!(!has_database(folder.path()));
}

/// Whether a launcher has made a database for itself.
pub fn has_database(folder: &Path) -> bool {
    let mut data = std::fs::read_dir(folder.join("data")).unwrap();
    data.any(|entry| entry.unwrap().file_name().to_string_lossy().starts_with("pg"))
}

/// A server that refuses everybody, with this code.
fn refusing(code: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let _ = refuse(stream, code);
        }
    });
    port
}

/// Reads how a client introduces itself, and answers with an error (PostgreSQL's manual, "Message Formats").
fn refuse(mut stream: TcpStream, code: &str) -> io::Result<()> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut startup = vec![0; u32::from_be_bytes(length) as usize - length.len()];
    stream.read_exact(&mut startup)?;
    let fields = format!("SFATAL\0VFATAL\0C{code}\0Mno, hunter2\0\0");
    let length = u32::try_from(fields.len() + 4).unwrap();
    stream.write_all(&[b"E", &length.to_be_bytes()[..], fields.as_bytes()].concat())
}

#[test]
fn what_the_database_refuses_is_told_at_once_with_what_to_change() {
    let folder = tempfile::tempdir().unwrap();
    for (code, want) in [
        ("28P01", "the database refuses the user or the password in DATABASE_URL"),
        ("3D000", "there is no database of the name in DATABASE_URL; create it"),
        ("28000", "the database does not let the user in DATABASE_URL in from here"),
    ] {
        let url = format!("postgresql://ada:hunter2@127.0.0.1:{}/tasks", refusing(code));
        let begun = Instant::now();
        let mut launcher = Launcher::start(folder.path(), &[("DATABASE_URL", &url)]);
        let services = launcher.services();
        assert_eq!(launcher.end(folder.path(), &services).code(), Some(1), "{}", launcher.printed());
        assert!(begun.elapsed() < SOON, "{code}: {:?}", begun.elapsed());
        launcher.await_line(&format!("usher: task-service can't get ready: {want}"));
        let told = launcher.printed();
        let told = told.lines().filter(|line| !line.starts_with('{'));
        assert!(!told.collect::<String>().contains("hunter2"), "the server's own words are for the log");
    }
}

#[test]
fn a_database_that_is_not_there_yet_is_waited_for_and_that_is_told() {
    let Some(folder) = folder() else { return };
    let (postgres, url) = given(folder.path());
    let port = super::free_ports()[0];
    let (login, rest) = url.split_once('@').unwrap();
    let url = format!("{login}@127.0.0.1:{port}/{}", rest.rsplit_once('/').unwrap().1);
    let launcher = Launcher::start(folder.path(), &[("DATABASE_URL", &url)]);
    launcher.await_line("task-service   waits: the database is out of reach");
    let socket = postgres.socket_dir().join(".s.PGSQL.5432");
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let server = UnixStream::connect(&socket).unwrap();
            let (mut from_client, mut to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            thread::spawn(move || io::copy(&mut from_client, &mut to_server));
            let (mut from_server, mut to_client) = (server, client);
            thread::spawn(move || io::copy(&mut from_server, &mut to_client));
        }
    });
    launcher.await_line(super::READY);
    assert!(launcher.curl(0).contains("Buy milk"));
}
