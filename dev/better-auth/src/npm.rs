//! The library, installed by npm: once for each target folder, by the first test that needs it.

use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

const PACKAGE: &str = include_str!("../npm/package.json");
const LOCK: &str = include_str!("../npm/package-lock.json");
const SCRIPTS: [(&str, &str); 3] = [
    ("frontend.mjs", include_str!("../npm/frontend.mjs")),
    ("servers.mjs", include_str!("../npm/servers.mjs")),
    ("next-env.mjs", include_str!("../npm/next-env.mjs")),
];

/// The folder that our scripts and the libraries stand in; `None` where there is no npm.
pub fn installed() -> Option<&'static Path> {
    static FOLDER: OnceLock<Option<PathBuf>> = OnceLock::new();
    FOLDER.get_or_init(install).as_deref()
}

/// Test binaries run side by side, so the first one installs while the others wait for it.
fn install() -> Option<PathBuf> {
    let base = scratch();
    fs::create_dir_all(&base).expect("the target folder can be written");
    let folder = base.join("better-auth");
    let turn = File::create(base.join("better-auth.lock")).expect("the target folder can be written");
    turn.lock().expect("a file can be locked");

    if fs::read_to_string(folder.join("package-lock.json")).is_ok_and(|lock| lock == LOCK) {
        // Another binary's Node.js may be reading the old one: it is replaced, never written to.
        for (name, text) in SCRIPTS {
            write(&base.join("script.new"), text);
            fs::rename(base.join("script.new"), folder.join(name)).expect("a file can be renamed");
        }
        return Some(folder);
    }
    // Complete or not there: what is half fetched never bears the final name.
    let fresh = base.join("better-auth.new");
    let _ = fs::remove_dir_all(&fresh);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&fresh).expect("the target folder can be written");
    for (name, text) in [("package.json", PACKAGE), ("package-lock.json", LOCK)].into_iter().chain(SCRIPTS) {
        write(&fresh.join(name), text);
    }
    let npm = Command::new("npm")
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
        .current_dir(&fresh)
        .stdin(Stdio::null())
        .output()
        .ok()?;
    assert!(npm.status.success(), "npm ci: {}", String::from_utf8_lossy(&npm.stderr));
    fs::rename(&fresh, &folder).expect("a folder can be renamed");
    Some(folder)
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).expect("the target folder can be written");
}

/// `target/tmp`, seen from a test program in `target/debug/deps`: only Cargo's own test binaries are told where it is.
fn scratch() -> PathBuf {
    let program = env::current_exe().expect("a program knows where it is");
    let deps = program.parent().filter(|folder| folder.ends_with("deps"));
    deps.and_then(|deps| deps.ancestors().nth(2)).map_or_else(env::temp_dir, |target| target.join("tmp"))
}
