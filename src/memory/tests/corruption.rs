use std::fs;

use super::super::Memory;
use super::*;
use crate::Error;

/// What a caller gets from a damaged file.
#[derive(Debug, PartialEq)]
enum Fate {
    Refused,
    Same,
    Detected { repaired: bool },
    Missed,
}

fn fate(path: &std::path::Path, original: &str) -> Fate {
    let Ok(mut memory) = Memory::open(Some(path), &identity()) else {
        return Fate::Refused;
    };
    let text = dump(&memory);
    let Ok(report) = memory.check() else {
        return Fate::Refused;
    };
    if report.is_sound() {
        return if text.is_ok_and(|text| text == original) { Fate::Same } else { Fate::Missed };
    }
    let repaired = report.is_repaired();
    if repaired {
        dump(&memory).unwrap_or_else(|error| panic!("{error} after {report:?}"));
        let again = memory.check().unwrap();
        assert!(again.is_sound(), "{again:?} after {report:?}");
    }
    Fate::Detected { repaired }
}

#[test]
fn flipped_bytes_are_refused_repaired_or_detected() {
    let folder = tempfile::tempdir().unwrap();
    let (path, original) = filled(folder.path());
    let sound = fs::read(&path).unwrap();
    let flipped = folder.path().join("flipped.db");
    let mut rng = Rng::new(11, 0);
    let (mut refused, mut repaired, mut lost, mut same) = (0, 0, 0, 0);
    let positions = (0..100).chain((0..700).map(|_| rng.below(sound.len()))).collect::<Vec<_>>();
    for position in positions {
        let mask = 1 << rng.below(8);
        let mut bytes = sound.clone();
        bytes[position] ^= mask;
        fs::write(&flipped, &bytes).unwrap();
        match fate(&flipped, &original) {
            Fate::Refused => refused += 1,
            Fate::Detected { repaired: true } => repaired += 1,
            Fate::Detected { repaired: false } => lost += 1,
            Fate::Same => same += 1,
            Fate::Missed => panic!("byte {position} ^ {mask}: damage was handed out as truth"),
        }
        for suffix in ["-wal", "-shm"] {
            let _absent = fs::remove_file(super::super::lock::beside(&flipped, suffix));
        }
    }
    println!("refused {refused}, repaired {repaired}, detected {lost}, without effect {same}");
    assert!(
        refused > 0 && repaired > 50,
        "refused {refused}, repaired {repaired}, detected {lost}, same {same}"
    );
}

/// A control for the tests above: with checksums made anew over the damage, it must be missed.
#[test]
fn without_checksums_damage_is_missed() {
    let folder = tempfile::tempdir().unwrap();
    let (path, original) = filled(folder.path());
    let raw = rusqlite::Connection::open(&path).unwrap();
    let blob: Vec<u8> =
        raw.query_row("SELECT features FROM contents WHERE sample_id=1", [], |row| row.get(0)).unwrap();
    let mut wrong = blob;
    wrong[0] ^= 1;
    let sum = super::super::seal::sum(&wrong);
    raw.execute("UPDATE contents SET features=?1 WHERE sample_id=1", [&wrong]).unwrap();
    drop(raw);
    assert_eq!(fate(&path, &original), Fate::Detected { repaired: true });

    let folder = tempfile::tempdir().unwrap();
    let (path, original) = filled(folder.path());
    let raw = rusqlite::Connection::open(&path).unwrap();
    raw.execute("UPDATE contents SET features=?1 WHERE sample_id=1", [&wrong]).unwrap();
    let values = (sum, 1);
    raw.execute("UPDATE samples SET features_sum=?1 WHERE id=?2", values).unwrap();
    super::super::seal::rewrite(&raw, &super::super::seal::SAMPLES, 1, "id=id", &[]).unwrap();
    drop(raw);
    assert_eq!(fate(&path, &original), Fate::Missed);
}

#[test]
fn truncated_files_are_refused_or_detected() {
    let folder = tempfile::tempdir().unwrap();
    let (path, original) = filled(folder.path());
    let sound = fs::read(&path).unwrap();
    let short = folder.path().join("short.db");
    for length in (0..sound.len()).step_by(509) {
        fs::write(&short, &sound[..length]).unwrap();
        let found = fate(&short, &original);
        assert!(matches!(found, Fate::Refused | Fate::Detected { .. }), "{length} bytes: {found:?}");
    }
}

/// SQL that damages a filled state, and what the check must say of it.
const DAMAGES: &[(&str, &str)] = &[
    ("UPDATE contents SET features=zeroblob(32) WHERE sample_id=2", "quarantined"),
    ("UPDATE contents SET thumbnail=zeroblob(5) WHERE sample_id=3", "thumbnail"),
    ("UPDATE samples SET held_out=1-held_out WHERE id=4", "description of sample"),
    ("UPDATE samples SET class_id=1-class_id WHERE id=4", "derived again"),
    ("UPDATE views SET features=zeroblob(32) WHERE sample_id=5 AND number=0", "views"),
    ("UPDATE latents SET codes=zeroblob(36) WHERE sample_id=5", "latents of sample 5"),
    ("UPDATE latents SET positions=3 WHERE sample_id=5", "latents of sample 5"),
    ("UPDATE checkpoints SET state=zeroblob(3)", "checkpoint"),
    ("DELETE FROM contents WHERE sample_id=6", "quarantined"),
    ("INSERT INTO contents SELECT id, zeroblob(32), NULL FROM samples WHERE state=2", "features of sample"),
    ("UPDATE classes SET name='cap' WHERE name='cup'", "class 0"),
    ("UPDATE training SET state=zeroblob(3)", "optimiser"),
    ("UPDATE versions SET heads=zeroblob(900) WHERE id=2", "version 1 serves"),
    ("UPDATE versions SET figures='{}' WHERE id=2", "version 1 serves"),
    ("DROP TRIGGER labels_append_only; UPDATE labels SET class_id=1 WHERE label_id=1", "label log"),
    ("PRAGMA foreign_keys=OFF; DELETE FROM samples WHERE id=4", "not there"),
];

#[test]
fn check_repairs_each_kind_of_row() {
    for &(sql, expected) in DAMAGES {
        let folder = tempfile::tempdir().unwrap();
        let (path, _) = filled(folder.path());
        let raw = rusqlite::Connection::open(&path).unwrap();
        let trigger: String = raw
            .query_row("SELECT sql FROM sqlite_schema WHERE type='trigger'", [], |row| row.get(0))
            .unwrap();
        raw.execute_batch(sql).unwrap();
        if sql.starts_with("DROP") {
            raw.execute_batch(&trigger).unwrap();
        }
        drop(raw);

        let mut reader = Memory::open_read_only(&path).unwrap();
        let judged = reader.check().unwrap();
        assert!(!judged.is_sound() && !judged.is_repaired(), "{sql}: {judged:?}");
        drop(reader);

        let mut memory = Memory::open(Some(&path), &identity()).unwrap();
        let log_rows = memory.counts().unwrap().labels;
        let report = memory.check().unwrap();
        assert!(report.is_repaired(), "{sql}: {report:?}");
        assert!(report.damages.iter().any(|damage| damage.what.contains(expected)), "{sql}: {report:?}");
        assert!(memory.check().unwrap().is_sound(), "{sql}");
        dump(&memory).unwrap();
        if expected == "quarantined" {
            assert_eq!(memory.counts().unwrap().quarantined, 1);
            assert_eq!(memory.counts().unwrap().labels, log_rows);
        }
    }
}

#[test]
fn damaged_rows_are_not_handed_out_or_sealed_over() {
    let folder = tempfile::tempdir().unwrap();
    let (path, _) = filled(folder.path());
    let raw = rusqlite::Connection::open(&path).unwrap();
    raw.execute_batch(
        "UPDATE contents SET features=zeroblob(32) WHERE sample_id=2;
         UPDATE samples SET name='x' WHERE id=2;
         UPDATE versions SET heads=zeroblob(9) WHERE id=2; UPDATE training SET state=zeroblob(3);",
    )
    .unwrap();
    drop(raw);
    let mut memory = Memory::open(Some(&path), &identity()).unwrap();
    let rows = [Rows::Training, Rows::HeldOut].map(|rows| memory.samples(rows));
    assert!(rows.iter().any(|rows| matches!(rows, Err(Error::Corrupt { .. }))));
    assert!(matches!(memory.published(), Err(Error::Corrupt { .. })));
    assert!(matches!(memory.load_training(), Err(Error::Corrupt { .. })));
    let sealed_over = memory.forget("key").unwrap_err();
    assert!(matches!(sealed_over, Error::Corrupt { .. }), "a damaged row must not be sealed again");
    assert!(memory.check().unwrap().is_repaired());
    memory.forget("key").unwrap();
}

/// SQL that takes the serving version away, and the version that serves after the repair.
const LOSSES: &[(&str, i64)] = &[
    ("DELETE FROM versions WHERE id=2", 1),
    ("UPDATE versions SET status='rolled_back' WHERE id=2", 1),
    ("PRAGMA ignore_check_constraints=ON; UPDATE versions SET status='pub' WHERE id=2", 1),
    ("UPDATE versions SET heads=NULL WHERE id=2", 1),
    ("UPDATE versions SET head_kind='ncm' WHERE id=2", 1),
    ("DELETE FROM sqlite_sequence WHERE name='versions'", 2),
    ("UPDATE sqlite_sequence SET seq=1099511627776 WHERE name='versions'", 2),
    ("UPDATE sqlite_sequence SET seq=1 WHERE name='versions'", 2),
];

#[test]
fn an_older_version_never_serves_unsaid() {
    for &(sql, serves) in LOSSES {
        let folder = tempfile::tempdir().unwrap();
        let (path, _) = filled(folder.path());
        rusqlite::Connection::open(&path).unwrap().execute_batch(sql).unwrap();
        let mut memory = Memory::open(Some(&path), &identity()).unwrap();
        let refusal = memory.published().unwrap_err().to_string();
        assert!(refusal.contains("kaizen check"), "{sql}: {refusal}");
        let report = memory.check().unwrap();
        assert!(!report.is_sound() && report.is_repaired(), "{sql}: {report:?}");
        assert_eq!(memory.published().unwrap().unwrap().entry.id.0, serves, "{sql}: {report:?}");
        let again = memory.check().unwrap();
        assert!(again.is_sound(), "{sql}: {again:?} after {report:?}");
        // Numbers go on after those that were lost.
        let figures = VersionFigures::default();
        let new = super::super::NewVersion { heads: b"new", head_kind: "slda", figures: &figures };
        assert_eq!(memory.publish(new).unwrap().0, 3, "{sql}");
    }
}
