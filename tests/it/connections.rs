//! Nothing leaves the machine unless it is asked for: a library loaded before libc notes every
//! connection that the program sets out to make.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::json;
use tempfile::TempDir;

use crate::serve::{Server, Setting};
use crate::state::Desk;
use crate::support;

/// The library (`tests/faults/connections.c`), compiled, and what it noted.
struct Connections {
    folder: TempDir,
}

impl Connections {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let source = support::repository().join("tests/faults/connections.c");
        let library = folder.path().join("connections.so");
        let built = Command::new("cc")
            .args(["-O1", "-shared", "-fPIC", "-o"])
            .args([&library, &source])
            .arg("-ldl")
            .output();
        let built = built.expect("a C compiler, as the crate needs it anyway");
        assert!(built.status.success(), "{built:?}");
        Self { folder }
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn watch<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .env("LD_PRELOAD", self.folder.path().join("connections.so"))
            .env("KAIZEN_CONNECTIONS_LOG", self.log())
    }

    fn noted(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }
}

#[test]
fn no_command_opens_a_connection_that_was_not_asked_for() {
    let (desk, connections) = (Desk::new(), Connections::new());
    let classes: Vec<String> = desk.classes().iter().map(|class| class.display().to_string()).collect();
    let copy = desk.state().with_file_name("copy").display().to_string();
    for words in [
        vec!["teach", "one", &classes[0]],
        vec!["teach", "two", &classes[1]],
        vec!["observe", &classes[2]],
        vec!["learn", "--json", "--steps", "4"],
        vec!["predict", &classes[3], "--json"],
        vec!["unknowns", "--json"],
        vec!["history", "--json"],
        vec!["backup", &copy, "--json"],
        vec!["forget", "two", "--json"],
    ] {
        let output = connections.watch(&mut desk.command(&words)).output().unwrap();
        assert!(output.status.success(), "{words:?}: {output:?}");
    }
    let mut doctor = Command::new(env!("CARGO_BIN_EXE_kaizen"));
    connections.watch(doctor.args(["doctor", "--provider", "tract"])).output().unwrap();
    let setting = Setting::quick("recording-fashion");
    let server = Server::start(connections.watch(&mut setting.command(&["--loop", "--steps", "0"])));
    server.wait("frames", |status| status["live"]["recent"].as_u64() >= Some(20));
    assert_eq!(server.post("/api/v1/teach", &json!({ "name": "a", "frames": 10 })).status, 200);
    server.learn();
    server.stop();
    assert_eq!(connections.noted(), "");
}

/// The control: a camera on the network is asked for, and noted.
#[cfg(feature = "gstreamer")]
#[test]
fn a_connection_to_a_camera_that_was_asked_for_is_noted() {
    let connections = Connections::new();
    let mut setting = Setting::quick("recording-fashion");
    setting.source = "rtsp://127.0.0.1:9/live".to_owned();
    let server = Server::start(connections.watch(&mut setting.command(&[])));
    server.wait("the camera that is not there", |status| status["live"]["source"]["state"] == "waiting");
    assert!(connections.noted().contains("connect"), "{}", connections.noted());
}
