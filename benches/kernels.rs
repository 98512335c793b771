//! Every kernel that a training step calls, timed alone: the CPU engine, the plain definition and
//! the GPU, as ratios in one run. `cargo bench --bench kernels`.
//!
//! A software GPU (lavapipe) only shows that the kernel runs; its ratio says nothing about a real
//! one.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a bench prints and stops at the first error")]

use std::collections::BTreeMap;
use std::time::Instant;

use kaizen_edge::low_level::gpu::Device;
use kaizen_edge::low_level::heads::{Architecture, Extractor, Mlp, Norm};
use kaizen_edge::low_level::learn::cpu::{Interpreter, Product};
use kaizen_edge::low_level::learn::engine::StepInput;
use kaizen_edge::low_level::learn::gpu::Run;
use kaizen_edge::low_level::learn::objective::{Objective, SslMethod};
use kaizen_edge::low_level::learn::op::Op;
use kaizen_edge::low_level::learn::program::{Program, Role};
use kaizen_edge::low_level::learn::step::{StepSpec, step_program};
use kaizen_edge::low_level::learn::update::{ExtractorTraining, Optimizer};
use kaizen_edge::low_level::rng::Rng;

const ROWS: usize = 32;
const FEATURES: usize = 256;
const REPEATS: usize = 5;

fn program(method: SslMethod, optimizer: Optimizer) -> Program {
    let architecture = Architecture {
        extractor: Extractor::adapter(FEATURES, 64, true),
        projector: method.projector(FEATURES, 256, 64),
        predictor: method.has_predictor().then(|| Mlp::new(&[64, 128, 64], Norm::Batch)),
        distill_predictor: Mlp::new(&[64, 128, 64], Norm::Batch),
        classifier: Mlp::new(&[FEATURES, 128, 50], Norm::None),
    };
    let objective = Objective { queue: 512, ..Objective::new(method) };
    let spec = StepSpec {
        architecture: &architecture,
        objective: &objective,
        optimizer: Some(&optimizer),
        extractor_training: ExtractorTraining::default(),
        rows: ROWS,
        micro_batches: 1,
        table_rows: 512,
        has_latents: false,
        has_soft_targets: false,
        teacher_classes: Some(40),
    };
    step_program(&spec).unwrap()
}

/// Kind of the op and, for products, layout and sizes.
fn name(op: &Op) -> String {
    let kind = format!("{op:?}").split_whitespace().next().unwrap_or_default().to_owned();
    if let Op::Gemm { layout, shape: [m, n, k], .. } = op {
        return format!("{kind} {layout:?} {m}x{n}x{k}");
    }
    kind
}

fn fill(program: &Program, mut set: impl FnMut(&Role, &[f32])) {
    let mut rng = Rng::new(1, 0);
    for spec in &program.buffers {
        let values: Vec<f32> = (0..spec.len).map(|_| rng.uniform() + 0.1).collect();
        if matches!(spec.role, Role::State(_) | Role::Table) {
            set(&spec.role, &values);
        }
    }
}

fn seconds(mut run: impl FnMut()) -> f64 {
    run();
    let times = (0..REPEATS).map(|_| {
        let start = Instant::now();
        run();
        start.elapsed().as_secs_f64()
    });
    times.fold(f64::INFINITY, f64::min)
}

fn main() {
    let device = Device::open(true).ok();
    let adapter = device.as_ref().map_or_else(|| "none".to_owned(), |d| d.adapter().to_string());
    println!("GPU: {adapter}\n");
    println!("{:38} {:>12} {:>18} {:>14}", "kernel", "CPU engine", "definition / CPU", "GPU / CPU");
    let input = StepInput {
        index: (0..2 * ROWS).map(|i| u32::try_from(i).unwrap_or(0)).collect(),
        learning_rate: 1e-3,
        classifier_rate: 1e-3,
        momentum_decay: 0.99,
        ..StepInput::default()
    };
    let labels: Vec<i32> = (0..512).map(|i| i % 50).collect();
    let mut seen = BTreeMap::new();
    let rules = [Optimizer::SGD, Optimizer::AS_PUBLISHED, Optimizer::ADAMW];
    for (method, optimizer) in SslMethod::ALL.into_iter().zip(rules.into_iter().cycle()) {
        let whole = program(method, optimizer);
        for op in &whole.ops {
            seen.entry(name(op)).or_insert_with(|| Program { ops: vec![*op], ..whole.clone() });
        }
        seen.insert(format!("whole step, {}", method.name()), whole);
    }
    for (name, program) in seen {
        let cpu = |product| {
            let mut interpreter = Interpreter::<f32>::new(program.clone(), &labels, product);
            fill(&program, |role, values| {
                interpreter.set(role, values);
            });
            seconds(|| {
                interpreter.run(&input);
            })
        };
        let (fast, plain) = (cpu(Product::Blocked(2)), cpu(Product::Plain));
        let gpu = device.as_ref().map(|device| {
            let mut run = Run::new(device, program.clone(), &labels, 8).unwrap();
            fill(&program, |role, values| {
                run.set(device, role, values);
            });
            let steps = vec![input.clone(); 8];
            seconds(|| {
                run.run(device, &steps).unwrap();
            }) / 8.0
        });
        let ratio = gpu.map_or_else(|| "-".to_owned(), |gpu| format!("{:.2}", gpu / fast));
        println!("{name:38} {:9.1} us {:18.2} {ratio:>14}", 1e6 * fast, plain / fast);
    }
}
