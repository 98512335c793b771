//! Settings of a learner and their defaults.

use serde::{Deserialize, Serialize};

use super::memory_limit::{Load, MemoryLimit};
use crate::Result;
use crate::heads::{Architecture, Extractor, Mlp, Norm};
use crate::learn::closed_form::{EnsembleSettings, FeatureMap, FeatureTransform};
use crate::learn::objective::{Objective, SslMethod};
use crate::learn::trainer::Recipe;
use crate::learn::update::{ExtractorTraining, Optimizer};
use crate::memory::Counts;

/// Fewest random features that still help. If they do not fit, the memory limit is refused.
const FEWEST_FEATURES: usize = 250;

/// Settings of a learner.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LearnerSettings {
    /// Seed of everything that is drawn. Default 1.
    pub seed: u64,
    /// Transform of h before any head. Default square root, then unit length.
    pub transform: FeatureTransform,
    /// Training of the heads; with 0 steps only closed-form heads stand for publication.
    pub recipe: Recipe,
    /// Hidden width of the adapter. Default D/4.
    pub bottleneck: Option<usize>,
    /// Hidden width of the projector. Default 256.
    pub projector_hidden: usize,
    /// Width P of projections. Default 128.
    pub projection: usize,
    /// Labelled samples of each old class that are trained on again. Default 10.
    pub replay_per_class: usize,
    /// Settings of the closed forms. There are at most four times as many random features as
    /// features. The default is 2000 random features, where the bake-off has 5000: their statistics
    /// take 32 MB instead of 200, and a quarter of a second to solve.
    pub ensemble: EnsembleSettings,
    /// Largest fall of the old classes' held-out accuracy (beyond one standard error) that is still
    /// published, 0..=1. Default 0.15.
    pub guard_margin: f64,
    /// Resident memory that learning stays below. Default none.
    #[serde(default)]
    pub memory_limit: Option<MemoryLimit>,
}

impl Default for LearnerSettings {
    fn default() -> Self {
        let recipe = Recipe {
            objective: Objective::new(SslMethod::Simclr),
            optimizer: Optimizer::AdamW { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 1e-4 },
            extractor_training: ExtractorTraining::default(),
            current_rows: 24,
            replay_rows: 8,
            steps: 60,
            warmup_steps: 6,
            learning_rate: 3e-4,
            classifier_rate: 2e-3,
            label_smoothing: 0.0,
            momentum_decay: [0.99, 1.0],
            steps_per_submit: 8,
        };
        Self {
            seed: 1,
            transform: FeatureTransform::SqrtL2,
            recipe,
            bottleneck: None,
            projector_hidden: 256,
            projection: 128,
            replay_per_class: 10,
            ensemble: EnsembleSettings { random_features: 2000, ..EnsembleSettings::default() },
            guard_margin: 0.15,
            memory_limit: None,
        }
    }
}

impl LearnerSettings {
    /// The parts of the trained head for features of width `features` and `classes` classes.
    #[must_use]
    pub fn architecture(&self, features: usize, classes: usize) -> Architecture {
        let method = self.recipe.objective.method;
        let (hidden, p) = (self.projector_hidden, self.projection);
        Architecture {
            extractor: Extractor::adapter(features, self.bottleneck.unwrap_or(features / 4).max(1), true),
            projector: method.projector(features, hidden, p),
            predictor: method.has_predictor().then(|| Mlp::new(&[p, hidden, p], Norm::Batch)),
            distill_predictor: Mlp::new(&[p, hidden, p], Norm::Batch),
            classifier: Mlp::new(&[features, classes], Norm::None),
        }
    }

    /// Settings of the closed forms for features of width `features`.
    #[must_use]
    pub fn ensemble(&self, features: usize) -> EnsembleSettings {
        let random_features = self.ensemble.random_features.min(4 * features);
        EnsembleSettings { random_features, ..self.ensemble }
    }

    /// The map from h to the inputs of every head.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] for a width of 0.
    pub fn map(&self, features: usize) -> Result<FeatureMap> {
        FeatureMap::new(features, self.transform)
    }

    /// Settings of the closed forms with the fewest random features.
    pub(super) fn narrowest_ensemble(&self, features: usize) -> EnsembleSettings {
        let ensemble = self.ensemble(features);
        EnsembleSettings { random_features: ensemble.random_features.min(FEWEST_FEATURES), ..ensemble }
    }

    /// Settings of the closed forms for what the memory holds, within the limit if there is one.
    ///
    /// # Errors
    /// [`crate::Error::Config`] naming the least limit if learning so many samples does not fit.
    pub(super) fn ensemble_for(&self, features: usize, counts: &Counts) -> Result<EnsembleSettings> {
        let ensemble = self.ensemble(features);
        let Some(limit) = self.memory_limit else { return Ok(ensemble) };
        let samples = counts.training + counts.held_out + counts.unlabelled;
        let drawn = (self.recipe.steps * self.recipe.current_rows) as u64;
        let replayed = if self.recipe.steps == 0 { 0 } else { self.replay_per_class as u64 * counts.classes };
        let (width, classes, trained) = (features as u64, counts.classes, drawn.min(samples) + replayed);
        let load = Load { width, samples, classes, trained };
        limit.fit(&load, ensemble, self.narrowest_ensemble(features).random_features)
    }
}
