//! Power cuts and failing disks: a process that teaches, observes and learns is killed at random
//! moments while writes to its state fail; what it acknowledged is there when the next one comes.
//! `scripts/torture` runs the long form.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use kaizen_edge::low_level::rng::Rng;
use serde_json::Value;
use tempfile::TempDir;

use crate::state::Desk;
use crate::{support, tiny_model};

/// Label ids of whole lines; a line cut short was not acknowledged.
fn acknowledged(output: &str) -> Vec<i64> {
    let whole = output.rfind('\n').map_or("", |end| &output[..end]);
    let label = |line: &str| serde_json::from_str::<Value>(line).ok()?["label_id"].as_i64();
    whole.lines().filter_map(label).collect()
}

/// The library that makes writes fail (`tests/faults/faults.c`), compiled, and what it injected.
struct Faults {
    folder: TempDir,
}

impl Faults {
    /// On Linux, where a library can be put before libc.
    fn new() -> Option<Self> {
        if !cfg!(target_os = "linux") {
            println!("no faults are injected: they need Linux");
            return None;
        }
        let folder = TempDir::new().unwrap();
        let source = support::repository().join("tests/faults/faults.c");
        let built = Command::new("cc")
            .args(["-O1", "-shared", "-fPIC", "-o"])
            .args([&folder.path().join("faults.so"), &source])
            .args(["-ldl", "-lpthread"])
            .output()
            .expect("a C compiler, as the crate needs it anyway");
        assert!(built.status.success(), "{built:?}");
        Some(Self { folder })
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn preload(&self, command: &mut Command, state: &Path) {
        let folder = state.parent().unwrap().canonicalize().unwrap();
        command
            .env("LD_PRELOAD", self.folder.path().join("faults.so"))
            .env("KAIZEN_FAULT_PATH", folder.join(state.file_name().unwrap()))
            .env("KAIZEN_FAULT_LOG", self.log());
    }

    /// Lets some writes to the state fail, seldom or often.
    fn fail_at_times(&self, command: &mut Command, state: &Path, rng: &mut Rng) {
        self.preload(command, state);
        command.env("KAIZEN_FAULT_SEED", rng.bits().to_string());
        command.env("KAIZEN_FAULT_ONE_IN", [20, 100, 500, 2000][rng.below(4)].to_string());
    }

    /// How often each kind was injected.
    fn counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for line in fs::read_to_string(self.log()).unwrap_or_default().lines() {
            *counts.entry(line.to_owned()).or_default() += 1;
        }
        counts
    }
}

/// Whatever happened, the next process finds every label that was acknowledged, a sound state, a
/// version that loads.
#[track_caller]
fn holds(desk: &Desk, labels: &BTreeSet<i64>, round: &str) -> usize {
    let check = desk.check();
    assert!(check.status.success(), "{round}: {check:?}");
    let kept = desk.history().0;
    let lost: Vec<_> = labels.difference(&kept).collect();
    assert!(lost.is_empty(), "{round}: lost {lost:?}");
    kept.len()
}

#[track_caller]
fn goes_on(desk: &Desk) {
    desk.teach("last", &desk.classes()[0]);
    let learned = desk.run(&["learn", "--json", "--steps", "0"]);
    // The same pictures under a second name may well be turned down by the guard.
    assert!(matches!(learned.status.code(), Some(0 | 3)), "{learned:?}");
}

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
/// of a tail has begun if it `waits` for that. `takes` is how long it took when it was not killed.
fn run_and_kill(command: &mut Command, waits: bool, takes: &mut Duration, rng: &mut Rng) -> Killed {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let [mut output, mut said] = [String::new(), String::new()];
    while waits && !said.contains(BEGINS) && stderr.read_line(&mut said).unwrap() > 0 {}
    let (start, longest) = (Instant::now(), takes.as_micros() as usize);
    let moment = Duration::from_micros(rng.below(longest) as u64);
    while start.elapsed() < moment && child.try_wait().unwrap().is_none() {
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

/// A desk with a backbone that is cut, or with another one.
fn new_desk(is_cut: bool) -> Desk {
    if is_cut { Desk::on(|folder| tiny_model::write_cut(folder, Some("latent"))) } else { Desk::new() }
}

#[test]
fn killed_at_random_moments_nothing_acknowledged_is_lost() {
    let kills = std::env::var("KAIZEN_TORTURE_KILLS").map_or(20, |text| text.parse().unwrap());
    let seed = std::env::var("KAIZEN_TORTURE_SEED").map_or(1, |text| text.parse().unwrap());
    let mut rng = Rng::named(seed, "torture");
    let faults = Faults::new();
    // A fresh state now and then, so that making one is interrupted as well; every other one on a
    // backbone that is cut, so that kills fall into the training and the publication of a tail.
    let lifetime = (kills / 3).clamp(6, 50);
    let mut is_cut = true;
    let mut desk = new_desk(is_cut);
    let mut labels = BTreeSet::new();
    let (mut in_training, mut takes) = (0, BTreeMap::new());
    let (mut killed, mut failed, mut total, mut rounds) = (0, 0, 0, 0);
    // A tenth of the kills at least are to fall into the training of a tail.
    while killed < kills || 10 * in_training < kills {
        assert!(rounds < 50 * kills, "{killed} kills, {in_training} in training, after {rounds} rounds");
        if rounds % lifetime == lifetime - 1 {
            goes_on(&desk);
            is_cut = !is_cut;
            desk = new_desk(is_cut);
            labels.clear();
        }
        rounds += 1;
        let classes = desk.classes();
        let class = rng.below(classes.len());
        let (name, folder) = (format!("class-{class}"), classes[class].to_str().unwrap());
        let kind = rng.below(4).max(1);
        let words = match kind {
            1 => vec!["teach", &name, folder],
            // Not as JSON, so that it says when training begins.
            2 => vec!["learn"],
            _ => vec!["observe", folder],
        };
        let mut command = desk.telling(&words);
        // Two rounds of three on a disk that fails seldom or often.
        if let Some(faults) = faults.as_ref().filter(|_| rng.below(3) > 0) {
            faults.fail_at_times(&mut command, &desk.state(), &mut rng);
        }
        let takes = takes.entry((kind, is_cut)).or_insert(Duration::from_millis(400));
        let waits = words[0] == "learn" && is_cut;
        let Killed { code, output, said } = run_and_kill(&mut command, waits, takes, &mut rng);
        match code {
            None => {
                killed += 1;
                in_training += i32::from(said.contains(BEGINS));
            }
            Some(code) => failed += i32::from(code == 1),
        }
        labels.extend(acknowledged(&output));
        if !desk.state().exists() {
            assert!(labels.is_empty(), "round {rounds}: the state is gone");
            continue;
        }
        total = total.max(holds(&desk, &labels, &format!("round {rounds} after {words:?}")));
    }
    goes_on(&desk);
    let injected = faults.map(|faults| faults.counts()).unwrap_or_default();
    println!(
        "{killed} kills, {in_training} of them after the training of a tail had begun, and {failed} commands that \
         failed in {rounds} rounds, at most {total} labels in a state, \
         none lost; injected: {injected:?}"
    );
    assert!(!injected.is_empty() || !cfg!(target_os = "linux"), "no fault was injected");
}

#[test]
fn full_disk_is_said_and_nothing_is_half_written() {
    let Some(faults) = Faults::new() else { return };
    let desk = Desk::new();
    let classes = desk.classes();
    let mut labels = BTreeSet::from_iter(desk.teach("one", &classes[0]));
    let mut room = 10_000;
    // With ever more room, until a command has enough.
    let full = loop {
        let mut command = desk.command(&["teach", "two", classes[1].to_str().unwrap()]);
        faults.preload(&mut command, &desk.state());
        let output = command.env("KAIZEN_FAULT_BYTES", room.to_string()).output().unwrap();
        labels.extend(acknowledged(&String::from_utf8(output.stdout).unwrap()));
        let text = String::from_utf8(output.stderr).unwrap();
        match output.status.code() {
            Some(0) => break room,
            code => {
                assert!(code == Some(1) && text.contains("the disk or the quota is full"), "{code:?} {text}");
            }
        }
        holds(&desk, &labels, &format!("{room} bytes of room"));
        room = room * 3 / 2;
    };
    assert!(full > 20_000 && faults.counts()["write ENOSPC"] > 2, "{:?}", faults.counts());
    holds(&desk, &labels, "after all");
    goes_on(&desk);
}
