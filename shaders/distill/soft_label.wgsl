// Cross-entropy against a teacher's distribution over the classes that the teacher knows, and its
// gradient.
//
//   t = softmax(teacher_logits[i, ..known]),  p = softmax(logits[i, ..known])
//   loss[i]        = loss_scale * -sum_c t_c log p_c
//   d_logits[i, c] += weight loss_scale (p_c - t_c)   for c < known
//
//   0 params
//   1 logits          [rows, classes]
//   2 teacher_logits  [rows, teacher_classes]
//   3 loss            [rows]
//   4 d_logits        [rows, classes]  added to
//
// Dispatch: one workgroup of 64 per row. Numerics: both softmaxes subtract their largest logit; log
// through log-sum-exp; sums in a fixed tree.

//#include common/index.wgsl
//#include common/reduce.wgsl

struct Params {
    rows: u32,
    classes: u32,
    teacher_classes: u32,
    known: u32,
    loss_scale: f32,
    weight: f32,
    _pad0: u32,
    _pad1: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read> teacher_logits: array<f32>;
@group(0) @binding(3) var<storage, read_write> loss: array<f32>;
@group(0) @binding(4) var<storage, read_write> d_logits: array<f32>;

@compute @workgroup_size(64)
fn distill_soft_label(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = workgroup_number(workgroup, workgroups);
    let inside = row < params.rows;
    let known = select(0u, params.known, inside);
    let start = row * params.classes;
    let teacher_start = row * params.teacher_classes;
    var lane_max = -3.4e38;
    var lane_teacher_max = -3.4e38;
    for (var c = lane; c < known; c = c + REDUCE_WIDTH) {
        lane_max = max(lane_max, logits[start + c]);
        lane_teacher_max = max(lane_teacher_max, teacher_logits[teacher_start + c]);
    }
    let row_max = reduce_max(lane, lane_max);
    let teacher_max = reduce_max(lane, lane_teacher_max);
    var lane_sum = 0.0;
    var lane_teacher_sum = 0.0;
    for (var c = lane; c < known; c = c + REDUCE_WIDTH) {
        lane_sum = lane_sum + exp(logits[start + c] - row_max);
        lane_teacher_sum = lane_teacher_sum + exp(teacher_logits[teacher_start + c] - teacher_max);
    }
    let row_sum = reduce_sum(lane, lane_sum);
    let teacher_sum = reduce_sum(lane, lane_teacher_sum);
    let log_sum = log(row_sum);
    let scale = params.weight * params.loss_scale;
    var lane_loss = 0.0;
    for (var c = lane; c < known; c = c + REDUCE_WIDTH) {
        let shifted = logits[start + c] - row_max;
        let teacher_share = exp(teacher_logits[teacher_start + c] - teacher_max) / teacher_sum;
        lane_loss = lane_loss + teacher_share * (log_sum - shifted);
        d_logits[start + c] = d_logits[start + c] + scale * (exp(shifted) / row_sum - teacher_share);
    }
    let row_loss = reduce_sum(lane, lane_loss);
    if (inside && lane == 0u) {
        loss[row] = params.loss_scale * row_loss;
    }
}
