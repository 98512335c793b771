// Partial sums of the squares of a tensor, for reduce/total to finish.
//
//   partials[w] = sum_i x[i]^2 over the i whose block of 64 is w modulo the number of workgroups
//
//   0 params
//   1 x         [len]
//   2 partials  [workgroups]
//
// Dispatch: as many workgroups of 64 as params say. Numerics: ascending order in a lane, then a
// fixed tree.

//#include common/reduce.wgsl

struct Params {
    len: u32,
    workgroups: u32,
    _pad0: u32,
    _pad1: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> partials: array<f32>;

@compute @workgroup_size(64)
fn reduce_square_sum(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    var sum = 0.0;
    for (var i = workgroup.x * 64u + lane; i < params.len; i = i + params.workgroups * 64u) {
        sum = sum + x[i] * x[i];
    }
    sum = reduce_sum(lane, sum);
    if (lane == 0u && workgroup.x < params.workgroups) {
        partials[workgroup.x] = sum;
    }
}
