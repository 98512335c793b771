//! InfoNCE of the CPU engine.

use crate::reference::{Real, contrast};

/// [`contrast::info_nce`] with a thread for each half of the rows where the keys of one half are
/// the other's, so that each half is contiguous.
pub(super) fn info_nce<T: Real>(
    settings: &contrast::InfoNce,
    [q, k]: [&[T]; 2],
    [s, d_q, loss]: [&mut [T]; 3],
) {
    let contrast::InfoNce { rows, columns, negatives, row_shift, .. } = *settings;
    if row_shift == 0 || row_shift * 2 != rows {
        return contrast::info_nce(settings, q, k, loss, d_q, s);
    }
    let of_half = contrast::InfoNce { rows: row_shift, row_shift: 0, ..*settings };
    let pieces = s
        .chunks_mut((row_shift * negatives).max(1))
        .zip(d_q.chunks_mut(row_shift * columns))
        .zip(loss.chunks_mut(row_shift))
        .zip(q.chunks(row_shift * columns).zip(k.chunks(row_shift * columns).rev()));
    rayon::scope(|scope| {
        for (((s, d_q), loss), (q, k)) in pieces {
            scope.spawn(move |_| contrast::info_nce(&of_half, q, k, loss, d_q, s));
        }
    });
}
