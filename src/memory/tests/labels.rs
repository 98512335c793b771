use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::{LabelId, LabelKind, Memory};
use super::*;
use crate::Error;
use crate::ids::{ClassId, SampleId};
use crate::rng::Rng;

fn class_of(memory: &Memory, sample: SampleId) -> Option<ClassId> {
    [Rows::Training, Rows::HeldOut]
        .into_iter()
        .flat_map(|rows| memory.samples(rows).unwrap())
        .find(|stored| stored.id == sample)
        .and_then(|stored| stored.class)
}

#[test]
fn undo_gives_the_earlier_label_back() {
    let mut memory = Memory::open(None, &identity()).unwrap();
    let stored = add(&mut memory, &mut Rng::new(1, 0), Some("cup"));
    let (cup, key) = (ClassId(0), ClassId(1));
    let wrong = memory.label(stored.sample, "key").unwrap();
    assert_eq!(memory.classes().unwrap(), [(key, "key".to_owned())]);
    assert_eq!(class_of(&memory, stored.sample), Some(key));
    assert_eq!(memory.undo(wrong).unwrap(), Some(cup));
    assert_eq!(class_of(&memory, stored.sample), Some(cup));
    assert_eq!(memory.classes().unwrap(), [(cup, "cup".to_owned())]);
    assert!(matches!(memory.undo(wrong), Err(Error::NotFound { .. })), "twice");
    assert_eq!(memory.undo(stored.label.unwrap()).unwrap(), None);
    assert_eq!(memory.samples(Rows::Unlabelled).unwrap().len(), 1);
    let kinds: Vec<LabelKind> = memory.history().unwrap().labels.iter().map(|entry| entry.kind).collect();
    assert_eq!(kinds, [LabelKind::Teach, LabelKind::Teach, LabelKind::Undo, LabelKind::Undo]);
    assert!(matches!(memory.undo(LabelId(3)), Err(Error::NotFound { .. })), "an undo is no label");
}

#[test]
fn forget_removes_the_class_and_its_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let mut memory = Memory::open(Some(&path), &identity()).unwrap();
    let mut rng = Rng::new(2, 0);
    let secret = b"a face that must not stay in the file";
    for round in 0..150 {
        let mine = features(&mut rng, WIDTH);
        let new = Sample { thumbnail: Some(secret.to_vec()), ..sample(&mine, Some("face")) };
        memory.add_sample(&new).unwrap();
        if round % 10 == 0 {
            add(&mut memory, &mut rng, Some("cup"));
        }
    }
    let holds = |memory: &Memory| {
        let bytes = std::fs::read(memory.path()).unwrap();
        bytes.windows(secret.len()).any(|window| window == secret)
    };
    memory.checkpoint().unwrap();
    assert!(holds(&memory));
    assert_eq!(memory.forget("face").unwrap(), 150);
    assert!(!holds(&memory));
    assert_eq!(std::fs::metadata(super::super::lock::beside(&path, "-wal")).unwrap().len(), 0);
    assert_eq!(memory.classes().unwrap().len(), 1);
    let counts = memory.counts().unwrap();
    assert_eq!((counts.forgotten, counts.training + counts.held_out, counts.classes), (150, 15, 1));
    assert_eq!(memory.forget("face").unwrap(), 0);
    assert!(matches!(memory.forget("nobody"), Err(Error::NotFound { .. })));
    let gone = memory.history().unwrap().labels[0].sample.unwrap();
    assert!(memory.label(gone, "cup").is_err());
    assert!(memory.check().unwrap().is_sound());
    add(&mut memory, &mut rng, Some("face"));
    assert_eq!(
        memory.classes().unwrap()[0],
        (ClassId(0), "face".to_owned()),
        "the same name is the same class"
    );
}

#[test]
fn log_is_append_only() {
    let mut memory = Memory::open(None, &identity()).unwrap();
    add(&mut memory, &mut Rng::new(1, 0), Some("cup"));
    let changed = memory.connection.execute("UPDATE labels SET class_id=0", []);
    assert!(changed.unwrap_err().to_string().contains("append-only"));
}

#[test]
fn names_that_cannot_be_shown_are_refused() {
    let mut memory = Memory::open(None, &identity()).unwrap();
    let stored = add(&mut memory, &mut Rng::new(1, 0), None);
    for name in ["", "  ", "a\nb", "\0"] {
        assert!(matches!(memory.label(stored.sample, name), Err(Error::Config { .. })), "{name:?}");
    }
    assert!(memory.classes().unwrap().is_empty());
}

#[derive(Clone, Debug)]
enum Action {
    Add(Option<u8>),
    Label(usize, u8),
    Undo(usize),
    Forget(u8),
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        3 => prop::option::of(0..4_u8).prop_map(Action::Add),
        4 => (0..12_usize, 0..4_u8).prop_map(|(sample, class)| Action::Label(sample, class)),
        4 => (0..24_usize).prop_map(Action::Undo),
        1 => (0..4_u8).prop_map(Action::Forget),
    ]
}

/// The label log as plain lists: per sample its labels, newest last.
#[derive(Default)]
struct Model {
    samples: BTreeMap<i64, Vec<(i64, u8)>>,
    forgotten: Vec<i64>,
}

impl Model {
    fn forget(&mut self, class: u8) -> usize {
        let of_class = |labels: &Vec<(i64, u8)>| labels.last().is_some_and(|label| label.1 == class);
        let gone: Vec<i64> =
            self.samples.iter().filter(|(_, labels)| of_class(labels)).map(|(id, _)| *id).collect();
        for id in &gone {
            self.samples.remove(id);
        }
        for labels in self.samples.values_mut() {
            labels.retain(|label| label.1 != class);
        }
        self.forgotten.extend(&gone);
        gone.len()
    }

    fn undo(&mut self, label: i64) -> bool {
        let mut found = false;
        for labels in self.samples.values_mut() {
            labels.retain(|entry| {
                found |= entry.0 == label;
                entry.0 != label
            });
        }
        found
    }
}

fn agree(memory: &mut Memory, model: &Model) {
    let names: BTreeMap<u32, String> =
        memory.classes().unwrap().into_iter().map(|(id, name)| (id.0, name)).collect();
    let mut seen = BTreeMap::new();
    for rows in [Rows::Training, Rows::HeldOut, Rows::Unlabelled] {
        for stored in memory.samples(rows).unwrap() {
            seen.insert(stored.id.0, stored.class.map(|class| names[&class.0].clone()));
        }
    }
    let expected: BTreeMap<i64, Option<String>> = model
        .samples
        .iter()
        .map(|(id, labels)| (*id, labels.last().map(|label| format!("class {}", label.1))))
        .collect();
    assert_eq!(seen, expected);
    let live: Vec<i64> = memory
        .history()
        .unwrap()
        .labels
        .iter()
        .filter(|entry| entry.live)
        .map(|entry| entry.label_id.0)
        .collect();
    let mut newest: Vec<i64> =
        model.samples.values().filter_map(|labels| labels.last()).map(|label| label.0).collect();
    newest.sort_unstable();
    assert_eq!(live, newest);
    assert!(memory.check().unwrap().is_sound());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn derived_labels_equal_a_plain_model(actions in prop::collection::vec(action(), 1..60)) {
        let mut memory = Memory::open(None, &identity()).unwrap();
        let mut model = Model::default();
        let mut rng = Rng::new(9, 0);
        for action in actions {
            match action {
                Action::Add(class) => {
                    let name = class.map(|class| format!("class {class}"));
                    let stored = add(&mut memory, &mut rng, name.as_deref());
                    let labels = stored.label.map(|label| (label.0, class.unwrap())).into_iter().collect();
                    model.samples.insert(stored.sample.0, labels);
                }
                Action::Label(sample, class) => {
                    let id = SampleId(sample as i64);
                    let labelled = memory.label(id, &format!("class {class}"));
                    let labels = model.samples.get_mut(&id.0);
                    prop_assert_eq!(labelled.is_ok(), labels.is_some());
                    if let (Ok(label), Some(labels)) = (labelled, labels) {
                        labels.push((label.0, class));
                    }
                }
                Action::Undo(label) => {
                    let done = memory.undo(LabelId(label as i64)).is_ok();
                    prop_assert_eq!(done, model.undo(label as i64));
                }
                Action::Forget(class) => {
                    if let Ok(count) = memory.forget(&format!("class {class}")) {
                        prop_assert_eq!(count, model.forget(class));
                    }
                }
            }
        }
        agree(&mut memory, &model);
    }
}

/// Checks the newest part of the history against the whole of it, in parts of three labels.
#[cfg(feature = "serve")]
fn check_newest(memory: &Memory) {
    use super::super::MostEntries;

    let history = memory.history().unwrap();
    let counting: Vec<_> = history.labels.into_iter().rev().filter(|entry| entry.counts).collect();
    let (mut before, mut found) = (LabelId(i64::MAX), Vec::new());
    loop {
        let newest = memory.newest(before, MostEntries { labels: 3, versions: 2 }).unwrap();
        assert_eq!(newest.labels_in_all as usize, counting.len());
        assert_eq!(newest.versions, history.versions.iter().rev().take(2).cloned().collect::<Vec<_>>());
        let Some(last) = newest.labels.last() else { break };
        assert!(newest.labels.len() <= 3 && last.label_id < before);
        before = last.label_id;
        found.extend(newest.labels);
    }
    assert_eq!(found, counting);
}

#[cfg(feature = "serve")]
#[test]
fn parts_of_the_history_are_those_of_the_whole() {
    let mut memory = Memory::open(None, &identity()).unwrap();
    let mut rng = Rng::new(5, 0);
    check_newest(&memory);
    for round in 0..120 {
        let name = ["cup", "key", "box"][rng.below(3)];
        let mut given = vec![add(&mut memory, &mut rng, Some(name)).label.unwrap()];
        let samples = memory.samples(Rows::Training).unwrap();
        if !samples.is_empty() {
            given.push(memory.label(samples[rng.below(samples.len())].id, "key").unwrap());
        }
        match round % 12 {
            3 | 7 => drop(memory.undo(given[rng.below(given.len())]).unwrap()),
            9 => drop(memory.forget(name).unwrap()),
            _ => {}
        }
        check_newest(&memory);
    }
}

/// The whole log of a class was once walked for every one of its labels.
#[cfg(feature = "serve")]
#[test]
fn a_hundred_thousand_labels_of_one_class_are_read_and_added_to_in_no_time() {
    use std::time::{Duration, Instant};

    use super::super::MostEntries;

    let mut memory = Memory::open(None, &identity()).unwrap();
    let mut rng = Rng::new(6, 0);
    let samples: Vec<SampleId> = (0..1000).map(|_| add(&mut memory, &mut rng, Some("cup")).sample).collect();
    for _ in 0..99 {
        memory.label_all(&samples, "cup").unwrap();
    }
    let most = MostEntries { labels: 200, versions: 100 };
    let mut fastest = Duration::MAX;
    for _ in 0..5 {
        let start = Instant::now();
        let newest = memory.newest(LabelId(i64::MAX), most).unwrap();
        fastest = fastest.min(start.elapsed());
        assert_eq!((newest.labels.len(), newest.labels_in_all), (200, 100_000));
    }
    let start = Instant::now();
    memory.label(samples[7], "key").unwrap();
    let label = start.elapsed();
    println!("newest part {fastest:?}, another label {label:?}");
    // Tests are run together and unoptimised ones too; alone it is some milliseconds.
    assert!(
        fastest < Duration::from_millis(50) && label < Duration::from_millis(50),
        "{fastest:?}, {label:?}"
    );
}
