//! Methods that train by gradients, all through the one trainer: fine-tuning, replay, distillation,
//! the paper's objective.

use std::collections::BTreeSet;

use kaizen_edge::ClassId;
use kaizen_edge::Result;
use kaizen_edge::low_level::heads::{Architecture, Extractor, Mlp, Norm, Parameters};
use kaizen_edge::low_level::learn::closed_form::argmax_rows;
use kaizen_edge::low_level::learn::engine::Engine;
use kaizen_edge::low_level::learn::inference;
use kaizen_edge::low_level::learn::objective::{Objective, SslMethod};
use kaizen_edge::low_level::learn::trainer::{Recipe, Samples, Trainer, take_teacher};
use kaizen_edge::low_level::learn::update::{ExtractorTraining, Optimizer};
use kaizen_edge::low_level::number::real;

use super::arena::{Arena, Clock, Outcome, Scaled};
use crate::metrics::AccuracyMatrix;

/// Rows of the current task in a batch.
const CURRENT_ROWS: usize = 96;
/// Rows of the replay in a batch.
const REPLAY_ROWS: usize = 32;
/// Passes over the rows of a task.
const EPOCHS: usize = 3;
/// The fewest and the most steps of a task, whatever its rows.
const STEPS: [usize; 2] = [40, 150];
/// Steps between two reports of progress; a multiple of what one submit holds.
const STRIDE: usize = 16;
/// Hidden width of the projector.
const HIDDEN: usize = 256;
/// Width of the projection.
const PROJECTION: usize = 128;
/// Hidden width of the classifier in the paper's code.
const PUBLISHED_HIDDEN: usize = 1000;

/// A term of the objective that an ablation leaves out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Term {
    /// The self-supervised term.
    Ssl,
    /// Feature distillation.
    FeatureDistill,
    /// Classifier distillation.
    ClassifierDistill,
    /// Replay of exemplars.
    Replay,
}

/// A way to train by gradients.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Trained {
    /// A linear head, fine-tuned task by task.
    Naive,
    /// A linear head, fine-tuned task by task, with replay.
    Replay,
    /// Fine-tuning with distillation from the previous head; no replay.
    Lwf,
    /// The paper's baseline without any distillation.
    NoDistill,
    /// The paper's baseline with feature distillation only.
    Cassle,
    /// The whole objective on adapter and classifier.
    Objective(SslMethod),
    /// The whole objective with the settings of the paper's code.
    AsPublished,
    /// The objective with SimCLR less one term.
    Without(Term),
}

/// What sets one way to train apart from the others.
struct Plan {
    objective: Objective,
    replays: bool,
    /// Whether the adapter learns; a linear head on frozen features does without.
    adapts: bool,
    classifier_hidden: Option<usize>,
}

impl Plan {
    fn of(way: Trained) -> Self {
        let with = |objective| Self { objective, replays: true, adapts: true, classifier_hidden: None };
        let frozen = |distils: f64, replays| {
            let mut plan = Self { replays, adapts: false, ..with(Objective::new(SslMethod::Simclr)) };
            plan.objective.ssl_weight = 0.0;
            plan.objective.feature_distill_weight = 0.0;
            plan.objective.classifier_distill_weight = distils;
            plan
        };
        let mut simclr = with(Objective::new(SslMethod::Simclr));
        match way {
            Trained::Naive => return frozen(0.0, false),
            Trained::Replay => return frozen(0.0, true),
            Trained::Lwf => return frozen(simclr.objective.classifier_distill_weight, false),
            Trained::Objective(ssl) => return with(Objective::new(ssl)),
            Trained::AsPublished => {
                simclr.objective = Objective::as_published(SslMethod::Simclr);
                simclr.classifier_hidden = Some(PUBLISHED_HIDDEN);
            }
            Trained::NoDistill => {
                simclr.objective.feature_distill_weight = 0.0;
                simclr.objective.classifier_distill_weight = 0.0;
            }
            Trained::Cassle | Trained::Without(Term::ClassifierDistill) => {
                simclr.objective.classifier_distill_weight = 0.0;
            }
            Trained::Without(Term::Ssl) => simclr.objective.ssl_weight = 0.0,
            Trained::Without(Term::FeatureDistill) => simclr.objective.feature_distill_weight = 0.0,
            Trained::Without(Term::Replay) => simclr.replays = false,
        }
        simclr
    }

    fn architecture(&self, features: usize, classes: usize) -> Architecture {
        let method = self.objective.method;
        let (bottleneck, hidden, p) =
            if self.adapts { (features / 4, HIDDEN, PROJECTION) } else { (1, 1, 1) };
        let predictor = || Mlp::new(&[p, hidden, p], Norm::Batch);
        let projector = if self.adapts {
            method.projector(features, hidden, p)
        } else {
            Mlp::new(&[features, 1], Norm::None)
        };
        let widths: Vec<usize> =
            [Some(features), self.classifier_hidden, Some(classes)].into_iter().flatten().collect();
        Architecture {
            extractor: Extractor::adapter(features, bottleneck.max(1), self.adapts),
            projector,
            predictor: method.has_predictor().then(predictor),
            distill_predictor: if self.adapts { predictor() } else { Mlp::new(&[1, 1], Norm::None) },
            classifier: Mlp::new(&widths, Norm::None),
        }
    }

    fn recipe(&self, rows: usize) -> Recipe {
        let steps = (EPOCHS * rows.div_ceil(CURRENT_ROWS)).clamp(STEPS[0], STEPS[1]);
        Recipe {
            objective: self.objective.clone(),
            optimizer: Optimizer::AdamW { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 1e-4 },
            extractor_training: ExtractorTraining::default(),
            current_rows: CURRENT_ROWS,
            replay_rows: if self.replays { REPLAY_ROWS } else { 0 },
            steps,
            warmup_steps: steps / 10,
            learning_rate: 3e-4,
            classifier_rate: 3e-3,
            label_smoothing: 0.0,
            momentum_decay: [0.99, 1.0],
            steps_per_submit: 8,
            micro_batches: 1,
        }
    }

    /// The rows of task `number` to learn from, and the exemplars of the tasks before.
    fn samples(&self, arena: &Arena<'_>, scaled: &Scaled, number: usize) -> Result<[Samples; 2]> {
        let task = &arena.tasks()[number];
        let [mut current, mut kept] = [Samples::default(), Samples::default()];
        add(&mut current, arena, scaled, &task.labelled, true)?;
        if self.adapts {
            add(&mut current, arena, scaled, &task.unlabelled, false)?;
        }
        if self.replays && number > 0 {
            add(&mut kept, arena, scaled, &arena.exemplars(number - 1), true)?;
        }
        Ok([current, kept])
    }
}

/// Adds all views of `rows` to `samples`; their labels are columns, or -1 unless they are
/// `labelled`.
fn add(
    samples: &mut Samples,
    arena: &Arena<'_>,
    scaled: &Scaled,
    rows: &[usize],
    labelled: bool,
) -> Result<()> {
    for &row in rows {
        let views = (0..arena.features.views).map(|view| scaled.apply(arena.view(row, view)));
        let views: Vec<Vec<f32>> = views.collect::<Result<_>>()?;
        let id = arena.scenario.id(arena.features.train_classes[row]).filter(|_| labelled);
        samples.push(&views, id.and_then(|id| i32::try_from(id.0).ok()).unwrap_or(-1))?;
    }
    Ok(())
}

pub(super) fn run(
    way: Trained,
    arena: &Arena<'_>,
    engine: &mut dyn Engine,
    progress: &mut dyn FnMut(f64),
) -> Result<Outcome> {
    let plan = Plan::of(way);
    let scaled = Scaled::new(arena)?;
    let mut clock = Clock::default();
    let mut matrix = AccuracyMatrix::new(arena.tasks().len());
    let mut seen = BTreeSet::<ClassId>::new();
    let mut trained: Option<(Architecture, Parameters)> = None;
    let tasks = real(arena.tasks().len());
    for (number, task) in arena.tasks().iter().enumerate() {
        seen.extend(arena.ids(&task.labelled));
        // Without the mask teacher and student are as wide, so the head has all classes from the
        // start, as in the paper's code.
        let columns = if plan.objective.mask_to_known {
            seen.last().map_or(1, |last| last.0 as usize + 1)
        } else {
            arena.classes()
        };
        let seed = arena.seed.wrapping_mul(1000).wrapping_add(number as u64);
        let (architecture, state) = clock.time(|| {
            let (architecture, state) = match trained.take() {
                Some((mut architecture, mut state)) => {
                    take_teacher(&mut state);
                    architecture.grow(&mut state, columns, seed)?;
                    (architecture, state)
                }
                None => {
                    let architecture = plan.architecture(arena.features.width, columns);
                    let state = architecture.init(arena.seed);
                    (architecture, state)
                }
            };
            let samples = plan.samples(arena, &scaled, number)?;
            let recipe = plan.recipe(samples[0].len());
            let mut trainer = Trainer::load(engine, &architecture, &recipe, &state, samples, seed)?;
            for from in (0..recipe.steps).step_by(STRIDE) {
                let to = (from + STRIDE).min(recipe.steps);
                trainer.run(engine, from, to)?;
                progress((real(number) + real(to) / real(recipe.steps)) / tasks);
            }
            Ok((architecture, engine.snapshot()?))
        })?;
        arena.judge(&mut matrix, number, &mut |h| {
            let logits = inference::logits(&architecture, &state, &scaled.apply(h)?)?;
            let named = argmax_rows(&logits, architecture.classes()).into_iter();
            Ok(named.filter_map(|column| u32::try_from(column).ok()).map(ClassId).collect())
        })?;
        trained = Some((architecture, state));
    }
    let state_bytes = trained.map_or(0, |(_, mut state)| {
        state.drop_prefixed(&["optimizer.", "teacher."]);
        4 * state.elements()
    });
    let kept = if plan.replays { arena.exemplars(arena.tasks().len() - 1).len() } else { 0 };
    let memory_bytes = state_bytes + kept * arena.features.views * arena.sample_bytes();
    Ok(Outcome { matrix, learning: clock.total(), memory_bytes, unknowns: None })
}
