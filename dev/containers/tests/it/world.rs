//! The images that all tests share.

use std::{
    path::Path,
    process::Command,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
};

use dev_containers::{
    checkout::Checkout,
    engine::{self, answer},
};

pub const SERVICES: [&str; 3] = ["gateway", "auth-verifier", "task-service"];

/// The tags of what is built of this code, and of code that has changed since.
pub const VERSION: &str = "test";
pub const NEWER: &str = "test-newer";

/// What the newer code has in the place of a setting's default.
pub const CHANGE: (&str, &str, &str) = ("gateway/defaults.toml", "max_age_secs = 600", "max_age_secs = 601");

/// The engine is one, and so is the port: each test has both for itself.
pub fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A checkout of this code, of which the three images were built as `deploy/README.md` says; before it those of newer code.
pub fn built() -> &'static Checkout {
    static BUILT: OnceLock<Checkout> = OnceLock::new();
    BUILT.get_or_init(|| {
        engine::is_there();
        let checkouts = Path::new(env!("CARGO_TARGET_TMPDIR")).join("checkouts");
        let newer = Checkout::at(checkouts.join("newer"));
        newer.replace(CHANGE.0, CHANGE.1, CHANGE.2);
        let checkout = Checkout::at(checkouts.join("older"));
        checkout.age();
        build(&newer, NEWER, &["gateway"]);
        build(&checkout, VERSION, &[]);
        checkout
    })
}

fn build(checkout: &Checkout, version: &str, services: &[&str]) {
    let mut command = Command::new("deploy/build.sh");
    command.args(services).current_dir(checkout.folder()).env("USHER_VERSION", version);
    assert_eq!(answer(&mut command), format!("USHER_VERSION={version}"));
}

pub fn image(service: &str) -> String {
    format!("localhost/usher/{service}:{VERSION}")
}
