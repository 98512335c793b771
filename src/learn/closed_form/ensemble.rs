//! Discriminant analysis and ridge regression on random features, their log-probabilities added:
//! the default closed form. ADR 12 has the figures.

use serde::{Deserialize, Serialize};

use super::class_covariances::{ClassCovariances, CovarianceSums};
use super::em;
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
    /// An unlabelled row farther from every class of the task than this quantile (0..=1) of the
    /// labelled rows from their own, each left out, is an outlier and counts nowhere: with one
    /// class taught, everything else is not that class. `None` shares every row out.
    pub outlier_quantile: Option<f64>,
    /// From this many labelled rows per class on, the rows are many.
    pub many_rows: f64,
    /// Shrinkage of the covariance, 0..=1, with many and with few labelled rows per class.
    pub shrinkage: [f64; 2],
    /// The number of principal components in which each class has a covariance of its own; 0 leaves
    /// one covariance in all of them.
    pub components: usize,
    /// The number of rows that the shared covariance counts as beside a class's own: n rows weigh
    /// n / (n + this), at most a half.
    pub prior_rows: f64,
    /// Width of the random ReLU features.
    pub random_features: usize,
    /// Ridge λ on the random features.
    pub lambda: f64,
    /// Factor of the discriminant's logits, with many and with few labelled rows per class:
    /// Gaussians are far too sure of themselves.
    pub discriminant_scale: [f32; 2],
    /// Factor of the ridge's logits, which lie around 0..=1, with many and with few labelled rows
    /// per class.
    pub ridge_scale: [f32; 2],
    /// A rare class's row counts in the ridge as at most this many rows of an average class.
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
    /// Takes labelled rows, then unlabelled ones, h [M + N, D]; `labels` `[M]` of the former, and
    /// `shares` [N, K] of the latter in the labels' classes in ascending order.
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

    fn add_to_discriminant(&self, lda: &mut StreamingLda, covariances: &mut CovarianceSums) -> Result<()> {
        lda.add(self.h, self.responsibilities())?;
        covariances.add(lda, self.h, self.responsibilities())
    }

    fn add_to_ridge(&self, ridge: &mut RidgeHead, largest_weight: f64) -> Result<()> {
        let shares = self.balanced(largest_weight);
        ridge.add(self.h, Responsibilities::Soft { classes: &self.classes, shares: &shares })
    }

    fn responsibilities(&self) -> Responsibilities<'_> {
        Responsibilities::Soft { classes: &self.classes, shares: &self.shares }
    }

    /// Returns the shares with every class as heavy as the average one, by a factor of at most
    /// `largest`: ridge regression leans towards frequent classes where discriminant analysis does
    /// not.
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

/// Returns the classes of some labels, ascending.
#[must_use]
pub fn distinct(labels: &[ClassId]) -> Vec<ClassId> {
    let mut classes = labels.to_vec();
    classes.sort_unstable();
    classes.dedup();
    classes
}

impl EnsembleSettings {
    /// Returns the shares [N, K] of unlabelled rows h [N, D] in the classes of the labelled rows h
    /// [M, D], `labels` `[M]`, in ascending order of the classes: expectation-maximisation with
    /// equal proportions, times [`EnsembleSettings::unlabelled_weight`]. The row of an outlier is
    /// zero.
    ///
    /// # Errors
    /// As [`FeatureMap::apply`]; [`Error::Shape`] when rows and labels differ in number;
    /// [`Error::Config`] for an outlier quantile outside 0..=1; [`Error::NotReady`] without
    /// labelled rows.
    pub fn share_out(
        &self,
        width: usize,
        transform: FeatureTransform,
        [known, open]: [RowSet<'_>; 2],
        labels: &[ClassId],
    ) -> Result<Vec<f32>> {
        let map = FeatureMap::new(width, transform)?;
        let shares = em::responsibilities(&map, self.outlier_quantile, known, labels, open)?;
        let weight = single(self.unlabelled_weight);
        Ok(shares.into_iter().map(|share| weight * share).collect())
    }
}

/// The statistics of both members.
#[derive(Clone, Debug)]
pub struct Ensemble {
    settings: EnsembleSettings,
    lda: StreamingLda,
    covariances: CovarianceSums,
    ridge: RidgeHead,
    /// The number of labelled rows so far.
    labelled: usize,
}

/// The ensemble solved.
#[derive(Clone, Debug)]
pub struct EnsembleModel {
    /// The discriminant, with its geometry.
    pub lda: LdaModel,
    /// The head of both members.
    pub head: EnsembleHead,
}

/// Two heads over the same classes in the same order, whose log-probabilities are added.
#[derive(Clone, Debug)]
pub struct EnsembleHead {
    /// The discriminant.
    pub lda: LinearHead,
    /// The term that the classes' own covariances add to its logits.
    pub class_covariances: Option<ClassCovariances>,
    /// The ridge.
    pub ridge: LinearHead,
    /// Factors of the logits of discriminant and ridge.
    pub scales: [f32; 2],
}

impl Ensemble {
    /// An ensemble without classes. The random features are drawn from `seed`.
    ///
    /// # Errors
    /// [`Error::Shape`] for a width of 0, [`Error::Config`] for no random features.
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
        evidence.add_to_discriminant(&mut self.lda, &mut self.covariances)?;
        evidence.add_to_ridge(&mut self.ridge, self.settings.largest_weight)?;
        self.labelled += evidence.labelled;
        Ok(())
    }

    /// Solves both members.
    ///
    /// # Errors
    /// As [`StreamingLda::fit`] and [`RidgeHead::fit`].
    pub fn fit(&self) -> Result<EnsembleModel> {
        let ridge = self.ridge.fit(self.settings.lambda)?;
        self.model(&self.lda, &self.covariances, ridge, self.labelled)
    }

    /// Solves both members with the rows of `evidence` as well, which the statistics stay without.
    /// One member is copied at a time.
    ///
    /// # Errors
    /// As [`Ensemble::add`] and [`Ensemble::fit`].
    pub fn fit_with(&self, evidence: &Evidence<'_>) -> Result<EnsembleModel> {
        let ridge = {
            let mut ridge = self.ridge.clone();
            evidence.add_to_ridge(&mut ridge, self.settings.largest_weight)?;
            ridge.into_fit(self.settings.lambda)?
        };
        let (mut lda, mut covariances) = (self.lda.clone(), self.covariances.clone());
        evidence.add_to_discriminant(&mut lda, &mut covariances)?;
        self.model(&lda, &covariances, ridge, self.labelled + evidence.labelled)
    }

    fn model(
        &self,
        lda: &StreamingLda,
        covariances: &CovarianceSums,
        ridge: LinearHead,
        labelled: usize,
    ) -> Result<EnsembleModel> {
        let settings = &self.settings;
        let pooled = lda.moments().pooled()?;
        let per_class = real(labelled) / real(pooled.classes.len());
        let few = usize::from(per_class < settings.many_rows);
        let class_covariances = covariances.fit(&pooled, settings.prior_rows);
        let shrinkage = LdaSettings { shrinkage: settings.shrinkage[few] };
        let model = LdaModel::of_pooled(lda.map(), pooled, shrinkage)?;
        let scales = [settings.discriminant_scale[few], settings.ridge_scale[few]];
        let head = EnsembleHead { lda: model.head.clone(), class_covariances, ridge, scales };
        Ok(EnsembleModel { lda: model, head })
    }
}

impl EnsembleHead {
    /// Returns the class of each column, ascending.
    #[must_use]
    pub fn classes(&self) -> &[ClassId] {
        &self.lda.classes
    }

    /// Returns the scores [N, C] of rows h [N, D]: log softmax(a f(h)) + log softmax(b g(h)) for
    /// the logits f of the discriminant and g of the ridge.
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

    /// Returns the class with the highest score of each row, `[N]`.
    ///
    /// # Errors
    /// As [`FeatureMap::apply`].
    pub fn predict(&self, h: &[f32]) -> Result<Vec<ClassId>> {
        let scores = self.scores(h)?;
        Ok(argmax_rows(&scores, self.classes().len()).into_iter().map(|best| self.classes()[best]).collect())
    }
}

/// Returns log softmax(scale · logits) of each row of [N, `columns`].
pub(crate) fn log_probabilities(mut logits: Vec<f32>, columns: usize, scale: f32) -> Vec<f32> {
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
