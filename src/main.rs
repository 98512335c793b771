//! The `kaizen` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    match kaizen_edge::app::run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("kaizen: {error:#}");
            ExitCode::FAILURE
        }
    }
}
