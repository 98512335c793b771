// Cross-entropy with hard labels and its gradient; rows without a usable label are skipped.
//
//   loss[i]        = s (lse_c logits[i, c] - logits[i, labels[i]]),  s = hyper.inverse_labelled
//   d_logits[i, c] = weight s (softmax(logits[i])_c - [c == labels[i]])
//   both 0 where labels[i] < 0 or labels[i] >= classes
//
//   0 params
//   1 hyper     inverse_labelled
//   2 logits    [rows, classes]
//   3 labels    [rows]           i32
//   4 loss      [rows]
//   5 d_logits  [rows, classes]  overwritten
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
@group(0) @binding(3) var<storage, read> labels: array<i32>;
@group(0) @binding(4) var<storage, read_write> loss: array<f32>;
@group(0) @binding(5) var<storage, read_write> d_logits: array<f32>;

@compute @workgroup_size(64)
fn classify_cross_entropy(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = workgroup_number(workgroup, workgroups);
    let inside = row < params.rows;
    let classes = select(0u, params.classes, inside);
    let start = row * params.classes;
    var label = -1;
    if (inside) {
        label = labels[row];
    }
    let labelled = label >= 0 && label < i32(classes);
    var lane_max = -3.4e38;
    for (var c = lane; c < classes; c = c + REDUCE_WIDTH) {
        lane_max = max(lane_max, logits[start + c]);
    }
    let row_max = reduce_max(lane, lane_max);
    var lane_sum = 0.0;
    for (var c = lane; c < classes; c = c + REDUCE_WIDTH) {
        lane_sum = lane_sum + exp(logits[start + c] - row_max);
    }
    let row_sum = reduce_sum(lane, lane_sum);
    let scale = params.weight * hyper.inverse_labelled;
    for (var c = lane; c < classes; c = c + REDUCE_WIDTH) {
        var gradient = 0.0;
        if (labelled) {
            let target_share = select(0.0, 1.0, i32(c) == label);
            gradient = scale * (exp(logits[start + c] - row_max) / row_sum - target_share);
        }
        d_logits[start + c] = gradient;
    }
    if (inside && lane == 0u) {
        var value = 0.0;
        if (labelled) {
            value = hyper.inverse_labelled * (log(row_sum) + (row_max - logits[start + u32(label)]));
        }
        loss[row] = value;
    }
}
