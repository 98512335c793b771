//! The frozen image backbone: preprocessed images in, features out. The only place that names ort and tract.
//!
//! A model is an ONNX file with an entry in `models/manifest.toml`, which says what it takes and gives and names it by
//! its SHA-256. It runs on ONNX Runtime (TensorRT, CUDA, CPU), if a library is found on this machine, or on tract,
//! which is compiled in. [`load`] takes what was asked for or fails; with [`Provider::Auto`] it takes the first that
//! runs and its [`ProviderReport`] says what and why.

mod accelerator;
mod batch;
mod library;
mod manifest;
mod onnxruntime;
mod places;
mod provider;
#[cfg(feature = "tract")]
mod tract;
#[cfg(feature = "tract")]
mod whole;

use std::path::{Path, PathBuf};

use ndarray::{Array2, ArrayView4};
use serde::Serialize;

pub(crate) use batch::pattern;
pub use manifest::{Channels, Layout, MANIFEST_FILE, Manifest, ModelEntry, Precision, locate, resolve};
pub use provider::{Provider, ProviderAttempt, ProviderReport};
#[cfg(feature = "tract")]
pub use whole::{onnx, run_in_onnx_runtime, run_in_tract};

use crate::error::{Error, Result};
use places::Places;

/// A frozen network that turns images into features.
pub trait Backbone: Send {
    /// The model.
    fn spec(&self) -> &BackboneSpec;

    /// What runs it.
    fn provider(&self) -> &ProviderReport;

    /// Features `[B, D]` of images `[B, 3, S, S]` (RGB, `(pixel - mean) / std`), any B, also 0; row-major. An image's
    /// features do not depend on the rest of the batch, up to rounding.
    ///
    /// # Errors
    /// [`Error::Shape`] for another shape; [`Error::Frame`], naming the row, if a pixel or a feature is not finite;
    /// [`Error::Provider`] if the runtime fails.
    fn embed(&mut self, images: ArrayView4<'_, f32>) -> Result<Array2<f32>>;

    /// Another one for another thread, on so many CPU threads (0: one per core), that shares this one's weights; `None`
    /// where the runtime cannot share them, so that a second one is to be loaded.
    ///
    /// # Errors
    /// [`Error::Provider`] if its threads cannot be started.
    fn share(&self, _threads: usize) -> Result<Option<Box<dyn Backbone>>> {
        Ok(None)
    }

    /// Features of one class may be mixed; those of another precision, or of TensorRT, which rounds its own way, are
    /// other features: `fp32`, `fp16`, `int8`, `fp32-tensorrt`, …
    fn feature_class(&self) -> String {
        let precision = self.spec().precision.name();
        match self.provider().got {
            Provider::TensorRt => format!("{precision}-tensorrt"),
            _ => precision.into(),
        }
    }
}

/// What a backbone takes and gives.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BackboneSpec {
    /// Name in the manifest.
    pub name: String,
    /// The ONNX file.
    pub path: PathBuf,
    /// SHA-256 of the file, which was checked, 64 hexadecimal digits.
    pub sha256: String,
    /// Side S of the square input, pixels.
    pub input_size: usize,
    /// Per channel (RGB), subtracted from the pixel value 0..255.
    pub mean: [f32; 3],
    /// Per channel (RGB), divides what is left.
    pub std: [f32; 3],
    /// Width D of the features.
    pub feature_width: usize,
    /// Number format of weights and activations.
    pub precision: Precision,
}

impl From<&ModelEntry> for BackboneSpec {
    fn from(entry: &ModelEntry) -> Self {
        Self {
            name: entry.name.clone(),
            path: entry.path(),
            sha256: entry.sha256.clone(),
            input_size: entry.input_size,
            mean: entry.mean,
            std: entry.std,
            feature_width: entry.feature_width,
            precision: entry.precision,
        }
    }
}

/// What to load and where to run it.
#[derive(Clone, Debug)]
pub struct BackboneOptions {
    /// Name in the manifest or path of an `.onnx` file; the manifest's default if `None`.
    pub model: Option<String>,
    /// Folder with the manifest; searched for if `None` (see [`locate`]).
    pub models_dir: Option<PathBuf>,
    /// Where to run it.
    pub provider: Provider,
    /// The ONNX Runtime library; searched for if `None`.
    pub ort_lib: Option<PathBuf>,
    /// CPU threads; 0 for one per core.
    pub threads: usize,
}

impl Default for BackboneOptions {
    fn default() -> Self {
        Self { model: None, models_dir: None, provider: Provider::Auto, ort_lib: None, threads: 0 }
    }
}

/// The backbone that `options` ask for, tried with one inference on a fixed pattern.
///
/// # Errors
/// [`Error::Model`] and [`Error::Shape`] if the file is not what its manifest entry says, [`Error::Provider`] if a
/// provider that was asked for cannot run here, or, with `auto`, none can.
pub fn load(options: &BackboneOptions) -> Result<Box<dyn Backbone>> {
    let places = Places::of_process()?;
    let entry = manifest::resolve_in(options.model.as_deref(), options.models_dir.as_deref(), &places)?;
    let onnx = entry.read()?;
    let spec = BackboneSpec::from(&entry);
    let mut attempts: Vec<ProviderAttempt> = Vec::new();
    for provider in chain(options.provider) {
        match open(provider, options, &places, &spec, &onnx, &attempts) {
            Ok(backbone) => return Ok(backbone),
            Err(Error::Provider { reason, .. }) => {
                attempts.push(ProviderAttempt { provider, failure: Some(reason) });
            }
            Err(other) => return Err(other),
        }
    }
    let reasons: Vec<_> = attempts.iter().filter_map(|a| Some((a.provider, a.failure.as_deref()?))).collect();
    let reason = match reasons.as_slice() {
        [(_, only)] => (*only).to_owned(),
        several => several.iter().map(|(p, why)| format!("{p}: {why}")).collect::<Vec<_>>().join("; "),
    };
    Err(Error::Provider { asked: options.provider.to_string(), reason })
}

/// Path and version of the ONNX Runtime library that this process uses, e.g. `ONNX Runtime 1.31.1 at …`; loads it.
///
/// # Errors
/// [`Error::Provider`] with the places looked at and the command that installs one.
pub fn find_onnx_runtime(ort_lib: Option<&Path>) -> Result<String> {
    let found = library::runtime(ort_lib, &Places::of_process()?);
    let runtime = found.map_err(|reason| Error::Provider { asked: Provider::Cpu.to_string(), reason })?;
    Ok(runtime.describe())
}

/// The providers to try, in order.
fn chain(asked: Provider) -> Vec<Provider> {
    match asked {
        Provider::Auto => vec![Provider::TensorRt, Provider::Cuda, Provider::Cpu, Provider::Tract],
        one => vec![one],
    }
}

fn open(
    got: Provider,
    options: &BackboneOptions,
    places: &Places,
    spec: &BackboneSpec,
    onnx: &[u8],
    before: &[ProviderAttempt],
) -> Result<Box<dyn Backbone>> {
    let report = |runtime: String| {
        let mut attempts = before.to_vec();
        attempts.push(ProviderAttempt { provider: got, failure: None });
        ProviderReport { asked: options.provider, got, runtime, attempts }
    };
    let mut backbone: Box<dyn Backbone> = if got == Provider::Tract {
        open_tract(spec, &report, onnx, options.threads)?
    } else {
        let runtime = library::runtime(options.ort_lib.as_deref(), places)
            .map_err(|reason| Error::Provider { asked: got.to_string(), reason })?;
        let source = onnxruntime::Source { spec, onnx, runtime, threads: options.threads };
        let report = report(runtime.describe());
        Box::new(if onnxruntime::is_accelerator(got) {
            onnxruntime::OrtBackbone::on_accelerator(&source, report, places)?
        } else {
            onnxruntime::OrtBackbone::on_cpu(&source, report)?
        })
    };
    backbone.embed(batch::pattern(1, spec.input_size).view()).map_err(|e| match e {
        Error::Frame { reason, .. } => {
            Error::Model { path: spec.path.clone(), reason: format!("tried with a fixed pattern: {reason}") }
        }
        other => other,
    })?;
    Ok(backbone)
}

#[cfg(feature = "tract")]
fn open_tract(
    spec: &BackboneSpec,
    report: &dyn Fn(String) -> ProviderReport,
    onnx: &[u8],
    threads: usize,
) -> Result<Box<dyn Backbone>> {
    let report = report(tract::RUNTIME.into());
    Ok(Box::new(tract::TractBackbone::load(spec.clone(), report, onnx, threads)?))
}

#[cfg(not(feature = "tract"))]
fn open_tract(
    _: &BackboneSpec,
    _: &dyn Fn(String) -> ProviderReport,
    _: &[u8],
    _: usize,
) -> Result<Box<dyn Backbone>> {
    Err(Error::Provider { asked: Provider::Tract.to_string(), reason: accelerator::not_compiled_in("tract") })
}

#[cfg(test)]
mod tests;
