//! Methods that train by gradients, all through the one trainer: fine-tuning, replay, distillation, the objective.

use std::collections::BTreeSet;

use super::arena::{Arena, Clock, Outcome};
use super::{Method, Term};
use crate::metrics::AccuracyMatrix;
use kaizen_edge::Result;
use kaizen_edge::low_level::heads::{Adapter, Architecture, Mlp, Norm};
use kaizen_edge::low_level::ids::ClassId;
use kaizen_edge::low_level::learn::closed_form::{FeatureMap, FeatureTransform, argmax_rows};
use kaizen_edge::low_level::learn::engine::Engine;
use kaizen_edge::low_level::learn::inference;
use kaizen_edge::low_level::learn::objective::{Objective, SslMethod};
use kaizen_edge::low_level::learn::trainer::{Recipe, Samples, Trainer, take_teacher};
use kaizen_edge::low_level::learn::update::Optimizer;
use kaizen_edge::low_level::number::real;

/// Rows of the current task in a batch, and of the replay.
const CURRENT_ROWS: usize = 96;
const REPLAY_ROWS: usize = 32;
/// Passes over a task's rows, and the fewest and most steps that may be.
const EPOCHS: usize = 3;
const STEPS: [usize; 2] = [40, 150];
/// Steps between two reports of progress; a multiple of what one submit holds.
const STRIDE: usize = 16;
/// Widths of projector and projection.
const HIDDEN: usize = 256;
const PROJECTION: usize = 128;
/// Hidden width of the classifier in the paper's code.
const PUBLISHED_HIDDEN: usize = 1000;

/// What sets one of these methods apart.
struct Plan {
    objective: Objective,
    replays: bool,
    /// Whether the adapter learns; a linear head on frozen features otherwise.
    adapts: bool,
    classifier_hidden: Option<usize>,
}

impl Plan {
    fn of(method: Method) -> Self {
        let whole = |ssl| Self {
            objective: Objective::new(ssl),
            replays: true,
            adapts: true,
            classifier_hidden: None,
        };
        let frozen = |distils: f64, replays| {
            let mut plan = Self { replays, adapts: false, ..whole(SslMethod::Simclr) };
            plan.objective.ssl_weight = 0.0;
            plan.objective.feature_distill_weight = 0.0;
            plan.objective.classifier_distill_weight = distils;
            plan
        };
        let mut simclr = whole(SslMethod::Simclr);
        match method {
            Method::Naive => return frozen(0.0, false),
            Method::Replay => return frozen(0.0, true),
            Method::Lwf => return frozen(simclr.objective.classifier_distill_weight, false),
            Method::Objective(ssl) => return whole(ssl),
            Method::AsPublished => {
                simclr.objective = Objective::as_published(SslMethod::Simclr);
                simclr.classifier_hidden = Some(PUBLISHED_HIDDEN);
            }
            Method::NoDistill => {
                simclr.objective.feature_distill_weight = 0.0;
                simclr.objective.classifier_distill_weight = 0.0;
            }
            Method::Cassle | Method::Without(Term::ClassifierDistill) => {
                simclr.objective.classifier_distill_weight = 0.0;
            }
            Method::Without(Term::Ssl) => simclr.objective.ssl_weight = 0.0,
            Method::Without(Term::FeatureDistill) => simclr.objective.feature_distill_weight = 0.0,
            Method::Without(Term::Replay) => simclr.replays = false,
            _ => {}
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
            features,
            adapter: Adapter { bottleneck: bottleneck.max(1), layer_norm: self.adapts },
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
            current_rows: CURRENT_ROWS,
            replay_rows: if self.replays { REPLAY_ROWS } else { 0 },
            steps,
            warmup_steps: steps / 10,
            learning_rate: 3e-4,
            classifier_rate: 3e-3,
            momentum_decay: [0.99, 1.0],
            steps_per_submit: 8,
        }
    }
}

/// All views of `rows`, mapped; labels are columns, -1 where `labels` has none.
fn samples(
    arena: &Arena<'_>,
    map: &FeatureMap,
    rows: &[usize],
    labelled: bool,
    into: &mut Samples,
) -> Result<()> {
    // Every feature of mean square 1, as the learning rates expect.
    #[allow(clippy::cast_precision_loss, reason = "a width")]
    let scale = (map.width() as f32).sqrt();
    for &row in rows {
        let mut views = Vec::with_capacity(arena.features.views);
        for view in 0..arena.features.views {
            let mapped = map.apply(arena.view(row, view))?;
            views.push(mapped.into_iter().map(|value| scale * value).collect::<Vec<f32>>());
        }
        let id = arena.scenario.id(arena.features.train_classes[row]).filter(|_| labelled);
        into.push(&views, id.and_then(|id| i32::try_from(id.0).ok()).unwrap_or(-1));
    }
    Ok(())
}

/// Exemplars of the tasks before `number`, with all their views.
fn replay(arena: &Arena<'_>, plan: &Plan, map: &FeatureMap, number: usize) -> Result<Samples> {
    let mut kept = Samples::default();
    if plan.replays && number > 0 {
        samples(arena, map, &arena.exemplars(number - 1), true, &mut kept)?;
    }
    Ok(kept)
}

pub(super) fn run(
    method: Method,
    arena: &Arena<'_>,
    engine: &mut dyn Engine,
    progress: &mut dyn FnMut(f64),
) -> Result<Outcome> {
    let plan = Plan::of(method);
    let map = FeatureMap::new(arena.features.width, FeatureTransform::SqrtL2)?;
    let mut clock = Clock::default();
    let mut matrix = AccuracyMatrix::new(arena.tasks().len())?;
    let mut seen = BTreeSet::<ClassId>::new();
    let mut trained: Option<(Architecture, kaizen_edge::low_level::heads::Parameters)> = None;
    let tasks = real(arena.tasks().len());
    for (number, task) in arena.tasks().iter().enumerate() {
        seen.extend(arena.ids(&task.labelled));
        // Without the mask teacher and student are as wide, so the head has all classes from the start, as in the paper's code.
        let columns = if plan.objective.mask_to_known {
            seen.last().map_or(1, |last| last.0 as usize + 1)
        } else {
            arena.scenario.order.len()
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
            let mut current = Samples::default();
            samples(arena, &map, &task.labelled, true, &mut current)?;
            if plan.adapts {
                samples(arena, &map, &task.unlabelled, false, &mut current)?;
            }
            let kept = replay(arena, &plan, &map, number)?;
            let recipe = plan.recipe(current.len());
            let mut trainer = Trainer::load(engine, &architecture, &recipe, &state, [current, kept], seed)?;
            for from in (0..recipe.steps).step_by(STRIDE) {
                let to = (from + STRIDE).min(recipe.steps);
                trainer.run(engine, from, to)?;
                progress((real(number) + real(to) / real(recipe.steps)) / tasks);
            }
            Ok((architecture, engine.snapshot()?))
        })?;
        #[allow(clippy::cast_precision_loss, reason = "a width")]
        let scale = (map.width() as f32).sqrt();
        arena.judge(&mut matrix, number, &mut |h| {
            let u: Vec<f32> = map.apply(h)?.into_iter().map(|value| scale * value).collect();
            let logits = inference::logits(&architecture, &state, &u)?;
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
