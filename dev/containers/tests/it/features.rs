//! What needs no engine.

use std::process::Command;

use dev_containers::engine::answer;

#[test]
fn no_postgresql_client_is_linked_into_the_gateway() {
    let tree = |package| {
        let args =
            ["tree", "--locked", "--offline", "--edges", "normal", "--prefix", "none", "--package", package];
        answer(Command::new(env!("CARGO")).args(args).current_dir(env!("CARGO_MANIFEST_DIR")))
    };
    let has_client = |package| tree(package).lines().any(|line| line.starts_with("tokio-postgres"));
    assert!(!has_client("gateway"));
    assert!(has_client("task-service"));
}
