//! Batches out of tables that stay on the device: `batch/*`. Definitions in `reference::batch`.

use crate::gpu::plan::{fold, size};
use crate::gpu::{Buffer, Recorder};
use crate::{Error, Result};

/// Sources of the family.
pub const SOURCES: &[(&str, &str)] = &[
    ("batch/enqueue", include_str!("../../../shaders/batch/enqueue.wgsl")),
    ("batch/gather_labels", include_str!("../../../shaders/batch/gather_labels.wgsl")),
    ("batch/gather_rows", include_str!("../../../shaders/batch/gather_rows.wgsl")),
];

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct GatherParams {
    rows: u32,
    columns: u32,
    table_rows: u32,
    index_len: u32,
    index_offset: u32,
    x_start: u32,
    _pad0: u32,
    _pad1: u32,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct EnqueueParams {
    rows: u32,
    columns: u32,
    first_row: u32,
    queue_rows: u32,
    queue_base: u32,
    _pad0: u32,
    _pad1: u32,
    _pad2: u32,
}

/// Which rows a gather takes: element `offset + i` after the step's `hyper.index_start` names row i of the batch.
#[derive(Clone, Copy, Debug)]
pub struct Index<'a> {
    /// Row numbers of the table, u32, each checked before it is written here.
    pub rows: &'a Buffer,
    /// First element behind the step's start.
    pub offset: usize,
}

fn gather_params(
    kernel: &str,
    [rows, columns, table_rows]: [usize; 3],
    index: Index<'_>,
    [table, x]: [&Buffer; 2],
    x_start: usize,
) -> Result<GatherParams> {
    if rows > 0 && table_rows == 0 {
        return Err(Error::shape(format!("{kernel} table"), "at least 1 row", 0));
    }
    table.at_least(&format!("{kernel} table"), table_rows * columns)?;
    x.at_least(&format!("{kernel} output"), x_start + rows * columns)?;
    index.rows.at_least(&format!("{kernel} index"), index.offset + rows)?;
    size("table elements", table_rows * columns)?;
    size("output elements", x_start + rows * columns)?;
    Ok(GatherParams {
        rows: size("rows", rows)?,
        columns: size("columns", columns)?,
        table_rows: size("table_rows", table_rows)?,
        index_len: size("index", index.rows.len())?,
        index_offset: size("index_offset", index.offset)?,
        x_start: size("x_start", x_start)?,
        _pad0: 0,
        _pad1: 0,
    })
}

/// Records `x[i, :] = table[index[i], :]` for `[rows, columns, table_rows]`, x from element `x_start`.
///
/// # Errors
/// [`Error::Shape`] if a buffer is too small or the table empty, [`Error::Device`] if the shader is refused.
pub fn gather_rows(
    recorder: &mut Recorder<'_>,
    shape: [usize; 3],
    table: &Buffer,
    index: Index<'_>,
    (x, x_start): (&Buffer, usize),
) -> Result<()> {
    let params = gather_params("gather_rows", shape, index, [table, x], x_start)?;
    recorder.dispatch(
        "batch/gather_rows",
        bytemuck::bytes_of(&params),
        &[table, index.rows, x],
        &[],
        fold(shape[0] * shape[1], 64),
    )
}

/// Records `labels[i] = table[index[i]]` for `[rows, table_rows]`, labels (i32) from element `start`.
///
/// # Errors
/// As [`gather_rows`].
pub fn gather_labels(
    recorder: &mut Recorder<'_>,
    [rows, table_rows]: [usize; 2],
    table: &Buffer,
    index: Index<'_>,
    (labels, start): (&Buffer, usize),
) -> Result<()> {
    let shape = [rows, 1, table_rows];
    let params = gather_params("gather_labels", shape, index, [table, labels], start)?;
    recorder.dispatch(
        "batch/gather_labels",
        bytemuck::bytes_of(&params),
        &[table, index.rows, labels],
        &[],
        fold(rows, 64),
    )
}

/// Records `queue[(hyper.queue_start + i) mod queue_rows, :] = keys[first_row + i, :]` for
/// `[rows, columns, queue_rows]`, the queue from element `queue_base` of its buffer.
///
/// # Errors
/// [`Error::Shape`] if a buffer is too small or the keys are more than the queue holds, [`Error::Device`] if the
/// shader is refused.
pub fn enqueue(
    recorder: &mut Recorder<'_>,
    [rows, columns, queue_rows]: [usize; 3],
    (keys, first_row): (&Buffer, usize),
    (queue, queue_base): (&Buffer, usize),
) -> Result<()> {
    if rows > queue_rows {
        return Err(Error::shape(
            "enqueue keys",
            format_args!("at most the queue's {queue_rows} rows"),
            rows,
        ));
    }
    keys.at_least("enqueue keys", (first_row + rows) * columns)?;
    queue.at_least("enqueue queue", queue_base + queue_rows * columns)?;
    size("key elements", (first_row + rows) * columns)?;
    size("queue elements", queue_base + queue_rows * columns)?;
    let params = EnqueueParams {
        rows: size("rows", rows)?,
        columns: size("columns", columns)?,
        first_row: size("first_row", first_row)?,
        queue_rows: size("queue_rows", queue_rows)?,
        queue_base: size("queue_base", queue_base)?,
        _pad0: 0,
        _pad1: 0,
        _pad2: 0,
    };
    recorder.dispatch(
        "batch/enqueue",
        bytemuck::bytes_of(&params),
        &[keys, queue],
        &[],
        fold(rows * columns, 64),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::testing::{self, Level, fields};
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
    fn params_have_the_layout_of_the_shaders() {
        for kernel in ["batch/gather_rows", "batch/gather_labels"] {
            testing::assert_layout::<GatherParams>(
                kernel,
                fields!(GatherParams: rows, columns, table_rows, index_len, index_offset, x_start),
            );
        }
        testing::assert_layout::<EnqueueParams>(
            "batch/enqueue",
            fields!(EnqueueParams: rows, columns, first_row, queue_rows, queue_base),
        );
    }

    fn gathered(device: &Device, [rows, columns, table_rows]: [usize; 3], index: &[u32]) -> [Vec<f32>; 2] {
        let table = testing::values(1, table_rows * columns);
        let mut x = vec![9.0; 2 + rows * columns];
        let out = testing::in_place(device, &x);
        let input = Buffer::from_slice(device, "table", &table);
        let indices = Buffer::from_slice(device, "index", index);
        let index_buffer = Index { rows: &indices, offset: 2 };
        testing::run(device, hyper().as_ref(), |r| {
            gather_rows(r, [rows, columns, table_rows], &input, index_buffer, (&out, 2))
        });
        batch::gather_rows(columns, &table, &index[5..], &mut x[2..]);
        [testing::read_guarded(device, &out), x]
    }

    #[test]
    fn gather_rows_matches_the_reference_and_a_shifted_index_is_seen() {
        let Some(device) = testing::device() else { return };
        for shape in SHAPES {
            let [got, want] = gathered(device, shape, &indices(shape[0] + 5, shape[2]));
            testing::assert_close(&format!("{shape:?}"), &got, &testing::wide(&want), Level::Exact);
        }
        let mut index = indices(10, 70);
        let [got, _] = gathered(device, [5, 13, 70], &index);
        index.rotate_left(1);
        let [_, want] = gathered(device, [5, 13, 70], &index);
        assert!(testing::mismatch("shifted", &got, &testing::wide(&want), Level::Rounding).is_some());
    }

    #[test]
    fn an_index_past_the_end_stays_inside_the_table() {
        let Some(device) = testing::device() else { return };
        let [got, want] = gathered(device, [3, 2, 4], &[0, 0, 0, 0, 0, 4, u32::MAX, 1]);
        assert_eq!(got, want);
        assert_eq!(got[2..4], testing::values(1, 8)[6..]);
    }

    #[test]
    fn a_step_that_starts_past_the_index_reads_its_last_element() {
        let Some(device) = testing::device() else { return };
        let table = testing::values(1, 4);
        let [input, indices] = [
            Buffer::from_slice(device, "table", &table),
            Buffer::from_slice(device, "index", &[0_u32, 0, 0, 0, 3]),
        ];
        let index = Index { rows: &indices, offset: 2 };
        let (x, labels) = (testing::output(device, 3), testing::output(device, 3));
        testing::run(device, hyper().as_ref(), |r| {
            gather_rows(r, [3, 1, 4], &input, index, (&x, 0))?;
            gather_labels(r, [3, 4], &input, index, (&labels, 0))
        });
        assert_eq!(testing::read_guarded(device, &x), [table[3]; 3]);
        assert_eq!(testing::read_guarded(device, &labels), [table[3]; 3]);
    }

    #[test]
    fn gather_labels_matches_the_reference() {
        let Some(device) = testing::device() else { return };
        for [rows, _, table_rows] in SHAPES {
            let table: Vec<i32> = (0..).map(|i| i * 7 % 11 - 1).take(table_rows).collect();
            let index = indices(rows + 3, table_rows);
            let mut want = vec![77; rows + 2];
            let out = Buffer::from_slice(device, "labels", &want);
            let input = Buffer::from_slice(device, "table", &table);
            let indices = Buffer::from_slice(device, "index", &index);
            let index_buffer = Index { rows: &indices, offset: 0 };
            testing::run(device, hyper().as_ref(), |r| {
                gather_labels(r, [rows, table_rows], &input, index_buffer, (&out, 1))
            });
            batch::gather_labels(&table, &index[3..], &mut want[1..=rows]);
            assert_eq!(out.read::<i32>(device).unwrap(), want);
        }
    }

    #[test]
    fn enqueue_matches_the_reference_and_leaves_the_rest() {
        let Some(device) = testing::device() else { return };
        for [rows, columns, queue_rows] in
            [[1, 1, 1], [3, 5, 7], [7, 9, 7], [64, 1, 65], [13, 31, 14], [0, 4, 5], [2, 67, 3]]
        {
            let mut keys = testing::values(1, (rows + 2) * columns);
            if let Some(poison) = keys.get_mut(2 * columns).filter(|_| rows > 0) {
                *poison = f32::INFINITY;
            }
            let mut queue = testing::values(2, 4 + queue_rows * columns);
            let input = Buffer::from_slice(device, "keys", &keys);
            let out = testing::in_place(device, &queue);
            testing::run(device, hyper().as_ref(), |r| {
                enqueue(r, [rows, columns, queue_rows], (&input, 2), (&out, 4))
            });
            batch::enqueue(columns, 2, &keys[2 * columns..], &mut queue[4..]);
            assert_eq!(testing::read_guarded(device, &out), queue);
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let Some(device) = testing::device() else { return };
        let small = Buffer::zeroed(device, "small", 6);
        let index = Index { rows: &small, offset: 4 };
        let mut recorder = Recorder::new(device, 1);
        let r = &mut recorder;
        let refused = |result| assert!(matches!(result, Err(Error::Shape { .. })));
        refused(gather_rows(r, [2, 2, 0], &small, index, (&small, 0)));
        refused(gather_rows(r, [2, 2, 4], &small, index, (&small, 0)));
        refused(gather_rows(r, [2, 2, 3], &small, index, (&small, 3)));
        refused(gather_labels(r, [3, 3], &small, index, (&small, 0)));
        refused(enqueue(r, [4, 1, 3], (&small, 0), (&small, 0)));
        refused(enqueue(r, [2, 1, 3], (&small, 5), (&small, 0)));
        refused(enqueue(r, [2, 1, 3], (&small, 0), (&small, 4)));
    }
}
