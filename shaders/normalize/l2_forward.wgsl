// Rows of unit length.
//
//   norm[i] = sqrt(sum_j x[i, j]^2),  y[i, j] = x[i, j] / max(norm[i], eps)
//
//   0 params
//   1 x     [M, F]
//   2 y     [M, F]
//   3 norm  [M]
//
// Dispatch: one workgroup of 64 per row. Numerics: the sum in a fixed tree; a norm that is not a
// number stays one.

//#include common/index.wgsl
//#include common/reduce.wgsl

struct Params {
    rows: u32,
    columns: u32,
    eps: f32,
    _pad0: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<storage, read_write> norm: array<f32>;

@compute @workgroup_size(64)
fn normalize_l2_forward(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = workgroup_number(workgroup, workgroups);
    let columns = select(0u, params.columns, row < params.rows);
    let first = row * params.columns;
    var square = 0.0;
    for (var j = lane; j < columns; j = j + 64u) {
        square = square + x[first + j] * x[first + j];
    }
    let length = sqrt(reduce_sum(lane, square));
    let divisor = select(length, params.eps, length < params.eps);
    for (var j = lane; j < columns; j = j + 64u) {
        y[first + j] = x[first + j] / divisor;
    }
    if (lane == 0u && row < params.rows) {
        norm[row] = length;
    }
}
