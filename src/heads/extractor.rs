//! Kaizen's feature extractor as a list of nodes: the tail of a backbone, or the adapter of one
//! that cannot be cut.

use serde::{Deserialize, Serialize};

use super::first::{init_linear, init_norm};
use super::parameters::{Parameters, Tensor};
use super::prefixes::ADAPTER;
use crate::reference::activation::Activation;
use crate::reference::convolution::Depthwise;
use crate::rng::Rng;
use crate::{Error, Result};

/// Sizes of a map of one image in channels-last order, `[rows, columns, channels]`. A row of
/// features is a map of one position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapShape {
    /// Rows and columns.
    pub size: [usize; 2],
    /// Channels.
    pub channels: usize,
}

impl MapShape {
    /// A row of features.
    #[must_use]
    pub fn row(width: usize) -> Self {
        Self { size: [1, 1], channels: width }
    }

    /// Number of positions.
    #[must_use]
    pub fn positions(self) -> usize {
        self.size[0] * self.size[1]
    }

    /// Number of elements.
    #[must_use]
    pub fn elements(self) -> usize {
        self.positions() * self.channels
    }
}

/// What a node computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeOp {
    /// `y = x · weightᵀ + bias` at every position, weight `[outputs, channels]`: a linear layer, or
    /// a pointwise convolution.
    Linear {
        /// Channels out.
        outputs: usize,
    },
    /// Depthwise convolution, weight `[kernel, kernel, channels]`.
    Depthwise {
        /// Rows and columns of the filter.
        kernel: usize,
        /// Distance of neighbouring outputs.
        stride: usize,
        /// Zeros around the input: top, left, bottom, right.
        pads: [usize; 4],
    },
    /// Layer normalisation over the channels of each position, weight and bias `[channels]`.
    LayerNorm,
    /// The mean over all positions.
    AveragePool,
    /// The input itself, where an addition or an activation stands alone.
    Identity,
}

/// A node: `y = activation(op(input) + residual)`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Name of its parameters, `adapter.down` as in `adapter.down.weight`.
    pub name: String,
    /// The value that it takes: 0 is the extractor's input, `i + 1` the output of node `i`.
    pub input: usize,
    /// What it computes.
    pub op: NodeOp,
    /// A value of the output's shape that is added; for [`NodeOp::Linear`] and
    /// [`NodeOp::Identity`] only.
    pub residual: Option<usize>,
    /// What follows; not for [`NodeOp::LayerNorm`] and [`NodeOp::AveragePool`].
    pub activation: Activation,
}

/// A list of nodes from an input to a row of features. The last node's output is the features u.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extractor {
    /// Shape of the input: h as a row of features, or the latent at the cut.
    pub input: MapShape,
    /// The nodes, each after those that it takes from.
    pub nodes: Vec<Node>,
}

impl Extractor {
    /// The adapter, a residual bottleneck `u = h + up(relu(down(norm(h))))` on features `[width]`.
    #[must_use]
    pub fn adapter(width: usize, bottleneck: usize, layer_norm: bool) -> Self {
        let mut nodes = Vec::new();
        let mut push = |name: &str, input, op, residual, activation| {
            nodes.push(Node { name: format!("{ADAPTER}{name}"), input, op, residual, activation });
            nodes.len()
        };
        let mut at = 0;
        if layer_norm {
            at = push("norm", at, NodeOp::LayerNorm, None, Activation::None);
        }
        at = push("down", at, NodeOp::Linear { outputs: bottleneck }, None, Activation::Relu);
        push("up", at, NodeOp::Linear { outputs: width }, Some(0), Activation::None);
        Self { input: MapShape::row(width), nodes }
    }

    /// Elements of the input.
    #[must_use]
    pub fn input_len(&self) -> usize {
        self.input.elements()
    }

    /// Width D of the features; 0 for a list that does not fit together.
    #[must_use]
    pub fn features(&self) -> usize {
        self.shapes().ok().and_then(|shapes| shapes.last().map(|shape| shape.elements())).unwrap_or(0)
    }

    /// Shape of each value: the input's, then those of the nodes' outputs.
    ///
    /// # Errors
    /// [`Error::Shape`] naming the node that does not fit.
    pub fn shapes(&self) -> Result<Vec<MapShape>> {
        let mut shapes = vec![self.input];
        for node in &self.nodes {
            let refused = |expected: &str| Error::shape(format!("node `{}`", node.name), expected, node);
            let of = |value: usize| {
                shapes.get(value).copied().ok_or_else(|| refused("an input among the values before it"))
            };
            let x = of(node.input)?;
            let y = match node.op {
                NodeOp::Linear { outputs } => MapShape { channels: outputs, ..x },
                NodeOp::Depthwise { kernel, stride, pads } => {
                    let shape = Depthwise::new(1, x.channels, [kernel, stride], pads, x.size)?;
                    MapShape { size: shape.output, ..x }
                }
                NodeOp::LayerNorm | NodeOp::Identity => x,
                NodeOp::AveragePool => MapShape::row(x.channels),
            };
            if y.elements() == 0 {
                return Err(refused("sizes of at least 1"));
            }
            if let Some(residual) = node.residual
                && of(residual)? != y
            {
                return Err(refused("a residual of the output's shape"));
            }
            let takes_residual = matches!(node.op, NodeOp::Linear { .. } | NodeOp::Identity);
            let takes_activation = takes_residual || matches!(node.op, NodeOp::Depthwise { .. });
            if (node.residual.is_some() && !takes_residual)
                || (node.activation != Activation::None && !takes_activation)
            {
                return Err(refused("a residual and an activation only where the operation has them"));
            }
            shapes.push(y);
        }
        Ok(shapes)
    }

    /// Shape of the input of each node.
    ///
    /// # Errors
    /// As [`Extractor::shapes`].
    #[cfg(feature = "tract")]
    pub(crate) fn shapes_of_inputs(&self) -> Result<Vec<MapShape>> {
        let shapes = self.shapes()?;
        Ok(self.nodes.iter().map(|node| shapes[node.input]).collect())
    }

    /// Checks that the nodes fit together, that each is used and that they end in a row of
    /// features.
    ///
    /// # Errors
    /// [`Error::Shape`] naming the node.
    pub fn check(&self) -> Result<()> {
        let shapes = self.shapes()?;
        let ends_in_a_row = shapes.last().is_some_and(|last| last.positions() == 1);
        if self.nodes.is_empty() || self.input_len() == 0 || !ends_in_a_row {
            let expected = "nodes from a map of at least one element to a row of features";
            return Err(Error::shape("extractor", expected, &shapes));
        }
        let is_used =
            |value: usize| self.nodes.iter().any(|node| node.input == value || node.residual == Some(value));
        match (1..self.nodes.len()).find(|&value| !is_used(value)) {
            Some(unused) => {
                let what = format!("node `{}`", self.nodes[unused - 1].name);
                Err(Error::shape(what, "an output that another node takes", &self.nodes[unused - 1]))
            }
            None => Ok(()),
        }
    }

    /// Names and shapes of the parameters, in the order of the nodes.
    ///
    /// # Errors
    /// As [`Extractor::shapes`].
    pub fn parameters(&self) -> Result<Vec<(String, Vec<usize>)>> {
        let shapes = self.shapes()?;
        let mut parameters = Vec::new();
        for (node, y) in self.nodes.iter().zip(&shapes[1..]) {
            let channels = shapes[node.input].channels;
            let (weight, bias) = match node.op {
                NodeOp::Linear { outputs } => (vec![outputs, channels], outputs),
                NodeOp::Depthwise { kernel, .. } => (vec![kernel, kernel, channels], channels),
                NodeOp::LayerNorm => (vec![y.channels], y.channels),
                NodeOp::AveragePool | NodeOp::Identity => continue,
            };
            parameters.push((format!("{}.weight", node.name), weight));
            parameters.push((format!("{}.bias", node.name), vec![bias]));
        }
        Ok(parameters)
    }

    /// Shape of a parameter by name.
    pub(super) fn shape_of(&self, name: &str) -> Option<Vec<usize>> {
        self.parameters().ok()?.into_iter().find_map(|(other, shape)| (other == name).then_some(shape))
    }

    /// First parameters: linear layers uniform in ±1/sqrt(inputs), but 0 where a residual is added
    /// behind them, so that learning starts at what the residual brings. A tail starts from the
    /// backbone's weights instead.
    pub(super) fn init(&self, seed: u64, into: &mut Parameters) {
        let purpose = self.nodes.first().and_then(|node| node.name.split('.').next()).unwrap_or_default();
        let mut rng = Rng::named(seed, purpose);
        let shapes = self.shapes().unwrap_or_default();
        for node in &self.nodes {
            let channels = shapes.get(node.input).map_or(0, |shape| shape.channels);
            let name = |part: &str| format!("{}.{part}", node.name);
            match node.op {
                NodeOp::Linear { outputs } if node.residual.is_some() => {
                    into.insert(name("weight"), Tensor::zeros(&[outputs, channels]));
                    into.insert(name("bias"), Tensor::zeros(&[outputs]));
                }
                NodeOp::Linear { outputs } => {
                    init_linear(&node.name, channels, outputs, &mut rng, into);
                }
                NodeOp::Depthwise { kernel, .. } => {
                    let mut filters = Tensor::zeros(&[kernel, kernel, channels]);
                    filters.data.iter_mut().for_each(|value| *value = rng.normal() / root_of_taps(kernel));
                    into.insert(name("weight"), filters);
                    into.insert(name("bias"), Tensor::zeros(&[channels]));
                }
                NodeOp::LayerNorm => init_norm(&node.name, channels, into),
                NodeOp::AveragePool | NodeOp::Identity => {}
            }
        }
    }
}

/// Root of the number of taps of a filter.
#[allow(clippy::cast_precision_loss, reason = "filters are small")]
fn root_of_taps(kernel: usize) -> f32 {
    kernel.max(1) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, input: usize, op: NodeOp) -> Node {
        Node { name: name.to_owned(), input, op, residual: None, activation: Activation::None }
    }

    fn tail() -> Extractor {
        let depthwise = NodeOp::Depthwise { kernel: 3, stride: 2, pads: [0, 0, 1, 1] };
        Extractor {
            input: MapShape { size: [4, 6], channels: 5 },
            nodes: vec![
                Node { activation: Activation::Relu6, ..node("t.a", 0, NodeOp::Linear { outputs: 7 }) },
                node("t.b", 1, depthwise),
                Node { residual: Some(2), ..node("t.c", 2, NodeOp::Linear { outputs: 7 }) },
                node("t.d", 3, NodeOp::AveragePool),
            ],
        }
    }

    #[test]
    fn shapes_follow_the_nodes() {
        let tail = tail();
        tail.check().unwrap();
        let sizes: Vec<_> = tail.shapes().unwrap().iter().map(|s| (s.size, s.channels)).collect();
        assert_eq!(sizes, [([4, 6], 5), ([4, 6], 7), ([2, 3], 7), ([2, 3], 7), ([1, 1], 7)]);
        assert_eq!((tail.input_len(), tail.features()), (120, 7));
        let names = tail.parameters().unwrap();
        assert_eq!(names[2], ("t.b.weight".to_owned(), vec![3, 3, 7]));
        assert_eq!(tail.shape_of("t.c.bias"), Some(vec![7]));
        assert_eq!(tail.shape_of("t.d.weight"), None);
    }

    #[test]
    fn nodes_that_do_not_fit_are_refused_by_name() {
        type Spoil = fn(&mut Extractor);
        let spoils: [(&str, Spoil); 7] = [
            ("t.c", |e| e.nodes[2].residual = Some(1)),
            ("t.a", |e| e.nodes[0].input = 1),
            ("t.d", |e| e.nodes[3].activation = Activation::Relu),
            ("t.b", |e| e.nodes[1].residual = Some(1)),
            ("t.a", |e| e.nodes[0].op = NodeOp::Linear { outputs: 0 }),
            ("t.c", |e| e.nodes[3].input = 2),
            ("extractor", |e| e.nodes.truncate(3)),
        ];
        for (name, spoil) in spoils {
            let mut tail = tail();
            spoil(&mut tail);
            let error = tail.check().unwrap_err().to_string();
            assert!(error.contains(name), "{name}: {error}");
        }
    }
}
