//! Matrix products of the CPU engine: faer's blocked, SIMD, multi-threaded one, with our epilogues.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use rayon::prelude::*;

use crate::reference::Real;
use crate::reference::activation::Activation;
use crate::reference::linear::{Epilogue, Layout};

/// How products are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    /// The definition's triple loop.
    Plain,
    /// Blocked, SIMD, with this many threads.
    Blocked(usize),
}

/// Fewest and most rows of a result that one thread computes at once: enough to be worth the
/// packing of the right operand, few enough for the epilogue to find them in the cache.
const PIECE_ROWS: [usize; 2] = [32, 256];

/// `y = epilogue(a · b)`, as `reference::linear::gemm`. The result is computed in pieces of rows,
/// each by one thread from product to epilogue, so it does not depend on the number of threads.
pub(crate) fn blocked<T: Real + faer::traits::ComplexField>(
    layout: Layout,
    [m, n, k]: [usize; 3],
    a: &[T],
    b: &[T],
    y: &mut [T],
    epilogue: &Epilogue<'_, T>,
    threads: usize,
) {
    let left = match layout {
        Layout::Nt | Layout::Nn => MatRef::from_row_major_slice(&a[..m * k], m, k),
        Layout::Tn => MatRef::from_row_major_slice(&a[..m * k], k, m).transpose(),
    };
    let right = match layout {
        Layout::Nt => MatRef::from_row_major_slice(&b[..n * k], n, k).transpose(),
        Layout::Nn | Layout::Tn => MatRef::from_row_major_slice(&b[..n * k], k, n),
    };
    let accumulate = if epilogue.accumulate { Accum::Add } else { Accum::Replace };
    let is_plain = epilogue.bias.is_none()
        && epilogue.residual.is_none()
        && epilogue.mask.is_none()
        && epilogue.activation == Activation::None;
    let finish = Epilogue { alpha: <T as num_traits::One>::one(), ..*epilogue };
    let piece = |first: usize, y: &mut [T]| {
        let rows = y.len() / n.max(1);
        let left = left.subrows(first, rows);
        matmul(
            MatMut::from_row_major_slice_mut(y, rows, n),
            accumulate,
            left,
            right,
            epilogue.alpha,
            Par::Seq,
        );
        if !is_plain {
            for (i, row) in y.chunks_mut(n.max(1)).enumerate() {
                finish_row(row, (first + i) * n, &finish);
            }
        }
    };
    let y = &mut y[..m * n];
    // Small products are not worth waking a second thread for.
    let is_small = m * n * k <= 1 << 18;
    let rows = if is_small { m.max(1) } else { m.div_ceil(4).clamp(PIECE_ROWS[0], PIECE_ROWS[1]) };
    let len = rows * n.max(1);
    if threads > 1 && !is_small {
        y.par_chunks_mut(len).enumerate().for_each(|(at, y)| piece(at * rows, y));
    } else {
        y.chunks_mut(len).enumerate().for_each(|(at, y)| piece(at * rows, y));
    }
}

fn finish_row<T: Real>(row: &mut [T], start: usize, epilogue: &Epilogue<'_, T>) {
    if let Some(bias) = epilogue.bias {
        row.iter_mut().zip(bias).for_each(|(y, &b)| *y += b);
    }
    if let Some(residual) = epilogue.residual {
        row.iter_mut().zip(&residual[start..]).for_each(|(y, &r)| *y += r);
    }
    if epilogue.activation != Activation::None {
        row.iter_mut().for_each(|y| *y = epilogue.activation.apply(*y));
    }
    if let Some((activation, mask)) = epilogue.mask {
        let shut = row.iter_mut().zip(&mask[start..]).filter(|(_, m)| !activation.passes(**m));
        shut.for_each(|(y, _)| *y = T::zero());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::linear::gemm;
    use crate::reference::testing::values;

    #[test]
    fn blocked_product_with_epilogue_equals_the_definition() {
        for layout in [Layout::Nt, Layout::Nn, Layout::Tn] {
            for [m, n, k] in [[1, 1, 1], [7, 5, 3], [64, 65, 70], [130, 3, 129]] {
                let (a, b, bias) = (values(1, m * k), values(2, n * k), values(3, n));
                let (residual, mask) = (values(4, m * n), values(5, m * n));
                let epilogue = Epilogue {
                    alpha: 0.5,
                    bias: Some(&bias[..]),
                    residual: Some(&residual[..]),
                    activation: Activation::Relu6,
                    mask: Some((Activation::Relu, &mask[..])),
                    accumulate: false,
                };
                let (mut want, mut got) = (vec![9.0; m * n], vec![7.0; m * n]);
                gemm(layout, [m, n, k], &a, &b, &mut want, &epilogue);
                blocked(layout, [m, n, k], &a, &b, &mut got, &epilogue, 2);
                let worst = want.iter().zip(&got).map(|(w, g)| (w - g).abs()).fold(0.0, f64::max);
                assert!(worst < 1e-12, "{layout:?} {worst}");
            }
        }
    }
}
