//! The default, `kaizen`: the ensemble over labelled rows and what expectation-maximisation finds
//! in the unlabelled ones. ADR 12 has the figures.

use kaizen_edge::Result;
use kaizen_edge::low_level::learn::closed_form::{
    Ensemble, EnsembleModel, EnsembleSettings, Evidence, FeatureTransform,
};
use kaizen_edge::low_level::number::real;

use super::arena::{Arena, Clock, Outcome};
use super::closed::moments_bytes;
use crate::metrics::AccuracyMatrix;

const TRANSFORM: FeatureTransform = FeatureTransform::SqrtL2;

/// Adds the labelled rows of a task and what its unlabelled rows say.
fn add(
    ensemble: &mut Ensemble,
    settings: &EnsembleSettings,
    arena: &Arena<'_>,
    labelled: &[usize],
    open: &[usize],
) -> Result<()> {
    let (mut rows, ids) = (arena.plain(labelled), arena.ids(labelled));
    if open.is_empty() || settings.unlabelled_weight <= 0.0 {
        return ensemble.add(&Evidence::new(&rows, &ids, &[])?);
    }
    rows.extend(arena.plain(open));
    let (known, others) = rows.split_at(labelled.len() * arena.features.width);
    let shares = settings.share_out(arena.features.width, TRANSFORM, [known.into(), others.into()], &ids)?;
    ensemble.add(&Evidence::new(&rows, &ids, &shares)?)
}

pub(super) fn run(
    uses_unlabelled: bool,
    arena: &Arena<'_>,
    progress: &mut dyn FnMut(f64),
) -> Result<Outcome> {
    let mut settings = EnsembleSettings::default();
    if !uses_unlabelled {
        settings.unlabelled_weight = 0.0;
    }
    let width = arena.features.width;
    let mut ensemble = Ensemble::new(settings, width, TRANSFORM, arena.seed)?;
    let mut unknowns = None;
    let mut clock = Clock::default();
    let mut matrix = AccuracyMatrix::new(arena.tasks().len());
    for (number, task) in arena.tasks().iter().enumerate() {
        let EnsembleModel { lda, head } = clock.time(|| {
            add(&mut ensemble, &settings, arena, &task.labelled, &task.unlabelled)?;
            ensemble.fit()
        })?;
        arena.judge(&mut matrix, number, &mut |h| head.predict(h))?;
        arena.detect(&mut unknowns, number, &mut |h| lda.geometry.novelty(h))?;
        progress(real(number + 1) / real(arena.tasks().len()));
    }
    let classes = arena.classes();
    let covariances = 8 * classes * settings.components * (settings.components + 3) / 2;
    let memory_bytes =
        moments_bytes(classes, width) + moments_bytes(classes, settings.random_features) + covariances;
    Ok(Outcome { matrix, learning: clock.total(), memory_bytes, unknowns })
}
