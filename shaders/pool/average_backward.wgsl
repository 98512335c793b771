// Gradient of a map whose mean over the positions was taken, behind the activation in front of it.
//
//   d_x[n, p, c] = d_y[n, c] / positions
//   0 where activation is set and lets no gradient through at x
//
//   0 params
//   1 d_y  [images, channels]
//   2 x    [images, positions, channels]   read if activation is set
//   3 d_x  [images, positions, channels]
//
// Dispatch: one thread of 64 per element of d_x. Numerics: one product.

//#include common/activation.wgsl
//#include common/index.wgsl

struct Params {
    images: u32,
    positions: u32,
    channels: u32,
    activation: u32,
    share: f32,           // 1 / positions
    _pad0: u32,
    _pad1: u32,
    _pad2: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> d_y: array<f32>;
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read_write> d_x: array<f32>;

@compute @workgroup_size(64)
fn pool_average_backward(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = workgroup_number(workgroup, workgroups) * 64u + lane;
    if (at < params.images * params.positions * params.channels) {
        let n = at / (params.positions * params.channels);
        var gradient = d_y[n * params.channels + at % params.channels] * params.share;
        if (params.activation != 0u) {
            gradient = passed(params.activation, x[at], gradient);
        }
        d_x[at] = gradient;
    }
}
