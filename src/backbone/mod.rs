//! The frozen image backbone: preprocessed images in, features out. The only place that names ort and tract.
//!
//! A model is an ONNX file with an entry in `models/manifest.toml`, which says what it takes and gives and names it by
//! its SHA-256. It runs on ONNX Runtime (TensorRT, CUDA, CPU), if a library is found on this machine, or on tract,
//! which is compiled in. [`load`] takes what was asked for or fails; with [`Provider::Auto`] it takes the first that
//! runs and its [`ProviderReport`] says what and why.

mod accelerator;
mod batch;
mod environment;
mod library;
mod manifest;
mod onnxruntime;
mod provider;
#[cfg(feature = "tract")]
mod run_onnx;
#[cfg(feature = "tract")]
mod tract;

use std::path::{Path, PathBuf};

use ndarray::{Array2, ArrayView4};
use serde::Serialize;

pub(crate) use batch::pattern;
pub use manifest::{Channels, Layout, MANIFEST_FILE, Manifest, ModelEntry, Precision, locate, resolve};
pub use provider::{Provider, ProviderAttempt, ProviderReport};
#[cfg(feature = "tract")]
pub use run_onnx::{onnx, run_in_onnx_runtime, run_in_tract};

use crate::error::{Error, Result};
use environment::Environment;

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
        feature_class(self.spec().precision, self.provider().got)
    }
}

/// End of the class of features that TensorRT makes.
const TENSORRT_CLASS: &str = "-tensorrt";

/// The class of features that `provider` makes, see [`Backbone::feature_class`].
#[must_use]
pub fn feature_class(precision: Precision, provider: Provider) -> String {
    let suffix = if provider == Provider::TensorRt { TENSORRT_CLASS } else { "" };
    format!("{}{suffix}", precision.name())
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
    /// The class of features that a state holds already (see [`Backbone::feature_class`]): `auto` then takes TensorRT only,
    /// or anything but TensorRT.
    pub feature_class: Option<String>,
    /// Whether `auto` builds TensorRT's engine, which takes minutes, although something else could run.
    pub builds_engine: bool,
}

impl Default for BackboneOptions {
    fn default() -> Self {
        Self {
            model: None,
            models_dir: None,
            provider: Provider::Auto,
            ort_lib: None,
            threads: 0,
            feature_class: None,
            builds_engine: false,
        }
    }
}

/// The backbone that `options` ask for, tried with one inference on a fixed pattern.
///
/// # Errors
/// [`Error::Model`] and [`Error::Shape`] if the file is not what its manifest entry says, [`Error::Provider`] if a
/// provider that was asked for cannot run here, or, with `auto`, none can.
pub fn load(options: &BackboneOptions) -> Result<Box<dyn Backbone>> {
    let environment = Environment::of_process()?;
    let entry = manifest::resolve_in(options.model.as_deref(), options.models_dir.as_deref(), &environment)?;
    let onnx = entry.read()?;
    let spec = BackboneSpec::from(&entry);
    let mut attempts: Vec<ProviderAttempt> = Vec::new();
    let chain = chain(options);
    // One that is asked for, or that alone will do, may take its time.
    let waits = options.builds_engine || chain.len() == 1;
    for provider in chain {
        match open(provider, options, &environment, &spec, (&onnx, waits), &attempts) {
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
    let way_out = match (options.provider, &options.feature_class) {
        (Provider::Cuda | Provider::TensorRt, _) => {
            "; give a library that has it by --ort-lib (NVIDIA's `onnxruntime-gpu` wheel), or take `--provider auto`"
                .to_owned()
        }
        (Provider::Auto, Some(class)) if class.ends_with(TENSORRT_CLASS) => format!(
            "; the state holds features of class `{class}`, which TensorRT alone makes: `kaizen rebase --provider cpu` \
             makes others of them"
        ),
        _ => String::new(),
    };
    Err(Error::Provider { asked: options.provider.to_string(), reason: reason + &way_out })
}

/// Path and version of the ONNX Runtime library that this process uses, e.g. `ONNX Runtime 1.31.1 at …`; loads it.
///
/// # Errors
/// [`Error::Provider`] with the places looked at and the command that installs one.
pub fn find_onnx_runtime(ort_lib: Option<&Path>) -> Result<String> {
    let found = library::runtime(ort_lib, &Environment::of_process()?);
    let runtime = found.map_err(|reason| Error::Provider { asked: Provider::Cpu.to_string(), reason })?;
    Ok(runtime.describe())
}

/// Whether these options come to TensorRT whose engine is still to be built, while CUDA could run at once.
///
/// # Errors
/// As [`load`] for the model; a provider that cannot run is no error here.
pub fn awaits_engine(options: &BackboneOptions) -> Result<bool> {
    if chain(options) != [Provider::TensorRt] {
        return Ok(false);
    }
    let environment = Environment::of_process()?;
    let entry = manifest::resolve_in(options.model.as_deref(), options.models_dir.as_deref(), &environment)?;
    let Ok(runtime) = library::runtime(options.ort_lib.as_deref(), &environment) else { return Ok(false) };
    let can_run = |provider| accelerator::check_library(provider, runtime).is_ok();
    Ok(can_run(Provider::TensorRt)
        && can_run(Provider::Cuda)
        && !accelerator::has_engine(&entry.sha256, runtime, &environment))
}

/// The providers to try, in order.
fn chain(options: &BackboneOptions) -> Vec<Provider> {
    let Provider::Auto = options.provider else { return vec![options.provider] };
    let mut chain = vec![Provider::TensorRt, Provider::Cuda, Provider::Cpu, Provider::Tract];
    if let Some(class) = &options.feature_class {
        let is_of_tensorrt = class.ends_with(TENSORRT_CLASS);
        chain.retain(|provider| (*provider == Provider::TensorRt) == is_of_tensorrt);
    }
    chain
}

fn open(
    got: Provider,
    options: &BackboneOptions,
    environment: &Environment,
    spec: &BackboneSpec,
    (onnx, waits): (&[u8], bool),
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
        let runtime = library::runtime(options.ort_lib.as_deref(), environment)
            .map_err(|reason| Error::Provider { asked: got.to_string(), reason })?;
        let source = onnxruntime::Source { spec, onnx, runtime, threads: options.threads };
        if got == Provider::TensorRt && !waits {
            accelerator::require_engine(spec, runtime, environment)
                .map_err(|reason| Error::Provider { asked: got.to_string(), reason })?;
        }
        let report = report(runtime.describe());
        Box::new(if onnxruntime::is_accelerator(got) {
            onnxruntime::OrtBackbone::on_accelerator(&source, report, environment)?
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
