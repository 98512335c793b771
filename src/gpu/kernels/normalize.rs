//! Batch, layer and L2 normalisation: `normalize/*`. Definitions in `reference::normalize`.

use crate::Result;
use crate::gpu::buffer::Buffer;
use crate::gpu::kernel::{Kernel, kernel};
use crate::gpu::recorder::Param::{Flag, Number, Size};
use crate::gpu::recorder::{Recorder, fold};
use crate::reference::normalize::{BatchNorm, BatchShape, LayerNorm};

const BATCH_NORM_BACKWARD: Kernel = kernel!("normalize/batch_norm_backward");
const BATCH_NORM_FORWARD: Kernel = kernel!("normalize/batch_norm_forward");
const BATCH_NORM_INFERENCE: Kernel = kernel!("normalize/batch_norm_inference");
const L2_BACKWARD: Kernel = kernel!("normalize/l2_backward");
const L2_FORWARD: Kernel = kernel!("normalize/l2_forward");
const LAYER_NORM_BACKWARD: Kernel = kernel!("normalize/layer_norm_backward");
const LAYER_NORM_BACKWARD_AFFINE: Kernel = kernel!("normalize/layer_norm_backward_affine");
const LAYER_NORM_FORWARD: Kernel = kernel!("normalize/layer_norm_forward");

/// Records batch norm in training; `stats` `[groups, 2, F]`; the running statistics move in place.
pub(crate) fn batch_norm_forward(
    recorder: &mut Recorder<'_>,
    shape: BatchShape,
    settings: &BatchNorm,
    x: &Buffer,
    [weight, bias, running_mean, running_var]: [&Buffer; 4],
    [y, stats]: [&Buffer; 2],
) -> Result<()> {
    let [rows, columns, groups] = shape.sizes();
    let params = [
        ("rows", Size(rows)),
        ("columns", Size(columns)),
        ("groups", Size(groups)),
        ("relu", Flag(settings.relu)),
        ("eps", Number(settings.eps)),
        ("momentum", Number(settings.momentum)),
    ];
    let all = rows * columns;
    let buffers = [
        (x, all),
        (weight, columns),
        (bias, columns),
        (y, all),
        (stats, groups * 2 * columns),
        (running_mean, columns),
        (running_var, columns),
    ];
    recorder.dispatch(&BATCH_NORM_FORWARD, &params, &buffers, fold(columns, 64))
}

/// Records batch norm of x `[rows, columns]` by the running statistics.
pub(crate) fn batch_norm_inference(
    recorder: &mut Recorder<'_>,
    [rows, columns]: [usize; 2],
    settings: &BatchNorm,
    x: &Buffer,
    parameters: [&Buffer; 4],
    y: &Buffer,
) -> Result<()> {
    let params = [
        ("rows", Size(rows)),
        ("columns", Size(columns)),
        ("relu", Flag(settings.relu)),
        ("eps", Number(settings.eps)),
    ];
    let [weight, bias, mean, var] = parameters.map(|buffer| (buffer, columns));
    let buffers = [(x, rows * columns), weight, bias, mean, var, (y, rows * columns)];
    recorder.dispatch(&BATCH_NORM_INFERENCE, &params, &buffers, fold(rows * columns, 64))
}

/// Records the backward pass of [`batch_norm_forward`]; `mask` is its y where it had a ReLU. All
/// outputs are overwritten.
pub(crate) fn batch_norm_backward(
    recorder: &mut Recorder<'_>,
    shape: BatchShape,
    [d_y, x, weight, stats]: [&Buffer; 4],
    mask: Option<&Buffer>,
    [d_x, d_weight, d_bias]: [&Buffer; 3],
) -> Result<()> {
    let [rows, columns, groups] = shape.sizes();
    let params = [
        ("rows", Size(rows)),
        ("columns", Size(columns)),
        ("groups", Size(groups)),
        ("masked", Flag(mask.is_some())),
    ];
    let all = rows * columns;
    let buffers = [
        (d_y, all),
        (x, all),
        (mask.unwrap_or(d_y), all),
        (weight, columns),
        (stats, groups * 2 * columns),
        (d_x, all),
        (d_weight, columns),
        (d_bias, columns),
    ];
    recorder.dispatch(&BATCH_NORM_BACKWARD, &params, &buffers, fold(columns, 64))
}

/// Records layer norm of x `[rows, columns]`; `stats` `[rows, 2]`.
pub(crate) fn layer_norm_forward(
    recorder: &mut Recorder<'_>,
    [rows, columns]: [usize; 2],
    settings: &LayerNorm,
    x: &Buffer,
    [weight, bias]: [&Buffer; 2],
    [y, stats]: [&Buffer; 2],
) -> Result<()> {
    let params = [
        ("rows", Size(rows)),
        ("columns", Size(columns)),
        ("relu", Flag(settings.relu)),
        ("eps", Number(settings.eps)),
    ];
    let all = rows * columns;
    let buffers = [(x, all), (weight, columns), (bias, columns), (y, all), (stats, rows * 2)];
    recorder.dispatch(&LAYER_NORM_FORWARD, &params, &buffers, fold(rows, 1))
}

/// Records the gradient of x under [`layer_norm_forward`]; `mask` is its y where it had a ReLU.
pub(crate) fn layer_norm_backward(
    recorder: &mut Recorder<'_>,
    [rows, columns]: [usize; 2],
    [d_y, x, weight, stats]: [&Buffer; 4],
    mask: Option<&Buffer>,
    d_x: &Buffer,
) -> Result<()> {
    let params = [("rows", Size(rows)), ("columns", Size(columns)), ("masked", Flag(mask.is_some()))];
    let (all, mask) = (rows * columns, mask.unwrap_or(d_y));
    let buffers = [(d_y, all), (x, all), (mask, all), (weight, columns), (stats, rows * 2), (d_x, all)];
    recorder.dispatch(&LAYER_NORM_BACKWARD, &params, &buffers, fold(rows, 1))
}

/// Records the gradients of weight and bias under [`layer_norm_forward`]; both are overwritten.
pub(crate) fn layer_norm_backward_affine(
    recorder: &mut Recorder<'_>,
    [rows, columns]: [usize; 2],
    [d_y, x, stats]: [&Buffer; 3],
    mask: Option<&Buffer>,
    [d_weight, d_bias]: [&Buffer; 2],
) -> Result<()> {
    let params = [("rows", Size(rows)), ("columns", Size(columns)), ("masked", Flag(mask.is_some()))];
    let (all, mask) = (rows * columns, mask.unwrap_or(d_y));
    let buffers =
        [(d_y, all), (x, all), (mask, all), (stats, rows * 2), (d_weight, columns), (d_bias, columns)];
    recorder.dispatch(&LAYER_NORM_BACKWARD_AFFINE, &params, &buffers, fold(columns, 64))
}

/// Records `y = x / max(‖x‖, eps)` for the rows of x `[rows, columns]`; `norm` `[rows]` becomes
/// `‖x‖`.
pub(crate) fn l2_forward(
    recorder: &mut Recorder<'_>,
    [rows, columns]: [usize; 2],
    eps: f64,
    x: &Buffer,
    [y, norm]: [&Buffer; 2],
) -> Result<()> {
    let params = [("rows", Size(rows)), ("columns", Size(columns)), ("eps", Number(eps))];
    let buffers = [(x, rows * columns), (y, rows * columns), (norm, rows)];
    recorder.dispatch(&L2_FORWARD, &params, &buffers, fold(rows, 1))
}

/// Records the gradient of x under [`l2_forward`].
pub(crate) fn l2_backward(
    recorder: &mut Recorder<'_>,
    [rows, columns]: [usize; 2],
    eps: f64,
    [d_y, y, norm]: [&Buffer; 3],
    d_x: &Buffer,
) -> Result<()> {
    let params = [("rows", Size(rows)), ("columns", Size(columns)), ("eps", Number(eps))];
    let all = rows * columns;
    let buffers = [(d_y, all), (y, all), (norm, rows), (d_x, all)];
    recorder.dispatch(&L2_BACKWARD, &params, &buffers, fold(rows, 1))
}

#[cfg(test)]
mod tests;
