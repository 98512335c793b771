//! The trainable tail: all terms of the objective act through the tail of the backbone, on stored
//! latents; closed forms are fitted on its features and the trained classifier stands beside them.

use std::collections::{BTreeMap, HashMap};

use kaizen_edge::low_level::heads::{Architecture, Parameters};
use kaizen_edge::low_level::latent::LatentTable;
use kaizen_edge::low_level::learn::closed_form::{
    Ensemble, EnsembleHead, EnsembleModel, EnsembleSettings, argmax_rows, distinct, softmax_rows,
};
use kaizen_edge::low_level::learn::engine::Engine;
use kaizen_edge::low_level::learn::inference;
use kaizen_edge::low_level::learn::objective::{ClassifierGradient, Objective};
use kaizen_edge::low_level::learn::trainer::{Samples, Target, Trainer, take_teacher};
use kaizen_edge::low_level::number::real;
use kaizen_edge::low_level::session::{LearnerSettings, usual_share};
use kaizen_edge::{ClassId, Error, Result};

use super::arena::{Arena, Clock, Latents, Outcome};
use super::ensemble::{self, TRANSFORM};
use crate::metrics::AccuracyMatrix;
use crate::report::say;
use crate::scenario::{ReplayBudget, Task};

/// Steps between two reports of progress; a multiple of what one submit holds.
const STRIDE: usize = 16;
/// Images that the tail is run on at once.
const BATCH: usize = 256;

/// A way to train the tail.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Tail {
    /// The whole objective.
    Kaizen,
    /// The whole objective on the first task; then the tail stays.
    FirstSession,
    /// Cross-entropy and replay, no distillation and no self-supervision.
    Replay,
    /// Distillation of features only, beside cross-entropy, replay and self-supervision.
    Cassle,
    /// The whole objective without the self-supervised term.
    NoSsl,
    /// The whole objective without the distillation of pooled features.
    NoPooled,
    /// The whole objective with the classifier's gradient stopped at the features.
    AsPublished,
    /// What the product does, which keeps every latent. With less, the tail learns on the first
    /// task alone, and closed forms on the features of the tail as it came stand beside it.
    Product,
    /// Cross-entropy alone, from the tail as it came, on all tasks so far at once.
    Joint,
}

impl Tail {
    fn objective(self) -> Objective {
        let whole = LearnerSettings::default().tail.recipe.objective;
        match self {
            Self::Kaizen | Self::FirstSession | Self::Product => whole,
            Self::Replay | Self::Joint => Objective { ssl_weight: 0.0, ..whole.without_distillation() },
            Self::Cassle => Objective { classifier_distill_weight: 0.0, pooled_distill_weight: 0.0, ..whole },
            Self::NoSsl => Objective { ssl_weight: 0.0, feature_distill_weight: 0.0, ..whole },
            Self::NoPooled => Objective { pooled_distill_weight: 0.0, ..whole },
            Self::AsPublished => Objective { classifier_gradient: ClassifierGradient::Stops, ..whole },
        }
    }
}

/// The tail and its heads between tasks.
struct Learner<'a> {
    arena: &'a Arena<'a>,
    latents: &'a Latents,
    settings: LearnerSettings,
    architecture: Architecture,
    state: Parameters,
    /// What the classifier is to say of each row seen.
    targets: HashMap<usize, Target>,
    /// The closed forms on the features of the tail as it came.
    frozen: Ensemble,
}

/// The heads after a task.
struct Heads {
    /// Closed forms on the features of the trained tail, where the replay keeps what they need.
    tuned: Option<EnsembleHead>,
    /// Closed forms on the features of the tail as it came.
    frozen: EnsembleModel,
}

impl<'a> Learner<'a> {
    fn new(arena: &'a Arena<'a>) -> Result<Self> {
        let Some(latents) = &arena.features.latents else {
            let way_out = "take a backbone whose manifest entry names a `cut`";
            return Err(Error::not_ready("training of a tail", "there are no latents", way_out));
        };
        let (features, settings) = (latents.extractor.features(), LearnerSettings::default());
        let architecture = settings.tail_architecture(&latents.extractor, 1);
        let mut state = architecture.init(arena.seed);
        state.extend(latents.parameters.clone());
        let frozen = Ensemble::new(EnsembleSettings::default(), features, TRANSFORM, arena.seed)?;
        Ok(Self { arena, latents, settings, architecture, state, targets: HashMap::new(), frozen })
    }

    /// Features `[N, D]` of rows of a table by the tail as it is.
    fn features(&self, table: &LatentTable, rows: impl Iterator<Item = usize>) -> Result<Vec<f32>> {
        let (mut features, mut batch) = (Vec::new(), Vec::new());
        let mut rows = rows.peekable();
        while rows.peek().is_some() {
            batch.clear();
            rows.by_ref().take(BATCH).for_each(|row| table.append_to(row, &mut batch));
            features.extend(inference::extract(&self.architecture.extractor, &self.state, &batch)?);
        }
        Ok(features)
    }

    /// Features `[N, D]` of the plain pictures of training rows.
    fn plain(&self, rows: &[usize]) -> Result<Vec<f32>> {
        let views = self.arena.features.views;
        self.features(&self.latents.train, rows.iter().map(|row| row * views))
    }

    fn samples(&self, rows: impl Iterator<Item = usize>) -> Result<Samples> {
        let (views, [positions, channels]) = (self.arena.features.views, self.latents.train.shape());
        let mut samples = Samples::of_latents(positions, channels);
        for row in rows {
            let target = self.targets.get(&row).cloned().unwrap_or(Target::Label(-1));
            samples.push_latents(&self.latents.train, row * views..(row + 1) * views, target)?;
        }
        Ok(samples)
    }

    /// Names the rows of a task: those with a label, and the surest of the others by
    /// expectation-maximisation on the features of the tail as it is.
    fn name(&mut self, task: &Task) -> Result<()> {
        let ids = self.arena.ids(&task.labelled);
        let column = |id: ClassId| i32::try_from(id.0).unwrap_or(-1);
        self.targets
            .extend(task.labelled.iter().copied().zip(ids.iter().map(|&id| Target::Label(column(id)))));
        if task.unlabelled.is_empty() {
            return Ok(());
        }
        let (known, open) = (self.plain(&task.labelled)?, self.plain(&task.unlabelled)?);
        let (settings, classes) = (EnsembleSettings::default(), distinct(&ids));
        let width = self.architecture.features();
        let shares = settings.share_out(width, TRANSFORM, [(&known).into(), (&open).into()], &ids)?;
        let best = argmax_rows(&shares, classes.len());
        let sure = |at: usize| shares[at * classes.len() + best[at]];
        let mut order: Vec<usize> = (0..task.unlabelled.len()).collect();
        order.sort_by(|&a, &b| sure(b).total_cmp(&sure(a)));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a count")]
        let confident = (self.settings.tail.confident * real(order.len())).round() as usize;
        for at in order.into_iter().take(confident).filter(|&at| sure(at) > 0.0) {
            self.targets.insert(task.unlabelled[at], Target::Label(column(classes[best[at]])));
        }
        Ok(())
    }

    /// Trains on task `number`, or anew on all tasks up to it.
    fn train(
        &mut self,
        number: usize,
        way: Tail,
        engine: &mut dyn Engine,
        progress: &mut dyn FnMut(f64),
    ) -> Result<()> {
        let (arena, tasks) = (self.arena, self.arena.tasks());
        let (task, is_joint) = (&tasks[number], way == Tail::Joint);
        let fresh = if is_joint { &tasks[..=number] } else { &tasks[number..=number] };
        let mut replay = Samples::default();
        let rows = fresh.iter().flat_map(|task| task.labelled.iter().chain(&task.unlabelled));
        let current = self.samples(rows.copied())?;
        if is_joint {
            self.state.drop_prefixed(&["optimizer."]);
            self.state.extend(self.latents.parameters.clone());
        } else if number > 0 {
            take_teacher(&mut self.state);
            if keeps_all(arena) {
                let old =
                    tasks[..number].iter().flat_map(|task| task.labelled.iter().chain(&task.unlabelled));
                replay = self.samples(old.copied())?;
            } else {
                replay = self.samples(arena.exemplars(number - 1).into_iter())?;
            }
        }
        let columns = tasks[..=number].iter().flat_map(|task| arena.ids(&task.labelled)).max();
        let seed = arena.seed.wrapping_mul(1000).wrapping_add(number as u64);
        self.architecture.grow(&mut self.state, columns.map_or(1, |last| last.0 as usize + 1), seed)?;
        let mut recipe = self.settings.tail.recipe_for(current.len());
        recipe.objective = way.objective();
        if way == Tail::Product {
            let is_whole = keeps_all(arena);
            recipe.objective =
                self.settings.tail.objective_for(current.len(), task.unlabelled.len(), is_whole);
        }
        let steps = recipe.steps;
        let pair = [current, replay];
        let mut trainer = Trainer::load(engine, &self.architecture, &recipe, &self.state, pair, seed)?;
        for from in (0..steps).step_by(STRIDE) {
            let to = (from + STRIDE).min(steps);
            trainer.run(engine, from, to)?;
            progress((real(number) + real(to) / real(steps)) / real(tasks.len()));
        }
        self.state = engine.snapshot()?;
        engine.unload();
        Ok(())
    }

    /// Adds a task to the closed forms on the features of the tail as it came.
    fn fit_frozen(&mut self, task: &Task) -> Result<EnsembleModel> {
        let (arena, width) = (self.arena, self.architecture.features());
        let known = (arena.plain(&task.labelled), &*arena.ids(&task.labelled));
        let settings = EnsembleSettings::default();
        ensemble::add(&mut self.frozen, &settings, width, known, arena.plain(&task.unlabelled))?;
        self.frozen.fit()
    }

    /// The ensemble of closed forms on the features of all rows seen.
    fn fit(&self, number: usize) -> Result<EnsembleHead> {
        let (settings, width) = (EnsembleSettings::default(), self.architecture.features());
        let mut ensemble = Ensemble::new(settings, width, TRANSFORM, self.arena.seed)?;
        for task in &self.arena.tasks()[..=number] {
            let known = (self.plain(&task.labelled)?, &*self.arena.ids(&task.labelled));
            ensemble::add(&mut ensemble, &settings, width, known, self.plain(&task.unlabelled)?)?;
        }
        Ok(ensemble.fit()?.head)
    }
}

/// Whether the replay keeps every latent of earlier tasks.
fn keeps_all(arena: &Arena<'_>) -> bool {
    matches!(arena.replay, ReplayBudget::Share(share) if share >= 1.0)
}

pub(super) fn run(
    way: Tail,
    arena: &Arena<'_>,
    engine: &mut dyn Engine,
    progress: &mut dyn FnMut(f64),
) -> Result<Outcome> {
    let mut learner = Learner::new(arena)?;
    // Without the latents of old classes a tail that goes on learning forgets them.
    let stays = way == Tail::FirstSession || (way == Tail::Product && !keeps_all(arena));
    let (mut clock, mut unknowns) = (Clock::default(), None);
    let mut matrix = AccuracyMatrix::new(arena.tasks().len());
    for (number, task) in arena.tasks().iter().enumerate() {
        let heads = clock.time(|| {
            learner.name(task)?;
            if number == 0 || !stays {
                learner.train(number, way, engine, progress)?;
            }
            // The features of a tail that stays do not change, so their statistics need no samples.
            let fits = keeps_all(arena) || stays || way == Tail::Joint;
            let tuned = fits.then(|| learner.fit(number)).transpose()?;
            Ok(Heads { tuned, frozen: learner.fit_frozen(task)? })
        })?;
        judge(&learner, way, stays, &heads, number, &mut matrix)?;
        // Novelty follows from the features of the tail as it came.
        arena.detect(&mut unknowns, number, &mut |h| heads.frozen.lda.geometry.novelty(h))?;
        progress(real(number + 1) / real(arena.tasks().len()));
    }
    learner.state.drop_prefixed(&["optimizer.", "teacher."]);
    let kept = if keeps_all(arena) {
        let rows = arena.tasks().iter().map(|task| task.labelled.len() + task.unlabelled.len());
        rows.sum()
    } else {
        arena.exemplars(arena.tasks().len() - 1).len()
    };
    let latent_bytes = learner.latents.train.width() + 2 * learner.latents.extractor.input.channels;
    let memory_bytes = 4 * learner.state.elements() + kept * arena.features.views * latent_bytes;
    Ok(Outcome { matrix, learning: clock.total(), memory_bytes, unknowns })
}

/// Judges the weighted sum of the log-probabilities of closed forms and classifier on the trained
/// tail, or whichever there is, and says what each alone, and others together, would reach.
fn judge(
    learner: &Learner<'_>,
    way: Tail,
    stays: bool,
    heads: &Heads,
    after: usize,
    matrix: &mut AccuracyMatrix,
) -> Result<()> {
    let (arena, classes) = (learner.arena, heads.frozen.head.classes().len());
    let seen = &arena.tasks()[..=after];
    let share = usual_share(
        seen.iter().map(|task| task.labelled.len()).sum(),
        seen.iter().map(|task| task.unlabelled.len()).sum(),
    );
    let mut sums: BTreeMap<&str, usize> = BTreeMap::new();
    let mut all = 0;
    for (on, task) in seen.iter().enumerate() {
        let u = learner.features(&learner.latents.test, task.test.iter().copied())?;
        let width = arena.features.width;
        let h: Vec<f32> = task
            .test
            .iter()
            .flat_map(|row| &arena.features.test[row * width..(row + 1) * width])
            .copied()
            .collect();
        let mut members = vec![("frozen", log_softmax(heads.frozen.head.scores(&h)?, classes))];
        if let Some(tuned) = &heads.tuned {
            members.push(("tuned", log_softmax(tuned.scores(&u)?, classes)));
        }
        if !stays || after == 0 {
            let logits = inference::classify(&learner.architecture, &learner.state, &u)?;
            members.push(("classifier", log_softmax(logits, classes)));
        }
        let of = |parts: &[(&str, f32)]| -> Vec<f32> {
            let mut sum = vec![0.0; u.len() / learner.architecture.features() * classes];
            for (name, member) in &members {
                let weight = parts.iter().find(|(part, _)| part == name).map_or(0.0, |(_, weight)| *weight);
                sum.iter_mut().zip(member).for_each(|(sum, value)| *sum += weight * value);
            }
            sum
        };
        let truth: Vec<_> =
            task.test.iter().map(|&row| arena.scenario.id(arena.features.test_classes[row])).collect();
        // A tail that stays has no classifier that knows the later classes.
        let judged = if way == Tail::Product && stays { "tuned+frozen" } else { "tuned+classifier" };
        for (name, parts) in [
            ("frozen", &[("frozen", 1.0)][..]),
            ("tuned", &[("tuned", 1.0)]),
            ("classifier", &[("classifier", 1.0)]),
            ("tuned+classifier", &[("tuned", 1.0 - share), ("classifier", share)]),
            ("tuned+frozen", &[("tuned", 0.5), ("frozen", 0.5)]),
        ] {
            let right = count(&of(parts), classes, &truth);
            *sums.entry(name).or_default() += right;
            if name == judged {
                matrix.set(after, on, right, truth.len());
            }
        }
        all += truth.len();
    }
    let figures = sums.iter().map(|(name, right)| format!("{name} {:.1}", 100.0 * real(*right) / real(all)));
    say(&format!("  after task {after}: {}", figures.collect::<Vec<_>>().join(", ")));
    Ok(())
}

fn log_softmax(mut logits: Vec<f32>, classes: usize) -> Vec<f32> {
    softmax_rows(&mut logits, classes);
    logits.into_iter().map(|probability| probability.max(1e-12).ln()).collect()
}

fn count(logits: &[f32], columns: usize, truth: &[Option<ClassId>]) -> usize {
    let named = argmax_rows(logits, columns).into_iter();
    let is_right =
        |(named, truth): &(usize, &Option<ClassId>)| truth.is_some_and(|truth| truth.0 as usize == *named);
    named.zip(truth).filter(is_right).count()
}
