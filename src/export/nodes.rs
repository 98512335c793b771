//! The nodes and initializers that are added to a graph, with fresh names.

use crate::backbone::onnx::attribute_proto::AttributeType;
use crate::backbone::onnx::{AttributeProto, NodeProto, TensorProto};

/// `TensorProto.DataType` FLOAT and INT64.
pub(super) const FLOAT: i32 = 1;
const INT64: i32 = 7;

/// Nodes and initializers to add to a graph.
#[derive(Debug)]
pub(super) struct Nodes {
    prefix: &'static str,
    pub(super) nodes: Vec<NodeProto>,
    pub(super) initializers: Vec<TensorProto>,
}

impl Nodes {
    pub(super) fn new(prefix: &'static str) -> Self {
        Self { prefix, nodes: Vec::new(), initializers: Vec::new() }
    }

    /// Adds a constant and returns its name.
    pub(super) fn floats(&mut self, shape: &[usize], values: &[f32]) -> String {
        let raw = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(shape, FLOAT, raw)
    }

    /// Adds a constant of shape [1] and returns its name.
    pub(super) fn scalar(&mut self, value: f32) -> String {
        self.floats(&[1], &[value])
    }

    fn integers(&mut self, values: &[i64]) -> String {
        let raw = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(&[values.len()], INT64, raw)
    }

    /// Adds a whole number without axes and returns its name.
    pub(super) fn index(&mut self, value: i64) -> String {
        self.constant(&[], INT64, value.to_le_bytes().to_vec())
    }

    fn constant(&mut self, shape: &[usize], data_type: i32, raw_data: Vec<u8>) -> String {
        let name = format!("{}constant_{}", self.prefix, self.initializers.len());
        let dims = shape.iter().map(|&size| i64::try_from(size).unwrap_or(i64::MAX)).collect();
        self.initializers.push(TensorProto {
            dims,
            data_type,
            name: name.clone(),
            raw_data,
            ..Default::default()
        });
        name
    }

    /// Adds a node and returns the name of its output.
    pub(super) fn op(&mut self, op: &str, inputs: &[&str]) -> String {
        self.op_with(op, inputs, &[])
    }

    /// As [`Nodes::op`], with integer attributes.
    pub(super) fn op_with(&mut self, op: &str, inputs: &[&str], attributes: &[(&str, i64)]) -> String {
        let output = format!("{}value_{}", self.prefix, self.nodes.len());
        self.node(op, inputs, &output, attributes);
        output
    }

    /// Adds a node with a given output name and integer attributes.
    pub(super) fn node(&mut self, op: &str, inputs: &[&str], output: &str, attributes: &[(&str, i64)]) {
        let attribute = attributes.iter().map(|&(name, i)| AttributeProto {
            name: name.to_owned(),
            r#type: AttributeType::Int as i32,
            i,
            ..Default::default()
        });
        self.nodes.push(NodeProto {
            input: inputs.iter().map(|&name| name.to_owned()).collect(),
            output: vec![output.to_owned()],
            name: format!("{}node_{}", self.prefix, self.nodes.len()),
            op_type: op.to_owned(),
            attribute: attribute.collect(),
            ..Default::default()
        });
    }

    /// Adds x as f32.
    pub(super) fn as_floats(&mut self, x: &str) -> String {
        self.op_with("Cast", &[x], &[("to", i64::from(FLOAT))])
    }

    /// Adds x, kept between two bounds.
    pub(super) fn clip(&mut self, input: &str, least: f32, most: f32) -> String {
        let [least, most] =
            [least, most].map(|bound| self.constant(&[], FLOAT, bound.to_le_bytes().to_vec()));
        self.op("Clip", &[input, &least, &most])
    }

    /// Adds the sum over the last axis, which is kept with size 1, or not.
    pub(super) fn sum_last(&mut self, input: &str, keep: bool) -> String {
        let axes = self.integers(&[-1]);
        self.op_with("ReduceSum", &[input, &axes], &[("keepdims", i64::from(keep))])
    }

    /// Adds the largest value of the last axis, which is kept with size 1.
    pub(super) fn largest(&mut self, input: &str) -> String {
        let count = self.integers(&[1]);
        let output = self.op_with("TopK", &[input, &count], &[("axis", -1)]);
        if let Some(node) = self.nodes.last_mut() {
            node.output.push(format!("{output}_index"));
        }
        output
    }

    /// Adds the logarithm of the softmax of x times `scale` over the last axis.
    pub(super) fn scaled_log_softmax(&mut self, input: &str, scale: f32) -> String {
        let scale = self.scalar(scale);
        let scaled = self.op("Mul", &[input, &scale]);
        self.log_softmax(&scaled)
    }

    /// Adds the logarithm of the softmax over the last axis, x - max x - log Σ exp(x - max x).
    /// tract's `LogSoftmax` is the logarithm of a softmax: minus infinity from a distance of 104
    /// on.
    fn log_softmax(&mut self, input: &str) -> String {
        let largest = self.largest(input);
        let below = self.op("Sub", &[input, &largest]);
        let powers = self.op("Exp", &[&below]);
        let total = self.sum_last(&powers, true);
        let logarithm = self.op("Log", &[&total]);
        self.op("Sub", &[&below, &logarithm])
    }

    /// Adds a choice of columns of the last axis.
    pub(super) fn columns(&mut self, input: &str, columns: &[usize]) -> String {
        let columns: Vec<_> = columns.iter().map(|&at| i64::try_from(at).unwrap_or(i64::MAX)).collect();
        let columns = self.integers(&columns);
        self.op_with("Gather", &[input, &columns], &[("axis", -1)])
    }

    /// Joins inputs along the last axis.
    pub(super) fn concatenated(&mut self, inputs: &[&str]) -> String {
        self.op_with("Concat", inputs, &[("axis", -1)])
    }

    /// Adds a new axis at `axis`.
    pub(super) fn unsqueeze(&mut self, input: &str, axis: i64) -> String {
        let axes = self.integers(&[axis]);
        self.op("Unsqueeze", &[input, &axes])
    }

    /// Adds `x · weightᵀ + bias` for weight [outputs, inputs].
    pub(super) fn linear(&mut self, x: &str, weight: &[f32], bias: &[f32], inputs: usize) -> String {
        let (weight, bias) = (self.floats(&[bias.len(), inputs], weight), self.floats(&[bias.len()], bias));
        self.op_with("Gemm", &[x, &weight, &bias], &[("transB", 1)])
    }

    /// Adds a convolution in `groups`: weight `[O, C / groups, k, k]`; pads are top, left, bottom,
    /// right.
    pub(super) fn convolution(
        &mut self,
        x: &str,
        (shape, weight): (&[usize; 4], &[f32]),
        bias: &[f32],
        groups: usize,
        stride: usize,
        pads: [usize; 4],
    ) -> String {
        let (weight, bias) = (self.floats(shape, weight), self.floats(&[bias.len()], bias));
        let output = self.op_with("Conv", &[x, &weight, &bias], &[("group", integer(groups))]);
        let kernel = [shape[2], shape[3]];
        self.lists(&[("kernel_shape", &kernel), ("strides", &[stride, stride]), ("pads", &pads)]);
        output
    }

    /// Gives the node that was added last attributes that are lists.
    fn lists(&mut self, lists: &[(&str, &[usize])]) {
        let Some(node) = self.nodes.last_mut() else { return };
        node.attribute.extend(lists.iter().map(|(name, values)| AttributeProto {
            name: (*name).to_owned(),
            r#type: AttributeType::Ints as i32,
            ints: values.iter().map(|&value| integer(value)).collect(),
            ..Default::default()
        }));
    }

    /// Adds x in another shape: 0 keeps a size, -1 takes what is left.
    pub(super) fn reshaped(&mut self, x: &str, shape: &[i64]) -> String {
        let shape = self.integers(shape);
        self.op("Reshape", &[x, &shape])
    }

    /// Adds x with its axes in another order.
    pub(super) fn transposed(&mut self, x: &str, order: &[usize]) -> String {
        let output = self.op("Transpose", &[x]);
        self.lists(&[("perm", order)]);
        output
    }

    /// Adds x as rows, `[N, …]`.
    pub(super) fn flattened(&mut self, x: &str) -> String {
        self.op_with("Flatten", &[x], &[("axis", 1)])
    }

    /// Adds x scaled and shifted per column.
    pub(super) fn affine(&mut self, x: &str, scale: &[f32], shift: &[f32]) -> String {
        let (scale, shift) = (self.floats(&[scale.len()], scale), self.floats(&[shift.len()], shift));
        let scaled = self.op("Mul", &[x, &scale]);
        self.op("Add", &[&scaled, &shift])
    }
}

fn integer(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
