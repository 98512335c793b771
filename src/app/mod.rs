//! The command line.

mod bench_step;
mod board;
mod check;
mod cli;
mod configuration;
mod console;
mod doctor;
#[cfg(feature = "tract")]
mod export;
mod export_data;
mod failure;
mod history;
#[cfg(feature = "serve")]
mod http;
mod images;
mod import;
mod learn;
mod manual;
mod options;
mod predict;
mod rebase;
mod record;
#[cfg(feature = "serve")]
mod serve;
mod table;
mod teach;
mod unknowns;
mod warmup;

pub use cli::run;
