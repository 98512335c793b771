// InfoNCE of queries against their keys and a queue of negatives (MoCo), in place.
//
//   k = (i + row_shift) mod rows,  pos_i = inverse_temperature q_i . key_k
//   lse_i   = log(exp(pos_i) + sum_j exp(s[i, j]))
//   loss[i] = scale (lse_i - pos_i)
//   d_q[i]  = weight scale inverse_temperature (exp(pos_i - lse_i) - 1) key_k
//   s[i, j] <- weight scale exp(s[i, j] - lse_i)
//
//   0 params
//   1 q     [rows, columns]   unit rows
//   2 key   [rows, columns]   unit rows, no gradient
//   3 loss  [rows]
//   4 d_q   [rows, columns]   overwritten: the positives' part
//   5 s     [rows, negatives] q . queue times inverse_temperature; its gradient on return
//
// Dispatch: one workgroup of 64 per row.
// Numerics: the largest logit of the row is subtracted before exp; sums in a fixed tree.

//#include common/index.wgsl
//#include common/reduce.wgsl

struct Params {
    rows: u32,
    columns: u32,
    negatives: u32,
    row_shift: u32,
    inverse_temperature: f32,
    scale: f32,
    weight: f32,
    _pad0: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<f32>;
@group(0) @binding(2) var<storage, read> key: array<f32>;
@group(0) @binding(3) var<storage, read_write> loss: array<f32>;
@group(0) @binding(4) var<storage, read_write> d_q: array<f32>;
@group(0) @binding(5) var<storage, read_write> s: array<f32>;

@compute @workgroup_size(64)
fn contrast_info_nce(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = workgroup_number(workgroup, workgroups);
    let inside = row < params.rows;
    let columns = select(0u, params.columns, inside);
    let negatives = select(0u, params.negatives, inside);
    let start = row * params.columns;
    let partner = select(0u, (row + params.row_shift) % max(params.rows, 1u), inside) * params.columns;
    let s_start = row * params.negatives;
    var lane_dot = 0.0;
    for (var j = lane; j < columns; j = j + REDUCE_WIDTH) {
        lane_dot = lane_dot + q[start + j] * key[partner + j];
    }
    let positive = params.inverse_temperature * reduce_sum(lane, lane_dot);
    var lane_max = positive;
    for (var j = lane; j < negatives; j = j + REDUCE_WIDTH) {
        lane_max = max(lane_max, s[s_start + j]);
    }
    let row_max = reduce_max(lane, lane_max);
    var lane_sum = 0.0;
    for (var j = lane; j < negatives; j = j + REDUCE_WIDTH) {
        lane_sum = lane_sum + exp(s[s_start + j] - row_max);
    }
    let positive_share = exp(positive - row_max);
    let row_sum = positive_share + reduce_sum(lane, lane_sum);
    let scale = params.weight * params.scale;
    for (var j = lane; j < negatives; j = j + REDUCE_WIDTH) {
        s[s_start + j] = scale * (exp(s[s_start + j] - row_max) / row_sum);
    }
    let slope = scale * params.inverse_temperature * (positive_share / row_sum - 1.0);
    for (var j = lane; j < columns; j = j + REDUCE_WIDTH) {
        d_q[start + j] = slope * key[partner + j];
    }
    if (inside && lane == 0u) {
        loss[row] = params.scale * (log(row_sum) + (row_max - positive));
    }
}
