//! An ONNX graph as the cut reads it: nodes in order, constants by name.

use std::collections::HashMap;

use prost::Message as _;

use crate::backbone::onnx::attribute_proto::AttributeType;
use crate::backbone::onnx::{GraphProto, ModelProto, NodeProto, TensorProto};

/// `TensorProto.DataType` FLOAT.
const FLOAT: i32 = 1;

/// A graph with its constants at hand.
#[derive(Clone, Debug)]
pub(super) struct Graph {
    pub(super) model: ModelProto,
    /// Where the constant of each name is: initializers, and the outputs of `Constant` nodes.
    constants: HashMap<String, Place>,
}

/// Where a constant is.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// The initializer of that number.
    Initializer(usize),
    /// An attribute of the node of that number.
    Node(usize),
}

impl Graph {
    /// Reads an ONNX file.
    pub(super) fn read(onnx: &[u8]) -> Result<Self, String> {
        let model = ModelProto::decode(onnx).map_err(|e| format!("not a readable ONNX file: {e}"))?;
        let graph = model.graph.as_ref().ok_or("it has no graph")?;
        let initializers = graph.initializer.iter().enumerate();
        let mut constants: HashMap<_, _> =
            initializers.map(|(number, tensor)| (tensor.name.clone(), Place::Initializer(number))).collect();
        for (number, node) in graph.node.iter().enumerate().filter(|(_, node)| node.op_type == "Constant") {
            constants.extend(node.output.iter().map(|output| (output.clone(), Place::Node(number))));
        }
        Ok(Self { model, constants })
    }

    /// The nodes in order.
    pub(super) fn nodes(&self) -> &[NodeProto] {
        self.model.graph.as_ref().map_or(&[], |graph| &graph.node)
    }

    /// The graph itself.
    pub(super) fn proto(&self) -> Option<&GraphProto> {
        self.model.graph.as_ref()
    }

    /// Names of what the nodes compute, in order.
    pub(super) fn values(&self) -> impl Iterator<Item = &str> {
        let outputs = self.nodes().iter().flat_map(|node| &node.output);
        outputs.map(String::as_str).filter(|value| !self.is_constant(value))
    }

    /// Whether a name is that of a constant, or of an optional input that is left out.
    pub(super) fn is_constant(&self, name: &str) -> bool {
        name.is_empty() || self.constants.contains_key(name)
    }

    /// What a node takes besides constants.
    pub(super) fn data_inputs<'a>(&'a self, node: &'a NodeProto) -> impl Iterator<Item = &'a str> {
        node.input.iter().map(String::as_str).filter(|name| !self.is_constant(name))
    }

    fn constant(&self, name: &str) -> Option<&TensorProto> {
        let graph = self.model.graph.as_ref()?;
        match *self.constants.get(name)? {
            Place::Initializer(number) => graph.initializer.get(number),
            Place::Node(number) => graph.node.get(number)?.attribute.iter().find_map(|a| a.t.as_ref()),
        }
    }

    /// Sizes and elements of a constant of 32-bit floats.
    pub(super) fn floats(&self, name: &str) -> Result<(Vec<usize>, Vec<f32>), String> {
        let tensor = self.constant(name).ok_or_else(|| format!("`{name}` is no constant"))?;
        let sizes: Result<Vec<usize>, _> = tensor.dims.iter().map(|&size| usize::try_from(size)).collect();
        let sizes = sizes.map_err(|_| format!("`{name}` has sizes {:?}", tensor.dims))?;
        let values: Vec<f32> = if tensor.raw_data.is_empty() {
            tensor.float_data.clone()
        } else {
            tensor.raw_data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
        };
        if tensor.data_type != FLOAT || values.len() != sizes.iter().product::<usize>() {
            return Err(format!("`{name}` is not {sizes:?} 32-bit floats in the file itself"));
        }
        if values.iter().any(|value| !value.is_finite()) {
            return Err(format!("`{name}` has values that are not finite"));
        }
        Ok((sizes, values))
    }

    /// A single number of a constant.
    pub(super) fn number(&self, name: &str) -> Result<f32, String> {
        match self.floats(name)?.1[..] {
            [value] => Ok(value),
            _ => Err(format!("`{name}` is more than one number")),
        }
    }
}

/// Integers of an attribute; `default` where it is left out.
pub(super) fn integers(node: &NodeProto, name: &str, default: &[i64]) -> Vec<i64> {
    let attribute = node.attribute.iter().find(|attribute| attribute.name == name);
    attribute.map_or_else(
        || default.to_vec(),
        |attribute| {
            if attribute.r#type == AttributeType::Int as i32 {
                vec![attribute.i]
            } else {
                attribute.ints.clone()
            }
        },
    )
}

/// A number of an attribute.
pub(super) fn float(node: &NodeProto, name: &str) -> Option<f32> {
    node.attribute.iter().find(|attribute| attribute.name == name).map(|attribute| attribute.f)
}

/// Whether a text attribute is there and says something else than `allowed`.
pub(super) fn says_otherwise(node: &NodeProto, name: &str, allowed: &str) -> bool {
    let attribute = node.attribute.iter().find(|attribute| attribute.name == name);
    attribute.is_some_and(|attribute| !attribute.s.is_empty() && attribute.s != allowed.as_bytes())
}
