//! Batches out of tables that stay on the device: `batch/*`. Definitions in `reference::batch`.

use crate::gpu::buffer::Buffer;
use crate::gpu::kernel::{Kernel, kernel};
use crate::gpu::recorder::Param::Size;
use crate::gpu::recorder::{Recorder, fold};
use crate::{Error, Result};

const ENQUEUE: Kernel = kernel!("batch/enqueue");
const GATHER_CODES: Kernel = kernel!("batch/gather_codes");
const GATHER_LABELS: Kernel = kernel!("batch/gather_labels");
const GATHER_ROWS: Kernel = kernel!("batch/gather_rows");

/// Records `x[i, :] = table[index[i], :]` for `[rows, columns, table_rows]`. Element
/// `hyper.index_start + first + i` of the index `(index, first)` (u32, each checked before it is
/// written there) names row i. An empty table is an [`Error::Shape`].
pub(crate) fn gather_rows(
    recorder: &mut Recorder<'_>,
    shape: [usize; 3],
    table: &Buffer,
    index: (&Buffer, usize),
    x: &Buffer,
) -> Result<()> {
    gather(recorder, &GATHER_ROWS, shape, index, [table, x])
}

/// Records `labels[i] = table[index[i]]`, both i32, for `[rows, table_rows]`; `index` as for
/// [`gather_rows`].
pub(crate) fn gather_labels(
    recorder: &mut Recorder<'_>,
    [rows, table_rows]: [usize; 2],
    table: &Buffer,
    index: (&Buffer, usize),
    labels: &Buffer,
) -> Result<()> {
    gather(recorder, &GATHER_LABELS, [rows, 1, table_rows], index, [table, labels])
}

fn gather(
    recorder: &mut Recorder<'_>,
    kernel: &Kernel,
    [rows, columns, table_rows]: [usize; 3],
    (index, first): (&Buffer, usize),
    [table, out]: [&Buffer; 2],
) -> Result<()> {
    if rows > 0 && table_rows == 0 {
        return Err(Error::shape(format!("{} table", kernel.name), "at least 1 row", 0));
    }
    let params = [
        ("rows", Size(rows)),
        ("columns", Size(columns)),
        ("table_rows", Size(table_rows)),
        ("index_len", Size(index.len())),
        ("first", Size(first)),
    ];
    let buffers = [(table, table_rows * columns), (index, first + rows), (out, rows * columns)];
    recorder.dispatch(kernel, &params, &buffers, fold(rows * columns, 64))
}

/// Words of 32 bits that a row of `positions` times `channels` codes takes.
#[must_use]
pub(crate) fn code_words([positions, channels]: [usize; 2]) -> usize {
    (positions * channels).div_ceil(4)
}

/// Rows of codes, each filled up to whole words.
#[must_use]
pub(crate) fn packed([positions, channels]: [usize; 2], codes: &[i8]) -> Vec<u32> {
    let rows = codes.chunks_exact((positions * channels).max(1));
    let word = |codes: &[i8]| {
        let bytes = codes.iter().map(|code| u32::from(code.to_le_bytes()[0]));
        bytes.zip([0, 8, 16, 24]).fold(0, |word, (byte, shift)| word | byte << shift)
    };
    rows.flat_map(|row| row.chunks(4).map(word)).collect()
}

/// Records x `[rows, positions, channels]` out of a table of `table_rows` latents, given as codes
/// [`packed`] into words and scales `[table_rows, channels]`; `index` as for [`gather_rows`].
pub(crate) fn gather_codes(
    recorder: &mut Recorder<'_>,
    [rows, positions, channels]: [usize; 3],
    table_rows: usize,
    [codes, scales]: [&Buffer; 2],
    index: (&Buffer, usize),
    x: &Buffer,
) -> Result<()> {
    if rows > 0 && table_rows == 0 {
        return Err(Error::shape(format!("{} table", GATHER_CODES.name), "at least 1 row", 0));
    }
    let (words, (index, first)) = (code_words([positions, channels]), index);
    let params = [
        ("rows", Size(rows)),
        ("positions", Size(positions)),
        ("channels", Size(channels)),
        ("words", Size(words)),
        ("table_rows", Size(table_rows)),
        ("index_len", Size(index.len())),
        ("first", Size(first)),
    ];
    let all = rows * positions * channels;
    let buffers =
        [(codes, table_rows * words), (scales, table_rows * channels), (index, first + rows), (x, all)];
    recorder.dispatch(&GATHER_CODES, &params, &buffers, fold(all, 64))
}

/// Records `queue[(hyper.queue_start + i) mod queue_rows, :] = keys[first_row + i, :]` for
/// `[rows, columns, queue_rows]`. More keys than the queue holds are an [`Error::Shape`].
pub(crate) fn enqueue(
    recorder: &mut Recorder<'_>,
    [rows, columns, queue_rows]: [usize; 3],
    (keys, first_row): (&Buffer, usize),
    queue: &Buffer,
) -> Result<()> {
    if rows > queue_rows {
        return Err(Error::shape("enqueue keys", format!("at most {queue_rows} rows, the queue's"), rows));
    }
    let params = [
        ("rows", Size(rows)),
        ("columns", Size(columns)),
        ("first_row", Size(first_row)),
        ("queue_rows", Size(queue_rows)),
    ];
    let buffers = [(keys, (first_row + rows) * columns), (queue, queue_rows * columns)];
    recorder.dispatch(&ENQUEUE, &params, &buffers, fold(rows * columns, 64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::testing::{self, Level};
    use crate::gpu::{Device, Hyper};
    use crate::reference::batch;
    use crate::rng::Rng;

    const SHAPES: [[usize; 3]; 7] =
        [[1, 1, 1], [63, 1, 9], [8, 8, 3], [5, 13, 70], [131, 1, 131], [17, 31, 64], [0, 4, 5]];

    fn hyper() -> Hyper {
        Hyper { index_start: 3, queue_start: 2, ..Hyper::default() }
    }

    fn indices(rows: usize, table_rows: usize) -> Vec<u32> {
        let mut rng = Rng::new(7, 0);
        (0..rows).map(|_| u32::try_from(rng.below(table_rows)).unwrap()).collect()
    }

    #[test]
    #[cfg_attr(not(kaizen_gpu), ignore = "needs a GPU adapter")]
    fn gather_codes_matches_the_reference() {
        let device = testing::device();
        for [rows, positions, channels, table_rows] in
            [[1, 1, 1, 1], [5, 25, 7, 9], [3, 4, 64, 2], [17, 1, 65, 31], [2, 9, 3, 5]]
        {
            let mut rng = Rng::new(5, 0);
            let len = table_rows * positions * channels;
            let codes: Vec<i8> = (0..len).map(|_| i8::try_from(rng.below(255)).unwrap_or(-127)).collect();
            let scales = testing::values(2, table_rows * channels);
            let index = [vec![u32::MAX; 3], indices(rows, table_rows)].concat();
            let mut want = vec![f64::NAN; rows * positions * channels];
            batch::gather_codes([positions, channels], &codes, &scales, &index[3..], &mut want);
            let words = packed([positions, channels], &codes);
            let table = [
                &Buffer::from_slice(device, "codes", &words),
                &Buffer::from_slice(device, "scales", &scales),
            ];
            let (index, x) =
                (Buffer::from_slice(device, "index", &index), testing::output(device, want.len()));
            let shape = [rows, positions, channels];
            testing::run_with(device, hyper(), |r| {
                gather_codes(r, shape, table_rows, table, (&index, 0), &x)
            });
            let got = testing::read_guarded(device, &x);
            testing::assert_close(&format!("{shape:?}"), &got, &want, Level::Exact);
            let flipped: Vec<f64> = want.iter().map(|value| -value).collect();
            assert!(testing::mismatch("sign", &got, &flipped, Level::Exact).is_some());
        }
    }

    fn gathered(device: &Device, [rows, columns, table_rows]: [usize; 3], index: &[u32]) -> [Vec<f32>; 2] {
        let table = testing::values(1, table_rows * columns);
        let mut x = vec![9.0; rows * columns];
        let out = testing::in_place(device, &x);
        let input = Buffer::from_slice(device, "table", &table);
        let indices = Buffer::from_slice(device, "index", index);
        // Two elements are the steps' before this one, one is that of an earlier part of the batch.
        testing::run_with(device, Hyper { index_start: 2, ..hyper() }, |r| {
            gather_rows(r, [rows, columns, table_rows], &input, (&indices, 1), &out)
        });
        batch::gather_rows(columns, &table, &index[3..], &mut x);
        [testing::read_guarded(device, &out), x]
    }

    #[test]
    #[cfg_attr(not(kaizen_gpu), ignore = "needs a GPU adapter")]
    fn gather_rows_matches_the_reference_and_a_shifted_index_is_seen() {
        let device = testing::device();
        for shape in SHAPES {
            let [got, want] = gathered(device, shape, &indices(shape[0] + 3, shape[2]));
            testing::assert_close(&format!("{shape:?}"), &got, &testing::wide(&want), Level::Exact);
        }
        let mut index = indices(8, 70);
        let [got, _] = gathered(device, [5, 13, 70], &index);
        index.rotate_left(1);
        let [_, want] = gathered(device, [5, 13, 70], &index);
        assert!(testing::mismatch("shifted", &got, &testing::wide(&want), Level::Rounding).is_some());
    }

    #[test]
    #[cfg_attr(not(kaizen_gpu), ignore = "needs a GPU adapter")]
    fn an_index_past_the_end_stays_inside_the_table() {
        let device = testing::device();
        let [got, want] = gathered(device, [3, 2, 4], &[0, 0, 0, 4, u32::MAX, 1]);
        assert_eq!(got, want);
        assert_eq!(got[..2], testing::values(1, 8)[6..]);
    }

    #[test]
    #[cfg_attr(not(kaizen_gpu), ignore = "needs a GPU adapter")]
    fn a_step_that_starts_past_the_index_reads_its_last_element() {
        let device = testing::device();
        let table = testing::values(1, 4);
        let [input, indices] = [
            Buffer::from_slice(device, "table", &table),
            Buffer::from_slice(device, "index", &[0_u32, 0, 3]),
        ];
        let (x, labels) = (testing::output(device, 3), testing::output(device, 3));
        testing::run_with(device, hyper(), |r| {
            gather_rows(r, [3, 1, 4], &input, (&indices, 0), &x)?;
            gather_labels(r, [3, 4], &input, (&indices, 0), &labels)
        });
        assert_eq!(testing::read_guarded(device, &x), [table[3]; 3]);
        assert_eq!(testing::read_guarded(device, &labels), [table[3]; 3]);
    }

    #[test]
    #[cfg_attr(not(kaizen_gpu), ignore = "needs a GPU adapter")]
    fn gather_labels_matches_the_reference() {
        let device = testing::device();
        for [rows, _, table_rows] in SHAPES {
            let table: Vec<i32> = (0..).map(|i| i * 7 % 11 - 1).take(table_rows).collect();
            let index = indices(rows + 3, table_rows);
            let mut want = vec![77; rows + 1];
            let out = Buffer::from_slice(device, "labels", &want);
            let input = Buffer::from_slice(device, "table", &table);
            let indices = Buffer::from_slice(device, "index", &index);
            testing::run_with(device, hyper(), |r| {
                gather_labels(r, [rows, table_rows], &input, (&indices, 0), &out)
            });
            batch::gather_labels(&table, &index[3..], &mut want[..rows]);
            assert_eq!(out.read::<i32>(device).unwrap(), want);
        }
    }

    #[test]
    #[cfg_attr(not(kaizen_gpu), ignore = "needs a GPU adapter")]
    fn enqueue_matches_the_reference_and_leaves_the_rest() {
        let device = testing::device();
        for [rows, columns, queue_rows] in
            [[1, 1, 1], [3, 5, 7], [7, 9, 7], [64, 1, 65], [13, 31, 14], [0, 4, 5], [2, 67, 3]]
        {
            let mut keys = testing::values(1, (rows + 2) * columns);
            if let Some(poison) = keys.get_mut(2 * columns).filter(|_| rows > 0) {
                *poison = f32::INFINITY;
            }
            let mut queue = testing::values(2, queue_rows * columns);
            let input = Buffer::from_slice(device, "keys", &keys);
            let out = testing::in_place(device, &queue);
            testing::run_with(device, hyper(), |r| {
                enqueue(r, [rows, columns, queue_rows], (&input, 2), &out)
            });
            batch::enqueue(columns, 2, &keys[2 * columns..], &mut queue);
            assert_eq!(testing::read_guarded(device, &out), queue);
        }
    }

    #[test]
    #[cfg_attr(not(kaizen_gpu), ignore = "needs a GPU adapter")]
    fn what_does_not_fit_is_refused() {
        let device = testing::device();
        let small = Buffer::zeroed(device, "small", 6);
        let mut recorder = Recorder::new(device, 1).unwrap();
        let r = &mut recorder;
        let refused = |result| assert!(matches!(result, Err(Error::Shape { .. })));
        let large = Buffer::zeroed(device, "large", 9);
        refused(gather_rows(r, [2, 2, 0], &small, (&small, 0), &small));
        refused(gather_rows(r, [2, 2, 4], &small, (&small, 0), &small));
        refused(gather_rows(r, [4, 2, 3], &small, (&small, 0), &small));
        refused(gather_labels(r, [7, 6], &small, (&small, 0), &large));
        refused(enqueue(r, [4, 1, 3], (&small, 0), &small));
        refused(enqueue(r, [2, 1, 3], (&small, 5), &small));
        refused(enqueue(r, [2, 1, 7], (&small, 0), &small));
    }
}
