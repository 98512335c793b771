//! Discriminant analysis and ridge regression on random features, their log-probabilities added: the default
//! closed form. ADR 12 has the figures.

use serde::{Deserialize, Serialize};

use super::class_covariances::{ClassCovariances, CovarianceSums};
use super::em::{EmLda, EmSettings};
use super::features::{FeatureMap, FeatureTransform, RowSet};
use super::head::{LinearHead, argmax_rows};
use super::lda::{LdaModel, LdaSettings, StreamingLda};
use super::responsibilities::Responsibilities;
use super::ridge::RidgeHead;
use crate::error::{Error, Result};
use crate::ids::ClassId;
use crate::number::real;

/// Settings of the ensemble.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct EnsembleSettings {
    /// Weight of an unlabelled row beside a labelled one, 0..=1.
    pub unlabelled_weight: f64,
    /// An unlabelled row farther from every class of the task than this quantile (0..=1) of the labelled rows from their
    /// own, each left out, is an outlier and counts nowhere: with one class taught, everything else is not that class.
    /// `None` shares every row out.
    pub outlier_quantile: Option<f64>,
    /// Labelled rows a class from which on they are many.
    pub many_rows: f64,
    /// Shrinkage of the covariance, 0..=1, with many and with few labelled rows a class.
    pub shrinkage: [f64; 2],
    /// Principal components in which each class has a covariance of its own; 0 for one covariance in all of them.
    pub components: usize,
    /// Rows that the shared covariance stands for beside a class's own: n rows weigh n / (n + this), at most a half.
    pub prior_rows: f64,
    /// Width of the random ReLU features.
    pub random_features: usize,
    /// Ridge λ on the random features.
    pub lambda: f64,
    /// Factor of the discriminant's logits, with many and with few labelled rows a class: Gaussians are far too sure of
    /// themselves.
    pub discriminant_scale: [f32; 2],
    /// Factor of the ridge's logits, which lie around 0..=1, with many and with few labelled rows a class.
    pub ridge_scale: [f32; 2],
    /// Most that a rare class's rows count in the ridge, in times of a row of an average class.
    pub largest_weight: f64,
}

impl Default for EnsembleSettings {
    fn default() -> Self {
        Self {
            unlabelled_weight: 0.3,
            outlier_quantile: Some(0.95),
            many_rows: 100.0,
            shrinkage: [0.1, 0.3],
            components: 128,
            prior_rows: 300.0,
            random_features: 5000,
            lambda: 100.0,
            discriminant_scale: [0.12, 0.05],
            ridge_scale: [15.0, 20.0],
            largest_weight: 10.0,
        }
    }
}

/// Rows of a task with their shares in its classes.
#[derive(Clone, Debug)]
pub struct Evidence<'h> {
    /// Labelled rows h, then unlabelled ones, `[M + N, D]`.
    h: RowSet<'h>,
    /// The task's classes, ascending, `[K]`.
    classes: Vec<ClassId>,
    /// `[M + N, K]`
    shares: Vec<f32>,
    labelled: usize,
}

impl<'h> Evidence<'h> {
    /// Labelled rows, then unlabelled ones, h [M + N, D]; `labels` `[M]` of the former, and `shares` [N, K] of the latter
    /// in the labels' classes in ascending order.
    ///
    /// # Errors
    /// [`Error::Shape`] when the parts do not fit one another.
    pub fn new(h: impl Into<RowSet<'h>>, labels: &[ClassId], shares: &[f32]) -> Result<Self> {
        let h = h.into();
        let classes = distinct(labels);
        let open = shares.len() / classes.len().max(1);
        let rows = labels.len() + open;
        let (is_whole, given) = match h {
            RowSet::Joined(h) => (h.len().is_multiple_of(rows.max(1)), h.len()),
            RowSet::Apart(h) => (h.len() == rows, h.len()),
        };
        if shares.len() != open * classes.len() || !is_whole {
            let wanted = format!("{rows} rows, {open} rows of {} shares", classes.len());
            return Err(Error::shape("rows and shares of a task", wanted, (given, shares.len())));
        }
        let mut all = vec![0.0; labels.len() * classes.len()];
        for (row, label) in all.chunks_exact_mut(classes.len().max(1)).zip(labels) {
            row[classes.partition_point(|class| class < label)] = 1.0;
        }
        all.extend_from_slice(shares);
        Ok(Self { h, classes, shares: all, labelled: labels.len() })
    }

    fn responsibilities(&self) -> Responsibilities<'_> {
        Responsibilities::Soft { classes: &self.classes, shares: &self.shares }
    }

    /// The shares with every class as heavy as the average one, at most `largest` times: ridge regression leans towards
    /// frequent classes where discriminant analysis does not.
    fn balanced(&self, largest: f64) -> Vec<f32> {
        let columns = self.classes.len();
        let mut totals = vec![0.0; columns];
        for row in self.shares.chunks_exact(columns.max(1)) {
            totals.iter_mut().zip(row).for_each(|(total, &share)| *total += f64::from(share));
        }
        let mean = totals.iter().sum::<f64>() / real(columns);
        let weights: Vec<f32> = totals.iter().map(|total| single((mean / total).min(largest))).collect();
        self.shares.iter().enumerate().map(|(at, share)| share * weights[at % columns]).collect()
    }
}

/// The classes of some labels, ascending.
#[must_use]
pub fn distinct(labels: &[ClassId]) -> Vec<ClassId> {
    let mut classes = labels.to_vec();
    classes.sort_unstable();
    classes.dedup();
    classes
}

impl EnsembleSettings {
    /// Shares [N, K] of unlabelled rows h [N, D] in the classes of the labelled rows h [M, D], `labels` `[M]`, in
    /// ascending order of the classes: expectation-maximisation with equal proportions, times
    /// [`EnsembleSettings::unlabelled_weight`]; zeros for outliers.
    ///
    /// # Errors
    /// As [`EmLda::assign`].
    pub fn share_out(
        &self,
        width: usize,
        transform: FeatureTransform,
        [known, open]: [RowSet<'_>; 2],
        labels: &[ClassId],
    ) -> Result<Vec<f32>> {
        let outlier_quantile = self.outlier_quantile;
        let em = EmSettings { proportions: 0.0, outlier_quantile, ..EmSettings::default() };
        let outcome = EmLda::new(FeatureMap::new(width, transform)?, em)?.assign(known, labels, open)?;
        let weight = single(self.unlabelled_weight);
        Ok(outcome.shares.into_iter().map(|share| weight * share).collect())
    }
}

/// Statistics of both members.
#[derive(Clone, Debug)]
pub struct Ensemble {
    settings: EnsembleSettings,
    lda: StreamingLda,
    covariances: CovarianceSums,
    ridge: RidgeHead,
    /// Labelled rows so far.
    labelled: usize,
}

/// Both members, solved.
#[derive(Clone, Debug)]
pub struct EnsembleModel {
    /// The discriminant, with its geometry.
    pub lda: LdaModel,
    /// What answers.
    pub head: EnsembleHead,
}

/// Two heads over the same classes in the same order, whose log-probabilities are added.
#[derive(Clone, Debug)]
pub struct EnsembleHead {
    /// The discriminant.
    pub lda: LinearHead,
    /// What a covariance a class adds to its logits.
    pub class_covariances: Option<ClassCovariances>,
    /// The ridge.
    pub ridge: LinearHead,
    /// Factors of the logits of discriminant and ridge.
    pub scales: [f32; 2],
}

impl Ensemble {
    /// No classes yet. The random features are drawn from `seed`.
    ///
    /// # Errors
    /// [`Error::Config`] for a width of 0.
    pub fn new(
        settings: EnsembleSettings,
        width: usize,
        transform: FeatureTransform,
        seed: u64,
    ) -> Result<Self> {
        let lda = StreamingLda::new(FeatureMap::new(width, transform)?);
        let random = FeatureMap::random_relu(width, transform, settings.random_features, seed)?;
        let covariances = CovarianceSums::new(settings.components);
        Ok(Self { settings, lda, covariances, ridge: RidgeHead::new(random), labelled: 0 })
    }

    /// Adds a task's rows; classes not seen before are new from here on.
    ///
    /// # Errors
    /// As [`StreamingLda::add`].
    pub fn add(&mut self, evidence: &Evidence<'_>) -> Result<()> {
        let shares = evidence.balanced(self.settings.largest_weight);
        let balanced = Responsibilities::Soft { classes: &evidence.classes, shares: &shares };
        self.lda.add(evidence.h, evidence.responsibilities())?;
        self.covariances.add(&self.lda, evidence.h, evidence.responsibilities())?;
        self.ridge.add(evidence.h, balanced)?;
        self.labelled += evidence.labelled;
        Ok(())
    }

    /// Solves both members.
    ///
    /// # Errors
    /// As [`StreamingLda::fit`] and [`RidgeHead::fit`].
    pub fn fit(&self) -> Result<EnsembleModel> {
        let settings = &self.settings;
        let per_class = real(self.labelled) / real(self.lda.moments().counts().len().max(1));
        let few = usize::from(per_class < settings.many_rows);
        let lda = LdaSettings { shrinkage: settings.shrinkage[few], ..LdaSettings::default() };
        let pooled = self.lda.moments().pooled()?;
        let class_covariances = self.covariances.fit(&pooled, settings.prior_rows);
        let model = LdaModel::of_pooled(self.lda.map(), pooled, lda)?;
        let head = EnsembleHead {
            lda: model.head.clone(),
            class_covariances,
            ridge: self.ridge.fit(settings.lambda)?,
            scales: [settings.discriminant_scale[few], settings.ridge_scale[few]],
        };
        Ok(EnsembleModel { lda: model, head })
    }
}

impl EnsembleHead {
    /// The class of each column, ascending.
    #[must_use]
    pub fn classes(&self) -> &[ClassId] {
        &self.lda.classes
    }

    /// Scores [N, C] of rows h [N, D]: log softmax(a f(h)) + log softmax(b g(h)) for the logits f of the discriminant and
    /// g of the ridge.
    ///
    /// # Errors
    /// As [`FeatureMap::apply`].
    pub fn scores(&self, h: &[f32]) -> Result<Vec<f32>> {
        let columns = self.lda.classes.len();
        let mapped = self.lda.map.apply(h)?;
        let mut lda = self.lda.logits_of_mapped(&mapped);
        if let Some(class_covariances) = &self.class_covariances {
            class_covariances.add_to(&mut lda, &mapped);
        }
        let mut scores = log_probabilities(lda, columns, self.scales[0]);
        let ridge = log_probabilities(self.ridge.logits(h)?, columns, self.scales[1]);
        scores.iter_mut().zip(ridge).for_each(|(score, more)| *score += more);
        Ok(scores)
    }

    /// The class with the highest score of each row, `[N]`.
    ///
    /// # Errors
    /// As [`FeatureMap::apply`].
    pub fn predict(&self, h: &[f32]) -> Result<Vec<ClassId>> {
        let scores = self.scores(h)?;
        Ok(argmax_rows(&scores, self.classes().len()).into_iter().map(|best| self.classes()[best]).collect())
    }
}

fn log_probabilities(mut logits: Vec<f32>, columns: usize, scale: f32) -> Vec<f32> {
    for row in logits.chunks_exact_mut(columns.max(1)) {
        row.iter_mut().for_each(|value| *value *= scale);
        let top = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let total: f32 = row.iter().map(|value| (value - top).exp()).sum();
        let shift = top + total.ln();
        row.iter_mut().for_each(|value| *value -= shift);
    }
    logits
}

#[allow(clippy::cast_possible_truncation, reason = "shares are kept in f32")]
fn single(value: f64) -> f32 {
    value as f32
}
