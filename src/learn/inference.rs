//! What is left of the heads after training: adapter and classifier, forward only.

use crate::heads::{Architecture, Layer, Mlp, Parameters};
use crate::learn::cpu::product;
use crate::reference::linear::{Epilogue, Layout};
use crate::reference::normalize;
use crate::{Error, Result};

/// Adapted features u `[N, D]` of h `[N, D]`.
///
/// # Errors
/// [`Error::Shape`] for rows of another width, [`Error::NotFound`] for a missing tensor.
pub fn adapt(architecture: &Architecture, parameters: &Parameters, h: &[f32]) -> Result<Vec<f32>> {
    let d = architecture.features;
    if d == 0 || !h.len().is_multiple_of(d) {
        return Err(Error::shape("features h", format!("[N, {d}]"), h.len()));
    }
    let rows = h.len() / d;
    let mut input = h.to_vec();
    if architecture.adapter.layer_norm {
        layer_norm(parameters, "adapter.norm", d, &mut input)?;
    }
    let hidden = linear(parameters, "adapter.down", rows, d, &input, true, None)?;
    linear(parameters, "adapter.up", rows, architecture.adapter.bottleneck, &hidden, false, Some(h))
}

/// Logits `[N, C]` of h `[N, D]`.
///
/// # Errors
/// As [`adapt`].
pub fn logits(architecture: &Architecture, parameters: &Parameters, h: &[f32]) -> Result<Vec<f32>> {
    let u = adapt(architecture, parameters, h)?;
    mlp(&architecture.classifier, parameters, "classifier", h.len() / architecture.features, u)
}

fn mlp(mlp: &Mlp, parameters: &Parameters, name: &str, rows: usize, mut x: Vec<f32>) -> Result<Vec<f32>> {
    for (number, layer) in mlp.0.iter().enumerate() {
        let at = format!("{name}.{number}");
        match *layer {
            Layer::Linear { inputs, .. } => x = linear(parameters, &at, rows, inputs, &x, false, None)?,
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
    rows: usize,
    inputs: usize,
    x: &[f32],
    relu: bool,
    residual: Option<&[f32]>,
) -> Result<Vec<f32>> {
    let weight = &parameters.get(&format!("{name}.weight"))?.data;
    let bias = &parameters.get(&format!("{name}.bias"))?.data;
    let mut y = vec![0.0; rows * bias.len()];
    let epilogue = Epilogue { bias: Some(bias.as_slice()), residual, relu, ..Epilogue::none() };
    let threads = rayon::current_num_threads();
    product::blocked(Layout::Nt, [rows, bias.len(), inputs], x, weight, &mut y, &epilogue, threads);
    Ok(y)
}

fn layer_norm(parameters: &Parameters, name: &str, width: usize, x: &mut [f32]) -> Result<()> {
    let affine = [
        &parameters.get(&format!("{name}.weight"))?.data[..],
        &parameters.get(&format!("{name}.bias"))?.data,
    ];
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
