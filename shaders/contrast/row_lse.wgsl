// Log-sum-exp of each row.
//
//   lse[i] = log sum_j exp(s[i, j])
//
//   0 params
//   1 s    [rows, columns]
//   2 lse  [rows]
//
// Dispatch: one workgroup of 64 per row. Numerics: the row's largest value is subtracted; sums in a
// fixed tree.

//#include common/index.wgsl
//#include common/reduce.wgsl

struct Params {
    rows: u32,
    columns: u32,
    _pad0: u32,
    _pad1: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> s: array<f32>;
@group(0) @binding(2) var<storage, read_write> lse: array<f32>;

@compute @workgroup_size(64)
fn contrast_row_lse(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = workgroup_number(workgroup, workgroups);
    let columns = select(0u, params.columns, row < params.rows);
    let start = row * params.columns;
    var lane_max = -3.4e38;
    for (var j = lane; j < columns; j = j + REDUCE_WIDTH) {
        lane_max = max(lane_max, s[start + j]);
    }
    let row_max = reduce_max(lane, lane_max);
    var lane_sum = 0.0;
    for (var j = lane; j < columns; j = j + REDUCE_WIDTH) {
        lane_sum = lane_sum + exp(s[start + j] - row_max);
    }
    let row_sum = reduce_sum(lane, lane_sum);
    if (row < params.rows && lane == 0u) {
        lse[row] = row_max + log(row_sum);
    }
}
