//! Kernels of the `distill` family; `reference::distill` defines them and owns their settings.

use crate::gpu::buffer::Buffer;
use crate::gpu::kernel::{Kernel, kernel};
use crate::gpu::recorder::Param::{Number, Size};
use crate::gpu::recorder::{Recorder, fold};
use crate::reference::distill::{Cosine, Mse, SoftLabel};
use crate::{Error, Result};

const COSINE: Kernel = kernel!("distill/cosine");
const MSE: Kernel = kernel!("distill/mse");
const SOFT_LABEL: Kernel = kernel!("distill/soft_label");

/// Records the cross-entropy with a teacher's soft labels, added to `d_logits`. More known classes
/// than either side has are an [`Error::Shape`].
pub(crate) fn soft_label(
    recorder: &mut Recorder<'_>,
    settings: &SoftLabel,
    [logits, teacher_logits]: [&Buffer; 2],
    [loss, d_logits]: [&Buffer; 2],
) -> Result<()> {
    let SoftLabel { rows, classes, teacher_classes, known, loss_scale, weight } = *settings;
    if known > classes.min(teacher_classes) {
        let most = format!("at most {}", classes.min(teacher_classes));
        return Err(Error::shape("soft_label known classes", most, known));
    }
    let params = [
        ("rows", Size(rows)),
        ("classes", Size(classes)),
        ("teacher_classes", Size(teacher_classes)),
        ("known", Size(known)),
        ("loss_scale", Number(loss_scale)),
        ("weight", Number(weight)),
    ];
    let (all, teachers) = (rows * classes, rows * teacher_classes);
    let buffers = [(logits, all), (teacher_logits, teachers), (loss, rows), (d_logits, all)];
    recorder.dispatch(&SOFT_LABEL, &params, &buffers, fold(rows, 1))
}

/// Records the loss in the cosine of p and z.
pub(crate) fn cosine(
    recorder: &mut Recorder<'_>,
    [rows, columns]: [usize; 2],
    settings: &Cosine,
    [p, z]: [&Buffer; 2],
    [loss, d_p]: [&Buffer; 2],
) -> Result<()> {
    let Cosine { row_shift, loss_scale, slope, offset, weight, eps } = *settings;
    let params = [
        ("rows", Size(rows)),
        ("columns", Size(columns)),
        ("row_shift", Size(row_shift % rows.max(1))),
        ("loss_scale", Number(loss_scale)),
        ("slope", Number(slope)),
        ("offset", Number(offset)),
        ("weight", Number(weight)),
        ("eps", Number(eps)),
    ];
    let all = rows * columns;
    let buffers = [(p, all), (z, all), (loss, rows), (d_p, all)];
    recorder.dispatch(&COSINE, &params, &buffers, fold(rows, 1))
}

/// Records the squared distance of r and o, which may be one buffer.
pub(crate) fn mse(
    recorder: &mut Recorder<'_>,
    [rows, columns]: [usize; 2],
    settings: &Mse,
    [r, o]: [&Buffer; 2],
    [loss, d_r]: [&Buffer; 2],
) -> Result<()> {
    let Mse { row_shift, loss_scale, gradient_scale, weight } = *settings;
    let params = [
        ("rows", Size(rows)),
        ("columns", Size(columns)),
        ("row_shift", Size(row_shift % rows.max(1))),
        ("loss_scale", Number(loss_scale)),
        ("gradient_scale", Number(gradient_scale)),
        ("weight", Number(weight)),
    ];
    let all = rows * columns;
    recorder.dispatch(&MSE, &params, &[(r, all), (o, all), (loss, rows), (d_r, all)], fold(rows, 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::Device;
    use crate::gpu::testing::{self, Level};
    use crate::reference::distill;

    const SHAPES: [[usize; 2]; 8] = [[1, 1], [3, 63], [2, 64], [5, 65], [2, 131], [67, 10], [0, 4], [131, 7]];

    /// Runs a kernel of two inputs over garbage or, to be added to, over `d`; returns loss and
    /// gradient.
    fn on_device(
        device: &Device,
        rows: usize,
        inputs: [&[f32]; 2],
        d: Option<&[f32]>,
        record: impl FnOnce(&mut Recorder<'_>, [&Buffer; 2], [&Buffer; 2]) -> Result<()>,
    ) -> [Vec<f32>; 2] {
        let inputs = inputs.map(|values| (values.len(), Buffer::from_slice(device, "input", values)));
        let d = d.map_or_else(|| testing::output(device, inputs[0].0), |d| testing::in_place(device, d));
        let loss = testing::output(device, rows);
        let [left, right] = &inputs;
        testing::run(device, |r| record(r, [&left.1, &right.1], [&loss, &d]));
        [&loss, &d].map(|buffer| testing::read_guarded(device, buffer))
    }

    fn assert_both(what: &str, got: &[Vec<f32>; 2], want: &[Vec<f64>; 2], terms: usize) {
        for (got, want) in got.iter().zip(want) {
            testing::assert_close(what, got, want, Level::Accumulated(terms));
        }
    }

    // Powers of two, and so the same in both precisions.
    fn soft([rows, known]: [usize; 2]) -> SoftLabel {
        let (classes, teacher_classes) = (known + 3, known + 1);
        SoftLabel { rows, classes, teacher_classes, known, loss_scale: 0.25, weight: 2.0 }
    }

    fn line(row_shift: usize) -> Cosine {
        let eps = f64::from(1e-8_f32);
        Cosine { row_shift, loss_scale: 0.25, slope: -2.0, offset: 2.0, weight: 0.5, eps }
    }

    fn squares(row_shift: usize) -> Mse {
        Mse { row_shift, loss_scale: 0.125, gradient_scale: 0.25, weight: 2.0 }
    }

    #[test]
    #[cfg_attr(not(kaizen_gpu), ignore = "needs a GPU adapter")]
    fn soft_label_matches_the_reference() {
        let device = testing::device();
        for shape in SHAPES {
            let settings = soft(shape);
            let logits: Vec<_> =
                testing::values(1, shape[0] * settings.classes).iter().map(|v| v * 6.0).collect();
            let teacher = testing::values(2, shape[0] * settings.teacher_classes);
            let before = testing::values(3, logits.len());
            let mut want = [vec![0.0; shape[0]], testing::wide(&before)];
            let [loss, d] = &mut want;
            distill::soft_label(&settings, &testing::wide(&logits), &testing::wide(&teacher), loss, d);
            let inputs = [&logits[..], &teacher];
            let got = on_device(device, shape[0], inputs, Some(&before), |r, inputs, outputs| {
                soft_label(r, &settings, inputs, outputs)
            });
            assert_both(&format!("{shape:?}"), &got, &want, shape[1]);
        }
    }

    #[test]
    #[cfg_attr(not(kaizen_gpu), ignore = "needs a GPU adapter")]
    fn soft_label_poison_is_never_quiet_and_extremes_are_exact() {
        let device = testing::device();
        let run = |logits: [f32; 5], teacher: [f32; 3]| {
            on_device(device, 1, [&logits, &teacher], Some(&[0.0; 5]), |r, inputs, outputs| {
                soft_label(r, &soft([1, 2]), inputs, outputs)
            })
        };
        let (loss, d) = (vec![0.25 * 160.0], vec![0.5, -0.5, 0.0, 0.0, 0.0]);
        assert_both("extremes", &run([80.0, -80.0, 0.0, 0.0, 0.0], [-80.0, 80.0, 0.0]), &[loss, d], 2);
        for bad in [f32::NAN, f32::INFINITY] {
            let results = [run([0.0, bad, 0.0, 0.0, 0.0], [0.0; 3]), run([0.0; 5], [bad, 0.0, 0.0])];
            for [loss, d] in results {
                assert!(
                    !loss[0].is_finite() && d[..2].iter().any(|d| !d.is_finite()),
                    "{bad}: {loss:?} {d:?}"
                );
            }
        }
    }

    #[test]
    #[cfg_attr(not(kaizen_gpu), ignore = "needs a GPU adapter")]
    fn cosine_matches_the_reference() {
        let device = testing::device();
        for shape in SHAPES {
            let len = shape[0] * shape[1];
            let (p, z, settings) = (testing::values(4, len), testing::values(5, len), line(shape[0] / 2));
            let mut want = [vec![0.0; shape[0]], vec![0.0; len]];
            let [loss, d] = &mut want;
            distill::cosine(shape, &settings, &testing::wide(&p), &testing::wide(&z), loss, d);
            let mut got = on_device(device, shape[0], [&p, &z], None, |r, inputs, outputs| {
                cosine(r, shape, &settings, inputs, outputs)
            });
            if shape[1] == 1 {
                // In one dimension the gradient is 0 but for rounding.
                let [_, d] = &mut got;
                assert!(d.iter_mut().all(|d| std::mem::take(d).abs() < 1e-6), "{shape:?}");
                want[1].fill(0.0);
            }
            assert_both(&format!("{shape:?}"), &got, &want, shape[1]);
        }
    }

    #[test]
    #[cfg_attr(not(kaizen_gpu), ignore = "needs a GPU adapter")]
    fn swapped_sides_are_seen() {
        let device = testing::device();
        let (p, z) = (testing::values(4, 20), testing::values(5, 20));
        let mut want = [vec![0.0; 4], vec![0.0; 20]];
        let [loss, d] = &mut want;
        distill::cosine([4, 5], &line(0), &testing::wide(&p), &testing::wide(&z), loss, d);
        let [_, got] = on_device(device, 4, [&z, &p], None, |r, inputs, outputs| {
            cosine(r, [4, 5], &line(0), inputs, outputs)
        });
        assert!(testing::mismatch("swapped", &got, &want[1], Level::Accumulated(5)).is_some());
        let [got, _] = on_device(device, 4, [&p, &z], None, |r, inputs, outputs| {
            cosine(r, [4, 5], &line(1), inputs, outputs)
        });
        assert!(testing::mismatch("shifted", &got, &want[0], Level::Accumulated(5)).is_some());
    }

    #[test]
    #[cfg_attr(not(kaizen_gpu), ignore = "needs a GPU adapter")]
    fn cosine_of_zero_vectors_is_finite_and_poison_is_never_quiet() {
        let device = testing::device();
        let run = |p: [f32; 4]| {
            on_device(device, 2, [&p, &[3.0, 4.0, 0.0, 0.0]], None, |r, inputs, outputs| {
                cosine(r, [2, 2], &line(0), inputs, outputs)
            })
        };
        let [loss, d] = run([0.0, 1e-40, 1.0, 2.0]);
        assert!(loss == [0.5, 0.5] && d.iter().all(|d| d.is_finite()), "{loss:?} {d:?}");
        for bad in [f32::NAN, f32::INFINITY] {
            let [loss, d] = run([bad, 1.0, 1.0, 2.0]);
            assert!(!loss[0].is_finite() && loss[1] == 0.5, "{bad}: {loss:?}");
            assert!(d[..2].iter().any(|d| !d.is_finite()), "{bad}: {d:?}");
        }
    }

    #[test]
    #[cfg_attr(not(kaizen_gpu), ignore = "needs a GPU adapter")]
    fn mse_matches_the_reference() {
        let device = testing::device();
        for shape in SHAPES {
            let len = shape[0] * shape[1];
            let (mine, other) = (testing::values(7, len), testing::values(8, len));
            let settings = squares(shape[0] / 2);
            let mut want = [vec![0.0; shape[0]], vec![0.0; len]];
            let [loss, d] = &mut want;
            distill::mse(shape, &settings, &testing::wide(&mine), &testing::wide(&other), loss, d);
            let got = on_device(device, shape[0], [&mine, &other], None, |r, inputs, outputs| {
                mse(r, shape, &settings, inputs, outputs)
            });
            assert_both(&format!("{shape:?}"), &got, &want, shape[1]);
        }
        for bad in [f32::NAN, f32::INFINITY] {
            let [loss, d] = on_device(device, 2, [&[bad, 1.0], &[0.0; 2]], None, |r, inputs, outputs| {
                mse(r, [2, 1], &squares(0), inputs, outputs)
            });
            assert!(!loss[0].is_finite() && !d[0].is_finite() && loss[1].is_finite());
        }
    }

    #[test]
    #[cfg_attr(not(kaizen_gpu), ignore = "needs a GPU adapter")]
    fn bad_arguments_are_refused() {
        let device = testing::device();
        let small = &Buffer::zeroed(device, "small", 3);
        let mut recorder = Recorder::new(device, 1).unwrap();
        let pair = [small, small];
        let wide = SoftLabel { known: 9, ..soft([1, 2]) };
        let refused = [
            soft_label(&mut recorder, &wide, pair, pair),
            soft_label(&mut recorder, &soft([2, 2]), pair, pair),
            cosine(&mut recorder, [2, 2], &line(0), pair, pair),
            mse(&mut recorder, [2, 2], &squares(0), pair, pair),
        ];
        for refused in refused {
            assert!(matches!(refused, Err(Error::Shape { .. })));
        }
    }
}
