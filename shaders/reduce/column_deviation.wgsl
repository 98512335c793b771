// Population standard deviation of each column: the watch over collapsed projections.
//
//   deviation[j] = sqrt(mean_i (z[i, j] - mean_i z[i, j])^2),  0 for no rows
//
//   0 params
//   1 z          [M, F]
//   2 deviation  [F]
//
// Dispatch: one thread of 64 per column. Numerics: two passes, sums over rows in ascending order.

//#include common/index.wgsl

struct Params {
    rows: u32,
    columns: u32,
    _pad0: u32,
    _pad1: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> z: array<f32>;
@group(0) @binding(2) var<storage, read_write> deviation: array<f32>;

@compute @workgroup_size(64)
fn reduce_column_deviation(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let j = workgroup_number(workgroup, workgroups) * 64u + lane;
    if (j < params.columns) {
        let inverse = 1.0 / f32(max(params.rows, 1u));
        var sum = 0.0;
        for (var i = 0u; i < params.rows; i = i + 1u) {
            sum = sum + z[i * params.columns + j];
        }
        let mean = sum * inverse;
        var square = 0.0;
        for (var i = 0u; i < params.rows; i = i + 1u) {
            let centred = z[i * params.columns + j] - mean;
            square = square + centred * centred;
        }
        deviation[j] = sqrt(square * inverse);
    }
}
