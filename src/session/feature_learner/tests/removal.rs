//! Removals that were cut short between the label log and the heads.

use super::*;

fn control() -> TrainingControl<'static> {
    TrainingControl::new(Box::leak(Box::new(Discard)))
}

/// A learner in `path` that has learned three classes.
fn learned(path: &std::path::Path) -> FeatureLearner {
    let FeatureLearner { settings, memory, .. } = learner();
    let memory = Memory::open(Some(path), memory.identity()).unwrap();
    let mut learner = FeatureLearner::new(settings, memory, EngineChoice::Cpu).unwrap();
    for classes in [0..2, 2..3] {
        for number in 0..16 {
            for class in classes.clone() {
                learner.add(&[frame(class, number, true)]).unwrap();
            }
        }
        learner.consolidate(&mut control()).unwrap();
    }
    learner
}

/// The learner of the next process.
fn reopened(learner: FeatureLearner) -> FeatureLearner {
    let FeatureLearner { settings, memory, .. } = learner;
    let path = memory.path().to_path_buf();
    drop(memory);
    FeatureLearner::new(settings, Memory::open_existing(&path).unwrap(), EngineChoice::Cpu).unwrap()
}

/// A digest of the parameters of the head that serves.
fn heads(learner: &FeatureLearner) -> String {
    let heads = learner.memory().published().unwrap().unwrap().heads.unwrap();
    Parameters::from_safetensors(&heads).unwrap().digest()
}

/// The number of versions whose heads are on the disk.
fn versions_with_heads(learner: &FeatureLearner) -> i64 {
    let raw = rusqlite::Connection::open(learner.memory().path()).unwrap();
    raw.query_row("SELECT count(*) FROM versions WHERE heads IS NOT NULL", [], |row| row.get(0)).unwrap()
}

#[test]
fn a_class_whose_forgetting_was_cut_short_answers_nowhere_and_is_gone_once_it_is_finished() {
    let folder = tempfile::tempdir().unwrap();
    let whole = {
        let mut learner = learned(&folder.path().join("whole.db"));
        learner.forget("class 1", &mut control()).unwrap();
        heads(&learner)
    };
    let mut cut = learned(&folder.path().join("cut.db"));
    assert_eq!(versions_with_heads(&cut), 2);
    // Killed after the label log, before the heads.
    cut.memory.forget("class 1").unwrap();
    let mut next = reopened(cut);
    assert!(next.serving().now().is_none(), "what answers knows the class");
    let refused = PublishedHead::restore(next.memory(), next.settings()).unwrap_err().to_string();
    assert!(refused.contains("forgetting `class 1`"), "{refused}");
    let finished = next.finish_removals().unwrap();
    assert_eq!(finished.len(), 1);
    let names = next.serving().now().unwrap().classes().to_vec();
    assert!(names.iter().all(|(_, name)| name != "class 1") && names.len() == 2, "{names:?}");
    assert_eq!(versions_with_heads(&next), 1, "the heads that knew it are gone");
    assert_eq!(heads(&next), whole, "as if it had not been cut short");
    assert_eq!(next.finish_removals().unwrap(), []);
    let next = reopened(next);
    assert!(next.serving().now().is_some());
}

#[test]
fn a_label_whose_undo_was_cut_short_is_in_nothing_that_answers() {
    let folder = tempfile::tempdir().unwrap();
    let label = LabelId(3);
    let whole = {
        let mut learner = learned(&folder.path().join("whole.db"));
        learner.undo(label, &mut control()).unwrap();
        heads(&learner)
    };
    let mut cut = learned(&folder.path().join("cut.db"));
    let before = heads(&cut);
    cut.memory.undo(label).unwrap();
    let mut next = reopened(cut);
    assert!(next.serving().now().is_none());
    // A lesson finishes it as well.
    next.consolidate(&mut control()).unwrap();
    assert!(next.serving().now().is_some());
    assert_eq!(heads(&next), whole);
    assert_ne!(whole, before, "the label matters");
    assert_eq!(next.memory().removals().unwrap(), []);
}
