// Tiled product of two matrices with everything that follows it fused in.
//
//   y[i, j] = mask(activation(alpha * product + bias[j] + residual[i, j])) (+ y[i, j])
//   product = sum_l A(i, l) B(l, j)
//   A(i, l) = a[a_start + i * a_row + l * a_column]
//   B(l, j) = b[b_start + l * b_row + j * b_column]
//
//   0 params
//   1 a         strided as above
//   2 b         strided as above
//   3 bias      [n]      read if flags & 1
//   4 residual  [m, n]   read if flags & 2
//   5 mask      [m, n]   read if flags & 4: result 0 where mask_activation shut at this value
//   6 y         [m, n]   from y_start; added to if flags & 8; a slice of l after the other
//
// Dispatch: one workgroup of 256 per 64 x 64 tile of y, tiles numbered row by row, and slice of
// k_slice along l (z). With more than one slice y is [slices, m, n], for linear/gemm_merge to sum.
// Numerics: sums over l in ascending order, in f32; 4 x 4 results a thread, written out as vec4.

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

// Whether neighbours in memory lie along l: decides which lanes load which elements, not the
// result.
override A_ALONG_K: bool = true;
override B_ALONG_K: bool = true;

const PITCH: u32 = 17u; // 16 and one, so that lanes that differ in l hit different banks
var<workgroup> tile_a: array<vec4<f32>, 272>;
var<workgroup> tile_b: array<vec4<f32>, 272>;

fn load_a(i: u32, l: u32, end: u32) -> f32 {
    var value = 0.0;
    if (i < params.m && l < end) {
        value = a[params.a_start + i * params.a_row + l * params.a_column];
    }
    return value;
}

fn load_b(l: u32, j: u32, end: u32) -> f32 {
    var value = 0.0;
    if (j < params.n && l < end) {
        value = b[params.b_start + l * params.b_row + j * params.b_column];
    }
    return value;
}

fn store(y_start: u32, i: u32, j: u32, product: f32) {
    if (i < params.m && j < params.n) {
        let at = i * params.n + j;
        var value = params.alpha * product;
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
            value = value + y[y_start + at];
        }
        y[y_start + at] = value;
    }
}

fn store_row(y_start: u32, i: u32, j: u32, row: vec4<f32>) {
    store(y_start, i, j, row.x);
    store(y_start, i, j + 1u, row.y);
    store(y_start, i, j + 2u, row.z);
    store(y_start, i, j + 3u, row.w);
}

@compute @workgroup_size(256)
fn linear_gemm(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let tile = workgroup_number(workgroup, workgroups);
    let tiles_across = (params.n + 63u) / 64u;
    let first_i = (tile / tiles_across) * 64u;
    let first_j = (tile % tiles_across) * 64u;
    let fast = lane % 16u;
    let slow = lane / 16u;
    let a_l = select(slow, fast, A_ALONG_K);
    let a_group = select(fast, slow, A_ALONG_K);
    let b_l = select(slow, fast, B_ALONG_K);
    let b_group = select(fast, slow, B_ALONG_K);
    var row0 = vec4<f32>();
    var row1 = vec4<f32>();
    var row2 = vec4<f32>();
    var row3 = vec4<f32>();
    let first_l = workgroup.z * params.k_slice;
    let end = min(params.k, first_l + params.k_slice);
    for (var start = first_l; start < end; start = start + 16u) {
        let i = first_i + a_group * 4u;
        let j = first_j + b_group * 4u;
        let l_a = start + a_l;
        let l_b = start + b_l;
        tile_a[a_l * PITCH + a_group] = vec4(load_a(i, l_a, end), load_a(i + 1u, l_a, end), load_a(i + 2u, l_a, end), load_a(i + 3u, l_a, end));
        tile_b[b_l * PITCH + b_group] = vec4(load_b(l_b, j, end), load_b(l_b, j + 1u, end), load_b(l_b, j + 2u, end), load_b(l_b, j + 3u, end));
        workgroupBarrier();
        for (var l = 0u; l < 16u; l = l + 1u) {
            let left = tile_a[l * PITCH + slow];
            let right = tile_b[l * PITCH + fast];
            row0 = row0 + left.x * right;
            row1 = row1 + left.y * right;
            row2 = row2 + left.z * right;
            row3 = row3 + left.w * right;
        }
        workgroupBarrier();
    }
    let i = first_i + slow * 4u;
    let j = first_j + fast * 4u;
    let y_start = params.y_start + workgroup.z * params.m * params.n;
    store_row(y_start, i, j, row0);
    store_row(y_start, i + 1u, j, row1);
    store_row(y_start, i + 2u, j, row2);
    store_row(y_start, i + 3u, j, row3);
}
