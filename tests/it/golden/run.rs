//! A case as a program with inputs and expectations, and the three ways to run it.

use std::sync::Arc;

use kaizen_edge::low_level::gpu::Device;
use kaizen_edge::low_level::learn::cpu::{Interpreter, Product, Scalars};
use kaizen_edge::low_level::learn::gpu::Run;
use kaizen_edge::low_level::learn::program::{Program, Role, Slot};

/// What is compared after the last step.
pub(super) enum Expect {
    Term(Slot),
    Buffer(Role),
}

pub(super) struct Case {
    pub(super) name: String,
    pub(super) program: Program,
    pub(super) states: Vec<(Role, Vec<f32>)>,
    /// States set anew before each further step (gradients of an optimiser case).
    pub(super) later: Vec<Vec<(Role, Vec<f32>)>>,
    pub(super) labels: Vec<i32>,
    pub(super) scalars: Vec<Scalars>,
    /// Compared after step `.0`.
    pub(super) expected: Vec<(usize, Expect, String, Vec<f64>)>,
}

pub(super) enum Runner {
    Definition,
    Cpu,
    Gpu(Arc<Device>),
}

pub(super) type Comparison = (String, Vec<f64>, Vec<f64>);

impl Case {
    pub(super) fn negate_gradients(&mut self) {
        for (_, expect, _, values) in &mut self.expected {
            if matches!(expect, Expect::Buffer(_)) {
                values.iter_mut().for_each(|v| *v = -*v);
            }
        }
    }

    pub(super) fn swap_states(&mut self, a: &str, b: &str) {
        let place = |name: &str| {
            let role = Role::State(name.to_owned());
            self.states.iter().position(|(r, _)| *r == role).unwrap()
        };
        let (a, b) = (place(a), place(b));
        let held = self.states[a].1.clone();
        self.states[a].1 = std::mem::replace(&mut self.states[b].1, held);
    }

    fn index(&self) -> Vec<u32> {
        (0..self.program.index_rows as u32).collect()
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

fn states_of(case: &Case, step: usize) -> &[(Role, Vec<f32>)] {
    if step == 0 { &case.states } else { &case.later[step - 1] }
}

fn interpret<T: kaizen_edge::low_level::reference::Real + faer::traits::ComplexField>(
    case: &Case,
    product: Product,
) -> Vec<Comparison> {
    let mut interpreter = Interpreter::<T>::new(case.program.clone(), product);
    interpreter.set_labels(&case.labels);
    let mut out = Vec::new();
    for (step, scalars) in case.scalars.iter().enumerate() {
        for (role, values) in states_of(case, step) {
            assert!(interpreter.set(role, values), "{}: no buffer {role:?}", case.name);
        }
        let terms: Vec<f64> = interpreter.run(&case.index(), scalars).iter().map(|t| t.wide()).collect();
        for (_, expect, what, want) in case.expected.iter().filter(|e| e.0 == step) {
            let got = match expect {
                Expect::Term(slot) => vec![terms[*slot as usize]],
                Expect::Buffer(role) => interpreter
                    .get(role)
                    .unwrap_or_else(|| panic!("no {role:?}"))
                    .iter()
                    .map(|v| v.wide())
                    .collect(),
            };
            out.push((what.clone(), got, want.clone()));
        }
    }
    out
}

fn on_gpu(case: &Case, device: &Device) -> Vec<Comparison> {
    let mut run = Run::new(device, case.program.clone(), &case.labels, 1).unwrap();
    let index = case.index();
    let mut out = Vec::new();
    for (step, scalars) in case.scalars.iter().enumerate() {
        for (role, values) in states_of(case, step) {
            assert!(run.set(device, role, values), "{}: no buffer {role:?}", case.name);
        }
        let terms = run.run(device, &[(&index[..], *scalars)]).unwrap();
        for (_, expect, what, want) in case.expected.iter().filter(|e| e.0 == step) {
            let got: Vec<f32> = match expect {
                Expect::Term(slot) => vec![terms[*slot as usize]],
                Expect::Buffer(role) => run.get(device, role).unwrap().unwrap(),
            };
            out.push((what.clone(), got.iter().map(|&v| f64::from(v)).collect(), want.clone()));
        }
    }
    out
}
