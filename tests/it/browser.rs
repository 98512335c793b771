//! A person at the page: a real browser, driven, on a recording that plays like a camera.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fantoccini::{Client, ClientBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};

use crate::serve::{Server, Setting, excerpt};
use crate::support;

/// The driver's process.
struct Driver {
    child: Child,
    address: String,
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn program(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .flat_map(|folder| names.iter().map(move |name| folder.join(name)))
        .find(|p| p.is_file())
}

/// Starts the driver; says so and gives `None` where there is no browser and none is required.
fn driver() -> Option<(Driver, PathBuf)> {
    let browser = program(&["chromium", "chromium-browser", "google-chrome"]);
    let (Some(browser), Some(driver)) = (browser, program(&["chromedriver"])) else {
        let missing = "chromium and chromedriver are not installed";
        assert!(!support::required("browser"), "KAIZEN_REQUIRE names browser: {missing}");
        println!("skipped in a browser: {missing}");
        return None;
    };
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut command = Command::new(driver);
    command.arg(format!("--port={port}")).stdout(Stdio::null()).stderr(Stdio::null());
    Some((Driver { child: command.spawn().unwrap(), address: format!("http://127.0.0.1:{port}") }, browser))
}

/// A browser window of so many pixels.
async fn window(driver: &Driver, browser: &Path, profile: &Path) -> Client {
    let mut arguments =
        vec!["--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"];
    // The browser's own sandbox does not start for the administrator, as whom build machines run
    // tests.
    arguments.push("--no-sandbox");
    let profile = format!("--user-data-dir={}", profile.display());
    arguments.push(&profile);
    let options = json!({ "goog:chromeOptions": { "binary": browser, "args": arguments } });
    let Value::Object(capabilities) = options else { unreachable!("it is an object") };
    let start = Instant::now();
    loop {
        let mut builder = ClientBuilder::new(HttpConnector::new());
        match builder.capabilities(capabilities.clone()).connect(&driver.address).await {
            Ok(client) => return client,
            Err(error) => assert!(start.elapsed() < Duration::from_secs(30), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Waits until `script` gives something true.
async fn wait(page: &Client, what: &str, seconds: u64, script: &str) -> Duration {
    let start = Instant::now();
    loop {
        if page.execute(&format!("return Boolean({script})"), vec![]).await.unwrap() == Value::Bool(true) {
            return start.elapsed();
        }
        if start.elapsed() > Duration::from_secs(seconds) {
            shoot(page, "failed").await;
            let text = page.execute("return document.body.innerText", vec![]).await.unwrap();
            panic!("{what} never came: {text}");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Keeps a picture of the page beside the build's other results.
async fn shoot(page: &Client, name: &str) {
    let folder = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| support::repository().join("target"), PathBuf::from);
    let folder = folder.join("screenshots");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(format!("{name}.png")), page.screenshot().await.unwrap()).unwrap();
}

/// Turns to the dark or light scheme, and to a size.
async fn look(page: &Client, scheme: &str, [width, height]: [u32; 2]) {
    page.set_window_size(width, height).await.unwrap();
    let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
    let command = json!({ "cmd": "Emulation.setEmulatedMedia", "params": { "features": features } });
    page.issue_cmd(Chrome(command)).await.unwrap();
    let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
    let command = json!({ "cmd": "Emulation.setDeviceMetricsOverride", "params": metrics });
    page.issue_cmd(Chrome(command)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(600)).await;
}

/// A command of the browser's own protocol.
#[derive(Debug)]
struct Chrome(Value);

impl fantoccini::wd::WebDriverCompatibleCommand for Chrome {
    fn endpoint(&self, base: &url::Url, session: Option<&str>) -> Result<url::Url, url::ParseError> {
        base.join(&format!("session/{}/goog/cdp/execute", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _: &url::Url) -> (http::Method, Option<String>) {
        (http::Method::POST, Some(self.0.to_string()))
    }
}

/// Three classes are known, learned in two tasks; the tree that comes into view has never been seen.
fn taught() -> Setting {
    let setting = Setting::real("recording://camera".to_owned());
    let recording = |name: &str, classes: &[&str]| {
        let folder = setting.folder.path().join(name);
        std::fs::create_dir(&folder).unwrap();
        excerpt(&folder, "recording-objects", classes, 30);
        folder.display().to_string()
    };
    recording("camera", &["box", "tree"]);
    for class in ["box", "cup", "pedestrians"] {
        setting.command_line(&["teach", class, &recording(class, &[class])]);
        if class != "box" {
            setting.command_line(&["learn", "--steps", "0"]);
        }
    }
    setting
}

/// Serves what the camera shows, by a path that says nothing of this machine.
fn serve(setting: &Setting, more: &[&str]) -> Server {
    Server::start(setting.command(more).current_dir(setting.folder.path()))
}

/// What is unlike everything known gathers, gets a name by one form, and is predicted within ten
/// seconds.
async fn name_the_cluster(page: &Client, server: &Server) {
    let pictures = "document.querySelectorAll('#unknowns .cluster:first-child img').length";
    wait(page, "a cluster", 60, &format!("{pictures} >= 3")).await;
    // All of the page, and a frame that belongs to the cluster.
    let height = page.execute("return document.documentElement.scrollHeight", vec![]).await.unwrap();
    look(page, "light", [1280, height.as_u64().unwrap() as u32]).await;
    wait(page, "an unknown frame", 30, "document.getElementById('answer').dataset.kind === 'unknown'").await;
    shoot(page, "page").await;
    page.execute("document.querySelector('#unknowns input').focus()", vec![]).await.unwrap();
    page.active_element().await.unwrap().send_keys("thing").await.unwrap();
    // A moment before it comes into view again.
    server.wait("a frame of the box", |status| {
        let name = status["prediction"]["name"].as_str().unwrap_or_default();
        name.trim_end_matches(".jpg").parse().is_ok_and(|number: u32| (12..20).contains(&number))
    });
    page.active_element().await.unwrap().send_keys("\u{E007}").await.unwrap();
    let named = Instant::now();
    let answer = "document.getElementById('class').textContent === 'thing'";
    let took = wait(page, "the new class", 30, answer).await;
    println!("named and predicted within {:.1} s", took.as_secs_f64());
    assert!(named.elapsed() < Duration::from_secs(10), "the new class took {took:?}");
    wait(page, "its figures", 10, &format!("{VERSION}.includes('version 3')")).await;
}

/// Pictures of the page in both schemes and on a phone, where nothing is wider than the screen.
async fn look_around(page: &Client) {
    shoot(page, "2-learned-light").await;
    look(page, "dark", [1280, 1400]).await;
    shoot(page, "3-learned-dark").await;
    look(page, "light", [390, 2400]).await;
    let overflow = page.execute("return document.documentElement.scrollWidth", vec![]).await.unwrap();
    assert!(overflow.as_u64() <= Some(390), "the page is wider than the phone: {overflow}");
    let cut = "[...document.querySelectorAll('.card button')].filter(button => button.offsetParent && \
               button.getBoundingClientRect().right > button.closest('.card').getBoundingClientRect().right).length";
    assert_eq!(page.execute(&format!("return {cut}"), vec![]).await.unwrap(), 0, "buttons are cut off");
    shoot(page, "4-phone-light").await;
    look(page, "dark", [390, 844]).await;
    shoot(page, "5-phone-dark").await;
    look(page, "light", [1280, 1400]).await;
}

/// Back to the version before, by the button; then everything is still there in a page that is
/// loaded anew.
async fn roll_back_and_reload(page: &Client) {
    page.execute("document.getElementById('roll-back').click()", vec![]).await.unwrap();
    let rolled_back = format!("{VERSION}.includes('rolled back')");
    wait(page, "the roll-back", 20, &rolled_back).await;
    page.refresh().await.unwrap();
    wait(page, "the same after reloading", 20, &rolled_back).await;
    wait(page, "both classes", 20, "document.querySelectorAll('#classes button').length === 4").await;
    wait(page, "both lessons", 20, "document.querySelectorAll('#lessons button').length >= 2").await;
    let answer = "document.getElementById('answer').dataset.kind !== 'none'";
    wait(page, "an answer of the version before", 20, answer).await;
    shoot(page, "6-rolled-back").await;
}

const VERSION: &str = "document.getElementById('version-status').textContent";

#[tokio::test]
async fn a_person_names_an_unknown_cluster_and_sees_it_learned_rolled_back_and_kept() {
    let Some((driver, browser)) = driver() else { return };
    let setting = taught();
    let server = serve(&setting, &["--loop", "--power", "full", "--quota-bytes", "64M"]);
    let address = format!("http://{}/", server.address);
    let page = window(&driver, &browser, &setting.folder.path().join("profile")).await;
    look(&page, "light", [1280, 1400]).await;
    page.goto(&address).await.unwrap();
    wait(&page, "the live picture", 20, "document.getElementById('live').naturalWidth === 224").await;
    wait(&page, "frames at hand", 20, "document.getElementById('strip').children.length > 8").await;
    shoot(&page, "1-three-classes").await;
    name_the_cluster(&page, &server).await;
    look_around(&page).await;
    roll_back_and_reload(&page).await;
    // A server that starts again has it all.
    let (status, text) = server.stop();
    assert!(status.success(), "{text}");
    page.close().await.unwrap();
    let server = serve(&setting, &["--loop"]);
    let classes = server.get("/api/v1/classes").json();
    assert_eq!(classes.as_array().unwrap().len(), 4, "{classes}");
    assert_eq!(server.get("/api/v1/history").json()["versions"][0]["status"], "rolled_back");
}
