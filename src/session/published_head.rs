//! The head that answers, with its calibration and its novelty.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::blend::BlendHead;
use super::settings::LearnerSettings;
use crate::Result;
use crate::heads::{Architecture, Parameters, Tail};
use crate::ids::ClassId;
use crate::learn::closed_form::{
    EnsembleHead, FeatureMap, FeatureTransform, LinearHead, Mahalanobis, softmax_rows,
};
use crate::learn::inference;
use crate::memory::StoredSample;

/// The kinds of heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeadKind {
    /// Adapter and classifier, trained by the whole objective.
    #[serde(alias = "kaizen")]
    Trained,
    /// Discriminant analysis and ridge regression on random features together.
    Ensemble,
    /// Streaming linear discriminant analysis.
    Slda,
    /// Ridge regression on random features.
    Ridge,
    /// Class means.
    Ncm,
    /// The ensemble and the trained classifier behind a trained tail together.
    Blend,
}

impl HeadKind {
    /// Name in reports and state files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Trained => "trained",
            Self::Ensemble => "ensemble",
            Self::Slda => "slda",
            Self::Ridge => "ridge",
            Self::Ncm => "ncm",
            Self::Blend => "blend",
        }
    }
}

/// Adapter and classifier, with the class of each column.
#[derive(Clone, Debug)]
pub(super) struct TrainedHead {
    pub(super) architecture: Architecture,
    pub(super) parameters: Arc<Parameters>,
    pub(super) columns: Vec<ClassId>,
}

/// What turns features into logits.
#[derive(Clone, Debug)]
pub(super) enum Head {
    Linear(LinearHead),
    Ensemble(EnsembleHead),
    /// Adapter and classifier.
    Trained(TrainedHead),
    /// The classifier that was trained with the tail, on the features themselves.
    Classifier(LinearHead),
    Blend(BlendHead),
}

impl Head {
    /// The class of each column of the logits.
    pub(super) fn columns(&self) -> &[ClassId] {
        match self {
            Self::Linear(head) | Self::Classifier(head) => &head.classes,
            Self::Ensemble(head) => head.classes(),
            Self::Blend(head) => head.ensemble.classes(),
            Self::Trained(trained) => &trained.columns,
        }
    }

    /// Logits `[N, C]` of h `[N, D]`.
    pub(super) fn logits(&self, map: &Inputs, h: &[f32]) -> Result<Vec<f32>> {
        match self {
            Self::Linear(head) | Self::Classifier(head) => head.logits(h),
            Self::Ensemble(head) => head.scores(h),
            Self::Blend(head) => head.scores(h),
            Self::Trained(trained) => {
                inference::logits(&trained.architecture, &trained.parameters, &map.apply(h)?)
            }
        }
    }
}

/// The inputs of a trained head: transformed features, with rows scaled to a root mean square of 1,
/// for which the first weights are made.
#[derive(Clone, Debug)]
pub struct Inputs(pub(super) FeatureMap);

impl Inputs {
    /// The inputs that a learner with these settings gives its heads, for features of width
    /// `features`.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] for a width of 0.
    pub fn of(settings: &LearnerSettings, features: usize) -> Result<Self> {
        settings.map(features).map(Self)
    }

    /// The transform of the features.
    #[must_use]
    pub fn map(&self) -> &FeatureMap {
        &self.0
    }

    /// Inputs `[N, D]` of rows h `[N, D]`.
    ///
    /// # Errors
    /// As [`FeatureMap::apply`].
    pub fn apply(&self, h: &[f32]) -> Result<Vec<f32>> {
        let mut rows = self.0.apply(h)?;
        if self.0.transform() != FeatureTransform::None {
            #[allow(clippy::cast_precision_loss, reason = "widths are small")]
            let scale = (self.0.width() as f32).sqrt();
            rows.iter_mut().for_each(|v| *v *= scale);
        }
        Ok(rows)
    }
}

/// What a frame shows, according to the published head.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Prediction {
    /// Name of the best class, also of a frame that is unlike everything learned.
    pub nearest: String,
    /// Calibrated probability of `nearest`, 0..1.
    pub probability: f32,
    /// How unlike everything learned the frame is: about 0 for known frames, above 1 for only 5 %
    /// of them.
    pub novelty: f32,
    /// The three best classes with their probabilities, best first.
    pub ranking: Vec<(String, f32)>,
}

impl Prediction {
    /// Whether the frame is unlike everything learned.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        self.novelty > 1.0
    }

    /// Name of the class; `None` for a frame that is unlike everything learned.
    #[must_use]
    pub fn class(&self) -> Option<&str> {
        (!self.is_unknown()).then_some(&self.nearest)
    }
}

/// Classes that a prediction names.
const RANKED: usize = 3;

/// A head with its calibration. Immutable: publishing puts another one in its place.
#[derive(Clone, Debug)]
pub struct PublishedHead {
    pub(super) kind: HeadKind,
    pub(super) head: Head,
    /// The trained tail whose features the head takes; without it, it takes the backbone's own.
    pub(super) tail: Option<Arc<Tail>>,
    pub(super) inputs: Inputs,
    pub(super) names: Vec<(ClassId, String)>,
    pub(super) geometry: Arc<Mahalanobis>,
    pub(super) temperature: f32,
    /// Raw novelty of the middle known sample, and by how much all but 5 % of the known samples
    /// exceed it at most.
    pub(super) novelty_scale: [f32; 2],
}

impl PublishedHead {
    /// Which kind of head it is.
    #[must_use]
    pub fn kind(&self) -> HeadKind {
        self.kind
    }

    /// Names of the classes known, by id.
    #[must_use]
    pub fn classes(&self) -> &[(ClassId, String)] {
        &self.names
    }

    /// The trained tail whose features the head takes, if it takes others than the backbone's own.
    #[must_use]
    pub fn tail(&self) -> Option<&Arc<Tail>> {
        self.tail.as_ref()
    }

    /// Predictions for rows h `[N, D]` of the features that the head takes.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] for rows of another width, [`crate::Error::Frame`] for values that
    /// are not finite.
    pub fn predict(&self, h: &[f32]) -> Result<Vec<Prediction>> {
        let (probabilities, novelty) = (self.probabilities(h)?, self.geometry.novelty(h)?);
        let names = self.column_names();
        let rows = probabilities.chunks(names.len().max(1));
        let predictions = rows.zip(novelty).map(|(row, distance)| {
            let mut columns: Vec<usize> = (0..row.len()).collect();
            // Stable: of equal probabilities the first column wins.
            columns.sort_by(|a, b| row[*b].total_cmp(&row[*a]));
            columns.truncate(RANKED);
            let ranking: Vec<_> = columns.into_iter().map(|at| (names[at].to_owned(), row[at])).collect();
            let (nearest, probability) = ranking.first().cloned().unwrap_or_default();
            let novelty = ((distance - self.novelty_scale[0]) / self.novelty_scale[1]).max(0.0);
            Prediction { nearest, probability, novelty, ranking }
        });
        Ok(predictions.collect())
    }

    /// Calibrated probabilities `[N, C]` of rows h `[N, D]`, columns in the order of
    /// [`PublishedHead::columns`].
    ///
    /// # Errors
    /// As [`PublishedHead::predict`].
    pub fn probabilities(&self, h: &[f32]) -> Result<Vec<f32>> {
        let mut logits = self.head.logits(&self.inputs, h)?;
        logits.iter_mut().for_each(|v| *v /= self.temperature);
        softmax_rows(&mut logits, self.head.columns().len());
        Ok(logits)
    }

    /// Everything behind the backbone's features, to be written as ONNX.
    #[cfg(feature = "tract")]
    #[must_use]
    pub fn classifier(&self) -> crate::export::Classifier<'_> {
        use crate::export::{Classifier, Scorer};
        Classifier {
            features: self.inputs.0.features(),
            transform: self.inputs.0.transform(),
            scorer: match &self.head {
                Head::Linear(head) => Scorer::Linear(head),
                Head::Ensemble(head) => Scorer::Ensemble(head),
                Head::Trained(trained) => Scorer::Trained(&trained.architecture, &trained.parameters),
                Head::Classifier(head) => Scorer::Classifier(head),
                Head::Blend(head) => Scorer::Blend {
                    ensemble: &head.ensemble,
                    classifier: &head.classifier,
                    scales: head.scales,
                    share: head.share,
                },
            },
            temperature: self.temperature,
            geometry: &self.geometry,
            novelty_scale: self.novelty_scale,
        }
    }

    /// Class names in the order of the columns.
    #[must_use]
    pub fn column_names(&self) -> Vec<&str> {
        let name =
            |class: &ClassId| self.names.iter().find(|(id, _)| id == class).map_or("", |(_, n)| n.as_str());
        self.columns().iter().map(name).collect()
    }

    /// The class of each column of the probabilities.
    #[must_use]
    pub fn columns(&self) -> &[ClassId] {
        self.head.columns()
    }
}

/// Features of rows one after the other, `[N, D]`.
pub(super) fn join<'a>(rows: impl IntoIterator<Item = &'a StoredSample>) -> Vec<f32> {
    rows.into_iter().map(|sample| &*sample.features).collect::<Vec<_>>().concat()
}

/// Index and value of the largest element; the first of equals.
pub(super) fn best_of(row: &[f32]) -> (usize, f32) {
    row.iter()
        .enumerate()
        .fold((0, f32::NEG_INFINITY), |best, (i, &v)| if v > best.1 { (i, v) } else { best })
}
