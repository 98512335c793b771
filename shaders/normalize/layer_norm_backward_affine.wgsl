// Gradients of weight and bias of layer norm and of the ReLU behind it.
//
//   g = d_y, 0 where masked and mask is not positive
//   d_weight[j] = sum_i g * (x - mean[i]) * inv_std[i],  d_bias[j] = sum_i g
//
//   0 params
//   1 d_y       [M, F]
//   2 x         [M, F]
//   3 mask      [M, F]   output of the forward pass, read if masked
//   4 stats     [M, 2]   mean, inv_std
//   5 d_weight  [F]
//   6 d_bias    [F]
//
// Dispatch: one thread of 64 per column. Numerics: sums over rows in ascending order.

//#include common/index.wgsl

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
@group(0) @binding(4) var<storage, read> stats: array<f32>;
@group(0) @binding(5) var<storage, read_write> d_weight: array<f32>;
@group(0) @binding(6) var<storage, read_write> d_bias: array<f32>;

@compute @workgroup_size(64)
fn normalize_layer_norm_backward_affine(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let j = workgroup_number(workgroup, workgroups) * 64u + lane;
    if (j < params.columns) {
        var sum_g = 0.0;
        var sum_gn = 0.0;
        for (var i = 0u; i < params.rows; i = i + 1u) {
            let at = i * params.columns + j;
            var g = d_y[at];
            if (params.masked != 0u) {
                g = select(g, 0.0, mask[at] <= 0.0);
            }
            sum_g = sum_g + g;
            sum_gn = sum_gn + g * ((x[at] - stats[i * 2u]) * stats[i * 2u + 1u]);
        }
        d_weight[j] = sum_gn;
        d_bias[j] = sum_g;
    }
}
