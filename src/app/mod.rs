//! The command line.

mod bench;
mod bench_step;
mod cli;
mod doctor;

pub use cli::run;
