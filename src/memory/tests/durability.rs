use std::fs;

use super::super::{Memory, lock::beside, schema, seal};
use super::*;
use crate::Error;

#[test]
fn reopens_with_everything() {
    let folder = tempfile::tempdir().unwrap();
    let (path, text) = filled(folder.path());
    let mut memory = Memory::open(Some(&path), &identity()).unwrap();
    assert_eq!(dump(&memory).unwrap(), text);
    let report = memory.check().unwrap();
    assert!(report.is_sound(), "{report:?}");
    assert!(report.rows > 60);
    drop(memory);
    assert_eq!(dump(&Memory::open_read_only(&path).unwrap()).unwrap(), text);
}

#[test]
fn acknowledged_changes_survive_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let copy = folder.path().join("copy.db");
    let mut memory = Memory::open(Some(&path), &identity()).unwrap();
    let mut rng = Rng::new(5, 0);
    for round in 0..12 {
        let stored = add(&mut memory, &mut rng, Some(["a", "b"][round % 2]));
        // What a killed process leaves: file and log, never closed.
        fs::copy(&path, &copy).unwrap();
        fs::copy(beside(&path, "-wal"), beside(&copy, "-wal")).unwrap();
        let mut after = Memory::open(Some(&copy), &identity()).unwrap();
        assert_eq!(dump(&after).unwrap(), dump(&memory).unwrap());
        assert!(after.history().unwrap().labels.iter().any(|entry| Some(entry.label_id) == stored.label));
        assert!(after.check().unwrap().is_sound());
        drop(after);
        fs::remove_file(&copy).unwrap();
    }
}

/// A log cut at any byte gives the state after some earlier change, never a mixture.
#[test]
fn torn_log_gives_an_earlier_state() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let mut memory = Memory::open(Some(&path), &identity()).unwrap();
    let mut rng = Rng::new(6, 0);
    let mut states = vec![dump(&memory).unwrap()];
    for _ in 0..6 {
        add(&mut memory, &mut rng, Some("a"));
        states.push(dump(&memory).unwrap());
    }
    let (main, log) = (fs::read(&path).unwrap(), fs::read(beside(&path, "-wal")).unwrap());
    let torn = folder.path().join("torn.db");
    let mut seen = std::collections::BTreeSet::new();
    for cut in (0..=log.len()).step_by(1031).chain([log.len()]) {
        fs::write(&torn, &main).unwrap();
        fs::write(beside(&torn, "-wal"), &log[..cut]).unwrap();
        let after = Memory::open(Some(&torn), &identity()).unwrap();
        let text = dump(&after).unwrap();
        seen.insert(
            states.iter().position(|state| *state == text).expect("a state that was once acknowledged"),
        );
    }
    assert_eq!(seen, (0..states.len()).collect());
}

/// A process that was killed while it wrote without a write-ahead log (a new state, or a copy that
/// was put back) leaves a journal, and pages that the journal takes back.
#[test]
fn a_reader_finds_the_state_as_it_was_before_what_a_killed_process_left_half_done() {
    let folder = tempfile::tempdir().unwrap();
    let (path, text) = filled(folder.path());
    let raw = rusqlite::Connection::open(&path).unwrap();
    let mode: String = raw.pragma_update_and_check(None, "journal_mode", "delete", |row| row.get(0)).unwrap();
    assert_eq!(mode, "delete");
    raw.pragma_update(None, "cache_size", 1).unwrap();
    raw.execute_batch("BEGIN; UPDATE contents SET thumbnail=zeroblob(500); UPDATE samples SET name='torn'")
        .unwrap();
    let killed = folder.path().join("killed.db");
    for ending in ["", "-journal"] {
        fs::copy(beside(&path, ending), beside(&killed, ending)).unwrap();
    }
    // The control: SQLite alone refuses a reader.
    let alone = rusqlite::Connection::open_with_flags(&killed, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY);
    alone.unwrap().pragma_query_value(None, "application_id", |row| row.get::<_, i64>(0)).unwrap_err();
    let reader = Memory::open_read_only(&killed).unwrap();
    assert_eq!(dump(&reader).unwrap(), text);
    assert!(!beside(&killed, "-journal").exists());
}

#[test]
fn refuses_other_features_and_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let (path, _) = filled(folder.path());
    let mut changed = vec![identity(); 5];
    changed[0].backbone_name = "large".to_owned();
    changed[1].backbone_sha256 = "cd".repeat(32);
    changed[2].feature_width = 32;
    changed[3].feature_class = "int8-tensorrt".to_owned();
    changed[4].preprocessing = "96 nearest".to_owned();
    for other in changed {
        let reason = reason(Memory::open(Some(&path), &other));
        assert!(reason.contains("start a new state file"), "{reason}");
    }
    assert_eq!(Memory::open_existing(&path).unwrap().identity(), &identity());
}

#[test]
fn second_writer_is_refused_with_the_pid_and_may_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let mut writer = Memory::open(Some(&path), &identity()).unwrap();
    add(&mut writer, &mut Rng::new(1, 0), Some("cup"));
    let reason = reason(Memory::open(Some(&path), &identity()));
    assert!(reason.contains(&std::process::id().to_string()), "{reason}");
    let mut reader = Memory::open_read_only(&path).unwrap();
    assert_eq!(dump(&reader).unwrap(), dump(&writer).unwrap());
    assert!(matches!(reader.label(crate::ids::SampleId(1), "key"), Err(Error::State { .. })));
    add(&mut writer, &mut Rng::new(2, 0), Some("key"));
    assert_eq!(reader.classes().unwrap().len(), 2);
    drop(writer);
    Memory::open(Some(&path), &identity()).unwrap();
}

#[test]
fn lock_of_a_dead_process_is_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    fs::write(beside(&path, ".lock"), "4194305").unwrap();
    let _memory = Memory::open(Some(&path), &identity()).unwrap();
    assert_eq!(fs::read_to_string(beside(&path, ".lock")).unwrap(), std::process::id().to_string());
}

#[test]
fn newer_schema_is_refused_and_older_migrated() {
    let folder = tempfile::tempdir().unwrap();
    let (path, _) = filled(folder.path());
    let raw = rusqlite::Connection::open(&path).unwrap();
    raw.pragma_update(None, "user_version", 99).unwrap();
    drop(raw);
    let reason = reason(Memory::open(Some(&path), &identity()));
    assert!(reason.contains("version 99") && reason.contains("newer kaizen"), "{reason}");

    let mut raw = rusqlite::Connection::open_in_memory().unwrap();
    let first = schema::Step::of_tables("CREATE TABLE a (x)");
    let second = schema::Step::of_tables("ALTER TABLE a ADD COLUMN y");
    schema::migrate(&mut raw, &[first]).unwrap();
    schema::migrate(&mut raw, &[first, second]).unwrap();
    raw.execute("INSERT INTO a (x, y) VALUES (1, 2)", []).unwrap();
    assert_eq!(raw.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0)).unwrap(), 2);
    assert!(schema::migrate(&mut raw, &[first]).is_err());
}

/// A step may change what is under a seal: it reads rows by their old columns and seals them anew.
#[test]
fn a_step_of_the_schema_may_change_sealed_columns_and_needs_a_writer() {
    const OLD: seal::Table = seal::table("notes", &["id", "text"]);
    const NEW: seal::Table = seal::table("notes", &["id", "text", "length"]);
    fn lengthen(connection: &rusqlite::Connection) -> super::super::fault::Outcome<()> {
        let rows: Vec<i64> = super::super::query::values(connection, "SELECT id FROM notes", [])?;
        let damaged = seal::damaged(connection, &OLD)?.1;
        for row in rows.into_iter().filter(|row| !damaged.contains(row)) {
            seal::rewrite(connection, &NEW, row, "length=length(text)", &[])?;
        }
        Ok(())
    }
    let tables = "CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT, checksum INTEGER)";
    let column = "ALTER TABLE notes ADD COLUMN length INTEGER";
    let steps = [schema::Step::of_tables(tables), schema::Step { tables: column, rows: Some(lengthen) }];
    let mut raw = rusqlite::Connection::open_in_memory().unwrap();
    schema::migrate(&mut raw, &steps[..1]).unwrap();
    for (id, text) in [(1, "cup"), (2, "a key")] {
        seal::insert(&raw, &OLD, rusqlite::params![id, text], &[]).unwrap();
    }
    raw.execute("UPDATE notes SET text='b key' WHERE id=2", []).unwrap();
    let refused = schema::supplement(&raw, &steps[1..]).unwrap_err().at(Path::new("x")).to_string();
    assert!(refused.contains("earlier version") && refused.contains("kaizen check"), "{refused}");
    schema::migrate(&mut raw, &steps).unwrap();
    let length: i64 = raw.query_row("SELECT length FROM notes WHERE id=1", [], |row| row.get(0)).unwrap();
    let (rows, damaged) = seal::damaged(&raw, &NEW).unwrap();
    assert_eq!((length, rows, damaged), (3, 2, vec![2]), "damage from before stays damage");
}

#[test]
fn refuses_what_is_no_state_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    assert!(reason(Memory::open_existing(&path)).contains("no such file"));
    fs::write(&path, "no database, but long enough to be taken for one".repeat(100)).unwrap();
    assert!(reason(Memory::open(Some(&path), &identity())).contains("not a SQLite database"));
    fs::write(&path, "").unwrap();
    assert!(reason(Memory::open(Some(&path), &identity())).contains("empty"));
    fs::remove_file(&path).unwrap();
    rusqlite::Connection::open(&path).unwrap().execute_batch("CREATE TABLE other (x)").unwrap();
    assert!(reason(Memory::open(Some(&path), &identity())).contains("not made by kaizen"));
    fs::remove_file(&path).unwrap();
    fs::write(beside(&path, "-wal"), "left over").unwrap();
    assert!(reason(Memory::open(Some(&path), &identity())).contains("write-ahead log"));
    assert!(Memory::open(Some(&folder.path().join("no/such/folder.db")), &identity()).is_err());
}

#[test]
fn half_made_state_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    fs::write(beside(&path, ".new"), "torn").unwrap();
    Memory::open(Some(&path), &identity()).unwrap();
    assert!(!beside(&path, ".new").exists());
}
