//! The default, `kaizen`: the ensemble over labelled rows and what expectation-maximisation finds
//! in the unlabelled ones. ADR 12 has the figures.

use kaizen_edge::low_level::learn::closed_form::{
    Ensemble, EnsembleModel, EnsembleSettings, Evidence, FeatureTransform,
};
use kaizen_edge::low_level::number::real;
use kaizen_edge::{ClassId, Result};

use super::arena::{Arena, Clock, Outcome};
use super::closed::moments_bytes;
use crate::metrics::AccuracyMatrix;

/// What is done to features before a closed form.
pub(super) const TRANSFORM: FeatureTransform = FeatureTransform::SqrtL2;

/// Adds the features `[N, width]` of the labelled rows of a task, whose classes are `ids`, and what
/// the features of its unlabelled rows say.
pub(super) fn add(
    ensemble: &mut Ensemble,
    settings: &EnsembleSettings,
    width: usize,
    (mut rows, ids): (Vec<f32>, &[ClassId]),
    open: Vec<f32>,
) -> Result<()> {
    let mut shares = Vec::new();
    if !open.is_empty() {
        shares = settings.share_out(width, TRANSFORM, [(&rows).into(), (&open).into()], ids)?;
        rows.extend(open);
    }
    ensemble.add(&Evidence::new(&rows, ids, &shares)?)
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
            let known = (arena.plain(&task.labelled), &*arena.ids(&task.labelled));
            let open = if uses_unlabelled { arena.plain(&task.unlabelled) } else { Vec::new() };
            add(&mut ensemble, &settings, width, known, open)?;
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
