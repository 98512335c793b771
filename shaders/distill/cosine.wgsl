// A line in the cosine between predictions and fixed targets, and its gradient for the predictions.
//
//   cos_i = p_i . z_k / (a_i b_k),  a = max(|p_i|, eps),  b = max(|z_k|, eps)
//   k = (i + row_shift) mod rows
//   loss[i] = loss_scale (offset + slope cos_i)
//   d_p[i]  = weight loss_scale slope (z_k / b - [|p_i| > eps] cos_i p_i / a) / a
//
//   0 params
//   1 p     [rows, columns]
//   2 z     [rows, columns]  no gradient
//   3 loss  [rows]
//   4 d_p   [rows, columns]  overwritten
//
// Dispatch: one workgroup of 64 per row. Numerics: norms are clamped from below by eps; sums in a
// fixed tree.

//#include common/index.wgsl
//#include common/reduce.wgsl

struct Params {
    rows: u32,
    columns: u32,
    row_shift: u32,
    loss_scale: f32,
    slope: f32,
    offset: f32,
    weight: f32,
    eps: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> p: array<f32>;
@group(0) @binding(2) var<storage, read> z: array<f32>;
@group(0) @binding(3) var<storage, read_write> loss: array<f32>;
@group(0) @binding(4) var<storage, read_write> d_p: array<f32>;

@compute @workgroup_size(64)
fn distill_cosine(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = workgroup_number(workgroup, workgroups);
    let inside = row < params.rows;
    let columns = select(0u, params.columns, inside);
    let start = row * params.columns;
    let partner = select(0u, (row + params.row_shift) % max(params.rows, 1u), inside) * params.columns;
    var lane_dot = 0.0;
    var lane_p = 0.0;
    var lane_z = 0.0;
    for (var j = lane; j < columns; j = j + REDUCE_WIDTH) {
        let left = p[start + j];
        let right = z[partner + j];
        lane_dot = lane_dot + left * right;
        lane_p = lane_p + left * left;
        lane_z = lane_z + right * right;
    }
    let dot_product = reduce_sum(lane, lane_dot);
    let norm = sqrt(reduce_sum(lane, lane_p));
    let a = max(norm, params.eps);
    let b = max(sqrt(reduce_sum(lane, lane_z)), params.eps);
    let cosine = dot_product / a / b;
    let radial = select(0.0, cosine / a, norm > params.eps);
    let scale = params.weight * params.loss_scale * params.slope;
    for (var j = lane; j < columns; j = j + REDUCE_WIDTH) {
        d_p[start + j] = scale * (z[partner + j] / b - radial * p[start + j]) / a;
    }
    if (inside && lane == 0u) {
        loss[row] = params.loss_scale * (params.offset + params.slope * cosine);
    }
}
