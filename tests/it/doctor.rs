//! `kaizen doctor`: what it says is what is here.

use std::process::{Command, Output};

use serde_json::Value;

use crate::support;

fn doctor(arguments: &[&str], environment: &[(&str, &str)]) -> (Output, Value) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kaizen"));
    command.arg("doctor").args(arguments).arg("--json").current_dir(support::repository());
    let output = command.envs(environment.iter().copied()).output().unwrap();
    let findings = serde_json::from_slice(&output.stdout).expect("a JSON object");
    (output, findings)
}

fn provider<'a>(findings: &'a Value, name: &str) -> &'a Value {
    let providers = findings["providers"].as_array().unwrap();
    providers.iter().find(|provider| provider["asked"] == name).unwrap()
}

#[test]
fn doctor_tells_what_runs_here_by_running_it() {
    let (output, findings) = doctor(&[], &[]);
    assert!(output.status.success() && findings["sound"] == true, "{findings:#}");
    // tract needs nothing; ONNX Runtime for the CPU is here where the other tests have it.
    let tract = provider(&findings, "tract");
    assert!(tract["works"] == true && tract["millis"].as_f64().unwrap() > 0.0, "{tract}");
    assert!((tract["cosine"].as_f64().unwrap() - 1.0).abs() < 1e-5, "{tract}");
    let (cpu, library) = (provider(&findings, "cpu"), &findings["onnx_runtime"]);
    assert_eq!(cpu["works"], library["works"], "{findings:#}");
    assert!(cpu["works"] == true || !support::required("ort"), "KAIZEN_REQUIRE names ort: {cpu}");
    if cpu["works"] == true {
        assert!(
            cpu["cosine"].as_f64().unwrap() > 0.99 && cpu["got"].as_str().unwrap().contains("ONNX Runtime")
        );
    }
    for name in ["cuda", "tensorrt"] {
        let asked = provider(&findings, name);
        // Either it computed the picture as tract did, or it says why it cannot.
        let computed = asked["works"] == true && asked["cosine"].as_f64().is_some_and(|cosine| cosine > 0.98);
        assert!(computed || asked["why_not"].as_str().unwrap().contains(name), "{asked}");
    }
    let tail = &findings["tail"];
    assert!(tail["at"] == "b11_proj" && tail["millis"].as_f64().unwrap() > 0.0, "{tail}");
    assert_eq!(tail["onnx_runtime_millis"].is_null(), library["works"] == false, "{tail}");
    println!("{tail}");
    let adapters = findings["adapters"].as_array().unwrap();
    assert!(!adapters.is_empty() || !support::required("gpu"), "KAIZEN_REQUIRE names gpu");
    // A software adapter never serves unasked.
    let real = adapters.iter().any(|adapter| adapter["kind"] != "software");
    let engine = findings["engine"]["got"].as_str().unwrap();
    assert_eq!(engine.starts_with("engine: gpu"), real, "{engine}, adapters {adapters:?}");
    assert!(findings["models"].as_array().unwrap().len() >= 2);
    assert!(findings["board"]["memory_total_bytes"].as_u64().unwrap() > 100_000_000);
    assert!(findings["board"]["cameras"].is_array());
}

#[test]
fn the_vulkan_driver_says_nothing_of_displays_on_a_machine_without_one() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kaizen"));
    command.args(["doctor", "--provider", "tract"]).current_dir(support::repository());
    for variable in ["XDG_RUNTIME_DIR", "WAYLAND_DISPLAY", "WAYLAND_SOCKET", "DISPLAY"] {
        command.env_remove(variable);
    }
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !said.contains("XDG_RUNTIME_DIR"), "{said}");
    let text = String::from_utf8_lossy(&output.stdout);
    let found = !text.contains("adapters:\n  none");
    assert!(found || !support::required("gpu"), "KAIZEN_REQUIRE names gpu: {text}");
}

#[test]
fn doctor_fails_for_what_was_asked_for_and_is_missing() {
    let nowhere = [("ORT_DYLIB_PATH", "/nowhere/libonnxruntime.so")];
    let (output, findings) = doctor(&["--provider", "cpu"], &nowhere);
    assert!(!output.status.success() && findings["sound"] == false);
    assert_eq!(findings["onnx_runtime"]["works"], false);
    let why = provider(&findings, "cpu")["why_not"].as_str().unwrap();
    assert!(why.contains("/nowhere/libonnxruntime.so"), "{why}");
    // Without any Vulkan driver a GPU that was asked for is missing, and the engine that needs none
    // is not.
    let no_driver = [("VK_ICD_FILENAMES", "/nowhere.json"), ("VK_DRIVER_FILES", "/nowhere.json")];
    let (output, findings) = doctor(&["--engine", "gpu", "--provider", "tract"], &no_driver);
    let engine = &findings["engine"];
    assert!(
        !output.status.success() && engine["why_not"].as_str().unwrap().contains("--engine cpu"),
        "{engine}"
    );
    let (output, findings) = doctor(&["--engine", "cpu", "--provider", "tract"], &no_driver);
    assert!(output.status.success() && findings["adapters"] == Value::Array(Vec::new()), "{findings:#}");
}

#[test]
fn warmup_makes_a_provider_ready_and_names_one_that_cannot_be() {
    let warmup = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kaizen"));
        command.arg("warmup").args(arguments).current_dir(support::repository());
        command
    };
    let output = warmup(&["--json", "--provider", "tract"]).output().unwrap();
    let ready: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(ready["provider"], "tract");
    assert!(ready["seconds"].as_f64().unwrap() > 0.0 && ready["millis"].as_f64().unwrap() > 0.0, "{ready}");
    let mut missing = warmup(&["--provider", "cpu"]);
    let output = missing.env("ORT_DYLIB_PATH", "/nowhere/libonnxruntime.so").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("/nowhere/libonnxruntime.so"), "{said}");
}
