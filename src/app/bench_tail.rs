//! `kaizen bench-step --tail`: steps of the backbone's tail, timed at the shapes of
//! `tools/peer_torch_tail.py`.

use std::collections::BTreeMap;
use std::time::Instant;

use serde::Serialize;

use super::bench_paper::{BOARDS, Paper};
use super::outcome::Outcome;
use super::output;
use crate::backbone::resolve;
use crate::cut::Cut;
use crate::heads::{Architecture, Mlp, Norm, Parameters, Tail};
use crate::learn::engine::{Problem, StepInput, Table, Targets};
use crate::learn::engine_choice::{self, EngineChoice};
use crate::learn::inference;
use crate::learn::objective::{ClassifierGradient, Objective, SslMethod};
use crate::learn::trainer::take_teacher;
use crate::learn::update::{ExtractorTraining, Optimizer};
use crate::number::real;
use crate::rng::Rng;
use crate::session::peak_resident_bytes;

/// Images in the table, in batches.
const TABLE_BATCHES: usize = 4;

/// What is timed.
pub(super) struct Arguments<'a> {
    pub(super) model: Option<&'a str>,
    pub(super) cut: Option<&'a str>,
    pub(super) teacher: bool,
    pub(super) engine: EngineChoice,
    pub(super) batch: usize,
    pub(super) classes: usize,
    pub(super) steps: usize,
    pub(super) warmup: usize,
    pub(super) json: bool,
}

#[derive(Serialize)]
struct Figures {
    engine: &'static str,
    device: String,
    cut: String,
    latent: [usize; 3],
    parameters: usize,
    teacher: bool,
    batch: usize,
    steps: usize,
    images_per_sec: f64,
    forward_images_per_sec: f64,
    resident_bytes: Option<u64>,
    /// Floating-point operations and bytes of a step, and the images a second that they would allow
    /// on a Jetson at 60 % of its limits.
    step_flop: f64,
    step_bytes: f64,
    paper_images_per_sec: BTreeMap<&'static str, f64>,
}

pub(super) fn run(arguments: &Arguments<'_>) -> anyhow::Result<Outcome> {
    let batch = arguments.batch;
    anyhow::ensure!(batch >= 2 && batch.is_multiple_of(2), "--batch: two views need an even number");
    let (at, Cut { tail: Tail { extractor, parameters }, .. }) = cut(arguments)?;
    let input = extractor.input;
    let len = input.elements();
    let count: usize = parameters.iter().map(|(_, tensor)| tensor.data.len()).sum();
    let mut rng = Rng::named(1, "latents");
    let table: Vec<f32> = (0..TABLE_BATCHES * batch * len).map(|_| rng.normal()).collect();
    let latents = table[..batch * len].to_vec();
    let (mut engine, line) = engine_choice::open(arguments.engine)?;
    let architecture = heads(extractor, arguments.classes);
    let paper = {
        let (problem, state) = problem(arguments, &architecture, table, parameters.clone());
        let paper = Paper::of(&problem.program(&state)?);
        engine.load(problem, &state)?;
        paper
    };
    let mut inputs = |count: usize| -> Vec<StepInput> {
        (0..count).map(|step| self::input(arguments, step, &mut rng)).collect()
    };
    let (warmup, timed) = (inputs(arguments.warmup), inputs(arguments.steps));
    engine.step(&warmup)?;
    let start = Instant::now();
    engine.step(&timed)?;
    let training = start.elapsed().as_secs_f64();
    engine.unload();
    let run = || inference::extract(&architecture.extractor, &parameters, &latents);
    run()?;
    let start = Instant::now();
    (0..arguments.steps).try_for_each(|_| run().map(drop))?;
    let forward = start.elapsed().as_secs_f64();
    let images = real(arguments.steps * batch);
    let figures = Figures {
        engine: engine.name(),
        device: engine.device(),
        cut: at,
        latent: [input.channels, input.size[0], input.size[1]],
        parameters: count,
        teacher: arguments.teacher,
        batch,
        steps: arguments.steps,
        images_per_sec: images / training,
        forward_images_per_sec: images / forward,
        resident_bytes: peak_resident_bytes(),
        step_flop: paper.total().flop,
        step_bytes: paper.total().bytes,
        paper_images_per_sec: paper_images(&paper, batch),
    };
    output::result(arguments.json, &figures, || {
        format!("{line}\n{}\n\n{}", sentence(&figures), paper.table().to_string().trim_end())
    })?;
    Ok(Outcome::Done)
}

/// The figures in words.
fn sentence(figures: &Figures) -> String {
    let Figures { cut, images_per_sec, forward_images_per_sec, paper_images_per_sec, .. } = figures;
    let boards = paper_images_per_sec.iter().map(|(board, images)| format!("{board} {images:.0}"));
    format!(
        "tail behind {cut}: {images_per_sec:.0} images/s training, {forward_images_per_sec:.0} forward\non paper, at \
         60 % of a board's limits, images/s training: {}",
        boards.collect::<Vec<_>>().join(", ")
    )
}

/// Images a second that a step's arithmetic and bytes allow on each board.
fn paper_images(paper: &Paper, batch: usize) -> BTreeMap<&'static str, f64> {
    BOARDS.iter().map(|board| (board.name, real(batch) / paper.seconds(board))).collect()
}

/// The backbone that is asked for, cut, and where.
fn cut(arguments: &Arguments<'_>) -> anyhow::Result<(String, Cut)> {
    let spec = resolve(arguments.model, None)?;
    let Some(at) = arguments.cut.or(spec.cut.as_deref()) else {
        anyhow::bail!("model `{}` has no `cut` in the manifest: name one with --cut", spec.name)
    };
    Ok((at.to_owned(), Cut::of(&spec, at)?))
}

/// The tail with a linear classifier; nothing is projected.
fn heads(extractor: crate::heads::Extractor, classes: usize) -> Architecture {
    let features = extractor.features();
    Architecture {
        extractor,
        projector: Mlp::new(&[features, 1], Norm::None),
        predictor: None,
        distill_predictor: Mlp::new(&[1, 1], Norm::None),
        classifier: Mlp::new(&[features, classes], Norm::None),
    }
}

fn problem(
    arguments: &Arguments<'_>,
    architecture: &Architecture,
    table: Vec<f32>,
    tail: Parameters,
) -> (Problem, Parameters) {
    let mut state = architecture.init(1);
    state.extend(tail);
    let mut objective = Objective {
        ssl_weight: 0.0,
        feature_distill_weight: 0.0,
        classifier_distill_weight: 0.0,
        classifier_gradient: ClassifierGradient::Flows,
        ..Objective::new(SslMethod::Simclr)
    };
    if arguments.teacher {
        objective.pooled_distill_weight = 1.0;
        take_teacher(&mut state);
    }
    let label = |row: usize| i32::try_from(row % arguments.classes.max(1)).unwrap_or(-1);
    let problem = Problem {
        architecture: architecture.clone(),
        objective,
        optimizer: Optimizer::ADAMW,
        extractor_training: ExtractorTraining::default(),
        micro_batches: 1,
        rows: arguments.batch / 2,
        table: Table::Rows(table),
        targets: Targets::Labels((0..TABLE_BATCHES * arguments.batch).map(label).collect()),
        steps_per_submit: 8,
    };
    (problem, state)
}

fn input(arguments: &Arguments<'_>, step: usize, rng: &mut Rng) -> StepInput {
    let rows = TABLE_BATCHES * arguments.batch;
    let index = (0..arguments.batch).map(|_| u32::try_from(rng.below(rows)).unwrap_or(0)).collect();
    let (learning_rate, classifier_rate) = (1e-4, 1e-4);
    StepInput { index, learning_rate, classifier_rate, step: step as u64, ..StepInput::default() }
}
