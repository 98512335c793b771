//! The learned model as one ONNX file: equal to the live one, and run by Python given only the file
//! and an image.

use std::fs;
use std::process::Command;

use kaizen_edge::ClassId;
use kaizen_edge::low_level::backbone::{run_in_onnx_runtime, run_in_tract};
use kaizen_edge::low_level::export::{Classifier, Scorer, classifier_alone};
use kaizen_edge::low_level::heads::{Architecture, Extractor, Mlp, Norm, Parameters, Tensor};
use kaizen_edge::low_level::learn::closed_form::{
    Ensemble, EnsembleHead, EnsembleModel, EnsembleSettings, Evidence, FeatureMap, FeatureTransform,
    LdaSettings, Responsibilities, StreamingLda, softmax_rows,
};
use kaizen_edge::low_level::learn::inference;
use kaizen_edge::low_level::rng::Rng;

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

/// Where Python has what it takes (`KAIZEN_PYTHON` names another one), its ONNX Runtime must say
/// the same.
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

/// Rows of features, all above zero, and their classes.
fn rows(count: usize, width: usize, seed: u64) -> (Vec<f32>, Vec<ClassId>) {
    let mut rng = Rng::named(seed, "export rows");
    let classes: Vec<_> = (0..count).map(|row| ClassId((row % 3) as u32)).collect();
    let value = |class: ClassId, column: usize, noise: f32| {
        0.2 + noise.abs() + f32::from(u8::from(column % 3 == class.0 as usize))
    };
    let h = classes.iter().flat_map(|&class| (0..width).map(move |column| (class, column)));
    (h.map(|(class, column)| value(class, column, rng.normal())).collect(), classes)
}

/// What both runtimes make of the tail alone, on rows h, is this: probabilities, logits and
/// novelty.
fn same_in_both(what: &str, classifier: &Classifier<'_>, h: &[f32], wanted: [&[f32]; 3]) {
    let (file, shape) =
        (classifier_alone(classifier).unwrap(), [h.len() / classifier.features, classifier.features]);
    let mut runs = vec![run_in_tract(&file, &shape, h).unwrap()];
    runs.extend(run_in_onnx_runtime(&file, &shape, h, None).unwrap());
    assert!(runs.len() == 2 || !support::required("ort"), "KAIZEN_REQUIRE names ort");
    for outputs in runs {
        for (got, expected) in outputs.iter().zip(wanted) {
            assert_eq!(got.len(), expected.len());
            for (a, b) in got.iter().zip(expected) {
                assert!((a - b).abs() <= 2e-4 * b.abs().max(1.0), "{what}: {a} for {b}");
            }
        }
    }
}

/// An ensemble learned from `h`, exported and run on `fresh` rows; its scores and those without its
/// covariances.
fn export_ensemble(h: &[f32], classes: &[ClassId], fresh: &[f32]) -> [Vec<f32>; 2] {
    let (width, transform) = (h.len() / classes.len(), FeatureTransform::SqrtL2);
    let settings = EnsembleSettings {
        components: 5,
        prior_rows: 10.0,
        random_features: 40,
        ..EnsembleSettings::default()
    };
    let mut ensemble = Ensemble::new(settings, width, transform, 1).unwrap();
    ensemble.add(&Evidence::new(h, classes, &[]).unwrap()).unwrap();
    let EnsembleModel { lda, head } = ensemble.fit().unwrap();
    let scores = head.scores(fresh).unwrap();
    let temperature = 28.0;
    let mut probabilities: Vec<f32> = scores.iter().map(|score| score / temperature).collect();
    softmax_rows(&mut probabilities, 3);
    let novelty: Vec<_> = lda.geometry.novelty(fresh).unwrap().into_iter().map(|n| n.max(0.0)).collect();
    let classifier = Classifier {
        features: width,
        transform,
        scorer: Scorer::Ensemble(&head),
        temperature,
        geometry: &lda.geometry,
        novelty_scale: [0.0, 1.0],
    };
    same_in_both("ensemble", &classifier, fresh, [&probabilities, &scores, &novelty]);
    let flat = EnsembleHead { class_covariances: None, ..head }.scores(fresh).unwrap();
    [scores, flat]
}

#[test]
fn an_ensemble_with_a_covariance_a_class_is_written_as_it_is_computed() {
    let (h, classes) = rows(90, 12, 8);
    let [scores, flat] = export_ensemble(&h, &classes, &rows(30, 12, 9).0);
    // The control: the covariances change the answers.
    assert!(flat.iter().zip(&scores).any(|(a, b)| (a - b).abs() > 0.01));
}

/// tract's `LogSoftmax` is the logarithm of a softmax, which is 0 for a class that is far enough.
#[test]
fn classes_that_are_far_apart_keep_their_logits_in_every_runtime() {
    let (mut h, classes) = rows(90, 12, 8);
    // A fiftieth of the spread about each class.
    for (row, class) in h.chunks_exact_mut(12).zip(&classes) {
        for (column, value) in row.iter_mut().enumerate() {
            let middle = 1.0 + f32::from(u8::from(column % 3 == class.0 as usize));
            *value = middle + 0.02 * (*value - middle);
        }
    }
    let [scores, _] = export_ensemble(&h, &classes, &h);
    let least = scores.iter().copied().fold(0.0, f32::min);
    assert!(least < -120.0, "the least logarithm of a probability is only {least}");
}

#[test]
fn adapter_norms_and_hidden_layers_are_written_as_they_are_computed() {
    let (width, count) = (12, 30);
    let (h, classes) = rows(count, width, 5);
    for transform in [FeatureTransform::None, FeatureTransform::L2, FeatureTransform::SqrtL2] {
        for norm in [Norm::None, Norm::Batch, Norm::Layer] {
            let architecture = Architecture {
                extractor: Extractor::adapter(width, 5, true),
                projector: Mlp::new(&[width, 4], Norm::None),
                predictor: None,
                distill_predictor: Mlp::new(&[4, 4], Norm::None),
                classifier: Mlp::new(&[width, 7, 3], norm),
            };
            let mut rng = Rng::named(3, "export parameters");
            let mut parameters = Parameters::default();
            for (name, tensor) in architecture.init(1).into_tensors() {
                let data = tensor.data.iter().map(|value| value + 0.3 * rng.normal().abs()).collect();
                parameters.insert(name, Tensor::new(&tensor.shape, data).unwrap());
            }
            let map = FeatureMap::new(width, transform).unwrap();
            let mut lda = StreamingLda::new(map.clone());
            lda.add(&h, Responsibilities::Labels(&classes)).unwrap();
            let geometry = lda.fit(LdaSettings::default()).unwrap().geometry;
            let scorer = Scorer::Trained(&architecture, &parameters);
            let classifier = Classifier {
                features: width,
                transform,
                scorer,
                temperature: 1.7,
                geometry: &geometry,
                novelty_scale: [-0.4, 2.5],
            };
            let mut inputs = map.apply(&h).unwrap();
            if transform != FeatureTransform::None {
                inputs.iter_mut().for_each(|value| *value *= (width as f32).sqrt());
            }
            let logits = inference::logits(&architecture, &parameters, &inputs).unwrap();
            let mut probabilities: Vec<_> = logits.iter().map(|value| value / 1.7).collect();
            softmax_rows(&mut probabilities, 3);
            let novelty = geometry.novelty(&h).unwrap().into_iter();
            let novelty: Vec<_> = novelty.map(|value| ((value + 0.4) / 2.5).max(0.0)).collect();
            same_in_both(
                &format!("{transform:?} {norm:?}"),
                &classifier,
                &h,
                [&probabilities, &logits, &novelty],
            );
            // The control: another temperature is another answer.
            let other = classifier_alone(&Classifier { temperature: 0.5, ..classifier }).unwrap();
            let outputs = run_in_tract(&other, &[count, width], &h).unwrap();
            assert!(outputs[0].iter().zip(&probabilities).any(|(a, b)| (a - b).abs() > 1e-3));
        }
    }
}
