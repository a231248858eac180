//! How Next.js reads a `.env` file: the frontend with Better Auth has its secret from there.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use dev_postgres::test::skip;
use serde_json::Value;

use crate::npm;

/// Lets `@next/env` read each of the cases, `{"file": base64, "process": {NAME: value}}`, and answers for each
/// `{"variables": {NAME: value}, "error": text}`; `None`, with a message, where there is no npm.
///
/// # Panics
///
/// Where Node.js fails, or is not there although the variable `CI` is set.
pub fn read_by_next(cases: &Value) -> Option<Vec<Value>> {
    let Some(folder) = npm::installed() else {
        skip("npm is not installed; install Node.js 20 or newer");
        return None;
    };
    let mut node = Command::new("node")
        .arg(folder.join("next-env.mjs"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("npm comes with Node.js");
    let mut input = node.stdin.take().expect("it is piped");
    input.write_all(cases.to_string().as_bytes()).expect("Node.js reads");
    drop(input);
    let output = node.wait_with_output().expect("Node.js ends");
    assert!(output.status.success(), "Node.js: {}", output.status);
    Some(serde_json::from_slice(&output.stdout).expect("it answers in JSON"))
}
