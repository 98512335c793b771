//! The backbone as it runs: whole, or as the trunk before its cut with the tail behind it.

use std::sync::Arc;

use ndarray::ArrayView4;

use super::published_head::PublishedHead;
#[cfg(feature = "tract")]
use super::tail_runner::TailRunner;
use crate::backbone::{self, Backbone, BackboneOptions, BackboneSpec};
#[cfg(feature = "tract")]
use crate::cut::Cut;
use crate::heads::{MapShape, Tail};
use crate::learn::inference;
use crate::memory::FeatureIdentity;
#[cfg(feature = "tract")]
use crate::number::sha256_hex;
use crate::{Error, Result};

/// What the backbone makes of an image.
#[derive(Clone, Debug, PartialEq)]
pub enum Embedding {
    /// The latent at the cut, channels last.
    Latent(Vec<f32>),
    /// The features `[D]` of a backbone that is not cut.
    Features(Vec<f32>),
}

/// A backbone that runs. Where it is cut, only its trunk does: the tail behind it is the learner's.
pub struct Network {
    backbone: Box<dyn Backbone>,
    spec: BackboneSpec,
    tail: Option<Arc<Tail>>,
    #[cfg(feature = "tract")]
    runner: TailRunner,
}

impl std::fmt::Debug for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Network").field("spec", &self.spec).finish_non_exhaustive()
    }
}

impl From<Box<dyn Backbone>> for Network {
    fn from(backbone: Box<dyn Backbone>) -> Self {
        Self::new(backbone, None, &BackboneOptions::default())
    }
}

impl Network {
    /// A backbone, or the trunk of the one that was cut.
    #[cfg_attr(not(feature = "tract"), expect(unused_variables, reason = "nothing is cut"))]
    fn new(
        backbone: Box<dyn Backbone>,
        cut: Option<(BackboneSpec, Arc<Tail>)>,
        options: &BackboneOptions,
    ) -> Self {
        let (spec, tail) =
            cut.map_or_else(|| (backbone.spec().clone(), None), |(spec, tail)| (spec, Some(tail)));
        Self {
            #[cfg(feature = "tract")]
            runner: TailRunner::new(BackboneOptions { provider: backbone.provider().got, ..options.clone() }),
            backbone,
            spec,
            tail,
        }
    }

    /// Loads the backbone that `options` ask for, cut where its manifest entry says, unless
    /// `is_whole`.
    ///
    /// # Errors
    /// As [`load`](crate::backbone::load), and [`Error::Model`] if it cannot be cut there.
    pub fn load(options: &BackboneOptions, is_whole: bool) -> Result<Self> {
        let spec = backbone::resolve(options.model.as_deref(), options.models_dir.as_deref())?;
        match parts(&spec, is_whole)? {
            None => Ok(Self::from(backbone::load(options)?)),
            #[cfg(feature = "tract")]
            Some(Parts { trunk_spec, trunk, tail }) => {
                let backbone = backbone::load_graph(options, &trunk_spec, &trunk)?;
                Ok(Self::new(backbone, Some((spec, Arc::new(tail))), options))
            }
        }
    }

    /// Another network like this one for another thread, on one thread of its own.
    ///
    /// # Errors
    /// Whatever loading another backbone reports.
    pub(super) fn second(&self, options: &BackboneOptions) -> Result<Self> {
        match self.backbone.share(1)? {
            Some(backbone) => {
                let cut = self.tail.clone().map(|tail| (self.spec.clone(), tail));
                Ok(Self::new(backbone, cut, &BackboneOptions { threads: 1, ..options.clone() }))
            }
            None => {
                let provider = self.backbone.provider().got;
                let options = BackboneOptions { provider, threads: 1, ..options.clone() };
                Self::load(&options, self.tail.is_none())
            }
        }
    }

    /// The description of the whole backbone.
    #[must_use]
    pub fn spec(&self) -> &BackboneSpec {
        &self.spec
    }

    /// The part that runs in a runtime.
    #[must_use]
    pub fn backbone(&self) -> &dyn Backbone {
        self.backbone.as_ref()
    }

    /// The tail as the model file has it, if the backbone is cut.
    #[must_use]
    pub fn tail(&self) -> Option<&Arc<Tail>> {
        self.tail.as_ref()
    }

    /// What the features are, so that a state made with others is refused.
    #[must_use]
    pub fn identity(&self) -> FeatureIdentity {
        let BackboneSpec { name, sha256, feature_width, cut, tail_sha256, .. } = &self.spec;
        let cut = self.tail.as_ref().map(|tail| {
            let weights = tail_sha256.as_ref().map(|sha256| format!(", tail of {sha256}"));
            let at = cut.as_deref().unwrap_or_default();
            format!("{}{}", place(at, tail), weights.unwrap_or_default())
        });
        FeatureIdentity {
            backbone_name: name.clone(),
            backbone_sha256: sha256.clone(),
            feature_width: *feature_width,
            cut,
            ..identity(self.backbone())
        }
    }

    /// What the backbone makes of each of the images `[B, 3, S, S]`.
    pub(super) fn embed(&mut self, images: &ArrayView4<'_, f32>) -> Result<Vec<Embedding>> {
        let make = if self.tail.is_some() { Embedding::Latent } else { Embedding::Features };
        Ok(self.backbone.embed(images.view())?.rows().into_iter().map(|row| make(row.to_vec())).collect())
    }

    /// Features `[D]` of an image `[1, 3, S, S]` as the whole backbone has them.
    pub(crate) fn features_of_image(&mut self, image: &ArrayView4<'_, f32>) -> Result<Vec<f32>> {
        let rows = self.embed(image)?;
        rows.first().map_or_else(|| Ok(Vec::new()), |row| self.features(row))
    }

    /// Features `[D]` as the whole backbone has them, which do not depend on what was learned.
    ///
    /// # Errors
    /// [`Error::Shape`] for a latent of another network.
    pub fn features(&self, embedding: &Embedding) -> Result<Vec<f32>> {
        features(self.tail.as_deref(), embedding)
    }

    /// The features `[D]` that `head` names an image by: those of its own tail, if that was
    /// trained.
    ///
    /// # Errors
    /// As [`Network::features`], and [`Error::NotReady`] for a trained tail behind a backbone that
    /// is not cut.
    pub fn features_for(&self, head: &PublishedHead, embedding: &Embedding) -> Result<Vec<f32>> {
        let tail = head.tail().or(self.tail.as_ref());
        #[cfg(feature = "tract")]
        if let (Embedding::Latent(latent), Some(tail)) = (embedding, tail) {
            return self.runner.features(tail, latent);
        }
        features(tail.map(Arc::as_ref), embedding)
    }
}

/// Features `[D]` by a tail, or those of a backbone that is not cut.
pub(super) fn features(tail: Option<&Tail>, embedding: &Embedding) -> Result<Vec<f32>> {
    match (embedding, tail) {
        (Embedding::Features(h), None) => Ok(h.clone()),
        (Embedding::Latent(latent), Some(tail)) => {
            inference::extract(&tail.extractor, &tail.parameters, latent)
        }
        (Embedding::Features(_), Some(_)) | (Embedding::Latent(_), None) => {
            let way_out = "put back the `cut` of the model's manifest entry";
            Err(Error::not_ready("prediction", "the heads were learned behind another cut", way_out))
        }
    }
}

/// The tail of a state's backbone, as its model file has it; `None` if that is not cut.
///
/// # Errors
/// [`Error::Model`], [`Error::Io`] or [`Error::NotFound`] if the state holds latents and the model
/// is not there as it was.
pub(super) fn tail_of(options: &BackboneOptions, own: &FeatureIdentity) -> Result<Option<Arc<Tail>>> {
    let tail = match &own.cut {
        Some(cut) => read_tail(options, own, Some(cut)),
        // A state without latents learns without a tail, whatever became of its model.
        None if own.may_be_cut() => Ok(read_tail(options, own, None).unwrap_or_default()),
        None => Ok(None),
    };
    Ok(tail?.map(Arc::new))
}

/// Reads the tail where `held` says that the state's latents are, or else where the manifest entry
/// says.
#[cfg(feature = "tract")]
fn read_tail(
    options: &BackboneOptions,
    own: &FeatureIdentity,
    held: Option<&String>,
) -> Result<Option<Tail>> {
    let spec = backbone::resolve(options.model.as_deref(), options.models_dir.as_deref())?;
    if spec.sha256 != own.backbone_sha256 {
        let reason = format!("it is not the file that the state was made with ({})", own.backbone_sha256);
        return Err(Error::Model { path: spec.path, reason });
    }
    let Some(held) = held else { return Ok(parts(&spec, false)?.map(|parts| parts.tail)) };
    let misplaced = || {
        let way_out = "put back the `cut` of the model's manifest entry";
        Error::not_found("cut of the state's latents", held, way_out)
    };
    let at = spec.cut.as_deref().ok_or_else(misplaced)?;
    let shape = held.strip_prefix(at).and_then(shape_of).ok_or_else(misplaced)?;
    Cut::tail_of(&spec, at, shape).map(Some)
}

#[cfg(not(feature = "tract"))]
fn read_tail(_: &BackboneOptions, _: &FeatureIdentity, held: Option<&String>) -> Result<Option<Tail>> {
    match held {
        Some(held) => {
            let way_out = "take a program with the feature `tract`";
            Err(Error::not_found("reader for the cut of the state's latents", held, way_out))
        }
        None => Ok(None),
    }
}

/// The shape behind the name in what [`place`] gives.
#[cfg(feature = "tract")]
fn shape_of(held: &str) -> Option<MapShape> {
    let sizes = held.strip_prefix(' ')?.split(',').next()?;
    let mut sizes = sizes.split('x').map(str::parse);
    let mut next = || sizes.next()?.ok();
    Some(MapShape { size: [next()?, next()?], channels: next()? })
}

/// Where a backbone is cut, with the shape of the latent there.
fn place(at: &str, tail: &Tail) -> String {
    let MapShape { size: [rows, columns], channels } = tail.extractor.input;
    format!("{at} {rows}x{columns}x{channels}")
}

/// What the features of `backbone`, not cut, are.
#[must_use]
pub fn identity(backbone: &dyn Backbone) -> FeatureIdentity {
    let spec = backbone.spec();
    FeatureIdentity {
        backbone_name: spec.name.clone(),
        backbone_sha256: spec.sha256.clone(),
        feature_width: spec.feature_width,
        feature_class: backbone.feature_class(),
        preprocessing: format!(
            "bilinear {0}x{0}, mean {1:?}, std {2:?}",
            spec.input_size, spec.mean, spec.std
        ),
        cut: None,
    }
}

/// Whether TensorRT's engine for what would run is still to be built, while CUDA could run at once.
///
/// # Errors
/// As [`Network::load`] for the model; a provider that cannot run is no error here.
#[cfg(any(feature = "serve", test))]
pub(super) fn awaits_engine(options: &BackboneOptions, is_whole: bool) -> Result<bool> {
    backbone::awaits_engine(options, || {
        let spec = backbone::resolve(options.model.as_deref(), options.models_dir.as_deref())?;
        match parts(&spec, is_whole)? {
            None => Ok(spec.sha256),
            #[cfg(feature = "tract")]
            Some(parts) => Ok(parts.trunk_spec.sha256),
        }
    })
}

/// The parts of a backbone that is cut.
#[cfg(feature = "tract")]
struct Parts {
    trunk_spec: BackboneSpec,
    trunk: Vec<u8>,
    tail: Tail,
}

/// Reads and cuts the backbone of `spec`; `None` if it is to run whole.
#[cfg(feature = "tract")]
fn parts(spec: &BackboneSpec, is_whole: bool) -> Result<Option<Parts>> {
    let Some(at) = spec.cut.as_deref().filter(|_| !is_whole) else { return Ok(None) };
    let Cut { trunk, tail } = Cut::of(spec, at)?;
    let trunk_spec = BackboneSpec {
        name: format!("{} up to {at}", spec.name),
        sha256: sha256_hex(&trunk),
        feature_width: tail.extractor.input_len(),
        ..spec.clone()
    };
    Ok(Some(Parts { trunk_spec, trunk, tail }))
}

/// Without a reader of ONNX graphs every backbone runs whole.
#[cfg(not(feature = "tract"))]
fn parts(_: &BackboneSpec, _: bool) -> Result<Option<std::convert::Infallible>> {
    Ok(None)
}
