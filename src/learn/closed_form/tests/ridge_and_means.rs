use super::*;

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
    for bad in [0.0, f64::NAN] {
        assert!(matches!(ridge.fit(bad), Err(Error::Config { field: "lambda", .. })));
    }
    // The second moment of equal rows is singular, and this lambda is rounded away beside it.
    let mut few = RidgeHead::new(plain(dim));
    few.add(&[1.0; 20][..], Responsibilities::Labels(&labels[..4])).unwrap();
    assert!(matches!(few.fit(1e-30), Err(Error::Refused { .. })));
    assert!(matches!(RidgeHead::new(plain(dim)).fit(1.0), Err(Error::NotReady { .. })));
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
    means.add(&[0.1, 1.0, 0.1, 2.0, 0.1, 5.0][..], Responsibilities::Labels(&labels)).unwrap();
    let head = means.fit().unwrap();
    assert_eq!(head.weight[0], 0.0);
    assert_eq!(head.predict(&[1e6, 1.4, -1e6, 4.9]).unwrap(), [ClassId(0), ClassId(1)]);
}
