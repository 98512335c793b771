//! The tail: all that is computed from the value at the cut, as nodes that can be trained.

use std::collections::HashMap;

use super::graph::{Graph, float, integers, says_otherwise};
use crate::backbone::onnx::NodeProto;
use crate::heads::{Extractor, MapShape, Node, NodeOp, Parameters, TAIL, Tail, Tensor};
use crate::reference::activation::Activation;

/// Added to the variance where a batch normalisation does not say otherwise (ONNX).
const EPSILON: f32 = 1e-5;

/// Whether all behind `at` can be trained, whatever the size of the map there.
pub(super) fn is_trainable(graph: &Graph, at: &str) -> bool {
    // Any size will do that no filter is larger than.
    Reader::run(graph, at, MapShape { size: [64, 64], channels: 0 }).is_ok()
}

/// The tail behind `at`, whose value has the shape `latent`.
pub(super) fn read(graph: &Graph, at: &str, latent: MapShape) -> Result<Tail, String> {
    let Reader { nodes, parameters, .. } = Reader::run(graph, at, latent)?;
    let extractor = Extractor { input: latent, nodes };
    extractor.check().map_err(|error| error.to_string())?;
    for (name, shape) in extractor.parameters().map_err(|error| error.to_string())? {
        let found = parameters.get(&name).map_err(|error| error.to_string())?;
        if found.shape != shape {
            return Err(format!("`{name}` is {:?}, the graph needs {shape:?}", found.shape));
        }
    }
    Ok(Tail { extractor, parameters })
}

struct Reader<'a> {
    graph: &'a Graph,
    nodes: Vec<Node>,
    parameters: Parameters,
    /// The extractor's value that each ONNX value is.
    values: HashMap<&'a str, usize>,
    /// How many nodes take each ONNX value.
    takers: HashMap<&'a str, usize>,
}

impl<'a> Reader<'a> {
    fn run(graph: &'a Graph, at: &'a str, latent: MapShape) -> Result<Self, String> {
        let mut takers: HashMap<&str, usize> = HashMap::new();
        for node in graph.nodes() {
            graph.data_inputs(node).for_each(|input| *takers.entry(input).or_default() += 1);
        }
        let values = HashMap::from([(at, 0)]);
        let mut reader = Self { graph, nodes: Vec::new(), parameters: Parameters::default(), values, takers };
        let mut last = at;
        let mut positions = latent.positions();
        for node in graph.nodes() {
            let mut inputs = graph.data_inputs(node);
            if !inputs.any(|input| reader.values.contains_key(input)) {
                continue;
            }
            if let Some(outside) = graph.data_inputs(node).find(|input| !reader.values.contains_key(input)) {
                let (kind, name) = (&node.op_type, &node.output[0]);
                return Err(format!("`{outside}`, computed before the cut, also goes into {kind} `{name}`"));
            }
            reader.add(node, &mut positions)?;
            last = node.output.first().map_or(last, String::as_str);
        }
        let outputs = graph.proto().map_or(&[][..], |graph| &graph.output);
        match outputs {
            [output] if output.name == last && last != at => Ok(reader),
            _ => Err(format!("it ends in `{last}`, which is not the only output of the graph")),
        }
    }

    fn add(&mut self, node: &'a NodeProto, positions: &mut usize) -> Result<(), String> {
        let output = node.output.first().map_or("", String::as_str);
        let input = |number: usize| node.input.get(number).map_or("", String::as_str);
        let value = match node.op_type.as_str() {
            "Conv" => self.convolution(node, output)?,
            "BatchNormalization" => self.batch_norm(node)?,
            "Relu" => self.activation(node, Activation::Relu, output),
            "Clip" => {
                let bound = |number: usize, attribute: &str, open: f32| match input(number) {
                    "" => Ok(float(node, attribute).unwrap_or(open)),
                    name => self.graph.number(name),
                };
                let bounds = [bound(1, "min", f32::MIN)?, bound(2, "max", f32::MAX)?];
                let activation = if bounds == [0.0, 6.0] {
                    Activation::Relu6
                } else if bounds[0] == 0.0 && bounds[1] >= f32::MAX {
                    Activation::Relu
                } else {
                    return Err(format!("Clip `{output}` keeps values within {bounds:?}: allowed is 0 to 6"));
                };
                self.activation(node, activation, output)
            }
            "Add" => self.addition(node, output)?,
            "GlobalAveragePool" => {
                *positions = 1;
                self.push(output, self.value(input(0)), NodeOp::AveragePool)
            }
            "Flatten" if *positions == 1 && integers(node, "axis", &[1]) == [1] => self.value(input(0)),
            "Flatten" => return Err(format!("Flatten `{output}` is given a map: needed is a pooled one")),
            "Identity" => self.value(input(0)),
            other => return Err(format!("the operator {other} `{output}` cannot be trained")),
        };
        self.values.insert(output, value);
        Ok(())
    }

    fn value(&self, name: &str) -> usize {
        self.values.get(name).copied().unwrap_or(0)
    }

    /// Adds a node and returns its value.
    fn push(&mut self, output: &str, input: usize, op: NodeOp) -> usize {
        let (residual, activation) = (None, Activation::None);
        self.nodes.push(Node { name: format!("{TAIL}{output}"), input, op, residual, activation });
        self.nodes.len()
    }

    /// The node that alone gives `name` and that nothing was fused into yet, for what follows it.
    fn open_node(&mut self, name: &str) -> Option<&mut Node> {
        let (is_only, value) = (self.takers.get(name) == Some(&1), self.value(name));
        let node = self.nodes.get_mut(value.checked_sub(1)?)?;
        (is_only && node.activation == Activation::None).then_some(node)
    }

    fn convolution(&mut self, node: &NodeProto, output: &str) -> Result<usize, String> {
        let input = |number: usize| node.input.get(number).map_or("", String::as_str);
        let refuse = |what: String| {
            Err(format!("Conv `{output}` {what}: trained are pointwise and square depthwise convolutions"))
        };
        let (sizes, weight) = self.graph.floats(input(1))?;
        let [outputs, per_group, rows, columns] = sizes[..] else {
            return refuse(format!("has weights {sizes:?}"));
        };
        let number = |name: &str, default: &[i64]| -> Result<Vec<usize>, String> {
            let values = integers(node, name, default).into_iter().map(usize::try_from);
            values.collect::<Result<_, _>>().map_err(|_| format!("Conv `{output}` has a negative `{name}`"))
        };
        let (groups, strides) = (number("group", &[1])?[0], number("strides", &[1, 1])?);
        let (pads, dilations) = (number("pads", &[0; 4])?, number("dilations", &[1, 1])?);
        if says_otherwise(node, "auto_pad", "NOTSET") || dilations != [1, 1] {
            return refuse("pads by itself or is dilated".to_owned());
        }
        let bias = match input(2) {
            "" => vec![0.0; outputs],
            name => self.graph.floats(name)?.1,
        };
        let input = self.value(input(0));
        let (op, weight) = if groups == 1 && rows * columns == 1 && strides == [1, 1] && pads == [0; 4] {
            (NodeOp::Linear { outputs }, Tensor { shape: vec![outputs, per_group], data: weight })
        } else if groups == outputs && per_group == 1 && rows == columns && rows % 2 == 1 {
            let (&[down, right], &[top, left, bottom, end]) = (&strides[..], &pads[..]) else {
                return refuse(format!("has strides {strides:?} and pads {pads:?}"));
            };
            if down != right || !(1..=2).contains(&down) {
                return refuse(format!("has strides {strides:?}"));
            }
            let taps = rows * columns;
            let data = (0..weight.len()).map(|at| weight[at % outputs * taps + at / outputs]).collect();
            let op = NodeOp::Depthwise { kernel: rows, stride: down, pads: [top, left, bottom, end] };
            (op, Tensor { shape: vec![rows, columns, outputs], data })
        } else {
            return refuse(format!("has {groups} groups and weights {sizes:?}"));
        };
        let value = self.push(output, input, op);
        self.parameters.insert(format!("{TAIL}{output}.weight"), weight);
        self.parameters
            .insert(format!("{TAIL}{output}.bias"), Tensor { shape: vec![bias.len()], data: bias });
        Ok(value)
    }

    /// Folds a batch normalisation into the convolution in front of it.
    fn batch_norm(&mut self, node: &NodeProto) -> Result<usize, String> {
        let input = |number: usize| node.input.get(number).map_or("", String::as_str);
        let [scale, shift, mean, var] = [1, 2, 3, 4].map(|number| self.graph.floats(input(number)));
        let (scale, shift, mean, var) = (scale?.1, shift?.1, mean?.1, var?.1);
        let epsilon = float(node, "epsilon").unwrap_or(EPSILON);
        let value = self.value(input(0));
        let convolution = self
            .open_node(input(0))
            .filter(|node| node.residual.is_none())
            .map(|node| (node.name.clone(), matches!(node.op, NodeOp::Linear { .. })));
        let Some((name, is_linear)) = convolution else {
            return Err(format!("BatchNormalization `{}` does not follow a convolution", node.output[0]));
        };
        let [weight, bias] = ["weight", "bias"].map(|part| format!("{name}.{part}"));
        let get = |name: &str| self.parameters.get(name).cloned().map_err(|error| error.to_string());
        let (mut weight_of, mut bias_of) = (get(&weight)?, get(&bias)?);
        let channels = bias_of.data.len();
        if [&scale, &shift, &mean, &var].iter().any(|values| values.len() != channels) {
            return Err(format!(
                "BatchNormalization `{}` has other channels than {channels}",
                node.output[0]
            ));
        }
        let factors: Vec<f32> =
            scale.iter().zip(&var).map(|(scale, var)| scale / (var + epsilon).sqrt()).collect();
        let inputs = weight_of.data.len() / channels.max(1);
        for (at, value) in weight_of.data.iter_mut().enumerate() {
            *value *= factors[if is_linear { at / inputs } else { at % channels }];
        }
        for (c, value) in bias_of.data.iter_mut().enumerate() {
            *value = (*value - mean[c]) * factors[c] + shift[c];
        }
        self.parameters.insert(weight, weight_of);
        self.parameters.insert(bias, bias_of);
        Ok(value)
    }

    fn activation(&mut self, node: &NodeProto, activation: Activation, output: &str) -> usize {
        let input = node.input.first().map_or("", String::as_str);
        let value = self.value(input);
        if let Some(node) = self.open_node(input)
            && matches!(node.op, NodeOp::Linear { .. } | NodeOp::Depthwise { .. } | NodeOp::Identity)
        {
            node.activation = activation;
            return value;
        }
        let value = self.push(output, value, NodeOp::Identity);
        self.nodes[value - 1].activation = activation;
        value
    }

    /// An addition belongs to the convolution that gives one of its operands, if nothing else takes
    /// it.
    fn addition(&mut self, node: &NodeProto, output: &str) -> Result<usize, String> {
        let [a, b] = &node.input[..] else {
            return Err(format!("Add `{output}` has {} inputs", node.input.len()));
        };
        for (name, other) in [(a, b), (b, a)] {
            if self.graph.is_constant(name) {
                return Err(format!("Add `{output}` adds a constant"));
            }
            let (value, other) = (self.value(name), self.value(other));
            if let Some(node) = self.open_node(name)
                && other < value
                && node.residual.is_none()
                && matches!(node.op, NodeOp::Linear { .. })
            {
                node.residual = Some(other);
                return Ok(value);
            }
        }
        let [a, b] = [a, b].map(|name| self.value(name));
        let value = self.push(output, a, NodeOp::Identity);
        self.nodes[value - 1].residual = Some(b);
        Ok(value)
    }
}
