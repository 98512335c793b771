//! The `kaizen` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    kaizen_edge::run_program()
}
