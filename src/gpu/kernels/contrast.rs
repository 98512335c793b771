//! Kernels of the `contrast` family; `reference::contrast` defines them and owns their scalars.

use crate::gpu::plan::{fold, size};
use crate::gpu::{Buffer, Recorder};
use crate::reference::contrast::{Correlation, InfoNce, NtXent, Variance};
use crate::{Error, Result};

/// Sources of the family.
pub const SOURCES: &[(&str, &str)] = &[
    ("contrast/column_lse", include_str!("../../../shaders/contrast/column_lse.wgsl")),
    ("contrast/correlation", include_str!("../../../shaders/contrast/correlation.wgsl")),
    ("contrast/info_nce", include_str!("../../../shaders/contrast/info_nce.wgsl")),
    ("contrast/nt_xent", include_str!("../../../shaders/contrast/nt_xent.wgsl")),
    ("contrast/row_lse", include_str!("../../../shaders/contrast/row_lse.wgsl")),
    ("contrast/symmetric", include_str!("../../../shaders/contrast/symmetric.wgsl")),
    ("contrast/variance", include_str!("../../../shaders/contrast/variance.wgsl")),
];

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct NtXentParams {
    half: u32,
    decoupled: u32,
    scale: f32,
    weight: f32,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct InfoNceParams {
    rows: u32,
    columns: u32,
    negatives: u32,
    row_shift: u32,
    inverse_temperature: f32,
    scale: f32,
    weight: f32,
    pad: u32,
}

/// `Params` of row_lse and column_lse.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct LseParams {
    rows: u32,
    columns: u32,
    pad: [u32; 2],
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct SymmetricParams {
    rows: u32,
    scale: f32,
    weight: f32,
    pad: u32,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct VarianceParams {
    rows: u32,
    columns: u32,
    groups: u32,
    loss_scale: f32,
    weight: f32,
    target_std: f32,
    eps: f32,
    pad: u32,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct CorrelationParams {
    size: u32,
    diagonal_target: f32,
    diagonal_scale: f32,
    off_scale: f32,
    weight: f32,
    pad: [u32; 3],
}

/// Records [`crate::reference::contrast::nt_xent`]: `loss[2 half]`, in place `s[2 half, 2 half]`.
///
/// # Errors
/// [`Error::Shape`] if a buffer is too small, or for a single pair without its positive, which leaves no denominator;
/// [`Error::Device`] if the shader is refused.
pub fn nt_xent(
    recorder: &mut Recorder<'_>,
    half: usize,
    scalars: &NtXent<f32>,
    loss: &Buffer,
    s: &Buffer,
) -> Result<()> {
    if scalars.decoupled && half == 1 {
        return Err(Error::shape("rows of a view for decoupled nt_xent", "at least 2", half));
    }
    let rows = 2 * half;
    loss.at_least("nt_xent loss", rows)?;
    s.at_least("nt_xent s", rows * rows)?;
    size("rows", rows)?;
    let params = NtXentParams {
        half: size("half", half)?,
        decoupled: u32::from(scalars.decoupled),
        scale: scalars.scale,
        weight: scalars.weight,
    };
    recorder.dispatch("contrast/nt_xent", bytemuck::bytes_of(&params), &[loss, s], &[], fold(rows, 1))
}

/// Records [`crate::reference::contrast::info_nce`]: q, key, `d_q` `[rows, columns]`, `loss[rows]`, in place
/// `s[rows, negatives]`.
///
/// # Errors
/// [`Error::Shape`] if a buffer is too small, [`Error::Device`] if the shader is refused.
pub fn info_nce(
    recorder: &mut Recorder<'_>,
    scalars: &InfoNce<f32>,
    [q, key]: [&Buffer; 2],
    [loss, d_q, s]: [&Buffer; 3],
) -> Result<()> {
    let InfoNce { rows, columns, negatives, .. } = *scalars;
    for (what, buffer) in [("info_nce q", q), ("info_nce key", key), ("info_nce d_q", d_q)] {
        buffer.at_least(what, rows * columns)?;
    }
    loss.at_least("info_nce loss", rows)?;
    s.at_least("info_nce s", rows * negatives)?;
    let params = InfoNceParams {
        rows: size("rows", rows)?,
        columns: size("columns", columns)?,
        negatives: size("negatives", negatives)?,
        row_shift: size("row_shift", scalars.row_shift % rows.max(1))?,
        inverse_temperature: scalars.inverse_temperature,
        scale: scalars.scale,
        weight: scalars.weight,
        pad: 0,
    };
    recorder.dispatch(
        "contrast/info_nce",
        bytemuck::bytes_of(&params),
        &[q, key, loss, d_q, s],
        &[],
        fold(rows, 1),
    )
}

/// Records [`crate::reference::contrast::row_lse`]: `s[rows, columns]`, `lse[rows]`.
///
/// # Errors
/// [`Error::Shape`] if a buffer is too small, [`Error::Device`] if the shader is refused.
pub fn row_lse(recorder: &mut Recorder<'_>, shape: [usize; 2], s: &Buffer, lse: &Buffer) -> Result<()> {
    lse.at_least("row_lse lse", shape[0])?;
    log_sum_exp(recorder, "contrast/row_lse", shape, [s, lse], fold(shape[0], 1))
}

/// Records [`crate::reference::contrast::column_lse`]: `s[rows, columns]`, `lse[columns]`.
///
/// # Errors
/// [`Error::Shape`] if a buffer is too small, [`Error::Device`] if the shader is refused.
pub fn column_lse(recorder: &mut Recorder<'_>, shape: [usize; 2], s: &Buffer, lse: &Buffer) -> Result<()> {
    lse.at_least("column_lse lse", shape[1])?;
    log_sum_exp(recorder, "contrast/column_lse", shape, [s, lse], fold(shape[1], 64))
}

fn log_sum_exp(
    recorder: &mut Recorder<'_>,
    kernel: &str,
    [rows, columns]: [usize; 2],
    [s, lse]: [&Buffer; 2],
    workgroups: [u32; 3],
) -> Result<()> {
    s.at_least(kernel, rows * columns)?;
    let params = LseParams { rows: size("rows", rows)?, columns: size("columns", columns)?, pad: [0; 2] };
    recorder.dispatch(kernel, bytemuck::bytes_of(&params), &[s, lse], &[], workgroups)
}

/// Records [`crate::reference::contrast::symmetric`]: `row_lse`, `column_lse`, `loss` `[rows]`, in place `s[rows, rows]`.
///
/// # Errors
/// [`Error::Shape`] if a buffer is too small, [`Error::Device`] if the shader is refused.
pub fn symmetric(
    recorder: &mut Recorder<'_>,
    rows: usize,
    [scale, weight]: [f32; 2],
    [row_lse, column_lse]: [&Buffer; 2],
    [loss, s]: [&Buffer; 2],
) -> Result<()> {
    for (what, buffer) in
        [("symmetric row_lse", row_lse), ("symmetric column_lse", column_lse), ("symmetric loss", loss)]
    {
        buffer.at_least(what, rows)?;
    }
    s.at_least("symmetric s", rows * rows)?;
    let params = SymmetricParams { rows: size("rows", rows)?, scale, weight, pad: 0 };
    recorder.dispatch(
        "contrast/symmetric",
        bytemuck::bytes_of(&params),
        &[row_lse, column_lse, loss, s],
        &[],
        fold(rows, 1),
    )
}

/// Records [`crate::reference::contrast::variance`]: z, `centred`, `d_z` (added to) `[rows, columns]`,
/// `loss[groups, columns]`.
///
/// # Errors
/// [`Error::Shape`] if the rows do not make equal groups of at least two or a buffer is too small,
/// [`Error::Device`] if the shader is refused.
pub fn variance(
    recorder: &mut Recorder<'_>,
    scalars: &Variance<f32>,
    z: &Buffer,
    [centred, loss, d_z]: [&Buffer; 3],
) -> Result<()> {
    let Variance { rows, columns, groups, .. } = *scalars;
    if groups == 0 || !rows.is_multiple_of(groups) || rows / groups < 2 {
        let expected = format!("{groups} equal groups of at least 2");
        return Err(Error::shape("rows for variance", expected, rows));
    }
    for (what, buffer) in [("variance z", z), ("variance centred", centred), ("variance d_z", d_z)] {
        buffer.at_least(what, rows * columns)?;
    }
    loss.at_least("variance loss", groups * columns)?;
    let params = VarianceParams {
        rows: size("rows", rows)?,
        columns: size("columns", columns)?,
        groups: size("groups", groups)?,
        loss_scale: scalars.loss_scale,
        weight: scalars.weight,
        target_std: scalars.target_std,
        eps: scalars.eps,
        pad: 0,
    };
    recorder.dispatch(
        "contrast/variance",
        bytemuck::bytes_of(&params),
        &[z, centred, loss, d_z],
        &[],
        fold(groups * columns, 64),
    )
}

/// Records [`crate::reference::contrast::correlation`]: `loss[width]`, in place `c[width, width]`.
///
/// # Errors
/// [`Error::Shape`] if a buffer is too small, [`Error::Device`] if the shader is refused.
pub fn correlation(
    recorder: &mut Recorder<'_>,
    width: usize,
    scalars: &Correlation<f32>,
    loss: &Buffer,
    c: &Buffer,
) -> Result<()> {
    loss.at_least("correlation loss", width)?;
    c.at_least("correlation c", width * width)?;
    let params = CorrelationParams {
        size: size("size", width)?,
        diagonal_target: scalars.diagonal_target,
        diagonal_scale: scalars.diagonal_scale,
        off_scale: scalars.off_scale,
        weight: scalars.weight,
        pad: [0; 3],
    };
    recorder.dispatch("contrast/correlation", bytemuck::bytes_of(&params), &[loss, c], &[], fold(width, 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::Device;
    use crate::gpu::testing::{self, Level, fields};
    use crate::reference::{Real, contrast};

    const SIZES: [usize; 8] = [0, 1, 2, 63, 64, 65, 97, 131];

    // The scalars are powers of two and so the same in both precisions.
    fn pairs<T: Real>(decoupled: bool) -> NtXent<T> {
        NtXent { decoupled, scale: T::of(0.25), weight: T::of(2.0) }
    }

    fn queue<T: Real>([rows, columns, negatives]: [usize; 3]) -> InfoNce<T> {
        InfoNce {
            rows,
            columns,
            negatives,
            row_shift: rows / 2,
            inverse_temperature: T::of(4.0),
            scale: T::of(0.25),
            weight: T::of(2.0),
        }
    }

    fn spread<T: Real>([rows, columns, groups]: [usize; 3]) -> Variance<T> {
        Variance {
            rows,
            columns,
            groups,
            loss_scale: T::of(0.25),
            weight: T::of(2.0),
            target_std: T::of(0.5),
            eps: T::of(f64::from(1e-4_f32)),
        }
    }

    fn barlow<T: Real>() -> Correlation<T> {
        Correlation {
            diagonal_target: T::of(1.0),
            diagonal_scale: T::of(0.5),
            off_scale: T::of(0.125),
            weight: T::of(2.0),
        }
    }

    /// Similarities within ±5.
    fn similarities(seed: u64, len: usize) -> Vec<f32> {
        testing::values(seed, len).iter().map(|v| v * 5.0).collect()
    }

    fn read<const N: usize>(device: &Device, buffers: [&Buffer; N]) -> [Vec<f32>; N] {
        buffers.map(|buffer| testing::read_guarded(device, buffer))
    }

    #[track_caller]
    fn assert_all<const N: usize>(what: &str, got: &[Vec<f32>; N], want: &[Vec<f64>; N], terms: usize) {
        for (got, want) in got.iter().zip(want) {
            testing::assert_close(what, got, want, Level::Accumulated(terms));
        }
    }

    #[test]
    fn layouts_are_the_shaders() {
        testing::assert_layout::<NtXentParams>(
            "contrast/nt_xent",
            fields!(NtXentParams: half, decoupled, scale, weight),
        );
        testing::assert_layout::<InfoNceParams>(
            "contrast/info_nce",
            fields!(InfoNceParams: rows, columns, negatives, row_shift, inverse_temperature, scale, weight),
        );
        for kernel in ["contrast/row_lse", "contrast/column_lse"] {
            testing::assert_layout::<LseParams>(kernel, fields!(LseParams: rows, columns));
        }
        testing::assert_layout::<SymmetricParams>(
            "contrast/symmetric",
            fields!(SymmetricParams: rows, scale, weight),
        );
        testing::assert_layout::<VarianceParams>(
            "contrast/variance",
            fields!(VarianceParams: rows, columns, groups, loss_scale, weight, target_std, eps),
        );
        testing::assert_layout::<CorrelationParams>(
            "contrast/correlation",
            fields!(CorrelationParams: size, diagonal_target, diagonal_scale, off_scale, weight),
        );
    }

    fn nt_xent_on(device: &Device, half: usize, decoupled: bool, s: &[f32]) -> [Vec<f32>; 2] {
        let (loss, s) = (testing::output(device, 2 * half), testing::in_place(device, s));
        testing::run(device, &[], |r| nt_xent(r, half, &pairs(decoupled), &loss, &s));
        read(device, [&loss, &s])
    }

    #[test]
    fn nt_xent_matches_the_reference() {
        let Some(device) = testing::device() else { return };
        for half in [0, 1, 2, 31, 32, 33, 48, 65] {
            for decoupled in [false, true] {
                if decoupled && half == 1 {
                    continue;
                }
                let s = similarities(1, 4 * half * half);
                let mut want = [vec![0.0; 2 * half], testing::wide(&s)];
                let [loss, d_s] = &mut want;
                contrast::nt_xent(half, &pairs(decoupled), loss, d_s);
                let got = nt_xent_on(device, half, decoupled, &s);
                assert_all(&format!("{half} {decoupled}"), &got, &want, 2 * half);
                let [other, _] = nt_xent_on(device, half, !decoupled && half > 1, &s);
                let seen = testing::mismatch("denominator", &other, &want[0], Level::Accumulated(2 * half));
                assert!(half < 2 || seen.is_some());
            }
        }
    }

    #[test]
    fn nt_xent_poison_is_never_quiet() {
        let Some(device) = testing::device() else { return };
        for bad in [f32::NAN, f32::INFINITY] {
            let mut s = [0.0; 16];
            s[1] = bad;
            let [loss, d_s] = nt_xent_on(device, 2, false, &s);
            assert!(!loss[0].is_finite() && loss[1..].iter().all(|l| l.is_finite()), "{bad}: {loss:?}");
            assert!(d_s[..4].iter().any(|d| !d.is_finite()), "{bad}: {d_s:?}");
        }
        let [loss, d_s] = nt_xent_on(device, 2, false, &[80.0; 16]);
        assert!(loss.iter().all(|l| (l - 0.25 * 3.0_f32.ln()).abs() < 1e-6));
        assert!(d_s.iter().all(|d| d.is_finite()));
    }

    fn info_nce_on(device: &Device, shape: [usize; 3], q: &[f32], key: &[f32], s: &[f32]) -> [Vec<f32>; 3] {
        let inputs = [q, key].map(|values| Buffer::from_slice(device, "input", values));
        let (loss, d_q) = (testing::output(device, shape[0]), testing::output(device, q.len()));
        let s = testing::in_place(device, s);
        testing::run(device, &[], |r| {
            info_nce(r, &queue(shape), [&inputs[0], &inputs[1]], [&loss, &d_q, &s])
        });
        read(device, [&loss, &d_q, &s])
    }

    #[test]
    fn info_nce_matches_the_reference() {
        let Some(device) = testing::device() else { return };
        let shapes = [[1, 1, 1], [4, 63, 64], [2, 64, 65], [7, 65, 131], [66, 8, 63], [0, 3, 5], [131, 3, 7]];
        for shape @ [rows, columns, negatives] in shapes {
            let (q, key) = (testing::values(2, rows * columns), testing::values(3, rows * columns));
            let s = similarities(4, rows * negatives);
            let mut want = [vec![0.0; rows], vec![0.0; q.len()], testing::wide(&s)];
            let [loss, d_q, d_s] = &mut want;
            contrast::info_nce(&queue(shape), &testing::wide(&q), &testing::wide(&key), loss, d_q, d_s);
            let got = info_nce_on(device, shape, &q, &key, &s);
            assert_all(&format!("{shape:?}"), &got, &want, columns.max(negatives));
            if rows > 1 {
                let [loss, ..] = info_nce_on(device, shape, &key, &q, &s);
                let seen = testing::mismatch("swapped", &loss, &want[0], Level::Accumulated(columns));
                assert!(seen.is_some());
            }
        }
    }

    #[test]
    fn info_nce_poison_is_never_quiet() {
        let Some(device) = testing::device() else { return };
        for bad in [f32::NAN, f32::INFINITY] {
            let [loss, d_q, d_s] =
                info_nce_on(device, [2, 1, 2], &[0.5; 2], &[0.5; 2], &[bad, 0.0, 0.0, 0.0]);
            assert!(!loss[0].is_finite() && loss[1].is_finite() && d_q[1].is_finite(), "{bad}: {loss:?}");
            assert!(d_s[..2].iter().any(|d| !d.is_finite()), "{bad}: {d_s:?}");
            let [loss, ..] = info_nce_on(device, [1, 1, 2], &[bad], &[1.0], &[0.0, 0.0]);
            assert!(!loss[0].is_finite());
        }
    }

    fn symmetric_on(device: &Device, rows: usize, s: &[f32]) -> [Vec<f32>; 4] {
        let vectors = [(); 3].map(|()| testing::output(device, rows));
        let [by_row, by_column, loss] = &vectors;
        let s = testing::in_place(device, s);
        testing::run(device, &[], |r| {
            row_lse(r, [rows, rows], &s, by_row)?;
            column_lse(r, [rows, rows], &s, by_column)?;
            symmetric(r, rows, [0.25, 2.0], [by_row, by_column], [loss, &s])
        });
        read(device, [by_row, by_column, loss, &s])
    }

    #[test]
    fn row_lse_column_lse_and_symmetric_match_the_reference() {
        let Some(device) = testing::device() else { return };
        for rows in SIZES {
            let s = similarities(5, rows * rows);
            let mut want = [vec![0.0; rows], vec![0.0; rows], vec![0.0; rows], testing::wide(&s)];
            let [by_row, by_column, loss, d_s] = &mut want;
            contrast::row_lse([rows, rows], d_s, by_row);
            contrast::column_lse([rows, rows], d_s, by_column);
            contrast::symmetric(rows, [0.25, 2.0], by_row, by_column, loss, d_s);
            let got = symmetric_on(device, rows, &s);
            if rows == 1 {
                // One pair against itself: loss and gradient are 0 but for the rounding of the logarithm.
                assert!(got[2][0].abs() < 1e-6 && got[3][0].abs() < 1e-5, "{got:?}");
            } else {
                assert_all(&format!("{rows}"), &got, &want, rows);
            }
            if rows > 2 {
                let seen = testing::mismatch("by row", &got[0], &want[1], Level::Accumulated(rows));
                assert!(seen.is_some(), "rows for columns");
            }
        }
    }

    #[test]
    fn log_sum_exp_of_oblong_shapes_matches_the_reference() {
        let Some(device) = testing::device() else { return };
        for shape @ [rows, columns] in [[3, 131], [131, 3], [1, 65], [65, 1]] {
            let s = similarities(6, rows * columns);
            let mut want = [vec![0.0; rows], vec![0.0; columns]];
            let [by_row, by_column] = &mut want;
            contrast::row_lse(shape, &testing::wide(&s), by_row);
            contrast::column_lse(shape, &testing::wide(&s), by_column);
            let input = Buffer::from_slice(device, "s", &s);
            let (by_row, by_column) = (testing::output(device, rows), testing::output(device, columns));
            testing::run(device, &[], |r| {
                row_lse(r, shape, &input, &by_row)?;
                column_lse(r, shape, &input, &by_column)
            });
            assert_all(&format!("{shape:?}"), &read(device, [&by_row, &by_column]), &want, rows.max(columns));
        }
    }

    #[test]
    fn symmetric_poison_is_never_quiet() {
        let Some(device) = testing::device() else { return };
        for bad in [f32::NAN, f32::INFINITY] {
            let mut s = similarities(7, 9);
            s[1] = bad;
            let [by_row, by_column, loss, d_s] = symmetric_on(device, 3, &s);
            assert!(!by_row[0].is_finite() && !by_column[1].is_finite(), "{bad}");
            assert!(loss[..2].iter().all(|l| !l.is_finite()) && loss[2].is_finite(), "{bad}: {loss:?}");
            assert!(!d_s[1].is_finite(), "{bad}: {d_s:?}");
        }
        let [_, _, loss, _] = symmetric_on(device, 3, &[-80.0; 9]);
        assert!(loss.iter().all(|l| (l - 0.5 * 3.0_f32.ln()).abs() < 1e-5), "{loss:?}");
    }

    fn variance_on(device: &Device, shape: [usize; 3], z: &[f32], before: &[f32]) -> [Vec<f32>; 3] {
        let input = Buffer::from_slice(device, "z", z);
        let (centred, loss) =
            (testing::output(device, z.len()), testing::output(device, shape[1] * shape[2]));
        let d_z = testing::in_place(device, before);
        testing::run(device, &[], |r| variance(r, &spread(shape), &input, [&centred, &loss, &d_z]));
        read(device, [&centred, &loss, &d_z])
    }

    #[test]
    fn variance_matches_the_reference() {
        let Some(device) = testing::device() else { return };
        let shapes = [[2, 1, 1], [4, 63, 2], [6, 64, 2], [64, 65, 1], [130, 7, 2], [6, 131, 3], [4, 0, 2]];
        for shape @ [rows, columns, groups] in shapes {
            let mut z = testing::values(8, rows * columns);
            z.iter_mut().step_by(2).for_each(|v| *v *= 0.25);
            let before = testing::values(9, z.len());
            let mut want = [vec![0.0; z.len()], vec![0.0; groups * columns], testing::wide(&before)];
            let [centred, loss, d_z] = &mut want;
            contrast::variance(&spread(shape), &testing::wide(&z), centred, loss, d_z);
            let got = variance_on(device, shape, &z, &before);
            assert_all(&format!("{shape:?}"), &got, &want, rows);
        }
    }

    #[test]
    fn variance_over_one_group_is_seen_and_poison_is_never_quiet() {
        let Some(device) = testing::device() else { return };
        let z = testing::values(10, 24);
        let [whole, ..] = variance_on(device, [8, 3, 1], &z, &[0.0; 24]);
        let [halves, ..] = variance_on(device, [8, 3, 2], &z, &[0.0; 24]);
        assert!(
            testing::mismatch("groups", &whole, &testing::wide(&halves), Level::Accumulated(8)).is_some()
        );
        let [_, loss, d_z] = variance_on(device, [8, 3, 2], &[4.0; 24], &[0.0; 24]);
        assert!(loss.iter().all(|l| (l - 0.25 * 0.49).abs() < 1e-6) && d_z == [0.0; 24]);
        for bad in [f32::NAN, f32::INFINITY] {
            let mut z = z.clone();
            z[0] = bad;
            let [centred, loss, d_z] = variance_on(device, [8, 3, 2], &z, &[0.0; 24]);
            assert!(
                !centred[0].is_finite() && !loss[0].is_finite() && !d_z[0].is_finite(),
                "{bad}: {loss:?}"
            );
            assert!(loss[1..].iter().all(|l| l.is_finite()));
        }
    }

    fn correlation_on(device: &Device, width: usize, c: &[f32]) -> [Vec<f32>; 2] {
        let (loss, c) = (testing::output(device, width), testing::in_place(device, c));
        testing::run(device, &[], |r| correlation(r, width, &barlow(), &loss, &c));
        read(device, [&loss, &c])
    }

    #[test]
    fn correlation_matches_the_reference() {
        let Some(device) = testing::device() else { return };
        for width in SIZES {
            let c = testing::values(11, width * width);
            let mut want = [vec![0.0; width], testing::wide(&c)];
            let [loss, d_c] = &mut want;
            contrast::correlation(width, &barlow(), loss, d_c);
            let got = correlation_on(device, width, &c);
            assert_all(&format!("{width}"), &got, &want, width);
            let flipped: Vec<_> = got[1].iter().map(|v| -v).collect();
            assert!(
                width == 0
                    || testing::mismatch("sign", &flipped, &want[1], Level::Accumulated(width)).is_some()
            );
        }
        for bad in [f32::NAN, f32::INFINITY] {
            for at in [0, 1] {
                let mut c = testing::values(12, 9);
                c[at] = bad;
                let [loss, d_c] = correlation_on(device, 3, &c);
                assert!(!loss[0].is_finite() && loss[1].is_finite() && !d_c[at].is_finite());
            }
        }
    }

    #[test]
    fn bad_arguments_are_refused() {
        let Some(device) = testing::device() else { return };
        let small = &Buffer::zeroed(device, "small", 3);
        let mut recorder = Recorder::new(device, 1);
        let r = &mut recorder;
        let refused = [
            nt_xent(r, 1, &pairs(true), small, small),
            nt_xent(r, 1, &pairs(false), small, small),
            info_nce(r, &queue([2, 2, 1]), [small, small], [small, small, small]),
            row_lse(r, [2, 2], small, small),
            column_lse(r, [1, 4], small, small),
            symmetric(r, 2, [1.0, 1.0], [small, small], [small, small]),
            variance(r, &spread([3, 1, 2]), small, [small, small, small]),
            variance(r, &spread([2, 1, 2]), small, [small, small, small]),
            variance(r, &spread([4, 1, 2]), small, [small, small, small]),
            correlation(r, 2, &barlow(), small, small),
        ];
        for refused in refused {
            assert!(matches!(refused, Err(Error::Shape { .. })));
        }
    }
}
