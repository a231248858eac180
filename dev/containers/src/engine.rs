//! The client of the container engine, as a person would call it.

use std::{ffi::OsStr, process::Command, sync::Once};

/// Runs `docker` and gives what it prints.
///
/// # Panics
///
/// Where it fails, with what it says.
#[track_caller]
pub fn docker<I: AsRef<OsStr>>(args: impl IntoIterator<Item = I>) -> String {
    let mut command = Command::new("docker");
    answer(command.args(args))
}

/// Runs `docker` and gives what it says, whether it fails or not, and whether it does.
///
/// # Panics
///
/// Where there is none.
pub fn try_docker<I: AsRef<OsStr>>(args: impl IntoIterator<Item = I>) -> (bool, String) {
    let output = Command::new("docker").args(args).output().expect("docker is installed");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

/// Runs a command and gives what it prints, without the last line's end.
///
/// # Panics
///
/// Where it fails, with what it says.
#[track_caller]
pub fn answer(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}", tail(&said));
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

/// A property of an image or a container, in the words of `docker inspect --format`.
#[track_caller]
pub fn inspect(what: &str, format: &str) -> String {
    docker(["inspect", "--format", format, what])
}

/// Sees to it that there is an engine.
///
/// # Panics
///
/// Where there is none.
pub fn is_there() {
    static ASKED: Once = Once::new();
    ASKED.call_once(|| {
        let (answers, said) = try_docker(["version"]);
        assert!(answers, "these tests need a container engine, as .ci/containers.sh brings one: {said}");
    });
}

/// The last lines, of what is long.
fn tail(text: &str) -> &str {
    const LINES: usize = 60;
    match text.rmatch_indices('\n').nth(LINES) {
        Some((at, _)) => &text[at..],
        None => text,
    }
}
