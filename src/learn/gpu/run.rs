//! A program on the device: its buffers and its recorded plan.

use super::record::Fixed;
use crate::gpu::buffer::ReadBack;
use crate::gpu::kernels::batch::{code_words, packed};
use crate::gpu::recorder::size;
use crate::gpu::{Buffer, Device, Hyper, Plan, Recorder};
use crate::latent::LatentTable;
use crate::learn::engine::StepInput;
use crate::learn::op::Op;
use crate::learn::placement::Placement;
use crate::learn::program::{Program, Role};
use crate::reference::Real as _;
use crate::reference::classify::{inverse_labelled, inverse_weight, of_index};
use crate::reference::optim::AdamW;
use crate::{Error, Result};

/// Submits whose loss terms are read back together.
const SUBMITS_IN_FLIGHT: usize = 2;

/// A program on the device.
#[derive(Debug)]
pub struct Run {
    program: Program,
    buffers: Vec<Buffer>,
    index: Buffer,
    labels: Vec<i32>,
    /// Codes and scales of a table of latents.
    latents: [Buffer; 2],
    /// Weights of the soft targets of the table's rows.
    weights: Vec<f32>,
    terms: Buffer,
    read_back: ReadBack,
    plan: Plan,
    zeros: Vec<f32>,
}

impl Run {
    /// Buffers and plan of `program` for up to `slots` steps per submit. `labels` are those of the
    /// table's rows, -1 where there is none.
    ///
    /// # Errors
    /// [`Error::Device`] if a shader is refused, [`Error::Shape`] if a buffer is beyond the
    /// device's limits.
    pub fn new(device: &Device, program: Program, labels: &[i32], slots: usize) -> Result<Self> {
        let limit = usize::try_from(device.largest_buffer_bytes()).unwrap_or(usize::MAX) / 4;
        if let Some(spec) = program.buffers.iter().find(|spec| spec.len > limit) {
            return Err(Error::shape(format!("GPU buffer of {:?}", spec.role), limit, spec.len));
        }
        let mut recorder = Recorder::new(device, slots)?;
        let placement = Placement::of(&program);
        let places: Vec<_> = placement.lens.iter().map(|&len| Buffer::zeroed(device, "place", len)).collect();
        let mut buffers = Vec::with_capacity(program.buffers.len());
        for (spec, place) in program.buffers.iter().zip(placement.place_of) {
            let buffer = places[place].first(spec.len);
            if let Role::Constant(value) = spec.role {
                buffer.write(device, 0, &vec![f32::of(value); spec.len]);
            }
            buffers.push(buffer);
        }
        let slots = slots.max(1);
        let index = Buffer::zeroed(device, "index", program.index_rows * slots);
        let terms = Buffer::zeroed(device, "terms", Program::TERMS * slots * SUBMITS_IN_FLIGHT);
        let latents = latent_lens(&program).map(|len| Buffer::zeroed(device, "latents", len));
        let fixed = Fixed::new(device, [&index, &terms], &latents, labels, &program);
        for op in &program.ops {
            fixed.record(&mut recorder, &buffers, op)?;
        }
        let plan = recorder.finish();
        let (read_back, zeros) = (ReadBack::new(device, terms.len()), vec![0.0; terms.len()]);
        let (labels, weights) = (labels.to_vec(), Vec::new());
        Ok(Self { program, buffers, index, labels, latents, weights, terms, read_back, plan, zeros })
    }

    /// Most steps that one [`Run::run`] can take.
    #[must_use]
    pub fn window(&self) -> usize {
        self.plan.slots() * SUBMITS_IN_FLIGHT
    }

    /// Sets the buffer of that role, if the program has one; returns whether it has.
    pub fn set(&mut self, device: &Device, role: &Role, values: &[f32]) -> bool {
        let Some(buf) = self.program.find(role) else {
            return false;
        };
        if *role == Role::TargetWeights {
            self.weights = values.to_vec();
        }
        self.buffers[buf.0].write(device, 0, values);
        true
    }

    /// Takes the table of latents that the program gathers from.
    ///
    /// # Errors
    /// [`Error::Shape`] if the program gathers from another one.
    pub fn set_latents(&self, device: &Device, latents: &LatentTable) -> Result<()> {
        let codes = packed(latents.shape(), latents.codes());
        let scales: Vec<f32> = latents.scales().iter().map(|scale| scale.to_f32()).collect();
        let (held, given) = (self.latents.each_ref().map(Buffer::len), [codes.len(), scales.len()]);
        if held != given {
            return Err(Error::shape("codes and scales of the latents", held, given));
        }
        self.latents[0].write(device, 0, &codes);
        self.latents[1].write(device, 0, &scales);
        Ok(())
    }

    /// Reads the buffer of that role.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the program has none, [`Error::Device`] if the device was lost.
    pub fn get(&self, device: &Device, role: &Role) -> Result<Vec<f32>> {
        let buf = self.program.find(role).ok_or_else(|| role.missing())?;
        self.buffers[buf.0].read(device)
    }

    /// Runs steps, at most [`Run::window`] of them; returns their rows of loss terms.
    ///
    /// # Errors
    /// [`Error::Device`] if the device was lost.
    pub fn run(&mut self, device: &Device, steps: &[StepInput]) -> Result<Vec<f32>> {
        let slots = self.plan.slots();
        self.terms.write(device, 0, &self.zeros);
        for (submit, steps) in steps.chunks(slots).enumerate() {
            let hyper = steps.iter().enumerate().map(|(slot, input)| {
                self.index.write(device, slot * self.program.index_rows, &input.index);
                self.hyper(slot, submit * slots + slot, input)
            });
            self.plan.run(device, &hyper.collect::<Result<Vec<_>>>()?)?;
        }
        self.read_back.read(device, &self.terms)
    }

    /// The uniform of the step in `slot` of its submit, the step `number` of those read back
    /// together.
    fn hyper(&self, slot: usize, number: usize, input: &StepInput) -> Result<Hyper> {
        let mut adam: Option<AdamW> = None;
        let (mut per_label, mut per_weight) = (0.0, 0.0);
        for op in &self.program.ops {
            if let Op::AdamW { settings, .. } = op {
                adam = Some(*settings);
            }
            if let Op::CrossEntropy { shape: [_, classes], views, .. } = *op {
                per_label = inverse_labelled(views, classes, of_index(&input.index, &self.labels));
            }
            if let Op::TargetCrossEntropy { views, .. } = *op {
                per_weight = inverse_weight(views, of_index(&input.index, &self.weights));
            }
        }
        let [adam_correction1, adam_correction2] =
            adam.map_or([1.0; 2], |settings| settings.corrections(input.step)).map(f32::of);
        Ok(Hyper {
            step: size("step", slot)?,
            index_start: size("index", slot * self.program.index_rows)?,
            term_start: size("terms", number * Program::TERMS)?,
            queue_start: size("queue", input.queue_start)?,
            learning_rate: f32::of(input.learning_rate),
            classifier_rate: f32::of(input.classifier_rate),
            momentum_decay: f32::of(input.momentum_decay),
            inverse_labelled: f32::of(per_label),
            adam_correction1,
            adam_correction2,
            inverse_weight: f32::of(per_weight),
        })
    }
}

/// Words of codes, and scales, of the table of latents that a program gathers from.
fn latent_lens(program: &Program) -> [usize; 2] {
    for op in &program.ops {
        if let Op::GatherCodes { table_rows, shape: [_, positions, channels], .. } = *op {
            return [table_rows * code_words([positions, channels]), table_rows * channels];
        }
    }
    [0, 0]
}
