// Cross-entropy of a square of similarities against its diagonal, by rows and by columns, in place.
//
//   loss[i] = scale ((row_lse[i] - s[i, i]) + (column_lse[i] - s[i, i]))
//   s[i, j] <- weight scale (exp(s[i, j] - row_lse[i]) + exp(s[i, j] - column_lse[j]) - 2 [i == j])
//
//   0 params
//   1 row_lse     [rows]
//   2 column_lse  [rows]
//   3 loss        [rows]
//   4 s           [rows, rows]  similarities divided by the temperature; their gradient on return
//
// Dispatch: one workgroup of 64 per row. Numerics: arguments of exp are not positive, rounding
// aside.

//#include common/index.wgsl

struct Params {
    rows: u32,
    scale: f32,
    weight: f32,
    _pad0: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> row_lse: array<f32>;
@group(0) @binding(2) var<storage, read> column_lse: array<f32>;
@group(0) @binding(3) var<storage, read_write> loss: array<f32>;
@group(0) @binding(4) var<storage, read_write> s: array<f32>;

@compute @workgroup_size(64)
fn contrast_symmetric(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = workgroup_number(workgroup, workgroups);
    if (row < params.rows) {
        let of_row = row_lse[row];
        let scale = params.weight * params.scale;
        for (var j = lane; j < params.rows; j = j + 64u) {
            let at = row * params.rows + j;
            let similarity = s[at];
            let of_column = column_lse[j];
            var gradient = exp(similarity - of_row) + exp(similarity - of_column);
            if (j == row) {
                loss[row] = params.scale * ((of_row - similarity) + (of_column - similarity));
                gradient = gradient - 2.0;
            }
            s[at] = scale * gradient;
        }
    }
}
