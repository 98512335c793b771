// What is left of a product whose inner dimension was cut into slices (linear/gemm).
//
//   y[i] = alpha sum_s partials[s, i] (+ y[i])
//
//   0 params
//   1 partials  [slices, len]
//   2 y         [len]   from y_start; added to if accumulate
//
// Dispatch: one thread of 64 per element of y. Numerics: slices in ascending order.

//#include common/index.wgsl

struct Params {
    slices: u32,
    len: u32,
    y_start: u32,
    accumulate: u32,
    alpha: f32,
    _pad0: u32,
    _pad1: u32,
    _pad2: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> partials: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn linear_gemm_merge(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = workgroup_number(workgroup, workgroups) * 64u + lane;
    if (i < params.len) {
        var sum = 0.0;
        for (var s = 0u; s < params.slices; s = s + 1u) {
            sum = sum + partials[s * params.len + i];
        }
        var value = params.alpha * sum;
        if (params.accumulate != 0u) {
            value = value + y[params.y_start + i];
        }
        y[params.y_start + i] = value;
    }
}
