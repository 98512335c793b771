use super::super::quota::MIN_QUOTA_BYTES;
use super::super::{Memory, NewVersion};
use super::*;
use crate::Error;

fn wide() -> FeatureIdentity {
    FeatureIdentity { feature_width: 384, ..identity() }
}

fn random_add(memory: &mut Memory, rng: &mut Rng) -> crate::Result<Vec<Stored>> {
    let thumbnail = vec![7; rng.below(6000)];
    let rows: Vec<Vec<f32>> = (0..=rng.below(4)).map(|_| features(rng, 384)).collect();
    let views = [features(rng, 384), features(rng, 384)];
    let name = format!("class {}", rng.below(5).min(rng.below(5)));
    let label = (rng.below(3) > 0).then_some(name.as_str());
    let batch: Vec<Sample> = rows
        .iter()
        .map(|row| Sample { views: views.to_vec(), thumbnail: Some(thumbnail.clone()), ..sample(row, label) })
        .collect();
    memory.add_samples(&batch)
}

#[test]
fn quota_is_never_exceeded() {
    let folder = tempfile::tempdir().unwrap();
    for quota in [MIN_QUOTA_BYTES, 3 << 20] {
        let path = folder.path().join(format!("{quota}.db"));
        let mut memory = Memory::open(Some(&path), &wide()).unwrap();
        memory.set_quota_bytes(quota).unwrap();
        let mut rng = Rng::new(quota, 0);
        let mut most = 0;
        let mut added = std::collections::BTreeSet::new();
        for round in 0..400 {
            added.extend(random_add(&mut memory, &mut rng).unwrap().iter().map(|stored| stored.sample));
            if round % 40 == 0 {
                let figures = figures(&format!("round {round}"));
                let heads = vec![1; 60_000];
                memory
                    .publish(NewVersion { heads: &heads, head_kind: "trained", figures: &figures })
                    .unwrap();
                memory.save_training(&vec![2; 30_000]).unwrap();
            }
            most = most.max(memory.bytes().unwrap());
            assert!(most <= quota, "{most} of {quota} bytes in round {round}");
        }
        assert!(most > quota / 2, "only {most} of {quota} bytes used");
        let counts = memory.counts().unwrap();
        let kept = counts.training + counts.held_out + counts.unlabelled;
        // Of a sample that never had a label nothing is left.
        let erased = added.len() as u64 - kept - counts.evicted;
        let dropped = "SELECT count(*) FROM versions WHERE status='published' AND heads IS NULL";
        let dropped: i64 = memory.connection.query_row(dropped, [], |row| row.get(0)).unwrap();
        assert!(counts.evicted > 0 && erased > 0 && dropped > 0, "{counts:?} {erased} {dropped}");
        assert_eq!(counts.classes, 5);
        assert!(memory.published().unwrap().unwrap().heads.is_some());
        assert!(memory.check().unwrap().is_sound());
    }
}

#[test]
fn eviction_keeps_classes_balanced_and_the_exemplars_apart() {
    let mut memory = Memory::open(None, &wide()).unwrap();
    let mut rng = Rng::new(21, 0);
    for _ in 0..40 {
        add(&mut memory, &mut rng, Some("rare"));
    }
    let middle = features(&mut rng, 384);
    for round in 0..900 {
        // Two in three are near one another, yet no near-duplicates.
        let noise = if round % 3 == 0 { 1.0 } else { 0.2 };
        let row: Vec<f32> = middle.iter().map(|x| x + noise * rng.normal()).collect();
        let views = [row.clone(), row.clone()];
        memory.add_sample(&Sample { views: views.to_vec(), ..sample(&row, Some("common")) }).unwrap();
    }
    assert!(memory.bytes().unwrap() > 2 * MIN_QUOTA_BYTES);
    memory.set_quota_bytes(MIN_QUOTA_BYTES).unwrap();
    assert!(memory.bytes().unwrap() <= MIN_QUOTA_BYTES);
    let rows = |memory: &Memory, class: u32| -> Vec<super::super::StoredSample> {
        let mut all = memory.samples(Rows::Training).unwrap();
        all.extend(memory.samples(Rows::HeldOut).unwrap());
        all.retain(|stored| stored.class.unwrap().0 == class);
        all
    };
    assert_eq!(rows(&memory, 0).len(), 40, "the small class is spared");
    let common = rows(&memory, 1);
    assert!(common.len() < 860, "{}", common.len());
    let apart = common.iter().filter(|stored| (stored.id.0 - 41) % 3 == 0).count();
    assert!(3 * apart > common.len(), "{apart} of {}: redundant samples go first", common.len());
}

#[test]
fn large_state_shrinks_to_the_quota_and_works_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let mut memory = Memory::open(Some(&path), &wide()).unwrap();
    let mut rng = Rng::new(22, 0);
    while memory.bytes().unwrap() < 5 << 20 {
        random_add(&mut memory, &mut rng).unwrap();
    }
    memory.set_quota_bytes(2 << 20).unwrap();
    for _ in 0..50 {
        assert!(memory.bytes().unwrap() <= 2 << 20, "{}", memory.bytes().unwrap());
        random_add(&mut memory, &mut rng).unwrap();
    }
    let name = memory.classes().unwrap()[0].1.clone();
    assert!(memory.forget(&name).unwrap() > 0);
    assert!(memory.bytes().unwrap() <= 2 << 20);
    assert!(memory.check().unwrap().is_sound());
}

#[test]
fn refuses_when_nothing_more_can_go() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let mut memory = Memory::open(Some(&path), &wide()).unwrap();
    assert!(matches!(memory.set_quota_bytes(1000), Err(Error::Config { .. })));
    memory.set_quota_bytes(MIN_QUOTA_BYTES).unwrap();
    let mut rng = Rng::new(23, 0);
    let thumbnail = vec![0; 40_000];
    let mut refused = None;
    for round in 0..40 {
        let row = features(&mut rng, 384);
        let name = format!("class {round}");
        let before = dump(&memory).unwrap();
        if let Err(error) =
            memory.add_sample(&Sample { thumbnail: Some(thumbnail.clone()), ..sample(&row, Some(&name)) })
        {
            assert_eq!(dump(&memory).unwrap(), before);
            refused = Some(error);
            break;
        }
    }
    let refused = refused.unwrap();
    assert!(matches!(refused, Error::Full { .. }) && refused.to_string().contains("raise the quota"));
    let figures = VersionFigures::default();
    let heads = vec![0; 1 << 20];
    let large = memory.publish(NewVersion { heads: &heads, head_kind: "trained", figures: &figures });
    let refused = large.unwrap_err();
    assert!(matches!(refused, Error::Full { .. }) && refused.to_string().contains("eighth"), "{refused}");
    assert!(memory.bytes().unwrap() <= MIN_QUOTA_BYTES);
}
