//! The four terms and their weights: what is minimised. One enum and one match; the formulas are in
//! `docs/kernels.md` and `reference`.

use serde::{Deserialize, Serialize};

use crate::heads::{Architecture, Mlp, Norm};
use crate::{Error, Result};

/// The self-supervised method; it decides the projector, the term and the matching feature
/// distillation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum SslMethod {
    /// NT-Xent over the batch (arXiv 2002.05709).
    Simclr,
    /// InfoNCE against a queue of momentum keys (arXiv 2003.04297).
    Moco,
    /// Prediction of a momentum projection (arXiv 2006.07733).
    Byol,
    /// Prediction of the other view's projection, gradient stopped (arXiv 2011.10566).
    Simsiam,
    /// Variance, invariance, covariance (arXiv 2105.04906).
    Vicreg,
    /// Cross-correlation near the identity (arXiv 2103.03230).
    #[value(alias = "barlow")]
    BarlowTwins,
}

impl SslMethod {
    /// All six, in the order of the paper's tables and then ours.
    pub const ALL: [Self; 6] =
        [Self::Moco, Self::Simclr, Self::Byol, Self::Simsiam, Self::Vicreg, Self::BarlowTwins];

    /// Name as typed on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Simclr => "simclr",
            Self::Moco => "moco",
            Self::Byol => "byol",
            Self::Simsiam => "simsiam",
            Self::Vicreg => "vicreg",
            Self::BarlowTwins => "barlow_twins",
        }
    }

    /// Whether momentum (EMA) copies of adapter and projector are kept.
    #[must_use]
    pub fn has_momentum(self) -> bool {
        matches!(self, Self::Moco | Self::Byol)
    }

    /// Whether a predictor follows the projector.
    #[must_use]
    pub fn has_predictor(self) -> bool {
        matches!(self, Self::Byol | Self::Simsiam)
    }

    /// The projector of the paper's code for this method, with hidden width `hidden` and output
    /// `projection`.
    #[must_use]
    pub fn projector(self, features: usize, hidden: usize, projection: usize) -> Mlp {
        match self {
            Self::Simclr | Self::Moco => Mlp::new(&[features, hidden, projection], Norm::None),
            Self::Byol => Mlp::new(&[features, hidden, projection], Norm::Batch),
            Self::Simsiam | Self::Vicreg | Self::BarlowTwins => {
                Mlp::new(&[features, hidden, hidden, projection], Norm::Batch)
            }
        }
    }
}

/// Which statistics the batch norms of a frozen copy use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CopyNorm {
    /// Running statistics: the teacher is in evaluation mode.
    #[default]
    Inference,
    /// The current batch's, as in the paper's code.
    Batch,
}

/// Where the gradient of the classifier's terms ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClassifierGradient {
    /// At the features: labels train the classifier only, as in the paper's scripts.
    #[default]
    Stops,
    /// In the extractor: labels train it too.
    Flows,
}

/// The objective `L = ssl + w_f feature_distill + w_c classifier + w_d classifier_distill + w_p
/// pooled_distill` (arXiv 2303.17235, section 3, and a fifth term of ours), every term on current
/// and replay rows and both views.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Objective {
    /// The self-supervised method.
    pub method: SslMethod,
    /// Weight of the self-supervised term; 0 leaves it out.
    pub ssl_weight: f64,
    /// Weight of the feature distillation; 0 leaves it out.
    pub feature_distill_weight: f64,
    /// Weight of the cross-entropy (sum over views).
    pub classifier_weight: f64,
    /// Weight of the classifier distillation (mean over views); 0 leaves it out.
    pub classifier_distill_weight: f64,
    /// Weight of the distillation of the extractor's features, `mean(1 - cos(u, u_teacher))` (mean
    /// over views); 0 leaves it out.
    #[serde(default)]
    pub pooled_distill_weight: f64,
    /// Temperature of NT-Xent and InfoNCE.
    pub temperature: f64,
    /// Temperature of the contrastive feature distillation.
    pub distill_temperature: f64,
    /// NT-Xent without the positive in the denominator (arXiv 2110.06848), fit for small batches.
    pub decoupled: bool,
    /// VICReg weights of invariance, variance, covariance.
    pub vicreg: [f64; 3],
    /// Barlow Twins scale and off-diagonal weight.
    pub barlow: [f64; 2],
    /// Whether the classifier distillation covers only the classes that the teacher knew.
    pub mask_to_known: bool,
    /// Where the gradient of both classifier terms ends.
    #[serde(default)]
    pub classifier_gradient: ClassifierGradient,
    /// Batch-norm statistics of the teacher.
    pub teacher_norm: CopyNorm,
    /// Rows of each MoCo queue.
    pub queue: usize,
}

impl Objective {
    /// The paper's scripts: no mask, lambda_C 2, teacher's batch norms on batch statistics.
    #[must_use]
    pub fn as_published(method: SslMethod) -> Self {
        Self { mask_to_known: false, teacher_norm: CopyNorm::Batch, queue: 65_536, ..Self::new(method) }
    }

    /// Our default for a method; ADR 7 says where and why it differs from the paper's code.
    #[must_use]
    pub fn new(method: SslMethod) -> Self {
        let vicreg = method == SslMethod::Vicreg;
        Self {
            method,
            ssl_weight: 1.0,
            feature_distill_weight: if vicreg { 25.0 } else { 1.0 },
            classifier_weight: 1.0,
            classifier_distill_weight: 2.0,
            pooled_distill_weight: 0.0,
            temperature: if method == SslMethod::Simclr { 0.1 } else { 0.2 },
            distill_temperature: 0.2,
            decoupled: false,
            vicreg: [25.0, 25.0, 1.0],
            barlow: [0.1, 5e-3],
            mask_to_known: true,
            classifier_gradient: ClassifierGradient::Stops,
            teacher_norm: CopyNorm::Inference,
            queue: 4096,
        }
    }

    /// The same objective with every weight multiplied by `factor`.
    #[must_use]
    pub(crate) fn times(&self, factor: f64) -> Self {
        Self {
            ssl_weight: factor * self.ssl_weight,
            feature_distill_weight: factor * self.feature_distill_weight,
            classifier_weight: factor * self.classifier_weight,
            classifier_distill_weight: factor * self.classifier_distill_weight,
            pooled_distill_weight: factor * self.pooled_distill_weight,
            ..self.clone()
        }
    }

    /// Whether a term compares with a teacher.
    #[must_use]
    pub fn distils(&self) -> bool {
        [self.feature_distill_weight, self.classifier_distill_weight, self.pooled_distill_weight] != [0.0; 3]
    }

    /// The same objective without its three distillations, and so without a teacher.
    #[must_use]
    pub fn without_distillation(&self) -> Self {
        Self {
            feature_distill_weight: 0.0,
            classifier_distill_weight: 0.0,
            pooled_distill_weight: 0.0,
            ..self.clone()
        }
    }

    /// Checks ranges, and the parts that the method needs.
    ///
    /// # Errors
    /// [`Error::Config`] naming the setting and what is allowed.
    pub fn check(&self, architecture: &Architecture) -> Result<()> {
        let weights = [
            ("ssl_weight", self.ssl_weight),
            ("feature_distill_weight", self.feature_distill_weight),
            ("classifier_weight", self.classifier_weight),
            ("classifier_distill_weight", self.classifier_distill_weight),
            ("pooled_distill_weight", self.pooled_distill_weight),
        ];
        for (name, weight) in weights {
            if !(weight.is_finite() && weight >= 0.0) {
                return Err(Error::config(name, weight, "a finite number of at least 0"));
            }
        }
        for (name, value) in
            [("temperature", self.temperature), ("distill_temperature", self.distill_temperature)]
        {
            if !(value.is_finite() && value > 0.0) {
                return Err(Error::config(name, value, "a finite number above 0, usually 0.05 to 1"));
            }
        }
        if self.method.has_predictor() != architecture.predictor.is_some() {
            let allowed = "a predictor for byol and simsiam, none for the others";
            let is_there = if architecture.predictor.is_some() { "there" } else { "missing" };
            return Err(Error::config("predictor", is_there, allowed));
        }
        if self.method == SslMethod::Moco && self.queue == 0 {
            return Err(Error::config("queue", 0, "at least 1 row"));
        }
        architecture.check()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_command_line() {
        use clap::ValueEnum as _;

        for method in SslMethod::ALL {
            assert_eq!(SslMethod::from_str(method.name(), false), Ok(method));
        }
        assert_eq!(SslMethod::from_str("barlow", false), Ok(SslMethod::BarlowTwins));
    }
}
