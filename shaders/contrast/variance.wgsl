// Centres each group of rows and holds the standard deviation of each column above a target
// (VICReg).
//
//   centred = z - mean of its group,  std = sqrt(sum_i centred^2 / (n - 1) + eps)
//   n = rows / groups
//   loss[g, j] = loss_scale max(0, target_std - std)
//   d_z[i, j] += -weight loss_scale centred[i, j] / ((n - 1) std)   where std < target_std
//
//   0 params
//   1 z        [rows, columns]  groups are consecutive blocks of n rows
//   2 centred  [rows, columns]
//   3 loss     [groups, columns]
//   4 d_z      [rows, columns]  added to
//
// Dispatch: one thread of 64 per group and column, so that neighbours read neighbours.
// Numerics: two passes (mean, then squares of what is centred); sums over i in ascending order.

//#include common/index.wgsl

struct Params {
    rows: u32,
    columns: u32,
    groups: u32,
    loss_scale: f32,
    weight: f32,
    target_std: f32,
    eps: f32,
    _pad0: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> z: array<f32>;
@group(0) @binding(2) var<storage, read_write> centred: array<f32>;
@group(0) @binding(3) var<storage, read_write> loss: array<f32>;
@group(0) @binding(4) var<storage, read_write> d_z: array<f32>;

@compute @workgroup_size(64)
fn contrast_variance(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = workgroup_number(workgroup, workgroups) * 64u + lane;
    if (at < params.groups * params.columns) {
        let n = params.rows / params.groups;
        let first = (at / params.columns) * n * params.columns + at % params.columns;
        var sum = 0.0;
        for (var i = 0u; i < n; i = i + 1u) {
            sum = sum + z[first + i * params.columns];
        }
        let mean = sum / f32(n);
        var squares = 0.0;
        for (var i = 0u; i < n; i = i + 1u) {
            let value = z[first + i * params.columns] - mean;
            squares = squares + value * value;
            centred[first + i * params.columns] = value;
        }
        let degrees = f32(n) - 1.0;
        let deviation = sqrt(squares / degrees + params.eps);
        var hinge = params.target_std - deviation;
        if (hinge <= 0.0) {
            hinge = 0.0;
        } else {
            let slope = params.weight * params.loss_scale / (degrees * deviation);
            for (var i = 0u; i < n; i = i + 1u) {
                let element = first + i * params.columns;
                d_z[element] = d_z[element] - slope * centred[element];
            }
        }
        loss[at] = params.loss_scale * hinge;
    }
}
