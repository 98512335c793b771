use super::*;

#[test]
fn lda_agrees_with_its_definition() {
    let (classes, dim) = (4, 6);
    let (h, labels) = clusters(1, 4, 15, dim, 0.7);
    let (test, _) = clusters(2, 4, 5, dim, 1.0);
    let settings = LdaSettings { shrinkage: 0.2 };
    let model = lda_of(&h, &labels, plain(dim)).fit(settings).unwrap();
    let (means, precision) = naive_lda(&h, &labels, classes, dim, 0.2);
    let (distances, _) = model.geometry.distances(&test);
    let mut probabilities = model.head.logits(&test).unwrap();
    softmax_rows(&mut probabilities, classes);
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
    // So many rows that freedom and shrinkage target, which are held, hardly change with one of
    // them; so many features that the row's own share in the covariance counts.
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
    assert_eq!(single.head.predict(&h).unwrap(), [labels[0]; 3]);
    assert!(single.head.bias[0].is_sign_positive(), "the bias of a lone class is 0");
    assert!(
        single.geometry.novelty(&h[..12]).unwrap()[0] < 1e-6
            && single.geometry.novelty(&h[12..]).unwrap()[0] > 1.0
    );
    let zeros =
        lda_of(&[0.0; 24], &[ClassId(0), ClassId(1)], FeatureMap::new(12, FeatureTransform::SqrtL2).unwrap());
    let logits = zeros.fit(settings).unwrap().head.logits(&[0.0; 12]).unwrap();
    assert!(logits[0].is_finite() && logits[0] == logits[1]);
    let (h, labels) = clusters(10, 2, 3, 12, 0.5);
    let deficient = lda_of(&h, &labels, plain(12));
    assert_eq!(deficient.fit(settings).unwrap().head.predict(&h).unwrap(), labels);
    let refused = deficient.fit(LdaSettings { shrinkage: 0.0 }).unwrap_err();
    assert!(matches!(refused, Error::Refused { .. }) && refused.to_string().contains("larger shrinkage"));
    let beyond = deficient.fit(LdaSettings { shrinkage: 1.5 });
    assert!(matches!(beyond, Err(Error::Config { field: "shrinkage", .. })));
    assert!(matches!(StreamingLda::new(plain(2)).fit(settings), Err(Error::NotReady { .. })));
}

#[test]
fn bad_rows_are_refused_and_change_nothing() {
    let mut lda = StreamingLda::new(plain(2));
    let before = format!("{:?}", lda.moments());
    let one = Responsibilities::Labels(&[ClassId(0)]);
    for bad in [&[1.0, f32::NAN][..], &[1.0, 2.0, 3.0], &[1.0, 2.0, 3.0, 4.0]] {
        assert!(lda.add(bad, one).is_err());
    }
    let mut soft =
        |classes, shares| lda.add(&[1.0, 2.0][..], Responsibilities::Soft { classes, shares }).unwrap_err();
    assert!(matches!(soft(&[ClassId(0), ClassId(0)], &[0.5, 0.5]), Error::Shape { .. }));
    assert!(matches!(soft(&[ClassId(0), ClassId(1)], &[0.5, -0.5]), Error::Refused { .. }));
    assert_eq!(format!("{:?}", lda.moments()), before);
}

#[test]
fn soft_shares_of_one_and_labels_are_the_same() {
    let (h, labels) = clusters(13, 2, 5, 3, 1.0);
    let shares: Vec<f32> =
        labels.iter().flat_map(|label| [f32::from(u8::from(label.0 == 0)), label.0 as f32]).collect();
    let mut soft = StreamingLda::new(plain(3));
    soft.add(&h, Responsibilities::Soft { classes: &[ClassId(0), ClassId(1)], shares: &shares }).unwrap();
    let hard = lda_of(&h, &labels, plain(3));
    assert_eq!(format!("{:?}", soft.moments()), format!("{:?}", hard.moments()));
}
