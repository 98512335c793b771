// Sum of a short array.
//
//   out[slot] = sum_i x[i]
//
//   0 params
//   1 x    [len]
//   2 out  from slot
//
// Dispatch: one workgroup of 64. Numerics: each lane every 64th value in ascending order, then a
// fixed tree.

//#include common/reduce.wgsl

struct Params {
    len: u32,
    slot: u32,
    _pad0: u32,
    _pad1: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(64)
fn reduce_total(@builtin(local_invocation_index) lane: u32) {
    var sum = 0.0;
    for (var i = lane; i < params.len; i = i + 64u) {
        sum = sum + x[i];
    }
    sum = reduce_sum(lane, sum);
    if (lane == 0u) {
        out[params.slot] = sum;
    }
}
