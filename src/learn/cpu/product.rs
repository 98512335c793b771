//! Matrix products of the CPU engine: faer's blocked, SIMD, multi-threaded one, with our epilogues.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};

use super::parallel;
use crate::reference::Real;
use crate::reference::linear::{Epilogue, Layout};

/// `y = epilogue(a · b)`, as `reference::linear::gemm`.
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
    let y = &mut y[..m * n];
    let accumulate = if epilogue.accumulate { Accum::Add } else { Accum::Replace };
    // Small products are not worth waking a second thread for.
    let par = if threads > 1 && m * n * k > 1 << 18 { Par::rayon(threads) } else { Par::Seq };
    matmul(MatMut::from_row_major_slice_mut(y, m, n), accumulate, left, right, epilogue.alpha, par);
    let plain =
        epilogue.bias.is_none() && epilogue.residual.is_none() && epilogue.mask.is_none() && !epilogue.relu;
    if !plain {
        let finish = Epilogue { alpha: <T as num_traits::One>::one(), ..*epilogue };
        parallel::rows(y, n, |first, rows| {
            for (i, row) in rows.chunks_mut(n.max(1)).enumerate() {
                finish_row(row, (first + i) * n, &finish);
            }
        });
    }
}

fn finish_row<T: Real>(row: &mut [T], start: usize, epilogue: &Epilogue<'_, T>) {
    if let Some(bias) = epilogue.bias {
        row.iter_mut().zip(bias).for_each(|(y, &b)| *y += b);
    }
    if let Some(residual) = epilogue.residual {
        row.iter_mut().zip(&residual[start..]).for_each(|(y, &r)| *y += r);
    }
    if epilogue.relu {
        row.iter_mut().for_each(|y| *y = if *y < T::zero() { T::zero() } else { *y });
    }
    if let Some(mask) = epilogue.mask {
        row.iter_mut()
            .zip(&mask[start..])
            .for_each(|(y, &m)| *y = if m <= T::zero() { T::zero() } else { *y });
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
                    relu: true,
                    mask: Some(&mask[..]),
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
