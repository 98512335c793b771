//! A covariance of its own for each class, in a few directions: the part that discriminant analysis
//! with one shared covariance leaves out.

use std::sync::Arc;

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatMut, MatRef, get_global_parallelism};

use super::class_sums::ClassSums;
use super::features::{BLOCK, RowSet};
use super::gram::Factor;
use super::lda::StreamingLda;
use super::moments::{Moments, Pooled};
use super::responsibilities::Responsibilities;
use crate::error::{Error, Result};
use crate::ids::ClassId;
use crate::number::real;

/// A class's own covariance weighs at most this: more was never measured.
const LARGEST_WEIGHT: f64 = 0.5;
/// Shrinkage of the covariances towards a multiple of the identity.
const SHRINKAGE: f64 = 0.05;

/// Principal components u = V (φ - m) of rows φ, and their products.
#[derive(Clone, Debug, PartialEq)]
pub struct Components {
    /// V [k, width], row-major, orthonormal rows.
    pub directions: Vec<f32>,
    /// V m, `[k]`.
    pub offset: Vec<f32>,
}

impl Components {
    /// Returns the `count` leading components of all `total` rows behind `moments`, whose mean is
    /// `centre`; `None` if they cannot be found.
    fn leading(moments: &Moments, centre: &[f64], total: f64, count: usize) -> Option<Self> {
        let eigen = moments.gram.eigen_around(centre, total)?;
        // Eigenvalues ascend.
        let columns: Vec<_> =
            (0..centre.len()).rev().take(count).map(|column| eigen.U().col(column)).collect();
        let directions = columns.iter().flat_map(|column| column.iter().copied()).collect();
        let along =
            |column: &faer::ColRef<'_, f32>| column.iter().zip(centre).map(|(v, m)| f64::from(*v) * m).sum();
        let offset = columns.iter().map(|column| narrow(along(column))).collect();
        Some(Self { directions, offset })
    }

    /// Returns the number of components k.
    #[must_use]
    pub fn count(&self) -> usize {
        self.offset.len()
    }

    /// Returns the length of a row of φ.
    #[must_use]
    pub fn width(&self) -> usize {
        self.directions.len() / self.count()
    }

    /// Returns the length k (k + 3) / 2 of a row of components and products.
    #[must_use]
    pub fn terms(&self) -> usize {
        terms(self.count())
    }

    /// Returns the (i, j), j ≤ i, of the products in their order: row by row of the lower triangle.
    pub fn pairs(&self) -> impl Iterator<Item = (usize, usize)> {
        (0..self.count()).flat_map(|i| (0..=i).map(move |j| (i, j)))
    }

    /// Returns u and then u_i u_j in the order of [`Components::pairs`], [N, terms], of mapped rows
    /// φ [N, width].
    fn expand(&self, mapped: &[f32]) -> Vec<f32> {
        let (count, width) = (self.count(), self.width());
        let rows = mapped.len() / width;
        let mut components: Vec<f32> =
            self.offset.iter().map(|value| -value).collect::<Vec<_>>().repeat(rows);
        matmul(
            MatMut::from_row_major_slice_mut(&mut components, rows, count),
            Accum::Add,
            MatRef::from_row_major_slice(mapped, rows, width),
            MatRef::from_row_major_slice(&self.directions, count, width).transpose(),
            1.0,
            get_global_parallelism(),
        );
        let mut all = Vec::with_capacity(rows * self.terms());
        for row in components.chunks_exact(count) {
            all.extend_from_slice(row);
            for (i, &value) in row.iter().enumerate() {
                all.extend(row[..=i].iter().map(|other| value * other));
            }
        }
        all
    }
}

fn terms(components: usize) -> usize {
    components * (components + 3) / 2
}

/// The term that the classes' own covariances add to the logits of discriminant analysis. It is
/// quadratic in a few components.
///
/// With A_c the covariance of class c there, A that of all classes, and d = u - V (μ_c - m), the
/// term is -½ dᵀ (A_c⁻¹ - A⁻¹) d - ½ log(det A_c / det A): the difference of two Gaussian
/// log-likelihoods (regularised discriminant analysis, Friedman, 1989, in a subspace).
#[derive(Clone, Debug, PartialEq)]
pub struct ClassCovariances {
    /// The components that the term is a function of.
    pub components: Arc<Components>,
    /// Weights of components and products [C, terms], rows in the order of the head's classes;
    /// zeros for a class that keeps the shared covariance.
    pub weight: Vec<f32>,
    /// Constants `[C]`.
    pub bias: Vec<f32>,
}

impl ClassCovariances {
    /// Restores stored numbers, for rows φ of `width` values.
    ///
    /// # Errors
    /// [`Error::Shape`] when they do not fit one another.
    pub fn new(width: usize, components: Components, weight: Vec<f32>, bias: Vec<f32>) -> Result<Self> {
        let count = components.count();
        let wanted = (count * width, bias.len() * terms(count));
        if count == 0 || (components.directions.len(), weight.len()) != wanted {
            let got = (components.directions.len(), weight.len());
            return Err(Error::shape("covariances of the classes (directions, terms)", wanted, got));
        }
        Ok(Self { components: Arc::new(components), weight, bias })
    }

    /// Adds the terms of mapped rows φ [N, width] to `logits` [N, C].
    pub(super) fn add_to(&self, logits: &mut [f32], mapped: &[f32]) {
        let (classes, terms) = (self.bias.len(), self.components.terms());
        let blocks = mapped.chunks(BLOCK * self.components.width()).zip(logits.chunks_mut(BLOCK * classes));
        for (mapped, logits) in blocks {
            let rows = logits.len() / classes;
            for row in logits.chunks_exact_mut(classes) {
                row.iter_mut().zip(&self.bias).for_each(|(logit, bias)| *logit += bias);
            }
            matmul(
                MatMut::from_row_major_slice_mut(logits, rows, classes),
                Accum::Add,
                MatRef::from_row_major_slice(&self.components.expand(mapped), rows, terms),
                MatRef::from_row_major_slice(&self.weight, classes, terms).transpose(),
                1.0,
                get_global_parallelism(),
            );
        }
    }
}

/// Sums of components and their products by class, in f64. They begin when there are rows enough
/// for principal components.
#[derive(Clone, Debug)]
pub(super) struct CovarianceSums {
    wanted: usize,
    found: Option<(Arc<Components>, ClassSums)>,
}

impl CovarianceSums {
    /// Sums of no rows, with `wanted` components; 0 means none at all.
    pub(super) fn new(wanted: usize) -> Self {
        Self { wanted, found: None }
    }

    /// Adds rows h [N, D] that `lda` holds already. The components are those of all rows there as
    /// soon as there are twice as many rows as components; rows before that count nowhere here.
    pub(super) fn add(
        &mut self,
        lda: &StreamingLda,
        h: RowSet<'_>,
        responsibilities: Responsibilities<'_>,
    ) -> Result<()> {
        let wanted = self.wanted.min(lda.map().width());
        if self.found.is_none()
            && wanted > 0
            && let Ok((centre, total)) = lda.moments().sums.mean()
            && total >= real(2 * wanted)
        {
            self.found = Components::leading(lda.moments(), &centre, total, wanted).map(|components| {
                let sums = ClassSums::new(components.terms());
                (Arc::new(components), sums)
            });
        }
        let Some((components, sums)) = &mut self.found else {
            return Ok(());
        };
        lda.map().for_each_block(h, |rows, mapped| {
            let terms = components.expand(mapped);
            sums.add(&ClassSums::of_rows(components.terms(), &terms, responsibilities.rows(rows))?);
            Ok(())
        })
    }

    /// Returns the term of the classes' own covariances, each weighing n / (n + `prior_rows`) for n
    /// rows; `None` while there are no components.
    pub(super) fn fit(&self, pooled: &Pooled, prior_rows: f64) -> Option<ClassCovariances> {
        let (components, sums) = self.found.as_ref()?;
        let count = components.count();
        let shared = Shared::new(components, pooled)?;
        let (mut weight, mut bias) = (Vec::new(), Vec::new());
        for (class, mean) in pooled.classes.iter().zip(pooled.means.chunks_exact(components.width())) {
            let own = own_covariance(sums, *class, count);
            let term = own.and_then(|(rows, own)| {
                let share = (rows / (rows + prior_rows)).min(LARGEST_WEIGHT);
                shared.term(&own, share, &shared.project(mean))
            });
            // A class without enough rows, or without a solution, keeps the shared covariance.
            let (row, constant) = term.unwrap_or_else(|| (vec![0.0; components.terms()], 0.0));
            weight.extend(row);
            bias.push(constant);
        }
        Some(ClassCovariances { components: Arc::clone(components), weight, bias })
    }
}

/// Returns the number of rows of a class and the covariance of their components; `None` below two
/// rows.
fn own_covariance(sums: &ClassSums, class: ClassId, count: usize) -> Option<(f64, Mat<f64>)> {
    let slot = sums.classes.iter().position(|&known| known == class)?;
    let (rows, sum) = (sums.counts[slot], sums.sum(slot));
    if rows < 2.0 {
        return None;
    }
    let (mean, second) = sum.split_at(count);
    let covariance = |i: usize, j: usize| {
        let (i, j) = (i.max(j), i.min(j));
        (second[i * (i + 1) / 2 + j] - mean[i] * mean[j] / rows) / (rows - 1.0)
    };
    Some((rows, Mat::from_fn(count, count, covariance)))
}

/// The covariance that all classes share, in the components.
struct Shared {
    directions: Mat<f64>,
    offset: Vec<f64>,
    covariance: Mat<f64>,
    /// The value added to the diagonal of every covariance.
    ridge: f64,
    inverse: Mat<f64>,
    log_determinant: f64,
}

impl Shared {
    fn new(components: &Components, pooled: &Pooled) -> Option<Self> {
        let (count, width) = (components.count(), components.width());
        let wide = |at: usize| f64::from(components.directions[at]);
        let directions = Mat::from_fn(count, width, |i, j| wide(i * width + j));
        let freedom = pooled.counts.iter().sum::<f64>() - real(pooled.classes.len());
        if freedom < 1.0 {
            return None;
        }
        let covariance = pooled.within.along(directions.as_ref()) * faer::Scale(1.0 / freedom);
        let trace: f64 = (0..count).map(|i| covariance[(i, i)]).sum();
        let ridge = SHRINKAGE * trace / real(count);
        let (inverse, log_determinant) = solved(&covariance, ridge)?;
        let offset = components.offset.iter().map(|&value| f64::from(value)).collect();
        Some(Self { directions, offset, covariance, ridge, inverse, log_determinant })
    }

    /// Returns V μ - V m.
    fn project(&self, mean: &[f64]) -> Vec<f64> {
        let along = |i: usize| self.directions.row(i).iter().zip(mean).map(|(v, m)| v * m).sum::<f64>();
        self.offset.iter().enumerate().map(|(i, offset)| along(i) - offset).collect()
    }

    /// Returns the weights of components and products, and the constant, of a class with mean
    /// `mean` whose own covariance weighs `share`.
    fn term(&self, own: &Mat<f64>, share: f64, mean: &[f64]) -> Option<(Vec<f32>, f32)> {
        let count = mean.len();
        let blend = own * faer::Scale(share) + &self.covariance * faer::Scale(1.0 - share);
        let (inverse, log_determinant) = solved(&blend, self.ridge)?;
        let change = inverse - &self.inverse;
        let pull: Vec<f64> = (0..count).map(|i| (0..count).map(|j| change[(i, j)] * mean[j]).sum()).collect();
        let constant: f64 = mean.iter().zip(&pull).map(|(mean, pull)| mean * pull).sum();
        let mut row: Vec<f32> = pull.iter().map(|&value| narrow(value)).collect();
        for i in 0..count {
            row.extend((0..i).map(|j| narrow(-change[(i, j)])));
            row.push(narrow(-0.5 * change[(i, i)]));
        }
        Some((row, narrow(-0.5 * (constant + log_determinant - self.log_determinant))))
    }
}

/// Returns the inverse and the logarithm of the determinant of a covariance with `ridge` on its
/// diagonal.
fn solved(covariance: &Mat<f64>, ridge: f64) -> Option<(Mat<f64>, f64)> {
    let count = covariance.nrows();
    let matrix = Mat::from_fn(count, count, |i, j| covariance[(i, j)] + if i == j { ridge } else { 0.0 });
    let factor = Factor::of(matrix)?;
    let log_determinant = 2.0 * (0..count).map(|i| factor.lower()[(i, i)].ln()).sum::<f64>();
    Some((factor.solve(Mat::<f64>::identity(count, count).as_ref()), log_determinant))
}

#[allow(clippy::cast_possible_truncation, reason = "heads are kept in f32")]
fn narrow(value: f64) -> f32 {
    value as f32
}
