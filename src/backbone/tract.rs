//! The backbone on tract: pure Rust, on the CPU, nothing to install.

use std::io::Cursor;
use std::sync::Arc;

use ndarray::{Array2, ArrayView4, Axis};
use rayon::prelude::*;
use tract_onnx::prelude::{
    Datum, Framework, InferenceFact, InferenceModel, InferenceModelExt, IntoRunnable, IntoTValue, Tensor,
    TractResult, TypedRunnableModel, tvec,
};
use tract_onnx::tract_hir::infer::Factoid;
use tract_onnx::tract_hir::internal::DimLike;

use super::batch::{check_declared, check_features, check_images, check_one_in_one_out};
use super::provider::ProviderReport;
use super::spec::{Backbone, BackboneSpec};
use crate::error::{Error, Result};

/// Name and version of the runtime; the version is the one pinned in `Cargo.toml`.
pub(super) const RUNTIME: &str = "tract-onnx 0.23.9";

/// A backbone as one optimised graph for a batch of one, at which tract is fastest; images are
/// spread over threads.
pub(super) struct TractBackbone {
    spec: BackboneSpec,
    report: ProviderReport,
    graph: Arc<TypedRunnableModel>,
    threads: rayon::ThreadPool,
}

impl TractBackbone {
    /// Loads `onnx`, the bytes of the file that `spec` names, for `threads` threads (0: one per
    /// core).
    pub(super) fn load(
        spec: BackboneSpec,
        report: ProviderReport,
        onnx: &[u8],
        threads: usize,
    ) -> Result<Self> {
        let refuse = |reason: String| Error::Model { path: spec.path.clone(), reason };
        // A file may state the shapes between its nodes for a batch of unknown size, which
        // contradicts the batch of one that is fixed below; tract finds them itself.
        let framework = tract_onnx::onnx().with_ignore_value_info(true);
        let model = framework
            .model_for_read(&mut Cursor::new(onnx))
            .map_err(|e| refuse(format!("not a readable ONNX file (cut short?): {e:#}")))?;
        let ends = |outlets: TractResult<&[_]>| outlets.map_or(0, <[_]>::len);
        check_one_in_one_out(&spec, ends(model.input_outlets()), ends(model.output_outlets()))?;
        let input = declared_input(&model).map_err(|e| refuse(format!("{e:#}")))?;
        check_declared(&spec, &input, &[])?;
        let graph = optimise(model, spec.input_size).map_err(|e| {
            refuse(format!(
                "tract cannot run it: {e:#}; use ONNX Runtime (`--provider cpu`) or the fp32 file of the model"
            ))
        })?;
        let output = output_dims(&graph).map_err(|e| refuse(format!("{e:#}")))?;
        check_declared(&spec, &input, &output)?;
        Self::on_graph(spec, report, graph, threads)
    }

    fn on_graph(
        spec: BackboneSpec,
        report: ProviderReport,
        graph: Arc<TypedRunnableModel>,
        threads: usize,
    ) -> Result<Self> {
        let threads = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|n| format!("backbone-{n}"))
            .build()
            .map_err(|e| report.asked.refused(format!("no threads: {e}")))?;
        Ok(Self { spec, report, graph, threads })
    }

    fn embed_one(&self, image: &[f32]) -> TractResult<Vec<f32>> {
        let side = self.spec.input_size;
        let input = Tensor::from_shape(&[1, 3, side, side], image)?;
        let outputs = self.graph.run(tvec!(input.into_tvalue()))?;
        Ok(outputs[0].to_plain_array_view::<f32>()?.iter().copied().collect())
    }
}

impl Backbone for TractBackbone {
    fn spec(&self) -> &BackboneSpec {
        &self.spec
    }

    fn provider(&self) -> &ProviderReport {
        &self.report
    }

    fn share(&self, threads: usize) -> Result<Option<Box<dyn Backbone>>> {
        let (spec, report) = (self.spec.clone(), self.report.clone());
        Ok(Some(Box::new(Self::on_graph(spec, report, self.graph.clone(), threads)?)))
    }

    fn embed(&mut self, images: ArrayView4<'_, f32>) -> Result<Array2<f32>> {
        check_images(&self.spec, &images)?;
        let images = images.as_standard_layout();
        let views: Vec<_> = images.axis_iter(Axis(0)).collect();
        let this = &*self;
        let rows: TractResult<Vec<Vec<f32>>> = self.threads.install(|| {
            views.par_iter().map(|image| this.embed_one(image.as_slice().unwrap_or_default())).collect()
        });
        let rows = rows.map_err(|e| {
            let path = self.spec.path.display();
            self.report.asked.refused(format!("tract failed while running {path}: {e:#}"))
        })?;
        check_features(&self.spec, rows.len(), rows.concat())
    }
}

/// Returns the declared dimensions of the input; `None` where the file leaves one open.
fn declared_input(model: &InferenceModel) -> TractResult<Vec<Option<usize>>> {
    let dims = model.input_fact(0)?.shape.dims();
    Ok(dims.map(|dim| dim.concretize().and_then(|d| d.to_usize().ok())).collect())
}

/// Returns the dimensions of the output for a batch of one.
fn output_dims(graph: &TypedRunnableModel) -> TractResult<Vec<Option<usize>>> {
    let dims = graph.model().output_fact(0)?.shape.iter();
    Ok(dims.map(|dim| dim.to_usize().ok()).collect())
}

fn optimise(model: InferenceModel, side: usize) -> TractResult<Arc<TypedRunnableModel>> {
    let fact = InferenceFact::dt_shape(f32::datum_type(), tvec!(1, 3, side, side));
    model.with_input_fact(0, fact)?.into_optimized()?.into_runnable()
}
