//! The backbone and what was learned in one ONNX file that any runtime runs.
//!
//! The outputs are `probabilities` [N, C], `logits` [N, C], `novelty` `[N]` and the backbone's own
//! features [N, D]; class names, threshold and preprocessing are in the file's metadata. The file
//! uses only operators of the standard domain from opset 13 on.

mod classifier;
mod extractor;
mod nodes;
mod preprocessing;

use std::collections::HashSet;

use prost::Message as _;

pub(crate) use classifier::OUTPUTS;
pub use classifier::{Classifier, Scorer};
pub(crate) use preprocessing::with_preprocessing;

use crate::backbone::BackboneSpec;
use crate::backbone::onnx::{
    GraphProto, ModelProto, OperatorSetIdProto, StringStringEntryProto, TensorShapeProto, TypeProto,
    ValueInfoProto,
    tensor_shape_proto::{Dimension, dimension::Value},
    type_proto,
};
use crate::heads::{MapShape, Tail};
use crate::{Error, Result};
use nodes::{FLOAT, Nodes};

/// The prefix of every name that is added to the backbone's.
const PREFIX: &str = "kaizen/";
/// The oldest opset that has the operators used.
const OLDEST_OPSET: i64 = 13;
/// From this opset on the operators used may mean something else.
const NEWEST_OPSET: i64 = 22;

/// A trained tail in place of the backbone's own, which is all behind the value `at`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TrainedTail<'a> {
    /// The value at the cut, a map `[N, C, H, W]`.
    pub(crate) at: &'a str,
    /// The tail.
    pub(crate) tail: &'a Tail,
}

/// Returns the whole classifier: the backbone's file, with a trained tail if there is one, and with
/// the classifier behind its features.
///
/// # Errors
/// [`Error::Model`] if the file cannot be read, has an opset outside 13..=22 or a value with the
/// name of an output; as [`Parameters::get`](crate::heads::Parameters::get) for a missing tensor.
pub(crate) fn graft(
    spec: &BackboneSpec,
    onnx: &[u8],
    trained: Option<TrainedTail<'_>>,
    classifier: &Classifier,
    metadata: &[(&str, String)],
) -> Result<Vec<u8>> {
    let refuse = |reason: String| Error::Model { path: spec.path.clone(), reason };
    let mut model = ModelProto::decode(onnx).map_err(|e| refuse(format!("not a readable ONNX file: {e}")))?;
    let opset = model.opset_import.iter().find(|set| set.domain.is_empty()).map_or(0, |set| set.version);
    if !(OLDEST_OPSET..=NEWEST_OPSET).contains(&opset) {
        let allowed = format!("{OLDEST_OPSET}..={NEWEST_OPSET}");
        return Err(refuse(format!("its opset is {opset}, export needs {allowed}: convert the file")));
    }
    let graph = model.graph.as_mut().ok_or_else(|| refuse("it has no graph".to_owned()))?;
    let features = graph.output.first().map(|output| output.name.clone()).unwrap_or_default();
    let taken = |name: &str| graph.node.iter().any(|node| node.output.iter().any(|output| output == name));
    if let Some(name) = OUTPUTS.into_iter().find(|name| taken(name)) {
        return Err(refuse(format!("it has a value named `{name}`, which the export needs: rename it")));
    }
    let mut nodes = Nodes::new(PREFIX);
    if let Some(TrainedTail { at, tail }) = trained {
        remove_behind(graph, at);
        let u = extractor::write(&mut nodes, &tail.extractor, &tail.parameters, at)?;
        nodes.node("Identity", &[&u], &features, &[]);
    }
    classifier.write(&mut nodes, &features)?;
    graph.node.extend(nodes.nodes);
    graph.initializer.extend(nodes.initializers);
    let own = std::mem::take(&mut graph.output);
    graph.output = outputs(classifier);
    graph.output.extend(own);
    describe(&mut model, metadata);
    Ok(model.encode_to_vec())
}

/// Returns the classifier alone, from features [N, D], to compare it on stored samples.
///
/// # Errors
/// As [`Parameters::get`](crate::heads::Parameters::get) for a missing tensor.
pub fn classifier_alone(classifier: &Classifier) -> Result<Vec<u8>> {
    let mut nodes = Nodes::new(PREFIX);
    classifier.write(&mut nodes, "features")?;
    let input = value("features", &[Some(classifier.features)]);
    Ok(model("classifier", nodes, input, outputs(classifier)).encode_to_vec())
}

/// Returns a tail alone, from latents as they are stored, channels last `[N, H, W, C]`, to features
/// `[N, D]`.
///
/// # Errors
/// As [`Parameters::get`](crate::heads::Parameters::get) for a missing tensor; [`Error::Refused`]
/// for a layer normalisation of maps.
pub(crate) fn tail_alone(tail: &Tail) -> Result<Vec<u8>> {
    let mut nodes = Nodes::new(PREFIX);
    let map = nodes.transposed("latent", &[0, 3, 1, 2]);
    let name = extractor::write(&mut nodes, &tail.extractor, &tail.parameters, &map)?;
    let features = value(&name, &[Some(tail.extractor.features())]);
    let [channels, rows, columns] = sizes(tail.extractor.input);
    let input = value("latent", &[rows, columns, channels]);
    Ok(model("tail", nodes, input, vec![features]).encode_to_vec())
}

/// Sizes of a map `[C, H, W]`.
fn sizes(MapShape { size: [rows, columns], channels }: MapShape) -> [Option<usize>; 3] {
    [Some(channels), Some(rows), Some(columns)]
}

/// A model of its own: nodes from one input to `output`.
fn model(name: &str, nodes: Nodes, input: ValueInfoProto, output: Vec<ValueInfoProto>) -> ModelProto {
    let graph = GraphProto {
        node: nodes.nodes,
        name: name.to_owned(),
        initializer: nodes.initializers,
        input: vec![input],
        output,
        ..Default::default()
    };
    let opset_import = vec![OperatorSetIdProto { domain: String::new(), version: OLDEST_OPSET }];
    ModelProto { ir_version: 7, opset_import, graph: Some(graph), ..Default::default() }
}

/// Puts the producer and `metadata` into a model, in the place of what it says of either.
fn describe(model: &mut ModelProto, metadata: &[(&str, String)]) {
    model.producer_name = "kaizen-edge".to_owned();
    model.producer_version = env!("CARGO_PKG_VERSION").to_owned();
    for (key, value) in metadata {
        model.metadata_props.retain(|entry| entry.key != *key);
        model.metadata_props.push(StringStringEntryProto { key: (*key).to_owned(), value: value.clone() });
    }
}

/// Takes out all that is computed from the value `at`, and the constants that nothing takes then.
fn remove_behind(graph: &mut GraphProto, at: &str) {
    let mut gone: HashSet<String> = HashSet::from([at.to_owned()]);
    graph.node.retain(|node| {
        let is_behind = node.input.iter().any(|input| gone.contains(input));
        if is_behind {
            gone.extend(node.output.iter().cloned());
        }
        !is_behind
    });
    let taken: HashSet<&String> = graph.node.iter().flat_map(|node| &node.input).collect();
    graph.initializer.retain(|constant| taken.contains(&constant.name));
    graph.value_info.retain(|value| !gone.contains(&value.name));
}

/// Returns a tail with the classifier behind it, from the value at the cut `[N, C, H, W]`, which is
/// the input `at`. It stands behind a trunk that runs elsewhere.
///
/// # Errors
/// As [`graft`].
pub(crate) fn tail_file(
    TrainedTail { at, tail }: TrainedTail<'_>,
    classifier: &Classifier,
    metadata: &[(&str, String)],
) -> Result<Vec<u8>> {
    let mut nodes = Nodes::new(PREFIX);
    let u = extractor::write(&mut nodes, &tail.extractor, &tail.parameters, at)?;
    classifier.write(&mut nodes, &u)?;
    let input = value(at, &sizes(tail.extractor.input));
    let mut model = model("tail", nodes, input, outputs(classifier));
    describe(&mut model, metadata);
    Ok(model.encode_to_vec())
}

fn outputs(classifier: &Classifier) -> Vec<ValueInfoProto> {
    let classes = Some(classifier.classes());
    vec![value(OUTPUTS[0], &[classes]), value(OUTPUTS[1], &[classes]), value(OUTPUTS[2], &[])]
}

/// Returns a named f32 value of shape [N, …].
fn value(name: &str, sizes: &[Option<usize>]) -> ValueInfoProto {
    let size =
        |size: &Option<usize>| Value::DimValue(size.map_or(0, |size| i64::try_from(size).unwrap_or(0)));
    let mut dimensions = vec![Value::DimParam("N".to_owned())];
    dimensions.extend(sizes.iter().map(size));
    value_of(name, FLOAT, dimensions)
}

/// Returns a named value of a type and of sizes that may be open.
fn value_of(name: &str, elem_type: i32, dimensions: Vec<Value>) -> ValueInfoProto {
    let dimension = |value| Dimension { value: Some(value), ..Default::default() };
    let dim = dimensions.into_iter().map(dimension).collect();
    let tensor = type_proto::Tensor { elem_type, shape: Some(TensorShapeProto { dim }) };
    let of = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() };
    ValueInfoProto { name: name.to_owned(), r#type: Some(of), doc_string: String::new() }
}
