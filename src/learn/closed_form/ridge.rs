//! Ridge regression to one-hot targets.

use faer::MatRef;

use super::features::{FeatureMap, RowSet};
use super::head::{LinearHead, argmax_rows};
use super::moments::Moments;
use super::responsibilities::Responsibilities;
use crate::error::{Error, Result};
use crate::ids::ClassId;

/// Ridge regression to one-hot targets over h [N, D]: W = (ΦᵀΦ + λI)⁻¹ ΦᵀY. With [`FeatureMap::random_relu`] this is
/// RanPAC's second phase (McDonnell et al., 2023, eq. 4). ΦᵀΦ is the shared second moment, ΦᵀY are the class sums.
#[derive(Clone, Debug)]
pub struct RidgeHead {
    map: FeatureMap,
    moments: Moments,
}

/// How one λ did on held-out rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LambdaScore {
    /// The ridge λ.
    pub lambda: f64,
    /// Share of held-out rows named rightly, 0..=1.
    pub accuracy: f64,
    /// Mean squared difference of the logits from one-hot.
    pub squared_error: f64,
}

impl RidgeHead {
    /// No classes yet.
    #[must_use]
    pub fn new(map: FeatureMap) -> Self {
        let moments = Moments::new(map.width());
        Self { map, moments }
    }

    /// Goes on from stored statistics.
    ///
    /// # Errors
    /// [`Error::Shape`] when the statistics have another width than the map.
    pub fn from_moments(map: FeatureMap, moments: Moments) -> Result<Self> {
        if moments.gram.width() != map.width() {
            return Err(Error::shape("width of the class statistics", map.width(), moments.gram.width()));
        }
        Ok(Self { map, moments })
    }

    /// The statistics.
    #[must_use]
    pub fn moments(&self) -> &Moments {
        &self.moments
    }

    /// Adds rows h [N, D]; a class not seen before is new from here on.
    ///
    /// # Errors
    /// As [`FeatureMap::apply`] and [`Moments::add`]; nothing is changed then.
    pub fn add<'h>(
        &mut self,
        h: impl Into<RowSet<'h>>,
        responsibilities: Responsibilities<'_>,
    ) -> Result<()> {
        self.moments.add_mapped(&self.map, h.into(), responsibilities)
    }

    /// Takes back rows h [N, D] that were added with the same responsibilities.
    ///
    /// # Errors
    /// As [`FeatureMap::apply`] and [`Moments::remove`]; nothing is changed then.
    pub fn remove(&mut self, h: &[f32], responsibilities: Responsibilities<'_>) -> Result<()> {
        self.moments.remove(&self.map.apply(h)?, responsibilities)
    }

    /// Solves for the classifier of all classes that have rows; its logits estimate one-hot targets, so they lie
    /// around 0..=1.
    ///
    /// # Errors
    /// [`Error::Config`] when no class has rows, or when `lambda` is not above 0 or too small for these rows.
    pub fn fit(&self, lambda: f64) -> Result<LinearHead> {
        let allowed = "a finite number above 0, large enough to invert the second moment";
        if !(lambda > 0.0 && lambda.is_finite()) {
            return Err(Error::config("lambda", lambda, allowed));
        }
        let sums = &self.moments.sums;
        let live = sums.live()?;
        let factor = self
            .moments
            .gram
            .clone()
            .into_factor(1.0, lambda)
            .ok_or_else(|| Error::config("lambda", lambda, allowed))?;
        let targets: Vec<f64> = live.iter().flat_map(|&slot| sums.sum(slot).iter().copied()).collect();
        let solution =
            factor.solve(MatRef::from_row_major_slice(&targets, live.len(), sums.width).transpose());
        let weight: Vec<f64> = solution.col_iter().flat_map(|column| column.iter()).copied().collect();
        let classes = live.iter().map(|&slot| sums.classes[slot]).collect();
        LinearHead::from_f64(&self.map, &weight, &vec![0.0; live.len()], classes)
    }

    /// Fits every λ of `grid` and scores it on held-out rows h [N, D] with labels `[N]`, which must not be among the
    /// rows added. Returns the head of the most accurate λ (then of the smallest squared error) and all scores, in
    /// the order of `grid`.
    ///
    /// # Errors
    /// As [`RidgeHead::fit`]; [`Error::Config`] when `grid` or the held-out rows are empty; [`Error::Shape`] when
    /// rows and labels differ in number.
    pub fn fit_best(
        &self,
        grid: &[f64],
        h: &[f32],
        labels: &[ClassId],
    ) -> Result<(LinearHead, Vec<LambdaScore>)> {
        let mapped = self.map.apply(h)?;
        Responsibilities::Labels(labels).check(self.map.count_rows(h)?)?;
        if labels.is_empty() {
            return Err(Error::config("held-out rows", 0, "at least one"));
        }
        let mut best: Option<(LinearHead, LambdaScore)> = None;
        let mut scores = Vec::with_capacity(grid.len());
        for &lambda in grid {
            let head = self.fit(lambda)?;
            let score = score(&head, lambda, &mapped, labels);
            scores.push(score);
            let better = best.as_ref().is_none_or(|(_, held)| {
                (score.accuracy, -score.squared_error) > (held.accuracy, -held.squared_error)
            });
            if better {
                best = Some((head, score));
            }
        }
        let (head, _) = best.ok_or_else(|| Error::config("lambda grid", "empty", "at least one lambda"))?;
        Ok((head, scores))
    }
}

#[allow(clippy::cast_precision_loss, reason = "row counts are far below 2^52")]
fn score(head: &LinearHead, lambda: f64, mapped: &[f32], labels: &[ClassId]) -> LambdaScore {
    let columns = head.classes.len();
    let logits = head.logits_of_mapped(mapped);
    let best = argmax_rows(&logits, columns);
    let right = best.iter().zip(labels).filter(|&(&column, label)| head.classes[column] == *label).count();
    let target = |at: usize| f64::from(u8::from(head.classes[at % columns] == labels[at / columns]));
    let squares = logits.iter().enumerate().map(|(at, &logit)| (f64::from(logit) - target(at)).powi(2));
    LambdaScore {
        lambda,
        accuracy: right as f64 / labels.len() as f64,
        squared_error: squares.sum::<f64>() / logits.len() as f64,
    }
}
