//! What both engines promise, at the level of a training step.

use serde::{Deserialize, Serialize};

use crate::heads::{Architecture, Parameters, Tensor};
use crate::learn::objective::Objective;
use crate::learn::program::{Program, Role, Slot};
use crate::learn::step::{StepSpec, step_program};
use crate::learn::update::Optimizer;
use crate::rng::Rng;
use crate::{Error, Result};

/// One task's training problem: everything that is fixed while its steps run.
#[derive(Clone, Debug)]
pub struct Problem {
    /// Parts and widths.
    pub architecture: Architecture,
    /// Terms and weights.
    pub objective: Objective,
    /// Update rule.
    pub optimizer: Optimizer,
    /// Rows N per view of each step.
    pub rows: usize,
    /// Features of task and replay, every cached view a row: `[S, D]`.
    pub table: Vec<f32>,
    /// Class of each row of the table, -1 where it has no label.
    pub labels: Vec<i32>,
    /// Most steps of one submit.
    pub steps_per_submit: usize,
}

/// What changes from step to step.
#[derive(Clone, Debug, PartialEq)]
pub struct StepInput {
    /// Table rows of view 1, then of view 2: `2N`.
    pub index: Vec<u32>,
    /// Learning rate of adapter, projector and predictors.
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
            deviation: at(Slot::Deviation),
        };
        let named = [
            ("self-supervised loss", terms.ssl),
            ("feature distillation", terms.feature_distill),
            ("classifier loss", terms.classifier),
            ("classifier distillation", terms.classifier_distill),
            ("projection deviation", terms.deviation),
        ];
        if let Some((name, _)) = named.iter().find(|(_, value)| !value.is_finite()) {
            return Err(Error::NonFinite { term: (*name).to_owned(), step });
        }
        if at(Slot::NonFinite) != 0.0 {
            return Err(Error::NonFinite {
                term: format!("{} parameter tensors", at(Slot::NonFinite)),
                step,
            });
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
    }
}

/// An engine runs training steps. Loading replaces whatever was loaded before.
pub trait Engine: Send {
    /// `cpu` or `gpu`.
    fn name(&self) -> &'static str;

    /// The adapter or the cores that it runs on, for people.
    fn device(&self) -> String;

    /// Takes a problem and the state to start from; records the step once.
    ///
    /// # Errors
    /// [`Error::Config`] or [`Error::Shape`] for a problem that does not fit together, [`Error::Device`] from a GPU.
    fn load(&mut self, problem: Problem, state: &Parameters) -> Result<()>;

    /// Runs steps in order (in submits of at most `steps_per_submit`) and gives their losses.
    ///
    /// # Errors
    /// [`Error::NonFinite`] for the first step whose losses or parameters are not finite; the state is then spoiled
    /// and must be loaded anew. [`Error::Shape`] for a batch of the wrong size or an index beyond the table.
    fn step(&mut self, inputs: &[StepInput]) -> Result<Vec<Terms>>;

    /// The whole state: heads, teacher, momentum copies, optimiser moments, queues.
    ///
    /// # Errors
    /// [`Error::Device`] from a GPU, [`Error::Config`] if nothing is loaded.
    fn snapshot(&mut self) -> Result<Parameters>;

    /// Lets go of the problem and its memory.
    fn unload(&mut self);
}

impl Problem {
    /// The step of this problem. The teacher's width is read off `state`; no teacher there, none in the step.
    ///
    /// # Errors
    /// [`Error::Config`] or [`Error::Shape`] naming what does not fit and what is allowed.
    pub fn program(&self, state: &Parameters) -> Result<Program> {
        let d = self.architecture.features;
        if d == 0 || self.table.len() != self.labels.len() * d {
            return Err(Error::shape("feature table", [self.labels.len(), d], self.table.len()));
        }
        self.optimizer.check()?;
        if self.steps_per_submit == 0 {
            return Err(Error::config("steps_per_submit", 0, "at least 1, usually 8 to 32"));
        }
        let last = self.architecture.classifier.0.len().saturating_sub(1);
        let teacher = format!("teacher.classifier.{last}.bias");
        let teacher_classes =
            state.contains(&teacher).then(|| state.get(&teacher).map(|t| t.data.len())).transpose()?;
        let spec = StepSpec {
            architecture: &self.architecture,
            objective: &self.objective,
            optimizer: Some(&self.optimizer),
            rows: self.rows,
            table_rows: self.labels.len(),
            teacher_classes,
        };
        step_program(&spec)
    }

    /// Checks the sizes and indices of a batch.
    ///
    /// # Errors
    /// [`Error::Shape`] or [`Error::Config`] naming what is wrong.
    pub fn check_input(&self, input: &StepInput) -> Result<()> {
        if input.index.len() != 2 * self.rows {
            return Err(Error::shape("batch index", 2 * self.rows, input.index.len()));
        }
        match input.index.iter().find(|&&row| row as usize >= self.labels.len()) {
            Some(row) => Err(Error::config("batch index", row, format!("rows below {}", self.labels.len()))),
            None => Ok(()),
        }
    }

    /// `1 / labelled rows of one view`, 0 if there is none.
    #[must_use]
    pub fn inverse_labelled(&self, input: &StepInput) -> f64 {
        let classes = i32::try_from(self.architecture.classes()).unwrap_or(i32::MAX);
        let view = &input.index[..self.rows.min(input.index.len())];
        let labelled = view.iter().filter(|&&row| (0..classes).contains(&self.labels[row as usize])).count();
        if labelled == 0 { 0.0 } else { 1.0 / crate::number::real(labelled) }
    }
}

/// Completes `state` for `program`: momentum copies start at the online tensors, optimiser moments at zero, queues
/// at random unit rows (seeded). What is there already stays.
///
/// # Errors
/// [`Error::Config`] naming a head tensor that is missing, [`Error::Shape`] one of another size.
pub fn complete(state: &mut Parameters, program: &Program, projection: usize, seed: u64) -> Result<()> {
    for spec in &program.buffers {
        let Role::State(name) = &spec.role else { continue };
        if state.contains(name) {
            let len = state.get(name)?.data.len();
            if len != spec.len {
                return Err(Error::shape(name.clone(), spec.len, len));
            }
            continue;
        }
        let tensor = if let Some(online) = name.strip_prefix("momentum.") {
            state.get(online)?.clone()
        } else if let Some(rest) = name.strip_prefix("optimizer.") {
            let online = rest.split_once('.').map_or(rest, |(_, online)| online);
            Tensor::zeros(&state.get(online)?.shape)
        } else if name.starts_with("queue.") {
            unit_rows(spec.len, projection, &mut Rng::named(seed, name))
        } else {
            state.get(name)?.clone()
        };
        state.insert(name.clone(), tensor);
    }
    Ok(())
}

/// The state that an engine holds on its own, with what it needs to give a snapshot.
#[derive(Debug, Default)]
pub(crate) struct Holding {
    /// Names and shapes of the tensors that the engine's buffers hold.
    pub shapes: Vec<(String, Vec<usize>)>,
    /// Tensors that the program does not use.
    pub idle: Parameters,
}

impl Holding {
    /// Hands each tensor of `state` that `program` uses to `place`; keeps the others.
    pub(crate) fn hand_over(
        state: Parameters,
        program: &Program,
        mut place: impl FnMut(&Role, Vec<f32>),
    ) -> Self {
        let mut holding = Self::default();
        for (name, tensor) in state.into_tensors() {
            let role = Role::State(name.clone());
            if program.find(&role).is_some() {
                place(&role, tensor.data);
                holding.shapes.push((name, tensor.shape));
            } else {
                holding.idle.insert(name, tensor);
            }
        }
        holding
    }

    /// The whole state, with `read` giving what a buffer holds.
    pub(crate) fn snapshot(&self, mut read: impl FnMut(&Role) -> Result<Vec<f32>>) -> Result<Parameters> {
        let mut snapshot = self.idle.clone();
        for (name, shape) in &self.shapes {
            let data = read(&Role::State(name.clone()))?;
            snapshot.insert(name.clone(), Tensor::new(shape, data)?);
        }
        Ok(snapshot)
    }
}

fn unit_rows(len: usize, width: usize, rng: &mut Rng) -> Tensor {
    let mut data: Vec<f32> = (0..len).map(|_| rng.normal()).collect();
    for row in data.chunks_mut(width.max(1)) {
        let norm = row.iter().map(|v| v * v).sum::<f32>().sqrt().max(1e-12);
        row.iter_mut().for_each(|v| *v /= norm);
    }
    Tensor { shape: vec![len / width.max(1), width], data }
}

/// Which engine to train on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EngineChoice {
    /// A real GPU if there is one, else the CPU.
    #[default]
    Auto,
    /// The GPU, software adapters included; an error if there is none.
    Gpu,
    /// The CPU.
    Cpu,
}

impl std::str::FromStr for EngineChoice {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "auto" => Ok(Self::Auto),
            "gpu" => Ok(Self::Gpu),
            "cpu" => Ok(Self::Cpu),
            _ => Err(Error::config("engine", text, "auto, gpu or cpu")),
        }
    }
}

/// Opens the engine asked for; the line says what was chosen and why.
///
/// # Errors
/// [`Error::Device`] if the GPU was asked for and no adapter serves.
pub fn open(choice: EngineChoice) -> Result<(Box<dyn Engine>, String)> {
    use crate::learn::{cpu::CpuEngine, gpu::GpuEngine};
    let gpu = |device| -> Box<dyn Engine> { Box::new(GpuEngine::new(std::sync::Arc::new(device))) };
    let cpu = || -> Box<dyn Engine> { Box::new(CpuEngine::new(0)) };
    let (engine, why) = match choice {
        EngineChoice::Cpu => (cpu(), "asked for".to_owned()),
        EngineChoice::Gpu => (gpu(crate::gpu::Device::open(true)?), "asked for".to_owned()),
        EngineChoice::Auto => match crate::gpu::Device::open(false) {
            Ok(device) => (gpu(device), "auto: a real GPU is here".to_owned()),
            Err(Error::Device { adapter, .. }) => {
                (cpu(), format!("auto: no real GPU (adapters seen: {adapter})"))
            }
            Err(error) => return Err(error),
        },
    };
    let line = format!("engine: {} on {} ({why})", engine.name(), engine.device());
    Ok((engine, line))
}
