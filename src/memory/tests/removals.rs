//! Removals that are cut short, and copies of a state.

use std::fs;

use super::super::label_log::LabelKind;
use super::super::lock::beside;
use super::super::quota::Cost;
use super::super::removals::mark;
use super::super::{LabelId, Memory, Rows};
use super::*;
use crate::Error;

/// A state in `folder` with labels of two classes, in which forgetting `gone` was cut short right
/// after its mark.
fn cut_short(folder: &Path) -> PathBuf {
    let path = folder.join("state.db");
    let mut memory = Memory::open(Some(&path), &identity()).unwrap();
    let mut rng = Rng::new(4, 0);
    for label in ["gone", "cup"] {
        for _ in 0..5 {
            add(&mut memory, &mut rng, Some(label));
        }
    }
    memory.write(Cost::of(0), |connection| mark(connection, 0, None)).unwrap();
    path
}

#[test]
fn a_forgetting_that_was_cut_short_is_known_to_the_next_process_and_finished_by_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = cut_short(folder.path());
    let mut memory = Memory::open(Some(&path), &identity()).unwrap();
    let removals = memory.removals().unwrap();
    assert_eq!((removals.len(), removals[0].to_string()), (1, "forgetting `gone`".to_owned()));
    assert_eq!(
        memory.samples(Rows::Training).unwrap().len() + memory.samples(Rows::HeldOut).unwrap().len(),
        10
    );
    // What is taught now would be erased with the rest.
    let refused = memory.add_sample(&sample(&[1.0; WIDTH], Some("gone"))).unwrap_err().to_string();
    assert!(refused.contains("cut short"), "{refused}");
    assert!(memory.check().unwrap().is_sound());
    assert_eq!(memory.finish_forgetting().unwrap(), 5);
    assert_eq!(memory.finish_forgetting().unwrap(), 0);
    assert_eq!(memory.classes().unwrap().len(), 1);
    assert_eq!(memory.removals().unwrap(), removals, "what was learned is still to follow");
    let again = add(&mut memory, &mut Rng::new(5, 0), Some("gone"));
    assert_eq!(memory.forget("gone").unwrap(), 1);
    assert!(memory.history().unwrap().labels.iter().any(|entry| entry.sample == Some(again.sample)));
    memory.end_removals().unwrap();
    assert_eq!(memory.removals().unwrap(), []);
    assert!(memory.check().unwrap().is_sound());
}

#[test]
fn an_undo_is_marked_in_the_same_transaction_until_it_is_ended() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let mut memory = Memory::open(Some(&path), &identity()).unwrap();
    let stored = add(&mut memory, &mut Rng::new(1, 0), Some("cup"));
    memory.undo(stored.label.unwrap()).unwrap();
    drop(memory);
    let mut memory = Memory::open(Some(&path), &identity()).unwrap();
    let removals = memory.removals().unwrap();
    assert_eq!((removals.len(), removals[0].label), (1, Some(LabelId(1))));
    assert_eq!(removals[0].to_string(), "undoing label 1 (`cup`)");
    assert!(matches!(memory.undo(LabelId(1)), Err(Error::NotFound { .. })));
    let kinds: Vec<_> = memory.history().unwrap().labels.iter().map(|entry| entry.kind).collect();
    assert_eq!(kinds, [LabelKind::Teach, LabelKind::Undo]);
    memory.end_removals().unwrap();
    assert_eq!(memory.removals().unwrap(), []);
}

#[test]
fn a_damaged_mark_is_dropped_and_said() {
    let folder = tempfile::tempdir().unwrap();
    let path = cut_short(folder.path());
    let raw = rusqlite::Connection::open(&path).unwrap();
    raw.execute("UPDATE removals SET class_id=1", []).unwrap();
    drop(raw);
    let mut memory = Memory::open(Some(&path), &identity()).unwrap();
    assert!(matches!(memory.removals(), Err(Error::Corrupt { .. })));
    let report = memory.check().unwrap();
    assert!(report.is_repaired() && report.damages[0].what.contains("forget again"), "{report:?}");
    assert_eq!(memory.removals().unwrap(), []);
    assert!(memory.check().unwrap().is_sound());
}

#[test]
fn a_copy_is_whole_in_one_file_and_holds_all_that_was_acknowledged_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let (path, _) = filled(folder.path());
    let copy = folder.path().join("copies").join("one.backup");
    let mut memory = Memory::open(Some(&path), &identity()).unwrap();
    assert!(matches!(memory.backup(&copy), Err(Error::Io { .. })), "there is no such folder");
    fs::create_dir(copy.parent().unwrap()).unwrap();
    add(&mut memory, &mut Rng::new(9, 0), Some("late"));
    let text = dump(&memory).unwrap();
    fs::write(beside(&copy, ".kaizen-copy"), "what a killed process left").unwrap();
    // From beside the writer, as `kaizen backup` does.
    let report = Memory::open_read_only(&path).unwrap().backup(&copy).unwrap();
    assert_eq!(report.bytes, fs::metadata(&copy).unwrap().len());
    assert!(report.rows > 60 && report.labels > 20, "{report:?}");
    assert_eq!(fs::read_dir(copy.parent().unwrap()).unwrap().count(), 1, "one file");
    assert_eq!(dump(&Memory::open_read_only(&copy).unwrap()).unwrap(), text);
    // The state goes on, and another copy takes the place of the first.
    add(&mut memory, &mut Rng::new(10, 0), Some("later"));
    memory.backup(&copy).unwrap();
    let mut restored = Memory::open(Some(&copy), &identity()).unwrap();
    assert_eq!(dump(&restored).unwrap(), dump(&memory).unwrap());
    assert!(restored.check().unwrap().is_sound());
    add(&mut restored, &mut Rng::new(11, 0), Some("goes on"));
}

#[test]
fn a_copy_replaces_neither_the_state_nor_another_file() {
    let folder = tempfile::tempdir().unwrap();
    let (path, text) = filled(folder.path());
    let memory = Memory::open(Some(&path), &identity()).unwrap();
    // The file that a copy grows in would be the state.
    let trap = folder.path().join("trap");
    std::os::unix::fs::symlink(&path, beside(&trap, ".kaizen-copy")).unwrap();
    let open = folder.path().join("open.db");
    fs::write(beside(&open, "-wal"), "of a program that writes").unwrap();
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let other = folder.path().join("letter.txt");
    fs::write(&other, "dear reader").unwrap();
    for (out, reason) in [
        (&path, "the state itself"),
        (&link, "the state itself"),
        (&beside(&path, "-wal"), "the state itself"),
        (&other, "no state"),
        (&trap, "the state itself"),
        (&open, "write-ahead log"),
    ] {
        let refused = memory.backup(out).unwrap_err().to_string();
        assert!(refused.contains(reason), "{}: {refused}", out.display());
    }
    assert_eq!(fs::read_to_string(&other).unwrap(), "dear reader");
    assert_eq!(dump(&memory).unwrap(), text);
}

#[test]
fn a_damaged_state_is_not_copied_over_a_sound_copy() {
    let folder = tempfile::tempdir().unwrap();
    let (path, text) = filled(folder.path());
    let copy = folder.path().join("copy");
    Memory::open_read_only(&path).unwrap().backup(&copy).unwrap();
    let raw = rusqlite::Connection::open(&path).unwrap();
    raw.execute("UPDATE samples SET name='another' WHERE id=3", []).unwrap();
    drop(raw);
    let refused = Memory::open_read_only(&path).unwrap().backup(&copy).unwrap_err();
    assert!(matches!(refused, Error::Corrupt { .. }), "{refused}");
    assert_eq!(dump(&Memory::open_read_only(&copy).unwrap()).unwrap(), text);
    assert!(!beside(&copy, ".kaizen-copy").exists());
}

#[test]
fn what_was_removed_is_overwritten_once_no_reader_needs_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let mut memory = Memory::open(Some(&path), &identity()).unwrap();
    let secret = b"a face that must not stay in the file";
    let new = Sample { thumbnail: Some(secret.to_vec()), ..sample(&[1.5; WIDTH], Some("face")) };
    memory.add_sample(&new).unwrap();
    memory.checkpoint().unwrap();
    let holds = || {
        let files = ["", "-wal"].map(|ending| fs::read(beside(&path, ending)).unwrap_or_default()).concat();
        files.windows(secret.len()).any(|window| window == secret)
    };
    let marks = || -> i64 {
        let raw = rusqlite::Connection::open(&path).unwrap();
        raw.query_row("SELECT count(*) FROM removals", [], |row| row.get(0)).unwrap()
    };
    // A reader in the middle of a long read, as a copy is.
    let reader = rusqlite::Connection::open(&path).unwrap();
    reader.execute_batch("BEGIN").unwrap();
    let _: i64 = reader.query_row("SELECT count(*) FROM samples", [], |row| row.get(0)).unwrap();
    memory.forget("face").unwrap();
    memory.end_removals().unwrap();
    assert!(memory.removals().unwrap().is_empty(), "nothing answers by it");
    assert!(holds() && marks() == 1, "the reader still needs the page, and that is noted");
    drop(reader);
    drop(memory);
    let _next = Memory::open_existing(&path).unwrap();
    assert!(!holds() && marks() == 0);
}
