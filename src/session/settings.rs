//! Settings of a learner and their defaults.

use serde::{Deserialize, Serialize};

use super::memory_limit::{Load, MemoryLimit};
use crate::Result;
use crate::heads::{Architecture, Extractor, Mlp, Norm};
use crate::learn::closed_form::{EnsembleSettings, FeatureMap, FeatureTransform};
use crate::learn::objective::{ClassifierGradient, Objective, SslMethod};
use crate::learn::trainer::Recipe;
use crate::learn::update::{ExtractorTraining, Optimizer};
use crate::memory::Counts;

/// Fewest random features that still help. If they do not fit, the memory limit is refused.
const FEWEST_FEATURES: usize = 250;

/// Fewest rows of new samples, and of the replay, in a batch of a tail's training, and of both in a
/// part of one.
const FEWEST_ROWS: usize = 4;
/// Fewest rows of new samples in a batch of a tail's training where memory is no matter.
const FEW_ROWS: usize = 16;
/// New samples from which on a tail learns as well without a teacher, if every old one is seen
/// again: with 4000 a task distillation gained nothing, with 100 two to three points
/// (docs/results.md).
const MANY: usize = 1000;
/// Numbers of parts that a batch is run in, so that it fits into the memory limit.
const PARTS: [usize; 5] = [1, 2, 4, 8, 16];

/// When training happens; closed forms are fitted with each lesson in every case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Consolidate {
    /// With each lesson
    #[default]
    Lesson,
    /// When nothing else has been asked for a while, on all lessons since: the tail of a cut
    /// backbone. An adapter is trained with each lesson.
    Idle,
    /// Never: closed forms only
    Never,
}

/// Settings of a learner.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LearnerSettings {
    /// Seed of everything that is drawn. Default 1.
    pub seed: u64,
    /// Transform of h before any head. Default square root, then unit length.
    pub transform: FeatureTransform,
    /// Training of the heads; with 0 steps only closed-form heads stand for publication.
    pub recipe: Recipe,
    /// Training of the tail, where the backbone is cut.
    #[serde(default)]
    pub tail: TailSettings,
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
    /// When training happens. Default with each lesson.
    #[serde(default)]
    pub consolidate: Consolidate,
    /// Resident memory that learning stays below. Default none.
    #[serde(default)]
    pub memory_limit: Option<MemoryLimit>,
}

/// Settings of the training of a tail.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TailSettings {
    /// How it is trained; `steps` is the most that a consolidation takes, 0 for none.
    pub recipe: Recipe,
    /// Fewest steps of a consolidation. Default 60.
    pub fewest_steps: usize,
    /// Passes over the new samples. Default 3.
    pub passes: usize,
    /// Seconds between two checkpoints. Default 30.
    pub checkpoint_secs: u64,
    /// Part of the unlabelled samples, the surest first, that train the classifier as if they were
    /// labelled, 0..=1. Default 0.6.
    pub confident: f64,
}

impl Default for TailSettings {
    fn default() -> Self {
        let objective = Objective {
            ssl_weight: 0.5,
            temperature: 0.2,
            classifier_distill_weight: 1.0,
            pooled_distill_weight: 2.0,
            classifier_gradient: ClassifierGradient::Flows,
            ..Objective::new(SslMethod::Simclr)
        };
        let recipe = Recipe {
            objective,
            optimizer: Optimizer::ADAMW,
            extractor_training: ExtractorTraining::default(),
            current_rows: 32,
            replay_rows: 32,
            steps: 400,
            warmup_steps: 40,
            learning_rate: 1e-4,
            classifier_rate: 3e-3,
            label_smoothing: 0.1,
            momentum_decay: [0.99, 1.0],
            steps_per_submit: 4,
            micro_batches: 1,
        };
        Self { recipe, fewest_steps: 60, passes: 3, checkpoint_secs: 30, confident: 0.6 }
    }
}

impl TailSettings {
    /// The recipe for `samples` new samples: as many steps as the passes take. Few samples are
    /// learned in smaller batches, so that there are steps enough.
    #[must_use]
    pub fn recipe_for(&self, samples: usize) -> Recipe {
        let (places, most) = (self.passes * samples, self.recipe.current_rows);
        let rows = (places / self.fewest_steps.max(1)).max(FEW_ROWS).min(most);
        let replay_rows = (self.recipe.replay_rows * rows / most.max(1)).max(1);
        let current_rows = rows.min(samples).max(2);
        let steps = places.div_ceil(current_rows).max(self.fewest_steps).min(self.recipe.steps);
        Recipe { current_rows, replay_rows, steps, warmup_steps: steps / 10, ..self.recipe.clone() }
    }

    /// The objective for `samples` new samples, of which `unlabelled` have no label: without a
    /// teacher where there are many and the replay `is_whole`, and then without the self-supervised
    /// term too if every one is labelled. Both cost a third of the time and gain nothing there.
    #[must_use]
    pub fn objective_for(&self, samples: usize, unlabelled: usize, is_whole: bool) -> Objective {
        let objective = self.recipe.objective.clone();
        if samples < MANY || !is_whole {
            return objective;
        }
        let ssl_weight = if unlabelled == 0 { 0.0 } else { objective.ssl_weight };
        Objective { ssl_weight, ..objective.without_distillation() }
    }
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
            micro_batches: 1,
        };
        Self {
            seed: 1,
            transform: FeatureTransform::SqrtL2,
            recipe,
            tail: TailSettings::default(),
            bottleneck: None,
            projector_hidden: 256,
            projection: 128,
            replay_per_class: 10,
            ensemble: EnsembleSettings { random_features: 2000, ..EnsembleSettings::default() },
            guard_margin: 0.15,
            consolidate: Consolidate::Lesson,
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

    /// The parts that are trained behind the cut of a backbone, for `classes` classes.
    #[must_use]
    pub fn tail_architecture(&self, extractor: &Extractor, classes: usize) -> Architecture {
        let method = self.tail.recipe.objective.method;
        let (features, hidden, p) = (extractor.features(), self.projector_hidden, self.projection);
        Architecture {
            extractor: extractor.clone(),
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
    pub(super) fn ensemble_for(
        &self,
        features: usize,
        counts: &Counts,
        adapts: bool,
    ) -> Result<EnsembleSettings> {
        let ensemble = self.ensemble(features);
        let Some(limit) = self.memory_limit else { return Ok(ensemble) };
        let load = Load { trained: if adapts { self.trained(counts) } else { 0 }, ..load(features, counts) };
        limit.fit(&load, ensemble, self.narrowest_ensemble(features).random_features)
    }

    /// Samples that the training of an adapter holds.
    fn trained(&self, counts: &Counts) -> u64 {
        let drawn = (self.recipe.steps * self.recipe.current_rows) as u64;
        let replayed = if self.recipe.steps == 0 { 0 } else { self.replay_per_class as u64 * counts.classes };
        drawn.min(load(0, counts).samples) + replayed
    }

    /// The recipe of a tail's training for `fresh` new samples, with as few parts of a batch, and
    /// as many rows in it, as fit into the memory limit. `objective` gives what a recipe is to
    /// optimise, `bytes` what a step of it takes, and `latent` is the size of a sample's latents.
    ///
    /// # Errors
    /// [`crate::Error::Config`] naming the least limit if no batch fits.
    pub(super) fn tail_recipe(
        &self,
        features: usize,
        counts: &Counts,
        fresh: usize,
        latent: u64,
        objective: impl Fn(&Recipe) -> Objective,
        bytes: impl Fn(&Recipe) -> Result<u64>,
    ) -> Result<Recipe> {
        let mut tail = self.tail.clone();
        let labelled = usize::try_from(counts.training).unwrap_or(usize::MAX);
        let recipe_of = |tail: &TailSettings| {
            let recipe = tail.recipe_for(fresh);
            Recipe { objective: objective(&recipe), ..recipe }
        };
        let Some(limit) = self.memory_limit else { return Ok(recipe_of(&tail)) };
        let (load, ensemble) = (load(features, counts), self.narrowest_ensemble(features));
        let mut least = u64::MAX;
        loop {
            let recipe = recipe_of(&tail);
            let places = recipe.steps * recipe.current_rows;
            let samples = fresh.min(places) + (recipe.steps * recipe.replay_rows).min(labelled);
            // The table is joined from two: for a moment half of it is there twice.
            let table = 3 * latent * samples.min(2 * places) as u64 / 2;
            let rows = recipe.current_rows + recipe.replay_rows;
            let parts =
                PARTS.into_iter().filter(|parts| rows.is_multiple_of(*parts) && rows / parts >= FEWEST_ROWS);
            for micro_batches in parts {
                let recipe = Recipe { micro_batches, ..recipe.clone() };
                let taken = limit.bytes_for_training(&load, &ensemble, table + bytes(&recipe)?);
                if taken <= limit.bytes {
                    return Ok(recipe);
                }
                least = least.min(taken);
            }
            if tail.recipe.current_rows.min(tail.recipe.replay_rows) <= FEWEST_ROWS {
                let allowed = format!("at least {} MB to train the tail", least.div_ceil(1_000_000));
                return Err(crate::Error::config(
                    "memory limit",
                    format!("{} MB", limit.bytes / 1_000_000),
                    allowed,
                ));
            }
            tail.recipe.current_rows = (tail.recipe.current_rows / 2).max(FEWEST_ROWS);
            tail.recipe.replay_rows = (tail.recipe.replay_rows / 2).max(FEWEST_ROWS);
        }
    }
}

/// Sizes of what the memory holds.
fn load(features: usize, counts: &Counts) -> Load {
    let samples = counts.training + counts.held_out + counts.unlabelled;
    Load { width: features as u64, samples, classes: counts.classes, trained: 0 }
}
