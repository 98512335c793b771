//! The cut of a backbone: the trunk before it, which never changes, as an ONNX file of its own, and
//! the tail behind it, which learns, as an extractor with its weights.

mod graph;
mod tail;
mod trunk;

use std::path::Path;

use crate::backbone::{self, Backbone, BackboneOptions, BackboneSpec};
use crate::heads::{Extractor, MapShape, Parameters};
use crate::number::sha256_hex;
use crate::{Error, Result};
use graph::Graph;

/// A backbone that was cut in two.
#[derive(Clone, Debug)]
pub struct Cut {
    /// The trunk as an ONNX file: images `[N, 3, S, S]` to latents `[N, H · W · C]`, channels last.
    pub trunk: Vec<u8>,
    /// The tail: from a latent to features `[D]`.
    pub extractor: Extractor,
    /// The tail's weights as the backbone has them.
    pub parameters: Parameters,
}

impl Cut {
    /// Cuts the backbone `onnx` behind the value `at`, for images of `side` pixels. The tail is
    /// read from `weights`, which is another file of the same network where the backbone is
    /// quantised. `path` is for messages.
    ///
    /// # Errors
    /// [`Error::Model`] naming the value if the graph has none of that name, the operator behind
    /// the cut that cannot be trained and a later cut that would do, or what of the file is
    /// damaged.
    pub fn new(path: &Path, onnx: &[u8], weights: &[u8], at: &str, side: usize) -> Result<Self> {
        let refuse = |reason: String| Error::Model { path: path.to_owned(), reason };
        let graph = Graph::read(onnx).map_err(refuse)?;
        let trunk = trunk::trunk(&graph, at).map_err(refuse)?;
        let latent = trunk::latent_shape(&trunk, side).map_err(refuse)?;
        let trunk = trunk::channels_last(trunk, latent).map_err(refuse)?;
        let (extractor, parameters) =
            read_tail(&Graph::read(weights).map_err(refuse)?, at, latent).map_err(refuse)?;
        Ok(Self { trunk, extractor, parameters })
    }

    /// Reads the backbone of `spec` and cuts it behind `at`.
    ///
    /// # Errors
    /// As [`BackboneSpec::read`] and [`Cut::new`].
    pub fn of(spec: &BackboneSpec, at: &str) -> Result<Self> {
        let (onnx, weights) = (spec.read()?, spec.read_tail_weights()?);
        Self::new(&spec.path, &onnx, weights.as_deref().unwrap_or(&onnx), at, spec.input_size)
    }
}

/// A trunk that runs, and the tail behind it.
pub struct Split {
    /// Images `[B, 3, S, S]` to latents `[B, H · W · C]`, channels last.
    pub trunk: Box<dyn Backbone>,
    /// From a latent to features `[D]`.
    pub extractor: Extractor,
    /// The tail's weights as the backbone has them.
    pub parameters: Parameters,
}

impl std::fmt::Debug for Split {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Split").field("trunk", self.trunk.spec()).finish_non_exhaustive()
    }
}

/// Loads the backbone that `options` ask for, cut where its manifest entry says.
///
/// # Errors
/// [`Error::NotFound`] for an entry without a `cut`; as [`Cut::of`] and
/// [`load`](crate::backbone::load).
pub fn load(options: &BackboneOptions) -> Result<Split> {
    let spec = backbone::resolve(options.model.as_deref(), options.models_dir.as_deref())?;
    let Some(at) = spec.cut.clone() else {
        let way_out = "name one in its manifest entry, or take another model";
        return Err(Error::not_found("cut of the model", &spec.name, way_out));
    };
    let Cut { trunk, extractor, parameters } = Cut::of(&spec, &at)?;
    let of_trunk = BackboneSpec {
        name: format!("{} up to {at}", spec.name),
        sha256: sha256_hex(&trunk),
        feature_width: extractor.input_len(),
        ..spec
    };
    let trunk = backbone::load_graph(options, &of_trunk, &trunk)?;
    Ok(Split { trunk, extractor, parameters })
}

/// The tail behind `at`, or what is in its way and where it could be cut instead.
fn read_tail(
    graph: &Graph,
    at: &str,
    latent: MapShape,
) -> std::result::Result<(Extractor, Parameters), String> {
    tail::read(graph, at, latent).map_err(|reason| {
        let later = graph.values().skip_while(|value| *value != at).skip(1);
        let mut candidates = later.filter(|value| tail::is_trainable(graph, value));
        match candidates.next() {
            Some(cut) => format!("it cannot be cut behind `{at}`: {reason}; the last cut that would do is `{cut}`"),
            None => format!(
                "it cannot be cut behind `{at}`: {reason}; no cut would do: leave `cut` out of its manifest entry"
            ),
        }
    })
}

#[cfg(test)]
mod tests;
