//! What was learned as one ONNX file, compared with the live model before it is written.

use std::path::Path;

use ndarray::{Array4, ArrayView4};
use serde::Serialize;

use super::network::{Embedding, Network};
use super::published_head::{PublishedHead, join};
use super::through_tail::as_seen_by;
use crate::backbone::{
    BackboneSpec, InputValue, Precision, Provider, pattern, run_in_onnx_runtime, run_in_tract,
};
use crate::export::{TrainedTail, classifier_alone, graft, tail_file, with_preprocessing};
use crate::heads::MapShape;
use crate::learn::closed_form::argmax_rows;
use crate::memory::{Memory, Rows};
use crate::vision::{Frame, Preprocess};
use crate::{Error, Result};

/// Largest difference of a probability between the file and the live model.
const TOLERANCE: f32 = 1e-4;
/// As [`TOLERANCE`], where the file resizes: a sum of weighted pixels that falls onto the border
/// between two levels may round to the other one.
const TOLERANCE_OF_FRAMES: f32 = 1e-2;
/// Stored samples and fixed images that are compared.
const SAMPLES: usize = 256;
const IMAGES: usize = 4;
/// Widths and heights of the frames that are compared.
const FRAMES: [(u32, u32); 3] = [(640, 480), (97, 131), (1280, 720)];

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
/// It takes images as the backbone does, or frames of any size, `uint8 [N, H, W, 3]`, if it is to
/// resize and scale them.
pub(crate) fn export(
    memory: &Memory,
    head: &PublishedHead,
    network: &mut Network,
    library: Option<&Path>,
    resizes: bool,
) -> Result<Exported> {
    let spec = network.spec().clone();
    let onnx = std::fs::read(&spec.path).map_err(Error::io(&spec.path))?;
    let at = spec.cut.as_deref().unwrap_or_default();
    let trained = head.tail().map(|tail| TrainedTail { at, tail });
    let file = graft(&spec, &onnx, trained, &head.classifier(), &metadata(&spec, memory, head)?)?;
    let mut compared = on_samples(memory, head, library)?;
    compared.extend(on_images(&file, network, head, library)?);
    if !resizes {
        return Ok(Exported { file, compared });
    }
    let file = with_preprocessing(&spec, &file)?;
    compared.extend(on_frames(&file, network, head, library)?);
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
    let live = head.probabilities(features)?;
    let check = Check { file, what, live, head, tolerance: TOLERANCE, library };
    check.in_each(&Runtime::ALL, |_| vec![(shape.to_vec(), values)])
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

/// The whole file on fixed images, in the runtimes that can be expected to agree.
fn on_images(
    file: &[u8],
    network: &mut Network,
    head: &PublishedHead,
    library: Option<&Path>,
) -> Result<Vec<Comparison>> {
    let side = network.spec().input_size;
    let images = pattern(IMAGES, side);
    let live = live(network, head, &images.view())?;
    let check = Check { file, what: "images", live, head, tolerance: TOLERANCE, library };
    let pixels = images.as_slice().unwrap_or_default();
    check.in_each(&runtimes(network), |runtime| {
        let at_once = match runtime {
            Runtime::Tract => 1,
            Runtime::OnnxRuntime => IMAGES,
        };
        let shape = [at_once, 3, side, side];
        pixels.chunks(at_once * 3 * side * side).map(|pixels| (shape.to_vec(), pixels)).collect()
    })
}

/// The whole file on frames of several sizes, in the same runtimes.
fn on_frames(
    file: &[u8],
    network: &mut Network,
    head: &PublishedHead,
    library: Option<&Path>,
) -> Result<Vec<Comparison>> {
    let BackboneSpec { input_size: side, mean, std, .. } = *network.spec();
    let mut preprocess = Preprocess::new(u32::try_from(side).unwrap_or(u32::MAX), mean, std)?;
    let frames: Vec<_> =
        FRAMES.into_iter().map(|(width, height)| drawing(width, height)).collect::<Result<_>>()?;
    let mut images = Array4::zeros((frames.len(), 3, side, side));
    for (frame, mut image) in frames.iter().zip(images.outer_iter_mut()) {
        preprocess.run(frame, image.as_slice_mut().unwrap_or_default())?;
    }
    let live = live(network, head, &images.view())?;
    let check = Check { file, what: "frames", live, head, tolerance: TOLERANCE_OF_FRAMES, library };
    let input = |frame: &Frame| vec![1, frame.height as usize, frame.width as usize, 3];
    check.in_each(&runtimes(network), |_| frames.iter().map(|f| (input(f), f.rgb.as_slice())).collect())
}

/// A frame with shapes of several sizes in it.
fn drawing(width: u32, height: u32) -> Result<Frame> {
    let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
    let level = |x: u32, y: u32, channel: u32| {
        let stripes = x * (2 + channel) + y * 3;
        let boxes = 90 * ((8 * x / width + 6 * y / height) % 2);
        u8::try_from((stripes % 160 + boxes + 5 * channel).min(255)).unwrap_or(u8::MAX)
    };
    let rgb = pixels.flat_map(|(x, y)| (0..3).map(move |channel| level(x, y, channel))).collect();
    Frame::new(width, height, rgb, "drawing")
}

/// Probabilities of the live model for images `[B, 3, S, S]`.
fn live(network: &mut Network, head: &PublishedHead, images: &ArrayView4<'_, f32>) -> Result<Vec<f32>> {
    let rows = network.embed(images)?;
    let features: Vec<_> = rows.iter().map(|row| network.features_for(head, row)).collect::<Result<_>>()?;
    head.probabilities(&features.concat())
}

/// A runtime that an exported file is run in.
#[derive(Clone, Copy, Debug)]
enum Runtime {
    Tract,
    OnnxRuntime,
}

impl Runtime {
    const ALL: [Self; 2] = [Self::Tract, Self::OnnxRuntime];
}

/// The runtimes in which a whole file is compared with the live model: for float models all.
/// Integer kernels round in their own way: an int8 file is compared where the live model runs.
fn runtimes(network: &Network) -> Vec<Runtime> {
    let in_tract = network.backbone().provider().got == Provider::Tract;
    match (network.spec().precision, in_tract) {
        (Precision::Fp32, _) => Runtime::ALL.to_vec(),
        (Precision::Fp16 | Precision::Int8, true) => vec![Runtime::Tract],
        (Precision::Fp16 | Precision::Int8, false) => vec![Runtime::OnnxRuntime],
    }
}

/// A file to compare with the live model.
struct Check<'a> {
    file: &'a [u8],
    what: &'static str,
    /// Probabilities of the live model, row by row.
    live: Vec<f32>,
    head: &'a PublishedHead,
    tolerance: f32,
    library: Option<&'a Path>,
}

impl Check<'_> {
    /// Compares the file in each of `runtimes` that is here, on the inputs that `inputs` gives for
    /// it.
    fn in_each<'v, T: InputValue>(
        &self,
        runtimes: &[Runtime],
        inputs: impl Fn(Runtime) -> Vec<(Vec<usize>, &'v [T])>,
    ) -> Result<Vec<Comparison>> {
        let compared = runtimes.iter().map(|&runtime| self.run(runtime, &inputs(runtime)));
        compared.filter_map(Result::transpose).collect()
    }

    /// Runs the file on inputs, each a shape with its values, one after the other, and compares its
    /// probabilities; `None` where the runtime has no library.
    fn run<T: InputValue>(
        &self,
        runtime: Runtime,
        inputs: &[(Vec<usize>, &[T])],
    ) -> Result<Option<Comparison>> {
        let mut probabilities = Vec::new();
        let name = match runtime {
            Runtime::Tract => "tract",
            Runtime::OnnxRuntime => "ONNX Runtime",
        };
        for (shape, values) in inputs {
            let outputs = match runtime {
                Runtime::Tract => run_in_tract(self.file, shape, values)?,
                Runtime::OnnxRuntime => match run_in_onnx_runtime(self.file, shape, values, self.library)? {
                    Some(outputs) => outputs,
                    None => return Ok(None),
                },
            };
            probabilities.extend(outputs.into_iter().next().unwrap_or_default());
        }
        let columns = self.head.columns().len();
        let difference = agree(name, &self.live, &probabilities, columns, self.tolerance)?;
        let rows = self.live.len() / columns.max(1);
        Ok(Some(Comparison { runtime: name, what: self.what, rows, difference }))
    }
}

/// The largest difference of a probability; refused above the tolerance or if a row's best class is
/// another.
fn agree(runtime: &str, live: &[f32], exported: &[f32], columns: usize, tolerance: f32) -> Result<f32> {
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
    if !finite || difference >= tolerance || best(live) != best(exported) {
        let by = format!("{difference:.1e} (allowed {tolerance:.0e})");
        return Err(refused(format!("in {runtime} it differs from the live model by {by}")));
    }
    Ok(difference)
}

#[cfg(test)]
mod tests {
    use super::agree;

    #[test]
    fn another_answer_is_refused() {
        let live = [0.6, 0.4, 0.1, 0.9];
        assert!(agree("a", &live, &live, 2, 1e-4).is_ok());
        assert!(agree("a", &live, &[0.61, 0.39, 0.1, 0.9], 2, 1e-4).is_err());
        assert!(agree("a", &live, &[f32::NAN, 0.4, 0.1, 0.9], 2, 1e-4).is_err());
        assert!(agree("a", &live, &[0.6, f32::NAN, 0.1, 0.9], 2, 1e-4).is_err());
        assert!(agree("a", &live, &[0.6], 2, 1e-4).is_err());
        assert!(agree("a", &[0.500_01, 0.499_99], &[0.499_99, 0.500_01], 2, 1e-4).is_err());
    }
}
