// The product of linear/gemm with one thread a result and no tiles: the fast kernel's oracle.
//
//   y[i, j] = mask(activation(alpha * product + bias[j] + residual[i, j])) (+ y[i, j])
//   product = sum_l A(i, l) B(l, j)
//
//   0..6 as in linear/gemm
//
// Dispatch: one thread of 64 per element of y. Numerics: sums over l in ascending order, in f32.

//#include common/activation.wgsl
//#include common/index.wgsl

struct Params {
    m: u32,
    n: u32,
    k: u32,
    a_start: u32,
    a_row: u32,
    a_column: u32,
    b_start: u32,
    b_row: u32,
    b_column: u32,
    y_start: u32,
    flags: u32,
    activation: u32,
    mask_activation: u32,
    k_slice: u32,
    alpha: f32,
    _pad0: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> residual: array<f32>;
@group(0) @binding(5) var<storage, read> mask: array<f32>;
@group(0) @binding(6) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn linear_gemm_plain(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = workgroup_number(workgroup, workgroups) * 64u + lane;
    if (at < params.m * params.n) {
        let i = at / params.n;
        let j = at % params.n;
        var sum = 0.0;
        for (var l = 0u; l < params.k; l = l + 1u) {
            let left = a[params.a_start + i * params.a_row + l * params.a_column];
            let right = b[params.b_start + l * params.b_row + j * params.b_column];
            sum = sum + left * right;
        }
        var value = params.alpha * sum;
        if ((params.flags & 1u) != 0u) {
            value = value + bias[j];
        }
        if ((params.flags & 2u) != 0u) {
            value = value + residual[at];
        }
        value = activated(params.activation, value);
        if ((params.flags & 4u) != 0u) {
            value = passed(params.mask_activation, mask[at], value);
        }
        if ((params.flags & 8u) != 0u) {
            value = value + y[params.y_start + at];
        }
        y[params.y_start + at] = value;
    }
}
