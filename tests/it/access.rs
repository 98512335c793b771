//! Who may reach `kaizen serve`, and what those who may not can do to those who may.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, Stream, crypto::ring};

use crate::http_client::send;
use crate::load::{rate, setting_of};
use crate::serve::{Server, Setting};

const TOKEN: &str = "a-secret-of-many-characters";

fn with_token(setting: &Setting, more: &[&str]) -> Server {
    let file = setting.folder.path().join("token");
    fs::write(&file, TOKEN).unwrap();
    setting.serve(&[&["--loop", "--token-file", file.to_str().unwrap()], more].concat())
}

/// The status of a request with a token, forwarded by a proxy for a client.
fn status_for(server: &Server, client: &str, token: &str) -> u16 {
    let lines = format!("X-Forwarded-For: 198.51.100.9, {client}\r\nAuthorization: Bearer {token}\r\n");
    send(server.address, "GET", "/api/v1/status", &lines, b"").status
}

#[test]
fn who_guesses_too_often_is_refused_the_right_token_and_nobody_else_is() {
    let setting = Setting::quick("recording-fashion");
    let server = with_token(&setting, &["--behind-tls"]);
    let (guesser, operator) = ("192.0.2.1", "192.0.2.2");
    assert_eq!(status_for(&server, guesser, TOKEN), 200);
    let guesses: Vec<u16> = (0..40).map(|_| status_for(&server, guesser, "wrong")).collect();
    assert!(guesses.contains(&401) && guesses.ends_with(&[429]), "{guesses:?}");
    assert_eq!(
        status_for(&server, guesser, TOKEN),
        429,
        "the answer would tell a right guess from a wrong one"
    );
    assert_eq!(status_for(&server, operator, TOKEN), 200);
    // The login of the guesser has guesses of its own, and takes none of the operator's changes.
    let login = |client: &str, token: &str| {
        let lines =
            format!("X-Forwarded-For: {client}\r\nContent-Type: application/x-www-form-urlencoded\r\n");
        send(server.address, "POST", "/login", &lines, format!("token={token}").as_bytes())
    };
    let logins: Vec<u16> = (0..100).map(|_| login(guesser, "wrong").status).collect();
    assert!(logins.starts_with(&[401]) && logins.ends_with(&[429]), "{logins:?}");
    let right = login(operator, TOKEN);
    assert!(right.status == 303 && right.headers.contains("; Secure"), "{right:?}");
    server.wait_with(&format!("Authorization: Bearer {TOKEN}\r\n"), "frames", |status| {
        status["live"]["recent"].as_u64() >= Some(1)
    });
    let lines = format!(
        "X-Forwarded-For: {operator}\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n"
    );
    let lesson = json!({ "name": "x" }).to_string();
    assert_eq!(send(server.address, "POST", "/api/v1/teach", &lines, lesson.as_bytes()).status, 200);
}

/// Sends the headers of a request byte by byte; gives how long the server bore it.
fn dribble(address: SocketAddr, stop: &AtomicBool) -> Duration {
    let start = Instant::now();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    let headers = b"GET / HTTP/1.1\r\nHost: a\r\nX: ".iter().copied().chain(std::iter::repeat(b'x'));
    for byte in headers {
        // Sending fails only after the answer to what was sent to a closed connection.
        let is_closed = matches!(stream.read(&mut [0; 512]), Ok(0));
        if stop.load(Ordering::SeqCst) || is_closed || stream.write_all(&[byte]).is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    start.elapsed()
}

#[test]
fn headers_that_come_byte_by_byte_are_cut_off_and_delay_neither_predictions_nor_lessons() {
    let clients = setting_of("KAIZEN_TORTURE_VIEWERS").unwrap_or(16);
    let length = Duration::from_secs(setting_of("KAIZEN_TORTURE_SECS").unwrap_or(12));
    let server = Setting::quick("recording-objects").serve(&["--loop", "--steps", "0"]);
    server.wait("frames", |status| status["live"]["recent"].as_u64() >= Some(100));
    let alone = rate(&server, length / 4);
    let stop = AtomicBool::new(false);
    let (beside, lesson, took, longest) = std::thread::scope(|scope| {
        let dribbling = || {
            let mut longest = Duration::ZERO;
            while !stop.load(Ordering::SeqCst) {
                longest = longest.max(dribble(server.address, &stop));
            }
            longest
        };
        let slow: Vec<_> = (0..clients).map(|_| scope.spawn(dribbling)).collect();
        std::thread::sleep(Duration::from_millis(300));
        let beside = rate(&server, length);
        let start = Instant::now();
        let lesson = server.post("/api/v1/teach", &json!({ "name": "a", "frames": 20 }));
        let took = start.elapsed();
        stop.store(true, Ordering::SeqCst);
        let longest = slow.into_iter().map(|thread| thread.join().unwrap()).max().unwrap();
        (beside, lesson, took, longest)
    });
    println!(
        "{clients} slow clients: {alone:.2} frames/s alone, {beside:.2} with them; a lesson in {took:?}; the longest was borne for {longest:?}"
    );
    assert_eq!(lesson.status, 200);
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert!(longest < Duration::from_secs(12), "{longest:?}");
    let least = if setting_of("KAIZEN_TORTURE_VIEWERS").is_some() { 0.95 } else { 0.7 };
    assert!(beside > least * alone, "{beside} of {alone} frames a second");
}

/// A pipe that nobody reads holds 64 KiB, and then every thread that logs would wait for ever.
#[test]
fn a_log_that_nobody_reads_stops_neither_frames_nor_lessons() {
    let server =
        Setting::quick("recording-objects").serve(&["--loop", "--steps", "0", "--log-format", "json"]);
    server.wait("frames", |status| status["live"]["recent"].as_u64() >= Some(100));
    for number in 0..100 {
        // Changes are limited to 20 a second.
        std::thread::sleep(Duration::from_millis(60));
        let name = format!("{number} {}", "x".repeat(55));
        let lesson = server.post("/api/v1/teach", &json!({ "name": name, "frames": 2 }));
        assert_eq!(lesson.status, 200, "lesson {number}: {}", lesson.text());
        server.learn();
    }
    let before = server.get("/api/v1/status").json()["live"]["frames"].as_u64();
    server.wait("more frames", |status| status["live"]["frames"].as_u64() > before.map(|it| it + 20));
    assert_eq!(server.get("/healthz").status, 200);
    // The control: it has said more than the pipe holds.
    let (status, said) = server.stop();
    assert!(status.success() && said.len() > 64 << 10, "{} bytes", said.len());
}

/// Who has no token could else hold every connection, by the form that asks for it.
#[test]
fn a_body_that_comes_byte_by_byte_is_cut_off() {
    let setting = Setting::quick("recording-fashion");
    let server = with_token(&setting, &[]);
    let start = Instant::now();
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let form = "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 5000";
    write!(stream, "POST /login HTTP/1.1\r\nHost: {}\r\n{form}\r\n\r\n", server.address).unwrap();
    let mut answer = [0; 512];
    let answered = loop {
        assert!(start.elapsed() < Duration::from_secs(14), "it is still read");
        if stream.write_all(b"x").is_err() {
            break 0;
        }
        match stream.read(&mut answer) {
            Ok(length) => break length,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => break 0,
        }
    };
    assert!(start.elapsed() > Duration::from_secs(8));
    let text = String::from_utf8_lossy(&answer[..answered]);
    assert!(text.is_empty() || text.starts_with("HTTP/1.1 408"), "{text}");
}

#[test]
fn a_connection_on_which_nothing_is_asked_is_closed() {
    let server = Setting::quick("recording-fashion").serve(&["--loop"]);
    let idle = |before: &str| {
        let mut stream = TcpStream::connect(server.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(before.as_bytes()).unwrap();
        let start = Instant::now();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        (start.elapsed(), answer.len())
    };
    let (never, _) = idle("");
    let (after_one, answered) = idle(&format!("GET /healthz HTTP/1.1\r\nHost: {}\r\n\r\n", server.address));
    assert!(answered > 100, "{answered} bytes");
    for took in [never, after_one] {
        assert!((8..13).contains(&took.as_secs()), "{took:?}");
    }
}

/// A certificate for localhost with its key, as PEM files in a folder.
fn write_certificate(folder: &Path) -> Vec<u8> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    fs::write(folder.join("cert.pem"), made.cert.pem()).unwrap();
    fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    made.cert.der().to_vec()
}

/// Asks by TLS for a path, trusting the certificates of a PEM file; gives the answer and the
/// certificate that was shown.
fn ask_by_tls(address: SocketAddr, trusted: &Path, path: &str) -> std::io::Result<(String, Vec<u8>)> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(trusted).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let mut connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut socket = TcpStream::connect(address)?;
    let mut stream = Stream::new(&mut connection, &mut socket);
    let port = address.port();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\r\n")?;
    let mut text = Vec::new();
    // The server may end the connection without TLS's own farewell.
    let _ = stream.read_to_end(&mut text);
    let shown = connection.peer_certificates().map(|shown| shown[0].to_vec()).unwrap_or_default();
    Ok((String::from_utf8_lossy(&text).into_owned(), shown))
}

#[test]
fn by_tls_the_page_needs_no_proxy_and_a_new_certificate_needs_no_restart() {
    let setting = Setting::quick("recording-fashion");
    let folder = setting.folder.path();
    let first = write_certificate(folder);
    let [chain, key] = ["cert.pem", "key.pem"].map(|name| folder.join(name));
    let [chain_text, key_text] = [&chain, &key].map(|path| path.to_str().unwrap());
    let options = ["--loop", "--tls-cert", chain_text, "--tls-key", key_text];
    let mut server = setting.serve(&options);
    let (page, shown) = ask_by_tls(server.address, &chain, "/").unwrap();
    assert!(page.starts_with("HTTP/1.1 200") && page.contains("<html"), "{page}");
    assert_eq!(shown, first);
    // Without TLS there is no answer.
    let mut plain = TcpStream::connect(server.address).unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(!String::from_utf8_lossy(&answer).contains("HTTP/1.1"), "{answer:?}");
    let old = folder.join("old.pem");
    fs::copy(&chain, &old).unwrap();
    let second = write_certificate(folder);
    assert_eq!(ask_by_tls(server.address, &old, "/").unwrap().1, first, "not before it is told");
    server.signal("HUP");
    let start = Instant::now();
    while ask_by_tls(server.address, &chain, "/").map_or(true, |(_, shown)| shown != second) {
        assert!(start.elapsed() < Duration::from_secs(10), "the new certificate is not shown");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(ask_by_tls(server.address, &old, "/").is_err(), "a client that does not know it refuses it");
    // One that cannot be read leaves the last one.
    fs::write(&key, "no key").unwrap();
    server.signal("HUP");
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(ask_by_tls(server.address, &chain, "/").unwrap().1, second);
    server.signal("TERM");
    let (status, said) = server.end();
    assert!(status.success() && said.contains("the last certificate stays"), "{said}");
    let refused = setting.command(&options).output().unwrap();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("key.pem"), "{refused:?}");
    let alone = setting.command(&["--tls-cert", chain_text]).output().unwrap();
    assert!(String::from_utf8_lossy(&alone.stderr).contains("--tls-cert"), "{alone:?}");
}

#[test]
fn the_state_is_copied_while_it_is_written_into_the_folder_that_was_configured_alone() {
    let setting = Setting::quick("recording-fashion");
    let folder = setting.folder.path();
    let server = setting.serve(&["--loop", "--steps", "0"]);
    let refused = server.post("/api/v1/backup", &Value::Null);
    assert!(refused.status == 404 && refused.text().contains("--backup-folder"), "{refused:?}");
    server.stop();
    let copies = folder.join("copies");
    fs::create_dir(&copies).unwrap();
    let config = folder.join("kaizen.toml");
    let token = folder.join("token");
    fs::write(&token, TOKEN).unwrap();
    let text = format!("[serve]\nbackup-folder = {copies:?}\ntoken-file = {token:?}\n");
    fs::write(&config, text).unwrap();
    let mut server = setting.serve(&["--loop", "--steps", "0", "--config", config.to_str().unwrap()]);
    assert_eq!(server.post("/api/v1/backup", &Value::Null).status, 401);
    server.lines = format!("Authorization: Bearer {TOKEN}\r\n");
    server.wait("frames", |status| status["live"]["recent"].as_u64() >= Some(20));
    let taught = server.post("/api/v1/teach", &json!({ "name": "shirt", "frames": 10 })).json();
    let made = server.post("/api/v1/backup", &Value::Null);
    assert_eq!(made.status, 200, "{}", made.text());
    let made = made.json();
    assert_eq!(server.post("/api/v1/teach", &json!({ "name": "late", "frames": 1 })).status, 200);
    server.stop();
    let copy = copies.join(made["file"].as_str().unwrap());
    assert_eq!(made["bytes"].as_u64().unwrap(), fs::metadata(&copy).unwrap().len());
    // The copy is put back: the labels from before it are there.
    fs::copy(&copy, folder.join("state.db")).unwrap();
    let _ = fs::remove_file(folder.join("state.db-wal"));
    let mut server = setting.serve(&["--loop", "--steps", "0", "--config", config.to_str().unwrap()]);
    server.lines = format!("Authorization: Bearer {TOKEN}\r\n");
    let history = server.get("/api/v1/history").json();
    let labels = history["labels"].as_array().unwrap();
    assert_eq!(labels.len(), taught["labels"].as_array().unwrap().len(), "{history}");
    assert!(labels.iter().all(|label| label["class"] == "shirt"), "{history}");
}

#[test]
fn the_password_of_a_camera_is_nowhere_in_what_is_said() {
    let password = "pa55-of-the-camera";
    let mut setting = Setting::quick("recording-fashion");
    setting.source = format!("rtsp://admin:{password}@127.0.0.1:9/live?token={password}");
    if !cfg!(feature = "gstreamer") {
        let refused = setting.command(&[]).output().unwrap();
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(said.contains("***@127.0.0.1") && !said.contains(password), "{said}");
        return;
    }
    // From the environment, where other users do not see it.
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_kaizen"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--engine", "cpu", "--provider", "tract", "-vv"]);
    command.args(["--log-format", "json", "--models-dir"]).arg(&setting.models);
    command.arg("--state").arg(setting.folder.path().join("state.db"));
    let server = Server::start(command.env("KAIZEN_SOURCE", &setting.source));
    let status =
        server.wait("the camera that is not there", |status| status["live"]["source"]["state"] == "waiting");
    let mut all = status.to_string();
    for path in ["/healthz", "/metrics", "/api/v1/history", "/", "/api/v1/openapi.json"] {
        all += &server.get(path).text();
    }
    all += &server.stop().1;
    assert!(all.contains("rtsp://***@127.0.0.1:9"), "{all}");
    let at = all.find(password);
    assert!(at.is_none(), "{}", &all[at.unwrap_or(0).saturating_sub(200)..][..300]);
}
