// Cross-entropy with soft targets, a weight a row, and its gradient.
//
//   v = weights, s = hyper.inverse_weight
//   loss[i]        = s v_i sum_c targets[i, c] (lse_j logits[i, j] - logits[i, c])
//   d_logits[i, c] = weight s v_i (softmax(logits[i])_c sum_j targets[i, j] - targets[i, c])
//   both 0 where v_i = 0
//
//   0 params
//   1 hyper     inverse_weight
//   2 logits    [rows, classes]
//   3 targets   [rows, classes]
//   4 weights   [rows]
//   5 loss      [rows]
//   6 d_logits  [rows, classes]  overwritten
//
// Dispatch: one workgroup of 64 per row.
// Numerics: the largest logit is subtracted before exp; sums in a fixed tree.

//#include common/hyper.wgsl
//#include common/index.wgsl
//#include common/reduce.wgsl

struct Params {
    rows: u32,
    classes: u32,
    weight: f32,
    _pad0: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<uniform> hyper: Hyper;
@group(0) @binding(2) var<storage, read> logits: array<f32>;
@group(0) @binding(3) var<storage, read> targets: array<f32>;
@group(0) @binding(4) var<storage, read> weights: array<f32>;
@group(0) @binding(5) var<storage, read_write> loss: array<f32>;
@group(0) @binding(6) var<storage, read_write> d_logits: array<f32>;

@compute @workgroup_size(64)
fn classify_target_cross_entropy(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = workgroup_number(workgroup, workgroups);
    let inside = row < params.rows;
    let classes = select(0u, params.classes, inside);
    let start = row * params.classes;
    var share = 0.0;
    if (inside) {
        share = hyper.inverse_weight * weights[row];
    }
    let counts = inside && weights[select(0u, row, inside)] != 0.0;
    var lane_max = -3.4e38;
    for (var c = lane; c < classes; c = c + REDUCE_WIDTH) {
        lane_max = max(lane_max, logits[start + c]);
    }
    let row_max = reduce_max(lane, lane_max);
    var lane_sum = 0.0;
    var lane_mass = 0.0;
    for (var c = lane; c < classes; c = c + REDUCE_WIDTH) {
        lane_sum = lane_sum + exp(logits[start + c] - row_max);
        lane_mass = lane_mass + targets[start + c];
    }
    let row_sum = reduce_sum(lane, lane_sum);
    let mass = reduce_sum(lane, lane_mass);
    let log_sum = log(row_sum);
    let scale = params.weight * share;
    var lane_loss = 0.0;
    for (var c = lane; c < classes; c = c + REDUCE_WIDTH) {
        var gradient = 0.0;
        if (counts) {
            let shifted = logits[start + c] - row_max;
            lane_loss = lane_loss + targets[start + c] * (log_sum - shifted);
            gradient = scale * (mass * (exp(shifted) / row_sum) - targets[start + c]);
        }
        d_logits[start + c] = gradient;
    }
    let row_loss = reduce_sum(lane, lane_loss);
    if (inside && lane == 0u) {
        loss[row] = select(0.0, share * row_loss, counts);
    }
}
