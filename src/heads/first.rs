//! First parameters of layers.

use super::parameters::{Parameters, Tensor};
use crate::rng::Rng;

/// Uniform in ±1/sqrt(inputs), weight and bias, as PyTorch's `nn.Linear`.
pub(super) fn init_linear(name: &str, inputs: usize, outputs: usize, rng: &mut Rng, into: &mut Parameters) {
    #[allow(clippy::cast_precision_loss, reason = "widths are small")]
    let bound = 1.0 / (inputs.max(1) as f32).sqrt();
    let mut draw = |n: usize| (0..n).map(|_| rng.between(-bound, bound)).collect();
    let weight = Tensor { shape: vec![outputs, inputs], data: draw(outputs * inputs) };
    let bias = Tensor { shape: vec![outputs], data: draw(outputs) };
    into.insert(format!("{name}.weight"), weight);
    into.insert(format!("{name}.bias"), bias);
}

pub(super) fn init_norm(name: &str, width: usize, into: &mut Parameters) {
    into.insert(format!("{name}.weight"), Tensor::filled(&[width], 1.0));
    into.insert(format!("{name}.bias"), Tensor::zeros(&[width]));
}
