// Labels of the rows of a batch.
//
//   labels[i] = table[index[hyper.index_start + first + i]]
//
//   0 params
//   1 hyper
//   2 table   [S], i32, -1 for unlabelled
//   3 index   [index_len], u32
//   4 labels  [M]
//
// Dispatch: one thread of 64 per row.
// Numerics: positions and rows past the end read the last one, the host checks them before.

//#include common/hyper.wgsl
//#include common/index.wgsl

struct Params {
    rows: u32,
    columns: u32,
    table_rows: u32,
    index_len: u32,
    first: u32,           // element of a step's slice of the index that names row 0
    _pad0: u32,
    _pad1: u32,
    _pad2: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<uniform> hyper: Hyper;
@group(0) @binding(2) var<storage, read> table: array<i32>;
@group(0) @binding(3) var<storage, read> index: array<u32>;
@group(0) @binding(4) var<storage, read_write> labels: array<i32>;

@compute @workgroup_size(64)
fn batch_gather_labels(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = workgroup_number(workgroup, workgroups) * 64u + lane;
    if (i < params.rows) {
        let position = hyper.index_start + params.first + i;
        let row = min(index[min(position, params.index_len - 1u)], params.table_rows - 1u);
        labels[i] = table[row];
    }
}
