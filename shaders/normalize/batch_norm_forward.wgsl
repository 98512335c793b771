// Batch norm in training, with an optional ReLU and the running statistics.
//
//   y[i, j] = relu(weight[j] * (x[i, j] - mean[j]) * inv_std[j] + bias[j])
//   inv_std = 1 / sqrt(var + eps)
//   running = running + momentum * (batch - running)
//   the mean and the unbiased variance, group after group
//
//   0 params
//   1 x             [M, F]   M / groups rows, at least 2, share statistics
//   2 weight        [F]
//   3 bias          [F]
//   4 y             [M, F]   relu if relu is not 0
//   5 stats         [groups, 2, F]  mean, inv_std
//   6 running_mean  [F]      in place
//   7 running_var   [F]      in place
//
// Dispatch: one thread of 64 per column.
// Numerics: the mean is corrected by what rounding left of it; sums over rows in ascending order;
// the ReLU keeps what is not a number.

//#include common/index.wgsl

struct Params {
    rows: u32,
    columns: u32,
    groups: u32,
    relu: u32,
    eps: f32,
    momentum: f32,
    _pad0: u32,
    _pad1: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var<storage, read_write> stats: array<f32>;
@group(0) @binding(6) var<storage, read_write> running_mean: array<f32>;
@group(0) @binding(7) var<storage, read_write> running_var: array<f32>;

@compute @workgroup_size(64)
fn normalize_batch_norm_forward(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let columns = params.columns;
    let j = workgroup_number(workgroup, workgroups) * 64u + lane;
    if (j < columns) {
        let rows = params.rows / params.groups;
        let n = f32(rows);
        var moving_mean = running_mean[j];
        var moving_var = running_var[j];
        for (var group = 0u; group < params.groups; group = group + 1u) {
            let first = group * rows;
            var sum = 0.0;
            for (var i = first; i < first + rows; i = i + 1u) {
                sum = sum + x[i * columns + j];
            }
            let rough_mean = sum / n;
            var rest = 0.0;
            for (var i = first; i < first + rows; i = i + 1u) {
                rest = rest + (x[i * columns + j] - rough_mean);
            }
            let mean = rough_mean + rest / n;
            var square = 0.0;
            for (var i = first; i < first + rows; i = i + 1u) {
                let centred = x[i * columns + j] - mean;
                square = square + centred * centred;
            }
            let inv_std = 1.0 / sqrt(square / n + params.eps);
            stats[group * 2u * columns + j] = mean;
            stats[(group * 2u + 1u) * columns + j] = inv_std;
            moving_mean = moving_mean + params.momentum * (mean - moving_mean);
            moving_var = moving_var + params.momentum * (square / (n - 1.0) - moving_var);
            for (var i = first; i < first + rows; i = i + 1u) {
                let value = (x[i * columns + j] - mean) * inv_std * weight[j] + bias[j];
                y[i * columns + j] = select(value, 0.0, params.relu != 0u && value < 0.0);
            }
        }
        running_mean[j] = moving_mean;
        running_var[j] = moving_var;
    }
}
