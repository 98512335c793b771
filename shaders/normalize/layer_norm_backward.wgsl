// Gradient of the input of layer norm and of the ReLU behind it.
//
//   g = weight * d_y, 0 where masked and mask is not positive;  n = (x - mean) * inv_std
//   d_x = inv_std * (g - mean_j(g) - n * mean_j(g * n))
//
//   0 params
//   1 d_y     [M, F]
//   2 x       [M, F]
//   3 mask    [M, F]   output of the forward pass, read if masked
//   4 weight  [F]
//   5 stats   [M, 2]   mean, inv_std
//   6 d_x     [M, F]
//
// Dispatch: one workgroup of 64 per row. Numerics: sums in a fixed tree.

//#include common/index.wgsl
//#include common/reduce.wgsl

struct Params {
    rows: u32,
    columns: u32,
    masked: u32,
    _pad0: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> d_y: array<f32>;
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read> mask: array<f32>;
@group(0) @binding(4) var<storage, read> weight: array<f32>;
@group(0) @binding(5) var<storage, read> stats: array<f32>;
@group(0) @binding(6) var<storage, read_write> d_x: array<f32>;

fn gradient(at: u32, j: u32) -> f32 {
    var value = d_y[at] * weight[j];
    if (params.masked != 0u) {
        value = select(value, 0.0, mask[at] <= 0.0);
    }
    return value;
}

@compute @workgroup_size(64)
fn normalize_layer_norm_backward(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = workgroup_number(workgroup, workgroups);
    let columns = select(0u, params.columns, row < params.rows);
    let first = row * params.columns;
    let inverse = 1.0 / f32(params.columns);
    var mean = 0.0;
    var inv_std = 0.0;
    if (row < params.rows) {
        mean = stats[row * 2u];
        inv_std = stats[row * 2u + 1u];
    }
    var sum_g = 0.0;
    var sum_gn = 0.0;
    for (var j = lane; j < columns; j = j + 64u) {
        let g = gradient(first + j, j);
        sum_g = sum_g + g;
        sum_gn = sum_gn + g * ((x[first + j] - mean) * inv_std);
    }
    let mean_g = reduce_sum(lane, sum_g) * inverse;
    let mean_gn = reduce_sum(lane, sum_gn) * inverse;
    for (var j = lane; j < columns; j = j + 64u) {
        let normal = (x[first + j] - mean) * inv_std;
        d_x[first + j] = inv_std * (gradient(first + j, j) - mean_g - normal * mean_gn);
    }
}
