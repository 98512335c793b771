//! Kills at random moments: a process that teaches, observes, learns, takes back, names, copies or
//! rebases is killed while writes to its state fail. What it acknowledged is there when the next one
//! comes; what was taken back is nowhere. `scripts/torture` runs the long form.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use kaizen_edge::low_level::memory::{Memory, Rows};
use kaizen_edge::low_level::rng::Rng;
use serde_json::Value;

use crate::crash::{Faults, acknowledged, goes_on};
use crate::state::{Desk, nearest};
use crate::tiny_model;

/// What a command did until it was killed.
struct Killed {
    /// None if it was still running.
    code: Option<i32>,
    output: String,
    said: String,
}

/// What the log says when the closed forms are fitted.
const BEGINS: &str = "training begins";

/// Runs a command and kills it at a random moment of about as long as it takes, after the training
/// of a tail has begun if it `waits` for that; or lets it end, if it `is_left` alone. `takes` is how
/// long it took when it was not killed.
fn run_and_kill(
    command: &mut Command,
    waits: bool,
    is_left: bool,
    takes: &mut Duration,
    rng: &mut Rng,
) -> Killed {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let [mut output, mut said] = [String::new(), String::new()];
    while waits && !said.contains(BEGINS) && stderr.read_line(&mut said).unwrap() > 0 {}
    let (start, longest) = (Instant::now(), takes.as_micros() as usize);
    let moment = Duration::from_micros(rng.below(longest) as u64);
    while (is_left || start.elapsed() < moment) && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_micros(500));
    }
    if child.try_wait().unwrap().is_some() {
        *takes = start.elapsed().max(Duration::from_millis(2)) * 5 / 4;
    }
    // SIGKILL on Unix.
    let _ = child.kill();
    child.stdout.take().unwrap().read_to_string(&mut output).unwrap();
    stderr.read_to_string(&mut said).unwrap();
    Killed { code: child.wait().unwrap().code(), output, said }
}

/// A desk with two backbones, of which the first is cut or not.
fn new_desk(is_cut: bool) -> Desk {
    Desk::on(|folder| {
        if is_cut {
            tiny_model::write_cut(folder, Some("latent"));
        } else {
            tiny_model::write(folder);
        }
        tiny_model::write_another(folder);
    })
}

/// The commands that change a state or copy it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Teach,
    Observe,
    Learn,
    Undo,
    Forget,
    Name,
    Rebase,
    Backup,
}

const KINDS: [Kind; 8] = [
    Kind::Teach,
    Kind::Observe,
    Kind::Learn,
    Kind::Undo,
    Kind::Forget,
    Kind::Name,
    Kind::Rebase,
    Kind::Backup,
];

/// The labels that count, with their classes, as the history tells them.
fn labels_of(desk: &Desk) -> BTreeMap<i64, String> {
    let (_, record) = desk.history();
    let labels = record["labels"].as_array().unwrap().iter();
    labels
        .map(|label| (label["label_id"].as_i64().unwrap(), label["class"].as_str().unwrap().to_owned()))
        .collect()
}

/// Class and name of every sample whose label is current.
fn current_of(desk: &Desk) -> Vec<(String, String)> {
    let (_, record) = desk.history();
    let text = |label: &Value, key: &str| label[key].as_str().unwrap_or_default().to_owned();
    let labels = record["labels"].as_array().unwrap().iter().filter(|label| label["current"] == true);
    let mut current: Vec<_> = labels.map(|label| (text(label, "class"), text(label, "name"))).collect();
    current.sort();
    current
}

/// Pieces of the thumbnails of a class, from their middle, where no two pictures are alike; not of
/// pictures that are stored under another class, or without one, as well: after a rebase the same
/// picture is another sample.
fn traces_of(desk: &Desk, class: &str) -> HashSet<Vec<u8>> {
    let memory = Memory::open_read_only(&desk.state()).unwrap();
    let id = memory.classes().unwrap().into_iter().find(|(_, name)| name == class).map(|(id, _)| id);
    let rows = [Rows::Training, Rows::HeldOut, Rows::Unlabelled];
    let samples = rows.map(|rows| memory.samples(rows).unwrap()).concat();
    let traces = |is_of_class: bool| {
        let chosen = samples.iter().filter(move |sample| (sample.class == id) == is_of_class);
        let thumbnails = chosen.filter_map(|sample| memory.thumbnail(sample.id).unwrap());
        let long = thumbnails.filter(|jpeg| jpeg.len() > 200);
        long.map(|jpeg| jpeg[jpeg.len() * 3 / 4..][..TRACE].to_vec()).collect::<HashSet<_>>()
    };
    if id.is_none() { HashSet::new() } else { &traces(true) - &traces(false) }
}

/// Bytes of a trace.
const TRACE: usize = 24;

/// How many traces are in the state's files.
fn traces_on_disk(desk: &Desk, traces: &HashSet<Vec<u8>>) -> usize {
    let mut found = HashSet::new();
    for ending in ["", "-wal", "-shm"] {
        let path = PathBuf::from(format!("{}{ending}", desk.state().display()));
        let bytes = fs::read(path).unwrap_or_default();
        found.extend(bytes.windows(TRACE).filter(|window| traces.contains(*window)).map(<[u8]>::to_vec));
    }
    found.len()
}

/// What the harness knows of one state.
struct Ledger {
    desk: Desk,
    is_cut: bool,
    /// Labels that were acknowledged and that nothing has taken back.
    sure: BTreeSet<i64>,
    /// Labels that are gone for good.
    gone: BTreeSet<i64>,
    rebased: bool,
}

/// What a round set out to take back.
#[derive(Default)]
struct Removal {
    labels: BTreeSet<i64>,
    class: Option<String>,
    traces: HashSet<Vec<u8>>,
}

impl Ledger {
    fn new(is_cut: bool) -> Self {
        let desk = new_desk(is_cut);
        Self { desk, is_cut, sure: BTreeSet::new(), gone: BTreeSet::new(), rebased: false }
    }

    fn copy(&self) -> PathBuf {
        // Its name begins as the state's does, so that writes to it fail as well.
        self.desk.state().with_file_name("state.db-copy")
    }

    /// The words of a command, and what it takes back; `None` if there is nothing to do it to.
    fn plan(&self, kind: Kind, rng: &mut Rng) -> Option<(Vec<String>, Removal)> {
        let classes = self.desk.classes();
        let class = rng.below(classes.len());
        let folder = classes[class].display().to_string();
        let is_there = self.desk.state().exists();
        if !is_there && !matches!(kind, Kind::Teach | Kind::Observe) {
            return None;
        }
        let mut removal = Removal::default();
        let words = match kind {
            Kind::Teach => vec!["teach".to_owned(), format!("class-{class}"), folder],
            Kind::Observe => vec!["observe".to_owned(), folder],
            // Not as JSON, so that it says when training begins.
            Kind::Learn => vec!["learn".to_owned()],
            Kind::Undo => {
                let labels: Vec<_> = labels_of(&self.desk).into_keys().collect();
                let label = *labels.get(rng.below(labels.len().max(1)))?;
                removal.labels.insert(label);
                vec!["undo".to_owned(), label.to_string(), "--json".to_owned()]
            }
            Kind::Forget => {
                let labels = labels_of(&self.desk);
                let names: Vec<_> = labels.values().collect::<BTreeSet<_>>().into_iter().collect();
                let name = (*names.get(rng.below(names.len().max(1)))?).clone();
                removal.labels =
                    labels.iter().filter(|(_, of)| **of == name).map(|(label, _)| *label).collect();
                removal.traces = traces_of(&self.desk, &name);
                removal.class = Some(name.clone());
                vec!["forget".to_owned(), name, "--json".to_owned()]
            }
            Kind::Name => {
                let output = self.desk.run(&["unknowns", "--json"]);
                let listed: Value = serde_json::from_slice(&output.stdout).ok()?;
                let cluster = listed["clusters"].get(0)?["cluster"].as_i64()?;
                vec!["name".to_owned(), cluster.to_string(), "named".to_owned()]
            }
            Kind::Rebase => {
                let first = if self.is_cut { "cut" } else { "tiny" };
                let model = if self.rebased { first } else { "other" };
                ["rebase", "--model", model, "--steps", "0", "--json"].map(str::to_owned).to_vec()
            }
            Kind::Backup => vec!["backup".to_owned(), self.copy().display().to_string(), "--json".to_owned()],
        };
        Some((words, removal))
    }

    /// Whatever happened, the next process finds a sound state, every label that was acknowledged
    /// and nobody took back, and none that was taken back; no class without a label is named.
    #[track_caller]
    fn settle(&mut self, kind: Kind, killed: &Killed, removal: &Removal, rng: &mut Rng, round: &str) {
        let is_acknowledged = killed.code == Some(0);
        if kind == Kind::Teach || kind == Kind::Name {
            self.sure.extend(acknowledged(&killed.output));
        }
        if !self.desk.state().exists() {
            assert!(self.sure.is_empty(), "{round}: the state is gone");
            return;
        }
        // Now and then the first process that comes is one that answers.
        let answers_first = rng.below(2) == 0;
        let named = if answers_first { self.named(rng) } else { BTreeSet::new() };
        let check = self.desk.check();
        assert!(check.status.success(), "{round}: {check:?}");
        let labels = labels_of(&self.desk);
        let kept: BTreeSet<i64> = labels.keys().copied().collect();
        let named = if answers_first { named } else { self.named(rng) };
        let classes: BTreeSet<String> = labels.into_values().collect();
        let strange: Vec<_> = named.difference(&classes).collect();
        assert!(strange.is_empty(), "{round}: answers {strange:?}, which have no label");
        self.sure = self.sure.difference(&removal.labels).copied().collect();
        let left: BTreeSet<_> = removal.labels.intersection(&kept).copied().collect();
        if is_acknowledged {
            assert!(left.is_empty(), "{round}: {left:?} were taken back");
        } else if removal.class.is_some() {
            assert!(left.is_empty() || left == removal.labels, "{round}: half of a class is left");
        }
        if left.is_empty() && removal.class.is_some() {
            let traces = traces_on_disk(&self.desk, &removal.traces);
            assert_eq!(traces, 0, "{round}: of {} pictures of a forgotten class", removal.traces.len());
        }
        self.gone.extend(removal.labels.difference(&left));
        let lost: Vec<_> = self.sure.difference(&kept).collect();
        assert!(lost.is_empty(), "{round}: lost {lost:?}");
        let back: Vec<_> = self.gone.intersection(&kept).collect();
        assert!(back.is_empty(), "{round}: {back:?} came back");
        self.sure.extend(left);
    }

    /// The classes that some pictures are taken for.
    fn named(&self, rng: &mut Rng) -> BTreeSet<String> {
        let classes = self.desk.classes();
        let class = &classes[rng.below(classes.len())];
        let output = self.desk.run(&["predict", self.desk.test_of(class).to_str().unwrap(), "--json"]);
        let said = String::from_utf8_lossy(&output.stderr);
        match output.status.code() {
            Some(0) => {}
            // Before anything was learned.
            Some(1) => assert!(said.contains("nothing was learned yet"), "{said}"),
            code => panic!("{code:?}: {said}"),
        }
        let text = String::from_utf8(output.stdout).unwrap();
        let answers: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        nearest(&answers).into_iter().map(str::to_owned).collect()
    }

    /// A rebased state has the same labels under new numbers, or is as it was.
    #[track_caller]
    fn settle_rebase(&mut self, before: &[(String, String)], round: &str) {
        let check = self.desk.check();
        assert!(check.status.success(), "{round}: {check:?}");
        assert_eq!(current_of(&self.desk), before, "{round}");
        let memory = Memory::open_read_only(&self.desk.state()).unwrap();
        self.rebased = memory.identity().backbone_name == "other";
        self.sure = labels_of(&self.desk).into_keys().collect();
        self.gone.clear();
    }

    /// A copy that was acknowledged holds what was acknowledged before; one that was not is an
    /// earlier one, or none.
    #[track_caller]
    fn settle_backup(&self, killed: &Killed, round: &str) {
        let copy = self.copy();
        if killed.code == Some(0) {
            assert!(copy.exists(), "{round}");
        }
        if !copy.exists() {
            return;
        }
        let mut memory = Memory::open_read_only(&copy).unwrap();
        let report = memory.check().unwrap();
        assert!(report.is_sound(), "{round}: {report:?}");
        if killed.code == Some(0) {
            let labels = memory.history().unwrap().labels.into_iter().filter(|entry| entry.counts);
            let held: BTreeSet<i64> = labels.map(|entry| entry.label_id.0).collect();
            let lost: Vec<_> = self.sure.difference(&held).collect();
            assert!(lost.is_empty(), "{round}: the copy lacks {lost:?}");
        }
    }
}

/// The next kind of command: lessons every other time, else one of those that were killed least.
fn next_kind(kills_of: &BTreeMap<Kind, usize>, rng: &mut Rng) -> Kind {
    let lessons = [Kind::Teach, Kind::Teach, Kind::Observe, Kind::Learn];
    let kills = |kind: &Kind| kills_of.get(kind).copied().unwrap_or(0);
    let least = KINDS.iter().map(kills).min().unwrap_or(0);
    let seldom: Vec<_> = KINDS.into_iter().filter(|kind| kills(kind) <= least + 1).collect();
    if rng.below(2) == 0 { lessons[rng.below(lessons.len())] } else { seldom[rng.below(seldom.len())] }
}

/// Whether less than a twentieth of the kills fell into a kind of command, or into the training of a
/// tail.
fn is_one_sided(kills_of: &BTreeMap<Kind, usize>, in_training: usize, kills: usize) -> bool {
    let of = |kind: &Kind| kills_of.get(kind).copied().unwrap_or(0);
    KINDS.iter().map(of).chain([in_training]).any(|some| 20 * some < kills)
}

#[test]
fn killed_at_random_moments_nothing_acknowledged_is_lost_and_nothing_removed_answers() {
    let kills = std::env::var("KAIZEN_TORTURE_KILLS").map_or(40, |text| text.parse().unwrap());
    let seed = std::env::var("KAIZEN_TORTURE_SEED").map_or(1, |text| text.parse().unwrap());
    let mut rng = Rng::named(seed, "torture");
    let faults = Faults::new();
    // A fresh state now and then, so that making one is interrupted as well; every other one on a
    // backbone that is cut, so that kills fall into the training and the publication of a tail.
    let lifetime = 40;
    let mut ledger = Ledger::new(true);
    let (mut in_training, mut takes) = (0, BTreeMap::new());
    let (mut killed, mut failed, mut total, mut rounds) = (0, 0, 0, 0);
    let mut kills_of: BTreeMap<Kind, usize> = BTreeMap::new();
    while killed < kills || is_one_sided(&kills_of, in_training, kills) {
        assert!(
            rounds < 50 * kills,
            "{killed} kills, {kills_of:?}, {in_training} in training, after {rounds} rounds"
        );
        if rounds % lifetime == lifetime - 1 {
            goes_on(&ledger.desk);
            ledger = Ledger::new(!ledger.is_cut);
            rounds += 1;
        }
        let kind = next_kind(&kills_of, &mut rng);
        let Some((words, removal)) = ledger.plan(kind, &mut rng) else { continue };
        rounds += 1;
        let before = if kind == Kind::Rebase { current_of(&ledger.desk) } else { Vec::new() };
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut command = ledger.desk.telling(&words);
        // Two rounds of three on a disk that fails seldom or often.
        if let Some(faults) = faults.as_ref().filter(|_| rng.below(3) > 0) {
            faults.fail_at_times(&mut command, &ledger.desk.state(), &mut rng);
        }
        let takes = takes.entry((kind, ledger.is_cut)).or_insert(Duration::from_millis(150));
        let waits = kind == Kind::Learn && ledger.is_cut && !ledger.rebased;
        // Every other lesson is left alone, so that there is something to take back.
        let is_left = matches!(kind, Kind::Teach | Kind::Observe | Kind::Learn) && rng.below(2) == 0;
        let outcome = run_and_kill(&mut command, waits, is_left, takes, &mut rng);
        match outcome.code {
            None => {
                killed += 1;
                *kills_of.entry(kind).or_default() += 1;
                in_training += usize::from(outcome.said.contains(BEGINS));
            }
            Some(code) => failed += usize::from(code == 1),
        }
        let round = format!("round {rounds} after {words:?}, code {:?}", outcome.code);
        if kind == Kind::Rebase {
            ledger.settle_rebase(&before, &round);
        } else {
            ledger.settle(kind, &outcome, &removal, &mut rng, &round);
            if kind == Kind::Backup {
                ledger.settle_backup(&outcome, &round);
            }
        }
        total = total.max(ledger.sure.len());
    }
    goes_on(&ledger.desk);
    let injected = faults.map(|faults| faults.counts()).unwrap_or_default();
    println!(
        "{killed} kills ({kills_of:?}), {in_training} of them after the training of a tail had begun, and {failed} \
         commands that failed in {rounds} rounds, at most {total} labels in a state, none lost, none that was taken \
         back answered; injected: {injected:?}"
    );
    assert!(!injected.is_empty() || !cfg!(target_os = "linux"), "no fault was injected");
}
