//! How a batch is put together from tables that stay where they are.

use super::real::Real;

/// `x[i, :] = table[index[i], :]` for table `[S, F]` and x `[M, F]`, `F = columns`. Rows past the
/// end read the last one; callers check their indices before they are stored. Nothing happens if
/// the table is empty.
pub(crate) fn gather_rows<T: Copy>(columns: usize, table: &[T], index: &[u32], x: &mut [T]) {
    let columns = columns.max(1);
    let Some(last) = (table.len() / columns).checked_sub(1) else {
        return;
    };
    for (row, &from) in x.chunks_exact_mut(columns).zip(index) {
        let from = last.min(from as usize) * columns;
        row.copy_from_slice(&table[from..from + columns]);
    }
}

/// `out[i] = labels[index[i]]` for labels `[S]` and out `[M]`, -1 for unlabelled. Bounds as for
/// [`gather_rows`].
pub(crate) fn gather_labels(labels: &[i32], index: &[u32], out: &mut [i32]) {
    gather_rows(1, labels, index, out);
}

/// `x[i, p, c] = codes[index[i], p, c] * scales[index[i], c]` for codes `[S, positions, channels]`
/// of 8 bits, scales `[S, channels]` and x `[M, positions, channels]`. Bounds as for
/// [`gather_rows`].
pub(crate) fn gather_codes<T: Real>(
    [positions, channels]: [usize; 2],
    codes: &[i8],
    scales: &[f32],
    index: &[u32],
    x: &mut [T],
) {
    let (width, channels) = ((positions * channels).max(1), channels.max(1));
    let Some(last) = (codes.len() / width).checked_sub(1) else {
        return;
    };
    for (row, &from) in x.chunks_exact_mut(width).zip(index) {
        let from = last.min(from as usize);
        let (codes, scales) = (&codes[from * width..][..width], &scales[from * channels..][..channels]);
        for (x, codes) in row.chunks_exact_mut(channels).zip(codes.chunks_exact(channels)) {
            for ((x, &code), &scale) in x.iter_mut().zip(codes).zip(scales) {
                *x = T::of(f64::from(f32::from(code) * scale));
            }
        }
    }
}

/// `queue[(start + i) mod K, :] = keys[i, :]` for keys `[N, F]` and queue `[K, F]`, `F = columns`,
/// N at most K: the first-in first-out queue of MoCo with wrap-around (He et al. 2020, section
/// 3.2).
pub(crate) fn enqueue<T: Copy>(columns: usize, start: usize, keys: &[T], queue: &mut [T]) {
    let columns = columns.max(1);
    let rows = queue.len() / columns;
    for (i, key) in keys.chunks_exact(columns).enumerate().take(rows) {
        let to = (start + i) % rows * columns;
        queue[to..to + columns].copy_from_slice(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_labels_come_in_the_order_of_the_index() {
        let table = [0.0, 0.5, 1.0, 1.5, 2.0, 2.5];
        let mut x = [9.0; 6];
        gather_rows(2, &table, &[2, 0, 2], &mut x);
        assert_eq!(x, [2.0, 2.5, 0.0, 0.5, 2.0, 2.5]);
        let mut labels = [9; 3];
        gather_labels(&[4, -1, 6], &[1, 2, 0], &mut labels);
        assert_eq!(labels, [-1, 6, 4]);
    }

    #[test]
    fn codes_take_the_scale_of_their_row_and_channel() {
        let (codes, scales) = ([1, -2, 3, -127, 4, 5, 6, 7], [0.5, 2.0, 1.0, 10.0]);
        let mut x = [9.0; 8];
        gather_codes([2, 2], &codes, &scales, &[1, 0], &mut x);
        assert_eq!(x, [4.0, 50.0, 6.0, 70.0, 0.5, -4.0, 1.5, -254.0]);
        gather_codes([2, 2], &codes, &scales, &[u32::MAX], &mut x[..4]);
        assert_eq!(x[..4], [4.0, 50.0, 6.0, 70.0]);
        gather_codes::<f64>([2, 2], &[], &[], &[0], &mut x[..4]);
        assert_eq!(x[..4], [4.0, 50.0, 6.0, 70.0]);
    }

    #[test]
    fn an_index_past_the_end_reads_the_last_row_and_an_empty_table_nothing() {
        let mut x = [9.0; 2];
        gather_rows(1, &[1.0, 2.0], &[7, u32::MAX], &mut x);
        assert_eq!(x, [2.0, 2.0]);
        gather_rows(1, &[], &[0, 0], &mut x);
        assert_eq!(x, [2.0, 2.0]);
    }

    #[test]
    fn the_queue_wraps_and_keeps_the_rest() {
        let mut queue = [0.0, 0.5, 1.0, 1.5, 2.0, 2.5];
        enqueue(2, 2, &[7.0, 7.5, 8.0, 8.5], &mut queue);
        assert_eq!(queue, [8.0, 8.5, 1.0, 1.5, 7.0, 7.5]);
        enqueue(2, 1, &[], &mut queue);
        assert_eq!(queue, [8.0, 8.5, 1.0, 1.5, 7.0, 7.5]);
    }

    #[test]
    fn poison_is_moved_and_not_changed() {
        let table = [f32::NAN, f32::NEG_INFINITY, 1e-42];
        let mut x = [0.0_f32; 3];
        gather_rows(1, &table, &[0, 1, 2], &mut x);
        assert_eq!(x.map(f32::to_bits), table.map(f32::to_bits));
        let mut queue = [0.0_f32; 3];
        enqueue(1, 0, &table, &mut queue);
        assert_eq!(queue.map(f32::to_bits), table.map(f32::to_bits));
    }
}
