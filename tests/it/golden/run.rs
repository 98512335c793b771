//! A case as a program with inputs and expectations, and the three ways to run it.

use std::sync::Arc;

use faer::traits::ComplexField;
use kaizen_edge::low_level::gpu::Device;
use kaizen_edge::low_level::learn::cpu::{Interpreter, Product};
use kaizen_edge::low_level::learn::engine::StepInput;
use kaizen_edge::low_level::learn::gpu::Run;
use kaizen_edge::low_level::learn::op::Slot;
use kaizen_edge::low_level::learn::program::{Program, Role};
use kaizen_edge::low_level::reference::Real;

/// What is compared after a step.
pub(super) enum Expect {
    Term(Slot),
    Buffer(Role),
}

pub(super) struct Case {
    pub(super) name: String,
    pub(super) program: Program,
    /// Buffers set before each step; the later ones keep what they hold else.
    pub(super) states: Vec<Vec<(Role, Vec<f32>)>>,
    pub(super) labels: Vec<i32>,
    pub(super) steps: Vec<StepInput>,
    /// Compared after step `.0`.
    pub(super) expected: Vec<(usize, Expect, String, Vec<f64>)>,
}

pub(super) enum Runner {
    Definition,
    Cpu,
    Gpu(Arc<Device>),
}

/// What was compared, the values that came out, and those that were expected.
pub(super) type Comparison = (String, Vec<f64>, Vec<f64>);

impl Case {
    pub(super) fn largest_gradient(&self) -> f64 {
        let is_gradient = |expect: &Expect| matches!(expect, Expect::Buffer(Role::Gradient(_)));
        let gradients = self.expected.iter().filter(|(_, expect, ..)| is_gradient(expect));
        gradients.flat_map(|(.., values)| values).fold(0.0, |largest, value| largest.max(value.abs()))
    }

    /// Returns whether there was anything to negate.
    pub(super) fn negate_gradients(&mut self) -> bool {
        let mut seen = false;
        for (_, expect, _, values) in &mut self.expected {
            if matches!(expect, Expect::Buffer(_)) {
                seen |= values.iter().any(|v| v.abs() > 1e-3);
                values.iter_mut().for_each(|v| *v = -*v);
            }
        }
        seen
    }

    pub(super) fn swap_states(&mut self, a: &str, b: &str) {
        let states = &mut self.states[0];
        let place = |name: &str| {
            let role = Role::State(name.to_owned());
            states.iter().position(|(r, _)| *r == role).unwrap()
        };
        let (a, b) = (place(a), place(b));
        let held = states[a].1.clone();
        states[a].1 = std::mem::replace(&mut states[b].1, held);
    }

    /// Runs the steps; `step` returns the loss terms, `read` what a buffer holds.
    fn run<Runner>(
        &self,
        mut runner: Runner,
        set: impl Fn(&mut Runner, &Role, &[f32]) -> bool,
        step: impl Fn(&mut Runner, &StepInput) -> Vec<f64>,
        read: impl Fn(&Runner, &Role) -> Vec<f64>,
    ) -> Vec<Comparison> {
        let mut out = Vec::new();
        for (number, (states, input)) in self.states.iter().zip(&self.steps).enumerate() {
            for (role, values) in states {
                assert!(set(&mut runner, role, values), "{}: no buffer {role:?}", self.name);
            }
            let terms = step(&mut runner, input);
            for (_, expect, what, want) in self.expected.iter().filter(|e| e.0 == number) {
                let got = match expect {
                    Expect::Term(slot) => vec![terms[*slot as usize]],
                    Expect::Buffer(role) => read(&runner, role),
                };
                out.push((what.clone(), got, want.clone()));
            }
        }
        out
    }
}

impl Runner {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Definition => "definition f64",
            Self::Cpu => "cpu",
            Self::Gpu(_) => "gpu",
        }
    }

    pub(super) fn run(&self, case: &Case) -> Vec<Comparison> {
        match self {
            Self::Definition => interpret::<f64>(case, Product::Plain),
            Self::Cpu => interpret::<f32>(case, Product::Blocked(2)),
            Self::Gpu(device) => on_gpu(case, device),
        }
    }
}

fn interpret<T: Real + ComplexField>(case: &Case, product: Product) -> Vec<Comparison> {
    let wide = |values: &[T]| values.iter().map(|v| v.wide()).collect::<Vec<f64>>();
    case.run(
        Interpreter::<T>::new(case.program.clone(), &case.labels, product),
        Interpreter::set,
        |interpreter, input| wide(interpreter.run(input)),
        |interpreter, role| wide(interpreter.get(role).unwrap()),
    )
}

fn on_gpu(case: &Case, device: &Device) -> Vec<Comparison> {
    let wide = |values: Vec<f32>| values.into_iter().map(f64::from).collect::<Vec<_>>();
    case.run(
        Run::new(device, case.program.clone(), &case.labels, 1).unwrap(),
        |run, role, values| run.set(device, role, values),
        |run, input| wide(run.run(device, std::slice::from_ref(input)).unwrap()),
        |run, role| wide(run.get(device, role).unwrap()),
    )
}
