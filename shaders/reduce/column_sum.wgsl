// Sums over the rows: the gradient of a bias.
//
//   out[j] = sum_i g[i, j]
//
//   0 params
//   1 g    [M, F]
//   2 out  [F]
//
// Dispatch: one workgroup of 256 per 32 columns. Numerics: eight lanes a column take every eighth
// row in ascending order; their sums meet in a fixed tree.

//#include common/index.wgsl

struct Params {
    rows: u32,
    columns: u32,
    _pad0: u32,
    _pad1: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> g: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

var<workgroup> sums: array<f32, 256>;

@compute @workgroup_size(256)
fn reduce_column_sum(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let j = workgroup_number(workgroup, workgroups) * 32u + lane % 32u;
    var sum = 0.0;
    if (j < params.columns) {
        for (var i = lane / 32u; i < params.rows; i = i + 8u) {
            sum = sum + g[i * params.columns + j];
        }
    }
    sums[lane] = sum;
    workgroupBarrier();
    for (var width = 128u; width >= 32u; width = width >> 1u) {
        if (lane < width) {
            sums[lane] = sums[lane] + sums[lane + width];
        }
        workgroupBarrier();
    }
    if (lane < 32u && j < params.columns) {
        out[j] = sums[lane];
    }
}
