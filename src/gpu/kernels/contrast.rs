//! Kernels of the `contrast` family; `reference::contrast` defines them and owns their settings.

mod decorrelation;

use crate::gpu::buffer::Buffer;
use crate::gpu::kernel::{Kernel, kernel};
use crate::gpu::recorder::Param::{Flag, Number, Size};
use crate::gpu::recorder::{Recorder, fold};
use crate::reference::contrast::{InfoNce, NtXent};
use crate::{Error, Result};

pub(crate) use decorrelation::{correlation, variance};

const COLUMN_LSE: Kernel = kernel!("contrast/column_lse");
const INFO_NCE: Kernel = kernel!("contrast/info_nce");
const NT_XENT: Kernel = kernel!("contrast/nt_xent");
const ROW_LSE: Kernel = kernel!("contrast/row_lse");
const SYMMETRIC: Kernel = kernel!("contrast/symmetric");

/// Records NT-Xent: `loss[2 half]`, in place `s[2 half, 2 half]`. A single pair without its
/// positive leaves no denominator and is an [`Error::Shape`].
pub(crate) fn nt_xent(
    recorder: &mut Recorder<'_>,
    half: usize,
    settings: &NtXent,
    loss: &Buffer,
    s: &Buffer,
) -> Result<()> {
    let NtXent { decoupled, scale, weight } = *settings;
    if decoupled && half == 1 {
        return Err(Error::shape("rows of a view for decoupled nt_xent", "at least 2", half));
    }
    let params = [
        ("half", Size(half)),
        ("decoupled", Flag(decoupled)),
        ("scale", Number(scale)),
        ("weight", Number(weight)),
    ];
    let rows = 2 * half;
    recorder.dispatch(&NT_XENT, &params, &[(loss, rows), (s, rows * rows)], fold(rows, 1))
}

/// Records InfoNCE: q, key, `d_q` `[rows, columns]`, `loss[rows]`, in place `s[rows, negatives]`.
pub(crate) fn info_nce(
    recorder: &mut Recorder<'_>,
    settings: &InfoNce,
    [q, key]: [&Buffer; 2],
    [loss, d_q, s]: [&Buffer; 3],
) -> Result<()> {
    let InfoNce { rows, columns, negatives, row_shift, inverse_temperature, scale, weight } = *settings;
    let params = [
        ("rows", Size(rows)),
        ("columns", Size(columns)),
        ("negatives", Size(negatives)),
        ("row_shift", Size(row_shift % rows.max(1))),
        ("inverse_temperature", Number(inverse_temperature)),
        ("scale", Number(scale)),
        ("weight", Number(weight)),
    ];
    let all = rows * columns;
    let buffers = [(q, all), (key, all), (loss, rows), (d_q, all), (s, rows * negatives)];
    recorder.dispatch(&INFO_NCE, &params, &buffers, fold(rows, 1))
}

/// Records the log-sum-exp of each row: `s[rows, columns]`, `lse[rows]`.
pub(crate) fn row_lse(
    recorder: &mut Recorder<'_>,
    [rows, columns]: [usize; 2],
    s: &Buffer,
    lse: &Buffer,
) -> Result<()> {
    let params = [("rows", Size(rows)), ("columns", Size(columns))];
    recorder.dispatch(&ROW_LSE, &params, &[(s, rows * columns), (lse, rows)], fold(rows, 1))
}

/// Records the log-sum-exp of each column: `s[rows, columns]`, `lse[columns]`.
pub(crate) fn column_lse(
    recorder: &mut Recorder<'_>,
    [rows, columns]: [usize; 2],
    s: &Buffer,
    lse: &Buffer,
) -> Result<()> {
    let params = [("rows", Size(rows)), ("columns", Size(columns))];
    recorder.dispatch(&COLUMN_LSE, &params, &[(s, rows * columns), (lse, columns)], fold(columns, 64))
}

/// Records the cross-entropy by rows and columns: `row_lse`, `column_lse`, `loss` `[rows]`, in
/// place `s[rows, rows]`.
pub(crate) fn symmetric(
    recorder: &mut Recorder<'_>,
    rows: usize,
    [scale, weight]: [f64; 2],
    [row_lse, column_lse]: [&Buffer; 2],
    [loss, s]: [&Buffer; 2],
) -> Result<()> {
    let params = [("rows", Size(rows)), ("scale", Number(scale)), ("weight", Number(weight))];
    let buffers = [(row_lse, rows), (column_lse, rows), (loss, rows), (s, rows * rows)];
    recorder.dispatch(&SYMMETRIC, &params, &buffers, fold(rows, 1))
}

#[cfg(test)]
mod tests;
