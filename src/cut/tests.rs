use std::path::{Path, PathBuf};

use prost::Message as _;

use super::*;
use crate::backbone::onnx::{ModelProto, NodeProto, TensorProto};
use crate::backbone::{run_in_onnx_runtime, run_in_tract};
use crate::heads::NodeOp;
use crate::learn::inference::extract;
use crate::reference::activation::Activation;
use crate::rng::Rng;

const FP32: &str = "efficientnet-lite0-features-160.onnx";
const INT8: &str = "efficientnet-lite0-features-160-int8.onnx";
const SIDE: usize = 160;

fn path(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models").join(file)
}

fn model(file: &str) -> Vec<u8> {
    std::fs::read(path(file)).unwrap()
}

fn images(count: usize, side: usize) -> Vec<f32> {
    let mut rng = Rng::named(3, "images");
    (0..count * 3 * side * side).map(|_| rng.between(-1.0, 1.0)).collect()
}

fn worst(got: &[f32], want: &[f32]) -> f32 {
    assert_eq!(got.len(), want.len());
    let largest = want.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
    got.iter().zip(want).fold(0.0_f32, |m, (g, w)| m.max((g - w).abs())) / largest
}

#[test]
fn trunk_and_tail_are_the_whole_wherever_it_is_cut() {
    let (onnx, images) = (model(FP32), images(2, SIDE));
    let shape = [2, 3, SIDE, SIDE];
    let want = run_in_tract(&onnx, &shape, &images).unwrap().remove(0);
    for (at, latent, nodes) in [
        ("b10_add", MapShape { size: [10, 10], channels: 112 }, 17),
        ("b11_proj", MapShape { size: [5, 5], channels: 192 }, 14),
        ("b14_add", MapShape { size: [5, 5], channels: 192 }, 5),
    ] {
        let cut = Cut::new(&path(FP32), &onnx, &onnx, at, SIDE).unwrap();
        assert_eq!(cut.tail.extractor.input, latent, "{at}");
        assert_eq!(cut.tail.extractor.nodes.len(), nodes, "{at}: every activation and addition is fused");
        let features = |latents: &[f32]| extract(&cut.tail.extractor, &cut.tail.parameters, latents).unwrap();
        let latents = run_in_tract(&cut.trunk, &shape, &images).unwrap().remove(0);
        assert!(worst(&features(&latents), &want) < 1e-5, "{at}: {}", worst(&features(&latents), &want));
        if let Some(latents) = run_in_onnx_runtime(&cut.trunk, &shape, &images, None).unwrap() {
            assert!(worst(&features(&latents[0]), &want) < 1e-5, "{at}");
        }
        // The control: a map that is not turned gives other features.
        let mut turned = latents;
        turned.reverse();
        assert!(worst(&features(&turned), &want) > 0.1, "{at}");
    }
}

#[test]
fn a_quantised_trunk_goes_with_the_weights_of_the_fp32_file() {
    let (int8, fp32, images) = (model(INT8), model(FP32), images(1, SIDE));
    let cut = Cut::new(&path(INT8), &int8, &fp32, "b11_proj", SIDE).unwrap();
    let shape = [1, 3, SIDE, SIDE];
    let latents = run_in_tract(&cut.trunk, &shape, &images).unwrap().remove(0);
    let got = extract(&cut.tail.extractor, &cut.tail.parameters, &latents).unwrap();
    let want = run_in_tract(&fp32, &shape, &images).unwrap().remove(0);
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    let cosine = dot(&got, &want) / (dot(&got, &got) * dot(&want, &want)).sqrt();
    assert!(cosine > 0.97, "{cosine}");
    let error = Cut::new(&path(INT8), &int8, &int8, "b11_proj", SIDE).unwrap_err().to_string();
    assert!(error.contains("b11_proj") && error.contains("cannot be"), "{error}");
}

fn changed(change: impl Fn(&mut NodeProto)) -> Vec<u8> {
    let mut onnx = ModelProto::decode(&model(FP32)[..]).unwrap();
    onnx.graph.as_mut().unwrap().node.iter_mut().for_each(change);
    onnx.encode_to_vec()
}

fn refused(onnx: &[u8], at: &str) -> String {
    let error = Cut::new(Path::new("m.onnx"), onnx, onnx, at, SIDE).unwrap_err();
    assert!(matches!(error, Error::Model { .. }), "{error:?}");
    error.to_string()
}

#[test]
fn what_cannot_be_trained_is_named_with_the_last_cut_that_would_do() {
    let gives = |node: &NodeProto, name: &str| node.output[0] == name;
    let foreign = changed(|node| {
        if gives(node, "b12_proj") {
            node.op_type = "Erf".to_owned();
        }
    });
    let error = refused(&foreign, "b11_proj");
    assert!(error.contains("Erf `b12_proj`") && error.contains("would do is `b12_add`"), "{error}");
    let grouped = changed(|node| {
        let attributes = node.attribute.iter_mut().filter(|_| node.output[0] == "b12_dw_c");
        attributes.filter(|attribute| attribute.name == "group").for_each(|group| group.i = 2);
    });
    let error = refused(&grouped, "b11_proj");
    assert!(error.contains("b12_dw_c` has 2 groups"), "{error}");
    let pooled = changed(|node| {
        if node.op_type == "GlobalAveragePool" {
            node.op_type = "GlobalMaxPool".to_owned();
        }
    });
    assert!(refused(&pooled, "b11_proj").contains("leave `cut` out"), "{}", refused(&pooled, "b11_proj"));
}

#[test]
fn a_cut_that_is_not_there_or_that_others_go_around_is_refused() {
    let onnx = model(FP32);
    assert!(refused(&onnx, "b99_proj").contains("`b99_proj`"), "{}", refused(&onnx, "b99_proj"));
    // The block's input goes around its expansion.
    let error = refused(&onnx, "b12_exp");
    assert!(error.contains("computed before the cut") && error.contains("b12_add"), "{error}");
    assert!(refused(&onnx[..4000], "b11_proj").contains("not a readable ONNX file"));
    assert!(refused(&onnx, "features").contains("needed is a map"), "{}", refused(&onnx, "features"));
}

#[test]
fn a_batch_normalisation_is_folded_into_its_convolution() {
    let mut onnx = ModelProto::decode(&model(FP32)[..]).unwrap();
    let graph = onnx.graph.as_mut().unwrap();
    let at = graph.node.iter().position(|node| node.output[0] == "b12_dw_c").unwrap();
    let values: [fn(usize) -> f32; 4] =
        [|c| 1.0 + (c % 3) as f32, |c| (c % 5) as f32 - 2.0, |c| (c % 7) as f32, |c| 0.5 + (c % 2) as f32];
    let mut inputs = vec!["b12_dw_raw".to_owned()];
    let channels = 1152;
    for (number, value) in values.into_iter().enumerate() {
        let name = format!("norm.{number}");
        let raw_data = (0..channels).flat_map(|c| value(c).to_le_bytes()).collect();
        let dims = vec![channels as i64];
        graph.initializer.push(TensorProto {
            dims,
            data_type: 1,
            name: name.clone(),
            raw_data,
            ..Default::default()
        });
        inputs.push(name);
    }
    graph.node[at].output[0] = "b12_dw_raw".to_owned();
    let norm = NodeProto {
        input: inputs,
        output: vec!["b12_dw_c".to_owned()],
        op_type: "BatchNormalization".to_owned(),
        ..Default::default()
    };
    graph.node.insert(at + 1, norm);
    let (onnx, images, shape) = (onnx.encode_to_vec(), images(1, SIDE), [1, 3, SIDE, SIDE]);
    let cut = Cut::new(&path(FP32), &onnx, &onnx, "b11_proj", SIDE).unwrap();
    assert_eq!(cut.tail.extractor.nodes.len(), 14);
    let depthwise = cut.tail.extractor.nodes.iter().find(|node| node.name == "tail.b12_dw_raw").unwrap();
    assert!(matches!(depthwise.op, NodeOp::Depthwise { .. }) && depthwise.activation == Activation::Relu6);
    let latents = run_in_tract(&cut.trunk, &shape, &images).unwrap().remove(0);
    let want = run_in_tract(&onnx, &shape, &images).unwrap().remove(0);
    let got = extract(&cut.tail.extractor, &cut.tail.parameters, &latents).unwrap();
    assert!(worst(&got, &want) < 1e-5, "{}", worst(&got, &want));
}
