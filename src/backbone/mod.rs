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
#[cfg(test)]
mod tests;
#[cfg(feature = "tract")]
mod tract;

pub(crate) use batch::pattern;
pub use load::{BackboneOptions, awaits_engine, find_onnx_runtime, load};
pub use manifest::{MANIFEST_FILE, Manifest, locate, resolve};
pub use provider::{Provider, ProviderAttempt, ProviderReport};
#[cfg(feature = "tract")]
pub use run_onnx::{onnx, run_in_onnx_runtime, run_in_tract};
pub use spec::{Backbone, BackboneSpec, Channels, Layout, Precision, feature_class};
