//! Takes the provider that was asked for or, with `auto`, the first that runs.

use std::path::{Path, PathBuf};

use super::accelerator;
use super::batch::pattern;
use super::environment::Environment;
use super::library;
use super::manifest::resolve;
use super::onnxruntime::{OrtBackbone, Source};
use super::provider::{Provider, ProviderAttempt, ProviderReport};
use super::spec::{Backbone, BackboneSpec, TENSORRT_CLASS};
#[cfg(feature = "tract")]
use super::tract;
use crate::error::{Error, Result};

/// What to load and where to run it.
#[derive(Clone, Debug)]
pub struct BackboneOptions {
    /// Name in the manifest or path of an `.onnx` file; the manifest's default if `None`.
    pub model: Option<String>,
    /// Folder with the manifest; if `None`, `models` is looked for in the working directory, above
    /// the program and in the data folders of the user and of the system.
    pub models_dir: Option<PathBuf>,
    /// Where to run it.
    pub provider: Provider,
    /// The ONNX Runtime library; searched for if `None`.
    pub ort_lib: Option<PathBuf>,
    /// CPU threads; 0 for one per core.
    pub threads: usize,
    /// The class of features that a state holds already, as [`super::Backbone::feature_class`]
    /// names it: `auto` then takes TensorRT only, or anything but TensorRT.
    pub feature_class: Option<String>,
    /// Whether `auto` builds TensorRT's engine, which takes minutes, although something else could
    /// run.
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

/// Returns the backbone that `options` ask for, tried with one inference on a fixed pattern.
///
/// # Errors
/// [`Error::Model`] and [`Error::Shape`] if the file is not what its manifest entry says,
/// [`Error::Provider`] if a provider that was asked for cannot run here, or, with `auto`, none can.
pub fn load(options: &BackboneOptions) -> Result<Box<dyn Backbone>> {
    let spec = resolve(options.model.as_deref(), options.models_dir.as_deref())?;
    load_graph(options, &spec, &spec.read()?)
}

/// As [`load`] for the graph `onnx`, which need not be a file: it is what `spec` describes.
///
/// # Errors
/// As [`load`].
pub(crate) fn load_graph(
    options: &BackboneOptions,
    spec: &BackboneSpec,
    onnx: &[u8],
) -> Result<Box<dyn Backbone>> {
    let environment = Environment::of_process()?;
    let mut attempts: Vec<ProviderAttempt> = Vec::new();
    let chain = chain(options);
    // A provider that is asked for, or that alone will do, may take its time.
    let waits = options.builds_engine || chain.len() == 1;
    for provider in chain {
        match open(provider, options, &environment, spec, (onnx, waits), &attempts) {
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
    Err(options.provider.refused(reason + &way_out))
}

/// Returns name, version and path of the ONNX Runtime library that this process uses, and loads it.
///
/// # Errors
/// [`Error::Provider`] with the places searched and the command that installs one.
pub fn find_onnx_runtime(ort_lib: Option<&Path>) -> Result<String> {
    let found = library::runtime(ort_lib, &Environment::of_process()?);
    let runtime = found.map_err(|reason| Provider::Cpu.refused(reason))?;
    Ok(format!("{} at {}", runtime.name(), runtime.path.display()))
}

/// Returns whether these options lead to TensorRT whose engine for the graph with the SHA-256 that
/// `sha256` finds is still to be built, while CUDA could run at once.
///
/// # Errors
/// Those of the process's environment and of `sha256`, which is asked only where both can run; a
/// provider that cannot run is no error here.
#[cfg(any(feature = "serve", test))]
pub(crate) fn awaits_engine(
    options: &BackboneOptions,
    sha256: impl FnOnce() -> Result<String>,
) -> Result<bool> {
    if chain(options) != [Provider::TensorRt] {
        return Ok(false);
    }
    let environment = Environment::of_process()?;
    let Ok(runtime) = library::runtime(options.ort_lib.as_deref(), &environment) else { return Ok(false) };
    let can_run = |provider| accelerator::check_library(provider, runtime).is_ok();
    Ok(can_run(Provider::TensorRt)
        && can_run(Provider::Cuda)
        && !accelerator::has_engine(&sha256()?, runtime, &environment))
}

/// Returns the providers to try, in order.
pub(super) fn chain(options: &BackboneOptions) -> Vec<Provider> {
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
    let report = |runtime: String, library: Option<PathBuf>| {
        let taken = ProviderAttempt { provider: got, failure: None };
        let attempts = before.iter().cloned().chain([taken]).collect();
        ProviderReport { asked: options.provider, got, runtime, library, attempts }
    };
    let mut backbone: Box<dyn Backbone> = if got == Provider::Tract {
        open_tract(spec, &report, onnx, options.threads)?
    } else {
        let failed = |reason: String| got.refused(reason);
        let runtime = library::runtime(options.ort_lib.as_deref(), environment).map_err(failed)?;
        let source = Source { spec, onnx, runtime, threads: options.threads };
        if got == Provider::TensorRt && !waits {
            accelerator::require_engine(spec, runtime, environment).map_err(failed)?;
        }
        let report = report(runtime.name(), Some(runtime.path.clone()));
        Box::new(if got == Provider::Cpu {
            OrtBackbone::on_cpu(&source, report)?
        } else {
            OrtBackbone::on_accelerator(&source, report, environment)?
        })
    };
    backbone.embed(pattern(1, spec.input_size).view()).map_err(|e| match e {
        Error::Frame { reason, .. } => {
            Error::Model { path: spec.path.clone(), reason: format!("tried with a fixed pattern: {reason}") }
        }
        other => other,
    })?;
    Ok(backbone)
}

/// Makes the report of a runtime from its name and its library.
type Report<'a> = dyn Fn(String, Option<PathBuf>) -> ProviderReport + 'a;

#[cfg(feature = "tract")]
fn open_tract(
    spec: &BackboneSpec,
    report: &Report<'_>,
    onnx: &[u8],
    threads: usize,
) -> Result<Box<dyn Backbone>> {
    let report = report(tract::RUNTIME.into(), None);
    Ok(Box::new(tract::TractBackbone::load(spec.clone(), report, onnx, threads)?))
}

#[cfg(not(feature = "tract"))]
fn open_tract(_: &BackboneSpec, _: &Report<'_>, _: &[u8], _: usize) -> Result<Box<dyn Backbone>> {
    Err(Provider::Tract.refused(accelerator::not_compiled_in("tract")))
}
