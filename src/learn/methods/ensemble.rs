//! The default, `kaizen`: discriminant analysis and ridge regression on random features, both over labelled rows and
//! what expectation-maximisation finds in the unlabelled ones, their log-probabilities added. ADR 12 has the figures.

use std::collections::BTreeMap;

use super::arena::{Arena, Clock, Outcome};
use super::closed::{LAMBDA, RANDOM_FEATURES, find_out, moments_bytes};
use crate::ids::ClassId;
use crate::learn::closed_form::{
    Assignment, FeatureMap, FeatureTransform, LdaSettings, LinearHead, RidgeHead, StreamingLda, argmax_rows,
    softmax_rows,
};
use crate::learn::metrics::AccuracyMatrix;
use crate::learn::step::real;
use crate::{Error, Result};

/// Settings of the default method.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EnsembleSettings {
    /// Weight of an unlabelled row beside a labelled one, 0..=1.
    pub unlabelled_weight: f64,
    /// Shrinkage of the covariance, with many and with few labelled rows a class.
    pub shrinkage: [f64; 2],
    /// Labelled rows a class that are many.
    pub many_rows: f64,
    /// Factor of the discriminant's logits: a mixture of Gaussians with one covariance is far too sure of itself.
    pub discriminant_scale: f32,
    /// Factor of the ridge's logits, which lie around 0..=1.
    pub ridge_scale: f32,
    /// Most that a rare class's rows count in the ridge, in times of a row of an average class.
    pub largest_weight: f64,
}

impl Default for EnsembleSettings {
    fn default() -> Self {
        Self {
            unlabelled_weight: 0.3,
            shrinkage: [0.1, 0.3],
            many_rows: 100.0,
            discriminant_scale: 0.05,
            ridge_scale: 10.0,
            largest_weight: 10.0,
        }
    }
}

/// Labelled and unlabelled rows of a task with shares in its classes.
struct Evidence {
    h: Vec<f32>,
    classes: Vec<ClassId>,
    /// `[N, K]`
    shares: Vec<f32>,
    labelled: usize,
}

impl Evidence {
    fn new(
        settings: &EnsembleSettings,
        arena: &Arena<'_>,
        labelled: &[usize],
        open: &[usize],
    ) -> Result<Self> {
        let (mut h, ids) = (arena.plain(labelled), arena.ids(labelled));
        let mut classes = ids.clone();
        classes.sort_unstable();
        classes.dedup();
        let mut shares = vec![0.0; ids.len() * classes.len()];
        for (row, id) in shares.chunks_exact_mut(classes.len().max(1)).zip(&ids) {
            let column =
                classes.binary_search(id).map_err(|_| Error::config("class", id, "one of the task"))?;
            row[column] = 1.0;
        }
        if !open.is_empty() && settings.unlabelled_weight > 0.0 {
            let rows = arena.plain(open);
            let (_, found) = find_out(arena, &h, &ids, &rows)?;
            let weight = single(settings.unlabelled_weight);
            shares.extend(found.into_iter().map(|share| weight * share));
            h.extend(rows);
        }
        Ok(Self { h, classes, shares, labelled: ids.len() })
    }

    fn assignment(&self) -> Assignment<'_> {
        Assignment::Soft { classes: &self.classes, shares: &self.shares }
    }

    /// The same with every class as heavy as the average one, at most `largest` times: ridge regression leans towards
    /// frequent classes where discriminant analysis does not.
    fn balanced(&self, largest: f64) -> Vec<f32> {
        let columns = self.classes.len();
        let mut totals = vec![0.0; columns];
        for row in self.shares.chunks_exact(columns) {
            totals.iter_mut().zip(row).for_each(|(total, &share)| *total += f64::from(share));
        }
        let mean = totals.iter().sum::<f64>() / real(columns);
        let weights: Vec<f32> = totals.iter().map(|total| single((mean / total).min(largest))).collect();
        self.shares.iter().enumerate().map(|(at, share)| share * weights[at % columns]).collect()
    }
}

/// Statistics of both members.
struct Ensemble<'a> {
    settings: &'a EnsembleSettings,
    lda: StreamingLda,
    ridge: RidgeHead,
    /// Labelled rows so far.
    labelled: usize,
}

/// Both members, fitted; their classes are the same in the same order.
struct Fitted {
    lda: LinearHead,
    ridge: LinearHead,
    scales: [f32; 2],
}

impl<'a> Ensemble<'a> {
    fn new(settings: &'a EnsembleSettings, width: usize, seed: u64) -> Result<Self> {
        let transform = FeatureTransform::SqrtL2;
        let lda = StreamingLda::new(FeatureMap::new(width, transform)?);
        let ridge = RidgeHead::new(FeatureMap::random_relu(width, transform, RANDOM_FEATURES, seed)?);
        Ok(Self { settings, lda, ridge, labelled: 0 })
    }

    fn add(&mut self, evidence: &Evidence) -> Result<()> {
        self.labelled += evidence.labelled;
        self.lda.add(&evidence.h, evidence.assignment())?;
        let balanced = evidence.balanced(self.settings.largest_weight);
        self.ridge.add(&evidence.h, Assignment::Soft { classes: &evidence.classes, shares: &balanced })
    }

    fn fit(&self) -> Result<Fitted> {
        let per_class = real(self.labelled) / real(self.lda.moments().counts().len().max(1));
        let [many, few] = self.settings.shrinkage;
        let shrinkage = if per_class >= self.settings.many_rows { many } else { few };
        let lda = LdaSettings { shrinkage, ..LdaSettings::default() };
        let scales = [self.settings.discriminant_scale, self.settings.ridge_scale];
        Ok(Fitted { lda: self.lda.fit(lda)?.head, ridge: self.ridge.fit(LAMBDA)?, scales })
    }
}

/// What answers: both members or one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Voice {
    Both,
    Discriminant,
    Ridge,
}

impl Voice {
    const ALL: [Self; 3] = [Self::Both, Self::Discriminant, Self::Ridge];

    fn name(self) -> &'static str {
        match self {
            Self::Both => "both",
            Self::Discriminant => "discriminant",
            Self::Ridge => "ridge",
        }
    }
}

impl Fitted {
    fn predict(&self, voice: Voice, h: &[f32]) -> Result<Vec<ClassId>> {
        let columns = self.lda.classes.len();
        let mut scores = Vec::new();
        for (head, scale, alone) in
            [(&self.lda, self.scales[0], Voice::Discriminant), (&self.ridge, self.scales[1], Voice::Ridge)]
        {
            if voice != Voice::Both && voice != alone {
                continue;
            }
            let mut values = head.logits(h)?;
            values.iter_mut().for_each(|value| *value *= scale);
            softmax_rows(&mut values, columns);
            scores.resize(values.len(), 0.0);
            scores.iter_mut().zip(&values).for_each(|(score, p)| *score += p.max(f32::MIN_POSITIVE).ln());
        }
        Ok(argmax_rows(&scores, columns).into_iter().map(|column| self.lda.classes[column]).collect())
    }
}

/// Held-out evidence of a task for one voice against both: rows where only one of the two is right.
#[derive(Clone, Copy, Debug, Default)]
struct Duel {
    only_one: usize,
    only_both: usize,
}

impl Duel {
    /// Whether the single voice is better by more than one standard error of the paired difference (McNemar).
    fn is_lost(self) -> bool {
        let (one, both) = (real(self.only_one), real(self.only_both));
        one - both > (one + both).sqrt()
    }
}

/// Splits off every fifth labelled row of each class, if there are at least five.
fn hold_out(arena: &Arena<'_>, labelled: &[usize]) -> (Vec<usize>, Vec<usize>) {
    let mut seen = BTreeMap::<ClassId, usize>::new();
    let ids = arena.ids(labelled);
    let (mut kept, mut judges) = (Vec::new(), Vec::new());
    for (&row, id) in labelled.iter().zip(ids) {
        let count = seen.entry(id).or_default();
        *count += 1;
        if count.is_multiple_of(5) { judges.push(row) } else { kept.push(row) }
    }
    (kept, judges)
}

pub(super) fn run(
    settings: &EnsembleSettings,
    arena: &Arena<'_>,
    progress: &mut dyn FnMut(f64),
) -> Result<Outcome> {
    let width = arena.features.width;
    let mut ensemble = Ensemble::new(settings, width, arena.seed)?;
    let mut duels = BTreeMap::<Voice, Duel>::new();
    let mut clock = Clock::default();
    let mut matrix = AccuracyMatrix::new(arena.tasks().len())?;
    let mut voice = Voice::Both;
    for (number, task) in arena.tasks().iter().enumerate() {
        let fitted = clock.time(|| {
            let (kept, judges) = hold_out(arena, &task.labelled);
            if !judges.is_empty() {
                let mut trial = Ensemble::new(settings, width, arena.seed)?;
                trial.add(&Evidence::new(settings, arena, &kept, &task.unlabelled)?)?;
                judge_voices(&trial.fit()?, arena, &judges, &mut duels)?;
                voice =
                    duels.iter().find(|(_, duel)| duel.is_lost()).map_or(Voice::Both, |(voice, _)| *voice);
            }
            ensemble.add(&Evidence::new(settings, arena, &task.labelled, &task.unlabelled)?)?;
            ensemble.fit()
        })?;
        arena.judge(&mut matrix, number, &mut |h| fitted.predict(voice, h))?;
        progress(real(number + 1) / real(arena.tasks().len()));
    }
    let classes = arena.scenario.order.len();
    let memory_bytes = moments_bytes(classes, width) + moments_bytes(classes, RANDOM_FEATURES);
    let note = Some(format!("answers by {}", voice.name()));
    Ok(Outcome { matrix, learning: clock.total(), memory_bytes, note })
}

/// Holds the members alone against both on rows that none of them has seen.
fn judge_voices(
    fitted: &Fitted,
    arena: &Arena<'_>,
    judges: &[usize],
    duels: &mut BTreeMap<Voice, Duel>,
) -> Result<()> {
    let (h, truth) = (arena.plain(judges), arena.ids(judges));
    let both = fitted.predict(Voice::Both, &h)?;
    for voice in Voice::ALL.into_iter().skip(1) {
        let duel = duels.entry(voice).or_default();
        for ((one, both), truth) in fitted.predict(voice, &h)?.iter().zip(&both).zip(&truth) {
            duel.only_one += usize::from(one == truth && both != truth);
            duel.only_both += usize::from(one != truth && both == truth);
        }
    }
    Ok(())
}

#[allow(clippy::cast_possible_truncation, reason = "shares are kept in f32")]
fn single(value: f64) -> f32 {
    value as f32
}
