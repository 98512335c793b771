//! A state file cut or with bytes flipped anywhere: what it then answers is what it answered
//! before, or a refusal.

use std::fs;

use kaizen_edge::low_level::rng::Rng;

use crate::learned_state::{answers, learned, probes};

#[test]
fn damaged_files_answer_as_before_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let (path, damaged) = (folder.path().join("state.db"), folder.path().join("damaged.db"));
    learned(&path);
    let (probes, mut rng) = (probes(), Rng::new(6, 0));
    let before = answers(&path, &probes).unwrap().unwrap();
    let sound = fs::read(&path).unwrap();
    let (mut same, mut refused) = (0, 0);
    for round in 0..1500 {
        let mut bytes = sound.clone();
        let what = if round % 10 == 0 {
            bytes.truncate(rng.below(sound.len()));
            format!("cut at {}", bytes.len())
        } else {
            // The first page holds the header and the schema.
            let at = rng.below(if round % 4 == 0 { 4096 } else { sound.len() });
            let mask = 1 << rng.below(8);
            bytes[at] ^= mask;
            format!("byte {at} ^ {mask}")
        };
        fs::write(&damaged, &bytes).unwrap();
        match answers(&damaged, &probes) {
            Ok(Some(now)) => {
                assert_eq!(now, before, "{what}");
                same += 1;
            }
            Ok(None) => panic!("{what}: what was learned is silently gone"),
            Err(_) => refused += 1,
        }
        for suffix in ["-wal", "-shm"] {
            let _absent = fs::remove_file(folder.path().join(format!("damaged.db{suffix}")));
        }
    }
    println!("{} bytes: as before {same}, refused {refused}", sound.len());
    assert!(same > 200 && refused > 200, "as before {same}, refused {refused}");
}
