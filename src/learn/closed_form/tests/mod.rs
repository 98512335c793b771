//! The behaviour that the closed forms share, compared with naive computations in f64.

mod discriminant;
mod ensemble;
mod ridge_and_means;

use super::*;
use crate::error::Error;
use crate::ids::ClassId;
use crate::rng::Rng;

/// Rows h [N, D] around one mean a class, values of both signs, and their labels.
pub(in super::super) fn clusters(
    seed: u64,
    classes: u32,
    each: usize,
    dim: usize,
    spread: f32,
) -> (Vec<f32>, Vec<ClassId>) {
    let mut rng = Rng::named(seed, "clusters");
    let means: Vec<f32> = (0..classes as usize * dim).map(|_| rng.normal()).collect();
    let (mut h, mut labels) = (Vec::new(), Vec::new());
    for row in 0..classes as usize * each {
        let class = row % classes as usize;
        h.extend(means[class * dim..][..dim].iter().map(|mean| mean + spread * rng.normal()));
        labels.push(ClassId(u32::try_from(class).unwrap()));
    }
    (h, labels)
}

fn plain(dim: usize) -> FeatureMap {
    FeatureMap::new(dim, FeatureTransform::None).unwrap()
}

fn lda_of(h: &[f32], labels: &[ClassId], map: FeatureMap) -> StreamingLda {
    let mut lda = StreamingLda::new(map);
    lda.add(h, Responsibilities::Labels(labels)).unwrap();
    lda
}

/// Gauss-Jordan inverse of a small matrix [n, n].
fn inverse(matrix: &[f64], n: usize) -> Vec<f64> {
    let mut left = matrix.to_vec();
    let mut right: Vec<f64> = (0..n * n).map(|at| f64::from(u8::from(at / n == at % n))).collect();
    for pivot in 0..n {
        let scale = left[pivot * n + pivot];
        for j in 0..n {
            left[pivot * n + j] /= scale;
            right[pivot * n + j] /= scale;
        }
        for i in (0..n).filter(|&i| i != pivot) {
            let factor = left[i * n + pivot];
            for j in 0..n {
                left[i * n + j] -= factor * left[pivot * n + j];
                right[i * n + j] -= factor * right[pivot * n + j];
            }
        }
    }
    right
}

/// Means [C, D] and the inverse of the shrunk pooled covariance, straight from their definitions.
fn naive_lda(
    h: &[f32],
    labels: &[ClassId],
    classes: usize,
    dim: usize,
    shrinkage: f64,
) -> (Vec<f64>, Vec<f64>) {
    let rows = labels.len();
    let (mut means, mut counts) = (vec![0.0; classes * dim], vec![0.0; classes]);
    for (row, label) in labels.iter().enumerate() {
        counts[label.0 as usize] += 1.0;
        (0..dim).for_each(|j| means[label.0 as usize * dim + j] += f64::from(h[row * dim + j]));
    }
    (0..classes * dim).for_each(|at| means[at] /= counts[at / dim]);
    let mut covariance = vec![0.0; dim * dim];
    for (row, label) in labels.iter().enumerate() {
        let offset = |j: usize| f64::from(h[row * dim + j]) - means[label.0 as usize * dim + j];
        for (at, cell) in covariance.iter_mut().enumerate() {
            *cell += offset(at / dim) * offset(at % dim) / (rows - classes) as f64;
        }
    }
    let trace: f64 = (0..dim).map(|j| covariance[j * dim + j]).sum();
    for (at, cell) in covariance.iter_mut().enumerate() {
        let target = if at / dim == at % dim { trace / dim as f64 } else { 0.0 };
        *cell = (1.0 - shrinkage) * *cell + shrinkage * target;
    }
    (means, inverse(&covariance, dim))
}

fn naive_distance(row: &[f32], mean: &[f64], precision: &[f64]) -> f64 {
    let dim = row.len();
    let offset = |j: usize| f64::from(row[j]) - mean[j];
    (0..dim * dim).map(|at| offset(at / dim) * precision[at] * offset(at % dim)).sum()
}
