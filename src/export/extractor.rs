//! An extractor, adapter or tail, written in ONNX operators.

use super::nodes::Nodes;
use crate::heads::{Extractor, NodeOp, Parameters};
use crate::reference::activation::Activation;
use crate::reference::normalize::LAYER_NORM_EPS;
use crate::{Error, Result};

/// Adds an extractor on the value `input`, a map `[N, C, H, W]` or rows `[N, C]`, and returns the
/// name of its features `[N, D]`.
pub(super) fn write(
    nodes: &mut Nodes,
    extractor: &Extractor,
    parameters: &Parameters,
    input: &str,
) -> Result<String> {
    // A value's name, and whether it is a map.
    let is_tail = extractor.nodes.iter().any(|node| matches!(node.op, NodeOp::AveragePool));
    let mut values = vec![(input.to_owned(), is_tail)];
    for (node, shape) in extractor.nodes.iter().zip(extractor.shapes_of_inputs()?) {
        let ((x, is_map), channels) = (values[node.input].clone(), shape.channels);
        let part = |part: &str| tensor(parameters, &node.name, part);
        let mut is_map_then = is_map;
        let mut y = match node.op {
            NodeOp::Linear { .. } if is_map => {
                let (weight, bias) = (part("weight")?, part("bias")?);
                nodes.convolution(&x, (&[bias.len(), channels, 1, 1], weight), bias, 1, 1, [0; 4])
            }
            NodeOp::Linear { .. } => nodes.linear(&x, part("weight")?, part("bias")?, channels),
            NodeOp::Depthwise { kernel, stride, pads } => {
                let weight = channels_first(part("weight")?, channels);
                let shape = [channels, 1, kernel, kernel];
                nodes.convolution(&x, (&shape, &weight), part("bias")?, channels, stride, pads)
            }
            NodeOp::LayerNorm if is_map => {
                let way_out = "cut the backbone behind it";
                return Err(Error::refused("export", format!("`{}` normalises a map", node.name), way_out));
            }
            NodeOp::LayerNorm => layer_norm(nodes, parameters, &node.name, channels, &x)?,
            NodeOp::AveragePool => {
                is_map_then = false;
                let mean = nodes.op("GlobalAveragePool", &[&x]);
                nodes.flattened(&mean)
            }
            NodeOp::Identity => x,
        };
        if let Some(residual) = node.residual {
            y = nodes.op("Add", &[&y, &values[residual].0]);
        }
        let y = match node.activation {
            Activation::None => y,
            Activation::Relu => nodes.op("Relu", &[&y]),
            Activation::Relu6 => nodes.clip(&y, 0.0, 6.0),
        };
        values.push((y, is_map_then));
    }
    Ok(values.pop().map(|(name, _)| name).unwrap_or_default())
}

/// Filters `[channels, 1, k, k]` from `[k, k, channels]`.
fn channels_first(weight: &[f32], channels: usize) -> Vec<f32> {
    let taps = weight.len() / channels.max(1);
    (0..channels).flat_map(|c| (0..taps).map(move |tap| weight[tap * channels + c])).collect()
}

/// A parameter of a layer.
pub(super) fn tensor<'a>(parameters: &'a Parameters, name: &str, part: &str) -> Result<&'a [f32]> {
    Ok(&parameters.get(&format!("{name}.{part}"))?.data)
}

/// Adds a layer normalisation of rows.
pub(super) fn layer_norm(
    nodes: &mut Nodes,
    parameters: &Parameters,
    name: &str,
    width: usize,
    x: &str,
) -> Result<String> {
    #[allow(clippy::cast_precision_loss, reason = "widths are small")]
    let count = nodes.scalar(width as f32);
    let total = nodes.sum_last(x, true);
    let mean = nodes.op("Div", &[&total, &count]);
    let centred = nodes.op("Sub", &[x, &mean]);
    let squares = nodes.op("Mul", &[&centred, &centred]);
    let total = nodes.sum_last(&squares, true);
    let variance = nodes.op("Div", &[&total, &count]);
    #[allow(clippy::cast_possible_truncation, reason = "the engines compute in f32")]
    let eps = nodes.scalar(LAYER_NORM_EPS as f32);
    let variance = nodes.op("Add", &[&variance, &eps]);
    let deviation = nodes.op("Sqrt", &[&variance]);
    let unit = nodes.op("Div", &[&centred, &deviation]);
    Ok(nodes.affine(&unit, tensor(parameters, name, "weight")?, tensor(parameters, name, "bias")?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backbone::{run_in_onnx_runtime, run_in_tract};
    use crate::export::tail_alone;
    use crate::heads::{MapShape, Node, Tail};
    use crate::learn::inference::extract;

    /// Two convolutions with an addition, and one of stride 2, on maps of `channels`.
    fn tail(channels: usize) -> Extractor {
        let node = |name: &str, input, op| Node {
            name: format!("tail.{name}"),
            input,
            op,
            residual: None,
            activation: Activation::Relu6,
        };
        let depthwise = NodeOp::Depthwise { kernel: 3, stride: 2, pads: [1, 0, 0, 1] };
        let nodes = vec![
            node("a", 0, NodeOp::Linear { outputs: 5 }),
            Node { residual: Some(1), ..node("b", 1, NodeOp::Linear { outputs: 5 }) },
            node("c", 2, depthwise),
            Node { activation: Activation::None, ..node("mean", 3, NodeOp::AveragePool) },
        ];
        Extractor { input: MapShape { size: [4, 5], channels }, nodes }
    }

    /// A map of one channel was taken for the input of a depthwise convolution.
    #[test]
    fn a_tail_is_written_as_it_is_computed_also_on_a_map_of_one_channel() {
        for channels in [1, 2, 5] {
            let extractor = tail(channels);
            let mut rng = crate::rng::Rng::new(3, 0);
            let parameters: Parameters = (extractor.parameters().unwrap().into_iter())
                .map(|(name, shape)| {
                    let data = (0..shape.iter().product()).map(|_| rng.normal()).collect();
                    (name, crate::heads::Tensor::new(&shape, data).unwrap())
                })
                .collect();
            let images = 3;
            let latents: Vec<f32> = (0..images * extractor.input_len()).map(|_| rng.normal()).collect();
            let want = extract(&extractor, &parameters, &latents).unwrap();
            let tail = Tail { extractor, parameters };
            let (file, shape) = (tail_alone(&tail).unwrap(), [images, 4, 5, channels]);
            let mut runs = vec![run_in_tract(&file, &shape, &latents).unwrap()];
            runs.extend(run_in_onnx_runtime(&file, &shape, &latents, None).unwrap());
            for outputs in runs {
                let apart = |want: &[f32]| {
                    outputs[0].iter().zip(want).fold(0.0_f32, |worst, (a, b)| worst.max((a - b).abs()))
                };
                assert_eq!(outputs[0].len(), want.len());
                assert!(apart(&want) < 1e-4, "{channels} channels: {}", apart(&want));
                // The control: features of other images are not within that.
                let mut others = want.clone();
                others.rotate_left(5);
                assert!(apart(&others) > 1e-2, "{channels} channels");
            }
        }
    }
}
