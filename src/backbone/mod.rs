//! The frozen image backbone: preprocessed images in, features out. No other module names ort and
//! tract.
//!
//! A model is an ONNX file with an entry in `models/manifest.toml`, which describes its input and
//! output and identifies it by its SHA-256. It runs on ONNX Runtime (TensorRT, CUDA, CPU), if a
//! library is found on this machine, or on tract, which is compiled in. [`load`] takes the provider
//! that was asked for or fails; with [`Provider::Auto`] it takes the first that runs, and its
//! [`ProviderReport`] tells which and why.

mod accelerator;
mod batch;
mod engine_folder;
mod environment;
mod library;
mod load;
mod manifest;
mod onnxruntime;
mod provider;
#[cfg(feature = "tract")]
mod run_onnx;
mod spec;
#[cfg(feature = "tract")]
mod tail_session;
#[cfg(test)]
mod tests;
#[cfg(feature = "tract")]
mod tract;

pub(crate) use batch::pattern;
#[cfg(any(feature = "serve", test))]
pub(crate) use load::awaits_engine;
#[cfg(feature = "tract")]
pub(crate) use load::load_graph;
pub use load::{BackboneOptions, find_onnx_runtime, load};
pub use manifest::resolve;
pub(crate) use manifest::{Manifest, locate};
pub use provider::{Provider, ProviderAttempt, ProviderReport};
#[cfg(feature = "tract")]
pub(crate) use run_onnx::{InputValue, onnx, output_sizes};
#[cfg(feature = "tract")]
pub use run_onnx::{run_in_onnx_runtime, run_in_tract};
#[cfg(any(feature = "serve", test))]
pub(crate) use spec::feature_class;
pub use spec::{Backbone, BackboneSpec, Channels, Layout, Precision};
#[cfg(feature = "tract")]
pub(crate) use tail_session::TailSession;
