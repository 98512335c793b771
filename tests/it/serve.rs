//! `kaizen serve` as a client sees it: the program runs on a recording, with a real backbone.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::http_client::{Answer, open, send};
use crate::{support, tiny_model};

/// A running server.
pub(crate) struct Server {
    child: Child,
    stderr: Option<ChildStderr>,
    pub(crate) address: SocketAddr,
    pub(crate) lines: String,
}

/// What is served.
pub(crate) struct Setting {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) source: String,
    pub(crate) models: PathBuf,
    pub(crate) provider: &'static str,
}

impl Setting {
    /// Frames of one recording, by the one-layer backbone: quick.
    pub(crate) fn quick(frames: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let models = folder.path().join("models");
        tiny_model::write(&models);
        Self {
            source: format!("recording://{}", support::data(frames).display()),
            folder,
            models,
            provider: "tract",
        }
    }

    /// The same frames by a small backbone that is cut: its tail learns.
    pub(crate) fn cut(frames: &str) -> Self {
        let setting = Self::quick(frames);
        tiny_model::write_cut(&setting.models, Some("latent"));
        setting
    }

    /// The same frames by the backbone that is delivered.
    pub(crate) fn real(source: String) -> Self {
        let models = support::repository().join("models");
        Self { folder: tempfile::tempdir().unwrap(), source, models, provider: "tract" }
    }

    pub(crate) fn serve(&self, more: &[&str]) -> Server {
        Server::start(&mut self.command(more))
    }

    /// Another command of the program on the same state; it must succeed.
    #[track_caller]
    pub(crate) fn command_line(&self, arguments: &[&str]) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kaizen"));
        command
            .args(arguments)
            .args(["--provider", "tract", "--engine", "cpu", "--models-dir"])
            .arg(&self.models);
        let output = command.arg("--state").arg(self.folder.path().join("state.db")).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    pub(crate) fn command(&self, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kaizen"));
        command.args(["serve", "--source", &self.source, "--listen", "127.0.0.1:0", "--engine", "cpu"]);
        command.args(["--provider", self.provider, "--models-dir"]).arg(&self.models);
        command.arg("--state").arg(self.folder.path().join("state.db")).args(more);
        command
    }
}

impl Server {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let stderr = child.stderr.take();
        let address = line.trim().trim_start_matches("http://").trim_start_matches("https://");
        let address = address.trim_end_matches('/').parse();
        let Ok(address) = address else {
            let mut text = String::new();
            stderr.unwrap().read_to_string(&mut text).unwrap();
            panic!("no address in {line:?}: {text}");
        };
        Server { child, stderr, address, lines: String::new() }
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        send(self.address, "GET", path, &self.lines, b"")
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        let lines = format!("{}Content-Type: application/json\r\n", self.lines);
        send(self.address, "POST", path, &lines, body.to_string().as_bytes())
    }

    #[track_caller]
    pub(crate) fn wait(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        self.wait_with(&self.lines, what, is_so)
    }

    /// As [`Server::wait`], with other headers.
    #[track_caller]
    pub(crate) fn wait_with(&self, lines: &str, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let start = Instant::now();
        loop {
            let status = send(self.address, "GET", "/api/v1/status", lines, b"").json();
            if is_so(&status) {
                return status;
            }
            assert!(start.elapsed() < Duration::from_secs(60), "{what} never came: {status}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    #[track_caller]
    fn teach(&self, name: &str, frames: usize) -> Value {
        let answer = self.post("/api/v1/teach", &json!({ "name": name, "frames": frames }));
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    #[track_caller]
    pub(crate) fn learn(&self) {
        assert_eq!(self.post("/api/v1/learn", &Value::Null).status, 202);
        self.wait("the end of learning", |status| status["live"]["pending"] == 0);
    }

    fn classes(&self) -> Vec<String> {
        let classes = self.get("/api/v1/classes").json();
        classes.as_array().unwrap().iter().map(|class| class["name"].as_str().unwrap().to_owned()).collect()
    }

    /// Memory of the server's process.
    pub(crate) fn resident_mib(&self) -> usize {
        let text = fs::read_to_string(format!("/proc/{}/statm", self.child.id())).unwrap();
        text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4 / 1024
    }

    /// The standard input, if it is a pipe.
    pub(crate) fn stdin(&mut self) -> Option<std::process::ChildStdin> {
        self.child.stdin.take()
    }

    /// Waits for the program to end by itself; gives its status and what it said.
    pub(crate) fn end(&mut self) -> (ExitStatus, String) {
        let mut said = String::new();
        self.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        (self.child.wait().unwrap(), said)
    }

    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal, by name.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    /// Stops it as a service manager does; its exit status and what it said.
    pub(crate) fn stop(mut self) -> (ExitStatus, String) {
        self.signal("TERM");
        let mut text = String::new();
        self.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        (self.child.wait().unwrap(), text)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The first frames of a recording, as a recording: so many of each of some classes, one class
/// after the other.
pub(crate) fn excerpt(folder: &Path, from: &str, classes: &[&str], of_each: usize) -> String {
    let from = support::data(from);
    let table = fs::read_to_string(from.join("labels.csv")).unwrap();
    let mut rows = vec!["frame,timestamp_millis,label,split".to_owned()];
    for class in classes {
        let of_class = table.lines().filter(|line| line.split(',').nth(2) == Some(class)).take(of_each);
        for line in of_class {
            let frame = line.split(',').next().unwrap();
            fs::copy(from.join(frame), folder.join(frame)).unwrap();
            rows.push(format!("{frame},{},{class},train", 100 * rows.len()));
        }
    }
    fs::write(folder.join("labels.csv"), rows.join("\n")).unwrap();
    format!("recording://{}", folder.display())
}

#[test]
fn what_is_taught_is_predicted_taken_back_and_kept_across_restarts() {
    let setting = Setting::quick("recording-fashion");
    let server = setting.serve(&["--loop", "--steps", "0"]);
    let status = server.wait("frames", |status| status["live"]["recent"].as_u64() >= Some(40));
    assert_eq!(status["prediction"]["learned"], false, "{status}");
    let lesson = server.teach("first", 30);
    assert_eq!(lesson["labels"].as_array().unwrap().len(), 30);
    server.learn();
    let status = server.wait("an answer", |status| status["prediction"]["learned"] == true);
    assert_eq!(status["prediction"]["ranking"][0]["class"], "first");
    // A second class, by a picture that is sent.
    let picture = fs::read(support::data("recording-fashion/000800.png")).unwrap();
    let path = "/api/v1/teach/image?name=second%20one";
    let sent = send(server.address, "POST", path, "Content-Type: image/png\r\n", &picture);
    assert_eq!((sent.status, sent.json()["class"].as_str()), (200, Some("second one")), "{}", sent.text());
    let label = sent.json()["labels"][0].clone();
    server.learn();
    assert_eq!(server.classes(), ["first", "second one"]);
    let undone = server.post("/api/v1/undo", &json!({ "labels": [label] }));
    assert_eq!(
        (undone.status, undone.json()["learned_anew"].as_bool()),
        (200, Some(true)),
        "{}",
        undone.text()
    );
    assert_eq!(server.classes(), ["first"]);
    // Roll back the newest version; another one answers.
    let history = server.get("/api/v1/history").json();
    let newest = &history["versions"][0];
    assert_eq!(newest["status"], "serving", "{history}");
    let path = format!("/api/v1/versions/{}/roll-back", newest["version"]);
    let back = server.post(&path, &Value::Null);
    assert_eq!((back.status, back.json()["serving"].is_i64()), (200, true), "{}", back.text());
    assert_eq!(server.post(&path, &Value::Null).status, 404, "it is rolled back already");
    let before = server.get("/api/v1/history").json();
    let (status, text) = server.stop();
    assert!(status.success() && text.contains("nothing was pending"), "{text}");
    let server = setting.serve(&["--loop", "--steps", "0"]);
    assert_eq!(server.get("/api/v1/history").json(), before);
    server.wait("an answer at once", |status| status["prediction"]["learned"] == true);
    let forgotten = send(server.address, "DELETE", "/api/v1/classes/first", "", b"");
    assert_eq!(forgotten.status, 200, "{}", forgotten.text());
    assert!(server.classes().is_empty());
    server.wait("no answer", |status| status["prediction"]["learned"] == false);
}

/// Lessons are answered by closed forms at once; nobody asks for the training that follows.
#[test]
fn the_tail_is_trained_once_nothing_else_has_been_asked_for_a_while() {
    let setting = Setting::cut("recording-fashion");
    let server = setting.serve(&["--loop", "--consolidate", "idle", "--power", "full"]);
    server.wait("frames", |status| status["live"]["recent"].as_u64() >= Some(12));
    server.teach("first", 12);
    let picture = fs::read(support::data("recording-fashion/000800.png")).unwrap();
    let path = "/api/v1/teach/image?name=second";
    assert_eq!(send(server.address, "POST", path, "Content-Type: image/png\r\n", &picture).status, 200);
    server.learn();
    let newest = || server.get("/api/v1/history").json()["versions"][0].clone();
    let at_once = newest();
    let candidates = |version: &Value| version["candidates"].to_string();
    assert!(!candidates(&at_once).contains("tail-"), "{at_once}");
    let start = Instant::now();
    let trained = loop {
        let newest = newest();
        if newest["version"] != at_once["version"] {
            break newest;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "no training came: {newest}");
        std::thread::sleep(Duration::from_millis(200));
    };
    println!("trained after {:.1} s: {trained}", start.elapsed().as_secs_f64());
    assert!(start.elapsed() > Duration::from_secs(5), "not while it may still be asked for something");
    assert!(candidates(&trained).contains("tail-"), "{trained}");
    let said = server.stop().1;
    assert!(said.contains("training begins"), "{said}");
}

#[test]
fn unknown_frames_gather_and_are_named_and_suggestions_have_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let source = excerpt(folder.path(), "recording-objects", &["box", "tree"], 40);
    let server = Setting::real(source).serve(&["--loop", "--steps", "0", "--power", "full"]);
    server.wait("frames", |status| status["live"]["recent"].as_u64() >= Some(12));
    server.teach("box", 12);
    server.learn();
    let start = Instant::now();
    let cluster = loop {
        let unknowns = server.get("/api/v1/unknowns").json();
        if let Some(cluster) = unknowns["clusters"].as_array().unwrap().first() {
            break cluster.clone();
        }
        assert!(start.elapsed() < Duration::from_secs(60), "{unknowns}");
        std::thread::sleep(Duration::from_millis(200));
    };
    let thumbnail = server.get(&format!("/api/v1/samples/{}/thumbnail", cluster["shown"][0]));
    assert_eq!((thumbnail.status, &thumbnail.body[..2]), (200, &[0xFF, 0xD8][..]));
    // What is forgotten must not stay in a browser's cache.
    assert!(thumbnail.headers.contains("cache-control: no-store"), "{}", thumbnail.headers);
    let named = server.post(&format!("/api/v1/unknowns/{}", cluster["cluster"]), &json!({ "name": "tree" }));
    assert_eq!(named.status, 200, "{}", named.text());
    assert!(named.json()["labels"].as_array().unwrap().len() >= 2);
    server.learn();
    server.wait("the new class", |status| status["prediction"]["class"] == "tree");
    let suggestions = server.get("/api/v1/suggestions").json();
    if let Some(first) = suggestions["suggestions"].as_array().unwrap().first() {
        let path = format!("/api/v1/samples/{}/label", first["sample"]);
        assert_eq!(server.post(&path, &json!({ "name": "box" })).status, 200, "{suggestions}");
    }
}

#[test]
fn a_client_without_the_token_gets_nothing() {
    let setting = Setting::quick("recording-fashion");
    let file = setting.folder.path().join("token");
    let token = "a-secret-of-many-characters";
    fs::write(&file, format!("{token}\n")).unwrap();
    let mut server = setting.serve(&["--loop", "--token-file", file.to_str().unwrap()]);
    for path in [
        "/api/v1/status",
        "/api/v1/stream.mjpeg",
        "/api/v1/openapi.json",
        "/metrics",
        "/healthz",
        "/assets/app.js",
    ] {
        let answer = server.get(path);
        assert!(matches!(answer.status, 401 | 429), "{path}: {answer:?}");
        assert!(answer.body.len() < 200, "{path} says too much: {}", answer.text());
    }
    let page = server.get("/");
    assert!(
        page.status == 401 && page.text().contains("action=\"/login\"") && !page.text().contains("app.js")
    );
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let wrong = send(server.address, "POST", "/login", form, b"token=wrong");
    assert!(matches!(wrong.status, 401 | 429) && !wrong.headers.contains("set-cookie"), "{wrong:?}");
    let right = send(server.address, "POST", "/login", form, format!("token={token}").as_bytes());
    assert_eq!(right.status, 303, "{right:?}");
    let cookie = right.headers.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap();
    server.lines = format!("Cookie: {}\r\n", cookie.split(';').next().unwrap());
    assert_eq!(server.get("/api/v1/status").status, 200);
    server.lines = format!("Authorization: Bearer {token}\r\n");
    assert_eq!(server.get("/").status, 200);
    server.lines = "Authorization: Bearer a-secret-of-many-characterz\r\n".to_owned();
    assert!(matches!(server.get("/api/v1/status").status, 401 | 429));
}

#[test]
fn open_addresses_other_sites_and_names_are_refused() {
    let setting = Setting::quick("recording-fashion");
    let output = setting.command(&["--listen", "0.0.0.0:0"]).output();
    let refused = output.unwrap();
    assert!(!refused.status.success(), "two addresses");
    let mut command = Command::new(env!("CARGO_BIN_EXE_kaizen"));
    command.args(["serve", "--source", &setting.source, "--listen", "0.0.0.0:0", "--state"]);
    let output = command.arg(setting.folder.path().join("s.db")).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("--token-file"), "{output:?}");
    let server = setting.serve(&["--loop"]);
    let lesson = json!({ "name": "x" }).to_string();
    let status = |lines: &str| {
        let lines = format!("{lines}Content-Type: application/json\r\n");
        send(server.address, "POST", "/api/v1/teach", &lines, lesson.as_bytes()).status
    };
    server.wait("frames", |status| status["live"]["recent"].as_u64() >= Some(1));
    assert_eq!(status("Origin: http://evil.example\r\n"), 403);
    assert_eq!(status("Origin: null\r\n"), 403);
    assert_eq!(status("Sec-Fetch-Site: cross-site\r\n"), 403);
    assert_eq!(status("Host: evil.example\r\n"), 421);
    // Neither may a page of another site show what is here.
    let shown = |path: &str, site: &str| {
        send(server.address, "GET", path, &format!("Sec-Fetch-Site: {site}\r\n"), b"").status
    };
    for path in ["/", "/api/v1/history", "/api/v1/stream.mjpeg", "/healthz"] {
        assert_eq!([shown(path, "cross-site"), shown(path, "same-site")], [403, 403], "{path}");
    }
    assert_eq!([shown("/", "none"), shown("/api/v1/history", "same-origin")], [200, 200]);
    let same_origin = "cross-origin-resource-policy: same-origin";
    for path in ["/", "/api/v1/history", "/assets/app.js", "/nothing"] {
        let headers = server.get(path).headers;
        assert!(headers.contains(same_origin), "{path}: {headers}");
    }
    assert_eq!(status(&format!("Origin: http://{}\r\n", server.address)), 200);
    // A form of another site can send text, but no JSON.
    let plain =
        send(server.address, "POST", "/api/v1/teach", "Content-Type: text/plain\r\n", lesson.as_bytes());
    assert_eq!(plain.status, 415);
    let page = server.get("/");
    assert!(
        page.headers.contains("default-src 'none'") && page.headers.contains("nosniff"),
        "{}",
        page.headers
    );
}

#[test]
fn history_comes_in_parts() {
    let setting = Setting::quick("recording-fashion");
    let server = setting.serve(&["--loop", "--steps", "0"]);
    server.wait("frames", |status| status["live"]["recent"].as_u64() >= Some(20));
    let taught = server.teach("x", 9)["labels"].as_array().unwrap().len();
    let part = |query: &str| server.get(&format!("/api/v1/history{query}")).json();
    let labels = |part: &Value| -> Vec<i64> {
        part["labels"].as_array().unwrap().iter().map(|label| label["label"].as_i64().unwrap()).collect()
    };
    let whole = part("");
    let all = labels(&whole);
    assert_eq!((all.len(), whole["labels_in_all"].as_u64()), (taught, Some(taught as u64)));
    let first = labels(&part("?limit=2"));
    let rest = labels(&part(&format!("?limit=1000&before={}", first[1])));
    assert_eq!([first, rest].concat(), all, "no label twice, none left out");
    for (query, status) in [("?limit=0", 422), ("?limit=1001", 422), ("?limit=x", 400), ("?after=1", 400)] {
        assert_eq!(server.get(&format!("/api/v1/history{query}")).status, status, "{query}");
    }
}

/// A complete, valid picture of few bytes and many pixels.
fn bomb(side: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    let encoder = image::codecs::png::PngEncoder::new(&mut bytes);
    let black = vec![0; (side * side) as usize];
    image::ImageEncoder::write_image(encoder, &black, side, side, image::ExtendedColorType::L8).unwrap();
    bytes
}

#[test]
fn a_whole_picture_of_too_many_pixels_is_refused_by_its_header() {
    let side = 12_000;
    let bytes = bomb(side);
    assert!(bytes.len() < 8 << 20, "{} bytes are sent", bytes.len());
    let setting = Setting::quick("recording-fashion");
    // Without the limit it is decoded: nothing else is wrong with it.
    let path = setting.folder.path().join("bomb.png");
    fs::write(&path, &bytes).unwrap();
    let read = |most| kaizen_edge::low_level::vision::read(&path, "bomb", most);
    assert_eq!(read(u64::from(side * side)).unwrap().width, side);
    let refused = read(u64::from(side * side) - 1).unwrap_err().to_string();
    assert!(refused.contains("pixels, allowed are"), "{refused}");
    let server = setting.serve(&["--loop"]);
    server.wait("frames", |status| status["live"]["recent"].as_u64() >= Some(1));
    let before = server.resident_mib();
    for _ in 0..20 {
        let sent =
            send(server.address, "POST", "/api/v1/teach/image?name=x", "Content-Type: image/png\r\n", &bytes);
        assert!(sent.status == 422 && sent.text().contains("pixels, allowed are"), "{}", sent.text());
    }
    let after = server.resident_mib();
    assert!(after < before + 48, "{before} MiB, then {after}: its pixels take 412");
}

#[test]
fn sizes_rates_and_paths_have_limits() {
    let setting = Setting::quick("recording-fashion");
    let server = setting.serve(&["--loop"]);
    server.wait("frames", |status| status["live"]["recent"].as_u64() >= Some(1));
    let long = json!({ "name": "x".repeat(100_000) });
    assert_eq!(server.post("/api/v1/teach", &long).status, 413);
    for (name, frames) in [("", 5), ("a\nb", 5), ("x", 0), ("x", 1000)] {
        assert_eq!(server.post("/api/v1/teach", &json!({ "name": name, "frames": frames })).status, 422);
    }
    let image = |body: &[u8]| {
        send(server.address, "POST", "/api/v1/teach/image?name=x", "Content-Type: image/png\r\n", body)
    };
    assert_eq!(image(b"no picture").status, 422);
    assert_eq!(image(&vec![0; 9 << 20]).status, 413);
    for path in [
        "/assets/..%2f..%2fCargo.toml",
        "/assets/../mod.rs",
        "/assets/%2e%2e/page.rs",
        "/nothing",
        "/assets//etc/passwd",
    ] {
        assert_eq!(server.get(path).status, 404, "{path}");
    }
    assert_eq!(server.get("/api/v1/samples/99999/thumbnail").status, 404);
    assert_eq!(server.get("/api/v1/samples/x/thumbnail").status, 400);
    assert_eq!(server.get("/api/v1/learn").status, 405);
    let limited = (0..200).any(|_| server.post("/api/v1/undo", &json!({ "labels": [] })).status == 429);
    assert!(limited, "two hundred changes at once went through");
}

#[test]
fn every_route_is_documented_and_the_page_calls_no_other() {
    let setting = Setting::quick("recording-fashion");
    let server = setting.serve(&[]);
    let document = server.get("/api/v1/openapi.json").json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3."), "{document}");
    let paths = document["paths"].as_object().unwrap();
    let mut names = std::collections::BTreeSet::new();
    for (path, methods) in paths {
        for (method, operation) in methods.as_object().unwrap() {
            let at = format!("{method} {path}");
            assert!(
                names.insert(operation["operationId"].as_str().unwrap().to_owned()),
                "{at}: its id is there twice"
            );
            assert!(operation["summary"].is_string(), "{at} says nothing");
            assert!(
                operation["responses"].as_object().unwrap().keys().any(|code| code.starts_with('2')),
                "{at}"
            );
            // Nothing is documented that is not served: another method is refused, not the path.
            let filled = path.replace(['{', '}'], "");
            assert_eq!(send(server.address, "PATCH", &filled, "", b"").status, 405, "{at}");
            // A body that is no JSON is refused with a code that is documented.
            if operation["requestBody"]["content"]["application/json"].is_object() && filled == *path {
                let json = "Content-Type: application/json\r\n";
                let refused = send(server.address, &method.to_uppercase(), path, json, b"\0").status;
                assert!(operation["responses"][refused.to_string()].is_object(), "{at}: {refused}");
            }
        }
    }
    let mut references = Vec::new();
    collect_references(&document, &mut references);
    assert!(!references.is_empty());
    for reference in references {
        assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference} leads nowhere");
    }
    let known = |called: &str| {
        paths.keys().any(|path| {
            let (a, b): (Vec<_>, Vec<_>) = (path.split('/').collect(), called.split('/').collect());
            a.len() == b.len()
                && a.iter().zip(&b).all(|(a, b)| a == b || (a.starts_with('{') && b.starts_with("${")))
        })
    };
    let mut called = 0;
    for script in ["app.js", "api.js"] {
        let text = server.get(&format!("/assets/{script}")).text();
        for (at, _) in text.match_indices("/api/v1/") {
            let path = text[at..].split(['\'', '`', '?']).next().unwrap();
            assert!(known(path), "{script} calls {path}");
            called += 1;
        }
    }
    assert!(called > 10 && !known("/api/v1/nothing"));
}

fn collect_references(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            into.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|value| collect_references(value, into));
        }
        Value::Array(values) => values.iter().for_each(|value| collect_references(value, into)),
        _ => {}
    }
}

#[test]
fn metrics_are_openmetrics_and_health_is_told() {
    let setting = Setting::quick("recording-fashion");
    let server = setting.serve(&["--loop", "--quota-bytes", "64M"]);
    server.wait("frames", |status| status["live"]["frames"].as_u64() >= Some(5));
    let text = server.get("/metrics").text();
    assert!(text.ends_with("# EOF\n"), "{text}");
    let mut values = std::collections::BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        values.insert(name.to_owned(), value.parse::<f64>().unwrap_or_else(|_| panic!("{line}")));
    }
    assert!(values["kaizen_frames_total"] >= 5.0);
    assert!((values["kaizen_state_quota_bytes"] - f64::from(64 << 20)).abs() < 0.5);
    assert!(values.contains_key("kaizen_prediction_latency_seconds{quantile=\"0.99\"}"), "{text}");
    let health = server.get("/healthz");
    assert_eq!((health.status, health.json()["healthy"].as_bool()), (200, Some(true)));
}

#[test]
fn serve_obeys_its_configuration_file_and_its_quota() {
    let setting = Setting::quick("recording-fashion");
    let (folder, quota) = (setting.folder.path(), 48 << 20);
    let file = folder.join("kaizen.toml");
    let models = setting.models.display();
    let text = format!(
        "models-dir = \"{models}\"\nprovider = \"tract\"\nengine = \"cpu\"\nquota-bytes = {quota}\nmemory-limit = 400\n"
    );
    fs::write(&file, text).unwrap();
    let serve = |state: &str, more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kaizen"));
        command.args(["serve", "--source", &setting.source, "--listen", "127.0.0.1:0", "--state"]);
        command.arg(folder.join(state)).arg("--config").arg(&file).args(more);
        command
    };
    let server = Server::start(&mut serve("a.db", &[]));
    let status = server.get("/api/v1/status").json();
    assert!(status["facts"]["provider"].as_str().unwrap().contains("tract"), "{status}");
    assert!(status["facts"]["engine"].as_str().unwrap().contains("asked for"), "{status}");
    assert_eq!(status["facts"]["model"], "tiny", "{status}");
    assert_eq!(status["facts"]["memory_limit_megabytes"], 400, "{status}");
    assert_eq!(
        (&status["facts"]["quota_bytes"], &status["memory"]["quota_bytes"]),
        (&quota.into(), &quota.into())
    );
    // What is typed counts for more than the file.
    for (words, bytes) in [("7000000", 7_000_000), ("9M", 9 << 20)] {
        let server = Server::start(&mut serve("b.db", &["--quota-bytes", words]));
        assert_eq!(server.get("/api/v1/status").json()["memory"]["quota_bytes"], bytes, "{words}");
    }
    let wrong = serve("c.db", &["--quota-bytes", "much"]).output().unwrap();
    let said = String::from_utf8_lossy(&wrong.stderr);
    assert!(wrong.status.code() == Some(2) && said.contains("`much` is no number of bytes"), "{said}");
}

#[test]
fn the_live_picture_is_encoded_once_for_all_and_only_while_somebody_watches() {
    let setting = Setting::quick("recording-fashion");
    let server = setting.serve(&["--loop"]);
    let encoded = |server: &Server| server.get("/api/v1/status").json()["pictures_encoded"].as_u64().unwrap();
    server.wait("frames", |status| status["live"]["frames"].as_u64() >= Some(20));
    assert_eq!(encoded(&server), 0, "nobody watches");
    let mut viewers: Vec<_> = (0..3).map(|_| open(server.address, "/api/v1/stream.mjpeg")).collect();
    for (status, headers, reader) in &mut viewers {
        assert!(*status == 200 && headers.contains("multipart/x-mixed-replace; boundary=kaizen-frame"));
        let mut pictures = 0;
        let mut line = Vec::new();
        while pictures < 5 {
            line.clear();
            assert!(reader.read_until(b'\n', &mut line).unwrap() > 0);
            pictures += usize::from(line.starts_with(b"--kaizen-frame"));
        }
    }
    let status = server.get("/api/v1/status").json();
    assert_eq!(status["viewers"], 3);
    assert!(status["pictures_encoded"].as_u64() <= status["live"]["frames"].as_u64(), "{status}");
    drop(viewers);
    server.wait("nobody watching", |status| status["viewers"] == 0);
    let (before, frames) = (encoded(&server), server.get("/api/v1/status").json()["live"]["frames"].as_u64());
    server.wait("more frames", |status| status["live"]["frames"].as_u64() > frames.map(|frames| frames + 20));
    assert!(encoded(&server) <= before + 1, "encoding went on");
}

#[test]
fn events_tell_of_predictions_changes_and_learning() {
    let setting = Setting::quick("recording-fashion");
    let server = setting.serve(&["--loop", "--steps", "0"]);
    let (status, headers, mut reader) = open(server.address, "/api/v1/events");
    assert!(status == 200 && headers.contains("text/event-stream"));
    server.wait("frames", |status| status["live"]["recent"].as_u64() >= Some(20));
    server.teach("one", 20);
    server.learn();
    let mut seen = std::collections::BTreeSet::new();
    let mut text = String::new();
    while !["prediction", "changed", "learning"].iter().all(|name| seen.contains(*name)) {
        text.clear();
        assert!(reader.read_line(&mut text).unwrap() > 0, "{seen:?}");
        seen.extend(text.trim().strip_prefix("event: ").map(str::to_owned));
    }
}

#[test]
fn a_terminated_server_finishes_its_change_and_says_what_was_pending() {
    let setting = Setting::quick("recording-fashion");
    let server = setting.serve(&["--loop", "--log-format", "json"]);
    server.wait("frames", |status| status["live"]["recent"].as_u64() >= Some(60));
    server.teach("one", 60);
    // The first learns for a while; the others wait.
    for _ in 0..3 {
        assert_eq!(server.post("/api/v1/learn", &Value::Null).status, 202);
    }
    // Streams that are open do not hold it.
    let stream = open(server.address, "/api/v1/stream.mjpeg");
    let (status, text) = server.stop();
    drop(stream);
    assert!(status.success(), "{text}");
    let entries: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let last = entries.last().unwrap();
    assert_eq!(last["event"], "stopped", "{text}");
    let left = last["not_done"].as_array().unwrap().len();
    let done = entries.iter().filter(|entry| entry["event"] == "consolidated").count();
    assert_eq!(left + done, 3, "{text}");
    let check = Command::new(env!("CARGO_BIN_EXE_kaizen"))
        .arg("check")
        .arg(setting.folder.path().join("state.db"))
        .output();
    assert!(check.unwrap().status.success());
}

#[test]
fn a_recorded_stream_plays_again() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy");
    let uri = format!("recording://{}", support::data("recording-objects").display());
    let record = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kaizen"));
        command.args(["record", &uri]).arg(&copy).args(more).output().unwrap()
    };
    let output = record(&["--frames", "12"]);
    assert!(output.status.success(), "{output:?}");
    let table = fs::read_to_string(copy.join("labels.csv")).unwrap();
    assert_eq!(table.lines().count(), 13);
    assert_eq!(table.lines().nth(12), Some("000011.jpg,1100,box,train"));
    let options = kaizen_edge::low_level::vision::SourceOptions::default();
    let mut source = kaizen_edge::low_level::vision::open(copy.to_str().unwrap(), &options).unwrap();
    let mut original = kaizen_edge::low_level::vision::open(&uri, &options).unwrap();
    while let Some(frame) = source.next_frame().unwrap() {
        let before = original.next_frame().unwrap().unwrap();
        let pairs = frame.rgb.iter().zip(&before.rgb);
        let error: u64 = pairs.map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
        assert!(error < 3 * before.rgb.len() as u64, "{}: {error}", frame.name);
    }
    assert!(!record(&[]).status.success(), "a recording is not written over");
}

#[cfg(target_os = "linux")]
#[test]
fn systemd_is_told_ready_alive_and_stopping() {
    let setting = Setting::quick("recording-objects");
    let path = setting.folder.path().join("notify");
    let socket = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let said = || {
        let mut buffer = [0; 256];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).trim().to_owned()
    };
    let mut command = setting.command(&["--loop"]);
    let server = Server::start(command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "400000"));
    assert_eq!(said(), "READY=1");
    let start = Instant::now();
    assert_eq!([said(), said(), said()], ["WATCHDOG=1"; 3]);
    assert!(start.elapsed() > Duration::from_millis(300), "one at once, then one each half period");
    server.stop();
    let rest = std::iter::from_fn(|| Some(said())).find(|said| said != "WATCHDOG=1");
    assert_eq!(rest.unwrap(), "STOPPING=1");
}
