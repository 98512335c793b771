// Latents out of a table in 8 bits, in the order of an index.
//
//   x[i, p, c] = code[r, p, c] * scales[r, c],  r = index[hyper.index_start + first + i]
//
//   0 params
//   1 hyper
//   2 codes   [S, words]          four codes (i8) a word, the first in the lowest bits
//   3 scales  [S, channels]
//   4 index   [index_len], u32
//   5 x       [M, positions, channels]
//
// Dispatch: one thread of 64 per element of x. Numerics: one product; rows past the end read the
// last one, the host checks them before.

//#include common/hyper.wgsl
//#include common/index.wgsl

struct Params {
    rows: u32,
    positions: u32,
    channels: u32,
    words: u32,           // of a row of codes
    table_rows: u32,
    index_len: u32,
    first: u32,           // element of a step's slice of the index that names row 0
    _pad0: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<uniform> hyper: Hyper;
@group(0) @binding(2) var<storage, read> codes: array<u32>;
@group(0) @binding(3) var<storage, read> scales: array<f32>;
@group(0) @binding(4) var<storage, read> index: array<u32>;
@group(0) @binding(5) var<storage, read_write> x: array<f32>;

@compute @workgroup_size(64)
fn batch_gather_codes(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = workgroup_number(workgroup, workgroups) * 64u + lane;
    let width = params.positions * params.channels;
    if (at < params.rows * width) {
        let position = hyper.index_start + params.first + at / width;
        let row = min(index[min(position, params.index_len - 1u)], params.table_rows - 1u);
        let element = at % width;
        let word = codes[row * params.words + element / 4u];
        // Shifted up to the sign and down again.
        let code = bitcast<i32>(word << (24u - 8u * (element % 4u))) >> 24u;
        x[at] = f32(code) * scales[row * params.channels + element % params.channels];
    }
}
