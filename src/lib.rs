//! Continual learning on the device: a frozen ONNX backbone turns frames into features, and
//! hand-written WGSL compute shaders (with a CPU twin) train the adapter and the heads by the Kaizen
//! method (Tang et al., WACV 2024), so that new classes are learned without forgetting the old ones.
//!
//! Modules are stacked in floors; each imports only from floors below (see `ARCHITECTURE.md`).

pub mod error;
pub mod ids;
pub mod rng;

pub mod event;

pub mod reference;
pub mod vision;

pub mod backbone;
pub mod gpu;

pub mod heads;

pub mod memory;

pub mod learn;

#[cfg(feature = "tract")]
pub mod export;
pub mod report;

pub mod session;

pub mod app;

pub use error::{Error, Result};
