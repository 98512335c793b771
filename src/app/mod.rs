//! The command line.

mod account;
mod bench;
mod bench_step;
mod check;
mod cli;
mod doctor;
#[cfg(feature = "tract")]
mod export;
mod history;
mod images;
mod learn;
mod options;
mod predict;
mod teach;
mod unknowns;

pub use cli::run;
