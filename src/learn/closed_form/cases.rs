//! Behaviour that all closed forms share, held against naive f64 computations.

use super::*;
use crate::ids::ClassId;
use crate::rng::Rng;

/// Rows h [N, D] around one mean a class, values of both signs, and their labels.
pub(super) fn clusters(
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

#[test]
fn lda_agrees_with_its_definition() {
    let (classes, dim) = (4, 6);
    let (h, labels) = clusters(1, 4, 15, dim, 0.7);
    let (test, _) = clusters(2, 4, 5, dim, 1.0);
    let settings = LdaSettings { shrinkage: 0.2, priors: Priors::Equal };
    let model = lda_of(&h, &labels, plain(dim)).fit(settings).unwrap();
    let (means, precision) = naive_lda(&h, &labels, classes, dim, 0.2);
    let distances = model.geometry.distances(&test).unwrap();
    let probabilities = model.head.probabilities(&test).unwrap();
    for (index, row) in test.chunks_exact(dim).enumerate() {
        let wanted: Vec<f64> =
            means.chunks_exact(dim).map(|mean| naive_distance(row, mean, &precision)).collect();
        let least = wanted.iter().copied().fold(f64::INFINITY, f64::min);
        let total: f64 = wanted.iter().map(|distance| (-0.5 * (distance - least)).exp()).sum();
        for (class, &distance) in wanted.iter().enumerate() {
            let at = index * classes + class;
            assert!((f64::from(distances[at]) - distance).abs() < 1e-4 * distance);
            let share = (-0.5 * (distance - least)).exp() / total;
            assert!((f64::from(probabilities[at]) - share).abs() < 1e-4);
        }
    }
}

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

#[test]
fn count_priors_shift_the_logits_by_their_logarithms() {
    let (mut h, mut labels) = clusters(3, 2, 10, 3, 0.5);
    h.truncate(3 * 19);
    labels.truncate(19);
    let lda = lda_of(&h, &labels, plain(3));
    let equal = lda.fit(LdaSettings::default()).unwrap().head.bias;
    let counted =
        lda.fit(LdaSettings { priors: Priors::Counts, ..LdaSettings::default() }).unwrap().head.bias;
    for (class, count) in [10.0_f32, 9.0].into_iter().enumerate() {
        assert!((counted[class] - equal[class] - (count / 19.0).ln()).abs() < 1e-5);
    }
}

#[test]
fn novelty_is_the_distance_less_most_of_that_to_the_mean_of_all_rows() {
    let (dim, classes) = (4, 3);
    let (mut h, mut labels) = clusters(31, 3, 12, dim, 0.6);
    h.truncate(34 * dim);
    labels.truncate(34);
    let (means, precision) = naive_lda(&h, &labels, classes, dim, 0.3);
    let centre: Vec<f64> =
        (0..dim).map(|j| h.iter().skip(j).step_by(dim).map(|&v| f64::from(v)).sum::<f64>() / 34.0).collect();
    let model = lda_of(&h, &labels, plain(dim)).fit(LdaSettings::default()).unwrap();
    for (row, got) in h.chunks_exact(dim).zip(model.geometry.novelty(&h).unwrap()) {
        let distances = means.chunks_exact(dim).map(|mean| naive_distance(row, mean, &precision));
        let shared = naive_distance(row, &centre, &precision);
        let wanted = distances.fold(f64::INFINITY, f64::min) - f64::from(SHARED) * shared;
        assert!((f64::from(got) - wanted).abs() < 1e-3 * wanted.abs().max(1.0), "{got} is not {wanted}");
    }
}

#[test]
fn a_left_out_row_is_as_novel_as_if_it_had_not_been_learned() {
    // So many rows that freedom and shrinkage target, which are held, hardly change with one of them; so many features
    // that the row's own share in the covariance counts.
    let (dim, classes, each) = (24, 3, 40);
    let (h, labels) = clusters(32, classes, each, dim, 0.6);
    let model = lda_of(&h, &labels, plain(dim)).fit(LdaSettings::default()).unwrap();
    let kept = model.left_out_novelty(&h, &labels).unwrap();
    let learned = model.geometry.novelty(&h).unwrap();
    let mut closer = 0;
    for row in (0..labels.len()).step_by(3) {
        let own = &h[row * dim..(row + 1) * dim];
        let rest = [&h[..row * dim], &h[(row + 1) * dim..]].concat();
        let names = [&labels[..row], &labels[row + 1..]].concat();
        let (means, precision) = naive_lda(&rest, &names, classes as usize, dim, 0.3);
        // The mean of all rows with the classes' proportions held.
        let centre: Vec<f64> =
            (0..dim).map(|j| means.iter().skip(j).step_by(dim).sum::<f64>() / f64::from(classes)).collect();
        let mean = &means[labels[row].0 as usize * dim..][..dim];
        let shared = naive_distance(own, &centre, &precision);
        let wanted = naive_distance(own, mean, &precision) - f64::from(SHARED) * shared;
        let off = |got: f32| (f64::from(got) - wanted).abs();
        assert!(off(kept[row]) < 0.02 * wanted.abs().max(1.0), "{} for {wanted}", kept[row]);
        closer += u32::from(off(kept[row]) < off(learned[row]));
    }
    // The control: what the learned row itself says is farther off.
    assert!(closer > 35, "{closer}");
}

#[test]
fn left_out_rows_of_a_small_lesson_are_as_novel_as_new_rows_of_their_classes() {
    // Lessons of 16 rows of each of two classes, each with as many new ones.
    let (dim, lesson) = (12, 32);
    let (h, labels) = clusters(7, 2, 16 * 80, dim, 0.3);
    let (mut kept, mut new) = (Vec::new(), Vec::new());
    for (h, labels) in h.chunks_exact(2 * lesson * dim).zip(labels.chunks_exact(2 * lesson)) {
        let ((known, rest), names) = (h.split_at(lesson * dim), &labels[..lesson]);
        let model = lda_of(known, names, plain(dim)).fit(LdaSettings::default()).unwrap();
        kept.extend(model.left_out_novelty(known, names).unwrap());
        new.extend(model.geometry.novelty(rest).unwrap());
    }
    let mean = |values: &[f32]| values.iter().sum::<f32>() / values.len() as f32;
    let (kept, new) = (mean(&kept), mean(&new));
    assert!((kept - new).abs() < 0.03 * new.abs(), "{kept} left out, {new} new");
}

#[test]
fn ridge_agrees_with_its_definition() {
    let (classes, dim, lambda) = (3, 5, 2.5);
    let (h, labels) = clusters(4, 3, 12, dim, 0.8);
    let mut ridge = RidgeHead::new(plain(dim));
    ridge.add(&h, Responsibilities::Labels(&labels)).unwrap();
    let head = ridge.fit(lambda).unwrap();
    let at = |row: usize, j: usize| f64::from(h[row * dim + j]);
    let gram: Vec<f64> = (0..dim * dim)
        .map(|k| {
            let sum: f64 = (0..labels.len()).map(|row| at(row, k / dim) * at(row, k % dim)).sum();
            sum + if k / dim == k % dim { lambda } else { 0.0 }
        })
        .collect();
    let gram = inverse(&gram, dim);
    for class in 0..classes {
        for j in 0..dim {
            let rows = (0..labels.len()).filter(|&row| labels[row].0 as usize == class);
            let wanted: f64 =
                rows.map(|row| (0..dim).map(|k| gram[j * dim + k] * at(row, k)).sum::<f64>()).sum();
            assert!((f64::from(head.weight[class * dim + j]) - wanted).abs() < 1e-5);
        }
    }
    assert!(ridge.fit(0.0).is_err() && ridge.fit(f64::NAN).is_err());
}

#[test]
fn ridge_picks_the_lambda_that_names_held_out_rows_best() {
    let map = FeatureMap::random_relu(8, FeatureTransform::L2, 120, 3).unwrap();
    let (h, labels) = clusters(5, 6, 40, 8, 1.0);
    let (train, held) = h.split_at(8 * 60);
    let mut ridge = RidgeHead::new(map);
    ridge.add(train, Responsibilities::Labels(&labels[..60])).unwrap();
    let grid = [1e-4, 1.0, 1e6];
    let (head, scores) = ridge.fit_best(&grid, held, &labels[60..]).unwrap();
    let best = scores.iter().map(|score| score.accuracy).fold(0.0, f64::max);
    let named = head.predict(held).unwrap();
    let right = named.iter().zip(&labels[60..]).filter(|(a, b)| a == b).count();
    assert!((right as f64 / 180.0 - best).abs() < 1e-12);
    assert!(scores[0].accuracy < scores[1].accuracy, "no regularisation at all must overfit: {scores:?}");
    assert!(ridge.fit_best(&[], held, &labels[60..]).is_err());
    assert!(ridge.fit_best(&grid, &[], &[]).is_err());
}

#[test]
fn removed_rows_are_as_if_never_added() {
    let (h, labels) = clusters(6, 5, 30, 7, 1.0);
    let shares: Vec<f32> = (0..150 * 2).map(|at| (at % 7) as f32 / 7.0).collect();
    let soft = Responsibilities::Soft { classes: &[ClassId(1), ClassId(9)], shares: &shares };
    let map = FeatureMap::new(7, FeatureTransform::L2).unwrap();
    let kept = lda_of(&h[..70 * 7], &labels[..70], map.clone());
    let mut lda = lda_of(&h, &labels, map.clone());
    lda.add(&h, soft).unwrap();
    lda.remove(&h[70 * 7..], Responsibilities::Labels(&labels[70..])).unwrap();
    lda.remove(&h, soft).unwrap();
    assert_eq!(lda.moments().counts(), kept.moments().counts());
    let (got, wanted) = (lda.moments().state(), kept.moments().state());
    let pairs = got.second.iter().zip(&wanted.second).chain(got.sums.iter().zip(&wanted.sums));
    for (got, wanted) in pairs {
        assert!((got - wanted).abs() < 1e-9);
    }
    let weights = |lda: &StreamingLda| lda.fit(LdaSettings::default()).unwrap().head.weight;
    for (got, wanted) in weights(&lda).iter().zip(weights(&kept)) {
        assert!((got - wanted).abs() <= 1e-5 * wanted.abs().max(1.0));
    }
    let mut means = ClassMeans::new(map.clone(), MeanDistance::Standardised);
    means.add(&h, Responsibilities::Labels(&labels)).unwrap();
    means.remove(&h[70 * 7..], Responsibilities::Labels(&labels[70..])).unwrap();
    let mut never = ClassMeans::new(map, MeanDistance::Standardised);
    never.add(&h[..70 * 7], Responsibilities::Labels(&labels[..70])).unwrap();
    for (got, wanted) in means.fit().unwrap().weight.iter().zip(never.fit().unwrap().weight) {
        assert!((got - wanted).abs() <= 1e-4 * wanted.abs().max(1.0));
    }
}

#[test]
fn more_rows_than_were_added_cannot_be_removed() {
    let (h, labels) = clusters(7, 2, 3, 4, 1.0);
    let mut lda = lda_of(&h, &labels, plain(4));
    let before = lda.moments().state();
    assert!(lda.remove(&h[..4], Responsibilities::Labels(&[ClassId(5)])).is_err());
    assert!(lda.remove(&h[..16], Responsibilities::Labels(&[ClassId(0); 4])).is_err());
    assert_eq!(lda.moments().state(), before);
}

#[test]
fn order_and_batches_do_not_matter_and_classes_grow() {
    let (h, labels) = clusters(8, 6, 20, 5, 0.6);
    let whole = lda_of(&h, &labels, plain(5)).fit(LdaSettings::default()).unwrap();
    let mut lda = StreamingLda::new(plain(5));
    for class in (0..6).rev() {
        for (row, label) in h.chunks_exact(5).zip(&labels).filter(|(_, label)| label.0 == class) {
            lda.add(row, Responsibilities::Labels(&[*label])).unwrap();
        }
        let model = lda.fit(LdaSettings::default()).unwrap();
        assert_eq!(model.head.classes, (class..6).map(ClassId).collect::<Vec<_>>());
        assert_eq!(model.head.weight.len(), (6 - class as usize) * 5);
    }
    let parts = lda.fit(LdaSettings::default()).unwrap();
    for (got, wanted) in parts.head.logits(&h).unwrap().iter().zip(whole.head.logits(&h).unwrap()) {
        assert!((got - wanted).abs() < 1e-3);
    }
}

#[test]
fn few_rows_of_any_rank_give_finite_heads() {
    let settings = LdaSettings::default();
    let (h, labels) = clusters(9, 3, 1, 12, 0.5);
    let one_each = lda_of(&h, &labels, plain(12)).fit(settings).unwrap();
    assert_eq!(one_each.head.predict(&h).unwrap(), labels);
    let single = lda_of(&h[..12], &labels[..1], plain(12)).fit(settings).unwrap();
    assert_eq!(single.head.probabilities(&h).unwrap(), [1.0; 3]);
    assert!(
        single.geometry.novelty(&h[..12]).unwrap()[0] < 1e-6
            && single.geometry.novelty(&h[12..]).unwrap()[0] > 1.0
    );
    let zeros =
        lda_of(&[0.0; 24], &[ClassId(0), ClassId(1)], FeatureMap::new(12, FeatureTransform::SqrtL2).unwrap());
    assert_eq!(zeros.fit(settings).unwrap().head.probabilities(&[0.0; 12]).unwrap(), [0.5, 0.5]);
    let (h, labels) = clusters(10, 2, 3, 12, 0.5);
    let deficient = lda_of(&h, &labels, plain(12));
    assert_eq!(deficient.fit(settings).unwrap().head.predict(&h).unwrap(), labels);
    let refused = deficient.fit(LdaSettings { shrinkage: 0.0, ..settings });
    assert!(refused.unwrap_err().to_string().contains("shrinkage"));
    assert!(deficient.fit(LdaSettings { shrinkage: 1.5, ..settings }).is_err());
    assert!(StreamingLda::new(plain(2)).fit(settings).is_err());
}

#[test]
fn bad_rows_are_refused_and_change_nothing() {
    let mut lda = StreamingLda::new(plain(2));
    let one = [ClassId(0)];
    assert!(lda.add(&[1.0, f32::NAN], Responsibilities::Labels(&one)).is_err());
    assert!(lda.add(&[1.0, 2.0, 3.0], Responsibilities::Labels(&one)).is_err());
    assert!(lda.add(&[1.0, 2.0, 3.0, 4.0], Responsibilities::Labels(&one)).is_err());
    for (classes, shares) in
        [(&[ClassId(0), ClassId(0)], [0.5, 0.5]), (&[ClassId(0), ClassId(1)], [0.5, -0.5])]
    {
        assert!(lda.add(&[1.0, 2.0], Responsibilities::Soft { classes, shares: &shares }).is_err());
    }
    assert!(lda.moments().counts().is_empty());
    assert!(lda.moments().state().classes.is_empty());
}

#[test]
fn stored_statistics_go_on_where_they_stopped() {
    let (h, labels) = clusters(11, 3, 6, 4, 1.0);
    let lda = lda_of(&h, &labels, plain(4));
    let moments = Moments::from_state(4, lda.moments().state()).unwrap();
    let copy = StreamingLda::from_moments(plain(4), moments.clone()).unwrap();
    let fit = |lda: &StreamingLda| lda.fit(LdaSettings::default()).unwrap().head.weight;
    assert_eq!(fit(&copy), fit(&lda));
    assert!(StreamingLda::from_moments(plain(5), moments).is_err());
    let mut twice = lda.moments().state();
    twice.classes[1] = twice.classes[0];
    assert!(Moments::from_state(4, twice).is_err());
    let mut infinite = lda.moments().state();
    infinite.sums[0] = f64::INFINITY;
    assert!(Moments::from_state(4, infinite).is_err());
}

#[test]
fn class_means_agree_with_their_distances() {
    let (classes, dim) = (3, 4);
    let (h, labels) = clusters(12, 3, 9, dim, 0.8);
    let fit = |distance, transform| {
        let mut means = ClassMeans::new(FeatureMap::new(dim, transform).unwrap(), distance);
        means.add(&h, Responsibilities::Labels(&labels)).unwrap();
        means.fit().unwrap()
    };
    let (means, _) = naive_lda(&h, &labels, classes, dim, 0.5);
    let rows = labels.len() as f64;
    let variance: Vec<f64> = (0..dim)
        .map(|j| {
            let column = h.iter().skip(j).step_by(dim).map(|&value| f64::from(value));
            let mean = column.clone().sum::<f64>() / rows;
            column.map(|value| (value - mean).powi(2)).sum::<f64>() / rows
        })
        .collect();
    let logits = fit(MeanDistance::Standardised, FeatureTransform::None).logits(&h).unwrap();
    for (index, row) in h.chunks_exact(dim).enumerate() {
        let wanted = |class: usize| -> f64 {
            (0..dim).map(|j| (f64::from(row[j]) - means[class * dim + j]).powi(2) / variance[j]).sum::<f64>()
                * -0.5
        };
        let offset = f64::from(logits[index * classes]) - wanted(0);
        for class in 1..classes {
            assert!((f64::from(logits[index * classes + class]) - wanted(class) - offset).abs() < 1e-4);
        }
    }
    let cosines = fit(MeanDistance::Cosine, FeatureTransform::L2).logits(&h).unwrap();
    assert!(cosines.iter().all(|cosine| cosine.abs() <= 1.0 + 1e-6));
}

#[test]
fn features_that_never_vary_do_not_decide() {
    let mut means = ClassMeans::new(plain(2), MeanDistance::Standardised);
    let labels = [ClassId(0), ClassId(0), ClassId(1)];
    means.add(&[0.1, 1.0, 0.1, 2.0, 0.1, 5.0], Responsibilities::Labels(&labels)).unwrap();
    let head = means.fit().unwrap();
    assert_eq!(head.weight[0], 0.0);
    assert_eq!(head.predict(&[1e6, 1.4, -1e6, 4.9]).unwrap(), [ClassId(0), ClassId(1)]);
}

#[test]
fn soft_shares_of_one_and_labels_are_the_same() {
    let (h, labels) = clusters(13, 2, 5, 3, 1.0);
    let shares: Vec<f32> =
        labels.iter().flat_map(|label| [f32::from(u8::from(label.0 == 0)), label.0 as f32]).collect();
    let mut soft = StreamingLda::new(plain(3));
    soft.add(&h, Responsibilities::Soft { classes: &[ClassId(0), ClassId(1)], shares: &shares }).unwrap();
    assert_eq!(soft.moments().state(), lda_of(&h, &labels, plain(3)).moments().state());
}
