//! How many instructions one request costs a service, in its own code, counted by callgrind.
//!
//! The same program and the same requests give the same number to within about 1 %, however busy the machine is: this is
//! the yardstick for small steps, where requests per second show only noise. It tells nothing about the kernel, caches or
//! waiting. [`READINGS`] keeps the last accepted numbers, so that a step back shows.

use std::{
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use crate::{
    kinds::forged,
    server::{self, Server, Under, free, say},
    services::Services,
    table::Table,
    wire::{self, Answer, Connection},
    world::{self, World, claims},
};

/// The file of the last accepted readings, in the repository.
const READINGS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/instructions.toml");

/// A reading this many percent above the accepted one is a failure; as far below, it asks to be accepted.
const BOUND_PERCENT: u64 = 20;

/// Requests before the count begins, so that caches are filled and connections open; and requests that are counted.
const WARM: usize = 300;
const COUNT: usize = 1000;

/// Callers that take turns.
const CALLERS: usize = 20;

/// Tasks of each caller: a page of the list.
const TASKS: usize = 20;

/// How long callgrind may take to write what it has counted.
const DUMP: Duration = Duration::from_secs(20);

/// The heads of callgrind's columns end here; lines of functions have it.
const OF_A_FUNCTION: &str = "%)";

/// A kind of request that is measured.
struct Kind {
    /// Its name in [`READINGS`]; none for a peer, which is held to nothing.
    key: Option<&'static str>,
    name: &'static str,
    /// What we want it to cost at most.
    goal: Option<u64>,
}

const PUBLIC: Kind =
    Kind { key: Some("gateway-public"), name: "gateway: a public route", goal: Some(60_000) };
const AUTHENTICATED: Kind = Kind {
    key: Some("gateway-authenticated"),
    name: "gateway: an authenticated route, the verdict in the cache",
    goal: Some(65_000),
};
const ASKED: Kind = Kind {
    key: Some("gateway-asked"),
    name: "gateway: the same, auth-verifier asked each time",
    goal: Some(100_000),
};
const HS256: Kind =
    Kind { key: Some("verify-hs256"), name: "auth-verifier: `/verify`, HS256", goal: Some(65_000) };
const EDDSA: Kind = Kind {
    key: Some("verify-eddsa"),
    name: "auth-verifier: `/verify`, EdDSA in the cache",
    goal: Some(50_000),
};
const ONE: Kind = Kind { key: Some("task-service-one"), name: "task-service: one task", goal: Some(100_000) };
const LIST: Kind =
    Kind { key: Some("task-service-list"), name: "task-service: a list of 20", goal: Some(230_000) };
const FORWARDER: Kind =
    Kind { key: None, name: "*beside them:* the thinnest forwarder of hyper and hyper-util", goal: None };

/// What this needs and this machine lacks, as the Debian package that brings it.
pub fn missing() -> Option<&'static str> {
    server::missing_of(&[
        ("valgrind", "valgrind: apt-get install valgrind"),
        ("callgrind_control", "callgrind_control: apt-get install valgrind"),
        ("setpriv", "setpriv: apt-get install util-linux"),
    ])
}

/// Everything that was read.
pub struct Readings {
    rows: Vec<(Kind, u64)>,
    accepted: toml::Table,
}

/// Counts all kinds of request. `exe` is this program; `programs` is a folder with services to measure instead of those
/// in it. Prints the `top` functions of each, callees included.
pub fn measure(world: &World, exe: &OsStr, programs: Option<&Path>, top: usize) -> io::Result<Readings> {
    if let Some(missing) = missing() {
        return Err(io::Error::other(format!("missing: {missing}")));
    }
    let accepted = fs::read_to_string(READINGS)?.parse().map_err(io::Error::other)?;
    let services = Services { world, exe, programs };
    let out = |name: &str| world.folder().join(format!("{name}.callgrind"));
    let upstream = wire::upstream()?;
    // So that the assertions for task-service, and the gateway's verdicts, outlive the count.
    let lasting =
        [("AUTH_VERIFIER_IDENTITY__LIFE_SECS", "120"), ("AUTH_VERIFIER_VERDICT_MAX_AGE_SECS", "100")];
    let verifier = services.auth_verifier(Under::Nothing, &lasting)?;
    let callers = || (0..CALLERS).map(world::user);
    let bearer = |alg: &str| -> Vec<_> {
        let issuer = world.issuer(alg);
        callers()
            .map(|user| format!("authorization: Bearer {}", issuer.token(None, &claims(&user))))
            .collect()
    };
    let (hs256, eddsa) = (bearer("HS256"), bearer("EdDSA"));
    let mut rows = Vec::new();

    say("counting gateway");
    let counted = out("gateway");
    let gateway = services.gateway(Under::Callgrind(&counted), verifier.address, upstream, &[])?;
    refuses(&gateway, "/api/tasks", &hs256[0])?;
    let mut counted = Counted::new(&gateway, counted, top)?;
    // Nobody's identity goes inside from a public route.
    let forger = ["x-user-id: u1".to_owned()];
    counted.count(&[wire::get("/pub/x", &[&forger[0]])], |_, answer| seen(answer) == Some(""), 1)?;
    rows.push((PUBLIC, counted.measure(&[wire::get("/pub/x", &[])], |_, answer| seen(answer) == Some(""))?));
    let requests = all(&hs256, |_| "/api/tasks".into());
    let right = |n, answer: &Answer| seen(answer) == Some(&world::user(n));
    rows.push((AUTHENTICATED, counted.measure(&requests, right)?));
    drop(gateway);

    say("counting gateway, without its cache of verdicts");
    let counted = out("gateway-asked");
    let uncached = [("GATEWAY_VERIFIER__CACHE_ENTRIES_MAX", "0")];
    let gateway = services.gateway(Under::Callgrind(&counted), verifier.address, upstream, &uncached)?;
    rows.push((ASKED, Counted::new(&gateway, counted, top)?.measure(&requests, right)?));
    drop(gateway);

    say("counting auth-verifier");
    let counted = out("auth-verifier");
    let measured = services.auth_verifier(Under::Callgrind(&counted), &[])?;
    let mut counted = Counted::new(&measured, counted, top)?;
    for (kind, lines) in [(HS256, &hs256), (EDDSA, &eddsa)] {
        refuses(&measured, "/verify", &lines[0])?;
        let requests = all(lines, |_| "/verify".into());
        let right = |n, answer: &Answer| answer.header("x-user-id") == Some(&world::user(n));
        rows.push((kind, counted.measure(&requests, right)?));
    }
    drop(measured);

    say("counting task-service");
    let counted = out("task-service");
    let tasks =
        services.task_service(Under::Callgrind(&counted), verifier.address, &world.tasks.url(), &[])?;
    let mut identities = Vec::new();
    for line in &hs256 {
        let verdict = verifier.get("/verify", &[line])?;
        let of =
            |name| verdict.header(name).ok_or_else(|| io::Error::other(format!("a verdict without {name}")));
        let (user, assertion) = (of("x-user-id")?, of("x-identity-assertion")?);
        identities.push(format!("x-user-id: {user}\r\nx-identity-assertion: {assertion}"));
    }
    let ids = fill(&tasks, &identities)?;
    let others =
        format!("x-user-id: u1\r\n{}", identities[0].split_once("\r\n").map_or("", |(_, line)| line));
    if tasks.get("/api/tasks", &[&others])?.status != 401 {
        return Err(io::Error::other("task-service believed an identity without its assertion"));
    }
    let mut counted = Counted::new(&tasks, counted, top)?;
    let one = all(&identities, |n| format!("/api/tasks/{}", ids[n]));
    rows.push((ONE, counted.measure(&one, |n, answer| owned(n, answer) == 1)?));
    let list = all(&identities, |_| format!("/api/tasks?limit={TASKS}"));
    rows.push((LIST, counted.measure(&list, |n, answer| owned(n, answer) == TASKS)?));
    drop(tasks);

    say("counting the forwarder");
    let (counted, listen) = (out("forwarder"), free()?);
    let arguments = ["forwarder", &listen.to_string(), &upstream.to_string()];
    let forwarder =
        Server::start(Under::Callgrind(&counted), exe, &arguments, Vec::new(), world.folder(), listen)?;
    let mut counted = Counted::new(&forwarder, counted, top)?;
    rows.push((
        FORWARDER,
        counted.measure(&[wire::get("/pub/x", &[])], |_, answer| seen(answer) == Some(""))?,
    ));
    Ok(Readings { rows, accepted })
}

/// One request for each set of header lines, in turn.
fn all(lines: &[String], path: impl Fn(usize) -> String) -> Vec<String> {
    lines.iter().enumerate().map(|(n, line)| wire::get(&path(n), &[line])).collect()
}

/// Whom the upstream was told of.
fn seen(answer: &Answer) -> Option<&str> {
    answer.header("x-seen-user")
}

/// How many tasks of that caller, and of nobody else, an answer holds.
fn owned(caller: usize, answer: &Answer) -> usize {
    let own = format!("\"user_id\":\"{}\"", world::user(caller));
    let (own, all) = (answer.body.matches(&own).count(), answer.body.matches("\"user_id\":").count());
    if own == all { own } else { 0 }
}

/// A forged credential is refused.
fn refuses(server: &Server, path: &str, line: &str) -> io::Result<()> {
    match server.get(path, &[&forged(line)])?.status {
        401 => Ok(()),
        status => Err(io::Error::other(format!("{path}: a forged credential was answered {status}"))),
    }
}

/// Gives every caller its tasks, and returns the id of each one's last.
fn fill(tasks: &Server, identities: &[String]) -> io::Result<Vec<String>> {
    let mut connection = Connection::open(tasks.address)?;
    let mut ids = Vec::new();
    for identity in identities {
        let mut id = None;
        for number in 0..TASKS {
            let body = format!(r#"{{"title":"Task {number}","description":"Something to do before long"}}"#);
            let answer = connection.ask(&format!(
                "POST /api/tasks HTTP/1.1\r\nhost: bench\r\n{identity}\r\ncontent-type: application/json\r\n\
                 content-length: {}\r\n\r\n{body}",
                body.len()
            ))?;
            let rest = answer.body.split_once("\"id\":\"").map(|(_, rest)| rest);
            id = rest.and_then(|rest| rest.split_once('"')).map(|(id, _)| id.to_owned());
        }
        ids.push(id.ok_or_else(|| io::Error::other("task-service makes no tasks"))?);
    }
    Ok(ids)
}

/// A server under callgrind, and a connection to it.
struct Counted {
    pid: String,
    connection: Connection,
    out: PathBuf,
    dumps: u32,
    top: usize,
}

impl Counted {
    fn new(server: &Server, out: PathBuf, top: usize) -> io::Result<Self> {
        let connection = Connection::open(server.address)?;
        Ok(Self { pid: server.id().to_string(), connection, out, dumps: 0, top })
    }

    /// The instructions of one request.
    fn measure(&mut self, requests: &[String], right: impl Fn(usize, &Answer) -> bool) -> io::Result<u64> {
        self.count(requests, &right, WARM)?;
        self.control(&["-i", "on"])?;
        self.count(requests, &right, COUNT)?;
        self.control(&["-i", "off"])?;
        self.control(&["-d"])?;
        self.dumps += 1;
        let dump = PathBuf::from(format!("{}.{}", self.out.display(), self.dumps));
        let total = total(&dump)?;
        if self.top > 0 {
            self.print_top(&dump, total)?;
        }
        Ok(total / COUNT as u64)
    }

    /// Sends so many requests, in turn, each of which must be answered well and as the right caller.
    fn count(
        &mut self,
        requests: &[String],
        right: impl Fn(usize, &Answer) -> bool,
        times: usize,
    ) -> io::Result<()> {
        for time in 0..times {
            let which = time % requests.len();
            let answer = self.connection.ask(&requests[which])?;
            if answer.status != 200 || !right(which, &answer) {
                let line = requests[which].lines().next().unwrap_or_default();
                return Err(io::Error::other(format!("{line}, caller {which}: {answer:?}")));
            }
        }
        Ok(())
    }

    fn control(&self, what: &[&str]) -> io::Result<()> {
        let mut command = Command::new("callgrind_control");
        let output = command.args(what).arg(&self.pid).stdin(Stdio::null()).output()?;
        if output.status.success() {
            return Ok(());
        }
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(io::Error::other(format!("callgrind_control {what:?}: {error}")))
    }

    fn print_top(&self, dump: &Path, total: u64) -> io::Result<()> {
        let output = Command::new("callgrind_annotate")
            .args(["--inclusive=yes", "--threshold=100"])
            .arg(dump)
            .output()?;
        say(&format!("{total} instructions in {COUNT} requests; callees included:"));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        for line in text.lines().filter(|line| line.contains(OF_A_FUNCTION)).take(self.top) {
            say(line);
        }
        Ok(())
    }
}

/// What callgrind has counted, once it has written it.
fn total(dump: &Path) -> io::Result<u64> {
    let started = Instant::now();
    loop {
        let text = fs::read_to_string(dump).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("totals: "));
        if let Some(total) = line.and_then(|line| line.trim().parse().ok()) {
            return Ok(total);
        }
        if started.elapsed() > DUMP {
            return Err(io::Error::other(format!("callgrind wrote no {}", dump.display())));
        }
        sleep(Duration::from_millis(50));
    }
}

impl Readings {
    /// Everything that was read, beside its goal and its bound.
    pub fn table(&self) -> Table {
        let mut table = Table::new(&["one request", "instructions", "goal", "bound"]);
        for (kind, instructions) in &self.rows {
            let cell = |number: Option<u64>| number.map_or_else(String::new, grouped);
            let bound = self.accepted(kind).map(bound);
            table.row([kind.name.into(), grouped(*instructions), cell(kind.goal), cell(bound)]);
        }
        table
    }

    /// Writes what was read into the file of accepted readings.
    pub fn accept(&self) -> io::Result<()> {
        let old = fs::read_to_string(READINGS)?;
        let mut lines: Vec<_> =
            old.lines().filter(|line| line.starts_with('#')).map(ToOwned::to_owned).collect();
        for (kind, instructions) in &self.rows {
            lines.extend(kind.key.map(|key| format!("{key} = {instructions}")));
        }
        fs::write(READINGS, lines.join("\n") + "\n")
    }

    /// Says which readings are far below the accepted ones; an error where one is far above.
    pub fn judge(&self) -> io::Result<()> {
        let mut worse = Vec::new();
        for (kind, instructions) in &self.rows {
            let Some(key) = kind.key else { continue };
            match self.accepted(kind) {
                Some(accepted) if *instructions <= bound(accepted) => {
                    if instructions * 100 < accepted * (100 - BOUND_PERCENT) {
                        say(&format!("{key} fell from {accepted} to {instructions}: run with --update"));
                    }
                }
                accepted => worse.push(format!("{key}: {instructions}, accepted {}", accepted.unwrap_or(0))),
            }
        }
        if worse.is_empty() { Ok(()) } else { Err(io::Error::other(worse.join("; "))) }
    }

    fn accepted(&self, kind: &Kind) -> Option<u64> {
        let accepted = self.accepted.get(kind.key?)?.as_integer()?;
        u64::try_from(accepted).ok()
    }
}

/// The most that a reading may be, beside the accepted one.
fn bound(accepted: u64) -> u64 {
    accepted * (100 + BOUND_PERCENT) / 100
}

/// `156900` as `156,900`.
fn grouped(number: u64) -> String {
    if number < 1000 {
        number.to_string()
    } else {
        format!("{},{:03}", grouped(number / 1000), number % 1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_back_of_a_fifth_fails_and_a_smaller_one_does_not() {
        let judge = |instructions| {
            let accepted = "gateway-public = 1000".parse().unwrap();
            Readings { rows: vec![(PUBLIC, instructions)], accepted }.judge().is_ok()
        };
        assert!([500, 1000, 1200].map(judge) == [true; 3]);
        assert!(!judge(1201));
        // A kind that nobody has accepted a reading of.
        assert!(Readings { rows: vec![(ONE, 1)], accepted: toml::Table::new() }.judge().is_err());
    }

    #[test]
    fn every_kind_has_an_accepted_reading_in_the_repository() {
        let accepted: toml::Table = fs::read_to_string(READINGS).unwrap().parse().unwrap();
        let readings = Readings { rows: Vec::new(), accepted };
        let kinds = [PUBLIC, AUTHENTICATED, ASKED, HS256, EDDSA, ONE, LIST];
        for kind in &kinds {
            assert!(readings.accepted(kind).is_some(), "{}", kind.name);
        }
        assert_eq!(readings.accepted.len(), kinds.len());
    }

    #[test]
    fn numbers_are_grouped_by_threes() {
        assert_eq!(
            [0, 999, 1000, 43_500, 1_234_567].map(grouped),
            ["0", "999", "1,000", "43,500", "1,234,567"]
        );
    }
}
