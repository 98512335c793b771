//! The default, `kaizen`: the ensemble over labelled rows and what expectation-maximisation finds in the unlabelled
//! ones, or one of its members where held-out rows say so. ADR 12 has the figures.

use std::collections::BTreeMap;

use super::arena::{Arena, Clock, Outcome};
use super::closed::moments_bytes;
use crate::Result;
use crate::ids::ClassId;
use crate::learn::closed_form::{
    Ensemble, EnsembleHead, EnsembleSettings, Evidence, FeatureTransform, argmax_rows,
};
use crate::learn::metrics::AccuracyMatrix;
use crate::learn::step::real;

const TRANSFORM: FeatureTransform = FeatureTransform::SqrtL2;

/// A task's labelled rows with what its unlabelled rows say.
fn evidence(
    settings: &EnsembleSettings,
    arena: &Arena<'_>,
    labelled: &[usize],
    open: &[usize],
) -> Result<Evidence> {
    let (known, ids) = (arena.plain(labelled), arena.ids(labelled));
    if open.is_empty() || settings.unlabelled_weight <= 0.0 {
        return Evidence::new(&known, &ids, &[], &[]);
    }
    let rows = arena.plain(open);
    let shares = settings.share_out(arena.features.width, TRANSFORM, [&known, &rows], &ids)?;
    Evidence::new(&known, &ids, &rows, &shares)
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

    fn predict(self, head: &EnsembleHead, h: &[f32]) -> Result<Vec<ClassId>> {
        let scores = match self {
            Self::Both => head.scores(h)?,
            Self::Discriminant => head.lda.logits(h)?,
            Self::Ridge => head.ridge.logits(h)?,
        };
        let named = argmax_rows(&scores, head.classes().len()).into_iter();
        Ok(named.map(|column| head.classes()[column]).collect())
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
    settings: EnsembleSettings,
    arena: &Arena<'_>,
    progress: &mut dyn FnMut(f64),
) -> Result<Outcome> {
    let width = arena.features.width;
    let mut ensemble = Ensemble::new(settings, width, TRANSFORM, arena.seed)?;
    let mut duels = BTreeMap::<Voice, Duel>::new();
    let mut clock = Clock::default();
    let mut matrix = AccuracyMatrix::new(arena.tasks().len())?;
    let mut voice = Voice::Both;
    for (number, task) in arena.tasks().iter().enumerate() {
        let head = clock.time(|| {
            let (kept, judges) = hold_out(arena, &task.labelled);
            if !judges.is_empty() {
                // Among all classes so far: what is best within a task alone may not be best across tasks.
                let mut trial = ensemble.clone();
                trial.add(&evidence(&settings, arena, &kept, &task.unlabelled)?)?;
                judge_voices(&trial.fit()?.head, arena, &judges, &mut duels)?;
                voice =
                    duels.iter().find(|(_, duel)| duel.is_lost()).map_or(Voice::Both, |(voice, _)| *voice);
            }
            ensemble.add(&evidence(&settings, arena, &task.labelled, &task.unlabelled)?)?;
            Ok(ensemble.fit()?.head)
        })?;
        arena.judge(&mut matrix, number, &mut |h| voice.predict(&head, h))?;
        progress(real(number + 1) / real(arena.tasks().len()));
    }
    let classes = arena.scenario.order.len();
    let memory_bytes = moments_bytes(classes, width) + moments_bytes(classes, settings.random_features);
    let note = Some(format!("answers by {}", voice.name()));
    Ok(Outcome { matrix, learning: clock.total(), memory_bytes, note })
}

/// Holds the members alone against both on rows that none of them has seen.
fn judge_voices(
    head: &EnsembleHead,
    arena: &Arena<'_>,
    judges: &[usize],
    duels: &mut BTreeMap<Voice, Duel>,
) -> Result<()> {
    let (h, truth) = (arena.plain(judges), arena.ids(judges));
    let both = Voice::Both.predict(head, &h)?;
    for voice in Voice::ALL.into_iter().skip(1) {
        let duel = duels.entry(voice).or_default();
        for ((one, both), truth) in voice.predict(head, &h)?.iter().zip(&both).zip(&truth) {
            duel.only_one += usize::from(one == truth && both != truth);
            duel.only_both += usize::from(one != truth && both == truth);
        }
    }
    Ok(())
}
