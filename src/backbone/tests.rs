use std::path::{Path, PathBuf};

use ndarray::{Array2, Axis};

use super::load::chain;
use super::manifest::MANIFEST_FILE;
use super::*;
use crate::error::Error;

/// A model file of the repository.
fn model(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models").join(file)
}

const FP32: &str = "efficientnet-lite0-features-224.onnx";
const INT8: &str = "efficientnet-lite0-features-160-int8.onnx";

fn options(file: &Path, provider: Provider) -> BackboneOptions {
    BackboneOptions {
        model: Some(file.to_str().unwrap().into()),
        provider,
        ort_lib: std::env::var_os("KAIZEN_TEST_ORT").map(PathBuf::from),
        threads: 1,
        ..BackboneOptions::default()
    }
}

/// Whether ONNX Runtime is here; without it a test says that it is skipped, or fails where it must
/// run.
fn ort_is_here(test: &str) -> bool {
    let lib = std::env::var_os("KAIZEN_TEST_ORT").map(PathBuf::from);
    let Err(why) = find_onnx_runtime(lib.as_deref()) else {
        return true;
    };
    let required = std::env::var("KAIZEN_REQUIRE").unwrap_or_default();
    assert!(!required.split(',').any(|name| name == "ort"), "{why}");
    eprintln!("skipped: {test} (ONNX Runtime): {why}");
    false
}

/// The providers on the CPU that can run here.
fn cpu_providers(test: &str) -> Vec<Provider> {
    let ort = ort_is_here(test).then_some(Provider::Cpu);
    ort.into_iter().chain(cfg!(feature = "tract").then_some(Provider::Tract)).collect()
}

/// Largest difference relative to the largest value.
fn relative(a: &Array2<f32>, b: &Array2<f32>) -> f32 {
    let largest = b.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
    a.iter().zip(b).fold(0.0_f32, |m, (a, b)| m.max((a - b).abs())) / largest.max(f32::MIN_POSITIVE)
}

fn least_cosine(a: &Array2<f32>, b: &Array2<f32>) -> f32 {
    let cosine = |(a, b): (ndarray::ArrayView1<f32>, ndarray::ArrayView1<f32>)| {
        a.dot(&b) / (a.dot(&a) * b.dot(&b)).sqrt()
    };
    a.rows().into_iter().zip(b.rows()).map(cosine).fold(1.0, f32::min)
}

/// A folder with `bytes` as `m.onnx` and a manifest entry that fits `like` but for what `change`
/// changes.
fn folder_with(bytes: &[u8], like: &str, change: impl Fn(&mut BackboneSpec)) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("m.onnx");
    std::fs::write(&file, bytes).unwrap();
    let mut entry = resolve(model(like).to_str(), None).unwrap();
    entry.path = "m.onnx".into();
    entry.sha256 = crate::number::sha256_hex(bytes);
    change(&mut entry);
    let table = toml::to_string(&entry).unwrap();
    let text = format!("default = \"{}\"\n[[model]]\n{table}", entry.name);
    std::fs::write(dir.path().join(MANIFEST_FILE), text).unwrap();
    (dir, file)
}

fn refusal(file: &Path, provider: Provider) -> Error {
    load(&options(file, provider)).map(|_| ()).unwrap_err()
}

#[test]
fn tract_and_onnx_runtime_agree_at_every_batch_size() {
    let providers = cpu_providers("tract_and_onnx_runtime_agree_at_every_batch_size");
    let mut backbones: Vec<_> = providers.iter().map(|p| load(&options(&model(FP32), *p)).unwrap()).collect();
    for backbone in &backbones {
        println!("{}", backbone.provider().line());
        assert_eq!(backbone.feature_class(), "fp32");
    }
    let width = backbones[0].spec().feature_width;
    let images = batch::pattern(5, backbones[0].spec().input_size);
    let whole: Vec<_> = backbones.iter_mut().map(|b| b.embed(images.view()).unwrap()).collect();
    for size in [0, 1, 3, 5] {
        // Taken from the end, so that a row depends neither on its place nor on its neighbours.
        let last = ndarray::Slice::from(5 - size..);
        let part = images.slice_axis(Axis(0), last);
        for (backbone, whole) in backbones.iter_mut().zip(&whole) {
            let features = backbone.embed(part).unwrap();
            assert_eq!(features.dim(), (size, width));
            let expected = whole.slice_axis(Axis(0), last).to_owned();
            assert!(relative(&features, &expected) < 1e-4, "batch of {size} on {}", backbone.provider().got);
        }
    }
    if let [ort, tract] = whole.as_slice() {
        let error = relative(tract, ort);
        println!("fp32: largest relative difference {error:e}");
        assert!(error < 1e-4, "{error}");
        let mut swapped = tract.clone();
        swapped.invert_axis(Axis(0));
        assert!(relative(&swapped, ort) > 1e-2, "the comparison must notice rows in the wrong order");
    }
}

#[test]
fn int8_features_of_tract_and_onnx_runtime_are_of_one_class() {
    let providers = cpu_providers("int8_features_of_tract_and_onnx_runtime_are_of_one_class");
    let images = batch::pattern(4, 160);
    let mut features = Vec::new();
    for provider in providers {
        let mut backbone = load(&options(&model(INT8), provider)).unwrap();
        assert_eq!(backbone.feature_class(), "int8");
        features.push(backbone.embed(images.view()).unwrap());
    }
    if let [ort, tract] = features.as_slice() {
        println!("int8: relative {:e}, cosine {}", relative(tract, ort), least_cosine(tract, ort));
        assert!(least_cosine(tract, ort) > 0.99);
        let mut swapped = tract.clone();
        swapped.invert_axis(Axis(0));
        assert!(least_cosine(&swapped, ort) < 0.99, "the comparison must notice rows in the wrong order");
    }
}

#[test]
fn a_file_that_is_not_as_its_entry_says_is_refused() {
    let bytes = std::fs::read(model(FP32)).unwrap();
    for provider in cpu_providers("a_file_that_is_not_as_its_entry_says_is_refused") {
        let (_dir, short) = folder_with(&bytes[..bytes.len() / 2], FP32, |_| ());
        let error = refusal(&short, provider);
        assert!(matches!(error, Error::Model { .. }) && error.to_string().contains("cut short"), "{error}");

        let (_dir, small) = folder_with(&bytes, FP32, |entry| entry.input_size = 192);
        let error = refusal(&small, provider);
        assert!(
            matches!(error, Error::Shape { .. }) && error.to_string().contains("[any, 3, 192, 192]"),
            "{error}"
        );

        let (_dir, narrow) = folder_with(&bytes, FP32, |entry| entry.feature_width = 1000);
        let error = refusal(&narrow, provider);
        assert!(matches!(error, Error::Shape { .. }) && error.to_string().contains("[any, 1000]"), "{error}");

        let (_dir, changed) = folder_with(&bytes, FP32, |entry| entry.sha256 = "0".repeat(64));
        let error = refusal(&changed, provider);
        assert!(matches!(error, Error::Model { .. }) && error.to_string().contains("SHA-256"), "{error}");

        let mut good = load(&options(&model(FP32), provider)).unwrap();
        let side = good.spec().input_size;
        assert!(matches!(good.embed(batch::pattern(2, side - 1).view()), Err(Error::Shape { .. })));
        let mut images = batch::pattern(2, side);
        images[[1, 0, 0, 0]] = f32::NAN;
        assert!(good.embed(images.view()).unwrap_err().to_string().contains("row 1"));
    }
}

#[test]
fn the_provider_asked_for_is_got_or_refused_and_auto_says_why() {
    let missing = BackboneOptions {
        ort_lib: Some("/nowhere/libonnxruntime.so".into()),
        ..options(&model(FP32), Provider::Cpu)
    };
    let error = load(&missing).map(|_| ()).unwrap_err();
    assert!(matches!(error, Error::Provider { .. }) && error.to_string().contains("/nowhere"), "{error}");

    if cfg!(feature = "tract") {
        let auto = load(&BackboneOptions { provider: Provider::Auto, ..missing }).unwrap();
        let line = auto.provider().line();
        assert_eq!(auto.provider().got, Provider::Tract);
        assert!(line.contains("auto took tract") && line.matches("/nowhere").count() == 1, "{line}");
        let details = auto.provider().details();
        assert!(
            details.len() == 4 && details[1..].iter().all(|why| why.contains("pip install")),
            "{details:?}"
        );
    }
    if !ort_is_here("the_provider_asked_for_is_got_or_refused_and_auto_says_why") {
        return;
    }
    let auto = load(&options(&model(FP32), Provider::Auto)).unwrap();
    let report = auto.provider();
    println!("{}", report.line());
    assert_eq!(report.attempts.last().map(|a| (a.provider, &a.failure)), Some((report.got, &None)));
    for attempt in &report.attempts[..report.attempts.len() - 1] {
        let error = refusal(&model(FP32), attempt.provider).to_string();
        let why = attempt.failure.as_deref().unwrap();
        assert!(error.contains(why) && error.contains(attempt.provider.name()), "{error}");
    }
}

#[test]
fn auto_keeps_to_the_class_of_features_that_a_state_holds() {
    let of = |provider, class: Option<&str>| {
        let feature_class = class.map(str::to_owned);
        chain(&BackboneOptions { provider, feature_class, ..BackboneOptions::default() })
    };
    let others = [Provider::Cuda, Provider::Cpu, Provider::Tract];
    assert_eq!(of(Provider::Auto, None), [&[Provider::TensorRt][..], &others].concat());
    assert_eq!(of(Provider::Auto, Some("fp32")), others);
    assert_eq!(of(Provider::Auto, Some("int8-tensorrt")), [Provider::TensorRt]);
    // What was asked for is not replaced; that the state holds other features is said when it is
    // opened.
    assert_eq!(of(Provider::Cuda, Some("fp32-tensorrt")), [Provider::Cuda]);
    assert_eq!(feature_class(Precision::Int8, Provider::TensorRt), "int8-tensorrt");
    assert_eq!(feature_class(Precision::Fp32, Provider::Cpu), "fp32");
}

#[test]
fn only_tensorrt_is_awaited_and_only_where_it_could_run() {
    let asked = |provider| {
        awaits_engine(&BackboneOptions { provider, ..BackboneOptions::default() }, || Ok("ab".to_owned()))
            .unwrap()
    };
    for provider in Provider::ALL {
        assert!(!asked(provider), "{provider}: no TensorRT is on this machine");
    }
}
