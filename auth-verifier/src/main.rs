//! auth-verifier, the program.

use std::process::ExitCode;

fn main() -> ExitCode {
    auth_verifier::main(std::env::args_os())
}
