//! Closed forms and trained classifier together: a weighted sum of their log-probabilities.

use super::temperature::fit_temperature;
use crate::Result;
use crate::ids::ClassId;
use crate::learn::closed_form::{EnsembleHead, LinearHead, log_probabilities, softmax_rows};
use crate::number::real;

/// Shares of the trained classifier that are tried.
const SHARES: [f32; 5] = [0.0, 0.25, 0.5, 0.75, 1.0];
/// The share of a classifier that was trained on labels alone.
const OF_LABELS: f32 = 0.5;
/// By how much the log-likelihood of the judging samples must rise for another share, as for one
/// more parameter by Akaike's criterion (1974).
const EARNED: f64 = 1.0;
/// The least probability whose logarithm counts.
const LEAST: f32 = 1e-12;

/// Scores `(1 - s) log softmax(f / T_f) + s log softmax(g / T_g)` of the ensemble's scores f and
/// the classifier's logits g.
#[derive(Clone, Debug)]
pub(super) struct BlendHead {
    pub(super) ensemble: EnsembleHead,
    /// The classifier, on the features themselves.
    pub(super) classifier: LinearHead,
    /// 1 / T_f and 1 / T_g.
    pub(super) scales: [f32; 2],
    /// The share s of the classifier.
    pub(super) share: f32,
}

/// The share of a classifier that was trained on `labelled` samples and on `unlabelled` ones: half
/// of the part that has labels. The names of the others come from the closed forms, so the
/// classifier adds nothing to them: with 20 of 200 samples labelled a share of one half costs 0.7
/// points (docs/results.md).
#[must_use]
pub fn usual_share(labelled: usize, unlabelled: usize) -> f32 {
    #[allow(clippy::cast_possible_truncation, reason = "a share needs no more digits")]
    let of_all = (real(labelled) / real((labelled + unlabelled).max(1))) as f32;
    OF_LABELS * of_all
}

impl BlendHead {
    /// Finds temperatures and share by the samples that judge, rows h `[N, D]` of known classes.
    /// The share is `usual` unless another one is likelier by more than [`EARNED`].
    pub(super) fn fit(
        ensemble: EnsembleHead,
        classifier: LinearHead,
        usual: f32,
        h: &[f32],
        classes: &[ClassId],
    ) -> Result<Self> {
        let columns = ensemble.classes().len();
        let column = |class: &ClassId| ensemble.classes().iter().position(|known| known == class);
        let truth: Vec<usize> = classes.iter().filter_map(column).collect();
        let logits = [ensemble.scores(h)?, classifier.logits(h)?];
        let scales = logits.each_ref().map(|logits| 1.0 / fit_temperature(logits, columns, &truth));
        let mut head = Self { ensemble, classifier, scales, share: usual };
        let [f, g] = head.log_probabilities(logits, columns);
        let likelihood = |share: f32| -> f64 {
            let mut mixed = mix(&f, &g, share);
            softmax_rows(&mut mixed, columns);
            let own =
                mixed.chunks(columns.max(1)).zip(&truth).map(|(row, &at)| f64::from(row[at].max(LEAST)));
            own.map(f64::ln).sum()
        };
        let of_usual = likelihood(usual);
        let best = SHARES.map(|share| (likelihood(share), share)).into_iter();
        let best = best.max_by(|(a, _), (b, _)| a.total_cmp(b));
        if let Some((_, share)) = best.filter(|(likelihood, _)| likelihood - of_usual > EARNED) {
            head.share = share;
        }
        Ok(head)
    }

    /// Scores `[N, C]` of rows h `[N, D]`.
    pub(super) fn scores(&self, h: &[f32]) -> Result<Vec<f32>> {
        let columns = self.ensemble.classes().len();
        let [f, g] = self.log_probabilities([self.ensemble.scores(h)?, self.classifier.logits(h)?], columns);
        Ok(mix(&f, &g, self.share))
    }

    fn log_probabilities(&self, [f, g]: [Vec<f32>; 2], columns: usize) -> [Vec<f32>; 2] {
        let [a, b] = self.scales;
        [log_probabilities(f, columns, a), log_probabilities(g, columns, b)]
    }
}

fn mix(f: &[f32], g: &[f32], share: f32) -> Vec<f32> {
    f.iter().zip(g).map(|(f, g)| (1.0 - share) * f + share * g).collect()
}
