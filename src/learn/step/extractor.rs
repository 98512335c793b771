//! The extractor's nodes as ops, forward and backward.

use super::layers;
use super::writer::Writer;
use crate::Result;
use crate::heads::{MapShape, Node, NodeOp};
use crate::learn::op::{Buf, Finish, Mask, NormTrace, Op};
use crate::learn::program::Program;
use crate::reference::activation::Activation;
use crate::reference::convolution::Depthwise;

/// A forward pass, with what the backward one reads.
pub(super) struct ExtractorPass {
    /// Features u `[M, D]`.
    pub u: Buf,
    images: usize,
    shapes: Vec<MapShape>,
    /// Values: the input, then the output of each node.
    values: Vec<Buf>,
    /// Statistics of the nodes that are layer norms.
    stats: Vec<Option<Buf>>,
}

impl ExtractorPass {
    /// Runs the nodes of the copy `prefix` on `input` `[images, positions, channels]`.
    pub(super) fn forward(writer: &mut Writer<'_>, prefix: &str, images: usize, input: Buf) -> Result<Self> {
        let extractor = &writer.spec.architecture.extractor;
        let shapes = extractor.shapes()?;
        let (mut values, mut stats) = (vec![input], Vec::new());
        for (node, y) in extractor.nodes.iter().zip(&shapes[1..]) {
            let program = &mut writer.program;
            let (x, shape) = (values[node.input], shapes[node.input]);
            let (rows, name) = (images * shape.positions(), format!("{prefix}{}", node.name));
            let (residual, activation) = (node.residual.map(|value| values[value]), node.activation);
            let mut statistics = None;
            values.push(match node.op {
                NodeOp::Linear { outputs } => {
                    let shape = [rows, shape.channels, outputs];
                    layers::linear_forward(program, &name, shape, x, activation, residual)
                }
                NodeOp::Depthwise { .. } => {
                    let shape = depthwise(node, images, shape)?;
                    let filters = filters(program, &name, &shape);
                    let y = program.scratch(shape.output_len());
                    program.push(Op::DepthwiseForward { shape, activation, x, filters, y });
                    y
                }
                NodeOp::LayerNorm => {
                    let (y, stats) = layers::layer_norm(program, &name, [rows, shape.channels], x, false);
                    statistics = Some(stats);
                    y
                }
                NodeOp::AveragePool => {
                    let y = program.scratch(images * shape.channels);
                    let shape = [images, shape.positions(), shape.channels];
                    program.push(Op::AverageForward { shape, x, y });
                    y
                }
                NodeOp::Identity => {
                    let len = images * y.elements();
                    let y = program.scratch(len);
                    program.push(Op::Activate { len, activation, x, residual, y });
                    y
                }
            });
            stats.push(statistics);
        }
        let u = values.last().copied().unwrap_or(input);
        Ok(Self { u, images, shapes, values, stats })
    }

    /// Gradients of the student's parameters from that of u. That of the input is written where it
    /// is wanted; the trunk before it does not learn.
    pub(super) fn backward(
        &self,
        writer: &mut Writer<'_>,
        d_u: Buf,
        wants_input: bool,
    ) -> Result<Option<Buf>> {
        let nodes = &writer.spec.architecture.extractor.nodes;
        let mut gradients = Gradients::new(self, nodes, wants_input);
        gradients.give(&mut writer.program, nodes.len(), d_u);
        for (at, node) in nodes.iter().enumerate().rev() {
            // Every node is used: its gradient is complete once those behind it are done.
            let Some(d_y) = gradients.sums[at + 1] else { continue };
            let (x, shape) = (self.values[node.input], self.shapes[node.input]);
            let (rows, name) = (self.images * shape.positions(), &node.name);
            let program = &mut writer.program;
            match node.op {
                NodeOp::Linear { outputs } => {
                    let shape = [rows, shape.channels, outputs];
                    layers::linear_backward_parameters(program, name, shape, d_y, x);
                    if let Some(residual) = node.residual {
                        gradients.give(program, residual, d_y);
                    }
                    gradients.product(program, node.input, name, shape, d_y);
                }
                NodeOp::Depthwise { .. } => {
                    let shape = depthwise(node, self.images, shape)?;
                    let d_filters = [("weight", shape.weight_len()), ("bias", shape.channels)]
                        .map(|(part, len)| program.gradient(format!("{name}.{part}"), len));
                    program.push(Op::DepthwiseBackwardWeight { shape, d_y, x, d_filters });
                    if gradients.takes(node.input) {
                        let [weight, _] = filters(program, name, &shape);
                        let (mask, d_x) = (gradients.mask(node.input), program.scratch(shape.input_len()));
                        program.push(Op::DepthwiseBackwardInput { shape, d_y, weight, mask, d_x });
                        gradients.put(program, node.input, d_x, mask.is_some());
                    }
                }
                NodeOp::LayerNorm => {
                    let (shape, stats) = ([rows, shape.channels], self.stats[at].unwrap_or(x));
                    let trace = NormTrace { d_y, x, mask: None, stats };
                    layers::layer_norm_backward_affine(program, name, shape, trace);
                    if gradients.takes(node.input) {
                        let weight = program.state(format!("{name}.weight"), shape[1]);
                        let d_x = program.scratch(rows * shape[1]);
                        program.push(Op::LayerNormBackward { shape, trace, weight, d_x });
                        gradients.put(program, node.input, d_x, false);
                    }
                }
                NodeOp::AveragePool => {
                    if gradients.takes(node.input) {
                        let (mask, d_x) =
                            (gradients.mask(node.input), program.scratch(rows * shape.channels));
                        let shape = [self.images, shape.positions(), shape.channels];
                        program.push(Op::AverageBackward { shape, d_y, mask, d_x });
                        gradients.put(program, node.input, d_x, mask.is_some());
                    }
                }
                NodeOp::Identity => {
                    for value in node.residual.into_iter().chain([node.input]) {
                        gradients.give(program, value, d_y);
                    }
                }
            }
        }
        Ok(gradients.sums[0])
    }
}

fn depthwise(node: &Node, images: usize, shape: MapShape) -> Result<Depthwise> {
    let NodeOp::Depthwise { kernel, stride, pads } = node.op else {
        return Err(crate::Error::shape(&node.name, "a depthwise convolution", node));
    };
    Depthwise::new(images, shape.channels, [kernel, stride], pads, shape.size)
}

fn filters(program: &mut Program, name: &str, shape: &Depthwise) -> [Buf; 2] {
    [("weight", shape.weight_len()), ("bias", shape.channels)]
        .map(|(part, len)| program.state(format!("{name}.{part}"), len))
}

/// Gradients of values in the making. A value that several nodes take gathers their gradients; what
/// is added last is masked by the activation that gave the value.
struct Gradients<'a> {
    pass: &'a ExtractorPass,
    activations: Vec<Activation>,
    /// How many gradients are still to come for each value.
    outstanding: Vec<usize>,
    sums: Vec<Option<Buf>>,
}

impl<'a> Gradients<'a> {
    fn new(pass: &'a ExtractorPass, nodes: &[Node], wants_input: bool) -> Self {
        let mut outstanding = vec![0; nodes.len() + 1];
        let takes = |value: &usize| *value > 0 || wants_input;
        for node in nodes {
            let values = [Some(node.input), node.residual].into_iter().flatten();
            values.filter(takes).for_each(|value| outstanding[value] += 1);
        }
        // The features are given their gradient from outside.
        outstanding[nodes.len()] += 1;
        let activations = [Activation::None].into_iter().chain(nodes.iter().map(|node| node.activation));
        Self { pass, activations: activations.collect(), outstanding, sums: vec![None; nodes.len() + 1] }
    }

    /// Whether the value is to get a gradient.
    fn takes(&self, value: usize) -> bool {
        self.outstanding[value] > 0
    }

    /// What masks the next gradient of `value`, if it is the last and the only one.
    fn mask(&self, value: usize) -> Option<Mask> {
        let is_only = self.outstanding[value] == 1 && self.sums[value].is_none();
        self.masked(value).filter(|_| is_only)
    }

    fn masked(&self, value: usize) -> Option<Mask> {
        let activation = self.activations[value];
        (activation != Activation::None).then(|| Mask { activation, y: self.pass.values[value] })
    }

    fn len(&self, value: usize) -> usize {
        self.pass.images * self.pass.shapes[value].elements()
    }

    /// Adds a gradient that is there already and belongs to another value too.
    fn give(&mut self, program: &mut Program, value: usize, d: Buf) {
        if self.takes(value) {
            self.put(program, value, d, false);
        }
    }

    /// Adds a gradient; the last one is masked unless that was done.
    fn put(&mut self, program: &mut Program, value: usize, d: Buf, is_masked: bool) {
        let len = self.len(value);
        let mut sum = d;
        if let Some(before) = self.sums[value] {
            sum = program.scratch(len);
            let activation = Activation::None;
            program.push(Op::Activate { len, activation, x: before, residual: Some(d), y: sum });
        }
        self.outstanding[value] -= 1;
        if let Some(mask) = self.masked(value)
            && self.outstanding[value] == 0
            && !is_masked
        {
            let d_x = program.scratch(len);
            program.push(Op::ActivateBackward { len, d_y: sum, mask, d_x });
            sum = d_x;
        }
        self.sums[value] = Some(sum);
    }

    /// Adds the gradient of a linear node's input: sum and mask are part of the product.
    fn product(
        &mut self,
        program: &mut Program,
        value: usize,
        name: &str,
        shape @ [rows, inputs, _]: [usize; 3],
        d_y: Buf,
    ) {
        if !self.takes(value) {
            return;
        }
        self.outstanding[value] -= 1;
        let mask = self.masked(value).filter(|_| self.outstanding[value] == 0);
        let (residual, activation) = (self.sums[value], Activation::None);
        let finish = Finish::Replace { bias: None, residual, activation, mask };
        let d_x = program.scratch(rows * inputs);
        layers::linear_backward_input(program, name, shape, d_y, d_x, finish);
        self.sums[value] = Some(d_x);
    }
}
