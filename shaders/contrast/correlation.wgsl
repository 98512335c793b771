// Holds the diagonal of a square matrix to a target and the rest to zero, in place (Barlow Twins;
// VICReg's covariance term).
//
//   loss[i] = diagonal_scale (c[i, i] - diagonal_target)^2 + off_scale sum_{j != i} c[i, j]^2
//   c[i, i] <- weight 2 diagonal_scale (c[i, i] - diagonal_target)
//   c[i, j] <- weight 2 off_scale c[i, j]   for j != i
//
//   0 params
//   1 loss  [size]
//   2 c     [size, size]  correlations or covariances; their gradient on return
//
// Dispatch: one workgroup of 64 per row. Numerics: sums in a fixed tree.

//#include common/index.wgsl
//#include common/reduce.wgsl

struct Params {
    size: u32,
    diagonal_target: f32,
    diagonal_scale: f32,
    off_scale: f32,
    weight: f32,
    _pad0: u32,
    _pad1: u32,
    _pad2: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> loss: array<f32>;
@group(0) @binding(2) var<storage, read_write> c: array<f32>;

@compute @workgroup_size(64)
fn contrast_correlation(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = workgroup_number(workgroup, workgroups);
    let columns = select(0u, params.size, row < params.size);
    let start = row * params.size;
    var lane_sum = 0.0;
    for (var j = lane; j < columns; j = j + REDUCE_WIDTH) {
        let on_diagonal = j == row;
        let residual = c[start + j] - select(0.0, params.diagonal_target, on_diagonal);
        let scaled = residual * select(params.off_scale, params.diagonal_scale, on_diagonal);
        lane_sum = lane_sum + scaled * residual;
        c[start + j] = params.weight * 2.0 * scaled;
    }
    let row_sum = reduce_sum(lane, lane_sum);
    if (row < params.size && lane == 0u) {
        loss[row] = row_sum;
    }
}
