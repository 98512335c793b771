// One term of the loss from its values per row.
//
//   terms[hyper.term_start + slot] += scale * sum_i rows[i]
//
//   0 params
//   1 hyper
//   2 rows   [len]
//   3 terms  the step's row starts at hyper.term_start; the host zeroes it before the step
//
// Dispatch: one workgroup of 64. Numerics: each lane every 64th value in ascending order, then a
// fixed tree.

//#include common/hyper.wgsl
//#include common/reduce.wgsl

struct Params {
    len: u32,
    slot: u32,
    scale: f32,
    _pad0: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<uniform> hyper: Hyper;
@group(0) @binding(2) var<storage, read> rows: array<f32>;
@group(0) @binding(3) var<storage, read_write> terms: array<f32>;

@compute @workgroup_size(64)
fn reduce_term_sum(@builtin(local_invocation_index) lane: u32) {
    var sum = 0.0;
    for (var i = lane; i < params.len; i = i + 64u) {
        sum = sum + rows[i];
    }
    sum = reduce_sum(lane, sum);
    let at = hyper.term_start + params.slot;
    if (lane == 0u && at < arrayLength(&terms)) {
        terms[at] = terms[at] + params.scale * sum;
    }
}
