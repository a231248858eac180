//! The Node.js processes: one for each version, for all servers of a test process.

use std::{
    io::{self, BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use serde_json::Value;

use crate::Version;

/// One of them. It ends when its standard input closes, so with the test process at the latest.
#[derive(Debug)]
pub struct Process(Mutex<Pipes>);

#[derive(Debug)]
struct Pipes {
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    _child: Child,
}

impl Process {
    /// The process of that version, started if need be.
    pub fn shared(version: Version, folder: &Path) -> Arc<Self> {
        static SHARED: [OnceLock<Arc<Process>>; Version::ALL.len()] = [const { OnceLock::new() }; 3];
        SHARED[version as usize].get_or_init(|| Arc::new(Self::start(version, folder))).clone()
    }

    /// One more.
    pub fn start(version: Version, folder: &Path) -> Self {
        let mut child = Command::new("node")
            .args(["servers.mjs", version.package()])
            .current_dir(folder)
            // A secret of whoever runs the tests must not take part.
            .env_remove("BETTER_AUTH_SECRET")
            .env_remove("BETTER_AUTH_SECRETS")
            .env_remove("AUTH_SECRET")
            .env("TZ", "UTC")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("npm brings Node.js");
        let stdin = child.stdin.take().expect("it is piped");
        let stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        Self(Mutex::new(Pipes { stdin, stdout, _child: child }))
    }

    /// Sends one request and waits for the answer.
    pub fn ask(&self, line: &Value) -> io::Result<Value> {
        // A test that failed meanwhile has not hurt it: each question is answered by one line.
        let mut pipes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(pipes.stdin, "{line}")?;
        let mut answer = String::new();
        pipes.stdout.read_line(&mut answer)?;
        Ok(serde_json::from_str(&answer)?)
    }
}
