//! Semi-supervised LDA: expectation-maximisation over unlabelled rows.

use super::class_sums::ClassSums;
use super::features::{FeatureMap, RowSet};
use super::head::softmax_rows;
use super::lda::{LdaModel, LdaSettings, Priors};
use super::moments::Moments;
use super::responsibilities::Responsibilities;
use crate::error::{Error, Result};
use crate::ids::ClassId;

/// Settings of [`EmLda`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EmSettings {
    /// Rounds of expectation and maximisation, 1 or more.
    pub rounds: usize,
    /// Shrinkage of the shared covariance while classes are being assigned, in 0..=1.
    pub shrinkage: f64,
    /// How far the mixing proportions follow the shares found, 0 (equal) ..= 1 (maximum likelihood).
    pub proportions: f64,
    /// An unlabelled row farther from every class than this quantile (0..=1) of the labelled rows from their own,
    /// before any round, is an outlier and gets no share; `None` keeps every row.
    pub outlier_quantile: Option<f64>,
}

impl Default for EmSettings {
    fn default() -> Self {
        Self { rounds: 4, shrinkage: 0.6, proportions: 1.0, outlier_quantile: None }
    }
}

/// What the unlabelled rows were found to be.
#[derive(Clone, Debug, PartialEq)]
pub struct EmOutcome {
    /// The classes of the columns, ascending, `[K]`.
    pub classes: Vec<ClassId>,
    /// Share of each unlabelled row in each class, [N, K]; a row sums to 1, or to 0 if it is an outlier.
    pub shares: Vec<f32>,
    /// Which rows are outliers, `[N]`.
    pub outliers: Vec<bool>,
    /// Share of each class among labelled rows and kept unlabelled ones together, `[K]`; sums to 1.
    pub proportions: Vec<f64>,
}

impl EmOutcome {
    /// The shares as an responsibilities, to add the rows to (or take them from) the statistics of any closed form.
    #[must_use]
    pub fn responsibilities(&self) -> Responsibilities<'_> {
        Responsibilities::Soft { classes: &self.classes, shares: &self.shares }
    }
}

/// EM for a mixture of Gaussians with one shared covariance, a component per class, the labelled rows fixed in
/// their classes (Nigam et al., 2000, for this mixture). Finds out which of the taught classes unlabelled rows
/// belong to; changes no statistics itself.
#[derive(Clone, Debug)]
pub struct EmLda {
    map: FeatureMap,
    settings: EmSettings,
}

impl EmLda {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`Error::Config`] when a setting is out of its range.
    pub fn new(map: FeatureMap, settings: EmSettings) -> Result<Self> {
        if settings.rounds == 0 {
            return Err(Error::config("EM rounds", settings.rounds, "1 or more"));
        }
        let quantile = settings.outlier_quantile.unwrap_or(1.0);
        let fractions = [
            ("EM shrinkage", settings.shrinkage),
            ("EM proportions", settings.proportions),
            ("outlier quantile", quantile),
        ];
        match fractions.into_iter().find(|(_, value)| !(0.0..=1.0).contains(value)) {
            Some((field, value)) => Err(Error::config(field, value, "0..=1")),
            None => Ok(Self { map, settings }),
        }
    }

    /// Assigns `unlabelled` [N, D] to the classes of the labelled rows `labelled` [M, D], `labels` `[M]`.
    ///
    /// # Errors
    /// As [`FeatureMap::apply`]; [`Error::Shape`] when rows and labels differ in number; [`Error::Config`] without
    /// labelled rows or when the covariance cannot be inverted with this shrinkage.
    pub fn assign<'h>(
        &self,
        labelled: impl Into<RowSet<'h>>,
        labels: &[ClassId],
        unlabelled: impl Into<RowSet<'h>>,
    ) -> Result<EmOutcome> {
        let (known, open) = (labelled.into(), unlabelled.into());
        let width = self.map.width();
        let mut base = Moments::new(width);
        base.add_mapped(&self.map, known, Responsibilities::Labels(labels))?;
        let settings = LdaSettings { shrinkage: self.settings.shrinkage, priors: Priors::Equal };
        let mut model = LdaModel::fit(&self.map, &base, settings)?;
        let outliers = self.outliers(&model, known, labels, open)?;
        // Kept rows weigh 1 in every round, so the second moment is the same in all of them.
        let kept: Vec<f64> = outliers.iter().map(|&outlier| f64::from(u8::from(!outlier))).collect();
        let Moments { sums: labelled_sums, mut gram } = base;
        self.map.for_each_block(open, |rows, mapped| {
            gram.add(mapped, &kept[rows], 1.0);
            Ok(())
        })?;
        let mut shares = self.shares(&model, open, &outliers)?;
        let mut moments = Moments { sums: labelled_sums.clone(), gram };
        for round in 1..=self.settings.rounds {
            moments.sums = labelled_sums.clone();
            let soft = Responsibilities::Soft { classes: &model.head.classes, shares: &shares };
            self.map.for_each_block(open, |rows, mapped| {
                moments.sums.add(&ClassSums::of_rows(width, mapped, soft.rows(rows))?, 1.0)
            })?;
            if round < self.settings.rounds {
                model = LdaModel::fit(&self.map, &moments, settings)?;
                shares = self.shares(&model, open, &outliers)?;
            }
        }
        let classes = model.head.classes;
        let counts: Vec<f64> = moments.counts().into_iter().map(|(_, count)| count).collect();
        let total: f64 = counts.iter().sum();
        let proportions = counts.iter().map(|count| count / total).collect();
        Ok(EmOutcome { classes, shares, outliers, proportions })
    }

    /// Class probabilities of each row [N, K], zero for outliers.
    #[allow(clippy::cast_possible_truncation, reason = "a log proportion fits f32")]
    fn shares(&self, model: &LdaModel, open: RowSet<'_>, outliers: &[bool]) -> Result<Vec<f32>> {
        let columns = model.head.classes.len();
        let total: f64 = model.counts.iter().sum();
        let log_proportion = |count: f64| (self.settings.proportions * (count / total).ln()) as f32;
        let priors: Vec<f32> = model.counts.iter().map(|&count| log_proportion(count)).collect();
        let mut shares = Vec::with_capacity(outliers.len() * columns);
        self.map.for_each_block(open, |_, mapped| {
            shares.extend(model.head.logits_of_mapped(mapped));
            Ok(())
        })?;
        for row in shares.chunks_exact_mut(columns) {
            row.iter_mut().zip(&priors).for_each(|(logit, prior)| *logit += prior);
        }
        softmax_rows(&mut shares, columns);
        for (row, _) in shares.chunks_exact_mut(columns).zip(outliers).filter(|(_, outlier)| **outlier) {
            row.fill(0.0);
        }
        Ok(shares)
    }

    /// Rows of higher novelty than the quantile of the labelled rows' own, each left out
    /// ([`LdaModel::left_out_novelty`]). Without any class of two rows no row is an outlier.
    fn outliers(
        &self,
        model: &LdaModel,
        known: RowSet<'_>,
        labels: &[ClassId],
        open: RowSet<'_>,
    ) -> Result<Vec<bool>> {
        let rows = self.map.check(open)?;
        let none = vec![false; rows];
        let Some(quantile) = self.settings.outlier_quantile else {
            return Ok(none);
        };
        let mut own = Vec::with_capacity(labels.len());
        self.map.for_each_block(known, |rows, mapped| {
            own.extend(model.left_out_novelty_of_mapped(mapped, &labels[rows]));
            Ok(())
        })?;
        if own.is_empty() {
            return Ok(none);
        }
        own.sort_by(f32::total_cmp);
        let rank = quantile_rank(own.len(), quantile);
        let threshold = own[rank];
        let mut outliers = Vec::with_capacity(rows);
        self.map.for_each_block(open, |_, mapped| {
            outliers
                .extend(model.geometry.novelty_of_mapped(mapped).iter().map(|novelty| *novelty > threshold));
            Ok(())
        })?;
        Ok(outliers)
    }
}

/// Index of the `quantile` (0..=1) among `count` sorted values, rounded up; `count` is 1 or more.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "the result lies in 0..count"
)]
fn quantile_rank(count: usize, quantile: f64) -> usize {
    ((count - 1) as f64 * quantile).ceil() as usize
}

#[cfg(test)]
mod tests {
    use super::super::cases::clusters;
    use super::*;
    use crate::learn::closed_form::{FeatureTransform, StreamingLda};

    const DIM: usize = 10;

    fn em(settings: EmSettings) -> EmLda {
        EmLda::new(FeatureMap::new(DIM, FeatureTransform::None).unwrap(), settings).unwrap()
    }

    fn right(named: &[ClassId], labels: &[ClassId]) -> usize {
        named.iter().zip(labels).filter(|(a, b)| a == b).count()
    }

    #[test]
    fn unlabelled_rows_improve_a_head_of_few_labels() {
        let (h, labels) = clusters(21, 5, 80, DIM, 1.1);
        let (known, rest) = h.split_at(10 * DIM);
        let outcome = em(EmSettings { shrinkage: 0.3, ..EmSettings::default() })
            .assign(known, &labels[..10], rest)
            .unwrap();
        let mut lda = StreamingLda::new(FeatureMap::new(DIM, FeatureTransform::None).unwrap());
        lda.add(known, Responsibilities::Labels(&labels[..10])).unwrap();
        let few = lda.fit(LdaSettings::default()).unwrap().head.predict(rest).unwrap();
        lda.add(rest, outcome.responsibilities()).unwrap();
        let more = lda.fit(LdaSettings::default()).unwrap().head.predict(rest).unwrap();
        let (few, more) = (right(&few, &labels[10..]), right(&more, &labels[10..]));
        assert!(more > few + 10, "{few} without, {more} with unlabelled rows");
        assert!((outcome.proportions.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        lda.remove(rest, outcome.responsibilities()).unwrap();
        let counts: Vec<f64> = lda.moments().counts().iter().map(|(_, count)| *count).collect();
        assert!(counts.iter().all(|count| (count - 2.0).abs() < 1e-9), "{counts:?}");
    }

    #[test]
    fn outliers_get_no_share_and_the_others_keep_theirs() {
        let (h, labels) = clusters(22, 4, 60, DIM, 0.3);
        let (known, rest) = h.split_at(40 * DIM);
        let far: Vec<f32> = clusters(99, 3, 10, DIM, 0.3).0.into_iter().map(|value| value + 4.0).collect();
        let mixed = [rest, &far].concat();
        let settings = EmSettings { outlier_quantile: Some(1.0), ..EmSettings::default() };
        let outcome = em(settings).assign(known, &labels[..40], &mixed).unwrap();
        let (own, strange) = outcome.outliers.split_at(200);
        assert!(strange.iter().filter(|&&outlier| outlier).count() >= 29);
        assert!(own.iter().filter(|&&outlier| outlier).count() <= 20);
        for (row, outlier) in outcome.shares.chunks_exact(4).zip(&outcome.outliers) {
            let total: f32 = row.iter().sum();
            assert!((total - if *outlier { 0.0 } else { 1.0 }).abs() < 1e-5);
        }
        let blind = em(EmSettings::default()).assign(known, &labels[..40], &mixed).unwrap();
        assert!(!blind.outliers.contains(&true));
    }

    #[test]
    fn proportions_follow_an_uneven_mix() {
        let (h, labels) = clusters(23, 2, 100, DIM, 0.5);
        let pick: Vec<usize> = (8..200).filter(|&row| labels[row].0 == 0 || row % 20 == 1).collect();
        let rest: Vec<f32> = pick.iter().flat_map(|&row| h[row * DIM..][..DIM].to_vec()).collect();
        let outcome = em(EmSettings::default()).assign(&h[..8 * DIM], &labels[..8], &rest).unwrap();
        let share = pick.iter().filter(|&&row| labels[row].0 == 1).count() as f64 + 4.0;
        let wanted = share / (pick.len() + 8) as f64;
        assert!((outcome.proportions[1] - wanted).abs() < 0.05, "{:?}, wanted {wanted}", outcome.proportions);
    }

    #[test]
    fn edges_are_handled_and_bad_settings_refused() {
        let (h, labels) = clusters(24, 2, 2, DIM, 0.5);
        let outcome = em(EmSettings::default()).assign(&h, &labels, &[]).unwrap();
        assert!(outcome.shares.is_empty() && outcome.proportions == [0.5, 0.5]);
        let one = em(EmSettings { outlier_quantile: Some(0.9), ..EmSettings::default() });
        assert_eq!(one.assign(&h[..DIM], &labels[..1], &h[..DIM]).unwrap().shares, [1.0]);
        assert!(one.assign(&[], &[], &h).is_err());
        assert!(one.assign(&h, &labels[..1], &h).is_err());
        let map = FeatureMap::new(DIM, FeatureTransform::None).unwrap();
        let good = EmSettings::default();
        for bad in [
            EmSettings { rounds: 0, ..good },
            EmSettings { shrinkage: -0.1, ..good },
            EmSettings { proportions: 2.0, ..good },
            EmSettings { outlier_quantile: Some(f64::NAN), ..good },
        ] {
            assert!(EmLda::new(map.clone(), bad).is_err());
        }
    }
}
