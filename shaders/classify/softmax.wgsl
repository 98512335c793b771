// Class probabilities of logits at a temperature.
//
//   probabilities[i, c] = softmax(logits[i] / temperature)_c
//
//   0 params
//   1 logits         [rows, classes]
//   2 probabilities  [rows, classes]  overwritten
//
// Dispatch: one workgroup of 64 per row.
// Numerics: the largest logit is subtracted before exp; sums in a fixed tree.

//#include common/index.wgsl
//#include common/reduce.wgsl

struct Params {
    rows: u32,
    classes: u32,
    temperature: f32,
    _pad0: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read_write> probabilities: array<f32>;

@compute @workgroup_size(64)
fn classify_softmax(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = workgroup_number(workgroup, workgroups);
    let classes = select(0u, params.classes, row < params.rows);
    let start = row * params.classes;
    var lane_max = -3.4e38;
    for (var c = lane; c < classes; c = c + REDUCE_WIDTH) {
        lane_max = max(lane_max, logits[start + c]);
    }
    let row_max = reduce_max(lane, lane_max);
    var lane_sum = 0.0;
    for (var c = lane; c < classes; c = c + REDUCE_WIDTH) {
        lane_sum = lane_sum + exp((logits[start + c] - row_max) / params.temperature);
    }
    let row_sum = reduce_sum(lane, lane_sum);
    for (var c = lane; c < classes; c = c + REDUCE_WIDTH) {
        probabilities[start + c] = exp((logits[start + c] - row_max) / params.temperature) / row_sum;
    }
}
