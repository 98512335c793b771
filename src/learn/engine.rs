//! What both engines promise, at the level of a training step.

use serde::{Deserialize, Serialize};

use crate::heads::{Architecture, Parameters};
use crate::latent::LatentTable;
use crate::learn::objective::Objective;
use crate::learn::op::{Rate, RateGroup, Slot};
use crate::learn::program::Program;
use crate::learn::step::{StepSpec, step_program};
use crate::learn::update::{ExtractorTraining, Optimizer};
use crate::{Error, Result};

/// An engine runs training steps. Loading replaces whatever was loaded before.
pub trait Engine: Send {
    /// `cpu` or `gpu`.
    fn name(&self) -> &'static str;

    /// The adapter or the cores that it runs on, for people.
    fn device(&self) -> String;

    /// Takes a problem and the state to start from; records the step once.
    ///
    /// # Errors
    /// [`Error::Config`], [`Error::Shape`] or [`Error::NotFound`] for a problem that does not fit
    /// together, [`Error::Device`] from a GPU.
    fn load(&mut self, problem: Problem, state: &Parameters) -> Result<()>;

    /// Runs steps in order (in submits of at most `steps_per_submit`) and returns their losses.
    ///
    /// # Errors
    /// [`Error::NonFinite`] for the first step whose losses or parameters are not finite; the state
    /// is then spoiled and must be loaded anew. [`Error::Shape`] for a batch of the wrong size or
    /// an index beyond the table, [`Error::NotReady`] if nothing is loaded.
    fn step(&mut self, inputs: &[StepInput]) -> Result<Vec<Terms>>;

    /// The whole state: heads, teacher, momentum copies, optimiser moments, queues.
    ///
    /// # Errors
    /// [`Error::Device`] from a GPU, [`Error::NotReady`] if nothing is loaded.
    fn snapshot(&mut self) -> Result<Parameters>;

    /// The part of the state that outlives a training: heads, momentum copies, queues; no teacher
    /// and no moments of the optimiser, which are most of the state.
    ///
    /// # Errors
    /// As [`Engine::snapshot`].
    fn trained(&mut self) -> Result<Parameters>;

    /// Lets go of the problem and its memory.
    fn unload(&mut self);
}

/// Prefixes of the tensors that each training starts anew: the teacher, and the optimiser's
/// moments.
pub(crate) const STARTS_ANEW: [&str; 2] = ["teacher.", "optimizer."];

/// One task's training problem: everything that is fixed while its steps run.
#[derive(Clone, Debug)]
pub struct Problem {
    /// Parts and widths.
    pub architecture: Architecture,
    /// Terms and weights.
    pub objective: Objective,
    /// Update rule.
    pub optimizer: Optimizer,
    /// What of the extractor trains, and at which rates.
    pub extractor_training: ExtractorTraining,
    /// Rows N per view of each step.
    pub rows: usize,
    /// Parts of each batch that are run one after the other, see [`StepSpec::micro_batches`].
    pub micro_batches: usize,
    /// What the extractor takes (features or latents) of task and replay, every cached view a row:
    /// `[S, I]`.
    pub table: Table,
    /// What the classifier is to say of each row of the table.
    pub targets: Targets,
    /// Most steps of one submit.
    pub steps_per_submit: usize,
}

/// Every cached view of task and replay, a row each.
#[derive(Clone, Debug, PartialEq)]
pub enum Table {
    /// Features or latents `[S, I]`.
    Rows(Vec<f32>),
    /// Latents in 8 bits; each step unpacks its own.
    Latents(LatentTable),
}

impl Table {
    /// Whether it is `rows` rows of `width`.
    fn is_of(&self, rows: usize, width: usize) -> bool {
        match self {
            Self::Rows(values) => values.len() == rows * width,
            Self::Latents(latents) => (latents.rows(), latents.width()) == (rows, width),
        }
    }

    /// Values, or codes, that it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Rows(values) => values.len(),
            Self::Latents(latents) => latents.codes().len(),
        }
    }

    /// Whether it holds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What the classifier is to say of each row of a table.
#[derive(Clone, Debug, PartialEq)]
pub enum Targets {
    /// A class a row, -1 where there is no label.
    Labels(Vec<i32>),
    /// Shares of the classes `[S, C]` and a weight a row `[S]`; 0 where nothing is known.
    Soft {
        /// `[S, C]`.
        targets: Vec<f32>,
        /// `[S]`.
        weights: Vec<f32>,
    },
}

impl Targets {
    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        match self {
            Self::Labels(labels) => labels.len(),
            Self::Soft { weights, .. } => weights.len(),
        }
    }

    /// The labels; none of soft targets.
    pub(super) fn labels(&self) -> &[i32] {
        match self {
            Self::Labels(labels) => labels,
            Self::Soft { .. } => &[],
        }
    }
}

impl Problem {
    /// The step of this problem. The teacher's width is read off `state`; without a teacher there,
    /// the step has none.
    ///
    /// # Errors
    /// [`Error::Config`] or [`Error::Shape`] naming what does not fit and what is allowed.
    pub fn program(&self, state: &Parameters) -> Result<Program> {
        let (width, rows) = (self.architecture.extractor.input_len(), self.targets.rows());
        if width == 0 || !self.table.is_of(rows, width) {
            return Err(Error::shape("feature table", [rows, width], self.table.len()));
        }
        if let Targets::Soft { targets, weights } = &self.targets {
            let classes = self.architecture.classes();
            if targets.len() != rows * classes {
                return Err(Error::shape("soft targets", [rows, classes], targets.len()));
            }
            if let Some(weight) = weights.iter().chain(targets).find(|value| !(0.0..=1e6).contains(*value)) {
                return Err(Error::config("soft targets", weight, "finite numbers of at least 0"));
            }
        }
        self.optimizer.check()?;
        self.extractor_training.check(&self.architecture)?;
        if self.steps_per_submit == 0 {
            return Err(Error::config("steps_per_submit", 0, "at least 1, usually 8 to 32"));
        }
        let last = self.architecture.classifier.0.len().saturating_sub(1);
        let teacher = format!("teacher.classifier.{last}.bias");
        let has_teacher = state.contains(&teacher);
        let teacher_classes = has_teacher.then(|| state.get(&teacher).map(|t| t.data.len())).transpose()?;
        step_program(&StepSpec {
            architecture: &self.architecture,
            objective: &self.objective,
            optimizer: Some(&self.optimizer),
            extractor_training: self.extractor_training,
            rows: self.rows,
            micro_batches: self.micro_batches,
            table_rows: rows,
            has_latents: matches!(self.table, Table::Latents(_)),
            has_soft_targets: matches!(self.targets, Targets::Soft { .. }),
            teacher_classes,
        })
    }
}

/// What changes from step to step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepInput {
    /// Table rows of view 1, then of view 2, part by part of the batch: `2N`.
    pub index: Vec<u32>,
    /// Learning rate of extractor, projector and predictors.
    pub learning_rate: f64,
    /// Learning rate of the classifier.
    pub classifier_rate: f64,
    /// EMA decay of the momentum copies.
    pub momentum_decay: f64,
    /// Steps that the optimiser has taken before this one (AdamW's bias correction).
    pub step: u64,
    /// Queue row that the first new key goes to.
    pub queue_start: usize,
}

impl StepInput {
    pub(super) fn rate(&self, rate: Rate) -> f64 {
        let of_group = match rate.group {
            RateGroup::Features => self.learning_rate,
            RateGroup::Classifier => self.classifier_rate,
        };
        rate.scale * of_group
    }
}

/// Losses of one step, unweighted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Terms {
    /// Self-supervised term.
    pub ssl: f64,
    /// Feature distillation.
    pub feature_distill: f64,
    /// Cross-entropy, summed over views.
    pub classifier: f64,
    /// Classifier distillation, mean over views.
    pub classifier_distill: f64,
    /// Distillation of the extractor's features, mean over views.
    #[serde(default)]
    pub pooled_distill: f64,
    /// Mean per-dimension deviation of unit projections; near `1/sqrt(P)` in health.
    pub deviation: f64,
}

impl Terms {
    /// Reads a step's row of the loss-term buffer.
    ///
    /// # Errors
    /// [`Error::NonFinite`] naming the term, or the parameters, that went wrong.
    pub fn from_row<T: Copy + Into<f64>>(row: &[T], step: u64) -> Result<Self> {
        let at = |slot: Slot| row[slot as usize].into();
        let terms = Self {
            ssl: at(Slot::Ssl),
            feature_distill: at(Slot::FeatureDistill),
            classifier: at(Slot::Classifier),
            classifier_distill: at(Slot::ClassifierDistill),
            pooled_distill: at(Slot::PooledDistill),
            deviation: at(Slot::Deviation),
        };
        let named = [
            ("self-supervised loss", terms.ssl),
            ("feature distillation", terms.feature_distill),
            ("classifier loss", terms.classifier),
            ("classifier distillation", terms.classifier_distill),
            ("distillation of pooled features", terms.pooled_distill),
            ("projection deviation", terms.deviation),
        ];
        if let Some((name, _)) = named.iter().find(|(_, value)| !value.is_finite()) {
            return Err(Error::NonFinite { term: (*name).to_owned(), step });
        }
        if at(Slot::NonFinite) != 0.0 {
            let term = format!("{} parameter tensors", at(Slot::NonFinite));
            return Err(Error::NonFinite { term, step });
        }
        Ok(terms)
    }

    /// The weighted total.
    #[must_use]
    pub fn total(&self, objective: &Objective) -> f64 {
        objective.ssl_weight * self.ssl
            + objective.feature_distill_weight * self.feature_distill
            + objective.classifier_weight * self.classifier
            + objective.classifier_distill_weight * self.classifier_distill
            + objective.pooled_distill_weight * self.pooled_distill
    }
}
