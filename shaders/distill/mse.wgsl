// Squared distance between two sets of rows and its gradient for the first.
//
//   loss[i]   = loss_scale sum_j (r[i, j] - o[k, j])^2,  k = (i + row_shift) mod rows
//   d_r[i, j] = weight gradient_scale 2 (r[i, j] - o[k, j])
//
//   0 params
//   1 r     [rows, columns]
//   2 o     [rows, columns]
//   3 loss  [rows]
//   4 d_r   [rows, columns]  overwritten
//
// Dispatch: one workgroup of 64 per row. Numerics: sums in a fixed tree. The two scales differ
// where r and o are one buffer: each pair is then counted from both of its rows.

//#include common/index.wgsl
//#include common/reduce.wgsl

struct Params {
    rows: u32,
    columns: u32,
    row_shift: u32,
    loss_scale: f32,
    gradient_scale: f32,
    weight: f32,
    _pad0: u32,
    _pad1: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> r: array<f32>;
@group(0) @binding(2) var<storage, read> o: array<f32>;
@group(0) @binding(3) var<storage, read_write> loss: array<f32>;
@group(0) @binding(4) var<storage, read_write> d_r: array<f32>;

@compute @workgroup_size(64)
fn distill_mse(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = workgroup_number(workgroup, workgroups);
    let inside = row < params.rows;
    let columns = select(0u, params.columns, inside);
    let start = row * params.columns;
    let partner = select(0u, (row + params.row_shift) % max(params.rows, 1u), inside) * params.columns;
    let scale = 2.0 * params.weight * params.gradient_scale;
    var lane_sum = 0.0;
    for (var j = lane; j < columns; j = j + REDUCE_WIDTH) {
        let difference = r[start + j] - o[partner + j];
        lane_sum = lane_sum + difference * difference;
        d_r[start + j] = scale * difference;
    }
    let row_sum = reduce_sum(lane, lane_sum);
    if (inside && lane == 0u) {
        loss[row] = params.loss_scale * row_sum;
    }
}
