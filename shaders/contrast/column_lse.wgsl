// Log-sum-exp of each column.
//
//   lse[j] = log sum_i exp(s[i, j])
//
//   0 params
//   1 s    [rows, columns]
//   2 lse  [columns]
//
// Dispatch: one thread of 64 per column, so that neighbours read neighbours.
// Numerics: the column's largest value is subtracted; sums over i in ascending order.

//#include common/index.wgsl

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
fn contrast_column_lse(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let column = workgroup_number(workgroup, workgroups) * 64u + lane;
    if (column < params.columns) {
        var column_max = -3.4e38;
        for (var i = 0u; i < params.rows; i = i + 1u) {
            column_max = max(column_max, s[i * params.columns + column]);
        }
        var column_sum = 0.0;
        for (var i = 0u; i < params.rows; i = i + 1u) {
            column_sum = column_sum + exp(s[i * params.columns + column] - column_max);
        }
        lse[column] = column_max + log(column_sum);
    }
}
