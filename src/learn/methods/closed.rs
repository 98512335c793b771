//! The closed-form heads as they are.

use super::Method;
use super::arena::{Arena, Clock, Outcome};
use crate::Result;
use crate::ids::ClassId;
use crate::learn::closed_form::{
    Assignment, ClassMeans, FeatureMap, FeatureTransform, LdaSettings, LinearHead, MeanDistance, RidgeHead,
    SemiLda, SemiSettings, StreamingLda,
};
use crate::learn::metrics::AccuracyMatrix;
use crate::learn::step::real;

/// Random features of `ranpac` and `kaizen`.
pub(super) const RANDOM_FEATURES: usize = 3000;
/// Ridge of `ranpac`.
pub(super) const LAMBDA: f64 = 100.0;

enum Head {
    Means(ClassMeans),
    Lda(StreamingLda),
    Ridge(RidgeHead),
}

impl Head {
    fn new(method: Method, arena: &Arena<'_>) -> Result<Self> {
        let width = arena.features.width;
        let map = |transform| FeatureMap::new(width, transform);
        Ok(match method {
            Method::Ncm => {
                Self::Means(ClassMeans::new(map(FeatureTransform::None)?, MeanDistance::Standardised))
            }
            Method::Imprint => Self::Means(ClassMeans::new(map(FeatureTransform::L2)?, MeanDistance::Cosine)),
            Method::Ranpac => {
                let seed = arena.seed;
                Self::Ridge(RidgeHead::new(FeatureMap::random_relu(
                    width,
                    FeatureTransform::SqrtL2,
                    RANDOM_FEATURES,
                    seed,
                )?))
            }
            _ => Self::Lda(StreamingLda::new(map(FeatureTransform::SqrtL2)?)),
        })
    }

    fn add(&mut self, h: &[f32], assignment: Assignment<'_>) -> Result<()> {
        match self {
            Self::Means(means) => means.add(h, assignment),
            Self::Lda(lda) => lda.add(h, assignment),
            Self::Ridge(ridge) => ridge.add(h, assignment),
        }
    }

    fn fit(&self) -> Result<LinearHead> {
        match self {
            Self::Means(means) => means.fit(),
            Self::Lda(lda) => Ok(lda.fit(LdaSettings::default())?.head),
            Self::Ridge(ridge) => ridge.fit(LAMBDA),
        }
    }

    /// Bytes of the statistics, in f64.
    fn bytes(&self, classes: usize, width: usize) -> usize {
        match self {
            Self::Means(_) => 8 * (classes + 1) * (width + 1),
            Self::Lda(_) => moments_bytes(classes, width),
            Self::Ridge(_) => moments_bytes(classes, RANDOM_FEATURES),
        }
    }
}

/// Bytes of class sums and one packed second moment in f64.
pub(super) fn moments_bytes(classes: usize, width: usize) -> usize {
    8 * (classes * (width + 1) + width * (width + 1) / 2)
}

/// Which classes a task's unlabelled rows belong to.
pub(super) fn find_out(
    arena: &Arena<'_>,
    known: &[f32],
    ids: &[ClassId],
    open: &[f32],
) -> Result<(Vec<ClassId>, Vec<f32>)> {
    let map = FeatureMap::new(arena.features.width, FeatureTransform::SqrtL2)?;
    let settings = SemiSettings { proportions: 0.0, ..SemiSettings::default() };
    let outcome = SemiLda::new(map, settings)?.assign(known, ids, open)?;
    Ok((outcome.classes, outcome.shares))
}

pub(super) fn run(method: Method, arena: &Arena<'_>, progress: &mut dyn FnMut(f64)) -> Result<Outcome> {
    let mut head = Head::new(method, arena)?;
    let mut clock = Clock::default();
    let mut matrix = AccuracyMatrix::new(arena.tasks().len())?;
    for (number, task) in arena.tasks().iter().enumerate() {
        let (known, ids) = (arena.plain(&task.labelled), arena.ids(&task.labelled));
        let fitted = clock.time(|| {
            head.add(&known, Assignment::Labels(&ids))?;
            if method == Method::SldaSemi && !task.unlabelled.is_empty() {
                let open = arena.plain(&task.unlabelled);
                let (classes, shares) = find_out(arena, &known, &ids, &open)?;
                head.add(&open, Assignment::Soft { classes: &classes, shares: &shares })?;
            }
            head.fit()
        })?;
        arena.judge(&mut matrix, number, &mut |h| fitted.predict(h))?;
        progress(real(number + 1) / real(arena.tasks().len()));
    }
    let memory_bytes = head.bytes(arena.scenario.order.len(), arena.features.width);
    Ok(Outcome { matrix, learning: clock.total(), memory_bytes, note: None })
}
