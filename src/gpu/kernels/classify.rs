//! Cross-entropy with labels and with soft targets: `classify/*`. Definitions in
//! `reference::classify`.

use crate::Result;
use crate::gpu::buffer::Buffer;
use crate::gpu::kernel::{Kernel, kernel};
use crate::gpu::recorder::Param::{Number, Size};
use crate::gpu::recorder::{Recorder, fold};

const CROSS_ENTROPY: Kernel = kernel!("classify/cross_entropy");
const TARGET_CROSS_ENTROPY: Kernel = kernel!("classify/target_cross_entropy");

/// Records cross-entropy with `inverse_labelled` taken from the step's `hyper`: `logits`,
/// `d_logits` `[rows, classes]`, `labels[rows]` of i32, `loss[rows]`.
pub(crate) fn cross_entropy(
    recorder: &mut Recorder<'_>,
    [rows, classes]: [usize; 2],
    weight: f64,
    [logits, labels]: [&Buffer; 2],
    [loss, d_logits]: [&Buffer; 2],
) -> Result<()> {
    let params = [("rows", Size(rows)), ("classes", Size(classes)), ("weight", Number(weight))];
    let all = rows * classes;
    let buffers = [(logits, all), (labels, rows), (loss, rows), (d_logits, all)];
    recorder.dispatch(&CROSS_ENTROPY, &params, &buffers, fold(rows, 1))
}

/// Records cross-entropy with soft targets and `inverse_weight` taken from the step's `hyper`:
/// `logits`, `targets`, `d_logits` `[rows, classes]`, `weights[rows]`, `loss[rows]`.
pub(crate) fn target_cross_entropy(
    recorder: &mut Recorder<'_>,
    [rows, classes]: [usize; 2],
    weight: f64,
    [logits, targets, weights]: [&Buffer; 3],
    [loss, d_logits]: [&Buffer; 2],
) -> Result<()> {
    let params = [("rows", Size(rows)), ("classes", Size(classes)), ("weight", Number(weight))];
    let all = rows * classes;
    let buffers = [(logits, all), (targets, all), (weights, rows), (loss, rows), (d_logits, all)];
    recorder.dispatch(&TARGET_CROSS_ENTROPY, &params, &buffers, fold(rows, 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;
    use crate::gpu::Device;
    use crate::gpu::Hyper;
    use crate::gpu::testing::{self, Level};
    use crate::reference::classify;

    const SHAPES: [[usize; 2]; 9] =
        [[1, 1], [3, 63], [2, 64], [5, 65], [2, 131], [67, 10], [0, 4], [4, 1], [131, 7]];
    const INVERSE_LABELLED: f32 = 0.25;
    const WEIGHT: f64 = 1.5;

    fn hyper() -> Hyper {
        Hyper { inverse_labelled: INVERSE_LABELLED, ..Hyper::default() }
    }

    fn labels([rows, classes]: [usize; 2]) -> Vec<i32> {
        (0..rows).map(|i| i32::try_from(i % (classes + 2)).unwrap() - 1).collect()
    }

    fn on_device(device: &Device, shape: [usize; 2], logits: &[f32], labels: &[i32]) -> [Vec<f32>; 2] {
        let inputs =
            [&Buffer::from_slice(device, "logits", logits), &Buffer::from_slice(device, "labels", labels)];
        let outputs = [&testing::output(device, shape[0]), &testing::output(device, logits.len())];
        testing::run_with(device, hyper(), |r| cross_entropy(r, shape, WEIGHT, inputs, outputs));
        outputs.map(|buffer| testing::read_guarded(device, buffer))
    }

    fn expected(shape: [usize; 2], logits: &[f32], labels: &[i32]) -> [Vec<f64>; 2] {
        let (mut loss, mut d_logits) = (vec![0.0; shape[0]], vec![0.0; logits.len()]);
        let factors = [WEIGHT, f64::from(INVERSE_LABELLED)];
        classify::cross_entropy(shape, factors, &testing::wide(logits), labels, &mut loss, &mut d_logits);
        [loss, d_logits]
    }

    fn logits([rows, classes]: [usize; 2]) -> Vec<f32> {
        testing::values(1, rows * classes).iter().map(|v| v * 6.0).collect()
    }

    #[test]
    #[cfg_attr(not(kaizen_gpu), ignore = "needs a GPU adapter")]
    fn cross_entropy_matches_the_reference() {
        let device = testing::device();
        for shape in SHAPES {
            let (logits, labels) = (logits(shape), labels(shape));
            let want = expected(shape, &logits, &labels);
            let got = on_device(device, shape, &logits, &labels);
            for (got, want) in got.iter().zip(&want) {
                testing::assert_close(&format!("{shape:?}"), got, want, Level::Accumulated(shape[1]));
            }
        }
    }

    #[test]
    #[cfg_attr(not(kaizen_gpu), ignore = "needs a GPU adapter")]
    fn target_cross_entropy_matches_the_reference() {
        let device = testing::device();
        for shape @ [rows, classes] in SHAPES {
            let logits = logits(shape);
            let targets: Vec<f32> = testing::values(2, rows * classes).iter().map(|v| v.abs()).collect();
            let weights: Vec<f32> = (0..rows).map(|i| [1.0, 0.0, 0.3][i % 3]).collect();
            let up = |values: &[f32]| Buffer::from_slice(device, "input", values);
            let inputs = [&up(&logits), &up(&targets), &up(&weights)];
            let outputs = [&testing::output(device, rows), &testing::output(device, rows * classes)];
            let hyper = Hyper { inverse_weight: 0.25, ..Hyper::default() };
            testing::run_with(device, hyper, |r| target_cross_entropy(r, shape, WEIGHT, inputs, outputs));
            let (mut loss, mut d_logits) = (vec![f64::NAN; rows], vec![f64::NAN; rows * classes]);
            let [logits, targets, weights] = [&logits, &targets, &weights].map(|v| testing::wide(v));
            let targets = [&targets[..], &weights];
            classify::target_cross_entropy(shape, [WEIGHT, 0.25], &logits, targets, &mut loss, &mut d_logits);
            for (buffer, want) in outputs.iter().zip([loss, d_logits]) {
                let got = testing::read_guarded(device, buffer);
                testing::assert_close(&format!("{shape:?}"), &got, &want, Level::Accumulated(classes));
                let flipped: Vec<f64> = want.iter().map(|v| -v - 0.1).collect();
                let seen = testing::mismatch("sign", &got, &flipped, Level::Accumulated(classes));
                assert!(got.is_empty() || seen.is_some());
            }
        }
    }

    #[test]
    #[cfg_attr(not(kaizen_gpu), ignore = "needs a GPU adapter")]
    fn a_label_off_by_one_is_seen() {
        let device = testing::device();
        let shape = [5, 7];
        let want = expected(shape, &logits(shape), &[0, 1, 2, 3, 4]);
        let got = on_device(device, shape, &logits(shape), &[1, 2, 3, 4, 5]);
        for (got, want) in got.iter().zip(&want) {
            assert!(testing::mismatch("label", got, want, Level::Accumulated(7)).is_some());
        }
    }

    #[test]
    #[cfg_attr(not(kaizen_gpu), ignore = "needs a GPU adapter")]
    fn cross_entropy_of_extremes_is_exact_and_poison_is_never_quiet() {
        let device = testing::device();
        let logits = [80.0, -80.0, 80.0, 80.0, 80.0, 80.0, 1e-40, 0.0, 0.0];
        let want = expected([3, 3], &logits, &[1, 0, 0]);
        let got = on_device(device, [3, 3], &logits, &[1, 0, 0]);
        for (got, want) in got.iter().zip(&want) {
            testing::assert_close("extremes", got, want, Level::Accumulated(3));
        }
        for bad in [f32::NAN, f32::INFINITY] {
            let [loss, d_logits] = on_device(device, [2, 3], &[0.0, bad, 1.0, 0.0, 1.0, 2.0], &[0, 0]);
            assert!(!loss[0].is_finite() && loss[1].is_finite(), "{bad}: {loss:?}");
            assert!(d_logits[..3].iter().any(|d| !d.is_finite()), "{bad}: {d_logits:?}");
        }
        let [loss, _] = on_device(device, [1, 2], &[f32::NEG_INFINITY; 2], &[0]);
        assert!(!loss[0].is_finite());
    }

    #[test]
    #[cfg_attr(not(kaizen_gpu), ignore = "needs a GPU adapter")]
    fn more_rows_than_workgroups_fold() {
        let device = testing::device();
        let shape = [65_537, 1];
        let labels: Vec<i32> = (0..65_537).map(|i| i % 2 - 1).collect();
        let got = on_device(device, shape, &vec![3.0; shape[0]], &labels);
        assert!(got.iter().flatten().all(|v| *v == 0.0), "one class leaves neither loss nor gradient");
    }

    #[test]
    #[cfg_attr(not(kaizen_gpu), ignore = "needs a GPU adapter")]
    fn bad_arguments_are_refused() {
        let device = testing::device();
        let small = &Buffer::zeroed(device, "small", 3);
        let mut recorder = Recorder::new(device, 1).unwrap();
        let refused = cross_entropy(&mut recorder, [2, 2], 1.0, [small, small], [small, small]);
        assert!(matches!(refused, Err(Error::Shape { .. })));
    }
}
