//! The backbone on ONNX Runtime: on the CPU, with CUDA or with TensorRT.

use ndarray::{Array2, ArrayView4, Axis};
use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::value::{Outlet, TensorElementType, TensorRef, ValueType};

use super::accelerator;
use super::batch::{CHUNK, check_declared, check_features, check_images, check_one_in_one_out, pattern};
use super::environment::Environment;
use super::library::Runtime;
use super::provider::ProviderReport;
use super::spec::{Backbone, BackboneSpec};
use crate::error::{Error, Result};

/// The least cosine between features of an accelerator and of the CPU for the same image.
const LEAST_COSINE: f32 = 0.99;

/// A backbone as one session of the process's environment.
pub(super) struct OrtBackbone {
    spec: BackboneSpec,
    report: ProviderReport,
    session: Session,
}

/// The parts that a session is made from.
pub(super) struct Source<'a> {
    pub(super) spec: &'a BackboneSpec,
    /// The bytes of the model file.
    pub(super) onnx: &'a [u8],
    pub(super) runtime: &'static Runtime,
    /// The number of threads within an operation; 0 leaves it to ONNX Runtime (one per core).
    pub(super) threads: usize,
}

impl OrtBackbone {
    /// Makes a session on the CPU.
    pub(super) fn on_cpu(source: &Source<'_>, report: ProviderReport) -> Result<Self> {
        let spec = source.spec.clone();
        let made =
            builder(source.runtime, source.threads).and_then(|mut b| b.commit_from_memory(source.onnx));
        let session = made.map_err(|e| {
            let reason = format!(
                "ONNX Runtime cannot load it (cut short, or too new for {}?): {e}",
                source.runtime.name()
            );
            Error::Model { path: spec.path.clone(), reason }
        })?;
        check_one_in_one_out(&spec, session.inputs().len(), session.outputs().len())?;
        let input = declared(&session.inputs()[0], &spec)?;
        let output = declared(&session.outputs()[0], &spec)?;
        check_declared(&spec, &input, &output)?;
        Ok(Self { spec, report, session })
    }

    /// Makes a session whose whole graph runs on CUDA or TensorRT; no part may go to the CPU
    /// unseen. Its features of a fixed pattern are compared with those of the CPU. The first
    /// TensorRT session for a model builds an engine, which takes from a minute to ten on a Jetson;
    /// it is kept on disk for the next start.
    pub(super) fn on_accelerator(
        source: &Source<'_>,
        report: ProviderReport,
        environment: &Environment,
    ) -> Result<Self> {
        let provider = report.got;
        let failed = |reason: String| provider.refused(reason);
        accelerator::check_library(provider, source.runtime).map_err(failed)?;
        let images = pattern(2, source.spec.input_size);
        let mut on_cpu = Self::on_cpu(source, report)?;
        let expected = on_cpu.embed(images.view())?;

        let input = on_cpu.session.inputs()[0].name();
        let registration = accelerator::register(provider, (source.spec, input), source.runtime, environment)
            .map_err(failed)?;
        let session = builder(source.runtime, source.threads)
            .and_then(|b| {
                Ok(b.with_disable_cpu_fallback()?.with_execution_providers(registration.providers)?)
            })
            .and_then(|mut b| b.commit_from_memory(source.onnx))
            .map_err(|e| {
                if let Some(engines) = &registration.engines {
                    engines.discard();
                }
                failed(format!("{e}{}", registration.hints))
            })?;
        let mut this = Self { session, ..on_cpu };
        let features = this.embed(images.view())?;
        for (row, (got, cpu)) in features.rows().into_iter().zip(expected.rows()).enumerate() {
            let cosine = got.dot(&cpu) / (got.dot(&got).sqrt() * cpu.dot(&cpu).sqrt()).max(f32::MIN_POSITIVE);
            if cosine < LEAST_COSINE {
                return Err(failed(format!(
                    "it computes other features than the CPU: those of test image {row} have cosine {cosine}, needed is \
                     {LEAST_COSINE}; update the driver or use `--provider cpu`"
                )));
            }
        }
        if let Some(engines) = registration.engines {
            engines.finish().map_err(failed)?;
        }
        Ok(this)
    }

    fn run(&mut self, images: &ArrayView4<'_, f32>) -> ort::Result<Vec<f32>> {
        let images = images.as_standard_layout();
        let (batch, channels, rows, columns) = images.dim();
        let data = images.as_slice().unwrap_or_default();
        let input = TensorRef::from_array_view(([batch, channels, rows, columns], data))?;
        let outputs = self.session.run(ort::inputs![input])?;
        let (_, features) = outputs[0].try_extract_tensor::<f32>()?;
        Ok(features.to_vec())
    }
}

impl Backbone for OrtBackbone {
    fn spec(&self) -> &BackboneSpec {
        &self.spec
    }

    fn provider(&self) -> &ProviderReport {
        &self.report
    }

    fn embed(&mut self, images: ArrayView4<'_, f32>) -> Result<Array2<f32>> {
        check_images(&self.spec, &images)?;
        let mut features = Vec::with_capacity(images.dim().0 * self.spec.feature_width);
        for chunk in images.axis_chunks_iter(Axis(0), CHUNK) {
            let values = self.run(&chunk).map_err(|e| {
                let (got, path) = (self.report.got, self.spec.path.display());
                self.report.asked.refused(format!("{got} failed while running {path}: {e}"))
            })?;
            features.extend(values);
        }
        check_features(&self.spec, images.dim().0, features)
    }
}

/// The start of a session that computes on `threads` threads; 0 leaves it to ONNX Runtime.
pub(super) fn builder(runtime: &Runtime, threads: usize) -> ort::Result<SessionBuilder> {
    // Threads that spin while they wait would take the cores from the learner beside them.
    let builder = Session::builder(&runtime.environment)?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_intra_op_spinning(false)?
        .with_intra_threads(threads)?;
    Ok(builder)
}

/// Returns the declared dimensions; `None` where the file leaves one open.
fn declared(outlet: &Outlet, spec: &BackboneSpec) -> Result<Vec<Option<usize>>> {
    match outlet.dtype() {
        ValueType::Tensor { ty: TensorElementType::Float32, shape, .. } => {
            Ok(shape.iter().map(|dim| usize::try_from(*dim).ok()).collect())
        }
        other => Err(Error::Model {
            path: spec.path.clone(),
            reason: format!("`{}` is {other:?}, needed is a tensor of 32-bit floats", outlet.name()),
        }),
    }
}
