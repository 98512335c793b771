//! The closed forms alone.

use kaizen_edge::Result;
use kaizen_edge::low_level::learn::closed_form::{
    ClassMeans, EnsembleSettings, FeatureMap, FeatureTransform, LdaSettings, LinearHead, MeanDistance,
    Responsibilities, RidgeHead, StreamingLda, distinct,
};
use kaizen_edge::low_level::number::real;

use super::arena::{Arena, Clock, Outcome};
use crate::metrics::AccuracyMatrix;

/// A closed form that stands alone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum ClosedForm {
    /// Nearest class mean, features standardised.
    Ncm,
    /// Class means as classifier weights, by cosine.
    Imprint,
    /// Streaming LDA.
    Slda,
    /// Streaming LDA with expectation-maximisation over each task's unlabelled rows.
    SldaSemi,
    /// Random ReLU features and ridge regression.
    Ranpac,
}

enum Head {
    Means(ClassMeans),
    Lda(StreamingLda),
    Ridge(RidgeHead, EnsembleSettings),
}

impl Head {
    fn new(form: ClosedForm, arena: &Arena<'_>) -> Result<Self> {
        let width = arena.features.width;
        let map = |transform| FeatureMap::new(width, transform);
        Ok(match form {
            ClosedForm::Ncm => {
                Self::Means(ClassMeans::new(map(FeatureTransform::None)?, MeanDistance::Standardised))
            }
            ClosedForm::Imprint => {
                Self::Means(ClassMeans::new(map(FeatureTransform::L2)?, MeanDistance::Cosine))
            }
            ClosedForm::Slda | ClosedForm::SldaSemi => {
                Self::Lda(StreamingLda::new(map(FeatureTransform::SqrtL2)?))
            }
            ClosedForm::Ranpac => {
                // The ridge is that of the default, so that the two can be compared.
                let settings = EnsembleSettings::default();
                let (transform, features) = (FeatureTransform::SqrtL2, settings.random_features);
                let map = FeatureMap::random_relu(width, transform, features, arena.seed)?;
                Self::Ridge(RidgeHead::new(map), settings)
            }
        })
    }

    fn add(&mut self, h: &[f32], responsibilities: Responsibilities<'_>) -> Result<()> {
        match self {
            Self::Means(means) => means.add(h, responsibilities),
            Self::Lda(lda) => lda.add(h, responsibilities),
            Self::Ridge(ridge, _) => ridge.add(h, responsibilities),
        }
    }

    fn fit(&self) -> Result<LinearHead> {
        match self {
            Self::Means(means) => means.fit(),
            Self::Lda(lda) => Ok(lda.fit(LdaSettings::default())?.head),
            Self::Ridge(ridge, settings) => ridge.fit(settings.lambda),
        }
    }

    /// Bytes of the statistics in f64.
    fn bytes(&self, classes: usize, width: usize) -> usize {
        match self {
            Self::Means(_) => 8 * (classes + 1) * (width + 1),
            Self::Lda(_) => moments_bytes(classes, width),
            Self::Ridge(_, settings) => moments_bytes(classes, settings.random_features),
        }
    }
}

/// Bytes of class sums and one packed second moment in f64.
pub(super) fn moments_bytes(classes: usize, width: usize) -> usize {
    8 * (classes * (width + 1) + width * (width + 1) / 2)
}

pub(super) fn run(form: ClosedForm, arena: &Arena<'_>, progress: &mut dyn FnMut(f64)) -> Result<Outcome> {
    let mut head = Head::new(form, arena)?;
    let mut clock = Clock::default();
    let mut matrix = AccuracyMatrix::new(arena.tasks().len());
    for (number, task) in arena.tasks().iter().enumerate() {
        let (known, ids) = (arena.plain(&task.labelled), arena.ids(&task.labelled));
        let fitted = clock.time(|| {
            head.add(&known, Responsibilities::Labels(&ids))?;
            if form == ClosedForm::SldaSemi && !task.unlabelled.is_empty() {
                let open = arena.plain(&task.unlabelled);
                let whole = EnsembleSettings { unlabelled_weight: 1.0, ..EnsembleSettings::default() };
                let rows = [(&known).into(), (&open).into()];
                let shares = whole.share_out(arena.features.width, FeatureTransform::SqrtL2, rows, &ids)?;
                let classes = distinct(&ids);
                head.add(&open, Responsibilities::Soft { classes: &classes, shares: &shares })?;
            }
            head.fit()
        })?;
        arena.judge(&mut matrix, number, &mut |h| fitted.predict(h))?;
        progress(real(number + 1) / real(arena.tasks().len()));
    }
    let memory_bytes = head.bytes(arena.classes(), arena.features.width);
    Ok(Outcome { matrix, learning: clock.total(), memory_bytes, unknowns: None })
}
