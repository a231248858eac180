//! The launcher itself: what starts, what is printed, what comes back, and that nothing stays behind.
#![expect(clippy::unwrap_used, reason = "a test fails where it can't go on")]
#![expect(clippy::disallowed_methods, reason = "a test reads what we answered")]

mod database;
mod demo;
mod rights;
mod settings;

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU16, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

/// A slow machine's patience.
const PATIENCE: Duration = Duration::from_secs(120);

const READY: &str = "Everything runs.";

const ADDRESSES: [&str; 6] = [
    "GATEWAY_LISTEN",
    "AUTH_VERIFIER_LISTEN",
    "TASK_SERVICE_LISTEN",
    "GATEWAY_OPS_LISTEN",
    "AUTH_VERIFIER_OPS_LISTEN",
    "TASK_SERVICE_OPS_LISTEN",
];

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Ports that nobody listens on, below those that the system hands out by itself.
fn free_ports() -> [u16; 6] {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id() % 1000).unwrap() * 10;
    [(); 6].map(|()| {
        loop {
            let port = 20_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000;
            if TcpListener::bind(("127.0.0.1", port)).is_ok() {
                return port;
            }
        }
    })
}

/// A launcher, and all that it and its services have printed.
struct Launcher {
    process: Child,
    ports: [u16; 6],
    printed: Arc<Mutex<String>>,
}

impl Launcher {
    /// Starts one with the data in `folder`, and `further` variables.
    fn start(folder: &Path, further: &[(&str, &str)]) -> Self {
        let ports = free_ports();
        Self::run(&mut Self::command(folder, ports, further), ports)
    }

    /// Runs a command that [`Self::command`] made.
    fn run(command: &mut Command, ports: [u16; 6]) -> Self {
        hear_hangups();
        // Both in one pipe, so that lines come in the order in which they were written.
        let (reader, writer) = std::io::pipe().unwrap();
        let process = command.stdout(writer.try_clone().unwrap()).stderr(writer).spawn().unwrap();
        let printed = Arc::new(Mutex::new(String::new()));
        collect(reader, &printed);
        Self { process, ports, printed }
    }

    fn command(folder: &Path, ports: [u16; 6], further: &[(&str, &str)]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_usher"));
        for (name, _) in std::env::vars() {
            let ours = [
                "GATEWAY_",
                "AUTH_VERIFIER_",
                "TASK_SERVICE_",
                "BETTER_AUTH_",
                "NEON_AUTH_",
                "VITE_NEON_AUTH_",
                "DATABASE_URL",
                "APP_ENV",
                "NODE_ENV",
                "PORT",
            ];
            if ours.iter().any(|prefix| name.starts_with(prefix)) {
                command.env_remove(name);
            }
        }
        command
            .envs(ADDRESSES.into_iter().zip(ports.map(|port| format!("127.0.0.1:{port}"))))
            .env("USHER_DATA_DIR", folder.join("data"))
            .envs(further.iter().copied())
            // No `.env` is here.
            .current_dir(folder)
            .process_group(0)
            .stdin(Stdio::null());
        command
    }

    fn ready(folder: &Path, further: &[(&str, &str)]) -> Self {
        let launcher = Self::start(folder, further);
        launcher.await_line(READY);
        launcher
    }

    /// Another one in the place of this one: the same folder, the same ports.
    fn again(&self, folder: &Path) -> Self {
        let addresses = self.ports.map(|port| format!("127.0.0.1:{port}"));
        let further: Vec<_> = ADDRESSES.into_iter().zip(addresses.iter().map(String::as_str)).collect();
        Self::ready(folder, &further)
    }

    fn printed(&self) -> String {
        self.printed.lock().unwrap().clone()
    }

    fn await_line(&self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.printed().contains(text) {
            assert!(Instant::now() < deadline, "`{text}` was not printed:\n{}", self.printed());
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.process)
    }

    /// Its end, and that nothing is left of it.
    fn end(&mut self, folder: &Path, services: &[Process]) -> ExitStatus {
        let status = self.process.wait().unwrap();
        eventually("no service is left", || {
            processes().iter().all(|one| services.iter().all(|service| one.pid != service.pid))
        });
        let name = folder.file_name().unwrap().to_str().unwrap();
        eventually("no PostgreSQL is left", || processes().iter().all(|one| !one.command.contains(name)));
        for port in self.ports {
            TcpListener::bind(("127.0.0.1", port)).unwrap();
        }
        status
    }

    /// Its services.
    fn services(&self) -> Vec<Process> {
        let pid = self.pid().as_raw_nonzero().get();
        let all = processes().into_iter();
        all.filter(|one| one.parent == pid && one.command.contains("--until-stdin-closes")).collect()
    }

    fn service(&self, name: &str) -> Option<Process> {
        self.services().into_iter().find(|service| service.command.contains(name))
    }

    /// What a printed line of `curl` answers, its number counted from 0.
    fn curl(&self, line: usize) -> String {
        self.curl_with(line, &[])
    }

    /// The same where these variables are set.
    fn curl_with(&self, line: usize, variables: &[(&str, &str)]) -> String {
        let printed = self.printed();
        let line = printed.lines().filter(|line| line.starts_with("curl ")).nth(line).unwrap();
        let output = Command::new("sh").args(["-c", line]).envs(variables.iter().copied()).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Launcher {
    fn drop(&mut self) {
        // In good order, so that nobody writes to the folder when it is removed.
        if matches!(self.process.try_wait(), Ok(None)) {
            self.signal(Signal::TERM);
            let _ = self.process.wait();
        }
    }
}

fn collect(from: impl Read + Send + 'static, into: &Arc<Mutex<String>>) {
    let into = into.clone();
    thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            let mut printed = into.lock().unwrap();
            printed.push_str(&line);
            printed.push('\n');
        }
    });
}

#[derive(Clone, Debug)]
struct Process {
    pid: i32,
    parent: i32,
    command: String,
}

fn processes() -> Vec<Process> {
    let output = Command::new("ps").args(["-A", "-ww", "-o", "pid=,ppid=,args="]).output().unwrap();
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    let parse = |line: &str| {
        let (pid, rest) = line.trim_start().split_once(' ')?;
        let (parent, command) = rest.trim_start().split_once(' ')?;
        Some(Process { pid: pid.parse().ok()?, parent: parent.parse().ok()?, command: command.to_owned() })
    };
    lines.lines().filter_map(parse).collect()
}

fn is_ready(ops_port: u16) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", ops_port))?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200 "))
}

/// Has programs that are started from now on hear hangups, also where the tests were started to ignore them (`nohup`): what is
/// ignored stays so in whatever is started, but what is caught does not.
fn hear_hangups() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        if chassis::process::signals::hangup_is_ignored() {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
            let _entered = runtime.enter();
            drop(tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()).unwrap());
        }
    });
}

/// A folder for a launcher, or `None` where there is no PostgreSQL for it.
fn folder() -> Option<tempfile::TempDir> {
    use std::os::unix::fs::PermissionsExt;
    dev_postgres::test::database()?;
    let folder = tempfile::tempdir().unwrap();
    // As projects usually are: others may look.
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    Some(folder)
}

#[test]
fn the_printed_lines_work_as_they_are() {
    let Some(folder) = folder() else { return };
    let mut launcher = Launcher::ready(folder.path(), &[]);
    let services = launcher.services();
    assert_eq!(services.len(), 3);

    let created: serde_json::Value = serde_json::from_str(&launcher.curl(0)).unwrap();
    assert_eq!(created["title"], "Buy milk");
    assert_eq!(created["user_id"], "demo-user");
    let listed: serde_json::Value = serde_json::from_str(&launcher.curl(1)).unwrap();
    assert_eq!(listed[0]["id"], created["id"]);
    let health: serde_json::Value = serde_json::from_str(&launcher.curl(2)).unwrap();
    assert_eq!(health["status"], "healthy");

    launcher.signal(Signal::INT);
    assert!(launcher.end(folder.path(), &services).success());
    let stopped: Vec<_> = ["gateway", "task-service", "auth-verifier", "PostgreSQL"]
        .map(|who| launcher.printed().find(&format!("{who:<13}  stopped")).unwrap())
        .into();
    assert!(stopped.is_sorted(), "stopped in the reverse order of the start");
}

#[test]
fn a_healthy_first_start_has_nothing_to_warn_of() {
    let Some(folder) = folder() else { return };
    let mut launcher = Launcher::ready(folder.path(), &[]);
    assert!(launcher.curl(0).contains("Buy milk"));
    let services = launcher.services();
    launcher.signal(Signal::INT);
    assert!(launcher.end(folder.path(), &services).success());
    let printed = launcher.printed();
    let mut said = std::collections::BTreeSet::new();
    for line in printed.lines().filter(|line| line.starts_with('{')) {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["level"], "INFO", "{line}");
        // All write to one output.
        said.insert(line["service"].as_str().unwrap().to_owned());
    }
    assert_eq!(said.into_iter().collect::<Vec<_>>(), ["auth-verifier", "gateway", "task-service"]);
    assert!(!printed.contains("WARN") && !printed.contains("ERROR"), "{printed}");
}

#[test]
fn tasks_and_tokens_outlive_a_restart() {
    let Some(folder) = folder() else { return };
    let mut launcher = Launcher::ready(folder.path(), &[]);
    let created: serde_json::Value = serde_json::from_str(&launcher.curl(0)).unwrap();
    let services = launcher.services();
    launcher.signal(Signal::TERM);
    assert!(launcher.end(folder.path(), &services).success());

    let again = launcher.again(folder.path());
    // The old lines can be pasted again, too.
    for lines in [&launcher, &again] {
        let listed: serde_json::Value = serde_json::from_str(&lines.curl(1)).unwrap();
        assert_eq!(listed[0]["id"], created["id"]);
    }
}

#[test]
fn a_service_that_is_killed_comes_back_alone() {
    let Some(folder) = folder() else { return };
    let launcher = Launcher::ready(folder.path(), &[]);
    for (name, ops_port) in [
        ("task-service", launcher.ports[5]),
        ("auth-verifier", launcher.ports[4]),
        ("gateway", launcher.ports[3]),
    ] {
        let before = launcher.services();
        let killed = launcher.service(name).unwrap();
        kill_process(Pid::from_raw(killed.pid).unwrap(), Signal::KILL).unwrap();
        eventually("another one is started", || {
            launcher.service(name).is_some_and(|service| service.pid != killed.pid)
        });
        eventually("it is ready", || is_ready(ops_port));
        launcher.await_line(&format!("{name:<13}  ended (signal: 9 (SIGKILL)); starting it again"));
        let others = |services: Vec<Process>| -> Vec<i32> {
            services.iter().filter(|service| !service.command.contains(name)).map(|one| one.pid).collect()
        };
        assert_eq!(others(before), others(launcher.services()));
    }
    eventually("the whole path works", || launcher.curl(0).contains("Buy milk"));
}

#[test]
fn a_postgres_that_is_killed_comes_back_with_its_tasks() {
    let Some(folder) = folder() else { return };
    let launcher = Launcher::ready(folder.path(), &[]);
    assert!(launcher.curl(0).contains("Buy milk"));
    let data = format!("-D {}", folder.path().canonicalize().unwrap().display());
    let is_server = |one: &Process| one.command.contains(&data) && !one.command.contains("guard.sh");
    let server = processes().into_iter().find(is_server).unwrap();
    kill_process(Pid::from_raw(server.pid).unwrap(), Signal::KILL).unwrap();
    launcher.await_line("PostgreSQL     ended; starting it again");
    eventually("the task is listed again", || launcher.curl(1).contains("Buy milk"));
}

#[test]
fn nothing_outlives_a_launcher_that_is_killed() {
    let Some(folder) = folder() else { return };
    let mut launcher = Launcher::ready(folder.path(), &[]);
    let services = launcher.services();
    launcher.signal(Signal::KILL);
    assert!(!launcher.end(folder.path(), &services).success());
}

#[test]
fn a_killed_launcher_can_be_started_again_at_once() {
    let Some(folder) = folder() else { return };
    let mut launcher = Launcher::ready(folder.path(), &[]);
    assert!(launcher.curl(0).contains("Buy milk"));
    launcher.process.kill().unwrap();
    launcher.process.wait().unwrap();
    let again = launcher.again(folder.path());
    assert!(again.curl(1).contains("Buy milk"));
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let Some(folder) = folder() else { return };
    let mut launcher = Launcher::ready(folder.path(), &[]);
    let services = launcher.services();
    // A request that never ends, for which the gateway waits when it is told to stop.
    let mut stream = TcpStream::connect(("127.0.0.1", launcher.ports[0])).unwrap();
    let printed = launcher.printed();
    let token = printed.split("Bearer ").nth(1).unwrap().split('"').next().unwrap();
    let head = format!(
        "POST /api/tasks HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\n\
         expect: 100-continue\r\ncontent-length: 30\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    // The gateway reads the body, so the request is inside.
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 100");

    launcher.signal(Signal::INT);
    launcher.await_line("stopping");
    // A hangup asks for no more than that, another kind of signal does.
    launcher.signal(Signal::HUP);
    launcher.signal(Signal::TERM);
    assert_eq!(launcher.end(folder.path(), &services).code(), Some(130));
}

#[test]
fn a_terminal_that_goes_away_ends_it_in_order() {
    let Some(folder) = folder() else { return };
    let mut launcher = Launcher::ready(folder.path(), &[]);
    let services = launcher.services();
    launcher.signal(Signal::HUP);
    assert!(launcher.end(folder.path(), &services).success());
    assert!(launcher.printed().contains("PostgreSQL     stopped"));
}

#[test]
fn an_output_that_nobody_reads_holds_up_neither_the_services_nor_the_end() {
    let Some(folder) = folder() else { return };
    // The pipe is full before the first line, and stays so.
    let (unread, mut writer) = std::io::pipe().unwrap();
    let output = writer.try_clone().unwrap();
    let filling = thread::spawn(move || while writer.write(&[b'x'; 4096]).is_ok() {});
    let ports = free_ports();
    let mut command = Launcher::command(folder.path(), ports, &[]);
    let process = command.stdout(output.try_clone().unwrap()).stderr(output).spawn().unwrap();
    drop(command);
    let mut launcher = Launcher { process, ports, printed: Arc::default() };
    eventually("the gateway is ready", || is_ready(ports[3]));
    let services = launcher.services();
    launcher.signal(Signal::TERM);
    assert!(launcher.end(folder.path(), &services).success());
    drop(unread);
    filling.join().unwrap();
}

#[test]
fn a_signal_during_the_start_ends_it_too() {
    let Some(folder) = folder() else { return };
    let mut launcher = Launcher::start(folder.path(), &[]);
    launcher.await_line("ports");
    launcher.signal(Signal::INT);
    assert!(launcher.end(folder.path(), &[]).success(), "{}", launcher.printed());
    assert!(!launcher.printed().contains(READY));
}

/// Starts a launcher that must not get far, and returns the last line that it prints.
fn refusal(folder: &Path, further: &[(&str, &str)]) -> String {
    let mut launcher = Launcher::start(folder, further);
    assert_eq!(launcher.end(folder, &[]).code(), Some(1), "{}", launcher.printed());
    launcher.await_line("usher: ");
    let printed = launcher.printed();
    printed.lines().find_map(|line| line.strip_prefix("usher: ")).unwrap().to_owned()
}

#[test]
fn a_port_in_use_is_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = holder.local_addr().unwrap().to_string();
    let mut launcher = Launcher::start(folder.path(), &[("TASK_SERVICE_LISTEN", &address)]);
    assert_eq!(launcher.process.wait().unwrap().code(), Some(1));
    let port = holder.local_addr().unwrap().port();
    launcher.await_line(&format!(
        "usher: port {port} is in use: stop what listens there, or set TASK_SERVICE_LISTEN=127.0.0.1:"
    ));
}

#[test]
fn a_second_copy_is_one_sentence() {
    let Some(folder) = folder() else { return };
    let first = Launcher::ready(folder.path(), &[]);
    let mut second = Launcher::start(folder.path(), &[]);
    assert_eq!(second.process.wait().unwrap().code(), Some(1));
    second.await_line("usher: another copy runs with the data in ");
    assert!(first.curl(2).contains("healthy"));
}

#[test]
fn a_wrong_setting_is_said_and_leaves_nothing_running() {
    let folder = tempfile::tempdir().unwrap();
    let sentence = refusal(folder.path(), &[("GATEWAY_LISTEN", "8000")]);
    assert_eq!(
        sentence,
        "GATEWAY_LISTEN: `8000` is not an address with a port, such as 127.0.0.1:8000 (the default is 127.0.0.1:8000)"
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was made either");
}

#[test]
fn all_faults_of_all_services_are_the_last_words_before_anything_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let faults = [
        ("GATEWAY_LIMITS__BODY_BYTES", "many", "must be 1 to "),
        ("BETTER_AUTH_SECRET", "short", "must be at least 32 bytes"),
        ("TASK_SERVICE_MIGRATE", "true", "must be on or off (the default is on)"),
        ("RUST_LOG", "a=b=c", ""),
    ];
    let further: Vec<_> = faults.iter().map(|(name, value, _)| (*name, *value)).collect();
    let mut launcher = Launcher::start(folder.path(), &[&further[..], &[("DATABSE_URL", "x")]].concat());
    assert_eq!(launcher.end(folder.path(), &[]).code(), Some(1));
    let printed = launcher.printed();
    for (name, _, want) in faults {
        let line = format!("usher: {name}: {want}");
        assert_eq!(
            printed.lines().filter(|printed| printed.starts_with(&line)).count(),
            1,
            "{line}: {printed}"
        );
    }
    assert!(
        printed.contains("DATABSE_URL is not read by task-service; did you mean DATABASE_URL?"),
        "{printed}"
    );
    assert!(printed.lines().last().unwrap().starts_with("usher: "), "{printed}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was made");
}

#[test]
fn no_database_of_its_own_is_started_in_production() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(
        refusal(folder.path(), &[("APP_ENV", "production")]),
        "DATABASE_URL: names no database, and no development PostgreSQL is started where APP_ENV=production is set: set it"
    );
}

#[test]
fn where_neon_has_the_users_a_start_waits_for_nobody_and_makes_no_token() {
    let Some(folder) = folder() else { return };
    // Nobody listens there: Neon may be away at a start.
    let launcher =
        Launcher::ready(folder.path(), &[("NEON_AUTH_BASE_URL", "http://127.0.0.1:9/neondb/auth")]);
    let printed = launcher.printed();
    assert!(printed.contains("secret         our own, in "), "{printed}");
    assert!(printed.contains("  Your users          http://127.0.0.1:9/neondb/auth\n"), "{printed}");
    assert!(!printed.contains("auth-verifier token"), "{printed}");
    // What our own secret signs is nobody's token.
    let (_, file) = printed.split_once("our own, in ").unwrap();
    let secret = std::fs::read_to_string(file.lines().next().unwrap()).unwrap();
    let life = Duration::from_secs(60);
    let token = auth_verifier::diagnostics::dev_token::mint(secret.trim(), "demo-user", life);
    let answer = launcher.curl_with(1, &[("TOKEN", &token)]);
    assert!(answer.contains("\"status\":401"), "{answer}");
}

#[test]
fn with_a_secret_of_their_own_people_make_their_tokens() {
    let Some(folder) = folder() else { return };
    let secret = "a secret of their own, and long enough";
    // As it is when the lines are pasted into another terminal of the project: the secret is in its `.env`.
    std::fs::write(folder.path().join(".env"), format!("BETTER_AUTH_SECRET='{secret}'\n")).unwrap();
    let launcher = Launcher::ready(folder.path(), &[]);
    let printed = launcher.printed();
    assert!(printed.contains("using BETTER_AUTH_SECRET") && !printed.contains(secret), "{printed}");
    let line = printed.lines().find(|line| line.starts_with("curl ")).unwrap();
    let output = Command::new("sh").args(["-c", line]).current_dir(folder.path()).output().unwrap();
    assert!(String::from_utf8(output.stdout).unwrap().contains("Buy milk"), "{line}");
}
