//! The bake-off: continual learning methods side by side on features of data sets, with a report,
//! and a stream played beside its baselines. The README of this crate says how to run it.

pub mod bake_off;
mod dataset;
mod methods;
mod metrics;
pub mod report;
mod scenario;
pub mod stream;
