//! Failing disks: writes to the state fail at random or because the disk is full, and what was
//! acknowledged is there when the next process comes. [`crate::kills`] adds kills.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use kaizen_edge::low_level::rng::Rng;
use serde_json::Value;
use tempfile::TempDir;

use crate::state::Desk;
use crate::support;

/// Label ids of whole lines; a line cut short was not acknowledged.
pub(crate) fn acknowledged(output: &str) -> Vec<i64> {
    let whole = output.rfind('\n').map_or("", |end| &output[..end]);
    let label = |line: &str| serde_json::from_str::<Value>(line).ok()?["label_id"].as_i64();
    whole.lines().filter_map(label).collect()
}

/// The library that makes writes fail (`tests/faults/faults.c`), compiled, and what it injected.
pub(crate) struct Faults {
    folder: TempDir,
}

impl Faults {
    /// On Linux, where a library can be put before libc.
    pub(crate) fn new() -> Option<Self> {
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
    pub(crate) fn fail_at_times(&self, command: &mut Command, state: &Path, rng: &mut Rng) {
        self.preload(command, state);
        command.env("KAIZEN_FAULT_SEED", rng.bits().to_string());
        command.env("KAIZEN_FAULT_ONE_IN", [20, 100, 500, 2000][rng.below(4)].to_string());
    }

    /// How often each kind was injected.
    pub(crate) fn counts(&self) -> BTreeMap<String, usize> {
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
pub(crate) fn goes_on(desk: &Desk) {
    desk.teach("last", &desk.classes()[0]);
    let learned = desk.run(&["learn", "--json", "--steps", "0"]);
    // The same pictures under a second name may well be turned down by the guard.
    assert!(matches!(learned.status.code(), Some(0 | 3)), "{learned:?}");
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
