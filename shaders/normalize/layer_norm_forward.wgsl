// Layer norm with an optional ReLU.
//
//   y[i, j] = relu(weight[j] * (x[i, j] - mean[i]) * inv_std[i] + bias[j])
//   inv_std = 1 / sqrt(var + eps)
//
//   0 params
//   1 x       [M, F]
//   2 weight  [F]
//   3 bias    [F]
//   4 y       [M, F]   relu if relu is not 0
//   5 stats   [M, 2]   mean, inv_std
//
// Dispatch: one workgroup of 64 per row. Numerics: two passes in a fixed tree; the ReLU keeps what
// is not a number.

//#include common/index.wgsl
//#include common/reduce.wgsl

struct Params {
    rows: u32,
    columns: u32,
    relu: u32,
    eps: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var<storage, read_write> stats: array<f32>;

@compute @workgroup_size(64)
fn normalize_layer_norm_forward(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = workgroup_number(workgroup, workgroups);
    let columns = select(0u, params.columns, row < params.rows);
    let first = row * params.columns;
    let n = f32(params.columns);
    var sum = 0.0;
    for (var j = lane; j < columns; j = j + 64u) {
        sum = sum + x[first + j];
    }
    let mean = reduce_sum(lane, sum) / n;
    var square = 0.0;
    for (var j = lane; j < columns; j = j + 64u) {
        let centred = x[first + j] - mean;
        square = square + centred * centred;
    }
    let inv_std = 1.0 / sqrt(reduce_sum(lane, square) / n + params.eps);
    for (var j = lane; j < columns; j = j + 64u) {
        let value = (x[first + j] - mean) * inv_std * weight[j] + bias[j];
        y[first + j] = select(value, 0.0, params.relu != 0u && value < 0.0);
    }
    if (lane == 0u && row < params.rows) {
        stats[row * 2u] = mean;
        stats[row * 2u + 1u] = inv_std;
    }
}
