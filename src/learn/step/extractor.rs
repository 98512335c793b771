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
        let extractor = &writer.spec.architecture.extractor;
        let training = writer.spec.extractor_training;
        let nodes = &extractor.nodes;
        let trains: Vec<_> = (0..nodes.len()).map(|node| training.of_node(extractor, node)).collect();
        let mut gradients = Gradients::new(self, nodes, &trains, wants_input);
        gradients.give(&mut writer.program, nodes.len(), d_u);
        for (at, node) in nodes.iter().enumerate().rev() {
            // Every node is used: its gradient is complete once those behind it are done.
            let Some(d_y) = gradients.sums[at + 1] else { continue };
            self.parameters_backward(&mut writer.program, (at, node), trains[at], d_y)?;
            self.input_backward(&mut writer.program, (at, node), &mut gradients, d_y)?;
        }
        Ok(gradients.sums[0])
    }

    /// Gradients of weight and bias of a node, of those that train.
    fn parameters_backward(
        &self,
        program: &mut Program,
        (at, node): (usize, &Node),
        [trains_weight, trains_bias]: [bool; 2],
        d_y: Buf,
    ) -> Result<()> {
        let (x, shape, name) = (self.values[node.input], self.shapes[node.input], &node.name);
        let outputs = self.shapes[at + 1];
        match node.op {
            NodeOp::Linear { outputs } if trains_weight => {
                let shape = [self.images * shape.positions(), shape.channels, outputs];
                layers::linear_backward_parameters(program, name, shape, d_y, x);
            }
            NodeOp::Depthwise { .. } if trains_weight => {
                let shape = depthwise(node, self.images, shape)?;
                let d_filters = [("weight", shape.weight_len()), ("bias", shape.channels)]
                    .map(|(part, len)| program.gradient(format!("{name}.{part}"), len));
                program.push(Op::DepthwiseBackwardWeight { shape, d_y, x, d_filters });
            }
            NodeOp::Linear { .. } | NodeOp::Depthwise { .. } if trains_bias => {
                let shape = [self.images * outputs.positions(), outputs.channels];
                layers::bias_backward(program, name, shape, d_y);
            }
            NodeOp::LayerNorm if trains_bias => {
                let (shape, trace) = self.norm_trace((at, node), d_y);
                layers::layer_norm_backward_affine(program, name, shape, trace);
            }
            NodeOp::Linear { .. }
            | NodeOp::Depthwise { .. }
            | NodeOp::LayerNorm
            | NodeOp::AveragePool
            | NodeOp::Identity => {}
        }
        Ok(())
    }

    /// Gradients of what a node takes.
    fn input_backward(
        &self,
        program: &mut Program,
        (at, node): (usize, &Node),
        gradients: &mut Gradients<'_>,
        d_y: Buf,
    ) -> Result<()> {
        let (input, shape, name) = (node.input, self.shapes[node.input], &node.name);
        let rows = self.images * shape.positions();
        if let Some(residual) = node.residual {
            gradients.give(program, residual, d_y);
        }
        if !gradients.takes(input) {
            return Ok(());
        }
        match node.op {
            NodeOp::Linear { outputs } => {
                gradients.product(program, input, name, [rows, shape.channels, outputs], d_y);
            }
            NodeOp::Depthwise { .. } => {
                let shape = depthwise(node, self.images, shape)?;
                let [weight, _] = filters(program, name, &shape);
                let (mask, d_x) = (gradients.mask(input), program.scratch(shape.input_len()));
                program.push(Op::DepthwiseBackwardInput { shape, d_y, weight, mask, d_x });
                gradients.put(program, input, d_x, mask.is_some());
            }
            NodeOp::LayerNorm => {
                let (shape, trace) = self.norm_trace((at, node), d_y);
                let weight = program.state(format!("{name}.weight"), shape[1]);
                let d_x = program.scratch(rows * shape[1]);
                program.push(Op::LayerNormBackward { shape, trace, weight, d_x });
                gradients.put(program, input, d_x, false);
            }
            NodeOp::AveragePool => {
                let (mask, d_x) = (gradients.mask(input), program.scratch(rows * shape.channels));
                let shape = [self.images, shape.positions(), shape.channels];
                program.push(Op::AverageBackward { shape, d_y, mask, d_x });
                gradients.put(program, input, d_x, mask.is_some());
            }
            NodeOp::Identity => gradients.give(program, input, d_y),
        }
        Ok(())
    }

    /// Rows and columns of a layer norm, and what its backward pass reads.
    fn norm_trace(&self, (at, node): (usize, &Node), d_y: Buf) -> ([usize; 2], NormTrace) {
        let (x, shape) = (self.values[node.input], self.shapes[node.input]);
        let stats = self.stats[at].unwrap_or(x);
        ([self.images * shape.positions(), shape.channels], NormTrace { d_y, x, mask: None, stats })
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
    /// Gradients of values that a node which trains, one of `trains`, is behind.
    fn new(pass: &'a ExtractorPass, nodes: &[Node], trains: &[[bool; 2]], wants_input: bool) -> Self {
        let mut outstanding = vec![0; nodes.len() + 1];
        let first = trains.iter().position(|trains| trains.contains(&true)).unwrap_or(nodes.len());
        // Node `first` gives the value `first + 1`: nothing before it needs a gradient.
        let takes = |value: &usize| *value > first || wants_input;
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
