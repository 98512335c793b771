// Gradients of batch norm in training and of the ReLU behind it.
//
//   g = d_y, 0 where masked and mask is not positive;  n = (x - mean) * inv_std
//   d_x = weight * inv_std * (g - mean_i(g) - n * mean_i(g * n))
//   the means over the rows of a group
//   d_weight[j] = sum_i g * n,  d_bias[j] = sum_i g,  over all groups
//
//   0 params
//   1 d_y       [M, F]
//   2 x         [M, F]
//   3 mask      [M, F]   output of the forward pass, read if masked
//   4 weight    [F]
//   5 stats     [groups, 2, F]  mean, inv_std
//   6 d_x       [M, F]
//   7 d_weight  [F]
//   8 d_bias    [F]
//
// Dispatch: one thread of 64 per column. Numerics: sums over rows in ascending order.

//#include common/index.wgsl

struct Params {
    rows: u32,
    columns: u32,
    groups: u32,
    masked: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> d_y: array<f32>;
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read> mask: array<f32>;
@group(0) @binding(4) var<storage, read> weight: array<f32>;
@group(0) @binding(5) var<storage, read> stats: array<f32>;
@group(0) @binding(6) var<storage, read_write> d_x: array<f32>;
@group(0) @binding(7) var<storage, read_write> d_weight: array<f32>;
@group(0) @binding(8) var<storage, read_write> d_bias: array<f32>;

fn gradient(at: u32) -> f32 {
    var value = d_y[at];
    if (params.masked != 0u) {
        value = select(value, 0.0, mask[at] <= 0.0);
    }
    return value;
}

@compute @workgroup_size(64)
fn normalize_batch_norm_backward(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let columns = params.columns;
    let j = workgroup_number(workgroup, workgroups) * 64u + lane;
    if (j < columns) {
        let rows = params.rows / params.groups;
        let inverse = 1.0 / f32(rows);
        var total_g = 0.0;
        var total_gn = 0.0;
        for (var group = 0u; group < params.groups; group = group + 1u) {
            let first = group * rows;
            let mean = stats[group * 2u * columns + j];
            let inv_std = stats[(group * 2u + 1u) * columns + j];
            var sum_g = 0.0;
            var sum_gn = 0.0;
            for (var i = first; i < first + rows; i = i + 1u) {
                let at = i * columns + j;
                let g = gradient(at);
                sum_g = sum_g + g;
                sum_gn = sum_gn + g * ((x[at] - mean) * inv_std);
            }
            total_g = total_g + sum_g;
            total_gn = total_gn + sum_gn;
            let scale = weight[j] * inv_std;
            for (var i = first; i < first + rows; i = i + 1u) {
                let at = i * columns + j;
                let normal = (x[at] - mean) * inv_std;
                d_x[at] = scale * (gradient(at) - sum_g * inverse - normal * (sum_gn * inverse));
            }
        }
        d_weight[j] = total_gn;
        d_bias[j] = total_g;
    }
}
