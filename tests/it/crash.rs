//! Power cuts: a process that teaches, observes and learns is killed at random moments; what it acknowledged is there
//! when the next one comes. `scripts/torture` runs the long form.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::process::Stdio;
use std::time::Duration;

use kaizen_edge::rng::Rng;
use serde_json::Value;

use crate::state::Desk;

/// Label ids of whole lines; a line cut short was not acknowledged.
fn acknowledged(output: &str) -> Vec<i64> {
    let whole = output.rfind('\n').map_or("", |end| &output[..end]);
    let label = |line: &str| serde_json::from_str::<Value>(line).ok()?["label_id"].as_i64();
    whole.lines().filter_map(label).collect()
}

#[test]
fn killed_at_random_moments_nothing_acknowledged_is_lost() {
    let kills = std::env::var("KAIZEN_TORTURE_KILLS").map_or(20, |text| text.parse().unwrap());
    let seed = std::env::var("KAIZEN_TORTURE_SEED").map_or(1, |text| text.parse().unwrap());
    let mut rng = Rng::named(seed, "torture");
    let mut desk = Desk::new();
    let mut labels = BTreeSet::new();
    let (mut killed, mut total, mut rounds) = (0, 0, 0);
    while killed < kills {
        // A fresh state now and then, so that making one is interrupted as well.
        if rounds % 50 == 49 {
            desk = Desk::new();
            labels.clear();
        }
        rounds += 1;
        let classes = desk.classes();
        let class = rng.below(classes.len());
        let (name, folder) = (format!("class-{class}"), classes[class].to_str().unwrap());
        let command = match rng.below(4) {
            0 | 1 => vec!["teach", &name, folder],
            2 => vec!["learn", "--json"],
            _ => vec!["observe", folder],
        };
        let mut child = desk.command(&command).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(rng.below(400_000) as u64));
        // SIGKILL on Unix.
        let _ = child.kill();
        let mut output = String::new();
        child.stdout.take().unwrap().read_to_string(&mut output).unwrap();
        killed += i32::from(child.wait().unwrap().code().is_none());
        labels.extend(acknowledged(&output));
        if !desk.state().exists() {
            assert!(labels.is_empty(), "round {rounds}: the state is gone");
            continue;
        }
        let check = desk.check();
        assert!(check.status.success(), "round {rounds}: {check:?}");
        let kept = desk.history().0;
        let lost: Vec<_> = labels.difference(&kept).collect();
        assert!(lost.is_empty(), "round {rounds} after {command:?}: lost {lost:?}");
        total = total.max(kept.len());
    }
    // Learning goes on.
    let classes = desk.classes();
    desk.teach("last", &classes[0]);
    let learned = desk.run(&["learn", "--json", "--steps", "0"]);
    // The same pictures under a second name may well be turned down by the guard.
    assert!(matches!(learned.status.code(), Some(0 | 3)), "{learned:?}");
    println!("{killed} kills in {rounds} rounds, at most {total} labels in a state, none lost");
}
