//! `kaizen serve` under load: many viewers, and learning beside prediction. `scripts/torture` runs
//! the long forms, with the bounds that only a quiet machine can be held to.

use std::io::{BufRead as _, Read as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::http_client::open;
use crate::serve::{Server, Setting, excerpt};

pub(crate) fn setting_of(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

/// Frames answered a second over so long.
pub(crate) fn rate(server: &Server, length: Duration) -> f64 {
    let frames = || server.get("/api/v1/status").json()["live"]["frames"].as_u64().unwrap();
    let (start, before) = (Instant::now(), frames());
    std::thread::sleep(length);
    (frames() - before) as f64 / start.elapsed().as_secs_f64()
}

#[test]
fn many_viewers_cost_neither_frames_nor_memory() {
    let viewers = setting_of("KAIZEN_TORTURE_VIEWERS").unwrap_or(8);
    let length = Duration::from_secs(setting_of("KAIZEN_TORTURE_SECS").unwrap_or(3));
    let server = Setting::quick("recording-objects").serve(&["--loop"]);
    server.wait("frames", |status| status["live"]["frames"].as_u64() >= Some(10));
    let alone = rate(&server, Duration::from_secs(3).max(length / 10));
    let (stop, bytes) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let watching: Vec<_> = (0..viewers)
        .map(|number| {
            let (stop, bytes, address) = (stop.clone(), bytes.clone(), server.address);
            let watch = move || {
                let (_, _, mut stream) = open(address, "/api/v1/stream.mjpeg");
                let mut part = vec![0; 1 << 14];
                while !stop.load(Ordering::SeqCst) {
                    // One in eight reads nothing any more: what is not read must not pile up.
                    if number % 8 == 7 {
                        std::thread::sleep(Duration::from_millis(50));
                        continue;
                    }
                    bytes.fetch_add(stream.read(&mut part).unwrap() as u64, Ordering::Relaxed);
                }
            };
            std::thread::Builder::new().spawn(watch).unwrap()
        })
        .collect();
    server.wait("all viewers", |status| status["viewers"].as_u64() == Some(viewers));
    std::thread::sleep(Duration::from_secs(1));
    let before = server.resident_mib();
    let watched = rate(&server, length);
    let after = server.resident_mib();
    stop.store(true, Ordering::SeqCst);
    let status = server.get("/api/v1/status").json();
    watching.into_iter().for_each(|thread| thread.join().unwrap());
    println!(
        "{viewers} viewers for {} s: {alone:.2} frames/s alone, {watched:.2} watched; {before} -> {after} MiB; {} MiB sent",
        length.as_secs(),
        bytes.load(Ordering::Relaxed) >> 20
    );
    assert!(status["pictures_encoded"].as_u64() <= status["live"]["frames"].as_u64(), "{status}");
    assert!(after <= before + 48, "{before} MiB, then {after}");
    let least = if setting_of("KAIZEN_TORTURE_VIEWERS").is_some() { 0.95 } else { 0.7 };
    assert!(watched > least * alone, "{watched} of {alone} frames a second");
}

/// Clients that read what costs most as fast as they can must not keep an operator waiting.
#[test]
fn many_readers_delay_neither_predictions_nor_lessons() {
    let readers = setting_of("KAIZEN_TORTURE_VIEWERS").unwrap_or(16);
    let length = Duration::from_secs(setting_of("KAIZEN_TORTURE_SECS").unwrap_or(3));
    let server = Setting::quick("recording-objects").serve(&["--loop", "--steps", "0"]);
    server.wait("frames", |status| status["live"]["recent"].as_u64() >= Some(100));
    let teach = |name: &str| {
        let start = Instant::now();
        assert_eq!(server.post("/api/v1/teach", &json!({ "name": name, "frames": 20 })).status, 200);
        start.elapsed()
    };
    for name in ["a", "b"] {
        teach(name);
    }
    server.learn();
    let alone = rate(&server, Duration::from_secs(2).max(length / 10));
    let (stop, reads) = (AtomicBool::new(false), AtomicU64::new(0));
    let (read, lesson) = std::thread::scope(|scope| {
        for number in 0..readers {
            let path = ["/api/v1/history", "/api/v1/unknowns", "/api/v1/classes"][number as usize % 3];
            let (server, stop, reads) = (&server, &stop, &reads);
            scope.spawn(move || {
                while !stop.load(Ordering::SeqCst) {
                    assert_eq!(server.get(path).status, 200);
                    reads.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        std::thread::sleep(Duration::from_millis(300));
        let read = rate(&server, length);
        let lesson = teach("a");
        stop.store(true, Ordering::SeqCst);
        (read, lesson)
    });
    println!(
        "{readers} readers for {} s: {} reads, {alone:.2} frames/s alone, {read:.2} with them; a lesson in {lesson:?}",
        length.as_secs(),
        reads.load(Ordering::Relaxed)
    );
    assert!(lesson < Duration::from_secs(1), "{lesson:?}");
    let least = if setting_of("KAIZEN_TORTURE_VIEWERS").is_some() { 0.95 } else { 0.7 };
    assert!(read > least * alone, "{read} of {alone} frames a second");
}

/// Latencies in milliseconds of the answers while `goes_on`.
fn latencies(server: &Server, goes_on: impl Fn() -> bool) -> Vec<f64> {
    let (_, _, mut events) = open(server.address, "/api/v1/events");
    let (mut found, mut line) = (Vec::new(), String::new());
    while goes_on() {
        line.clear();
        events.read_line(&mut line).unwrap();
        let data = line.strip_prefix("data: ").and_then(|data| serde_json::from_str::<Value>(data).ok());
        found.extend(data.and_then(|data| data["latency_millis"].as_f64()));
    }
    found.sort_by(f64::total_cmp);
    found
}

fn quantile(sorted: &[f64], of_100: usize) -> f64 {
    sorted[(sorted.len() * of_100 / 100).min(sorted.len() - 1)]
}

/// Teaches and learns again and again while `measure` runs; gives its result and the number of
/// consolidations that began.
fn while_learning<T>(server: &Server, measure: impl FnOnce() -> T) -> (T, usize) {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let learner = scope.spawn(|| {
            let mut begun = 0;
            while !stop.load(Ordering::SeqCst) {
                let lesson = json!({ "name": format!("things {}", begun % 3), "frames": 60 });
                assert_eq!(server.post("/api/v1/teach", &lesson).status, 200);
                assert_eq!(server.post("/api/v1/learn", &Value::Null).status, 202);
                begun += 1;
                let ends = |status: &Value| status["live"]["pending"] == 0 || stop.load(Ordering::SeqCst);
                server.wait("the end of learning", ends);
            }
            begun
        });
        server.wait("training", |status| status["live"]["learning"]["step"].as_u64() > Some(0));
        let measured = measure();
        server.wait("learning that still goes on", |status| status["live"]["pending"].as_u64() > Some(0));
        stop.store(true, Ordering::SeqCst);
        (measured, learner.join().unwrap())
    })
}

#[test]
fn prediction_does_not_wait_for_learning() {
    let length = setting_of("KAIZEN_TORTURE_SECS").unwrap_or(4);
    let folder = tempfile::tempdir().unwrap();
    let source = excerpt(folder.path(), "recording-objects", &["box", "tree", "cup"], 40);
    let power = std::env::var("KAIZEN_TORTURE_POWER").unwrap_or_else(|_| "balanced".to_owned());
    let server = Setting::real(source).serve(&["--loop", "--power", &power]);
    server.wait("frames", |status| status["live"]["recent"].as_u64() >= Some(100));
    let timed = || {
        let start = Instant::now();
        latencies(&server, || start.elapsed() < Duration::from_secs(length))
    };
    let rest = timed();
    let (learning, begun) = while_learning(&server, timed);
    let [p50, p99, p50_learning, p99_learning] =
        [quantile(&rest, 50), quantile(&rest, 99), quantile(&learning, 50), quantile(&learning, 99)];
    println!(
        "power {power}, {} and {} answers, {begun} consolidations: at rest p50 {p50:.1} ms p99 {p99:.1} ms, learning p50 \
         {p50_learning:.1} ms p99 {p99_learning:.1} ms ({:.2}x)",
        rest.len(),
        learning.len(),
        p99_learning / p99,
    );
    assert!(learning.len() > rest.len() / 2, "answers stopped");
    if setting_of("KAIZEN_TORTURE_SECS").is_some() {
        assert!(p99_learning <= 1.2 * p99, "{p99_learning} ms after {p99} ms");
    }
}
