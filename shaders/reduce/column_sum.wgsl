// Sums over the rows: the gradient of a bias.
//
//   out[j] = sum_i g[i, j]
//
//   0 params
//   1 g    [M, F]
//   2 out  [F]
//
// Dispatch: one thread of 64 per column. Numerics: sums over rows in ascending order.

//#include common/index.wgsl

struct Params {
    rows: u32,
    columns: u32,
    _pad0: u32,
    _pad1: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> g: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(64)
fn reduce_column_sum(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let j = workgroup_number(workgroup, workgroups) * 64u + lane;
    if (j < params.columns) {
        var sum = 0.0;
        for (var i = 0u; i < params.rows; i = i + 1u) {
            sum = sum + g[i * params.columns + j];
        }
        out[j] = sum;
    }
}
