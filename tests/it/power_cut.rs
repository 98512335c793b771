//! Power cuts: SIGKILL leaves what the system has not written yet, a power cut does not. A library
//! loaded before libc records every change of the state's folder and every sync
//! (`tests/faults/recorder.c`); the folder is then rebuilt as it could be after a cut at many points,
//! and must hold everything that was acknowledged before.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use kaizen_edge::low_level::memory::Memory;
use kaizen_edge::low_level::rng::Rng;
use kaizen_edge::low_level::session::{LearnerSettings, PublishedHead};
use kaizen_edge::{Learner, Options};
use serde_json::Value;
use tempfile::TempDir;

use crate::state::Desk;
use crate::support;

/// What was done, in order.
#[derive(Debug)]
enum Event {
    Create(u64, String),
    Write(u64, usize, Vec<u8>),
    Truncate(u64, usize),
    Sync(u64),
    Rename(String, String),
    Unlink(String),
    SyncFolder,
    /// What the program wrote to its standard output.
    Said(String),
    /// The command that begins.
    Begins(String),
}

/// Reads a log of the recorder.
fn events(log: &[u8]) -> Vec<Event> {
    let (mut events, mut rest) = (Vec::new(), log);
    while !rest.is_empty() {
        let end = rest.iter().position(|byte| *byte == b'\n').unwrap();
        let line = std::str::from_utf8(&rest[..end]).unwrap();
        let [kind, inode, offset, length, name] = line.splitn(5, ' ').collect::<Vec<_>>().try_into().unwrap();
        let (inode, offset, length) =
            (inode.parse().unwrap(), offset.parse::<usize>().unwrap(), length.parse::<usize>().unwrap());
        let bytes = &rest[end + 1..][..length];
        rest = &rest[end + 1 + length..];
        let text = || String::from_utf8(bytes.to_vec()).unwrap();
        events.push(match kind {
            "C" => Event::Create(inode, name.to_owned()),
            "W" => Event::Write(inode, offset, bytes.to_vec()),
            "T" => Event::Truncate(inode, offset),
            "S" => Event::Sync(inode),
            "R" => Event::Rename(name.to_owned(), text()),
            "U" => Event::Unlink(name.to_owned()),
            "D" => Event::SyncFolder,
            "A" => Event::Said(text()),
            "B" => Event::Begins(text()),
            other => panic!("{other}"),
        });
    }
    events
}

/// A change of a file that is not synced yet, or of the folder.
#[derive(Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Truncate(usize),
}

#[derive(Clone)]
enum EntryChange {
    Link(String, usize),
    Rename(String, String),
    Unlink(String),
}

#[derive(Default)]
struct File {
    synced: Vec<u8>,
    /// With the number of the event that made it.
    pending: Vec<(usize, Change)>,
}

fn change(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write(offset, new) => {
            bytes.resize(bytes.len().max(offset + new.len()), 0);
            bytes[*offset..][..new.len()].copy_from_slice(new);
        }
        Change::Truncate(length) => bytes.resize(*length, 0),
    }
}

fn change_entries(entries: &mut BTreeMap<String, usize>, change: &EntryChange) {
    match change {
        EntryChange::Link(name, file) => drop(entries.insert(name.clone(), *file)),
        EntryChange::Rename(from, to) => {
            if let Some(file) = entries.remove(from) {
                entries.insert(to.clone(), file);
            }
        }
        EntryChange::Unlink(name) => drop(entries.remove(name)),
    }
}

/// A disk as the recorded program sees it: what is synced, and what may or may not be there after a
/// cut.
#[derive(Default)]
struct Disk {
    files: Vec<File>,
    by_inode: HashMap<u64, usize>,
    entries: BTreeMap<String, usize>,
    pending: Vec<(usize, EntryChange)>,
}

/// How much of what was not synced is there after a cut.
#[derive(Clone, Copy, Debug)]
enum Survives {
    Nothing,
    Everything,
    /// What came before some moment.
    Before(usize),
    /// Of every file, and of the folder, what came before a moment of its own.
    Apart,
}

impl Disk {
    fn apply(&mut self, number: usize, event: &Event) {
        match event {
            Event::Create(inode, name) => {
                // A number that was used by a file that is gone is another file.
                self.by_inode.insert(*inode, self.files.len());
                self.pending.push((number, EntryChange::Link(name.clone(), self.files.len())));
                self.files.push(File::default());
            }
            Event::Write(inode, offset, bytes) => {
                self.file(*inode).pending.push((number, Change::Write(*offset, bytes.clone())));
            }
            Event::Truncate(inode, length) => {
                self.file(*inode).pending.push((number, Change::Truncate(*length)));
            }
            Event::Sync(inode) => {
                let file = self.file(*inode);
                file.pending.drain(..).for_each(|(_, pending)| change(&mut file.synced, &pending));
            }
            Event::Rename(from, to) => {
                self.pending.push((number, EntryChange::Rename(from.clone(), to.clone())));
            }
            Event::Unlink(name) => self.pending.push((number, EntryChange::Unlink(name.clone()))),
            Event::SyncFolder => {
                let entries = &mut self.entries;
                self.pending.drain(..).for_each(|(_, pending)| change_entries(entries, &pending));
            }
            Event::Said(_) | Event::Begins(_) => {}
        }
    }

    fn file(&mut self, inode: u64) -> &mut File {
        &mut self.files[self.by_inode[&inode]]
    }

    /// Writes the folder as it could be after a cut at event `now`.
    fn rebuild(&self, now: usize, survives: Survives, folder: &Path, rng: &mut Rng) {
        let mut moment = |pending: usize| match survives {
            Survives::Nothing => 0,
            Survives::Everything => now + 1,
            Survives::Before(moment) => moment,
            // A draw for a file without pending changes would change nothing.
            Survives::Apart if pending == 0 => 0,
            Survives::Apart => rng.below(now + 2),
        };
        let mut entries = self.entries.clone();
        let last = moment(self.pending.len());
        for (_, pending) in self.pending.iter().filter(|(number, _)| *number < last) {
            change_entries(&mut entries, pending);
        }
        for (name, file) in entries {
            let File { synced, pending } = &self.files[file];
            let (mut bytes, last) = (synced.clone(), moment(pending.len()));
            let (there, gone): (Vec<_>, Vec<_>) = pending.iter().partition(|(number, _)| *number < last);
            there.iter().for_each(|(_, pending)| change(&mut bytes, pending));
            // The write that was going on is torn at any byte.
            if let (Some((_, Change::Write(offset, new))), false) =
                (gone.first(), matches!(survives, Survives::Nothing))
            {
                let torn = new.len() * (last % 997) / 997;
                change(&mut bytes, &Change::Write(*offset, new[..torn].to_vec()));
            }
            fs::write(folder.join(name), bytes).unwrap();
        }
    }
}

/// What was acknowledged up to some event.
#[derive(Default)]
struct Acknowledged {
    labels: BTreeSet<i64>,
    gone: BTreeSet<i64>,
    forgotten: BTreeSet<String>,
    copy: BTreeSet<i64>,
    has_copy: bool,
    /// Every label that was ever given, with its class.
    given: BTreeMap<i64, String>,
    line: String,
}

impl Acknowledged {
    fn apply(&mut self, event: &Event) {
        match event {
            Event::Begins(words) => {
                self.line.clear();
                // What a command sets out to take back may be gone at any moment.
                match words.split_once(' ') {
                    Some(("undo", label)) => drop(self.labels.remove(&label.parse().unwrap())),
                    Some(("forget", name)) => {
                        let given = &self.given;
                        self.labels.retain(|label| given[label] != name);
                    }
                    _ => {}
                }
            }
            Event::Said(text) => {
                self.line += text;
                while let Some((line, rest)) = self.line.split_once('\n') {
                    let said: Value = serde_json::from_str(line).unwrap();
                    if let Some(label) = said["label_id"].as_i64() {
                        self.labels.insert(label);
                        self.given.insert(label, said["class"].as_str().unwrap().to_owned());
                        self.forgotten.remove(said["class"].as_str().unwrap());
                    }
                    if let Some(label) = said["undone"].as_i64() {
                        self.gone.insert(label);
                    }
                    if let Some(name) = said["forgotten"].as_str() {
                        self.forgotten.insert(name.to_owned());
                        let of_class = self.given.iter().filter(|(_, class)| *class == name);
                        self.gone.extend(of_class.map(|(label, _)| *label));
                    }
                    if said["path"].is_string() {
                        (self.copy, self.has_copy) = (self.labels.clone(), true);
                    }
                    self.line = rest.to_owned();
                }
            }
            _ => {}
        }
    }
}

/// What is wrong with a rebuilt folder; `None` if nothing is.
fn fault(folder: &Path, models: &Path, known: &Acknowledged) -> Option<String> {
    let state = folder.join("state.db");
    if !state.exists() {
        return (!known.given.is_empty()).then(|| "the state is gone".to_owned());
    }
    match inspected(&state, models) {
        Err(error) => return Some(error),
        Ok((labels, named)) => {
            let kept: BTreeSet<i64> = labels.keys().copied().collect();
            let lost: Vec<_> = known.labels.difference(&kept).collect();
            let back: Vec<_> = known.gone.intersection(&kept).collect();
            if !lost.is_empty() || !back.is_empty() {
                return Some(format!("lost {lost:?}, came back {back:?}"));
            }
            let named: Vec<_> =
                named.iter().filter(|name| !labels.values().any(|class| class == *name)).collect();
            if !named.is_empty() {
                return Some(format!("answers {named:?}, which have no label"));
            }
        }
    }
    let copy = folder.join("copy.backup");
    if !copy.exists() {
        return known.has_copy.then(|| "the copy is gone".to_owned());
    }
    match inspected(&copy, models) {
        Err(error) => Some(format!("the copy: {error}")),
        Ok((labels, _)) => {
            let lost: Vec<_> = known.copy.iter().filter(|label| !labels.contains_key(label)).collect();
            (!lost.is_empty()).then(|| format!("the copy lacks {lost:?}"))
        }
    }
}

/// The labels that count with their classes, and the classes that answer, of a state that is checked
/// and whose removals are finished.
fn inspected(state: &Path, models: &Path) -> Result<(BTreeMap<i64, String>, Vec<String>), String> {
    let text = |error: kaizen_edge::Error| error.to_string();
    let mut memory = Memory::open_existing(state).map_err(text)?;
    let report = memory.check().map_err(text)?;
    if !report.is_repaired() {
        return Err(format!("{report:?}"));
    }
    if !memory.removals().map_err(text)?.is_empty() {
        drop(memory);
        drop(Learner::open(Options::new().state(state).models_dir(models)).map_err(text)?);
        memory = Memory::open_existing(state).map_err(text)?;
    }
    let head = PublishedHead::restore(&memory, &LearnerSettings::default()).map_err(text)?;
    let named = head.iter().flat_map(|head| head.classes()).map(|(_, name)| name.clone()).collect();
    let labels = memory.history().map_err(text)?.labels.into_iter().filter(|entry| entry.counts);
    Ok((labels.map(|entry| (entry.label_id.0, entry.class_name)).collect(), named))
}

/// Commands on a state of a desk, recorded; no sync of a file whose name ends in `drop` is.
struct Recorded {
    desk: Desk,
    events: Vec<Event>,
    _folder: TempDir,
}

fn recorded(drop: Option<&str>) -> Recorded {
    let (desk, folder) = (Desk::new(), TempDir::new().unwrap());
    let (library, log) = (folder.path().join("recorder.so"), folder.path().join("log"));
    let source = support::repository().join("tests/faults/recorder.c");
    let built = Command::new("cc")
        .args(["-O1", "-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .args(["-ldl", "-lpthread"])
        .output()
        .expect("a C compiler, as the crate needs it anyway");
    assert!(built.status.success(), "{built:?}");
    let own = desk.state().parent().unwrap().canonicalize().unwrap();
    let mut labels = Vec::new();
    let run = |words: &[&str]| -> Vec<i64> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let named = words[..words.len().min(2)].join(" ");
        let mut file = fs::OpenOptions::new().create(true).append(true).open(&log).unwrap();
        write!(file, "B 0 0 {} -\n{named}", named.len()).unwrap();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut command = desk.command(&words);
        command.env("LD_PRELOAD", &library).env("KAIZEN_RECORD_FOLDER", &own).env("KAIZEN_RECORD_LOG", &log);
        if let Some(ending) = drop {
            command.env("KAIZEN_RECORD_DROP", ending);
        }
        let output = command.output().unwrap();
        assert!(matches!(output.status.code(), Some(0 | 3)), "{words:?}: {output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let label = |line: &str| serde_json::from_str::<Value>(line).ok()?["label_id"].as_i64();
        text.lines().filter_map(label).collect()
    };
    let classes: Vec<String> = desk.classes().iter().map(|class| class.display().to_string()).collect();
    let copy = own.join("copy.backup").display().to_string();
    let learn = ["learn", "--json", "--steps", "0"];
    for (number, folder) in classes.iter().enumerate().take(3) {
        labels.push(run(&["teach", &format!("class-{number}"), folder]));
    }
    run(&learn);
    run(&["backup", &copy, "--json"]);
    run(&["observe", &classes[3]]);
    run(&["undo", &labels[0][2].to_string(), "--json"]);
    run(&["forget", "class-1", "--json"]);
    run(&["teach", "class-4", &classes[4]]);
    run(&learn);
    // With a quota that what is there already exceeds, so that samples give way.
    let quota = (1 << 20).to_string();
    run(&["observe", &classes[5], "--quota-bytes", &quota]);
    run(&["teach", "class-1", &classes[1], "--quota-bytes", &quota]);
    run(&["forget", "class-2", "--json", "--quota-bytes", &quota]);
    run(&["backup", &copy, "--json"]);
    run(&["teach", "class-2", &classes[2]]);
    let events = events(&fs::read(&log).unwrap());
    Recorded { desk, events, _folder: folder }
}

/// Rebuilds the folder at `points` moments, and returns what was wrong at each.
fn faults(recorded: &Recorded, points: usize, rng: &mut Rng) -> Vec<String> {
    let Recorded { desk, events, .. } = recorded;
    let models = desk.state().with_file_name("models");
    let mut moments: BTreeMap<usize, usize> = BTreeMap::new();
    (0..points).for_each(|_| *moments.entry(rng.below(events.len())).or_default() += 1);
    let (mut disk, mut known, mut faults) = (Disk::default(), Acknowledged::default(), Vec::new());
    for (number, event) in events.iter().enumerate() {
        disk.apply(number, event);
        known.apply(event);
        for _ in 0..moments.get(&number).copied().unwrap_or(0) {
            let survives = [
                Survives::Nothing,
                Survives::Everything,
                Survives::Before(rng.below(number + 2)),
                Survives::Apart,
                Survives::Apart,
            ][rng.below(5)];
            let folder = TempDir::new().unwrap();
            disk.rebuild(number, survives, folder.path(), rng);
            if let Some(fault) = fault(folder.path(), &models, &known) {
                faults.push(format!("cut at event {number} of {}, {survives:?}: {fault}", events.len()));
            }
        }
    }
    faults
}

#[test]
fn after_a_power_cut_at_any_point_nothing_acknowledged_is_lost() {
    let points = std::env::var("KAIZEN_TORTURE_CUTS").map_or(500, |text| text.parse().unwrap());
    let seed = std::env::var("KAIZEN_TORTURE_SEED").map_or(1, |text| text.parse().unwrap());
    let recorded = recorded(None);
    let syncs = recorded.events.iter().filter(|event| matches!(event, Event::Sync(_))).count();
    let faults = faults(&recorded, points, &mut Rng::named(seed, "power cut"));
    println!(
        "{points} cuts among {} events, {syncs} of them syncs: {} faults",
        recorded.events.len(),
        faults.len()
    );
    assert!(syncs > 20, "{syncs}");
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

/// Controls: what `synchronous=OFF` (no sync at all) and `synchronous=NORMAL` (none of the
/// write-ahead log) would do must be found.
#[test]
fn without_syncs_a_power_cut_loses_what_was_acknowledged() {
    for drop in ["*", "-wal"] {
        let faults = faults(&recorded(Some(drop)), 60, &mut Rng::named(2, "power cut"));
        println!(
            "{drop}: {} of 60 cuts lose something, as {}",
            faults.len(),
            faults.first().map_or("", |it| it)
        );
        assert!(faults.len() > 5, "{drop}: {faults:?}");
    }
}
