//! A week in front of a camera, at full speed: what the program takes must not grow with what it has
//! seen. `scripts/torture week` runs the long form, 600 000 frames.

use std::fs;
use std::path::Path;

use kaizen_edge::low_level::rng::Rng;
use serde_json::json;

use crate::load::setting_of;
use crate::serve::{Server, Setting};

/// Frames between two lessons, one second of a camera each.
const BETWEEN: u64 = 1000;
/// Frames of the recording that is played again and again.
const FRAMES: u32 = 7000;
/// Less than the frames of the recording take, and room for the log of 600 lessons.
const QUOTA: u64 = 16 << 20;

/// Writes a recording of noise in colours of their own, a millisecond apart.
fn record(folder: &Path) {
    let mut rng = Rng::named(1, "week");
    let mut rows = vec!["frame,timestamp_millis,label,split".to_owned()];
    for number in 0..FRAMES {
        let colour = [0; 3].map(|_| rng.below(150));
        let pixels: Vec<u8> =
            (0..32 * 32).flat_map(|_| colour.map(|shade| (shade + rng.below(100)) as u8)).collect();
        let name = format!("{number:05}.png");
        let picture = image::RgbImage::from_raw(32, 32, pixels).unwrap();
        picture.save(folder.join(&name)).unwrap();
        rows.push(format!("{name},{number},,train"));
    }
    fs::write(folder.join("labels.csv"), rows.join("\n")).unwrap();
}

/// What the program takes at some moment.
#[derive(Clone, Copy, Debug)]
struct Taken {
    resident_kib: u64,
    state_bytes: u64,
    /// The state with its write-ahead log, which fills and is emptied.
    disk_bytes: u64,
    open_files: u64,
}

impl Taken {
    fn now(server: &Server, state: &Path) -> Self {
        let process = format!("/proc/{}", server.process());
        let status = fs::read_to_string(format!("{process}/status")).unwrap();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let size = |ending: &str| {
            fs::metadata(format!("{}{ending}", state.display())).map_or(0, |found| found.len())
        };
        Self {
            resident_kib: resident.trim().trim_end_matches("kB").trim().parse().unwrap(),
            state_bytes: size(""),
            disk_bytes: size("") + size("-wal") + size("-shm"),
            open_files: fs::read_dir(format!("{process}/fd")).unwrap().count() as u64,
        }
    }
}

/// The most that was taken of something.
fn most(taken: &[Taken], of: impl Fn(&Taken) -> u64) -> u64 {
    taken.iter().map(of).max().unwrap()
}

#[test]
fn a_week_of_frames_and_lessons_leaves_memory_state_and_open_files_as_they_were() {
    let frames = setting_of("KAIZEN_TORTURE_FRAMES").unwrap_or(12_000);
    let is_long = setting_of("KAIZEN_TORTURE_FRAMES").is_some();
    let mut setting = Setting::quick("recording-fashion");
    let recording = setting.folder.path().join("recording");
    fs::create_dir(&recording).unwrap();
    record(&recording);
    setting.source = format!("recording://{}", recording.display());
    let state = setting.folder.path().join("state.db");
    let quota = QUOTA.to_string();
    // It has been there for a while: the quota is reached.
    setting.command_line(&["observe", recording.to_str().unwrap(), "--quiet", "--quota-bytes", &quota]);
    // Nobody reads what it says, and a pipe holds little.
    let server = setting.serve(&["--loop", "--steps", "0", "--quota-bytes", &quota, "--quiet"]);
    let (mut taken, mut lessons) = (Vec::new(), 0);
    for number in 0..frames / BETWEEN {
        server.wait("frames", |status| status["live"]["frames"].as_u64() >= Some(number * BETWEEN + 1));
        let lesson = json!({ "name": format!("class {}", number % 5), "frames": 20 });
        let taught = server.post("/api/v1/teach", &lesson);
        assert_eq!(taught.status, 200, "lesson {number}: {}", taught.text());
        server.learn();
        lessons += 1;
        taken.push(Taken::now(&server, &state));
    }
    let tenth = (taken.len() / 10).max(1);
    let (early, late) = (&taken[tenth..2 * tenth + 1], &taken[2 * tenth..]);
    let growth = |of: fn(&Taken) -> u64| most(late, of) as f64 / most(early, of) as f64;
    let [memory, size, files] =
        [growth(|it| it.resident_kib), growth(|it| it.state_bytes), growth(|it| it.open_files)];
    let status = server.get("/api/v1/status").json();
    println!(
        "{} frames answered, {} dropped, {lessons} lessons; after the first tenth {early:?}, at the end {:?}; the most \
         after it is {memory:.3} of memory, {size:.3} of the state, {files:.3} of open files",
        status["live"]["frames"],
        status["live"]["dropped"],
        taken.last(),
    );
    assert!(size <= 1.05 && most(&taken, |it| it.disk_bytes) <= QUOTA, "{size}");
    // A connection that is just being closed counts.
    assert!(most(late, |it| it.open_files) <= most(early, |it| it.open_files) + 2, "{files}");
    let bound = if is_long { 1.05 } else { 1.3 };
    assert!(memory <= bound, "{memory}");
    assert!(status["live"]["rejected"] == 0, "{status}");
}
