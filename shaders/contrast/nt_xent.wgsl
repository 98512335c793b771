// NT-Xent over the similarities of two stacked views, in place; optionally with the positive left
// out of the denominator (decoupled contrastive loss, arXiv 2110.06848).
//
//   k = (i + half) mod 2 half,  D = {j != i} or, decoupled, {j != i, j != k}
//   loss[i] = scale (lse_{j in D} s[i, j] - s[i, k])
//   s[i, j] <- weight scale ([j in D] softmax_D(s[i])_j - [j == k]),  diagonal 0
//
//   0 params
//   1 loss  [2 half]
//   2 s     [2 half, 2 half]  similarities divided by the temperature; their gradient on return
//
// Dispatch: one workgroup of 64 per row. Numerics: the largest similarity of D is subtracted before
// exp; sums in a fixed tree. Each lane reads only the elements that it writes itself.

//#include common/index.wgsl
//#include common/reduce.wgsl

struct Params {
    half: u32,
    decoupled: u32,
    scale: f32,
    weight: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> loss: array<f32>;
@group(0) @binding(2) var<storage, read_write> s: array<f32>;

@compute @workgroup_size(64)
fn contrast_nt_xent(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = workgroup_number(workgroup, workgroups);
    let rows = 2u * params.half;
    let columns = select(0u, rows, row < rows);
    let start = row * rows;
    let pair = select(row + params.half, row - params.half, row >= params.half);
    let left_out = select(row, pair, params.decoupled != 0u);
    var lane_max = -3.4e38;
    for (var j = lane; j < columns; j = j + REDUCE_WIDTH) {
        if (j != row && j != left_out) {
            lane_max = max(lane_max, s[start + j]);
        }
    }
    let row_max = reduce_max(lane, lane_max);
    var lane_sum = 0.0;
    for (var j = lane; j < columns; j = j + REDUCE_WIDTH) {
        if (j != row && j != left_out) {
            lane_sum = lane_sum + exp(s[start + j] - row_max);
        }
    }
    let row_sum = reduce_sum(lane, lane_sum);
    let scale = params.weight * params.scale;
    for (var j = lane; j < columns; j = j + REDUCE_WIDTH) {
        let similarity = s[start + j];
        var gradient = 0.0;
        if (j != row && j != left_out) {
            gradient = exp(similarity - row_max) / row_sum;
        }
        if (j == pair) {
            loss[row] = params.scale * (log(row_sum) + (row_max - similarity));
            gradient = gradient - 1.0;
        }
        s[start + j] = scale * gradient;
    }
}
