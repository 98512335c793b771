//! The trunk: all that the value at the cut is computed from.

use std::collections::HashSet;

use prost::Message as _;

use super::graph::Graph;
use crate::backbone::onnx::attribute_proto::AttributeType;
use crate::backbone::onnx::type_proto::Value;
use crate::backbone::onnx::{
    AttributeProto, GraphProto, ModelProto, NodeProto, TensorShapeProto, TypeProto, ValueInfoProto,
    tensor_shape_proto, type_proto,
};
use crate::backbone::output_sizes;
use crate::heads::MapShape;

/// Name of the trunk's output.
const LATENT: &str = "kaizen/latent";

/// The model whose only output is `at`, and whose nodes and constants are those that it needs.
pub(super) fn trunk(graph: &Graph, at: &str) -> Result<ModelProto, String> {
    if !graph.values().any(|value| value == at) {
        return Err(format!("it computes no value `{at}`: `cut` names the output of a node"));
    }
    let mut needed: HashSet<&str> = HashSet::from([at]);
    let mut kept: Vec<&NodeProto> = Vec::new();
    for node in graph.nodes().iter().rev() {
        if node.output.iter().any(|output| needed.contains(output.as_str())) {
            needed.extend(node.input.iter().map(String::as_str));
            kept.push(node);
        }
    }
    let kept: Vec<NodeProto> = kept.into_iter().rev().cloned().collect();
    let Some(whole) = graph.proto() else { return Err("it has no graph".to_owned()) };
    // Only what is kept is copied: the tail's weights are most of a file.
    let constants = whole.initializer.iter().filter(|tensor| needed.contains(tensor.name.as_str()));
    let proto = GraphProto {
        name: whole.name.clone(),
        node: kept,
        initializer: constants.cloned().collect(),
        input: whole.input.clone(),
        output: vec![output(at, &[None, None, None])],
        quantization_annotation: whole.quantization_annotation.clone(),
        ..Default::default()
    };
    let ModelProto { ir_version, opset_import, .. } = &graph.model;
    Ok(ModelProto {
        ir_version: *ir_version,
        opset_import: opset_import.clone(),
        functions: graph.model.functions.clone(),
        graph: Some(proto),
        ..Default::default()
    })
}

/// Shape of the trunk's output for images of `side` pixels.
pub(super) fn latent_shape(trunk: &ModelProto, side: usize) -> Result<MapShape, String> {
    match output_sizes(&trunk.encode_to_vec(), &[1, 3, side, side])?[..] {
        [1, channels, rows, columns] => Ok(MapShape { size: [rows, columns], channels }),
        ref other => Err(format!("the value at the cut is {other:?}, needed is a map [1, C, H, W]")),
    }
}

/// The file of a trunk that gives its map as a row, channels last.
pub(super) fn channels_last(mut trunk: ModelProto, latent: MapShape) -> Result<Vec<u8>, String> {
    let Some(proto) = &mut trunk.graph else { return Err("it has no graph".to_owned()) };
    let at = proto.output.first().map(|output| output.name.clone()).unwrap_or_default();
    let turned = format!("{LATENT}/channels_last");
    let integers = |name: &str, ints: &[i64]| AttributeProto {
        name: name.to_owned(),
        r#type: AttributeType::Ints as i32,
        ints: ints.to_vec(),
        ..Default::default()
    };
    let integer = |name: &str, i: i64| AttributeProto {
        name: name.to_owned(),
        r#type: AttributeType::Int as i32,
        i,
        ..Default::default()
    };
    let node = |op: &str, input: &str, output: &str, attribute: AttributeProto| NodeProto {
        input: vec![input.to_owned()],
        output: vec![output.to_owned()],
        name: output.to_owned(),
        op_type: op.to_owned(),
        attribute: vec![attribute],
        ..Default::default()
    };
    proto.node.push(node("Transpose", &at, &turned, integers("perm", &[0, 2, 3, 1])));
    proto.node.push(node("Flatten", &turned, LATENT, integer("axis", 1)));
    proto.output = vec![output(LATENT, &[Some(latent.elements())])];
    Ok(trunk.encode_to_vec())
}

/// A named f32 value of shape [N, …].
fn output(name: &str, sizes: &[Option<usize>]) -> ValueInfoProto {
    use tensor_shape_proto::{Dimension, dimension};
    let open = |name: String| dimension::Value::DimParam(name);
    let mut dim = vec![Dimension { value: Some(open("N".to_owned())), ..Default::default() }];
    for (number, size) in sizes.iter().enumerate() {
        let fixed = size.and_then(|size| i64::try_from(size).ok()).map(dimension::Value::DimValue);
        let value = fixed.unwrap_or_else(|| open(format!("d{number}")));
        dim.push(Dimension { value: Some(value), ..Default::default() });
    }
    let tensor = type_proto::Tensor { elem_type: 1, shape: Some(TensorShapeProto { dim }) };
    let of = TypeProto { value: Some(Value::TensorType(tensor)), ..Default::default() };
    ValueInfoProto { name: name.to_owned(), r#type: Some(of), doc_string: String::new() }
}
