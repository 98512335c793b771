//! `kaizen bench-step`: the whole training step, timed at the shapes of `tools/peer_torch_step.py`.

use std::time::Instant;

use serde::Serialize;

use super::outcome::Outcome;
use super::output;
use crate::heads::{Architecture, Extractor, Mlp, Norm};
use crate::learn::engine::{Problem, StepInput, Table, Targets};
use crate::learn::engine_choice::{self, EngineChoice};
use crate::learn::objective::{CopyNorm, Objective, SslMethod};
use crate::learn::trainer::take_teacher;
use crate::learn::update::{ExtractorTraining, Optimizer};
use crate::rng::Rng;
use crate::session::peak_resident_bytes;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The self-supervised method
    #[arg(long, default_value = "moco")]
    method: SslMethod,
    /// Who trains
    #[arg(long, default_value = "auto")]
    engine: EngineChoice,
    /// Rows per view; of a tail images of both views together [default: 288, of a tail 128]
    #[arg(long)]
    batch: Option<usize>,
    /// The tail of the backbone, at the shapes of `tools/peer_torch_tail.py`
    #[arg(long)]
    tail: bool,
    /// With the tail's teacher and the distillation of its features
    #[arg(long, requires = "tail")]
    teacher: bool,
    /// The backbone whose tail it is
    #[arg(long, requires = "tail")]
    model: Option<String>,
    /// The value that the tail begins behind [default: the manifest's]
    #[arg(long, requires = "tail")]
    cut: Option<String>,
    /// Width of the features
    #[arg(long, default_value_t = 1280)]
    features: usize,
    /// Hidden width of the adapter
    #[arg(long, default_value_t = 320)]
    bottleneck: usize,
    /// Hidden width of projector and predictors
    #[arg(long, default_value_t = 2048)]
    hidden: usize,
    /// Width of projections
    #[arg(long, default_value_t = 256)]
    projection: usize,
    /// Hidden width of the classifier
    #[arg(long, default_value_t = 1000)]
    classifier_hidden: usize,
    /// Number of classes
    #[arg(long, default_value_t = 100)]
    classes: usize,
    /// Rows of each MoCo queue
    #[arg(long, default_value_t = 4096)]
    queue: usize,
    /// Samples in the feature table, two views each
    #[arg(long, default_value_t = 10_000)]
    samples: usize,
    /// Steps timed
    #[arg(long, default_value_t = 50)]
    steps: usize,
    /// Steps before the clock starts
    #[arg(long, default_value_t = 10)]
    warmup: usize,
    /// The figures as one JSON line
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Figures {
    engine: &'static str,
    device: String,
    method: &'static str,
    batch: usize,
    steps: usize,
    steps_per_sec: f64,
    rows_per_sec: f64,
    resident_bytes: Option<u64>,
}

impl Arguments {
    fn batch(&self) -> usize {
        self.batch.unwrap_or(if self.tail { 128 } else { 288 })
    }
}

#[cfg(feature = "tract")]
fn tail(arguments: &Arguments) -> anyhow::Result<Outcome> {
    super::bench_tail::run(&super::bench_tail::Arguments {
        model: arguments.model.as_deref(),
        cut: arguments.cut.as_deref(),
        teacher: arguments.teacher,
        engine: arguments.engine,
        batch: arguments.batch(),
        classes: arguments.classes,
        steps: arguments.steps,
        warmup: arguments.warmup,
        json: arguments.json,
    })
}

#[cfg(not(feature = "tract"))]
fn tail(_: &Arguments) -> anyhow::Result<Outcome> {
    anyhow::bail!("this program reads no graphs: build it with the feature `tract`")
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<Outcome> {
    if arguments.tail {
        return tail(arguments);
    }
    let (mut engine, line) = engine_choice::open(arguments.engine)?;
    {
        let (problem, mut state) = problem(arguments);
        take_teacher(&mut state);
        engine.load(problem, &state)?;
    }
    let mut rng = Rng::named(1, "bench");
    let mut inputs = |count: usize| -> Vec<StepInput> {
        (0..count).map(|step| input(arguments, step, &mut rng)).collect()
    };
    let (warmup, timed) = (inputs(arguments.warmup), inputs(arguments.steps));
    engine.step(&warmup)?;
    let start = Instant::now();
    engine.step(&timed)?;
    let seconds = start.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "counts of steps and rows")]
    let (steps, rows) = (arguments.steps as f64, (arguments.steps * arguments.batch()) as f64);
    let figures = Figures {
        engine: engine.name(),
        device: engine.device(),
        method: arguments.method.name(),
        batch: arguments.batch(),
        steps: arguments.steps,
        steps_per_sec: steps / seconds,
        rows_per_sec: rows / seconds,
        resident_bytes: peak_resident_bytes(),
    };
    output::result(arguments.json, &figures, || {
        let Figures { method, steps_per_sec, rows_per_sec, .. } = &figures;
        format!("{line}\n{method}: {steps_per_sec:.2} steps/s, {rows_per_sec:.0} rows/s")
    })?;
    Ok(Outcome::Done)
}

fn problem(arguments: &Arguments) -> (Problem, crate::heads::Parameters) {
    let Arguments { method, features, hidden, projection, .. } = *arguments;
    let predictor = || Mlp::new(&[projection, hidden, projection], Norm::Batch);
    let architecture = Architecture {
        extractor: Extractor::adapter(features, arguments.bottleneck, false),
        projector: method.projector(features, hidden, projection),
        predictor: method.has_predictor().then(predictor),
        distill_predictor: predictor(),
        classifier: Mlp::new(&[features, arguments.classifier_hidden, arguments.classes], Norm::None),
    };
    let objective = Objective {
        mask_to_known: false,
        teacher_norm: CopyNorm::Batch,
        queue: arguments.queue,
        ..Objective::new(method)
    };
    let mut rng = Rng::named(1, "features");
    let rows = 2 * arguments.samples;
    let table = (0..rows * features).map(|_| rng.normal()).collect();
    let label = |row: usize| i32::try_from((row / 2) % arguments.classes.max(1)).unwrap_or(-1);
    let targets = Targets::Labels((0..rows).map(label).collect());
    let state = architecture.init(1);
    let (optimizer, rows, steps_per_submit) = (Optimizer::SGD, arguments.batch(), 8);
    (
        Problem {
            architecture,
            objective,
            optimizer,
            extractor_training: ExtractorTraining::default(),
            micro_batches: 1,
            rows,
            table: Table::Rows(table),
            targets,
            steps_per_submit,
        },
        state,
    )
}

/// A batch of random samples; view 1 is a sample's even row, view 2 its odd one.
fn input(arguments: &Arguments, step: usize, rng: &mut Rng) -> StepInput {
    let samples: Vec<u32> = (0..arguments.batch())
        .map(|_| u32::try_from(2 * rng.below(arguments.samples)).unwrap_or(0))
        .collect();
    let index = samples.iter().copied().chain(samples.iter().map(|row| row + 1)).collect();
    let queue_start = step * arguments.batch() % arguments.queue.max(1);
    let (learning_rate, classifier_rate) = (0.05, 0.05);
    StepInput { index, learning_rate, classifier_rate, momentum_decay: 0.99, step: step as u64, queue_start }
}
