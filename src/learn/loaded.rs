//! The problem that an engine has loaded and the state around it: what both engines share.

use crate::heads::{Parameters, Tensor};
use crate::latent::LatentTable;
use crate::learn::engine::{Problem, STARTS_ANEW, StepInput, Table, Targets, Terms};
use crate::learn::program::{Program, Role};
use crate::rng::Rng;
use crate::{Error, Result};

/// A loaded problem. The `Runner` holds the buffers of its program.
#[derive(Debug)]
pub(super) struct Loaded<Runner> {
    pub runner: Runner,
    /// Rows of both views, the length of a batch index.
    index_rows: usize,
    table_rows: usize,
    /// Names and shapes of the tensors that the runner holds.
    shapes: Vec<(String, Vec<usize>)>,
    /// Tensors that the program does not use.
    idle: Parameters,
}

impl<Runner> Loaded<Runner> {
    /// Writes the step of `problem` down, makes a runner from it and the labels, and hands the
    /// runner the table and the state by `place`, latents by `place_latents`.
    pub(super) fn new(
        problem: Problem,
        state: &Parameters,
        make: impl FnOnce(Program, &Problem) -> Result<Runner>,
        place: impl Fn(&mut Runner, &Role, Vec<f32>),
        place_latents: impl FnOnce(&mut Runner, LatentTable) -> Result<()>,
    ) -> Result<Self> {
        let program = problem.program(state)?;
        let mut state = state.clone();
        complete(&mut state, &program, problem.architecture.projector.outputs())?;
        let (held, idle): (Vec<_>, Vec<_>) =
            (state.into_tensors()).partition(|(name, _)| program.find(&Role::State(name.clone())).is_some());
        let (index_rows, table_rows) = (program.index_rows, problem.targets.rows());
        let mut runner = make(program, &problem)?;
        match problem.table {
            Table::Rows(values) => place(&mut runner, &Role::Table, values),
            Table::Latents(latents) => place_latents(&mut runner, latents)?,
        }
        if let Targets::Soft { targets, weights } = problem.targets {
            place(&mut runner, &Role::Targets, targets);
            place(&mut runner, &Role::TargetWeights, weights);
        }
        let place_state = |(name, tensor): (String, Tensor)| {
            place(&mut runner, &Role::State(name.clone()), tensor.data);
            (name, tensor.shape)
        };
        let shapes = held.into_iter().map(place_state).collect();
        Ok(Self { runner, index_rows, table_rows, shapes, idle: idle.into_iter().collect() })
    }

    /// Checks all inputs and runs them, at most `window` to a call of `run`, which returns their
    /// rows of loss terms.
    pub(super) fn step<T: Copy + Into<f64>>(
        &mut self,
        inputs: &[StepInput],
        window: usize,
        run: impl Fn(&mut Runner, &[StepInput]) -> Result<Vec<T>>,
    ) -> Result<Vec<Terms>> {
        for StepInput { index, .. } in inputs {
            if index.len() != self.index_rows {
                return Err(Error::shape("batch index", self.index_rows, index.len()));
            }
            if let Some(row) = index.iter().find(|&&row| row as usize >= self.table_rows) {
                return Err(Error::shape("row in a batch index", format!("below {}", self.table_rows), row));
            }
        }
        let mut all = Vec::with_capacity(inputs.len());
        for window in inputs.chunks(window) {
            let rows = run(&mut self.runner, window)?;
            for (row, input) in rows.chunks(Program::TERMS).zip(window) {
                all.push(Terms::from_row(row, input.step)?);
            }
        }
        Ok(all)
    }

    /// The state, of it the tensors that `is_wanted`; `read` returns what a buffer holds.
    pub(super) fn snapshot(
        &self,
        is_wanted: impl Fn(&str) -> bool,
        read: impl Fn(&Runner, &Role) -> Result<Vec<f32>>,
    ) -> Result<Parameters> {
        let idle = self.idle.iter().filter(|(name, _)| is_wanted(name));
        let mut snapshot: Parameters = idle.map(|(name, tensor)| (name.to_owned(), tensor.clone())).collect();
        for (name, shape) in self.shapes.iter().filter(|(name, _)| is_wanted(name)) {
            let data = read(&self.runner, &Role::State(name.clone()))?;
            snapshot.insert(name.clone(), Tensor::new(shape, data)?);
        }
        Ok(snapshot)
    }
}

/// Whether a tensor of the state outlives a training.
pub(super) fn outlives_training(name: &str) -> bool {
    !STARTS_ANEW.iter().any(|prefix| name.starts_with(prefix))
}

/// Returns the loaded problem.
///
/// # Errors
/// [`Error::NotReady`] if nothing is.
pub(super) fn loaded<Runner>(slot: &mut Option<Loaded<Runner>>) -> Result<&mut Loaded<Runner>> {
    slot.as_mut().ok_or_else(|| Error::not_ready("engine", "no problem is loaded", "call `load` first"))
}

/// Completes `state` for `program`: momentum copies start at the online tensors, optimiser moments
/// at zero, queues at random unit rows `[_, projection]`. What is there already stays.
///
/// # Errors
/// [`Error::NotFound`] naming a head tensor that is missing, [`Error::Shape`] one of another size.
fn complete(state: &mut Parameters, program: &Program, projection: usize) -> Result<()> {
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
            unit_rows(spec.len, projection, &mut Rng::named(0, name))
        } else {
            state.get(name)?.clone()
        };
        state.insert(name.clone(), tensor);
    }
    Ok(())
}

fn unit_rows(len: usize, width: usize, rng: &mut Rng) -> Tensor {
    let mut data: Vec<f32> = (0..len).map(|_| rng.normal()).collect();
    for row in data.chunks_mut(width.max(1)) {
        let norm = row.iter().map(|v| v * v).sum::<f32>().sqrt().max(1e-12);
        row.iter_mut().for_each(|v| *v /= norm);
    }
    Tensor { shape: vec![len / width.max(1), width], data }
}
