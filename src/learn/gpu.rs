//! The GPU engine: records the program once per problem and replays it, many steps to a submit. Features, labels and
//! all state stay on the device; per submit only row indices and scalars go up and loss terms come down.

mod record;

use std::sync::Arc;

use crate::gpu::buffer::ReadBack;
use crate::gpu::{Buffer, Device, Hyper, Plan, Recorder};
use crate::heads::Parameters;
use crate::learn::cpu::{Scalars, not_loaded};
use crate::learn::engine::{Engine, Holding, Problem, StepInput, Terms, complete};
use crate::learn::program::{Program, Role};
use crate::reference::Real as _;
use crate::{Error, Result};

/// Submits whose loss terms are read back together.
const SUBMITS_IN_FLIGHT: usize = 2;

/// The engine on a GPU device.
#[derive(Debug)]
pub struct GpuEngine {
    device: Arc<Device>,
    loaded: Option<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    problem: Problem,
    holding: Holding,
    run: Run,
}

/// A program on the device: its buffers and its recorded plan.
#[derive(Debug)]
pub struct Run {
    program: Program,
    buffers: Vec<Buffer>,
    index: Buffer,
    label_table: Buffer,
    terms: Buffer,
    read_back: ReadBack,
    plan: Plan,
    zeros: Vec<f32>,
}

impl GpuEngine {
    /// An engine on `device`.
    #[must_use]
    pub fn new(device: Arc<Device>) -> Self {
        Self { device, loaded: None }
    }

    /// The device, for its counters.
    #[must_use]
    pub fn gpu(&self) -> &Device {
        &self.device
    }
}

impl Engine for GpuEngine {
    fn name(&self) -> &'static str {
        "gpu"
    }

    fn device(&self) -> String {
        self.device.adapter().to_string()
    }

    fn load(&mut self, mut problem: Problem, state: &Parameters) -> Result<()> {
        self.loaded = None;
        let program = problem.program(state)?;
        let mut state = state.clone();
        complete(&mut state, &program, problem.architecture.projector.outputs(), 0)?;
        let run = Run::new(&self.device, program, &problem.labels, problem.steps_per_submit)?;
        run.set(&self.device, &Role::Table, &std::mem::take(&mut problem.table));
        let holding = Holding::hand_over(state, &run.program, |role, values| {
            run.set(&self.device, role, &values);
        });
        self.loaded = Some(Loaded { problem, holding, run });
        Ok(())
    }

    fn step(&mut self, inputs: &[StepInput]) -> Result<Vec<Terms>> {
        let Loaded { problem, run, .. } = self.loaded.as_mut().ok_or_else(not_loaded)?;
        inputs.iter().try_for_each(|input| problem.check_input(input))?;
        let mut all = Vec::with_capacity(inputs.len());
        for window in inputs.chunks(problem.steps_per_submit * SUBMITS_IN_FLIGHT) {
            let steps: Vec<_> = (window.iter())
                .map(|input| {
                    let scalars = Scalars::of(input, problem.inverse_labelled(input), &problem.optimizer);
                    (input.index.as_slice(), scalars)
                })
                .collect();
            let rows = run.run(&self.device, &steps)?;
            for (row, input) in rows.chunks(Program::TERMS).zip(window) {
                all.push(Terms::from_row(row, input.step)?);
            }
        }
        Ok(all)
    }

    fn snapshot(&mut self) -> Result<Parameters> {
        let Loaded { holding, run, .. } = self.loaded.as_mut().ok_or_else(not_loaded)?;
        holding.snapshot(|role| run.get(&self.device, role)?.ok_or_else(not_loaded))
    }

    fn unload(&mut self) {
        self.loaded = None;
    }
}

impl Run {
    /// Buffers and plan of `program` for up to `slots` steps per submit.
    ///
    /// # Errors
    /// [`Error::Device`] if a shader is refused, [`Error::Shape`] if a buffer is beyond the device's limits.
    pub fn new(device: &Device, program: Program, labels: &[i32], slots: usize) -> Result<Self> {
        let limit = usize::try_from(device.largest_buffer_bytes()).unwrap_or(usize::MAX) / 4;
        if let Some(spec) = program.buffers.iter().find(|spec| spec.len > limit) {
            return Err(Error::shape(format!("GPU buffer of {:?}", spec.role), limit, spec.len));
        }
        let slots = slots.max(1);
        let buffers: Vec<_> = (program.buffers.iter())
            .map(|spec| match spec.role {
                Role::Constant(value) => {
                    Buffer::from_slice(device, "constant", &vec![f32::of(value); spec.len])
                }
                _ => Buffer::zeroed(device, "program", spec.len),
            })
            .collect();
        let label_table = Buffer::from_slice(device, "label_table", labels);
        let index = Buffer::zeroed(device, "index", program.index_rows * slots);
        let rows = slots * SUBMITS_IN_FLIGHT;
        let terms = Buffer::zeroed(device, "terms", Program::TERMS * rows);
        let mut recorder = Recorder::new(device, crate::gpu::plan::size("steps per submit", slots)?);
        let fixed = record::Fixed::new(device, &index, &label_table, &terms, program.index_rows);
        for op in &program.ops {
            record::op(&mut recorder, &buffers, &fixed, op)?;
        }
        let plan = recorder.finish();
        let read_back = ReadBack::new(device, terms.len());
        let zeros = vec![0.0; terms.len()];
        Ok(Self { program, buffers, index, label_table, terms, read_back, plan, zeros })
    }

    /// Sets the buffer of that role, if the program has one; gives whether it has.
    pub fn set(&self, device: &Device, role: &Role, values: &[f32]) -> bool {
        let Some(buf) = self.program.find(role) else {
            return false;
        };
        self.buffers[buf.0].write(device, 0, values);
        true
    }

    /// Reads the buffer of that role, if the program has one.
    ///
    /// # Errors
    /// [`Error::Device`] if the device was lost.
    pub fn get(&self, device: &Device, role: &Role) -> Result<Option<Vec<f32>>> {
        self.program.find(role).map(|buf| self.buffers[buf.0].read(device)).transpose()
    }

    /// Runs steps, given as table rows and scalars (at most two submits' worth); gives their rows of loss terms.
    ///
    /// # Errors
    /// [`Error::Device`] if the device was lost.
    pub fn run(&mut self, device: &Device, steps: &[(&[u32], Scalars)]) -> Result<Vec<f32>> {
        let slots = self.plan.slots();
        self.terms.write(device, 0, &self.zeros);
        for (submit, steps) in steps.chunks(slots).enumerate() {
            let hyper = self.upload(device, steps, submit * slots)?;
            self.plan.run(device, &hyper)?;
        }
        self.read_back.read(device, &self.terms)
    }

    fn upload(&self, device: &Device, steps: &[(&[u32], Scalars)], first: usize) -> Result<Vec<Hyper>> {
        let rows = self.program.index_rows;
        let size = crate::gpu::plan::size;
        let hyper = steps.iter().enumerate().map(|(slot, (index, scalars))| {
            self.index.write(device, slot * rows, index);
            Ok(Hyper {
                step: size("step", slot)?,
                index_start: size("index", slot * rows)?,
                term_start: size("terms", (first + slot) * Program::TERMS)?,
                queue_start: size("queue", scalars.queue_start)?,
                learning_rate: f32::of(scalars.learning_rate),
                classifier_rate: f32::of(scalars.classifier_rate),
                momentum_decay: f32::of(scalars.momentum_decay),
                inverse_labelled: f32::of(scalars.inverse_labelled),
                adam_correction1: f32::of(scalars.corrections[0]),
                adam_correction2: f32::of(scalars.corrections[1]),
                ..Hyper::default()
            })
        });
        hyper.collect()
    }

    /// Labels of the table's rows, -1 where there is none.
    pub fn set_labels(&self, device: &Device, labels: &[i32]) {
        self.label_table.write(device, 0, labels);
    }
}
