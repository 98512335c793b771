//! Continual learning methods side by side: the bake-off on features of data sets, and a stream played beside its
//! baselines.

pub mod bake_off;
pub mod dataset;
pub mod methods;
pub mod metrics;
pub mod report;
pub mod scenario;
pub mod stream;
