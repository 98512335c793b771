//! `kaizen export`: what was learned as one ordinary ONNX file, checked before it is written.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};

use super::options::Options;
use crate::backbone::{Backbone, BackboneSpec, run_in_onnx_runtime, run_in_tract};
use crate::export::{graft, tail_alone};
use crate::memory::{Memory, Rows};
use crate::report::write_atomic;
use crate::session::{LearnerSettings, Predictor};

/// Largest difference of a probability between the file and the live model.
const TOLERANCE: f32 = 1e-4;
/// Stored samples and fixed images that are compared.
const SAMPLES: usize = 256;
const IMAGES: usize = 4;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// File to write
    out: PathBuf,
    /// State file; it is only read
    #[arg(long)]
    state: PathBuf,
    /// The figures as one JSON line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pub(super) options: Options,
}

/// Largest difference found, and over how many rows, in which runtime.
struct Compared {
    runtime: &'static str,
    what: &'static str,
    rows: usize,
    difference: f32,
}

#[expect(clippy::print_stdout, reason = "the figures are the command's output")]
pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let options = arguments.options.quieter(arguments.json);
    let mut backbone = options.backbone(&arguments.state)?;
    let memory = Options::reader(&arguments.state, backbone.as_ref())?;
    let predictor = Predictor::restore(&memory, &LearnerSettings::default())?
        .context("nothing was learned: `kaizen teach` a class, then `kaizen learn`")?;
    let spec = backbone.spec().clone();
    let onnx = std::fs::read(&spec.path).with_context(|| spec.path.display().to_string())?;
    let tail = predictor.tail();
    let file = graft(&spec, &onnx, &tail, &metadata(&spec, &memory, &predictor)?)?;
    let mut compared = on_samples(&memory, &predictor, &options)?;
    compared.extend(on_images(&file, backbone.as_mut(), &predictor, &options)?);
    for Compared { runtime, what, rows, difference } in &compared {
        options.say(&format!(
            "{runtime}: {rows} {what}, probabilities within {difference:.1e} of the live model"
        ));
    }
    write_atomic(&arguments.out, &file)?;
    let worst = compared.iter().map(|c| c.difference).fold(0.0, f32::max);
    if arguments.json {
        let runs: Vec<_> = (compared.iter())
            .map(|c| {
                serde_json::json!({
                    "runtime": c.runtime, "what": c.what, "rows": c.rows, "difference": c.difference,
                })
            })
            .collect();
        let value = serde_json::json!({
            "file": arguments.out, "bytes": file.len(), "head": predictor.kind(), "difference": worst,
            "compared": runs,
        });
        println!("{value}");
    } else {
        println!("{}: {} bytes, within {worst:.1e} of the live model", arguments.out.display(), file.len());
    }
    Ok(ExitCode::SUCCESS)
}

fn metadata(
    spec: &BackboneSpec,
    memory: &Memory,
    predictor: &Predictor,
) -> anyhow::Result<Vec<(&'static str, String)>> {
    let version = memory.published()?.map(|version| version.entry);
    Ok(vec![
        ("kaizen.classes", serde_json::to_string(&predictor.column_names())?),
        ("kaizen.novelty_threshold", "1".to_owned()),
        ("kaizen.preprocessing", memory.identity().preprocessing.clone()),
        ("kaizen.backbone", format!("{} {}", spec.name, spec.sha256)),
        ("kaizen.head", predictor.kind().name().to_owned()),
        (
            "kaizen.version",
            version.map_or_else(String::new, |entry| format!("{} {}", entry.id, entry.sha256)),
        ),
    ])
}

/// The tail on stored features, in each runtime that is here.
fn on_samples(memory: &Memory, predictor: &Predictor, options: &Options) -> anyhow::Result<Vec<Compared>> {
    let mut rows = Vec::new();
    let mut count = 0;
    for kind in [Rows::HeldOut, Rows::Training, Rows::Unlabelled] {
        memory.for_each_sample(kind, |sample| {
            if count < SAMPLES {
                rows.extend_from_slice(&sample.features);
                count += 1;
            }
        })?;
    }
    let file = tail_alone(&predictor.tail())?;
    let live = predictor.probabilities(&rows)?;
    let shape = [count, memory.identity().feature_width];
    let mut compared = vec![("tract", run_in_tract(&file, &shape, &rows)?)];
    compared
        .extend(run_in_onnx_runtime(&file, &shape, &rows, options.ort_lib())?.map(|o| ("ONNX Runtime", o)));
    let columns = predictor.columns().len();
    compared
        .into_iter()
        .map(|(runtime, outputs)| {
            let difference = agree(runtime, &live, &outputs, columns)?;
            Ok(Compared { runtime, what: "stored samples", rows: count, difference })
        })
        .collect()
}

/// The whole file on fixed images, in the runtime of the live backbone and, for float models, in the others.
fn on_images(
    file: &[u8],
    backbone: &mut dyn Backbone,
    predictor: &Predictor,
    options: &Options,
) -> anyhow::Result<Vec<Compared>> {
    let side = backbone.spec().input_size;
    let images = crate::backbone::pattern(IMAGES, side);
    let features = backbone.embed(images.view())?;
    let live = predictor.probabilities(features.as_slice().unwrap_or_default())?;
    let columns = predictor.columns().len();
    let pixels = images.as_slice().unwrap_or_default();
    let image = 3 * side * side;
    let in_tract = backbone.provider().got == crate::backbone::Provider::Tract;
    // Integer kernels round in their own way: an int8 file is compared where the live model runs.
    let everywhere = backbone.spec().precision == crate::backbone::Precision::Fp32;
    let mut compared = Vec::new();
    if everywhere || in_tract {
        let mut outputs: Vec<Vec<f32>> = Vec::new();
        for row in pixels.chunks(image) {
            for (at, values) in run_in_tract(file, &[1, 3, side, side], row)?.into_iter().enumerate() {
                if at == outputs.len() {
                    outputs.push(Vec::new());
                }
                outputs[at].extend(values);
            }
        }
        let difference = agree("tract", &live, &outputs, columns)?;
        compared.push(Compared { runtime: "tract", what: "images", rows: IMAGES, difference });
    }
    if everywhere || !in_tract {
        let shape = [IMAGES, 3, side, side];
        if let Some(outputs) = run_in_onnx_runtime(file, &shape, pixels, options.ort_lib())? {
            let difference = agree("ONNX Runtime", &live, &outputs, columns)?;
            compared.push(Compared { runtime: "ONNX Runtime", what: "images", rows: IMAGES, difference });
        }
    }
    Ok(compared)
}

/// The largest difference of a probability; refused above the tolerance or if a row's best class is another.
fn agree(runtime: &str, live: &[f32], outputs: &[Vec<f32>], columns: usize) -> anyhow::Result<f32> {
    let exported = outputs.first().map(Vec::as_slice).unwrap_or_default();
    if exported.len() != live.len() {
        bail!("{runtime} gives {} probabilities, the live model {}: not written", exported.len(), live.len());
    }
    let difference = live.iter().zip(exported).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    let best = |values: &[f32]| crate::learn::closed_form::argmax_rows(values, columns);
    let finite = exported.iter().all(|value| value.is_finite());
    if !finite || difference >= TOLERANCE || best(live) != best(exported) {
        bail!(
            "{runtime} differs from the live model by {difference:.1e} (allowed {TOLERANCE:.0e}): not written"
        );
    }
    Ok(difference)
}

#[cfg(test)]
mod tests {
    #[test]
    fn another_answer_is_refused() {
        let live = [0.6, 0.4, 0.1, 0.9];
        assert!(super::agree("a", &live, &[live.to_vec()], 2).is_ok());
        assert!(super::agree("a", &live, &[vec![0.61, 0.39, 0.1, 0.9]], 2).is_err());
        assert!(super::agree("a", &live, &[vec![f32::NAN, 0.4, 0.1, 0.9]], 2).is_err());
        assert!(super::agree("a", &live, &[vec![0.6, f32::NAN, 0.1, 0.9]], 2).is_err());
        assert!(super::agree("a", &live, &[vec![0.6]], 2).is_err());
        assert!(super::agree("a", &[0.500_01, 0.499_99], &[vec![0.499_99, 0.500_01]], 2).is_err());
    }
}
