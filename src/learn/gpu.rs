//! The GPU engine: records the program once per problem and replays it, many steps to a submit.
//! Features, labels and all state stay on the device; per submit only row indices and scalars go up
//! and loss terms come down.

mod record;
mod run;

use std::sync::Arc;

use crate::Result;
use crate::gpu::Device;
use crate::heads::Parameters;
use crate::latent::LatentTable;
use crate::learn::engine::{Engine, Problem, StepInput, Terms};
use crate::learn::loaded::{Loaded, loaded, outlives_training};

pub use run::Run;

/// The engine on a GPU device.
#[derive(Debug)]
pub struct GpuEngine {
    device: Arc<Device>,
    loaded: Option<Loaded<Run>>,
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

    fn load(&mut self, problem: Problem, state: &Parameters) -> Result<()> {
        self.loaded = None;
        let device = &self.device;
        let make = |program, problem: &Problem| {
            Run::new(device, program, problem.targets.labels(), problem.steps_per_submit)
        };
        let place = |run: &mut Run, role: &_, values: Vec<f32>| {
            run.set(device, role, &values);
        };
        let place_latents = |run: &mut Run, latents: LatentTable| run.set_latents(device, &latents);
        self.loaded = Some(Loaded::new(problem, state, make, place, place_latents)?);
        Ok(())
    }

    fn step(&mut self, inputs: &[StepInput]) -> Result<Vec<Terms>> {
        let loaded = loaded(&mut self.loaded)?;
        let window = loaded.runner.window();
        loaded.step(inputs, window, |run, window| run.run(&self.device, window))
    }

    fn snapshot(&mut self) -> Result<Parameters> {
        loaded(&mut self.loaded)?.snapshot(|_| true, |run, role| run.get(&self.device, role))
    }

    fn trained(&mut self) -> Result<Parameters> {
        loaded(&mut self.loaded)?.snapshot(outlives_training, |run, role| run.get(&self.device, role))
    }

    fn unload(&mut self) {
        self.loaded = None;
    }
}
