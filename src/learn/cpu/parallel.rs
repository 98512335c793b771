//! Row-wise work spread over the threads; each row is computed as it would be alone, so results do
//! not depend on their number.

use rayon::prelude::*;

/// Elements under which a second thread costs more than it gives.
const WORTHWHILE: usize = 1 << 15;

fn rows_per_piece(len: usize, width: usize) -> usize {
    let rows = len / width.max(1);
    if len < WORTHWHILE { rows.max(1) } else { rows.div_ceil(rayon::current_num_threads() * 2).max(1) }
}

/// Calls `work(first row, rows)` on disjoint pieces of `y`, whole rows of `width`.
pub(super) fn rows<T: Send>(y: &mut [T], width: usize, work: impl Fn(usize, &mut [T]) + Sync) {
    let piece = rows_per_piece(y.len(), width);
    let pieces = y.par_chunks_mut(piece * width.max(1)).enumerate();
    pieces.for_each(|(i, rows)| work(i * piece, rows));
}

/// As [`rows`] for two arrays of the same number of rows.
pub(super) fn rows2<T: Send, U: Send>(
    (y, width): (&mut [T], usize),
    (z, z_width): (&mut [U], usize),
    work: impl Fn(usize, &mut [T], &mut [U]) + Sync,
) {
    let piece = rows_per_piece(y.len(), width);
    let pieces =
        y.par_chunks_mut(piece * width.max(1)).zip(z.par_chunks_mut(piece * z_width.max(1))).enumerate();
    pieces.for_each(|(i, (y, z))| work(i * piece, y, z));
}

/// Calls `work(first element, pieces)` on aligned pieces of three arrays of one length.
pub(super) fn elements3<T: Send>([a, b, c]: [&mut [T]; 3], work: impl Fn(usize, [&mut [T]; 3]) + Sync) {
    let piece = rows_per_piece(a.len(), 1);
    let pieces =
        a.par_chunks_mut(piece).zip(b.par_chunks_mut(piece)).zip(c.par_chunks_mut(piece)).enumerate();
    pieces.for_each(|(i, ((a, b), c))| work(i * piece, [a, b, c]));
}

/// `sum x²`, in pieces whose size does not depend on the number of threads, so neither does the
/// result.
pub(super) fn square_sum<T: crate::reference::Real>(x: &[T]) -> T {
    let pieces: Vec<T> = x.par_chunks(WORTHWHILE).map(crate::reference::reduce::square_sum).collect();
    crate::reference::reduce::total(&pieces)
}

/// Columns that a thread sums at once.
const COLUMNS: usize = 64;

/// As `reference::reduce::column_sum`: each column is summed in ascending order.
pub(super) fn column_sum<T: crate::reference::Real>(columns: usize, g: &[T], out: &mut [T]) {
    if g.len() < WORTHWHILE {
        return crate::reference::reduce::column_sum(columns, g, out);
    }
    out[..columns].par_chunks_mut(COLUMNS).enumerate().for_each(|(block, out)| {
        out.fill(T::zero());
        for row in g.chunks_exact(columns.max(1)) {
            out.iter_mut().zip(&row[block * COLUMNS..]).for_each(|(sum, &value)| *sum += value);
        }
    });
}
