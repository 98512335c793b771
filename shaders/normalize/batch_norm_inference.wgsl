// Batch norm by its running statistics, with an optional ReLU.
//
//   y[i, j] = relu(weight[j] * (x[i, j] - running_mean[j]) / sqrt(running_var[j] + eps) + bias[j])
//
//   0 params
//   1 x             [M, F]
//   2 weight        [F]
//   3 bias          [F]
//   4 running_mean  [F]
//   5 running_var   [F]
//   6 y             [M, F]   relu if relu is not 0
//
// Dispatch: one thread of 64 per element. Numerics: the ReLU keeps what is not a number.

//#include common/index.wgsl

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
@group(0) @binding(4) var<storage, read> running_mean: array<f32>;
@group(0) @binding(5) var<storage, read> running_var: array<f32>;
@group(0) @binding(6) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn normalize_batch_norm_inference(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = workgroup_number(workgroup, workgroups) * 64u + lane;
    if (at < params.rows * params.columns) {
        let j = at % params.columns;
        let inv_std = 1.0 / sqrt(running_var[j] + params.eps);
        let value = (x[at] - running_mean[j]) * inv_std * weight[j] + bias[j];
        y[at] = select(value, 0.0, params.relu != 0u && value < 0.0);
    }
}
