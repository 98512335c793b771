use super::*;
use crate::gpu::Device;
use crate::gpu::testing::{self, Level};
use crate::reference::normalize as reference;

/// Large, because two values that share a variance have no gradient left when it is small, only
/// roundings.
const EPS: f64 = 0.0625;
const MOMENTUM: f64 = 0.125;

/// `[rows, columns, groups]`.
const BATCHES: [[usize; 3]; 8] =
    [[2, 1, 1], [5, 63, 1], [64, 64, 2], [66, 65, 3], [131, 3, 1], [14, 131, 2], [12, 7, 4], [65, 1, 1]];

const ROWS: [[usize; 2]; 9] =
    [[1, 2], [3, 63], [64, 64], [65, 65], [2, 131], [131, 7], [1, 1], [0, 5], [5, 257]];

fn up(device: &Device, values: &[f32]) -> Buffer {
    Buffer::from_slice(device, "input", values)
}

/// Values whose columns are spread well enough for a variance, however few the rows.
fn spread(seed: u64, rows: usize, columns: usize) -> Vec<f32> {
    let mut x = testing::values(seed, rows * columns);
    for (i, row) in x.chunks_exact_mut(columns).enumerate() {
        row.iter_mut().for_each(|v| *v += (i % 3) as f32 - 0.5);
    }
    x
}

/// One batch-norm step on the device:
/// `[y, stats, running_mean, running_var, d_x, d_weight, d_bias, inference]`.
fn batch_on_device(device: &Device, sizes: [usize; 3], relu: bool, x: &[f32]) -> [Vec<f32>; 8] {
    let [rows, columns, groups] = sizes;
    let shape = BatchShape::new(rows, columns, groups).unwrap();
    let settings = BatchNorm { eps: EPS, momentum: MOMENTUM, relu };
    let x = up(device, x);
    let [weight, bias, mean, var] = [2, 3, 4, 5].map(|seed| testing::values(seed, columns));
    let (weight, bias) = (up(device, &weight), up(device, &bias));
    let d_y = up(device, &testing::values(6, rows * columns));
    let var: Vec<f32> = var.iter().map(|v| v + 1.5).collect();
    let out = |len| testing::output(device, len);
    let (y, stats) = (out(rows * columns), out(groups * 2 * columns));
    let (mean, var) = (testing::in_place(device, &mean), testing::in_place(device, &var));
    let (d_x, d_weight, d_bias) = (out(rows * columns), out(columns), out(columns));
    let inference = out(rows * columns);
    testing::run(device, |r| {
        let parameters = [&weight, &bias, &mean, &var];
        batch_norm_forward(r, shape, &settings, &x, parameters, [&y, &stats])?;
        let (inputs, mask) = ([&d_y, &x, &weight, &stats], relu.then_some(&y));
        batch_norm_backward(r, shape, inputs, mask, [&d_x, &d_weight, &d_bias])?;
        batch_norm_inference(r, [rows, columns], &settings, &x, parameters, &inference)
    });
    [y, stats, mean, var, d_x, d_weight, d_bias, inference].map(|b| testing::read_guarded(device, &b))
}

/// Batch norm by the reference. The ReLU's mask is `device_y`, so that a value on the kink cannot
/// differ.
fn batch_by_reference(sizes: [usize; 3], relu: bool, x: &[f32], device_y: &[f32]) -> [Vec<f64>; 8] {
    let [rows, columns, groups] = sizes;
    let shape = BatchShape::new(rows, columns, groups).unwrap();
    let settings = BatchNorm { eps: EPS, momentum: MOMENTUM, relu };
    let x = testing::wide(x);
    let [weight, bias, mut mean, var] =
        [2, 3, 4, 5].map(|seed| testing::wide(&testing::values(seed, columns)));
    let d_y = testing::wide(&testing::values(6, rows * columns));
    let mut var: Vec<f64> = var.iter().map(|v| v + 1.5).collect();
    let out = |len| vec![f64::NAN; len];
    let (mut y, mut stats) = (out(rows * columns), out(groups * 2 * columns));
    let (mut d_x, mut d_weight, mut d_bias) = (out(rows * columns), out(columns), out(columns));
    let (mut inference, mut scratch) = (out(rows * columns), out(2 * columns));
    let affine = [&weight[..], &bias[..]];
    let running = [&mut mean[..], &mut var[..]];
    reference::batch_norm_forward(shape, &settings, &x, affine, &mut y, &mut stats, running);
    let mask = testing::wide(device_y);
    let mask = relu.then_some(&mask[..]);
    let d_affine = [&mut d_weight[..], &mut d_bias[..]];
    reference::batch_norm_backward(shape, &d_y, &x, mask, &weight, &stats, &mut d_x, d_affine, &mut scratch);
    reference::batch_norm_inference(columns, &settings, &x, [&weight, &bias, &mean, &var], &mut inference);
    [y, stats, mean, var, d_x, d_weight, d_bias, inference]
}

const BATCH_NAMES: [&str; 8] = ["y", "stats", "mean", "var", "d_x", "d_weight", "d_bias", "inference"];

#[test]
#[cfg_attr(not(kaizen_gpu), ignore = "needs a GPU adapter")]
fn batch_norm_forward_backward_and_inference_match_the_reference() {
    let device = testing::device();
    for sizes in BATCHES {
        for relu in [false, true] {
            let x = spread(1, sizes[0], sizes[1]);
            let got = batch_on_device(device, sizes, relu, &x);
            let want = batch_by_reference(sizes, relu, &x, &got[0]);
            for ((name, got), want) in BATCH_NAMES.iter().zip(&got).zip(&want) {
                let what = format!("batch norm {name} {sizes:?} {relu}");
                testing::assert_close(&what, got, want, Level::Accumulated(sizes[0]));
            }
        }
    }
}

#[test]
#[cfg_attr(not(kaizen_gpu), ignore = "needs a GPU adapter")]
fn groups_that_are_forgotten_are_seen_and_one_row_is_refused() {
    let device = testing::device();
    let x = spread(1, 12, 7);
    let got = batch_on_device(device, [12, 7, 4], false, &x);
    let want = batch_by_reference([12, 7, 1], false, &x, &got[0]);
    for i in [0, 2, 3, 4, 5] {
        let line = testing::mismatch(BATCH_NAMES[i], &got[i], &want[i], Level::Accumulated(12));
        assert!(line.is_some(), "{}", BATCH_NAMES[i]);
    }
    assert!(matches!(BatchShape::new(1, 7, 1), Err(crate::Error::Shape { .. })));
}

#[test]
#[cfg_attr(not(kaizen_gpu), ignore = "needs a GPU adapter")]
fn layer_norm_forward_backward_and_backward_affine_match_the_reference() {
    let device = testing::device();
    for [rows, columns] in ROWS {
        for relu in [false, true] {
            let x: Vec<f32> = testing::values(1, rows * columns).iter().map(|v| 3.0 * v).collect();
            let [weight, bias] = [2, 3].map(|seed| testing::values(seed, columns));
            let d_y = testing::values(4, rows * columns);
            let (gx, gw, gb, gd) = (up(device, &x), up(device, &weight), up(device, &bias), up(device, &d_y));
            let out = |len| testing::output(device, len);
            let (y, stats, d_x) = (out(rows * columns), out(rows * 2), out(rows * columns));
            let (d_weight, d_bias) = (out(columns), out(columns));
            let settings = LayerNorm { eps: EPS, relu };
            testing::run(device, |r| {
                layer_norm_forward(r, [rows, columns], &settings, &gx, [&gw, &gb], [&y, &stats])?;
                let mask = relu.then_some(&y);
                layer_norm_backward(r, [rows, columns], [&gd, &gx, &gw, &stats], mask, &d_x)?;
                let affine = [&d_weight, &d_bias];
                layer_norm_backward_affine(r, [rows, columns], [&gd, &gx, &stats], mask, affine)
            });
            let got = [y, stats, d_x, d_weight, d_bias].map(|b| testing::read_guarded(device, &b));
            let mut want =
                [rows * columns, rows * 2, rows * columns, columns, columns].map(|n| vec![f64::NAN; n]);
            let [x, weight, bias, d_y] = [x, weight, bias, d_y].map(|v| testing::wide(&v));
            let mask = testing::wide(&got[0]);
            let mask = relu.then_some(&mask[..]);
            let [y, stats, d_x, d_weight, d_bias] = &mut want;
            reference::layer_norm_forward(columns, &settings, &x, [&weight, &bias], y, stats);
            reference::layer_norm_backward(columns, &d_y, &x, mask, &weight, stats, d_x);
            reference::layer_norm_backward_affine(columns, &d_y, &x, mask, stats, [d_weight, d_bias]);
            let names = ["y", "stats", "d_x", "d_weight", "d_bias"];
            for ((name, got), want) in names.iter().zip(&got).zip(&want) {
                let what = format!("layer norm {name} {rows} {columns} {relu}");
                testing::assert_close(&what, got, want, Level::Accumulated(columns.max(rows)));
            }
        }
    }
}

#[test]
#[cfg_attr(not(kaizen_gpu), ignore = "needs a GPU adapter")]
fn l2_forward_and_l2_backward_match_the_reference() {
    let device = testing::device();
    for [rows, columns] in ROWS {
        let mut x = testing::values(1, rows * columns);
        if rows > 2 {
            x[columns..2 * columns].fill(0.0);
            x[..columns].iter_mut().for_each(|v| *v *= 1e-5);
        }
        // An eps that the short rows are below, and small enough that their gradients do not hide
        // the others.
        let eps = f64::from(1e-3_f32);
        let d_y = testing::values(2, rows * columns);
        let (gx, gd) = (up(device, &x), up(device, &d_y));
        let [y, norm, d_x] = [rows * columns, rows, rows * columns].map(|len| testing::output(device, len));
        testing::run(device, |r| {
            l2_forward(r, [rows, columns], eps, &gx, [&y, &norm])?;
            l2_backward(r, [rows, columns], eps, [&gd, &y, &norm], &d_x)
        });
        let got = [y, norm, d_x].map(|b| testing::read_guarded(device, &b));
        let mut want = [rows * columns, rows, rows * columns].map(|len| vec![f64::NAN; len]);
        let [y, norm, d_x] = &mut want;
        reference::l2_forward(columns, eps, &testing::wide(&x), y, norm);
        reference::l2_backward(columns, eps, &testing::wide(&d_y), y, norm, d_x);
        for (i, name) in ["y", "norm", "d_x"].iter().enumerate() {
            let what = format!("l2 {name} {rows} {columns}");
            testing::assert_close(&what, &got[i], &want[i], Level::Accumulated(columns));
        }
    }
}

#[test]
#[cfg_attr(not(kaizen_gpu), ignore = "needs a GPU adapter")]
fn poison_stays_visible_behind_the_relu_too() {
    let device = testing::device();
    for poison in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut x = spread(1, 70, 1);
        x[66] = poison;
        let [y, stats, mean, _, d_x, d_weight, ..] = batch_on_device(device, [70, 1, 1], true, &x);
        for (name, got) in [("y", y), ("stats", stats), ("mean", mean), ("d_x", d_x), ("d_weight", d_weight)]
        {
            assert!(got.iter().any(|v| !v.is_finite()), "batch norm {name} {poison}");
        }
        let (input, ones) = (up(device, &x), up(device, &[1.0; 70]));
        let out = |len| testing::output(device, len);
        let (y, stats, unit, norm) = (out(70), out(2), out(70), out(1));
        let settings = LayerNorm { eps: EPS, relu: true };
        testing::run(device, |r| {
            layer_norm_forward(r, [1, 70], &settings, &input, [&ones, &ones], [&y, &stats])?;
            l2_forward(r, [1, 70], 1e-12, &input, [&unit, &norm])
        });
        for (name, buffer) in [("layer norm", y), ("l2", unit), ("norm", norm)] {
            let got = testing::read_guarded(device, &buffer);
            assert!(got.iter().any(|v| !v.is_finite()), "{name} {poison}");
        }
    }
}

#[test]
#[cfg_attr(not(kaizen_gpu), ignore = "needs a GPU adapter")]
fn zero_rows_and_constant_columns_stay_finite() {
    let device = testing::device();
    let [y, _, _, _, d_x, ..] = batch_on_device(device, [64, 1, 1], false, &[3.0; 64]);
    let bias = testing::values(3, 1)[0];
    assert!(y.iter().all(|v| *v == bias) && d_x.iter().all(|v| v.is_finite()));
    let (zero, y, norm) =
        (Buffer::zeroed(device, "zero", 130), testing::output(device, 130), testing::output(device, 2));
    testing::run(device, |r| l2_forward(r, [2, 65], 1e-12, &zero, [&y, &norm]));
    assert_eq!(testing::read_guarded(device, &y), [0.0; 130]);
    assert_eq!(testing::read_guarded(device, &norm), [0.0; 2]);
}

#[test]
#[cfg_attr(not(kaizen_gpu), ignore = "needs a GPU adapter")]
fn a_buffer_that_is_too_small_is_refused() {
    let device = testing::device();
    let (s, l) = (&Buffer::zeroed(device, "small", 3), &Buffer::zeroed(device, "large", 8));
    let mut recorder = Recorder::new(device, 1).unwrap();
    let r = &mut recorder;
    let shape = BatchShape::new(4, 2, 2).unwrap();
    let settings = BatchNorm { eps: EPS, momentum: MOMENTUM, relu: false };
    let layer = LayerNorm { eps: EPS, relu: false };
    let refused = |result| assert!(matches!(result, Err(crate::Error::Shape { .. })));
    refused(batch_norm_forward(r, shape, &settings, l, [l; 4], [l, s]));
    refused(batch_norm_backward(r, shape, [l; 4], Some(s), [l; 3]));
    refused(batch_norm_inference(r, [4, 2], &settings, l, [l; 4], s));
    refused(layer_norm_forward(r, [4, 2], &layer, l, [l, l], [l, s]));
    refused(layer_norm_backward(r, [4, 2], [l; 4], None, s));
    refused(layer_norm_backward_affine(r, [4, 2], [l, l, s], None, [l, l]));
    refused(l2_forward(r, [4, 2], EPS, l, [l, s]));
    refused(l2_backward(r, [4, 2], EPS, [l, l, s], l));
}

#[test]
#[cfg_attr(not(kaizen_gpu), ignore = "needs a GPU adapter")]
fn more_than_65535_rows_fold() {
    let device = testing::device();
    let rows = 65_540;
    let x: Vec<f32> = (0..rows).map(|i| (i % 7 + 1) as f32).collect();
    let (y, norm) = (testing::output(device, rows), testing::output(device, rows));
    let input = up(device, &x);
    testing::run(device, |r| l2_forward(r, [rows, 1], 1e-12, &input, [&y, &norm]));
    assert!(testing::read_guarded(device, &y).iter().all(|v| *v == 1.0));
    assert_eq!(testing::read_guarded(device, &norm), x);
}
