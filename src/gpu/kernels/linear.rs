//! Matrix products with fused epilogues: `linear/gemm` (tiled) and its oracle `linear/gemm_plain`.

use crate::Result;
use crate::gpu::buffer::Buffer;
use crate::gpu::kernel::{Kernel, kernel};
use crate::gpu::recorder::Param::{Number, Size};
use crate::gpu::recorder::{Recorder, fold};
use crate::reference::linear::Layout;

const GEMM: Kernel = kernel!("linear/gemm");
const GEMM_NN: Kernel = Kernel { constants: &[("A_ALONG_K", 1.0), ("B_ALONG_K", 0.0)], ..GEMM };
const GEMM_TN: Kernel = Kernel { constants: &[("A_ALONG_K", 0.0), ("B_ALONG_K", 0.0)], ..GEMM };
#[cfg(test)]
const GEMM_PLAIN: Kernel = kernel!("linear/gemm_plain");

/// One product `y = mask(relu(alpha * a·b + bias + residual)) (+ y)`;
/// [`reference::linear::Epilogue`](crate::reference::linear::Epilogue) is its definition.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gemm<'a> {
    /// Which operand is transposed.
    pub layout: Layout,
    /// `[m, n, k]`.
    pub shape: [usize; 3],
    /// Left operand and its first element.
    pub a: (&'a Buffer, usize),
    /// Right operand and its first element.
    pub b: (&'a Buffer, usize),
    /// Result and its first element.
    pub y: (&'a Buffer, usize),
    /// Factor of the product.
    pub alpha: f64,
    /// `[n]`, added to each row.
    pub bias: Option<&'a Buffer>,
    /// `[m, n]`, added.
    pub residual: Option<&'a Buffer>,
    /// Negative values become 0.
    pub relu: bool,
    /// `[m, n]` activations; the result is 0 where they are not positive.
    pub mask: Option<&'a Buffer>,
    /// Whether the result is added to y.
    pub accumulate: bool,
}

impl Gemm<'_> {
    /// Records the tiled kernel.
    pub(crate) fn record(&self, recorder: &mut Recorder<'_>) -> Result<()> {
        let [m, n, _] = self.shape;
        let kernel = match self.layout {
            Layout::Nt => &GEMM,
            Layout::Nn => &GEMM_NN,
            Layout::Tn => &GEMM_TN,
        };
        self.dispatch(recorder, kernel, fold(m.div_ceil(64) * n.div_ceil(64), 1))
    }

    /// Records the plain kernel, one thread a result.
    #[cfg(test)]
    fn record_plain(&self, recorder: &mut Recorder<'_>) -> Result<()> {
        let [m, n, _] = self.shape;
        self.dispatch(recorder, &GEMM_PLAIN, fold(m * n, 64))
    }

    fn dispatch(&self, recorder: &mut Recorder<'_>, kernel: &Kernel, workgroups: [u32; 3]) -> Result<()> {
        let [m, n, k] = self.shape;
        let (a_row, a_column) = if self.layout == Layout::Tn { (1, m) } else { (k, 1) };
        let (b_row, b_column) = if self.layout == Layout::Nt { (1, k) } else { (n, 1) };
        let has =
            [self.bias.is_some(), self.residual.is_some(), self.relu, self.mask.is_some(), self.accumulate];
        let flags = (0..).zip(has).map(|(bit, on)| usize::from(on) << bit).sum();
        let params = [
            ("m", Size(m)),
            ("n", Size(n)),
            ("k", Size(k)),
            ("a_start", Size(self.a.1)),
            ("a_row", Size(a_row)),
            ("a_column", Size(a_column)),
            ("b_start", Size(self.b.1)),
            ("b_row", Size(b_row)),
            ("b_column", Size(b_column)),
            ("y_start", Size(self.y.1)),
            ("flags", Size(flags)),
            ("alpha", Number(self.alpha)),
        ];
        let optional = |buffer: Option<_>, len| buffer.map_or((self.a.0, 0), |buffer| (buffer, len));
        let buffers = [
            (self.a.0, self.a.1 + m * k),
            (self.b.0, self.b.1 + n * k),
            optional(self.bias, n),
            optional(self.residual, m * n),
            optional(self.mask, m * n),
            (self.y.0, self.y.1 + m * n),
        ];
        recorder.dispatch(kernel, &params, &buffers, workgroups)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::testing::{self, Level};
    use crate::reference::linear::{Epilogue, gemm};

    const SHAPES: [[usize; 3]; 9] = [
        [1, 1, 1],
        [63, 17, 16],
        [64, 64, 64],
        [65, 3, 15],
        [131, 67, 33],
        [1, 130, 257],
        [7, 1, 31],
        [0, 5, 4],
        [3, 2, 1300],
    ];

    struct Case {
        a: Vec<f32>,
        b: Vec<f32>,
        bias: Vec<f32>,
        extra: Vec<f32>,
        mask: Vec<f32>,
        y: Vec<f32>,
    }

    fn case([m, n, k]: [usize; 3]) -> Case {
        let v = testing::values;
        Case {
            a: v(1, m * k),
            b: v(2, n * k),
            bias: v(3, n),
            extra: v(4, m * n),
            mask: v(5, m * n),
            y: v(6, m * n),
        }
    }

    fn both(
        device: &crate::gpu::Device,
        layout: Layout,
        shape: [usize; 3],
        full: bool,
    ) -> [(Vec<f32>, Vec<f64>); 2] {
        let case = case(shape);
        let [bias, extra, mask] = [&case.bias, &case.extra, &case.mask].map(|v| testing::wide(v));
        let epilogue = Epilogue {
            alpha: 0.7,
            bias: full.then_some(&bias[..]),
            residual: full.then_some(&extra[..]),
            relu: full,
            mask: full.then_some(&mask[..]),
            accumulate: full,
        };
        let mut want = testing::wide(&case.y);
        gemm(layout, shape, &testing::wide(&case.a), &testing::wide(&case.b), &mut want, &epilogue);
        [false, true].map(|plain| {
            let up = |v: &[f32]| Buffer::from_slice(device, "input", v);
            let (a, b, bias, extra, mask) =
                (up(&case.a), up(&case.b), up(&case.bias), up(&case.extra), up(&case.mask));
            let y =
                if full { testing::in_place(device, &case.y) } else { testing::output(device, case.y.len()) };
            let op = Gemm {
                layout,
                shape,
                a: (&a, 0),
                b: (&b, 0),
                y: (&y, 0),
                alpha: 0.7,
                bias: full.then_some(&bias),
                residual: full.then_some(&extra),
                relu: full,
                mask: full.then_some(&mask),
                accumulate: full,
            };
            testing::run(device, |r| if plain { op.record_plain(r) } else { op.record(r) });
            (testing::read_guarded(device, &y), want.clone())
        })
    }

    #[test]
    #[cfg_attr(not(kaizen_gpu), ignore = "needs a GPU adapter")]
    fn gemm_and_gemm_plain_match_the_reference() {
        let device = testing::device();
        for layout in [Layout::Nt, Layout::Nn, Layout::Tn] {
            for shape in SHAPES {
                for full in [false, true] {
                    for (got, want) in both(device, layout, shape, full) {
                        testing::assert_close(
                            &format!("{layout:?} {shape:?}"),
                            &got,
                            &want,
                            Level::Accumulated(shape[2]),
                        );
                    }
                }
            }
        }
    }

    #[test]
    #[cfg_attr(not(kaizen_gpu), ignore = "needs a GPU adapter")]
    fn a_swapped_operand_is_seen() {
        let device = testing::device();
        let shape = [9, 9, 9];
        let [(_, want), _] = both(device, Layout::Nt, shape, false);
        let [(got, _), _] = both(device, Layout::Nn, shape, false);
        assert!(testing::mismatch("swapped", &got, &want, Level::Accumulated(9)).is_some());
    }

    #[test]
    #[cfg_attr(not(kaizen_gpu), ignore = "needs a GPU adapter")]
    fn more_than_65535_workgroups_fold() {
        let device = testing::device();
        let m = 65_536 * 64 + 3;
        let a: Vec<f32> = (0..m).map(|i| (i % 1000) as f32).collect();
        let (a, b, y) = (
            Buffer::from_slice(device, "a", &a),
            Buffer::from_slice(device, "b", &[2.0_f32]),
            Buffer::zeroed(device, "y", m),
        );
        let op = Gemm {
            layout: Layout::Nt,
            shape: [m, 1, 1],
            a: (&a, 0),
            b: (&b, 0),
            y: (&y, 0),
            alpha: 1.0,
            bias: None,
            residual: None,
            relu: false,
            mask: None,
            accumulate: false,
        };
        testing::run(device, |r| op.record_plain(r));
        let got: Vec<f32> = y.read(device).unwrap();
        assert!(got.iter().enumerate().all(|(i, v)| *v == 2.0 * (i % 1000) as f32));
    }

    #[test]
    #[cfg_attr(not(kaizen_gpu), ignore = "needs a GPU adapter")]
    fn a_buffer_that_is_too_small_is_refused() {
        let device = testing::device();
        let small = Buffer::zeroed(device, "small", 3);
        let op = Gemm {
            layout: Layout::Nt,
            shape: [2, 2, 2],
            a: (&small, 0),
            b: (&small, 0),
            y: (&small, 0),
            alpha: 1.0,
            bias: None,
            residual: None,
            relu: false,
            mask: None,
            accumulate: false,
        };
        let mut recorder = Recorder::new(device, 1).unwrap();
        assert!(matches!(op.record(&mut recorder), Err(crate::Error::Shape { .. })));
    }
}
