// Counts elements that are infinite or not a number, and adds the count to a term.
//
//   terms[hyper.term_start + slot] += number of i whose exponent bits of x[i] are all ones
//
//   0 params
//   1 hyper
//   2 x      [len], as bits
//   3 terms  the step's row starts at hyper.term_start; added to
//
// Dispatch: one workgroup of 64. Numerics: tests integers, because compilers may take it that no
// float is infinite or not a number; the count is exact below 2^24.

//#include common/hyper.wgsl
//#include common/reduce.wgsl

struct Params {
    len: u32,
    slot: u32,
    _pad0: u32,
    _pad1: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<uniform> hyper: Hyper;
@group(0) @binding(2) var<storage, read> x: array<u32>;
@group(0) @binding(3) var<storage, read_write> terms: array<f32>;

@compute @workgroup_size(64)
fn reduce_nonfinite(@builtin(local_invocation_index) lane: u32) {
    var count = 0u;
    for (var i = lane; i < params.len; i = i + 64u) {
        count = count + select(0u, 1u, (x[i] & 0x7f800000u) == 0x7f800000u);
    }
    let total = reduce_sum(lane, f32(count));
    let at = hyper.term_start + params.slot;
    if (lane == 0u && at < arrayLength(&terms)) {
        terms[at] = terms[at] + total;
    }
}
