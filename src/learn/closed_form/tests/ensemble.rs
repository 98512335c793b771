use super::*;

/// Determinant of a small matrix [n, n] without zero pivots.
fn determinant(matrix: &[f64], n: usize) -> f64 {
    let mut left = matrix.to_vec();
    let mut product = 1.0;
    for pivot in 0..n {
        product *= left[pivot * n + pivot];
        for i in pivot + 1..n {
            let factor = left[i * n + pivot] / left[pivot * n + pivot];
            (0..n).for_each(|j| left[i * n + j] -= factor * left[pivot * n + j]);
        }
    }
    product
}

/// Clusters whose spread along each feature differs between the classes.
fn uneven_clusters(seed: u64, classes: u32, each: usize, dim: usize) -> (Vec<f32>, Vec<ClassId>) {
    let (mut h, labels) = clusters(seed, classes, each, dim, 0.0);
    let mut rng = Rng::named(seed, "uneven");
    for (row, label) in h.chunks_exact_mut(dim).zip(&labels) {
        let wide = |at: usize| if (at + label.0 as usize).is_multiple_of(2) { 1.5 } else { 0.3 };
        row.iter_mut().enumerate().for_each(|(at, value)| *value += wide(at) * rng.normal());
    }
    (h, labels)
}

fn ensemble_of(h: &[f32], labels: &[ClassId], dim: usize, components: usize) -> EnsembleHead {
    let settings =
        EnsembleSettings { components, prior_rows: 20.0, random_features: 4, ..EnsembleSettings::default() };
    let mut ensemble = Ensemble::new(settings, dim, FeatureTransform::None, 1).unwrap();
    ensemble.add(&Evidence::new(h, labels, &[]).unwrap()).unwrap();
    ensemble.fit().unwrap().head
}

/// With as many components as features the subspace is everything, whatever its directions.
#[test]
fn a_covariance_a_class_adds_the_difference_of_two_gaussians() {
    let (classes, dim) = (3, 4);
    let (h, labels) = uneven_clusters(41, 3, 12, dim);
    let (fresh, _) = uneven_clusters(42, 3, 100, dim);
    let head = ensemble_of(&h, &labels, dim, dim);
    let mut got = vec![0.0; fresh.len() / dim * classes];
    head.class_covariances.unwrap().add_to(&mut got, &fresh);
    let mut own = vec![vec![0.0; dim * dim]; classes];
    let (means, _) = naive_lda(&h, &labels, classes, dim, 0.0);
    for (row, label) in h.chunks_exact(dim).zip(&labels) {
        let class = label.0 as usize;
        let offset = |j: usize| f64::from(row[j]) - means[class * dim + j];
        (0..dim * dim).for_each(|at| own[class][at] += offset(at / dim) * offset(at % dim) / 11.0);
    }
    let shared: Vec<f64> =
        (0..dim * dim).map(|at| own.iter().map(|own| own[at]).sum::<f64>() / 3.0).collect();
    let ridge = 0.05 * (0..dim).map(|j| shared[j * dim + j]).sum::<f64>() / dim as f64;
    let with_ridge = |matrix: Vec<f64>| -> Vec<f64> {
        let diagonal = |at: usize| if at / dim == at % dim { ridge } else { 0.0 };
        matrix.iter().enumerate().map(|(at, value)| value + diagonal(at)).collect()
    };
    let share = 12.0 / (12.0 + 20.0);
    let likelihood = |row: &[f32], mean: &[f64], covariance: &[f64]| {
        let distance = naive_distance(row, mean, &inverse(covariance, dim));
        -0.5 * (distance + determinant(covariance, dim).ln())
    };
    let pooled = with_ridge(shared.clone());
    for (row, got) in fresh.chunks_exact(dim).zip(got.chunks_exact(classes)) {
        for (class, own) in own.iter().enumerate() {
            let blend = own.iter().zip(&shared).map(|(own, all)| share * own + (1.0 - share) * all).collect();
            let mean = &means[class * dim..][..dim];
            let wanted = likelihood(row, mean, &with_ridge(blend)) - likelihood(row, mean, &pooled);
            assert!((f64::from(got[class]) - wanted).abs() < 1e-3 * wanted.abs().max(1.0));
        }
    }
}

#[test]
fn classes_that_differ_in_their_spread_are_told_apart_by_it() {
    let (h, labels) = uneven_clusters(43, 4, 60, 8);
    let (fresh, truth) = {
        let (all, labels) = uneven_clusters(43, 4, 120, 8);
        (all[60 * 4 * 8..].to_vec(), labels[60 * 4..].to_vec())
    };
    let right = |head: &EnsembleHead| {
        head.predict(&fresh).unwrap().iter().zip(&truth).filter(|(a, b)| a == b).count()
    };
    let with = ensemble_of(&h, &labels, 8, 8);
    let without = ensemble_of(&h, &labels, 8, 0);
    assert!(without.class_covariances.is_none());
    let (with, without) = (right(&with), right(&without));
    assert!(with > without + 10, "{with} with, {without} without a covariance a class, of {}", truth.len());
}

#[test]
fn a_class_of_one_row_and_rows_before_the_components_keep_the_shared_covariance() {
    let dim = 4;
    let settings = EnsembleSettings {
        components: 4,
        prior_rows: 5.0,
        random_features: 4,
        ..EnsembleSettings::default()
    };
    let mut ensemble = Ensemble::new(settings, dim, FeatureTransform::None, 1).unwrap();
    let (h, labels) = uneven_clusters(44, 2, 3, dim);
    ensemble.add(&Evidence::new(&h, &labels, &[]).unwrap()).unwrap();
    assert!(ensemble.fit().unwrap().head.class_covariances.is_none(), "6 rows for 4 components");
    let (h, mut labels) = uneven_clusters(45, 2, 10, dim);
    labels.iter_mut().for_each(|label| label.0 += 2);
    labels[0] = ClassId(9);
    ensemble.add(&Evidence::new(&h, &labels, &[]).unwrap()).unwrap();
    let head = ensemble.fit().unwrap().head;
    let class_covariances = head.class_covariances.unwrap();
    let flat: Vec<bool> = class_covariances
        .weight
        .chunks_exact(class_covariances.components.terms())
        .map(|row| row.iter().all(|w| *w == 0.0))
        .collect();
    assert_eq!(head.lda.classes, [0, 1, 2, 3, 9].map(ClassId));
    assert_eq!(flat, [true, true, false, false, true]);
}
