//! The command line.

mod backup;
#[cfg(feature = "tract")]
mod bench_paper;
mod bench_step;
#[cfg(feature = "tract")]
mod bench_tail;
mod board;
mod byte_size;
mod check;
mod cli;
mod doctor;
mod events;
#[cfg(feature = "tract")]
mod export;
mod export_data;
mod history;
#[cfg(feature = "serve")]
mod http;
mod images;
mod learn;
mod log;
mod manual;
mod on_state;
mod options;
mod outcome;
mod output;
mod predict;
mod rebase;
mod record;
#[cfg(feature = "serve")]
mod serve;
#[cfg(feature = "serve")]
mod server_options;
mod table;
mod teach;
mod unknowns;
mod warmup;

pub use cli::run;
