// Gradient of what an activation was given.
//
//   d_x[i] = d_y[i] where y[i] lies strictly within the bounds of the activation, else 0
//
//   0 params
//   1 d_y  [len]
//   2 y    [len]   output of the forward pass
//   3 d_x  [len]
//
// Dispatch: one thread of 64 per element. Numerics: exact.

//#include common/activation.wgsl
//#include common/index.wgsl

struct Params {
    len: u32,
    activation: u32,
    _pad0: u32,
    _pad1: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> d_y: array<f32>;
@group(0) @binding(2) var<storage, read> y: array<f32>;
@group(0) @binding(3) var<storage, read_write> d_x: array<f32>;

@compute @workgroup_size(64)
fn activation_activate_backward(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = workgroup_number(workgroup, workgroups) * 64u + lane;
    if (i < params.len) {
        d_x[i] = passed(params.activation, y[i], d_y[i]);
    }
}
