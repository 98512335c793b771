//! What was learned as one ONNX file, compared with the live model before it is written.

use std::path::Path;

use serde::Serialize;

use super::network::{Embedding, Network};
use super::published_head::{PublishedHead, join};
use super::through_tail::as_seen_by;
use crate::backbone::{BackboneSpec, Precision, Provider, pattern, run_in_onnx_runtime, run_in_tract};
use crate::export::{TrainedTail, classifier_alone, graft, tail_file};
use crate::heads::MapShape;
use crate::learn::closed_form::argmax_rows;
use crate::memory::{Memory, Rows};
use crate::{Error, Result};

/// Largest difference of a probability between the file and the live model.
const TOLERANCE: f32 = 1e-4;
/// Stored samples and fixed images that are compared.
const SAMPLES: usize = 256;
const IMAGES: usize = 4;

/// An exported file, and how far it is from the live model.
#[derive(Debug)]
pub(crate) struct Exported {
    /// The ONNX file.
    pub(crate) file: Vec<u8>,
    /// The comparisons that it passed.
    pub(crate) compared: Vec<Comparison>,
}

/// The largest difference of a probability in one runtime.
#[derive(Debug, Serialize)]
pub(crate) struct Comparison {
    pub(crate) runtime: &'static str,
    /// What was compared: stored samples, images or latents.
    pub(crate) what: &'static str,
    pub(crate) rows: usize,
    pub(crate) difference: f32,
}

/// Backbone and head as one ONNX file, compared with the live model in each runtime that is here.
pub(crate) fn export(
    memory: &Memory,
    head: &PublishedHead,
    network: &mut Network,
    library: Option<&Path>,
) -> Result<Exported> {
    let spec = network.spec().clone();
    let onnx = std::fs::read(&spec.path).map_err(Error::io(&spec.path))?;
    let at = spec.cut.as_deref().unwrap_or_default();
    let trained = head.tail().map(|tail| TrainedTail { at, tail });
    let file = graft(&spec, &onnx, trained, &head.classifier(), &metadata(&spec, memory, head)?)?;
    let mut compared = on_samples(memory, head, library)?;
    compared.extend(on_images(&file, network, head, library)?);
    Ok(Exported { file, compared })
}

/// The tail that serves, with the head behind it, as an ONNX file of its own, compared with the
/// live model in each runtime that is here.
///
/// # Errors
/// [`Error::NotReady`] for a backbone that is not cut; as [`export`].
pub(crate) fn export_tail(
    memory: &Memory,
    head: &PublishedHead,
    network: &mut Network,
    library: Option<&Path>,
) -> Result<Exported> {
    let spec = network.spec().clone();
    let at = spec.cut.as_deref().unwrap_or_default();
    let own = network.tail().cloned().ok_or_else(|| {
        let way_out = "name a `cut` in the model's manifest entry, or export without `--tail`";
        Error::not_ready("export of the tail", "the backbone is not cut", way_out)
    })?;
    let tail = head.tail().unwrap_or(&own);
    let trained = TrainedTail { at, tail };
    let file = tail_file(trained, &head.classifier(), &metadata(&spec, memory, head)?)?;
    let images = pattern(IMAGES, spec.input_size);
    let (mut features, mut maps) = (Vec::new(), Vec::new());
    let MapShape { size: [rows, columns], channels } = tail.extractor.input;
    for embedding in network.embed(&images.view())? {
        features.extend(network.features_for(head, &embedding)?);
        let (Embedding::Latent(values) | Embedding::Features(values)) = embedding;
        // The file takes channels first, as the trunk's own graph gives them.
        maps.extend((0..channels).flat_map(|c| values.iter().skip(c).step_by(channels).copied()));
    }
    let mut compared = on_samples(memory, head, library)?;
    let shape = [IMAGES, channels, rows, columns];
    compared.extend(in_both(&file, (&shape, &maps), "latents", (head, &features), library)?);
    Ok(Exported { file, compared })
}

/// Runs `file` on rows of an input in each runtime that is here, and compares its probabilities
/// with those of `head` for the rows' features.
fn in_both(
    file: &[u8],
    (shape, values): (&[usize], &[f32]),
    what: &'static str,
    (head, features): (&PublishedHead, &[f32]),
    library: Option<&Path>,
) -> Result<Vec<Comparison>> {
    let (live, columns) = (head.probabilities(features)?, head.columns().len());
    let mut runs = vec![("tract", run_in_tract(file, shape, values)?)];
    runs.extend(run_in_onnx_runtime(file, shape, values, library)?.map(|outputs| ("ONNX Runtime", outputs)));
    let compared = runs.into_iter().map(|(runtime, outputs)| {
        let difference = agree(runtime, &live, &outputs, columns)?;
        Ok(Comparison { runtime, what, rows: shape[0], difference })
    });
    compared.collect()
}

fn metadata(
    spec: &BackboneSpec,
    memory: &Memory,
    head: &PublishedHead,
) -> Result<Vec<(&'static str, String)>> {
    let version = memory.published()?.map(|version| version.entry);
    let version = version.map_or_else(String::new, |entry| format!("{} {}", entry.id, entry.sha256));
    let classes = serde_json::to_string(&head.column_names()).map_err(|error| {
        Error::refused("writing the class names", error.to_string(), "report this as a bug")
    })?;
    Ok(vec![
        ("kaizen.classes", classes),
        ("kaizen.novelty_threshold", "1".to_owned()),
        ("kaizen.preprocessing", memory.identity().preprocessing.clone()),
        ("kaizen.backbone", format!("{} {}", spec.name, spec.sha256)),
        ("kaizen.head", head.kind().name().to_owned()),
        ("kaizen.version", version),
    ])
}

/// The head on stored features, in each runtime that is here.
fn on_samples(memory: &Memory, head: &PublishedHead, library: Option<&Path>) -> Result<Vec<Comparison>> {
    let mut samples = Vec::new();
    for kind in [Rows::HeldOut, Rows::Training, Rows::Unlabelled] {
        memory.for_each_sample(kind, |sample| {
            if samples.len() < SAMPLES {
                samples.push(sample);
            }
        })?;
    }
    let samples = as_seen_by(memory, head, samples)?;
    let (rows, file) = (join(&samples), classifier_alone(&head.classifier())?);
    let shape = [samples.len(), memory.identity().feature_width];
    in_both(&file, (&shape, &rows), "stored samples", (head, &rows), library)
}

/// The whole file on fixed images, in the runtime of the live backbone and, for float models, in
/// the others.
fn on_images(
    file: &[u8],
    network: &mut Network,
    head: &PublishedHead,
    library: Option<&Path>,
) -> Result<Vec<Comparison>> {
    let side = network.spec().input_size;
    let images = pattern(IMAGES, side);
    let rows = network.embed(&images.view())?;
    let features: Vec<_> = rows.iter().map(|row| network.features_for(head, row)).collect::<Result<_>>()?;
    let live = head.probabilities(&features.concat())?;
    let columns = head.columns().len();
    let pixels = images.as_slice().unwrap_or_default();
    let image = 3 * side * side;
    let in_tract = network.backbone().provider().got == Provider::Tract;
    // Integer kernels round in their own way: an int8 file is compared where the live model runs.
    let everywhere = network.spec().precision == Precision::Fp32;
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
        compared.push(Comparison { runtime: "tract", what: "images", rows: IMAGES, difference });
    }
    if everywhere || !in_tract {
        let shape = [IMAGES, 3, side, side];
        if let Some(outputs) = run_in_onnx_runtime(file, &shape, pixels, library)? {
            let difference = agree("ONNX Runtime", &live, &outputs, columns)?;
            compared.push(Comparison { runtime: "ONNX Runtime", what: "images", rows: IMAGES, difference });
        }
    }
    Ok(compared)
}

/// The largest difference of a probability; refused above the tolerance or if a row's best class is
/// another.
fn agree(runtime: &str, live: &[f32], outputs: &[Vec<f32>], columns: usize) -> Result<f32> {
    let exported = outputs.first().map(Vec::as_slice).unwrap_or_default();
    let refused = |reason: String| {
        Error::refused("exported file", reason, "it is not written; please report this with the state file")
    };
    if exported.len() != live.len() {
        let reason =
            format!("{runtime} gives {} probabilities, the live model {}", exported.len(), live.len());
        return Err(refused(reason));
    }
    let difference = live.iter().zip(exported).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    let best = |values: &[f32]| argmax_rows(values, columns);
    let finite = exported.iter().all(|value| value.is_finite());
    if !finite || difference >= TOLERANCE || best(live) != best(exported) {
        let by = format!("{difference:.1e} (allowed {TOLERANCE:.0e})");
        return Err(refused(format!("in {runtime} it differs from the live model by {by}")));
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
