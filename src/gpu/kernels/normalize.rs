//! Batch, layer and L2 normalisation: `normalize/*`. Definitions in `reference::normalize`.

use crate::Result;
use crate::gpu::plan::{fold, size};
use crate::gpu::{Buffer, Recorder};
use crate::reference::normalize::{BatchNorm, BatchShape, LayerNorm};

/// Sources of the family.
pub const SOURCES: &[(&str, &str)] = &[
    ("normalize/batch_norm_backward", include_str!("../../../shaders/normalize/batch_norm_backward.wgsl")),
    ("normalize/batch_norm_forward", include_str!("../../../shaders/normalize/batch_norm_forward.wgsl")),
    ("normalize/batch_norm_inference", include_str!("../../../shaders/normalize/batch_norm_inference.wgsl")),
    ("normalize/l2_backward", include_str!("../../../shaders/normalize/l2_backward.wgsl")),
    ("normalize/l2_forward", include_str!("../../../shaders/normalize/l2_forward.wgsl")),
    ("normalize/layer_norm_backward", include_str!("../../../shaders/normalize/layer_norm_backward.wgsl")),
    (
        "normalize/layer_norm_backward_affine",
        include_str!("../../../shaders/normalize/layer_norm_backward_affine.wgsl"),
    ),
    ("normalize/layer_norm_forward", include_str!("../../../shaders/normalize/layer_norm_forward.wgsl")),
];

const RELU: u32 = 1;
const MASK: u32 = 2;
const ACCUMULATE: u32 = 4;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct BatchParams {
    rows: u32,
    columns: u32,
    groups: u32,
    flags: u32,
    eps: f32,
    momentum: f32,
    _pad0: u32,
    _pad1: u32,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct RowParams {
    rows: u32,
    columns: u32,
    flags: u32,
    eps: f32,
}

fn batch_params(
    [rows, columns, groups]: [usize; 3],
    flags: u32,
    eps: f32,
    momentum: f32,
) -> Result<BatchParams> {
    size("elements", rows * columns)?;
    Ok(BatchParams {
        rows: size("rows", rows)?,
        columns: size("columns", columns)?,
        groups: size("groups", groups)?,
        flags,
        eps,
        momentum,
        _pad0: 0,
        _pad1: 0,
    })
}

fn row_params([rows, columns]: [usize; 2], flags: u32, eps: f32) -> Result<RowParams> {
    size("elements", rows * columns)?;
    Ok(RowParams { rows: size("rows", rows)?, columns: size("columns", columns)?, flags, eps })
}

fn all_at_least(kernel: &str, buffers: &[(&str, &Buffer, usize)]) -> Result<()> {
    buffers.iter().try_for_each(|(name, buffer, len)| buffer.at_least(&format!("{kernel} {name}"), *len))
}

/// Records batch norm in training; `stats` `[groups, 2, F]`, `running` is `[mean, var]`, in place.
///
/// # Errors
/// [`crate::Error::Shape`] if a buffer is too small, [`crate::Error::Device`] if the shader is refused.
pub fn batch_norm_forward(
    recorder: &mut Recorder<'_>,
    shape: BatchShape,
    settings: &BatchNorm<f32>,
    x: &Buffer,
    [weight, bias]: [&Buffer; 2],
    y: &Buffer,
    stats: &Buffer,
    [running_mean, running_var]: [&Buffer; 2],
) -> Result<()> {
    let [rows, columns, groups] = shape.sizes();
    let buffers = [
        ("x", x, rows * columns),
        ("weight", weight, columns),
        ("bias", bias, columns),
        ("y", y, rows * columns),
        ("stats", stats, groups * 2 * columns),
        ("running_mean", running_mean, columns),
        ("running_var", running_var, columns),
    ];
    all_at_least("batch_norm_forward", &buffers)?;
    let flags = if settings.relu { RELU } else { 0 };
    let params = batch_params(shape.sizes(), flags, settings.eps, settings.momentum)?;
    recorder.dispatch(
        "normalize/batch_norm_forward",
        bytemuck::bytes_of(&params),
        &buffers.map(|(_, buffer, _)| buffer),
        &[],
        fold(columns, 64),
    )
}

/// Records batch norm of x `[rows, columns]` by the running statistics `[mean, var]`.
///
/// # Errors
/// As [`batch_norm_forward`].
pub fn batch_norm_inference(
    recorder: &mut Recorder<'_>,
    [rows, columns]: [usize; 2],
    settings: &BatchNorm<f32>,
    x: &Buffer,
    [weight, bias]: [&Buffer; 2],
    [running_mean, running_var]: [&Buffer; 2],
    y: &Buffer,
) -> Result<()> {
    let buffers = [
        ("x", x, rows * columns),
        ("weight", weight, columns),
        ("bias", bias, columns),
        ("running_mean", running_mean, columns),
        ("running_var", running_var, columns),
        ("y", y, rows * columns),
    ];
    all_at_least("batch_norm_inference", &buffers)?;
    let flags = if settings.relu { RELU } else { 0 };
    let params = batch_params([rows, columns, 1], flags, settings.eps, settings.momentum)?;
    recorder.dispatch(
        "normalize/batch_norm_inference",
        bytemuck::bytes_of(&params),
        &buffers.map(|(_, buffer, _)| buffer),
        &[],
        fold(rows * columns, 64),
    )
}

/// Records the backward pass of [`batch_norm_forward`]; `mask` is its y where it had a ReLU, `d_affine` the
/// gradients of weight and bias. All outputs are overwritten.
///
/// # Errors
/// As [`batch_norm_forward`].
pub fn batch_norm_backward(
    recorder: &mut Recorder<'_>,
    shape: BatchShape,
    d_y: &Buffer,
    x: &Buffer,
    mask: Option<&Buffer>,
    weight: &Buffer,
    stats: &Buffer,
    d_x: &Buffer,
    [d_weight, d_bias]: [&Buffer; 2],
) -> Result<()> {
    let [rows, columns, groups] = shape.sizes();
    let buffers = [
        ("d_y", d_y, rows * columns),
        ("x", x, rows * columns),
        ("mask", mask.unwrap_or(d_y), rows * columns),
        ("weight", weight, columns),
        ("stats", stats, groups * 2 * columns),
        ("d_x", d_x, rows * columns),
        ("d_weight", d_weight, columns),
        ("d_bias", d_bias, columns),
    ];
    all_at_least("batch_norm_backward", &buffers)?;
    let flags = if mask.is_some() { MASK } else { 0 };
    let params = batch_params(shape.sizes(), flags, 0.0, 0.0)?;
    recorder.dispatch(
        "normalize/batch_norm_backward",
        bytemuck::bytes_of(&params),
        &buffers.map(|(_, buffer, _)| buffer),
        &[],
        fold(columns, 64),
    )
}

/// Records layer norm of x `[rows, columns]`; `stats` `[rows, 2]`.
///
/// # Errors
/// As [`batch_norm_forward`].
pub fn layer_norm_forward(
    recorder: &mut Recorder<'_>,
    [rows, columns]: [usize; 2],
    settings: &LayerNorm<f32>,
    x: &Buffer,
    [weight, bias]: [&Buffer; 2],
    y: &Buffer,
    stats: &Buffer,
) -> Result<()> {
    let buffers = [
        ("x", x, rows * columns),
        ("weight", weight, columns),
        ("bias", bias, columns),
        ("y", y, rows * columns),
        ("stats", stats, rows * 2),
    ];
    all_at_least("layer_norm_forward", &buffers)?;
    let flags = if settings.relu { RELU } else { 0 };
    let params = row_params([rows, columns], flags, settings.eps)?;
    recorder.dispatch(
        "normalize/layer_norm_forward",
        bytemuck::bytes_of(&params),
        &buffers.map(|(_, buffer, _)| buffer),
        &[],
        fold(rows, 1),
    )
}

/// Records the gradient of x under [`layer_norm_forward`]; `mask` is its y where it had a ReLU.
///
/// # Errors
/// As [`batch_norm_forward`].
pub fn layer_norm_backward(
    recorder: &mut Recorder<'_>,
    [rows, columns]: [usize; 2],
    d_y: &Buffer,
    x: &Buffer,
    mask: Option<&Buffer>,
    weight: &Buffer,
    stats: &Buffer,
    d_x: &Buffer,
) -> Result<()> {
    let buffers = [
        ("d_y", d_y, rows * columns),
        ("x", x, rows * columns),
        ("mask", mask.unwrap_or(d_y), rows * columns),
        ("weight", weight, columns),
        ("stats", stats, rows * 2),
        ("d_x", d_x, rows * columns),
    ];
    all_at_least("layer_norm_backward", &buffers)?;
    let params = row_params([rows, columns], if mask.is_some() { MASK } else { 0 }, 0.0)?;
    recorder.dispatch(
        "normalize/layer_norm_backward",
        bytemuck::bytes_of(&params),
        &buffers.map(|(_, buffer, _)| buffer),
        &[],
        fold(rows, 1),
    )
}

/// Records the gradients of weight and bias under [`layer_norm_forward`], `d_affine`; both are overwritten.
///
/// # Errors
/// As [`batch_norm_forward`].
pub fn layer_norm_backward_affine(
    recorder: &mut Recorder<'_>,
    [rows, columns]: [usize; 2],
    d_y: &Buffer,
    x: &Buffer,
    mask: Option<&Buffer>,
    stats: &Buffer,
    [d_weight, d_bias]: [&Buffer; 2],
) -> Result<()> {
    let buffers = [
        ("d_y", d_y, rows * columns),
        ("x", x, rows * columns),
        ("mask", mask.unwrap_or(d_y), rows * columns),
        ("stats", stats, rows * 2),
        ("d_weight", d_weight, columns),
        ("d_bias", d_bias, columns),
    ];
    all_at_least("layer_norm_backward_affine", &buffers)?;
    let params = row_params([rows, columns], if mask.is_some() { MASK } else { 0 }, 0.0)?;
    recorder.dispatch(
        "normalize/layer_norm_backward_affine",
        bytemuck::bytes_of(&params),
        &buffers.map(|(_, buffer, _)| buffer),
        &[],
        fold(columns, 64),
    )
}

/// Records `y = x / max(‖x‖, eps)` for the rows of x `[rows, columns]`; `norm` `[rows]` becomes `‖x‖`.
///
/// # Errors
/// As [`batch_norm_forward`].
pub fn l2_forward(
    recorder: &mut Recorder<'_>,
    [rows, columns]: [usize; 2],
    eps: f32,
    x: &Buffer,
    y: &Buffer,
    norm: &Buffer,
) -> Result<()> {
    let buffers = [("x", x, rows * columns), ("y", y, rows * columns), ("norm", norm, rows)];
    all_at_least("l2_forward", &buffers)?;
    let params = row_params([rows, columns], 0, eps)?;
    recorder.dispatch(
        "normalize/l2_forward",
        bytemuck::bytes_of(&params),
        &buffers.map(|(_, buffer, _)| buffer),
        &[],
        fold(rows, 1),
    )
}

/// Records the gradient of x under [`l2_forward`], added to what `d_x` holds if `accumulate`.
///
/// # Errors
/// As [`batch_norm_forward`].
pub fn l2_backward(
    recorder: &mut Recorder<'_>,
    [rows, columns]: [usize; 2],
    eps: f32,
    d_y: &Buffer,
    y: &Buffer,
    norm: &Buffer,
    accumulate: bool,
    d_x: &Buffer,
) -> Result<()> {
    let buffers = [
        ("d_y", d_y, rows * columns),
        ("y", y, rows * columns),
        ("norm", norm, rows),
        ("d_x", d_x, rows * columns),
    ];
    all_at_least("l2_backward", &buffers)?;
    let params = row_params([rows, columns], if accumulate { ACCUMULATE } else { 0 }, eps)?;
    recorder.dispatch(
        "normalize/l2_backward",
        bytemuck::bytes_of(&params),
        &buffers.map(|(_, buffer, _)| buffer),
        &[],
        fold(rows, 1),
    )
}

#[cfg(test)]
mod tests;
