//! Matrix products with fused epilogues: `linear/gemm` (tiled), `linear/gemm_merge` for a long
//! inner dimension that is cut into slices, and the oracle `linear/gemm_plain`.

use crate::Result;
use crate::gpu::buffer::Buffer;
use crate::gpu::kernel::{Kernel, kernel};
use crate::gpu::recorder::Param::{Flag, Number, Size};
use crate::gpu::recorder::{Recorder, fold, size};
use crate::reference::activation::Activation;
use crate::reference::linear::Layout;

use super::activation::kind;

const GEMM: Kernel = kernel!("linear/gemm");
const GEMM_NN: Kernel = Kernel { constants: &[("A_ALONG_K", 1.0), ("B_ALONG_K", 0.0)], ..GEMM };
const GEMM_TN: Kernel = Kernel { constants: &[("A_ALONG_K", 0.0), ("B_ALONG_K", 0.0)], ..GEMM };
const GEMM_MERGE: Kernel = kernel!("linear/gemm_merge");
#[cfg(test)]
const GEMM_PLAIN: Kernel = kernel!("linear/gemm_plain");

/// Side of the square of results that a workgroup computes.
const TILE: usize = 64;
/// Workgroups that keep a small GPU busy: with fewer tiles the inner dimension is cut.
const BUSY_WORKGROUPS: usize = 128;
/// Shortest slice of the inner dimension that is worth its share of the merge.
const SHORTEST_SLICE: usize = 256;

/// Slices into which the inner dimension of a bare product is cut; their number depends on the
/// sizes alone, and so does the order of summation.
#[must_use]
fn slices([m, n, k]: [usize; 3]) -> usize {
    let tiles = m.div_ceil(TILE) * n.div_ceil(TILE);
    (BUSY_WORKGROUPS / tiles.max(1)).min(k / SHORTEST_SLICE).max(1)
}

/// Elements of scratch that a bare product of this shape needs for its slices; 0 if it is not cut.
#[must_use]
pub(crate) fn partials([m, n, k]: [usize; 3]) -> usize {
    match slices([m, n, k]) {
        1 => 0,
        slices => slices * m * n,
    }
}

/// One product `y = mask(activation(alpha * a·b + bias + residual)) (+ y)`;
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
    /// What follows the sum.
    pub activation: Activation,
    /// An activation and what it gave, `[m, n]`; the result is 0 where it lets no gradient through.
    pub mask: Option<(Activation, &'a Buffer)>,
    /// Whether the result is added to y.
    pub accumulate: bool,
}

impl Gemm<'_> {
    /// Records the tiled kernel.
    pub(crate) fn record(&self, recorder: &mut Recorder<'_>) -> Result<()> {
        self.tiled(recorder, 1)
    }

    /// Records the product in [`slices`] of its inner dimension and their sum. `partials` is
    /// scratch of [`partials`] elements. Only a bare product or one that is added to y can be
    /// cut; others, and those of one slice, are recorded whole.
    pub(crate) fn record_in_slices(&self, recorder: &mut Recorder<'_>, partials: &Buffer) -> Result<()> {
        let ([m, n, _], slices) = (self.shape, slices(self.shape));
        if slices == 1 || !self.is_bare() {
            return self.record(recorder);
        }
        let part = Gemm { y: (partials, 0), alpha: 1.0, accumulate: false, ..*self };
        part.tiled(recorder, slices)?;
        let params = [
            ("slices", Size(slices)),
            ("len", Size(m * n)),
            ("y_start", Size(self.y.1)),
            ("accumulate", Flag(self.accumulate)),
            ("alpha", Number(self.alpha)),
        ];
        let buffers = [(partials, slices * m * n), (self.y.0, self.y.1 + m * n)];
        recorder.dispatch(&GEMM_MERGE, &params, &buffers, fold(m * n, 64))
    }

    fn is_bare(&self) -> bool {
        self.bias.is_none()
            && self.residual.is_none()
            && self.mask.is_none()
            && self.activation == Activation::None
    }

    fn tiled(&self, recorder: &mut Recorder<'_>, slices: usize) -> Result<()> {
        let [m, n, _] = self.shape;
        let kernel = match self.layout {
            Layout::Nt => &GEMM,
            Layout::Nn => &GEMM_NN,
            Layout::Tn => &GEMM_TN,
        };
        let [x, y, _] = fold(m.div_ceil(TILE) * n.div_ceil(TILE), 1);
        self.dispatch(recorder, kernel, [x, y, size("slices of a product", slices)?])
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
        let slices = workgroups[2].max(1) as usize;
        // A multiple of the tile's depth, so that slices begin where tiles do.
        let k_slice = k.div_ceil(slices).next_multiple_of(16);
        let has = [self.bias.is_some(), self.residual.is_some(), self.mask.is_some(), self.accumulate];
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
            ("activation", kind(self.activation)),
            ("mask_activation", kind(self.mask.map_or(Activation::None, |(activation, _)| activation))),
            ("k_slice", Size(k_slice)),
            ("alpha", Number(self.alpha)),
        ];
        let optional = |buffer: Option<_>, len| buffer.map_or((self.a.0, 0), |buffer| (buffer, len));
        let buffers = [
            (self.a.0, self.a.1 + m * k),
            (self.b.0, self.b.1 + n * k),
            optional(self.bias, n),
            optional(self.residual, m * n),
            optional(self.mask.map(|(_, y)| y), m * n),
            (self.y.0, self.y.1 + slices * m * n),
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
        // Beyond both bounds of ReLU6.
        let beyond = |seed, len| v(seed, len).iter().map(|value| 9.0 * value).collect();
        Case {
            a: v(1, m * k),
            b: v(2, n * k),
            bias: v(3, n),
            extra: beyond(4, m * n),
            mask: beyond(5, m * n),
            y: v(6, m * n),
        }
    }

    fn both(
        device: &crate::gpu::Device,
        (layout, activation): (Layout, Activation),
        shape: [usize; 3],
        full: bool,
    ) -> [(Vec<f32>, Vec<f64>); 2] {
        let case = case(shape);
        let [bias, extra, mask] = [&case.bias, &case.extra, &case.mask].map(|v| testing::wide(v));
        let epilogue = Epilogue {
            alpha: 0.7,
            bias: full.then_some(&bias[..]),
            residual: full.then_some(&extra[..]),
            activation: if full { activation } else { Activation::None },
            mask: full.then_some((activation, &mask[..])),
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
                activation: if full { activation } else { Activation::None },
                mask: full.then_some((activation, &mask)),
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
                for (full, activation) in
                    [(false, Activation::None), (true, Activation::Relu), (true, Activation::Relu6)]
                {
                    let what = format!("{layout:?} {shape:?} {activation:?}");
                    for (got, want) in both(device, (layout, activation), shape, full) {
                        testing::assert_close(&what, &got, &want, Level::Accumulated(shape[2]));
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
        let [(_, want), _] = both(device, (Layout::Nt, Activation::None), shape, false);
        let [(got, _), _] = both(device, (Layout::Nn, Activation::None), shape, false);
        assert!(testing::mismatch("swapped", &got, &want, Level::Accumulated(9)).is_some());
    }

    #[test]
    #[cfg_attr(not(kaizen_gpu), ignore = "needs a GPU adapter")]
    fn gemm_merge_of_a_product_in_slices_matches_the_reference() {
        let device = testing::device();
        for shape @ [m, n, k] in [[3, 5, 600], [65, 2, 1037], [7, 7, 255], [1, 1, 4096]] {
            let case = case(shape);
            for accumulate in [false, true] {
                let epilogue = Epilogue { alpha: 0.7, accumulate, ..Epilogue::none() };
                let mut want = testing::wide(&case.y);
                let (a, b) = (testing::wide(&case.a), testing::wide(&case.b));
                gemm(Layout::Tn, shape, &a, &b, &mut want, &epilogue);
                let up = |v: &[f32]| Buffer::from_slice(device, "input", v);
                let (a, b, y) = (up(&case.a), up(&case.b), testing::in_place(device, &case.y));
                let partials = testing::output(device, slices(shape) * m * n);
                let op = Gemm {
                    layout: Layout::Tn,
                    shape,
                    a: (&a, 0),
                    b: (&b, 0),
                    y: (&y, 0),
                    alpha: 0.7,
                    bias: None,
                    residual: None,
                    activation: Activation::None,
                    mask: None,
                    accumulate,
                };
                testing::run(device, |r| op.record_in_slices(r, &partials));
                let got = testing::read_guarded(device, &y);
                testing::assert_close(&format!("{shape:?}"), &got, &want, Level::Accumulated(k));
                testing::read_guarded(device, &partials);
            }
        }
        assert_eq!([[3, 5, 600], [7, 7, 255], [64, 64, 4096], [2000, 1000, 9999]].map(slices), [2, 1, 16, 1]);
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
            activation: Activation::None,
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
            activation: Activation::None,
            mask: None,
            accumulate: false,
        };
        let mut recorder = Recorder::new(device, 1).unwrap();
        assert!(matches!(op.record(&mut recorder), Err(crate::Error::Shape { .. })));
    }
}
