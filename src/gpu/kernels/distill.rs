//! Kernels of the `distill` family; `reference::distill` defines them and owns their scalars.

use crate::gpu::plan::{fold, size};
use crate::gpu::{Buffer, Recorder};
use crate::reference::distill::{Cosine, Mse, SoftLabel};
use crate::{Error, Result};

/// Sources of the family.
pub const SOURCES: &[(&str, &str)] = &[
    ("distill/cosine", include_str!("../../../shaders/distill/cosine.wgsl")),
    ("distill/mse", include_str!("../../../shaders/distill/mse.wgsl")),
    ("distill/soft_label", include_str!("../../../shaders/distill/soft_label.wgsl")),
];

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct SoftLabelParams {
    rows: u32,
    classes: u32,
    teacher_classes: u32,
    known: u32,
    loss_scale: f32,
    weight: f32,
    overwrite: u32,
    pad: u32,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct CosineParams {
    rows: u32,
    columns: u32,
    row_shift: u32,
    accumulate: u32,
    loss_scale: f32,
    slope: f32,
    offset: f32,
    weight: f32,
    eps: f32,
    pad: [u32; 3],
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct MseParams {
    rows: u32,
    columns: u32,
    row_shift: u32,
    accumulate: u32,
    loss_scale: f32,
    gradient_scale: f32,
    weight: f32,
    pad: u32,
}

/// Records [`crate::reference::distill::soft_label`]: `logits`, `d_logits` `[rows, classes]`,
/// `teacher_logits` `[rows, teacher_classes]`, `loss[rows]`.
///
/// # Errors
/// [`Error::Shape`] if more classes are known than either side has or a buffer is too small, [`Error::Device`] if the
/// shader is refused.
pub fn soft_label(
    recorder: &mut Recorder<'_>,
    scalars: &SoftLabel<f32>,
    [logits, teacher_logits]: [&Buffer; 2],
    [loss, d_logits]: [&Buffer; 2],
) -> Result<()> {
    let SoftLabel { rows, classes, teacher_classes, known, .. } = *scalars;
    if known > classes.min(teacher_classes) {
        let most = format!("at most {}", classes.min(teacher_classes));
        return Err(Error::shape("soft_label known classes", most, known));
    }
    logits.at_least("soft_label logits", rows * classes)?;
    teacher_logits.at_least("soft_label teacher_logits", rows * teacher_classes)?;
    loss.at_least("soft_label loss", rows)?;
    d_logits.at_least("soft_label d_logits", rows * classes)?;
    let params = SoftLabelParams {
        rows: size("rows", rows)?,
        classes: size("classes", classes)?,
        teacher_classes: size("teacher_classes", teacher_classes)?,
        known: size("known", known)?,
        loss_scale: scalars.loss_scale,
        weight: scalars.weight,
        overwrite: u32::from(scalars.overwrite),
        pad: 0,
    };
    recorder.dispatch(
        "distill/soft_label",
        bytemuck::bytes_of(&params),
        &[logits, teacher_logits, loss, d_logits],
        &[],
        fold(rows, 1),
    )
}

/// Records [`crate::reference::distill::cosine`]: p, z, `d_p` `[rows, columns]`, `loss[rows]`.
///
/// # Errors
/// [`Error::Shape`] if a buffer is too small, [`Error::Device`] if the shader is refused.
pub fn cosine(
    recorder: &mut Recorder<'_>,
    [rows, columns]: [usize; 2],
    scalars: &Cosine<f32>,
    [p, z]: [&Buffer; 2],
    [loss, d_p]: [&Buffer; 2],
) -> Result<()> {
    for (what, buffer) in [("cosine p", p), ("cosine z", z), ("cosine d_p", d_p)] {
        buffer.at_least(what, rows * columns)?;
    }
    loss.at_least("cosine loss", rows)?;
    let params = CosineParams {
        rows: size("rows", rows)?,
        columns: size("columns", columns)?,
        row_shift: size("row_shift", scalars.row_shift % rows.max(1))?,
        accumulate: u32::from(scalars.accumulate),
        loss_scale: scalars.loss_scale,
        slope: scalars.slope,
        offset: scalars.offset,
        weight: scalars.weight,
        eps: scalars.eps,
        pad: [0; 3],
    };
    recorder.dispatch("distill/cosine", bytemuck::bytes_of(&params), &[p, z, loss, d_p], &[], fold(rows, 1))
}

/// Records [`crate::reference::distill::mse`]: r, o, `d_r` `[rows, columns]`, `loss[rows]`; r and o may be one buffer.
///
/// # Errors
/// [`Error::Shape`] if a buffer is too small, [`Error::Device`] if the shader is refused.
pub fn mse(
    recorder: &mut Recorder<'_>,
    [rows, columns]: [usize; 2],
    scalars: &Mse<f32>,
    [r, o]: [&Buffer; 2],
    [loss, d_r]: [&Buffer; 2],
) -> Result<()> {
    for (what, buffer) in [("mse r", r), ("mse o", o), ("mse d_r", d_r)] {
        buffer.at_least(what, rows * columns)?;
    }
    loss.at_least("mse loss", rows)?;
    let params = MseParams {
        rows: size("rows", rows)?,
        columns: size("columns", columns)?,
        row_shift: size("row_shift", scalars.row_shift % rows.max(1))?,
        accumulate: u32::from(scalars.accumulate),
        loss_scale: scalars.loss_scale,
        gradient_scale: scalars.gradient_scale,
        weight: scalars.weight,
        pad: 0,
    };
    recorder.dispatch("distill/mse", bytemuck::bytes_of(&params), &[r, o, loss, d_r], &[], fold(rows, 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::Device;
    use crate::gpu::testing::{self, Level, fields};
    use crate::reference::{Real, distill};

    const SHAPES: [[usize; 2]; 8] = [[1, 1], [3, 63], [2, 64], [5, 65], [2, 131], [67, 10], [0, 4], [131, 7]];

    /// Runs a kernel of two inputs over garbage or, to be added to, over `d`; gives the loss and the gradient.
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
        testing::run(device, &[], |r| record(r, [&left.1, &right.1], [&loss, &d]));
        [&loss, &d].map(|buffer| testing::read_guarded(device, buffer))
    }

    fn assert_both(what: &str, got: &[Vec<f32>; 2], want: &[Vec<f64>; 2], terms: usize) {
        for (got, want) in got.iter().zip(want) {
            testing::assert_close(what, got, want, Level::Accumulated(terms));
        }
    }

    #[test]
    fn layouts_are_the_shaders() {
        testing::assert_layout::<SoftLabelParams>(
            "distill/soft_label",
            fields!(SoftLabelParams: rows, classes, teacher_classes, known, loss_scale, weight, overwrite),
        );
        testing::assert_layout::<CosineParams>(
            "distill/cosine",
            fields!(CosineParams: rows, columns, row_shift, accumulate, loss_scale, slope, offset, weight, eps),
        );
        testing::assert_layout::<MseParams>(
            "distill/mse",
            fields!(MseParams: rows, columns, row_shift, accumulate, loss_scale, gradient_scale, weight),
        );
    }

    // The scalars are powers of two and so the same in both precisions.
    fn soft<T: Real>([rows, known]: [usize; 2], overwrite: bool) -> SoftLabel<T> {
        SoftLabel {
            rows,
            classes: known + 3,
            teacher_classes: known + 1,
            known,
            loss_scale: T::of(0.25),
            weight: T::of(2.0),
            overwrite,
        }
    }

    fn line<T: Real>(row_shift: usize, accumulate: bool) -> Cosine<T> {
        Cosine {
            row_shift,
            loss_scale: T::of(0.25),
            slope: T::of(-2.0),
            offset: T::of(2.0),
            weight: T::of(0.5),
            eps: T::of(f64::from(1e-8_f32)),
            accumulate,
        }
    }

    fn squares<T: Real>(row_shift: usize, accumulate: bool) -> Mse<T> {
        Mse {
            row_shift,
            loss_scale: T::of(0.125),
            gradient_scale: T::of(0.25),
            weight: T::of(2.0),
            accumulate,
        }
    }

    #[test]
    fn soft_label_matches_the_reference() {
        let Some(device) = testing::device() else { return };
        for shape in SHAPES {
            for overwrite in [false, true] {
                let (on_gpu, wide) = (soft::<f32>(shape, overwrite), soft::<f64>(shape, overwrite));
                let logits: Vec<_> =
                    testing::values(1, shape[0] * wide.classes).iter().map(|v| v * 6.0).collect();
                let teacher = testing::values(2, shape[0] * wide.teacher_classes);
                let before = testing::values(3, logits.len());
                let mut want = [vec![0.0; shape[0]], testing::wide(&before)];
                let [loss, d] = &mut want;
                distill::soft_label(&wide, &testing::wide(&logits), &testing::wide(&teacher), loss, d);
                let kept = (!overwrite).then_some(&before[..]);
                let got = on_device(device, shape[0], [&logits, &teacher], kept, |r, inputs, outputs| {
                    soft_label(r, &on_gpu, inputs, outputs)
                });
                assert_both(&format!("{shape:?} {overwrite}"), &got, &want, shape[1]);
            }
        }
    }

    #[test]
    fn soft_label_poison_is_never_quiet_and_extremes_are_exact() {
        let Some(device) = testing::device() else { return };
        let run = |logits: [f32; 5], teacher: [f32; 3]| {
            on_device(device, 1, [&logits, &teacher], None, |r, inputs, outputs| {
                soft_label(r, &soft([1, 2], true), inputs, outputs)
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
    fn cosine_matches_the_reference() {
        let Some(device) = testing::device() else { return };
        for shape in SHAPES {
            let len = shape[0] * shape[1];
            let (p, z, before) = (testing::values(4, len), testing::values(5, len), testing::values(6, len));
            // In one dimension the gradient is 0 but for rounding, which only shows beside another value.
            for accumulate in if shape[1] == 1 { &[true][..] } else { &[false, true] } {
                let mut want = [vec![0.0; shape[0]], testing::wide(&before)];
                let [loss, d] = &mut want;
                let wide = line(shape[0] / 2, *accumulate);
                distill::cosine(shape, &wide, &testing::wide(&p), &testing::wide(&z), loss, d);
                let kept = accumulate.then_some(&before[..]);
                let got = on_device(device, shape[0], [&p, &z], kept, |r, inputs, outputs| {
                    cosine(r, shape, &line(shape[0] / 2, *accumulate), inputs, outputs)
                });
                assert_both(&format!("{shape:?} {accumulate}"), &got, &want, shape[1]);
            }
        }
    }

    #[test]
    fn swapped_sides_are_seen() {
        let Some(device) = testing::device() else { return };
        let (p, z) = (testing::values(4, 20), testing::values(5, 20));
        let mut want = [vec![0.0; 4], vec![0.0; 20]];
        let [loss, d] = &mut want;
        distill::cosine([4, 5], &line(0, false), &testing::wide(&p), &testing::wide(&z), loss, d);
        let [_, got] = on_device(device, 4, [&z, &p], None, |r, inputs, outputs| {
            cosine(r, [4, 5], &line(0, false), inputs, outputs)
        });
        assert!(testing::mismatch("swapped", &got, &want[1], Level::Accumulated(5)).is_some());
        let [got, _] = on_device(device, 4, [&p, &z], None, |r, inputs, outputs| {
            cosine(r, [4, 5], &line(1, false), inputs, outputs)
        });
        assert!(testing::mismatch("shifted", &got, &want[0], Level::Accumulated(5)).is_some());
    }

    #[test]
    fn cosine_of_zero_vectors_is_finite_and_poison_is_never_quiet() {
        let Some(device) = testing::device() else { return };
        let run = |p: [f32; 4]| {
            on_device(device, 2, [&p, &[3.0, 4.0, 0.0, 0.0]], None, |r, inputs, outputs| {
                cosine(r, [2, 2], &line(0, false), inputs, outputs)
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
    fn mse_matches_the_reference() {
        let Some(device) = testing::device() else { return };
        for shape in SHAPES {
            let len = shape[0] * shape[1];
            let (mine, other, before) =
                (testing::values(7, len), testing::values(8, len), testing::values(9, len));
            for accumulate in [false, true] {
                let mut want = [vec![0.0; shape[0]], testing::wide(&before)];
                let [loss, d] = &mut want;
                let wide = squares(shape[0] / 2, accumulate);
                distill::mse(shape, &wide, &testing::wide(&mine), &testing::wide(&other), loss, d);
                let kept = accumulate.then_some(&before[..]);
                let got = on_device(device, shape[0], [&mine, &other], kept, |r, inputs, outputs| {
                    mse(r, shape, &squares(shape[0] / 2, accumulate), inputs, outputs)
                });
                assert_both(&format!("{shape:?} {accumulate}"), &got, &want, shape[1]);
            }
        }
        for bad in [f32::NAN, f32::INFINITY] {
            let [loss, d] = on_device(device, 2, [&[bad, 1.0], &[0.0; 2]], None, |r, inputs, outputs| {
                mse(r, [2, 1], &squares(0, false), inputs, outputs)
            });
            assert!(!loss[0].is_finite() && !d[0].is_finite() && loss[1].is_finite());
        }
    }

    #[test]
    fn bad_arguments_are_refused() {
        let Some(device) = testing::device() else { return };
        let small = &Buffer::zeroed(device, "small", 3);
        let mut recorder = Recorder::new(device, 1);
        let pair = [small, small];
        let wide = SoftLabel { known: 9, ..soft([1, 2], true) };
        let refused = [
            soft_label(&mut recorder, &wide, pair, pair),
            soft_label(&mut recorder, &soft([2, 2], true), pair, pair),
            cosine(&mut recorder, [2, 2], &line(0, false), pair, pair),
            mse(&mut recorder, [2, 2], &squares(0, false), pair, pair),
        ];
        for refused in refused {
            assert!(matches!(refused, Err(Error::Shape { .. })));
        }
    }
}
