// Gradient of the input of the L2 normalisation.
//
//   d_x = (d_y - (d_y . y) y) / norm,  d_y / eps for rows shorter than eps
//
//   0 params
//   1 d_y   [M, F]
//   2 y     [M, F]   unit rows
//   3 norm  [M]
//   4 d_x   [M, F]   overwritten
//
// Dispatch: one workgroup of 64 per row. Numerics: the product in a fixed tree.

//#include common/index.wgsl
//#include common/reduce.wgsl

struct Params {
    rows: u32,
    columns: u32,
    eps: f32,
    _pad0: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> d_y: array<f32>;
@group(0) @binding(2) var<storage, read> y: array<f32>;
@group(0) @binding(3) var<storage, read> norm: array<f32>;
@group(0) @binding(4) var<storage, read_write> d_x: array<f32>;

@compute @workgroup_size(64)
fn normalize_l2_backward(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = workgroup_number(workgroup, workgroups);
    let columns = select(0u, params.columns, row < params.rows);
    let first = row * params.columns;
    var along = 0.0;
    for (var j = lane; j < columns; j = j + 64u) {
        along = along + d_y[first + j] * y[first + j];
    }
    along = reduce_sum(lane, along);
    var divisor = params.eps;
    if (row < params.rows) {
        divisor = norm[row];
    }
    if (divisor < params.eps) {
        divisor = params.eps;
        along = 0.0;
    }
    for (var j = lane; j < columns; j = j + 64u) {
        d_x[first + j] = (d_y[first + j] - along * y[first + j]) / divisor;
    }
}
