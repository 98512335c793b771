//! A state file cut or with bytes changed anywhere: opening, restoring and predicting never panics,
//! and what it answers is what it answered before, or a refusal. Checking and repairing never
//! panics either.
//!
//! Input: bytes 0..2 a length to cut to (0: whole), then triples of position (16 bits, times 3) and
//! value to XOR.

#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use kaizen_edge::low_level::memory::{Memory, Rows};
use kaizen_edge::Prediction;
use libfuzzer_sys::fuzz_target;

#[path = "../../tests/it/learned_state.rs"]
mod learned_state;
use learned_state::{answers, learned, probes};

struct Original {
    bytes: Vec<u8>,
    probes: Vec<f32>,
    answers: Vec<Prediction>,
}

static ORIGINAL: LazyLock<Original> = LazyLock::new(|| {
    let path = file();
    let _old = std::fs::remove_file(&path);
    learned(&path);
    let probes = probes();
    let answers = answers(&path, &probes).expect("a sound state").expect("a learned state");
    Original { bytes: std::fs::read(&path).expect("the state"), probes, answers }
});

fn file() -> PathBuf {
    std::env::temp_dir().join(format!("kaizen-fuzz-{}.db", std::process::id()))
}

fuzz_target!(|input: &[u8]| {
    let original = &*ORIGINAL;
    let mut bytes = original.bytes.clone();
    let [low, high, changes @ ..] = input else { return };
    let cut = 3 * usize::from(u16::from_le_bytes([*low, *high]));
    for change in changes.chunks_exact(3) {
        let at = 3 * usize::from(u16::from_le_bytes([change[0], change[1]])) % bytes.len();
        bytes[at] ^= change[2];
    }
    if cut > 0 {
        bytes.truncate(cut);
    }
    let path = file();
    for suffix in ["-wal", "-shm"] {
        let _absent = std::fs::remove_file(format!("{}{suffix}", path.display()));
    }
    std::fs::write(&path, &bytes).expect("room for the state");
    match answers(&path, &original.probes) {
        Ok(Some(now)) => assert_eq!(now, original.answers, "another answer, unsaid"),
        Ok(None) => panic!("what was learned is silently gone"),
        Err(_) => {}
    }
    if let Ok(mut memory) = Memory::open_existing(&path) {
        for rows in [Rows::Training, Rows::HeldOut, Rows::Unlabelled] {
            let _samples = memory.samples(rows);
        }
        let _report = memory.check();
        let _answers = answers(&path, &original.probes);
    }
});
