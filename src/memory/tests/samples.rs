use super::super::Memory;
use super::*;
use crate::Error;

#[test]
fn features_come_back_as_rounded() {
    let mut memory = Memory::open(None, &identity()).unwrap();
    let mut rng = Rng::new(1, 0);
    let (mine, view) = (features(&mut rng, WIDTH), features(&mut rng, WIDTH));
    let views = [view.clone(), mine.clone()];
    let new =
        Sample { views: views.to_vec(), thumbnail: Some(b"jpeg".to_vec()), ..sample(&mine, Some("cup")) };
    let stored = memory.add_sample(&new).unwrap();
    let round =
        |values: &[f32]| -> Vec<f32> { values.iter().map(|x| half::f16::from_f32(*x).to_f32()).collect() };
    assert_eq!(memory.samples(Rows::Training).unwrap()[0].features[..], round(&mine));
    assert_eq!(memory.views(stored.sample).unwrap(), [round(&view), round(&mine)]);
    assert_eq!(memory.thumbnail(stored.sample).unwrap().as_deref(), Some(&b"jpeg"[..]));
}

#[test]
fn wrong_width_and_values_that_are_not_finite_are_refused() {
    let mut memory = Memory::open(None, &identity()).unwrap();
    assert!(matches!(memory.add_sample(&sample(&[1.0; WIDTH - 1], None)), Err(Error::Shape { .. })));
    for poison in [f32::NAN, f32::INFINITY, 70_000.0] {
        assert!(matches!(memory.add_sample(&sample(&[poison; WIDTH], None)), Err(Error::Frame { .. })));
        let views = [vec![poison; WIDTH]];
        let new = Sample { views: views.to_vec(), ..sample(&[1.0; WIDTH], None) };
        assert!(matches!(memory.add_sample(&new), Err(Error::Frame { .. })));
    }
    assert_eq!(memory.counts().unwrap(), super::super::Counts::default());
}

#[test]
fn batch_is_kept_whole_or_not_at_all() {
    let mut memory = Memory::open(None, &identity()).unwrap();
    let mut rng = Rng::new(1, 0);
    let rows: Vec<Vec<f32>> = (0..5).map(|_| features(&mut rng, WIDTH)).collect();
    let mut batch: Vec<Sample> = rows.iter().map(|row| sample(row, Some("cup"))).collect();
    batch[4].label = Some(String::new());
    assert!(memory.add_samples(&batch).is_err());
    assert_eq!(memory.counts().unwrap().labels, 0);
    batch[4].label = None;
    assert_eq!(memory.add_samples(&batch).unwrap().len(), 5);
    assert_eq!(memory.counts().unwrap().labels, 4);
}

#[test]
fn repeated_frames_are_not_stored_again_and_their_labels_are() {
    let mut memory = Memory::open(None, &identity()).unwrap();
    let mut rng = Rng::new(4, 0);
    let mine = features(&mut rng, WIDTH);
    let near: Vec<f32> = mine.iter().map(|x| x + 0.003 * rng.normal()).collect();
    let first = memory.add_sample(&sample(&mine, None)).unwrap();
    let again = memory.add_sample(&sample(&near, Some("cup"))).unwrap();
    assert!(again.duplicate && again.sample == first.sample && again.label.is_some());
    let third = memory.add_sample(&sample(&near, Some("cup"))).unwrap();
    assert!(third.duplicate && third.label > again.label);
    let other = memory.add_sample(&sample(&near, Some("key"))).unwrap();
    assert!(!other.duplicate, "a sample of another class is no repetition");
    for _ in 0..20 {
        assert!(!add(&mut memory, &mut rng, Some("cup")).duplicate);
    }
    assert!(
        !memory.add_sample(&sample(&near, Some("cup"))).unwrap().duplicate,
        "nearly the same, but long ago"
    );
    assert!(memory.add_sample(&sample(&mine, Some("cup"))).unwrap().duplicate, "the same, long ago");
    let counts = memory.counts().unwrap();
    assert_eq!((counts.training + counts.held_out, counts.labels), (23, 25));
}

#[test]
fn one_in_six_is_held_out_but_no_class_lacks_training_rows() {
    let mut memory = Memory::open(None, &identity()).unwrap();
    let mut rng = Rng::new(8, 0);
    for round in 0..1200 {
        let stored = add(&mut memory, &mut rng, Some(&format!("class {}", round % 200)));
        assert!(round >= 400 || !stored.held_out, "the first two of a class train");
    }
    let counts = memory.counts().unwrap();
    let share = counts.held_out as f64 / 800.0;
    assert!((0.12..0.21).contains(&share), "{share}");
}

#[test]
fn what_trained_never_judges_and_every_class_trains() {
    let mut memory = Memory::open(None, &identity()).unwrap();
    let mut rng = Rng::new(12, 0);
    let mut trained = std::collections::BTreeSet::new();
    let mut labels = Vec::new();
    for _ in 0..300 {
        match rng.below(3) {
            0 if !labels.is_empty() => {
                let label = labels.swap_remove(rng.below(labels.len()));
                memory.undo(label).unwrap();
            }
            1 => {
                let count = memory.counts().unwrap();
                let all = count.training + count.held_out + count.unlabelled;
                let id = 1 + rng.below(usize::try_from(all).unwrap()) as i64;
                let name = format!("class {}", rng.below(6));
                labels.extend(memory.label(crate::ids::SampleId(id), &name));
            }
            _ => {
                let name = format!("class {}", rng.below(6));
                labels.extend(add(&mut memory, &mut rng, Some(&name)).label);
            }
        }
        let mut per_class = std::collections::BTreeMap::<_, (usize, usize)>::new();
        for stored in memory.samples(Rows::Training).unwrap() {
            trained.insert(stored.id);
            per_class.entry(stored.class).or_default().0 += 1;
        }
        for stored in memory.samples(Rows::HeldOut).unwrap() {
            assert!(!trained.contains(&stored.id));
            per_class.entry(stored.class).or_default().1 += 1;
        }
        assert!(
            per_class.values().all(|(training, held_out)| *training >= 2 || *held_out == 0),
            "{per_class:?}"
        );
    }
}
