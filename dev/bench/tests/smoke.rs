//! The benchmark still runs, and what it measures is still accepted.

use std::process::Command;

#[test]
fn everything_that_is_measured_is_accepted_and_what_is_forged_is_not() {
    if dev_postgres::test::database().is_none() {
        return;
    }
    let only = bench::proxies::missing().or_else(bench::tasks::missing).map(|missing| {
        dev_postgres::test::skip(missing);
        "cost"
    });
    let output = Command::new(env!("CARGO_BIN_EXE_bench")).arg("--smoke").args(only).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
