//! VICReg's variance and the decorrelation of VICReg and Barlow Twins.

use crate::gpu::buffer::Buffer;
use crate::gpu::kernel::{Kernel, kernel};
use crate::gpu::recorder::Param::{Number, Size};
use crate::gpu::recorder::{Recorder, fold};
use crate::reference::contrast::{Correlation, Variance};
use crate::{Error, Result};

const CORRELATION: Kernel = kernel!("contrast/correlation");
const VARIANCE: Kernel = kernel!("contrast/variance");

/// Records the variance term: z, `centred`, `d_z` (added to) `[rows, columns]`,
/// `loss[groups, columns]`. Rows that do not make equal groups of at least two are an
/// [`Error::Shape`].
pub(crate) fn variance(
    recorder: &mut Recorder<'_>,
    settings: &Variance,
    z: &Buffer,
    [centred, loss, d_z]: [&Buffer; 3],
) -> Result<()> {
    let Variance { rows, columns, groups, loss_scale, weight, target_std, eps } = *settings;
    if groups == 0 || !rows.is_multiple_of(groups) || rows / groups < 2 {
        let expected = format!("{groups} equal groups of at least 2");
        return Err(Error::shape("rows for variance", expected, rows));
    }
    let params = [
        ("rows", Size(rows)),
        ("columns", Size(columns)),
        ("groups", Size(groups)),
        ("loss_scale", Number(loss_scale)),
        ("weight", Number(weight)),
        ("target_std", Number(target_std)),
        ("eps", Number(eps)),
    ];
    let (all, hinges) = (rows * columns, groups * columns);
    let buffers = [(z, all), (centred, all), (loss, hinges), (d_z, all)];
    recorder.dispatch(&VARIANCE, &params, &buffers, fold(hinges, 64))
}

/// Records the decorrelation: `loss[width]`, in place `c[width, width]`.
pub(crate) fn correlation(
    recorder: &mut Recorder<'_>,
    width: usize,
    settings: &Correlation,
    loss: &Buffer,
    c: &Buffer,
) -> Result<()> {
    let Correlation { diagonal_target, diagonal_scale, off_scale, weight } = *settings;
    let params = [
        ("size", Size(width)),
        ("diagonal_target", Number(diagonal_target)),
        ("diagonal_scale", Number(diagonal_scale)),
        ("off_scale", Number(off_scale)),
        ("weight", Number(weight)),
    ];
    recorder.dispatch(&CORRELATION, &params, &[(loss, width), (c, width * width)], fold(width, 1))
}
