//! A published head as the bytes of a version, and back, bit for bit.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::blend::BlendHead;
use super::calibration::calibrated;
use super::format;
use super::published_head::{Head, HeadKind, Inputs, PublishedHead, TrainedHead, join};
use super::settings::LearnerSettings;
use crate::heads::{Architecture, Parameters, Tail, Tensor};
use crate::ids::ClassId;
use crate::learn::closed_form::{
    ClassCovariances, Components, EnsembleHead, FeatureMap, FeatureTransform, LdaSettings, LinearHead,
    Mahalanobis, MahalanobisState, Responsibilities, StreamingLda,
};
use crate::memory::{Memory, Rows};
use crate::{Error, Result};

/// What is read, for errors.
const WHAT: &str = "the published version";
/// Name of the classifier behind a trained tail.
const CLASSIFIER: &str = "classifier";
/// Names of the tensors of the class covariances. They are older than the name of the type and stay
/// for old states.
const CLASS_COVARIANCES: [&str; 4] =
    ["curvature.directions", "curvature.offset", "curvature.weight", "curvature.bias"];

impl PublishedHead {
    /// The head that `memory` serves: the published version as it was, or, before the first
    /// consolidation, a closed-form head fitted to the labels at once. `None` without any label.
    ///
    /// # Errors
    /// [`Error::State`] if the memory cannot be read, [`Error::NotReady`] while something is being
    /// removed that the head may know, [`Error::Config`] or [`Error::Shape`] for a version that
    /// this program did not write.
    pub fn restore(memory: &Memory, settings: &LearnerSettings) -> Result<Option<Self>> {
        if let Some(removal) = memory.removals()?.first() {
            let reason = format!("{removal} is not finished");
            let way_out = "try again; if no program writes the state, `kaizen check FILE` finishes it";
            return Err(Error::not_ready("the published version", reason, way_out));
        }
        Self::restore_whatever_is_removed(memory, settings)
    }

    /// As [`PublishedHead::restore`], also while a removal is under way: for who finishes it.
    pub(super) fn restore_whatever_is_removed(
        memory: &Memory,
        settings: &LearnerSettings,
    ) -> Result<Option<Self>> {
        if let Some(version) = memory.published()?
            && let Some(heads) = &version.heads
        {
            return Ok(Some(from_bytes(heads)?));
        }
        let training = memory.samples(Rows::Training)?;
        if training.is_empty() || !memory.history()?.versions.is_empty() {
            return Ok(None);
        }
        let inputs = Inputs(settings.map(memory.identity().feature_width)?);
        let mut lda = StreamingLda::new(inputs.0.clone());
        let labels: Vec<_> = training.iter().filter_map(|sample| sample.class).collect();
        lda.add(&join(&training), Responsibilities::Labels(&labels))?;
        let model = lda.fit(LdaSettings::default())?;
        let head = Head::Linear(model.head.clone());
        let held_out = memory.samples(Rows::HeldOut)?;
        let names = memory.classes()?;
        Ok(Some(calibrated(HeadKind::Slda, head, &inputs, model, None, names, [&held_out, &training])?))
    }

    /// Named tensors and metadata as safetensors.
    pub(super) fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut parameters = Parameters::default();
        let (mut random, mut scales, mut blend) = (None, None, None);
        let architecture = match &self.head {
            Head::Linear(head) => {
                insert(&mut parameters, "head", head)?;
                random = projection(&head.map);
                None
            }
            Head::Ensemble(head) => {
                insert_ensemble(&mut parameters, head)?;
                (random, scales) = (projection(&head.ridge.map), Some(head.scales));
                None
            }
            Head::Trained(trained) => {
                parameters.extend(trained.parameters.as_ref().clone());
                Some(&trained.architecture)
            }
            Head::Classifier(head) => {
                insert(&mut parameters, CLASSIFIER, head)?;
                None
            }
            Head::Blend(head) => {
                insert_ensemble(&mut parameters, &head.ensemble)?;
                insert(&mut parameters, CLASSIFIER, &head.classifier)?;
                (random, scales) = (projection(&head.ensemble.ridge.map), Some(head.ensemble.scales));
                blend = Some((head.scales, head.share));
                None
            }
        };
        let MahalanobisState { factor, centre, whitened } = self.geometry.state();
        for (name, values) in [("factor", factor), ("centre", centre), ("means", whitened)] {
            parameters.insert(format!("geometry.{name}"), Tensor::new(&[values.len()], values)?);
        }
        let json = |value: serde_json::Result<String>| value.map_err(|error| damaged(error.to_string()));
        let mut metadata = BTreeMap::from([
            format::entry(),
            ("kind".to_owned(), json(serde_json::to_string(&self.kind))?),
            ("transform".to_owned(), json(serde_json::to_string(&self.inputs.0.transform()))?),
            ("features".to_owned(), self.inputs.0.features().to_string()),
            ("columns".to_owned(), json(serde_json::to_string(self.head.columns()))?),
            ("names".to_owned(), json(serde_json::to_string(&self.names))?),
            ("temperature".to_owned(), json(serde_json::to_string(&self.temperature))?),
            ("novelty_scale".to_owned(), json(serde_json::to_string(&self.novelty_scale))?),
            ("architecture".to_owned(), json(serde_json::to_string(&architecture))?),
            ("random_features".to_owned(), json(serde_json::to_string(&random))?),
            ("scales".to_owned(), json(serde_json::to_string(&scales))?),
            ("blend".to_owned(), json(serde_json::to_string(&blend))?),
        ]);
        if let Some(tail) = &self.tail {
            tail.store(&mut parameters, &mut metadata)?;
        }
        parameters.to_safetensors(&metadata)
    }
}

fn insert(parameters: &mut Parameters, name: &str, head: &LinearHead) -> Result<()> {
    let shape = [head.classes.len(), head.map.width()];
    parameters.insert(format!("{name}.weight"), Tensor::new(&shape, head.weight.clone())?);
    parameters.insert(format!("{name}.bias"), Tensor::new(&shape[..1], head.bias.clone())?);
    Ok(())
}

fn insert_ensemble(parameters: &mut Parameters, head: &EnsembleHead) -> Result<()> {
    insert(parameters, "lda", &head.lda)?;
    insert(parameters, "ridge", &head.ridge)?;
    match &head.class_covariances {
        Some(class_covariances) => insert_class_covariances(parameters, class_covariances),
        None => Ok(()),
    }
}

fn insert_class_covariances(parameters: &mut Parameters, class_covariances: &ClassCovariances) -> Result<()> {
    let Components { directions, offset } = class_covariances.components.as_ref();
    let parts = [directions, offset, &class_covariances.weight, &class_covariances.bias];
    for (name, values) in CLASS_COVARIANCES.iter().zip(parts) {
        parameters.insert((*name).to_owned(), Tensor::new(&[values.len()], values.clone())?);
    }
    Ok(())
}

/// Width and seed of random features: they are drawn again, not stored.
fn projection(map: &FeatureMap) -> Option<(usize, u64)> {
    map.seed().map(|seed| (map.width(), seed))
}

/// Reads what [`PublishedHead::to_bytes`] wrote.
fn from_bytes(bytes: &[u8]) -> Result<PublishedHead> {
    let metadata = Parameters::metadata(bytes)?;
    format::require(WHAT, &metadata)?;
    let mut parameters = Parameters::from_safetensors(bytes)?;
    let features: usize = field(&metadata, "features")?;
    let map = FeatureMap::new(features, field(&metadata, "transform")?)?;
    let columns: Vec<ClassId> = field(&metadata, "columns")?;
    let architecture: Option<Architecture> = field(&metadata, "architecture")?;
    let mut take = |name: &str| take(&mut parameters, name);
    let state = MahalanobisState {
        factor: take("geometry.factor")?,
        centre: take("geometry.centre")?,
        whitened: take("geometry.means")?,
    };
    let tail = Tail::take(&mut parameters, &metadata)?;
    let head = match architecture {
        None => {
            let head = head_on(&metadata, &mut parameters, &map, &columns)?;
            format::refuse_unknown(WHAT, parameters.names().into_iter())?;
            head
        }
        Some(architecture) if architecture.classes() == columns.len() => {
            let names = parameters.names().into_iter();
            format::refuse_unknown(WHAT, names.filter(|name| !format::has(&architecture, name)))?;
            Head::Trained(TrainedHead { architecture, parameters: Arc::new(parameters), columns })
        }
        Some(architecture) => {
            let what = "columns of the published head";
            return Err(Error::shape(what, architecture.classes(), columns.len()));
        }
    };
    Ok(PublishedHead {
        kind: field(&metadata, "kind")?,
        head,
        names: field(&metadata, "names")?,
        geometry: Arc::new(Mahalanobis::from_state(map.clone(), state)?),
        inputs: Inputs(map),
        tail: tail.map(Arc::new),
        temperature: field(&metadata, "temperature")?,
        novelty_scale: field(&metadata, "novelty_scale")?,
    })
}

/// The head on features with these columns: a closed form, the classifier behind a trained tail, or
/// both.
fn head_on(
    metadata: &BTreeMap<String, String>,
    parameters: &mut Parameters,
    map: &FeatureMap,
    columns: &[ClassId],
) -> Result<Head> {
    if !parameters.contains(&format!("{CLASSIFIER}.weight")) {
        return closed_form(metadata, parameters, map, columns);
    }
    let own = FeatureMap::new(map.features(), FeatureTransform::None)?;
    let classifier = linear(parameters, CLASSIFIER, &own, columns)?;
    match field::<Option<([f32; 2], f32)>>(metadata, "blend")? {
        None => Ok(Head::Classifier(classifier)),
        Some((scales, share)) => match closed_form(metadata, parameters, map, columns)? {
            Head::Ensemble(ensemble) => Ok(Head::Blend(BlendHead { ensemble, classifier, scales, share })),
            Head::Linear(_) | Head::Trained(_) | Head::Classifier(_) | Head::Blend(_) => {
                Err(damaged("its blend has no ensemble".to_owned()))
            }
        },
    }
}

/// Takes a linear head out.
fn linear(
    parameters: &mut Parameters,
    name: &str,
    map: &FeatureMap,
    columns: &[ClassId],
) -> Result<LinearHead> {
    let weight = take(parameters, &format!("{name}.weight"))?;
    let bias = take(parameters, &format!("{name}.bias"))?;
    let wanted = (columns.len() * map.width(), columns.len());
    if (weight.len(), bias.len()) != wanted {
        return Err(Error::shape("published head", wanted, (weight.len(), bias.len())));
    }
    Ok(LinearHead { map: map.clone(), weight, bias, classes: columns.to_vec() })
}

/// The closed form with these columns: an ensemble if `scales` are there, else a linear head.
fn closed_form(
    metadata: &BTreeMap<String, String>,
    parameters: &mut Parameters,
    map: &FeatureMap,
    columns: &[ClassId],
) -> Result<Head> {
    let (features, classes) = (map.features(), columns.len());
    let has_class_covariances = parameters.contains(CLASS_COVARIANCES[0]);
    let random = match field::<Option<(usize, u64)>>(metadata, "random_features")? {
        Some((width, seed)) => FeatureMap::random_relu(features, map.transform(), width, seed)?,
        None => map.clone(),
    };
    let Some(scales) = field::<Option<[f32; 2]>>(metadata, "scales")? else {
        return Ok(Head::Linear(linear(parameters, "head", &random, columns)?));
    };
    let lda = linear(parameters, "lda", map, columns)?;
    let ridge = linear(parameters, "ridge", &random, columns)?;
    let mut take = |name: &str| take(parameters, name);
    let class_covariances =
        has_class_covariances.then(|| class_covariances(&mut take, features, classes)).transpose()?;
    Ok(Head::Ensemble(EnsembleHead { lda, class_covariances, ridge, scales }))
}

/// Takes the values of a tensor out.
fn take(parameters: &mut Parameters, name: &str) -> Result<Vec<f32>> {
    let found = parameters.remove(name).map(|tensor| tensor.data);
    found.ok_or_else(|| damaged(format!("it has no tensor `{name}`")))
}

fn class_covariances(
    take: &mut dyn FnMut(&str) -> Result<Vec<f32>>,
    width: usize,
    classes: usize,
) -> Result<ClassCovariances> {
    let [directions, offset, weight, bias] = CLASS_COVARIANCES.map(take);
    let (components, bias) = (Components { directions: directions?, offset: offset? }, bias?);
    if bias.len() != classes {
        return Err(Error::shape("covariances of the published head", classes, bias.len()));
    }
    ClassCovariances::new(width, components, weight?, bias)
}

fn field<T: serde::de::DeserializeOwned>(metadata: &BTreeMap<String, String>, name: &str) -> Result<T> {
    serde_json::from_str(metadata.get(name).map_or("null", String::as_str))
        .map_err(|error| damaged(error.to_string()))
}

fn damaged(reason: String) -> Error {
    Error::corrupt("published version", reason, "run `kaizen check`, or put back a copy of the state file")
}
