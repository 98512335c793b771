//! The cut of a backbone: the trunk before it, which never changes, as an ONNX file of its own, and
//! the tail behind it, which learns, as an extractor with its weights.

mod graph;
mod tail;
mod trunk;

use std::path::Path;

use crate::backbone::BackboneSpec;
use crate::heads::{MapShape, Tail};
use crate::{Error, Result};
use graph::Graph;

/// A backbone that was cut in two.
#[derive(Clone, Debug)]
pub struct Cut {
    /// The trunk as an ONNX file: images `[N, 3, S, S]` to latents `[N, H · W · C]`, channels last.
    pub trunk: Vec<u8>,
    /// The tail, with the weights that the backbone has.
    pub tail: Tail,
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
        let other = (weights != onnx).then(|| Graph::read(weights)).transpose().map_err(refuse)?;
        let tail = read_tail(other.as_ref().unwrap_or(&graph), at, latent).map_err(refuse)?;
        Ok(Self { trunk, tail })
    }

    /// Reads the tail behind `at` alone, for latents of the shape `latent`.
    ///
    /// # Errors
    /// As [`Cut::of`].
    pub(crate) fn tail_of(spec: &BackboneSpec, at: &str, latent: MapShape) -> Result<Tail> {
        let weights = match spec.read_tail_weights()? {
            Some(weights) => weights,
            None => spec.read()?,
        };
        let refuse = |reason: String| Error::Model { path: spec.path.clone(), reason };
        let graph = Graph::read(&weights).map_err(refuse)?;
        drop(weights);
        read_tail(&graph, at, latent).map_err(refuse)
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

/// The tail behind `at`, or what is in its way and where it could be cut instead.
fn read_tail(graph: &Graph, at: &str, latent: MapShape) -> std::result::Result<Tail, String> {
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
