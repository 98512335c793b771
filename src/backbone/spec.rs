//! What a backbone is: its description and the trait that runs it.

use std::path::{Path, PathBuf};

use ndarray::{Array2, ArrayView4};
use serde::{Deserialize, Serialize};

use super::provider::{Provider, ProviderReport};
use crate::error::{Error, Result};
use crate::number::sha256_hex;

/// Number format of a model's weights and activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32-bit floats.
    Fp32,
    /// 16-bit floats.
    Fp16,
    /// 8-bit integers (quantise / dequantise pairs).
    Int8,
}

impl Precision {
    /// Returns the name as written in the manifest.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Fp32 => "fp32",
            Self::Fp16 => "fp16",
            Self::Int8 => "int8",
        }
    }
}

/// Order of the axes of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// `[B, 3, S, S]`: batch, channel, row, column.
    Nchw,
}

/// Order of the colour channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Channels {
    /// Red, green, blue.
    Rgb,
}

/// A backbone as a `[[model]]` of the manifest describes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackboneSpec {
    /// Name in the manifest.
    pub name: String,
    /// The ONNX file; in the manifest a name relative to the manifest's folder.
    #[serde(rename = "file")]
    pub path: PathBuf,
    /// SHA-256 of the file, 64 lower-case hexadecimal digits.
    pub sha256: String,
    /// Licence of the weights.
    pub licence: String,
    /// Where the weights come from.
    pub origin: String,
    /// Side S of the square input, in pixels.
    pub input_size: usize,
    /// The value subtracted from a pixel value 0..255, per channel (RGB).
    pub mean: [f32; 3],
    /// The value that divides the difference, per channel (RGB).
    pub std: [f32; 3],
    /// Order of the axes.
    pub layout: Layout,
    /// Order of the channels.
    pub channels: Channels,
    /// Width D of the features.
    pub feature_width: usize,
    /// Number format of weights and activations.
    pub precision: Precision,
    /// The value behind which the graph is cut: what is computed from it, the tail, learns. Without
    /// it an adapter learns behind the features.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut: Option<String>,
    /// The file that has the tail's weights, where the model's own are quantised; in the manifest a
    /// name relative to the manifest's folder.
    #[serde(default, rename = "tail_file", skip_serializing_if = "Option::is_none")]
    pub tail_path: Option<PathBuf>,
    /// SHA-256 of that file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tail_sha256: Option<String>,
}

impl BackboneSpec {
    /// Reads the model file, whose bytes must be those that the manifest names.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read, [`Error::Model`] if its hash is another.
    pub fn read(&self) -> Result<Vec<u8>> {
        self.checked(&self.path, &self.sha256)
    }

    /// Reads the file with the tail's weights, whose bytes must be those that the manifest names;
    /// `None` where they are in the model file.
    ///
    /// # Errors
    /// As [`BackboneSpec::read`].
    pub fn read_tail_weights(&self) -> Result<Option<Vec<u8>>> {
        let file = self.tail_path.as_deref().zip(self.tail_sha256.as_deref());
        file.map(|(path, sha256)| self.checked(path, sha256)).transpose()
    }

    fn checked(&self, path: &Path, sha256: &str) -> Result<Vec<u8>> {
        let bytes = std::fs::read(path).map_err(Error::io(path))?;
        let found = sha256_hex(&bytes);
        if found == sha256 {
            return Ok(bytes);
        }
        let reason = format!(
            "its SHA-256 is {found}, the manifest beside it says {sha256} for `{}`; fetch the file again, or, if it \
             was changed on purpose, put the new hash in the manifest",
            self.name
        );
        Err(Error::Model { path: path.to_owned(), reason })
    }
}

#[cfg(test)]
impl BackboneSpec {
    /// A float model of a file that is not there.
    pub(crate) fn example() -> Self {
        Self {
            name: "m".into(),
            path: "m.onnx".into(),
            sha256: String::new(),
            input_size: 4,
            licence: String::new(),
            origin: String::new(),
            layout: Layout::Nchw,
            channels: Channels::Rgb,
            mean: [127.0; 3],
            std: [128.0; 3],
            feature_width: 1,
            precision: Precision::Fp32,
            cut: None,
            tail_path: None,
            tail_sha256: None,
        }
    }
}

/// A frozen network that turns images into features.
pub trait Backbone: Send {
    /// Returns the description of the model.
    fn spec(&self) -> &BackboneSpec;

    /// Returns what runs the model.
    fn provider(&self) -> &ProviderReport;

    /// Returns the features `[B, D]` of images `[B, 3, S, S]` (RGB, `(pixel - mean) / std`) for any
    /// B, also 0; row-major. An image's features do not depend on the rest of the batch, up to
    /// rounding.
    ///
    /// # Errors
    /// [`Error::Shape`] for another shape; [`Error::Frame`], naming the row, if a pixel or a
    /// feature is not finite; [`Error::Provider`] if the runtime fails.
    fn embed(&mut self, images: ArrayView4<'_, f32>) -> Result<Array2<f32>>;

    /// Returns a backbone for another thread that shares the weights of this one and computes on
    /// `threads` CPU threads (0: one per core); `None` where the runtime cannot share them, so that
    /// a second one is to be loaded.
    ///
    /// # Errors
    /// [`Error::Provider`] if its threads cannot be started.
    fn share(&self, _threads: usize) -> Result<Option<Box<dyn Backbone>>> {
        Ok(None)
    }

    /// Returns the class of the features: the precision, with `-tensorrt` behind it where TensorRT
    /// computes them, since its features differ from the others'.
    fn feature_class(&self) -> String {
        feature_class(self.spec().precision, self.provider().got)
    }
}

/// End of the class of features that TensorRT makes.
pub(super) const TENSORRT_CLASS: &str = "-tensorrt";

/// Returns the class of features that `provider` makes: `fp32`, `fp16`, `int8`, `fp32-tensorrt`, …
/// Features of one class may be mixed. TensorRT rounds in its own way, so its features are of
/// another class.
#[must_use]
pub(crate) fn feature_class(precision: Precision, provider: Provider) -> String {
    let suffix = if provider == Provider::TensorRt { TENSORRT_CLASS } else { "" };
    format!("{}{suffix}", precision.name())
}
