//! What is computed behind the cut of a backbone, in ONNX Runtime beside the trunk.

use ort::session::Session;
use ort::value::TensorRef;

use super::accelerator::{self, Search};
use super::environment::Environment;
use super::library;
use super::load::BackboneOptions;
use super::onnxruntime::builder;
use super::provider::Provider;
use crate::error::Result;

/// A session of a graph with one input and one output of floats. Beside a trunk on TensorRT it runs
/// on CUDA: its weights change with each lesson, and an engine takes minutes to build.
pub(crate) struct TailSession {
    session: Session,
    provider: Provider,
}

impl TailSession {
    /// Makes a session of `onnx` beside a trunk that runs on the provider of `options`.
    ///
    /// # Errors
    /// [`crate::Error::Provider`] if there is no library or it refuses the graph.
    pub(crate) fn load(onnx: &[u8], options: &BackboneOptions) -> Result<Self> {
        let provider = match options.provider {
            Provider::TensorRt | Provider::Cuda => Provider::Cuda,
            Provider::Cpu | Provider::Tract | Provider::Auto => Provider::Cpu,
        };
        let failed = |reason: String| provider.refused(reason);
        let environment = Environment::of_process()?;
        let runtime = library::runtime(options.ort_lib.as_deref(), &environment).map_err(failed)?;
        let made = builder(runtime, options.threads);
        let made = match provider {
            Provider::Cuda => {
                let cuda = accelerator::cuda(runtime, Search::Quick).map_err(failed)?;
                made.and_then(|b| Ok(b.with_disable_cpu_fallback()?.with_execution_providers([cuda])?))
            }
            Provider::Auto | Provider::TensorRt | Provider::Cpu | Provider::Tract => made,
        };
        let session = made.and_then(|mut b| b.commit_from_memory(onnx));
        Ok(Self { session: session.map_err(|e| failed(e.to_string()))?, provider })
    }

    /// The output for an input of `shape`.
    ///
    /// # Errors
    /// [`crate::Error::Provider`] if the runtime fails.
    pub(crate) fn run(&mut self, shape: &[usize], input: &[f32]) -> Result<Vec<f32>> {
        let mut run = || -> ort::Result<Vec<f32>> {
            let input = TensorRef::from_array_view((shape.to_vec(), input))?;
            let outputs = self.session.run(ort::inputs![input])?;
            Ok(outputs[0].try_extract_tensor::<f32>()?.1.to_vec())
        };
        run().map_err(|e| self.provider.refused(format!("it failed while running the tail: {e}")))
    }
}
