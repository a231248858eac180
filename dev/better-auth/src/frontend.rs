//! The code that a page of the documentation shows, run by Node.js with the library itself.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use dev_postgres::test::skip;
use serde_json::{Value, json};

use crate::{SECRET, npm};

/// An application made of such code, with a Better Auth of its own.
pub struct Frontend {
    /// Where its Better Auth is.
    pub url: String,
    node: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Frontend {
    /// Starts one of these files, by their paths (`lib/token.ts`); `None`, with a message, where there is no npm.
    ///
    /// # Panics
    ///
    /// Where Node.js fails, or the code does.
    pub fn start(files: &Value) -> Option<Self> {
        let Some(folder) = npm::installed() else {
            skip("npm is not installed; install Node.js 20 or newer");
            return None;
        };
        let mut node = Command::new("node")
            .arg(folder.join("frontend.mjs"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("npm comes with Node.js");
        let input = node.stdin.take().expect("it is piped");
        let output = BufReader::new(node.stdout.take().expect("it is piped"));
        let mut frontend = Self { url: String::new(), node, input, output };
        let started = frontend.ask(&json!({"files": files, "secret": SECRET}));
        started["url"]
            .as_str()
            .unwrap_or_else(|| panic!("the code of the page: {started}"))
            .clone_into(&mut frontend.url);
        Some(frontend)
    }

    /// What comes of it with the API there; see `npm/frontend.mjs`.
    ///
    /// # Panics
    ///
    /// Where Node.js fails.
    pub fn run(mut self, api: &str) -> Value {
        self.ask(&json!({"api": api}))
    }

    fn ask(&mut self, question: &Value) -> Value {
        writeln!(self.input, "{question}").expect("Node.js reads");
        let mut line = String::new();
        self.output.read_line(&mut line).expect("Node.js answers");
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("Node.js answered {line:?}"))
    }
}

impl Drop for Frontend {
    fn drop(&mut self) {
        let _ = self.node.kill();
        let _ = self.node.wait();
    }
}
