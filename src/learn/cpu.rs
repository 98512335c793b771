//! The CPU engine: runs a `Program` by the definitions of `reference` and a blocked, multi-threaded product.
//! In `f64` with plain products it is the oracle of both engines.

pub(crate) mod constants;
mod interpreter;
mod parallel;
pub(crate) mod product;

use crate::heads::Parameters;
use crate::learn::engine::{Engine, Holding, Problem, StepInput, Terms, complete};
use crate::learn::program::Role;
use crate::{Error, Result};

pub use interpreter::{Interpreter, Product, Scalars};

/// The engine on this machine's cores.
#[derive(Debug)]
pub struct CpuEngine {
    threads: usize,
    loaded: Option<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    problem: Problem,
    interpreter: Interpreter<f32>,
    holding: Holding,
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

    fn load(&mut self, mut problem: Problem, state: &Parameters) -> Result<()> {
        self.loaded = None;
        let program = problem.program(state)?;
        let mut state = state.clone();
        complete(&mut state, &program, problem.architecture.projector.outputs(), 0)?;
        let mut interpreter = Interpreter::new(program.clone(), Product::Blocked(self.threads));
        interpreter.set_labels(&problem.labels);
        interpreter.adopt(&Role::Table, std::mem::take(&mut problem.table));
        let holding = Holding::hand_over(state, &program, |role, values| {
            interpreter.adopt(role, values);
        });
        self.loaded = Some(Loaded { problem, interpreter, holding });
        Ok(())
    }

    fn step(&mut self, inputs: &[StepInput]) -> Result<Vec<Terms>> {
        let Loaded { problem, interpreter, .. } = self.loaded.as_mut().ok_or_else(not_loaded)?;
        let mut all = Vec::with_capacity(inputs.len());
        for input in inputs {
            problem.check_input(input)?;
            let scalars = Scalars::of(input, problem.inverse_labelled(input), &problem.optimizer);
            let terms = interpreter.run(&input.index, &scalars);
            all.push(Terms::from_row(terms, input.step)?);
        }
        Ok(all)
    }

    fn snapshot(&mut self) -> Result<Parameters> {
        let Loaded { interpreter, holding, .. } = self.loaded.as_mut().ok_or_else(not_loaded)?;
        holding.snapshot(|role| interpreter.get(role).map(<[f32]>::to_vec).ok_or_else(not_loaded))
    }

    fn unload(&mut self) {
        self.loaded = None;
    }
}

pub(crate) fn not_loaded() -> Error {
    Error::config("engine", "nothing loaded", "a call of load first")
}
