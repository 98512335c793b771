//! The command line.

mod account;
mod bench;
mod bench_step;
mod check;
mod cli;
mod configuration;
mod doctor;
#[cfg(feature = "tract")]
mod export;
mod export_data;
mod history;
mod images;
mod import;
mod learn;
mod manual;
mod options;
mod predict;
mod rebase;
mod teach;
mod unknowns;

pub use cli::run;
