use std::path::Path;

use super::super::{FeatureIdentity, Memory, Rows, lock::beside, schema};
use super::{add, dump, features, filled, identity, latents, reason, sample};
use crate::Error;
use crate::memory::Sample;
use crate::rng::Rng;

fn cut(at: &str) -> FeatureIdentity {
    FeatureIdentity { cut: Some(at.to_owned()), ..identity() }
}

#[test]
fn latents_come_back_as_they_were_and_go_with_their_sample() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let mut rng = Rng::new(5, 0);
    let table = latents(&mut rng);
    let mut memory = Memory::open(Some(&path), &cut("a 2x2x3")).unwrap();
    let new =
        Sample { latents: Some(table.clone()), ..sample(&features(&mut rng, super::WIDTH), Some("cup")) };
    let stored = memory.add_sample(&new).unwrap();
    let later = add(&mut memory, &mut rng, None);
    assert_eq!(memory.without_latents().unwrap(), [later.sample]);
    memory.add_latents(later.sample, &table).unwrap();
    drop(memory);
    let mut memory = Memory::open(Some(&path), &cut("a 2x2x3")).unwrap();
    for sample in [stored.sample, later.sample] {
        assert_eq!(memory.latents(sample).unwrap().as_ref(), Some(&table));
    }
    memory.forget("cup").unwrap();
    assert_eq!(memory.latents(stored.sample).unwrap(), None);
    assert!(matches!(memory.add_latents(stored.sample, &table), Err(Error::NotFound { .. })));
}

#[test]
fn latents_of_another_cut_are_refused_and_a_whole_backbone_may_be_cut() {
    let folder = tempfile::tempdir().unwrap();
    let (path, _) = filled(folder.path());
    let memory = Memory::open(Some(&path), &cut("a 2x2x3")).unwrap();
    assert_eq!(memory.identity().cut.as_deref(), Some("a 2x2x3"));
    drop(memory);
    let other = reason(Memory::open(Some(&path), &cut("b 2x2x3")));
    assert!(other.contains("`a 2x2x3`") && other.contains("`b 2x2x3`"), "{other}");
    let none = reason(Memory::open(Some(&path), &identity()));
    assert!(none.contains("is not cut") && none.contains("start a new state file"), "{none}");

    // The tail of an 8-bit backbone is not in 8 bits: its features are others.
    let whole = FeatureIdentity { feature_class: "int8".to_owned(), ..identity() };
    let path = folder.path().join("int8.db");
    drop(Memory::open(Some(&path), &whole).unwrap());
    let asked = FeatureIdentity { cut: Some("a 2x2x3".to_owned()), ..whole };
    let refused = reason(Memory::open(Some(&path), &asked));
    assert!(refused.contains("int8") && refused.contains("kaizen rebase"), "{refused}");
}

#[test]
fn a_state_from_before_latents_is_read_as_it_is_and_brought_up_to_date_by_a_writer() {
    let folder = tempfile::tempdir().unwrap();
    let (path, _) = filled(folder.path());
    let raw = rusqlite::Connection::open(&path).unwrap();
    let older = "DROP TABLE latents; DROP TABLE checkpoints; DROP TABLE removals; PRAGMA user_version=1";
    raw.execute_batch(older).unwrap();
    drop(raw);
    let before = std::fs::read(&path).unwrap();
    let reader = Memory::open_read_only(&path).unwrap();
    let read = dump(&reader).unwrap();
    let samples = reader.samples(Rows::Training).unwrap();
    assert_eq!(reader.latents(samples[0].id).unwrap(), None);
    drop(reader);
    assert_eq!(std::fs::read(&path).unwrap(), before, "a reader does not write");
    // Without its copy it stays as it is.
    let kept = beside(&path, ".schema-1");
    let in_the_way = beside(&kept, ".kaizen-copy");
    std::fs::create_dir(&in_the_way).unwrap();
    Memory::open(Some(&path), &identity()).unwrap_err();
    assert_eq!(dump(&Memory::open_read_only(&path).unwrap()).unwrap(), read);
    assert_eq!(version(&path), 1);
    std::fs::remove_dir(&in_the_way).unwrap();
    let memory = Memory::open(Some(&path), &identity()).unwrap();
    assert_eq!(dump(&memory).unwrap(), read);
    drop(memory);
    assert_eq!(version(&path), schema::MIGRATIONS.len());
    assert_eq!(version(&kept), 1);
    assert_eq!(dump(&Memory::open_read_only(&kept).unwrap()).unwrap(), read);
}

fn version(path: &Path) -> usize {
    let raw = rusqlite::Connection::open(path).unwrap();
    let version: u32 = raw.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    version as usize
}
