//! The binary as a process: what it says, to whom it listens, and how it ends.

use std::{
    io::{self, BufRead, BufReader, PipeReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Once, mpsc},
    thread,
    time::{Duration, Instant},
};

use chassis::process::signals::hangup_is_ignored;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::{
    runtime,
    signal::unix::{SignalKind, signal},
};

/// Longer than anything that is waited for may take on a slow machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Longer than any end takes that nothing holds up, and shorter than a drain that something does.
const SOON: Duration = Duration::from_secs(25);
const LONG: (&str, &str) = ("GATEWAY_SERVER__DRAIN_SECS", "55");

/// Nobody whom the deadlines of connections are to spare the wait.
const PATIENT: [(&str, &str); 3] = [
    ("GATEWAY_SERVER__HEAD_SECS", "300"),
    ("GATEWAY_VERIFIER__TIMEOUT_MS", "300000"),
    ("GATEWAY_LOG", "json"),
];

/// A gateway as a process, which ends with this.
pub struct Gateway {
    child: Child,
    pub traffic: SocketAddr,
    pub ops: SocketAddr,
    /// What is left of its log, line by line.
    log: Option<BufReader<PipeReader>>,
}

impl Gateway {
    pub fn start(variables: &[(&str, &str)]) -> Self {
        Self::run(Command::new(env!("CARGO_BIN_EXE_gateway")), variables)
    }

    /// Started by a shell that ignores SIGHUP, as `nohup` does.
    fn start_without_hangups() -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", "trap '' HUP; exec \"$0\"", env!("CARGO_BIN_EXE_gateway")]);
        Self::run(command, &[])
    }

    fn run(mut command: Command, variables: &[(&str, &str)]) -> Self {
        hear_hangups();
        let (reader, writer) = io::pipe().unwrap();
        let child = command
            .env_clear()
            .envs([("GATEWAY_LISTEN", "127.0.0.1:0"), ("GATEWAY_OPS_LISTEN", "127.0.0.1:0")])
            .envs(PATIENT.into_iter().chain(variables.iter().copied()))
            .current_dir(env!("CARGO_TARGET_TMPDIR"))
            .stdin(Stdio::null())
            .stderr(writer.try_clone().unwrap())
            .stdout(writer)
            .spawn()
            .unwrap();
        // The command holds the pipe's other end, too, and its end is what ends the log.
        drop(command);
        let mut log = BufReader::new(reader);
        let listening = next(&mut log, "listening");
        let address = |name: &str| listening[name].as_str().unwrap().parse().unwrap();
        Self { child, traffic: address("traffic"), ops: address("ops"), log: Some(log) }
    }

    pub fn tell(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end, however long that takes; how it ended, how long it took, and what it said since.
    pub fn end(mut self) -> (ExitStatus, Duration, Vec<Value>) {
        let began = Instant::now();
        let mut log = self.log.take().unwrap();
        let reading = thread::spawn(move || {
            let mut rest = String::new();
            log.read_to_string(&mut rest).unwrap();
            assert!(rest.ends_with('\n'), "the last line is whole");
            rest.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
        });
        let status = self.wait();
        (status, began.elapsed(), reading.join().unwrap())
    }

    fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "it ends");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until it has said that.
    pub fn says(&mut self, message: &str) -> Value {
        next(self.log.as_mut().unwrap(), message)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Has programs that are started from now on hear hangups, also where the tests were started to ignore them (`nohup`): what is
/// ignored stays so in whatever is started, but what is caught does not.
fn hear_hangups() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if hangup_is_ignored() {
            let runtime = runtime::Builder::new_current_thread().enable_io().build().unwrap();
            let _entered = runtime.enter();
            drop(signal(SignalKind::hangup()).unwrap());
        }
    });
}

fn next(log: &mut BufReader<PipeReader>, message: &str) -> Value {
    loop {
        let mut line = String::new();
        assert!(log.read_line(&mut line).unwrap() > 0, "nobody said {message}");
        let line: Value = serde_json::from_str(&line).expect(&line);
        if line["message"].as_str().is_some_and(|said| said.contains(message)) {
            return line;
        }
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

pub fn sent(address: SocketAddr, bytes: &str) -> TcpStream {
    let mut stream = connect(address);
    stream.write_all(bytes.as_bytes()).unwrap();
    stream
}

/// The status of an answer, and its body.
pub fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    let answer = answer(sent(address, &request));
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), body.to_owned())
}

/// A verifier that takes every question and answers none; each is told here.
pub fn silent_verifier() -> (String, mpsc::Receiver<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            // Something has come: the request is inside.
            let _ = stream.read(&mut [0; 16]);
            if sender.send(stream).is_err() {
                return;
            }
        }
    });
    (url, receiver)
}

/// The verdict that nobody is calling.
pub fn refuse(asked: &mut TcpStream) {
    asked.write_all(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n").unwrap();
}

/// All that comes until the connection is closed.
pub fn answer(mut client: TcpStream) -> String {
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    answer
}

const WAITS: &str = "GET /api/tasks/waits HTTP/1.1\r\nhost: a\r\nauthorization: Bearer x\r\n\r\n";

#[test]
fn a_log_that_nobody_reads_holds_up_neither_traffic_nor_the_operator_nor_the_end() {
    let mut gateway = Gateway::start(&[]);
    // Some eight megabytes of lines: more than the pipe and the buffer hold.
    let requests = 12_000;
    let path = "x".repeat(300);
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (address, path) = (gateway.traffic, path.clone());
            thread::spawn(move || {
                let mut stream = BufReader::new(connect(address));
                for _ in 0..requests / 4 {
                    let request = format!("HEAD /{path} HTTP/1.1\r\nhost: a\r\n\r\n");
                    stream.get_mut().write_all(request.as_bytes()).unwrap();
                    let mut line = String::new();
                    while line != "\r\n" {
                        line.clear();
                        assert!(stream.read_line(&mut line).unwrap() > 0);
                    }
                }
            })
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }

    assert_eq!(get(gateway.traffic, "/health").0, 200);
    assert_eq!(get(gateway.ops, "/livez").0, 200);
    assert_eq!(get(gateway.ops, "/readyz").0, 200);
    let (status, metrics) = get(gateway.ops, "/metrics");
    assert_eq!(status, 200);
    let value = |name: &str| -> u64 {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)).expect(name);
        line.trim().parse().unwrap()
    };
    assert!(value("log_lines_dropped_total") > 0);
    assert_eq!(value("http_requests_total{method=\"HEAD\",status=\"4xx\"}"), requests);

    gateway.tell(Signal::TERM);
    // Still nobody reads: only after its end.
    assert_eq!(gateway.wait().code(), Some(0));
    let (_, _, lines) = gateway.end();
    let accesses = lines.iter().filter(|line| line["target"] == "access").count();
    assert!((10..12_000).contains(&accesses), "whole lines, but not all: {accesses}");
}

#[test]
fn what_was_dropped_is_counted_from_the_start_and_a_log_that_is_read_is_complete() {
    let gateway = Gateway::start(&[]);
    for _ in 0..20 {
        assert_eq!(get(gateway.traffic, "/health").0, 200);
    }
    assert!(get(gateway.ops, "/metrics").1.contains("\nlog_lines_dropped_total 0\n"));
    gateway.tell(Signal::TERM);
    let (status, _, lines) = gateway.end();
    assert_eq!(status.code(), Some(0));
    assert_eq!(lines.iter().filter(|line| line["target"] == "access").count(), 20);
    assert_eq!(lines.last().unwrap()["message"], "stopped");
    assert!(lines.iter().all(|line| line["service"] == "gateway"), "each says who speaks");
}

#[test]
fn the_operator_is_answered_until_the_traffic_has_drained() {
    let (url, inside) = silent_verifier();
    let mut gateway = Gateway::start(&[("GATEWAY_AUTH_VERIFIER_URL", &url), LONG]);
    let client = sent(gateway.traffic, WAITS);
    let mut asked = inside.recv_timeout(PATIENCE).unwrap();
    gateway.tell(Signal::TERM);
    gateway.says("not ready any more");
    assert_eq!(get(gateway.ops, "/readyz").0, 503);
    assert_eq!(get(gateway.ops, "/livez").0, 200);
    // The one who waited has an answer, and with that the drain is over.
    refuse(&mut asked);
    assert!(answer(client).starts_with("HTTP/1.1 401"));
    let (status, took, _) = gateway.end();
    assert_eq!(status.code(), Some(0));
    assert!(took < SOON, "{took:?}");
}

#[test]
fn nobody_at_the_operators_listener_holds_up_the_end() {
    let gateway = Gateway::start(&[LONG]);
    let _silent = connect(gateway.ops);
    let _half = sent(gateway.ops, "GET /livez HTTP/1.1\r\nhost");
    let _idle = sent(gateway.ops, "GET /livez HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(get(gateway.ops, "/livez").0, 200, "those before it have been accepted");
    gateway.tell(Signal::TERM);
    let (status, took, _) = gateway.end();
    assert_eq!(status.code(), Some(0));
    assert!(took < SOON, "{took:?}");
}

#[test]
fn the_end_has_a_deadline_and_what_it_cuts_short_is_logged_and_counted() {
    let (url, inside) = silent_verifier();
    let short = [("GATEWAY_SERVER__DRAIN_SECS", "1"), ("GATEWAY_SERVER__DRAIN_DELAY_SECS", "1")];
    let gateway = Gateway::start(&[("GATEWAY_AUTH_VERIFIER_URL", &*url), short[0], short[1]]);
    let _silent = connect(gateway.traffic);
    let _half = sent(gateway.traffic, "GET /half HTTP/1.1\r\nhost");
    let _waits = sent(gateway.traffic, WAITS);
    let _asked = inside.recv_timeout(PATIENCE).unwrap();
    gateway.tell(Signal::TERM);
    let (status, took, lines) = gateway.end();
    assert_eq!(status.code(), Some(0));
    assert!(took < SOON, "{took:?}");
    let access: Vec<_> = lines.iter().filter(|line| line["target"] == "access").collect();
    let [access] = &access[..] else { panic!("{access:?}") };
    assert_eq!(access["path"], "/api/tasks/waits");
    assert_eq!(access["status"], 499);
    assert_eq!(access["cut"], true);
    let cut = lines.iter().find(|line| line["message"].as_str().unwrap().starts_with("cut short"));
    assert_eq!(cut.unwrap()["requests"], 1);
}

#[test]
fn a_client_that_leaves_by_itself_was_not_cut_short() {
    let (url, inside) = silent_verifier();
    let mut gateway = Gateway::start(&[("GATEWAY_AUTH_VERIFIER_URL", &url)]);
    let waits = sent(gateway.traffic, WAITS);
    let _asked = inside.recv_timeout(PATIENCE).unwrap();
    drop(waits);
    let access = gateway.says("/api/tasks/waits 499");
    assert_eq!(access.get("cut"), None);
}

#[test]
fn a_second_signal_of_any_kind_ends_it_at_once_with_what_it_has_to_say() {
    for [first, second] in
        [[Signal::TERM, Signal::INT], [Signal::INT, Signal::TERM], [Signal::QUIT, Signal::QUIT]]
    {
        let (url, inside) = silent_verifier();
        let mut gateway = Gateway::start(&[("GATEWAY_AUTH_VERIFIER_URL", &url), LONG]);
        let _waits = sent(gateway.traffic, WAITS);
        let _asked = inside.recv_timeout(PATIENCE).unwrap();
        gateway.tell(first);
        gateway.says("told to stop");
        gateway.tell(second);
        let (status, took, lines) = gateway.end();
        assert_eq!(status.code(), Some(130), "{first:?} {second:?}");
        assert!(took < SOON, "{took:?}");
        assert!(lines.iter().any(|line| line["target"] == "access" && line["cut"] == true), "{lines:?}");
        assert_eq!(lines.last().unwrap()["message"], "stopped at once");
    }
}

#[test]
fn a_signal_and_its_echo_are_one() {
    let (url, inside) = silent_verifier();
    let mut gateway = Gateway::start(&[("GATEWAY_AUTH_VERIFIER_URL", &url), LONG]);
    let client = sent(gateway.traffic, WAITS);
    let mut asked = inside.recv_timeout(PATIENCE).unwrap();
    // As `timeout` does it: to the process, and to its group.
    gateway.tell(Signal::TERM);
    gateway.tell(Signal::TERM);
    gateway.says("not ready any more");
    refuse(&mut asked);
    assert!(answer(client).starts_with("HTTP/1.1 401"), "the one in flight is answered");
    assert_eq!(gateway.end().0.code(), Some(0));
}

#[test]
fn a_hangup_drains_and_never_cuts_a_drain_short() {
    let (url, inside) = silent_verifier();
    let mut gateway = Gateway::start(&[("GATEWAY_AUTH_VERIFIER_URL", &url), LONG]);
    let client = sent(gateway.traffic, WAITS);
    let mut asked = inside.recv_timeout(PATIENCE).unwrap();
    gateway.tell(Signal::HUP);
    gateway.says("not ready any more");
    // As systemd may: both, in any order.
    gateway.tell(Signal::TERM);
    gateway.says("told to stop");
    gateway.tell(Signal::HUP);
    gateway.says("told to stop");
    refuse(&mut asked);
    assert!(answer(client).starts_with("HTTP/1.1 401"), "the one in flight is answered");
    assert_eq!(gateway.end().0.code(), Some(0));
}

#[test]
fn who_was_told_to_ignore_hangups_outlives_the_terminal() {
    let gateway = Gateway::start_without_hangups();
    gateway.tell(Signal::HUP);
    for _ in 0..5 {
        assert_eq!(get(gateway.ops, "/readyz").0, 200);
    }
    gateway.tell(Signal::TERM);
    let (status, _, lines) = gateway.end();
    assert_eq!(status.code(), Some(0));
    assert!(!lines.iter().any(|line| line["signal"] == "SIGHUP"));
}

#[test]
fn an_error_on_the_way_is_told_even_where_nobody_reads_the_log() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (_unread, mut writer) = io::pipe().unwrap();
    // Filled to the brim, by a thread that is left behind.
    let filling = writer.try_clone().unwrap();
    thread::spawn(move || while writer.write(&[b'x'; 4096]).is_ok() {});
    thread::sleep(Duration::from_millis(100));
    let child = Command::new(env!("CARGO_BIN_EXE_gateway"))
        .env_clear()
        .envs([("GATEWAY_LISTEN", &*address), ("GATEWAY_OPS_LISTEN", "127.0.0.1:0")])
        .current_dir(env!("CARGO_TARGET_TMPDIR"))
        .stdin(Stdio::null())
        .stdout(filling.try_clone().unwrap())
        .stderr(filling)
        .spawn()
        .unwrap();
    let mut gateway =
        Gateway { child, traffic: taken.local_addr().unwrap(), ops: taken.local_addr().unwrap(), log: None };
    assert_eq!(gateway.wait().code(), Some(1));
}

#[test]
fn whatever_a_client_chooses_its_lines_stay_short() {
    let mut gateway = Gateway::start(&[]);
    let id = "i".repeat(64);
    let (method, path) = ("M".repeat(30_000), "\u{9b}ä".repeat(150));
    for request in [
        format!("{method} /health HTTP/1.1\r\nhost: a\r\nx-request-id: {id}\r\nconnection: close\r\n\r\n"),
        format!("GET /{path} HTTP/1.1\r\nhost: a\r\nx-request-id: {id}\r\nconnection: close\r\n\r\n"),
        format!(
            "GET /{} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n",
            "p".repeat(8000),
            "h".repeat(8000)
        ),
        format!(
            "GET / HTTP/1.1\r\nhost: a\r\nauthorization: {}\r\nconnection: close\r\n\r\n",
            "a".repeat(8000)
        ),
    ] {
        let mut stream = sent(gateway.traffic, &request);
        stream.read_to_end(&mut Vec::new()).unwrap();
    }
    gateway.tell(Signal::TERM);
    let mut text = String::new();
    gateway.log.as_mut().unwrap().read_to_string(&mut text).unwrap();
    assert!(text.contains(&format!("\"method\":\"{}\"", "M".repeat(32))), "{text}");
    for line in text.lines() {
        assert!(line.len() < 2000, "{line}");
        assert!(!line.chars().any(char::is_control), "{line:?}");
    }
    assert_eq!(gateway.wait().code(), Some(0));
}
