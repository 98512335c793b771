//! The CPU engine: runs a program by the definitions of `reference` and a blocked, multi-threaded
//! product. In `f64` with plain products it is the oracle of both engines.

pub(crate) mod depthwise;
mod info_nce;
mod interpreter;
mod parallel;
mod places;
pub(crate) mod product;

use crate::Result;
use crate::heads::Parameters;
use crate::learn::engine::{Engine, Problem, StepInput, Terms};
use crate::learn::loaded::{Loaded, loaded, outlives_training};
use crate::learn::program::Role;

pub use interpreter::Interpreter;
pub use product::Product;

/// The engine on this machine's cores.
#[derive(Debug)]
pub struct CpuEngine {
    threads: usize,
    loaded: Option<Loaded<Interpreter<f32>>>,
}

impl CpuEngine {
    /// An engine with `threads` threads; 0 takes all cores.
    #[must_use]
    pub fn new(threads: usize) -> Self {
        let threads = if threads == 0 { rayon::current_num_threads() } else { threads };
        Self { threads, loaded: None }
    }
}

impl Engine for CpuEngine {
    fn name(&self) -> &'static str {
        "cpu"
    }

    fn device(&self) -> String {
        format!("{} threads", self.threads)
    }

    fn load(&mut self, problem: Problem, state: &Parameters) -> Result<()> {
        self.loaded = None;
        let product = Product::Blocked(self.threads);
        let make =
            |program, problem: &Problem| Ok(Interpreter::new(program, problem.targets.labels(), product));
        let place = |interpreter: &mut Interpreter<f32>, role: &_, values| {
            interpreter.adopt(role, values);
        };
        let place_latents = |interpreter: &mut Interpreter<f32>, latents| {
            interpreter.set_latents(latents);
            Ok(())
        };
        self.loaded = Some(Loaded::new(problem, state, make, place, place_latents)?);
        Ok(())
    }

    fn step(&mut self, inputs: &[StepInput]) -> Result<Vec<Terms>> {
        let run = |interpreter: &mut Interpreter<f32>, window: &[StepInput]| {
            Ok(window.iter().flat_map(|input| interpreter.run(input).to_vec()).collect())
        };
        loaded(&mut self.loaded)?.step(inputs, 1, run)
    }

    fn snapshot(&mut self) -> Result<Parameters> {
        loaded(&mut self.loaded)?.snapshot(|_| true, read)
    }

    fn trained(&mut self) -> Result<Parameters> {
        loaded(&mut self.loaded)?.snapshot(outlives_training, read)
    }

    fn unload(&mut self) {
        self.loaded = None;
    }
}

/// Returns what a buffer holds.
fn read(interpreter: &Interpreter<f32>, role: &Role) -> Result<Vec<f32>> {
    interpreter.get(role).map(<[f32]>::to_vec).ok_or_else(|| role.missing())
}
