//! task-service: tasks, each seen only by its owner.

use std::process::ExitCode;

fn main() -> ExitCode {
    task_service::main(std::env::args_os())
}
