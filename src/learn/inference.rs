//! What is left of the heads after training: extractor and classifier, forward only.

use std::borrow::Cow;

use crate::heads::{Architecture, Extractor, Layer, Mlp, NodeOp, Parameters};
use crate::learn::cpu::{depthwise, product};
use crate::reference::activation::{Activation, activate};
use crate::reference::convolution::Depthwise;
use crate::reference::linear::{Epilogue, Layout};
use crate::reference::{normalize, pool};
use crate::{Error, Result};

/// Features u `[N, D]` of the extractor's inputs `[N, I]`.
///
/// # Errors
/// [`Error::Shape`] for rows of another width, [`Error::NotFound`] for a missing tensor.
pub fn extract(extractor: &Extractor, parameters: &Parameters, input: &[f32]) -> Result<Vec<f32>> {
    let width = extractor.input_len();
    if width == 0 || !input.len().is_multiple_of(width) {
        return Err(Error::shape("input of the extractor", format!("[N, {width}]"), input.len()));
    }
    let (images, shapes) = (input.len() / width, extractor.shapes()?);
    let mut values: Vec<Cow<'_, [f32]>> = vec![Cow::Borrowed(input)];
    for (node, y) in extractor.nodes.iter().zip(&shapes[1..]) {
        let (x, shape, activation) = (&values[node.input], shapes[node.input], node.activation);
        let (rows, residual) = (images * shape.positions(), node.residual.map(|value| &*values[value]));
        let value = match node.op {
            NodeOp::Linear { .. } => {
                linear(parameters, &node.name, [rows, shape.channels], x, activation, residual)?
            }
            NodeOp::Depthwise { kernel, stride, pads } => {
                let shape = Depthwise::new(images, shape.channels, [kernel, stride], pads, shape.size)?;
                let mut y = vec![0.0; shape.output_len()];
                let filters = affine(parameters, &node.name)?;
                depthwise::forward(&shape, activation, x, filters, &mut y);
                y
            }
            NodeOp::LayerNorm => {
                let mut y = x.to_vec();
                layer_norm(parameters, &node.name, shape.channels, &mut y)?;
                y
            }
            NodeOp::AveragePool => {
                let mut mean = vec![0.0; images * shape.channels];
                pool::average_forward([images, shape.positions(), shape.channels], x, &mut mean);
                mean
            }
            NodeOp::Identity => {
                let mut sum = vec![0.0; images * y.elements()];
                activate(activation, x, residual, &mut sum);
                sum
            }
        };
        values.push(Cow::Owned(value));
        release(extractor, &mut values);
    }
    Ok(values.pop().unwrap_or_default().into_owned())
}

/// Lets go of the values that no later node takes.
fn release(extractor: &Extractor, values: &mut [Cow<'_, [f32]>]) {
    let (last, later) = (values.len() - 1, &extractor.nodes[values.len() - 1..]);
    for (number, value) in values.iter_mut().enumerate().take(last) {
        if !later.iter().any(|node| node.input == number || node.residual == Some(number)) {
            *value = Cow::Borrowed(&[]);
        }
    }
}

/// Logits `[N, C]` of the extractor's inputs `[N, I]`.
///
/// # Errors
/// As [`extract`].
pub fn logits(architecture: &Architecture, parameters: &Parameters, input: &[f32]) -> Result<Vec<f32>> {
    classify(architecture, parameters, &extract(&architecture.extractor, parameters, input)?)
}

/// Logits `[N, C]` of features u `[N, D]`.
///
/// # Errors
/// As [`extract`].
pub fn classify(architecture: &Architecture, parameters: &Parameters, u: &[f32]) -> Result<Vec<f32>> {
    let rows = u.len() / architecture.features().max(1);
    mlp(&architecture.classifier, parameters, "classifier", rows, u.to_vec())
}

fn mlp(mlp: &Mlp, parameters: &Parameters, name: &str, rows: usize, mut x: Vec<f32>) -> Result<Vec<f32>> {
    for (number, layer) in mlp.0.iter().enumerate() {
        let at = format!("{name}.{number}");
        match *layer {
            Layer::Linear { inputs, .. } => {
                x = linear(parameters, &at, [rows, inputs], &x, Activation::None, None)?;
            }
            Layer::LayerNorm(width) => layer_norm(parameters, &at, width, &mut x)?,
            Layer::BatchNorm(width) => batch_norm(parameters, &at, width, &mut x)?,
            Layer::Relu => x.iter_mut().for_each(|v| *v = v.max(0.0)),
        }
    }
    Ok(x)
}

fn linear(
    parameters: &Parameters,
    name: &str,
    [rows, inputs]: [usize; 2],
    x: &[f32],
    activation: Activation,
    residual: Option<&[f32]>,
) -> Result<Vec<f32>> {
    let [weight, bias] = affine(parameters, name)?;
    let mut y = vec![0.0; rows * bias.len()];
    let epilogue = Epilogue { bias: Some(bias), residual, activation, ..Epilogue::none() };
    let threads = rayon::current_num_threads();
    product::blocked(Layout::Nt, [rows, bias.len(), inputs], x, weight, &mut y, &epilogue, threads);
    Ok(y)
}

/// Weight and bias of a layer.
fn affine<'a>(parameters: &'a Parameters, name: &str) -> Result<[&'a [f32]; 2]> {
    Ok([&parameters.get(&format!("{name}.weight"))?.data, &parameters.get(&format!("{name}.bias"))?.data])
}

fn layer_norm(parameters: &Parameters, name: &str, width: usize, x: &mut [f32]) -> Result<()> {
    let affine = affine(parameters, name)?;
    let (input, mut stats) = (x.to_vec(), vec![0.0; x.len() / width.max(1) * 2]);
    normalize::layer_norm_forward(width, &normalize::LayerNorm::new(false), &input, affine, x, &mut stats);
    Ok(())
}

fn batch_norm(parameters: &Parameters, name: &str, width: usize, x: &mut [f32]) -> Result<()> {
    let part = |part: &str| parameters.get(&format!("{name}.{part}")).map(|t| &t.data[..]);
    let parts = [part("weight")?, part("bias")?, part("running_mean")?, part("running_var")?];
    let (input, settings) = (x.to_vec(), normalize::BatchNorm::new(false));
    normalize::batch_norm_inference(width, &settings, &input, parts, x);
    Ok(())
}
