// The mean of a map over its positions.
//
//   y[n, c] = (1 / positions) sum_p x[n, p, c]
//
//   0 params
//   1 x  [images, positions, channels]
//   2 y  [images, channels]
//
// Dispatch: one thread of 64 per element of y. Numerics: sums over positions in ascending order.

//#include common/index.wgsl

struct Params {
    images: u32,
    positions: u32,
    channels: u32,
    share: f32,           // 1 / positions
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn pool_average_forward(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = workgroup_number(workgroup, workgroups) * 64u + lane;
    if (at < params.images * params.channels) {
        let start = (at / params.channels) * params.positions * params.channels + at % params.channels;
        var sum = 0.0;
        for (var p = 0u; p < params.positions; p = p + 1u) {
            sum = sum + x[start + p * params.channels];
        }
        y[at] = sum * params.share;
    }
}
