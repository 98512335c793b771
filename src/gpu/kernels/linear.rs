//! Matrix products with fused epilogues: `linear/gemm` (tiled) and its oracle `linear/gemm_plain`.

use crate::Result;
use crate::gpu::plan::{fold, size};
use crate::gpu::{Buffer, Recorder};
use crate::reference::linear::Layout;

/// Sources of the family.
pub const SOURCES: &[(&str, &str)] = &[
    ("linear/gemm", include_str!("../../../shaders/linear/gemm.wgsl")),
    ("linear/gemm_plain", include_str!("../../../shaders/linear/gemm_plain.wgsl")),
];

/// `Params` of both kernels.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Params {
    /// Rows of y.
    pub m: u32,
    /// Columns of y.
    pub n: u32,
    /// Terms of each sum.
    pub k: u32,
    /// First element of a.
    pub a_start: u32,
    /// Distance of neighbours along i.
    pub a_row: u32,
    /// Distance of neighbours along l.
    pub a_column: u32,
    /// First element of b.
    pub b_start: u32,
    /// Distance of neighbours along l.
    pub b_row: u32,
    /// Distance of neighbours along j.
    pub b_column: u32,
    /// First element of y.
    pub y_start: u32,
    /// 1 bias, 2 residual, 4 relu, 8 mask, 16 accumulate.
    pub flags: u32,
    /// Factor of the product.
    pub alpha: f32,
}

/// One product `y = mask(relu(alpha * a·b + bias + residual)) (+ y)`; `reference::linear::Epilogue` is its definition.
#[derive(Clone, Copy, Debug)]
pub struct Gemm<'a> {
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
    pub alpha: f32,
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
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if a buffer is too small, [`crate::Error::Device`] if the shader is refused.
    pub fn record(&self, recorder: &mut Recorder<'_>) -> Result<()> {
        let [m, n, _] = self.shape;
        let tiles = fold(m.div_ceil(64) * n.div_ceil(64), 1);
        let constants = [
            ("A_ALONG_K", f64::from(u8::from(self.layout != Layout::Tn))),
            ("B_ALONG_K", f64::from(u8::from(self.layout == Layout::Nt))),
        ];
        self.dispatch(recorder, "linear/gemm", &constants, tiles)
    }

    /// Records the plain kernel, one thread a result.
    ///
    /// # Errors
    /// As [`Gemm::record`].
    pub fn record_plain(&self, recorder: &mut Recorder<'_>) -> Result<()> {
        let [m, n, _] = self.shape;
        self.dispatch(recorder, "linear/gemm_plain", &[], fold(m * n, 64))
    }

    fn dispatch(
        &self,
        recorder: &mut Recorder<'_>,
        kernel: &str,
        constants: &[(&str, f64)],
        workgroups: [u32; 3],
    ) -> Result<()> {
        let [m, n, k] = self.shape;
        self.a.0.at_least("gemm a", self.a.1 + m * k)?;
        self.b.0.at_least("gemm b", self.b.1 + n * k)?;
        self.y.0.at_least("gemm y", self.y.1 + m * n)?;
        let optional = [(self.bias, n), (self.residual, m * n), (self.mask, m * n)];
        for (buffer, len) in optional {
            buffer.map_or(Ok(()), |buffer| buffer.at_least("gemm epilogue", len))?;
        }
        let params = self.params()?;
        let [bias, residual, mask] = optional.map(|(buffer, _)| buffer.unwrap_or(self.a.0));
        let buffers = [self.a.0, self.b.0, bias, residual, mask, self.y.0];
        recorder.dispatch(kernel, bytemuck::bytes_of(&params), &buffers, constants, workgroups)
    }

    fn params(&self) -> Result<Params> {
        let [m, n, k] = [size("m", self.shape[0])?, size("n", self.shape[1])?, size("k", self.shape[2])?];
        let (a_row, a_column) = if self.layout == Layout::Tn { (1, m) } else { (k, 1) };
        let (b_row, b_column) = if self.layout == Layout::Nt { (1, k) } else { (n, 1) };
        let flags =
            [self.bias.is_some(), self.residual.is_some(), self.relu, self.mask.is_some(), self.accumulate];
        Ok(Params {
            m,
            n,
            k,
            a_start: size("a_start", self.a.1)?,
            a_row,
            a_column,
            b_start: size("b_start", self.b.1)?,
            b_row,
            b_column,
            y_start: size("y_start", self.y.1)?,
            flags: (0..).zip(flags).map(|(bit, on)| u32::from(on) << bit).sum(),
            alpha: self.alpha,
        })
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
            testing::run(device, &[], |r| if plain { op.record_plain(r) } else { op.record(r) });
            (testing::read_guarded(device, &y), want.clone())
        })
    }

    #[test]
    fn gemm_and_gemm_plain_match_the_reference() {
        let Some(device) = testing::device() else { return };
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
    fn params_have_the_layout_of_the_shaders() {
        for (kernel, _) in SOURCES {
            testing::assert_layout::<Params>(
                kernel,
                testing::fields!(Params: m, n, k, a_start, a_row, a_column, b_start, b_row, b_column, y_start, flags,
                    alpha),
            );
        }
    }

    #[test]
    fn a_swapped_operand_is_seen() {
        let Some(device) = testing::device() else { return };
        let shape = [9, 9, 9];
        let [(_, want), _] = both(device, Layout::Nt, shape, false);
        let [(got, _), _] = both(device, Layout::Nn, shape, false);
        assert!(testing::mismatch("swapped", &got, &want, Level::Accumulated(9)).is_some());
    }

    #[test]
    fn more_than_65535_workgroups_fold() {
        let Some(device) = testing::device() else { return };
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
        testing::run(device, &[], |r| op.record_plain(r));
        let got: Vec<f32> = y.read(device).unwrap();
        assert!(got.iter().enumerate().all(|(i, v)| *v == 2.0 * (i % 1000) as f32));
    }

    #[test]
    fn a_buffer_that_is_too_small_is_refused() {
        let Some(device) = testing::device() else { return };
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
        let mut recorder = Recorder::new(device, 1);
        assert!(matches!(op.record(&mut recorder), Err(crate::Error::Shape { .. })));
    }
}
