//! Sums over columns, rows and whole tensors: `reduce/*`. Definitions in `reference::reduce`.

use crate::Result;
use crate::gpu::plan::{fold, size};
use crate::gpu::{Buffer, Recorder};

/// Sources of the family.
pub const SOURCES: &[(&str, &str)] = &[
    ("reduce/column_deviation", include_str!("../../../shaders/reduce/column_deviation.wgsl")),
    ("reduce/column_sum", include_str!("../../../shaders/reduce/column_sum.wgsl")),
    ("reduce/nonfinite", include_str!("../../../shaders/reduce/nonfinite.wgsl")),
    ("reduce/square_sum", include_str!("../../../shaders/reduce/square_sum.wgsl")),
    ("reduce/term_sum", include_str!("../../../shaders/reduce/term_sum.wgsl")),
    ("reduce/total", include_str!("../../../shaders/reduce/total.wgsl")),
];

/// Elements that the scratch buffer of [`square_sum`] must have; one buffer serves all tensors of a plan.
pub const SQUARE_SUM_PARTIALS: usize = 256;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct ColumnParams {
    rows: u32,
    columns: u32,
    accumulate: u32,
    _pad0: u32,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct TermParams {
    len: u32,
    start: u32,
    slot: u32,
    scale: f32,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct CountParams {
    len: u32,
    start: u32,
    slot: u32,
    _pad0: u32,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct PartialParams {
    len: u32,
    workgroups: u32,
    _pad0: u32,
    _pad1: u32,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct TotalParams {
    len: u32,
    slot: u32,
    _pad0: u32,
    _pad1: u32,
}

fn column_params([rows, columns]: [usize; 2], accumulate: bool) -> Result<ColumnParams> {
    size("elements", rows * columns)?;
    Ok(ColumnParams {
        rows: size("rows", rows)?,
        columns: size("columns", columns)?,
        accumulate: u32::from(accumulate),
        _pad0: 0,
    })
}

/// Records `out[j] = Σ_i g[i, j] (+ out[j])` for g `[rows, columns]`.
///
/// # Errors
/// [`crate::Error::Shape`] if a buffer is too small, [`crate::Error::Device`] if the shader is refused.
pub fn column_sum(
    recorder: &mut Recorder<'_>,
    [rows, columns]: [usize; 2],
    accumulate: bool,
    g: &Buffer,
    out: &Buffer,
) -> Result<()> {
    g.at_least("column_sum g", rows * columns)?;
    out.at_least("column_sum out", columns)?;
    let params = column_params([rows, columns], accumulate)?;
    recorder.dispatch("reduce/column_sum", bytemuck::bytes_of(&params), &[g, out], &[], fold(columns, 64))
}

/// Records the population standard deviation of each column of z `[rows, columns]` into `deviation` `[columns]`.
///
/// # Errors
/// As [`column_sum`].
pub fn column_deviation(
    recorder: &mut Recorder<'_>,
    [rows, columns]: [usize; 2],
    z: &Buffer,
    deviation: &Buffer,
) -> Result<()> {
    z.at_least("column_deviation z", rows * columns)?;
    deviation.at_least("column_deviation deviation", columns)?;
    let params = column_params([rows, columns], false)?;
    recorder.dispatch(
        "reduce/column_deviation",
        bytemuck::bytes_of(&params),
        &[z, deviation],
        &[],
        fold(columns, 64),
    )
}

/// Records `terms[hyper.term_start + slot] += scale * Σ rows[start..start + len]`.
///
/// # Errors
/// As [`column_sum`].
pub fn term_sum(
    recorder: &mut Recorder<'_>,
    (rows, start, len): (&Buffer, usize, usize),
    scale: f32,
    (terms, slot): (&Buffer, usize),
) -> Result<()> {
    rows.at_least("term_sum rows", start + len)?;
    terms.at_least("term_sum terms", slot + 1)?;
    let params =
        TermParams { len: size("len", len)?, start: size("start", start)?, slot: size("slot", slot)?, scale };
    recorder.dispatch("reduce/term_sum", bytemuck::bytes_of(&params), &[rows, terms], &[], [1; 3])
}

/// Records `out[slot] = Σ x[..len]²` in two dispatches; `partials` is scratch of [`SQUARE_SUM_PARTIALS`] elements.
///
/// # Errors
/// As [`column_sum`].
pub fn square_sum(
    recorder: &mut Recorder<'_>,
    len: usize,
    x: &Buffer,
    partials: &Buffer,
    (out, slot): (&Buffer, usize),
) -> Result<()> {
    x.at_least("square_sum x", len)?;
    partials.at_least("square_sum partials", SQUARE_SUM_PARTIALS)?;
    // A lane takes sixteen elements before another workgroup is worth its share of the second dispatch.
    let workgroups = len.div_ceil(64 * 16).clamp(1, SQUARE_SUM_PARTIALS);
    let params = PartialParams {
        len: size("len", len)?,
        workgroups: size("workgroups", workgroups)?,
        _pad0: 0,
        _pad1: 0,
    };
    let bytes = bytemuck::bytes_of(&params);
    recorder.dispatch("reduce/square_sum", bytes, &[x, partials], &[], [params.workgroups, 1, 1])?;
    total(recorder, workgroups, partials, (out, slot))
}

/// Records `out[slot] = Σ x[..len]` by one workgroup: for short arrays.
///
/// # Errors
/// As [`column_sum`].
pub fn total(
    recorder: &mut Recorder<'_>,
    len: usize,
    x: &Buffer,
    (out, slot): (&Buffer, usize),
) -> Result<()> {
    x.at_least("total x", len)?;
    out.at_least("total out", slot + 1)?;
    let params = TotalParams { len: size("len", len)?, slot: size("slot", slot)?, _pad0: 0, _pad1: 0 };
    recorder.dispatch("reduce/total", bytemuck::bytes_of(&params), &[x, out], &[], [1; 3])
}

/// Records `terms[hyper.term_start + slot] += ` the number of infinite elements and NaNs in `x[start..start + len]`.
///
/// # Errors
/// As [`column_sum`].
pub fn nonfinite(
    recorder: &mut Recorder<'_>,
    (x, start, len): (&Buffer, usize, usize),
    (terms, slot): (&Buffer, usize),
) -> Result<()> {
    x.at_least("nonfinite x", start + len)?;
    terms.at_least("nonfinite terms", slot + 1)?;
    let params = CountParams {
        len: size("len", len)?,
        start: size("start", start)?,
        slot: size("slot", slot)?,
        _pad0: 0,
    };
    recorder.dispatch("reduce/nonfinite", bytemuck::bytes_of(&params), &[x, terms], &[], [1; 3])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::testing::{self, Level, fields};
    use crate::gpu::{Device, Hyper};
    use crate::reference::reduce;

    const SHAPES: [[usize; 2]; 8] =
        [[1, 1], [5, 63], [64, 64], [65, 65], [131, 3], [7, 131], [0, 5], [3, 257]];
    const LENGTHS: [usize; 8] = [0, 1, 63, 64, 65, 131, 1021, 40_000];

    fn up(device: &Device, values: &[f32]) -> Buffer {
        Buffer::from_slice(device, "input", values)
    }

    #[test]
    fn params_have_the_layout_of_the_shaders() {
        testing::assert_layout::<ColumnParams>(
            "reduce/column_sum",
            fields!(ColumnParams: rows, columns, accumulate),
        );
        testing::assert_layout::<ColumnParams>(
            "reduce/column_deviation",
            fields!(ColumnParams: rows, columns),
        );
        testing::assert_layout::<TermParams>("reduce/term_sum", fields!(TermParams: len, start, slot, scale));
        testing::assert_layout::<CountParams>("reduce/nonfinite", fields!(CountParams: len, start, slot));
        testing::assert_layout::<PartialParams>("reduce/square_sum", fields!(PartialParams: len, workgroups));
        testing::assert_layout::<TotalParams>("reduce/total", fields!(TotalParams: len, slot));
    }

    #[test]
    fn column_sum_and_column_deviation_match_the_reference() {
        let Some(device) = testing::device() else { return };
        for [rows, columns] in SHAPES {
            let (x, start) = (testing::values(1, rows * columns), testing::values(2, columns));
            let (input, wide) = (up(device, &x), testing::wide(&x));
            for accumulate in [false, true] {
                let (out, mut want) = if accumulate {
                    (testing::in_place(device, &start), testing::wide(&start))
                } else {
                    (testing::output(device, columns), vec![f64::NAN; columns])
                };
                testing::run(device, &[], |r| column_sum(r, [rows, columns], accumulate, &input, &out));
                reduce::column_sum(columns, accumulate, &wide, &mut want);
                let got = testing::read_guarded(device, &out);
                testing::assert_close("column_sum", &got, &want, Level::Accumulated(rows));
            }
            let deviation = testing::output(device, columns);
            testing::run(device, &[], |r| column_deviation(r, [rows, columns], &input, &deviation));
            let (mut mean, mut want) = (vec![0.0; columns], vec![f64::NAN; columns]);
            reduce::column_deviation(&wide, &mut mean, &mut want);
            let got = testing::read_guarded(device, &deviation);
            testing::assert_close("column_deviation", &got, &want, Level::Accumulated(rows));
        }
    }

    #[test]
    fn whole_sums_match_the_reference_and_touch_their_slot_alone() {
        let Some(device) = testing::device() else { return };
        let hyper = Hyper { term_start: 2, ..Hyper::default() };
        let partials = Buffer::zeroed(device, "partials", SQUARE_SUM_PARTIALS);
        for len in LENGTHS {
            let mut x = testing::values(3, len + 3);
            x.iter_mut().for_each(|v| *v += 0.5);
            let (input, wide) = (up(device, &x), testing::wide(&x));
            let out = testing::in_place(device, &[9.0; 5]);
            testing::run(device, hyper.as_ref(), |r| {
                term_sum(r, (&input, 3, len), 0.25, (&out, 1))?;
                square_sum(r, len, &input, &partials, (&out, 0))?;
                total(r, len.min(700), &input, (&out, 4))
            });
            let want = [
                reduce::square_sum(&wide[..len]),
                9.0,
                9.0,
                9.0 + reduce::term_sum(0.25, &wide[3..]),
                reduce::total(&wide[..len.min(700)]),
            ];
            let got = testing::read_guarded(device, &out);
            testing::assert_close(&format!("{len}"), &got, &want, Level::Accumulated(len.min(1000)));
            let more = reduce::square_sum(&wide[..len.max(1)]);
            let control = [more + if len == 0 { 0.0 } else { 0.5 }, 9.0, 9.0, want[3], want[4]];
            if (1..1000).contains(&len) {
                assert!(testing::mismatch("one more", &got, &control, Level::Accumulated(len)).is_some());
            }
        }
    }

    #[test]
    fn the_same_sum_twice_gives_the_same_bits() {
        let Some(device) = testing::device() else { return };
        let x = up(device, &testing::values(4, 100_003));
        let partials = Buffer::zeroed(device, "partials", SQUARE_SUM_PARTIALS);
        let out = testing::output(device, 2);
        for slot in [0, 1] {
            testing::run(device, &[], |r| square_sum(r, 100_003, &x, &partials, (&out, slot)));
        }
        let got = testing::read_guarded(device, &out);
        assert_eq!(got[0].to_bits(), got[1].to_bits());
    }

    #[test]
    fn nonfinite_counts_infinities_and_nans_and_nothing_else() {
        let Some(device) = testing::device() else { return };
        let hyper = Hyper { term_start: 1, ..Hyper::default() };
        for len in LENGTHS {
            let mut x = testing::values(5, len + 2);
            let edges = [f32::NAN, f32::INFINITY, f32::MAX, f32::NEG_INFINITY, 1e-42, -f32::NAN, f32::MIN];
            for (i, value) in x.iter_mut().enumerate().step_by(3) {
                *value = edges[i / 3 % edges.len()];
            }
            let out = testing::in_place(device, &[0.0, 0.0, 5.0]);
            let input = up(device, &x);
            testing::run(device, hyper.as_ref(), |r| nonfinite(r, (&input, 2, len), (&out, 1)));
            let want = [0.0, 0.0, 5.0 + reduce::nonfinite(&x[2..]) as f64];
            testing::assert_close("nonfinite", &testing::read_guarded(device, &out), &want, Level::Exact);
        }
    }

    #[test]
    fn poison_stays_visible_in_every_sum() {
        let Some(device) = testing::device() else { return };
        let partials = Buffer::zeroed(device, "partials", SQUARE_SUM_PARTIALS);
        for poison in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut x = testing::values(6, 130);
            x[64] = poison;
            let (input, out) = (up(device, &x), testing::output(device, 4));
            let deviation = testing::output(device, 1);
            testing::run(device, Hyper::default().as_ref(), |r| {
                column_sum(r, [130, 1], false, &input, &out)?;
                term_sum(r, (&input, 0, 130), 1.0, (&out, 1))?;
                square_sum(r, 130, &input, &partials, (&out, 2))?;
                total(r, 130, &input, (&out, 3))?;
                column_deviation(r, [130, 1], &input, &deviation)
            });
            let mut got = testing::read_guarded(device, &out);
            got.extend(testing::read_guarded(device, &deviation));
            assert!(got.iter().all(|v| !v.is_finite()), "{poison}: {got:?}");
        }
    }

    #[test]
    fn a_buffer_that_is_too_small_is_refused() {
        let Some(device) = testing::device() else { return };
        let small = Buffer::zeroed(device, "small", 3);
        let mut recorder = Recorder::new(device, 1);
        let refused = |result| assert!(matches!(result, Err(crate::Error::Shape { .. })));
        refused(column_sum(&mut recorder, [2, 2], false, &small, &small));
        refused(column_deviation(&mut recorder, [2, 2], &small, &small));
        refused(term_sum(&mut recorder, (&small, 1, 3), 1.0, (&small, 0)));
        refused(term_sum(&mut recorder, (&small, 0, 3), 1.0, (&small, 3)));
        refused(square_sum(&mut recorder, 3, &small, &small, (&small, 0)));
        refused(total(&mut recorder, 3, &small, (&small, 3)));
        refused(nonfinite(&mut recorder, (&small, 1, 3), (&small, 0)));
    }
}
