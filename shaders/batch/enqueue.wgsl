// New keys take the place of the oldest ones in a ring of K rows.
//
//   queue[(hyper.queue_start + i) mod K, j] = keys[first_row + i, j],  N at most K
//
//   0 params
//   1 hyper
//   2 keys   [N, F] from row first_row
//   3 queue  [K, F] in place
//
// Dispatch: one thread of 64 per element of the new keys. Numerics: copies bits.

//#include common/hyper.wgsl
//#include common/index.wgsl

struct Params {
    rows: u32,
    columns: u32,
    first_row: u32,
    queue_rows: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<uniform> hyper: Hyper;
@group(0) @binding(2) var<storage, read> keys: array<u32>;
@group(0) @binding(3) var<storage, read_write> queue: array<u32>;

@compute @workgroup_size(64)
fn batch_enqueue(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = workgroup_number(workgroup, workgroups) * 64u + lane;
    if (at < params.rows * params.columns) {
        let row = (hyper.queue_start % params.queue_rows + at / params.columns) % params.queue_rows;
        queue[row * params.columns + at % params.columns] = keys[params.first_row * params.columns + at];
    }
}
