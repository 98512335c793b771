use super::*;
use crate::reference::testing::{check, disagreement, values};

struct Batch {
    y: Vec<f64>,
    stats: Vec<f64>,
    running: [Vec<f64>; 2],
}

fn forward(shape: BatchShape, relu: bool, x: &[f64], weight: &[f64], bias: &[f64]) -> Batch {
    let [rows, columns, groups] = shape.sizes();
    let mut out = Batch {
        y: vec![f64::NAN; rows * columns],
        stats: vec![f64::NAN; groups * 2 * columns],
        running: [vec![0.0; columns], vec![1.0; columns]],
    };
    let [mean, var] = &mut out.running;
    let settings = BatchNorm::new(relu);
    batch_norm_forward(shape, &settings, x, [weight, bias], &mut out.y, &mut out.stats, [mean, var]);
    out
}

/// `[d_x, d_weight, d_bias]`.
fn backward(
    shape: BatchShape,
    relu: bool,
    d_y: &[f64],
    x: &[f64],
    weight: &[f64],
    batch: &Batch,
) -> [Vec<f64>; 3] {
    let [_, columns, _] = shape.sizes();
    let mut d_x = vec![f64::NAN; x.len()];
    let (mut d_weight, mut d_bias) = (vec![f64::NAN; columns], vec![f64::NAN; columns]);
    let mask = relu.then_some(&batch.y[..]);
    let affine = [&mut d_weight[..], &mut d_bias[..]];
    let scratch = &mut vec![f64::NAN; 2 * columns];
    batch_norm_backward(shape, d_y, x, mask, weight, &batch.stats, &mut d_x, affine, scratch);
    [d_x, d_weight, d_bias]
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[test]
fn batch_norm_gradients_match_differences_and_a_missing_mean_is_seen() {
    for (relu, groups) in [(false, 1), (true, 1), (false, 3), (true, 2)] {
        let shape = BatchShape::new(12, 3, groups).unwrap();
        let (x, weight, bias, d_y) = (values(1, 36), values(2, 3), values(3, 3), values(4, 36));
        let loss = |x: &[f64], w: &[f64], b: &[f64]| dot(&forward(shape, relu, x, w, b).y, &d_y);
        let batch = forward(shape, relu, &x, &weight, &bias);
        let [d_x, d_weight, d_bias] = backward(shape, relu, &d_y, &x, &weight, &batch);
        check("d_x", &x, &d_x, |x| loss(x, &weight, &bias));
        check("d_weight", &weight, &d_weight, |w| loss(&x, w, &bias));
        check("d_bias", &bias, &d_bias, |b| loss(&x, &weight, b));
        let frozen: Vec<_> = (0..36)
            .map(|i| {
                let group = i / (36 / groups);
                d_y[i] * weight[i % 3] * batch.stats[group * 6 + 3 + i % 3]
            })
            .collect();
        assert!(disagreement(&x, &frozen, |x| loss(x, &weight, &bias)).is_some());
    }
}

#[test]
fn batch_norm_columns_have_mean_0_and_variance_1_in_each_group() {
    let shape = BatchShape::new(10, 2, 2).unwrap();
    let x: Vec<_> = values(5, 20).iter().map(|v| 100.0 + 30.0 * v).collect();
    let y = forward(shape, false, &x, &[1.0; 2], &[0.0; 2]).y;
    for group in y.chunks_exact(10) {
        for column in 0..2 {
            let values: Vec<_> = group.iter().skip(column).step_by(2).collect();
            let mean = values.iter().copied().sum::<f64>() / 5.0;
            let var = values.iter().map(|v| (*v - mean).powi(2)).sum::<f64>() / 5.0;
            assert!(mean.abs() < 1e-12 && (var - 1.0).abs() < 1e-6, "{mean} {var}");
        }
    }
}

#[test]
fn running_statistics_move_once_a_group_and_inference_uses_them() {
    let shape = BatchShape::new(4, 1, 2).unwrap();
    let batch = forward(shape, false, &[1.0, 3.0, 5.0, 9.0], &[1.0], &[0.0]);
    let close = |a: f64, b: f64| (a - b).abs() < 1e-15;
    assert!(close(batch.running[0][0], 0.9 * 0.2 + 0.7));
    assert!(close(batch.running[1][0], 0.9 * (0.9 + 0.2) + 0.8));
    let (mut y, parameters) = ([0.0; 2], [&[2.0][..], &[1.0], &[3.0], &[4.0 - 1e-5]]);
    batch_norm_inference(1, &BatchNorm::new(true), &[1.0, 9.0], parameters, &mut y);
    assert_eq!(y, [0.0, 7.0]);
}

#[test]
fn shapes_without_a_variance_are_refused() {
    for (rows, columns, groups) in [(1, 4, 1), (2, 4, 2), (0, 4, 1), (5, 4, 2), (4, 4, 0), (4, 0, 1)] {
        let refused = BatchShape::new(rows, columns, groups);
        assert!(matches!(refused, Err(Error::Shape { .. })), "{rows} {columns} {groups}");
    }
    assert!(BatchShape::new(4, 1, 2).is_ok());
}

#[test]
fn the_relu_is_0_on_the_kink_and_its_gradient_too() {
    let shape = BatchShape::new(2, 1, 1).unwrap();
    let batch = forward(shape, true, &[1.0, 1.0], &[1.0], &[0.0]);
    assert_eq!(batch.y, [0.0, 0.0]);
    let [d_x, ..] = backward(shape, true, &[1.0, 2.0], &[1.0, 1.0], &[1.0], &batch);
    assert_eq!(d_x, [0.0, 0.0]);
}

#[test]
fn layer_norm_gradients_match_differences() {
    for relu in [false, true] {
        let (m, f) = (4, 11);
        let (x, weight, bias, d_y) = (values(1, m * f), values(2, f), values(3, f), values(4, m * f));
        let settings = LayerNorm::new(relu);
        let run = |x: &[f64], w: &[f64], b: &[f64]| {
            let (mut y, mut stats) = (vec![f64::NAN; m * f], vec![f64::NAN; 2 * m]);
            layer_norm_forward(f, &settings, x, [w, b], &mut y, &mut stats);
            (y, stats)
        };
        let loss = |x: &[f64], w: &[f64], b: &[f64]| dot(&run(x, w, b).0, &d_y);
        let (y, stats) = run(&x, &weight, &bias);
        let mask = relu.then_some(&y[..]);
        let mut d_x = vec![f64::NAN; m * f];
        let (mut d_weight, mut d_bias) = (vec![f64::NAN; f], vec![f64::NAN; f]);
        layer_norm_backward(f, &d_y, &x, mask, &weight, &stats, &mut d_x);
        layer_norm_backward_affine(f, &d_y, &x, mask, &stats, [&mut d_weight, &mut d_bias]);
        check("d_x", &x, &d_x, |x| loss(x, &weight, &bias));
        check("d_weight", &weight, &d_weight, |w| loss(&x, w, &bias));
        check("d_bias", &bias, &d_bias, |b| loss(&x, &weight, b));
        let swapped: Vec<_> = d_weight.iter().rev().copied().collect();
        assert!(disagreement(&weight, &swapped, |w| loss(&x, w, &bias)).is_some());
    }
}

#[test]
fn l2_rows_have_length_1_and_their_gradient_is_tangent() {
    let (m, f) = (3, 13);
    let (x, d_y) = (values(1, m * f), values(2, m * f));
    let run = |x: &[f64]| {
        let (mut y, mut norm) = (vec![f64::NAN; m * f], vec![f64::NAN; m]);
        l2_forward(f, 1e-12, x, &mut y, &mut norm);
        (y, norm)
    };
    let (y, norm) = run(&x);
    let mut d_x = vec![f64::NAN; m * f];
    l2_backward(f, 1e-12, &d_y, &y, &norm, &mut d_x);
    for (row, gradient) in y.chunks_exact(f).zip(d_x.chunks_exact(f)) {
        assert!((dot(row, row) - 1.0).abs() < 1e-12 && dot(row, gradient).abs() < 1e-12);
    }
    check("d_x", &x, &d_x, |x| dot(&run(x).0, &d_y));
    let wrong: Vec<_> = (0..m * f).map(|i| d_y[i] / norm[i / f]).collect();
    assert!(disagreement(&x, &wrong, |x| dot(&run(x).0, &d_y)).is_some());
}

#[test]
fn zero_rows_and_constant_columns_stay_finite() {
    let (mut y, mut norm, mut d_x) = ([f64::NAN; 2], [f64::NAN], [f64::NAN; 2]);
    l2_forward(2, 1e-12, &[0.0, 0.0], &mut y, &mut norm);
    assert_eq!((y, norm), ([0.0; 2], [0.0]));
    l2_backward(2, 0.5, &[1.0, -2.0], &y, &norm, &mut d_x);
    assert_eq!(d_x, [2.0, -4.0]);
    let shape = BatchShape::new(3, 1, 1).unwrap();
    assert_eq!(forward(shape, false, &[7.0; 3], &[2.0], &[1.0]).y, [1.0; 3]);
    let mut stats = [f64::NAN; 2];
    let settings = LayerNorm::new(false);
    layer_norm_forward(2, &settings, &[4.0, 4.0], [&[1.0; 2], &[3.0; 2]], &mut y, &mut stats);
    assert_eq!(y, [3.0; 2]);
}

#[test]
fn poison_stays_visible_behind_the_relu_too() {
    for poison in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let x = [1.0, poison, -2.0, 3.0];
        let shape = BatchShape::new(4, 1, 1).unwrap();
        let batch = forward(shape, true, &x, &[1.0], &[0.0]);
        assert!(batch.y.iter().all(|v| !v.is_finite()), "batch norm {poison}");
        let [d_x, ..] = backward(shape, true, &[1.0; 4], &x, &[1.0], &batch);
        assert!(d_x.iter().all(|v| !v.is_finite()), "batch norm backward {poison}");
        let (mut y, mut stats, mut norm) = ([0.0; 4], [0.0; 2], [0.0]);
        let settings = LayerNorm::new(true);
        layer_norm_forward(4, &settings, &x, [&[1.0; 4], &[0.0; 4]], &mut y, &mut stats);
        assert!(y.iter().all(|v| !v.is_finite()), "layer norm {poison}");
        l2_forward(4, 1e-12, &x, &mut y, &mut norm);
        assert!(!y[1].is_finite() && !norm[0].is_finite(), "l2 {poison}");
    }
}
