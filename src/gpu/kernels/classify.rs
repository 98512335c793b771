//! Kernels of the `classify` family; `reference::classify` defines them and owns their scalars.

use crate::gpu::plan::{fold, size};
use crate::gpu::{Buffer, Recorder};
use crate::{Error, Result};

/// Sources of the family.
pub const SOURCES: &[(&str, &str)] = &[
    ("classify/cross_entropy", include_str!("../../../shaders/classify/cross_entropy.wgsl")),
    ("classify/softmax", include_str!("../../../shaders/classify/softmax.wgsl")),
];

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct CrossEntropyParams {
    rows: u32,
    classes: u32,
    weight: f32,
    pad: u32,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct SoftmaxParams {
    rows: u32,
    classes: u32,
    temperature: f32,
    pad: u32,
}

/// Records [`crate::reference::classify::cross_entropy`] with `inverse_labelled` taken from the step's `hyper`:
/// `logits`, `d_logits` `[rows, classes]`, `labels[rows]` of i32, `loss[rows]`.
///
/// # Errors
/// [`Error::Shape`] if a buffer is too small, [`Error::Device`] if the shader is refused.
pub fn cross_entropy(
    recorder: &mut Recorder<'_>,
    [rows, classes]: [usize; 2],
    weight: f32,
    [logits, labels]: [&Buffer; 2],
    [loss, d_logits]: [&Buffer; 2],
) -> Result<()> {
    logits.at_least("cross_entropy logits", rows * classes)?;
    labels.at_least("cross_entropy labels", rows)?;
    loss.at_least("cross_entropy loss", rows)?;
    d_logits.at_least("cross_entropy d_logits", rows * classes)?;
    let params =
        CrossEntropyParams { rows: size("rows", rows)?, classes: size("classes", classes)?, weight, pad: 0 };
    recorder.dispatch(
        "classify/cross_entropy",
        bytemuck::bytes_of(&params),
        &[logits, labels, loss, d_logits],
        &[],
        fold(rows, 1),
    )
}

/// Records [`crate::reference::classify::softmax`]: `logits`, `probabilities` `[rows, classes]`.
///
/// # Errors
/// [`Error::Config`] if `temperature` is not above 0, [`Error::Shape`] if a buffer is too small, [`Error::Device`] if
/// the shader is refused.
pub fn softmax(
    recorder: &mut Recorder<'_>,
    [rows, classes]: [usize; 2],
    temperature: f32,
    logits: &Buffer,
    probabilities: &Buffer,
) -> Result<()> {
    if !(temperature > 0.0 && temperature.is_finite()) {
        return Err(Error::config("temperature", temperature, "above 0"));
    }
    logits.at_least("softmax logits", rows * classes)?;
    probabilities.at_least("softmax probabilities", rows * classes)?;
    let params =
        SoftmaxParams { rows: size("rows", rows)?, classes: size("classes", classes)?, temperature, pad: 0 };
    recorder.dispatch(
        "classify/softmax",
        bytemuck::bytes_of(&params),
        &[logits, probabilities],
        &[],
        fold(rows, 1),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::Device;
    use crate::gpu::testing::{self, Level, fields};
    use crate::reference::classify::{self, CrossEntropy};

    const SHAPES: [[usize; 2]; 9] =
        [[1, 1], [3, 63], [2, 64], [5, 65], [2, 131], [67, 10], [0, 4], [4, 1], [131, 7]];
    const INVERSE_LABELLED: f32 = 0.25;
    const WEIGHT: f32 = 1.5;

    fn hyper() -> [u8; 48] {
        let mut words = [0.0_f32; 12];
        words[7] = INVERSE_LABELLED;
        bytemuck::cast(words)
    }

    fn labels([rows, classes]: [usize; 2]) -> Vec<i32> {
        (0..rows).map(|i| i32::try_from(i % (classes + 2)).unwrap() - 1).collect()
    }

    fn on_device(device: &Device, shape: [usize; 2], logits: &[f32], labels: &[i32]) -> [Vec<f32>; 2] {
        let inputs =
            [&Buffer::from_slice(device, "logits", logits), &Buffer::from_slice(device, "labels", labels)];
        let outputs = [&testing::output(device, shape[0]), &testing::output(device, logits.len())];
        testing::run(device, &hyper(), |r| cross_entropy(r, shape, WEIGHT, inputs, outputs));
        outputs.map(|buffer| testing::read_guarded(device, buffer))
    }

    fn expected(shape: [usize; 2], logits: &[f32], labels: &[i32]) -> [Vec<f64>; 2] {
        let (mut loss, mut d_logits) = (vec![0.0; shape[0]], vec![0.0; logits.len()]);
        let scalars =
            CrossEntropy { inverse_labelled: f64::from(INVERSE_LABELLED), weight: f64::from(WEIGHT) };
        classify::cross_entropy(shape, &scalars, &testing::wide(logits), labels, &mut loss, &mut d_logits);
        [loss, d_logits]
    }

    fn logits([rows, classes]: [usize; 2]) -> Vec<f32> {
        testing::values(1, rows * classes).iter().map(|v| v * 6.0).collect()
    }

    #[test]
    fn layouts_are_the_shaders() {
        testing::assert_layout::<CrossEntropyParams>(
            "classify/cross_entropy",
            fields!(CrossEntropyParams: rows, classes, weight),
        );
        testing::assert_layout::<SoftmaxParams>(
            "classify/softmax",
            fields!(SoftmaxParams: rows, classes, temperature),
        );
        let swapped = fields!(SoftmaxParams: rows, temperature, classes);
        assert!(testing::layout_fault("classify/softmax", "params", 16, swapped).is_some());
    }

    #[test]
    fn cross_entropy_matches_the_reference() {
        let Some(device) = testing::device() else { return };
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
    fn a_label_off_by_one_is_seen() {
        let Some(device) = testing::device() else { return };
        let shape = [5, 7];
        let want = expected(shape, &logits(shape), &[0, 1, 2, 3, 4]);
        let got = on_device(device, shape, &logits(shape), &[1, 2, 3, 4, 5]);
        for (got, want) in got.iter().zip(&want) {
            assert!(testing::mismatch("label", got, want, Level::Accumulated(7)).is_some());
        }
    }

    #[test]
    fn cross_entropy_of_extremes_is_exact_and_poison_is_never_quiet() {
        let Some(device) = testing::device() else { return };
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
    fn softmax_matches_the_reference() {
        let Some(device) = testing::device() else { return };
        for shape in SHAPES {
            let logits = logits(shape);
            let mut want = vec![0.0; logits.len()];
            classify::softmax(shape, 1.7, &testing::wide(&logits), &mut want);
            let (input, output) =
                (Buffer::from_slice(device, "logits", &logits), testing::output(device, logits.len()));
            testing::run(device, &[], |r| softmax(r, shape, 1.7, &input, &output));
            let got = testing::read_guarded(device, &output);
            testing::assert_close(&format!("{shape:?}"), &got, &want, Level::Accumulated(shape[1]));
        }
    }

    #[test]
    fn more_rows_than_workgroups_fold() {
        let Some(device) = testing::device() else { return };
        let shape = [65_537, 1];
        let (input, output) = (Buffer::zeroed(device, "logits", shape[0]), testing::output(device, shape[0]));
        testing::run(device, &[], |r| softmax(r, shape, 1.0, &input, &output));
        assert!(testing::read_guarded(device, &output).iter().all(|p| *p == 1.0));
    }

    #[test]
    fn bad_arguments_are_refused() {
        let Some(device) = testing::device() else { return };
        let small = &Buffer::zeroed(device, "small", 3);
        let mut recorder = Recorder::new(device, 1);
        let refused = cross_entropy(&mut recorder, [2, 2], 1.0, [small, small], [small, small]);
        assert!(matches!(refused, Err(Error::Shape { .. })));
        for temperature in [0.0, -1.0, f32::NAN] {
            let refused = softmax(&mut recorder, [1, 2], temperature, small, small);
            assert!(matches!(refused, Err(Error::Config { .. })));
        }
    }
}
