//! What answers: a published head with its calibration and its sense of the unknown.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::heads::{Architecture, Parameters};
use crate::ids::ClassId;
use crate::learn::closed_form::{EnsembleHead, LinearHead, Mahalanobis, softmax_rows};
use crate::learn::inference;

/// Which head answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeadKind {
    /// Adapter and classifier, trained by the whole objective.
    Kaizen,
    /// Discriminant analysis and ridge regression on random features together.
    Ensemble,
    /// Streaming linear discriminant analysis.
    Slda,
    /// Ridge regression on random features.
    Ridge,
    /// Class means.
    Ncm,
}

impl HeadKind {
    /// Name in reports and state files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Kaizen => "kaizen",
            Self::Ensemble => "ensemble",
            Self::Slda => "slda",
            Self::Ridge => "ridge",
            Self::Ncm => "ncm",
        }
    }
}

/// The trained heads: adapter and classifier, with the class of each column.
#[derive(Clone, Debug)]
pub(super) struct Trained {
    pub(super) architecture: Architecture,
    pub(super) parameters: Arc<Parameters>,
    pub(super) columns: Vec<ClassId>,
}

/// The head behind a [`Predictor`].
#[derive(Clone, Debug)]
pub(super) enum Answer {
    Linear(LinearHead),
    Ensemble(EnsembleHead),
    Trained(Trained),
}

impl Answer {
    /// The class of each column of the logits.
    pub(super) fn columns(&self) -> &[ClassId] {
        match self {
            Self::Linear(head) => &head.classes,
            Self::Ensemble(head) => head.classes(),
            Self::Trained(trained) => &trained.columns,
        }
    }

    /// Logits `[N, C]` of h `[N, D]`.
    pub(super) fn logits(&self, map: &Inputs, h: &[f32]) -> Result<Vec<f32>> {
        match self {
            Self::Linear(head) => head.logits(h),
            Self::Ensemble(head) => head.scores(h),
            Self::Trained(trained) => {
                inference::logits(&trained.architecture, &trained.parameters, &map.apply(h)?)
            }
        }
    }
}

/// The inputs of the trained heads: the transform, then rows scaled to a root mean square of 1, at which the heads'
/// first weights are made for.
#[derive(Clone, Debug)]
pub(super) struct Inputs(pub(super) crate::learn::closed_form::FeatureMap);

impl Inputs {
    pub(super) fn apply(&self, h: &[f32]) -> Result<Vec<f32>> {
        let mut rows = self.0.apply(h)?;
        if self.0.transform() != crate::learn::closed_form::FeatureTransform::None {
            #[allow(clippy::cast_precision_loss, reason = "widths are small")]
            let scale = (self.0.width() as f32).sqrt();
            rows.iter_mut().for_each(|v| *v *= scale);
        }
        Ok(rows)
    }
}

/// One frame's answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Prediction {
    /// The best class.
    pub class: ClassId,
    /// Its name.
    pub name: String,
    /// Its calibrated probability, 0..1.
    pub probability: f32,
    /// How unlike everything learned: 0 or a little more for known samples, above 1 for only 5 % of them.
    pub novelty: f32,
}

impl Prediction {
    /// Whether the frame is unlike everything learned.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        self.novelty > 1.0
    }
}

/// A published head. Immutable: publishing swaps the whole of it.
#[derive(Clone, Debug)]
pub struct Predictor {
    pub(super) kind: HeadKind,
    pub(super) answer: Answer,
    pub(super) inputs: Inputs,
    pub(super) names: Vec<(ClassId, String)>,
    pub(super) geometry: Arc<Mahalanobis>,
    pub(super) temperature: f32,
    /// What the middle one of known samples has, and how much more all but 5 % of them stay below.
    pub(super) novelty_scale: [f32; 2],
}

impl Predictor {
    /// Which head answers.
    #[must_use]
    pub fn kind(&self) -> HeadKind {
        self.kind
    }

    /// Names of the classes known, by id.
    #[must_use]
    pub fn classes(&self) -> &[(ClassId, String)] {
        &self.names
    }

    /// Answers for rows h `[N, D]`.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] for rows of another width, [`crate::Error::Config`] for values that are not finite.
    pub fn predict(&self, h: &[f32]) -> Result<Vec<Prediction>> {
        Ok(self.answers(h)?.0)
    }

    /// Answers for rows h `[N, D]`, and the probabilities behind them, `[N, C]` as [`Predictor::probabilities`] has them.
    ///
    /// # Errors
    /// As [`Predictor::predict`].
    pub fn answers(&self, h: &[f32]) -> Result<(Vec<Prediction>, Vec<f32>)> {
        let columns = self.answer.columns();
        let (probabilities, novelty) = (self.probabilities(h)?, self.geometry.novelty(h)?);
        let rows = probabilities.chunks(columns.len().max(1));
        let answers = rows.zip(novelty).map(|(row, distance)| {
            let (best, probability) = best_of(row);
            let name = self.names.iter().find(|(id, _)| *id == columns[best]);
            Prediction {
                class: columns[best],
                name: name.map(|(_, name)| name.clone()).unwrap_or_default(),
                probability,
                novelty: ((distance - self.novelty_scale[0]) / self.novelty_scale[1]).max(0.0),
            }
        });
        let answers = answers.collect();
        Ok((answers, probabilities))
    }

    /// Calibrated probabilities `[N, C]` of rows h `[N, D]`, columns in the order of [`Predictor::columns`].
    ///
    /// # Errors
    /// As [`Predictor::predict`].
    pub fn probabilities(&self, h: &[f32]) -> Result<Vec<f32>> {
        let mut logits = self.answer.logits(&self.inputs, h)?;
        logits.iter_mut().for_each(|v| *v /= self.temperature);
        softmax_rows(&mut logits, self.answer.columns().len());
        Ok(logits)
    }

    /// Everything behind the backbone's features, to be written as ONNX.
    #[cfg(feature = "tract")]
    #[must_use]
    pub fn tail(&self) -> crate::export::Tail<'_> {
        use crate::export::{Scorer, Tail};
        Tail {
            features: self.inputs.0.features(),
            transform: self.inputs.0.transform(),
            scorer: match &self.answer {
                Answer::Linear(head) => Scorer::Linear(head),
                Answer::Ensemble(head) => Scorer::Ensemble(head),
                Answer::Trained(trained) => Scorer::Trained(&trained.architecture, &trained.parameters),
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
        self.answer.columns()
    }
}

/// Index of the largest element; the first of equals.
pub(super) fn best_column(row: &[f32]) -> usize {
    best_of(row).0
}

/// Index and value of the largest element; the first of equals.
pub(super) fn best_of(row: &[f32]) -> (usize, f32) {
    row.iter()
        .enumerate()
        .fold((0, f32::NEG_INFINITY), |best, (i, &v)| if v > best.1 { (i, v) } else { best })
}

/// Temperature under which the logits' probabilities fit the labels best (Guo et al. 2017), by golden section on the
/// logarithm between 1/64 and 64. 1 without rows. The targets are (n + 1) / (n + 2) for the true class of each of n rows
/// and the rest for the others (Platt 1999): a handful of rows that are all right is no proof of certainty.
pub(super) fn fit_temperature(logits: &[f32], columns: usize, truth: &[usize]) -> f32 {
    if truth.is_empty() || columns < 2 {
        return 1.0;
    }
    #[allow(clippy::cast_precision_loss, reason = "counts of rows and classes")]
    let (rows, others) = (truth.len() as f64, (columns - 1) as f64);
    let rest = 1.0 / (rows + 2.0);
    let loss = |log: f64| -> f64 {
        #[allow(clippy::cast_possible_truncation, reason = "a temperature needs no more digits")]
        let inverse = (-log).exp() as f32;
        let rows = logits.chunks(columns).zip(truth);
        rows.map(|(row, &class)| {
            let (_, top) = best_of(row);
            let scaled = |v: f32| f64::from((v - top) * inverse);
            let sum: f64 = row.iter().map(|&v| scaled(v).exp()).sum();
            let all: f64 = row.iter().map(|&v| scaled(v)).sum();
            let own = scaled(row[class]);
            sum.ln() - (1.0 - rest) * own - rest / others * (all - own)
        })
        .sum()
    };
    let (mut low, mut high) = (-(64.0_f64.ln()), 64.0_f64.ln());
    let ratio = (5.0_f64.sqrt() - 1.0) / 2.0;
    for _ in 0..40 {
        let (a, b) = (high - ratio * (high - low), low + ratio * (high - low));
        if loss(a) < loss(b) { high = b } else { low = a }
    }
    #[allow(clippy::cast_possible_truncation, reason = "a temperature needs no more digits")]
    let temperature = f64::midpoint(low, high).exp() as f32;
    temperature
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temperature_recovers_the_scale_of_overconfident_logits() {
        // Two classes, right three times of four: the probability that fits is 3/4, a logit difference of ln 3.
        let logits = [10.0, 0.0].repeat(40_000);
        let temperature = fit_temperature(&logits, 2, &[0, 0, 0, 1].repeat(10_000));
        assert!((10.0 / temperature - 3.0_f32.ln()).abs() < 1e-3, "{temperature}");
        assert!((fit_temperature(&[], 2, &[]) - 1.0).abs() < f32::EPSILON);
    }
    #[test]
    fn a_handful_of_right_answers_is_no_proof_of_certainty() {
        let temperature = fit_temperature(&[3.0, 0.0, 0.0, 3.0, 2.0, 0.0], 2, &[0, 1, 0]);
        let probability = 1.0 / (1.0 + (-3.0 / temperature).exp());
        assert!((0.75..0.95).contains(&probability), "{probability}");
    }
}
