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

/// The learner of a process that ended after the second lesson was published and before what was
/// learned was noted.
fn behind(path: &std::path::Path) -> FeatureLearner {
    let FeatureLearner { settings, memory, .. } = learner();
    let memory = Memory::open(Some(path), memory.identity()).unwrap();
    let mut learner = FeatureLearner::new(settings, memory, EngineChoice::Cpu).unwrap();
    let mut noted = Vec::new();
    for classes in [0..2, 2..3] {
        noted = learner.memory.load_training().unwrap().unwrap_or_default();
        for number in 0..16 {
            for class in classes.clone() {
                learner.add(&[frame(class, number, true)]).unwrap();
            }
        }
        learner.consolidate(&mut control()).unwrap();
    }
    learner.memory.save_training(&noted).unwrap();
    reopened(learner)
}

#[test]
fn what_was_published_and_not_noted_as_learned_is_removed_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let mut forgets = behind(&folder.path().join("forgets.db"));
    assert_eq!(names(&forgets).len(), 3);
    forgets.forget("class 2", &mut control()).unwrap();
    assert_eq!(names(&forgets), ["class 0", "class 1"]);
    // A label of the lesson that was not noted is learned no more either.
    let mut undoes = behind(&folder.path().join("undoes.db"));
    let before = heads(&undoes);
    let labels = undoes.memory().history().unwrap().labels;
    let label = labels.iter().rfind(|entry| entry.class_name == "class 2").unwrap().label_id;
    undoes.undo(label, &mut control()).unwrap();
    assert_ne!(heads(&undoes), before);
    undoes.consolidate(&mut control()).unwrap();
    assert_eq!(names(&undoes).len(), 3, "the lesson is learned by the next consolidation");
    // Without a removal nothing is learned anew for it.
    let mut learns = behind(&folder.path().join("learns.db"));
    let versions = learns.memory().history().unwrap().versions.len();
    learns.consolidate(&mut control()).unwrap();
    assert_eq!(learns.memory().history().unwrap().versions.len(), versions + 1, "one lesson, learned again");
}

/// Names of the classes that answer.
fn names(learner: &FeatureLearner) -> Vec<String> {
    let head = learner.serving().now().unwrap();
    head.classes().iter().map(|(_, name)| name.clone()).collect()
}

/// A learner of a state with labels of three classes, of which nothing was learned yet.
fn taught(path: &std::path::Path) -> FeatureLearner {
    let FeatureLearner { settings, memory, .. } = learner();
    let memory = Memory::open(Some(path), memory.identity()).unwrap();
    let mut learner = FeatureLearner::new(settings, memory, EngineChoice::Cpu).unwrap();
    for number in 0..12 {
        for class in 0..3 {
            learner.add(&[frame(class, number, true)]).unwrap();
        }
    }
    reopened(learner)
}

#[test]
fn what_was_taught_and_never_learned_is_removed_from_what_answers() {
    let folder = tempfile::tempdir().unwrap();
    let mut learner = taught(&folder.path().join("whole.db"));
    assert_eq!(names(&learner).len(), 3, "labels answer at once");
    learner.forget("class 1", &mut control()).unwrap();
    assert_eq!(names(&learner), ["class 0", "class 2"]);
    // Between the classes, where every label counts.
    let answer =
        |learner: &FeatureLearner| learner.serving().now().unwrap().probabilities(&[2.0; WIDTH]).unwrap();
    let before = answer(&learner);
    learner.undo(LabelId(1), &mut control()).unwrap();
    assert_ne!(answer(&learner), before, "the label was in what answers");
    let mut cut = taught(&folder.path().join("cut.db"));
    cut.memory.forget("class 1").unwrap();
    let mut next = reopened(cut);
    next.finish_removals().unwrap();
    assert_eq!(names(&next), ["class 0", "class 2"]);
}

/// A disk that is full, or an error, between the log and the heads.
#[test]
fn a_removal_that_fails_stays_marked_until_it_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let whole = {
        let mut learner = learned(&folder.path().join("whole.db"));
        learner.undo(LabelId(3), &mut control()).unwrap();
        heads(&learner)
    };
    let path = folder.path().join("fails.db");
    let mut learner = learned(&path);
    let fail = |sql: &str| rusqlite::Connection::open(&path).unwrap().execute_batch(sql).unwrap();
    fail("CREATE TRIGGER fails BEFORE INSERT ON versions BEGIN SELECT RAISE(ABORT, 'full'); END");
    learner.undo(LabelId(3), &mut control()).unwrap_err();
    assert_eq!(learner.memory().removals().unwrap().len(), 1);
    // Whatever comes next fails as well, and does not end it.
    learner.consolidate(&mut control()).unwrap_err();
    assert_eq!(learner.memory().removals().unwrap().len(), 1);
    assert!(learner.serving().now().is_none(), "what answers has the label");
    fail("DROP TRIGGER fails");
    learner.consolidate(&mut control()).unwrap();
    assert_eq!((heads(&learner), learner.memory().removals().unwrap()), (whole, Vec::new()));
    assert!(learner.serving().now().is_some());
}
