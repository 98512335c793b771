//! The learned model as one ONNX file: equal to the live one, and run by Python given only the file and an image.

use std::fs;
use std::process::Command;

use crate::state::Desk;
use crate::support;

/// Prints the probabilities of one picture, from nothing but the file.
const PYTHON: &str = r#"
import json, sys
import numpy, onnx, onnxruntime
from PIL import Image
model = onnx.load(sys.argv[1])
onnx.checker.check_model(model, full_check=True)
about = {entry.key: entry.value for entry in model.metadata_props}
session = onnxruntime.InferenceSession(sys.argv[1])
side = session.get_inputs()[0].shape[2]
pixels = Image.open(sys.argv[2]).convert("RGB").resize((side, side), Image.BILINEAR)
image = ((numpy.asarray(pixels, numpy.float32) - 127) / 128).transpose(2, 0, 1)[None]
probabilities, novelty = session.run(["probabilities", "novelty"], {session.get_inputs()[0].name: image})
best = int(probabilities[0].argmax())
print(json.dumps({"class": json.loads(about["kaizen.classes"])[best],
                  "probability": float(probabilities[0][best]), "novelty": float(novelty[0])}))
"#;

fn export_and_compare(desk: &Desk) {
    let classes = desk.classes();
    for (name, folder) in ["one", "two", "three"].iter().zip(&classes) {
        desk.teach(name, folder);
    }
    for steps in ["0", "40"] {
        desk.run(&["learn", "--json", "--steps", steps]);
        let out = desk.state().with_extension("onnx");
        let figures = desk.lines(&["export", out.to_str().unwrap(), "--json"]).remove(0);
        println!("{figures}");
        assert!(figures["difference"].as_f64().unwrap() < 1e-4, "{figures}");
        assert_eq!(figures["bytes"].as_u64().unwrap(), fs::metadata(&out).unwrap().len());
        let picture = fs::read_dir(&classes[0]).unwrap().next().unwrap().unwrap().path();
        let live = desk.lines(&["predict", picture.to_str().unwrap(), "--json"]).remove(0);
        in_python(&out, &picture, &live);
        desk.teach("four", &classes[3]);
    }
}

/// Where Python has what it takes (`KAIZEN_PYTHON` names another one), its ONNX Runtime must say the same.
fn in_python(model: &std::path::Path, picture: &std::path::Path, live: &serde_json::Value) {
    let python = std::env::var("KAIZEN_PYTHON").unwrap_or_else(|_| "/usr/bin/python3".to_owned());
    let has = |module: &str| {
        let found = Command::new(&python).args(["-c", &format!("import {module}")]).output();
        found.is_ok_and(|output| output.status.success())
    };
    if let Some(missing) = ["numpy", "PIL", "onnx", "onnxruntime"].into_iter().find(|module| !has(module)) {
        assert!(!support::required("python"), "KAIZEN_REQUIRE names python: {python} lacks {missing}");
        println!("skipped: ONNX Runtime in Python ({python} has no {missing})");
        return;
    }
    let output = Command::new(&python).args(["-c", PYTHON]).args([model, picture]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["class"], live["nearest"], "{answer} {live}");
    for key in ["probability", "novelty"] {
        let (there, here) = (answer[key].as_f64().unwrap(), live[key].as_f64().unwrap());
        // Pillow rounds a resized pixel its own way, by one step in 255 at most.
        assert!((there - here).abs() < 0.02 * here.max(1.0), "{key}: {there} in Python, {here} live");
    }
}

#[test]
fn the_file_answers_as_the_live_model() {
    export_and_compare(&Desk::new());
}
