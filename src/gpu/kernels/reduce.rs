//! Sums over columns, rows and whole tensors: `reduce/*`. Definitions in `reference::reduce`.

use crate::Result;
use crate::gpu::buffer::Buffer;
use crate::gpu::kernel::{Kernel, kernel};
use crate::gpu::recorder::Param::{Number, Size};
use crate::gpu::recorder::{Recorder, fold};

const COLUMN_DEVIATION: Kernel = kernel!("reduce/column_deviation");
const COLUMN_SUM: Kernel = kernel!("reduce/column_sum");
const NONFINITE: Kernel = kernel!("reduce/nonfinite");
const SQUARE_SUM: Kernel = kernel!("reduce/square_sum");
const TERM_SUM: Kernel = kernel!("reduce/term_sum");
const TOTAL: Kernel = kernel!("reduce/total");

/// Elements that the scratch buffer of [`square_sum`] must have; one buffer serves all tensors of a
/// plan.
pub(crate) const SQUARE_SUM_PARTIALS: usize = 256;

/// Records `out[j] = Σ_i g[i, j]` for g `[rows, columns]`.
pub(crate) fn column_sum(
    recorder: &mut Recorder<'_>,
    [rows, columns]: [usize; 2],
    g: &Buffer,
    out: &Buffer,
) -> Result<()> {
    let params = [("rows", Size(rows)), ("columns", Size(columns))];
    recorder.dispatch(&COLUMN_SUM, &params, &[(g, rows * columns), (out, columns)], fold(columns, 32))
}

/// Records the population standard deviation of each column of z `[rows, columns]` into `deviation`
/// `[columns]`.
pub(crate) fn column_deviation(
    recorder: &mut Recorder<'_>,
    [rows, columns]: [usize; 2],
    z: &Buffer,
    deviation: &Buffer,
) -> Result<()> {
    let params = [("rows", Size(rows)), ("columns", Size(columns))];
    let buffers = [(z, rows * columns), (deviation, columns)];
    recorder.dispatch(&COLUMN_DEVIATION, &params, &buffers, fold(columns, 64))
}

/// Records `terms[hyper.term_start + slot] += scale * Σ rows[..len]`.
pub(crate) fn term_sum(
    recorder: &mut Recorder<'_>,
    len: usize,
    scale: f64,
    rows: &Buffer,
    (terms, slot): (&Buffer, usize),
) -> Result<()> {
    let params = [("len", Size(len)), ("slot", Size(slot)), ("scale", Number(scale))];
    recorder.dispatch(&TERM_SUM, &params, &[(rows, len), (terms, slot + 1)], [1; 3])
}

/// Records `out[slot] = Σ x[..len]²` in two dispatches; `partials` is scratch of
/// [`SQUARE_SUM_PARTIALS`] elements.
pub(crate) fn square_sum(
    recorder: &mut Recorder<'_>,
    len: usize,
    x: &Buffer,
    partials: &Buffer,
    out: (&Buffer, usize),
) -> Result<()> {
    // A lane takes sixteen elements before another workgroup is worth its share of the second
    // dispatch.
    let workgroups = len.div_ceil(64 * 16).clamp(1, SQUARE_SUM_PARTIALS);
    let params = [("len", Size(len)), ("workgroups", Size(workgroups))];
    let buffers = [(x, len), (partials, SQUARE_SUM_PARTIALS)];
    recorder.dispatch(&SQUARE_SUM, &params, &buffers, fold(workgroups, 1))?;
    total(recorder, workgroups, partials, out)
}

/// Records `out[slot] = Σ x[..len]` by one workgroup: for short arrays.
fn total(recorder: &mut Recorder<'_>, len: usize, x: &Buffer, (out, slot): (&Buffer, usize)) -> Result<()> {
    let params = [("len", Size(len)), ("slot", Size(slot))];
    recorder.dispatch(&TOTAL, &params, &[(x, len), (out, slot + 1)], [1; 3])
}

/// Records `terms[hyper.term_start + slot] += ` the number of infinite elements and NaNs in
/// `x[..len]`.
pub(crate) fn nonfinite(
    recorder: &mut Recorder<'_>,
    len: usize,
    x: &Buffer,
    (terms, slot): (&Buffer, usize),
) -> Result<()> {
    let params = [("len", Size(len)), ("slot", Size(slot))];
    recorder.dispatch(&NONFINITE, &params, &[(x, len), (terms, slot + 1)], [1; 3])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::testing::{self, Level};
    use crate::gpu::{Device, Hyper};
    use crate::reference::reduce;

    const SHAPES: [[usize; 2]; 8] =
        [[1, 1], [5, 63], [64, 64], [65, 65], [131, 3], [7, 131], [0, 5], [3, 257]];
    const LENGTHS: [usize; 8] = [0, 1, 63, 64, 65, 131, 1021, 40_000];

    fn up(device: &Device, values: &[f32]) -> Buffer {
        Buffer::from_slice(device, "input", values)
    }

    #[test]
    #[cfg_attr(not(kaizen_gpu), ignore = "needs a GPU adapter")]
    fn column_sum_and_column_deviation_match_the_reference() {
        let device = testing::device();
        for [rows, columns] in SHAPES {
            let x = testing::values(1, rows * columns);
            let (input, wide) = (up(device, &x), testing::wide(&x));
            let [sum, deviation] = [(); 2].map(|()| testing::output(device, columns));
            testing::run(device, |r| {
                column_sum(r, [rows, columns], &input, &sum)?;
                column_deviation(r, [rows, columns], &input, &deviation)
            });
            let (mut mean, mut want) = (vec![0.0; columns], vec![f64::NAN; columns]);
            reduce::column_sum(columns, &wide, &mut want);
            let got = testing::read_guarded(device, &sum);
            testing::assert_close("column_sum", &got, &want, Level::Accumulated(rows));
            reduce::column_deviation(&wide, &mut mean, &mut want);
            let got = testing::read_guarded(device, &deviation);
            testing::assert_close("column_deviation", &got, &want, Level::Accumulated(rows));
        }
    }

    #[test]
    #[cfg_attr(not(kaizen_gpu), ignore = "needs a GPU adapter")]
    fn whole_sums_match_the_reference_and_touch_their_slot_alone() {
        let device = testing::device();
        let hyper = Hyper { term_start: 2, ..Hyper::default() };
        let partials = Buffer::zeroed(device, "partials", SQUARE_SUM_PARTIALS);
        for len in LENGTHS {
            let mut x = testing::values(3, len);
            x.iter_mut().for_each(|v| *v += 0.5);
            let (input, wide) = (up(device, &x), testing::wide(&x));
            let out = testing::in_place(device, &[9.0; 5]);
            testing::run_with(device, hyper, |r| {
                term_sum(r, len, 0.25, &input, (&out, 1))?;
                square_sum(r, len, &input, &partials, (&out, 0))?;
                total(r, len.min(700), &input, (&out, 4))
            });
            let want = [
                reduce::square_sum(&wide),
                9.0,
                9.0,
                9.0 + reduce::term_sum(0.25, &wide),
                reduce::total(&wide[..len.min(700)]),
            ];
            let got = testing::read_guarded(device, &out);
            testing::assert_close(&format!("{len}"), &got, &want, Level::Accumulated(len.min(1000)));
            let control = [want[0] + 0.5, 9.0, 9.0, want[3], want[4]];
            if (1..1000).contains(&len) {
                assert!(testing::mismatch("one more", &got, &control, Level::Accumulated(len)).is_some());
            }
        }
    }

    #[test]
    #[cfg_attr(not(kaizen_gpu), ignore = "needs a GPU adapter")]
    fn the_same_sum_twice_gives_the_same_bits() {
        let device = testing::device();
        let x = up(device, &testing::values(4, 100_003));
        let partials = Buffer::zeroed(device, "partials", SQUARE_SUM_PARTIALS);
        let out = testing::output(device, 2);
        for slot in [0, 1] {
            testing::run(device, |r| square_sum(r, 100_003, &x, &partials, (&out, slot)));
        }
        let got = testing::read_guarded(device, &out);
        assert_eq!(got[0].to_bits(), got[1].to_bits());
    }

    #[test]
    #[cfg_attr(not(kaizen_gpu), ignore = "needs a GPU adapter")]
    fn nonfinite_counts_infinities_and_nans_and_nothing_else() {
        let device = testing::device();
        let hyper = Hyper { term_start: 1, ..Hyper::default() };
        for len in LENGTHS {
            let mut x = testing::values(5, len);
            let edges = [f32::NAN, f32::INFINITY, f32::MAX, f32::NEG_INFINITY, 1e-42, -f32::NAN, f32::MIN];
            for (i, value) in x.iter_mut().enumerate().step_by(3) {
                *value = edges[i / 3 % edges.len()];
            }
            let out = testing::in_place(device, &[0.0, 0.0, 5.0]);
            let input = up(device, &x);
            testing::run_with(device, hyper, |r| nonfinite(r, len, &input, (&out, 1)));
            let want = [0.0, 0.0, 5.0 + reduce::nonfinite(&x) as f64];
            testing::assert_close("nonfinite", &testing::read_guarded(device, &out), &want, Level::Exact);
        }
    }

    #[test]
    #[cfg_attr(not(kaizen_gpu), ignore = "needs a GPU adapter")]
    fn poison_stays_visible_in_every_sum() {
        let device = testing::device();
        let partials = Buffer::zeroed(device, "partials", SQUARE_SUM_PARTIALS);
        for poison in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut x = testing::values(6, 130);
            x[64] = poison;
            let (input, out) = (up(device, &x), testing::output(device, 4));
            let deviation = testing::output(device, 1);
            testing::run(device, |r| {
                column_sum(r, [130, 1], &input, &out)?;
                term_sum(r, 130, 1.0, &input, (&out, 1))?;
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
    #[cfg_attr(not(kaizen_gpu), ignore = "needs a GPU adapter")]
    fn a_buffer_that_is_too_small_is_refused() {
        let device = testing::device();
        let small = Buffer::zeroed(device, "small", 3);
        let mut recorder = Recorder::new(device, 1).unwrap();
        let refused = |result| assert!(matches!(result, Err(crate::Error::Shape { .. })));
        refused(column_sum(&mut recorder, [2, 2], &small, &small));
        refused(column_deviation(&mut recorder, [2, 2], &small, &small));
        refused(term_sum(&mut recorder, 4, 1.0, &small, (&small, 0)));
        refused(term_sum(&mut recorder, 3, 1.0, &small, (&small, 3)));
        refused(square_sum(&mut recorder, 3, &small, &small, (&small, 0)));
        refused(total(&mut recorder, 3, &small, (&small, 3)));
        refused(nonfinite(&mut recorder, 4, &small, (&small, 0)));
    }
}
