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
#[cfg(feature = "serve")]
mod http;
mod images;
mod learn;
mod options;
mod predict;
mod record;
#[cfg(feature = "serve")]
mod serve;
mod teach;
mod unknowns;

pub use cli::run;
