//! The `kaizen` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    kaizen_edge::app::run().unwrap_or_else(|error| {
        eprintln!("kaizen: {}", kaizen_edge::app::sentence(&error));
        ExitCode::FAILURE
    })
}
