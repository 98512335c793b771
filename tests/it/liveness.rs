//! What `kaizen serve` says of itself when a camera hangs, comes later, or a runtime goes on failing.

use std::io::Write as _;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::serve::{Server, Setting};
use crate::{support, tiny_model};

const SIDE: usize = 16;

/// Served raw frames, which the test writes; what it holds open keeps the source waiting.
struct Piped {
    server: Server,
    frames: std::process::ChildStdin,
}

fn piped(setting: &Setting, more: &[&str], change: impl FnOnce(&mut Command)) -> Piped {
    let mut command = setting.command(more);
    command.args(["--raw-size", &SIDE.to_string(), &SIDE.to_string()]).stdin(Stdio::piped());
    change(&mut command);
    let mut server = Server::start(&mut command);
    let frames = server.stdin().unwrap();
    Piped { server, frames }
}

impl Piped {
    fn write(&mut self, shade: u8) {
        self.frames.write_all(&[shade; 3 * SIDE * SIDE]).unwrap();
    }
}

fn raw() -> Setting {
    let mut setting = Setting::quick("recording-objects");
    "-".clone_into(&mut setting.source);
    setting
}

/// Waits until `/healthz` answers with a status; returns the answer and the time that it took.
#[track_caller]
fn health_of(server: &Server, status: u16) -> (String, Duration) {
    let start = Instant::now();
    loop {
        let answer = server.get("/healthz");
        if answer.status == status {
            return (answer.text(), start.elapsed());
        }
        assert!(start.elapsed() < Duration::from_secs(40), "{status} never came: {}", answer.text());
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_camera_that_hangs_makes_health_fail_and_the_watchdog_silent() {
    let setting = raw();
    let path = setting.folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    let period = Duration::from_millis(400);
    socket.set_read_timeout(Some(5 * period)).unwrap();
    let mut piped = piped(&setting, &[], |command| {
        command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", period.as_micros().to_string());
    });
    for shade in 0..20 {
        piped.write(shade);
    }
    health_of(&piped.server, 200);
    // The pipe stays open and gives nothing: the thread is inside a read.
    let (reason, took) = health_of(&piped.server, 503);
    assert!(took < Duration::from_secs(15), "{took:?}");
    assert!(reason.contains("kaizen-capture has not moved for 12 s"), "{reason}");
    let silent = Instant::now();
    while socket.recv(&mut [0; 256]).is_ok() {
        assert!(silent.elapsed() < Duration::from_secs(10), "the watchdog goes on");
    }
    // A frame ends the silence.
    piped.write(7);
    health_of(&piped.server, 200);
    assert!(socket.recv(&mut [0; 256]).is_ok());
    drop(piped.frames);
    let reason = health_of(&piped.server, 503).0;
    assert!(reason.contains("came to its end, though it is no recording"), "{reason}");
}

#[test]
fn a_source_that_comes_later_is_awaited_and_one_that_cannot_work_is_refused() {
    let mut setting = Setting::quick("recording-objects");
    let (there, link) = (support::data("recording-objects"), setting.folder.path().join("camera"));
    setting.source = format!("recording://{}", link.display());
    let server = setting.serve(&["--loop"]);
    let reason = health_of(&server, 503).0;
    assert!(reason.contains("tried again") && reason.contains("no such folder"), "{reason}");
    assert_eq!(server.get("/api/v1/status").json()["live"]["source"]["state"], "waiting");
    std::os::unix::fs::symlink(there, &link).unwrap();
    health_of(&server, 200);
    server.wait("frames", |status| status["live"]["frames"].as_u64() > Some(3));
    for refused in ["ftp://camera/1", "", "gst://"] {
        refused.clone_into(&mut setting.source);
        let output = setting.command(&[]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.code() == Some(1) && said.contains("source cannot be used"),
            "{refused}: {said}"
        );
    }
}

#[test]
fn a_recording_that_ends_is_healthy() {
    let setting = Setting::quick("recording-objects");
    let source = crate::serve::excerpt(setting.folder.path(), "recording-objects", &["cup"], 3);
    let server = Setting { source, ..setting }.serve(&[]);
    server.wait("the end", |status| status["live"]["source"]["state"] == "ended");
    let health = server.get("/healthz");
    assert_eq!(health.status, 200, "{}", health.text());
}

/// Serves white.onnx and sends it frames of these shades, at a pace at which none is dropped.
fn send_shades(setting: &Setting, shades: &[u8]) -> Piped {
    tiny_model::write_that_fails_on_white(&setting.models);
    let mut piped = piped(setting, &["--most-failures", "3"], |_| ());
    for &shade in shades {
        piped.write(shade);
        std::thread::sleep(Duration::from_millis(100));
    }
    piped
}

/// The process must end within a second, and say why; nothing of the state is lost.
#[track_caller]
fn ends(setting: &Setting, mut piped: Piped, reason: &str) {
    let start = Instant::now();
    let (status, said) = piped.server.end();
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    let thread = "thread kaizen-infer cannot go on";
    assert!(status.code() == Some(1) && said.contains(thread) && said.contains(reason), "{status}: {said}");
    let state = setting.folder.path().join("state.db");
    let check = Command::new(env!("CARGO_BIN_EXE_kaizen")).args(["check"]).arg(state).output().unwrap();
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
}

#[test]
fn a_runtime_that_goes_on_failing_ends_the_program_and_one_failure_does_not() {
    if std::env::var_os("ORT_DYLIB_PATH").is_none() {
        assert!(!support::required("ort"), "KAIZEN_REQUIRE names ort, and ORT_DYLIB_PATH is not set");
        println!("skipped: ORT_DYLIB_PATH is not set");
        return;
    }
    let setting = Setting { provider: "cpu", ..raw() };
    let mut piped = send_shades(&setting, &[10, 255, 20, 255, 255, 30]);
    let status = piped.server.wait("the rejected frames", |status| status["live"]["rejected"] == 3);
    assert_eq!(status["live"]["frames"], 3, "an answer after an error begins the count anew");
    for _ in 0..3 {
        piped.write(255);
        std::thread::sleep(Duration::from_millis(100));
    }
    ends(&setting, piped, "3 errors in a row");
}

#[test]
fn a_panic_of_a_thread_ends_the_program() {
    // tract panics where ONNX Runtime gives an error.
    let setting = raw();
    let piped = send_shades(&setting, &[10, 255]);
    ends(&setting, piped, "it panicked");
}
