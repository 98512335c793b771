// An activation alone, or behind the sum of two maps.
//
//   y[i] = activation(x[i] + residual[i])
//
//   0 params
//   1 x         [len]
//   2 residual  [len]   read if has_residual
//   3 y         [len]
//
// Dispatch: one thread of 64 per element. Numerics: one rounding.

//#include common/activation.wgsl
//#include common/index.wgsl

struct Params {
    len: u32,
    activation: u32,
    has_residual: u32,
    _pad0: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> residual: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn activation_activate(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = workgroup_number(workgroup, workgroups) * 64u + lane;
    if (i < params.len) {
        var value = x[i];
        if (params.has_residual != 0u) {
            value = value + residual[i];
        }
        y[i] = activated(params.activation, value);
    }
}
