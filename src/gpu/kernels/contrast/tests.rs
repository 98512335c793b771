use super::*;
use crate::gpu::Device;
use crate::gpu::testing::{self, Level};
use crate::reference::contrast::{self, Correlation, Variance};

const SIZES: [usize; 8] = [0, 1, 2, 63, 64, 65, 97, 131];

// Powers of two, and so the same in both precisions.
fn pairs(decoupled: bool) -> NtXent {
    NtXent { decoupled, scale: 0.25, weight: 2.0 }
}

fn queue([rows, columns, negatives]: [usize; 3]) -> InfoNce {
    InfoNce {
        rows,
        columns,
        negatives,
        row_shift: rows / 2,
        inverse_temperature: 4.0,
        scale: 0.25,
        weight: 2.0,
    }
}

fn spread([rows, columns, groups]: [usize; 3]) -> Variance {
    let eps = f64::from(1e-4_f32);
    Variance { rows, columns, groups, loss_scale: 0.25, weight: 2.0, target_std: 0.5, eps }
}

const BARLOW: Correlation =
    Correlation { diagonal_target: 1.0, diagonal_scale: 0.5, off_scale: 0.125, weight: 2.0 };

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

fn nt_xent_on(device: &Device, half: usize, decoupled: bool, s: &[f32]) -> [Vec<f32>; 2] {
    let (loss, s) = (testing::output(device, 2 * half), testing::in_place(device, s));
    testing::run(device, |r| nt_xent(r, half, &pairs(decoupled), &loss, &s));
    read(device, [&loss, &s])
}

#[test]
#[cfg_attr(not(kaizen_gpu), ignore = "needs a GPU adapter")]
fn nt_xent_matches_the_reference() {
    let device = testing::device();
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
#[cfg_attr(not(kaizen_gpu), ignore = "needs a GPU adapter")]
fn nt_xent_poison_is_never_quiet() {
    let device = testing::device();
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
    testing::run(device, |r| info_nce(r, &queue(shape), [&inputs[0], &inputs[1]], [&loss, &d_q, &s]));
    read(device, [&loss, &d_q, &s])
}

#[test]
#[cfg_attr(not(kaizen_gpu), ignore = "needs a GPU adapter")]
fn info_nce_matches_the_reference() {
    let device = testing::device();
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
#[cfg_attr(not(kaizen_gpu), ignore = "needs a GPU adapter")]
fn info_nce_poison_is_never_quiet() {
    let device = testing::device();
    for bad in [f32::NAN, f32::INFINITY] {
        let [loss, d_q, d_s] = info_nce_on(device, [2, 1, 2], &[0.5; 2], &[0.5; 2], &[bad, 0.0, 0.0, 0.0]);
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
    testing::run(device, |r| {
        row_lse(r, [rows, rows], &s, by_row)?;
        column_lse(r, [rows, rows], &s, by_column)?;
        symmetric(r, rows, [0.25, 2.0], [by_row, by_column], [loss, &s])
    });
    read(device, [by_row, by_column, loss, &s])
}

#[test]
#[cfg_attr(not(kaizen_gpu), ignore = "needs a GPU adapter")]
fn row_lse_column_lse_and_symmetric_match_the_reference() {
    let device = testing::device();
    for rows in SIZES {
        let s = similarities(5, rows * rows);
        let mut want = [vec![0.0; rows], vec![0.0; rows], vec![0.0; rows], testing::wide(&s)];
        let [by_row, by_column, loss, d_s] = &mut want;
        contrast::row_lse([rows, rows], d_s, by_row);
        contrast::column_lse([rows, rows], d_s, by_column);
        contrast::symmetric(rows, [0.25, 2.0], by_row, by_column, loss, d_s);
        let got = symmetric_on(device, rows, &s);
        if rows == 1 {
            // One pair against itself: loss and gradient are 0 but for the rounding of the
            // logarithm.
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
#[cfg_attr(not(kaizen_gpu), ignore = "needs a GPU adapter")]
fn log_sum_exp_of_oblong_shapes_matches_the_reference() {
    let device = testing::device();
    for shape @ [rows, columns] in [[3, 131], [131, 3], [1, 65], [65, 1]] {
        let s = similarities(6, rows * columns);
        let mut want = [vec![0.0; rows], vec![0.0; columns]];
        let [by_row, by_column] = &mut want;
        contrast::row_lse(shape, &testing::wide(&s), by_row);
        contrast::column_lse(shape, &testing::wide(&s), by_column);
        let input = Buffer::from_slice(device, "s", &s);
        let (by_row, by_column) = (testing::output(device, rows), testing::output(device, columns));
        testing::run(device, |r| {
            row_lse(r, shape, &input, &by_row)?;
            column_lse(r, shape, &input, &by_column)
        });
        assert_all(&format!("{shape:?}"), &read(device, [&by_row, &by_column]), &want, rows.max(columns));
    }
}

#[test]
#[cfg_attr(not(kaizen_gpu), ignore = "needs a GPU adapter")]
fn symmetric_poison_is_never_quiet() {
    let device = testing::device();
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
    let (centred, loss) = (testing::output(device, z.len()), testing::output(device, shape[1] * shape[2]));
    let d_z = testing::in_place(device, before);
    testing::run(device, |r| variance(r, &spread(shape), &input, [&centred, &loss, &d_z]));
    read(device, [&centred, &loss, &d_z])
}

#[test]
#[cfg_attr(not(kaizen_gpu), ignore = "needs a GPU adapter")]
fn variance_matches_the_reference() {
    let device = testing::device();
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
#[cfg_attr(not(kaizen_gpu), ignore = "needs a GPU adapter")]
fn variance_over_one_group_is_seen_and_poison_is_never_quiet() {
    let device = testing::device();
    let z = testing::values(10, 24);
    let [whole, ..] = variance_on(device, [8, 3, 1], &z, &[0.0; 24]);
    let [halves, ..] = variance_on(device, [8, 3, 2], &z, &[0.0; 24]);
    assert!(testing::mismatch("groups", &whole, &testing::wide(&halves), Level::Accumulated(8)).is_some());
    let [_, loss, d_z] = variance_on(device, [8, 3, 2], &[4.0; 24], &[0.0; 24]);
    assert!(loss.iter().all(|l| (l - 0.25 * 0.49).abs() < 1e-6) && d_z == [0.0; 24]);
    for bad in [f32::NAN, f32::INFINITY] {
        let mut z = z.clone();
        z[0] = bad;
        let [centred, loss, d_z] = variance_on(device, [8, 3, 2], &z, &[0.0; 24]);
        assert!(!centred[0].is_finite() && !loss[0].is_finite() && !d_z[0].is_finite(), "{bad}: {loss:?}");
        assert!(loss[1..].iter().all(|l| l.is_finite()));
    }
}

fn correlation_on(device: &Device, width: usize, c: &[f32]) -> [Vec<f32>; 2] {
    let (loss, c) = (testing::output(device, width), testing::in_place(device, c));
    testing::run(device, |r| correlation(r, width, &BARLOW, &loss, &c));
    read(device, [&loss, &c])
}

#[test]
#[cfg_attr(not(kaizen_gpu), ignore = "needs a GPU adapter")]
fn correlation_matches_the_reference() {
    let device = testing::device();
    for width in SIZES {
        let c = testing::values(11, width * width);
        let mut want = [vec![0.0; width], testing::wide(&c)];
        let [loss, d_c] = &mut want;
        contrast::correlation(width, &BARLOW, loss, d_c);
        let got = correlation_on(device, width, &c);
        assert_all(&format!("{width}"), &got, &want, width);
        let flipped: Vec<_> = got[1].iter().map(|v| -v).collect();
        assert!(
            width == 0 || testing::mismatch("sign", &flipped, &want[1], Level::Accumulated(width)).is_some()
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
#[cfg_attr(not(kaizen_gpu), ignore = "needs a GPU adapter")]
fn bad_arguments_are_refused() {
    let device = testing::device();
    let small = &Buffer::zeroed(device, "small", 3);
    let mut recorder = Recorder::new(device, 1).unwrap();
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
        correlation(r, 2, &BARLOW, small, small),
    ];
    for refused in refused {
        assert!(matches!(refused, Err(Error::Shape { .. })));
    }
}
