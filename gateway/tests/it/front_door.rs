//! The program, where files are scarce and somebody takes what connections there are.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::Value;

/// What a loaded machine may need for an answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// The gateway, with a limit of open files.
fn command(files: usize) -> Command {
    let mut command = Command::new("sh");
    let script = format!("ulimit -n {files} && exec \"$0\" --until-stdin-closes");
    command
        .args(["-c", &script, env!("CARGO_BIN_EXE_gateway")])
        .current_dir(env!("CARGO_TARGET_TMPDIR"))
        .env_clear()
        .env("GATEWAY_LISTEN", "127.0.0.1:0")
        .env("GATEWAY_OPS_LISTEN", "127.0.0.1:0")
        .env("GATEWAY_LOG", "json")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

struct Program {
    child: Child,
    traffic: SocketAddr,
    ops: SocketAddr,
    /// What it said before it listened.
    warnings: Vec<String>,
}

impl Program {
    fn start(files: usize) -> Self {
        let mut child = command(files).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut warnings = Vec::new();
        let (traffic, ops) = loop {
            let text = lines.next().expect("it starts").unwrap();
            let line: Value = serde_json::from_str(&text).unwrap();
            let address = |name: &str| line[name].as_str().unwrap().parse().unwrap();
            if line["level"] == "WARN" {
                warnings.push(text);
            } else if line["message"] == "listening" {
                break (address("traffic"), address("ops"));
            }
        };
        // Goes on reading, so that the log never blocks the program.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, traffic, ops, warnings }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn silent_connections_take_neither_readiness_nor_the_requests_of_others() {
    let files = 300;
    let program = Program::start(files);
    let told = program.warnings.iter().any(|line| line.contains("GATEWAY_SERVER__CONNECTIONS_MAX"));
    assert!(told, "the operator hears of it: {:?}", program.warnings);
    for address in [program.traffic, program.ops] {
        let silent: Vec<_> = (0..files).map(|_| TcpStream::connect(address).unwrap()).collect();
        for (address, path) in [(program.traffic, "/health"), (program.ops, "/readyz")] {
            for _ in 0..3 {
                let answer = get(address, path);
                assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer:?}");
            }
        }
        drop(silent);
    }
}

#[test]
fn with_too_few_files_it_does_not_start() {
    let output = command(255).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("open files is 255") && said.contains("256"), "{said}");
}
