use std::path::Path;

use kaizen_edge::low_level::heads::{Extractor, Parameters};
use kaizen_edge::low_level::latent::LatentTable;
use kaizen_edge::low_level::learn::cpu::CpuEngine;
use safetensors::{Dtype, SafeTensors};

use super::*;
use crate::scenario::{Increment, ReplayBudget, Rows, Scenario, ScenarioSettings};

#[test]
fn names_are_unique_and_unknown_ones_are_answered_with_the_list() {
    for method in &METHODS {
        assert!(std::ptr::eq(Method::named(method.name).unwrap(), method), "{}", method.name);
    }
    assert!(Method::named("kaizen-swav").unwrap_err().to_string().contains("kaizen-moco"));
}

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/bakeoff")
}

/// The committed slice: 10 classes, 60 training and 30 test pictures each, every fourth feature.
fn slice() -> Features {
    let bytes = std::fs::read(folder().join("slice.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let features = |name: &str| -> Vec<f32> {
        let tensor = file.tensor(name).unwrap();
        assert_eq!(tensor.dtype(), Dtype::F16);
        tensor.data().chunks_exact(2).map(|b| half::f16::from_le_bytes([b[0], b[1]]).to_f32()).collect()
    };
    let labels = |name: &str| -> Vec<usize> {
        let tensor = file.tensor(name).unwrap();
        tensor.data().chunks_exact(4).map(|b| usize::from(b[0])).collect()
    };
    let (train_classes, test_classes) = (labels("train_labels"), labels("test_labels"));
    let train = features("train");
    let (width, test) = (train.len() / train_classes.len(), features("test"));
    // An adapter stands for the tail: its latents are the features.
    let table = |rows: &[f32]| {
        let mut table = LatentTable::new(1, width);
        rows.chunks(width).for_each(|row| table.push(row).unwrap());
        table
    };
    let (extractor, parameters) = (Extractor::adapter(width, 16, true), Parameters::default());
    let latents = Some(Latents { extractor, parameters, train: table(&train), test: table(&test) });
    Features { width, views: 1, train, test, latents, train_classes, test_classes }
}

fn scenario(features: &Features, labels: f64, seed: u64) -> Scenario {
    let settings = ScenarioSettings {
        increment: Increment::Class,
        tasks: 5,
        class_order_seed: 5,
        seed,
        labels,
        imbalance: 1.0,
        strangers: 0.0,
    };
    let rows = |classes: &[usize]| Rows { classes: classes.to_vec(), domains: Vec::new() };
    Scenario::new(&settings, 10, &rows(&features.train_classes), &rows(&features.test_classes)).unwrap()
}

fn run(method: &str, features: &Features, labels: f64, seed: u64) -> Outcome {
    let scenario = scenario(features, labels, seed);
    let replay = ReplayBudget::PerClass(2);
    let arena = Arena { features, scenario: &scenario, judges_ahead: false, replay, seed };
    let mut last = 0.0;
    let method = Method::named(method).unwrap();
    let outcome = method.run(&arena, &mut CpuEngine::new(0), &mut |share| last = share).unwrap();
    assert!((last - 1.0).abs() < 1e-9, "progress ends at {last}");
    outcome
}

fn expected(name: &str) -> f64 {
    let text = std::fs::read_to_string(folder().join("expected.json")).unwrap();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    value["final"][name].as_f64().unwrap()
}

/// `tools/bakeoff_slice.py` computed the figures with scikit-learn. 0.7 points are two of the 300
/// test pictures.
#[test]
fn closed_forms_and_joint_equal_the_independent_figures() {
    let features = slice();
    for method in ["slda", "ncm", "joint"] {
        let got = run(method, &features, 1.0, 1).matrix.final_accuracy();
        let wanted = expected(method);
        assert!((got - wanted).abs() < 0.007, "{method}: {got}, scikit-learn {wanted}");
    }
    // Another generator draws other random features: the mean over draws is compared.
    let draws = [1, 2, 3, 4, 5].map(|seed| run("ranpac", &features, 1.0, seed).matrix.final_accuracy());
    let (got, wanted) = (draws.iter().sum::<f64>() / 5.0, expected("ranpac"));
    assert!((got - wanted).abs() < 0.007, "ranpac: {got}, scikit-learn {wanted}");
    // Negative control: another method is not within that tolerance.
    let other = run("imprint", &features, 1.0, 1).matrix.final_accuracy();
    assert!((other - expected("slda")).abs() > 0.007, "imprint: {other}");
}

#[test]
fn the_default_remembers_what_fine_tuning_forgets() {
    let features = slice();
    let outcome = run("kaizen", &features, 1.0, 1);
    let unknowns = outcome.unknowns.unwrap();
    assert!(unknowns.auroc > 0.75 && unknowns.fpr95 < 0.8, "{unknowns:?}");
    let kaizen = outcome.matrix;
    let naive = run("naive", &features, 1.0, 1).matrix;
    assert!(kaizen.final_accuracy() > naive.final_accuracy() + 0.3, "{kaizen:?} {naive:?}");
    assert!(kaizen.forgetting() < naive.forgetting());
}

#[test]
fn unlabelled_rows_help_the_default() {
    let features = slice();
    let mean = |method| {
        [1, 2, 3].map(|seed| run(method, &features, 0.05, seed).matrix.final_accuracy()).iter().sum::<f64>()
            / 3.0
    };
    let (with, without) = (mean("kaizen"), mean("slda"));
    assert!(with > without, "{with} with unlabelled rows, {without} without");
}

#[test]
fn a_tail_without_latents_is_refused_with_the_way_out() {
    let features = Features { latents: None, ..slice() };
    let scenario = scenario(&features, 1.0, 1);
    let replay = ReplayBudget::Share(1.0);
    let arena = Arena { features: &features, scenario: &scenario, judges_ahead: false, replay, seed: 1 };
    let method = Method::named("tail-kaizen").unwrap();
    let error = method.run(&arena, &mut CpuEngine::new(0), &mut |_| {}).unwrap_err().to_string();
    assert!(error.contains("`cut`"), "{error}");
}

#[test]
fn every_method_runs_and_the_same_seed_gives_the_same() {
    let features = slice();
    for Method { name, .. } in &METHODS {
        let outcome = run(name, &features, 0.5, 1);
        assert!(outcome.memory_bytes > 0 && outcome.matrix.final_accuracy() > 0.05, "{name}");
    }
    let twice = || run("kaizen-byol", &features, 0.5, 2).matrix;
    assert_eq!(twice(), twice());
}
